//! The way to a secret whose policy lets somebody come: it is open to those, at once and no longer than that, and shows nobody anything else.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Mount, text};
use crate::people::{self, OUTSIDER, SHAREE, allow, as_user, home_number, remount};

/// A right that ends at a time has ended by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user `uid`, without groups, may not do `script`.
#[track_caller]
fn denied(mount: &Mount, uid: u32, script: &str) {
    people::denied(mount, &as_user(uid, script));
}

/// `prod/closed`, which is root's alone; below it the secret `s`, and everybody's `open` with its secret and directory.
fn mount() -> (Mount, String) {
    let mount = Mount::new();
    mount.ok("chmod 755 .; chmod 700 prod; mkdir -p prod/closed/deep prod/closed/open/dir; chmod 777 prod/closed/open prod/closed/open/dir");
    mount.secret("prod/closed/deep/s", "pin");
    mount.secret("prod/closed/open/secret", "plaintext");
    mount.ok("chmod 777 prod/closed/open/secret; chmod 666 prod/closed/open/secret/current; echo a=b > prod/closed/open/secret/tags");
    mount.ok("chmod 700 prod/closed prod/closed/deep prod/closed/deep/s; chmod 600 prod/closed/deep/s/current");
    let home = home_number(&mount);
    (mount, home)
}

#[test]
fn a_way_opens_and_closes_with_the_policy() {
    let (mut mount, home) = mount();
    let (read, file) = ("cat prod/closed/deep/s/current", "prod/closed/deep/s/policy");
    let policy = allow(&home, "user/4001", &["kms:*"]);
    let shut = |mount: &Mount| {
        denied(mount, 4001, read);
        denied(mount, 4001, "cd prod");
        denied(mount, 4001, "cd prod/closed/open");
    };
    shut(&mount);
    mount.write(file, &policy);
    for round in 0..2 {
        assert_eq!(mount.ok(&as_user(4001, read)), "pin", "round {round}");
        mount.ok(&as_user(4001, "ls prod/closed/deep/s prod/closed/deep/s/versions; stat prod/closed/deep/s/current"));
        for listed in ["prod", "prod/closed", "prod/closed/deep"] {
            denied(&mount, 4001, &format!("ls {listed}"));
        }
        denied(&mount, 4002, read);
        mount.restart();
    }
    mount.ok("rm -r prod/closed/deep/s");
    shut(&mount);
    mount.ok("rmdir prod/closed/deep/s prod/closed/deep 2> /dev/null; mkdir -p prod/closed/deep; chmod 700 prod/closed/deep; mv prod/.deleted/closed%2Fdeep%2Fs prod/closed/deep/s");
    assert_eq!(mount.ok(&as_user(4001, read)), "pin");
    mount.ok(&format!("echo > {file}"));
    shut(&mount);
    mount.write(file, &policy);
    assert_eq!(mount.ok(&as_user(4001, read)), "pin");
    mount.ok("rm -r prod/closed/deep/s; echo purge > prod/.deleted/closed%2Fdeep%2Fs/state");
    shut(&mount);
    mount.stop();
    assert!(mount.verify().status.success(), "{}", text(&mount.verify().stdout));
}

/// A directory that is moved takes the way along.
#[test]
fn a_way_moves_with_its_directory() {
    let (mut mount, home) = mount();
    mount.write("prod/closed/deep/s/policy", allow(&home, "user/4001", &["kms:*"]));
    mount.ok("mkdir -m 700 prod/elsewhere");
    let moved = mount.bash("mv prod/closed/deep prod/elsewhere/deep");
    if moved.status.success() {
        assert_eq!(mount.ok(&as_user(4001, "cat prod/elsewhere/deep/s/current")), "pin");
        denied(&mount, 4001, "cd prod/closed/open");
    } else {
        assert_eq!(mount.ok(&as_user(4001, "cat prod/closed/deep/s/current")), "pin");
    }
    mount.stop();
    assert!(mount.verify().status.success(), "{}", text(&mount.verify().stdout));
}

