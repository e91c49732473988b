//! Times as tables show them: how long ago, how long until.

use std::time::{Duration, SystemTime};

/// The units, from the longest, each with its seconds.
const UNITS: [(u64, &str); 5] = [(365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// How long ago an RFC 3339 time was, as `3d`; as it is where it is none.
pub fn since(time: &str) -> String {
    distance(time, |then| SystemTime::now().duration_since(then).unwrap_or_default())
}

/// How long until then.
pub fn until(time: &str) -> String {
    distance(time, |then| then.duration_since(SystemTime::now()).unwrap_or_default())
}

fn distance(time: &str, from: impl FnOnce(SystemTime) -> Duration) -> String {
    match humantime::parse_rfc3339(time) {
        Ok(then) => short(from(then)),
        Err(_) => {
            if time.is_empty() {
                "-".to_owned()
            } else {
                time.to_owned()
            }
        }
    }
}

fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let (length, unit) = UNITS.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "s"));
    format!("{}{unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unit_that_fits() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7_300, "2h"), (86_400 * 9, "9d"), (86_400 * 800, "2y")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), shown);
        }
        assert_eq!(since(""), "-");
    }
}
