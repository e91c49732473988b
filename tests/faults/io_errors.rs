//! A disk that fails in the middle of a commit, at each call in turn and in each way there is.
//!
//! The measure is a store in memory that has had the commits which happened, and no other.

use std::path::Path;

use kmsfs::store::{CommitError, Expect, MemoryStore, Op, SqliteStore, Store};

use super::disk::{self, Call, Fault, Harm, Left};
use super::rows::{contents, noise, op_id, place, put, put_value, put_wrap, row};

/// Every way to fail.
const WAYS: [(Call, Harm); 6] = [
    (Call::Write, Harm::Nothing),
    (Call::Write, Harm::Torn),
    (Call::Sync, Harm::Nothing),
    (Call::Sync, Harm::Dropped),
    (Call::Sync, Harm::Forgotten),
    (Call::Truncate, Harm::Nothing),
];
/// Commits of one run.
const COMMITS: u64 = 8;

/// A folder that costs no fsync where there is one: what is durable is counted, not waited for.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What the `n`th commit does: a record that all write, rows of its own, and the end of the value before the last.
fn ops(n: u64) -> Vec<Op> {
    let no = u32::try_from(n).unwrap();
    vec![
        put(70, place(64, 1), n.to_le_bytes(), Expect::Any),
        put(100 + no, place(64, 9 + no.to_le_bytes()[0]), noise(n, 300), Expect::Absent),
        put_value(row(70, no), noise(n, 1 + usize::try_from(n % 3).unwrap() * 6_000)),
        put_wrap(row(70, no), noise(n, 101)),
        Op::DeleteValue { id: row(70, no.saturating_sub(2)) },
    ]
}

/// What became of the commits.
struct Fates {
    ops: fn(u64) -> Vec<Op>,
    /// Acknowledged.
    done: Vec<u64>,
    /// Refused for good.
    refused: Vec<u64>,
    /// The one whose outcome the engine could not tell yet.
    open: Option<u64>,
}

impl Fates {
    /// That `store` has what was acknowledged, nothing that was refused, and the open one whole or not at all, as it says.
    fn hold(&self, store: &dyn Store, at: &str) {
        let said = |n: u64| store.committed(op_id(n)).unwrap_or_else(|error| panic!("{at}: commit {n}: {error}"));
        let there: Vec<u64> = (1..=COMMITS + 1).filter(|n| said(*n).is_some()).collect();
        for n in &self.done {
            assert!(there.contains(n), "{at}: commit {n} was acknowledged, and is lost");
        }
        for n in &self.refused {
            assert!(!there.contains(n), "{at}: commit {n} was refused, and is there");
        }
        for n in there.iter().filter(|n| !self.done.contains(n)) {
            assert_eq!(Some(*n), self.open, "{at}: nobody knows of commit {n}");
        }
        let reference = MemoryStore::new();
        for n in &there {
            reference.commit(&(self.ops)(*n), op_id(*n), None).unwrap();
        }
        let found = contents(store).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(found, contents(&reference).unwrap(), "{at}: with commits {there:?}");
        store.check().unwrap_or_else(|error| panic!("{at}: {error}"));
    }

