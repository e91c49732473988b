//! A vault over a disk that fails: what it shows stays what the store has, and `verify` finds nothing.

use std::path::Path;
use std::sync::Arc;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::NodeId;
use kmsfs::secret::{Component, InstanceName, VersionId};
use kmsfs::store::SqliteStore;
use kmsfs::value::Value;
use kmsfs::vault::{Caller, CommitError, Draft, Owner, Vault, VaultError, init, unlock};

use super::disk::{self, Call, Fault, Harm};
use super::io_errors::scratch;
use super::rows::{noise, op_id};

/// The ways that leave an outcome open, and the plain one.
const WAYS: [(Call, Harm); 4] = [
    (Call::Write, Harm::Nothing),
    (Call::Sync, Harm::Nothing),
    (Call::Sync, Harm::Dropped),
    (Call::Sync, Harm::Forgotten),
];
const KEY: Source<'static> = Source::KeyFile(&[1; 32]);
/// Versions that one run writes: so few that none rolls away.
const VERSIONS: u64 = 5;

fn caller(op: u64) -> Caller {
    Caller { uid: 0, gid: 0, tid: 0, op: op_id(op), gesture: "test", account: None, by: Default::default() }
}

fn value_of(n: u64) -> Vec<u8> {
    noise(n, 100)
}

fn put(vault: &Vault, n: u64, secret: NodeId) -> Result<(), VaultError> {
    let value = Value::copy_of(&value_of(n));
    let id = VersionId::parse(format!("put{n}").as_bytes()).unwrap();
    let draft = Draft { id: Some(id), ..Draft::of(&value) };
    vault.put_value(caller(100 + n), secret, draft).map(|_| ())
}

fn unlocked(dir: &Path) -> Vault {
    unlock(Arc::new(SqliteStore::open(dir).unwrap()), &KEY).unwrap()
}

/// All that a reader sees: the names in the instance, the versions and values of the secret.
fn seen(vault: &Vault, instance: NodeId, secret: NodeId) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let names = vault.children(instance, NodeId(0), 100).unwrap().nodes;
    let names = names.iter().filter_map(|node| Some(node.as_directory()?.name.as_str().to_owned())).collect();
    let loaded = vault.node(secret).unwrap().unwrap();
    let versions = loaded.as_secret().unwrap().secret.versions.iter();
    let value = |no| vault.undisclosed(&loaded, no).unwrap().as_bytes().to_vec();
    (names, versions.map(|version| (version.id.as_str().to_owned(), value(version.no))).collect())
}

/// One run with one fault; whether anything failed in it.
fn run(fault: Fault) -> bool {
    let scratch = scratch();
    let dir = scratch.path().join("store");
    let store = SqliteStore::create(&dir).unwrap();
    init(&store, &KEY, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    drop(store);
    disk::watch(&dir);
    let vault = unlocked(&dir);
    let instance = vault.make_instance(caller(1), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap();
    let name = Component::parse(b"password").unwrap();
    let directory = vault.make_directory(caller(2), instance.id(), &name, 0o750).unwrap();
    let (instance, secret) = (instance.id(), vault.secret_of(&directory).unwrap().id());
    put(&vault, 0, secret).unwrap();

    disk::fail(fault);
    let mut outcomes = Vec::new();
    for n in 1..=VERSIONS {
        outcomes.push((n, put(&vault, n, secret)));
        let name = Component::parse(format!("d{n}").as_bytes()).unwrap();
        let made = vault.make_directory(caller(200 + n), instance, &name, 0o750);
        assert!(made.is_ok() || !matches!(made, Err(VaultError::Refused(_))), "{fault:?}: {:?}", made.err());
        let (_, versions) = seen(&vault, instance, secret);
        assert_eq!(versions[0], ("put0".to_owned(), value_of(0)), "{fault:?}: reading goes on");
    }
    let any = disk::failed() > 0;
    disk::heal();
    put(&vault, VERSIONS + 1, secret).unwrap_or_else(|error| panic!("{fault:?}: the disk is well again: {error}"));
    assert_eq!(vault.store_status().read_only, None, "{fault:?}");

    let shown = seen(&vault, instance, secret);
    for (n, outcome) in outcomes {
        let there = shown.1.contains(&(format!("put{n}"), value_of(n)));
        match outcome {
            Ok(()) => assert!(there, "{fault:?}: {n} was acknowledged, and is lost"),
            Err(VaultError::Commit(CommitError::Unknown(_))) => {}
            Err(VaultError::Commit(CommitError::Unavailable(_))) => assert!(!there, "{fault:?}: {n} was refused"),
            Err(other) => panic!("{fault:?}: {n}: {other:?}"),
        }
    }
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new(), "{fault:?}");
    drop(vault);
    let vault = unlocked(&dir);
    assert_eq!(seen(&vault, instance, secret), shown, "{fault:?}: opened again");
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new(), "{fault:?}: opened again");
    any
}

#[test]
fn a_vault_over_a_failing_disk_stays_coherent() {
    let _alone = super::alone();
    for (call, harm) in WAYS {
        for lasts in [false, true] {
            let runs = (1..).take_while(|nth| run(Fault { call, harm, nth: *nth, lasts })).count();
            assert!(runs > 0, "{call:?} is never called");
        }
    }
}
