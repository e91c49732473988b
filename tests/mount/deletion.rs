//! Deleting and restoring: whatever removes a secret, in whatever order, schedules it, and a restore brings all of it back.

use crate::harness::{Mount, errno};

/// A secret with everything that a secret can have, and one nested below it.
fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/db", "parent");
    mount.secret("prod/db/password", "one");
    mount.ok("cd prod/db/password; echo two > current; ln -s ../versions/v1 stages/canary; echo env=prod > tags; \
         echo text > description; chmod 700 .; chmod 600 current");
    mount
}

/// All that is to be seen of the secret.
fn picture(mount: &Mount) -> String {
    mount.ok(
        "cd prod/db/password; stat -c '%n %a %U %s' . * versions/* stages/*; cat current tags description policy cmk \
         versions/*; readlink stages/*; grep -v -e UpdateTime -e PlannedDelete info",
    )
}

#[test]
fn every_way_to_remove_schedules_and_mv_restores() {
    for script in [
        "rm -r password",
        "rm -rf password",
        "rm -f password/current",
        "unlink password/current; rmdir password/versions password/stages; rm password/*; rmdir password",
        "busybox rm -rf password",
        "find password -delete",
        "find password -depth -exec rm -rf {} +",
        "python3 -c \"import shutil; shutil.rmtree('password')\"",
        "perl -MFile::Path -e 'rmtree(\"password\")'",
        "rm -rf password/*; rmdir password",
    ] {
        let mount = secret();
        let before = picture(&mount);
        mount.bash(&format!("cd prod/db; {script}"));
        assert_eq!(mount.names("prod/.deleted"), ["db%2Fpassword"], "{script}");
        assert!(!mount.path("prod/db/password/current").exists(), "{script}");
        assert_eq!(mount.read("prod/db/current"), "parent", "{script}: only what was named");
        mount
            .ok("[ ! -d prod/db/password ] || rmdir prod/db/password; mv prod/.deleted/db%2Fpassword prod/db/password");
        assert_eq!(picture(&mount), before, "{script}");
        assert_eq!(mount.names("prod/.deleted"), [""; 0], "{script}");
    }
}

/// Mirroring an empty directory removes what a live secret gives up by itself, its own labels, and then the secret.
#[test]
fn a_mirror_of_nothing_schedules() {
    let mount = secret();
    mount.bash("rsync -r --delete --force $(mktemp -d)/ prod/db/password/");
    assert_eq!(mount.names("prod/.deleted"), ["db%2Fpassword"]);
    mount.ok("mv -T prod/.deleted/db%2Fpassword prod/db/password");
    assert_eq!(mount.read("prod/db/password/current"), "two\n");
    assert_eq!(mount.names("prod/db/password/versions"), ["v1", "v2"]);
}

/// The order of steps does not matter: each entry of a secret alone, then the rest.
#[test]
fn no_order_of_steps_destroys_anything() {
    let entries =
        ["current", "tags", "policy", "description", "cmk", "info", "versions/v1", "versions/v2", "stages/ACSCurrent"];
    for first in entries {
        let mount = secret();
        mount.bash(&format!("cd prod/db/password; rm -f {first}; rm -f {}; rmdir versions stages; cd ..; rmdir password; rm -rf password", entries.join(" ")));
        mount.ok("mv prod/.deleted/db%2Fpassword prod/db/password");
        assert_eq!(mount.read("prod/db/password/current"), "two\n", "{first} first");
        assert_eq!(mount.names("prod/db/password/versions"), ["v1", "v2"], "{first} first");
    }
}

#[test]
fn entries_of_a_live_secret_stay() {
    let mount = secret();
    for script in [
        "rm -f tags",
        "rm versions/v1",
        "rm info",
        "rmdir versions",
        "rm -r versions",
        "rmdir .",
        "mv tags versions/",
        "mv versions x",
    ] {
        mount.fails(&format!("cd prod/db/password; {script}"));
    }
    mount.fails("rmdir prod/db/password");
    mount.fails("mv prod/db/password prod/db/other");
    assert_eq!(
        errno(std::fs::rename(mount.path("prod/db/password"), mount.path("prod/x"))),
        libc::EPERM,
        "never EXDEV"
    );
    assert_eq!(errno(std::fs::remove_dir(mount.path("prod/db/password"))), libc::ENOTEMPTY);
    assert_eq!(errno(std::fs::remove_dir(mount.path("prod/db/password/versions"))), libc::ENOTEMPTY);
    assert_eq!(errno(std::fs::remove_file(mount.path("prod/db/password/tags"))), libc::EPERM);
    assert_eq!(mount.read("prod/db/password/current"), "two\n");
}

