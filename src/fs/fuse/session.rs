//! A session over a connection that the kernel has already, new or taken over from a process that died.
//!
//! The kernel opens a connection with one INIT and never repeats it, and the session wants to see it first. So each session
//! is given a socket in which that first request waits, answers it there, and then finds the device in the socket's place. What
//! it answered goes to the kernel once, and is compared with that ever after.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;

use fuser::{Config, SessionACL};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::answers::Adaptor;
use super::desk::Desk;
use super::revoking::Forget;
use crate::fs::ops::Tree;
use crate::fs::process::device_of;

/// A mount's connection to the kernel.
pub struct Connection {
    /// Where its requests come.
    pub device: OwnedFd,
    /// Tells its requests from those of any other connection.
    pub id: [u8; 8],
    /// Its first request.
    pub init: Vec<u8>,
    /// What was answered to that, unless this is the first session.
    pub answer: Option<Vec<u8>>,
}

/// A connection that is served by [`Session::run`].
pub struct Session {
    inner: fuser::Session<Adaptor>,
    answer: Vec<u8>,
    desk: Arc<Desk>,
}

/// What views are served with.
#[derive(Clone)]
pub struct Beside(Weak<Desk>);

/// The header of every answer; what INIT answers stands behind it.
const ANSWER_HEADER: usize = 16;
/// The header of every request; behind it INIT has two version numbers, a read-ahead, and its flags in two words.
const REQUEST_HEADER: usize = 40;
const INIT_FLAGS: usize = REQUEST_HEADER + 12;
const INIT_FLAGS2: usize = REQUEST_HEADER + 16;
/// In the first word: there is a second.
const INIT_EXT: u32 = 1 << 30;
/// In the second: requests that a dead process had taken can be asked for again (Linux 6.9).
const HAS_RESEND: u32 = 1 << (39 - 32);
/// The notification that asks for them: length 16, code 7, no unique.
const RESEND: [u8; 16] = [16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Longer than any answer to INIT.
const ANSWER_MAX: usize = 1024;

/// Takes the connection of the mount of the whole tree, on `point`. It is answered once [`Session::run`] is called.
///
/// # Errors
/// Where this program would have asked the kernel for other things than the one that made the mount.
pub fn adopt(
    tree: Arc<Tree>,
    connection: Connection,
    forget: Forget,
    allow_other: bool,
    point: &Path,
) -> io::Result<Session> {
    let desk = Arc::new(Desk::start(&tree, forget)?);
    // Two serve better than one even for one reader (measured).
    let threads = thread::available_parallelism().map_or(2, usize::from).max(2);
    let acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    let device = device_of(point);
    let session = take(desk.clone(), tree, connection, (acl, threads), device)?;
    let _ = desk.notifier.set(session.inner.notifier());
    Ok(session)
}

/// Takes the connection of a view, mounted as `device`, beside that of the whole tree. Whoever comes is its principal, and one thread serves all of them:
/// there may be a thousand views.
///
/// # Errors
/// As [`adopt`].
pub fn adopt_view(beside: &Beside, tree: Arc<Tree>, connection: Connection, device: String) -> io::Result<Session> {
    let desk = beside.0.upgrade().ok_or_else(|| io::Error::other("the mount of the whole tree has ended"))?;
    take(desk, tree, connection, (SessionACL::All, 1), Some(device))
}

fn take(
    desk: Arc<Desk>,
    tree: Arc<Tree>,
    connection: Connection,
    (acl, threads): (SessionACL, usize),
    mounted_as: Option<String>,
) -> io::Result<Session> {
    let Connection { device, id, init, answer: first } = connection;
    let (mounted, its) = (tree.clone(), desk.clone());
    let adaptor = Adaptor { tree, connection: id, desk };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(threads);
    // What a clone had taken is aborted when its process dies: better than to hang where it cannot come again, else worse.
    config.clone_fd = !can_resend(&init);
    let (kernel, session) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut kernel = File::from(kernel);
    kernel.write_all(&init)?;
    let inner = fuser::Session::from_fd(adaptor, session, config.acl, config)?;
    let mut answer = vec![0; ANSWER_MAX];
    let len = kernel.read(&mut answer)?;
    answer.truncate(len);
    put_in_place(&device, &inner)?;
    match first {
        None => match write(&inner, &answer) {
            // Whoever wrote it last died before anybody knew. What it had taken comes again.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                if can_resend(&init) {
                    write(&inner, &RESEND)?;
                }
            }
            written => written?,
        },
        Some(first) if first.get(ANSWER_HEADER..) == answer.get(ANSWER_HEADER..) => {
            if can_resend(&init) {
                write(&inner, &RESEND)?;
            }
        }
        Some(_) => {
            let why = "it was mounted by a kmsfs that asked other things of the kernel; unmount it and mount it again";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
    }
    match mounted_as {
        Some(device) => mounted.mounted_as(device),
        None => log::warn!("the mount is not in the kernel's table: files of other mounts may be taken for its own"),
    }
    Ok(Session { inner, answer, desk: its })
}

impl Session {
    /// What the kernel was told at first.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// What views are to be served with, beside it.
    pub fn beside(&self) -> Beside {
        Beside(Arc::downgrade(&self.desk))
    }

    /// Serves until the mount is gone from the kernel, and all that it has asked for is done.
    pub fn run(self) -> io::Result<()> {
        let served = self.inner.run();
        self.desk.finish();
        served
    }
}

/// Whether requests that a dead process had taken come again when asked for.
fn can_resend(init: &[u8]) -> bool {
    let word = |at: usize| init.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    word(INIT_FLAGS) & INIT_EXT != 0 && word(INIT_FLAGS2) & HAS_RESEND != 0
}

/// Puts the device in the place of the session's socket.
fn put_in_place(device: &OwnedFd, session: &fuser::Session<Adaptor>) -> io::Result<()> {
    // SAFETY: the number is the session's own descriptor, which lives as long as the borrow; it is replaced here and not
    // closed, since the owner made of it is never dropped.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(session.as_fd().as_raw_fd()) });
    Ok(rustix::io::dup3(device, &mut place, rustix::io::DupFlags::CLOEXEC)?)
}

fn write(session: &fuser::Session<Adaptor>, message: &[u8]) -> io::Result<()> {
    rustix::io::write(session, message)?;
    Ok(())
}
