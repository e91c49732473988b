//! The text `rotation`: by which function a secret is rotated, and how often.

use libc::EINVAL;

use crate::reference::Outcome;

/// Which function, and every so many seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub function: String,
    pub every: Option<u64>,
}

impl Plan {
    /// The text again, with its interval in the largest unit.
    pub fn render(&self) -> Vec<u8> {
        let every = self.every.map(|seconds| {
            let (unit, word) = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')]
                .into_iter()
                .find(|(unit, _)| seconds.is_multiple_of(*unit))
                .expect("every number is one of seconds");
            format!("every={}{word}\n", seconds / unit)
        });
        format!("function={}\n{}", self.function, every.unwrap_or_default()).into_bytes()
    }
}

/// The lines `function=NAME` and `every=INTERVAL`, each at most once; EINVAL for any other.
pub fn parse_plan_lines(bytes: &[u8]) -> Outcome<(Option<String>, Option<u64>)> {
    let text = std::str::from_utf8(bytes).map_err(|_| &[EINVAL][..])?;
    let (mut function, mut every) = (None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').ok_or(&[EINVAL][..])?;
        let again = match key.trim() {
            "function" => function.replace(parse_function(value.trim())?).is_some(),
            "every" => every.replace(parse_interval(value.trim())?).is_some(),
            _ => true,
        };
        if again {
            return Err(&[EINVAL]);
        }
    }
    Ok((function, every))
}

/// The whole text: an interval alone is no plan.
pub fn parse_plan(bytes: &[u8]) -> Outcome<Option<Plan>> {
    match parse_plan_lines(bytes)? {
        (Some(function), every) => Ok(Some(Plan { function, every })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(&[EINVAL]),
    }
}

fn parse_function(text: &str) -> Outcome<String> {
    let good = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if good && (1..=64).contains(&text.len()) && !text.starts_with('-') { Ok(text.to_owned()) } else { Err(&[EINVAL]) }
}

/// 6 hours to 365 days in `s`, `m`, `h` or `d`, in seconds.
fn parse_interval(text: &str) -> Outcome<u64> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let seconds = units.iter().find_map(|(word, unit)| {
        let digits = text.strip_suffix(*word).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u64>().ok()?.checked_mul(*unit)
    });
    seconds.filter(|seconds| (6 * 3_600..=365 * 86_400).contains(seconds)).ok_or(&[EINVAL])
}
