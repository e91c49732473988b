//! The keeper: holds what must outlive a worker, and starts another one whenever a worker ends unasked.
//!
//! It holds the connection to the kernel, the store's lock and the unlocked key; it opens no store, serves no request, sees no
//! value and touches the mount never. One thread, which waits for three things: its signals, its worker's word, its worker's
//! end. Invariant: while the keeper lives, either a worker serves, or one is being started, or the mount is being given up; what
//! is given up answers every caller with an error, since the device's last copy is closed.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::abort;
use super::attach::{self, Mount};
use super::handover::{Connected, ToKeeper, ToWorker};
use super::mount::MountError;
use super::mounts::{self, MountPoint};
use super::notify::Manager;
use super::poker::Poker;
use super::restarts::Restarts;
use super::strongbox::Strongbox;
use super::tended::{Event, Signals, TRY_AGAIN, Worker};
use super::unmount;
use super::upgrade::{self, Programs};
use super::views::{Answer, Door, Kept, ViewOrder};
use crate::estate::Files;
use crate::store::StoreLock;

/// What a keeper holds.
pub struct Keeper {
    pub mount: Mount,
    pub lock: StoreLock,
    pub key: Strongbox,
    /// The file that was started; what has this path at an upgrade takes over.
    pub program: PathBuf,
    /// The arguments that make it a worker, and those that ask it whether it can take over.
    pub programs: Programs,
    /// Whether the first worker takes a store that was rolled back as it is.
    pub accept_rollback: bool,
    /// There once the first worker has opened the store.
    pub line: Option<Line>,
    pub signals: Signals,
    pub poker: Poker,
    /// What each worker leaves to the next.
    pub estate: Files,
    pub manager: Manager,
    /// The program that handed this over, until a worker of this one serves.
    pub former: Option<File>,
    /// Where the store is.
    pub store: PathBuf,
    pub views: Kept,
    /// Where views are asked for; none where that could not be opened.
    pub door: Option<Door>,
    /// Views that are to be mounted once the whole tree is served.
    pub ordered: VecDeque<ViewOrder>,
}

/// The line to the kernel: the device, and what was said on it.
pub struct Line {
    pub device: OwnedFd,
    pub said: Connected,
}

impl Line {
    /// Mounts `mount`, which nobody serves yet.
    pub fn attach(mount: &Mount) -> io::Result<Self> {
        let device = attach::attach(mount)?;
        let init = attach::first_request(&device)?;
        let there = mounts::device_on(&mount.point)?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { device, said: Connected { id, init, answer: None, workers: 0, mount: there } })
    }

    /// Whether the kernel has ended the connection, as it does when nothing is mounted any more. Its number may be another mount's then.
    pub fn has_ended(&self) -> bool {
        let mut device = [PollFd::new(&self.device, PollFlags::empty())];
        poll(&mut device, Some(&Timespec::default())).is_ok() && device[0].revents().contains(PollFlags::ERR)
    }
}

/// How the keeper's work came to its end.
pub enum End {
    /// The mount is gone from the kernel.
    Unmounted,
    /// Another program is to go on with what this one holds.
    Upgrade,
    /// What was taken over from another keeper is not served by this program's workers.
    NeverServed,
}

