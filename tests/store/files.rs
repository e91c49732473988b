//! SQLite's files: opening them, keeping others out, and what becomes of a file that is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kmsfs::store::{Expect, Op, OpenError, SqliteStore, Store, StoreError};

use super::conformance::scratch;
use super::rows::{Contents, contents, noise, op_id, place, put, put_value, put_wrap, row};

const DATABASE: &str = "store.db";
/// Bytes of a page of the database.
const PAGE: usize = 4096;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// A store with some rows of every kind, closed, so that all of it is in one file.
fn filled(dir: &Path) -> Contents {
    let store = SqliteStore::create(dir).unwrap();
    for n in 0..40 {
        let (id, no) = (70 + n, u32::from(n % 3 == 0));
        let ops = [
            put(id, place(64, n as u8), noise(u64::from(n), 300), Expect::Absent),
            put_value(row(id, no), noise(u64::from(n), 100 + 150 * n as usize)),
            put_wrap(row(id, no), noise(u64::from(n), 101)),
        ];
        store.commit(&ops, op_id(u64::from(n)), None).unwrap();
    }
    contents(&store).unwrap()
}

/// Every file of the directory, to the byte.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(dir).unwrap().map(|found| entry(found.unwrap())).collect()
}

/// Changes the database file of a store that is closed.
fn patch(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

/// Opens the store and reads all of it, its structure too.
fn read_whole(dir: &Path) -> Result<Contents, String> {
    let store = SqliteStore::open(dir).map_err(|error| format!("{error:?}"))?;
    let read = contents(&store).and_then(|found| store.check().map(|()| found));
    read.map_err(|error| {
        assert!(matches!(error, StoreError::Damaged(_) | StoreError::Io(_)));
        format!("{error:?}")
    })
}

#[test]
fn a_store_that_is_opened_again_has_everything() {
    let scratch = scratch();
    let before = filled(scratch.path());
    let store = SqliteStore::open(scratch.path()).unwrap();
    assert_eq!(contents(&store).unwrap(), before);
    assert!(store.committed(op_id(39)).unwrap().is_some());
    assert!(store.status().disk_bytes > 0 && store.status().free_bytes > 0);
}

#[test]
fn nobody_else_can_read_the_files() {
    let scratch = scratch();
    let dir = scratch.path().join("made/by/us");
    let store = SqliteStore::create(&dir).unwrap();
    store.commit(&[put_value(row(70, 1), "v")], op_id(1), None).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let names: Vec<String> = files(&dir).into_keys().collect();
    assert_eq!(names, ["ballast", "store.db", "store.db-shm", "store.db-wal", "store.lock"]);
    for name in names {
        let mode = fs::metadata(dir.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_store_is_made_once_and_opened_once() {
    let scratch = scratch();
    let dir = scratch.path();
    assert!(matches!(SqliteStore::open(&dir.join("none")), Err(OpenError::Missing(_))));
    assert!(matches!(SqliteStore::open(dir), Err(OpenError::Missing(_))));
    assert_eq!(files(dir).len(), 0, "looking for a store makes none");
    let store = SqliteStore::create(dir).unwrap();
    assert!(matches!(SqliteStore::open(dir), Err(OpenError::InUse(_))));
    assert!(matches!(SqliteStore::create(dir), Err(OpenError::InUse(_))));
    drop(store);
    assert!(matches!(SqliteStore::create(dir), Err(OpenError::Exists(_))));
    assert!(SqliteStore::open(dir).is_ok());
}

#[test]
fn what_a_dead_process_was_making_is_made_anew() {
    let scratch = scratch();
    for name in ["store.db.new", "store.db.new-wal", "store.db.new-shm"] {
        fs::write(scratch.path().join(name), noise(1, 5000)).unwrap();
    }
    let store = SqliteStore::create(scratch.path()).unwrap();
    assert!(files(scratch.path()).keys().all(|name| !name.contains("new")));
    store.check().unwrap();
}

#[test]
fn the_file_carries_our_marks() {
    let scratch = scratch();
    filled(scratch.path());
    let bytes = fs::read(scratch.path().join(DATABASE)).unwrap();
    assert_eq!(bytes[USER_VERSION_AT..][..4], [0; 4], "format 0");
    assert_eq!(&bytes[APPLICATION_ID_AT..][..4], b"kmsf");
    assert_eq!(bytes[18..20], [2, 2], "write-ahead log");
}

/// A newer program that died before its log was moved into the database: the file alone still has the old format.
#[test]
fn a_newer_format_that_stands_in_the_log_is_named_too() {
    let (made, copied) = (scratch(), scratch());
    filled(made.path());
    let newer = rusqlite::Connection::open(made.path().join(DATABASE)).unwrap();
    newer.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 7").unwrap();
    for name in [DATABASE, "store.db-wal"] {
        fs::copy(made.path().join(name), copied.path().join(name)).unwrap();
    }
    drop(newer);
    let without_lock = || {
        let mut found = files(copied.path());
        found.remove("store.lock");
        found
    };
    let before = without_lock();
    assert_eq!(before[DATABASE][USER_VERSION_AT..][..4], [0; 4], "the file has the old format");
    for _ in 0..2 {
        let opened = SqliteStore::open(copied.path());
        assert!(matches!(opened.err(), Some(OpenError::Newer { found: 7, known: 0 })));
        assert!(without_lock() == before, "a file was made, changed or removed");
    }
}

#[test]
fn a_newer_format_is_named_and_nothing_is_written() {
    let scratch = scratch();
    filled(scratch.path());
    for found in [1, 7, i32::MAX] {
        patch(scratch.path(), |bytes| bytes[USER_VERSION_AT..][..4].copy_from_slice(&found.to_be_bytes()));
        let before = files(scratch.path());
        match SqliteStore::open(scratch.path()).err() {
            Some(OpenError::Newer { found: named, known: 0 }) => assert_eq!(named, i64::from(found)),
            other => panic!("{other:?}"),
        }
        assert_eq!(files(scratch.path()), before);
    }
}

#[test]
fn a_file_that_is_no_store_is_damage() {
    type Patch = fn(&mut Vec<u8>);
    let cases: [(&str, Patch); 8] = [
        ("an empty file", |bytes| bytes.clear()),
        ("half a header", |bytes| bytes.truncate(99)),
        ("SQLite's mark", |bytes| bytes[3] ^= 1),
        ("our mark", |bytes| bytes[APPLICATION_ID_AT] ^= 1),
        ("a page size that is none", |bytes| bytes[16..18].fill(0xff)),
        ("a header alone", |bytes| bytes.truncate(100)),
        ("the first page of zeros", |bytes| bytes[100..PAGE].fill(0)),
        ("the schema of garbage", |bytes| bytes[100..PAGE].copy_from_slice(&noise(1, PAGE - 100))),
    ];
    for (what, change) in cases {
        let scratch = scratch();
        filled(scratch.path());
        patch(scratch.path(), change);
        let answer = SqliteStore::open(scratch.path()).err();
        assert!(matches!(answer, Some(OpenError::Damaged(_))), "{what}: {answer:?}");
    }
}

#[test]
fn tables_that_are_not_ours_are_refused() {
    for statement in [
        "DROP INDEX record_list",
        "DROP TABLE wrap",
        "ALTER TABLE value ADD COLUMN more BLOB",
        "ALTER TABLE value RENAME COLUMN no TO number",
        "CREATE TABLE other (x)",
        "CREATE VIEW other AS SELECT * FROM record",
        "CREATE TRIGGER other AFTER DELETE ON wrap BEGIN DELETE FROM value; END",
    ] {
        let scratch = scratch();
        filled(scratch.path());
        rusqlite::Connection::open(scratch.path().join(DATABASE)).unwrap().execute(statement, []).unwrap();
        let answer = SqliteStore::open(scratch.path()).err();
        assert!(matches!(answer, Some(OpenError::Damaged(_))), "{statement}: {answer:?}");
    }
}

#[test]
fn a_file_cut_anywhere_is_found() {
    let scratch = scratch();
    filled(scratch.path());
    let whole = fs::read(scratch.path().join(DATABASE)).unwrap();
    for pages in 1..whole.len() / PAGE {
        for len in [pages * PAGE, pages * PAGE + 17] {
            fs::write(scratch.path().join(DATABASE), &whole[..len]).unwrap();
            let answer = read_whole(scratch.path());
            assert!(answer.is_err(), "cut to {len} of {}", whole.len());
        }
    }
}

/// SQLite has no checksums: garbage in a page that only holds a part of a value comes back as that value. The seal finds it;
/// whatever the structure rests on is found here.
#[test]
fn a_page_of_garbage_is_an_error_or_a_wrong_seal() {
    let scratch = scratch();
    let before = filled(scratch.path());
    let whole = fs::read(scratch.path().join(DATABASE)).unwrap();
    let mut found = 0;
    for (page, garbage) in (0..whole.len() / PAGE).flat_map(|page| [(page, 0), (page, 1), (page, 2)]) {
        let fill = if garbage == 0 { vec![0; PAGE] } else { noise(garbage + page as u64, PAGE) };
        // The first 100 bytes are the header, which has its own test.
        let from = page * PAGE + if page == 0 { 100 } else { 0 };
        let mut bytes = whole.clone();
        bytes[from..(page + 1) * PAGE].copy_from_slice(&fill[..(page + 1) * PAGE - from]);
        fs::write(scratch.path().join(DATABASE), bytes).unwrap();
        match read_whole(scratch.path()) {
            Err(_) => found += 1,
            Ok(after) => {
                let ids = |contents: &Contents| contents.values.iter().map(|row| row.id).collect::<Vec<_>>();
                assert_eq!((&after.records, &after.wraps, ids(&after)), (&before.records, &before.wraps, ids(&before)));
                assert_ne!(after.values, before.values, "page {page}: nothing shows");
            }
        }
    }
    assert!(found > 0, "no page was found to be damaged");
}

/// A log planted beside the database, or one of another store, is not replayed into it unseen.
#[test]
fn a_garbage_log_is_not_replayed() {
    let scratch = scratch();
    let before = filled(scratch.path());
    fs::write(scratch.path().join("store.db-wal"), noise(3, 3 * PAGE)).unwrap();
    assert_eq!(read_whole(scratch.path()), Ok(before));
}

#[test]
fn a_commit_on_damaged_pages_is_refused_and_kills_nobody() {
    let scratch = scratch();
    filled(scratch.path());
    let whole = fs::read(scratch.path().join(DATABASE)).unwrap();
    for page in 1..whole.len() / PAGE {
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].copy_from_slice(&noise(page as u64, PAGE));
        fs::write(scratch.path().join(DATABASE), bytes).unwrap();
        let Ok(store) = SqliteStore::open(scratch.path()) else { continue };
        for n in 0..40 {
            let ops = [
                put(70 + n, place(65, n as u8), "x", Expect::Any),
                Op::DeleteValue { id: row(70 + n, u32::from(n % 3 == 0)) },
                put_wrap(row(70 + n, 9), "x"),
            ];
            let _ = store.commit(&ops, op_id(1000 + u64::from(n)), None);
        }
    }
}
