//! What is done when something that is watched has happened: a command is run, or a process is sent a signal.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::fault::FollowError;
use super::watched::News;
use crate::cli::report::CliError;

/// What is done.
pub enum Action {
    /// The program and its arguments.
    Run(Vec<OsString>),
    /// The signal, and the file with the number of the process that it goes to.
    Signal(nix::sys::signal::Signal, PathBuf),
}

/// A command that runs.
pub struct Running {
    pub child: Child,
    /// Its process, also when its number is another's.
    pub process: OwnedFd,
}

/// A signal by its name, with or without SIG.
pub fn parse_signal(name: &str) -> Result<nix::sys::signal::Signal, String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    nix::sys::signal::Signal::from_str(&full).map_err(|_| format!("{name} is no signal; HUP, USR1, TERM are some"))
}

/// Starts `command` with `news` in its environment. It reads nothing: whoever watches may do so from a terminal for hours.
pub fn start(command: &[OsString], news: &News) -> Result<Running, CliError> {
    let failed = |source| CliError::Path { path: PathBuf::from(&command[0]), source };
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env("KMSFS_PATH", &news.path)
        .env("KMSFS_WHAT", &news.what)
        .env("KMSFS_VERSION", news.version.as_deref().unwrap_or_default())
        .stdin(Stdio::null())
        .spawn()
        .map_err(failed)?;
    match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(process) => Ok(Running { child, process }),
        Err(error) => {
            // One that could not be told to end is not left behind.
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(error.into()))
        }
    }
}

/// Sends `signal` to the process whose number stands in `file` now.
pub fn send(signal: nix::sys::signal::Signal, file: &Path) -> Result<(), FollowError> {
    let text = fs::read_to_string(file).map_err(|source| FollowError::File { path: file.to_owned(), source })?;
    let pid = parse_pid(&text).ok_or_else(|| FollowError::NoPid(file.to_owned()))?;
    let raw = pid.as_raw_nonzero().get();
    let failed = |error: rustix::io::Errno| match error {
        rustix::io::Errno::SRCH => FollowError::NoProcess { file: file.to_owned(), pid: raw },
        other => FollowError::Send { pid: raw, source: other.into() },
    };
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    send_to(&process, signal).map_err(failed)
}

/// Sends `signal` to a process.
pub fn send_to(process: &OwnedFd, signal: nix::sys::signal::Signal) -> rustix::io::Result<()> {
    let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(rustix::io::Errno::INVAL)?;
    pidfd_send_signal(process, signal)
}

/// The number in `text`: 0, 1 and whatever is negative stand for many processes, or for the first of all.
fn parse_pid(text: &str) -> Option<Pid> {
    let digits = text.trim();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = if plain { digits.parse().ok()? } else { return None };
    Pid::from_raw(number).filter(|pid| !pid.is_init())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_can_be_meant() {
        for (text, pid) in [("42\n", Some(42)), (" 7 ", Some(7)), ("2", Some(2))] {
            assert_eq!(parse_pid(text).map(|pid| pid.as_raw_nonzero().get()), pid, "{text}");
        }
        for bad in ["", "\n", "0", "1", "-1", "-42", "+42", "4 2", "42x", "99999999999", "4.2"] {
            assert_eq!(parse_pid(bad), None, "{bad}");
        }
    }

    #[test]
    fn signals_have_names() {
        for name in ["HUP", "SIGHUP", "hup"] {
            assert_eq!(parse_signal(name), Ok(nix::sys::signal::Signal::SIGHUP), "{name}");
        }
        for bad in ["", "1", "NONE", "SIGSIGHUP"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
