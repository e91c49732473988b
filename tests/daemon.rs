//! Real mounts: how a daemon begins, what it holds on to, how it ends.
//!
//! These tests mount, so they need root and /dev/fuse, and Debian's fuse3 where a user mounts. Nothing sleeps: a command that
//! returns has done what it promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod room;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use room::{KMSFS, Room, copy_dir, is_root};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

const MOUNT: &str = "mount --store store --key-file key --anchor anchor --log log M";
/// Far more than any of these daemons needs to end.
const END: Duration = Duration::from_secs(20);

/// A room with a store and an empty mount point.
fn room() -> Room {
    assert!(is_root(), "this test mounts: it must be run by root");
    let room = Room::new();
    room.init();
    fs::create_dir(room.at("M")).unwrap();
    room
}

fn status(point: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(point.join(".kmsfs/status")).unwrap()).unwrap()
}

/// The processes behind a mount, as its status calls them.
const ROLES: [&str; 2] = ["keeper_pid", "worker_pid"];

/// The process that the status calls `role`.
fn process(point: &Path, role: &str) -> Pid {
    let pid = status(point)[role].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Waits for the end of a process that is no child of ours.
fn await_end(handle: &rustix::fd::OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec::try_from(END).unwrap();
    assert_eq!(poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&wait)).unwrap(), 1, "the daemon does not end");
}

#[test]
fn mount_returns_when_it_answers_and_umount_when_the_store_is_free() {
    let room = room();
    for _ in 0..5 {
        room.kmsfs(MOUNT).expect(0);
        assert_eq!(status(&room.at("M"))["health"], "ok");
        room.kmsfs("umount M").expect(0);
        room.kmsfs("verify --store store --key-file key").expect(0);
    }
    assert!(room.mounts().is_empty());
}

#[test]
fn a_mount_keeps_nothing_of_its_command() {
    let room = room();
    // Were the daemon to keep stdout or stderr open, this would wait for it for ever.
    let said = room.kmsfs(MOUNT).expect(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    for role in ROLES {
        let pid = process(&room.at("M"), role).as_raw_nonzero();
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
        for (fd, expected) in [(0, Path::new("/dev/null")), (1, Path::new("/dev/null")), (2, &*room.at("log"))] {
            assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap(), expected);
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    }
    room.kmsfs("umount M").expect(0);
}

#[test]
fn the_log_is_where_it_is_asked_to_be() {
    let room = room();
    room.kmsfs("mount --store store --key-file key --anchor anchor --log new/dir/log M").expect(0);
    room.kmsfs("umount M").expect(0);
    let mode = |name: &str| fs::metadata(room.at(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("new"), mode("new/dir"), mode("new/dir/log")], [0o700, 0o700, 0o600]);
    let first = fs::read_to_string(room.at("new/dir/log")).unwrap();
    assert!(first.contains(" mounted ") && first.contains(" is unmounted"), "{first}");
    assert!(!first.contains("Failed to umount"), "fuser warns of nothing: {first}");
    // It goes on where it was, also by another name of its directory.
    std::os::unix::fs::symlink(room.at("new/dir"), room.at("link")).unwrap();
    room.kmsfs("mount --store store --key-file key --anchor anchor --log link/log M").expect(0);
    room.kmsfs("umount M").expect(0);
    let both = fs::read_to_string(room.at("new/dir/log")).unwrap();
    assert!(both.starts_with(&first) && both.len() > first.len(), "{both}");
}

#[test]
fn a_log_has_a_place_unless_it_is_given_one() {
    let room = room();
    let hide = "mount -t tmpfs none /var/log";
    let mount = "kmsfs mount --store store --key-file key --anchor none M";
    let path = Path::new(KMSFS).parent().unwrap().display();
    let script = format!("PATH={path}:$PATH; {mount}; kmsfs umount M; stat -c %a /var/log/kmsfs.log");
    assert_eq!(room.apart(hide, 0, &script).expect(0).out, "600\n");
}

#[test]
fn a_log_is_refused_where_it_must_not_be() {
    let room = room();
    fs::write(room.at("file"), "").unwrap();
    std::os::unix::fs::symlink(room.at("file"), room.at("link")).unwrap();
    std::os::unix::fs::symlink(room.at("store"), room.at("alias")).unwrap();
    let mount = |log: &str| room.kmsfs(&format!("mount --store store --key-file key --anchor none --log {log} M"));
    for inside in ["store/log", "store/new/log", "alias/log", "alias/new/log", "new/../store/log"] {
        mount(inside).refused(1, "lies in the store's own directory, whose copies would carry the names in it");
    }
    mount("link").refused(1, "the log file");
    mount("file/log").refused(1, "the log file");
    mount("M/../store").refused(1, "the log file");
    room.kmsfs("mount -f --log log --store store M").expect(2);
    assert_eq!(fs::read(room.at("file")).unwrap(), b"");
    let names: Vec<_> = fs::read_dir(room.at("store")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "log" || name == "new"), "{names:?}");
    assert!(room.mounts().is_empty());
}

