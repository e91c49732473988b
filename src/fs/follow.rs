//! One open `events` file: a stream of lines that grows while it is read.
//!
//! A program sees a regular file that was empty when it opened it and gets longer: what fstat(2) shows is what can be read so
//! far, and an offset always stands for the same byte. Lines are made when somebody asks, and kept until a read behind them shows
//! that they have arrived. So a read that is interrupted, or is shorter than a line, loses nothing.
//!
//! Invariants: the stream ends with a whole line; nothing in it is of what its opener could not list; what was made is in the
//! estate before it can be read, so the next worker goes on at the same byte.

use std::io::Write as _;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::errno::Fault;
use super::shares::{Share, Shares};
use crate::estate::{Estate, Key, pack, unpack};
use crate::secret::Identity;
use crate::time::Timestamp;
use crate::vault::{Event, Subject, Vault};

/// How long somebody who reads on and on is kept waiting, or supplied, until a read gives nothing: then `cat` ends, and programs
/// that read to the end before they begin come to begin.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Who lets this long pass between two reads has had time to do something else.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of lines made for a read. What it does not come for stays in the feed, which is bounded too.
const READ_MAX: usize = 64 * 1024;
/// Bytes of lines made because somebody asks for the size: enough to show that there is something, and little for what is kept of
/// files that nobody ever reads. Who has read them is shown the next.
const SHOWN_MAX: usize = 8 * 1024;

/// An open `events` file.
pub struct Follower {
    serial: u64,
    /// Who opened it; none for somebody who cannot be known, and is shown nothing.
    reader: Option<Identity>,
    /// Who opened it, as far as its share goes.
    uid: u32,
    /// What it takes of everybody's memory; none where an earlier worker let more be opened.
    _share: Option<Share>,
    stream: Mutex<Stream>,
}

struct Stream {
    /// The next event of the feed.
    cursor: u64,
    /// The offset of the first byte in `lines`.
    begin: u64,
    lines: Vec<u8>,
    reading: Option<Reading>,
}

/// A row of reads without a pause.
struct Reading {
    since: Instant,
    /// When the last one was answered.
    last: Instant,
    /// Whether one of them gave something.
    gave: bool,
}

/// What comes of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Followed {
    /// These bytes; none for an end that is none for ever.
    Bytes(Vec<u8>),
    /// Nothing yet: to be asked again, until then.
    Nothing { until: Instant },
}

/// All but the lines, as the next worker finds it.
#[derive(Serialize, Deserialize)]
struct Facts {
    begin: u64,
    reader: Option<(u32, u32, Vec<u32>, bool)>,
    #[serde(default)]
    uid: u32,
}

impl Follower {
    /// The open file numbered `serial`, of `reader`, who wants to know what happens from now on.
    pub fn new(serial: u64, (uid, share): (u32, Share), reader: Option<Identity>, vault: &Vault) -> Self {
        let stream = Stream { cursor: vault.feed_end(), begin: 0, lines: Vec::new(), reading: None };
        Self { serial, reader, uid, _share: Some(share), stream: Mutex::new(stream) }
    }

    /// The one that an earlier worker left in `entry`. What happened between that one's last line and now is lost.
    pub fn left(serial: u64, entry: &[u8], now: Timestamp, shares: &Shares) -> Option<Self> {
        let (Facts { begin, reader, uid }, lines) = unpack::<Facts>(entry)?;
        let reader = reader.map(|(uid, gid, groups, overrides)| Identity { uid, gid, groups, overrides });
        let mut lines = lines.to_vec();
        push(&mut lines, &lost(now, None));
        // The feed of this worker has begun with it.
        let stream = Stream { cursor: 0, begin, lines, reading: None };
        Some(Self { serial, reader, uid, _share: shares.take(uid), stream: Mutex::new(stream) })
    }

    /// Leaves it to the next worker as it is.
    pub fn leave(&self, estate: &Estate) {
        self.leave_stream(&self.stream.lock(), estate);
    }

    fn leave_stream(&self, stream: &Stream, estate: &Estate) {
        let reader = self.reader.as_ref().map(|who| (who.uid, who.gid, who.groups.clone(), who.overrides));
        let entry = pack(&Facts { begin: stream.begin, reader, uid: self.uid }, &stream.lines);
        estate.change(None, &[(Key::Events(self.serial), Some(entry.as_bytes()))]);
    }

