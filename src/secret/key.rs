//! A key's state: what may be asked of it, and what it means for the secrets under it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::time::Timestamp;

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
        /// When its material may be destroyed.
        due: Timestamp,
    },
}

/// What somebody wants a key's state to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// EnableKey.
    Enable,
    /// DisableKey.
    Disable,
}

impl KeyOrder {
    /// The words that a key's `state` takes.
    pub const WORDS: &str = "`Enabled` or `Disabled`";

    /// Reads what is written to a key's `state`.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        match text.trim_ascii() {
            b"Enabled" => Ok(KeyOrder::Enable),
            b"Disabled" => Ok(KeyOrder::Disable),
            b"PendingDeletion" => Err(Refusal::Unsupported("scheduling the deletion of a key")),
            _ => Err(Refusal::BadState { words: Self::WORDS }),
        }
    }
}

impl KeyState {
    /// The state that comes of `order`. To ask for the one that is there is no error.
    pub fn after(self, order: KeyOrder) -> Result<Self, Refusal> {
        match (self, order) {
            (KeyState::PendingDeletion { .. }, _) => Err(Refusal::KeyStateStays),
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Enable) => Ok(KeyState::Enabled),
            (KeyState::Enabled | KeyState::Disabled, KeyOrder::Disable) => Ok(KeyState::Disabled),
        }
    }

    /// Whether values can be sealed and opened with the key; metadata never asks.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(Refusal::KeyDisabled),
            KeyState::PendingDeletion { .. } => Err(Refusal::KeyPendingDeletion),
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyState::Enabled => "Enabled",
            KeyState::Disabled => "Disabled",
            KeyState::PendingDeletion { .. } => "PendingDeletion",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: KeyState = KeyState::PendingDeletion { due: Timestamp(7) };

    #[test]
    fn a_state_takes_words() {
        for (text, expected) in [
            ("Enabled", Some(KeyOrder::Enable)),
            ("Disabled\n", Some(KeyOrder::Disable)),
            ("disabled", None),
            ("", None),
            ("Enabled Disabled", None),
            ("PendingDeletion", None),
        ] {
            assert_eq!(KeyOrder::parse(text.as_bytes()).ok(), expected, "{text:?}");
        }
    }

    /// The table of KMS, "Impact of CMK states on API calls".
    #[test]
    fn states_follow_each_other_as_kms_has_it() {
        use KeyState::{Disabled, Enabled};
        let stays = Err(Refusal::KeyStateStays);
        for (state, enabled, disabled, usable) in [
            (Enabled, Ok(Enabled), Ok(Disabled), Ok(())),
            (Disabled, Ok(Enabled), Ok(Disabled), Err(Refusal::KeyDisabled)),
            (PENDING, stays.clone(), stays, Err(Refusal::KeyPendingDeletion)),
        ] {
            assert_eq!(
                (state.after(KeyOrder::Enable), state.after(KeyOrder::Disable), state.usable()),
                (enabled, disabled, usable),
                "{state}"
            );
        }
    }
}
