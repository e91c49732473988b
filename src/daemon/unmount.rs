//! Taking a mount down, and waiting until its daemon has let go of the store.
//!
//! Root asks the kernel; others ask fusermount3. Invariant: when [`unmount`] answers `Ok` for a mount that told who serves it,
//! that process has ended, so that the store can be opened at once.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{mounts, point, probe};

/// Why the mount is still there, or its daemon.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    #[error("no kmsfs is mounted on {0}")]
    NotMounted(PathBuf),
    #[error("the mount on {0} is in use")]
    Busy(PathBuf),
    #[error("you may not unmount {0}")]
    NotPermitted(PathBuf),
    #[error("fusermount3 is not to be found")]
    NoFusermount,
    #[error("cannot unmount {point}: {why}")]
    Helper { point: PathBuf, why: String },
    #[error("{point} is unmounted, but its daemon (pid {pid}) has not ended within {} seconds", LAST_WORDS.as_secs())]
    StillRunning { point: PathBuf, pid: i32 },
    #[error("cannot unmount {point}: {source}")]
    Io { point: PathBuf, source: io::Error },
}

/// How a mount is taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Only when nobody uses it.
    Free,
    /// Out of the tree now; served until its last user goes.
    Lazy,
}

/// What became of the mount's daemon.
#[derive(Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It has ended, as far as the mount had told who it was.
    Ended,
    /// These processes go on until the mount's last user goes.
    Serving(Vec<i32>),
}

/// How long a use of the mount may last that is no use of it.
const PASSING: Duration = Duration::from_millis(500);
/// How long a mount is asked who serves it: a daemon that hangs must not keep it from being unmounted.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the daemon of a mount taken down lazily is waited for: one without users ends at once.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a daemon may take to close its store.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// The name that the kernel has for our processes.
pub(super) const COMM: &CStr = c"kmsfs";

/// Gives this process the name by which whoever unmounts knows it, whatever the file of the program is called.
pub(super) fn take_name() {
    if let Err(error) = rustix::thread::set_name(COMM) {
        log::warn!("the process keeps its name, and `kmsfs umount` may not wait for its end: {error}");
    }
}

/// Unmounts `point` and waits for the end of its daemon; a lazy one has only a moment for it, since it may have users.
pub fn unmount(point: &Path, manner: Manner) -> Result<Unmounted, UnmountError> {
    let mounted = mounts::find(point).map_err(|source| UnmountError::Io { point: point.to_owned(), source })?;
    let point = &mounted.ok_or_else(|| UnmountError::NotMounted(point.to_owned()))?.path;
    // Before the mount goes: afterwards nobody could say which process it was.
    let servers = match manner {
        Manner::Free => servers(point),
        Manner::Lazy => started_for(point),
    };
    while_busy(PASSING, || take_down(point, manner))?;
    match manner {
        Manner::Free => wait_for(point, &servers).map(|()| Unmounted::Ended),
        Manner::Lazy => Ok(still_serving(&servers)),
    }
}

/// Takes a mount down, and asks again for a time that is `passing` while it is in use. The kernel tells of nobody who lets go
/// of it, and a child on its way to another program has copies of its parent's descriptors for a moment, and what a process
/// has closed is released behind its back.
fn while_busy(passing: Duration, mut take_down: impl FnMut() -> Result<(), UnmountError>) -> Result<(), UnmountError> {
    let deadline = Instant::now() + passing;
    loop {
        match take_down() {
            Err(UnmountError::Busy(_)) if Instant::now() < deadline => thread::sleep(passing / 50),
            outcome => return outcome,
        }
    }
}

/// For a daemon's own mount, and for one that nobody serves any more: out of the tree, whoever has it open.
pub(super) fn detach_lazily(point: &Path) -> Result<(), UnmountError> {
    take_down(point, Manner::Lazy)
}

fn take_down(point: &Path, manner: Manner) -> Result<(), UnmountError> {
    if rustix::process::geteuid().is_root() { ask_kernel(point, manner) } else { ask_helper(point, manner) }
}