    /// The bytes that can be read so far, from the open on.
    pub fn len(&self, vault: &Vault, estate: &Estate) -> u64 {
        let mut stream = self.stream.lock();
        self.fill(&mut stream, SHOWN_MAX, (vault, estate));
        stream.end()
    }

    /// A read of up to `size` bytes at `offset` that has come now. One that `hurries` is answered at once.
    pub fn read(
        &self,
        (vault, estate): (&Vault, &Estate),
        offset: u64,
        size: usize,
        hurries: bool,
    ) -> Result<Followed, Fault> {
        let (mut stream, now) = (self.stream.lock(), Instant::now());
        let until = stream.begin_read(now);
        self.take(&mut stream, (vault, estate), offset, size, if hurries { now } else { until })
    }

    /// The same read again, some time later. It is given up at `until`.
    pub fn read_again(
        &self,
        (vault, estate): (&Vault, &Estate),
        offset: u64,
        size: usize,
        until: Instant,
    ) -> Result<Followed, Fault> {
        self.take(&mut self.stream.lock(), (vault, estate), offset, size, until)
    }

    fn take(
        &self,
        stream: &mut Stream,
        (vault, estate): (&Vault, &Estate),
        offset: u64,
        size: usize,
        until: Instant,
    ) -> Result<Followed, Fault> {
        let now = Instant::now();
        if stream.has_given_enough(now) {
            return Ok(stream.answer(now, Vec::new()));
        }
        if stream.arrived(offset)? {
            // What was read needs no room in the estate either.
            self.leave_stream(stream, estate);
        }
        self.fill(stream, READ_MAX, (vault, estate));
        let bytes = stream.lines_at(offset, size);
        // Behind the end nothing will ever be found that was waited for.
        if bytes.is_empty() && now < until && offset <= stream.end() {
            return Ok(Followed::Nothing { until });
        }
        Ok(stream.answer(now, bytes))
    }

    /// Makes lines of what has happened, up to the one with which there are `most` bytes of them.
    fn fill(&self, stream: &mut Stream, most: usize, (vault, estate): (&Vault, &Estate)) {
        let before = stream.lines.len();
        while stream.lines.len() < most {
            let taken = vault.events_since(stream.cursor);
            if taken.lost > 0 {
                push(&mut stream.lines, &lost(vault.now(), Some(taken.lost)));
            }
            if taken.events.is_empty() {
                stream.cursor = taken.next;
                break;
            }
            stream.cursor = taken.next - taken.events.len() as u64;
            for event in taken.events {
                if stream.lines.len() >= most {
                    break;
                }
                if self.reader.as_ref().is_some_and(|reader| event.may_be_seen_by(reader)) {
                    push(&mut stream.lines, &line(&event));
                }
                stream.cursor += 1;
            }
        }
        if stream.lines.len() > before {
            self.leave_stream(stream, estate);
        }
    }
}

impl Stream {
    fn end(&self) -> u64 {
        self.begin + self.lines.len() as u64
    }

    /// Notes a read that has come `now`; until when it may wait.
    fn begin_read(&mut self, now: Instant) -> Instant {
        if self.reading.as_ref().is_none_or(|reading| now.saturating_duration_since(reading.last) > PAUSE) {
            self.reading = Some(Reading { since: now, last: now, gave: false });
        }
        self.reading.as_ref().map_or(now, |reading| reading.since) + PATIENCE
    }

