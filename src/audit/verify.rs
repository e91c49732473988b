//! Reading the chain: its records, and whether it is whole.
//!
//! Reads the segments as they lie on the disk, up to where the chain has come to. Invariant of [`verify`]: it says that a chain is
//! sound only if each record was made under the key and stands where it was put, and no record is missing between the first that
//! is there and the last that is known of.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use super::book::{Head, NO_MAC};
use super::record::{unhex, without_mac};
use super::segment::{LINE_MAX, Segment};
use super::trail::AuditError;
use crate::crypto::AuditKey;

/// Which records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those behind this number; 0 for all.
    pub after: u64,
    /// So many at most.
    pub limit: usize,
    /// Of this instance alone.
    pub instance: Option<String>,
    /// Of this secret alone.
    pub secret: Option<String>,
}

/// What a walk over the chain has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records that are sound, up to the first that is not.
    pub records: u64,
    /// The number of the first one that is there; those before were taken away by whoever keeps them.
    pub first: Option<u64>,
    /// The number of the last sound one.
    pub last: Option<u64>,
    /// Files walked over.
    pub segments: u64,
    /// What is wrong, if something is.
    pub defect: Option<Defect>,
}

/// The first record that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The segment's number.
    pub segment: u64,
    /// The line in it, from 1.
    pub line: u64,
    /// The number that the record has, or would have.
    pub seq: u64,
    /// What is wrong.
    pub what: Wrong,
}

/// What can be wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is another one than was written, or of another store.
    Altered,
    /// Records before it are gone.
    Missing,
    /// It stands behind one that came after it.
    Reordered,
    /// The line has no end.
    Torn,
    /// Records at the end are gone.
    CutOff,
}

impl Wrong {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Wrong::Altered => "is not as it was written, or was never written by this store's audit",
            Wrong::Missing => "does not follow the one before it: records are missing",
            Wrong::Reordered => "stands behind one that came later",
            Wrong::Torn => "has no end",
            Wrong::CutOff => "is missing, and all behind it",
        }
    }
}

#[derive(Deserialize)]
struct Place {
    seq: u64,
    prev: Option<String>,
}

/// Lines of a file, each with its newline where it has one.
fn lines(path: &Path, most: u64) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let mut file = BufReader::new(File::open(path)?.take(most));
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        match file.by_ref().take(2 * LINE_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }))
}

fn unreadable(error: &io::Error) -> AuditError {
    AuditError::Unreadable(error.to_string())
}

/// Bytes of `segment` that count: of the one that is written, those that the head knows of.
fn counted(segment: &Segment, head: Option<&Head>) -> u64 {
    head.filter(|head| head.segment == segment.number).map_or(u64::MAX, |head| head.end)
}

/// The records in `dir` that are `wanted`, in order. Whether they are sound, [`verify`] says.
pub fn read(dir: &Path, head: Option<&Head>, wanted: &Wanted) -> Result<Vec<Json>, AuditError> {
    let mut segments = Segment::list(dir).map_err(|error| unreadable(&error))?;
    // What a segment begins with tells whether the ones before it can be left out.
    let begins_behind = |segment: &Segment| -> bool {
        let first = lines(&segment.path, u64::MAX).ok().and_then(|mut lines| lines.next()?.ok());
        let place = first.and_then(|line| serde_json::from_slice::<Place>(&line).ok());
        place.is_none_or(|place| place.seq > wanted.after)
    };
    let from = segments.iter().rposition(|segment| !begins_behind(segment)).unwrap_or(0);
    segments.drain(..from);
    let mut found = Vec::new();
    for segment in &segments {
        for line in lines(&segment.path, counted(segment, head)).map_err(|error| unreadable(&error))? {
            if found.len() == wanted.limit {
                return Ok(found);
            }
            let line = line.map_err(|error| unreadable(&error))?;
            let Ok(record) = serde_json::from_slice::<Json>(&line) else { continue };
            let is = |member: &str, wanted: &Option<String>| {
                wanted.as_deref().is_none_or(|wanted| record[member].as_str() == Some(wanted))
            };
            if record["seq"].as_u64().is_some_and(|seq| seq > wanted.after)
                && is("instance", &wanted.instance)
                && is("secret", &wanted.secret)
            {
                found.push(record);
            }
        }
    }
    Ok(found)
}

/// Walks over the chain in `dir`. `head` is where it has come to, if that is known; else its end can be cut off unseen.
pub fn verify(dir: &Path, key: &AuditKey, head: Option<&Head>) -> Result<Verified, AuditError> {
    let mut verified = Verified::default();
    let mut mac = None;
    for segment in Segment::list(dir).map_err(|error| unreadable(&error))? {
        if head.is_some_and(|head| segment.number > head.segment)
            || fs::metadata(&segment.path).is_ok_and(|m| m.len() == 0)
        {
            continue;
        }
        verified.segments += 1;
        let walked = lines(&segment.path, counted(&segment, head)).map_err(|error| unreadable(&error))?;
        for (at, line) in walked.enumerate() {
            let line = line.map_err(|error| unreadable(&error))?;
            match step(key, mac, verified.last, &line) {
                Ok((seq, next)) => {
                    mac = Some(next);
                    verified.records += 1;
                    verified.first = verified.first.or(Some(seq));
                    verified.last = Some(seq);
                }
                Err((seq, what)) => {
                    verified.defect = Some(Defect { segment: segment.number, line: at as u64 + 1, seq, what });
                    return Ok(verified);
                }
            }
        }
    }
    if let Some(head) = head
        && (mac != Some(head.mac) || verified.last != Some(head.seq))
    {
        let seq = verified.last.map_or(1, |last| last + 1);
        verified.defect = Some(Defect { segment: head.segment, line: 0, seq, what: Wrong::CutOff });
    }
    Ok(verified)
}

/// One record, behind the one with `mac` and number `last`; none where it is the first that there is.
fn step(
    key: &AuditKey,
    mac: Option<[u8; 32]>,
    last: Option<u64>,
    line: &[u8],
) -> Result<(u64, [u8; 32]), (u64, Wrong)> {
    let expected = last.map_or(1, |last| last + 1);
    let Some(line) = line.strip_suffix(b"\n") else { return Err((expected, Wrong::Torn)) };
    let altered = (expected, Wrong::Altered);
    let place: Place = serde_json::from_slice(line).map_err(|_| altered)?;
    let (body, its) = without_mac(line).ok_or(altered)?;
    let named = match &place.prev {
        Some(prev) => Some(unhex(prev.as_bytes()).ok_or(altered)?),
        None => None,
    };
    // The first that is there is bound to what it names, or to nothing.
    let before = mac.or(named).unwrap_or(NO_MAC);
    if key.mac(&before, &body) == its && named.is_none_or(|named| named == before) {
        // The very first record there ever was has the number 1; whoever took others away has left whole segments.
        let follows = if mac.is_some() { place.seq == expected } else { place.seq == 1 || named.is_some() };
        return if follows { Ok((place.seq, its)) } else { Err((place.seq, Wrong::Missing)) };
    }
    // It was written under the key, and names the one it came behind: then that one is not here.
    if named.is_some_and(|named| key.mac(&named, &body) == its) {
        return Err((place.seq, Wrong::Missing));
    }
    Err((
        place.seq,
        match place.seq {
            seq if seq == expected => Wrong::Altered,
            seq if seq > expected => Wrong::Missing,
            _ => Wrong::Reordered,
        },
    ))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
