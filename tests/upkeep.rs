//! What an unlocked store does beside the verbs: shredding that failed is tried again, and a scrub finds what is missing or
//! old.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod engine;
mod room;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use engine::{Engine, Moment};
use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::sealed::Sealed;
use kmsfs::secret::{Component, InstanceName};
use kmsfs::store::{Expect, MemoryStore, Op, Record, RowId, Store, StoreError, Table};
use kmsfs::value::Value;
use kmsfs::vault::{Caller, Draft, Owner, SCRUB_PAGE, SCRUB_TRIES, Vault, VaultError, init, unlock};
use room::{Room, is_root};
use serde_json::Value as Json;

/// A verb that takes longer waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(20);
const KEY: Source<'static> = Source::KeyFile(&[1; 32]);

/// A caller whose request has an id of its own.
fn caller() -> Caller {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    Caller {
        uid: 0,
        gid: 0,
        tid: 0,
        op: OpId(u128::from(REQUESTS.fetch_add(1, Ordering::SeqCst)).to_le_bytes()),
        gesture: "test",
        account: None,
        by: Default::default(),
    }
}

fn vault_on(store: Arc<dyn Store>) -> Vault {
    init(&*store, &KEY, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    unlock(store, &KEY).unwrap()
}

/// The instance `prod`, made where it is missing.
fn prod(vault: &Vault) -> NodeId {
    let name = InstanceName::parse(b"prod").unwrap();
    match vault.instance_named(&name).unwrap() {
        Some(instance) => instance.id(),
        None => vault.make_instance(caller(), name, 0o755).unwrap().id(),
    }
}

/// The secret `prod/NAME` with one version.
fn secret(vault: &Vault, name: &str) -> NodeId {
    let name = Component::parse(name.as_bytes()).unwrap();
    let directory = vault.make_directory(caller(), prod(vault), &name, 0o750).unwrap();
    let id = vault.secret_of(&directory).unwrap().id();
    put(vault, id);
    id
}

fn put(vault: &Vault, id: NodeId) {
    let value = Value::copy_of(b"a value");
    let draft = Draft::of(&value);
    vault.put_value(caller(), id, draft).unwrap();
}

/// A secret that was purged while the log could not be emptied.
fn purged_while_stuck() -> (Arc<Engine>, Vault, NodeId) {
    let store = Arc::new(Engine::default());
    let vault = vault_on(store.clone());
    let id = secret(&vault, "password");
    vault.schedule_deletion(caller(), id).unwrap();
    store.fail(Moment::Shredding);
    vault.purge(caller(), id).unwrap();
    (store, vault, id)
}

/// A purge that is committed is done, though the log cannot be emptied; that is tried again.
#[test]
fn a_purge_is_done_though_its_shredding_is_owed() {
    let (store, vault, id) = purged_while_stuck();
    assert!(vault.node(id).unwrap().is_none() && vault.owes_shredding());
    vault.shred_what_is_owed();
    assert!(vault.owes_shredding());
    store.heal();
    vault.shred_what_is_owed();
    assert!(!vault.owes_shredding());
    // Who removes a slot hears of it, since nobody tries again once that command has ended.
    vault.add_slot(&Source::KeyFile(&[2; 32]), KdfParams::LEAST).unwrap();
    store.fail(Moment::Shredding);
    assert!(matches!(vault.remove_slot(0), Err(VaultError::Store(StoreError::Io(_)))));
    assert_eq!(vault.slots().unwrap().len(), 1);
}

/// Between a purge's commit and its shredding a process may die: the next one owes it.
#[test]
fn a_process_that_died_leaves_its_shredding_to_the_next() {
    let (store, vault, _) = purged_while_stuck();
    drop(vault);
    let vault = unlock(store.clone(), &KEY).unwrap();
    assert!(vault.owes_shredding());
    store.heal();
    vault.shred_what_is_owed();
    assert!(!vault.owes_shredding());
    assert!(!unlock(store, &KEY).unwrap().owes_shredding());
}

/// As many secrets as fill a few pages of every table, each with two versions.
fn many(vault: &Vault) -> Vec<NodeId> {
    let ids: Vec<_> = (0..3 * SCRUB_PAGE).map(|n| secret(vault, &format!("s{n}"))).collect();
    ids.iter().for_each(|id| put(vault, *id));
    ids
}

fn problems(vault: &Vault) -> Vec<String> {
    vault.scrub(|| true).unwrap().problems
}

/// Commits before, in and behind the rows that were passed do not disturb a pass.
#[test]
fn a_scrub_goes_on_among_commits() {
    let vault = vault_on(Arc::new(MemoryStore::new()));
    let ids = many(&vault);
    assert_eq!(problems(&vault), [] as [&str; 0]);
    let mut pages = 0;
    let report = vault.scrub(|| {
        // The first secrets stand in pages that are passed early, the last ones in pages that are passed late.
        for id in [ids[pages], ids[ids.len() - 1 - pages]] {
            (0..12).for_each(|_| put(&vault, id));
            vault.schedule_deletion(caller(), id).unwrap();
            if pages % 2 == 0 { vault.purge(caller(), id) } else { vault.restore_in_place(caller(), id) }.unwrap();
        }
        secret(&vault, &format!("new{pages}"));
        pages += 1;
        true
    });
    assert!(pages > 10, "{pages} pages are too few to be among");
    assert_eq!(report.unwrap().problems, [] as [&str; 0]);
    assert_eq!(vault.verify().unwrap().problems, [] as [&str; 0]);
    assert_eq!((vault.scrubbed().passes, vault.scrubbed().problems), (2, 0));
}

/// What is done to the files, and what the scrub says of it, though commits come between its pages.
#[test]
fn a_scrub_finds_what_is_missing_or_old() {
    type Harm = fn(&dyn Store, &[Record]) -> Op;
    let cases: [(&str, Harm, &str); 6] = [
        ("an older record is put back", |_, old| record_op(&old[5]), "the set digest differs"),
        ("a record is removed", |_, old| Op::DeleteRecord { id: old[5].id, expect: Expect::Any }, "the set digest"),
        ("a value is removed", |_, old| Op::DeleteValue { id: RowId { node: old[5].id, no: 1 } }, "a value is missing"),
        (
            "a key is removed",
            |_, old| Op::DeleteWrap { id: RowId { node: old[5].id, no: 2 } },
            "a wrapped key is missing",
        ),
        (
            "a record is altered",
            |_, old| record_op(&Record { sealed: Sealed::from_bytes(vec![0; 93]), ..old[5].clone() }),
            "record ",
        ),
        (
            "a slot is put back",
            |store, _| {
                let slot = store.get(NodeId::FIRST_SLOT).unwrap().unwrap();
                let at = NodeId(NodeId::FIRST_SLOT.0 + 1);
                let mut place = slot.place;
                place.index.0[15] += 1;
                record_op(&Record { id: at, place, ..slot })
            },
            "unlock slot 1 is none that the store has",
        ),
    ];
    for (what, harm, said) in cases {
        let store = Arc::new(MemoryStore::new());
        let vault = vault_on(store.clone());
        let ids = many(&vault);
        let old: Vec<_> = ids.iter().map(|id| store.get(*id).unwrap().unwrap()).collect();
        ids.iter().for_each(|id| put(&vault, *id));
        store.commit(&[harm(&*store, &old)], caller().op, None).unwrap();
        let mut rest = ids.iter().skip(SCRUB_PAGE);
        let found = vault.scrub(|| {
            rest.next().into_iter().for_each(|id| put(&vault, *id));
            true
        });
        let problems = found.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains(said)), "{what}: {problems:#?}");
        assert_eq!(vault.scrubbed().problems, problems.len(), "{what}");
    }
}

