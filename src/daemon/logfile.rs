//! The daemon's log: stderr, or a file that stderr is sent to.
//!
//! Its lines name secrets, and the store's files must hold no name. So it never lies in the store's directory, a copy of which
//! would carry it along, and it is its owner's alone.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::open::lies_in;

/// Where a daemon logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// Wherever its stderr goes.
    Stderr,
    File(PathBuf),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log file {0} lies in the store's own directory, whose copies would carry the names in it")]
    InStore(PathBuf),
    #[error("the log file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl LogPlace {
    /// Logs there from now on; `store` is the directory of the store that the log is about.
    pub fn take(&self, store: &Path) -> Result<(), LogError> {
        match self {
            LogPlace::File(path) if lies_in(path, store) => Err(LogError::InStore(path.clone())),
            LogPlace::File(_) | LogPlace::Stderr => self.reopen(),
        }
    }

    /// Opens the file anew: another one may have its name now, or none.
    pub fn reopen(&self) -> Result<(), LogError> {
        match self {
            LogPlace::Stderr => Ok(()),
            LogPlace::File(path) => send_stderr(path).map_err(|source| LogError::Io { path: path.to_owned(), source }),
        }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogPlace::Stderr => f.write_str("stderr"),
            LogPlace::File(path) => path.display().fmt(f),
        }
    }
}

/// Stderr and not only the logger's lines, so that the words of a panic and of fusermount3 are in the file too.
fn send_stderr(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // A pipe that nobody reads is an error, not a wait.
    let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path)?;
    Ok(rustix::stdio::dup2_stderr(log)?)
}
