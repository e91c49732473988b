//! What the vault tells the audit of its verbs, and reads back.

use std::sync::Arc;

use kmsfs::audit::{Origin, Settings, Trail, Wanted};
use kmsfs::secret::Component;
use kmsfs::vault::Vault;

use crate::engine::Mood;
use crate::room::{Room, caller};

/// Has `vault` audited in `dir`.
fn audit(vault: &Arc<Vault>, dir: &std::path::Path) {
    let settings =
        Settings { dir: Some(dir.to_owned()), witness: None, socket: None, fails_open: false, segment: 1 << 20 };
    let account = vault.root().unwrap().account.as_str().to_owned();
    let origin =
        Origin { key: vault.audit_key(), known: vault.audited(), account, own_uid: 0, facts: Box::new(|_, _| None) };
    vault.audit_by(Trail::start(settings, origin).unwrap());
}

fn told(vault: &Vault) -> Vec<String> {
    let records = vault.audit_records(&Wanted { limit: 1000, ..Wanted::default() }).unwrap();
    let word = |record: &serde_json::Value, member: &str| record[member].as_str().unwrap_or("-").to_owned();
    let line = |record| ["action", "outcome", "secret"].map(|member| word(record, member)).join(" ");
    records.iter().map(line).collect()
}

#[test]
fn a_change_that_fails_is_told_of_twice() {
    let (mut room, dir) = (Room::new(), tempfile::tempdir().unwrap());
    audit(&room.vault, dir.path());
    room.put(b"two");
    room.engine.be(Mood::CarriesNothingOut);
    room.vault.schedule_deletion(caller(), room.secret).unwrap_err();
    let expected = [
        "- granted -",
        "PutSecretValue granted password",
        "DeleteSecret granted password",
        "DeleteSecret failed password",
    ];
    assert_eq!(told(&room.vault), expected);
    assert_eq!(room.vault.audit_verify().unwrap().defect, None);
    room.engine.be(Mood::Well);
    room.reopen();
    audit(&room.vault, dir.path());
    room.put(b"three");
    assert_eq!(told(&room.vault).len(), 5, "the chain goes on");
    let verified = room.vault.audit_verify().unwrap();
    assert_eq!((verified.defect, verified.records, verified.first), (None, 5, Some(1)));
}

#[test]
fn the_store_knows_how_far_the_audit_has_come() {
    let (mut room, dir) = (Room::new(), tempfile::tempdir().unwrap());
    room.vault.keep_audited().unwrap();
    assert_eq!(room.vault.audited(), 0);
    audit(&room.vault, dir.path());
    room.put(b"two");
    room.put(b"three");
    // The segment's first, and the first change, which was answered as made.
    assert_eq!(room.vault.audited(), 2);
    let changes = room.vault.counts().changes;
    room.vault.rest().unwrap();
    assert_eq!((room.vault.audited(), room.vault.counts().changes), (3, changes + 1));
    room.vault.rest().unwrap();
    room.vault.keep_audited().unwrap();
    assert_eq!(room.vault.counts().changes, changes + 1, "nothing new is nothing to keep");
    room.reopen();
    assert_eq!(room.vault.audited(), 3);
    room.put(b"four");
    assert_eq!(room.vault.audited(), 3, "without an audit it stays as it is");
}

#[test]
fn what_nobody_takes_the_record_of_does_not_happen() {
    let (room, dir) = (Room::new(), tempfile::tempdir().unwrap());
    let place = dir.path().join("file");
    std::fs::write(&place, "").unwrap();
    audit(&room.vault, &place.join("below"));
    let before = room.vault.counts();
    let loaded = room.vault.node(room.secret).unwrap().unwrap();
    let current = loaded.as_secret().unwrap().secret.stages.current().unwrap();
    assert!(room.vault.disclose(caller(), &loaded, current, None, &[]).is_err());
    room.vault.schedule_deletion(caller(), room.secret).unwrap_err();
    room.vault.make_directory(caller(), room.instance, &Component::parse(b"other").unwrap(), 0o755).unwrap_err();
    assert_eq!(room.vault.counts(), before);
    assert_eq!(room.vault.trail().unwrap().status()["missed"]["refused"], 3);
    std::fs::remove_file(&place).unwrap();
    assert_eq!(room.vault.disclose(caller(), &loaded, current, None, &[]).unwrap().0.as_bytes(), b"one");
    assert_eq!(
        told(&room.vault),
        ["- granted -", "- granted -", "GetSecretValue granted password"],
        "a gap, and a read"
    );
}
