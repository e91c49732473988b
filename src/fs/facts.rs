//! Who a caller is beside its uid, for the audit: its process, the program in it, what it calls itself, its cgroup.
//!
//! All of it is read before the caller is answered, so that it cannot go away meanwhile. The link `exe` is followed by statx(2), which
//! asks no file system but has its kernel's memory answer.
//!
//! Invariant: of a caller that closes a file, the links of /proc are not asked. It may be in the middle of execve(2), which closes files
//! while it holds the lock that a reader of these links waits for (docs/decisions.md). `status`, `comm` and `cgroup` take none.
//!
//! To read all of it costs as much as a read of a value. So it is remembered for as long as thread and program are the same, which is
//! looked at each time, and for a second at most: only what a process calls itself, its cgroup, and the name by which the same file
//! was started may be that much older than the record.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, makedev, openat, readlinkat, statx};

use super::threads::Threads;
use crate::vault::{Exe, Facts};

/// Threads remembered; the one that asked longest ago goes.
const KNOWN: NonZeroUsize = NonZeroUsize::new(1024).expect("1,024 is not zero");
/// How long what a process can change of itself is remembered.
const FRESH: Duration = Duration::from_secs(1);
/// The longest of what a file of /proc is read here: a path of a cgroup has 4,096 bytes at most.
const READ_MAX: usize = 5 * 1024;

struct Known {
    directory: u64,
    /// Device and inode number of the program.
    program: Option<(u64, u64)>,
    read: Instant,
    facts: Arc<Facts>,
}

/// The callers seen lately.
pub struct Callers {
    threads: Threads,
    known: Mutex<LruCache<u32, Known>>,
}

impl Default for Callers {
    fn default() -> Self {
        Self { threads: Threads::default(), known: Mutex::new(LruCache::new(KNOWN)) }
    }
}

impl Callers {
    /// What is known of thread `tid`, which waits for the answer to a close: what it was when it was looked at last, else what can be
    /// known without its program.
    pub fn remembered(&self, tid: u32) -> Option<Arc<Facts>> {
        let directory = self.threads.directory_of(tid)?;
        if let Some(known) = self.known.lock().get(&tid).filter(|known| known.directory == directory) {
            return Some(known.facts.clone());
        }
        self.read_all(tid, None).map(Arc::new)
    }

    /// What there is to know of thread `tid`, which waits for an answer, to whatever but a close; `None` where /proc does not show
    /// it.
    pub fn facts(&self, tid: u32) -> Option<Arc<Facts>> {
        let directory = self.threads.directory_of(tid)?;
        let program = self.program(tid);
        let is_fresh =
            |known: &&Known| known.directory == directory && known.program == program && known.read.elapsed() < FRESH;
        if let Some(known) = self.known.lock().get(&tid).filter(is_fresh) {
            return Some(known.facts.clone());
        }
        let read = Instant::now();
        let path = readlinkat(self.threads.proc()?, exe_name(tid), Vec::new());
        let exe = program.zip(path.ok()).map(|((dev, ino), path)| Exe { path: path.into_bytes(), dev, ino });
        let facts = Arc::new(self.read_all(tid, exe)?);
        self.known.lock().put(tid, Known { directory, program, read, facts: facts.clone() });
        Some(facts)
    }

    fn read_all(&self, tid: u32, exe: Option<Exe>) -> Option<Facts> {
        let (tgid, identity) = self.threads.process_of(tid)?.to_parts();
        let comm = self.read(tid, "comm").unwrap_or_default();
        let cgroup = self.read(tid, "cgroup").unwrap_or_default();
        let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
        Some(Facts::new(tgid, identity, comm, exe, unified(&cgroup)))
    }

    /// The file of the program that thread `tid` runs. A kernel thread has none.
    fn program(&self, tid: u32) -> Option<(u64, u64)> {
        // What is open on a file system that does not answer must hold nobody up.
        let flags = AtFlags::STATX_DONT_SYNC;
        let found = statx(self.threads.proc()?, exe_name(tid).as_str(), flags, StatxFlags::INO).ok()?;
        Some((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
    }

    fn read(&self, tid: u32, name: &str) -> Option<Vec<u8>> {
        let file =
            openat(self.threads.proc()?, format!("{tid}/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .ok()?;
        let mut buffer = vec![0; READ_MAX];
        let len = rustix::io::read(file, &mut buffer[..]).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }
}

fn exe_name(tid: u32) -> String {
    format!("{tid}/exe")
}

/// The one cgroup of a process where there is one hierarchy, else all of them as the kernel lists them.
fn unified(cgroup: &[u8]) -> &[u8] {
    let all = cgroup.strip_suffix(b"\n").unwrap_or(cgroup);
    all.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).unwrap_or(all)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_becomes_another_program_is_seen_to() {
        let callers = Callers::default();
        let mut shell = Command::new("bash")
            .args(["-c", "echo; read; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut out, mut line) = (BufReader::new(shell.stdout.take().unwrap()), String::new());
        out.read_line(&mut line).unwrap();
        let tid = shell.id();
        let path = |facts: Arc<Facts>| String::from_utf8(facts.exe.clone().unwrap().path).unwrap();
        let first = callers.facts(tid).unwrap();
        assert!(Arc::ptr_eq(&first, &callers.facts(tid).unwrap()), "it is remembered");
        assert_eq!(first.tgid, tid);
        assert!(path(first.clone()).ends_with("/bash"));
        let mut input = shell.stdin.take().unwrap();
        input.write_all(b"go\nthrough\n").unwrap();
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "through\n");
        let second = callers.facts(tid).unwrap();
        assert!(path(second.clone()).ends_with("/cat"), "within the second");
        assert_eq!((second.tgid, second.identity), (first.tgid, first.identity));
        assert!(Arc::ptr_eq(&second, &callers.remembered(tid).unwrap()), "at a close it is what it was");
        let stranger = Callers::default().remembered(tid).unwrap();
        assert_eq!((stranger.tgid, &stranger.exe), (tid, &None));
        drop(input);
        shell.wait().unwrap();
        assert_eq!(callers.facts(tid), None);
    }

    #[test]
    fn the_unified_hierarchy_is_preferred() {
        for (text, expected) in [
            (&b"0::/user.slice\n"[..], &b"/user.slice"[..]),
            (b"2:cpu:/a\n0::/b\n", b"/b"),
            (b"2:cpu:/a\n1:memory:/b\n", b"2:cpu:/a\n1:memory:/b"),
            (b"", b""),
        ] {
            assert_eq!(unified(text), expected);
        }
    }
}
