//! Room on the disk for bytes that a writer was told are taken.
//!
//! A file system that is full says so when the log grows, which is at the commit; a shell's `echo` listens only at its
//! write. So the write takes room first: the file `ballast` is kept as large as all commits that are promised may need, and
//! a commit that finds the disk full gives its part back and tries again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;

use super::super::{CommitError, Reservation};

/// What a commit writes beside its sealed bytes, at most. Each page it touches is a frame of 4,120 bytes in the log: the
/// root-to-leaf paths and splits of four trees (some 40 pages), and the pages of a value that rolls away, which
/// secure_delete overwrites (9 and their free list). The log's index grows by 32 KiB at a time. Twice that is kept, since a
/// file system needs blocks of its own to record the new extents.
const COMMIT_BYTES: u64 = 512 * 1024;

/// The ballast file and how much of it is promised.
pub(super) struct Ballast {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    promised: Mutex<u64>,
}

/// One promise; dropping it gives its room back.
struct Promise {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Ballast {
    /// Opens the file, and gives back what a process that died had promised.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = super::private_file(path)?;
        file.set_len(0)?;
        Ok(Self { shared: Arc::new(Shared { file, promised: Mutex::new(0) }) })
    }

    /// Takes room for one commit of `bytes` sealed bytes, or says now that there is none.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        let bytes = u64::try_from(bytes).map_err(|_| CommitError::TooLarge)? * 2 + COMMIT_BYTES;
        let mut promised = self.shared.promised.lock();
        match allocate(&self.shared.file, *promised, bytes) {
            Ok(()) => {
                *promised += bytes;
                Ok(Reservation::held(Box::new(Promise { shared: self.shared.clone(), bytes })))
            }
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                // What was allocated before the disk was full is given back.
                ftruncate(&self.shared.file, *promised).map_err(|error| CommitError::Unavailable(error.to_string()))?;
                Err(CommitError::Full)
            }
            Err(error) => Err(CommitError::Unavailable(error.to_string())),
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = self.shared.promised.lock();
        *promised -= self.bytes;
        if let Err(error) = ftruncate(&self.shared.file, *promised) {
            log::warn!("the store's ballast keeps room that nobody needs: {error}");
        }
    }
}

/// Allocates blocks, by writing where the file system cannot do it otherwise.
fn allocate(file: &File, from: u64, bytes: u64) -> Result<(), Errno> {
    match fallocate(file, FallocateFlags::empty(), from, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            rustix::fs::seek(file, rustix::fs::SeekFrom::Start(from))?;
            let zeros = vec![0; usize::try_from(bytes).map_err(|_| Errno::FBIG)?];
            let mut file = file;
            file.write_all(&zeros).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        other => other,
    }
}
