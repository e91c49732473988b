//! A store whose disk is full: whoever writes hears of it at the write, and what was there stays.

use serde_json::json;

use crate::api::{done, refused};
use crate::small_disk::SmallDisk;

/// A mount whose store is on a disk of `mib` MiB.
fn with_small_disk(mib: u32) -> SmallDisk {
    SmallDisk::new("store", mib * 1024, &[])
}

#[test]
fn a_full_disk_fails_the_write_and_keeps_the_value() {
    let small = with_small_disk(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    small.fill(0);
    for script in [
        "echo v > prod/s/versions/v2",
        "printf %s v > prod/s/current",
        "printf %s v >> prod/s/current",
        "dash -c 'echo v > prod/s/versions/v2'",
        "/bin/echo v > prod/s/current",
        "echo v | tee prod/s/current > /dev/null",
        "echo a=b >> prod/s/tags",
        "echo text > prod/s/description",
        "echo v > $OUT/f; cp $OUT/f prod/s/current",
    ] {
        let error = mount.fails(script);
        // dash has one word for all errors.
        assert!(error.contains("No space left") || error.contains("echo: I/O error"), "{script}: {error}");
        assert_eq!(mount.read("prod/s/current"), "old", "{script}");
        assert_eq!(mount.names("prod/s/versions"), ["v1"], "{script}");
        assert_eq!(mount.read("prod/s/tags"), "", "{script}");
    }
    assert_eq!(
        mount.bash("df prod; ls -la prod/s; mkdir prod/t").status.code(),
        Some(1),
        "reading goes on, making does not"
    );
    small.empty();
    mount.ok("echo v > prod/s/versions/v2");
    assert_eq!(mount.read("prod/s/current"), "v\n");
}

/// The disk fills up between the write and the close: the room was kept, so what was acknowledged is stored.
#[test]
fn what_a_write_acknowledged_finds_its_room() {
    use std::io::Write;
    let small = with_small_disk(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    let value = "x".repeat(30_720);
    let mut files: Vec<_> = (0..3)
        .map(|n| {
            let mut file = std::fs::File::create(mount.path(&format!("prod/s/versions/big{n}"))).unwrap();
            file.write_all(value.as_bytes()).unwrap();
            file
        })
        .collect();
    small.fill(0);
    mount.fails("echo v > prod/s/versions/v2");
    for file in files.drain(..) {
        file.sync_all().unwrap();
    }
    assert_eq!(mount.names("prod/s/versions"), ["big0", "big1", "big2", "v1"]);
    assert_eq!(mount.read("prod/s/current"), value);
    small.empty();
}

/// The same where the secret's record is as long as it comes: ten versions with as many members, and as long names, as there can be.
#[test]
fn what_a_write_of_a_member_acknowledged_finds_its_room() {
    use std::io::Write;
    let small = with_small_disk(12);
    let mount = &small.mount;
    let object = |round: usize| {
        let member = |n: usize| format!("\"{n:03}\\\"\\\"\\\"\\\"\\\"\":\"{round:040}\"");
        format!("{{{}}}", (0..512).map(member).collect::<Vec<_>>().join(","))
    };
    mount.secret("prod/s", &object(0));
    for round in 1..12 {
        mount.write("prod/s/current", object(round));
    }
    assert_eq!(mount.names("prod/s/fields").len(), 512);
    let mut files: Vec<_> = (0..3)
        .map(|n| {
            let mut file = std::fs::File::create(mount.path(&format!("prod/s/fields/{n:03}\"\"\"\"\""))).unwrap();
            file.write_all(b"new").unwrap();
            file
        })
        .collect();
    small.fill(0);
    for file in files.drain(..) {
        file.sync_all().unwrap();
    }
    assert_eq!(mount.read("prod/s/fields/002\"\"\"\"\""), "new");
    small.empty();
}

/// Writing on until the disk is full, and on from there: every acknowledged value is there after a restart.
#[test]
fn nothing_acknowledged_is_lost_on_the_way_to_full() {
    let mut small = with_small_disk(6);
    small.fill(2 * 1024 * 1024);
    let mount = &small.mount;
    mount.ok("mkdir prod/s prod/t; echo first > prod/s/current");
    let acknowledged = mount.ok(
        "head -c 30000 /dev/zero | tr '\\0' x > $OUT/f; for n in $(seq 400); do mkdir prod/t/$n 2> /dev/null && cp $OUT/f prod/t/$n/current 2> /dev/null && echo $n; done; true",
    );
    let last: Vec<&str> = acknowledged.lines().collect();
    assert!(!last.is_empty() && last.len() < 400, "{} were written before the disk was full", last.len());
    small.empty();
    small.mount.kill();
    small.mount.start();
    for n in last {
        assert_eq!(small.mount.read(&format!("prod/t/{n}/current")).len(), 30_000, "{n}");
    }
    assert_eq!(small.mount.read("prod/s/current"), "first\n");
}

/// Whose disk is full can delete, restore, roll back and purge, many times in a row; what was written is all there.
#[test]
fn a_full_disk_can_be_cleared() {
    let small = with_small_disk(10);
    let mount = &small.mount;
    for n in 0..12 {
        mount.ok(&format!("mkdir prod/s{n}; echo first{n} > prod/s{n}/current; echo second{n} > prod/s{n}/current"));
    }
    small.fill(0);
    mount.fails("echo v > prod/s0/current");
    // A key is disabled in a hurry.
    mount.ok("echo Disabled > prod/.keys/default/state");
    mount.fails("cat prod/s0/current");
    mount.ok("echo Enabled > prod/.keys/default/state");
    for n in 0..12 {
        mount.ok(&format!("ln -sfn ../versions/v1 prod/s{n}/stages/ACSCurrent"));
        assert_eq!(mount.read(&format!("prod/s{n}/current")), format!("first{n}\n"));
        mount.ok(&format!("rm -r prod/s{n}"));
        mount.ok(&format!("mv -T prod/.deleted/s{n} prod/s{n}"));
        assert_eq!(mount.read(&format!("prod/s{n}/versions/v2")), format!("second{n}\n"));
        if n % 2 == 0 {
            mount.ok(&format!("rm -r prod/s{n}; echo purge > prod/.deleted/s{n}/state"));
        }
    }
    small.empty();
    assert_eq!(mount.names("prod/.deleted"), Vec::<String>::new());
    for n in (1..12).step_by(2) {
        assert_eq!(mount.read(&format!("prod/s{n}/current")), format!("first{n}\n"));
        assert_eq!(mount.read(&format!("prod/s{n}/versions/v2")), format!("second{n}\n"));
    }
    mount.ok("echo v > prod/s1/current; grep -q '\"reserve_missing_bytes\": 0' .kmsfs/status");
}

/// As with a value: what a text's write has acknowledged finds its room at the close.
#[test]
fn what_a_text_write_acknowledged_finds_its_room() {
    use std::io::Write;
    let small = with_small_disk(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    let mut file = std::fs::File::options().write(true).truncate(true).open(mount.path("prod/s/description")).unwrap();
    file.write_all(&[b'x'; 8_000]).unwrap();
    small.fill(0);
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(mount.read("prod/s/description"), format!("{}\n", "x".repeat(8_000)));
    small.empty();
}

#[test]
fn the_api_says_that_the_disk_is_full() {
    let small = with_small_disk(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    small.fill(0);
    for request in [
        json!({ "Action": "PutSecretValue", "SecretName": "s", "SecretData": "v" }),
        json!({ "Action": "CreateSecret", "SecretName": "t", "SecretData": "v" }),
        json!({ "Action": "TagResource", "SecretName": "s", "Tags": [{ "TagKey": "a", "TagValue": "b" }] }),
    ] {
        assert_eq!(refused(mount, request.clone()), "ServiceUnavailableTemporary", "{request}");
    }
    assert_eq!((mount.read("prod/s/current"), mount.read("prod/s/tags")), ("old".into(), String::new()));
    assert_eq!(done(mount, json!({ "Action": "GetSecretValue", "SecretName": "s" }))["SecretData"], "old");
    done(mount, json!({ "Action": "DeleteSecret", "SecretName": "s" }));
    small.empty();
    done(mount, json!({ "Action": "CreateSecret", "SecretName": "t", "SecretData": "v" }));
}

/// The copy of a store that would take the writers' room is refused, and nothing of it is left.
#[test]
fn a_backup_without_room_is_refused_and_writers_go_on() {
    let small = with_small_disk(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    small.fill(1024 * 1024);
    let said = mount.fails("cat .kmsfs/backup > $OUT/backup");
    assert!(said.contains("No space left on device"), "{said}");
    let said = mount.fails(&format!("{} backup $OUT/out .", crate::harness::KMSFS));
    assert!(said.contains("No space left") && said.contains("hint: while it is read, a copy"), "{said}");
    assert!(!mount.dir.path().join("out").exists() && !mount.dir.path().join("out.part").exists());
    assert!(!small.disk.join("snapshot.new").exists());
    mount.ok("printf new > prod/s/current");
    assert_eq!(mount.read("prod/s/current"), "new");
    small.empty();
    mount.ok("cat .kmsfs/backup > $OUT/backup");
}
