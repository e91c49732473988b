//! Data keys that follow a rotation of their key, or come under another one: whatever comes between, each value is what it was.

use std::collections::BTreeMap;

use kmsfs::crypto::{KeyRef, key_ref};
use kmsfs::id::{NodeId, VersionNo};
use kmsfs::sealed::Sealed;
use kmsfs::secret::{Component, InstanceName, KEY_VERSIONS_MAX, KeyName, KeyOrder, Refusal};
use kmsfs::store::{Op, RowId, Store as _, Table};
use kmsfs::value::Value;
use kmsfs::vault::{Draft, Rewrapped, VaultError};

use crate::engine::Moment;
use crate::room::{Room, caller};

/// More wraps than a walk reads at a time.
const MANY: u64 = 300;

/// A room of [`MANY`] versions, and the key that all of them are under.
fn full() -> (Room, NodeId) {
    let room = Room::new();
    for n in 0..MANY / 10 {
        let name = Component::parse(format!("s{n}").as_bytes()).unwrap();
        let directory = room.vault.make_directory(caller(), room.instance, &name, 0o750).unwrap();
        let secret = room.vault.secret_of(&directory).unwrap().id();
        for version in 0..10 {
            let value = Value::copy_of(format!("{n} {version}").as_bytes());
            room.vault.put_value(caller(), secret, Draft::of(&value)).unwrap();
        }
    }
    let key = key_of(&room, room.secret);
    (room, key)
}

fn key_of(room: &Room, secret: NodeId) -> NodeId {
    room.vault.node(secret).unwrap().unwrap().as_secret().unwrap().secret.key
}

/// The versions of keys that wrap data keys, each with how many.
fn wrapped_by(room: &Room) -> BTreeMap<(u32, u32), usize> {
    let mut by = BTreeMap::new();
    for row in room.engine.rows.scan(Table::Wraps, None, 10_000).unwrap() {
        let KeyRef { key, version } = key_ref(&row.sealed).unwrap();
        // Zeros stand for the master key.
        if key != NodeId(0) {
            *by.entry((key.0, version)).or_default() += 1;
        }
    }
    by
}

/// Every value that there is, sealed and open.
fn values(room: &Room) -> BTreeMap<RowId, (Sealed, Vec<u8>)> {
    let rows = room.engine.rows.scan(Table::Values, None, 10_000).unwrap();
    let open = |row: kmsfs::store::Row| {
        let secret = room.vault.node(row.id.node).unwrap().unwrap();
        let value = room.vault.undisclosed(&secret, VersionNo(row.id.no)).unwrap();
        (row.id, (row.sealed, value.as_bytes().to_vec()))
    };
    rows.into_iter().map(open).collect()
}

fn oldest(room: &Room, key: NodeId) -> (u32, u32) {
    let loaded = room.vault.node(key).unwrap().unwrap();
    let key = loaded.as_key().unwrap();
    (key.oldest, key.primary())
}

fn moved(count: u64) -> Option<Rewrapped> {
    Some(Rewrapped { moved: count, failed: 0, dropped: 0 })
}

#[test]
fn data_keys_follow_a_rotation_and_values_stay() {
    let (room, key) = full();
    let (before, all) = (values(&room), MANY as usize + 1);
    assert_eq!(room.vault.rewrap(|| true).unwrap(), moved(0));
    room.vault.rotate_key(caller(), key).unwrap();
    room.put(b"new");
    assert_eq!(
        wrapped_by(&room),
        BTreeMap::from([((key.0, 1), all), ((key.0, 2), 1)]),
        "what is new is under the newest"
    );
    assert_eq!(oldest(&room, key), (1, 2));
    assert_eq!(room.vault.rewrap(|| true).unwrap(), moved(MANY + 1));
    assert_eq!(wrapped_by(&room), BTreeMap::from([((key.0, 2), all + 1)]));
    assert_eq!(oldest(&room, key), (2, 2));
    let after = values(&room);
    assert!(before.iter().all(|(row, value)| after[row] == *value), "no value was sealed anew");
    assert!(room.vault.verify().unwrap().problems.is_empty());
}

#[test]
fn a_walk_that_was_broken_off_is_gone_on_with() {
    let (mut room, key) = full();
    let before = values(&room);
    room.vault.rotate_key(caller(), key).unwrap();
    let mut pages = 0;
    let broken_off = room.vault.rewrap(|| {
        pages += 1;
        pages < 2
    });
    assert_eq!(broken_off.unwrap(), None);
    assert_eq!(wrapped_by(&room).len(), 2, "some are moved, and some are not");
    assert_eq!((values(&room), oldest(&room, key)), (before.clone(), (1, 2)));
    room.reopen();
    let left = wrapped_by(&room)[&(key.0, 1)] as u64;
    assert_eq!(room.vault.rewrap(|| true).unwrap(), moved(left));
    assert_eq!((values(&room), oldest(&room, key), wrapped_by(&room).len()), (before, (2, 2), 1));
    room.reopen();
    assert_eq!(room.vault.rewrap(|| panic!("there is nothing to walk over")).unwrap(), moved(0));
    assert!(room.vault.verify().unwrap().problems.is_empty());
}

