//! What every engine promises, each promise a test that runs over all engines.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kmsfs::id::NodeId;
use kmsfs::store::{
    CommitError, Committed, Expect, Index, MemoryStore, Op, Reservation, Revision, SqliteStore, Status, Store, Table,
};

use super::rows::{contents, delete, noise, op_id, place, put, put_value, put_wrap, row, sealed};

/// A folder that costs no fsync where there is one: durability has tests of its own.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Runs `test` on an empty store of each engine.
fn on_every_engine(test: impl Fn(&dyn Store)) {
    let scratch = scratch();
    let engines: [Box<dyn Store>; 2] =
        [Box::new(MemoryStore::new()), Box::new(SqliteStore::create(scratch.path()).unwrap())];
    for store in engines {
        println!("engine: {}", store.status().engine);
        test(&*store);
        store.check().unwrap();
    }
}

fn commit(store: &dyn Store, n: u64, ops: &[Op]) -> Result<Revision, CommitError> {
    store.commit(ops, op_id(n), None).map(|committed| committed.revision)
}

/// A store's answer, in a form that can be compared.
fn outcome(answer: Result<Revision, CommitError>) -> Result<u64, String> {
    answer.map(|revision| revision.0).map_err(|error| format!("{error:?}"))
}

#[test]
fn an_empty_store_answers_nothing() {
    on_every_engine(|store| {
        assert_eq!(store.get(NodeId(1)).unwrap(), None);
        assert_eq!(store.find(NodeId(1), &Index([0; 16])).unwrap(), None);
        assert_eq!(store.value(row(1, 1)).unwrap(), None);
        assert_eq!(store.wrap(row(1, 1)).unwrap(), None);
        assert_eq!(store.committed(op_id(1)).unwrap(), None);
        let page = store.list(NodeId(1), NodeId(0), 9).unwrap();
        assert_eq!((page.records.len(), page.revision, page.more), (0, Revision(0), false));
        for table in [Table::Records, Table::Values, Table::Wraps] {
            assert_eq!(store.scan(table, None, 9).unwrap(), []);
        }
        store.shred().unwrap();
    });
}

#[test]
fn what_is_committed_is_found_every_way() {
    on_every_engine(|store| {
        let ops = [
            put(70, place(64, 1), "a", Expect::Absent),
            put(71, place(64, 2), "b", Expect::Absent),
            put_value(row(70, 1), "v"),
            put_wrap(row(70, 1), "w"),
        ];
        let revision = commit(store, 1, &ops).unwrap();
        let record = store.get(NodeId(70)).unwrap().unwrap();
        assert_eq!((record.place, record.revision), (place(64, 1), revision));
        assert_eq!(record.sealed, sealed("a"));
        assert_eq!(store.find(NodeId(64), &Index([1; 16])).unwrap(), Some(record));
        assert_eq!(store.find(NodeId(64), &Index([3; 16])).unwrap(), None);
        assert_eq!(store.value(row(70, 1)).unwrap(), Some(sealed("v")));
        assert_eq!(store.wrap(row(70, 1)).unwrap(), Some(sealed("w")));
        assert_eq!(store.value(row(70, 2)).unwrap(), None);
        assert_eq!(store.committed(op_id(1)).unwrap(), Some(revision));
        assert_eq!(contents(store).unwrap().records.len(), 2);
    });
}

#[test]
fn bytes_and_numbers_come_back_as_they_went() {
    on_every_engine(|store| {
        let largest = u32::MAX;
        for (n, len) in [(1, 0), (2, 1), (3, 4096), (4, 32_768), (5, 1_000_000)] {
            let bytes = noise(n, len);
            let at = row(largest - 1, u32::try_from(n).unwrap());
            commit(store, n, &[put_value(at, bytes.clone()), put_wrap(at, bytes.clone())]).unwrap();
            assert_eq!(store.value(at).unwrap().unwrap().as_bytes(), bytes);
            assert_eq!(store.wrap(at).unwrap().unwrap().as_bytes(), bytes);
        }
        commit(store, 9, &[put(largest, place(largest, 255), "x", Expect::Absent)]).unwrap();
        assert_eq!(store.get(NodeId(largest)).unwrap().unwrap().place, place(largest, 255));
        assert_eq!(store.list(NodeId(largest), NodeId(largest - 1), 2).unwrap().records.len(), 1);
    });
}