/// What stands beside the secret is as closed as it was, whatever its own bits are: for who was let in and for everybody.
#[test]
fn a_way_that_a_policy_opens_shows_nothing_else() {
    let (mount, home) = mount();
    mount.write("prod/closed/deep/s/policy", allow(&home, "user/4001", &["kms:*"]));
    let beside = "prod/closed/open";
    mount.ok("mkdir prod/gone; echo v > prod/gone/current; rm -r prod/gone");
    let mut wrong = Vec::new();
    for uid in [4001, 4002] {
        for script in [
            "ls @",
            "ls @/dir",
            "ls @/secret",
            "ls @/secret/versions",
            "cat @/secret/current",
            "cat @/secret/versions/v1",
            "cat @/secret/stages/ACSCurrent",
            "cat @/secret/info",
            "cat @/secret/tags",
            "cat @/secret/policy",
            "cat @/secret/cmk",
            "head -c 1 < @/secret/current",
            "dd if=@/secret/versions/v1 bs=1 count=1",
            "cp @/secret/current /dev/null",
            "printf x > @/secret/current",
            "printf x >> @/secret/current",
            "printf x > @/secret/versions/v7",
            "truncate -s 0 @/secret/current",
            "echo x > @/secret/description",
            "echo x=y >> @/secret/tags",
            "ln -s ../versions/v1 @/secret/stages/x",
            "rm @/secret/current",
            "mkdir @/new",
            "mkdir @/dir/new",
            "rmdir @/dir",
            "mv @/dir @/other",
            "printf x > @/secret/.scratch",
            "mv @/secret/current @/secret/backup",
            "cat prod/.instance/info",
            "cat prod/.instance/shares",
            "ls prod/.keys",
            "ls prod/.deleted",
            "ls prod/.deleted/gone",
            "cat prod/.deleted/gone/info",
            "cat prod/.deleted/gone/state",
            "cat prod/.instance/access-quota",
            "cat prod/.instance/state",
            "cat prod/.instance/recovery-window",
            "cat prod/.keys/default/policy",
            "ls prod/.instance",
            "ls prod/.keys/default",
            "cat prod/.keys/default/info",
            "mkdir prod/new",
            "mkdir prod/closed/new",
            "mkdir prod/closed/deep/new",
        ] {
            let output = mount.bash(&as_user(uid, &script.replace('@', beside)));
            let said = text(&output.stderr);
            if output.status.success() || !(said.contains("denied") || said.contains("not permitted")) {
                let line = format!("{uid}: {script}: {}{said}", text(&output.stdout));
                wrong.push(line);
            }
        }
    }
    assert_eq!(mount.read("prod/closed/open/secret/current"), "plaintext");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a value can be had by, other than by reading it.
#[test]
fn who_may_write_alone_reads_nothing() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    mount.write(
        &format!("{s}/policy"),
        allow(&home, "user/4001", &["kms:PutSecretValue", "kms:Describe*", "kms:List*"]),
    );
    for script in [
        "cat @/current",
        "cat @/versions/v1",
        "exec 3<> @/current; cat <&3",
        "exec 3<> @/versions/v1; cat <&3",
        "mv @/current @/backup && cat @/backup",
        "cp @/current @/backup && cat @/backup",
        "sed -i s/p/q/ @/current",
        "ln @/current @/hard && cat @/hard",
    ] {
        let output = mount.bash(&as_user(4001, &script.replace('@', s)));
        assert!(!output.status.success() && !text(&output.stdout).contains("pin"), "{script}: {output:?}");
    }
    assert_eq!(mount.read(&format!("{s}/current")), "pin");
    mount.ok(&as_user(4001, &format!("printf %s new > {s}/current; printf %s named > {s}/versions/mine")));
    assert_eq!(mount.read(&format!("{s}/current")), "named");
    denied(&mount, 4001, &format!("cat {s}/versions/mine"));
    // What it may be is not told bit by bit either: a guess at the beginning is answered as any other.
    let guess = |with: &str| {
        let script = format!(
            "/usr/bin/python3 -c \"import os; fd = os.open(\\\"{s}/versions/v1\\\", os.O_WRONLY); os.write(fd, b\\\"{with}\\\")\""
        );
        mount.bash(&as_user(4001, &script)).status.code()
    };
    assert_eq!(guess("p"), guess("x"), "a value can be found out a byte at a time by who may only write");
}

