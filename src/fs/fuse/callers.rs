//! Callers whose requests are not answered at once, and how they are let go when a signal comes.
//!
//! The kernel lets a caller whose request is with the daemon go when that is answered, not even a SIGKILL ends it sooner. So each
//! request that may have to wait for a disk is known here, and one thread looks every now and then whether a signal waits for one
//! of the callers: such a caller is answered EINTR. Invariant: a request is answered once, by whoever takes its reply; a job that
//! finds its reply taken before it begins does nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::Errno;
use parking_lot::{Condvar, Mutex};

use crate::fs::process::is_interrupted;

/// How long a request may take before it is asked whether its caller still wants it, and how often that is asked.
const PATIENCE: Duration = Duration::from_millis(50);
/// However many callers wait, asking takes one part of the time in so many.
const SHARE: u32 = 4;
/// How long the thread goes on asking when nobody waits any more: a caller who comes then need not wake it.
const LINGERS: Duration = Duration::from_secs(1);

/// All callers that wait.
pub struct Callers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Rings when somebody comes while the thread sleeps, and at the end.
    bell: Condvar,
}

#[derive(Default)]
struct Table {
    /// The number of the last one.
    last: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    sleeps: bool,
    ended: bool,
}

#[derive(Clone)]
struct Waiting {
    tid: u32,
    since: Instant,
    /// When it is let go in any case: what answers it should not have to wait, and may hang.
    until: Option<Instant>,
    caller: Arc<dyn LetGo>,
}

/// A caller that can be let go.
trait LetGo: Send + Sync {
    /// Answers it, unless it was answered already; with EIO where its time is up.
    fn let_go(&self, is_late: bool);
}

/// The reply to one request.
pub struct Wait<T> {
    slot: Arc<Slot<T>>,
    /// Its number in the table; one without a caller is not there.
    number: Option<u64>,
    shared: Arc<Shared>,
}

struct Slot<T>(Mutex<Option<Held<T>>>);

struct Held<T> {
    reply: Box<dyn FnOnce(Result<T, Errno>) + Send>,
    let_go: LettingGo,
}

/// How a caller is let go.
pub struct LettingGo {
    /// What it is answered.
    pub errno: Errno,
    /// What is to be done before, while nobody else can answer it.
    pub before: Box<dyn FnOnce() + Send>,
}

impl Default for LettingGo {
    fn default() -> Self {
        Self { errno: Errno::EINTR, before: Box::new(|| ()) }
    }
}

impl Callers {
    /// Starts the thread, which sleeps as long as nobody waits.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let watched = shared.clone();
        let thread = thread::Builder::new().name("kmsfs-callers".to_owned()).spawn(move || watched.watch())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes the `reply` to a request of thread `tid`.
    pub fn add<T>(&self, tid: u32, reply: impl FnOnce(Result<T, Errno>) + Send + 'static) -> Wait<T>
    where
        T: 'static,
    {
        self.add_with(tid, reply, LettingGo::default())
    }

    /// The same, of a caller that is let go as `let_go` says.
    pub fn add_with<T>(
        &self,
        tid: u32,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
        let_go: LettingGo,
    ) -> Wait<T>
    where
        T: 'static,
    {
        let held = Held { reply: Box::new(reply), let_go };
        let slot = Arc::new(Slot(Mutex::new(Some(held))));
        // A last close has no caller.
        let number = (tid != 0).then(|| self.shared.add(tid, None, slot.clone()));
        Wait { slot, number, shared: self.shared.clone() }
    }

    /// Takes the `reply` to a request that is to be answered within `time`. After that it is answered EIO, whoever hangs over it.
    pub fn add_within<T>(
        &self,
        tid: u32,
        time: Duration,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) -> Wait<T>
    where
        T: 'static,
    {
        let held = Held { reply: Box::new(reply), let_go: LettingGo::default() };
        let slot = Arc::new(Slot(Mutex::new(Some(held))));
        let number = self.shared.add(tid, Some(Instant::now() + time), slot.clone());
        Wait { slot, number: Some(number), shared: self.shared.clone() }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.shared.table.lock().ended = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that looks after callers who wait has panicked");
        }
    }
}

impl<T> Wait<T> {
    /// Whether the caller was let go.
    pub fn is_over(&self) -> bool {
        self.slot.0.lock().is_none()
    }

    /// From now on the caller is let go only where a signal waits for it.
    pub fn may_take_long(&self) {
        if let Some(number) = self.number
            && let Some(waiting) = self.shared.table.lock().waiting.get_mut(&number)
        {
            waiting.until = None;
        }
    }

    /// Answers the request. What nobody takes any more is given back.
    pub fn answer(self, outcome: Result<T, Errno>) -> Option<Result<T, Errno>> {
        let held = self.slot.0.lock().take();
        match held {
            Some(held) => {
                (held.reply)(outcome);
                None
            }
            None => Some(outcome),
        }
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.shared.table.lock().waiting.remove(&number);
        }
    }
}

