//! What /proc says of a caller: its process, whether it is being killed, and which descriptors of a file it still has.
//!
//! A FUSE request carries a thread's id. Until it is answered the caller cannot go away, so what is read before the answer
//! is true of it. Reading /proc sends no request to this filesystem, but it can wait for one: execve(2) closes descriptors,
//! and so sends their FLUSH, while it holds the lock that a reader of /proc/<pid>/stat waits for. Invariant: `stat` is read
//! of no task but one that is exiting, which holds no such lock; all else comes from `status`, `fdinfo` and `children`,
//! which take none (docs/decisions.md).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub tgid: u32,
    /// The inode number of its pidfd: one for each process that ever was since Linux 6.9, one for all before.
    identity: u64,
}

/// Descendants looked at when asking who still holds a file: more than any pipeline, few enough for a close to wait for.
const DESCENDANTS_MAX: usize = 512;
/// Descriptors looked at for one close: each costs a few microseconds, in which no other change is made.
const DESCRIPTORS_MAX: usize = 2_048;
/// The flag of a task that has begun to exit, in /proc/<pid>/stat.
const PF_EXITING: u64 = 0x4;
/// The bits of an exit code that name a signal.
const SIGNAL_BITS: u64 = 0x7f;
/// More than any file of /proc that is read here has: each is read by one read(2), which gives all of it.
const FILE_MAX: usize = 8 * 1024;

impl Process {
    /// The process of thread `tid`.
    pub fn of_thread(tid: u32) -> Option<Self> {
        let status = read(&format!("/proc/{tid}/status"))?;
        Self::numbered(field(&status, "Tgid:")?.parse().ok()?)
    }

    fn numbered(tgid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(tgid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { tgid, identity: rustix::fs::fstat(pidfd).ok()?.st_ino })
    }

    /// Whether it is still there. A zombie is, and has no descriptors.
    fn is_there(self) -> bool {
        Self::numbered(self.tgid) == Some(self)
    }

    /// Whether it runs, or waits for a disk: it does not sleep.
    fn runs(self) -> bool {
        let status = read(&format!("/proc/{}/status", self.tgid));
        status.is_some_and(|status| field(&status, "State:").is_some_and(|state| state.starts_with(['R', 'D'])))
    }

    /// How many of its descriptors can write to `file`; `None` where they cannot be seen. `budget` is what may be looked at.
    fn writers_of(self, file: &OpenFile<'_>, budget: &mut usize) -> Option<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.tgid)).ok()?;
        let mut count = 0;
        for entry in descriptors.flatten() {
            if *budget == 0 {
                // Whoever has so many open may have this one too.
                return Some(count + 1);
            }
            *budget -= 1;
            let Some(info) = entry.path().to_str().and_then(read) else { continue };
            let same = field(&info, "ino:").and_then(|text| text.parse().ok()) == Some(file.ino);
            let flags = field(&info, "flags:").and_then(|text| i32::from_str_radix(text, 8).ok()).unwrap_or(0);
            if same && flags & libc::O_ACCMODE != libc::O_RDONLY && self.is_on(file.device, field(&info, "mnt_id:")) {
                count += 1;
            }
        }
        Some(count)
    }

    /// Whether its mount numbered `mount` is one of `device`. Inode numbers of two mounts are alike. A mount that is not to be
    /// seen (one that was detached) counts as ours.
    fn is_on(self, device: Option<&str>, mount: Option<&str>) -> bool {
        let (Some(device), Some(mount)) = (device, mount) else { return true };
        let Ok(mounts) = fs::read_to_string(format!("/proc/{}/mountinfo", self.tgid)) else { return true };
        let mut fields = mounts.lines().map(|line| line.split(' '));
        let found =
            fields.find_map(|mut fields| (fields.next() == Some(mount)).then(|| fields.nth(1).map(str::to_owned)));
        found.flatten().is_none_or(|found| found == device)
    }

    fn children(self) -> Vec<u32> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.tgid)) else { return Vec::new() };
        let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
        let lists: Vec<String> = threads.flatten().filter_map(of_thread).collect();
        lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).collect()
    }
}

/// The file that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct OpenFile<'a> {
    pub ino: u64,
    /// The `major:minor` of its mount, where it is known.
    pub device: Option<&'a str>,
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

/// Descriptors through which a file can still be written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Writers {
    /// Of processes that have opened or written the file.
    pub known: usize,
    /// Of descendants that have done neither. In a program with threads there is such a child for a moment whenever one of
    /// them starts a program: it has a copy of every descriptor until execve(2) closes them. (Whether they are close-on-exec
    /// does not tell: execve(2) takes the marks off before it closes.)
    pub others: usize,
    /// Whether one of those descendants runs, as one on its way to another program does.
    pub others_run: bool,
}

/// The descriptors of `known` processes (who has opened or written the file), of `closing` and of their descendants that can
/// write to `file`. A process that cannot be looked into (another user's, for a daemon that is not
/// root) counts as one, unless it is `closing`: that one has just let go of a descriptor, and is the likeliest to have had no
/// other.
pub fn writers_among(known: &[Process], closing: Option<Process>, file: &OpenFile<'_>) -> Writers {
    let mut seen: Vec<Process> = Vec::new();
    let mut next: Vec<Process> = known.iter().copied().chain(closing).collect();
    let (mut writers, mut budget) = (Writers::default(), DESCRIPTORS_MAX);
    while let Some(process) = next.pop() {
        if seen.contains(&process) || !process.is_there() || seen.len() >= DESCENDANTS_MAX {
            continue;
        }
        seen.push(process);
        let own = process.writers_of(file, &mut budget).unwrap_or(usize::from(Some(process) != closing));
        if known.contains(&process) {
            writers.known += own;
        } else if own > 0 {
            writers.others += own;
            writers.others_run |= process.runs();
        }
        next.extend(process.children().into_iter().filter_map(Process::numbered));
    }
    writers
}

/// Whether thread `tid` is exiting because a signal killed its process.
pub fn is_being_killed(tid: u32) -> bool {
    // A task that exits has let go of its memory before it closes its files. One in execve(2) has memory, and holds the lock.
    let Some(status) = read(&format!("/proc/{tid}/status")) else { return false };
    if field(&status, "VmSize:").is_some() {
        return false;
    }
    let stat = fs::read(format!("/proc/{tid}/stat")).ok();
    stat.and_then(|stat| Stat::parse(&stat)).is_some_and(|stat| stat.is_exiting && stat.signal != 0)
}

fn read(path: &str) -> Option<String> {
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
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Some fields of /proc/<pid>/stat.
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
    use std::os::unix::fs::MetadataExt;

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
    fn descriptors_of_this_process_are_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ino = file.as_file().metadata().unwrap().ino();
        let me = Process::of_thread(std::process::id()).unwrap();
        let counted = |known: &[Process], closing| {
            let file = OpenFile { ino, device: None };
            let Writers { known, others, .. } = writers_among(known, closing, &file);
            (known, others)
        };
        assert_eq!(counted(&[me, me], Some(me)), (1, 0));
        assert_eq!(counted(&[], Some(me)), (0, 1));
        let reader = File::open(file.path()).unwrap();
        let second = file.as_file().try_clone().unwrap();
        assert_eq!(counted(&[me], None), (2, 0), "the reader does not count");
        drop((reader, second));
        assert_eq!(counted(&[me], None), (1, 0));
        assert!(!is_being_killed(std::process::id()));
    }
}