/// Denied is denied, also to the owner and to root, by each way to a value.
#[test]
fn who_is_denied_finds_no_way_around() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    mount.ok(&format!("chown 4001:4001 prod/closed prod/closed/deep {s} prod; chmod 777 {s}; chmod 666 {s}/current"));
    let deny = json!({ "Version": "1", "Statement": [{ "Effect": "Deny", "Principal": { "RAM": [format!("acs:ram::{home}:*")] },
        "Action": "kms:GetSecretValue", "Resource": "*" }] });
    mount.ok(&format!("printf %s old > {s}/versions/v2; printf %s mine > {s}/.draft"));
    mount.write(&format!("{s}/policy"), deny.to_string());
    let link = mount.dir.path().join("link");
    std::os::unix::fs::symlink(mount.path(s), &link).unwrap();
    std::fs::set_permissions(mount.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for script in [
        "cat @/current",
        "cat @/versions/v1",
        "cat @/stages/ACSPrevious",
        "cat $OUT/link/current",
        "exec 3<> @/current; cat <&3",
        "mv @/current @/backup; cat @/backup",
        "sed -n p @/current",
        "sed -i s/x/y/ @/current",
        "cp @/current $OUT/copy",
        "cat /proc/self/root$PWD/@/current",
        "$KMSFS get @",
        "$KMSFS get @/versions/v1",
        "tail -c 1 @/versions/v1",
        "/usr/bin/python3 -c \"import mmap; f = open(\\\"@/versions/v1\\\"); print(mmap.mmap(f.fileno(), 3, mmap.MAP_PRIVATE, mmap.PROT_READ)[:])\"",
        "dd if=@/versions/v1 iflag=direct bs=4096",
        "printf %s +more >> @/current",
    ] {
        for uid in [0, 4001] {
            let output = mount.bash(&as_user(uid, &script.replace('@', s)));
            let told = text(&output.stdout);
            assert!(!told.contains("pin") && !told.contains("old"), "{uid}: {script}: {output:?}");
            if !script.contains(">>") {
                assert!(!output.status.success(), "{uid}: {script}");
            }
        }
    }
    mount.ok(&as_user(4001, &format!("echo > {s}/policy; cat {s}/versions/v1")));
}

/// A right with an end ends there, for what is open and for what is mapped.
#[test]
fn a_right_that_ends_at_a_time_ends_then() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    let soon = mount.ok("date -u -d '+3 seconds' +%Y-%m-%dT%H:%M:%SZ");
    let until = json!({ "Version": "1", "Statement": [{ "Effect": "Allow", "Principal": { "RAM": [format!("acs:ram::{home}:user/4001")] },
        "Action": "kms:*", "Resource": "*", "Condition": { "DateLessThan": { "acs:CurrentTime": soon.trim() } } }] });
    mount.write(&format!("{s}/policy"), until.to_string());
    let began = Instant::now();
    let reads = format!(
        "import os\nfd = os.open(\"{s}/versions/v1\", os.O_RDONLY)\nn = 0\ntry:\n    while True:\n        assert os.pread(fd, 9, 0) == b\"pin\"; n += 1\nexcept PermissionError:\n    print(n > 0)\n"
    );
    std::fs::write(mount.dir.path().join("reads.py"), reads).unwrap();
    let told = mount.ok("setpriv --reuid 4001 --regid 4001 --clear-groups /usr/bin/python3 - < $OUT/reads.py");
    assert_eq!(told, "True\n");
    assert!(began.elapsed() < PATIENCE);
    denied(&mount, 4001, &format!("cat {s}/current"));
}

