//! An engine that cannot tell for a while what came of a commit: the vault makes no change on top of what it does not know,
//! goes on reading, and takes the store for what it turns out to be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod engine;
mod room;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use engine::{Engine, Mood};
use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::{Component, InstanceName, Tags};
use kmsfs::store::{CommitError, Expect, Op, Row, Store, Table};
use kmsfs::value::Value;
use kmsfs::vault::{Anchor, Caller, Draft, Owner, Vault, VaultError, init, unlock};
use room::{Room, is_root};
use serde_json::Value as Json;

const KEY: Source<'static> = Source::KeyFile(&[1; 32]);

fn caller(op: u8) -> Caller {
    Caller { uid: 0, gid: 0, tid: 0, op: OpId([op; 16]), gesture: "test", account: None, by: Default::default() }
}

/// A vault with a secret that has one version and the tag `a=1`.
fn secret() -> (Arc<Engine>, Vault, NodeId) {
    let store = Arc::new(Engine::default());
    init(&*store, &KEY, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let vault = unlock(store.clone(), &KEY).unwrap();
    let instance = vault.make_instance(caller(1), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap();
    let name = Component::parse(b"password").unwrap();
    let directory = vault.make_directory(caller(2), instance.id(), &name, 0o750).unwrap();
    let id = vault.secret_of(&directory).unwrap().id();
    put(&vault, 3, id);
    tag(&vault, 4, id, "a=1").unwrap();
    (store, vault, id)
}

fn put(vault: &Vault, op: u8, secret: NodeId) {
    let value = Value::copy_of(&[op]);
    let draft = Draft::of(&value);
    vault.put_value(caller(op), secret, draft).unwrap();
}

fn tag(vault: &Vault, op: u8, secret: NodeId, text: &str) -> Result<(), VaultError> {
    vault.set_tags(caller(op), secret, Tags::parse_file(text.as_bytes()).unwrap()).map(|_| ())
}

fn tags(vault: &Vault, secret: NodeId) -> String {
    vault.node(secret).unwrap().unwrap().as_secret().unwrap().secret.tags.render()
}

#[test]
fn a_commit_that_is_not_known_stops_changes_until_it_is() {
    for (mood, expected) in [(Mood::CarriesOut, "a=2\n"), (Mood::CarriesNothingOut, "a=1\n")] {
        let (store, vault, id) = secret();
        store.be(mood);
        assert!(matches!(tag(&vault, 5, id, "a=2"), Err(VaultError::Commit(CommitError::Unknown(_)))));
        for again in [6, 7] {
            assert!(matches!(tag(&vault, again, id, "a=3"), Err(VaultError::Commit(CommitError::Unavailable(_)))));
            assert!(vault.store_status().read_only.is_some());
            assert_eq!(tags(&vault, id), "a=1\n", "reading goes on");
        }

        store.be(Mood::Well);
        assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new());
        assert_eq!(vault.store_status().read_only, None);
        assert_eq!(tags(&vault, id), expected);
        tag(&vault, 8, id, "a=4").unwrap();
        assert_eq!(tags(&vault, id), "a=4\n");
        assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new());
    }
}

/// A request of before comes again, and the engine cannot tell that it has done nothing.
#[test]
fn a_request_that_comes_again_may_be_the_one_that_is_not_known() {
    let (store, vault, id) = secret();
    tag(&vault, 5, id, "a=2").unwrap();
    store.be(Mood::CarriesOut);
    assert!(matches!(tag(&vault, 4, id, "a=1"), Err(VaultError::Commit(CommitError::Unknown(_)))));
    store.be(Mood::Well);
    tag(&vault, 8, id, "a=4").unwrap();
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new());
}

/// The rows of a commit that is not known are there or not; either way the store is sound, and a scrub says so.
/// What it deleted is still in the engine's log, for all that anybody knows.
#[test]
fn a_purge_that_was_not_known_is_shredded_too() {
    let (store, vault, id) = secret();
    vault.schedule_deletion(caller(5), id).unwrap();
    assert!(!vault.owes_shredding());
    store.be(Mood::CarriesOut);
    vault.purge(caller(6), id).unwrap_err();
    store.be(Mood::Well);
    vault.shred_what_is_owed();
    // Any verb clears it up.
    vault.make_instance(caller(7), InstanceName::parse(b"test").unwrap(), 0o755).unwrap();
    assert!(vault.node(id).unwrap().is_none() && vault.owes_shredding());
    vault.shred_what_is_owed();
    assert!(!vault.owes_shredding());
}

