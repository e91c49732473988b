//! Pages of values are taken from the kernel when a right may have gone, and who took the right away is answered after that.
//!
//! One thread, which wakes when a right may have gone, and when the kernel has pages of too many files. The kernel waits for a page that is being
//! read, so for the answer to that read: neither a serving thread, nor one that reads from the disk, nor the line ever waits for this
//! thread, and it holds no lock meanwhile. So the read is answered whatever waits here; and who waits here is who calls, or nobody: a last
//! close does not, since the kernel has reads ahead wait where too many last closes are not answered. That nothing that this thread waits for
//! keeps this process alive is up to what `forget` is.
//!
//! Invariant: a read is noted before it is decided. So one that this thread has not seen is decided by what took the right away, and
//! of one that it has seen the page is forgotten after it was filled: no page that was filled by an older decision stays.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use crate::fs::inode::Ino;
use crate::fs::ops::Tree;

/// Has the kernel forget all pages of the inodes with these numbers; it has when this returns.
pub type Forget = Box<dyn FnMut(&[u64]) -> io::Result<()> + Send>;

/// What is done once the pages are gone.
type Answer = Box<dyn FnOnce() + Send>;

/// How long the thread sleeps when nothing is to be forgotten.
const LONG: Duration = Duration::from_secs(3600);
/// How long after the kernel could not be told it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread.
pub struct Revoking {
    gate: Gate,
    thread: Option<JoinHandle<()>>,
}

/// Where answers wait.
#[derive(Clone, Default)]
pub struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The vault's number for which the kernel has forgotten all: 0 before it has what a former worker left.
    done: AtomicU64,
    /// That number as of the last answer.
    seen: AtomicU64,
    /// What waits until `done` has come to a number.
    answers: Mutex<Vec<(u64, Answer)>>,
    sleeper: OnceLock<Thread>,
    ended: AtomicBool,
}

impl Revoking {
    /// Starts the thread, which begins with what a former worker left.
    pub fn start(tree: Arc<Tree>, forget: Forget) -> io::Result<Self> {
        let gate = Gate::default();
        let (its, told) = (gate.clone(), tree.clone());
        let thread =
            thread::Builder::new().name("kmsfs-revoke".to_owned()).spawn(move || its.0.serve(&tree, forget))?;
        let sleeper = thread.thread().clone();
        let _ = gate.0.sleeper.set(sleeper.clone());
        told.on_pages_to_forget(move || sleeper.unpark());
        Ok(Self { gate, thread: Some(thread) })
    }

    /// Where answers wait for it.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }
}

impl Drop for Revoking {
    fn drop(&mut self) {
        self.gate.0.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the thread that has the kernel forget has panicked");
            }
        }
    }
}

impl Gate {
    /// Whether the answer to a change that was just made has to wait. Only the first one after a right may have gone does. To be asked
    /// by the line, once for each change.
    pub fn holds(&self, tree: &Tree) -> bool {
        let rights = tree.rights();
        let moved = self.0.seen.swap(rights, Ordering::SeqCst) < rights;
        let done = self.0.done.load(Ordering::SeqCst);
        // Of a change that comes again from a former worker nobody knows which right it took.
        (moved || done == 0) && done < rights && tree.has_paged()
    }

    /// Calls `answer` once the kernel has forgotten what the rights as they are now may not allow.
    pub fn after(&self, tree: &Tree, answer: impl FnOnce() + Send + 'static) {
        self.0.answers.lock().push((tree.rights(), Box::new(answer)));
        if let Some(sleeper) = self.0.sleeper.get() {
            sleeper.unpark();
        }
    }
}

impl Shared {
    fn serve(&self, tree: &Tree, mut forget: Forget) {
        while !self.ended.load(Ordering::SeqCst) {
            let rights = tree.rights();
            let all = self.done.load(Ordering::SeqCst) < rights;
            let files = tree.take_paged(all);
            let numbers: Vec<u64> = files.into_iter().map(Ino::number).collect();
            let outcome = if numbers.is_empty() { Ok(()) } else { forget(&numbers) };
            match outcome {
                Ok(()) => {
                    tree.forgot_paged();
                    if all {
                        self.done.store(rights, Ordering::SeqCst);
                    }
                    self.answer(rights);
                    if numbers.is_empty() {
                        // A wake that comes before the thread sleeps is not forgotten: then it does not.
                        thread::park_timeout(LONG);
                    }
                }
                Err(error) => {
                    log::error!("pages of values stay in the kernel's cache, and it gets no more of them: {error}");
                    tree.put_paged_back();
                    // The change was made; nobody is served by not being told.
                    self.answer(u64::MAX);
                    thread::park_timeout(AGAIN);
                }
            }
        }
        self.answer(u64::MAX);
    }

    /// Gives all answers that wait for `done` or less.
    fn answer(&self, done: u64) {
        let mut answers = self.answers.lock();
        let (due, later) = std::mem::take(&mut *answers).into_iter().partition(|(rights, _)| *rights <= done);
        *answers = later;
        drop(answers);
        let due: Vec<(u64, Answer)> = due;
        due.into_iter().for_each(|(_, answer)| answer());
    }
}
