//! What memory answers without the engine: the top of the tree always, what was met a moment ago as it is now, and nothing that is
//! no longer so.

use std::sync::Arc;

use kmsfs::id::NodeId;
use kmsfs::secret::{Component, InstanceName};
use kmsfs::store::StoreError;
use kmsfs::vault::{Loaded, VaultError, from_memory};

use crate::room::{Room, caller, name};

fn instance(text: &str) -> InstanceName {
    InstanceName::parse(text.as_bytes()).unwrap()
}

fn ids(nodes: &[Arc<Loaded>]) -> Vec<NodeId> {
    nodes.iter().map(|node| node.id()).collect()
}

/// What memory says of the directory `password`, and of the instance's list.
fn remembered(room: &Room) -> (Result<Option<NodeId>, VaultError>, Result<Vec<NodeId>, VaultError>) {
    let above = room.vault.node(room.instance).unwrap().unwrap();
    from_memory(|| {
        let found = room.vault.directory_named(&above, &name()).map(|found| found.map(|node| node.id()));
        (found, room.vault.children(room.instance, NodeId(0), 10).map(|listing| ids(&listing.nodes)))
    })
}

fn waits<T>(outcome: &Result<T, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::Store(StoreError::WouldWait)))
}

#[test]
fn the_top_of_the_tree_is_always_in_memory() {
    let mut room = Room::new();
    room.reopen();
    let top = |room: &Room| {
        from_memory(|| {
            let vault = &room.vault;
            vault.root().unwrap();
            assert!(vault.instance_named(&instance("none")).unwrap().is_none());
            ids(&vault.children(NodeId::ROOT, NodeId(0), 10).unwrap().nodes)
        })
    };
    assert_eq!(top(&room), [room.instance]);
    let other = room.vault.make_instance(caller(), instance("other"), 0o755).unwrap().id();
    assert_eq!(top(&room), [room.instance, other]);
    let found = from_memory(|| room.vault.instance_named(&instance("other")).unwrap().unwrap().id());
    assert_eq!(found, other);
    let next = from_memory(|| room.vault.children(NodeId::ROOT, NodeId(0), 1).unwrap().next);
    assert_eq!(next, Some(room.instance), "there is one behind it");
}

#[test]
fn what_was_met_is_remembered_as_it_is_now() {
    let mut room = Room::new();
    room.reopen();
    let (found, listed) = remembered(&room);
    assert!(waits(&found) && waits(&listed), "nothing was met yet");
    room.vault.children(room.instance, NodeId(0), 10).unwrap();
    let directory = room.directory.id();
    let (found, listed) = remembered(&room);
    assert_eq!((found.unwrap(), listed.unwrap()), (Some(directory), vec![directory]));
    let secret = from_memory(|| room.vault.secret_of(&room.directory));
    assert!(waits(&secret), "its own list was not met");
    room.vault.secret_of(&room.directory).unwrap();
    assert_eq!(from_memory(|| room.vault.secret_of(&room.directory)).unwrap().id(), room.secret);
}

#[test]
fn what_a_change_makes_untrue_is_forgotten() {
    let room = Room::new();
    let directory = room.directory.id();
    room.vault.children(room.instance, NodeId(0), 10).unwrap();
    let other = Component::parse(b"other").unwrap();
    let made = room.vault.make_directory(caller(), room.instance, &other, 0o750).unwrap().id();
    let (found, listed) = remembered(&room);
    assert_eq!(found.unwrap(), Some(directory));
    assert!(waits(&listed), "another has come into the list");
    assert_eq!(ids(&room.vault.children(room.instance, NodeId(0), 10).unwrap().nodes), [directory, made]);
    // The secret goes to another list, then its directory goes.
    room.vault.schedule_deletion(caller(), room.secret).unwrap();
    assert!(waits(&from_memory(|| room.vault.secret_of(&room.directory))));
    assert_eq!(room.vault.secret_of(&room.directory).unwrap().id(), room.secret);
    room.vault.remove_directory(caller(), directory).unwrap();
    let (found, listed) = remembered(&room);
    assert!(waits(&found) && waits(&listed));
    assert_eq!(ids(&room.vault.children(room.instance, NodeId(0), 10).unwrap().nodes), [made]);
    let (found, listed) = remembered(&room);
    assert_eq!((found.unwrap(), listed.unwrap()), (None, vec![made]), "all of the list is known");
    room.vault.restore(caller(), room.secret, room.instance, &name()).unwrap();
    let (found, _) = remembered(&room);
    assert!(found.unwrap().is_some_and(|found| found != directory), "another directory of that name");
}
