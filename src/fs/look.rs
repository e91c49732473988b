//! The look around before a close counts: who can still write to the file?
//!
//! Each descriptor that is looked at is a read of /proc, and a process may have thousands. So whoever looks in the line,
//! where everybody else's changes wait, only glances; the whole look is taken in a thread of its own. What is seen is true of
//! the moment: whoever acts on it later asks first whether the draft is still the one that was looked at.
//!
//! Invariant: whoever was not looked at counts as one who can write.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use super::process::{Process, field, read};

/// Descriptors, threads and processes of those that a whole look takes in beside the writers and the closing process: the
/// descendants of a service with thousands of workers, in less than half a second.
const OTHERS_MAX: usize = 32 * 1024;
/// Descriptors, threads and processes that a glance takes in: a shell, its pipeline and what they have open. It is over within
/// some hundred microseconds.
const GLANCE_MAX: usize = 64;
/// Bytes read of a process's table of mounts: some two thousand mounts.
const MOUNTS_MAX: u64 = 256 * 1024;

/// One question: who can write to this file now?
#[derive(Debug)]
pub struct Look {
    /// Who has opened or written it.
    pub known: Vec<Process>,
    /// Who has just closed a descriptor of it.
    pub closing: Option<Process>,
    pub ino: u64,
    /// The `major:minor` of its mount, where it is known.
    pub device: Option<String>,
    /// Of the draft when this was asked, see [`super::draft::Draft::moment`].
    pub moment: u64,
}

/// Who has a descriptor through which a file can still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    Nobody,
    /// A process that has opened or written the file.
    Known,
    /// Only others: descendants of those, or the closing process. In a program with threads there is such a child for a moment
    /// whenever one of them starts a program: it has a copy of every descriptor until execve(2) closes them. (Whether they are
    /// close-on-exec does not tell: execve(2) takes the marks off before it closes.)
    Others {
        /// Whether one of them was seen to run, as one on its way to another program does.
        run: bool,
    },
}

/// What a process is to a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It has opened or written the file, or is closing it.
    Takes,
    /// It is a descendant of such a one.
    Inherits,
}

impl Look {
    /// The descriptors of the known processes, of the closing one and of their descendants. A process that cannot be looked
    /// into (another user's, for a daemon that is not root) counts as one that can write, unless it is the closing one: that
    /// has just let go of a descriptor, and is the likeliest to have had no other.
    pub fn take(&self) -> Writers {
        self.take_in(OTHERS_MAX)
    }

    /// The same, with `others` descriptors, threads and processes of descendants.
    fn take_in(&self, others: usize) -> Writers {
        let mut left = others;
        // A writer with thousands of descriptors waits for its own close alone: all of them are looked at.
        self.among(|process, part| part == Part::Takes || spend(&mut left, process))
            .unwrap_or(Writers::Others { run: false })
    }

    /// The same, where little is to be looked at.
    pub fn glance(&self) -> Option<Writers> {
        let mut left = GLANCE_MAX;
        self.among(|process, _| spend(&mut left, process))
    }

    /// `None` where `goes_on` says no to one of the processes.
    fn among(&self, mut goes_on: impl FnMut(Process, Part) -> bool) -> Option<Writers> {
        let mut seen = HashSet::new();
        let mut children = Vec::new();
        // The known ones first: one that has the file decides, however many others there are.
        for process in self.known.iter().copied().filter(|process| process.is_there()) {
            if !goes_on(process, Part::Takes) {
                return None;
            }
            if self.is_held_by(process).unwrap_or(Some(process) != self.closing) {
                return Some(Writers::Known);
            }
            seen.insert(process);
            children.extend(process.children());
        }
        // Only one that is known waits for others, and asks whether they run.
        let is_known = self.closing.is_some_and(|closing| self.known.contains(&closing));
        let mut next: VecDeque<Process> = self.closing.into_iter().collect();
        next.extend(children.into_iter().filter_map(Process::numbered));
        let mut writers = Writers::Nobody;
        while let Some(process) = next.pop_front() {
            if seen.contains(&process) || !process.is_there() {
                continue;
            }
            let is_closing = Some(process) == self.closing;
            if !goes_on(process, if is_closing { Part::Takes } else { Part::Inherits }) {
                return None;
            }
            seen.insert(process);
            if self.is_held_by(process).unwrap_or(!is_closing) {
                let run = process.runs();
                writers = Writers::Others { run };
                if run || !is_known {
                    break;
                }
            }
            // After its descriptors: a child that was forked before they were looked at is in the list.
            next.extend(process.children().into_iter().filter_map(Process::numbered));
        }
        Some(writers)
    }

