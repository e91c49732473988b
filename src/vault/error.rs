//! What can come of asking the vault.

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
    #[error(transparent)]
    Store(#[from] StoreError),
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
    Lost { what: &'static str, node: NodeId },
    /// A record opens, but what it holds makes no sense.
    #[error("the store is damaged: the record of node {} cannot be read", node.0)]
    Unreadable { node: NodeId },
    /// All numbers of the tree are used up.
    #[error("the store has no node number left")]
    OutOfNodes,
    /// An unlock slot that cannot be taken or removed.
    #[error("{0}")]
    Slot(String),
}

impl From<CryptoError> for VaultError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Altered { .. } | CryptoError::Malformed { .. } => VaultError::Sealed(error),
            CryptoError::Random | CryptoError::Cost => VaultError::Crypto(error),
        }
    }
}

/// Why a store could not be unlocked. Each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    #[error("the key does not open any unlock slot of the store")]
    WrongKey,
    #[error("the store has no unlock slot for this kind of key")]
    OtherKind,
    #[error("unlock slot {0} of the store is damaged")]
    SlotDamaged(u8),
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("the store has format {found}, this kmsfs knows up to {known}")]
    Newer { found: u16, known: u16 },
    #[error(transparent)]
    Store(#[from] StoreError),
}
