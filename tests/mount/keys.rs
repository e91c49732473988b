//! Keys: made by `mkdir`, chosen by a draft, and disabled, which ends all use of values under them and nothing else.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};
use serde_json::{Value as Json, json};

use crate::api::{ask, done, refused};
use crate::harness::{KMSFS, Mount, close, errno, run, text};
use crate::keeper::kill_worker;

/// Whatever is waited for comes sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount with a secret under the key `payments`, and one under `default`.
fn with_key() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/other", "other");
    mount.ok("mkdir prod/.keys/payments prod/card; echo payments > prod/card/cmk; printf %s pin > prod/card/current");
    mount
}

fn of_key(action: &str, key: &str) -> Json {
    json!({ "Action": action, "DKMSInstanceId": "prod", "KeyId": key })
}

#[test]
fn a_key_is_made_and_chosen() {
    let mut mount = with_key();
    assert_eq!(mount.names("prod/.keys"), ["default", "payments"]);
    assert_eq!(mount.names("prod/.keys/payments"), ["info", "policy", "state"]);
    assert_eq!(mount.read("prod/.keys/payments/state"), "Enabled\n");
    let info: Json = serde_json::from_str(&mount.read("prod/.keys/payments/info")).unwrap();
    assert_eq!((&info["KeyId"], &info["KeyState"]), (&json!("payments"), &json!("Enabled")));
    assert!(info["Arn"].as_str().unwrap().ends_with(":key/payments"), "{info}");
    assert_eq!(done(&mount, of_key("DescribeKey", "payments"))["KeyMetadata"], info);
    assert_eq!(done(&mount, of_key("DescribeKey", info["Arn"].as_str().unwrap()))["KeyMetadata"], info);
    assert_eq!(mount.read("prod/card/cmk"), "payments\n");
    for (script, said, code) in [
        ("mkdir 'prod/.keys/a b'", "Invalid argument", "InvalidParameter"),
        ("mkdir prod/.keys/.payments", "Invalid argument", "InvalidParameter"),
        ("rmdir prod/.keys/payments", "Operation not permitted", "Rejected.UnsupportedOperation"),
        ("rm -r prod/.keys/payments", "Operation not permitted", "Rejected.UnsupportedOperation"),
        ("mv prod/.keys/payments prod/.keys/cards", "Operation not permitted", "Rejected.UnsupportedOperation"),
        ("/bin/echo default > prod/card/cmk", "Operation not permitted", "Rejected.StateModifiedFailed"),
        ("/bin/echo cards > prod/card/cmk", "Required key not available", "Forbidden.KeyNotFound"),
    ] {
        let told = mount.fails(script);
        assert!(told.contains(said), "{script}: {told}");
        assert_eq!(mount.last_code(), code, "{script}");
    }
    assert!(mount.fails("mkdir prod/.keys/payments").contains("File exists"));
    mount.ok("chmod 755 prod");
    let other = mount.fails("setpriv --reuid 1234 --clear-groups mkdir prod/.keys/theirs");
    assert!(other.contains("Permission denied"), "{other}");
    mount.restart();
    assert_eq!((mount.read("prod/card/current"), mount.read("prod/other/current")), ("pin".into(), "other".into()));
    mount.stop();
    assert!(mount.verify().status.success());
}

