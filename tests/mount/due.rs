//! What a daemon ends by itself. No test waits for a week: another vault, under clocks of ours, has let one pass in the store before.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::{Component, InstanceName, KeyName, KeyOrder, KeyWindow, RecoveryWindow};
use kmsfs::store::{SqliteStore, Store};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::value::Value;
use kmsfs::vault::{Caller, Clock, Draft, Owner, Vault, init, unlock};
use tempfile::TempDir;

use crate::harness::Mount;

const KEY: [u8; 32] = [7; 32];
const SECOND: u64 = 1_000_000_000;
const WEEK: u64 = 7 * 86_400 * SECOND;

/// The clocks of a machine that runs without a break.
struct Then(AtomicU64);

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: "another".into(), up: Duration::from_nanos(self.now().0) }
    }
}

fn caller() -> Caller {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let op = OpId(u128::from(REQUESTS.fetch_add(1, Ordering::SeqCst)).to_le_bytes());
    Caller { uid: 0, gid: 0, tid: 0, op, gesture: "test", account: None, by: Default::default() }
}

/// A store in which `prod/gone` and the key `payments` were scheduled a week before `left` from now; `prod/later` is due much later.
/// The machine was watched all the while.
fn a_week_later(dir: &Path, left: u64) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::create(&dir.join("store")).unwrap());
    let source = Source::KeyFile(&KEY);
    fs::write(dir.join("key"), KEY).unwrap();
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    init(&*store, &source, KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let now = Timestamp::from_system(SystemTime::now()).0;
    let clock = Arc::new(Then(AtomicU64::new(now - WEEK + left)));
    let vault = unlock(store, &source).unwrap().with_clock(clock.clone());
    let prod = vault.make_instance(caller(), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap().id();
    for (name, days) in [("gone", "7"), ("later", "30")] {
        let id = created(&vault, prod, name);
        let window = RecoveryWindow::parse(days.as_bytes()).unwrap();
        vault.delete_secret(caller(), id, Some(window), true).unwrap();
    }
    let key = vault.make_key(caller(), prod, KeyName::parse(b"payments").unwrap(), "", None).unwrap().id();
    let due = KeyWindow::of_days(7).unwrap().end(vault.moment().unwrap());
    vault.set_key_state(caller(), key, KeyOrder::Schedule { due, forced: false }).unwrap();
    clock.0.fetch_add(WEEK - left, Ordering::SeqCst);
    vault.keep_steady(true).unwrap();
    vault.rest().unwrap();
}

/// The secret `prod/NAME` with one version.
fn created(vault: &Vault, prod: NodeId, name: &str) -> NodeId {
    let name = Component::parse(name.as_bytes()).unwrap();
    let directory = vault.make_directory(caller(), prod, &name, 0o750).unwrap();
    let id = vault.secret_of(&directory).unwrap().id();
    vault.put_value(caller(), id, Draft::of(&Value::copy_of(b"a value"))).unwrap();
    id
}

/// Waits for what the daemon does by itself within some seconds.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_came_due_while_nothing_was_mounted_ends_at_the_start() {
    let dir = TempDir::new().unwrap();
    a_week_later(dir.path(), 0);
    let mount = Mount::found_in(dir, &[]);
    until("the daemon purges what is due", || mount.names("prod/.deleted") == ["later"]);
    until("the daemon destroys a key that is due", || mount.names("prod/.keys") == ["default"]);
    let records = mount.records();
    let of =
        |action: &str| records.iter().find(|record| record["action"] == action).unwrap_or_else(|| panic!("{action}"));
    let (purge, end) = (of("ForceDeleteSecret"), of("DestroyKey"));
    assert_eq!((purge["secret"].as_str(), purge["reason"].as_str()), (Some("gone"), Some("due")));
    assert_eq!((end["secret"].as_str(), end["reason"].as_str()), (Some(".keys/payments"), Some("due")));
    // The name is free again.
    mount.secret("prod/gone", "anew");
    assert!(mount.log().contains("1 secrets were purged and 1 keys destroyed"));
}

#[test]
fn a_daemon_purges_when_the_time_comes_and_tells() {
    let dir = TempDir::new().unwrap();
    a_week_later(dir.path(), 6 * SECOND);
    let mount = Mount::found_in(dir, &[]);
    assert_eq!(mount.names("prod/.deleted"), ["gone", "later"]);
    let mut events = BufReader::new(File::open(mount.path(".kmsfs/events")).unwrap());
    let mut told = String::new();
    until("the daemon tells of a purge", || {
        events.read_line(&mut told).unwrap();
        told.contains(r#""what":"purged""#)
    });
    assert!(told.contains(r#""secret":"gone""#), "{told}");
    assert_eq!(mount.names("prod/.deleted"), ["later"]);
}

/// The machine's clock says that it is time. So much time has not passed for all that is known: the daemon waits, and says so.
#[test]
fn what_is_due_by_the_machines_clock_alone_waits() {
    let dir = TempDir::new().unwrap();
    let day = 86_400 * SECOND;
    a_week_later(dir.path(), 0);
    // A deletion a day ago by a clock that was six days behind.
    {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("store")).unwrap());
        let now = Timestamp::from_system(SystemTime::now()).0;
        let clock = Arc::new(Then(AtomicU64::new(now - WEEK)));
        let vault = unlock(store, &Source::KeyFile(&KEY)).unwrap().with_clock(clock.clone());
        let prod = vault.instance_named(&InstanceName::parse(b"prod").unwrap()).unwrap().unwrap().id();
        let id = created(&vault, prod, "early");
        vault.delete_secret(caller(), id, Some(RecoveryWindow::parse(b"7").unwrap()), true).unwrap();
        clock.0.fetch_add(day, Ordering::SeqCst);
        vault.keep_steady(true).unwrap();
        vault.rest().unwrap();
    }
    let mount = Mount::found_in(dir, &[]);
    let held = || mount.status()["purges_held_seconds"].as_u64();
    until("the daemon says that it waits", || held().is_some());
    let seconds = held().unwrap();
    assert!((6 * 86_400..=7 * 86_400).contains(&seconds), "{seconds}");
    assert!(mount.read(".kmsfs/metrics").contains("\nkmsfs_purges_held_seconds "));
    assert_eq!(mount.names("prod/.deleted"), ["early", "later"]);
    mount.ok("mv prod/.deleted/early prod/early");
    until("nothing waits any more", || held().is_none());
}
