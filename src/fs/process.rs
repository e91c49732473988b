//! What /proc says of a caller: its process, that one's children, and whether it is being killed or interrupted.
//!
//! A FUSE request carries a thread's id. Until it is answered the caller cannot go away, so what is read before the answer
//! is true of it. Reading /proc sends no request to this filesystem, but it can wait for one: execve(2) closes descriptors,
//! and so sends their FLUSH, while it holds the lock that a reader of `/proc/<pid>/stat` waits for. Invariant: `stat` is read
//! of no task but one that is exiting, which holds no such lock. All else that is read of a process, here and in `look` and
//! `threads`, takes none: the text of `status`, `uid_map`, `fdinfo`, `children` and `mountinfo`, the list of `task`, stat(2) of `fd`,
//! `task` and `/proc/<tid>` (docs/decisions.md).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    pub tgid: u32,
    /// The inode number of its pidfd: one for each process that ever was since Linux 6.9, one for all before.
    identity: u64,
}

/// The flag of a task that has begun to exit, in `/proc/<pid>/stat`.
const PF_EXITING: u64 = 0x4;
/// The bits of an exit code that name a signal.
const SIGNAL_BITS: u64 = 0x7f;
/// More than any file of /proc that is read here has: each is read by one read(2), which gives all of it.
const FILE_MAX: usize = 8 * 1024;

impl Process {
    /// As plain numbers.
    pub fn to_parts(self) -> (u32, u64) {
        (self.tgid, self.identity)
    }

    /// The one that [`Process::to_parts`] was asked of; `None` for zeros.
    pub fn from_parts((tgid, identity): (u32, u64)) -> Option<Self> {
        (tgid != 0).then_some(Self { tgid, identity })
    }

    /// The process of thread `tid`.
    pub fn of_thread(tid: u32) -> Option<Self> {
        // A process is numbered as its first thread, and a pidfd is had of no other: that spares a program of one thread the
        // text of /proc.
        Self::numbered(tid).or_else(|| {
            let status = read(&format!("/proc/{tid}/status"))?;
            Self::numbered(field(&status, "Tgid:")?.parse().ok()?)
        })
    }

    /// The process numbered `tgid`.
    pub fn numbered(tgid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(tgid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { tgid, identity: rustix::fs::fstat(pidfd).ok()?.st_ino })
    }

    /// Whether it is still there. A zombie is, and has no descriptors.
    pub fn is_there(self) -> bool {
        Self::numbered(self.tgid) == Some(self)
    }

    /// Whether it runs, or waits for a disk: it does not sleep.
    pub fn runs(self) -> bool {
        let status = read(&format!("/proc/{}/status", self.tgid));
        status.is_some_and(|status| field(&status, "State:").is_some_and(|state| state.starts_with(['R', 'D'])))
    }

    /// The processes that its threads have started and not yet buried.
    pub fn children(self) -> Vec<u32> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.tgid)) else { return Vec::new() };
        let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
        let lists: Vec<String> = threads.flatten().filter_map(of_thread).collect();
        lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).collect()
    }
}

/// The `major:minor` of what is mounted on `point`, from the kernel's table: the mount itself is not touched.
pub fn device_of(point: &Path) -> Option<String> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let point = point.as_os_str().as_bytes();
    let lines = mounts.split(|byte| *byte == b'\n').rev();
    let mut fields = lines.map(|line| line.split(|byte| *byte == b' ').collect::<Vec<_>>());
    let ours = fields.find(|fields| fields.get(4).is_some_and(|path| unescaped(path) == point))?;
    String::from_utf8(ours.get(2)?.to_vec()).ok()
}

/// Whether thread `tid` is exiting because a signal killed its process.
pub fn is_being_killed(tid: u32) -> bool {
    read(&format!("/proc/{tid}/status")).is_some_and(|status| is_killed(tid, &status))
}

fn is_killed(tid: u32, status: &str) -> bool {
    // A task that exits has let go of its memory before it closes its files. One in execve(2) has memory, and holds the lock.
    if field(status, "VmSize:").is_some() {
        return false;
    }
    let stat = fs::read(format!("/proc/{tid}/stat")).ok();
    stat.and_then(|stat| Stat::parse(&stat)).is_some_and(|stat| stat.is_exiting && stat.signal != 0)
}