/// KMS's table of what a disabled key refuses, by each gesture: values and puts, also through what was open before, and nothing else.
#[test]
fn a_disabled_key_refuses_values_and_puts_alone() {
    let mut mount = with_key();
    let held = File::open(mount.path("prod/card/current")).unwrap();
    let mut writer = OpenOptions::new().write(true).truncate(true).open(mount.path("prod/card/current")).unwrap();
    writer.write_all(b"late").unwrap();
    let mut beginner = OpenOptions::new().read(true).write(true).open(mount.path("prod/card/versions/v1")).unwrap();
    // From here on it has the whole value in memory.
    beginner.write_all(b"p").unwrap();
    mount.ok("mkdir prod/draft; echo payments > prod/draft/cmk; printf %s new | tee $OUT/new > $OUT/moved");
    mount.ok("cd prod/card; mv current current~");
    mount.ok("echo Disabled > prod/.keys/payments/state");
    assert_eq!(mount.read("prod/.keys/payments/state"), "Disabled\n");
    let refuses = |mount: &Mount| {
        for script in [
            "cat prod/card/current",
            "cat prod/card/versions/v1",
            "cat prod/card/stages/ACSCurrent",
            "echo two > prod/card/current",
            "echo two > prod/card/versions/v2",
            "echo two >> prod/card/current",
            "cp $OUT/new prod/card/current",
            "install $OUT/new prod/card/versions/mine",
            "install $OUT/new prod/card/current",
            "cp --remove-destination $OUT/new prod/card/current",
            "mv $OUT/moved prod/card/current",
            "sed -i s/p/b/ prod/card/current",
            "echo first > prod/draft/current",
            "echo first > prod/draft/versions/v1",
        ] {
            let told = mount.fails(script);
            assert!(told.contains("Key has been revoked"), "{script}: {told}");
            assert_eq!(mount.last_code(), "Rejected.Disabled", "{script}");
            assert_eq!(mount.names("prod/.deleted"), [""; 0], "{script}: a write that fails leaves the old value");
        }
        let get = json!({ "Action": "GetSecretValue", "DKMSInstanceId": "prod", "SecretName": "card" });
        let answer = ask(mount, get);
        assert_eq!((&answer["Code"], &answer["HttpStatus"]), (&json!("Rejected.Disabled"), &json!(409)));
        for (action, name) in [("PutSecretValue", "card"), ("CreateSecret", "third")] {
            let put = json!({ "Action": action, "DKMSInstanceId": "prod", "SecretName": name, "VersionId": "v9",
                "SecretData": "v", "EncryptionKeyId": "payments" });
            let put = if action == "PutSecretValue" { without(put, "EncryptionKeyId") } else { put };
            assert_eq!(refused(mount, put), "Rejected.Disabled", "{action}");
        }
    };
    let copy = mount.fails("cat prod/card/current~");
    assert!(copy.contains("Key has been revoked"), "what an editor copied: {copy}");
    refuses(&mount);
    assert_eq!(errno(held.read_at(&mut [0; 8], 0)), libc::EKEYREVOKED, "the next read is decided anew");
    assert_eq!(errno(close(writer)), libc::EKEYREVOKED, "a value that was on its way is none");
    assert_eq!(
        errno(beginner.read_at(&mut [0; 8], 0)),
        libc::EKEYREVOKED,
        "nor is it read through a writer's descriptor"
    );
    assert_eq!(errno(beginner.write_all(b"in")), libc::EKEYREVOKED, "said at the write");
    drop(beginner);
    // All that is no value goes on.
    mount.ok("ls -lR prod > /dev/null; stat -c %s prod/card/current; cat prod/card/info prod/card/cmk");
    mount.ok("echo a=b > prod/card/tags; echo text > prod/card/description; chmod 700 prod/card");
    mount.ok("ln -s ../versions/v1 prod/card/stages/canary; rm prod/card/stages/canary");
    mount.ok("rm -r prod/card; mv prod/.deleted/card prod/card");
    assert_eq!(mount.read("prod/other/current"), "other", "of another key");
    mount.ok("echo others > prod/other/current");
    kill_worker(&mount);
    refuses(&mount);
    drop(held);
    mount.restart();
    refuses(&mount);
    mount.ok("echo Enabled > prod/.keys/payments/state");
    assert_eq!((mount.read("prod/card/current"), mount.names("prod/card/versions")), ("pin".into(), vec!["v1".into()]));
    mount.ok("printf %s two > prod/card/current; printf %s first > prod/draft/current");
    assert_eq!(mount.read("prod/card/current"), "two");
}

fn without(mut request: Json, member: &str) -> Json {
    request.as_object_mut().unwrap().remove(member);
    request
}

#[test]
fn a_state_takes_the_words_of_kms() {
    let mount = with_key();
    for (script, said) in [
        ("/bin/echo disabled > prod/.keys/payments/state", "Invalid argument"),
        ("echo purge | dd of=prod/.keys/payments/state status=none", "Invalid argument"),
        ("printf %s Disable | dd of=prod/.keys/payments/state status=none", "Invalid argument"),
    ] {
        let told = mount.fails(script);
        assert!(told.contains(said), "{script}: {told}");
    }
    let said: Json = serde_json::from_str(&mount.read(".kmsfs/last-error")).unwrap();
    assert!(said["Message"].as_str().unwrap().contains("`Enabled`, `Disabled` or `PendingDeletion`"), "{said}");
    assert_eq!(mount.read("prod/.keys/payments/state"), "Enabled\n", "nothing was changed");
    // What it is already is no error, with and without a newline.
    mount.ok("printf %s Enabled > prod/.keys/payments/state; echo Disabled | tee prod/.keys/{payments,default}/state");
    assert!(mount.fails("cat prod/other/current").contains("Key has been revoked"), "`default` is a key like others");
}

