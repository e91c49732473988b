//! Reads of `events` that wait for something to happen. However many there are, one thread looks after all of them: it wakes
//! when something happens, when one comes, and when the time of one is up. No thread that serves the kernel, or that others wait
//! for, waits with them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::Errno;
use parking_lot::Mutex;

use super::callers::Wait;
use crate::fs::Fault;
use crate::fs::follow::Followed;
use crate::fs::ops::{Follow, Tree};

/// How long the thread sleeps when nobody waits.
const LONG: Duration = Duration::from_secs(3600);

/// A read that waits.
struct Reader {
    read: Follow,
    until: Instant,
    wait: Wait<Vec<u8>>,
}

/// All reads that wait, and their thread.
pub struct Following {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Those that have come and that the thread has not seen yet.
    new: Mutex<Vec<Reader>>,
    ended: AtomicBool,
}

impl Following {
    /// Starts the thread, which sleeps as long as nobody waits.
    pub fn start(tree: Arc<Tree>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (watched, told) = (shared.clone(), tree.clone());
        let thread = thread::Builder::new().name("kmsfs-events".to_owned()).spawn(move || watched.serve(&tree))?;
        let sleeper = thread.thread().clone();
        told.on_event(move || sleeper.unpark());
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has `read` answered through `wait` once there is something to read, or at `until`.
    pub fn put(&self, read: Follow, until: Instant, wait: Wait<Vec<u8>>) {
        self.shared.new.lock().push(Reader { read, until, wait });
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Following {
    /// Whoever waits still is answered by the error that a dropped reply is.
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that tells of events has panicked");
        }
    }
}

impl Shared {
    fn serve(&self, tree: &Tree) {
        let mut readers: Vec<Reader> = Vec::new();
        while !self.ended.load(Ordering::SeqCst) {
            readers.append(&mut self.new.lock());
            readers = readers.into_iter().filter_map(|reader| reader.answered(tree)).collect();
            let next = readers.iter().map(|reader| reader.until).min();
            // A wake that comes before the thread sleeps is not forgotten: then it does not.
            thread::park_timeout(next.map_or(LONG, |next| next.saturating_duration_since(Instant::now())));
        }
    }
}

impl Reader {
    /// Answers it if that can be; else it is given back.
    fn answered(self, tree: &Tree) -> Option<Self> {
        if self.wait.is_over() {
            return None;
        }
        match tree.follow_on(self.read, self.until) {
            Ok(Followed::Nothing { .. }) => return Some(self),
            Ok(Followed::Bytes(bytes)) => drop(self.wait.answer(Ok(bytes))),
            Err(fault) => drop(self.wait.answer(Err(errno(&fault)))),
        }
        None
    }
}

fn errno(fault: &Fault) -> Errno {
    Errno::from_i32(fault.errno())
}