/// Of another account even root is bound by what is not its own.
#[test]
fn another_accounts_root_is_no_root_here() {
    let (mut mount, _) = mount();
    mount.secret("prod/gone", "v");
    mount.ok("rm -r prod/gone; mkdir prod/.keys/k prod/draft");
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    for account in [SHAREE, OUTSIDER] {
        remount(&mut mount, Some(account));
        let s = "prod/closed/open/secret";
        for script in [
            "chmod 777 @",
            "chown 4001 @",
            "chmod 777 @/current",
            "chmod 777 prod",
            "chown 4001 prod",
            "chmod 777 prod/closed",
            "chmod 700 .",
            "chown 4001 .",
            "mkdir prod/.keys/new",
            "echo Disabled > prod/.keys/k/state",
            "echo PendingDeletion > prod/.keys/k/state",
            "echo > prod/.keys/k/policy",
            "echo Unavailable > prod/.instance/state",
            "echo > prod/.instance/shares",
            "echo 1 > prod/.instance/access-quota",
            "echo 7 > prod/.instance/recovery-window",
            "echo purge > prod/.deleted/gone/state",
            "mv prod/.deleted/gone prod/gone",
            "rm -r @",
            "rm @/current",
            "echo > @/policy",
            "echo k > prod/draft/cmk",
            "printf x > prod/draft/current",
            "cat @/current",
            "cat @/policy",
            "ls @/versions",
            "mkdir instance",
            "$KMSFS get @",
            "$KMSFS rm @",
            "$KMSFS key create prod x",
            "$KMSFS key rotate prod k",
            "$KMSFS seal prod",
            "$KMSFS policy show @",
            "$KMSFS policy test @ --as root --action kms:GetSecretValue",
            "rmdir prod/draft",
            "mv prod/closed prod/moved",
            "echo x > @/.scratch",
        ] {
            let output = mount.bash(&script.replace('@', s));
            let said = text(&output.stderr);
            println!("{account}: {script}: {} {said}", output.status);
            assert!(!output.status.success(), "{account}: {script}");
        }
        remount(&mut mount, None);
        assert_eq!(mount.read("prod/closed/open/secret/current"), "plaintext");
        assert_eq!(mount.names("prod/.deleted"), ["gone"]);
    }
}

/// A map of what a policy lets a user read for a while.
#[test]
fn a_map_ends_with_a_right_that_ends_at_a_time() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    let soon = mount.ok("date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ");
    let until = json!({ "Version": "1", "Statement": [{ "Effect": "Allow", "Principal": { "RAM": [format!("acs:ram::{home}:user/4001")] },
        "Action": "kms:*", "Resource": "*", "Condition": { "DateLessThan": { "acs:CurrentTime": soon.trim() } } }] });
    mount.write(&format!("{s}/policy"), until.to_string());
    let script = format!(
        "import mmap, os\nf = open(\"{s}/versions/v1\")\ntry: m = mmap.mmap(f.fileno(), 3, mmap.MAP_PRIVATE, mmap.PROT_READ)\nexcept OSError: print(\"refused\"); os._exit(0)\n\
         print(m[:].decode(), flush=True)\nwhile True:\n    try: os.close(os.open(\"{s}/versions/v1\", os.O_RDONLY))\n    except PermissionError: break\nprint(m[:].decode())\n"
    );
    std::fs::write(mount.dir.path().join("maps.py"), script).unwrap();
    let output = mount.bash("setpriv --reuid 4001 --regid 4001 --clear-groups /usr/bin/python3 - < $OUT/maps.py");
    assert!(!text(&output.stdout).contains("pin\npin"), "it goes on showing what may not be read any more: {output:?}");
}

/// The bits that others are shown on the way are no bits that somebody has given: chmod(1) of what it is shown gives them to nobody.
#[test]
fn a_relative_chmod_keeps_what_a_policy_shows_out_of_the_bits() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    mount.write(&format!("{s}/policy"), allow(&home, "user/4001", &["kms:*"]));
    mount.ok(&format!(
        "chmod u+rx prod prod/closed prod/closed/deep {s}; chmod u+rw {s}/current; chmod g-w {s} {s}/current"
    ));
    // What the bits give needs no statement: this is where somebody comes in whom nobody has let in.
    denied(&mount, 4002, &format!("cat {s}/current"));
    mount.ok(&format!("echo > {s}/policy"));
    let bits = mount.ok(&format!("stat -c %a prod prod/closed prod/closed/deep {s} {s}/current"));
    assert_eq!(bits, "700\n700\n700\n700\n600\n");
    denied(&mount, 4002, &format!("cat {s}/current"));
}

/// A copy has the mode that its maker wants, unless that is asked to be the one that the file shows.
#[test]
fn a_copy_has_the_mode_that_was_shown_where_that_is_asked_for() {
    let (mount, home) = mount();
    let s = "prod/closed/deep/s";
    mount.write(&format!("{s}/policy"), allow(&home, "user/4001", &["kms:*"]));
    let modes = mount.ok(&format!(
        "umask 077; cp {s}/current $OUT/plain; install -m 600 {s}/current $OUT/installed; cp -p {s}/current $OUT/shown; \
         stat -c %a $OUT/plain $OUT/installed $OUT/shown"
    ));
    assert_eq!(modes, "600\n600\n666\n");
}
