//! What a keeper and its worker say to each other: JSON in messages of one socket, with descriptors beside them.
//!
//! The worker has the socket as its stdin. A keeper that goes on as another program finds a message to itself there, with
//! all that it held: descriptors survive in a socket's queue. Invariant: no key and no value is in a message's text.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::Failure;
use super::views::ViewOrder;

/// Which words this program understands, what is written into the estate among them. A program that understands others does
/// not take over.
pub const WORDS: u32 = 6;

/// Longest message: the negotiated INIT and a failure's text fit many times.
const MESSAGE_MAX: usize = 64 * 1024;
/// Most descriptors with one message. The kernel takes 253.
pub const FILES_MAX: usize = 200;

/// To the worker.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Open the store. With it: the store's lock, the key.
    Open {
        /// Take a store that was rolled back as it is.
        accept_rollback: bool,
    },
    /// Serve the connection. With it: the device, the socket to the poker, and the two files of the estate.
    Serve {
        connected: Connected,
        /// The poker's process.
        poker: u32,
    },
    /// Another poker was started.
    Poker(u32),
    /// All views that there were when this worker came are served.
    AllViews,
    /// Serve a view. With it: its device.
    View { no: u32, order: ViewOrder, connected: Connected },
    /// Finish what was begun, and end: another one goes on.
    Finish,
}

/// What is known of a connection to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Tells its requests from those of any other connection.
    pub id: [u8; 8],
    /// The kernel's first request, as it came.
    pub init: Vec<u8>,
    /// What was answered to it, once it was.
    pub answer: Option<Vec<u8>>,
    /// How many workers have served it.
    pub workers: u64,
    /// The kernel's `major:minor` of the mount.
    pub mount: String,
}

/// To the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToKeeper {
    /// The store is open, and nothing speaks against serving it.
    Opened,
    /// Requests are answered; `answer` is what the kernel has been told at first.
    Serving { answer: Vec<u8> },
    /// The worker ends, and so would any other.
    Failed(Failure),
    /// Requests of a view are answered; `answer` is what the kernel has been told at first.
    ViewServes { no: u32, answer: Vec<u8> },
    /// No worker can serve it, and why.
    ViewFails { no: u32, why: String },
    /// It was unmounted.
    ViewEnds { no: u32 },
}

/// One end of the socket.
pub struct Control(OwnedFd);

impl Control {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// The end that this process was started with as its stdin, which becomes /dev/null.
    pub fn inherited() -> io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Self(socket))
    }

    /// The end that this descriptor is.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// For a process that will have it as its stdin.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends `message` and copies of `files`.
    pub fn send<T: Serialize>(&self, message: &T, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::Error::other("more descriptors than one message takes"));
        }
        // Whoever has gone is no reason to die of a signal.
        let send = || rustix::net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL);
        rustix::io::retry_on_intr(send)?;
        Ok(())
    }

    /// Waits for a message and what came with it; `None` once the other end is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; MESSAGE_MAX];
        let (len, files) = receive(&self.0, &mut text)?;
        if len == 0 { Ok(None) } else { Ok(Some((serde_json::from_slice(&text[..len])?, files))) }
    }
}

/// The descriptor that somebody else's message brings, whatever it says.
pub fn receive_file(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    Ok(receive(socket, &mut [0; 16])?.1.into_iter().next())
}

/// Length and descriptors of the next message, put into `text`. A socket whose other end is gone gives none.
fn receive(socket: &OwnedFd, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let receive = || rustix::net::recvmsg(socket, &mut [IoSliceMut::new(text)], &mut beside, RecvFlags::CMSG_CLOEXEC);
    let received = match rustix::io::retry_on_intr(receive) {
        Err(rustix::io::Errno::CONNRESET) => return Ok((0, Vec::new())),
        other => other?,
    };
    let mut files = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message is too long"));
    }
    Ok((received.bytes, files))
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn words_and_descriptors_arrive_together() {
        let (keeper, worker) = Control::pair().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let connected = Connected { id: [1; 8], init: vec![2; 104], answer: None, workers: 0, mount: "0:53".into() };
        let sent = ToWorker::Serve { connected, poker: 7 };
        keeper.send(&sent, &[File::open(&path).unwrap().as_fd()]).unwrap();
        keeper.send(&ToWorker::Finish, &[]).unwrap();
        let (message, files): (ToWorker, _) = worker.receive().unwrap().unwrap();
        assert_eq!(message, sent);
        let mut text = String::new();
        let mut files = files.into_iter().map(File::from);
        files.next().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), files.next().is_none()), ("content", true));
        assert_eq!(worker.receive().unwrap().map(|(message, _)| message), Some(ToWorker::Finish));
        drop(keeper);
        assert!(worker.receive::<ToWorker>().unwrap().is_none(), "whose end is gone says nothing more");
        assert!(worker.send(&ToKeeper::Opened, &[]).is_err());
    }

    #[test]
    fn descriptors_wait_in_the_socket() {
        let (one, other) = Control::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        one.send(&ToKeeper::Opened, &[reader.as_fd()]).unwrap();
        drop((one, reader));
        rustix::io::write(&writer, b"x").unwrap();
        let (_, files): (ToKeeper, _) = other.receive().unwrap().unwrap();
        let mut byte = [0];
        assert_eq!((rustix::io::read(&files[0], &mut byte[..]).unwrap(), byte), (1, *b"x"));
    }
}
