//! A key that was destroyed is in none of the store's files, whatever else lives beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId, VersionNo};
use kmsfs::secret::{InstanceName, KeyName, KeyOrder, KeyWindow, SecretName, Terms};
use kmsfs::store::{SqliteStore, Store, Table};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::value::Value;
use kmsfs::vault::{Caller, Clock, Creation, Owner, Vault, init, unlock};

use super::shredding::found;

const KEYS: u32 = 10_000;
const SOURCE: Source<'_> = Source::KeyFile(&[1; 32]);

/// A clock that stands until it is set.
struct Set(AtomicU64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: "one".into(), up: Duration::from_nanos(self.now().0) }
    }
}

fn caller() -> Caller {
    let mut op = [0; 16];
    getrandom::fill(&mut op).unwrap();
    Caller { uid: 0, gid: 0, tid: 0, op: OpId(op), gesture: "test", account: None, by: Default::default() }
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// A secret is under it, also behind a rotation.
    Used,
    Disabled,
    /// Its window is not over.
    Waits,
    /// It was destroyed without ever having been used.
    Destroyed,
    /// Its secret was purged first.
    Outlived,
}

const LIVES: [Life; 5] = [Life::Used, Life::Disabled, Life::Waits, Life::Destroyed, Life::Outlived];

/// A secret of two versions under `key`; and that.
fn secret(vault: &Vault, instance: NodeId, key: NodeId, n: u32) -> NodeId {
    let name = SecretName::parse(&format!("s{n}")).unwrap();
    let terms = Terms { key: Some(key), ..Terms::default() };
    let new = Creation { id: None, bytes: &Value::copy_of(format!("value {n}").as_bytes()), kind: None, terms };
    vault.create_secret(caller(), instance, &name, new).unwrap();
    let loaded = vault.node(instance).unwrap().unwrap();
    vault.secret_of(&vault.directory_at(&loaded, &name).unwrap().unwrap()).unwrap().id()
}

/// The wrapped keys of `node`, but for what they say of the key that has wrapped them.
fn wraps(store: &dyn Store, node: NodeId) -> Vec<Vec<u8>> {
    let after = Some(kmsfs::store::RowId { node: NodeId(node.0 - 1), no: u32::MAX });
    let rows = store.scan(Table::Wraps, after, 16).unwrap();
    rows.into_iter().filter(|row| row.id.node == node).map(|row| row.sealed.as_bytes()[8..].to_vec()).collect()
}

#[test]
fn what_was_destroyed_is_in_no_file() {
    let scratch = super::conformance::scratch();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::create(scratch.path()).unwrap());
    init(&*store, &SOURCE, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let clock = Arc::new(Set(AtomicU64::new(1_800_000_000_000_000_000)));
    let vault = unlock(store.clone(), &SOURCE).unwrap().with_clock(clock.clone());
    let instance = vault.make_instance(caller(), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap().id();
    let schedule = |key: NodeId, days: u16| {
        let due = KeyWindow::of_days(days).unwrap().end(vault.moment().unwrap());
        vault.set_key_state(caller(), key, KeyOrder::Schedule { due, forced: false }).unwrap();
    };
    let (mut kept, mut gone, mut due, mut used) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..KEYS {
        let life = LIVES[n as usize % LIVES.len()];
        let name = KeyName::parse(format!("k{n}").as_bytes()).unwrap();
        let key = vault.make_key(caller(), instance, name, "", None).unwrap().id();
        for _ in 0..n % 3 {
            vault.rotate_key(caller(), key).unwrap();
        }
        match life {
            Life::Used => used.push((n, secret(&vault, instance, key, n))),
            Life::Disabled => vault.set_key_state(caller(), key, KeyOrder::Disable).unwrap(),
            Life::Waits => schedule(key, 366),
            Life::Destroyed => schedule(key, 7),
            Life::Outlived => {
                let secret = secret(&vault, instance, key, n);
                gone.extend(wraps(&*store, secret));
                vault.schedule_deletion(caller(), secret).unwrap();
                vault.purge(caller(), secret).unwrap();
                let loaded = vault.node(instance).unwrap().unwrap();
                let name = SecretName::parse(&format!("s{n}")).unwrap();
                let directory = vault.directory_at(&loaded, &name).unwrap().unwrap().id();
                vault.remove_directory(caller(), directory).unwrap();
                schedule(key, 7);
            }
        }
        if matches!(life, Life::Destroyed | Life::Outlived) {
            gone.extend(wraps(&*store, key));
            due.push(key);
        } else {
            kept.extend(wraps(&*store, key));
        }
    }
    vault.rest().unwrap();
    assert!(found(scratch.path(), &gone).len() > due.len(), "the search finds what is there");
    clock.0.fetch_add(7 * 86_400 * 1_000_000_000, Ordering::SeqCst);
    for key in due {
        vault.destroy_key(caller(), key).unwrap();
    }
    let left = found(scratch.path(), &gone);
    assert!(left.is_empty(), "{} of {} wrapped keys are left", left.len(), gone.len());
    assert_eq!(found(scratch.path(), &kept).len(), kept.len());
    for (n, secret) in used {
        let secret = vault.node(secret).unwrap().unwrap();
        assert_eq!(vault.undisclosed(&secret, VersionNo(1)).unwrap().as_bytes(), format!("value {n}").as_bytes());
    }
    let report = vault.verify().unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