#[test]
fn sighup_opens_the_log_anew() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    let pid = process(&room.at("M"), "keeper_pid");
    fs::rename(room.at("log"), room.at("log.1")).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    // Nothing tells when the signal is heard but the file.
    let began = Instant::now();
    while !fs::read_to_string(room.at("log")).is_ok_and(|log| log.contains("goes on with the mount")) {
        assert!(began.elapsed() < END, "there is no new log");
        std::thread::yield_now();
    }
    assert_eq!(fs::metadata(room.at("log")).unwrap().permissions().mode() & 0o7777, 0o600);
    // One that cannot be opened leaves the log where it is.
    fs::rename(room.at("log"), room.at("log.2")).unwrap();
    std::os::unix::fs::symlink(room.at("other"), room.at("log")).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let began = Instant::now();
    while !fs::read_to_string(room.at("log.2")).unwrap().contains("the log stays where it was") {
        assert!(began.elapsed() < END, "nothing is said of the log");
        std::thread::yield_now();
    }
    room.kmsfs("umount M").expect(0);
    let log = |name: &str| fs::read_to_string(room.at(name)).unwrap();
    assert!(log("log.2").contains(" is unmounted") && !log("log.1").contains("goes on with"), "{}", log("log.1"));
    assert!(!room.at("other").exists());
}

#[test]
fn a_store_that_others_may_use_is_told() {
    let room = room();
    let words = format!("others may use the store's directory {}: its mode is 0750", room.at("store").display());
    for (mode, told) in [(0o700, false), (0o750, true)] {
        fs::set_permissions(room.at("store"), fs::Permissions::from_mode(mode)).unwrap();
        room.kmsfs(MOUNT).expect(0);
        room.kmsfs("umount M").expect(0);
        assert_eq!(fs::read_to_string(room.at("log")).unwrap().contains(&words), told, "{mode:04o}");
    }
}

#[test]
fn one_store_has_one_mount_and_one_point_has_one_store() {
    let room = room();
    fs::create_dir(room.at("other")).unwrap();
    room.kmsfs(MOUNT).expect(0);
    room.kmsfs("mount --store store --key-file key --anchor anchor --log log other")
        .refused(11, "in use by another process");
    room.kmsfs(MOUNT).refused(10, "is mounted on");
    room.kmsfs("verify --store store --key-file key").refused(11, "in use");
    room.kmsfs("umount M").expect(0);
}

#[test]
fn the_daemons_own_error_comes_back() {
    let room = room();
    fs::write(room.at("wrong"), [7; 32]).unwrap();
    fs::set_permissions(room.at("wrong"), fs::Permissions::from_mode(0o600)).unwrap();
    for place in ["--log log", "-f"] {
        let mount = |rest: &str| room.kmsfs(&format!("mount {place} --anchor anchor {rest} M"));
        mount("--store store --key-file wrong").refused(20, "does not open any unlock slot");
        mount("--store store --key-file none").refused(1, "none does not exist");
        mount("--store none --key-file key").refused(1, "there is no store in");
    }
    let inside = "mount --store store --key-file key --anchor store/anchor --log log M";
    room.kmsfs(inside).refused(1, "lies in the store's own directory");
    assert!(room.mounts().is_empty());
}

#[test]
fn a_fresh_machine_takes_one_command() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let room = Room::new();
    let said = room.kmsfs("mount --init --store a/store --key-file b/key --anchor c/anchor --log d/log e/M").expect(0);
    assert!(said.out.contains("made the store") && said.out.contains("made the key file"), "{said:?}");
    room.kmsfs("umount e/M").expect(0);
    let said = room.kmsfs("mount --init --store a/store --key-file b/key --anchor c/anchor --log d/log e/M").expect(0);
    assert_eq!(said.out, "", "nothing is made twice");
    room.kmsfs("umount e/M").expect(0);
}

#[test]
fn the_way_to_a_mount_that_is_made_is_open_to_others() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let room = Room::new();
    room.kmsfs("mount --init --store store --key-file key --anchor none --log log a/b/M").expect(0);
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    for dir in ["a", "a/b"] {
        let mode = fs::metadata(room.at(dir)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o777 & !umask.as_raw_mode(), "{dir}");
    }
    assert_eq!(fs::metadata(room.at("store")).unwrap().permissions().mode() & 0o777, 0o700);
    room.kmsfs("umount a/b/M").expect(0);
}

