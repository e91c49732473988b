//! The sealed entries: a log in one file, of which only the last region counts.
//!
//! ```text
//! byte 0: u64le where the region begins (0: there is none)
//! region = salt[16] || record*
//! record = u32le length || seal(op[16] || change*)           sealed under the region's key, bound to where it stands
//! change = u8 sort || u64le id || u32le length (all ones: the entry goes) || bytes
//! ```
//!
//! A record that was not written to its end does not open, and ends the log: its writer was killed before it answered. When too
//! much of a region is of the past, what still counts is written into a new one further on, which counts once its beginning is
//! written at byte 0; then the room of the former is given back. Offsets only grow, and the file stays as small as what counts.
//! The entry `Carried` stands in front of a region only: the requests of the records before.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FallocateFlags;

use super::{Key, LENGTH};
use crate::crypto::{CryptoError, EstateRoot, RegionKey};
use crate::id::OpId;
use crate::sealed::Sealed;
use crate::value::Value;

/// The first region begins behind the page of byte 0.
const PAGE: u64 = 4096;
const SALT: usize = 16;
const OP: usize = 16;
const CHANGE: usize = 1 + 8 + LENGTH;
/// The length of an entry that goes.
const GONE: u32 = u32::MAX;
/// No request.
const NO_OP: OpId = OpId([0; OP]);
/// How much of the past a region may hold, beside twice of what counts: to go over a MiB takes a millisecond.
const PAST_MAX: u64 = 1024 * 1024;
/// What a record of one change has beside the bytes of its entry: length, algorithm, nonce and tag, request, change.
const RECORD: u64 = (LENGTH + 1 + 12 + 16 + OP + CHANGE) as u64;
/// Requests remembered: many more than workers that die one after the other.
const CARRIED: usize = 64;

/// The log as a worker writes it.
pub struct Log {
    file: File,
    root: EstateRoot,
    key: RegionKey,
    begin: u64,
    end: u64,
    /// The bytes of each entry that counts.
    sizes: HashMap<Key, u64>,
    live: u64,
    /// The requests that made the last changes, the latest last.
    carried: VecDeque<OpId>,
}

/// Entries as they stand at the end of a region.
type Entries = HashMap<Key, Value>;

impl Log {
    /// Opens `file`; answers what counts in it.
    pub fn open(file: OwnedFd, root: EstateRoot) -> io::Result<(Self, Entries)> {
        let file = File::from(file);
        let mut begin = [0; 8];
        // A new file has no byte 0 yet.
        let found = file.read_at(&mut begin, 0)? == begin.len();
        let begin = if found { u64::from_le_bytes(begin) } else { 0 };
        let key = root.region(&[0; SALT]);
        let mut log =
            Self { file, root, key, begin, end: PAGE, sizes: HashMap::new(), live: 0, carried: VecDeque::new() };
        let entries = if begin == 0 { Entries::new() } else { log.read()? };
        log.begin_region(&entries)?;
        Ok((log, entries))
    }

    /// The requests that made the last changes.
    pub fn carried(&self) -> impl Iterator<Item = OpId> {
        self.carried.iter().copied()
    }

    fn remember(&mut self, op: OpId) {
        if self.carried.back() != Some(&op) {
            if self.carried.len() == CARRIED {
                self.carried.pop_front();
            }
            self.carried.push_back(op);
        }
    }

    /// Adds a record.
    pub fn append(&mut self, op: Option<OpId>, changes: &[(Key, Option<&[u8]>)]) -> io::Result<()> {
        self.write(op, changes)?;
        if self.end - self.begin > PAST_MAX + 2 * self.live { self.compact() } else { Ok(()) }
    }

    /// Begins a new region with what counts.
    pub fn compact(&mut self) -> io::Result<()> {
        let entries = self.read()?;
        self.begin_region(&entries)
    }

    /// Leaves nothing to the next worker.
    pub fn give_up(&mut self) {
        if let Err(error) = self.file.write_all_at(&[0; 8], 0) {
            ::log::error!("the next worker may find what is no longer so: {error}");
        }
    }

    /// All that counts in the region, up to the first record that does not open.
    fn read(&mut self) -> io::Result<Entries> {
        let mut salt = [0; SALT];
        self.file.read_exact_at(&mut salt, self.begin)?;
        self.key = self.root.region(&salt);
        self.carried.clear();
        let (mut entries, mut at) = (Entries::new(), self.begin + SALT as u64);
        while let Some(record) = self.record(at)? {
            let Some((op, changes)) = parse(record.as_bytes()) else {
                ::log::error!("what another program has left cannot be understood");
                break;
            };
            for (key, bytes) in changes {
                match (key, bytes) {
                    (Key::Carried, ops) => {
                        ops.unwrap_or_default().as_chunks().0.iter().for_each(|op| self.remember(OpId(*op)))
                    }
                    (_, Some(bytes)) => drop(entries.insert(key, Value::copy_of(bytes))),
                    (_, None) => drop(entries.remove(&key)),
                }
            }
            op.into_iter().for_each(|op| self.remember(op));
            at += (LENGTH + record.sealed) as u64;
        }
        self.end = at;
        Ok(entries)
    }

