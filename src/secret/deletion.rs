//! Deletion waits: 7 to 30 days, in which a restore brings everything back.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::time::Timestamp;

const DAYS_MIN: u16 = 7;
const DAYS_MAX: u16 = 30;

/// Days between a deletion and the purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryWindow(u16);

impl RecoveryWindow {
    /// What KMS waits unless told otherwise.
    pub const DEFAULT: RecoveryWindow = RecoveryWindow(DAYS_MAX);

    /// Reads the number of days, as a user wrote it into a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| Refusal::BadWindow)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let days = if digits { text.parse().ok() } else { None };
        days.filter(|days| (DAYS_MIN..=DAYS_MAX).contains(days)).map(Self).ok_or(Refusal::BadWindow)
    }

    /// The number of days.
    pub fn days(self) -> u16 {
        self.0
    }
}

/// A deletion that is scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was asked for.
    pub requested: Timestamp,
    /// From when on the values may be destroyed: the end of the window that was set at the request.
    pub purge_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_to_thirty_days() {
        for (text, days) in [("7", Some(7)), ("30\n", Some(30)), (" 14 ", Some(14))] {
            assert_eq!(RecoveryWindow::parse(text.as_bytes()).ok().map(RecoveryWindow::days), days, "{text}");
        }
        for bad in ["6", "31", "", "x", "-7", "+7", "7.5", "99999999", "0x7", "7 8"] {
            assert_eq!(RecoveryWindow::parse(bad.as_bytes()), Err(Refusal::BadWindow), "{bad}");
        }
    }
}
