//! A request that comes again under its id, as the kernel sends it to a new worker when the old one died: it happens once, and
//! the vault goes on as if it had come once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::Arc;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::fs::{At, How, Ino, Options, Tree, Who};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::{Component, InstanceName, Tags};
use kmsfs::store::{MemoryStore, Store};
use kmsfs::value::Value;
use kmsfs::vault::{Caller, CommitError, Draft, Owner, Vault, VaultError, init, unlock};

fn caller(op: u8) -> Caller {
    Caller { uid: 0, gid: 0, tid: 0, op: OpId([op; 16]), gesture: "test", account: None, by: Default::default() }
}

/// Root, by the request numbered `op` of this process.
fn who(op: u8) -> Who {
    let tid = std::process::id();
    Who { uid: 0, gid: 0, tid, op: OpId([op; 16]), gesture: "test", account: None, by: Default::default() }
}

/// A store with a secret that has one version.
fn secret() -> (Arc<dyn Store>, Vault, NodeId) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    init(&*store, &Source::KeyFile(&[1; 32]), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
    let vault = unlock(store.clone(), &Source::KeyFile(&[1; 32])).unwrap();
    let instance = vault.make_instance(caller(1), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap();
    let name = Component::parse(b"password").unwrap();
    let directory = vault.make_directory(caller(2), instance.id(), &name, 0o750).unwrap();
    let id = vault.secret_of(&directory).unwrap().id();
    put(&vault, 3, id, b"first");
    (store, vault, id)
}

fn put(vault: &Vault, op: u8, secret: NodeId, bytes: &[u8]) {
    let value = Value::copy_of(bytes);
    let draft = Draft::of(&value);
    vault.put_value(caller(op), secret, draft).unwrap();
}

/// How many versions a reader sees, and the tags.
fn shown(vault: &Vault, secret: NodeId) -> (usize, String) {
    let loaded = vault.node(secret).unwrap().unwrap();
    let secret = &loaded.as_secret().unwrap().secret;
    (secret.versions.len(), secret.tags.render())
}

fn goes_on(vault: &Vault, secret: NodeId, versions: usize) {
    assert_eq!(shown(vault, secret).0, versions);
    assert_eq!(vault.verify().unwrap().problems, Vec::<String>::new());
    put(vault, 200, secret, b"later");
    assert_eq!(shown(vault, secret).0, versions + 1);
}

#[test]
fn a_put_that_comes_again_makes_one_version() {
    let (_store, vault, id) = secret();
    put(&vault, 9, id, b"second");
    put(&vault, 9, id, b"second");
    goes_on(&vault, id, 2);
}

#[test]
fn a_change_that_comes_again_does_not_undo_a_later_one() {
    let (_store, vault, id) = secret();
    let tags = |text: &[u8]| Tags::parse_file(text).unwrap();
    vault.set_tags(caller(9), id, tags(b"a=1")).unwrap();
    vault.set_tags(caller(10), id, tags(b"a=2")).unwrap();
    vault.set_tags(caller(9), id, tags(b"a=1")).unwrap();
    assert_eq!(shown(&vault, id).1, "a=2\n");
    goes_on(&vault, id, 1);
}

#[test]
fn a_request_that_comes_again_to_another_process_happens_once() {
    let (store, vault, id) = secret();
    put(&vault, 9, id, b"second");
    drop(vault);
    let vault = unlock(store, &Source::KeyFile(&[1; 32])).unwrap();
    put(&vault, 9, id, b"second");
    goes_on(&vault, id, 2);
}

/// Two vaults over one store: the one that comes second meets a head that is further on, reads it, and goes on. Of a head
/// that is not, `tests/doubt.rs` tells.
#[test]
fn a_change_that_conflicts_can_be_made_again() {
    let (store, vault, id) = secret();
    let other = unlock(store, &Source::KeyFile(&[1; 32])).unwrap();
    assert_eq!(shown(&other, id).0, 1);
    put(&vault, 9, id, b"second");
    let tags = Tags::parse_file(b"a=1").unwrap();
    let conflict = other.set_tags(caller(10), id, tags.clone());
    assert!(matches!(conflict, Err(VaultError::Commit(CommitError::Conflict))), "{conflict:?}");
    assert!(other.store_status().read_only.is_some(), "its head is not the disk's");
    other.set_tags(caller(11), id, tags).unwrap();
    assert_eq!(other.store_status().read_only, None);
    goes_on(&other, id, 2);
}

/// `mv new current` in a secret that was just unlinked brings it back and puts the value, in one commit.
#[test]
fn a_value_renamed_into_a_scheduled_secret_restores_it_at_once() {
    let (_store, vault, id) = secret();
    let vault = Arc::new(vault);
    let tree = Tree::new(vault.clone(), Options::default());
    let directory = tree.lookup(who(20), Ino::ROOT, b"prod").unwrap().attr.ino;
    let directory = tree.lookup(who(21), directory, b"password").unwrap().attr.ino;
    let (scratch, handle) = tree.create(who(22), directory, b"new", How::default()).unwrap();
    tree.write(who(23), scratch.attr.ino, handle, 0, b"second").unwrap();
    tree.flush(who(24), handle).unwrap();
    tree.release(who(25), handle);
    tree.unlink(who(26), directory, b"current").unwrap();
    let (from, to) = (At { parent: directory, name: b"new" }, At { parent: directory, name: b"current" });
    let before = vault.counts().changes;
    tree.rename(who(27), from, to, false).unwrap();
    assert_eq!(vault.counts().changes, before + 1, "no crash comes between the restore and the value");
    let loaded = vault.node(id).unwrap().unwrap();
    let current = loaded.as_secret().unwrap().secret.current().unwrap().no;
    assert_eq!(vault.undisclosed(&loaded, current).unwrap().as_bytes(), b"second");
    goes_on(&vault, id, 2);
}

/// A worker has died after it made something and before it said so; the next one is asked again.
#[test]
fn a_making_that_comes_again_is_answered_as_the_first_time() {
    let (store, vault, _) = secret();
    let fresh = |vault| Tree::new(Arc::new(vault), Options::default());
    let again = || fresh(unlock(store.clone(), &Source::KeyFile(&[1; 32])).unwrap());
    let tree = fresh(vault);
    let prod = tree.lookup(who(20), Ino::ROOT, b"prod").unwrap().attr.ino;
    let directory = tree.lookup(who(21), prod, b"password").unwrap().attr.ino;
    let stages = tree.lookup(who(22), directory, b"stages").unwrap().attr.ino;
    let instance = tree.make_directory(who(30), Ino::ROOT, b"test", 0o755).unwrap().attr;
    let made = tree.make_directory(who(31), prod, b"made", 0o755).unwrap().attr;
    let label = tree.make_link(who(32), stages, b"label", b"../versions/v1").unwrap().attr;
    tree.unlink(who(33), directory, b"current").unwrap();
    let (current, _) = tree.create(who(34), directory, b"current", How { exclusive: true, ..How::default() }).unwrap();
    drop(tree);
    let tree = again();
    assert_eq!(tree.make_directory(who(30), Ino::ROOT, b"test", 0o755).unwrap().attr, instance);
    assert_eq!(tree.make_directory(who(31), prod, b"made", 0o755).unwrap().attr, made);
    let (found, _) = tree.create(who(34), directory, b"current", How { exclusive: true, ..How::default() }).unwrap();
    assert_eq!(found.attr.ino, current.attr.ino);
    let stages = tree.lookup(who(40), directory, b"stages").unwrap().attr.ino;
    assert_eq!(tree.make_link(who(32), stages, b"label", b"../versions/v1").unwrap().attr.ino, label.ino);
    let another = tree.make_directory(who(41), prod, b"made", 0o755).map(|_| ());
    assert_eq!(another.unwrap_err().errno(), libc::EEXIST, "another request's is taken");
}
