//! Ways around a decision that were open once: by a rename, by another key, by a copy, by what was opened before, by another's
//! descriptor, by the api.

use serde_json::json;

use crate::api::{done, refused};
use crate::harness::{Mount, text};
use crate::people::{self, SHAREE, allow, closed_mount, remount, statement};

/// Does what standard input says with what it opens, a line of Python each, and says what came of it. Root opens and becomes others.
const HANDS: &str = "import os, sys
def be(uid): os.seteuid(0); os.setegid(uid); os.setgroups([]); os.seteuid(uid)
";

/// A user in the group 3000 does `script`.
fn as_user(uid: u32, script: &str) -> String {
    format!("setpriv --reuid {uid} --regid {uid} --groups 3000 bash -c '{script}'")
}

/// The user `uid`, in that group, may not do `script`.
#[track_caller]
fn denied(mount: &Mount, uid: u32, script: &str) {
    people::denied(mount, &as_user(uid, script));
}

/// What a Python script prints that opens files as some and uses them as others.
fn hands(mount: &Mount, script: &str) -> String {
    mount.write("../hands.py", format!("{HANDS}{script}"));
    mount.ok("/usr/bin/python3 ../hands.py")
}

#[test]
fn a_policy_is_its_owners_by_a_rename_too() {
    let (mount, home) = closed_mount();
    mount.ok("chown 2001:3000 prod/s; chmod 770 prod/s");
    let policy = allow(&home, "user/2002", &["kms:GetSecretValue"]);
    mount.write("../p", &policy);
    mount.ok("chmod 755 ..");
    denied(&mount, 2002, "cat ../p > prod/s/.new && mv -f prod/s/.new prod/s/policy");
    denied(&mount, 2002, "cat prod/s/current");
}

#[test]
fn a_key_that_denies_is_not_left_for_another() {
    let (mount, home) = closed_mount();
    mount.ok("mkdir prod/.keys/pay prod/t; echo pay > prod/t/cmk; printf v > prod/t/current; chown 2001 prod/t");
    mount.write("prod/.keys/pay/policy", statement("Deny", &home, "user/2001", &["kms:Decrypt"]));
    let asked = r#"{\"Action\":\"MoveSecretToKey\",\"SecretName\":\"t\",\"DKMSInstanceId\":\"prod\",\"EncryptionKeyId\":\"default\"}"#;
    let told = mount.bash(&as_user(2001, &format!("echo \"{asked}\" | $KMSFS api .")));
    assert!(text(&told.stdout).contains("Forbidden.NoPermission"), "{}", text(&told.stdout));
    denied(&mount, 2001, "cat prod/t/current");
}

/// An editor's copy in memory is what it is a copy of, to whoever reads it and whatever was written to it.
#[test]
fn a_copy_is_as_closed_as_its_origin() {
    let (mount, home) = closed_mount();
    mount.write("prod/s/policy", allow(&home, "user/2001", &["kms:GetSecretValue", "kms:PutSecretValue", "kms:List*"]));
    mount.ok("echo a=b > prod/s/tags; mv prod/s/current prod/s/current~; mv prod/s/tags prod/s/tags~");
    assert_eq!(mount.ok("stat -c %a prod/s/current~ prod/s/tags~"), "600\n600\n");
    for file in ["current~", "tags~"] {
        denied(&mount, 2003, &format!("cat prod/s/{file}"));
    }
    let script = "f = os.open('prod/s/current~', os.O_RDWR)
os.pwrite(f, b'!', 3)
be(2003)
try: print(os.pread(f, 9, 0))
except OSError as error: print(error.errno)
";
    assert_eq!(hands(&mount, script), format!("{}\n", libc::EACCES));
}

