//! Random commits on SQLite and on the memory engine: the same answers, and the same store after each of them.

use kmsfs::id::NodeId;
use kmsfs::store::{Expect, MemoryStore, Op, Revision, SqliteStore, Store};
use proptest::prelude::*;

use super::conformance::scratch;
use super::rows::{contents, delete, op_id, place, put, put_value, put_wrap, row};

#[derive(Debug, Clone)]
enum Step {
    /// A commit under an id out of few, so that some come again.
    Commit {
        op: u64,
        ops: Vec<Op>,
    },
    /// The SQLite store is closed and opened again.
    Reopen,
    Shred,
}

fn expectation() -> impl Strategy<Value = Expect> {
    prop_oneof![
        2 => Just(Expect::Absent),
        3 => Just(Expect::Any),
        3 => (0..12u64).prop_map(|n| Expect::Revision(Revision(n))),
    ]
}

/// Few ids, lists and names, so that operations meet.
fn operation() -> impl Strategy<Value = Op> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..6);
    let at = || (0..4u32, 1..4u32).prop_map(|(node, no)| row(70 + node, no));
    prop_oneof![
        4 => (70..76u32, 64..67u32, 0..4u8, bytes(), expectation())
            .prop_map(|(id, list, name, bytes, expect)| put(id, place(list, name), bytes, expect)),
        1 => (70..76u32, expectation()).prop_map(|(id, expect)| delete(id, expect)),
        2 => (at(), bytes()).prop_map(|(at, bytes)| put_value(at, bytes)),
        1 => at().prop_map(|id| Op::DeleteValue { id }),
        2 => (at(), bytes()).prop_map(|(at, bytes)| put_wrap(at, bytes)),
        1 => at().prop_map(|id| Op::DeleteWrap { id }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..30u64, proptest::collection::vec(operation(), 0..5)).prop_map(|(op, ops)| Step::Commit { op, ops }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Shred),
    ]
}

fn agree(sqlite: &dyn Store, memory: &dyn Store) -> Result<(), TestCaseError> {
    prop_assert_eq!(contents(sqlite).unwrap(), contents(memory).unwrap());
    for parent in 64..67 {
        for (after, limit) in [(0, 2), (71, 2), (0, 9)] {
            let list = |store: &dyn Store| store.list(NodeId(parent), NodeId(after), limit).unwrap();
            prop_assert_eq!(list(sqlite), list(memory));
        }
    }
    for op in 0..30 {
        prop_assert_eq!(sqlite.committed(op_id(op)).unwrap(), memory.committed(op_id(op)).unwrap());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_the_reference_does(steps in proptest::collection::vec(step(), 1..24)) {
        let scratch = scratch();
        let memory = MemoryStore::new();
        let mut sqlite = SqliteStore::create(scratch.path()).unwrap();
        for step in steps {
            match step {
                Step::Commit { op, ops } => {
                    let answer = |store: &dyn Store| format!("{:?}", store.commit(&ops, op_id(op), None));
                    prop_assert_eq!(answer(&sqlite), answer(&memory));
                }
                Step::Reopen => {
                    drop(sqlite);
                    sqlite = SqliteStore::open(scratch.path()).unwrap();
                }
                Step::Shred => sqlite.shred().unwrap(),
            }
            agree(&sqlite, &memory)?;
        }
        sqlite.check().unwrap();
    }
}
