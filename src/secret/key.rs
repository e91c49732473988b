//! A key's state: what may be asked of it, and what it means for the secrets under it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::time::{Moment, Steady, Timestamp};

/// Most versions of a key: a daily rotation for a year. All of them are kept, and stand in its record.
pub const KEY_VERSIONS_MAX: usize = 366;

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// It may.
    Enabled,
    /// Not until somebody enables it.
    Disabled,
    /// Not any more, unless the deletion is taken back in time.
    PendingDeletion {
        /// When its material may be destroyed,
        due: Timestamp,
        /// and not before the steady clock has come to this. Those that were scheduled before it was kept have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steady: Option<Steady>,
        /// Whether it will be, though secrets are under it: their values can never be read again then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forced: bool,
    },
    /// Its material is gone, and its record goes as soon as no data key is left that was under it.
    Destroyed,
}

/// What is asked of a key's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// EnableKey.
    Enable,
    /// DisableKey.
    Disable,
    /// ScheduleKeyDeletion.
    Schedule {
        /// When its window is over.
        due: Moment,
        /// Also where secrets are under it.
        forced: bool,
    },
    /// CancelKeyDeletion.
    Cancel,
}

/// A word that is written to a key's `state`: what it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyWord {
    /// EnableKey; of a key that is scheduled for deletion CancelKeyDeletion.
    Enabled,
    /// DisableKey.
    Disabled,
    /// ScheduleKeyDeletion, with the instance's recovery window.
    PendingDeletion,
}

impl KeyWord {
    /// Reads what is written.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        match text.trim_ascii() {
            b"Enabled" => Ok(KeyWord::Enabled),
            b"Disabled" => Ok(KeyWord::Disabled),
            b"PendingDeletion" => Ok(KeyWord::PendingDeletion),
            _ => Err(Refusal::BadState { words: "`Enabled`, `Disabled` or `PendingDeletion`" }),
        }
    }
}

/// Days between the scheduling of a key's deletion and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWindow(u16);

impl KeyWindow {
    /// The days that it may have.
    pub const DAYS: std::ops::RangeInclusive<u16> = 7..=366;

    /// Of `days`.
    pub fn of_days(days: u16) -> Result<Self, Refusal> {
        if Self::DAYS.contains(&days) { Ok(Self(days)) } else { Err(Refusal::BadKeyWindow) }
    }

    /// Its end, where it begins at `now`.
    pub fn end(self, now: Moment) -> Moment {
        now.plus_days(self.0)
    }
}

/// Whether a key in `state`, which is scheduled for deletion, may be: `uses` secrets are under it.
pub fn may_be_deleted(state: KeyState, uses: u64, is_default: bool) -> Result<(), Refusal> {
    let forced = matches!(state, KeyState::PendingDeletion { forced: true, .. });
    match (is_default, uses) {
        (true, _) => Err(Refusal::DefaultKey),
        (false, 0) => Ok(()),
        (false, _) if forced => Ok(()),
        (false, count) => Err(Refusal::KeyInUse { count }),
    }
}

/// Whether a key in `state` may be destroyed at `now`.
pub fn may_be_destroyed(state: KeyState, now: Moment) -> Result<(), Refusal> {
    match (state, state.due()) {
        (_, Some(due)) if due.has_come(now) => Ok(()),
        (_, Some(due)) if now.wall >= due.wall => Err(Refusal::ClockHeld { due: due.wall }),
        (_, Some(due)) => Err(Refusal::KeyNotDue { due: due.wall }),
        (KeyState::Destroyed, None) => Err(Refusal::KeyGone),
        (KeyState::Enabled | KeyState::Disabled | KeyState::PendingDeletion { .. }, None) => {
            Err(Refusal::KeyNotScheduled)
        }
    }
}

