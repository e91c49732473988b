//! The mount as the kernel sees it: /dev/fuse, mount(2) or fusermount3, and the first request.
//!
//! Knows nothing of what is served there. Root mounts itself; others ask the helper, which sends the open device back over a
//! socket. Invariant: one descriptor is the mount's life; when its last copy is closed, every caller gets an error.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::handover::receive_file;
use super::point::{FUSE_DEVICE, fusermount};

/// What is mounted where.
#[derive(Debug, Clone)]
pub struct Mount {
    pub point: PathBuf,
    /// Whether other users than the one who mounts may come in; the tree's permission bits decide what they may do.
    pub allow_other: bool,
    pub read_only: bool,
    /// Whether the kernel decides by permission bits, before anything is asked: in a view they are not what decides.
    pub by_bits: bool,
}

/// What stands as the source of every mount of ours.
const SOURCE: &str = "kmsfs";
/// The type in the kernel's table.
const TYPE: &str = "fuse.kmsfs";
/// The environment variable in which the helper finds the number of its socket.
const HELPER_SOCKET: &str = "_FUSE_COMMFD";
/// The kernel reads a request out only into a buffer that would hold any: its least is 8 KiB.
const FIRST_REQUEST_MAX: usize = 16 * 1024;

/// Mounts; the answer is the device on which the kernel's requests come.
pub fn attach(mount: &Mount) -> io::Result<OwnedFd> {
    let point = mount.point.canonicalize()?;
    if rustix::process::geteuid().is_root() { attach_as_root(mount, &point) } else { attach_by_helper(mount, &point) }
}

/// The kernel's first request on `device`, which waits there once it is mounted.
pub fn first_request(device: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut request = vec![0; FIRST_REQUEST_MAX];
    let len = File::from(device.try_clone()?).read(&mut request)?;
    request.truncate(len);
    Ok(request)
}

fn attach_as_root(mount: &Mount, point: &Path) -> io::Result<OwnedFd> {
    let device = OpenOptions::new().read(true).write(true).open(FUSE_DEVICE)?;
    let root_mode = point.metadata()?.permissions().mode();
    let mut data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={}",
        std::os::fd::AsRawFd::as_raw_fd(&device),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if mount.by_bits {
        data.push_str(",default_permissions");
    }
    if mount.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    flags.set(MountFlags::RDONLY, mount.read_only);
    rustix::mount::mount(SOURCE, point, TYPE, flags, CString::new(data)?.as_c_str())?;
    Ok(device.into())
}

fn attach_by_helper(mount: &Mount, point: &Path) -> io::Result<OwnedFd> {
    let helper = fusermount().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no fusermount3"))?;
    let (ours, its) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut options = format!("fsname={SOURCE},subtype=kmsfs,nosuid,nodev,noexec,noatime");
    options.push_str(if mount.read_only { ",ro" } else { ",rw" });
    if mount.by_bits {
        options.push_str(",default_permissions");
    }
    if mount.allow_other {
        options.push_str(",allow_other");
    }
    // The socket is the helper's stdin, so that no other descriptor need be inherited.
    let asked = Command::new(helper)
        .args(["-o", &options, "--"])
        .arg(point)
        .env(HELPER_SOCKET, "0")
        .stdin(Stdio::from(its))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    if !asked.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&asked.stderr).trim().to_owned()));
    }
    receive_file(&ours)?.ok_or_else(|| io::Error::other("fusermount3 has sent no device"))
}
