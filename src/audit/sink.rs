//! The chain's sink: a book, the thread that writes in it for those who can wait a little, and the one that syncs it.
//!
//! A thread that must not wait writes by itself, where nobody else does and nothing is wrong; so at most one of them is ever in a
//! write(2). All others hand their record to the writer, and wait for a second at most: a disk that hangs holds nobody up for longer.
//! What was written is synced within a tenth of a second, or sooner if somebody waits for that.
//!
//! Invariant: a record is on the disk, or kept in memory to be written again. After a sync that failed no further record is taken
//! until all that were written are on the disk: a power cut then leaves no hole that is followed by more.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::book::{Book, Written};
use super::herald::Herald;
use super::pulse::{HANG, Missed, Pulse};
use super::record::Body;
use crate::crypto::AuditKey;
use crate::time::Timestamp;

/// How long a record may stand in the page cache alone. The sync itself takes the rest of a tenth of a second.
const SYNC_AFTER: Duration = Duration::from_millis(80);

/// Says what happens to the audit itself: a gesture, and a reason.
pub type Event = Arc<dyn Fn(&'static str, &str) -> Body + Send + Sync>;

/// Has what was written to a file on the disk when it returns: fdatasync(2), or what a test has in its place.
pub type ToDisk = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// What a sink is made of.
pub struct Parts {
    pub dir: PathBuf,
    pub key: AuditKey,
    /// Number of a record that there must be.
    pub known: u64,
    /// Bytes of a segment.
    pub most: u64,
    pub pulse: Arc<Pulse>,
    /// Is told every record too, in the order of the chain.
    pub herald: Option<Arc<Herald>>,
    pub event: Event,
    pub to_disk: ToDisk,
}

/// See the file's head.
pub struct Sink {
    dir: PathBuf,
    /// Bytes of a segment.
    most: u64,
    book: Mutex<Book>,
    pulse: Arc<Pulse>,
    herald: Option<Arc<Herald>>,
    to_disk: ToDisk,
    jobs: Mutex<Jobs>,
    /// Rings when there is a job.
    job_bell: Condvar,
    syncing: Mutex<Syncing>,
    /// Rings when there is something to sync.
    sync_bell: Condvar,
    /// Rings when something was synced.
    synced_bell: Condvar,
    event: Event,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Arc<Job>>,
    ended: bool,
}

/// A record that somebody waits for.
struct Job {
    body: Body,
    state: Mutex<JobState>,
    bell: Condvar,
}

enum JobState {
    Waits,
    Done(Result<u64, String>),
    /// Nobody waits any more.
    GivenUp,
}

#[derive(Default)]
struct Syncing {
    /// What is written and not known to be on the disk, in order, but for what is being synced.
    unsynced: Vec<Written>,
    /// Number of the last record written, and of the last that is on the disk.
    written: u64,
    synced: u64,
    /// Somebody waits for it.
    urgent: bool,
    /// Why the last sync has failed. The kernel may have dropped what it could not write, and says so only once: all of it is
    /// written again before the next one.
    broken: Option<String>,
    /// Syncs that were tried.
    tried: u64,
    ended: bool,
}

impl Sink {
    /// Starts both threads. Nothing is opened before the first record.
    pub fn start(parts: Parts) -> io::Result<Arc<Self>> {
        let Parts { dir, key, known, most, pulse, herald, event, to_disk } = parts;
        let begin = event("segment", "the records go on in this file");
        let sink = Arc::new(Self {
            book: Mutex::new(Book::new(dir.clone(), key, most, begin, known)),
            dir,
            most,
            pulse,
            herald,
            to_disk,
            jobs: Mutex::default(),
            job_bell: Condvar::new(),
            syncing: Mutex::default(),
            sync_bell: Condvar::new(),
            synced_bell: Condvar::new(),
            event,
        });
        let (writer, syncer) = (sink.clone(), sink.clone());
        thread::Builder::new().name("kmsfs-audit".to_owned()).spawn(move || writer.work())?;
        thread::Builder::new().name("kmsfs-audit-sync".to_owned()).spawn(move || syncer.sync())?;
        Ok(sink)
    }

    /// Where the segments are.
    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// How it is.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Lets both threads end, once they are done.
    pub fn end(&self) {
        self.jobs.lock().ended = true;
        self.job_bell.notify_one();
        self.syncing.lock().ended = true;
        self.sync_bell.notify_one();
    }

    /// Writes `body` now if nothing is in the way. Its number.
    pub fn add_at_once(&self, body: &Body) -> Option<u64> {
        if !self.pulse.is_well() || self.pulse.missed() != Missed::default() {
            return None;
        }
        let mut book = self.book.try_lock()?;
        if !book.has_room(body) || self.syncing.lock().broken.is_some() {
            return None;
        }
        let _beat = self.pulse.writes();
        match book.add_here(body) {
            Ok(()) => self.wrote(&mut book, body),
            Err(error) => {
                self.failed(&error.to_string());
                None
            }
        }
    }

    /// Has `body` written, or says within a second why it is not. Its number.
    pub fn add_in_time(&self, body: Body) -> Result<u64, String> {
        let slow = || "the disk does not answer".to_owned();
        if self.pulse.hangs() {
            self.failed(&slow());
            return Err(slow());
        }
        let job = Arc::new(Job { body, state: Mutex::new(JobState::Waits), bell: Condvar::new() });
        self.jobs.lock().waiting.push_back(job.clone());
        self.job_bell.notify_one();
        let until = Instant::now() + HANG;
        let mut state = job.state.lock();
        loop {
            if let JobState::Done(outcome) = &*state {
                return outcome.clone();
            }
            if job.bell.wait_until(&mut state, until).timed_out() && !matches!(*state, JobState::Done(_)) {
                // Should it be written after all, there is a record of what was not done.
                *state = JobState::GivenUp;
                self.failed(&slow());
                return Err(slow());
            }
        }
    }

    /// Number of the last record that is on the disk; 0 as long as none was written.
    pub fn synced(&self) -> u64 {
        self.syncing.lock().synced
    }

    /// Has all that was written so far synced without delay.
    pub fn sync_soon(&self) {
        self.syncing.lock().urgent = true;
        self.sync_bell.notify_one();
    }

    /// Waits until record `seq` is on the disk, for a second at most. Whether it is.
    pub fn wait_synced(&self, seq: u64) -> bool {
        let until = Instant::now() + HANG;
        let mut syncing = self.syncing.lock();
        let tried = syncing.tried;
        while syncing.synced < seq {
            // One of them may have been under way before.
            if syncing.broken.is_some() && syncing.tried >= tried + 2 {
                break;
            }
            syncing.urgent = true;
            self.sync_bell.notify_one();
            if self.synced_bell.wait_until(&mut syncing, until).timed_out() {
                break;
            }
        }
        syncing.synced >= seq
    }

    /// Notes that `body` was added to `book`, which nobody else has meanwhile.
    fn wrote(&self, book: &mut Book, body: &Body) -> Option<u64> {
        let head = book.head()?;
        if let Some(herald) = &self.herald {
            herald.offer(body.clone(), head.seq);
        }
        if self.pulse.blocked().is_some() {
            log::warn!("the audit takes records again, from number {}", head.seq);
        }
        self.pulse.wrote(head);
        let mut syncing = self.syncing.lock();
        let was_clean = syncing.unsynced.is_empty();
        syncing.written = head.seq;
        syncing.unsynced.append(&mut book.take_written());
        drop(syncing);
        if was_clean {
            self.sync_bell.notify_one();
        }
        Some(head.seq)
    }

    fn failed(&self, why: &str) {
        if self.pulse.fails(why, Timestamp::from_system(SystemTime::now())) {
            log::error!("the audit takes no record: {why}");
        }
    }

    /// The writer's life.
    fn work(&self) {
        loop {
            let mut jobs = self.jobs.lock();
            let job = loop {
                match jobs.waiting.pop_front() {
                    Some(job) => break job,
                    None if jobs.ended => return,
                    None => self.job_bell.wait(&mut jobs),
                }
            };
            drop(jobs);
            if matches!(*job.state.lock(), JobState::GivenUp) {
                continue;
            }
            let outcome = self.carry_out(&job.body).map_err(|error| {
                self.failed(&error.to_string());
                error.to_string()
            });
            let mut state = job.state.lock();
            if matches!(*state, JobState::Waits) {
                *state = JobState::Done(outcome);
                job.bell.notify_one();
            }
        }
    }

    fn carry_out(&self, body: &Body) -> io::Result<u64> {
        self.mend()?;
        let mut book = self.book.lock();
        let _beat = self.pulse.writes();
        if !book.is_open()
            && let Some(mended) = book.open()?
        {
            log::warn!("the audit was mended: {mended}");
            self.add(&mut book, &(self.event)("repair", &mended))?;
        }
        let missed = self.pulse.missed();
        if missed != Missed::default() {
            let Missed { elsewhere, refused, let_pass, unheard } = missed;
            let since = self.pulse.blocked().map_or(String::new(), |blocked| format!(" since {}", blocked.since));
            let words = format!(
                "without a record here{since}: {refused} requests answered with EIO, {elsewhere} told elsewhere, {let_pass} let pass"
            );
            let words = match (unheard, missed == Missed { unheard, ..Missed::default() }) {
                (0, _) => words,
                (_, true) => format!("{unheard} records here were not told to the second sink"),
                (_, false) => format!("{words}; {unheard} records here were not told to the second sink"),
            };
            self.add(&mut book, &(self.event)("gap", &words))?;
            self.pulse.told(missed);
        }
        self.add(&mut book, body)
    }

    fn add(&self, book: &mut Book, body: &Body) -> io::Result<u64> {
        book.add(body)?;
        self.wrote(book, body).ok_or_else(|| io::Error::other("no segment is open"))
    }

    /// Has what could not be synced tried again, and waits for a second at most until it is on the disk.
    fn mend(&self) -> io::Result<()> {
        let until = Instant::now() + HANG;
        let mut syncing = self.syncing.lock();
        let tried = syncing.tried;
        while let Some(why) = &syncing.broken {
            if syncing.tried >= tried + 2 {
                return Err(io::Error::other(why.clone()));
            }
            syncing.urgent = true;
            self.sync_bell.notify_one();
            if self.synced_bell.wait_until(&mut syncing, until).timed_out() {
                return Err(io::Error::other("the disk does not answer"));
            }
        }
        Ok(())
    }

    /// The syncer's life.
    fn sync(&self) {
        let mut syncing = self.syncing.lock();
        loop {
            while syncing.unsynced.is_empty() && !syncing.ended {
                self.sync_bell.wait(&mut syncing);
            }
            if syncing.ended && (syncing.unsynced.is_empty() || syncing.broken.is_some()) {
                return;
            }
            let until = Instant::now() + if syncing.broken.is_some() { HANG } else { SYNC_AFTER };
            while !syncing.urgent && !syncing.ended {
                if self.sync_bell.wait_until(&mut syncing, until).timed_out() {
                    break;
                }
            }
            syncing.urgent = false;
            let (goal, again) = (syncing.written, syncing.broken.is_some());
            let mut lines = std::mem::take(&mut syncing.unsynced);
            drop(syncing);
            let outcome = self.sync_lines(&lines, again);
            syncing = self.syncing.lock();
            syncing.tried += 1;
            match outcome {
                Ok(()) => {
                    syncing.synced = syncing.synced.max(goal);
                    if syncing.broken.take().is_some() {
                        log::warn!("the audit is on the disk again, up to number {goal}");
                    }
                }
                Err(error) => {
                    self.failed(&error.to_string());
                    syncing.broken = Some(error.to_string());
                    lines.append(&mut syncing.unsynced);
                    syncing.unsynced = lines;
                }
            }
            self.synced_bell.notify_all();
        }
    }

    fn sync_lines(&self, lines: &[Written], again: bool) -> io::Result<()> {
        let beat = self.pulse.syncs();
        if again {
            lines.iter().try_for_each(Written::write_again)?;
        }
        let mut synced: Option<&Arc<File>> = None;
        for Written { file, .. } in lines {
            if synced.is_none_or(|synced| !Arc::ptr_eq(synced, file)) {
                (self.to_disk)(file)?;
                synced = Some(file);
            }
        }
        drop(beat);
        if let Some(head) = self.pulse.head()
            && let Err(error) = Book::prepare(&self.dir, &head, self.most)
        {
            log::warn!("the next segment of the audit cannot be made yet: {error}");
        }
        Ok(())
    }
}
