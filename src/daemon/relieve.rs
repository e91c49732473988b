//! Asking a mount's keeper to become the program that has its path now.
//!
//! The keeper would refuse a program that cannot take over; so that the reason reaches who asks and not only the log, that
//! program is asked here first.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value as Json;

use super::probe::{self, ProbeError};
use super::unmount::{self, ended};
use super::upgrade::{self, UpgradeError};

/// Why the mount is served as before.
#[derive(Debug, thiserror::Error)]
pub enum RelieveError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("the mount on {0} has no keeper that could be asked")]
    NoKeeper(PathBuf),
    #[error("you may not signal the keeper (pid {0})")]
    NotPermitted(i32),
    /// Its program would be started here, with the rights of whoever asks.
    #[error("the keeper (pid {0}) is another user's")]
    Foreign(i32),
    #[error(transparent)]
    Program(#[from] UpgradeError),
    #[error("the keeper (pid {0}) goes on as it was")]
    Refused(i32),
    #[error("the keeper (pid {pid}): {source}")]
    Io { pid: i32, source: io::Error },
}

/// How long a mount may take to say who keeps it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the old worker may take to finish, and the new one to serve.
const CHANGE: Duration = Duration::from_secs(60);
/// What the kernel adds to the path of a file that was replaced.
const REPLACED: &str = " (deleted)";

/// Has the program that stands at the keeper's path take over the mount on `point`; `question` asks it whether it can.
/// Answers what the mount says of itself then.
pub fn relieve(point: &Path, question: &[std::ffi::OsString]) -> Result<Json, RelieveError> {
    let status = probe::ask(point, PATIENCE)?;
    let pid = |role: &str| status.get(role).and_then(Json::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let (Some(keeper), Some(worker)) = (pid("keeper_pid"), pid("worker_pid")) else {
        return Err(RelieveError::NoKeeper(point.to_owned()));
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => RelieveError::NotPermitted(keeper),
        _ => RelieveError::Io { pid: keeper, source },
    };
    let handle = |pid: i32| {
        let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty())
    };
    let (keeper_handle, worker_handle) =
        handle(keeper).and_then(|keeper| Ok((keeper, handle(worker)?))).map_err(|error| failed(error.into()))?;
    if !unmount::is_ours(keeper) {
        // The number of another pid namespace.
        return Err(RelieveError::NoKeeper(point.to_owned()));
    }
    if !is_own(keeper) {
        return Err(RelieveError::Foreign(keeper));
    }
    // A keeper lets nobody but root see its program; it asks that itself, and tells only its log.
    if let Ok(program) = std::fs::read_link(format!("/proc/{keeper}/exe")) {
        let path = program.to_str().and_then(|path| path.strip_suffix(REPLACED)).map(PathBuf::from);
        upgrade::ask(&path.unwrap_or(program), question)?;
    }
    pidfd_send_signal(&keeper_handle, Signal::HUP).map_err(|error| failed(error.into()))?;
    if !ended(&worker_handle, Instant::now() + CHANGE).map_err(failed)? {
        return Err(RelieveError::Refused(keeper));
    }
    Ok(probe::ask(point, CHANGE)?)
}

/// Whether process `pid` has the user of this one. What its mount says of it is not believed: that is its own word.
fn is_own(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = uids.and_then(|uids| uids.split_whitespace().next()).and_then(|uid| uid.parse().ok());
    uid == Some(rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn another_users_process_is_not_ones_own() {
        assert!(rustix::process::geteuid().is_root(), "this test plays another user: it must be run by root");
        for (uid, own) in [(0, true), (1000, false)] {
            let mut cat = Command::new("/bin/cat").uid(uid).stdin(Stdio::piped()).spawn().unwrap();
            assert_eq!(is_own(cat.id() as i32), own, "uid {uid}");
            drop(cat.stdin.take());
            cat.wait().unwrap();
        }
        assert!(!is_own(i32::MAX), "who is not there is nobody's");
    }
}
