//! The second sink: journald or syslog, over a local socket. It keeps no chain of ours, and is told every record.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Who else is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessKind {
    /// systemd's journal, by its own protocol.
    Journald,
    /// Whoever listens to `/dev/log`.
    Syslog,
}

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where syslog does.
const SYSLOG: &str = "/dev/log";
/// Facility authpriv, severity informational.
const PRIORITY: u32 = 10 * 8 + 6;

impl WitnessKind {
    /// From its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "journald" => Some(WitnessKind::Journald),
            "syslog" => Some(WitnessKind::Syslog),
            _ => None,
        }
    }

    fn message(&self, line: &str) -> String {
        match self {
            WitnessKind::Journald => format!("MESSAGE={line}\nPRIORITY=6\nSYSLOG_IDENTIFIER=kmsfs-audit\n"),
            WitnessKind::Syslog => format!("<{PRIORITY}>kmsfs-audit[{}]: {line}", std::process::id()),
        }
    }
}

impl fmt::Display for WitnessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WitnessKind::Journald => "journald",
            WitnessKind::Syslog => "syslog",
        })
    }
}

/// The way to it.
pub struct Witness {
    kind: WitnessKind,
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Why it did not take the last record.
    failed: Option<String>,
}

impl Witness {
    /// Not connected yet. `socket` is another place than the usual one.
    pub fn new(kind: WitnessKind, socket: Option<&Path>) -> Self {
        let usual = match kind {
            WitnessKind::Journald => JOURNAL,
            WitnessKind::Syslog => SYSLOG,
        };
        let path = socket.unwrap_or(Path::new(usual)).to_owned();
        Self { kind, path, socket: None, failed: None }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.kind.to_string()
    }

    /// Hands `line` over. One that has no room now is waited for as long as `patience`, unless it had none the last time.
    pub fn tell(&mut self, line: &str, patience: Duration) -> Result<(), String> {
        let patience = if self.failed.is_some() { Duration::ZERO } else { patience };
        let outcome = self.send(self.kind.message(line).as_bytes(), patience);
        if outcome.is_err() {
            // Who listens may be another one the next time.
            self.socket = None;
        }
        let outcome = outcome.map_err(|error| format!("{}: {error}", self.path.display()));
        if let (Err(error), None) = (&outcome, &self.failed) {
            log::error!("{} does not take the audit: {error}", self.kind);
        }
        self.failed = outcome.as_ref().err().cloned();
        outcome
    }

    fn send(&mut self, message: &[u8], patience: Duration) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(connect(&self.path)?),
        };
        match socket.send(message) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !patience.is_zero() => {
                let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
                poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&timeout))?;
                socket.send(message).map(|_| ())
            }
            sent => sent.map(|_| ()),
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_hears_and_one_that_does_not_is_no_witness() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for (kind, before, behind) in [
            (WitnessKind::Journald, "MESSAGE=", "\nPRIORITY=6\nSYSLOG_IDENTIFIER=kmsfs-audit\n"),
            (WitnessKind::Syslog, &*format!("<86>kmsfs-audit[{}]: ", std::process::id()), ""),
        ] {
            let mut witness = Witness::new(kind, Some(&path));
            assert!(witness.tell("{}", Duration::ZERO).is_err(), "nobody listens");
            assert!(witness.failed.is_some());
            let listener = UnixDatagram::bind(&path).unwrap();
            witness.tell("{}", Duration::ZERO).unwrap();
            assert_eq!(witness.failed, None);
            let mut heard = [0; 200];
            let len = listener.recv(&mut heard).unwrap();
            assert_eq!(std::str::from_utf8(&heard[..len]).unwrap(), format!("{before}{{}}{behind}"));
            // Nobody takes anything out: it is full before long, and that is met without a wait.
            let full = (0..100_000).find(|_| witness.tell("{}", Duration::ZERO).is_err());
            assert!(full.is_some());
            drop(listener);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
