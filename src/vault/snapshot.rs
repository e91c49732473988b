//! Copying the whole store, sealed as it is: what a backup reads. No key takes part.

use super::memory::may_wait;
use super::{Vault, VaultError};
use crate::store::{CommitError, Snapshot, SnapshotError, Store as _, StoreError};

impl Vault {
    /// The store as it is now, in a file of its own beside it.
    pub fn snapshot(&self) -> Result<Snapshot, VaultError> {
        may_wait_for_disk()?;
        // A change whose outcome is open is first found out about: the copy would have it or not, by chance.
        drop(self.ledger()?);
        Ok(self.store.snapshot()?)
    }

    /// The part of a snapshot at `offset` of up to `size` bytes.
    pub fn read_snapshot(&self, snapshot: &Snapshot, offset: u64, size: usize) -> Result<Vec<u8>, VaultError> {
        may_wait_for_disk()?;
        Ok(snapshot.read_at(offset, size)?)
    }

    /// Whether the caller may wait for a disk, as to let go of a snapshot does, which frees its room.
    pub fn may_wait(&self) -> Result<(), VaultError> {
        may_wait_for_disk()
    }
}

fn may_wait_for_disk() -> Result<(), VaultError> {
    if may_wait() { Ok(()) } else { Err(StoreError::WouldWait.into()) }
}

impl From<SnapshotError> for VaultError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Full => VaultError::Commit(CommitError::Full),
            SnapshotError::Store(error) => VaultError::Store(error),
        }
    }
}