    fn record(&self, at: u64) -> io::Result<Option<Record>> {
        let mut length = [0; LENGTH];
        if self.file.read_at(&mut length, at)? < LENGTH || length == [0; LENGTH] {
            return Ok(None);
        }
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
        let room = self.file.metadata()?.len().saturating_sub(at + LENGTH as u64);
        if length as u64 > room {
            return Ok(None);
        }
        let mut sealed = vec![0; length];
        self.file.read_exact_at(&mut sealed, at + LENGTH as u64)?;
        let plain = self.key.open(at, &Sealed::from_bytes(sealed));
        Ok(plain.ok().map(|plain| Record { plain, sealed: length }))
    }

    /// Writes `entries` behind all that there is, and lets that count instead.
    fn begin_region(&mut self, entries: &Entries) -> io::Result<()> {
        let former = self.begin;
        let salt = random()?;
        self.key = self.root.region(&salt);
        self.begin = self.end.next_multiple_of(PAGE);
        self.file.write_all_at(&salt, self.begin)?;
        self.end = self.begin + SALT as u64;
        (self.sizes, self.live) = (HashMap::new(), 0);
        let carried: Vec<u8> = self.carried().flat_map(|op| op.0).collect();
        self.write(None, &[(Key::Carried, Some(&carried))])?;
        for (key, value) in entries {
            self.write(None, &[(*key, Some(value.as_bytes()))])?;
        }
        self.file.write_all_at(&self.begin.to_le_bytes(), 0)?;
        if former != 0 {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&self.file, flags, former, self.begin - former)?;
        }
        Ok(())
    }

    fn write(&mut self, op: Option<OpId>, changes: &[(Key, Option<&[u8]>)]) -> io::Result<()> {
        let sealed = self.key.seal(self.end, encode(op, changes).as_bytes()).map_err(sealing)?;
        let mut record = Vec::with_capacity(LENGTH + sealed.as_bytes().len());
        record.extend_from_slice(&u32::try_from(sealed.as_bytes().len()).map_err(io::Error::other)?.to_le_bytes());
        record.extend_from_slice(sealed.as_bytes());
        self.file.write_all_at(&record, self.end)?;
        self.end += record.len() as u64;
        op.into_iter().for_each(|op| self.remember(op));
        for (key, bytes) in changes {
            let size = bytes.map(|bytes| RECORD + bytes.len() as u64);
            let former = match size {
                Some(size) => self.sizes.insert(*key, size),
                None => self.sizes.remove(key),
            };
            self.live = self.live - former.unwrap_or(0) + size.unwrap_or(0);
        }
        Ok(())
    }
}

/// A record that has opened.
struct Record {
    plain: Value,
    /// Its length as it stands there.
    sealed: usize,
}

impl Record {
    fn as_bytes(&self) -> &[u8] {
        self.plain.as_bytes()
    }
}

fn encode(op: Option<OpId>, changes: &[(Key, Option<&[u8]>)]) -> Value {
    let length = |bytes: &Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let mut plain = Value::empty();
    plain.resize(OP + changes.iter().map(|(_, bytes)| CHANGE + length(bytes)).sum::<usize>());
    plain.write_at(0, &op.unwrap_or(NO_OP).0);
    let mut at = OP;
    for (key, bytes) in changes {
        let (sort, id) = key.to_parts();
        let len = bytes.map_or(GONE, |bytes| u32::try_from(bytes.len()).expect("an entry is far below 4 GiB"));
        plain.write_at(at, &[sort]);
        plain.write_at(at + 1, &id.to_le_bytes());
        plain.write_at(at + 9, &len.to_le_bytes());
        plain.write_at(at + CHANGE, bytes.unwrap_or_default());
        at += CHANGE + length(bytes);
    }
    plain
}

/// A record's request and changes.
type Parsed<'a> = (Option<OpId>, Vec<(Key, Option<&'a [u8]>)>);

fn parse(plain: &[u8]) -> Option<Parsed<'_>> {
    let (op, mut rest) = plain.split_first_chunk::<OP>()?;
    let op = Some(OpId(*op)).filter(|op| *op != NO_OP);
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<CHANGE>()?;
        let key = Key::from_parts(head[0], u64::from_le_bytes(*head[1..].first_chunk()?))?;
        let len = u32::from_le_bytes(*head[9..].first_chunk()?);
        if len == GONE {
            changes.push((key, None));
            rest = behind;
        } else {
            let (bytes, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
            changes.push((key, Some(bytes)));
            rest = behind;
        }
    }
    Some((op, changes))
}

fn random() -> io::Result<[u8; SALT]> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(salt)
}

