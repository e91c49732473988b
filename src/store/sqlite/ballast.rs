//! Room on the disk for bytes that a writer was told are taken.
//!
//! A file system that is full says so when the log grows, which is at the commit; a shell's `echo` listens only at its
//! write. So the write takes room first: the file `ballast` is kept as large as all commits that are promised may need, and
//! a commit that finds the disk full gives its part back and tries again. Where the disk has plenty, the room of one commit is
//! kept for the next: to take and to give it takes as long as a third of a commit.
//!
//! Beside that stands a reserve for changes that make room or undo a mistake: with nothing at all a full disk could not even
//! be cleared. The file's length is all that counts, so whose part of it is given back makes no difference.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs, ftruncate};
use rustix::io::Errno;

use super::super::{CommitError, Reservation};

/// What a commit writes beside its sealed bytes, at most. Each page it touches is a frame of 4,120 bytes in the log: the
/// root-to-leaf paths and splits of four trees (some 40 pages), and the pages of a value that rolls away, which
/// secure_delete overwrites (9 and their free list). The log's index grows by 32 KiB at a time. Twice that is kept, since a
/// file system needs blocks of its own to record the new extents.
const COMMIT_BYTES: u64 = 512 * 1024;

/// The standing reserve, in bytes: room for so many changes that make room, each as large as they come.
const STANDING: u64 = 4 * COMMIT_BYTES;
/// Free bytes of a disk that has plenty.
const PLENTY: u64 = 64 * 1024 * 1024;
/// The most that is kept of what nobody needs any more: the room of one commit of the largest value.
const SPARE_MAX: u64 = COMMIT_BYTES + 128 * 1024;
/// File systems give room in blocks; less than one of this size is not asked for.
const BLOCK: u64 = 4096;

/// The ballast file and whose room it is.
pub(super) struct Ballast {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    held: Mutex<Held>,
}

/// What the file is made of: it is as long as these together.
#[derive(Default)]
struct Held {
    promised: u64,
    /// The standing reserve, as much of it as there was room for.
    standing: u64,
    /// Room that was promised and is kept for the next promise.
    spare: u64,
    /// The standing reserve is with the disk, for a commit that is under way.
    lent: bool,
}

/// One promise; dropping it gives its room back.
struct Promise {
    shared: Arc<Shared>,
    bytes: u64,
}

/// The standing reserve, given to the disk; dropping it takes back what is left.
pub(super) struct Lent<'a> {
    ballast: &'a Ballast,
}

impl Ballast {
    /// Opens the file, and gives back what a process that died had promised. It has no standing reserve yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = super::private_file(path)?;
        file.set_len(0)?;
        Ok(Self { shared: Arc::new(Shared { file, held: Mutex::default() }) })
    }

    /// Takes room for one commit of `bytes` sealed bytes, or says now that there is none.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        let bytes = u64::try_from(bytes).map_err(|_| CommitError::TooLarge)? * 2 + COMMIT_BYTES;
        let mut held = self.shared.held.lock();
        self.shared.refill(&mut held);
        if held.lent {
            return Err(CommitError::Full);
        }
        let spare = held.spare.min(bytes);
        if spare < bytes {
            match self.shared.grow(&mut held, bytes - spare) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Err(CommitError::Full),
                Err(error) => return Err(CommitError::Unavailable(error.to_string())),
            }
        }
        held.spare -= spare;
        held.promised += bytes;
        Ok(Reservation::held(Box::new(Promise { shared: self.shared.clone(), bytes })))
    }

    /// Gives the standing reserve to the disk for one commit.
    pub fn lend(&self) -> Lent<'_> {
        let mut held = self.shared.held.lock();
        (held.standing, held.spare, held.lent) = (0, 0, true);
        self.shared.cut(&held);
        Lent { ballast: self }
    }

    /// Takes for the standing reserve what is missing of it, as far as there is room.
    pub fn refill(&self) {
        self.shared.refill(&mut self.shared.held.lock());
    }

    /// Bytes that are missing of the standing reserve.
    pub fn missing(&self) -> u64 {
        STANDING - self.shared.held.lock().standing
    }
}

impl Shared {
    fn refill(&self, held: &mut Held) {
        if held.lent || held.standing == STANDING {
            return;
        }
        let missing = STANDING - held.standing;
        let free = fstatvfs(&self.file).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        for bytes in [missing, missing.min(free) / BLOCK * BLOCK] {
            if bytes > 0 && self.grow(held, bytes).is_ok() {
                held.standing += bytes;
                return;
            }
        }
    }

    /// Adds `bytes` to the file, or leaves it as it was.
    fn grow(&self, held: &mut Held, bytes: u64) -> Result<(), Errno> {
        let grown = allocate(&self.file, held.len(), bytes);
        if grown.is_err() {
            // What was allocated before the disk was full is given back, and what is only kept.
            held.spare = 0;
            self.cut(held);
        }
        grown
    }

    /// Makes the file as long as what is held.
    fn cut(&self, held: &Held) {
        if let Err(error) = ftruncate(&self.file, held.len()) {
            log::warn!("the store's ballast keeps room that nobody needs: {error}");
        }
    }
}

impl Held {
    fn len(&self) -> u64 {
        self.promised + self.standing + self.spare
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut held = self.shared.held.lock();
        held.promised -= self.bytes;
        let plenty =
            fstatvfs(&self.shared.file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= PLENTY);
        let kept = held.spare + self.bytes;
        held.spare = if plenty && !held.lent { kept.min(SPARE_MAX) } else { 0 };
        if held.spare < kept {
            self.shared.cut(&held);
        }
    }
}

impl Drop for Shared {
    /// A store that is closed keeps no room.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0) {
            log::warn!("the store's ballast keeps room that nobody needs: {error}");
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut held = self.ballast.shared.held.lock();
        held.lent = false;
        self.ballast.shared.refill(&mut held);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_one_commit_is_kept_where_there_is_plenty() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::open(&dir.path().join("ballast")).unwrap();
        ballast.refill();
        let len = || std::fs::metadata(dir.path().join("ballast")).unwrap().len() - STANDING;
        let one = ballast.reserve(1000).unwrap();
        let of_one = len();
        let two = ballast.reserve(1000).unwrap();
        assert_eq!(len(), 2 * of_one);
        drop(one);
        assert_eq!(len(), 2 * of_one, "one is promised, one kept");
        drop(two);
        assert!(len() >= of_one && len() <= SPARE_MAX, "{}", len());
        drop(ballast.reserve(1000).unwrap());
        assert!(len() <= SPARE_MAX);
        drop(ballast);
        assert_eq!(std::fs::metadata(dir.path().join("ballast")).unwrap().len(), 0);
    }
}
