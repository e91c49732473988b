//! Ending a mount that does not answer: the kernel ends its connection, and every caller that waits gets an error.
//!
//! Touches no mount: it asks the kernel's control files, which belong to whoever mounted. Where nobody has mounted those, root
//! needs no place for them in the tree either. Invariant: what stood in the tree when
//! [`abort`] answers `Ok` does not any more.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::mounts::{self, MountPoint};
use super::unmount::{UnmountError, detach_lazily};

/// Where the kernel's control files are mounted, as a rule.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
/// Their file system.
const CONTROL: &str = "fusectl";

/// Why the connection stands.
#[derive(Debug, thiserror::Error)]
pub enum AbortError {
    #[error("no kmsfs is mounted on {0}")]
    NotMounted(PathBuf),
    #[error("the kernel's control files for the mount on {0} are not to be seen")]
    NoConnection(PathBuf),
    #[error("you may not end the connection of the mount on {0}")]
    NotPermitted(PathBuf),
    #[error(transparent)]
    Unmount(#[from] UnmountError),
    #[error("cannot end the connection of the mount on {point}: {source}")]
    Io { point: PathBuf, source: io::Error },
}

/// Ends the connection of the mount on `point` and takes the mount out of the tree.
pub fn abort(point: &Path) -> Result<(), AbortError> {
    let io = |source| AbortError::Io { point: point.to_owned(), source };
    let mount = mounts::find(point).map_err(io)?.ok_or_else(|| AbortError::NotMounted(point.to_owned()))?;
    match end(&mount.device) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(AbortError::NoConnection(point.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AbortError::NotPermitted(point.to_owned()));
        }
        Err(error) => return Err(io(error)),
    }
    match detach_lazily(&mount.path) {
        // Its keeper may have been quicker.
        Err(_) if mounts::find(point).is_ok_and(|mount| mount.is_none()) => Ok(()),
        detached => Ok(detached?),
    }
}

/// Ends the connection of the mount that is device `major:minor`, wherever it stands.
pub fn end(device: &str) -> io::Result<()> {
    control(device, "abort", OFlags::WRONLY)?.write_all(b"1")
}

/// Requests of the mount that nobody has answered yet, where the kernel tells.
pub fn waiting(mount: &MountPoint) -> Option<u64> {
    let mut text = String::new();
    control(&mount.device, "waiting", OFlags::RDONLY).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The kernel's control file `name` for the mount that is `device`.
fn control(device: &str, name: &str, how: OFlags) -> io::Result<File> {
    let path = format!("{}/{name}", connection(device));
    let open = |dir: OwnedFd| Ok(openat(dir, &path, how | OFlags::CLOEXEC, Mode::empty())?.into());
    let mounted = openat(rustix::fs::CWD, CONNECTIONS, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match mounted.map_err(io::Error::from).and_then(open) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match unmounted() {
            Ok(dir) => open(dir),
            // Only root may look at what is not mounted.
            Err(_) => Err(error),
        },
        other => other,
    }
}

/// The control files, at no place in the tree.
fn unmounted() -> io::Result<OwnedFd> {
    let control = fsopen(CONTROL, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&control)?;
    Ok(fsmount(&control, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// The kernel's name for the connection: the minor number of the device.
fn connection(device: &str) -> &str {
    device.rsplit(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_by_its_device() {
        assert_eq!(connection("0:53"), "53");
    }

    #[test]
    fn what_is_not_mounted_is_not_aborted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(abort(dir.path()), Err(AbortError::NotMounted(_))));
    }
}
