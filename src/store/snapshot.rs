//! A copy of a whole store: what a backup is made of.
//!
//! It holds the rows as they are, sealed, and is in the form of the embedded engine's database whatever engine made it: put
//! into an empty directory it is a store. Invariant: all of it is of one moment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::StoreError;

/// A store as it was at one moment, in a file without a name, which goes with its last holder.
#[derive(Debug)]
pub struct Snapshot {
    file: File,
    len: u64,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The copy would not fit beside the store, or did not.
    #[error("the store's disk has no room for a copy of the store")]
    Full,
    /// The store could not be read, or the copy not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Snapshot {
    /// One that is in `file`, whole.
    pub(super) fn in_file(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Bytes of it.
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The part at `offset` of up to `size` bytes; less only at its end.
    ///
    /// # Errors
    /// Of the disk that it is on.
    pub fn read_at(&self, offset: u64, size: usize) -> Result<Vec<u8>, StoreError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(left)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(bytes)
    }
}
