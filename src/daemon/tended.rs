//! A worker's process as its keeper has it, and the wait for what happens next: a signal, its word, its end, its silence.
//!
//! Invariant: a worker's last word is heard before its end is noticed, and one that is dropped is killed.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::handover::{Control, ToKeeper, ToWorker};
use super::notify::Manager;
use super::poker::Poker;
use super::restarts::Restarts;
use super::unmount;
use super::views::Door;

/// Signals, as bytes to be polled for.
pub struct Signals {
    /// SIGTERM and SIGINT: unmount.
    end: UnixStream,
    /// Whether one has come.
    ends: bool,
    /// SIGHUP: make room for another program.
    upgrade: UnixStream,
}

/// A worker process.
pub struct Worker {
    pub child: Child,
    pidfd: OwnedFd,
    pub control: Control,
    pub serves: bool,
    /// When it served at last for all that is known.
    pub heard: Instant,
    pub killed: Option<Instant>,
}

/// What happens next.
pub enum Event {
    End,
    Upgrade,
    Word(ToKeeper),
    Died(ExitStatus),
    /// It is to be followed by another one.
    PokerDied,
    /// The mount has answered.
    Beat,
    /// Somebody asks for views.
    Knock,
    /// It does not come to serve, or does not come to its end.
    Late,
    /// It serves, and does not answer.
    Wedged,
}

/// How long a worker may leave the mount without an answer: more than any disk takes that is still one.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a killed worker is waited for.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// What is watched before the poker: two sorts of signals, and the worker's word and end.
const OF_WORKER: usize = 4;

/// From a process that could not be started to the next try: so long that ten of them are not taken for what ends every worker.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(1_500);

/// What the running program is, even after its file was replaced.
pub(super) const SELF: &str = "/proc/self/exe";

impl Signals {
    /// From now on no signal ends this process.
    pub fn listen() -> io::Result<Self> {
        let (end, ends) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, ends.try_clone()?)?;
        }
        let (upgrade, upgrades) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGHUP, upgrades)?;
        Ok(Self { end, ends: false, upgrade })
    }

    /// Waits for so long, or until somebody wants the end; whether somebody does, or did before.
    pub fn end_within(&mut self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&time)))?;
        self.ends |= ready > 0;
        Ok(self.ends)
    }
}

impl Worker {
    /// This program again, with `args`.
    pub fn spawn(args: &[OsString]) -> io::Result<Self> {
        let (control, its) = Control::pair()?;
        let mut child = Command::new(SELF)
            .arg0(env!("CARGO_PKG_NAME"))
            .args(args)
            .stdin(Stdio::from(its.into_fd()))
            .stdout(Stdio::null())
            .env_remove("NOTIFY_SOCKET")
            .spawn()?;
        let pidfd = handle(&mut child)?;
        Ok(Self { child, pidfd, control, serves: false, heard: Instant::now(), killed: None })
    }

    /// Waits for what happens next.
    pub fn wait(
        &mut self,
        signals: &mut Signals,
        manager: &Manager,
        poker: &Poker,
        restarts: &Restarts,
        door: Option<&Door>,
    ) -> io::Result<Event> {
        loop {
            manager.alive();
            if poker.again.is_some() {
                // Nobody asks it for anything.
                self.heard = Instant::now();
            }
            let deadline = if self.serves { self.heard + SILENCE } else { self.deadline(restarts) };
            let left = time_left(deadline, manager, poker)?;
            let mut watched = vec![
                PollFd::new(&signals.end, PollFlags::IN),
                PollFd::new(&signals.upgrade, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(&poker.pidfd, PollFlags::IN),
                PollFd::new(&poker.beats, PollFlags::IN),
            ];
            if poker.again.is_some() {
                // The end of one that could not be followed by another is known.
                watched.truncate(OF_WORKER);
            }
            let of_poker = watched.len() > OF_WORKER;
            watched.extend(
                door.into_iter().flat_map(Door::watched).map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)),
            );
            let ready = rustix::io::retry_on_intr(|| poll(&mut watched, left.as_ref()))?;
            let mut told = watched.iter().map(|one| !one.revents().is_empty());
            let mut next = |there: bool| there && told.next().unwrap_or_default();
            let [end, upgrade, word, died] = [(); OF_WORKER].map(|()| next(true));
            let [poker_died, beat] = [(); 2].map(|()| next(of_poker));
            let knock = told.any(|one| one);
            if ready == 0 && poker.again.is_some_and(|again| Instant::now() >= again) {
                return Ok(Event::PokerDied);
            }
            if ready == 0 {
                match (Instant::now() >= deadline, self.serves) {
                    (true, true) => return Ok(Event::Wedged),
                    (true, false) => return Ok(Event::Late),
                    (false, _) => continue,
                }
            }
            if end {
                take(&mut signals.end)?;
                signals.ends = true;
                return Ok(Event::End);
            }
            if upgrade {
                take(&mut signals.upgrade)?;
                return Ok(Event::Upgrade);
            }
            if word && let Some((word, _)) = self.control.receive()? {
                return Ok(Event::Word(word));
            }
            // Its last word is heard before its end is noticed.
            if died {
                return Ok(Event::Died(self.child.wait()?));
            }
            if poker_died {
                return Ok(Event::PokerDied);
            }
            if beat {
                let _ = (&poker.beats).read(&mut [0; 64])?;
                return Ok(Event::Beat);
            }
            if knock {
                return Ok(Event::Knock);
            }
            // The socket's end comes before the process's.
            rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], None))?;
        }
    }

    /// Lets it finish; one that does not serve yet has nothing to finish.
    pub fn finish(&mut self) {
        if !self.serves || self.control.send(&ToWorker::Finish, &[]).is_err() {
            self.kill();
        }
    }

    /// Until when one that does not serve is waited for.
    fn deadline(&self, restarts: &Restarts) -> Instant {
        let end = self.killed.map(|at| at + LAST_BREATH);
        end.unwrap_or(restarts.deadline()).max(restarts.deadline())
    }

    pub fn kill(&mut self) {
        self.killed.get_or_insert_with(Instant::now);
        if let Err(error) = self.child.kill() {
            log::error!("cannot kill the worker (pid {}): {error}", self.child.id());
        }
    }
}

/// A worker without a keeper is none.
impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        // One that hangs in the kernel is left to init.
        if unmount::ended(&self.pidfd, Instant::now() + LAST_BREATH).unwrap_or(false)
            && let Err(error) = self.child.wait()
        {
            log::error!("cannot wait for the worker (pid {}): {error}", self.child.id());
        }
    }
}

/// The handle of a process that was just started. One without is killed, and its end is not waited for: it may have asked the
/// mount for something already.
pub(super) fn handle(child: &mut Child) -> io::Result<OwnedFd> {
    pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(|error| {
        let killed = child.kill();
        killed.err().unwrap_or_else(|| error.into())
    })
}

/// Until there is something to do, whatever happens.
fn time_left(deadline: Instant, manager: &Manager, poker: &Poker) -> io::Result<Option<Timespec>> {
    let left = deadline.saturating_duration_since(Instant::now());
    let poker_due = poker.again.map(|again| again.saturating_duration_since(Instant::now()));
    let least = Some(left).into_iter().chain(manager.period()).chain(poker_due).min();
    least.map(Timespec::try_from).transpose().map_err(io::Error::other)
}

/// All bytes that wait there: a signal that came twice is one.
fn take(signals: &mut UnixStream) -> io::Result<()> {
    signals.read(&mut [0; 64]).map(drop)
}
