//! By which function a secret is rotated, and how often: the text of its `rotation`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::secret::Refusal;
use crate::secret::name::SHORT_NAME_MAX;

/// Seconds of the shortest interval, as KMS has it.
const INTERVAL_MIN: u64 = 6 * 3_600;
/// Seconds of the longest interval, as KMS has it.
const INTERVAL_MAX: u64 = 8_760 * 3_600;
/// Lines of the text.
const FUNCTION: &str = "function";
const EVERY: &str = "every";

/// The name of a function: that of an executable, 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionName(String);

impl FunctionName {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let fits = (1..=SHORT_NAME_MAX).contains(&text.len()) && !text.starts_with('-');
        (fits && text.bytes().all(good)).then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much time lies between two runs, in seconds: 6 to 8,760 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(u64);

impl Interval {
    /// Reads a whole number with its unit, as KMS writes it: `7d`, `168h`, `10080m`, `604800s`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let total = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(seconds)?;
        (INTERVAL_MIN..=INTERVAL_MAX).contains(&total).then_some(Self(total))
    }

    /// In seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// In the largest unit that it is a whole number of.
    pub fn to_text(self) -> String {
        let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
        let (seconds, unit) =
            units.into_iter().find(|(seconds, _)| self.0.is_multiple_of(*seconds)).unwrap_or((1, 's'));
        format!("{}{unit}", self.0 / seconds)
    }
}

/// By which function, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The function.
    pub function: FunctionName,
    /// `None` is when somebody asks for it, and never by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Interval>,
}

impl Plan {
    /// Reads the text: `function=NAME` and perhaps `every=30d`, a line each. An empty one is none.
    pub fn parse_file(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        match Self::parse_lines(bytes)? {
            (Some(function), every) => Ok(Some(Self { function, every })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Refusal::BadRotation { line: 1, why: "no line names a function" }),
        }
    }

    /// The plan that `lines`, behind which others may come, is the beginning of; `None` while none of them names a function.
    pub fn parse_beginning(lines: &[u8]) -> Result<Option<Self>, Refusal> {
        let (function, every) = Self::parse_lines(lines)?;
        Ok(function.map(|function| Self { function, every }))
    }

    fn parse_lines(bytes: &[u8]) -> Result<(Option<FunctionName>, Option<Interval>), Refusal> {
        let (mut function, mut every) = (None, None);
        for (line, text) in bytes.split(|byte| *byte == b'\n').enumerate().map(|(at, text)| (at + 1, text.trim_ascii()))
        {
            if text.is_empty() {
                continue;
            }
            let bad = |why| Refusal::BadRotation { line, why };
            let text = std::str::from_utf8(text).map_err(|_| bad("it is no text"))?;
            let (key, value) = text.split_once('=').ok_or(bad("it has no `=`"))?;
            let twice = match key.trim_end() {
                FUNCTION => function
                    .replace(FunctionName::parse(value.trim_start()).ok_or(bad("it names no function"))?)
                    .is_some(),
                EVERY => every
                    .replace(Interval::parse(value.trim_start()).ok_or(bad("it is no interval from 6h to 8760h"))?)
                    .is_some(),
                _ => return Err(bad("it is neither `function=` nor `every=`")),
            };
            if twice {
                return Err(bad("it is there twice"));
            }
        }
        Ok((function, every))
    }

    /// The same text again.
    pub fn render(&self) -> String {
        let mut text = format!("{FUNCTION}={}\n", self.function.as_str());
        if let Some(every) = self.every {
            let _ = writeln!(text, "{EVERY}={}", every.to_text());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_kms() {
        for (text, expected) in [
            ("6h", Some((21_600, "6h"))),
            ("7d", Some((604_800, "7d"))),
            ("168h", Some((604_800, "7d"))),
            ("604801s", Some((604_801, "604801s"))),
            ("361m", Some((21_660, "361m"))),
            ("8760h", Some((31_536_000, "365d"))),
            ("5h", None),
            ("366d", None),
            ("7", None),
            ("d", None),
            ("", None),
            ("+7d", None),
            ("7 d", None),
            ("7D", None),
            ("18446744073709551615d", None),
            ("7é", None),
        ] {
            let found = Interval::parse(text).map(|interval| (interval.seconds(), interval.to_text()));
            assert_eq!(found, expected.map(|(seconds, text)| (seconds, text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_plan_is_two_lines() {
        for (text, expected) in [
            ("function=random\n", Some("function=random\n")),
            ("every=168h\nfunction = random", Some("function=random\nevery=7d\n")),
            ("\n  function=a-b_9  \r\n\n", Some("function=a-b_9\n")),
            ("", None),
            ("\n \n", None),
        ] {
            let plan = Plan::parse_file(text.as_bytes()).unwrap();
            assert_eq!(plan.as_ref().map(Plan::render).as_deref(), expected, "{text:?}");
        }
        for (text, line) in [
            ("every=7d", 1),
            ("function=random\nevery=1h", 2),
            ("function=../random", 1),
            ("function=", 1),
            ("function=-x", 1),
            ("function=a\nfunction=a", 2),
            ("function=a\n\nuser=root", 3),
            ("random", 1),
            ("function=\u{e9}", 1),
        ] {
            let refusal = Plan::parse_file(text.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Refusal::BadRotation { line: at, .. } if at == line), "{text:?}: {refusal}");
        }
        assert!(Plan::parse_file(b"function=\xff").is_err());
    }
}
