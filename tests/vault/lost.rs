//! A store that has lost rows of a value: what is left goes on, and the loss is named for as long as it lasts.

use kmsfs::id::{NodeId, VersionNo};
use kmsfs::secret::VERSIONS_MAX;
use kmsfs::store::{Op, RowId};
use kmsfs::vault::VaultError;

use crate::room::{Room, caller};

/// A way to lose rows of version `no` of a secret.
type Loss = fn(NodeId, u32) -> Vec<Op>;

fn row(node: NodeId, no: u32) -> RowId {
    RowId { node, no }
}

/// What can be lost of a version.
const LOSSES: [(&str, Loss); 3] = [
    ("the value", |node, no| vec![Op::DeleteValue { id: row(node, no) }]),
    ("its key", |node, no| vec![Op::DeleteWrap { id: row(node, no) }]),
    ("both", |node, no| vec![Op::DeleteValue { id: row(node, no) }, Op::DeleteWrap { id: row(node, no) }]),
];

/// A secret with ten versions.
fn full() -> Room {
    let room = Room::new();
    for _ in 1..VERSIONS_MAX {
        room.put(b"more");
    }
    room
}

#[test]
fn a_lost_version_is_not_in_the_way_of_the_next() {
    for (what, loss) in LOSSES {
        let mut room = full();
        room.reopen();
        room.engine.lose(&loss(room.secret, 1));
        assert!(!room.vault.verify().unwrap().problems.is_empty(), "{what}");
        room.put(b"eleventh");
        let versions = room.versions();
        assert_eq!((versions.len(), versions[0].as_str(), versions[9].as_str()), (10, "v2", "v11"), "{what}");
        let loaded = room.vault.node(room.secret).unwrap().unwrap();
        assert_eq!(room.vault.undisclosed(&loaded, VersionNo(11)).unwrap().as_bytes(), b"eleventh", "{what}");
        assert!(!room.vault.verify().unwrap().problems.is_empty(), "{what}: verify goes on telling");
    }
}

#[test]
fn a_lost_version_is_not_in_the_way_of_a_purge() {
    for (what, loss) in LOSSES {
        let mut room = full();
        room.reopen();
        room.engine.lose(&loss(room.secret, 3));
        room.vault.schedule_deletion(caller(), room.secret).unwrap();
        room.vault.purge(caller(), room.secret).unwrap();
        assert!(room.vault.node(room.secret).unwrap().is_none(), "{what}");
        let problems = room.vault.verify().unwrap().problems;
        assert!(problems.iter().any(|line| line.contains("the head counts")), "{what}: {problems:?}");
    }
}

#[test]
fn a_lost_version_is_said_to_be_lost_to_its_readers() {
    for (what, loss) in LOSSES {
        let mut room = full();
        room.reopen();
        room.engine.lose(&loss(room.secret, 10));
        let loaded = room.vault.node(room.secret).unwrap().unwrap();
        let read = room.vault.undisclosed(&loaded, VersionNo(10));
        assert!(matches!(read, Err(VaultError::Lost { what: "a value", .. })), "{what}: {:?}", read.err());
        // A handle that held it goes on failing when it rolls away, and leaves nothing behind.
        room.vault.pin(room.secret, VersionNo(10));
        for _ in 0..=VERSIONS_MAX {
            room.put(b"later");
        }
        assert!(room.vault.undisclosed(&loaded, VersionNo(10)).is_err(), "{what}");
        room.vault.unpin(room.secret, VersionNo(10));
    }
}
