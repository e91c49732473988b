//! Where things are unless somebody says otherwise: in the system's places for root, in the user's own for others.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::report::CliError;

/// The store's directory.
pub fn store() -> Result<PathBuf, CliError> {
    if is_root() { Ok("/var/lib/kmsfs".into()) } else { user("XDG_DATA_HOME", ".local/share", "kmsfs") }
}

/// The key file.
pub fn key_file() -> Result<PathBuf, CliError> {
    if is_root() { Ok("/etc/kmsfs/master.key".into()) } else { user("XDG_CONFIG_HOME", ".config", "kmsfs/master.key") }
}

/// The directory of anchors, a file for each store.
pub fn anchors() -> Result<PathBuf, CliError> {
    if is_root() { Ok("/var/lib/kmsfs-anchor".into()) } else { user("XDG_STATE_HOME", ".local/state", "kmsfs/anchor") }
}

/// The daemon's log.
pub fn log() -> Result<PathBuf, CliError> {
    if is_root() { Ok("/var/log/kmsfs.log".into()) } else { user("XDG_STATE_HOME", ".local/state", "kmsfs/kmsfs.log") }
}

/// `path` from the root, without `.` and without a slash at the end, which would follow a link. Nothing is looked at.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    let path = std::path::absolute(path).map_err(|source| CliError::Path { path: path.to_owned(), source })?;
    Ok(path.components().collect())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place of the XDG base directories; a variable that is not absolute counts as not set.
fn user(variable: &'static str, fallback: &str, name: &str) -> Result<PathBuf, CliError> {
    let set = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(OsStr::new(fallback))));
    Ok(base.ok_or(CliError::NoHome(variable))?.join(name))
}