/// Rounds of a race, each with another outcome perhaps.
const ROUNDS: usize = 20;

/// Of two that come at once to a machine without a store one mounts; the other says what is in its way.
#[test]
fn a_fresh_machine_takes_one_of_two_commands() {
    assert!(is_root(), "this test mounts: it must be run by root");
    for round in 0..ROUNDS {
        let room = Room::new();
        let points = if round % 2 == 0 { ["M", "M"] } else { ["M", "N"] };
        let mount = |point| format!("mount --init --store store --key-file key --anchor none --log log {point}");
        let started = points.map(|point| room.start(&mount(point)));
        let said = started.map(room::Started::end);
        let done: Vec<usize> = (0..2).filter(|at| said[*at].code == 0).collect();
        assert_eq!(done.len(), 1, "{said:#?}");
        let lost = &said[1 - done[0]];
        let known = [(11, "in use"), (10, "is mounted on"), (1, "there is a store in")];
        assert!(known.iter().any(|(code, words)| lost.code == *code && lost.err.contains(words)), "{lost:#?}");
        assert_eq!(room.mounts(), [room.at(points[done[0]])]);
        assert_eq!(status(&room.at(points[done[0]]))["health"], "ok");
        room.kmsfs(&format!("umount {}", points[done[0]])).expect(0);
        room.kmsfs("verify --store store --key-file key").expect(0);
    }
}