#[test]
fn a_draft_is_no_ones_but_its_owners() {
    let (mut mount, home) = closed_mount();
    mount.ok("mkdir prod/draft; chown 2001:3000 prod/draft; chmod 770 prod/draft; chmod 777 prod; mkdir prod/mine");
    let create = |name: &str, policy: &str| {
        let policy = if policy.is_empty() { String::new() } else { format!(",\"Policy\":{}", json!(policy)) };
        format!(
            "{{\"Action\":\"CreateSecret\",\"DKMSInstanceId\":\"prod\",\"SecretName\":\"{name}\",\"SecretData\":\"v\"{policy}}}"
        )
    };
    mount.write("../r", create("draft", &allow(&home, "user/2002", &["kms:*"])));
    mount.ok("chmod 755 ..");
    let told = text(&mount.bash(&as_user(2002, "$KMSFS api . < ../r")).stdout);
    assert!(told.contains("Forbidden.NoPermission"), "{told}");
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    remount(&mut mount, Some(SHAREE));
    mount.write("../r", create("mine", ""));
    let told = text(&mount.bash("$KMSFS api . < ../r").stdout);
    assert!(told.contains("Forbidden.NoPermission"), "another account's root: {told}");
}

/// What is open to be written is decided on as what is open to be read: at each write, each cut, each read, and when it is stored.
#[test]
fn who_may_write_no_more_stores_no_more() {
    let (mount, home) = closed_mount();
    let both = allow(&home, "user/2001", &["kms:PutSecretValue", "kms:GetSecretValue"]);
    for act in ["pass", "os.ftruncate(f, 1)", "os.write(f, b'more')", "os.fsync(f)", "print(os.pread(f, 9, 0))"] {
        mount.write("prod/s/policy", &both);
        let script = format!(
            "be(2001)
f = os.open('prod/s/current', os.O_RDWR)
os.write(f, b'evil')
os.seteuid(0)
open('prod/s/policy', 'w').write(' ')
be(2001)
try:
    {act}
    os.close(f)
    print('stored')
except OSError as error: print(error.errno)
"
        );
        let said = hands(&mount, &script);
        assert!(said == format!("{}\n", libc::EACCES) || said == format!("{}\n", libc::EIO), "{act}: {said}");
        assert_eq!(mount.read("prod/s/current"), "pin", "{act}");
    }
}

#[test]
fn a_right_that_ends_at_a_time_ends_for_writers_too() {
    let (mount, home) = closed_mount();
    let policy = |until: &str| {
        json!({ "Version": "1", "Statement": [{ "Effect": "Allow", "Principal": { "RAM": format!("acs:ram::{home}:user/2001") },
            "Action": "kms:*", "Resource": "*", "Condition": { "DateLessThan": { "acs:CurrentTime": until } } }] })
        .to_string()
    };
    mount.write("prod/s/policy", policy("2999-01-01T00:00:00Z"));
    mount.write("../past", policy("2020-01-01T00:00:00Z"));
    let script = "be(2001)
f = os.open('prod/s/current', os.O_RDWR)
print(os.pread(f, 9, 0))
os.seteuid(0)
open('prod/s/policy', 'w').write(open('../past').read())
be(2001)
for act in [lambda: os.pread(f, 9, 0), lambda: os.pwrite(f, b'x', 0)]:
    try: print(act())
    except OSError as error: print(error.errno)
";
    let denied = libc::EACCES;
    assert_eq!(hands(&mount, script), format!("b'pin'\n{denied}\n{denied}\n"));
}

/// Nothing of what is gone is read through what was open to be written.
#[test]
fn what_is_deleted_is_not_read_through_a_writers_descriptor() {
    let (mount, _) = closed_mount();
    let script = "f = os.open('prod/s/current', os.O_RDWR)
os.pwrite(f, b'x', 0)
for act in [lambda: os.unlink('prod/s/current'), lambda: open('prod/.deleted/s/state', 'w').write('purge')]:
    act()
    try: print(os.pread(f, 9, 0))
    except OSError as error: print(error.errno)
";
    assert_eq!(hands(&mount, script), format!("{}\n{}\n", libc::EIDRM, libc::ENOENT));
}

