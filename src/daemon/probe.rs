//! Asking a mount about itself: `.kmsfs/status`, with a deadline, since a daemon that hangs hangs whoever asks it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

/// The mount's account of itself, below its root.
const STATUS: &str = ".kmsfs/status";

/// Why a mount did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("no kmsfs is mounted on {0}")]
    NotMounted(PathBuf),
    #[error("the daemon of the mount on {0} is gone")]
    Dead(PathBuf),
    #[error("the mount on {point} has not answered within {} seconds", waited.as_secs())]
    Silent { point: PathBuf, waited: Duration },
    #[error("the mount on {0} gives no account of itself that can be read")]
    Malformed(PathBuf),
    #[error("the mount on {point}: {source}")]
    Io { point: PathBuf, source: io::Error },
}

/// What the mount on `point` says of itself.
pub fn ask(point: &Path, patience: Duration) -> Result<Json, ProbeError> {
    let path = point.to_owned();
    let (answer, answered) = channel();
    // The thread is left behind when nobody answers it; it goes with the process.
    let asking = thread::Builder::new().name("probe".into()).spawn(move || {
        let asked = rustix::fs::statfs(&path).map_err(io::Error::from).and_then(|_| fs::read(path.join(STATUS)));
        // Whoever asked may have stopped waiting.
        let _ = answer.send(asked);
    });
    let io = |source| ProbeError::Io { point: point.to_owned(), source };
    asking.map_err(io)?;
    let text = match answered.recv_timeout(patience) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProbeError::NotMounted(point.to_owned()));
        }
        Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            return Err(ProbeError::Dead(point.to_owned()));
        }
        Ok(Err(error)) => return Err(io(error)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            return Err(ProbeError::Silent { point: point.to_owned(), waited: patience });
        }
    };
    serde_json::from_slice(&text).map_err(|_| ProbeError::Malformed(point.to_owned()))
}

/// The processes behind the mount that gave `status`: the worker and, where there is one, the keeper.
pub fn pids(status: &Json) -> Vec<i32> {
    let pid = |name: &str| status.get(name).and_then(Json::as_i64).and_then(|pid| i32::try_from(pid).ok());
    ["worker_pid", "keeper_pid"].into_iter().filter_map(pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_mount_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let patience = Duration::from_secs(10);
        assert!(matches!(ask(dir.path(), patience), Err(ProbeError::NotMounted(_))));
        fs::create_dir(dir.path().join(".kmsfs")).unwrap();
        fs::write(dir.path().join(STATUS), "no json").unwrap();
        assert!(matches!(ask(dir.path(), patience), Err(ProbeError::Malformed(_))));
    }

    #[test]
    fn a_mount_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".kmsfs")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        // Opening a pipe that nobody writes waits, as a request does that nobody answers.
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join(STATUS), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(ask(dir.path(), Duration::from_millis(50)), Err(ProbeError::Silent { .. })));
    }

    #[test]
    fn the_keeper_may_be_missing() {
        assert_eq!(pids(&serde_json::json!({"worker_pid": 7, "keeper_pid": null})), [7]);
        assert_eq!(pids(&serde_json::json!({"worker_pid": 7, "keeper_pid": 6})), [7, 6]);
        assert_eq!(pids(&serde_json::json!({})), [0; 0]);
    }
}
