//! How watchers notice a rotation: a process that opens `current` for writing and closes it, nothing but this.
//!
//! A change made behind the kernel's back gives inotify nothing; an open and a close through the mount give IN_CLOSE_WRITE to
//! whoever watches the file or its directory, in other mount namespaces and through bind mounts too. It is a process of its own
//! and never a thread of the worker: one that waits for a mount whose server is its own process is never reaped. The daemon
//! knows it by its number, and lets it write nothing.
//!
//! It also probes the mount: it asks for its room every now and then, and tells the keeper of each answer over its stdout. A worker
//! that runs and does not answer is found by that, whatever holds it up.
//!
//! The names come over a socket that outlives both ends. Invariant: a name is taken from the socket only once it was poked, so
//! a poker that dies leaves it to the next one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{Mode, OFlags, openat};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::harden::harden;
use super::mount::MountError;
use super::tended::{SELF, TRY_AGAIN, handle};
use super::unmount;
use crate::vault::Rotated;

/// Longest message: a path, of which those in views are whole.
const NAME_MAX: usize = 4096;
/// The entry that is poked.
const ENTRY: &str = "current";
/// How often the mount is probed: seldom enough to cost nothing.
const PROBE: Duration = Duration::from_secs(2);

/// Pokes what comes over `names`, below the mount on `point`, until the other end is gone.
pub fn poke(point: &Path, names: &OwnedFd) -> Result<(), MountError> {
    harden();
    unmount::take_name();
    probe(point.to_owned())?;
    let mut name = vec![0; NAME_MAX];
    loop {
        let (len, _) = rustix::io::retry_on_intr(|| recv(names, &mut name[..], RecvFlags::PEEK))
            .map_err(|error| MountError::Handover(error.into()))?;
        if len == 0 {
            return Ok(());
        }
        let path = point.join(PathBuf::from(OsString::from_vec(name[..len].to_vec())));
        // The secret may be gone by now, and the mount.
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        if let Err(error) = openat(rustix::fs::CWD, &path, flags, Mode::empty()) {
            log::debug!("{} was not poked: {error}", path.display());
        }
        rustix::io::retry_on_intr(|| recv(names, &mut name[..], RecvFlags::empty()))
            .map_err(|error| MountError::Handover(error.into()))?;
    }
}

/// Asks the mount on `point` for its room, again and again, and says so after each answer. Pokes go on beside it: who pokes may
/// have to wait for a change.
fn probe(point: PathBuf) -> Result<(), MountError> {
    let beats = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3).map_err(|error| MountError::Handover(error.into()))?;
    let ask = move || {
        loop {
            // Whatever it is: an error is an answer too. Without the mount there is nothing to ask for.
            let _ = rustix::fs::statfs(&point);
            if rustix::io::write(&beats, b".").is_err() {
                // The keeper is gone.
                return;
            }
            thread::sleep(PROBE);
        }
    };
    thread::Builder::new().name("probe".into()).spawn(ask).map_err(MountError::Start)?;
    Ok(())
}

/// The keeper's hold on it: both ends of the socket, and the process.
pub struct Poker {
    /// Where names are read; every poker that is started gets a copy.
    names: OwnedFd,
    /// Where names are written; every worker gets a copy.
    pub pokes: OwnedFd,
    child: Child,
    pub pidfd: OwnedFd,
    /// A byte for each answer of the mount.
    pub beats: PipeReader,
    /// When another one is to be tried, where none could be started after the last.
    pub again: Option<Instant>,
    /// Those of former programs of this process that have not come to their end.
    left: Vec<Pid>,
}

impl Poker {
    /// Starts the first one, as this program with `args`.
    pub fn start(args: &[OsString]) -> io::Result<Self> {
        let (names, pokes) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Self::resume(names, pokes, args)
    }

    /// Starts one that goes on with what waits between `names` and `pokes`. Whatever child this process has is a former program's.
    pub fn resume(names: OwnedFd, pokes: OwnedFd, args: &[OsString]) -> io::Result<Self> {
        let left = children();
        let (child, pidfd, beats) = spawn(&names, args)?;
        Ok(Self { names, pokes, child, pidfd, beats, again: None, left })
    }

