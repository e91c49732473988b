//! The chain as it grows: the segment that is written, its end, and the last number and mac.
//!
//! Whoever holds the book is the only writer. Invariants: a record counts when all of it is in the file; one that failed leaves
//! number, mac and end as they were, and the next one takes its place; the first record of each segment names the mac before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use super::record::{Body, Moment, with_mac, without_mac};
use super::segment::{Segment, Tail, close, tail};
use crate::crypto::AuditKey;
use crate::durable;
use crate::time::Timestamp;

/// The mac before the first record there is.
pub const NO_MAC: [u8; 32] = [0; 32];

/// The chain, and where it is written.
pub struct Book {
    dir: PathBuf,
    key: AuditKey,
    /// Bytes of a segment.
    most: u64,
    /// What each segment begins with.
    begin: Body,
    /// The number of a record that there must be: the store knows of it.
    known: u64,
    open: Option<Open>,
    seq: u64,
    mac: [u8; 32],
    /// What was written since somebody asked.
    fresh: Vec<Written>,
}

/// A line that was written, and where.
pub struct Written {
    pub file: Arc<File>,
    at: u64,
    line: Vec<u8>,
}

impl Written {
    /// Writes it again, in its place: after a sync that failed the kernel may have dropped it.
    pub fn write_again(&self) -> io::Result<()> {
        self.file.write_all_at(&self.line, self.at)
    }
}

struct Open {
    number: u64,
    file: Arc<File>,
    end: u64,
}

/// Where the chain has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last record's number; 0 where there is none.
    pub seq: u64,
    /// Its mac.
    pub mac: [u8; 32],
    /// The segment that is written.
    pub segment: u64,
    /// Its bytes.
    pub end: u64,
}