#[test]
fn keys_live_through_the_api() {
    let mount = with_key();
    let made = done(&mount, json!({ "Action": "CreateKey", "DKMSInstanceId": "prod", "Description": "cards" }));
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert!(id.starts_with("key-") && mount.path(&format!("prod/.keys/{id}/info")).exists(), "{made}");
    assert_eq!(made["KeyMetadata"]["Description"], "cards");
    let named = done(&mount, of_key("CreateKey", "named"));
    assert_eq!(named["KeyMetadata"]["KeyId"], "named");
    assert_eq!(mount.names("prod/.keys"), ["default", id, "named", "payments"]);
    done(&mount, of_key("DisableKey", "payments"));
    done(&mount, of_key("DisableKey", "payments"));
    assert_eq!(mount.read("prod/.keys/payments/state"), "Disabled\n");
    assert!(mount.fails("cat prod/card/current").contains("Key has been revoked"));
    done(&mount, of_key("EnableKey", "payments"));
    assert_eq!(mount.read("prod/card/current"), "pin");
    let mut told = of_key("UpdateKeyDescription", "payments");
    told["Description"] = json!("more of it");
    done(&mount, told.clone());
    assert_eq!(done(&mount, of_key("DescribeKey", "payments"))["KeyMetadata"]["Description"], "more of it");
    told["Description"] = json!("a\u{7}bell");
    let mut asymmetric = of_key("CreateKey", "rsa");
    asymmetric["KeySpec"] = json!("RSA_2048");
    for (request, code) in [
        (of_key("CreateKey", "named"), "Rejected.ResourceExist"),
        (of_key("CreateKey", "a/b"), "InvalidParameter"),
        (asymmetric, "UnsupportedOperation"),
        (of_key("DisableKey", "nothing"), "Forbidden.KeyNotFound"),
        (of_key("ScheduleKeyDeletion", "named"), "MissingParameter"),
        (of_key("RestoreKey", "named"), "InvalidAction.NotFound"),
        (told, "InvalidParameter"),
        (without(of_key("EnableKey", ""), "KeyId"), "MissingParameter"),
    ] {
        assert_eq!(refused(&mount, request.clone()), code, "{request}");
    }
    mount.ok("chmod 755 . prod");
    for action in ["CreateKey", "EnableKey", "DisableKey", "UpdateKeyDescription"] {
        let mut request = of_key(action, "payments");
        if action == "UpdateKeyDescription" {
            request["Description"] = json!("theirs");
        }
        let script = format!("exec 3<>.kmsfs/api; printf %s '{request}' >&3; cat <&3");
        let answer =
            mount.ok(&format!("setpriv --reuid 1234 --clear-groups bash -c \"{}\"", script.replace('"', "\\\"")));
        assert!(answer.contains("Forbidden.NoPermission"), "{action}: {answer}");
    }
}

/// A key whose making was answered to nobody is the same when it is asked for again.
#[test]
fn a_key_is_made_once_though_the_worker_dies() {
    let mount = with_key();
    let mut talk = OpenOptions::new().read(true).write(true).open(mount.path(".kmsfs/api")).unwrap();
    talk.write_all(json!({ "Action": "CreateKey", "DKMSInstanceId": "prod" }).to_string().as_bytes()).unwrap();
    let stopped = mount.process("worker_pid");
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut talk, &mut answer).unwrap();
        serde_json::from_str::<Json>(&answer).unwrap()
    });
    pidfd_send_signal(&stopped, Signal::KILL).unwrap();
    let answer = reader.join().unwrap();
    let keys = mount.names("prod/.keys");
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys.contains(&answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()), "{answer}");
}