    /// Takes note of the end of those that former programs have dismissed.
    pub fn bury(&mut self) {
        self.left.retain(|pid| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
    }

    /// Starts another one in the place of one that has ended. Where that cannot be, it is due again before long.
    pub fn restart(&mut self, args: &[OsString]) -> io::Result<()> {
        self.end();
        self.again = Some(Instant::now() + TRY_AGAIN);
        (self.child, self.pidfd, self.beats) = spawn(&self.names, args)?;
        self.again = None;
        Ok(())
    }

    /// Its process. While there is none it is this one, which opens nothing: the former's number may be another's by now.
    pub fn pid(&self) -> u32 {
        if self.again.is_some() { std::process::id() } else { self.child.id() }
    }

    /// Both ends, for a keeper that goes on.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.names.as_fd(), self.pokes.as_fd()]
    }

    /// Kills it, and leaves it to the next program of this process: where it waits for a worker that is gone, it comes to its end
    /// when another one serves, and whoever waited for it here would start none.
    pub fn dismiss(&mut self) {
        if let Err(error) = self.child.kill() {
            log::error!("cannot kill the poker (pid {}): {error}", self.child.id());
        }
    }

    /// Kills it, and waits for its end. What it was about to poke still waits in the socket.
    pub fn end(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            log::error!("cannot end the poker (pid {}): {error}", self.child.id());
        }
    }
}

impl Drop for Poker {
    fn drop(&mut self) {
        self.end();
    }
}

/// The children of this process, as far as the kernel tells.
fn children() -> Vec<Pid> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)).collect()
}

fn spawn(names: &OwnedFd, args: &[OsString]) -> io::Result<(Child, OwnedFd, PipeReader)> {
    let (beats, beaten) = io::pipe()?;
    let mut child = Command::new(SELF)
        .arg0(env!("CARGO_PKG_NAME"))
        .args(args)
        .stdin(Stdio::from(names.try_clone()?))
        .stdout(beaten)
        .env_remove("NOTIFY_SOCKET")
        .spawn()?;
    let pidfd = handle(&mut child)?;
    Ok((child, pidfd, beats))
}

/// The worker's end: what was rotated, on its way to the poker.
pub struct Pokes {
    socket: Arc<OwnedFd>,
    queue: Arc<Queue>,
}

/// What found no room in the socket.
#[derive(Default)]
struct Queue {
    /// A name that waits already is not told twice.
    names: Mutex<BTreeSet<PathBuf>>,
    more: Condvar,
}

impl Pokes {
    /// Sends over `socket`.
    pub fn start(socket: OwnedFd) -> io::Result<Self> {
        let pokes = Self { socket: Arc::new(socket), queue: Arc::default() };
        let (socket, queue) = (pokes.socket.clone(), pokes.queue.clone());
        let send = move || {
            loop {
                let name = queue.next();
                if let Err(error) = send_name(&socket, &name, SendFlags::NOSIGNAL) {
                    return log::error!("watchers are not told of rotations any more: {error}");
                }
            }
        };
        thread::Builder::new().name("pokes".into()).spawn(send)?;
        Ok(pokes)
    }

    /// Has `rotated` poked. It is on its way when this returns, so before the change is acknowledged. Where the socket is full the
    /// thread waits for room, since the poker may be waiting for the very change that is being told.
    pub fn add(&self, rotated: &Rotated) {
        self.add_path(Path::new(rotated.instance.as_str()).join(rotated.name.as_str()).join(ENTRY));
    }

    /// The same of a file of another mount, by its whole path.
    pub fn add_path(&self, name: PathBuf) {
        if send_name(&self.socket, &name, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_err() {
            self.queue.names.lock().insert(name);
            self.queue.more.notify_one();
        }
    }
}

fn send_name(socket: &OwnedFd, name: &Path, flags: SendFlags) -> Result<(), rustix::io::Errno> {
    rustix::io::retry_on_intr(|| send(socket, name.as_os_str().as_bytes(), flags)).map(drop)
}

impl Queue {
    fn next(&self) -> PathBuf {
        let mut names = self.names.lock();
        loop {
            if let Some(name) = names.pop_first() {
                return name;
            }
            self.more.wait(&mut names);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_not_poked_waits_for_the_next_poker() {
        let (names, pokes) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("prod/a")).unwrap();
        fs::write(dir.path().join("prod/a/current"), "v").unwrap();
        for name in ["prod/none/current", "prod/a/current"] {
            send(&pokes, name.as_bytes(), SendFlags::empty()).unwrap();
        }
        drop(pokes);
        poke(dir.path(), &names).unwrap();
        assert_eq!(fs::read(dir.path().join("prod/a/current")).unwrap(), b"v", "nothing is written");
    }
}
