//! Which process a thread is of, remembered: to look it up costs as much as half a read.
//!
//! A thread's number can be given again. What does not come again is the inode number of its directory in /proc, which the
//! kernel makes anew for each task, and may make anew for the same one: so a number that is unlike the one remembered means
//! that somebody has to look, and one that is alike that it is still that thread.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use rustix::path::DecInt;

use super::process::Process;

/// Threads remembered; the one that asked longest ago goes.
const KNOWN: NonZeroUsize = NonZeroUsize::new(1024).expect("1,024 is not zero");

/// A thread's directory in /proc and its process.
#[derive(Clone, Copy)]
struct Known {
    directory: u64,
    process: Process,
}

pub struct Threads {
    /// /proc itself; none where there is no /proc, and then nobody is known.
    proc: Option<OwnedFd>,
    known: Mutex<LruCache<u32, Known>>,
}

impl Default for Threads {
    fn default() -> Self {
        let proc = open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
        Self { proc, known: Mutex::new(LruCache::new(KNOWN)) }
    }
}

impl Threads {
    /// The inode number of the directory in /proc of thread `tid`, which waits for an answer.
    pub fn directory_of(&self, tid: u32) -> Option<u64> {
        Some(statat(self.proc.as_ref()?, DecInt::new(tid), AtFlags::empty()).ok()?.st_ino)
    }

    /// /proc itself.
    pub fn proc(&self) -> Option<&OwnedFd> {
        self.proc.as_ref()
    }

    /// The process of thread `tid`, which waits for an answer.
    pub fn process_of(&self, tid: u32) -> Option<Process> {
        let directory = self.directory_of(tid)?;
        if let Some(known) = self.known.lock().get(&tid).filter(|known| known.directory == directory) {
            return Some(known.process);
        }
        let process = Process::of_thread(tid)?;
        self.known.lock().put(tid, Known { directory, process });
        Some(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_again_and_told_from_another() {
        let threads = Threads::default();
        let tid = || rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let me = Process::of_thread(tid()).unwrap();
        for _ in 0..2 {
            assert_eq!(threads.process_of(tid()), Some(me));
        }
        let number = tid();
        let other = Process::numbered(1).unwrap();
        threads.known.lock().put(number, Known { directory: 0, process: other });
        assert_eq!(threads.process_of(number), Some(me), "what had the number before was another");
        let gone = std::thread::spawn(tid).join().unwrap();
        threads.known.lock().put(gone, Known { directory: 0, process: other });
        assert_ne!(threads.process_of(gone), Some(other));
    }
}
