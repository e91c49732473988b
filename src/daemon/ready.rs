//! How `kmsfs mount` returns when the mount answers, and with the daemon's own error when it never will.
//!
//! The command starts itself again in the background. Over the new process's stdin goes a passphrase that was typed, never
//! over its arguments or environment; over its stdout comes one line of JSON, the [`Verdict`]; both become /dev/null. Then the
//! command asks the mount for its status, and believes it only when the answer is the new process's.
//!
//! Invariant: when [`start`] answers `Err`, no daemon of its making is left behind.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::probe::{self, ProbeError};
use super::unmount;

/// What the daemon reports, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Ready,
    Failed(Failure),
}

/// An error as the command line tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: u8,
    pub message: String,
    pub hint: Option<String>,
}

/// Why no daemon runs in the background.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot start the daemon: {0}")]
    Spawn(io::Error),
    /// The daemon's own words.
    #[error("{}", .0.message)]
    Failed(Failure),
    #[error("the daemon ended before the mount was ready ({0})")]
    Died(ExitStatus),
    #[error("the mount was not ready within {} seconds", DEADLINE.as_secs())]
    Slow,
    #[error("the mount is there, but does not answer: {0}")]
    Mute(#[from] ProbeError),
    #[error("another mount than the one just made answers on {0}")]
    Other(PathBuf),
}

/// How long a start may take. Argon2id at its highest cost takes some seconds, a large log to recover some more.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a daemon that is told to end may take.
const END: Duration = Duration::from_secs(5);
/// No verdict is longer.
const MAX_VERDICT: u64 = 64 * 1024;
/// No passphrase is longer.
const MAX_INPUT: u64 = 1024;

/// Starts this program again with `args`, `input` on its stdin, and waits until the mount on `point` answers.
pub fn start(args: &[OsString], input: Option<&[u8]>, point: &Path) -> Result<(), StartError> {
    let program = std::env::current_exe().map_err(StartError::Spawn)?;
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child =
        Command::new(program).args(args).stdin(stdin).stdout(Stdio::piped()).spawn().map_err(StartError::Spawn)?;
    let outcome = await_ready(&mut child, input, point);
    match &outcome {
        Ok(()) | Err(StartError::Died(_)) => {}
        // It ends by itself, and is not disturbed while it closes its store.
        Err(StartError::Failed(_)) if ends_within(&child, END) => {}
        Err(_) => stop(&mut child, point),
    }
    outcome
}

fn await_ready(child: &mut Child, input: Option<&[u8]>, point: &Path) -> Result<(), StartError> {
    let deadline = Instant::now() + DEADLINE;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A daemon that has ended already says why in its verdict.
        let _ = stdin.write_all(input);
    }
    match read_verdict(child, deadline)? {
        Some(Verdict::Ready) => {}
        Some(Verdict::Failed(failure)) => return Err(StartError::Failed(failure)),
        None => return Err(StartError::Died(child.wait().map_err(StartError::Spawn)?)),
    }
    let status = probe::ask(point, deadline.saturating_duration_since(Instant::now()))?;
    let ours = probe::pids(&status).iter().any(|pid| u32::try_from(*pid).ok() == Some(child.id()));
    if ours { Ok(()) } else { Err(StartError::Other(point.to_owned())) }
}

/// The verdict, or `None` when the daemon ended without one.
fn read_verdict(child: &mut Child, deadline: Instant) -> Result<Option<Verdict>, StartError> {
    let Some(stdout) = child.stdout.take() else { return Ok(None) };
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(|error| StartError::Spawn(io::Error::other(error)))?;
    // The line comes in one write, so that what is ready to read is all of it, or the end.
    let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&left)));
    if ready.map_err(|error| StartError::Spawn(error.into()))? == 0 {
        return Err(StartError::Slow);
    }
    let mut line = String::new();
    BufReader::new(stdout.take(MAX_VERDICT)).read_line(&mut line).map_err(StartError::Spawn)?;
    Ok(serde_json::from_str(&line).ok())
}

/// Ends a daemon whose mount will not do: it is asked to unmount, then killed, and its mount taken down.
fn stop(child: &mut Child, point: &Path) {
    let asked = kill_process(Pid::from_child(child), Signal::TERM);
    let in_time = asked.is_ok() && ends_within(child, END);
    if !in_time && child.kill().is_ok() && super::mounts::find(point).is_ok_and(|mount| mount.is_some()) {
        // What it may have mounted is dead now, and in everybody's way.
        if let Err(error) = unmount::detach_lazily(point) {
            log::error!("{error}");
        }
    }
    if let Err(error) = child.wait() {
        log::error!("cannot wait for the daemon: {error}");
    }
}

/// Waits for the end of `child`, which stays to be waited for, so that its number is nobody else's.
fn ends_within(child: &Child, wait: Duration) -> bool {
    pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|handle| unmount::ended(&handle, Instant::now() + wait))
        .unwrap_or(false)
}

/// The daemon's end: tells the command that waits, once.
pub struct Reporter(File);

impl Reporter {
    /// Makes this process a background one: a session of its own, the root directory, and stdout for the verdict alone.
    pub fn take_over() -> io::Result<Self> {
        let verdict = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
        let null = null()?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::process::setsid()?;
        rustix::process::chdir("/")?;
        Ok(Self(File::from(verdict)))
    }

    /// What the command has handed over, and stdin closed.
    pub fn input(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT as usize + 64));
        // Not through std's stdin, whose buffer nobody wipes, and within the capacity, so that no copy is left where it grew.
        let stdin = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
        stdin.take(MAX_INPUT).read_to_end(&mut bytes)?;
        rustix::stdio::dup2_stdin(null()?)?;
        Ok(bytes)
    }

    /// Tells the verdict. An error means that nobody waits for it.
    pub fn report(mut self, verdict: &Verdict) -> io::Result<()> {
        let mut line = serde_json::to_vec(verdict)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_pipe() {
        let failure = Failure { code: 20, message: "the key\nfits not".into(), hint: None };
        for verdict in [Verdict::Ready, Verdict::Failed(failure)] {
            let line = serde_json::to_string(&verdict).unwrap();
            assert!(!line.contains('\n'), "one line");
            assert_eq!(serde_json::from_str::<Verdict>(&line).unwrap(), verdict);
        }
    }
}