#[test]
fn a_passphrase_reaches_the_daemon_unseen() {
    let room = room();
    room.kmsfs_fed("rekey add-passphrase --store store --anchor anchor --key-file key", "correct horse\n").expect(0);
    let mount = "mount --store store --anchor anchor --log log --passphrase-file";
    room.kmsfs_fed(&format!("{mount} - M"), "correct horse\n").expect(0);
    for (role, file) in ROLES.into_iter().flat_map(|role| [(role, "cmdline"), (role, "environ")]) {
        let pid = process(&room.at("M"), role).as_raw_nonzero();
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"horse"), "{file} shows the passphrase");
    }
    room.kmsfs("umount M").expect(0);
    room.kmsfs_fed(&format!("{mount} - M"), "wrong\n").refused(20, "does not open");
    fs::write(room.at("pass"), "correct horse\n").unwrap();
    fs::set_permissions(room.at("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    room.kmsfs(&format!("{mount} pass M")).expect(0);
    room.kmsfs("umount M").expect(0);
}

/// The owner of what /proc has of a process: root, once nobody may look into it or dump it.
fn proc_owner(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[test]
fn a_process_is_closed_to_others_before_it_knows_a_passphrase() {
    let room = Room::of_user();
    let user = |args: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"]).arg(room.at("kmsfs"));
        command.args(args.split_whitespace()).current_dir(room.at("")).env("HOME", room.at(""));
        command
    };
    let plain = "--store store --log log --anchor none";
    assert!(user("init --store store --key-file key").output().unwrap().status.success());
    for args in [
        format!("mount {plain} --passphrase-file - M"),
        format!("mount --init {plain} --passphrase-file - M"),
        "mount -f --store store --passphrase-file - M".to_owned(),
        format!("serve {plain} M"),
        "init --store other --passphrase-file -".to_owned(),
        "verify --store store --passphrase-file -".to_owned(),
        "rekey add-passphrase --store store --key-file key".to_owned(),
    ] {
        let mut child =
            user(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // It reads to the end of what it is given, which does not come: when the first word is taken, it is still at it.
        std::io::Write::write_all(&mut input, b"correct horse").unwrap();
        let began = Instant::now();
        while rustix::io::ioctl_fionread(&input).unwrap() > 0 {
            assert!(began.elapsed() < END, "{args}: nobody reads");
            std::thread::yield_now();
        }
        let (owner, limits) = (proc_owner(child.id()), fs::read_to_string(format!("/proc/{}/limits", child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(owner, 0, "{args}: its user may look into it");
        let limits = limits.unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{args}: {core}");
    }
}

#[test]
fn sigterm_and_sigint_unmount() {
    let room = room();
    for signal in [Signal::TERM, Signal::INT] {
        room.kmsfs(MOUNT).expect(0);
        let pid = process(&room.at("M"), "keeper_pid");
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        kill_process(pid, signal).unwrap();
        await_end(&handle);
        assert!(room.mounts().is_empty(), "{signal:?} leaves a mount");
        room.kmsfs("verify --store store --key-file key").expect(0);
    }
}

#[test]
fn sigterm_on_a_mount_in_use_waits_for_its_last_user() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    let held = fs::File::open(room.at("M")).unwrap();
    let began = Instant::now();
    room.kmsfs("umount M").refused(10, "is in use");
    assert!(began.elapsed() >= Duration::from_millis(500), "a use that passes is waited for: {:?}", began.elapsed());
    let pid = process(&room.at("M"), "keeper_pid");
    let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    drop(held);
    await_end(&handle);
    assert!(room.mounts().is_empty());
}

#[test]
fn a_daemon_that_nobody_waits_for_takes_its_mount_down() {
    let room = room();
    let mut daemon = Command::new(KMSFS);
    daemon.arg("serve").arg("--store").arg(room.at("store")).arg("--key-file").arg(room.at("key"));
    daemon.arg("--audit").arg(room.at("audit"));
    daemon.args(["--anchor", "none", "--log"]).arg(room.at("log")).arg(room.at("M")).stdout(Stdio::piped());
    let mut child = daemon.spawn().unwrap();
    // As when the command that started it was killed.
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(room.mounts().is_empty());
    room.kmsfs("verify --store store --key-file key").expect(0);
    let log = fs::read_to_string(room.at("log")).unwrap();
    assert!(log.contains("nobody waits for the mount"), "{log}");
}

#[test]
fn a_foreground_mount_ends_with_its_mount() {
    let room = room();
    let mut child = Command::new(KMSFS)
        .args(["mount", "-f", "--store"])
        .arg(room.at("store"))
        .arg("--key-file")
        .arg(room.at("key"))
        .arg("--anchor")
        .arg(room.at("anchor"))
        .arg("--audit")
        .arg(room.at("audit"))
        .arg(room.at("M"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its log says when it is there.
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("mounted") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "the daemon ended");
    }
    assert_eq!(process(&room.at("M"), "keeper_pid"), Pid::from_child(&child));
    room.kmsfs("umount M").expect(0);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_killed_daemon_leaves_a_mount_that_is_told_and_taken_away() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    // The keeper first, which would start another worker.
    for pid in ROLES.map(|role| process(&room.at("M"), role)) {
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        await_end(&handle);
    }
    room.kmsfs(MOUNT).refused(10, "whose daemon is gone");
    room.kmsfs("status M").refused(10, "is gone");
    room.kmsfs("umount M").expect(0);
    room.kmsfs(MOUNT).expect(0);
    room.kmsfs("umount M").expect(0);
}

#[test]
fn a_rolled_back_store_is_23() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    fs::create_dir(room.at("M/one")).unwrap();
    room.kmsfs("umount M").expect(0);
    copy_dir(&room.at("store"), &room.at("old"));
    room.kmsfs(MOUNT).expect(0);
    fs::create_dir(room.at("M/two")).unwrap();
    room.kmsfs("umount M").expect(0);
    // The older copy takes the store's place.
    fs::rename(room.at("store"), room.at("new")).unwrap();
    copy_dir(&room.at("old"), &room.at("store"));
    // What a mount has recorded is a change too, once it is left.
    room.kmsfs(MOUNT).refused(23, "was rolled back, from change 5 to change 3");
    // It went on elsewhere, as far as the right one has.
    room.kmsfs("mount --store store --key-file key --anchor none --log log M").expect(0);
    fs::create_dir(room.at("M/three")).unwrap();
    room.kmsfs("umount M").expect(0);
    room.kmsfs(MOUNT).refused(23, "went its own way");
    // Somebody takes the responsibility, once.
    room.kmsfs(&format!("{MOUNT} --accept-rollback")).expect(0);
    room.kmsfs("umount M").expect(0);
    let log = fs::read_to_string(room.at("log")).unwrap();
    assert!(log.contains("taken as it is, as --accept-rollback asks"), "{log}");
    room.kmsfs(MOUNT).expect(0);
    room.kmsfs("umount M").expect(0);
}

#[test]
fn a_change_is_anchored_while_the_store_is_mounted() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    fs::create_dir(room.at("M/one")).unwrap();
    let counter = || {
        let anchor: serde_json::Value = serde_json::from_slice(&fs::read(room.at("anchor")).unwrap()).unwrap();
        anchor["counter"].as_u64().unwrap()
    };
    // Nothing tells when the file is replaced but the file.
    let began = Instant::now();
    while counter() < 2 {
        assert!(began.elapsed() < END, "the change is not anchored");
        std::thread::yield_now();
    }
    room.kmsfs("umount M").expect(0);
}

#[test]
fn an_ordinary_user_mounts() {
    assert!(Path::new("/usr/bin/fusermount3").exists(), "this test needs Debian's fuse3");
    let room = Room::of_user();
    // The device is for everybody on most systems; here it may be root's alone.
    let prepare = "mknod -m 666 device c 10 229; mount --bind device /dev/fuse";
    let said = room.apart(
        prepare,
        room::USER,
        "kmsfs mount --init M
        cat M/.kmsfs/status
        kmsfs upgrade M >/dev/null
        grep -q workers_before.:.1 M/.kmsfs/status && echo upgraded
        kmsfs umount M
        test ! -e M/.kmsfs
        kmsfs verify
        ls .local/share/kmsfs/store.db .config/kmsfs/master.key .local/state/kmsfs/anchor/*
        stat -c \"%a %n\" .local/state/kmsfs/kmsfs.log",
    );
    let said = said.expect(0);
    assert!(said.out.contains("600 .local/state/kmsfs/kmsfs.log"), "{said:?}");
    assert!(said.out.contains("worker_pid") && said.out.contains("sound      true"), "{said:?}");
    assert!(said.out.contains("\nupgraded\n"), "{said:?}");
    assert_eq!(said.err, "");
}

#[test]
fn options_reach_the_mount() {
    let room = room();
    let as_user = |script: &str| room.apart("true", room::USER, script);
    fs::set_permissions(room.at(""), fs::Permissions::from_mode(0o755)).unwrap();
    room.kmsfs(&format!("{MOUNT} -o trim-newline,x-systemd.automount")).expect(0);
    as_user("cat M/.kmsfs/status").expect(0);
    fs::create_dir_all(room.at("M/prod/one")).unwrap();
    fs::write(room.at("M/prod/one/current"), "v\n").unwrap();
    assert_eq!(fs::read(room.at("M/prod/one/current")).unwrap(), b"v");
    room.kmsfs("umount M").expect(0);
    room.kmsfs(&format!("{MOUNT} -o ro -o noallow_other")).expect(0);
    as_user("cat M/.kmsfs/status").expect(1);
    let refused = fs::create_dir(room.at("M/other")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    assert_eq!(fs::read(room.at("M/prod/one/current")).unwrap(), b"v");
    room.kmsfs("umount M").expect(0);
}

/// Answers `prompt` with `answer` once it is shown and the echo is off, on a terminal of its own.
const TERMINAL: &str = r#"
import os, pty, sys, termios
prompt, answer, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
shown = b""
while True:
    try:
        more = os.read(terminal, 1024)
    except OSError:
        break
    if not more:
        break
    shown += more
    if shown.endswith(prompt):
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            os.sched_yield()
        os.write(terminal, answer + b"\n")
        shown += b"|"
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_not_shown() {
    let room = room();
    room.kmsfs_fed("rekey add-passphrase --store store --anchor anchor --key-file key", "correct horse\n").expect(0);
    room.kmsfs("rekey remove --store store --anchor anchor --key-file key 0").expect(0);
    let on_terminal = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL]).args(args).current_dir(room.at("")).env("XDG_CONFIG_HOME", room.at(""));
        command.output().unwrap()
    };
    let mount =
        ["--store", "store", "--audit", "audit", "--anchor", "anchor", "--log", "log", "--passphrase-file", "-", "M"];
    let asked = on_terminal(&[&["Passphrase: ", "correct horse", KMSFS, "mount"], &mount[..]].concat());
    let shown = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success() && shown.starts_with("Passphrase: |") && !shown.contains("horse"), "{asked:?}");
    assert_eq!(status(&room.at("M"))["health"], "ok");
    room.kmsfs("umount M").expect(0);
    let asked = on_terminal(&[&["Passphrase: ", "wrong", KMSFS, "mount"], &mount[..]].concat());
    assert_eq!(asked.status.code(), Some(20), "{asked:?}");
}

#[test]
fn status_lists_the_mounts() {
    let room = room();
    room.kmsfs(MOUNT).expect(0);
    let point = room.at("M");
    let said = room.kmsfs("status").expect(0);
    assert!(
        said.out.lines().any(|line| line.starts_with(point.to_str().unwrap()) && line.contains(" ok ")),
        "{said:?}"
    );
    let list: serde_json::Value = serde_json::from_str(&room.kmsfs("status --json").expect(0).out).unwrap();
    let ours = list.as_array().unwrap().iter().find(|mount| mount["point"] == point.to_str().unwrap()).unwrap();
    assert_eq!(ours["status"]["health"], "ok");
    let said = room.kmsfs("status M").expect(0);
    assert!(said.out.contains("health") && said.out.contains("worker_pid"), "{said:?}");
    room.kmsfs("umount M").expect(0);
}
