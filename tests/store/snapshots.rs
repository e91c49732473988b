//! Copies of a whole store: what every engine's hold, and what becomes of SQLite's on a disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kmsfs::store::{Expect, MemoryStore, OpenError, Snapshot, SqliteStore, Store, examine};

use super::conformance::scratch;
use super::rows::{Contents, contents, delete, noise, op_id, place, put, put_value, put_wrap, row};

/// All of it, read in parts.
fn bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < snapshot.len() {
        bytes.extend(snapshot.read_at(bytes.len() as u64, 10_000).unwrap());
    }
    assert_eq!(snapshot.read_at(snapshot.len(), 10).unwrap(), b"");
    assert_eq!(snapshot.read_at(u64::MAX, 10).unwrap(), b"");
    bytes
}

/// A store made of a copy.
fn opened(snapshot: &Snapshot) -> (tempfile::TempDir, SqliteStore) {
    let dir = scratch();
    fs::write(dir.path().join("store.db"), bytes(snapshot)).unwrap();
    examine(&dir.path().join("store.db")).unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    (dir, store)
}

/// Some rows of every kind, some of them gone again.
fn fill(store: &dyn Store) -> Contents {
    for n in 0..40 {
        let id = 70 + n;
        let ops = [
            put(id, place(64, n as u8), noise(u64::from(n), 300), Expect::Absent),
            put_value(row(id, 1), noise(u64::from(n), 100 + 150 * n as usize)),
            put_wrap(row(id, 1), noise(u64::from(n), 101)),
        ];
        store.commit(&ops, op_id(u64::from(n)), None).unwrap();
    }
    let gone = [
        delete(71, Expect::Any),
        kmsfs::store::Op::DeleteValue { id: row(71, 1) },
        kmsfs::store::Op::DeleteWrap { id: row(71, 1) },
    ];
    store.commit(&gone, op_id(99), None).unwrap();
    contents(store).unwrap()
}

fn engines(dir: &Path) -> [Box<dyn Store>; 2] {
    [Box::new(MemoryStore::new()), Box::new(SqliteStore::create(dir).unwrap())]
}

#[test]
fn a_snapshot_is_the_store_as_it_was() {
    let dir = scratch();
    for store in engines(dir.path()) {
        let before = fill(&*store);
        let snapshot = store.snapshot().unwrap();
        store.commit(&[put(71, place(64, 1), "later", Expect::Absent)], op_id(100), None).unwrap();
        let (_dir, copy) = opened(&snapshot);
        assert_eq!(contents(&copy).unwrap(), before, "{}", store.status().engine);
        copy.check().unwrap();
        assert!(copy.committed(op_id(99)).unwrap().is_some(), "and it knows what was carried out");
        assert!(copy.committed(op_id(100)).unwrap().is_none());
        assert!(contents(&*store).unwrap() != before);
        // It takes commits on.
        let again = copy.commit(&[put(71, place(64, 1), "here", Expect::Absent)], op_id(101), None);
        assert_eq!(again.unwrap().revision, store.committed(op_id(100)).unwrap().unwrap());
    }
}

#[test]
fn an_empty_store_can_be_copied() {
    let dir = scratch();
    for store in engines(dir.path()) {
        let (_dir, copy) = opened(&store.snapshot().unwrap());
        assert_eq!(contents(&copy).unwrap().records, []);
    }
}

/// Two rows are always committed together: a copy that has one of them has both, and all of the commits before it.
#[test]
fn commits_go_on_while_a_store_is_copied() {
    let dir = scratch();
    let store = SqliteStore::create(dir.path()).unwrap();
    let (done, told) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                let id = row(70 + n, 1);
                let ops = [put_value(id, noise(1, 3000)), put_wrap(id, noise(2, 101))];
                store.commit(&ops, op_id(u64::from(n)), None).unwrap();
                told.store(u64::from(n) + 1, Ordering::SeqCst);
                if done.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        for _ in 0..10 {
            while told.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let before = told.load(Ordering::SeqCst);
            let (_dir, copy) = opened(&store.snapshot().unwrap());
            let Contents { values, wraps, .. } = contents(&copy).unwrap();
            let ids = |rows: &[kmsfs::store::Row]| rows.iter().map(|row| row.id).collect::<BTreeSet<_>>();
            assert_eq!(ids(&values), ids(&wraps));
            assert!(values.len() as u64 >= before, "what was committed before is in it");
            assert_eq!(values.last().unwrap().id.node.0, 69 + values.len() as u32, "without a gap");
        }
        done.store(true, Ordering::SeqCst);
    });
    let names: BTreeSet<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("snapshot")), "{names:?}");
    store.shred().unwrap();
}

#[test]
fn what_a_dead_process_has_left_of_a_copy_is_removed() {
    let dir = scratch();
    drop(SqliteStore::create(dir.path()).unwrap());
    fs::write(dir.path().join("snapshot.new"), "half").unwrap();
    let store = SqliteStore::open(dir.path()).unwrap();
    assert!(!dir.path().join("snapshot.new").exists());
    drop(store);
}

#[test]
fn what_is_no_copy_is_told() {
    let dir = scratch();
    let store = SqliteStore::create(dir.path()).unwrap();
    fill(&store);
    let whole = bytes(&store.snapshot().unwrap());
    let path = dir.path().join("a copy?#%.db");
    let mut flipped = whole.clone();
    flipped[100..200].fill(0xff);
    for (what, content) in [
        ("nothing", vec![]),
        ("another file", b"#!/bin/sh\n".repeat(50)),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("all but the last byte", whole[..whole.len() - 1].to_vec()),
        ("another schema", flipped),
    ] {
        fs::write(&path, content).unwrap();
        let answer = examine(&path);
        assert!(matches!(answer, Err(OpenError::Damaged(_))), "{what}: {answer:?}");
    }
    let mut newer = whole.clone();
    newer[63] = 9;
    fs::write(&path, newer).unwrap();
    assert!(matches!(examine(&path), Err(OpenError::Newer { found: 9, .. })));
    fs::write(&path, whole).unwrap();
    examine(&path).unwrap();
    assert_eq!(
        fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("a copy"))
            .count(),
        1
    );
}
