//! An instance that is sealed: its values can neither be read nor written, through whatever was open before either, and all else of
//! it can.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use serde_json::json;

use crate::api::{done, refused};
use crate::harness::{Mount, close, errno};
use crate::maps::Map;
use crate::people::{SHAREE, remount};

const VERSION: &str = "prod/s/versions/v1";
const SEAL: &str = "echo Unavailable > prod/.instance/state";
const UNSEAL: &str = "echo Running > prod/.instance/state";
const CODE: &str = "Rejected.Unavailable";

fn mount() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "pin");
    mount.ok("mkdir other; mkdir other/s; printf other > other/s/current; mkdir prod/draft; chmod 755 . prod");
    mount
}

/// `script` is refused for the seal.
#[track_caller]
fn sealed(mount: &Mount, script: &str) {
    let said = mount.fails(script);
    assert!(said.contains("Key has expired"), "{script}: {said}");
    assert_eq!(mount.last_code(), CODE, "{script}");
}

#[test]
fn a_sealed_instance_gives_and_takes_no_value() {
    let mut mount = mount();
    mount.ok(SEAL);
    let all = |mount: &Mount| {
        assert_eq!(mount.read("prod/.instance/state"), "Unavailable\n");
        for script in [
            "cat prod/s/current",
            "cat prod/s/versions/v1",
            "cat prod/s/stages/ACSCurrent",
            "printf new > prod/s/current",
            "printf new >> prod/s/current",
            "printf new > prod/s/versions/v9",
            "printf first > prod/draft/current",
        ] {
            sealed(mount, script);
        }
        for request in [
            json!({ "Action": "GetSecretValue", "DKMSInstanceId": "prod", "SecretName": "s" }),
            json!({ "Action": "PutSecretValue", "DKMSInstanceId": "prod", "SecretName": "s", "SecretData": "new" }),
            json!({ "Action": "CreateSecret", "DKMSInstanceId": "prod", "SecretName": "new", "SecretData": "new" }),
        ] {
            assert_eq!(refused(mount, request.clone()), CODE, "{request}");
        }
        assert_eq!(mount.read("other/s/current"), "other", "another instance is as before");
    };
    all(&mount);
    mount.restart();
    all(&mount);
    mount.kill();
    mount.start();
    all(&mount);
    mount.ok(UNSEAL);
    assert_eq!(mount.read("prod/s/current"), "pin");
    mount.ok("printf new > prod/s/current; printf first > prod/draft/current");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
    mount.stop();
    assert!(mount.verify().status.success());
}

/// Names, versions, labels, tags, policies, deletions and restores are no values.
#[test]
fn a_sealed_instance_goes_on_with_all_else() {
    let mount = mount();
    mount.ok(SEAL);
    assert_eq!(mount.ok("stat -c %s prod/s/current"), "3\n");
    for script in [
        "ls -l prod prod/s prod/s/versions prod/s/stages",
        "cat prod/s/info prod/s/tags prod/s/description prod/s/policy prod/s/cmk prod/.keys/default/info prod/.instance/info",
        "echo a=b >> prod/s/tags; grep -x a=b prod/s/tags",
        "echo text > prod/s/description; grep text prod/s/description",
        "ln -s ../versions/v1 prod/s/stages/canary; rm prod/s/stages/canary",
        "chmod 700 prod/s; chmod 640 prod/s/current",
        "rm -r prod/s && mv prod/.deleted/s prod/s",
        "mkdir prod/another; rmdir prod/another",
        "cat prod/s/policy > $OUT/policy && cat $OUT/policy > prod/s/policy",
    ] {
        mount.ok(script);
    }
    done(&mount, json!({ "Action": "DescribeSecret", "DKMSInstanceId": "prod", "SecretName": "s" }));
    assert!(mount.fails("/bin/echo Gone > prod/.instance/state").contains("Invalid argument"));
    mount.ok(UNSEAL);
    assert_eq!(mount.read("prod/s/current"), "pin");
}

#[test]
fn a_seal_takes_effect_on_what_is_open() {
    let mount = mount();
    let readers = ["prod/s/current", VERSION].map(|path| File::open(mount.path(path)).unwrap());
    let mut one = [0];
    readers.iter().for_each(|file| assert_eq!(file.read_at(&mut one, 0).unwrap(), 1));
    let write = || OpenOptions::new().write(true).truncate(true).open(mount.path("prod/s/current")).unwrap();
    let (mut begun, mut untouched) = (write(), write());
    begun.write_all(b"late").unwrap();
    mount.ok(SEAL);
    for file in &readers {
        assert_eq!(errno(file.read_at(&mut one, 0)), libc::EKEYEXPIRED);
    }
    assert_eq!(errno(untouched.write_all(b"x")), libc::EKEYEXPIRED);
    assert_eq!(errno(begun.write_all(b"r").and_then(|()| close(begun))), libc::EKEYEXPIRED);
    mount.ok(UNSEAL);
    for file in &readers {
        assert_eq!(file.read_at(&mut one, 0).unwrap(), 1);
    }
    drop(untouched);
    assert_eq!((mount.read("prod/s/current"), mount.names("prod/s/versions")), ("pin".into(), vec!["v1".into()]));
}

#[test]
fn a_seal_ends_maps() {
    let mount = mount();
    let (mut map, mut other) = (Map::of(&mount, VERSION), Map::of(&mount, VERSION));
    mount.ok(SEAL);
    map.dies();
    mount.ok(UNSEAL);
    other.lives();
    Map::of(&mount, VERSION).lives();
}

/// It is the instance's owner's and root's, and of no other account.
#[test]
fn a_seal_has_verbs() {
    let mut mount = mount();
    let as_user = |uid: u32, script: &str| format!("setpriv --reuid {uid} --regid {uid} --clear-groups {script}");
    assert_eq!(mount.ok("$KMSFS seal prod"), "");
    sealed(&mount, "cat prod/s/current");
    mount.ok("$KMSFS seal prod; $KMSFS unseal prod; $KMSFS unseal prod; cat prod/s/current");
    assert!(mount.fails("$KMSFS seal none").contains("no such instance"));
    mount.ok("chmod 777 prod");
    let said = mount.fails(&as_user(4001, "$KMSFS seal prod"));
    assert!(said.contains("not allowed"), "{said}");
    mount.ok("chown 4001 prod");
    mount.ok(&as_user(4001, "$KMSFS seal prod"));
    sealed(&mount, "cat prod/s/current");
    remount(&mut mount, Some(SHAREE));
    mount.fails("$KMSFS unseal prod");
    mount.fails(&as_user(4001, "$KMSFS unseal prod"));
    mount.fails(UNSEAL);
    remount(&mut mount, None);
    assert_eq!(mount.read("prod/.instance/state"), "Unavailable\n");
}

/// What the api refuses who may only make names in an instance is refused in the tree as well.
#[test]
fn a_seal_is_its_owners_in_the_tree_too() {
    let mount = mount();
    mount.ok("chmod 777 prod");
    let user = "setpriv --reuid 4001 --regid 4001 --clear-groups";
    mount.fails(&format!("{user} $KMSFS seal prod"));
    let said = mount.fails(&format!("{user} /bin/bash -c '/bin/echo Unavailable > prod/.instance/state'"));
    assert!(said.contains("denied") || said.contains("not permitted"), "{said}");
    assert_eq!(mount.read("prod/.instance/state"), "Running\n");
}