fn ask_kernel(point: &Path, manner: Manner) -> Result<(), UnmountError> {
    let flags = match manner {
        Manner::Free => UnmountFlags::NOFOLLOW,
        Manner::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    let at = point.to_owned();
    rustix::mount::unmount(point, flags).map_err(|error| match error {
        rustix::io::Errno::BUSY => UnmountError::Busy(at),
        rustix::io::Errno::PERM => UnmountError::NotPermitted(at),
        error => UnmountError::Io { point: at, source: error.into() },
    })
}

fn ask_helper(point: &Path, manner: Manner) -> Result<(), UnmountError> {
    let mut helper = Command::new(point::fusermount().ok_or(UnmountError::NoFusermount)?);
    helper.arg("-u");
    if manner == Manner::Lazy {
        helper.arg("-z");
    }
    // Its words are read, so they must be the untranslated ones.
    let output = helper.arg("--").arg(point).env("LC_ALL", "C").output();
    let output = output.map_err(|source| UnmountError::Io { point: point.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(helper_error(point, why))
}

/// What fusermount3 means by `why`. It knows only the mounts of whoever runs it: another user's is "not found" to it.
fn helper_error(point: &Path, why: String) -> UnmountError {
    let point = point.to_owned();
    if why.contains("busy") {
        UnmountError::Busy(point)
    } else if why.contains("not permitted") || why.contains("not found in") {
        UnmountError::NotPermitted(point)
    } else {
        UnmountError::Helper { point, why }
    }
}

/// The processes that serve `point`, as far as it tells.
fn servers(point: &Path) -> Vec<(i32, OwnedFd)> {
    let Ok(status) = probe::ask(point, PATIENCE) else { return Vec::new() };
    let handle = |pid: i32| {
        let server = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // In another pid namespace the number is somebody else's, whose end would never come.
        is_ours(pid).then_some((pid, server))
    };
    probe::pids(&status).into_iter().filter_map(handle).collect()
}

/// Whether process `pid` is one of this program's.
pub(super) fn is_ours(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_ascii_end() == COMM.to_bytes())
}

fn wait_for(point: &Path, servers: &[(i32, OwnedFd)]) -> Result<(), UnmountError> {
    let deadline = Instant::now() + LAST_WORDS;
    for (pid, server) in servers {
        if !ended(server, deadline).map_err(|source| UnmountError::Io { point: point.to_owned(), source })? {
            return Err(UnmountError::StillRunning { point: point.to_owned(), pid: *pid });
        }
    }
    Ok(())
}

/// The processes of ours that were started with `point` as an argument: found without asking a mount that may hang.
fn started_for(point: &Path) -> Vec<(i32, OwnedFd)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let server = |pid: i32| {
        let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let named = args.split(|byte| *byte == 0).any(|arg| arg == point.as_os_str().as_bytes());
        (named && is_ours(pid)).then_some((pid, process))
    };
    pids.filter(|pid| u32::try_from(*pid) != Ok(std::process::id())).filter_map(server).collect()
}

/// Those of `servers` that have not ended within a moment.
fn still_serving(servers: &[(i32, OwnedFd)]) -> Unmounted {
    let deadline = Instant::now() + MOMENT;
    let serving = |(_, server): &&(i32, OwnedFd)| !ended(server, deadline).unwrap_or(false);
    let pids: Vec<i32> = servers.iter().filter(serving).map(|(pid, _)| *pid).collect();
    if pids.is_empty() { Unmounted::Ended } else { Unmounted::Serving(pids) }
}

/// Waits for the process behind `server`; whether it ended in time.
pub(super) fn ended(server: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mounted_is_not_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(unmount(dir.path(), Manner::Free), Err(UnmountError::NotMounted(_))));
        assert!(matches!(unmount(Path::new("/proc"), Manner::Lazy), Err(UnmountError::NotMounted(_))));
    }

    #[test]
    fn a_mount_in_use_is_asked_again_for_half_a_second() {
        let busy = || Err(UnmountError::Busy("/M".into()));
        let mut asked = 0;
        let passed = while_busy(PASSING, || {
            asked += 1;
            if asked < 4 { busy() } else { Ok(()) }
        });
        assert!(passed.is_ok() && asked == 4, "{asked}");
        let (began, mut asked) = (Instant::now(), 0);
        let refused = while_busy(PASSING, || {
            asked += 1;
            busy()
        });
        assert!(matches!(refused, Err(UnmountError::Busy(_))) && asked > 1, "{asked}");
        assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
        let mut asked = 0;
        let forbidden = while_busy(PASSING, || {
            asked += 1;
            Err(UnmountError::NotPermitted("/M".into()))
        });
        assert!(
            matches!(forbidden, Err(UnmountError::NotPermitted(_))) && asked == 1,
            "no time makes it another: {asked}"
        );
    }

    #[test]
    fn what_the_helper_says_is_understood() {
        let judge = |why: &str| helper_error(Path::new("/M"), why.to_owned());
        assert!(matches!(judge("fusermount3: failed to unmount /M: Device or resource busy"), UnmountError::Busy(_)));
        for why in [
            "fusermount3: entry for /M not found in /etc/mtab",
            "fusermount3: failed to unmount /M: Operation not permitted",
        ] {
            assert!(matches!(judge(why), UnmountError::NotPermitted(_)), "{why}");
        }
        assert!(matches!(judge("fusermount3: out of memory"), UnmountError::Helper { .. }));
    }

    #[test]
    fn an_end_is_waited_for() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        assert!(!ended(&handle, Instant::now()).unwrap());
        drop(child.stdin.take());
        assert!(ended(&handle, Instant::now() + LAST_WORDS).unwrap());
        child.wait().unwrap();
    }
}
