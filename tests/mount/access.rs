//! Owner, group and permission bits, enforced by the kernel.

use std::os::unix::fs::MetadataExt;

use crate::harness::Mount;

/// Runs a script as user and group 1500 with supplementary groups.
fn as_user(mount: &Mount, groups: &str, script: &str) -> std::process::Output {
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups {groups}") };
    mount.bash(&format!("setpriv --reuid 1500 --regid 1500 {groups} bash -c '{script}'"))
}

#[track_caller]
fn may(mount: &Mount, groups: &str, script: &str, allowed: bool) {
    let output = as_user(mount, groups, script);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), allowed, "{script}: {said}");
    assert!(allowed || said.contains("denied") || said.contains("not permitted"), "{script}: {said}");
}

#[test]
fn a_new_secret_is_its_makers_own() {
    let mount = Mount::new();
    mount.ok("chmod 1777 prod");
    assert_eq!(mount.ok("stat -c %a prod"), "777\n", "set-id and sticky bits mean nothing here");
    may(&mount, "", "mkdir prod/mine && echo v > prod/mine/current && cat prod/mine/current", true);
    assert_eq!(
        mount.ok("stat -c '%u:%g %a' prod/mine prod/mine/current prod/mine/tags"),
        "1500:1500 750\n1500:1500 640\n1500:1500 640\n"
    );
    mount.secret("prod/roots", "v");
    for script in [
        "cat prod/roots/current",
        "ls prod/roots",
        "echo x > prod/roots/current",
        "rm -r prod/roots",
        "echo a=b >> prod/roots/tags",
    ] {
        may(&mount, "", script, false);
    }
    mount.ok("mkdir -m 700 prod/tight; stat -c %a prod/tight | grep 700; umask 077; mkdir prod/masked; stat -c %a prod/masked | grep 700");
}

#[test]
fn modes_and_owners_decide() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 755 prod/s");
    may(&mount, "", "cat prod/s/current", false);
    may(&mount, "", "cat prod/s/info", true);
    mount.ok("chmod 644 prod/s/current");
    assert_eq!(mount.ok("stat -c %a prod/s/versions/v1"), "644\n", "the bits of one value are those of all");
    may(&mount, "", "cat prod/s/current prod/s/versions/v1", true);
    may(&mount, "", "echo x > prod/s/current", false);
    mount.ok("chown :1600 prod/s; chmod 770 prod/s; chmod 660 prod/s/current");
    may(&mount, "", "cat prod/s/current", false);
    may(&mount, "1600", "cat prod/s/current && echo x > prod/s/current && ln -s ../versions/v1 prod/s/stages/x", true);
    mount.ok("chown 1500 prod/s/current");
    assert_eq!(
        mount.ok("stat -c %u prod/s prod/s/current prod/s/stages"),
        "1500\n1500\n1500\n",
        "the owner of a value is its secret's"
    );
    may(&mount, "", "chmod 700 prod/s && cat prod/s/current", true);
    may(&mount, "", "chown 0 prod/s", false);
}

#[test]
fn access_survives_rotation_restart_and_restore() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chown 1500:1600 prod/s; chmod 710 prod/s; chmod 600 prod/s/current; echo w > prod/s/current; sed -i s/w/x/ prod/s/current");
    mount.restart();
    let picture = "stat -c '%u:%g %a' prod/s prod/s/current prod/s/versions prod/s/versions/v3";
    let before = mount.ok(picture);
    assert_eq!(before, "1500:1600 710\n1500:1600 600\n1500:1600 710\n1500:1600 600\n");
    mount.ok("rm -r prod/s");
    assert_eq!(mount.ok("stat -c '%u:%g %a' prod/.deleted/s"), "1500:1600 710\n");
    mount.ok("mv prod/.deleted/s prod/s");
    assert_eq!(mount.ok(picture), before);
}