#[test]
fn a_deletion_survives_a_restart_and_waits_its_window() {
    let mut mount = secret();
    mount.ok("echo 7 > prod/.instance/recovery-window; rm -r prod/db/password");
    mount.restart();
    let info: serde_json::Value = serde_json::from_str(&mount.read("prod/.deleted/db%2Fpassword/info")).unwrap();
    let planned = humantime::parse_rfc3339(info["PlannedDeleteTime"].as_str().unwrap()).unwrap();
    let days = planned.duration_since(std::time::SystemTime::now()).unwrap().as_secs_f64() / 86_400.0;
    assert!((6.99..7.01).contains(&days), "{days}");
    mount.kill();
    mount.start();
    mount.ok("mv prod/.deleted/db%2Fpassword prod/db/password");
    assert_eq!(mount.read("prod/db/password/current"), "two\n");
}

#[test]
fn the_name_stays_taken() {
    let mount = secret();
    mount.ok("rm -r prod/db/password");
    assert_eq!(errno(std::fs::create_dir(mount.path("prod/db/password"))), libc::EEXIST);
    assert_eq!(mount.last_code(), "Rejected.ResourceInDeleteWindow");
    assert!(mount.read(".kmsfs/last-error").contains("restore"), "the hint says what to do");
    let elsewhere = std::fs::rename(mount.path("prod/.deleted/db%2Fpassword"), mount.path("prod/db/other"));
    assert_eq!(errno(elsewhere), libc::EPERM);
    mount.ok("mkdir prod/db/other; mv -T prod/.deleted/db%2Fpassword prod/db/password");
}

#[test]
fn the_trash_is_no_place_to_remove_from() {
    let mut mount = secret();
    mount.ok("rm -r prod/db/password");
    for script in [
        "rm -rf prod/.deleted",
        "rm -rf prod/.deleted/db%2Fpassword",
        "rmdir prod/.deleted/db%2Fpassword",
        "rm -f prod/.deleted/db%2Fpassword/info",
        "find prod/.deleted -delete",
        "busybox rm -rf prod",
        "rm -rf prod",
        "python3 -c \"import shutil; shutil.rmtree('prod')\"",
        "mv prod/.deleted/db%2Fpassword $OUT/",
    ] {
        mount.fails(script);
    }
    assert_eq!(errno(std::fs::remove_dir(mount.path("prod/.deleted/db%2Fpassword"))), libc::EPERM);
    assert_eq!(mount.names("prod/.deleted"), ["db", "db%2Fpassword"], "rm -rf of the instance has scheduled the rest");
    mount.restart();
    mount.ok("mv prod/.deleted/db prod/db; mv prod/.deleted/db%2Fpassword prod/db/password");
    assert_eq!(mount.read("prod/db/password/current"), "two\n");
    assert_eq!(mount.read("prod/db/current"), "parent");
}

#[test]
fn only_the_word_purges() {
    let mount = secret();
    mount.ok("rm -r prod/db/password");
    for word in ["Purge", "yes", "", "purge now"] {
        mount.fails(&format!("printf '{word}' | dd of=prod/.deleted/db%2Fpassword/state status=none"));
    }
    mount.ok("echo purge > prod/.deleted/db%2Fpassword/state");
    assert_eq!(mount.names("prod/.deleted"), [""; 0]);
    mount.ok("mkdir prod/db/password; printf new > prod/db/password/current");
    assert_eq!(mount.names("prod/db/password/versions"), ["v1"], "nothing of the old one comes back");
}

