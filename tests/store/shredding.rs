//! Shredding: what was deleted is in none of the store's files, looked for byte by byte.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use kmsfs::store::{Expect, Op, SqliteStore, Store};

use super::conformance::scratch;
use super::rows::{delete, noise, op_id, place, put, put_value, put_wrap, row};

/// Bytes of a row that are looked for: too many to be there by chance, few enough to lie in one page.
const LOOKED_FOR: usize = 24;

/// Every file of the store, one behind the other.
fn all_files(dir: &Path) -> Vec<u8> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| fs::read(path).unwrap()).collect()
}

/// Which of `wanted` are in the files, in whole or in a piece: a row may lie in several pages.
pub(super) fn found(dir: &Path, wanted: &[Vec<u8>]) -> Vec<usize> {
    let files = all_files(dir);
    let mut pieces: HashMap<&[u8], usize> = HashMap::new();
    let mut begins = vec![false; 1 << 16];
    let begin = |piece: &[u8]| usize::from(piece[0]) << 8 | usize::from(piece[1]);
    for (at, bytes) in wanted.iter().enumerate() {
        for piece in bytes.chunks_exact(LOOKED_FOR) {
            pieces.insert(piece, at);
            begins[begin(piece)] = true;
        }
    }
    let hits = files.windows(LOOKED_FOR).filter(|window| begins[begin(window)]).filter_map(|window| pieces.get(window));
    hits.copied().collect::<BTreeSet<_>>().into_iter().collect()
}

fn value_of(n: u32) -> Vec<u8> {
    noise(10_000 + u64::from(n), 93 + 37 * (n as usize % 90))
}

fn wrap_of(n: u32) -> Vec<u8> {
    noise(20_000 + u64::from(n), 101)
}

fn record_of(n: u32) -> Vec<u8> {
    noise(30_000 + u64::from(n), 285)
}

/// Wraps come and go in many orders, beside rows of other kinds, so that SQLite has reason to move what it can.
#[test]
fn what_was_shredded_is_in_no_file() {
    let rows = 300;
    let id = |n: u32| row(70 + n / 4, n % 4);
    for order in [1, 7, 151, 299] {
        let scratch = scratch();
        let store = SqliteStore::create(scratch.path()).unwrap();
        for n in (0..rows).map(|n| n * order % rows) {
            let name = place(64 + n / 200, (n % 200) as u8);
            let ops = [
                put(1000 + n, name, record_of(n), Expect::Absent),
                put_value(id(n), value_of(n)),
                put_wrap(id(n), wrap_of(n)),
            ];
            store.commit(&ops, op_id(u64::from(n)), None).unwrap();
        }
        let (kept, gone): (Vec<u32>, Vec<u32>) = (0..rows).partition(|n| n % 7 == 0);
        let wraps = |of: &[u32]| of.iter().map(|n| wrap_of(*n)).collect::<Vec<_>>();
        assert_eq!(found(scratch.path(), &wraps(&gone)).len(), gone.len(), "the search finds what is there");
        let odd = |n: &&u32| *n % 2 == 1;
        for n in gone.iter().filter(odd).rev().chain(gone.iter().filter(|n| !odd(n))) {
            let ops = [delete(1000 + n, Expect::Any), Op::DeleteValue { id: id(*n) }, Op::DeleteWrap { id: id(*n) }];
            store.commit(&ops, op_id(5000 + u64::from(*n)), None).unwrap();
        }
        store.shred().unwrap();
        assert_eq!(found(scratch.path(), &wraps(&kept)).len(), kept.len());
        let left = found(scratch.path(), &wraps(&gone));
        assert!(left.is_empty(), "order {order}: {} of {} wraps are left: {left:?}", left.len(), gone.len());
        let size = store.status().disk_bytes;
        for n in &gone {
            store.commit(&[put_wrap(id(*n), wrap_of(9000 + n))], op_id(9000 + u64::from(*n)), None).unwrap();
        }
        store.shred().unwrap();
        assert_eq!(store.status().disk_bytes, size, "places are used again");
    }
}

/// A value that stands alone goes without a trace. Among others, SQLite may leave a copy of its sealed bytes in a page that it
/// balanced; what makes it unreadable is the wrap.
#[test]
fn a_value_that_was_shredded_is_in_no_file() {
    let scratch = scratch();
    let store = SqliteStore::create(scratch.path()).unwrap();
    for (n, len) in [1_usize, 93, 4_000, 5_000, 31_744].into_iter().enumerate() {
        let (bytes, op) = (noise(n as u64 + 1, len.max(LOOKED_FOR)), 2 * n as u64);
        store.commit(&[put_value(row(70, 1), bytes.clone())], op_id(op), None).unwrap();
        assert_eq!(found(scratch.path(), std::slice::from_ref(&bytes)), [0]);
        store.commit(&[Op::DeleteValue { id: row(70, 1) }], op_id(op + 1), None).unwrap();
        store.shred().unwrap();
        assert!(found(scratch.path(), &[bytes]).is_empty(), "{len} bytes");
    }
}

/// A key that is wrapped anew (a rotation of the master key) leaves no old wrap behind.
#[test]
fn what_was_overwritten_is_in_no_file() {
    let scratch = scratch();
    let store = SqliteStore::create(scratch.path()).unwrap();
    for (round, base) in [(0, 0), (1, 300)] {
        for n in 0..300 {
            let wrap = put_wrap(row(70 + n, 1), wrap_of(base + n));
            store.commit(&[wrap], op_id(u64::from(1000 * round + n)), None).unwrap();
        }
    }
    store.shred().unwrap();
    let old: Vec<Vec<u8>> = (0..300).map(wrap_of).collect();
    let left = found(scratch.path(), &old);
    assert!(left.is_empty(), "{} of {} wraps are left: {left:?}", left.len(), old.len());
}

/// Another thread that is reading cannot make a shredding skip the log.
#[test]
fn readers_do_not_hold_a_shredding_up() {
    let scratch = scratch();
    let store = SqliteStore::create(scratch.path()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                store.value(row(70, 1)).unwrap();
            }
        });
        for n in 0..40 {
            store.commit(&[put_value(row(70, 1), value_of(n))], op_id(u64::from(2 * n)), None).unwrap();
            store.commit(&[Op::DeleteValue { id: row(70, 1) }], op_id(u64::from(2 * n + 1)), None).unwrap();
            store.shred().unwrap();
            assert_eq!(fs::metadata(scratch.path().join("store.db-wal")).unwrap().len(), 0);
            assert!(found(scratch.path(), &[value_of(n)]).is_empty(), "{n}");
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}
