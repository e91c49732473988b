//! What goes wrong where somebody follows a mount. A part of `report`.
//!
//! Invariant: as there, no match has a wildcard.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::cli::exit::Exit;
use crate::cli::report::{LIST_MOUNTS, Verdict, plain, with};

/// Why nothing is told, or nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("the events of the mount on {mount} cannot be read: {source}")]
    Events { mount: PathBuf, source: io::Error },
    #[error("signals cannot be listened for: {0}")]
    Signals(io::Error),
    #[error("the command failed: {0}")]
    Command(ExitStatus),
    #[error("{0} holds no process id: one number above 1 is wanted")]
    NoPid(PathBuf),
    #[error("the process {pid} that {file} names does not run")]
    NoProcess { file: PathBuf, pid: i32 },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the process {pid} cannot be sent a signal: {source}")]
    Send { pid: i32, source: io::Error },
}

impl FollowError {
    /// How it ends, and what may help.
    pub fn judge(&self) -> Verdict {
        match self {
            FollowError::Events { .. } => with(Exit::MountPoint, LIST_MOUNTS),
            FollowError::NoPid(_) => with(Exit::Refused, "is --pid-file right? the process writes it when it starts"),
            FollowError::NoProcess { .. } => with(Exit::Refused, "it has ended and left its file behind"),
            FollowError::Signals(_) | FollowError::Command(_) | FollowError::File { .. } | FollowError::Send { .. } => {
                plain(Exit::Refused)
            }
        }
    }
}
