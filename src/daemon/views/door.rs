//! Where a mount's daemon is asked for views: a socket in the store's directory, where nobody comes but whom the store belongs to.
//!
//! Each question is one message, and so is its answer. Invariant: who is neither root nor the daemon's own user is not heard.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use serde::{Deserialize, Serialize};

use super::ViewOrder;
use crate::daemon::handover::Control;
use crate::daemon::probe::{self, ProbeError};

/// The socket's name in the store's directory.
const NAME: &str = "control";
/// Who asks at a time. Further ones wait.
const CLIENTS_MAX: usize = 16;
/// How long an answer may take: a mount, and a worker that comes to serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// A question.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Mount a view.
    Open(ViewOrder),
    /// Take the view on this directory away.
    Close(PathBuf),
    /// Which there are behind the one of this number.
    List { behind: u32 },
}

/// Its answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    /// Some, each with its number; none where there are no more.
    Views(Vec<(u32, ViewOrder)>),
    /// Why not, in words.
    Refused(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("nobody serves the store in {store}: {source}")]
    Nobody { store: PathBuf, source: io::Error },
    #[error("the daemon does not answer: {0}")]
    Silent(io::Error),
    #[error(transparent)]
    Mount(#[from] ProbeError),
    #[error("the mount on {point} does not say where its store is")]
    Unknown { point: PathBuf },
}

/// Where the store is that the mount of a whole tree on `point` is of, as that says itself.
pub fn store_of(point: &Path) -> Result<PathBuf, DoorError> {
    let status = probe::ask(point, PATIENCE)?;
    let directory = status["store"]["directory"].as_str().map(PathBuf::from);
    directory.ok_or_else(|| DoorError::Unknown { point: point.to_owned() })
}

/// The daemon's side.
pub struct Door {
    /// Where the socket is.
    directory: OwnedFd,
    listener: OwnedFd,
    clients: Vec<Client>,
}

/// Somebody who asks.
struct Client {
    control: Control,
    /// The view that it waits for.
    awaits: Option<u32>,
}

impl Door {
    /// Opens it for the store in `store`, whose lock this process has.
    pub fn open(store: &Path) -> io::Result<Self> {
        let directory = open(store, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        remove(&directory)?;
        let listener = socket()?;
        bind(&listener, &address(&directory)?)?;
        listen(&listener, CLIENTS_MAX as i32)?;
        Ok(Self { directory, listener, clients: Vec::new() })
    }

    /// What there is to wait for.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = (self.clients.len() < CLIENTS_MAX).then(|| self.listener.as_fd());
        listener.into_iter().chain(self.clients.iter().map(|client| client.control.as_fd()))
    }

    /// Lets in who waits outside, and answers what is asked by those that are ready, as `answer` says: with the number of a view where that is to
    /// be waited for.
    pub fn serve(&mut self, mut answer: impl FnMut(Ask) -> Result<Answer, u32>) {
        while self.clients.len() < CLIENTS_MAX && is_ready(self.listener.as_fd()) {
            match self.let_in() {
                Ok(client) => self.clients.extend(client),
                Err(error) => {
                    log::warn!("somebody who wanted to ask was not let in: {error}");
                    break;
                }
            }
        }
        self.clients.retain_mut(|client| {
            if !is_ready(client.control.as_fd()) {
                return true;
            }
            match client.control.receive::<Ask>() {
                Ok(Some((ask, _))) => match answer(ask) {
                    Ok(answer) => client.control.send(&answer, &[]).is_ok(),
                    Err(view) => {
                        client.awaits = Some(view);
                        true
                    }
                },
                Ok(None) => false,
                Err(error) => {
                    log::warn!("a question about views cannot be understood: {error}");
                    false
                }
            }
        });
    }

    /// Answers who waits for the view numbered `no`.
    pub fn tell(&mut self, no: u32, answer: &Answer) {
        for client in self.clients.iter_mut().filter(|client| client.awaits == Some(no)) {
            client.awaits = None;
            // Who has gone hears nothing.
            let _ = client.control.send(answer, &[]);
        }
    }

    fn let_in(&self) -> io::Result<Option<Client>> {
        // Who does not read what it is told shall hold nobody up.
        let socket = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let uid = socket_peercred(&socket)?.uid;
        let is_ours = uid.is_root() || uid == rustix::process::geteuid();
        if !is_ours {
            log::warn!("uid {} asked for a view, and is not heard", uid.as_raw());
        }
        Ok(is_ours.then(|| Client { control: Control::from_fd(socket), awaits: None }))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            log::warn!("the socket stays in the store's directory: {error}");
        }
    }
}

/// Takes the socket away, which a daemon that was killed may have left.
fn remove(directory: &OwnedFd) -> io::Result<()> {
    match unlinkat(directory, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks the daemon of the store in `store`.
pub fn ask(store: &Path, ask: &Ask) -> Result<Answer, DoorError> {
    let nobody = |source: io::Error| DoorError::Nobody { store: store.to_owned(), source };
    let directory = open(store, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = directory.map_err(|error| nobody(error.into()))?;
    let socket = socket().map_err(nobody)?;
    let address = address(&directory).map_err(nobody)?;
    connect(&socket, &address).map_err(|error| nobody(error.into()))?;
    let control = Control::from_fd(socket);
    control.send(ask, &[]).map_err(DoorError::Silent)?;
    let late = || DoorError::Silent(io::ErrorKind::TimedOut.into());
    let patience = Timespec::try_from(PATIENCE).map_err(|error| DoorError::Silent(io::Error::other(error)))?;
    let mut waits = [PollFd::new(&control, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut waits, Some(&patience)));
    if ready.map_err(|error| DoorError::Silent(error.into()))? == 0 {
        return Err(late());
    }
    let answer = control.receive().map_err(DoorError::Silent)?;
    answer.map(|(answer, _)| answer).ok_or_else(|| DoorError::Silent(io::ErrorKind::ConnectionReset.into()))
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// By the directory's descriptor: a socket's path has 107 bytes at most, a store's any number.
fn address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{NAME}", std::os::fd::AsRawFd::as_raw_fd(directory));
    Ok(SocketAddrUnix::new(Path::new(&path).as_os_str().as_bytes())?)
}

fn is_ready(socket: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&Timespec::default()))
        .is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_asked_is_answered() {
        // Longer than a socket's path may be.
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("x".repeat(200));
        std::fs::create_dir(&store).unwrap();
        assert!(matches!(ask(&store, &Ask::List { behind: 0 }), Err(DoorError::Nobody { .. })));
        drop(Door::open(&store).unwrap());
        let mut door = Door::open(&store).unwrap();
        let asks = thread::spawn(move || {
            let answers =
                [Ask::List { behind: 0 }, Ask::Close("/a".into())].map(|question| ask(&store, &question).unwrap());
            assert_eq!(answers, [Answer::Refused("no".to_owned()), Answer::Done]);
        });
        while !asks.is_finished() {
            let mut waits: Vec<PollFd<'_>> =
                door.watched().map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)).collect();
            let a_moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            poll(&mut waits, Some(&a_moment)).unwrap();
            drop(waits);
            let mut awaited = false;
            door.serve(|question| match question {
                Ask::List { .. } => Ok(Answer::Refused("no".to_owned())),
                Ask::Close(_) => {
                    awaited = true;
                    Err(7)
                }
                Ask::Open(_) => Ok(Answer::Done),
            });
            if awaited {
                door.tell(7, &Answer::Done);
            }
        }
        asks.join().unwrap();
    }
}
