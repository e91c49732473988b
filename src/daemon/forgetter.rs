//! How the kernel is made to forget pages: a process that holds the connection and tells it, nothing but this.
//!
//! Before the kernel forgets a page that is being read it waits for that read's answer, and no signal ends the wait, not even SIGKILL.
//! The answer is the worker's. A thread of the worker that waits so is not ended by a kill, so the worker would never be gone, and the
//! keeper would never start the one that answers. This process may wait: it is nobody's to wait for but the worker's that asks it,
//! which can be killed all the while. It ends with that worker, if need be once the next one has answered.
//!
//! Invariant: it reads no request and touches the mount never; it knows numbers and no value.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::mount::MountError;
use super::tended::SELF;
use super::worker::ignore_signals;

/// The word that makes this program one.
const WORD: &str = "forget";
/// The notification: length 40, code 2, no unique; then inode, offset and length, both 0: all pages of the file.
const NOTIFICATION: usize = 40;
const INVAL_INODE: u32 = 2;
const INO_AT: usize = 16;
/// Bytes of a number.
const NUMBER: usize = 8;
/// Numbers of one message, which must fit into a socket.
const AT_ONCE: usize = 4096;

/// The worker's hold on it.
pub struct Forgetter {
    device: OwnedFd,
    /// None where it has ended, or could not be started.
    process: Option<Process>,
}

struct Process {
    socket: OwnedFd,
    child: Child,
}

impl Forgetter {
    /// For the connection `device`. Where no process can be started now it is tried again when one is needed.
    pub fn start(device: OwnedFd) -> Self {
        let process = Process::start(&device);
        let process = process.inspect_err(|error| log::warn!("the kernel cannot be told to forget pages yet: {error}"));
        Self { process: process.ok(), device }
    }

    /// Has the kernel forget all pages of the inodes with these numbers; it has when this returns.
    pub fn forget(&mut self, inodes: &[u64]) -> io::Result<()> {
        inodes.chunks(AT_ONCE).try_for_each(|some| {
            // One that was killed is followed by another; what it had done already is done again.
            self.ask(some).or_else(|_| self.ask(some))
        })
    }

    fn ask(&mut self, inodes: &[u64]) -> io::Result<()> {
        let process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.device)?,
        };
        process.ask(inodes)?;
        self.process = Some(process);
        Ok(())
    }
}

impl Process {
    fn start(device: &OwnedFd) -> io::Result<Self> {
        let (socket, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let child = Command::new(SELF)
            .arg0(env!("CARGO_PKG_NAME"))
            .arg(WORD)
            .stdin(Stdio::from(its))
            .stdout(Stdio::from(device.try_clone()?))
            .env_remove("NOTIFY_SOCKET")
            .spawn()?;
        Ok(Self { socket, child })
    }

    fn ask(&self, inodes: &[u64]) -> io::Result<()> {
        let message: Vec<u8> = inodes.iter().flat_map(|ino| ino.to_ne_bytes()).collect();
        rustix::io::retry_on_intr(|| send(&self.socket, &message, SendFlags::NOSIGNAL))?;
        let mut errno = [0; 4];
        let (len, _) = rustix::io::retry_on_intr(|| recv(&self.socket, &mut errno[..], RecvFlags::empty()))?;
        match i32::from_ne_bytes(errno) {
            _ if len < errno.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its end is not waited for: it may wait in the kernel.
        if let Err(error) = self.child.kill().and_then(|()| self.child.try_wait()) {
            log::debug!("the process that has the kernel forget is not ended: {error}");
        }
    }
}

/// Tells the kernel, on stdout, what the numbers say that come on stdin, until nobody is there to send any.
pub fn forget() -> Result<(), MountError> {
    // A terminal's Ctrl-C is for the keeper.
    ignore_signals()?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut numbers = vec![0; AT_ONCE * NUMBER];
    loop {
        let received = rustix::io::retry_on_intr(|| recv(&stdin, &mut numbers[..], RecvFlags::empty()));
        let (len, _) = received.map_err(|error| MountError::Handover(error.into()))?;
        if len == 0 {
            return Ok(());
        }
        let told = numbers[..len].as_chunks().0.iter().try_for_each(|number| tell(stdout.as_fd(), *number));
        let errno = told.err().map_or(0, Errno::raw_os_error).to_ne_bytes();
        // The worker may be gone; then there is nothing more to come either.
        let _ = rustix::io::retry_on_intr(|| send(&stdin, &errno, SendFlags::NOSIGNAL));
    }
}

fn tell(device: BorrowedFd<'_>, ino: [u8; NUMBER]) -> Result<(), Errno> {
    let mut message = [0; NOTIFICATION];
    message[..4].copy_from_slice(&(NOTIFICATION as u32).to_ne_bytes());
    message[4..8].copy_from_slice(&INVAL_INODE.to_ne_bytes());
    message[INO_AT..INO_AT + NUMBER].copy_from_slice(&ino);
    match rustix::io::retry_on_intr(|| rustix::io::write(device, &message)) {
        // The kernel has no such inode, or no such connection any more.
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        outcome => outcome.map(drop),
    }
}