#[test]
fn a_way_that_was_open_once_is_looked_at_for_good() {
    let (mount, home) = closed_mount();
    mount.ok("mkdir -p prod/t/pub prod/t/other; printf o > prod/t/other/current; printf p > prod/t/pub/current");
    mount.ok("chmod 700 prod/t; chmod 755 prod/t/other; chmod 644 prod/t/other/current");
    mount.write("prod/t/pub/policy", allow(&home, "user/2001", &["kms:GetSecretValue"]));
    let script = "be(2003)
at = os.open('prod/t/other', os.O_PATH)
def look():
    be(2003)
    try: print(os.read(os.open('current', os.O_RDONLY, dir_fd=at), 9))
    except OSError as error: print(error.errno)
look()
os.seteuid(0)
open('prod/t/pub/policy', 'w').write(' ')
look()
";
    assert_eq!(hands(&mount, script), format!("{0}\n{0}\n", libc::EACCES));
}

/// The pages of a descriptor are its opener's, whoever reads from it.
#[test]
fn a_page_is_not_kept_for_who_has_opened_and_may_not_read() {
    let (mount, home) = closed_mount();
    mount.write("prod/s/policy", allow(&home, "user/2001", &["kms:GetSecretValue"]));
    let script = "out = os.open('/dev/null', os.O_WRONLY)
be(2001)
f = os.open('prod/s/versions/v1', os.O_RDONLY)
os.seteuid(0)
open('prod/s/policy', 'w').write(' ')
print(os.pread(f, 9, 0))
r, w = os.pipe()
try: print(os.sendfile(w, f, 0, 3))
except OSError as error: print(error.errno)
";
    assert_eq!(hands(&mount, script), format!("b'pin'\n{}\n", libc::EIO));
}

#[test]
fn lists_are_decided_on_by_their_own_action_and_at_each_look() {
    let (mount, home) = closed_mount();
    mount.ok("chmod 755 prod/s; echo a=b > prod/s/tags");
    mount.write("prod/s/policy", statement("Deny", &home, "user/2003", &["kms:ListTagResources"]));
    let asked = r#"{\"Action\":\"ListTagResources\",\"ResourceType\":\"secret\",\"DKMSInstanceId\":\"prod\"}"#;
    let told = mount.ok(&as_user(2003, &format!("echo \"{asked}\" | $KMSFS api .")));
    assert!(told.contains("\"TagResource\":[]"), "{told}");
    mount.write("prod/s/policy", " ");
    mount.write("../no", statement("Deny", &home, "user/2003", &["kms:ListSecretVersionIds"]));
    let script = "be(2003)
d = os.open('prod/s/versions', os.O_RDONLY)
print(os.listdir(d))
os.seteuid(0)
open('prod/s/policy', 'w').write(open('../no').read())
be(2003)
try: print(os.listdir(d))
except OSError as error: print(error.errno)
";
    assert_eq!(hands(&mount, script), format!("['v1']\n{}\n", libc::EACCES));
}

/// What is open of an instance or a key is decided on at each write as well.
#[test]
fn a_state_is_written_by_nobody_whom_it_was_handed_to() {
    let (mount, _) = closed_mount();
    for (file, words) in [("prod/.instance/state", "Unavailable"), ("prod/.keys/default/state", "Disabled")] {
        let script = format!(
            "f = os.open('{file}', os.O_WRONLY)
be(2003)
try: print(os.write(f, b'{words}\\n'))
except OSError as error: print(error.errno)
"
        );
        assert_eq!(hands(&mount, &script), format!("{}\n", libc::EACCES), "{file}");
    }
    assert_eq!(mount.read("prod/s/current"), "pin");
}

#[test]
fn another_accounts_root_does_not_administer_the_store() {
    let (mut mount, _) = closed_mount();
    remount(&mut mount, Some(SHAREE));
    for script in ["cat .kmsfs/backup", "cat .kmsfs/events", "ls prod", "ls prod/.keys"] {
        mount.fails(script);
    }
    assert_eq!(refused(&mount, json!({ "Action": "ListAuditRecords" })), "Forbidden.NoPermission");
    remount(&mut mount, None);
    done(&mount, json!({ "Action": "ListAuditRecords" }));
}
