//! A moment, as pure code takes it: given, never asked for.
//!
//! Two clocks tell it. The wall clock is what people mean, and can be set; the steady clock ([`SteadyClock`]) counts what has passed
//! for certain, and cannot. What must not happen too early waits for both.

mod steady;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use steady::{Moment, Steady, SteadyClock, Uptime};

/// Nanoseconds in a day.
const DAY: u64 = 86_400 * 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00Z, to the year 2554.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// Bytes of `2027-01-01T00:00:00`.
const LOCAL_LEN: usize = 19;

impl Timestamp {
    /// The moment `days` days later.
    pub fn plus_days(self, days: u16) -> Self {
        Self(self.0.saturating_add(u64::from(days) * DAY))
    }

    /// For a stat(2) answer.
    pub fn to_system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0)
    }

    /// From a clock; moments before 1970 count as 1970.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Reads a time of RFC 3339 to the second, `2027-01-01T00:00:00Z` or with an offset, `2027-01-01T08:00:00+08:00`, of 1970 or
    /// later. What is after the year 2554 is the last moment there is.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, zone) = text.split_at_checked(LOCAL_LEN)?;
        let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
        let (ahead, by) = match zone.split_at_checked(1)? {
            ("Z", "") => (true, Duration::ZERO),
            ("+", offset) => (true, parse_offset(offset)?),
            ("-", offset) => (false, parse_offset(offset)?),
            _ => return None,
        };
        let time = if ahead { local.checked_sub(by) } else { local.checked_add(by) };
        time.map(Self::from_system)
    }

    /// The same moment without parts of a second.
    pub fn to_the_second(self) -> Self {
        Self(self.0 - self.0 % 1_000_000_000)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC to the second, as KMS writes times: `2024-02-21T15:39:26Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.to_system()).fmt(f)
    }
}

/// Hours and minutes, `08:00`.
fn parse_offset(text: &str) -> Option<Duration> {
    let number = |part: &str, below: u64| -> Option<u64> {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|number| digits && *number < below)
    };
    let (hours, minutes) = text.split_once(':')?;
    Some(Duration::from_secs(number(hours, 24)? * 3_600 + number(minutes, 60)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_offset() {
        for (text, expected) in [
            ("2027-01-01T00:00:00Z", Some("2027-01-01T00:00:00Z")),
            ("2027-01-01T08:00:00+08:00", Some("2027-01-01T00:00:00Z")),
            ("2026-12-31T20:30:00-03:30", Some("2027-01-01T00:00:00Z")),
            ("2024-02-29T23:59:59+00:00", Some("2024-02-29T23:59:59Z")),
            ("1970-01-01T00:00:00-00:00", Some("1970-01-01T00:00:00Z")),
            ("1970-01-01T00:00:00+08:00", Some("1970-01-01T00:00:00Z")),
            ("2023-02-29T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2027-01-01T24:00:00Z", None),
            ("2027-01-01T00:00:00", None),
            ("2027-01-01T00:00:00z", None),
            ("2027-01-01T00:00:00.5Z", None),
            ("2027-01-01 00:00:00Z", None),
            ("2027-01-01T00:00:00ZZ", None),
            ("2027-01-01T00:00:00+0800", None),
            ("2027-01-01T00:00:00+8:00", None),
            ("2027-01-01T00:00:00+24:00", None),
            ("2027-01-01T00:00:00+08:60", None),
            ("2027-01-01T00:00:00+-8:00", None),
            ("2027-01-01T00:00:0éZ", None),
            ("", None),
        ] {
            assert_eq!(Timestamp::parse(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59Z"), Some(Timestamp(u64::MAX)));
        assert_eq!(Timestamp(1_999_999_999).to_the_second(), Timestamp(1_000_000_000));
    }
}