#[test]
fn revisions_rise_and_mark_what_a_commit_wrote() {
    on_every_engine(|store| {
        let first = commit(store, 1, &[put(70, place(64, 1), "a", Expect::Absent)]).unwrap();
        let second = commit(store, 2, &[put(71, place(64, 2), "b", Expect::Absent)]).unwrap();
        let nothing = commit(store, 3, &[]).unwrap();
        assert!(first < second && second < nothing, "{first:?} {second:?} {nothing:?}");
        assert_eq!(store.get(NodeId(70)).unwrap().unwrap().revision, first);
        assert_eq!(store.get(NodeId(71)).unwrap().unwrap().revision, second);
        assert_eq!(store.list(NodeId(64), NodeId(0), 9).unwrap().revision, nothing);
    });
}

#[test]
fn an_expectation_holds_or_the_commit_conflicts() {
    let old = Expect::Revision(Revision(1));
    let now = Expect::Revision(Revision(2));
    let later = Expect::Revision(Revision(3));
    // (is the record there, at revision 2?, expectation, holds it?)
    let cases = [
        (false, Expect::Absent, true),
        (false, Expect::Any, true),
        (false, now, false),
        (true, Expect::Absent, false),
        (true, Expect::Any, true),
        (true, now, true),
        (true, old, false),
        (true, later, false),
    ];
    for (there, expect, holds) in cases {
        for op in [put(70, place(64, 1), "new", expect), delete(70, expect)] {
            on_every_engine(|store| {
                commit(store, 1, &[]).unwrap();
                let first = if there { vec![put(70, place(64, 1), "old", Expect::Absent)] } else { vec![] };
                assert_eq!(commit(store, 2, &first).unwrap(), Revision(2));
                let answer = outcome(commit(store, 3, std::slice::from_ref(&op)));
                let expected = if holds { Ok(3) } else { Err("Conflict".to_owned()) };
                assert_eq!(answer, expected, "there: {there}, {op:?}");
            });
        }
    }
}

#[test]
fn a_conflict_leaves_everything_as_it_was() {
    on_every_engine(|store| {
        let first = [
            put(70, place(64, 1), "a", Expect::Absent),
            put_value(row(70, 1), "v"),
            put_wrap(row(70, 1), "w"),
            put_wrap(row(70, 2), "w2"),
        ];
        let revision = commit(store, 1, &first).unwrap();
        let before = contents(store).unwrap();
        let steps = [
            put(70, place(64, 5), "changed", Expect::Any),
            put(71, place(64, 2), "new", Expect::Absent),
            Op::DeleteValue { id: row(70, 1) },
            put_value(row(70, 9), "new"),
            put_wrap(row(70, 1), "changed"),
            Op::DeleteWrap { id: row(70, 2) },
        ];
        let failures = [
            put(70, place(64, 1), "x", Expect::Revision(Revision(revision.0 + 7))),
            put(72, place(64, 2), "a name that is taken", Expect::Absent),
            put_value(row(70, 9), "a value that is there"),
            delete(99, Expect::Revision(revision)),
        ];
        for (n, failure) in failures.into_iter().enumerate() {
            let ops: Vec<Op> = steps.iter().cloned().chain([failure]).collect();
            let op = 10 + n as u64;
            assert_eq!(outcome(commit(store, op, &ops)), Err("Conflict".into()), "{n}");
            assert_eq!(contents(store).unwrap(), before, "{n}");
            assert_eq!(store.committed(op_id(op)).unwrap(), None, "{n}");
        }
        assert_eq!(commit(store, 10, &[]).unwrap(), Revision(revision.0 + 1), "an id that failed can be used again");
    });
}

#[test]
fn a_list_has_each_name_once() {
    on_every_engine(|store| {
        commit(store, 1, &[put(70, place(64, 1), "a", Expect::Absent)]).unwrap();
        let conflict = Err("Conflict".to_owned());
        assert_eq!(outcome(commit(store, 2, &[put(71, place(64, 1), "b", Expect::Absent)])), conflict);
        commit(store, 3, &[put(71, place(65, 1), "b", Expect::Absent)]).unwrap();
        assert_eq!(outcome(commit(store, 4, &[put(71, place(64, 1), "b", Expect::Any)])), conflict, "by a move");
        commit(store, 5, &[delete(70, Expect::Any), put(72, place(64, 1), "c", Expect::Absent)]).unwrap();
        assert_eq!(store.find(NodeId(64), &Index([1; 16])).unwrap().unwrap().id, NodeId(72), "free in one commit");
        commit(store, 6, &[put(72, place(64, 1), "c2", Expect::Any)]).unwrap();
        assert_eq!(store.get(NodeId(72)).unwrap().unwrap().sealed, sealed("c2"), "a record keeps its own name");
    });
}