impl Keeper {
    /// Keeps the mount until it is gone. `ready` is called when requests are answered for the first time.
    pub fn keep(&mut self, ready: &mut Option<impl FnOnce() -> io::Result<()>>) -> Result<End, MountError> {
        let fresh = self.line.is_none();
        let mut restarts = Restarts::new(Instant::now());
        loop {
            let mut worker = match self.start() {
                Ok(worker) => worker,
                // Whoever mounts hears of it, and can see to it.
                Err(error) if fresh && ready.is_some() => return Err(MountError::Start(error)),
                Err(error) => {
                    log::error!("no worker can be started: {error}");
                    if !restarts.died(Instant::now(), false) {
                        return Err(MountError::Start(error));
                    }
                    self.manager.alive();
                    if self.signals.end_within(TRY_AGAIN).map_err(MountError::Signals)? {
                        // Nobody serves, so nobody can let go of the mount either.
                        self.give_up();
                        return Ok(End::Unmounted);
                    }
                    continue;
                }
            };
            let status = match self.tend(&mut worker, &mut restarts, ready)? {
                Some(status) => status,
                None => return Ok(End::Upgrade),
            };
            if status.success() && worker.serves {
                return Ok(End::Unmounted);
            }
            log::error!("the worker (pid {}) has ended: {status}", worker.child.id());
            if ready.is_none() && self.line.as_ref().is_some_and(Line::has_ended) {
                // It was unmounted between two workers, so the next one would find nothing to serve.
                log::info!("the mount on {} is gone", self.mount.point.display());
                return Ok(End::Unmounted);
            }
            let again = restarts.died(Instant::now(), worker.serves);
            if ready.is_some() && !fresh {
                return Ok(End::NeverServed);
            }
            if ready.is_some() || !again {
                log::error!("no other worker is started: what ends this one would end the next");
                self.give_up();
                return Err(MountError::WorkerDied(status));
            }
        }
    }

    /// Does what is to be done while `worker` lives. Answers how it ended; `None` where it has made room for another program's.
    fn tend(
        &mut self,
        worker: &mut Worker,
        restarts: &mut Restarts,
        ready: &mut Option<impl FnOnce() -> io::Result<()>>,
    ) -> Result<Option<ExitStatus>, MountError> {
        let mut upgrades = false;
        loop {
            let event = worker.wait(&mut self.signals, &self.manager, &self.poker, restarts, self.door.as_ref());
            match event.map_err(MountError::Start)? {
                Event::End => {
                    self.manager.stopping();
                    if let Some(line) = &self.line {
                        self.detach_views();
                        self.detach(&line.said.mount);
                    } else {
                        worker.kill();
                    }
                }
                Event::Upgrade => match upgrade::ask(&self.program, &self.programs.asks) {
                    Ok(()) if self.line.is_some() => {
                        upgrades = true;
                        worker.finish();
                    }
                    Ok(()) => log::error!("no upgrade: nothing is mounted yet"),
                    Err(error) => log::error!("no upgrade: {error}"),
                },
                Event::Word(word) => self.hear(word, worker, ready)?,
                Event::Died(status) => return Ok((!upgrades).then_some(status)),
                Event::PokerDied => {
                    if let Err(error) = self.poker.restart(&self.programs.poker) {
                        log::error!("no poker can be started, nobody is told of rotations meanwhile: {error}");
                    }
                    if worker.serves {
                        let _ = worker.control.send(&ToWorker::Poker(self.poker.pid()), &[]);
                    }
                }
                Event::Beat => {
                    worker.heard = Instant::now();
                    self.poker.bury();
                }
                Event::Knock => self.answer_door(worker),
                Event::Wedged => {
                    log::error!("the worker (pid {}) does not answer; it is killed", worker.child.id());
                    restarts.unserved(worker.heard);
                    worker.serves = false;
                    worker.kill();
                }
                Event::Late if worker.killed.is_some() => {
                    // It hangs in the kernel, and holds the connection: its disk, most likely.
                    log::error!("the worker (pid {}) does not come to its end", worker.child.id());
                    self.give_up();
                    return Err(MountError::Wedged);
                }
                Event::Late => {
                    log::error!("the worker (pid {}) does not come to serve; it is killed", worker.child.id());
                    worker.kill();
                }
            }
        }
    }