    /// Whether `process` has a descriptor that can write to the file; `None` where its descriptors cannot be seen.
    fn is_held_by(&self, process: Process) -> Option<bool> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", process.tgid)).ok()?;
        let mut mounts = Mounts { process, last: None };
        let mut is_ours = |info: &str| {
            let same = field(info, "ino:").and_then(|text| text.parse().ok()) == Some(self.ino);
            let flags = field(info, "flags:").and_then(|text| i32::from_str_radix(text, 8).ok()).unwrap_or(0);
            same && flags & libc::O_ACCMODE != libc::O_RDONLY && self.is_on(&mut mounts, field(info, "mnt_id:"))
        };
        Some(descriptors.flatten().filter_map(|entry| entry.path().to_str().and_then(read)).any(|info| is_ours(&info)))
    }

    /// Whether `mount` is one of the file's device. Inode numbers of two mounts are alike. A mount that is not to be seen (one
    /// that was detached) counts as ours.
    fn is_on(&self, mounts: &mut Mounts, mount: Option<&str>) -> bool {
        let (Some(device), Some(mount)) = (&self.device, mount) else { return true };
        mounts.device_of(mount).is_none_or(|found| found == device)
    }
}

/// The mounts as a process sees them. A file is mostly asked about at one of them.
struct Mounts {
    process: Process,
    /// A mount's number, and the `major:minor` of what is mounted there.
    last: Option<(String, Option<String>)>,
}

impl Mounts {
    fn device_of(&mut self, mount: &str) -> Option<&str> {
        if self.last.as_ref().is_none_or(|(number, _)| number != mount) {
            self.last = Some((mount.to_owned(), self.find(mount)));
        }
        self.last.as_ref().and_then(|(_, device)| device.as_deref())
    }

    fn find(&self, mount: &str) -> Option<String> {
        let table = File::open(format!("/proc/{}/mountinfo", self.process.tgid)).ok()?;
        let mut text = Vec::new();
        table.take(MOUNTS_MAX).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mut fields = text.lines().map(|line| line.split(' '));
        let found =
            fields.find_map(|mut fields| (fields.next() == Some(mount)).then(|| fields.nth(1).map(str::to_owned)));
        found.flatten()
    }
}

/// Takes the size of `process` out of `left`; whether there was so much.
fn spend(left: &mut usize, process: Process) -> bool {
    let rest = left.checked_sub(size(process));
    *left = rest.unwrap_or(0);
    rest.is_some()
}

/// How much there is to be looked at in `process`: itself, its threads, and its descriptors as far as the kernel counts them
/// for stat(2) (Linux 6.2).
fn size(process: Process) -> usize {
    let of = |list: &str| fs::metadata(format!("/proc/{}/{list}", process.tgid)).ok();
    let threads = of("task").map_or(0, |list| list.nlink().saturating_sub(2));
    let descriptors = of("fd").map_or(0, |list| list.len());
    usize::try_from(threads + descriptors).unwrap_or(usize::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn own_descriptors_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let held = File::create(&path).unwrap();
        let process = Process::of_thread(std::process::id()).unwrap();
        let writers = |known: &[Process], closing| {
            let look =
                Look { known: known.to_vec(), closing, ino: held.metadata().unwrap().ino(), device: None, moment: 0 };
            look.take()
        };
        assert_eq!(writers(&[process], None), Writers::Known);
        assert_eq!(writers(&[process], Some(process)), Writers::Known);
        let of_another = writers(&[], Some(process));
        assert!(matches!(of_another, Writers::Others { .. }), "it may be on its way to another program");
        assert_eq!(writers(&[], None), Writers::Nobody);
        let reads = File::open(&path).unwrap();
        let look =
            Look { known: vec![process], closing: None, ino: reads.metadata().unwrap().ino(), device: None, moment: 0 };
        drop(held);
        assert_eq!(look.take(), Writers::Nobody, "one that reads is no writer");
    }

    /// A shell with a pipe for its input, once `script` has said its first line.
    fn shell_that_has_said(script: &str) -> Child {
        let mut shell =
            Command::new("bash").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(shell.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        shell
    }

    #[test]
    fn who_was_not_looked_at_counts() {
        let mut shell = shell_that_has_said("for n in {1..4}; do cat <&0 & done; echo; wait");
        let process = Process::of_thread(shell.id()).unwrap();
        let look = Look { known: vec![process], closing: Some(process), ino: 1, device: None, moment: 0 };
        let seen = [0, 10, OTHERS_MAX].map(|others| look.take_in(others));
        shell.kill().unwrap();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        let not_all = Writers::Others { run: false };
        assert_eq!(seen, [not_all, not_all, Writers::Nobody]);
    }

    #[test]
    fn a_glance_leaves_what_is_large() {
        let look = |process: Process| Look { known: vec![process], closing: None, ino: 1, device: None, moment: 0 };
        for (script, sees) in [("true", true), ("for n in {10..90}; do eval \"exec $n>/dev/null\"; done", false)] {
            let mut shell = shell_that_has_said(&format!("{script}; echo; exec cat"));
            let process = Process::of_thread(shell.id()).unwrap();
            assert_eq!(look(process).glance().is_some(), sees, "{script}");
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
    }
}
