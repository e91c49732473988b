//! Which step of which secret comes next: runs are begun when they are due, and driven from step to step.
//!
//! One thread looks after what is due, and one for each run that is under way, of which there are few. Invariant: what a step has come to is
//! committed before the next one begins.

use std::collections::BTreeSet;
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
use crate::secret::Step;
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
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Secrets whose run is being driven.
    busy: BTreeSet<NodeId>,
    /// Whether something may be due that was not.
    rung: bool,
}

/// Begins to run the functions in `dir` for the secrets in `vault`.
pub fn conduct(vault: Arc<Vault>, dir: PathBuf) -> io::Result<Conductor> {
    let (state, changed, stopped) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
    let shared = Arc::new(Shared { vault, dir, state, changed, stopped });
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
                    self.vault.doubt_rotations();
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
        let busy = self.state.lock().busy.len();
        let Some(room) = AT_ONCE.checked_sub(busy).filter(|room| *room > 0) else { return Ok(None) };
        // Asked as late as that, so that whoever ends meanwhile has it looked at again.
        let Agenda { due, next } = self.vault.rotations_due(room, &|id| self.state.lock().busy.contains(&id))?;
        for id in due {
            self.state.lock().busy.insert(id);
            let shared = self.clone();
            let drive = move || {
                shared.drive(id);
                shared.state.lock().busy.remove(&id);
                // What was begun since the last step was passed over, as long as this one was busy.
                if let Err(error) = shared.vault.look_at_rotation(id) {
                    log::warn!("it is not known when a secret is rotated next: {error}");
                    shared.vault.doubt_rotations();
                }
                shared.ring();
            };
            if let Err(error) = thread::Builder::new().name("rotation".into()).spawn(drive) {
                log::error!("a rotation waits: {error}");
                self.state.lock().busy.remove(&id);
                self.vault.doubt_rotations();
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
                    log::warn!("a rotation does not go on: {error}");
                    self.vault.doubt_rotations();
                    // Whoever cannot commit now cannot in a moment.
                    let mut state = self.state.lock();
                    self.changed.wait_for(&mut state, AGAIN);
                    return;
                }
            }
        }
    }

    /// Does the step that is next; whether another one is to be done at once.
    fn do_step(&self, id: NodeId) -> Result<bool, VaultError> {
        let Some(step) = self.vault.step_due(id)? else { return Ok(false) };
        let failed = |why: &str, for_good| {
            log::warn!("the {} step of a rotation has failed: {why}", step.word());
            self.vault.fail_step(id, step, why, for_good).map(|()| false)
        };
        let task = match self.vault.rotation_task(id) {
            Ok(task) => task,
            Err(VaultError::Refused(refusal)) => return failed(&refusal.to_string(), false),
            Err(error) => return Err(error),
        };
        let wanted =
            || !self.stopped.load(Ordering::SeqCst) && matches!(self.vault.step_due(id), Ok(Some(due)) if due == step);
        let (printed, output) = match step::run(&self.dir, &task, wanted) {
            Outcome::Done(printed, output) => (printed, output),
            Outcome::Failed { why, for_good } => return failed(&why, for_good),
            Outcome::Unwanted => return Ok(false),
        };
        let taken = match step {
            Step::Create => match new_value(&task, printed, output) {
                Ok(value) => self.vault.put_pending(id, &value),
                Err(why) => return failed(&why, true),
            },
            Step::Set | Step::Test | Step::Finish => self.vault.end_step(id, step),
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
