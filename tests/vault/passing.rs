//! Readers take no lock, so a verb may pass by between two of their reads: they find what there is all the same.

use std::sync::mpsc::channel;
use std::thread;

use kmsfs::secret::Refusal;
use kmsfs::store::{Expect, Op};
use kmsfs::vault::VaultError;

use crate::engine::Moment;
use crate::room::{Room, caller, name};

/// A secret that is in the trash, while its directory stands.
fn scheduled() -> Room {
    let room = Room::new();
    room.vault.schedule_deletion(caller(), room.secret).unwrap();
    room
}

#[test]
fn a_restore_passes_by_the_look_for_a_secret() {
    let room = scheduled();
    let (vault, secret) = (room.vault.clone(), room.secret);
    // Not in its directory any more; then it leaves the trash.
    room.engine.at(Moment::FoundNothing(room.directory.id()), move || {
        vault.restore_in_place(caller(), secret).unwrap();
    });
    assert_eq!(room.vault.secret_of(&room.directory).unwrap().id(), room.secret);
    assert!(room.engine.is_done());
}

/// The restore is durable and the reader sees that in the store, but the verb has not come to tell anybody.
#[test]
fn a_restore_that_nobody_was_told_of_passes_by() {
    let room = scheduled();
    let (vault, secret) = (room.vault.clone(), room.secret);
    let (tell, told) = channel();
    let (let_go, held) = channel::<()>();
    let (start, started) = channel();
    room.engine.at(Moment::Committed, move || {
        tell.send(()).unwrap();
        held.recv().unwrap();
    });
    room.engine.at(Moment::FoundNothing(room.directory.id()), move || {
        let verb = thread::spawn(move || vault.restore_in_place(caller(), secret).map(|_| ()));
        start.send(verb).unwrap();
        told.recv().unwrap();
    });
    let found = room.vault.secret_of(&room.directory).map(|found| found.id());
    let_go.send(()).unwrap();
    started.recv().unwrap().join().unwrap().unwrap();
    assert_eq!(found.unwrap(), room.secret);
}

#[test]
fn a_purge_passes_by_the_look_for_a_secret() {
    let room = scheduled();
    let (vault, secret, directory) = (room.vault.clone(), room.secret, room.directory.id());
    room.engine.at(Moment::FoundNothing(directory), move || {
        vault.remove_directory(caller(), directory).unwrap();
        vault.purge(caller(), secret).unwrap();
    });
    let found = room.vault.secret_of(&room.directory);
    assert!(matches!(found, Err(VaultError::Refused(Refusal::NotFound))), "{:?}", found.err());
}

#[test]
fn a_secret_that_is_lost_is_said_to_be() {
    let mut room = Room::new();
    room.reopen();
    room.engine.lose(&[Op::DeleteRecord { id: room.secret, expect: Expect::Any }]);
    let found = room.vault.secret_of(&room.directory);
    assert!(matches!(found, Err(VaultError::Lost { what: "the secret", .. })), "{:?}", found.err());
}

#[test]
fn a_deletion_passes_by_the_look_for_a_secrets_access() {
    let mut room = Room::new();
    let access = room.directory.access();
    room.reopen();
    let (vault, secret, directory) = (room.vault.clone(), room.secret, room.directory.id());
    // The secret's record has been read, which names its directory; that goes.
    room.engine.at(Moment::Reading(directory), move || {
        vault.schedule_deletion(caller(), secret).unwrap();
        vault.remove_directory(caller(), directory).unwrap();
    });
    let placed = room.vault.placed(room.secret).unwrap().unwrap();
    assert!(room.engine.is_done());
    assert_eq!(Some(placed.access), access);
    assert!(placed.secret.as_secret().unwrap().secret.deletion.is_some());
}

#[test]
fn a_deletion_and_a_restore_pass_by_the_look_for_a_secrets_access() {
    let mut room = Room::new();
    let access = room.directory.access();
    room.reopen();
    let (vault, secret, directory, instance) = (room.vault.clone(), room.secret, room.directory.id(), room.instance);
    room.engine.at(Moment::Reading(directory), move || {
        vault.schedule_deletion(caller(), secret).unwrap();
        vault.remove_directory(caller(), directory).unwrap();
        vault.restore(caller(), secret, instance, &name()).unwrap();
    });
    let placed = room.vault.placed(room.secret).unwrap().unwrap();
    assert!(room.engine.is_done());
    assert_eq!(Some(placed.access), access);
    assert_ne!(placed.secret.place().parent, directory, "another directory of that name");
}

#[test]
fn a_purge_passes_by_the_look_for_a_secrets_access() {
    let mut room = Room::new();
    room.reopen();
    let (vault, secret, directory) = (room.vault.clone(), room.secret, room.directory.id());
    room.engine.at(Moment::Reading(directory), move || {
        vault.schedule_deletion(caller(), secret).unwrap();
        vault.remove_directory(caller(), directory).unwrap();
        vault.purge(caller(), secret).unwrap();
    });
    assert!(room.vault.placed(room.secret).unwrap().is_none());
}

#[test]
fn a_directory_that_is_lost_is_said_to_be() {
    let mut room = Room::new();
    room.reopen();
    room.engine.lose(&[Op::DeleteRecord { id: room.directory.id(), expect: Expect::Any }]);
    let placed = room.vault.placed(room.secret);
    assert!(matches!(placed, Err(VaultError::Lost { what: "the directory", .. })), "{:?}", placed.err());
}
