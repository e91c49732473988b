//! What can come of asking the vault.

use crate::audit::AuditError;
use crate::crypto::CryptoError;
use crate::id::NodeId;
use crate::secret::Refusal;
pub use crate::store::{CommitError, StoreError};

/// Why a verb of the vault did nothing.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A rule says no; the caller can do something about it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A row could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change was decided, and did not get to the disk, or may not have.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record, value or key does not open: altered, or not where it was written.
    #[error("the store is damaged: {0}")]
    Sealed(CryptoError),
    /// The system gave no random bytes, or the derivation's cost is out of bounds.
    #[error("{0}")]
    Crypto(CryptoError),
    /// A row that another row names is not there.
    #[error("the store is damaged: {what} of node {} is missing", node.0)]
    Lost {
        /// What kind of row it is, with its article: `a value`.
        what: &'static str,
        /// The node it belongs to.
        node: NodeId,
    },
    /// A record opens, but what it holds makes no sense.
    #[error("the store is damaged: the record of node {} cannot be read", node.0)]
    Unreadable {
        /// The record's own node.
        node: NodeId,
    },
    /// An older copy of the store, or one that went its own way, was put in its place while it was open.
    #[error("the store was left at change {left}, and another one is found in its place, at change {found}")]
    Replaced {
        /// The change that memory has.
        left: u64,
        /// The change that the disk has.
        found: u64,
    },
    /// All numbers of the tree are used up.
    #[error("the store has no node number left")]
    OutOfNodes,
    /// Nobody took the record of it, so nothing was done; or the records cannot be read.
    #[error(transparent)]
    Audit(AuditError),
    /// An unlock slot that cannot be taken or removed.
    #[error("{0}")]
    Slot(String),
}

impl VaultError {
    /// Whether nothing is wrong, but that the answer has to be read from a disk: see [`super::from_memory`].
    pub fn would_wait(&self) -> bool {
        matches!(self, VaultError::Store(StoreError::WouldWait))
    }

    /// Whether the caller did nothing wrong: the store or its disk failed.
    pub fn is_failure(&self) -> bool {
        !matches!(self, VaultError::Refused(_))
    }

    /// Whether the change was made, and only its record may be lost.
    pub fn was_made(&self) -> bool {
        matches!(self, VaultError::Audit(AuditError::Unsynced))
    }

    /// Whether what is stored is at fault: not the caller, the disk or the machine.
    pub fn is_damage(&self) -> bool {
        match self {
            VaultError::Store(StoreError::Damaged(_))
            | VaultError::Sealed(_)
            | VaultError::Lost { .. }
            | VaultError::Unreadable { .. }
            | VaultError::Replaced { .. } => true,
            VaultError::Store(StoreError::Io(_) | StoreError::WouldWait)
            | VaultError::Refused(_)
            | VaultError::Commit(_)
            | VaultError::Crypto(_)
            | VaultError::OutOfNodes
            | VaultError::Audit(_)
            | VaultError::Slot(_) => false,
        }
    }
}

impl From<CryptoError> for VaultError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Altered { .. } | CryptoError::Malformed { .. } => VaultError::Sealed(error),
            CryptoError::Random | CryptoError::Cost => VaultError::Crypto(error),
        }
    }
}

/// Whether the change was made that `outcome` is of, though its record may be lost.
pub(super) fn is_made(outcome: &Result<(), VaultError>) -> bool {
    outcome.as_ref().err().is_none_or(VaultError::was_made)
}

/// Why a store could not be unlocked. Each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Slots for this kind of key are there, whole, and none is its.
    #[error("the key does not open any unlock slot of the store")]
    WrongKey,
    /// A key file where only passphrases open the store, or the other way round.
    #[error("the store has no unlock slot for this kind of key")]
    OtherKind,
    /// No slot opened, and the one of this number, which may be the key's, cannot be read.
    #[error("unlock slot {0} of the store is damaged")]
    SlotDamaged(u8),
    /// No slot opened, and the one of this number was left out. Costs are read from the disk before anything is verified.
    #[error("unlock slot {0} of the store was not tried: trying all slots would cost more than a store may ask for")]
    SlotTooCostly(u8),
    /// The key opens the slot of this number, which is none that the head knows.
    #[error("unlock slot {0}, which the key opens, was removed from the store; somebody has put it back")]
    SlotPutBack(u8),
    /// The header or the head is missing, altered or without sense; which, and how.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The header is of a later kmsfs; nothing was tried.
    #[error("the store has format {found}, this kmsfs knows up to {known}")]
    Newer {
        /// The format that the header names.
        found: u16,
        /// The newest that this program opens.
        known: u16,
    },
    /// Header, slots or head could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