#[test]
fn a_user_restores_its_own_and_nobody_elses() {
    let mount = Mount::new();
    mount.ok("chmod 777 prod");
    mount.secret("prod/roots", "v");
    may(&mount, "", "mkdir prod/mine; echo v > prod/mine/current; rm -r prod/mine", true);
    mount.ok("rm -r prod/roots");
    may(&mount, "", "mv prod/.deleted/roots prod/roots", false);
    may(&mount, "", "echo purge > prod/.deleted/roots/state", false);
    may(&mount, "", "mv prod/.deleted/mine prod/mine && cat prod/mine/current", true);
}

#[test]
fn scratch_files_are_their_makers_alone() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 777 prod/s; echo secret > prod/s/.draft; chmod 644 prod/s/current");
    may(&mount, "", "cat prod/s/.draft", false);
    may(&mount, "", "ls -a prod/s", true);
    // An editor's backup of a value is no way around the value's bits.
    mount.ok("chmod 600 prod/s/current");
    may(&mount, "", "mv prod/s/current prod/s/current~", true);
    may(&mount, "", "cat prod/s/current~", false);
    let backup = std::fs::metadata(mount.path("prod/s/current~")).unwrap();
    assert_eq!((backup.uid(), backup.mode() & 0o777), (0, 0o600));
    assert_eq!(mount.read("prod/s/current"), "v", "and the value stays");
}

/// Whose the copy of a value is does not matter to who may make one.
#[test]
fn a_copy_counts_among_its_makers_files() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 777 prod/s; chmod 644 prod/s/current; mv prod/s/current prod/s/current~");
    may(&mount, "", "for n in $(seq 64); do touch prod/s/.f$n || exit 1; done", true);
    // One that is refused leaves the older one, which another has made.
    for script in ["mv prod/s/current prod/s/copy", "mv -f prod/s/current prod/s/current~"] {
        let refused = as_user(&mount, "", script);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("quota exceeded"), "{script}: {refused:?}");
    }
    assert_eq!(mount.read("prod/s/current~"), "v");
    mount.ok("mv prod/s/current prod/s/copy");
    assert_eq!(mount.read("prod/s/current"), "v");
}

/// Whoever may write a secret's directory, and not read its values, gets no byte of them by any gesture.
#[test]
fn no_gesture_goes_around_a_values_bits() {
    let mount = Mount::new();
    mount.secret("prod/s", "plaintext");
    mount.ok("chmod 777 prod prod/s; chmod 600 prod/s/current");
    may(&mount, "", "mkdir prod/mine; echo v > prod/mine/current; chmod 777 prod/mine", true);
    for script in [
        "cat prod/s/current",
        "cat prod/s/versions/v1",
        "mv prod/s/current prod/s/x && cat prod/s/x",
        "mv prod/s/current prod/mine/x.tmp; mv prod/mine/x.tmp prod/mine/current; grep plaintext prod/mine/current",
        "mv prod/s/current prod/mine/x.tmp2; mv prod/mine/x.tmp2 prod/mine/description; grep plaintext prod/mine/description",
        "mv prod/s/current prod/s/y; cp prod/s/y /dev/stdout",
        "exec 3<> prod/s/current; cat <&3",
        "ln -s ../versions/v1 prod/s/stages/z; cat prod/s/stages/z",
        "cat prod/s/../s/stages/ACSCurrent",
    ] {
        let output = as_user(&mount, "", script);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("plaintext"), "{script}");
        assert!(!output.status.success(), "{script}");
    }
    let held = as_user(&mount, "", "printf x >> prod/s/current");
    assert!(!held.status.success(), "an addition needs w on the value");
}

