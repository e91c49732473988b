//! What to remember of a store outside of it, so that an older copy put in its place is known.
//!
//! Knows no file: whoever keeps the anchor compares it with [`Vault::anchor`] when the store is opened again. Invariant: two
//! heads of one store have the same anchor only if they are the same head.

use super::Vault;
use crate::id::StoreId;

/// The head of a store at one commit, as who has no key may hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The store, so that the anchor of another one is not taken for an older head.
    pub store: StoreId,
    /// Commits so far.
    pub counter: u64,
    /// A keyed hash of the head.
    pub mark: [u8; 32],
}

impl Vault {
    /// The anchor of the last commit.
    pub fn anchor(&self) -> Anchor {
        let ledger = self.ledger.lock();
        let store = self.keyring.store_id;
        Anchor { store, counter: ledger.head.counter, mark: self.keyring.master.anchor_mark(store, &ledger.head) }
    }
}
