//! What /proc says of a caller: its process, whether it is being killed, and which descriptors of a file it still has.
//!
//! A FUSE request carries a thread's id. Until it is answered the caller cannot go away, so what is read before the answer
//! is true of it. Reading /proc sends no request to this filesystem.

use std::fs;

/// A process, told from a later one of the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub tgid: u32,
    /// Clock ticks after boot.
    start: u64,
}

/// Descendants looked at when asking who still holds a file: more than any pipeline, few enough for a close to wait for.
const DESCENDANTS_MAX: usize = 512;
/// The flag of a task that has begun to exit, in /proc/<pid>/stat.
const PF_EXITING: u64 = 0x4;
/// The bits of an exit code that name a signal.
const SIGNAL_BITS: u64 = 0x7f;

impl Process {
    /// The process of thread `tid`.
    pub fn of_thread(tid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
        let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
        Self::numbered(tgid)
    }

    fn numbered(tgid: u32) -> Option<Self> {
        Some(Self { tgid, start: Stat::read(tgid)?.start })
    }

    /// Whether it still runs; a zombie does not.
    fn is_alive(self) -> bool {
        Stat::read(self.tgid).is_some_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// How many of its descriptors can write to the file whose inode number is `ino`; `None` where they cannot be seen.
    fn writers_of(self, ino: u64) -> Option<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.tgid)).ok()?;
        let writes = |info: &String| {
            let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let same = field("ino:").and_then(|text| text.parse().ok()) == Some(ino);
            let flags = field("flags:").and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0);
            same && flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
        };
        Some(descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).filter(writes).count())
    }

    fn children(self) -> Vec<u32> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.tgid)) else { return Vec::new() };
        let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
        let lists: Vec<String> = threads.flatten().filter_map(of_thread).collect();
        lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).collect()
    }
}

/// How many descriptors of `processes`, of `closing` and of their descendants can write to the file with inode number
/// `ino`. A process that cannot be looked into (another user's, for a daemon that is not root) counts as one, unless it is
/// `closing`: that one has just let go of a descriptor, and is the likeliest to have had no other.
pub fn writers_among(processes: &[Process], closing: Option<Process>, ino: u64) -> usize {
    let mut seen: Vec<Process> = Vec::new();
    let mut next: Vec<Process> = processes.iter().copied().chain(closing).collect();
    let mut count = 0;
    while let Some(process) = next.pop() {
        if seen.contains(&process) || !process.is_alive() || seen.len() >= DESCENDANTS_MAX {
            continue;
        }
        seen.push(process);
        count += process.writers_of(ino).unwrap_or(usize::from(Some(process) != closing));
        next.extend(process.children().into_iter().filter_map(Process::numbered));
    }
    count
}

/// Whether thread `tid` is exiting because a signal killed its process.
pub fn is_being_killed(tid: u32) -> bool {
    Stat::read(tid).is_some_and(|stat| stat.flags & PF_EXITING != 0 && stat.exit_code & SIGNAL_BITS != 0)
}

/// Some fields of /proc/<pid>/stat.
struct Stat {
    state: char,
    flags: u64,
    start: u64,
    /// 0 while running, and to readers without ptrace access.
    exit_code: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command's name may hold anything, so fields count from the last parenthesis; the state is field 3.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.chars().next()?,
            flags: field(9)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            exit_code: field(52).and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_strange_name_does_not_shift_the_fields() {
        let mut stat = b"12 (a) b (\xff) S 1 ".to_vec();
        stat.extend((5..=52).map(|n| format!("{n} ")).collect::<String>().bytes());
        let stat = Stat::parse(&stat).unwrap();
        assert_eq!((stat.state, stat.flags, stat.start, stat.exit_code), ('S', 9, 22, 52));
        assert!(Stat::parse(b"nonsense").is_none());
    }

    #[test]
    fn descriptors_of_this_process_are_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ino = file.as_file().metadata().unwrap().ino();
        let me = Process::of_thread(std::process::id()).unwrap();
        assert_eq!(writers_among(&[me, me], Some(me), ino), 1);
        let reader = fs::File::open(file.path()).unwrap();
        let second = file.as_file().try_clone().unwrap();
        assert_eq!(writers_among(&[me], None, ino), 2, "the reader does not count");
        drop((reader, second));
        assert_eq!(writers_among(&[], Some(me), ino), 1);
        assert!(!is_being_killed(std::process::id()));
    }
}
