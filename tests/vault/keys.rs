//! The end of a key: only when nobody uses it, when its window is over, and then for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kmsfs::crypto::{Source, key_ref};
use kmsfs::id::{NodeId, VersionNo};
use kmsfs::secret::{Component, KeyName, KeyOrder, KeyState, KeyWindow, KeyWord, Refusal, SecretName};
use kmsfs::store::{Expect, Op, Store as _, Table};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::value::Value;
use kmsfs::vault::{Clock, Creation, Draft, Vault, VaultError, unlock};

use crate::room::{Room, caller};

const DAY: u64 = 86_400 * 1_000_000_000;

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

/// A room, its vault under a clock of ours, and the key `payments` beside its default one.
struct Keyed {
    room: Room,
    vault: Arc<Vault>,
    clock: Arc<Set>,
    key: NodeId,
}

impl Keyed {
    fn new() -> Self {
        let room = Room::new();
        let clock = Arc::new(Set(AtomicU64::new(1_800_000_000_000_000_000)));
        let vault = unlock(room.engine.clone(), &Source::KeyFile(&[1; 32])).unwrap().with_clock(clock.clone());
        let key = vault.make_key(caller(), room.instance, payments(), "", None).unwrap().id();
        Self { room, vault: Arc::new(vault), clock, key }
    }

    fn pass(&self, days: u64) {
        self.clock.0.fetch_add(days * DAY, Ordering::SeqCst);
    }

    fn uses(&self) -> u64 {
        self.vault.node(self.key).unwrap().unwrap().as_key().unwrap().uses
    }

    fn state(&self) -> KeyState {
        self.vault.node(self.key).unwrap().unwrap().as_key().unwrap().state
    }

    fn schedule(&self, days: u16) -> Result<(), VaultError> {
        let due = KeyWindow::of_days(days).unwrap().end(self.vault.moment().unwrap());
        self.vault.set_key_state(caller(), self.key, KeyOrder::Schedule { due, forced: false })
    }

    /// A draft under the key; its directory and its secret.
    fn draft(&self, name: &str) -> (NodeId, NodeId) {
        let name = Component::parse(name.as_bytes()).unwrap();
        let directory = self.vault.make_directory(caller(), self.room.instance, &name, 0o750).unwrap();
        let secret = self.vault.secret_of(&directory).unwrap().id();
        self.vault.set_key(caller(), secret, &payments()).unwrap();
        (directory.id(), secret)
    }

    fn put(&self, secret: NodeId) {
        self.vault.put_value(caller(), secret, Draft::of(&Value::copy_of(b"value"))).unwrap();
    }

    fn is_sound(&self) -> bool {
        let problems = self.vault.verify().unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
        true
    }
}

fn payments() -> KeyName {
    KeyName::parse(b"payments").unwrap()
}

#[track_caller]
fn refused(outcome: Result<(), VaultError>) -> Refusal {
    match outcome {
        Err(VaultError::Refused(refusal)) => refusal,
        outcome => panic!("{outcome:?}"),
    }
}

/// Whatever comes and goes under a key, it knows how much is there.
#[test]
fn a_key_knows_how_many_are_under_it() {
    let keyed = Keyed::new();
    let (vault, instance) = (&keyed.vault, keyed.room.instance);
    let mut expected = 0;
    let mut now = |more: i64, what: &str| {
        expected = u64::try_from(expected as i64 + more).unwrap();
        assert_eq!(keyed.uses(), expected, "{what}");
        assert!(keyed.is_sound(), "{what}");
        let scheduled = keyed.schedule(7);
        if expected > 0 {
            assert_eq!(refused(scheduled), Refusal::KeyInUse { count: expected }, "{what}");
        } else {
            scheduled.unwrap();
            vault.set_key_state(caller(), keyed.key, KeyOrder::Cancel).unwrap();
        }
    };
    now(0, "a new key");
    let (directory, draft) = keyed.draft("draft");
    now(1, "a draft that has chosen it");
    vault.set_key(caller(), draft, &KeyName::default_key()).unwrap();
    now(-1, "a draft that has chosen another one");
    vault.set_key(caller(), draft, &payments()).unwrap();
    keyed.put(draft);
    keyed.put(draft);
    now(1, "a secret");
    vault.schedule_deletion(caller(), draft).unwrap();
    now(0, "a secret that is scheduled for deletion");
    vault.restore_in_place(caller(), draft).unwrap();
    now(0, "one that came back");
    vault.schedule_deletion(caller(), draft).unwrap();
    vault.purge(caller(), draft).unwrap();
    now(-1, "the draft that a purge leaves in the directory is under the default key");
    vault.remove_directory(caller(), directory).unwrap();
    now(0, "its directory is gone");
    let name = SecretName::parse("made/at/once").unwrap();
    let terms = kmsfs::secret::Terms { key: Some(keyed.key), ..Default::default() };
    let new = Creation { id: None, bytes: &Value::copy_of(b"value"), kind: None, terms };
    vault.create_secret(caller(), instance, &name, new).unwrap();
    now(1, "a secret that was made at once");
    let loaded = vault.node(instance).unwrap().unwrap();
    let made = vault.secret_of(&vault.directory_at(&loaded, &name).unwrap().unwrap()).unwrap().id();
    let default = vault.key_named(instance, &KeyName::default_key()).unwrap().unwrap().id();
    vault.move_to_key(caller(), made, default).unwrap();
    now(-1, "a secret that was moved to another key");
    vault.move_to_key(caller(), made, keyed.key).unwrap();
    now(1, "and back");
    vault.destroy(caller(), made, true).unwrap();
    now(-1, "and was destroyed with its name");
    assert_eq!(vault.node(default).unwrap().unwrap().as_key().unwrap().uses, 0, "of a default key nobody counts");
}

