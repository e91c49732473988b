//! A process that is killed at any moment has kept every commit that it was told is done.
//!
//! The writer is this very program, started anew for one ignored test; it says each number that was acknowledged on stderr.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kmsfs::store::{Expect, OpenError, SqliteStore, Store};

use super::rows::{contents, noise, op_id, place, put, put_value, put_wrap, row};

/// Names the store for the writer.
const STORE: &str = "KMSFS_TEST_KILLED_STORE";
const KILLS: u64 = 50;
/// The record that counts the commits.
const COUNTER: u32 = 70;

fn value_of(n: u32) -> Vec<u8> {
    noise(u64::from(n), 1 + n as usize * 7919 % 30_000)
}

/// The writer: commits the next numbers until it is killed.
#[test]
#[ignore = "the other half of `no_acknowledged_commit_is_lost`, which starts and kills it"]
fn writer() {
    let dir = PathBuf::from(std::env::var_os(STORE).expect("the killing test names a store"));
    let store = SqliteStore::open(&dir).unwrap();
    let mut n = count(&store);
    loop {
        n += 1;
        let ops = [
            put(COUNTER, place(64, 1), n.to_le_bytes(), Expect::Any),
            put_value(row(100, n), value_of(n)),
            put_wrap(row(100, n), n.to_le_bytes()),
        ];
        store.commit(&ops, op_id(u64::from(n)), None).unwrap();
        eprintln!("{n}");
    }
}

fn count(store: &dyn Store) -> u32 {
    let counter = store.get(kmsfs::id::NodeId(COUNTER)).unwrap();
    counter.map_or(0, |record| u32::from_le_bytes(record.sealed.as_bytes().try_into().unwrap()))
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "killed::writer", "--nocapture"])
        .env(STORE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a writer that has acknowledged `commits` numbers, some moment later; the last number it was heard to acknowledge.
fn kill_after(dir: &Path, commits: u64, moment: Duration) -> u32 {
    let mut writer = start(dir);
    let mut said = BufReader::new(writer.stderr.take().unwrap());
    let mut last = 0;
    let hear = |said: &mut BufReader<_>| {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        // A number without its end was cut off by the kill.
        line.strip_suffix('\n').map(|number| number.parse::<u32>().unwrap_or_else(|_| panic!("the writer: {number}")))
    };
    for _ in 0..commits {
        last = hear(&mut said).expect("a writer runs until it is killed");
    }
    assert!(matches!(SqliteStore::open(dir), Err(OpenError::InUse(_))), "another process has it");
    // Not to wait for anything: the moment is what the test varies.
    std::thread::sleep(moment);
    writer.kill().unwrap();
    writer.wait().unwrap();
    while let Some(number) = hear(&mut said) {
        last = number;
    }
    last
}

#[test]
fn no_acknowledged_commit_is_lost() {
    let _alone = super::alone();
    let scratch = tempfile::tempdir().unwrap();
    drop(SqliteStore::create(scratch.path()).unwrap());
    for kill in 0..KILLS {
        let random = noise(kill + u64::from(std::process::id()), 3);
        let moment = Duration::from_micros(u64::from(random[0]) * u64::from(random[1]) / 8);
        let acknowledged = kill_after(scratch.path(), 1 + u64::from(random[2] % 24), moment);
        let store = SqliteStore::open(scratch.path()).unwrap();
        let committed = count(&store);
        assert!(
            committed == acknowledged || committed == acknowledged + 1,
            "kill {kill}: {acknowledged} were acknowledged, {committed} are there"
        );
        store.check().unwrap();
        let found = contents(&store).unwrap();
        assert_eq!((found.values.len(), found.wraps.len()), (committed as usize, committed as usize));
        for (value, n) in found.values.iter().zip(1..) {
            assert_eq!((value.id, value.sealed.as_bytes()), (row(100, n), value_of(n).as_slice()), "kill {kill}");
        }
        assert!(store.committed(op_id(u64::from(committed))).unwrap().is_some());
        println!("kill {kill}: {committed} commits, {acknowledged} acknowledged");
    }
}