impl<T> LetGo for Slot<T> {
    fn let_go(&self, is_late: bool) {
        let mut slot = self.0.lock();
        if let Some(held) = slot.as_mut() {
            let LettingGo { errno, before } = std::mem::take(&mut held.let_go);
            before();
            let held = slot.take();
            drop(slot);
            let errno = if is_late { Errno::EIO } else { errno };
            held.into_iter().for_each(|held| (held.reply)(Err(errno)));
        }
    }
}

impl Shared {
    fn add(&self, tid: u32, until: Option<Instant>, caller: Arc<dyn LetGo>) -> u64 {
        let mut table = self.table.lock();
        table.last += 1;
        let number = table.last;
        table.waiting.insert(number, Waiting { tid, since: Instant::now(), until, caller });
        if table.sleeps {
            table.sleeps = false;
            drop(table);
            self.bell.notify_one();
        }
        number
    }

    /// Asks again and again whether a signal waits for a caller.
    fn watch(&self) {
        let (mut pause, mut busy) = (PATIENCE, Instant::now());
        let mut table = self.table.lock();
        while !table.ended {
            if !table.waiting.is_empty() {
                busy = Instant::now();
            } else if busy.elapsed() >= LINGERS {
                table.sleeps = true;
                self.bell.wait(&mut table);
                continue;
            }
            self.bell.wait_for(&mut table, pause);
            let patient = |waiting: &&Waiting| waiting.since.elapsed() >= PATIENCE;
            let late: Vec<Waiting> = table.waiting.values().take_while(patient).cloned().collect();
            drop(table);
            let begin = Instant::now();
            for waiting in late {
                let is_late = waiting.until.is_some_and(|until| until <= begin);
                if is_late || is_interrupted(waiting.tid) {
                    waiting.caller.let_go(is_late);
                }
            }
            pause = PATIENCE.max(begin.elapsed() * SHARE);
            table = self.table.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::mpsc::{Sender, channel};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A program that signals wait for: it is stopped.
    struct Stopped(Child);

    impl Stopped {
        fn with(signal: Signal) -> Self {
            let sleeper = Self(Command::new("sleep").arg("60").spawn().unwrap());
            kill_process(Pid::from_child(&sleeper.0), Signal::STOP).unwrap();
            kill_process(Pid::from_child(&sleeper.0), signal).unwrap();
            sleeper
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// What a reply says.
    type Said = Result<(), i32>;

    fn reply(to: Sender<Said>) -> impl FnOnce(Result<(), Errno>) + Send + 'static {
        move |outcome| to.send(outcome.map_err(Errno::code)).unwrap()
    }

    #[test]
    fn a_caller_whose_time_is_up_is_let_go_unless_it_may_take_long() {
        let callers = Callers::start().unwrap();
        let ((say, heard), (say_other, heard_other)) = (channel(), channel());
        let time = Duration::from_millis(100);
        let late = callers.add_within(std::process::id(), time, reply(say));
        let patient = callers.add_within(std::process::id(), time, reply(say_other));
        patient.may_take_long();
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)), Ok(Err(libc::EIO)));
        assert_eq!(late.answer(Ok(())), Some(Ok(())), "nobody takes it any more");
        assert!(heard_other.try_recv().is_err());
        assert_eq!(patient.answer(Ok(())), None);
        assert_eq!(heard_other.recv(), Ok(Ok(())));
    }

    #[test]
    fn a_caller_that_a_signal_waits_for_is_let_go_and_no_other() {
        let callers = Callers::start().unwrap();
        let (interrupted, told) = (Stopped::with(Signal::TERM), Stopped::with(Signal::WINCH));
        let ((say, heard), (say_other, heard_other)) = (channel(), channel());
        let (note, noted) = channel();
        let other = callers.add(told.0.id(), reply(say_other));
        let before = Box::new(move || note.send(()).unwrap());
        let wait = callers.add_with(interrupted.0.id(), reply(say), LettingGo { before, ..LettingGo::default() });
        assert_eq!(heard.recv().unwrap(), Err(libc::EINTR));
        assert!(noted.try_recv().is_ok(), "before it was let go");
        assert!(wait.is_over() && !other.is_over());
        assert_eq!(wait.answer(Ok(())).map(|lost| lost.is_ok()), Some(true), "nobody takes it");
        assert!(other.answer(Ok(())).is_none());
        assert_eq!(heard_other.recv().unwrap(), Ok(()));
        assert!(callers.shared.table.lock().waiting.is_empty());
    }

    #[test]
    fn who_comes_while_the_thread_sleeps_wakes_it() {
        let callers = Callers::start().unwrap();
        while !callers.shared.table.lock().sleeps {
            thread::yield_now();
        }
        let interrupted = Stopped::with(Signal::TERM);
        let (say, heard) = channel();
        let _wait = callers.add(interrupted.0.id(), reply(say));
        assert_eq!(heard.recv().unwrap(), Err(libc::EINTR));
    }

    #[test]
    fn a_reply_that_is_dropped_is_gone() {
        let callers = Callers::start().unwrap();
        let (say, heard) = channel();
        drop(callers.add(std::process::id(), reply(say)));
        assert!(heard.recv().is_err());
    }
}