#[test]
fn another_rotation_in_the_middle_is_followed_next() {
    let (room, key) = full();
    room.vault.rotate_key(caller(), key).unwrap();
    let (vault, secret) = (room.vault.clone(), room.secret);
    room.engine.at(Moment::Scanned(Table::Wraps), move || {
        vault.rotate_key(caller(), key).unwrap();
        // What is removed meanwhile is not missed.
        vault.schedule_deletion(caller(), secret).unwrap();
        vault.purge(caller(), secret).unwrap();
    });
    assert_eq!(room.vault.rewrap(|| true).unwrap(), moved(MANY));
    assert_eq!(oldest(&room, key), (2, 3));
    assert_eq!(room.vault.rewrap(|| true).unwrap(), moved(MANY));
    assert_eq!((oldest(&room, key), wrapped_by(&room)), ((3, 3), BTreeMap::from([((key.0, 3), MANY as usize)])));
    assert!(room.vault.verify().unwrap().problems.is_empty());
}

#[test]
fn what_is_damaged_stays_and_holds_nothing_up() {
    let (mut room, key) = full();
    let row = RowId { node: room.secret, no: 1 };
    let mut bytes = room.engine.rows.wrap(row).unwrap().unwrap().as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    room.engine.lose(&[Op::PutWrap { id: row, sealed: Sealed::from_bytes(bytes) }]);
    room.reopen();
    room.vault.rotate_key(caller(), key).unwrap();
    assert_eq!(room.vault.rewrap(|| true).unwrap(), Some(Rewrapped { moved: MANY, failed: 1, dropped: 0 }));
    assert_eq!(oldest(&room, key), (1, 2), "one is under the first version still");
    assert_eq!(room.vault.rewrap(|| true).unwrap(), Some(Rewrapped { moved: 0, failed: 1, dropped: 0 }));
    assert!(!room.vault.verify().unwrap().problems.is_empty());
    // Nor of another key.
    let other =
        room.vault.make_key(caller(), room.instance, KeyName::parse(b"payments").unwrap(), "", None).unwrap().id();
    room.vault.rotate_key(caller(), other).unwrap();
    assert_eq!(room.vault.rewrap(|| true).unwrap(), Some(Rewrapped { moved: 0, failed: 1, dropped: 0 }));
    assert_eq!((oldest(&room, key), oldest(&room, other)), ((1, 2), (2, 2)));
}

#[test]
fn a_secret_is_moved_to_another_key() {
    let room = Room::new();
    room.put(b"two");
    let (first, name) = (key_of(&room, room.secret), KeyName::parse(b"payments").unwrap());
    let other = room.vault.make_key(caller(), room.instance, name.clone(), "", None).unwrap().id();
    let refused = |outcome: Result<(), VaultError>| match outcome {
        Err(VaultError::Refused(refusal)) => refusal,
        outcome => panic!("{outcome:?}"),
    };
    for (disabled, at) in [(first, "the key it has"), (other, "the key it shall have")] {
        room.vault.set_key_state(caller(), disabled, KeyOrder::Disable).unwrap();
        assert_eq!(refused(room.vault.move_to_key(caller(), room.secret, other)), Refusal::KeyDisabled, "{at}");
        room.vault.set_key_state(caller(), disabled, KeyOrder::Enable).unwrap();
    }
    let elsewhere = room.vault.make_instance(caller(), InstanceName::parse(b"other").unwrap(), 0o755).unwrap();
    let foreign = room.vault.key_named(elsewhere.id(), &KeyName::default_key()).unwrap().unwrap().id();
    assert_eq!(refused(room.vault.move_to_key(caller(), room.secret, foreign)), Refusal::NotFound);
    assert_eq!(wrapped_by(&room), BTreeMap::from([((first.0, 1), 2)]), "nothing was changed");
    let before = values(&room);
    room.vault.move_to_key(caller(), room.secret, other).unwrap();
    room.vault.set_key_state(caller(), first, KeyOrder::Disable).unwrap();
    assert_eq!((wrapped_by(&room), values(&room)), (BTreeMap::from([((other.0, 1), 2)]), before));
    assert_eq!(room.versions(), ["v1", "v2"], "no version was made");
    room.put(b"three");
    assert_eq!(wrapped_by(&room)[&(other.0, 1)], 3);
    room.vault.schedule_deletion(caller(), room.secret).unwrap();
    assert!(matches!(refused(room.vault.move_to_key(caller(), room.secret, first)), Refusal::InDeleteWindow { .. }));
    assert!(room.vault.verify().unwrap().problems.is_empty());
}

#[test]
fn a_key_has_366_versions_at_most() {
    let room = Room::new();
    let key = key_of(&room, room.secret);
    for _ in 1..KEY_VERSIONS_MAX {
        room.vault.rotate_key(caller(), key).unwrap();
    }
    let outcome = room.vault.rotate_key(caller(), key);
    assert!(matches!(outcome, Err(VaultError::Refused(Refusal::TooManyKeyVersions))), "{outcome:?}");
    room.vault.set_key_state(caller(), key, KeyOrder::Disable).unwrap();
    let outcome = room.vault.rotate_key(caller(), key);
    assert!(matches!(outcome, Err(VaultError::Refused(Refusal::KeyDisabled))), "{outcome:?}");
}
