//! How the chain's sink is: asked by threads that must not wait for it.
//!
//! Everything here is a number, or stands behind a lock that nobody holds while he waits for a disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::book::Head;
use crate::time::Timestamp;

/// A sink that takes longer for one thing has failed, until it is done with it.
pub const HANG: Duration = Duration::from_secs(1);

/// Decisions that the chain has no record of, since it last had one; and records that are missing elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Told to the second sink alone.
    pub elsewhere: u64,
    /// Refused, because nobody took the record.
    pub refused: u64,
    /// Let pass without a record.
    pub let_pass: u64,
    /// Records here that the second sink was not told.
    pub unheard: u64,
}

/// Why the chain is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub why: String,
    pub since: Timestamp,
}

#[derive(Default)]
struct State {
    head: Option<Head>,
    blocked: Option<Blocked>,
    missed: Missed,
}

/// One thing that a sink does, until it is dropped.
pub struct Beat<'a>(&'a AtomicU64);

pub struct Pulse {
    origin: Instant,
    /// Milliseconds after `origin` at which a write or a sync has begun that is still under way, and one; else 0.
    writing: AtomicU64,
    syncing: AtomicU64,
    state: Mutex<State>,
}

impl Default for Pulse {
    fn default() -> Self {
        let (writing, syncing) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { origin: Instant::now(), writing, syncing, state: Mutex::default() }
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn begin<'a>(&self, since: &'a AtomicU64) -> Beat<'a> {
        since.store(self.now(), Ordering::SeqCst);
        Beat(since)
    }

    /// A write begins.
    pub fn writes(&self) -> Beat<'_> {
        self.begin(&self.writing)
    }

    /// A sync begins.
    pub fn syncs(&self) -> Beat<'_> {
        self.begin(&self.syncing)
    }

    /// Whether the sink hangs.
    pub fn hangs(&self) -> bool {
        let longest = HANG.as_millis() as u64;
        [&self.writing, &self.syncing].into_iter().any(|since| {
            let since = since.load(Ordering::SeqCst);
            since != 0 && self.now().saturating_sub(since) > longest
        })
    }

    /// Whether the next record will be taken, as far as one can know.
    pub fn is_well(&self) -> bool {
        self.state.lock().blocked.is_none() && !self.hangs()
    }

    /// A record was written, with which the chain has come to `head`.
    pub fn wrote(&self, head: Head) {
        let mut state = self.state.lock();
        (state.head, state.blocked) = (Some(head), None);
    }

    /// The sink did not take a record. Whether it did take the one before.
    pub fn fails(&self, why: &str, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let news = state.blocked.is_none();
        let since = state.blocked.as_ref().map_or(now, |blocked| blocked.since);
        state.blocked = Some(Blocked { why: why.to_owned(), since });
        news
    }

    /// Why it takes none, if it takes none.
    pub fn blocked(&self) -> Option<Blocked> {
        self.state.lock().blocked.clone()
    }

    /// Where the chain has come to.
    pub fn head(&self) -> Option<Head> {
        self.state.lock().head
    }

    /// Counts a decision that has no record.
    pub fn miss(&self, count: impl FnOnce(&mut Missed)) {
        count(&mut self.state.lock().missed);
    }

    pub fn missed(&self) -> Missed {
        self.state.lock().missed
    }

    /// A record tells of `told`; what was missed since is for the next one.
    pub fn told(&self, told: Missed) {
        let missed = &mut self.state.lock().missed;
        missed.elsewhere -= told.elsewhere;
        missed.refused -= told.refused;
        missed.let_pass -= told.let_pass;
        missed.unheard -= told.unheard;
    }
}