#[test]
fn a_record_moves_between_lists() {
    on_every_engine(|store| {
        commit(store, 1, &[put(70, place(64, 1), "a", Expect::Absent)]).unwrap();
        let moved = commit(store, 2, &[put(70, place(66, 2), "a2", Expect::Revision(Revision(1)))]).unwrap();
        assert_eq!(store.find(NodeId(64), &Index([1; 16])).unwrap(), None);
        assert_eq!(store.list(NodeId(64), NodeId(0), 9).unwrap().records, []);
        let found = store.find(NodeId(66), &Index([2; 16])).unwrap().unwrap();
        assert_eq!((found.id, found.revision, &found.sealed), (NodeId(70), moved, &sealed("a2")));
        assert_eq!(store.list(NodeId(66), NodeId(0), 9).unwrap().records, [found]);
        commit(store, 3, &[put(71, place(64, 1), "b", Expect::Absent)]).unwrap();
    });
}

#[test]
fn values_are_written_once() {
    on_every_engine(|store| {
        commit(store, 1, &[put_value(row(70, 1), "v")]).unwrap();
        assert_eq!(outcome(commit(store, 2, &[put_value(row(70, 1), "v")])), Err("Conflict".into()));
        assert_eq!(store.value(row(70, 1)).unwrap(), Some(sealed("v")));
        let gone = Op::DeleteValue { id: row(70, 1) };
        commit(store, 3, std::slice::from_ref(&gone)).unwrap();
        commit(store, 4, std::slice::from_ref(&gone)).unwrap();
        assert_eq!(store.value(row(70, 1)).unwrap(), None, "deleting what is not there is no error");
        commit(store, 5, &[put_value(row(70, 1), "v2"), gone, put_value(row(70, 1), "v3")]).unwrap();
        assert_eq!(store.value(row(70, 1)).unwrap(), Some(sealed("v3")));
    });
}

#[test]
fn wraps_are_replaced_in_place() {
    on_every_engine(|store| {
        commit(store, 1, &[put_wrap(row(70, 0), "a"), put_wrap(row(70, 1), "b")]).unwrap();
        commit(store, 2, &[put_wrap(row(70, 0), "c")]).unwrap();
        assert_eq!(store.wrap(row(70, 0)).unwrap(), Some(sealed("c")));
        assert_eq!(store.wrap(row(70, 1)).unwrap(), Some(sealed("b")));
        commit(store, 3, &[Op::DeleteWrap { id: row(70, 0) }, Op::DeleteWrap { id: row(71, 0) }]).unwrap();
        assert_eq!(store.wrap(row(70, 0)).unwrap(), None);
        assert_eq!(store.scan(Table::Wraps, None, 9).unwrap().len(), 1);
    });
}

#[test]
fn a_list_comes_in_pages_in_order_of_id() {
    on_every_engine(|store| {
        let ids = [90, 70, 300, 72, 71];
        let ops: Vec<Op> =
            ids.iter().enumerate().map(|(n, id)| put(*id, place(64, n as u8), "x", Expect::Absent)).collect();
        commit(store, 1, &ops).unwrap();
        commit(store, 2, &[put(80, place(65, 0), "of another list", Expect::Absent)]).unwrap();
        // (after, limit, ids, more)
        let cases: [(u32, usize, &[u32], bool); 8] = [
            (0, 2, &[70, 71], true),
            (71, 2, &[72, 90], true),
            (90, 2, &[300], false),
            (0, 5, &[70, 71, 72, 90, 300], false),
            (0, 4, &[70, 71, 72, 90], true),
            (75, usize::MAX, &[90, 300], false),
            (300, 2, &[], false),
            (0, 0, &[], true),
        ];
        for (after, limit, expected, more) in cases {
            let page = store.list(NodeId(64), NodeId(after), limit).unwrap();
            let found: Vec<u32> = page.records.iter().map(|record| record.id.0).collect();
            assert_eq!((found.as_slice(), page.more), (expected, more), "after {after}, {limit} at most");
        }
    });
}

#[test]
fn a_page_is_of_one_revision() {
    on_every_engine(|store| {
        let all = |n: u64| -> Vec<Op> {
            (0..8).map(|id| put(70 + id, place(64, id as u8), n.to_le_bytes(), Expect::Any)).collect()
        };
        commit(store, 1, &all(1)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (2..300).for_each(|n| assert_eq!(commit(store, n, &all(n)).unwrap(), Revision(n)));
                done.store(true, Ordering::SeqCst);
            });
            let mut last = Revision(0);
            while !done.load(Ordering::SeqCst) {
                let page = store.list(NodeId(64), NodeId(0), 99).unwrap();
                assert!(page.records.len() == 8 && page.revision >= last);
                for record in &page.records {
                    assert_eq!(record.revision, page.revision);
                    assert_eq!(record.sealed, sealed(page.revision.0.to_le_bytes()));
                }
                last = page.revision;
            }
        });
    });
}