impl KeyState {
    /// The state that comes of `order`. To enable what is enabled, and to disable what is disabled, is no error.
    pub fn after(self, order: KeyOrder) -> Result<Self, Refusal> {
        match (self, order) {
            (KeyState::Destroyed, _) => Err(Refusal::KeyGone),
            (KeyState::PendingDeletion { .. }, KeyOrder::Cancel) => Ok(KeyState::Enabled),
            (KeyState::PendingDeletion { .. }, KeyOrder::Enable | KeyOrder::Disable | KeyOrder::Schedule { .. }) => {
                Err(Refusal::KeyStateStays)
            }
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Enable) => Ok(KeyState::Enabled),
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Disable) => Ok(KeyState::Disabled),
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Schedule { due, forced }) => {
                Ok(KeyState::PendingDeletion { due: due.wall, steady: Some(due.steady), forced })
            }
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Cancel) => Err(Refusal::KeyNotScheduled),
        }
    }

    /// Whether a secret can be given the key. One that is disabled may be: it can be enabled.
    pub fn may_be_chosen(self) -> Result<(), Refusal> {
        match self {
            KeyState::Enabled | KeyState::Disabled => Ok(()),
            KeyState::PendingDeletion { .. } => Err(Refusal::KeyPendingDeletion),
            KeyState::Destroyed => Err(Refusal::KeyGone),
        }
    }

    /// When its material may be destroyed, by both clocks; `None` where that is not scheduled.
    pub fn due(self) -> Option<Moment> {
        match self {
            KeyState::PendingDeletion { due, steady, .. } => {
                // The steady clock began after such a request, whose window is not known any more.
                let steady = steady.unwrap_or(Steady(0).plus_days(*KeyWindow::DAYS.end()));
                Some(Moment { wall: due, steady })
            }
            KeyState::Enabled | KeyState::Disabled | KeyState::Destroyed => None,
        }
    }

    /// Whether its deletion is scheduled.
    pub fn is_pending(&self) -> bool {
        matches!(self, KeyState::PendingDeletion { .. })
    }

    /// Whether values can be sealed and opened with the key; metadata never asks.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(Refusal::KeyDisabled),
            KeyState::PendingDeletion { .. } => Err(Refusal::KeyPendingDeletion),
            KeyState::Destroyed => Err(Refusal::KeyGone),
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyState::Enabled => "Enabled",
            KeyState::Disabled => "Disabled",
            KeyState::PendingDeletion { .. } => "PendingDeletion",
            KeyState::Destroyed => "Destroyed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Moment = Moment { wall: Timestamp(7), steady: Steady(5) };
    const PENDING: KeyState = KeyState::PendingDeletion { due: DUE.wall, steady: Some(DUE.steady), forced: false };

    #[test]
    fn a_state_takes_words() {
        for (text, expected) in [
            ("Enabled", Some(KeyWord::Enabled)),
            ("Disabled\n", Some(KeyWord::Disabled)),
            (" PendingDeletion \n", Some(KeyWord::PendingDeletion)),
            ("disabled", None),
            ("", None),
            ("Enabled Disabled", None),
        ] {
            assert_eq!(KeyWord::parse(text.as_bytes()).ok(), expected, "{text:?}");
        }
    }

    /// The table of KMS, "Impact of CMK states on API calls".
    #[test]
    fn states_follow_each_other_as_kms_has_it() {
        use KeyState::{Disabled, Enabled};
        let (stays, not_scheduled) = (Err(Refusal::KeyStateStays), Err(Refusal::KeyNotScheduled));
        let gone = Err(Refusal::KeyGone);
        let orders =
            [KeyOrder::Enable, KeyOrder::Disable, KeyOrder::Schedule { due: DUE, forced: false }, KeyOrder::Cancel];
        for (state, expected, usable) in [
            (Enabled, [Ok(Enabled), Ok(Disabled), Ok(PENDING), not_scheduled.clone()], Ok(())),
            (Disabled, [Ok(Enabled), Ok(Disabled), Ok(PENDING), not_scheduled], Err(Refusal::KeyDisabled)),
            (KeyState::Destroyed, [gone.clone(), gone.clone(), gone.clone(), gone], Err(Refusal::KeyGone)),
            (PENDING, [stays.clone(), stays.clone(), stays, Ok(Enabled)], Err(Refusal::KeyPendingDeletion)),
        ] {
            assert_eq!((orders.map(|order| state.after(order)), state.usable()), (expected, usable), "{state}");
        }
    }

    #[test]
    fn a_key_ends_when_it_is_due_and_not_used() {
        let forced = KeyState::PendingDeletion { due: DUE.wall, steady: Some(DUE.steady), forced: true };
        for (state, uses, is_default, expected) in [
            (PENDING, 0, false, Ok(())),
            (PENDING, 1, false, Err(Refusal::KeyInUse { count: 1 })),
            (PENDING, 0, true, Err(Refusal::DefaultKey)),
            (PENDING, 2, true, Err(Refusal::DefaultKey)),
            (forced, 2, false, Ok(())),
            (forced, 2, true, Err(Refusal::DefaultKey)),
        ] {
            assert_eq!(may_be_deleted(state, uses, is_default), expected);
        }
        let due = DUE.wall;
        for (state, wall, steady, expected) in [
            (PENDING, 6, 9, Err(Refusal::KeyNotDue { due })),
            (PENDING, 7, 4, Err(Refusal::ClockHeld { due })),
            (PENDING, 7, 5, Ok(())),
            (PENDING, 8, 6, Ok(())),
            (KeyState::Enabled, 8, 8, Err(Refusal::KeyNotScheduled)),
            (KeyState::Disabled, 8, 8, Err(Refusal::KeyNotScheduled)),
            (KeyState::Destroyed, 8, 8, Err(Refusal::KeyGone)),
        ] {
            let now = Moment { wall: Timestamp(wall), steady: Steady(steady) };
            assert_eq!(may_be_destroyed(state, now), expected, "{state} at {now:?}");
        }
        let old: KeyState = serde_json::from_str(r#"{"PendingDeletion":{"due":7}}"#).unwrap();
        assert_eq!(old.due(), Some(Moment { wall: due, steady: Steady(0).plus_days(366) }));
        for (days, good) in [(6, false), (7, true), (366, true), (367, false)] {
            assert_eq!(KeyWindow::of_days(days).is_ok(), good, "{days}");
        }
    }
}
