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
use std::sync::{Arc, OnceLock};
use std::thread;

use fuser::{Config, SessionACL};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::answers::Adaptor;
use super::callers::Callers;
use super::following::Following;
use super::lookout::Lookout;
use super::revoking::{Forget, Revoking};
use crate::fs::line::Line;
use crate::fs::ops::Tree;
use crate::fs::pool::Pool;
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
    /// What has it forget pages. It must not be this process that waits in the kernel: see `revoking`.
    pub forget: Forget,
}

/// A connection that is served by [`Session::run`].
pub struct Session {
    inner: fuser::Session<Adaptor>,
    answer: Vec<u8>,
}

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

/// Takes the connection, whose mount is on `point`. It is answered once [`Session::run`] is called.
///
/// # Errors
/// Where this program would have asked the kernel for other things than the one that made the mount.
pub fn adopt(tree: Arc<Tree>, connection: Connection, allow_other: bool, point: &Path) -> io::Result<Session> {
    let Connection { device, id, init, answer: first, forget } = connection;
    let notifier = Arc::new(OnceLock::new());
    let (sweeper, mounted, following, revoking) = (tree.clone(), tree.clone(), tree.clone(), tree.clone());
    let adaptor = Adaptor {
        tree,
        connection: id,
        notifier: notifier.clone(),
        line: Line::start("kmsfs-change", move || sweeper.sweep())?,
        pool: Pool::default(),
        asks: Pool::default(),
        callers: Callers::start()?,
        lookout: Lookout::default(),
        following: Following::start(following)?,
        revoking: Revoking::start(revoking, forget)?,
        // INVAL_ENTRY takes the directory's lock, which a caller may hold whose request stands in the line.
        forgets: Arc::new(Line::start("kmsfs-forget", || {})?),
    };
    let mut config = Config::default();
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    // Two serve better than one even for one reader (measured).
    config.n_threads = Some(thread::available_parallelism().map_or(2, usize::from).max(2));
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
        None => write(&inner, &answer)?,
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
    match device_of(point) {
        Some(device) => mounted.mounted_as(device),
        None => log::warn!("the mount is not in the kernel's table: files of other mounts may be taken for its own"),
    }
    let _ = notifier.set(inner.notifier());
    Ok(Session { inner, answer })
}

impl Session {
    /// What the kernel was told at first.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Serves until the mount is gone from the kernel.
    pub fn run(self) -> io::Result<()> {
        self.inner.run()
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