#[test]
fn keys_have_verbs() {
    let mount = with_key();
    let kmsfs = |words: &[&str]| run(Command::new(KMSFS).args(words).current_dir(mount.root()));
    kmsfs(&["key", "create", "--description", "cards and accounts", "prod", "cards"]);
    kmsfs(&["key", "disable", "prod", "cards"]);
    kmsfs(&["key", "describe", "prod", "payments", "in use"]);
    let table = kmsfs(&["key", "ls", "prod"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        table.contains("cards and accounts") && lines.iter().any(|line| line[..2] == ["cards", "Disabled"]),
        "{table}"
    );
    let shown: Json = serde_json::from_str(&kmsfs(&["key", "show", "--json", "prod", "payments"])).unwrap();
    assert_eq!((&shown["Description"], &shown["KeyState"]), (&json!("in use"), &json!("Enabled")));
    kmsfs(&["key", "enable", "prod", "cards"]);
    assert_eq!(mount.read("prod/.keys/cards/state"), "Enabled\n");
    let output =
        Command::new(KMSFS).args(["key", "disable", "prod", "none"]).current_dir(mount.root()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("no key named `none`"), "{output:?}");
}

/// Waits until the stored values have followed the rotations of `key`.
fn has_followed(mount: &Mount, key: &str) -> bool {
    let info: Json = serde_json::from_str(&mount.read(&format!("prod/.keys/{key}/info"))).unwrap();
    info["OldestKeyVersion"] == info["PrimaryKeyVersion"]
}

#[test]
fn a_rotated_key_opens_what_it_has_sealed() {
    let mut mount = with_key();
    // More data keys than are moved in one commit.
    mount.ok("mkdir prod/c{1..40}; echo payments | tee prod/c{1..40}/cmk > /dev/null");
    mount.ok("for n in {1..10}; do echo $n | tee prod/c{1..40}/current > /dev/null; done");
    let held = File::open(mount.path("prod/c7/versions/v1")).unwrap();
    mount.ok("echo 11 > prod/c7/current");
    let rotated = done(&mount, of_key("RotateKey", "payments"));
    assert_eq!(rotated["KeyMetadata"]["PrimaryKeyVersion"], "2", "{rotated}");
    run(Command::new(KMSFS).args(["key", "rotate", "prod", "payments"]).current_dir(mount.root()));
    let versions = done(&mount, of_key("ListKeyVersions", "payments"));
    assert_eq!(
        (&versions["TotalCount"], &versions["KeyVersions"]["KeyVersion"][2]["KeyVersionId"]),
        (&json!(3), &json!("3"))
    );
    let whole = |mount: &Mount| {
        assert_eq!(mount.ok("cat prod/c{1..6}/current prod/c{8..40}/current | sort -u"), "10\n");
        assert_eq!(
            mount.ok("cat prod/c{1..40}/versions/v{2..9} | sort -n | uniq -c | awk '{print $1}' | uniq"),
            "40\n"
        );
        assert_eq!(mount.ok("cat prod/c7/current prod/other/current prod/card/current"), "11\notherpin");
    };
    whole(&mount);
    mount.secret("prod/new", "new");
    // Each worker goes on where the one before has ended.
    let began = Instant::now();
    while !has_followed(&mount, "payments") {
        assert!(began.elapsed() < PATIENCE, "they do not follow");
        kill_worker(&mount);
        whole(&mount);
    }
    let mut bytes = [0; 8];
    let len = held.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..len], b"1\n", "what has rolled away, and a reader still has open");
    drop(held);
    mount.restart();
    whole(&mount);
    mount.ok("echo Disabled > prod/.keys/payments/state");
    assert_eq!(refused(&mount, of_key("RotateKey", "payments")), "Rejected.Disabled");
    mount.stop();
    assert!(mount.verify().status.success());
}