    /// The same of the store that a power cut would leave now.
    fn hold_after_power_cut(&self, scratch: &Path, at: &str) {
        for left in [Left::Synced, Left::Written] {
            let dir = scratch.join("cut");
            disk::cut_power(left, &dir);
            let at = format!("{at}, after a power cut ({left:?})");
            let store = SqliteStore::open(&dir).unwrap_or_else(|error| panic!("{at}: {error}"));
            self.hold(&store, &at);
            drop(store);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    /// Commits the `n`th, and notes what the engine says of it.
    fn commit(&mut self, store: &dyn Store, n: u64, at: &str) {
        if let Some(open) = self.open
            && let Ok(outcome) = store.committed(op_id(open))
        {
            self.open = None;
            if outcome.is_some() { self.done.push(open) } else { self.refused.push(open) }
        }
        match store.commit(&(self.ops)(n), op_id(n), None) {
            Ok(_) => {
                self.done.push(n);
                assert_eq!(store.status().read_only, None, "{at}: it takes commits");
            }
            Err(CommitError::Unavailable(_)) => self.refused.push(n),
            Err(CommitError::Unknown(_)) => {
                assert_eq!(self.open.replace(n), None, "{at}: commit {n} is open beside another");
                assert!(store.status().read_only.is_some(), "{at}: an outcome is not known, and it says nothing");
            }
            Err(other) => panic!("{at}: commit {n}: {other:?}"),
        }
    }
}

/// As [`ops`], but the third commit fills more of the log than one page of its index tells of.
fn large_ops(n: u64) -> Vec<Op> {
    let mut ops = ops(n);
    if n == 3 {
        ops.push(put_value(row(71, 1), noise(n, 16 * 1024 * 1024 - 16 * 1024)));
    }
    ops
}

/// One run with one fault; whether anything failed in it.
fn run(ops: fn(u64) -> Vec<Op>, fault: Fault) -> bool {
    let scratch = scratch();
    let dir = scratch.path().join("store");
    drop(SqliteStore::create(&dir).unwrap());
    disk::watch(&dir);
    let store = SqliteStore::open(&dir).unwrap();
    let mut fates = Fates { ops, done: vec![], refused: vec![], open: None };
    disk::fail(fault);
    let mut known = 0;
    for n in 1..=COMMITS {
        let at = format!("{fault:?}, commit {n}");
        fates.commit(&store, n, &at);
        if n % 3 == 0 {
            let _ = store.shred();
        }
        if disk::failed() > known {
            known = disk::failed();
            fates.hold_after_power_cut(scratch.path(), &at);
        }
    }
    let at = format!("{fault:?}, at the end");
    let refused = fates.refused.len() + usize::from(fates.open.is_some());
    assert!(fault.lasts || refused <= 1, "{at}: one fault, {refused} refusals");
    let any = disk::failed() > 0;
    disk::heal();
    fates.commit(&store, COMMITS + 1, &at);
    assert_eq!(fates.done.last(), Some(&(COMMITS + 1)), "{at}: the disk is well again");
    fates.hold(&store, &at);
    fates.hold_after_power_cut(scratch.path(), &at);
    drop(store);
    fates.hold_after_power_cut(scratch.path(), &at);
    fates.hold(&SqliteStore::open(&dir).unwrap(), &format!("{at}, opened again"));
    any
}

#[test]
fn an_error_at_any_call_loses_nothing() {
    let _alone = super::alone();
    for (call, harm) in WAYS {
        for lasts in [false, true] {
            let runs = (1..).take_while(|nth| run(ops, Fault { call, harm, nth: *nth, lasts })).count();
            println!("{call:?}, {harm:?}, lasts: {lasts}: {runs} runs");
            assert!(runs > 0, "{call:?} is never called");
        }
    }
}

/// The commit stands in the log, synced, when SQLite hears that the log's index cannot grow.
#[test]
fn an_index_that_cannot_grow_loses_nothing() {
    let _alone = super::alone();
    for lasts in [false, true] {
        let fault = |nth| Fault { call: Call::ShmMap, harm: Harm::Nothing, nth, lasts };
        let runs = (1..).take_while(|nth| run(large_ops, fault(*nth))).count();
        assert!(runs > 0, "the index grows");
    }
}

/// A request that comes again to a process which has read nothing yet, and meets a disk that fails once: that it is known
/// already is said whenever anything is.
#[test]
fn a_commit_that_comes_again_is_known_though_the_disk_fails() {
    let _alone = super::alone();
    for (call, harm) in [(Call::Read, Harm::Nothing)].into_iter().chain(WAYS) {
        let known = (1..).take_while(|nth| comes_again(Fault { call, harm, nth: *nth, lasts: false })).count();
        assert!(call != Call::Read || known > 0, "{call:?} is never called");
    }
}

/// Whether anything failed.
fn comes_again(fault: Fault) -> bool {
    let scratch = scratch();
    let dir = scratch.path().join("store");
    let store = SqliteStore::create(&dir).unwrap();
    let first = store.commit(&ops(1), op_id(1), None).unwrap();
    store.commit(&ops(2), op_id(2), None).unwrap();
    drop(store);
    disk::watch(&dir);
    let store = SqliteStore::open(&dir).unwrap();
    disk::fail(fault);
    let second = store.commit(&ops(1), op_id(1), None);
    let any = disk::failed() > 0;
    disk::heal();
    match second {
        Ok(second) => assert_eq!((second.revision, second.again), (first.revision, true), "{fault:?}"),
        Err(CommitError::Unknown(_)) => {}
        Err(other) => panic!("{fault:?}: {other:?}"),
    }
    let again = store.commit(&ops(1), op_id(1), None).unwrap();
    assert_eq!((again.revision, again.again), (first.revision, true), "{fault:?}: later");
    any
}