/// What of a record says where the chain goes on.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Book {
    /// The chain in `dir`, under `key`, in segments of `most` bytes that begin with `begin`; it has come to number `known` at least.
    /// Nothing is opened yet.
    pub fn new(dir: PathBuf, key: AuditKey, most: u64, begin: Body, known: u64) -> Self {
        Self { dir, key, most, begin, known, open: None, seq: 0, mac: NO_MAC, fresh: Vec::new() }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Goes on where the last record is, whoever wrote it; or begins. What was mended, in words.
    ///
    /// The numbers of records that are gone are not given again: so it shows for ever that they were there.
    pub fn open(&mut self) -> io::Result<Option<String>> {
        let mended = self.find_end()?;
        let gone = (self.seq < self.known).then(|| {
            let first = std::mem::replace(&mut self.seq, self.known) + 1;
            format!("records {first} to {}, which the store knows of, are not here", self.known)
        });
        Ok(match (mended, gone) {
            (Some(mended), Some(gone)) => Some(format!("{mended}; {gone}")),
            (mended, gone) => mended.or(gone),
        })
    }

    fn find_end(&mut self) -> io::Result<Option<String>> {
        durable::make_dirs(&self.dir, 0o700)?;
        let segments = Segment::list(&self.dir)?;
        let mut mended = None;
        // Those behind the last record may have been made for what was to come.
        for segment in segments.iter().rev() {
            let metadata = segment.path.metadata()?;
            if metadata.len() == 0 {
                continue;
            }
            let closed = metadata.permissions().readonly();
            let file = if closed { File::open(&segment.path)? } else { segment.open()? };
            let tail = tail(&file)?;
            if tail.last.is_none() && tail.end == 0 && !closed {
                // Its very first record was cut off: it begins anew.
                mended =
                    Some(format!("{} bytes of a torn record in segment {} were cut off", tail.torn, segment.number));
                file.set_len(0)?;
                file.sync_all()?;
                continue;
            }
            let more = self.go_on(segment, file, &tail, closed)?;
            return Ok(more.or(mended));
        }
        self.begin_segment(segments.first().map_or(1, |segment| segment.number))?;
        Ok(mended)
    }

    fn go_on(&mut self, segment: &Segment, file: File, tail: &Tail, closed: bool) -> io::Result<Option<String>> {
        let last = tail.last.as_deref().and_then(|line| {
            let (_, mac) = without_mac(line)?;
            Some((serde_json::from_slice::<Numbered>(line).ok()?.seq, mac))
        });
        let Some((seq, mac)) = last else {
            // It is left as it is, for whoever verifies: nothing can be added to what is no record. What is before it is there.
            self.begin_segment(segment.number + 1)?;
            self.seq = self.known;
            return Ok(Some(format!("the end of segment {} is no record; a new chain begins", segment.number)));
        };
        if closed {
            self.begin_segment(segment.number + 1)?;
        } else {
            if tail.torn > 0 {
                file.set_len(tail.end)?;
                file.sync_all()?;
            }
            self.open = Some(Open { number: segment.number, file: Arc::new(file), end: tail.end });
        }
        (self.seq, self.mac) = (seq, mac);
        let torn = || format!("{} bytes of a torn record behind number {seq} were cut off", tail.torn);
        Ok((tail.torn > 0 && !closed).then(torn))
    }

    fn begin_segment(&mut self, number: u64) -> io::Result<()> {
        let file = Segment::at(&self.dir, number).make(self.most, true)?;
        self.open = Some(Open { number, file: Arc::new(file), end: 0 });
        Ok(())
    }

    /// Whether `body` can be added without anything but a write.
    pub fn has_room(&self, body: &Body) -> bool {
        self.open.as_ref().is_some_and(|open| open.end > 0 && open.end + body.line_max() <= self.most)
    }

    /// Adds `body`; in the next segment where this one has no room for it.
    pub fn add(&mut self, body: &Body) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.end > 0 && open.end + body.line_max() > self.most) {
            self.turn()?;
        }
        if self.open.as_ref().is_some_and(|open| open.end == 0) {
            let begin = self.begin.clone();
            self.write(&begin, true)?;
        }
        self.write(body, false)
    }

    /// Adds `body`, for which the segment has room, as [`Book::has_room`] says.
    pub fn add_here(&mut self, body: &Body) -> io::Result<()> {
        self.write(body, false)
    }

    /// Ends the present segment, and begins the next one.
    pub fn turn(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let (number, file, end) = (open.number, open.file.clone(), open.end);
        self.begin_segment(number + 1)?;
        if let Err(error) = close(&file, end) {
            log::error!("segment {number} of the audit could not be closed well: {error}");
        }
        Ok(())
    }

    /// Makes the segment behind `head` ahead of time, where its own is nearly full.
    pub fn prepare(dir: &Path, head: &Head, most: u64) -> io::Result<bool> {
        let near = head.end > most / 5 * 4;
        if near {
            let next = Segment::at(dir, head.segment + 1);
            if next.path.symlink_metadata().is_err() {
                next.make(most, false)?;
            }
        }
        Ok(near)
    }

    fn write(&mut self, body: &Body, first: bool) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::Error::other("no segment is open")) };
        let at = Moment { seq: self.seq + 1, time: Timestamp::from_system(SystemTime::now()), boot: boot_time() };
        let line = body.line(at, first.then_some(&self.mac));
        let mac = self.key.mac(&self.mac, line.as_bytes());
        let line = with_mac(line, &mac);
        if let Err(error) = open.file.write_all_at(line.as_bytes(), open.end) {
            // A part of it would be in the way of the next one.
            let _ = open.file.set_len(open.end);
            return Err(error);
        }
        self.fresh.push(Written { file: open.file.clone(), at: open.end, line: line.as_bytes().to_vec() });
        open.end += line.len() as u64;
        (self.seq, self.mac) = (at.seq, mac);
        Ok(())
    }

    /// Where the chain has come to; `None` before it is open.
    pub fn head(&self) -> Option<Head> {
        let open = self.open.as_ref()?;
        Some(Head { seq: self.seq, mac: self.mac, segment: open.number, end: open.end })
    }

    /// The lines written since the last time, in order. Whoever takes them has them synced.
    pub fn take_written(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.fresh)
    }
}

/// Nanoseconds since the machine was started, sleep included: unlike the wall clock it never goes back.
pub fn boot_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