#[test]
fn a_scrub_compares_nothing_while_the_head_is_in_doubt() {
    for mood in [Mood::CarriesOut, Mood::CarriesNothingOut] {
        for (from, to) in [(0, u8::MAX), (0, 2), (2, u8::MAX)] {
            let (store, vault, id) = secret();
            let mut page = 0;
            let report = vault.scrub(|| {
                if page == from {
                    store.be(mood);
                    assert!(tag(&vault, 10, id, "a=2").is_err());
                    vault.add_slot(&Source::KeyFile(&[2; 32]), KdfParams::LEAST).unwrap_err();
                }
                if page == to {
                    store.be(Mood::Well);
                    tag(&vault, 11, id, "a=3").unwrap();
                }
                page += 1;
                true
            });
            assert_eq!(report.unwrap().problems, [] as [&str; 0], "{mood:?}, from page {from} to page {to}");
            store.be(Mood::Well);
            assert_eq!(vault.scrub(|| true).unwrap().problems, [] as [&str; 0], "{mood:?}");
            assert_eq!(vault.scrubbed().problems, 0);
        }
    }
    // A slot that is there before the head that counts it is known.
    let (store, vault, _) = secret();
    store.be(Mood::CarriesOut);
    vault.add_slot(&Source::KeyFile(&[2; 32]), KdfParams::LEAST).unwrap_err();
    assert_eq!(vault.scrub(|| true).unwrap().problems, [] as [&str; 0]);
}

/// All rows of a store, as who has its files can keep them.
fn copy(store: &dyn Store) -> Vec<(Table, Row)> {
    let rows = |table| store.scan(table, None, usize::MAX).unwrap().into_iter().map(move |row| (table, row));
    [Table::Records, Table::Values, Table::Wraps].into_iter().flat_map(rows).collect()
}

/// Puts `rows` in the place of all that is there, past every vault.
fn put_in_place(store: &dyn Store, rows: &[(Table, Row)], op: u8) {
    let delete = |(table, row): &(Table, Row)| match table {
        Table::Records => Op::DeleteRecord { id: row.id.node, expect: Expect::Any },
        Table::Values => Op::DeleteValue { id: row.id },
        Table::Wraps => Op::DeleteWrap { id: row.id },
    };
    let put = |(table, row): &(Table, Row)| match (table, row.sealed.clone()) {
        (Table::Records, sealed) => {
            Op::PutRecord { id: row.id.node, place: row.place.unwrap(), sealed, expect: Expect::Any }
        }
        (Table::Values, sealed) => Op::PutValue { id: row.id, sealed },
        (Table::Wraps, sealed) => Op::PutWrap { id: row.id, sealed },
    };
    let ops: Vec<Op> = copy(store).iter().map(delete).chain(rows.iter().map(put)).collect();
    store.commit(&ops, caller(op).op, None).unwrap();
}

/// That `vault`, which was left at `left`, follows nobody, and goes on when it finds its own rows again.
fn stays_where_it_was(store: &Engine, vault: &Vault, id: NodeId, left: Anchor, ours: &[(Table, Row)], what: &str) {
    for again in [100, 101] {
        let refused = tag(vault, again, id, "a=9").map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|why| why.contains("in its place")), "{what}: {refused:?}");
        assert_eq!(vault.anchor(), left, "{what}: the anchor is what it was");
        assert!(vault.store_status().read_only.is_some_and(|why| why.contains("in its place")), "{what}");
        assert!(vault.has_lost_head(), "{what}");
        assert!(vault.verify().is_err(), "{what}");
    }
    put_in_place(&store.rows, ours, 102);
    tag(vault, 103, id, "a=9").unwrap();
    assert!(!vault.has_lost_head(), "{what}");
    assert_eq!(vault.anchor().counter, left.counter + 1, "{what}");
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new(), "{what}");
}

