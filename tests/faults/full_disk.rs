//! A disk that is full: commits say so, everything stays readable, and room that was promised is there.
//!
//! The disk is a small tmpfs, mounted in a mount namespace of its own where nobody else sees it. That needs root, so without
//! it these tests fail.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kmsfs::sealed::Sealed;
use kmsfs::store::{CommitError, Expect, Op, Reservation, SqliteStore, Store};

use super::rows::{contents, noise, op_id, place, put, put_value, put_wrap, row};

/// Names the mount point for the half that runs in the namespace.
const DISK: &str = "KMSFS_TEST_FULL_DISK";
/// A value as large as they come, sealed.
const VALUE: usize = 30_720 + 1024;
/// The reserve that stands for changes which make room, in bytes.
const RESERVE: u64 = 2 * 1024 * 1024;

/// Runs the ignored test `half` where a mount is seen by nobody else.
fn in_a_namespace(half: &str) {
    let _alone = super::alone();
    assert!(rustix::process::geteuid().is_root(), "this test mounts a small disk of its own: run it as root");
    let scratch = tempfile::tempdir().unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("full_disk::{half}"), "--nocapture"])
        .env(DISK, scratch.path())
        .output()
        .expect("unshare(1) of util-linux is there");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("1 passed"), "{half}:\n{out}\n{err}");
}

/// A disk of `mib` MiB.
fn mount(mib: u64) -> PathBuf {
    let point = PathBuf::from(std::env::var_os(DISK).expect("the test outside names a mount point"));
    let size = std::ffi::CString::new(format!("size={mib}m")).unwrap();
    rustix::mount::mount("tmpfs", &point, "tmpfs", rustix::mount::MountFlags::empty(), size.as_c_str()).unwrap();
    point
}

/// Fills the disk to the last byte, so that the returned file holds all that was free.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::options().create(true).append(true).open(&path).unwrap();
    for len in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
    path
}

fn ops(n: u32) -> [Op; 2] {
    [put_value(row(70, n), noise(u64::from(n), VALUE)), put_wrap(row(70, n), noise(u64::from(n), 101))]
}

fn commit(store: &SqliteStore, n: u32, room: Option<Reservation>) -> Result<(), CommitError> {
    store.commit(&ops(n), op_id(u64::from(n)), room).map(|_| ())
}

/// Commits values from `from` on until the disk is full; the number that did not fit.
fn commit_until_full(store: &SqliteStore, from: u32) -> u32 {
    for n in from.. {
        match commit(store, n, None) {
            Ok(()) => {}
            Err(CommitError::Full) => return n,
            Err(other) => panic!("value {n}: {other:?}"),
        }
    }
    unreachable!("no disk takes them all")
}

/// Every value from 1 up to `end` is there, whole, and no other.
fn whole(store: &SqliteStore, end: u32) {
    let found = contents(store).unwrap();
    assert_eq!((found.values.len(), found.wraps.len()), (end as usize - 1, end as usize - 1));
    for n in 1..end {
        assert_eq!(store.value(row(70, n)).unwrap(), Some(Sealed::from_bytes(noise(u64::from(n), VALUE))));
    }
}

#[test]
fn a_full_disk_is_said_and_survived() {
    in_a_namespace("fills_up");
}

#[test]
#[ignore = "the other half of `a_full_disk_is_said_and_survived`"]
fn fills_up() {
    let disk = mount(8);
    let store = SqliteStore::create(&disk.join("store")).unwrap();
    commit(&store, 1, None).unwrap();
    let filler = fill(&disk);
    let end = commit_until_full(&store, 2);
    for again in 0..3 {
        assert!(matches!(commit(&store, end, None), Err(CommitError::Full)), "time {again}");
        whole(&store, end);
    }
    assert_eq!(store.status().read_only, None);
    assert_eq!(store.committed(op_id(u64::from(end))).unwrap(), None);
    fs::remove_file(filler).unwrap();
    commit(&store, end, None).unwrap();
    whole(&store, end + 1);
    store.check().unwrap();
    store.shred().unwrap();
    drop(store);
    whole(&SqliteStore::open(&disk.join("store")).unwrap(), end + 1);
}

#[test]
fn room_that_was_promised_is_there() {
    in_a_namespace("promises");
}

