//! The mount point and what mounting there takes, looked at before anything is unlocked, so that each thing that is wrong has
//! its own name. The kernel has the last word: what changes between the look and the mount fails then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mounts;
use super::probe::{self, ProbeError};

/// Why nothing can be mounted there.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    #[error("the mount point {0} does not exist")]
    Missing(PathBuf),
    #[error("the mount point {0} is not a directory")]
    NotDirectory(PathBuf),
    #[error("the mount point {0} is a symbolic link")]
    Symlink(PathBuf),
    #[error("the mount point {0} is not empty")]
    NotEmpty(PathBuf),
    #[error("a kmsfs is mounted on {0} already")]
    Mounted(PathBuf),
    #[error("on {0} there is a mount whose daemon is gone")]
    Stale(PathBuf),
    #[error("the mount point {0} lies in the store's own directory")]
    InStore(PathBuf),
    #[error("the mount point {0} would cover the store's directory")]
    CoversStore(PathBuf),
    #[error("you may not write to the mount point {0}")]
    NotWritable(PathBuf),
    #[error("there is no {FUSE_DEVICE}")]
    NoDevice,
    #[error("{FUSE_DEVICE} cannot be opened: {0}")]
    Device(io::Error),
    #[error("fusermount3 is not to be found")]
    NoFusermount,
    #[error("{FUSE_CONF} does not let users mount for others")]
    NoAllowOther,
    #[error("the mount point {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Where the kernel hands out connections.
pub(super) const FUSE_DEVICE: &str = "/dev/fuse";
const FUSE_CONF: &str = "/etc/fuse.conf";
/// The line in it that lets users mount for others.
const USER_ALLOW_OTHER: &str = "user_allow_other";
/// How long a mount that is there already may take to say that it lives.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names of the helper that mounts for ordinary users, as the session looks for them.
const FUSERMOUNT: [&str; 2] = ["fusermount3", "fusermount"];

/// Looks at `point` and at the machine. `point` is absolute; `store` is the store's directory.
pub fn check_point(point: &Path, store: &Path, allow_other: bool) -> Result<(), PointError> {
    check_directory(point)?;
    check_apart(point, store)?;
    if rustix::process::geteuid().is_root() {
        return check_device();
    }
    if rustix::fs::access(point, rustix::fs::Access::WRITE_OK).is_err() {
        return Err(PointError::NotWritable(point.to_owned()));
    }
    check_device()?;
    check_helper(allow_other)
}

fn check_directory(point: &Path) -> Result<(), PointError> {
    let path = || point.to_owned();
    if mounts::may_be_mounted(point)
        && mounts::find(point).map_err(|source| PointError::Io { path: path(), source })?.is_some()
    {
        // Attributes may come from the kernel's cache long after the daemon's end; only its answer tells that it lives.
        return Err(match probe::ask(point, PATIENCE) {
            Err(ProbeError::Dead(_)) => PointError::Stale(path()),
            Ok(_) | Err(_) => PointError::Mounted(path()),
        });
    }
    let meta = match fs::symlink_metadata(point) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PointError::Missing(path())),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Err(PointError::Stale(path())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(PointError::NotDirectory(path())),
        Err(source) => return Err(PointError::Io { path: path(), source }),
    };
    if meta.is_symlink() {
        return Err(PointError::Symlink(path()));
    }
    if !meta.is_dir() {
        return Err(PointError::NotDirectory(path()));
    }
    match fs::read_dir(point).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(PointError::NotEmpty(path())),
        Err(source) => Err(PointError::Io { path: path(), source }),
    }
}

/// A mount over the store, or in it, would wait for itself.
fn check_apart(point: &Path, store: &Path) -> Result<(), PointError> {
    let (Ok(real), Ok(store)) = (point.canonicalize(), store.canonicalize()) else { return Ok(()) };
    if real.starts_with(&store) {
        return Err(PointError::InStore(point.to_owned()));
    }
    if store.starts_with(&real) {
        return Err(PointError::CoversStore(point.to_owned()));
    }
    Ok(())
}

/// The session opens the device itself, whoever mounts.
pub(super) fn check_device() -> Result<(), PointError> {
    if !fs::metadata(FUSE_DEVICE).is_ok_and(|meta| meta.file_type().is_char_device()) {
        return Err(PointError::NoDevice);
    }
    OpenOptions::new().read(true).write(true).open(FUSE_DEVICE).map(drop).map_err(PointError::Device)
}

fn check_helper(allow_other: bool) -> Result<(), PointError> {
    if fusermount().is_none() {
        return Err(PointError::NoFusermount);
    }
    if allow_other { check_allow_other() } else { Ok(()) }
}

/// Whether the helper lets users mount for others.
pub(super) fn check_allow_other() -> Result<(), PointError> {
    let lets = File::open(FUSE_CONF).is_ok_and(|conf| lets_users_allow_other(BufReader::new(conf)));
    if lets { Ok(()) } else { Err(PointError::NoAllowOther) }
}

/// The helper that mounts and unmounts for ordinary users, where the session will look for it too.
pub(super) fn fusermount() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FUSERMOUNT_PATH") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain(["/sbin".into(), "/bin".into()]).collect();
    FUSERMOUNT.iter().find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()))
}

fn lets_users_allow_other(conf: impl io::BufRead) -> bool {
    conf.lines().map_while(Result::ok).any(|line| line.trim() == USER_ALLOW_OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_mount_point_has_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["empty", "full", "full/entry", "store", "store/inside"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("file"), b"").unwrap();
        std::os::unix::fs::symlink(at("empty"), at("link")).unwrap();
        let check = |name: &str| {
            check_directory(&at(name))
                .and_then(|()| check_apart(&at(name), &at("store")))
                .map_err(|error| error.to_string())
        };
        let error = |name: &str, error: fn(PathBuf) -> PointError| Err(error(at(name)).to_string());
        assert_eq!(check("empty"), Ok(()));
        assert_eq!(check("none"), error("none", PointError::Missing));
        assert_eq!(check("file"), error("file", PointError::NotDirectory));
        assert_eq!(check("file/below"), error("file/below", PointError::NotDirectory));
        assert_eq!(check("link"), error("link", PointError::Symlink));
        assert_eq!(check("full"), error("full", PointError::NotEmpty));
        assert_eq!(check("store/inside"), error("store/inside", PointError::InStore));
        let covers = check_apart(dir.path(), &at("store"));
        assert!(matches!(covers, Err(PointError::CoversStore(_))));
    }

    #[test]
    fn only_the_bare_word_lets_users_allow_other() {
        for (conf, expected) in [
            ("user_allow_other\n", true),
            ("# user_allow_other\n", false),
            ("mount_max = 10\n  user_allow_other  \n", true),
            ("user_allow_others", false),
            ("", false),
        ] {
            assert_eq!(lets_users_allow_other(conf.as_bytes()), expected, "{conf:?}");
        }
    }
}