/// An older copy of the store is put in its place under the vault that has it open.
#[test]
fn a_store_that_was_rolled_back_is_not_followed() {
    let (store, vault, id) = secret();
    let old = copy(&store.rows);
    (10..13).for_each(|op| put(&vault, op, id));
    let (left, ours) = (vault.anchor(), copy(&store.rows));
    put_in_place(&store.rows, &old, 20);
    assert!(matches!(tag(&vault, 21, id, "a=2"), Err(VaultError::Commit(CommitError::Conflict))));
    stays_where_it_was(&store, &vault, id, left, &ours, "rolled back");
}

/// The same, with a copy that went its own way and has as many changes.
#[test]
fn a_store_that_went_its_own_way_is_not_followed() {
    let (store, vault, id) = secret();
    let old = copy(&store.rows);
    put(&vault, 10, id);
    let (left, ours) = (vault.anchor(), copy(&store.rows));
    put_in_place(&store.rows, &old, 20);
    put(&unlock(store.clone(), &KEY).unwrap(), 21, id);
    assert!(matches!(tag(&vault, 22, id, "a=2"), Err(VaultError::Commit(CommitError::Conflict))));
    stays_where_it_was(&store, &vault, id, left, &ours, "its own way");
}

/// Where an outcome is not known, what is found is one of two heads, and which of them the engine tells.
#[test]
fn a_commit_that_is_not_known_leads_to_no_other_head() {
    for mood in [Mood::CarriesOut, Mood::CarriesNothingOut] {
        for further in [false, true] {
            let (store, vault, id) = secret();
            let old = copy(&store.rows);
            put(&vault, 10, id);
            let (left, ours) = (vault.anchor(), copy(&store.rows));
            store.be(mood);
            assert!(matches!(tag(&vault, 11, id, "a=2"), Err(VaultError::Commit(CommitError::Unknown(_)))));
            store.be(Mood::Well);
            if further {
                put_in_place(&store.rows, &ours, 20);
                let other = unlock(store.clone(), &KEY).unwrap();
                put(&other, 21, id);
            } else {
                put_in_place(&store.rows, &old, 20);
            }
            let what = format!("{mood:?}, further: {further}");
            if mood == Mood::CarriesNothingOut {
                stays_where_it_was(&store, &vault, id, left, &ours, &what);
            } else {
                assert!(tag(&vault, 100, id, "a=9").unwrap_err().to_string().contains("in its place"), "{what}");
                assert_eq!(vault.anchor(), left, "{what}: the anchor is what it was");
            }
        }
    }
}

/// Whoever can write a mounted store's files puts an older state back: the daemon takes no change on top of it and says so, and
/// the next mount is refused.
#[test]
fn a_mount_does_not_follow_a_store_that_was_rolled_back() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let room = Room::new();
    let mount = "mount --store store --key-file key --anchor anchor --log log M";
    let shell = |script: &str| Command::new("sh").args(["-ec", script]).current_dir(room.at("")).status().unwrap();
    room.init();
    fs::create_dir(room.at("M")).unwrap();
    room.kmsfs(mount).expect(0);
    assert!(shell("mkdir -p M/prod/db; echo old > M/prod/db/current").success());
    let database = rusqlite::Connection::open(room.at("store/store.db")).unwrap();
    database.execute_batch("ATTACH ':memory:' AS kept").unwrap();
    let tables = ["record", "value", "wrap", "op"];
    for table in tables {
        database.execute_batch(&format!("CREATE TABLE kept.{table} AS SELECT * FROM main.{table}")).unwrap();
    }
    assert!(shell("for n in 1 2 3; do echo $n > M/prod/db/current; done").success());
    let back = tables.map(|t| format!("DELETE FROM main.{t}; INSERT INTO main.{t} SELECT * FROM kept.{t};")).concat();
    database.execute_batch(&format!("BEGIN IMMEDIATE; {back} COMMIT")).unwrap();
    drop(database);
    for _ in 0..3 {
        // cp hears of it at its close; the shell's echo would not.
        assert!(!shell("cp key M/prod/db/current 2>/dev/null").success());
    }
    let status: Json = serde_json::from_slice(&fs::read(room.at("M/.kmsfs/status")).unwrap()).unwrap();
    assert_eq!(status["health"], "damaged", "{status}");
    assert!(fs::read_to_string(room.at("log")).unwrap().contains("in its place"));
    room.kmsfs("umount M").expect(0);
    room.kmsfs(mount).refused(23, "the store was rolled back");
}