    /// Does what the worker's `word` asks for.
    fn hear(
        &mut self,
        word: ToKeeper,
        worker: &mut Worker,
        ready: &mut Option<impl FnOnce() -> io::Result<()>>,
    ) -> Result<(), MountError> {
        match word {
            ToKeeper::Opened => self.connect(worker)?,
            ToKeeper::Serving { answer } => {
                (worker.serves, worker.heard) = (true, Instant::now());
                self.served(answer);
                (self.former, self.accept_rollback) = (None, false);
                if let Some(ready) = ready.take()
                    && let Err(error) = ready()
                {
                    self.give_up();
                    return Err(MountError::Abandoned(error));
                }
                self.views.begin_anew();
                self.mount_ordered(worker);
            }
            ToKeeper::ViewServes { no, answer } => {
                self.views.serves(no, answer);
                self.tell_door(no, &Answer::Done);
                self.mount_ordered(worker);
            }
            ToKeeper::ViewFails { no, why } => {
                if let Some(view) = self.views.remove(no) {
                    log::error!("the view on {} cannot be served: {why}", view.order.point.display());
                    detach(&view.order.point, &view.line.said.mount);
                }
                self.tell_door(no, &Answer::Refused(why));
                self.mount_ordered(worker);
            }
            ToKeeper::ViewEnds { no } => {
                if let Some(view) = self.views.remove(no) {
                    log::info!("the view on {} is unmounted", view.order.point.display());
                }
            }
            // The first worker's reason is the mount's.
            ToKeeper::Failed(failure) if self.line.as_ref().is_none_or(|line| line.said.answer.is_none()) => {
                self.give_up();
                return Err(MountError::Worker(failure));
            }
            ToKeeper::Failed(failure) => log::error!("the worker says: {}", failure.message),
        }
        Ok(())
    }

    /// Starts a worker and hands it the lock and the key.
    fn start(&self) -> io::Result<Worker> {
        let worker = Worker::spawn(&self.programs.worker)?;
        // One that has died already is met as such.
        let open = ToWorker::Open { accept_rollback: self.accept_rollback };
        let _ = worker.control.send(&open, &[self.lock.as_fd(), self.key.as_fd()]);
        Ok(worker)
    }

    /// Gives the worker the connection, which is made now for the first one.
    fn connect(&mut self, worker: &Worker) -> Result<(), MountError> {
        if self.line.is_none() {
            let attached = Line::attach(&self.mount);
            let point = || self.mount.point.clone();
            self.line = Some(attached.map_err(|source| MountError::Attach { point: point(), source })?);
            log::info!("mounted {}", self.mount.point.display());
        }
        if let Some(line) = &self.line {
            let serve = ToWorker::Serve { connected: line.said.clone(), poker: self.poker.pid() };
            let [table, log] = self.estate.both();
            let _ = worker.control.send(&serve, &[line.device.as_fd(), self.poker.pokes.as_fd(), table, log]);
        }
        Ok(())
    }

    fn served(&mut self, answer: Vec<u8>) {
        if let Some(line) = &mut self.line {
            line.said.answer = Some(answer);
            line.said.workers += 1;
        }
    }

    /// Takes the mount out of the tree. Where somebody uses it still, nobody new comes in, and it ends with its last user.
    /// Where another mount stands by now, that is let be: this one was taken out before.
    fn detach(&self, mount: &str) {
        detach(&self.mount.point, mount);
    }

    /// Ends the mount for everybody: out of the tree, and an error to whoever waits.
    pub fn give_up(&mut self) {
        self.give_up_views();
        let Some(line) = self.line.take() else { return };
        log::error!("the mount on {} is given up", self.mount.point.display());
        // A worker that hangs holds the connection too, so that to close it here is not enough.
        if !line.has_ended()
            && let Err(error) = abort::end(&line.said.mount)
        {
            log::warn!("the connection could not be ended: {error}");
        }
        self.detach(&line.said.mount);
    }
}

/// Takes the mount on `point` out of the tree. Where another one than `mount` stands by now, that is let be.
pub(super) fn detach(point: &Path, mount: &str) {
    match mounts::list() {
        Ok(there) => detach_among(&there, point, mount),
        Err(error) => log::error!("cannot unmount {}: {error}", point.display()),
    }
}

/// The same, of one of many: `there` is what is mounted.
pub(super) fn detach_among(there: &[MountPoint], point: &Path, mount: &str) {
    let real = mounts::real(point);
    if there.iter().rev().find(|there| there.path == real).is_none_or(|there| there.device != mount) {
        return;
    }
    log::info!("unmounting {}", point.display());
    if let Err(error) = unmount::detach_lazily(point) {
        log::error!("cannot unmount {}: {error}", point.display());
    }
}
