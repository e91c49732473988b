//! Deletion waits: 7 to 30 days, in which a restore brings everything back.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::time::{Moment, Steady, Timestamp};

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
    /// From when on the values may be destroyed: the end of the window that was set at the request,
    pub purge_at: Timestamp,
    /// and not before the steady clock has come to this, whatever the wall clock says. Those that were scheduled before it was kept have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
}

impl Deletion {
    /// One that is asked for at `now`.
    pub fn within(window: RecoveryWindow, now: Moment) -> Self {
        let due = now.plus_days(window.days());
        Self { requested: now.wall, purge_at: due.wall, steady: Some(due.steady) }
    }

    /// When the values may be destroyed, by both clocks.
    pub fn due(&self) -> Moment {
        // The steady clock began after such a request.
        let window = Steady(self.purge_at.0.saturating_sub(self.requested.0));
        Moment { wall: self.purge_at, steady: self.steady.unwrap_or(window) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_due_by_both_clocks() {
        let now = Moment { wall: Timestamp(1_000), steady: Steady(50) };
        let deletion = Deletion::within(RecoveryWindow::parse(b"7").unwrap(), now);
        assert_eq!((deletion.requested, deletion.due()), (now.wall, now.plus_days(7)));
        let old: Deletion = serde_json::from_str(r#"{"requested":1000,"purge_at":604800000001000}"#).unwrap();
        assert_eq!(old.due(), Moment { wall: now.wall.plus_days(7), steady: Steady(0).plus_days(7) });
    }

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
