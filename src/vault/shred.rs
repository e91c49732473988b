//! Shredding that a purge could not do: owed, told, and tried again.
//!
//! A purge is done when its commit is: the wrapped keys are overwritten in their place. What shredding adds is that no older
//! copy of them stays in the engine's log. Invariant: what is owed is owed until a later shredding has succeeded, also when the
//! process dies: the next one owes it from its start.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Vault, VaultError};
use crate::store::Store as _;

/// Whether the engine's log may still hold what a purge has deleted.
pub(super) struct Owed(AtomicBool);

impl Default for Owed {
    /// Nobody knows what a process that died has left in the log.
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Vault {
    /// Empties the engine's log, or owes it.
    pub(super) fn shred(&self) -> Result<(), VaultError> {
        let outcome = self.store.shred();
        self.owed.0.store(outcome.is_err(), Ordering::SeqCst);
        Ok(outcome?)
    }

    /// Has the log emptied at the next occasion: something may be in it.
    pub(super) fn owe_shredding(&self) {
        self.owed.0.store(true, Ordering::SeqCst);
    }

    /// Empties the log behind a purge, which is done whatever comes of it.
    pub(super) fn shred_behind_purge(&self) {
        if let Err(error) = self.shred() {
            log::error!(
                "a purged secret's wrapped keys may still be in the store's log, which is tried again: {error}"
            );
        }
    }

    /// Empties the log that the last process has left, if it was killed: in it may be what that one has purged.
    pub(super) fn shred_what_was_left(&self) {
        if let Err(error) = self.shred() {
            log::error!("what was purged before may still be in the store's log, which is tried again: {error}");
        }
    }

    /// Measures how the engine stands, for those who ask and may not wait for a disk.
    pub fn measure(&self) {
        self.store.measure();
    }

    /// Whether what a purge has deleted may still be in the store's files.
    pub fn owes_shredding(&self) -> bool {
        self.owed.0.load(Ordering::SeqCst)
    }

    /// Tries again what a purge could not do. Nothing happens where nothing is owed.
    pub fn shred_what_is_owed(&self) {
        if !self.owes_shredding() {
            return;
        }
        match self.ledger().and_then(|_ledger| self.shred()) {
            Ok(()) => log::info!("the store's log is empty: nothing of what was purged is in it"),
            Err(error) => log::warn!("the store's log is not yet empty: {error}"),
        }
    }
}