    /// Whether somebody who reads on and on has been supplied for so long that it is to come to an end.
    fn has_given_enough(&self, now: Instant) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.gave && now >= reading.since + PATIENCE)
    }

    fn answer(&mut self, now: Instant, bytes: Vec<u8>) -> Followed {
        if bytes.is_empty() {
            self.reading = None;
        } else if let Some(reading) = &mut self.reading {
            (reading.last, reading.gave) = (now, true);
        }
        Followed::Bytes(bytes)
    }

    /// Forgets what is before `offset`: it has arrived where it is read from. Whether that was much.
    fn arrived(&mut self, offset: u64) -> Result<bool, Fault> {
        let read = offset.checked_sub(self.begin).ok_or(Fault::Forgotten)?;
        let Some(read) = usize::try_from(read).ok().filter(|read| *read <= self.lines.len()) else { return Ok(false) };
        self.lines.drain(..read);
        self.begin = offset;
        self.lines.shrink_to(SHOWN_MAX);
        Ok(read >= SHOWN_MAX)
    }

    /// Up to `size` bytes at `offset`, whole lines if one fits.
    fn lines_at(&self, offset: u64, size: usize) -> Vec<u8> {
        let from = offset.checked_sub(self.begin).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| self.lines.get(from..)).unwrap_or_default();
        let part = &rest[..size.min(rest.len())];
        let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(part.len(), |end| end + 1);
        part[..whole].to_vec()
    }
}

fn push(lines: &mut Vec<u8>, members: &Map<String, Json>) {
    // To write into memory cannot fail.
    let _ = serde_json::to_writer(&mut *lines, members);
    let _ = lines.write_all(b"\n");
}

/// The members of an event's line.
fn line(event: &Event) -> Map<String, Json> {
    let mut members = Map::new();
    let mut put = |name: &str, text: &str| members.insert(name.to_owned(), text.into());
    put("time", &event.time.to_string());
    if let Some(instance) = &event.instance {
        put("instance", instance.as_str());
    }
    match &event.subject {
        Subject::Itself => {}
        Subject::Name(name) => drop(put("secret", name.as_str())),
        Subject::Key(name) => drop(put("key", name.as_str())),
    }
    put("what", event.what.word());
    if let Some(version) = &event.version {
        put("version", version.as_str());
    }
    members
}

/// Instead of those that nobody can be told of any more; `count` of them, of whatever they were, if that is known.
fn lost(now: Timestamp, count: Option<u64>) -> Map<String, Json> {
    let mut members = Map::new();
    members.insert("time".to_owned(), now.to_string().into());
    members.insert("what".to_owned(), "lost".into());
    if let Some(count) = count {
        members.insert("count".to_owned(), count.into());
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lines: &[u8]) -> Stream {
        Stream { cursor: 0, begin: 100, lines: lines.to_vec(), reading: None }
    }

    #[test]
    fn a_read_gives_whole_lines_or_what_fits_of_one() {
        // (offset, size) -> bytes
        for ((offset, size), expected) in [
            ((100, 100), "one\ntwo\n"),
            ((100, 8), "one\ntwo\n"),
            ((100, 7), "one\n"),
            ((100, 2), "on"),
            ((102, 4), "e\n"),
            ((104, 1), "t"),
            ((108, 9), ""),
            ((999, 9), ""),
        ] {
            assert_eq!(stream(b"one\ntwo\n").lines_at(offset, size), expected.as_bytes(), "{offset} {size}");
        }
    }

    #[test]
    fn what_was_not_read_is_kept_and_what_was_is_not() {
        let mut stream = stream(b"one\ntwo\n");
        stream.arrived(103).unwrap();
        assert_eq!((stream.begin, &stream.lines[..], stream.end()), (103, &b"\ntwo\n"[..], 108));
        stream.arrived(5000).unwrap();
        assert_eq!(stream.begin, 103, "a read behind the end says nothing of what is before it");
        assert!(matches!(stream.arrived(102), Err(Fault::Forgotten)));
    }

    #[test]
    fn who_reads_on_and_on_comes_to_an_end_once_a_second() {
        let (mut stream, start) = (stream(b""), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(stream.begin_read(at(0)), at(1000));
        stream.answer(at(900), b"line\n".to_vec());
        assert_eq!(stream.begin_read(at(900)), at(1000), "the second began with the first read");
        assert!(!stream.has_given_enough(at(999)) && stream.has_given_enough(at(1000)));
        stream.answer(at(1000), Vec::new());
        assert_eq!(stream.begin_read(at(1000)), at(2000));
        stream.answer(at(1500), b"line\n".to_vec());
        assert_eq!(stream.begin_read(at(3000)), at(4000), "who had a pause begins anew");
        assert!(!stream.has_given_enough(at(3000)));
    }
}
