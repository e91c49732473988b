//! Which step of which secret comes next: runs are begun when they are due, and driven from step to step.
//!
//! One thread looks after what is due, and one for each run that is under way, of which there are few. Invariant: what a step has come to is
//! committed before the next one begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::declaration::Output;
use super::step::{self, Outcome};
use crate::id::NodeId;
use crate::secret::{Refusal, Step};
use crate::value::Value;
use crate::vault::{Agenda, Task, Vault, VaultError};

/// Runs at a time: functions mostly wait for others.
const AT_ONCE: usize = 4;
/// The longest wait: clocks are set, and a bell may have been missed.
const LOOK: Duration = Duration::from_secs(5);
/// From something that failed to the next look.
const AGAIN: Duration = Duration::from_secs(30);
/// A look takes this part of the time at most, however many secrets are rotated.
const SHARE: u32 = 10;

/// Runs functions until dropped.
pub struct Conductor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    vault: Arc<Vault>,
    /// Where functions are.
    dir: PathBuf,
    /// A file in which the runner of a step locks the place of its secret.
    lock: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Secrets whose run is being driven.
    busy: BTreeSet<NodeId>,
    /// Secrets that are left alone until then: nothing can be done for them now.
    resting: BTreeMap<NodeId, Instant>,
    /// Whether something may be due that was not.
    rung: bool,
}

/// Begins to run the functions in `dir` for the secrets in `vault`; `lock` is a file that is the store's own.
pub fn conduct(vault: Arc<Vault>, dir: PathBuf, lock: PathBuf) -> io::Result<Conductor> {
    let (state, changed, stopped) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
    let shared = Arc::new(Shared { vault, dir, lock, state, changed, stopped });
    let rung = Arc::downgrade(&shared);
    shared.vault.on_rotations_due(move || {
        if let Some(shared) = rung.upgrade() {
            shared.ring();
        }
    });
    let work = shared.clone();
    let thread = thread::Builder::new().name("rotations".into()).spawn(move || work.conduct())?;
    Ok(Conductor { shared, thread: Some(thread) })
}

impl Shared {
    fn ring(&self) {
        self.state.lock().rung = true;
        self.changed.notify_all();
    }

    fn conduct(self: Arc<Self>) {
        while !self.stopped.load(Ordering::SeqCst) {
            let began = Instant::now();
            let wait = match self.look() {
                Ok(next) => next.map_or(LOOK, |next| next.min(LOOK)),
                Err(error) => {
                    log::warn!("it is not known which secrets are to be rotated: {error}");
                    AGAIN
                }
            };
            self.rest(began.elapsed() * SHARE, wait);
        }
    }

    /// Waits for a bell, or for `most`; in any case for `least`.
    fn rest(&self, least: Duration, most: Duration) {
        let now = Instant::now();
        let mut state = self.state.lock();
        while !self.stopped.load(Ordering::SeqCst) {
            let until = now + if state.rung { least } else { most.max(least) };
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.rung = false;
    }

    /// Begins what is due, as far as there is room; when the next one is.
    fn look(self: &Arc<Self>) -> Result<Option<Duration>, VaultError> {
        let (busy, resting) = {
            let mut state = self.state.lock();
            state.resting.retain(|_, until| *until > Instant::now());
            (state.busy.clone(), state.resting.clone())
        };
        let Some(room) = AT_ONCE.checked_sub(busy.len()).filter(|room| *room > 0) else { return Ok(None) };
        let Agenda { due, next } =
            self.vault.rotations_due(room, &|id| busy.contains(&id) || resting.contains_key(&id))?;
        for id in due {
            self.state.lock().busy.insert(id);
            let shared = self.clone();
            let drive = move || {
                shared.drive(id);
                shared.state.lock().busy.remove(&id);
                shared.ring();
            };
            if let Err(error) = thread::Builder::new().name("rotation".into()).spawn(drive) {
                log::error!("the rotation of {} waits: {error}", self.vault.path_of(id));
                let mut state = self.state.lock();
                state.busy.remove(&id);
                state.resting.insert(id, Instant::now() + AGAIN);
            }
        }
        Ok(next)
    }

    /// Drives the run of secret `id` until it has come to its end, or waits for its next try.
    fn drive(&self, id: NodeId) {
        while !self.stopped.load(Ordering::SeqCst) {
            match self.do_step(id) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::warn!("the rotation of {} waits: {error}", self.vault.path_of(id));
                    // Whoever cannot read or commit now cannot in a moment.
                    self.state.lock().resting.insert(id, Instant::now() + AGAIN);
                    return;
                }
            }
        }
    }

    /// Does the step that is next; whether another one is to be done at once.
    fn do_step(&self, id: NodeId) -> Result<bool, VaultError> {
        let Some(at) = self.vault.step_due(id)? else { return Ok(false) };
        let failed = |why: &str, for_good| {
            log::warn!("{}: the {} step of its rotation has failed: {why}", self.vault.path_of(id), at.step.word());
            match self.vault.fail_step(id, at, why, for_good) {
                // It was cancelled meanwhile: nobody wants to know.
                Ok(()) | Err(VaultError::Refused(_)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        // What a step comes to has to be written: nobody is asked for what would be forgotten. A key that is disabled, or an instance that is
        // sealed, is no failure of the function's either.
        let room = self.vault.reserve()?;
        let task = match self.vault.rotation_task(id) {
            Ok(task) => task,
            Err(VaultError::Refused(refusal @ Refusal::NoSuchVersion)) => return failed(&refusal.to_string(), true),
            Err(error) => return Err(error),
        };
        drop(room);
        let wanted =
            || !self.stopped.load(Ordering::SeqCst) && matches!(self.vault.step_due(id), Ok(Some(due)) if due == at);
        let (printed, output) = match step::run(&self.dir, &self.lock, id, &task, wanted) {
            Outcome::Done(printed, output) => (printed, output),
            Outcome::Failed { why, for_good } => return failed(&why, for_good),
            Outcome::Unwanted => return Ok(false),
        };
        let taken = match at.step {
            Step::Create => match new_value(&task, printed, output) {
                Ok(value) => self.vault.put_pending(id, at, &value),
                Err(why) => return failed(&why, true),
            },
            Step::Set | Step::Test | Step::Finish => self.vault.end_step(id, at),
        };
        match taken {
            Ok(()) => Ok(true),
            // Somebody has cancelled it, or done by hand what makes it pointless.
            Err(VaultError::Refused(refusal)) => failed(&refusal.to_string(), true),
            Err(error) => Err(error),
        }
    }
}

/// What a function has made, as a value.
fn new_value(task: &Task, printed: Value, output: Output) -> Result<Value, String> {
    if printed.is_empty() {
        return Err("the function has printed nothing".to_owned());
    }
    match output {
        Output::Value => Ok(printed),
        Output::Members => task.with_members(&printed).map_err(|refusal| format!("its members are none: {refusal}")),
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that rotates secrets has failed");
        }
    }
}
