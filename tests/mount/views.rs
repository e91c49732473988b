//! Views: mounts of parts of the tree, each for one principal.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::harness::{KMSFS, Mount, ends_within, errno, run};
use crate::keeper::kill_worker;
use crate::people::as_user;
use crate::watchers::Watcher;

const PATIENCE: Duration = Duration::from_secs(30);

/// A mount with some secrets, whose directory everybody comes into.
fn tree() -> Mount {
    let mount = Mount::new();
    fs::set_permissions(mount.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (path, value) in
        [("prod/db/password", "one"), ("prod/db/user", "app"), ("prod/tls", "key"), ("prod/other", "x")]
    {
        mount.secret(path, value);
    }
    mount
}

/// Waits until something is so that nobody tells of.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A view with `options`, on a directory of its own called `name`.
fn view(mount: &Mount, name: &str, options: &str) -> PathBuf {
    mount.ok(&format!("mkdir $OUT/{name}; $KMSFS view . {options} --read-only $OUT/{name}"));
    mount.dir.path().join(name)
}

#[test]
fn a_part_of_the_tree_is_there_and_nothing_else() {
    let mount = tree();
    view(&mount, "v", "--as root --only prod/db,prod/tls");
    let found = mount.ok("cd $OUT/v; find . -maxdepth 4 | sort | grep -v -e versions -e stages -e fields");
    let entries = |secret: &str| {
        let names = ["cmk", "current", "description", "info", "policy", "rotation", "tags"];
        names.map(|name| format!("{secret}/{name}")).join("\n")
    };
    let expected = [
        ".\n./prod\n./prod/db\n./prod/db/password",
        &entries("./prod/db/password"),
        "./prod/db/user",
        &entries("./prod/db/user"),
        "./prod/tls",
        &entries("./prod/tls"),
        "",
    ];
    assert_eq!(found, expected.join("\n"));
    for path in [
        "prod/other",
        "prod/other/current",
        "prod/.keys",
        "prod/.instance",
        "prod/.deleted",
        ".kmsfs",
        "prod/d",
        "test",
    ] {
        assert!(!mount.dir.path().join("v").join(path).exists(), "{path}");
    }
    assert_eq!(mount.ok("cat $OUT/v/prod/db/password/current $OUT/v/prod/tls/versions/v1"), "onekey");
    // Its dot and its dot-dot are directories as others are.
    mount.ok("cd $OUT/v/prod/db/password; test \"$(cat ../../tls/current)\" = key; cd ../../..; test -d prod; stat . > $OUT/stat");
}

/// Whoever comes by it is its principal: who could not read the whole tree can, and root is no more than that.
#[test]
fn all_who_come_are_its_principal() {
    let mount = tree();
    mount.ok("chmod 751 prod prod/db; chgrp 4001 prod/db/password; chmod 750 prod/db/password; chmod 640 prod/db/password/current");
    view(&mount, "web", "--as role/4001 --only prod/db");
    view(&mount, "none", "--as user/4002 --only prod/db");
    for script in ["cat $OUT/web/prod/db/password/current", "test -r $OUT/web/prod/db/password/current"] {
        mount.ok(script);
        mount.ok(&as_user(4009, script));
        mount.ok(&as_user(4001, script));
    }
    for script in [
        "cat $OUT/none/prod/db/password/current",
        "test -r $OUT/none/prod/db/password/current",
        "ls $OUT/none/prod/db/password",
        "cat $OUT/web/prod/db/user/current",
        "cat $OUT/web/prod/db/password/policy; echo x > $OUT/web/prod/db/password/policy",
        "echo x > $OUT/web/prod/db/password/current",
        "rm $OUT/web/prod/db/password/current",
        "mkdir $OUT/web/prod/db/new",
        "mkdir $OUT/web/prod/new",
        "chmod 777 $OUT/web/prod/db/password",
        "test -w $OUT/web/prod/db/password/current",
        "echo x > $OUT/web/prod/db/password/.tmp",
        "mv $OUT/web/prod/db/password/current $OUT/web/prod/db/password/.b",
    ] {
        mount.fails(script);
        mount.fails(&as_user(4001, script));
    }
    assert_eq!(mount.read("prod/db/password/current"), "one");
    let records = mount.records();
    let role =
        |record: &&serde_json::Value| record["principal"].as_str().is_some_and(|name| name.ends_with(":role/4001"));
    assert!(records.iter().filter(role).any(|record| record["action"] == "GetSecretValue"), "as whom it was read");
    // What somebody has in memory is in no view.
    mount.ok("echo secret > prod/db/password/.tmp; ! cat $OUT/web/prod/db/password/.tmp; ! ls -A $OUT/web/prod/db/password | grep tmp; rm prod/db/password/.tmp");
    // What is decided is decided anew: the group loses it.
    let held = File::open(mount.dir.path().join("web/prod/db/password/current")).unwrap();
    assert_eq!(held.read_at(&mut [0; 9], 0).unwrap(), 3);
    mount.ok("chmod 600 prod/db/password/current");
    assert_eq!(errno(held.read_at(&mut [0; 9], 0)), libc::EACCES);
    mount.fails("cat $OUT/web/prod/db/password/current");
}

#[test]
fn a_flat_one_has_a_file_for_each_secret() {
    let mount = tree();
    mount.secret("prod/db/app/token", "t");
    let flat = view(&mount, "flat", "--as root --only prod/db,prod/tls --layout flat");
    assert_eq!(mount.ok("ls $OUT/flat"), "app%2Ftoken\npassword\ntls\nuser\n");
    assert_eq!(mount.ok("cat $OUT/flat/*"), "tonekeyapp");
    assert_eq!(mount.ok("stat -c '%F %s' $OUT/flat/password"), "regular file 3\n");
    // A rotation is there at once, and what is made and what goes.
    mount.write("prod/db/password/current", "second");
    assert_eq!(mount.ok("cat $OUT/flat/password; stat -c %s $OUT/flat/password"), "second6\n");
    mount.secret("prod/db/new", "n");
    mount.ok("rm -r prod/db/user; test -e $OUT/flat/new; test ! -e $OUT/flat/user; ! ls $OUT/flat | grep user");
    assert_eq!(mount.ok("ls $OUT/flat | wc -l"), "4\n");
    for script in [
        "echo x > $OUT/flat/password",
        "echo x > $OUT/flat/other",
        "mkdir $OUT/flat/d",
        "rm $OUT/flat/password",
        "mv $OUT/flat/password $OUT/flat/x",
    ] {
        assert!(mount.fails(script).contains("Read-only"), "{script}");
    }
    let many: Vec<String> = (0..300).map(|n| format!("prod/db/s{n:03}")).collect();
    many.iter().for_each(|path| mount.secret(path, "v"));
    assert_eq!(fs::read_dir(flat).unwrap().count(), 304);
}

#[test]
fn a_label_stands_for_current() {
    let mount = tree();
    mount.write("prod/db/password/current", "{\"a\":\"stable\"}");
    view(&mount, "canary", "--as root --only prod/db --label canary");
    assert_eq!(mount.ok("cat $OUT/canary/prod/db/password/current"), "{\"a\":\"stable\"}");
    mount.ok("$KMSFS put --version-id new --stage canary prod/db/password <<< '{\"a\":\"new\",\"b\":\"x\"}'");
    assert_eq!(mount.read("prod/db/password/fields/a"), "stable");
    assert_eq!(
        mount.ok("cd $OUT/canary/prod/db/password; cat current fields/a dotenv; stat -c %s current dotenv; ls fields"),
        "{\"a\":\"new\",\"b\":\"x\"}\nnewa=new\nb=x\n20\n10\na\nb\n"
    );
    mount.ok("ln -sfn ../versions/v1 prod/db/password/stages/canary");
    assert_eq!(mount.ok("cat $OUT/canary/prod/db/password/current; ls $OUT/canary/prod/db/password/fields"), "one");
    mount.ok("rm prod/db/password/stages/canary");
    assert_eq!(mount.ok("cat $OUT/canary/prod/db/password/current"), "{\"a\":\"stable\"}");
    assert!(mount.fails("echo x > $OUT/canary/prod/db/password/current").contains("Read-only"));
}

#[test]
fn a_read_only_one_changes_nothing() {
    let mount = tree();
    view(&mount, "ro", "--as root --only prod/db");
    for script in [
        "echo x > $OUT/ro/prod/db/password/current",
        "echo x > $OUT/ro/prod/db/password/versions/v9",
        "echo a=b >> $OUT/ro/prod/db/password/tags",
        "rm $OUT/ro/prod/db/password/current",
        "rm -r $OUT/ro/prod/db/password",
        "mkdir $OUT/ro/prod/db/new",
        "ln -sfn ../versions/v1 $OUT/ro/prod/db/password/stages/l",
        "mv $OUT/ro/prod/db/password $OUT/ro/prod/db/moved",
        "chmod 777 $OUT/ro/prod/db/password",
        "touch $OUT/ro/prod/db/password/current",
        "test -w $OUT/ro/prod/db/password/current",
    ] {
        let said = mount.fails(script);
        assert!(said.contains("Read-only") || script.starts_with("test"), "{script}: {said}");
    }
    assert_eq!(mount.names("prod/db/password/versions"), ["v1"]);
}

/// What is changed in the whole tree is seen at once: the kernel keeps nothing of a view.
#[test]
fn changes_are_seen_at_once() {
    let mount = tree();
    view(&mount, "v", "--as root --only prod/db");
    mount.ok("find $OUT/v > $OUT/found; stat $OUT/v/prod/db/password $OUT/v/prod/db/password/current > $OUT/found");
    mount.ok("printf second > prod/db/password/current; cd $OUT/v/prod/db/password; test $(cat current) = second; test $(stat -c %s current) = 6; test -e versions/v2");
    mount.ok("mkdir prod/db/new; test -d $OUT/v/prod/db/new; printf n > prod/db/new/current; test $(cat $OUT/v/prod/db/new/current) = n");
    mount.ok("rm -r prod/db/user; test ! -e $OUT/v/prod/db/user; ! ls $OUT/v/prod/db | grep user");
    mount.ok("mv prod/.deleted/db%2Fuser prod/db/user; test $(cat $OUT/v/prod/db/user/current) = app");
    mount.ok("echo a=b > prod/db/new/tags; grep -q a=b $OUT/v/prod/db/new/tags; ln -s ../versions/v1 prod/db/new/stages/l; test $(cat $OUT/v/prod/db/new/stages/l) = n");
    mount.ok("$KMSFS seal prod; ! cat $OUT/v/prod/db/new/current; $KMSFS unseal prod; test $(cat $OUT/v/prod/db/new/current) = n");
}

/// The kernel says nothing of files that were open when a connection is ended by force.
#[test]
fn what_was_open_in_one_that_is_ended_is_let_go() {
    let mount = tree();
    let path = view(&mount, "v", "--as root --only prod/db").join("prod/db/password/current");
    let open = |count: u64| {
        let line = format!("kmsfs_open_files{{sort=\"value\"}} {count}\n");
        move |mount: &Mount| mount.read(".kmsfs/metrics").contains(&line)
    };
    let held = File::open(&path).unwrap();
    assert!(open(1)(&mount));
    run(Command::new(KMSFS).arg("abort").arg(mount.dir.path().join("v")));
    until("it is let go", || open(0)(&mount));
    assert_eq!(errno(held.read_at(&mut [0; 9], 0)), libc::ENOTCONN);
    until("the view is known to be gone", || mount.ok("$KMSFS view . --json") == "[]\n");
}

#[test]
fn a_rotation_is_told_in_it() {
    let mount = tree();
    let tree = view(&mount, "tree", "--as root --only prod/db").join("prod/db/password/current");
    let flat = view(&mount, "flat", "--as root --only prod/db --layout flat ").join("password");
    let watcher = Watcher::new(&[tree.clone(), flat.clone()]);
    mount.write("prod/db/password/current", "two");
    watcher.all_tell(&tree, "two");
    // What is not in it is told of nowhere, and breaks nothing.
    mount.write("prod/other/current", "y");
    kill_worker(&mount);
    mount.write("prod/db/password/current", "three");
    watcher.all_tell(&flat, "three");
    // A label that moves turns what is shown by it.
    let canary = view(&mount, "canary", "--as root --only prod/db --label canary").join("prod/db/password/current");
    let watcher = Watcher::new(std::slice::from_ref(&canary));
    mount.ok("ln -s ../versions/v1 prod/db/password/stages/canary");
    watcher.all_tell(&canary, "one");
}

#[test]
fn it_outlives_worker_and_program() {
    let mount = tree();
    let path = view(&mount, "v", "--as root --only prod/db").join("prod/db/password/current");
    let held = File::open(&path).unwrap();
    let read = |expected: &str| {
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        let mut text = [0; 8];
        assert_eq!(held.read_at(&mut text, 0).unwrap(), 3);
        assert_eq!(&text[..3], b"one");
    };
    read("one");
    kill_worker(&mount);
    read("one");
    mount.write("prod/db/password/current", "two");
    read("two");
    let worker = mount.process("worker_pid");
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    assert!(ends_within(&worker, PATIENCE));
    read("two");
    mount.ok("mkdir $OUT/w; $KMSFS view . --as root --only prod/tls --read-only $OUT/w; test $(cat $OUT/w/prod/tls/current) = key");
    kill_worker(&mount);
    read("two");
    mount.ok("test $(cat $OUT/w/prod/tls/current) = key");
}

#[test]
fn they_are_listed_and_closed() {
    let mut mount = tree();
    view(&mount, "a", "--as role/4001 --only prod/db --layout flat");
    view(&mount, "b", "--as root --only prod/tls,prod/db --label canary");
    let listed = mount.ok("$KMSFS view .");
    assert!(
        listed.contains("role/4001") && listed.contains("prod/tls,prod/db") && listed.contains("label=canary"),
        "{listed}"
    );
    let json: serde_json::Value = serde_json::from_str(&mount.ok("$KMSFS view . --json")).unwrap();
    assert_eq!((json[0]["Layout"].as_str(), json[1]["ReadOnly"].as_bool()), (Some("flat"), Some(true)));
    mount.ok("$KMSFS view . --close $OUT/a; test ! -e $OUT/a/password");
    // Who has it open goes on, as with any mount that is taken away.
    mount.ok("exec 3< $OUT/b/prod/tls/current; umount -l $OUT/b; test $(cat <&3) = key; exec 3<&-");
    until("its end is known", || mount.ok("$KMSFS view . --json") == "[]\n");
    view(&mount, "c", "--as root --only prod");
    mount.stop();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(mount.dir.path().to_str().unwrap()), "with the mount of the whole tree they go");
    assert_eq!(fs::read_dir(mount.dir.path().join("c")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_one_says_why() {
    let mount = tree();
    mount.ok("mkdir $OUT/v $OUT/full; touch $OUT/full/x");
    for (options, why) in [
        ("--as user/nobody-of-this-name --only prod --read-only $OUT/v", "nobody is called `user/nobody-of-this-name`"),
        ("--as root --only prod/.keys $OUT/v", "prod/.keys"),
        ("--as root --only prod/a/x,prod/b/x --layout flat $OUT/v", "would be one file"),
        ("--as root --only prod --label a/b $OUT/v", "a/b"),
        ("--as root --only prod $OUT/v", "say read-only"),
        ("--as root --only prod --read-only $OUT/none", "does not exist"),
        ("--as root --only prod --read-only $OUT/full", "not empty"),
        ("--as root --only prod --read-only prod/db", "in a mount of this very daemon"),
        ("--as root --only prod --read-only .", "mounted on"),
        ("--as root --only prod --read-only $OUT/store", "store"),
        ("--close $OUT/v", "no view on"),
        ("--as root $OUT/v", "--only"),
    ] {
        let said = mount.fails(&format!("$KMSFS view . {options}"));
        assert!(said.contains(why), "{options}: {said}");
    }
    assert_eq!(mount.ok("ls -A $OUT/v; $KMSFS view . --json"), "[]\n");
    assert!(mount.fails(&as_user(4001, "$KMSFS view . --as root --only prod --read-only /tmp")).contains("error"));
    mount.ok("ln -s $OUT/m/prod/db $OUT/link; $KMSFS view . --as root --only prod --read-only $OUT/v");
    assert!(mount.fails("$KMSFS view . --as root --only prod --read-only $OUT/v").contains("already"));
    assert!(
        mount.fails("$KMSFS view . --as root --only prod --read-only $OUT/link").contains("in a mount of this very")
    );
}

#[test]
fn files_order_them() {
    let mut mount = Mount::new();
    let dir = mount.dir.path().join("views.d");
    mount.secret("prod/db/password", "one");
    mount.ok("mkdir $OUT/views.d $OUT/app");
    fs::write(
        dir.join("app.view"),
        format!("dir={}/app\nas=root\nonly=prod/db\nlayout=flat\nread-only\n", mount.dir.path().display()),
    )
    .unwrap();
    fs::write(dir.join("bad.view"), "as=root\n").unwrap();
    fs::write(dir.join("not.one~"), "nothing").unwrap();
    mount.options = vec!["--views".into(), dir.to_str().unwrap().into()];
    for _ in 0..2 {
        mount.restart();
        let app = mount.dir.path().join("app/password");
        until("it is mounted", || app.exists());
        assert_eq!(fs::read_to_string(app).unwrap(), "one");
        assert!(mount.log().contains("bad.view has no line `dir=`"));
    }
}

/// A view's daemon that is killed whole leaves what any other mount leaves.
#[test]
fn a_daemon_that_is_killed_leaves_errors_and_no_hang() {
    let mut mount = tree();
    let path = view(&mount, "v", "--as root --only prod/tls");
    let keeper = mount.process("keeper_pid");
    let worker = mount.process("worker_pid");
    for process in [&keeper, &worker] {
        pidfd_send_signal(process, Signal::KILL).unwrap();
        assert!(ends_within(process, PATIENCE));
    }
    let error = fs::read(path.join("prod/tls/current")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
    run(Command::new("umount").arg("-l").arg(&path));
    mount.forget();
    mount.start();
    view(&mount, "w", "--as root --only prod/tls");
    assert_eq!(mount.ok("cat $OUT/w/prod/tls/current"), "key");
}

/// Resident memory of the worker in KiB.
fn resident(mount: &Mount) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.status()["worker_pid"])).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_thousand_of_them_are_small() {
    let mut mount = tree();
    let count: usize = std::env::var("KMSFS_VIEWS").map_or(1_000, |text| text.parse().expect("a number"));
    let (orders, many) = (mount.dir.path().join("views.d"), mount.dir.path().join("many"));
    let order = |n: usize| {
        let point = many.join(format!("{n}"));
        fs::create_dir_all(&point).unwrap();
        let text = format!("dir={}\nas=root\nonly=prod/tls\nlayout=flat\nread-only\n", point.display());
        fs::write(orders.join(format!("{n}.view")), text).unwrap();
    };
    fs::create_dir(&orders).unwrap();
    mount.options = vec!["--views".into(), orders.to_str().unwrap().into()];
    let served = |mount: &Mount, count: usize| {
        let listed = |mount: &Mount| mount.ok("$KMSFS view . --json").matches("Directory").count();
        until("all are listed", || listed(mount) == count);
        (0..count).for_each(|n| assert_eq!(fs::read_to_string(many.join(format!("{n}/tls"))).unwrap(), "key"));
        resident(mount)
    };
    order(0);
    mount.restart();
    let one = served(&mount, 1);
    (1..count).for_each(order);
    mount.restart();
    let all = served(&mount, count);
    println!("{count} views: {all} KiB, one: {one} KiB");
    assert!(all < 100 * 1024, "{all} KiB");
    kill_worker(&mount);
    served(&mount, count);
    let worker = mount.process("worker_pid");
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    assert!(ends_within(&worker, PATIENCE));
    served(&mount, count);
}