#[test]
fn a_key_ends_when_its_window_is_over_and_not_before() {
    let keyed = Keyed::new();
    let vault = &keyed.vault;
    assert_eq!(refused(vault.destroy_key(caller(), keyed.key)), Refusal::KeyNotScheduled);
    vault.rotate_key(caller(), keyed.key).unwrap();
    keyed.schedule(7).unwrap();
    let other = Component::parse(b"x").unwrap();
    let other = vault.make_directory(caller(), keyed.room.instance, &other, 0o750).unwrap();
    let draft = vault.secret_of(&other).unwrap().id();
    for refusal in [
        refused(vault.set_key(caller(), draft, &payments())),
        refused(vault.check_key(draft, &payments())),
        refused(vault.rotate_key(caller(), keyed.key)),
        refused(vault.move_to_key(caller(), keyed.room.secret, keyed.key)),
        refused(vault.set_key_description(caller(), keyed.key, "text")),
    ] {
        assert_eq!(refusal, Refusal::KeyPendingDeletion);
    }
    for word in [KeyWord::Disabled, KeyWord::PendingDeletion] {
        assert_eq!(refused(vault.write_key_state(caller(), keyed.key, word)), Refusal::KeyStateStays);
    }
    keyed.pass(6);
    assert!(matches!(refused(vault.destroy_key(caller(), keyed.key)), Refusal::KeyNotDue { .. }));
    vault.write_key_state(caller(), keyed.key, KeyWord::Enabled).unwrap();
    assert_eq!(keyed.state(), KeyState::Enabled, "it was taken back");
    keyed.schedule(7).unwrap();
    keyed.pass(6);
    assert!(
        matches!(refused(vault.destroy_key(caller(), keyed.key)), Refusal::KeyNotDue { .. }),
        "the window begins anew"
    );
    keyed.pass(1);
    let rows = || keyed.room.engine.rows.scan(Table::Wraps, None, 1_000).unwrap();
    let wraps = || rows().iter().filter(|row| row.id.node == keyed.key).count();
    assert_eq!(wraps(), 2);
    vault.destroy_key(caller(), keyed.key).unwrap();
    assert_eq!(wraps(), 0, "all of its material is gone");
    assert!(
        vault.node(keyed.key).unwrap().is_none()
            && vault.key_named(keyed.room.instance, &payments()).unwrap().is_none()
    );
    assert_eq!(refused(vault.set_key(caller(), draft, &payments())), Refusal::NoSuchKey { name: payments() });
    let again = vault.make_key(caller(), keyed.room.instance, payments(), "", None).unwrap();
    assert_ne!(again.id(), keyed.key, "a key of the same name is another one");
    let secret = vault.node(keyed.room.secret).unwrap().unwrap();
    assert_eq!(vault.undisclosed(&secret, VersionNo(1)).unwrap().as_bytes(), b"one", "of another key");
    assert!(keyed.is_sound());
}

#[test]
fn a_default_key_stays() {
    let keyed = Keyed::new();
    let default = keyed.vault.key_named(keyed.room.instance, &KeyName::default_key()).unwrap().unwrap().id();
    let due = keyed.vault.moment().unwrap();
    let scheduled = keyed.vault.set_key_state(caller(), default, KeyOrder::Schedule { due, forced: false });
    assert_eq!(refused(scheduled), Refusal::DefaultKey);
    assert_eq!(refused(keyed.vault.write_key_state(caller(), default, KeyWord::PendingDeletion)), Refusal::DefaultKey);
}

/// Who verifies is told of a key that counts wrongly.
#[test]
fn a_wrong_count_is_found() {
    let keyed = Keyed::new();
    let before = keyed.room.engine.rows.get(keyed.key).unwrap().unwrap();
    let (_, draft) = keyed.draft("draft");
    keyed.put(draft);
    assert!(keyed.is_sound());
    let put_back = Op::PutRecord { id: before.id, place: before.place, sealed: before.sealed, expect: Expect::Any };
    keyed.room.engine.lose(&[put_back]);
    let vault = unlock(keyed.room.engine.clone(), &Source::KeyFile(&[1; 32])).unwrap();
    let problems = vault.verify().unwrap().problems;
    assert!(problems.iter().any(|line| line.contains("1 secrets are under the key, it counts 0")), "{problems:?}");
}

