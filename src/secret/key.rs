//! A key's state, as far as it concerns the secrets under it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::time::Timestamp;

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

impl KeyState {
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
