//! What a mounted store needs beside its callers: a slow walk over all of it that finds damage before a reader does,
//! shredding that failed tried again, the end of secrets and keys that are due, and data keys that follow a rotation of their key.
//!
//! One thread of the lowest priority. It reads a page, then waits, and ends at once when it is told to. Knows no row and no
//! rule: what is looked for stands in `vault`.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::vault::{Ended, Rewrapped, SCRUB_PAGE, Vault};

/// The first pass comes when a mount's first callers have been served.
const FIRST: Duration = Duration::from_secs(5);
/// A pass takes no longer than this, reading aside, so that each row is looked at once a day.
const PASS: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest wait between two pages: small stores are walked in seconds.
const PAUSE: Duration = Duration::from_secs(1);
/// From the end of a pass to the next.
const REST: Duration = Duration::from_secs(60 * 60);
/// The same where the disk did not read all of it.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// How often it is measured how much room there is, and kept how far the audit has come.
const MEASURE: Duration = Duration::from_secs(5);
/// How often shredding that failed is tried again, and records that could not be read; how often it is kept which secrets were read;
/// and how old the next purge may be that is shown.
const RETRY: Duration = Duration::from_secs(60);
/// Between two commits that end what is due: so long that who writes meanwhile does not wait for more than one.
const BREATH: Duration = Duration::from_millis(5);
/// The lowest priority.
const NICE: i32 = 19;

/// Keeps a store up until dropped.
pub struct Upkeep {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to look after `vault`; what is due is ended only where it `ends`.
pub fn keep_up(vault: Arc<Vault>, ends: bool) -> io::Result<Upkeep> {
    let (stop, stopped) = channel();
    let work = move || {
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            log::warn!("the scrub has the priority of readers: {error}");
        }
        vault.look_for_purges();
        let now = Instant::now();
        let ends = ends.then_some(now);
        let mut rest = Rest { vault: &vault, stopped, retried: now, rewraps: now, ends, unaudited: false };
        rest.end_what_is_due();
        rest.rewrap();
        let mut wait = FIRST;
        while rest.wait(wait) {
            let pause = pause(&vault);
            let Some(report) = vault.scrub(|| rest.wait(pause)) else { return };
            if report.problems.is_empty() {
                log::debug!("scrubbed {} records", report.records);
            } else {
                log::error!("the scrub has found problems: {}", report.problems.len());
            }
            wait = if report.unread.is_empty() { REST } else { AGAIN };
        }
    };
    let thread = thread::Builder::new().name("upkeep".into()).spawn(work)?;
    Ok(Upkeep { stop: Some(stop), thread: Some(thread) })
}

/// The wait between two pages with which a pass over the store as it is takes [`PASS`] at most.
fn pause(vault: &Vault) -> Duration {
    let counts = vault.counts();
    let pages = (counts.records + 2 * counts.versions) / SCRUB_PAGE as u64 + 1;
    PAUSE.min(PASS / u32::try_from(pages).unwrap_or(u32::MAX))
}

/// The time in which the thread does nothing, or next to nothing.
struct Rest<'a> {
    vault: &'a Vault,
    stopped: Receiver<()>,
    retried: Instant,
    /// From when on data keys may follow a rotation.
    rewraps: Instant,
    /// From when on what is due may be ended; `None` is never.
    ends: Option<Instant>,
    /// Whether the store could not be told how far the audit has come.
    unaudited: bool,
}

impl Rest<'_> {
    /// Waits; whether to go on then.
    fn wait(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.stopped.recv_timeout(left.min(MEASURE)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.vault.measure();
            self.rewrap();
            self.end_what_is_due();
            self.keep_audited();
            if self.retried.elapsed() >= RETRY {
                self.retried = Instant::now();
                self.vault.shred_what_is_owed();
                self.vault.scrub_unread();
                self.vault.look_for_purges();
                if let Err(error) = self.vault.keep_steady(false) {
                    log::warn!("how much time has passed is not kept yet: {error}");
                }
                if let Err(error) = self.vault.keep_reads(false) {
                    log::warn!("when secrets were last read is not kept yet: {error}");
                }
            }
            if left <= MEASURE {
                return true;
            }
        }
    }

    /// Has the store know how far the audit has come. A disk that takes nothing is told of once.
    fn keep_audited(&mut self) {
        let outcome = self.vault.keep_audited();
        if let Err(error) = &outcome
            && !self.unaudited
        {
            log::warn!("the store does not know how far the audit has come: {error}");
        }
        self.unaudited = outcome.is_err();
    }

    /// Purges secrets and destroys keys whose time has come.
    fn end_what_is_due(&mut self) {
        if self.ends.is_none_or(|from| Instant::now() < from) {
            return;
        }
        let go_on = || matches!(self.stopped.recv_timeout(BREATH), Err(RecvTimeoutError::Timeout));
        match self.vault.end_what_is_due(go_on) {
            Ok(Ended { secrets: 0, keys: 0, failed: 0 }) => {}
            Ok(Ended { secrets, keys, failed }) => {
                log::info!("{secrets} secrets were purged and {keys} keys destroyed: their recovery windows are over");
                if failed > 0 {
                    log::error!("{failed} secrets or keys are due and could not be ended");
                    self.ends = Some(Instant::now() + AGAIN);
                }
            }
            Err(error) => {
                log::warn!("what is due is not ended yet: {error}");
                self.ends = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Has data keys follow a rotation of their key, where there was one.
    fn rewrap(&mut self) {
        if Instant::now() < self.rewraps {
            return;
        }
        let go_on = || matches!(self.stopped.try_recv(), Err(TryRecvError::Empty));
        match self.vault.rewrap(go_on) {
            Ok(Some(Rewrapped { moved: 0, failed: 0, dropped: 0 }) | None) => {}
            Ok(Some(Rewrapped { moved, failed: 0, dropped })) => {
                log::info!("{moved} data keys have followed a rotation of their key, {dropped} have gone with it");
            }
            Ok(Some(Rewrapped { failed, .. })) => {
                log::error!("{failed} data keys stay under an older version of their key");
                self.rewraps = Instant::now() + AGAIN;
            }
            Err(error) => {
                log::warn!("not all data keys have followed a rotation of their key yet: {error}");
                self.rewraps = Instant::now() + RETRY;
            }
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that scrubs the store has failed");
        }
    }
}