/// An error of the disk is none of the store: it is told apart, and what was not read is looked at again.
#[test]
fn a_disk_that_cannot_be_read_is_no_damage() {
    let store = Arc::new(Engine::default());
    let vault = vault_on(store.clone());
    let ids = many(&vault);
    let tables = [Table::Records, Table::Wraps, Table::Values].map(|table| (Moment::Scanning(table), true));
    let row = (Moment::ReadingValue(RowId { node: ids[40], no: 2 }), false);
    for (fault, takes_a_pass) in tables.into_iter().chain([row]) {
        store.fail(fault);
        let report = vault.scrub(|| true).unwrap();
        assert_eq!(report.problems, [] as [&str; 0], "{fault:?}");
        assert_eq!(report.unread.len(), 1, "{fault:?}: {:?}", report.unread);
        vault.scrub_unread();
        assert_eq!((vault.scrubbed().problems, vault.scrubbed().unread), (0, 1), "{fault:?}: it fails still");
        assert!(!vault.verify().unwrap().problems.is_empty(), "{fault:?}: who verifies wants to know");
        store.heal();
        vault.scrub_unread();
        assert_eq!(vault.scrubbed().unread, usize::from(takes_a_pass), "{fault:?}");
        assert_eq!((problems(&vault), vault.scrubbed().unread), (vec![], 0), "{fault:?}");
    }
}