/// A name that another writer has just made is not opened unchecked by an open that meant to make it.
#[test]
fn a_race_to_make_a_version_reads_nothing() {
    let mount = Mount::new();
    mount.secret("prod/s", "0");
    mount.ok("chmod 777 prod/s; chmod 600 prod/s/current");
    let script = "import os\nleaked = 0\nfor n in range(2, 200):\n    for _ in range(20):\n        try:\n            fd = os.open(f\"prod/s/versions/v{n}\", os.O_RDWR | os.O_CREAT)\n            leaked += len(os.read(fd, 100)); os.close(fd)\n        except OSError: pass\nprint(leaked)";
    let mut reader = std::process::Command::new("setpriv");
    reader.args(["--reuid", "1500", "--regid", "1500", "--clear-groups", "/usr/bin/python3", "-c", script]);
    let reader = reader.current_dir(mount.root()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    for n in 2..200 {
        let _ = std::fs::write(mount.path("prod/s/current"), format!("value {n}"));
    }
    let output = reader.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "bytes were read without the right to");
}

/// Whoever the caller is, a lookup answers alike: a refusal would break other users' working directories.
#[test]
fn lookups_refuse_nobody() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 711 prod/s");
    may(&mount, "", "stat prod/s/current prod/s/tags > /dev/null", true);
    may(&mount, "", "cat prod/s/current", false);
    mount.ok("chmod 700 prod/s");
    may(&mount, "", "stat prod/s/current", false);
}

/// w on a secret's directory is the right to delete and to purge, as anywhere; `.deleted/` is sticky, so only who owns a secret
/// moves it out.
#[test]
fn who_may_write_a_secret_deletes_and_purges_it() {
    let mount = Mount::new();
    mount.ok("mkdir prod/closed prod/open; chmod 777 prod/open; chmod 755 prod/closed");
    for (above, rm_succeeds) in [("closed", false), ("open", true)] {
        mount.secret(&format!("prod/{above}/s"), "v");
        mount.ok(&format!("chgrp 1500 prod/{above}/s; chmod 770 prod/{above}/s"));
        may(&mount, "", &format!("rm -r prod/{above}/s"), rm_succeeds);
        let trashed = format!("prod/.deleted/{above}%2Fs");
        assert_eq!(mount.ok(&format!("ls {trashed}")), "info\nstate\n", "scheduled, whatever rm says of the directory");
        may(&mount, "", &format!("mv -T {trashed} prod/{above}/s"), false);
        may(&mount, "", &format!("echo purge > {trashed}/state"), true);
        assert!(mount.names("prod/.deleted").is_empty());
    }
}

/// All values of a secret have one mode; which tools set it.
#[test]
fn modes_that_tools_bring() {
    let mount = Mount::new();
    mount.secret("prod/s", "first");
    // (how a file of mode 604 becomes current, the mode of all values then)
    for (n, (how, mode)) in [
        ("cp f prod/s/current", "640"),
        ("cp -p f prod/s/current", "604"),
        ("install -m 600 f prod/s/current", "600"),
        ("cp -p f $ELSEWHERE/g; mv $ELSEWHERE/g prod/s/current", "604"),
        ("tar cf - --transform s/f/current/ f | tar xf - -C prod/s", "604"),
        ("rsync f prod/s/current", "640"),
        ("rsync -a f prod/s/current", "640"),
        ("rsync -a --inplace f prod/s/current", "604"),
        ("cp f prod/s/.f; chmod 604 prod/s/.f; mv prod/s/.f prod/s/current", "640"),
        ("sed -i s/v/w/ prod/s/current", "640"),
    ]
    .into_iter()
    .enumerate()
    {
        // A new length each time, so that rsync sees a change.
        let value = "v".repeat(10 + n);
        let script = format!(
            "export ELSEWHERE=$(mktemp -d); trap 'rm -r $ELSEWHERE' EXIT; chmod 640 prod/s/current; root=$PWD; \
             printf %s {value} > $ELSEWHERE/f; chmod 604 $ELSEWHERE/f; how='{how}'; how=${{how//prod/$root/prod}}; \
             cd $ELSEWHERE; eval \"$how\"; stat -c %a $root/prod/s/current $root/prod/s/tags"
        );
        assert_eq!(mount.ok(&script), format!("{mode}\n640\n"), "{how}");
    }
}
