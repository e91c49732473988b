//! `kmsfs watch`: something is done whenever a secret was rotated.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueHint};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::action::{self, Action};
use super::fault::FollowError;
use super::stream::{Event, Stream};
use super::watched::{News, Watched};
use crate::cli::report::CliError;

/// Run a command, or send a signal, whenever a secret was rotated
///
/// PATH is a secret's directory, which is watched with all that is below it, a file in it, an instance, or a mount point. The command
/// finds the secret's directory in KMSFS_PATH, what happened in KMSFS_WHAT and the version in KMSFS_VERSION; of several things that
/// happen at once it is told the last. It also runs when nobody knows what happened (KMSFS_WHAT=lost): after the mount's worker was
/// replaced, for one. It reads nothing from stdin.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("action").required(true).args(["command", "signal"])),
    after_help = "Examples:\n  kmsfs watch /run/secrets/prod/tls -- systemctl reload nginx\n  kmsfs watch /run/secrets/prod/tls --signal HUP \
                  --pid-file /run/nginx.pid"
)]
pub struct WatchArgs {
    /// What is watched
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Act on every change of what is watched, be it of tags, labels, modes, or a deletion
    #[arg(long)]
    any: bool,
    /// End after the first time; fails if the command does
    #[arg(long)]
    once: bool,
    /// Send this signal
    #[arg(long, value_name = "NAME", value_parser = action::parse_signal, requires = "pid_file")]
    signal: Option<Signal>,
    /// To the process whose number stands in this file when it is sent
    #[arg(long, value_name = "FILE", requires = "signal", value_hint = ValueHint::FilePath)]
    pid_file: Option<PathBuf>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// How long nothing must happen before the command is run: what comes together is told together.
const SETTLE: Duration = Duration::from_millis(100);
/// The longest that is waited for that.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// What the loop hears of.
enum Word {
    News(News),
    /// The command has ended.
    Ended(ExitStatus),
    /// Somebody wants this to end.
    End(Signal),
    /// A mount can be followed no longer.
    Gone(CliError),
}

pub fn run(args: &WatchArgs) -> Result<(), CliError> {
    let watched = args.paths.iter().map(|path| Watched::new(path)).collect::<Result<Vec<_>, _>>()?;
    for (path, watched) in args.paths.iter().zip(&watched) {
        if let Err(error) = watched.is_listed() {
            warn(&format!("nothing is told of {} as long as it cannot be listed: {error}", path.display()));
        }
    }
    let (said, heard) = channel();
    let mounts: BTreeSet<_> = watched.iter().map(|watched| watched.mount.clone()).collect();
    for mount in mounts {
        let its = watched.iter().filter(|watched| watched.mount == mount).cloned().collect();
        follow(Stream::open(&mount)?, its, args.any, said.clone());
    }
    listen(said.clone())?;
    let action = match (&args.signal, &args.pid_file) {
        (Some(signal), Some(file)) => Action::Signal(*signal, file.clone()),
        _ => Action::Run(args.command.clone()),
    };
    Watch { action, once: args.once, said, heard, running: None, pending: None }.run()
}

/// Tells of what happens to `watched`, until nothing can be told any more.
fn follow(mut stream: Stream, watched: Vec<Watched>, any: bool, said: Sender<Word>) {
    thread::spawn(move || {
        loop {
            match stream.next() {
                Ok(lines) => {
                    for line in lines {
                        let event = Event::parse(&line);
                        let news = watched.iter().find_map(|watched| watched.news(&event, any));
                        if news.is_some_and(|news| said.send(Word::News(news)).is_err()) {
                            return;
                        }
                    }
                }
                Err(error) => return drop(said.send(Word::Gone(error))),
            }
        }
    });
}

/// Tells of signals that ask for the end.
fn listen(said: Sender<Word>) -> Result<(), CliError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(FollowError::Signals)?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let signal = if signal == SIGINT { Signal::SIGINT } else { Signal::SIGTERM };
            if said.send(Word::End(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

struct Watch {
    action: Action,
    once: bool,
    said: Sender<Word>,
    heard: Receiver<Word>,
    /// The command's process.
    running: Option<OwnedFd>,
    /// What is to be acted on, and since when.
    pending: Option<Pending>,
}

struct Pending {
    news: News,
    first: Instant,
    last: Instant,
}

impl Pending {
    /// When to act on it.
    fn due(&self) -> Instant {
        (self.last + SETTLE).min(self.first + SETTLE_MAX)
    }
}

impl Watch {
    fn run(mut self) -> Result<(), CliError> {
        loop {
            match self.hear() {
                Some(Word::News(news)) => {
                    let now = Instant::now();
                    let first = self.pending.as_ref().map_or(now, |pending| pending.first);
                    self.pending = Some(Pending { news, first, last: now });
                }
                Some(Word::Ended(status)) => {
                    self.running = None;
                    if self.once || !status.success() {
                        self.ended(status)?;
                    }
                    if self.once {
                        return Ok(());
                    }
                }
                Some(Word::End(signal)) => return self.end(signal),
                Some(Word::Gone(error)) => return Err(error),
                None => {
                    if let Some(Pending { news, .. }) = self.pending.take()
                        && self.act(&news)?
                    {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What comes next; none where it is time to act.
    fn hear(&self) -> Option<Word> {
        let due = self.pending.as_ref().filter(|_| self.running.is_none()).map(Pending::due);
        let heard = match due {
            Some(due) => self.heard.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.heard.recv().map_err(RecvTimeoutError::from),
        };
        // It has a sender itself, so that there is always one.
        heard.ok()
    }

    /// Acts on `news`; whether that was all.
    fn act(&mut self, news: &News) -> Result<bool, CliError> {
        match &self.action {
            Action::Run(command) => {
                let action::Running { mut child, process } = action::start(command, news)?;
                self.running = Some(process);
                let said = self.said.clone();
                thread::spawn(move || {
                    if let Ok(status) = child.wait() {
                        let _ = said.send(Word::Ended(status));
                    }
                });
                Ok(false)
            }
            Action::Signal(signal, file) => {
                match action::send(*signal, file) {
                    Err(error) if self.once => return Err(error.into()),
                    // It may be on its way to start again.
                    Err(error) => warn(&error.to_string()),
                    Ok(()) => {}
                }
                Ok(self.once)
            }
        }
    }

    /// Says how the command has ended, where that is not well.
    fn ended(&self, status: ExitStatus) -> Result<(), CliError> {
        if status.success() {
            return Ok(());
        }
        if self.once {
            return Err(FollowError::Command(status).into());
        }
        warn(&format!("the command failed: {status}"));
        Ok(())
    }

    /// Ends, and has a command that runs end before.
    fn end(&self, signal: Signal) -> Result<(), CliError> {
        let Some(process) = &self.running else { return Ok(()) };
        // A terminal's Ctrl-C went to the command too, which would take a second one for impatience.
        if (signal != Signal::SIGINT || !std::io::stdin().is_terminal())
            && let Err(error) = action::send_to(process, signal)
        {
            log::debug!("the command was not told to end: {error}");
        }
        loop {
            match self.heard.recv() {
                Ok(Word::Ended(_)) | Err(_) => return Ok(()),
                Ok(Word::End(signal)) => drop(action::send_to(process, signal)),
                Ok(Word::News(_) | Word::Gone(_)) => {}
            }
        }
    }
}

fn warn(text: &str) {
    anstream::eprintln!("kmsfs: \x1b[1;33mwarning:\x1b[0m {text}");
}