/// What could not be read was damaged too.
#[test]
fn what_was_not_read_may_be_damaged() {
    let store = Arc::new(Engine::default());
    let vault = vault_on(store.clone());
    let id = secret(&vault, "password");
    let row = RowId { node: id, no: 1 };
    store.fail(Moment::ReadingValue(row));
    assert_eq!(problems(&vault), [] as [&str; 0]);
    store.lose(&[Op::DeleteValue { id: row }]);
    store.heal();
    vault.scrub_unread();
    assert_eq!((vault.scrubbed().problems, vault.scrubbed().unread), (1, 0));
}

/// Who scrubs is slow: no verb waits until it has read a page. Where commits come each time it has, it is let read at last.
#[test]
fn verbs_do_not_wait_for_a_scrub() {
    let store = Arc::new(Engine::default());
    let vault = Arc::new(vault_on(store.clone()));
    let ids = many(&vault);
    for table in [Table::Records, Table::Wraps, Table::Values] {
        for (moment, times) in [(Moment::Scanning(table), 1), (Moment::Scanned(table), SCRUB_TRIES)] {
            for id in &ids[..times] {
                let (vault, id) = (vault.clone(), *id);
                store.at(moment, move || {
                    let (tell, told) = channel();
                    thread::spawn(move || {
                        put(&vault, id);
                        tell.send(()).unwrap();
                    });
                    told.recv_timeout(PATIENCE).expect("a verb waits for the scrub");
                });
            }
            assert_eq!(problems(&vault), [] as [&str; 0], "{table:?}");
            assert!(store.is_done(), "{table:?}");
        }
    }
}

/// The row of a record, written past the vault.
fn record_op(record: &Record) -> Op {
    Op::PutRecord { id: record.id, place: record.place, sealed: record.sealed.clone(), expect: Expect::Any }
}

#[test]
fn a_scrub_ends_when_it_is_told_to() {
    let vault = vault_on(Arc::new(MemoryStore::new()));
    many(&vault);
    let mut pages = 0;
    assert!(
        vault
            .scrub(|| {
                pages += 1;
                pages < 3
            })
            .is_none()
    );
    assert_eq!((pages, vault.scrubbed().passes), (3, 0));
    assert_eq!(problems(&vault), [] as [&str; 0]);
}

/// What the mount's status says once a pass has come to its end: health, and problems found.
fn scrubbed(room: &Room) -> (String, u64) {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let status: Json = serde_json::from_slice(&fs::read(room.at("M/.kmsfs/status")).unwrap()).unwrap();
        if status["scrub"]["passes"] != 0 {
            assert!(status["scrub"]["last"].is_string());
            return (status["health"].as_str().unwrap().to_owned(), status["scrub"]["problems"].as_u64().unwrap());
        }
        assert!(Instant::now() < until, "no pass has come to its end: {status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The mount itself finds it, without a `verify` and without a reader, and says so where monitors look.
#[test]
fn a_running_mount_finds_an_older_record() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let room = Room::new();
    let mount = "mount --store store --key-file key --anchor anchor --log log M";
    let shell = |script: &str| {
        let ran = Command::new("sh").args(["-ec", script]).current_dir(room.at("")).status().unwrap();
        assert!(ran.success(), "{script}");
    };
    room.init();
    fs::create_dir(room.at("M")).unwrap();
    room.kmsfs(mount).expect(0);
    shell("mkdir -p M/prod/db; echo one > M/prod/db/current; echo v > M/prod/db/versions/other");
    room.kmsfs("umount M").expect(0);
    let database = || rusqlite::Connection::open(room.at("store/store.db")).unwrap();
    let older: Vec<(u32, Vec<u8>)> = {
        let database = database();
        let mut rows = database.prepare("SELECT id, sealed FROM record WHERE id >= 16").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    room.kmsfs(mount).expect(0);
    shell("ln -sfn ../versions/v1 M/prod/db/stages/ACSCurrent");
    // A sound store is found to be.
    assert_eq!(scrubbed(&room), ("ok".to_owned(), 0));
    room.kmsfs("umount M").expect(0);
    for (id, sealed) in older {
        database().execute("UPDATE record SET sealed = ?2 WHERE id = ?1", rusqlite::params![id, sealed]).unwrap();
    }
    room.kmsfs(mount).expect(0);
    shell("test $(cat M/prod/db/current) = v");
    assert_eq!(scrubbed(&room), ("damaged".to_owned(), 1));
    assert!(fs::read_to_string(room.at("log")).unwrap().contains("the set digest differs"));
    room.kmsfs("umount M").expect(0);
}
