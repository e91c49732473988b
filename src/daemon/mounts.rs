//! The mounts of kmsfs on this machine, from `/proc/self/mountinfo`: asking the kernel's table touches no mount, so it answers
//! even where a daemon does not.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags, statx};

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// The source of every mount of kmsfs, whoever mounted it.
const SOURCE: &[u8] = b"kmsfs";
/// The type of one that the helper mounted; root's own are plain `fuse`.
const TYPE: &[u8] = b"fuse.kmsfs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    pub path: PathBuf,
    /// What of the tree is mounted there: `/` but for bind mounts of a part of it.
    pub root: PathBuf,
    /// The options that the kernel shows: `rw,nosuid,...`.
    pub options: String,
    /// The kernel's `major:minor` of it.
    pub device: String,
}

/// All mounts of kmsfs that this process can see.
pub fn list() -> io::Result<Vec<MountPoint>> {
    Ok(parse(&fs::read(MOUNTINFO)?))
}

/// The mount of kmsfs whose mount point is `path`, which is absolute.
pub fn find(path: &Path) -> io::Result<Option<MountPoint>> {
    let real = real(path);
    Ok(list()?.into_iter().rev().find(|mount| mount.path == real))
}

/// The device of what is mounted on `path`, as `major:minor`. Nobody is asked, whoever serves it.
pub fn device_on(path: &Path) -> io::Result<String> {
    let found = look(path)?;
    Ok(format!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
}

/// Whether something is mounted on `path`; where the kernel does not tell it may be. The kernel's table, which is long where there are many, is
/// not read for that.
pub fn may_be_mounted(path: &Path) -> bool {
    match look(path) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn look(path: &Path) -> io::Result<Statx> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(statx(rustix::fs::CWD, path, flags, StatxFlags::empty())?)
}

/// `path` as the kernel names it, without touching what is mounted there.
pub fn real(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        (Some(_) | None, _) => path.to_owned(),
    }
}

/// `id parent major:minor root mountpoint options ... - type source superoptions`, a line each.
fn parse(mountinfo: &[u8]) -> Vec<MountPoint> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountPoint> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let (device, root, path, options) = (fields.get(2)?, fields.get(3)?, fields.get(4)?, fields.get(5)?);
    let (kind, source) = (fields.get(dash + 1)?, fields.get(dash + 2)?);
    let ours = *kind == TYPE || (*kind == b"fuse" && *source == SOURCE);
    ours.then(|| MountPoint {
        path: PathBuf::from(OsString::from_vec(unescape(path))),
        root: PathBuf::from(OsString::from_vec(unescape(root))),
        options: String::from_utf8_lossy(options).into_owned(),
        device: String::from_utf8_lossy(device).into_owned(),
    })
}

/// Blanks and backslashes are written as `\040` and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_kmsfs_are_listed() {
        let table = b"22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
            40 1 0:50 / /run/secrets rw,nosuid,nodev - fuse kmsfs rw,user_id=0\n\
            41 1 0:51 / /home/a\\040b/M\\134x ro shared:3 - fuse.kmsfs kmsfs ro\n\
            42 1 0:52 / /mnt/other rw - fuse sshfs rw\n";
        let paths: Vec<_> = parse(table).into_iter().map(|mount| (mount.path, mount.options)).collect();
        assert_eq!(paths, [("/run/secrets".into(), "rw,nosuid,nodev".into()), ("/home/a b/M\\x".into(), "ro".into()),]);
    }
}