/// With `forced` a key ends under which secrets are: what they are called and when they were made stays, their values are gone for good.
#[test]
fn a_key_that_is_forced_to_end_takes_its_values_along() {
    let keyed = Keyed::new();
    let (vault, engine) = (&keyed.vault, &keyed.room.engine);
    let (directory, secret) = keyed.draft("doomed");
    keyed.put(secret);
    keyed.put(secret);
    vault.rotate_key(caller(), keyed.key).unwrap();
    keyed.put(secret);
    let (_, scheduled) = keyed.draft("scheduled");
    keyed.put(scheduled);
    vault.schedule_deletion(caller(), scheduled).unwrap();
    let (_, draft) = keyed.draft("draft");
    assert_eq!(refused(keyed.schedule(7)), Refusal::KeyInUse { count: 3 });
    let force = |days| {
        let due = KeyWindow::of_days(days).unwrap().end(vault.moment().unwrap());
        vault.set_key_state(caller(), keyed.key, KeyOrder::Schedule { due, forced: true })
    };
    force(7).unwrap();
    let put = || vault.put_value(caller(), secret, Draft::of(&Value::copy_of(b"more"))).map(drop);
    assert_eq!(refused(put()), Refusal::KeyPendingDeletion);
    vault.set_key_state(caller(), keyed.key, KeyOrder::Cancel).unwrap();
    put().unwrap();
    force(7).unwrap();
    keyed.pass(6);
    assert!(matches!(refused(vault.destroy_key(caller(), keyed.key)), Refusal::KeyNotDue { .. }));
    keyed.pass(1);
    vault.destroy_key(caller(), keyed.key).unwrap();
    assert_eq!(refused(put()), Refusal::KeyGone);
    assert_eq!(refused(vault.put_value(caller(), draft, Draft::of(&Value::copy_of(b"x"))).map(drop)), Refusal::KeyGone);
    let loaded = vault.node(secret).unwrap().unwrap();
    assert!(vault.undisclosed(&loaded, VersionNo(1)).is_err());
    let record = &loaded.as_secret().unwrap().secret;
    assert_eq!((record.name.as_str(), record.versions.len()), ("doomed", 4), "what is known of it stays");
    assert!(keyed.is_sound());
    vault.rewrap(|| true).unwrap();
    let under = |node: NodeId| {
        let rows = engine.rows.scan(Table::Wraps, None, 1_000).unwrap();
        rows.iter().filter(|row| row.id.node == keyed.key || key_ref(&row.sealed).unwrap().key == node).count()
    };
    assert_eq!(under(keyed.key), 0, "a data key is left that was wrapped under it");
    assert!(keyed.is_sound());
    let again = unlock(engine.clone(), &Source::KeyFile(&[1; 32])).unwrap();
    assert!(again.verify().unwrap().problems.is_empty());
    vault.restore_in_place(caller(), scheduled).unwrap();
    vault.schedule_deletion(caller(), scheduled).unwrap();
    vault.destroy(caller(), secret, true).unwrap();
    vault.purge(caller(), scheduled).unwrap();
    assert!(vault.node(directory).unwrap().is_none());
    assert!(keyed.is_sound(), "and they can be purged");
}

/// A key of the same name opens nothing of the one that has ended.
#[test]
fn another_key_of_the_name_brings_nothing_back() {
    let keyed = Keyed::new();
    let vault = &keyed.vault;
    let (_, secret) = keyed.draft("doomed");
    keyed.put(secret);
    let due = KeyWindow::of_days(7).unwrap().end(vault.moment().unwrap());
    vault.set_key_state(caller(), keyed.key, KeyOrder::Schedule { due, forced: true }).unwrap();
    keyed.pass(7);
    vault.destroy_key(caller(), keyed.key).unwrap();
    let make = || vault.make_key(caller(), keyed.room.instance, payments(), "", None).map(drop);
    assert_eq!(refused(make()), Refusal::NameTaken, "what was under it goes first");
    vault.rewrap(|| true).unwrap();
    make().unwrap();
    let value = |secret| vault.undisclosed(&vault.node(secret).unwrap().unwrap(), VersionNo(1));
    assert!(value(secret).is_err());
    let new = vault.key_named(keyed.room.instance, &payments()).unwrap().unwrap().id();
    assert_eq!(refused(vault.move_to_key(caller(), secret, new)), Refusal::KeyGone);
    vault.rewrap(|| true).unwrap();
    assert!(value(secret).is_err() && keyed.is_sound());
}