/// `install` and `mv` from another file system unlink first; a write that then fails leaves the old value current.
#[test]
fn a_replacement_that_fails_leaves_the_old_value() {
    let mount = secret();
    mount.ok("head -c 31000 /dev/zero > $OUT/big");
    for script in
        ["install $OUT/big prod/db/password/current", "cp --remove-destination $OUT/big prod/db/password/current"]
    {
        assert!(mount.fails(script).contains("too large"), "{script}");
        assert_eq!(mount.read("prod/db/password/current"), "two\n", "{script}");
        assert_eq!(mount.names("prod/.deleted"), [""; 0], "{script}");
    }
}

#[test]
fn a_deleted_secret_refuses_through_what_is_still_open() {
    use std::io::Read;
    let mount = secret();
    let mut open = std::fs::File::open(mount.path("prod/db/password/current")).unwrap();
    let writer = std::fs::OpenOptions::new().write(true).open(mount.path("prod/db/password/tags"));
    mount.ok("rm -r prod/db/password");
    assert_eq!(errno(open.read(&mut [0; 10])), libc::EIDRM);
    assert_eq!(open.metadata().unwrap().len(), 4, "though what it was can still be asked");
    drop(writer);
    mount.ok("mv prod/.deleted/db%2Fpassword prod/db/password");
    assert_eq!(open.read(&mut [0; 10]).unwrap(), 4);
}

/// bash's own printf hears only of its write.
#[test]
fn a_write_to_a_deleted_secret_is_told_at_the_write() {
    let mount = secret();
    for file in ["current", "tags", "description", "versions/v9"] {
        let script = format!(
            "cd prod/db; exec 4> password/{file}; rm -r password; printf x >&4; rc=$?; exec 4>&-; \
             mv -T ../.deleted/db%2Fpassword password; exit $rc"
        );
        assert!(mount.fails(&script).contains("Identifier removed"), "{file}");
        assert_eq!(mount.read("prod/db/password/current"), "two\n");
    }
}

/// The kernel knows a directory by its inode number: one that comes again must not be taken for the one that went.
#[test]
fn what_is_held_of_one_life_does_not_disturb_the_next() {
    let mount = secret();
    mount.ok(
        "cd prod; trash=.deleted/db%2Fpassword; s=db/password; exec 5< $s/versions 6< $s/stages; \
         for n in 1 2 3; do rm -r $s; exec 3< $trash/info; mv -T $trash $s; rm -r $s; exec 3<&-; mv -T $trash $s; done; \
         (cd $s/versions; ls -l . > /dev/null; cd ..; rm current; mv -T ../../$trash .; ls versions > /dev/null); \
         cat $s/current > /dev/null; ls -l $s $s/versions $s/stages > /dev/null",
    );
    let held = mount.bash(
        "cd prod/db; exec 5< password/versions; rm -r password; mv -T ../.deleted/db%2Fpassword password; \
         python3 -c 'import os; print(os.fstat(5).st_size, os.listdir(5))'",
    );
    let said = String::from_utf8_lossy(&held.stderr).into_owned();
    assert!(
        held.status.success() || said.contains("FileNotFoundError"),
        "a directory that went, never an I/O error: {said}"
    );
}

#[test]
fn a_parent_goes_and_its_children_stay() {
    let mount = secret();
    mount.ok("rm prod/db/current");
    assert_eq!(mount.names("prod/.deleted"), ["db"]);
    assert_eq!(mount.names("prod/db"), ["password"], "a name without a secret lists its directories alone");
    assert_eq!(errno(std::fs::remove_dir(mount.path("prod/db"))), libc::ENOTEMPTY);
    mount.ok("mv -T prod/.deleted/db prod/db");
    assert_eq!(mount.read("prod/db/current"), "parent");
    assert_eq!(mount.read("prod/db/password/current"), "two\n");
}

#[test]
fn drafts_go_at_once() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/a/b; echo x=y > prod/a/b/tags; rm -r prod/a");
    assert_eq!(mount.names("prod/.deleted"), [""; 0]);
    mount.ok("mkdir -p prod/a/b; find prod/a -delete; mkdir prod/a");
    assert_eq!(mount.read("prod/a/tags"), "");
    mount.ok("rmdir prod/a; mkdir prod/a; echo v > prod/a/versions/v1; cat prod/a/current");
}