#[test]
#[ignore = "the other half of `room_that_was_promised_is_there`"]
fn promises() {
    let disk = mount(16);
    let store = SqliteStore::create(&disk.join("store")).unwrap();
    commit(&store, 1, None).unwrap();
    let rooms: Vec<Reservation> = (0..4).map(|_| store.reserve(VALUE).unwrap()).collect();
    let filler = fill(&disk);
    let mut n = commit_until_full(&store, 2);
    assert!(matches!(store.reserve(VALUE), Err(CommitError::Full)), "what is promised is not promised twice");
    for room in rooms {
        commit(&store, n, Some(room)).unwrap();
        n += 1;
    }
    whole(&store, n);
    let end = commit_until_full(&store, n);
    whole(&store, end);
    let before = store.status().free_bytes;
    fill(&disk);
    assert!(matches!(store.reserve(VALUE), Err(CommitError::Full)));
    assert!(store.status().free_bytes <= before, "a promise that was refused keeps nothing");
    assert_eq!(fs::metadata(disk.join("store/ballast")).unwrap().len(), RESERVE);
    fs::remove_file(filler).unwrap();
    drop(store.reserve(VALUE).unwrap());
    commit(&store, end, None).unwrap();
}

#[test]
fn a_store_opens_on_a_disk_that_a_dead_process_filled() {
    in_a_namespace("reopens");
}

#[test]
#[ignore = "the other half of `a_store_opens_on_a_disk_that_a_dead_process_filled`"]
fn reopens() {
    let disk = mount(8);
    let dir = disk.join("store");
    let store = SqliteStore::create(&dir).unwrap();
    commit(&store, 1, None).unwrap();
    // As if the process had died with the promise: nobody gives the room back.
    std::mem::forget(store.reserve(VALUE).unwrap());
    drop(store);
    fill(&disk);
    let store = SqliteStore::open(&dir).unwrap();
    whole(&store, 2);
    commit(&store, 2, None).unwrap();
    whole(&store, 3);
}

#[test]
fn a_full_disk_takes_what_makes_room() {
    in_a_namespace("makes_room");
    in_a_namespace("makes_room_for_others");
}

/// Removes value `n`, as a purge does: rows go, and a record is written.
fn remove(store: &SqliteStore, n: u32) -> Result<(), CommitError> {
    let ops = [
        Op::DeleteValue { id: row(70, n) },
        Op::DeleteWrap { id: row(70, n) },
        put(1000 + n, place(64, n.to_le_bytes()[0]), noise(u64::from(n), 600), Expect::Any),
    ];
    store.commit(&ops, op_id(10_000 + u64::from(n)), Some(Reservation::standing())).map(|_| ())
}

#[test]
#[ignore = "a half of `a_full_disk_takes_what_makes_room`"]
fn makes_room() {
    remove_on_full_disk(false);
}

#[test]
#[ignore = "a half of `a_full_disk_takes_what_makes_room`"]
fn makes_room_for_others() {
    remove_on_full_disk(true);
}

/// Removes many values in a row; with `greedy`, somebody else takes at once whatever room comes free.
fn remove_on_full_disk(greedy: bool) {
    let disk = mount(16);
    let store = SqliteStore::create(&disk.join("store")).unwrap();
    for n in 1..=60 {
        commit(&store, n, None).unwrap();
    }
    let filler = fill(&disk);
    let end = commit_until_full(&store, 61);
    assert_eq!(store.status().reserve_missing_bytes, 0, "nothing but such changes touches it");
    for n in 1..=30 {
        remove(&store, n).unwrap_or_else(|error| panic!("the {n}th change: {error}"));
        if greedy {
            fill(&disk);
        }
    }
    store.shred().unwrap();
    if greedy {
        fs::remove_file(filler).unwrap();
    }
    let room = store.reserve(VALUE).expect("an emptied log is room, where nobody else takes it");
    commit(&store, end, Some(room)).unwrap();
    for n in 31..=end {
        assert_eq!(store.value(row(70, n)).unwrap(), Some(Sealed::from_bytes(noise(u64::from(n), VALUE))), "{n}");
    }
    assert_eq!(contents(&store).unwrap().values.len() as u32, end - 30);
    store.check().unwrap();
    drop(store);
    assert_eq!(contents(&SqliteStore::open(&disk.join("store")).unwrap()).unwrap().values.len() as u32, end - 30);
}

#[test]
fn a_reserve_that_is_missing_is_said_and_made_when_there_is_room() {
    in_a_namespace("is_missing");
}

#[test]
#[ignore = "the other half of `a_reserve_that_is_missing_is_said_and_made_when_there_is_room`"]
fn is_missing() {
    let disk = mount(8);
    let dir = disk.join("store");
    drop(SqliteStore::create(&dir).unwrap());
    fs::remove_file(dir.join("ballast")).unwrap();
    let log_and_index = disk.join("index");
    fs::write(&log_and_index, vec![1; 256 * 1024]).unwrap();
    let filler = fill(&disk);
    fs::remove_file(log_and_index).unwrap();
    let store = SqliteStore::open(&dir).unwrap();
    let missing = store.status().reserve_missing_bytes;
    assert!(missing > RESERVE / 2 && missing <= RESERVE, "{missing}");
    fs::remove_file(filler).unwrap();
    commit(&store, 1, None).unwrap();
    assert_eq!(store.status().reserve_missing_bytes, 0);
}