#[test]
fn secrets_move_to_another_key() {
    let mount = with_key();
    mount.ok("printf %s two > prod/card/current; mkdir prod/gone; echo v > prod/gone/current; rm -r prod/gone; mkdir prod/draft");
    let held = File::open(mount.path("prod/card/versions/v1")).unwrap();
    let rolled = File::open(mount.path("prod/card/versions/v2")).unwrap();
    mount.ok(
        "ln -sfn ../versions/v1 prod/card/stages/keep; for n in {3..13}; do printf %s $n > prod/card/current; done",
    );
    assert!(!mount.path("prod/card/versions/v2").exists());
    let kmsfs = |words: &str| mount.bash(&format!("$KMSFS key {words}"));
    let moved = kmsfs("move default prod/card");
    assert!(moved.status.success() && text(&moved.stdout) == "prod/card: under default\n", "{moved:?}");
    assert_eq!(mount.read("prod/card/cmk"), "default\n");
    mount.ok("echo Disabled > prod/.keys/payments/state");
    assert_eq!((mount.read("prod/card/current"), mount.read("prod/card/versions/v1")), ("13".into(), "pin".into()));
    let mut bytes = [0; 8];
    assert_eq!((held.read_at(&mut bytes, 0).unwrap(), &bytes[..3]), (3, &b"pin"[..]));
    assert_eq!((rolled.read_at(&mut bytes, 0).unwrap(), &bytes[..3]), (3, &b"two"[..]), "what is open alone follows");
    kill_worker(&mount);
    assert_eq!(rolled.read_at(&mut bytes, 0).unwrap(), 3, "in the next worker too");
    mount.ok("echo Disabled > prod/.keys/default/state");
    assert_eq!(errno(rolled.read_at(&mut bytes, 0)), libc::EKEYREVOKED);
    mount.ok("echo Enabled > prod/.keys/default/state");
    assert_eq!(mount.names("prod/card/versions").len(), 10);
    let move_to = |name: &str, key: &str| json!({ "Action": "MoveSecretToKey", "DKMSInstanceId": "prod", "SecretName": name, "EncryptionKeyId": key });
    for (name, key, code) in [
        ("card", "payments", "Rejected.Disabled"),
        ("card", "nothing", "Forbidden.KeyNotFound"),
        ("gone", "default", "Rejected.ResourceInDeleteWindow"),
        ("draft", "payments", "Forbidden.ResourceNotFound"),
    ] {
        assert_eq!(refused(&mount, move_to(name, key)), code, "{name} to {key}");
    }
    mount.ok("chmod 777 . prod prod/card; chmod 666 prod/card/current");
    let request = move_to("card", "default").to_string().replace('"', "\\\"");
    let theirs = format!(
        "setpriv --reuid 1234 --clear-groups bash -c \"exec 3<>.kmsfs/api; printf %s '{request}' >&3; cat <&3\""
    );
    assert!(mount.ok(&theirs).contains("Forbidden.NoPermission"), "it is the owner's to do");
}

/// A key that nobody uses waits for its end, in which it refuses what a disabled one does, and can be taken back.
#[test]
fn a_key_waits_for_its_end() {
    let mut mount = with_key();
    for (script, code) in [
        ("/bin/echo PendingDeletion > prod/.keys/payments/state", "Rejected.ResourceInUse"),
        ("/bin/echo PendingDeletion > prod/.keys/default/state", "Rejected.ResourceInUse"),
        ("rm -r prod/card; /bin/echo PendingDeletion > prod/.keys/payments/state", "Rejected.ResourceInUse"),
    ] {
        assert!(mount.fails(script).contains("Device or resource busy"), "{script}");
        assert_eq!(mount.last_code(), code, "{script}");
    }
    let said: Json = serde_json::from_str(&mount.read(".kmsfs/last-error")).unwrap();
    assert!(said["Message"].as_str().unwrap().contains("1 secrets or drafts are under the key"), "{said}");
    mount.ok("echo purge > prod/.deleted/card/state; mkdir prod/draft");
    mount.ok("echo 9 > prod/.instance/recovery-window; echo PendingDeletion > prod/.keys/payments/state");
    assert_eq!(mount.read("prod/.keys/payments/state"), "PendingDeletion\n");
    let info: Json = serde_json::from_str(&mount.read("prod/.keys/payments/info")).unwrap();
    let days = |when: &str| mount.ok(&format!("echo $(( ($(date -d {when} +%s) - $(date +%s) + 3600) / 86400 ))"));
    assert_eq!(days(info["DeleteDate"].as_str().unwrap()), "9\n", "{info}");
    for (script, said, code) in [
        ("/bin/echo payments > prod/draft/cmk", "Key has been revoked", "Rejected.PendingDeletion"),
        ("/bin/echo Disabled > prod/.keys/payments/state", "Device or resource busy", "Rejected.StateModifiedFailed"),
        (
            "/bin/echo PendingDeletion > prod/.keys/payments/state",
            "Device or resource busy",
            "Rejected.StateModifiedFailed",
        ),
    ] {
        assert!(mount.fails(script).contains(said), "{script}");
        assert_eq!(mount.last_code(), code, "{script}");
    }
    for (action, code) in [
        ("EnableKey", "Rejected.StateModifiedFailed"),
        ("DisableKey", "Rejected.StateModifiedFailed"),
        ("DestroyKey", "Rejected.StateModifiedFailed"),
        ("RotateKey", "Rejected.PendingDeletion"),
    ] {
        assert_eq!(refused(&mount, of_key(action, "payments")), code, "{action}");
    }
    mount.restart();
    assert_eq!(mount.read("prod/.keys/payments/state"), "PendingDeletion\n");
    mount.ok("echo Enabled > prod/.keys/payments/state; echo payments > prod/draft/cmk; echo v > prod/draft/current");
    assert_eq!(refused(&mount, of_key("CancelKeyDeletion", "payments")), "Rejected.StateModifiedFailed");
    for (days, code) in [
        ("6", "InvalidParameter"),
        ("367", "InvalidParameter"),
        ("x", "InvalidParameter"),
        ("7", "Rejected.ResourceInUse"),
    ] {
        let mut request = of_key("ScheduleKeyDeletion", "payments");
        request["PendingWindowInDays"] = json!(days);
        assert_eq!(refused(&mount, request), code, "{days}");
    }
    mount.ok("$KMSFS key create prod unused; $KMSFS key rm --pending-window 366 prod unused");
    assert_eq!(mount.read("prod/.keys/unused/state"), "PendingDeletion\n");
    let destroyed = mount.bash("$KMSFS key destroy prod unused");
    assert!(
        !destroyed.status.success() && text(&destroyed.stderr).contains("may be destroyed from 20"),
        "{destroyed:?}"
    );
    mount.ok("$KMSFS key restore prod unused");
    assert_eq!(mount.read("prod/.keys/unused/state"), "Enabled\n");
    mount.stop();
    assert!(mount.verify().status.success());
}