/// Whether thread `tid` is to end what it does: a signal killed its process, or waits for it. Those signals are not counted that it
/// blocks or ignores, nor those that come to programs which want to go on.
pub fn is_interrupted(tid: u32) -> bool {
    read(&format!("/proc/{tid}/status")).is_some_and(|status| interrupts(&status) || is_killed(tid, &status))
}

fn interrupts(status: &str) -> bool {
    let signals = |name| field(status, name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    let pending = signals("SigPnd:") | signals("ShdPnd:");
    let heard = !signals("SigBlk:") & !signals("SigIgn:") & !harmless();
    pending & (heard | bit(libc::SIGKILL)) != 0
}

/// Signals that nobody sends to have a program stop what it does: those that by default are ignored, stop it or have it go on;
/// timers of profilers; news of input; and the three that C libraries use among their threads.
fn harmless() -> u64 {
    let by_default = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let news = [libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO];
    let of_libraries = [32, 33, 34];
    [&by_default[..], &stops, &news, &of_libraries].concat().into_iter().fold(0, |set, signal| set | bit(signal))
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// A file of /proc.
pub fn read(path: &str) -> Option<String> {
    let mut buffer = [0; FILE_MAX];
    let len = File::open(path).ok()?.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// A path of the kernel's table, where a blank is `\\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// What stands behind `name` at the beginning of a line.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Some fields of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    is_exiting: bool,
    /// The signal that killed it; 0 while it runs, and to readers without ptrace access.
    signal: u64,
}

impl Stat {
    /// The command's name may hold anything, so fields count from the last parenthesis; the state is field 3.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let flags: u64 = field(9)?.parse().ok()?;
        let exit_code: u64 = field(52).and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(Self { is_exiting: flags & PF_EXITING != 0, signal: exit_code & SIGNAL_BITS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_name_does_not_shift_the_fields() {
        // (flags, exit code) -> (is exiting, signal)
        for ((flags, code), (is_exiting, signal)) in
            [((0, 0), (false, 0)), ((0x40_0404, 9), (true, 9)), ((4, 0x8b), (true, 11)), ((4, 0x300), (true, 0))]
        {
            let mut stat = b"12 (a) b (\xff) S 1 ".to_vec();
            let number = |n: u32| {
                if n == 9 {
                    flags
                } else if n == 52 {
                    code
                } else {
                    7
                }
            };
            stat.extend((5..=52).map(|n| format!("{} ", number(n))).collect::<String>().bytes());
            assert_eq!(Stat::parse(&stat), Some(Stat { is_exiting, signal }), "{flags} {code}");
        }
        assert_eq!(Stat::parse(b"nonsense"), None);
    }

    #[test]
    fn signals_that_are_to_end_something_are_told_from_others() {
        // (signal, blocked, ignored) -> whether it interrupts
        for ((signal, blocked, ignored), expected) in [
            ((libc::SIGINT, 0, 0), true),
            ((libc::SIGTERM, 0, bit(libc::SIGINT)), true),
            ((libc::SIGINT, bit(libc::SIGINT), 0), false),
            ((libc::SIGINT, 0, bit(libc::SIGINT)), false),
            ((libc::SIGKILL, u64::MAX, u64::MAX), true),
            ((libc::SIGCHLD, 0, 0), false),
            ((libc::SIGTSTP, 0, 0), false),
            ((libc::SIGPROF, 0, 0), false),
            ((33, 0, 0), false),
            ((64, 0, 0), true),
        ] {
            for (own, shared) in [(bit(signal), 0), (0, bit(signal))] {
                let status = format!(
                    "State:\tD\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n"
                );
                assert_eq!(interrupts(&status), expected, "{status}");
            }
        }
        assert!(!interrupts("SigPnd:\t0000000000000000\n"));
    }

    #[test]
    fn this_process_is_known() {
        let me = Process::of_thread(std::process::id()).unwrap();
        let from_a_thread =
            std::thread::spawn(|| Process::of_thread(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()));
        assert_eq!(from_a_thread.join().unwrap(), Some(me));
        assert!(me.is_there() && !is_being_killed(me.tgid));
    }
}