#[test]
fn a_scan_walks_over_everything() {
    on_every_engine(|store| {
        let mut ops = vec![];
        for node in [70, 71, 300] {
            ops.push(put(node, place(64, node.to_le_bytes()[0]), "r", Expect::Absent));
            for no in [0, 1, 9] {
                ops.extend([put_value(row(node, no), "v"), put_wrap(row(node, no), "w")]);
            }
        }
        commit(store, 1, &ops).unwrap();
        for (table, expected) in [(Table::Records, 3), (Table::Values, 9), (Table::Wraps, 9)] {
            let all = store.scan(table, None, usize::MAX).unwrap();
            assert_eq!(all.len(), expected);
            assert!(all.is_sorted_by_key(|row| row.id), "{table:?}");
            assert!(all.iter().all(|row| row.place.is_some() == (table == Table::Records)));
            for limit in 1..=expected {
                let (mut walked, mut after) = (Vec::new(), None);
                loop {
                    let page = store.scan(table, after, limit).unwrap();
                    let Some(last) = page.last() else { break };
                    after = Some(last.id);
                    walked.extend(page);
                }
                assert_eq!(walked, all, "{table:?}, {limit} at a time");
            }
        }
    });
}

#[test]
fn a_commit_that_comes_again_happens_once() {
    on_every_engine(|store| {
        let ops = [put(70, place(64, 1), "a", Expect::Absent), put_value(row(70, 1), "v")];
        let first = commit(store, 1, &ops).unwrap();
        commit(store, 2, &[delete(70, Expect::Any)]).unwrap();
        let again = store.commit(&ops, op_id(1), None).unwrap();
        assert_eq!(again, Committed { revision: first, again: true }, "the same answer");
        assert!(!store.commit(&[], op_id(3), None).unwrap().again);
        assert_eq!(store.get(NodeId(70)).unwrap(), None, "and no effect");
        let (Status { max_ops, .. }, other) = (store.status(), Op::DeleteWrap { id: row(1, 1) });
        let too_many = vec![other; max_ops + 1];
        assert_eq!(outcome(commit(store, 1, &too_many)), Ok(first.0), "whatever it brings");
        assert_eq!(store.list(NodeId(64), NodeId(0), 1).unwrap().revision, Revision(3));
    });
}

#[test]
fn the_last_4096_commits_are_remembered() {
    on_every_engine(|store| {
        for n in 1..=4_100 {
            assert_eq!(commit(store, n, &[]).unwrap(), Revision(n));
        }
        for (n, remembered) in [(1, false), (4, false), (5, true), (4_100, true)] {
            let expected = remembered.then_some(Revision(n));
            assert_eq!(store.committed(op_id(n)).unwrap(), expected, "{n}");
        }
        assert_eq!(commit(store, 5, &[]).unwrap(), Revision(5));
        assert_eq!(commit(store, 4, &[]).unwrap(), Revision(4_101), "a forgotten one is new");
    });
}

#[test]
fn what_is_too_large_is_refused_whole() {
    on_every_engine(|store| {
        let Status { max_ops, max_commit_bytes, read_only, .. } = store.status();
        assert_eq!(read_only, None);
        let wraps = |count: usize| -> Vec<Op> {
            (0..count).map(|no| put_wrap(row(70, u32::try_from(no).unwrap()), "w")).collect()
        };
        assert_eq!(outcome(commit(store, 1, &wraps(max_ops + 1))), Err("TooLarge".into()));
        let bytes =
            |len: usize| [put_value(row(71, 1), vec![7; len / 2]), put_wrap(row(71, 1), vec![7; len - len / 2])];
        assert_eq!(outcome(commit(store, 2, &bytes(max_commit_bytes + 1))), Err("TooLarge".into()));
        assert_eq!(store.scan(Table::Wraps, None, 9).unwrap(), []);
        commit(store, 3, &wraps(max_ops)).unwrap();
        commit(store, 4, &bytes(max_commit_bytes)).unwrap();
        assert_eq!(store.scan(Table::Wraps, None, usize::MAX).unwrap().len(), max_ops + 1);
    });
}

#[test]
fn room_can_be_taken_and_given_back() {
    on_every_engine(|store| {
        drop(store.reserve(30_720).unwrap());
        let (first, second) = (store.reserve(30_720).unwrap(), store.reserve(0).unwrap());
        store.commit(&[put_value(row(70, 1), "v")], op_id(1), Some(second)).unwrap();
        store.commit(&[put_value(row(70, 2), "v")], op_id(2), Some(first)).unwrap();
        store.commit(&[put_value(row(70, 3), "v")], op_id(3), Some(Reservation::none())).unwrap();
        assert_eq!(store.scan(Table::Values, None, 9).unwrap().len(), 3);
    });
}