#[test]
fn keys_are_told_of_and_recorded() {
    let mount = with_key();
    mount.ok("echo Disabled > prod/.keys/payments/state");
    mount.fails("cat prod/card/current");
    mount.ok("echo Enabled > prod/.keys/payments/state");
    let told = |record: &Json| {
        ["action", "gesture", "outcome", "code", "secret"]
            .map(|member| record[member].as_str().unwrap_or("-").to_owned())
            .join(" ")
    };
    let records: Vec<String> = mount.records().iter().map(told).collect();
    for expected in [
        "CreateKey mkdir granted - .keys/payments",
        "DisableKey close granted - .keys/payments",
        "GetSecretValue open denied Rejected.Disabled card",
        "EnableKey close granted - .keys/payments",
    ] {
        assert_eq!(records.iter().filter(|record| *record == expected).count(), 1, "{expected}: {records:#?}");
    }
}

/// A key is forced to its end where secrets are under it, which are named; taken back, everything is as before.
#[test]
fn a_key_is_forced_to_its_end() {
    let mut mount = with_key();
    mount.ok("mkdir -m 700 prod/hidden; mkdir prod/hidden/pin; echo payments > prod/hidden/pin/cmk; printf x > prod/hidden/pin/current");
    mount.ok("chmod 755 . prod prod/card; chown 1234 prod");
    let schedule = json!({ "Action": "ScheduleKeyDeletion", "DKMSInstanceId": "prod", "KeyId": "payments", "PendingWindowInDays": 7 });
    assert_eq!(refused(&mount, schedule.clone()), "Rejected.ResourceInUse");
    let mut forced = schedule;
    forced["Force"] = true.into();
    let told = done(&mount, forced).to_string();
    assert!(told.contains("card") && told.contains("hidden/pin") && !told.contains("other"), "{told}");
    assert_eq!(mount.read("prod/.keys/payments/state"), "PendingDeletion\n");
    assert!(mount.fails("cat prod/card/current").contains("Key has been revoked"));
    assert_eq!(mount.last_code(), "Rejected.PendingDeletion");
    mount.ok("cat prod/card/info prod/card/tags; ls prod/card/versions");
    mount.ok("$KMSFS key restore prod payments; cat prod/card/current");
    mount.fails("$KMSFS key rm prod payments");
    let as_owner =
        "setpriv --reuid 1234 --regid 1234 --clear-groups $KMSFS key rm --force --pending-window 7 prod payments";
    let told = mount.ok(&format!("{as_owner} 2>&1"));
    assert!(told.contains("card") && !told.contains("hidden/pin") && !told.contains("other"), "{told}");
    assert!(mount.fails("$KMSFS key destroy prod payments").contains("may be destroyed"));
    mount.restart();
    assert!(mount.fails("cat prod/card/current").contains("Key has been revoked"));
    assert_eq!(mount.read("prod/other/current"), "other");
    assert_eq!(
        refused(
            &mount,
            json!({ "Action": "ScheduleKeyDeletion", "DKMSInstanceId": "prod", "KeyId": "default",
        "PendingWindowInDays": 7, "Force": true })
        ),
        "Rejected.ResourceInUse",
        "a default key stays"
    );
    mount.stop();
    assert!(mount.verify().status.success());
}