fn sealing(error: CryptoError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::MemfdFlags;

    use super::*;
    use crate::crypto::MasterKey;
    use crate::id::StoreId;

    const OP1: OpId = OpId([1; 16]);
    const OP2: OpId = OpId([2; 16]);

    fn root(master: &MasterKey) -> EstateRoot {
        master.estate_root(StoreId([5; 16]))
    }

    fn made() -> (MasterKey, File, Log) {
        let master = MasterKey::generate().unwrap();
        let file = rustix::fs::memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        let same = File::from(file.try_clone().unwrap());
        let (log, none) = Log::open(file, root(&master)).unwrap();
        assert!(none.is_empty() && log.carried().next().is_none());
        (master, same, log)
    }

    fn reopen(master: &MasterKey, file: &File) -> (Log, Entries) {
        Log::open(OwnedFd::from(file.try_clone().unwrap()), root(master)).unwrap()
    }

    fn text(entries: &Entries, key: Key) -> Option<&[u8]> {
        entries.get(&key).map(Value::as_bytes)
    }

    #[test]
    fn the_last_state_of_each_entry_is_found_again() {
        let (master, file, mut log) = made();
        log.append(Some(OP1), &[(Key::Draft(7), Some(b"one")), (Key::Scratch(3), Some(b""))]).unwrap();
        log.append(None, &[(Key::Text(8), Some(b"text"))]).unwrap();
        log.append(Some(OP2), &[(Key::Draft(7), Some(b"two")), (Key::Scratch(3), None)]).unwrap();
        drop(log);
        // Twice: what was inherited is left on.
        for _ in 0..2 {
            let (log, entries) = reopen(&master, &file);
            assert_eq!(log.carried().collect::<Vec<_>>(), [OP1, OP2]);
            assert_eq!(
                (text(&entries, Key::Draft(7)), text(&entries, Key::Text(8))),
                (Some(&b"two"[..]), Some(&b"text"[..]))
            );
            assert_eq!(entries.len(), 2);
        }
    }

    #[test]
    fn a_record_cut_anywhere_changes_nothing() {
        let (master, file, mut log) = made();
        log.append(Some(OP1), &[(Key::Draft(7), Some(b"one"))]).unwrap();
        let before = log.end;
        log.append(Some(OP2), &[(Key::Draft(7), Some(b"two")), (Key::Text(1), Some(b"more"))]).unwrap();
        let whole = log.end;
        drop(log);
        let mut bytes = vec![0; usize::try_from(whole).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        for cut in before..=whole {
            // A file that is longer than what was written, and one that ends there.
            for rest in [whole - cut, 0] {
                let copy = File::from(rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC).unwrap());
                copy.write_all_at(&bytes[..usize::try_from(cut).unwrap()], 0).unwrap();
                copy.set_len(cut + rest).unwrap();
                let (log, entries) = reopen(&master, &copy);
                let (op, value, len) = if cut == whole { (OP2, &b"two"[..], 2) } else { (OP1, &b"one"[..], 1) };
                assert_eq!(
                    (log.carried().last(), text(&entries, Key::Draft(7)), entries.len()),
                    (Some(op), Some(value), len),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn no_plaintext_and_no_past_stays() {
        let (master, file, mut log) = made();
        let long = vec![b'x'; 64 * 1024];
        for n in 0..200_u32 {
            log.append(None, &[(Key::Draft(1), Some(&long)), (Key::Scratch(n), Some(b"secret"))]).unwrap();
            log.append(None, &[(Key::Scratch(n), None)]).unwrap();
        }
        let blocks = |file: &File| rustix::fs::fstat(file).unwrap().st_blocks * 512;
        assert!(blocks(&file) < 4 * 1024 * 1024, "{} bytes", blocks(&file));
        log.append(None, &[(Key::Draft(1), None)]).unwrap();
        log.compact().unwrap();
        assert!(blocks(&file) <= 3 * 4096, "{} bytes", blocks(&file));
        log.append(None, &[(Key::Draft(2), Some(b"plaintext"))]).unwrap();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"plaintext"));
        let (_, entries) = reopen(&master, &file);
        assert_eq!(entries.len(), 1);
        let (_, none) = Log::open(OwnedFd::from(file), root(&MasterKey::generate().unwrap())).unwrap();
        assert!(none.is_empty(), "another store's key opens nothing");
    }

    #[test]
    fn many_small_entries_are_not_gone_over_each_time() {
        let (_, _, mut log) = made();
        let (mut begun, mut regions) = (log.begin, 0);
        for n in 0..40_000 {
            log.append(None, &[(Key::Text(n), Some(b"default\n"))]).unwrap();
            regions += u32::from(std::mem::replace(&mut begun, log.begin) != log.begin);
        }
        assert!(regions <= 2, "{regions}");
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        let (master, file, mut log) = made();
        log.append(Some(OP1), &[(Key::Draft(7), Some(b"old"))]).unwrap();
        log.give_up();
        drop(log);
        let (log, entries) = reopen(&master, &file);
        assert!(entries.is_empty() && log.carried().next().is_none());
    }

    #[test]
    fn random_bytes_are_no_changes() {
        for len in 0..200_usize {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            let _ = parse(&bytes);
        }
        let plain = encode(Some(OP1), &[(Key::Rotations, Some(b"r")), (Key::Text(u64::MAX), None)]);
        for cut in OP + 1..plain.len() {
            assert!(parse(&plain.as_bytes()[..cut]).is_none() || cut == OP + CHANGE + 1, "{cut}");
        }
    }
}
