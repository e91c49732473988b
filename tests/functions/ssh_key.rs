//! `ssh-key` with an sshd, and authorized_keys with lines of somebody else.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::call::Function;
use crate::secret::Values;
use crate::services::{Account, Sshd};

/// A user of Debian's packages that has a shell.
const USER: &str = "postgres";
/// Lines of others, of which the last one has no end; some only look like the function's own.
const OTHERS: &str = "# a comment kmsfs:prod/db/web.example\n\n\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH  two  spaces\r\n\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE kmsfs:prod/db/web.example.org\n\
    \tfrom=\"10.0.0.1\",command=\"echo \\\"hi\\\" \\\\ $HOME\" ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC= schl\u{fc}ssel\n\
    kmsfs:prod/db/web.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";

/// The function, that keeps the keys of `sshd` and tries them there.
pub fn function(sshd: &Sshd) -> Function {
    let function = Function::shipped("ssh-key").running_as(USER).with("TEST_HOST", "127.0.0.1");
    let function = function.with("TEST_PORT", sshd.port.to_string()).with("COMMENT", "a comment");
    let function = function.with_path("TEST_KNOWN_HOSTS", &sshd.at("known_hosts"));
    function.with_path("AUTHORIZED_KEYS", &sshd.at("authorized_keys"))
}

pub fn with_sshd() -> (Sshd, Function) {
    let sshd = Sshd::start(USER);
    let function = function(&sshd);
    (sshd, function)
}

#[test]
fn old_and_new_log_in_and_other_lines_are_never_touched() {
    let (sshd, function) = with_sshd();
    let function = function.with("KEY_OPTIONS", "restrict,from=\"127.0.0.1\"");
    let file = sshd.at("authorized_keys");
    fs::write(&file, OTHERS).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    // Not yet a key.
    let mut values = Values::of("'\"\\ $(id)\n\u{1f511}");
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for rotation in 0..3 {
        values.create(&function);
        assert!(values.new.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert!(values.new.ends_with(b"\n-----END OPENSSH PRIVATE KEY-----\n"));
        keys.push(values.new.clone());
        function.fails("test", &values, 1, "not in");
        for step in ["set", "set", "test", "test", "finish", "finish"] {
            assert_eq!(function.done(step, &values), "", "{step}");
            let text = fs::read_to_string(&file).unwrap();
            let own = text.strip_prefix(OTHERS).expect("theirs are as they were").strip_prefix('\n').unwrap();
            let own: Vec<_> = own.split_terminator('\n').collect();
            let left = if step == "finish" { 2.min(keys.len()) } else { 3.min(keys.len()) };
            assert_eq!(own.len(), left, "{step} of rotation {rotation}: {own:?}");
            for line in own {
                assert!(line.starts_with("restrict,from=\"127.0.0.1\" ssh-ed25519 AAAA"), "{line}");
                assert!(line.ends_with(" kmsfs:prod/db/web.example"), "{line}");
            }
        }
        assert!(keys.iter().rev().take(2).all(|key| sshd.lets_in(key)));
        values = values.promoted();
    }
    assert!(!sshd.lets_in(&keys[0]), "it ended with the last rotation");
    let state = fs::metadata(&file).unwrap();
    assert_eq!((state.mode() & 0o7777, state.uid(), state.gid()), (0o640, sshd.account.uid, sshd.account.gid));
    let beside: Vec<_> = fs::read_dir(sshd.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 6, "nothing else stays in its directory: {beside:?}");
}

/// Other secrets' keys in the same file are other lines; a symbolic link stays one; a file that is not there yet is made.
#[test]
fn each_secret_has_its_own_lines() {
    let (sshd, function) = with_sshd();
    let file = sshd.at("authorized_keys");
    fs::remove_file(&file).unwrap();
    symlink("real", &file).unwrap();
    let other = super::ssh_key::function(&sshd).rotating("prod/db/web");
    let mut of_other = Values::of("none");
    of_other.create(&other);
    other.done("set", &of_other);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600, "nobody else's business");
    let mut values = Values::of("none");
    for _ in 0..3 {
        values.create(&function);
        for step in ["set", "test", "finish"] {
            function.done(step, &values);
        }
        values = values.promoted();
    }
    other.done("test", &of_other);
    assert!(sshd.lets_in(&of_other.new) && sshd.lets_in(&values.old) && sshd.lets_in(&values.before));
    assert_eq!(fs::read_link(&file).unwrap(), Path::new("real"));
}

#[test]
fn every_type_of_key_can_be_made() {
    for (key_type, begins) in
        [("ed25519", "ssh-ed25519 "), ("ecdsa:256", "ecdsa-sha2-nistp256 "), ("rsa:3072", "ssh-rsa ")]
    {
        let (sshd, function) = with_sshd();
        let function = function.with("KEY_TYPE", key_type);
        let mut values = Values::of("none");
        values.create(&function);
        for step in ["set", "test", "finish"] {
            function.done(step, &values);
        }
        assert!(fs::read_to_string(sshd.at("authorized_keys")).unwrap().starts_with(begins));
        assert!(sshd.lets_in(&values.new), "{key_type}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let (sshd, function) = with_sshd();
    let mut values = Values::of("none");
    values.create(&function);
    let of = |name: &str, value: &str| super::ssh_key::function(&sshd).with(name, value);
    of("KEY_TYPE", "dsa").fails("create", &values, 78, "KEY_TYPE");
    of("KEY_TYPE", "rsa:many").fails("create", &values, 1, "KEY_TYPE=rsa:many");
    of("AUTHORIZED_KEYS", ".ssh/authorized_keys").fails("set", &values, 78, "no absolute path");
    of("AUTHORIZED_KEYS", "/nowhere/.ssh/authorized_keys").fails("set", &values, 78, "is not there");
    of("AUTHORIZED_KEYS", "").fails("test", &values, 1, "Permission denied (publickey");
    function.done("set", &values);
    of("TEST_PORT", "1").fails("test", &values, 1, "Connection refused");
    of("TEST_USER", "nobody").fails("test", &values, 1, "Permission denied");
    of("TEST_KNOWN_HOSTS", "").fails("test", &values, 78, "TEST_KNOWN_HOSTS");
    of("TEST_KNOWN_HOSTS", "/dev/null").fails("test", &values, 1, "Host key verification failed");
    for odd in [&b""[..], b"text", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"] {
        for step in ["set", "test", "finish"] {
            function.fails(step, &Values { new: odd.to_vec(), ..values.clone() }, 78, "no private key");
        }
    }
    assert!(sshd.lets_in(&values.new));
}

/// Whoever can put a symbolic link where the function writes would choose what it writes to.
#[test]
fn nothing_is_written_where_somebody_else_leads_to() {
    let (sshd, function) = with_sshd();
    let mut values = Values::of("none");
    values.create(&function);
    let of_root = tempfile::Builder::new().prefix("kmsfs-test-").tempdir().unwrap();
    fs::set_permissions(of_root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let target = of_root.path().join("authorized_keys");
    fs::write(&target, "# root's\n").unwrap();
    symlink(of_root.path(), sshd.at("dir")).unwrap();
    symlink(&target, sshd.at("link")).unwrap();
    // A function that is root's, in a directory of the user's: by itself, by a link in it, by a link to a directory.
    for path in ["authorized_keys", "link", "dir/authorized_keys"] {
        let as_root = super::ssh_key::function(&sshd).running_as("root").with_path("AUTHORIZED_KEYS", &sshd.at(path));
        for step in ["set", "test", "finish"] {
            as_root.fails(step, &values, 78, "is somebody else's");
        }
    }
    // And the user's own, in a directory of root's, or in one of its own that everybody may write.
    let elsewhere = super::ssh_key::function(&sshd).with_path("AUTHORIZED_KEYS", &target);
    elsewhere.fails("set", &values, 78, "is not the directory of postgres");
    fs::set_permissions(sshd.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    function.fails("set", &values, 78, "others may write it");
    fs::set_permissions(sshd.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "# root's\n");
    assert_eq!(fs::read_to_string(sshd.at("authorized_keys")).unwrap(), "");
    // What lies where the new file is made is replaced, and not followed.
    let victim = sshd.at("victim");
    fs::write(&victim, "as it was").unwrap();
    sshd.account.owns(&victim);
    for step in ["set", "finish"] {
        symlink(&victim, sshd.at("authorized_keys.kmsfs-new")).unwrap();
        function.done(step, &values);
        assert!(fs::symlink_metadata(sshd.at("authorized_keys.kmsfs-new")).is_err(), "{step}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    assert!(sshd.lets_in(&values.new));
    // Root's own, in root's, works.
    let as_root = super::ssh_key::function(&sshd).running_as("root").with_path("AUTHORIZED_KEYS", &target);
    as_root.done("set", &values);
    assert!(fs::read_to_string(&target).unwrap().starts_with("# root's\nssh-ed25519 "));
}

/// Where nobody can write, the file stays as it is.
#[test]
fn a_full_disk_leaves_authorized_keys_as_they_are() {
    let sshd = Sshd::start(USER);
    let small = sshd.at("small");
    fs::create_dir(&small).unwrap();
    let mount = |args: &[&str]| std::process::Command::new("mount").args(args).arg(&small).status().unwrap().success();
    assert!(mount(&["-t", "tmpfs", "-o", &format!("size=8k,mode=700,uid={}", sshd.account.uid), "none"]));
    let _mounted = Mounted(&small);
    let file = small.join("authorized_keys");
    let function = super::ssh_key::function(&sshd).with_path("AUTHORIZED_KEYS", &file);
    let mut values = Values::of("none");
    values.create(&function);
    fs::write(&file, "#".repeat(4096)).unwrap();
    sshd.account.owns(&file);
    let before = fs::read(&file).unwrap();
    function.fails("set", &values, 1, "cannot write");
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::write(&file, "# short\n").unwrap();
    function.done("set", &values);
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// A step that is killed while it has a key in a file leaves it until that user's next step, which removes no other's.
#[test]
fn what_a_killed_step_left_in_memory_is_removed() {
    // No other test runs it as this user.
    let function = Function::shipped("ssh-key").with("KEY_TYPE", "rsa:4096");
    let prefix = format!("kmsfs-ssh-key.{}.", Account::named("nobody").uid);
    let rooms = || {
        let paths = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path());
        let ours =
            paths.filter(|path| path.file_name().unwrap().to_str().is_some_and(|name| name.starts_with(&prefix)));
        ours.collect::<Vec<_>>()
    };
    Values::of("none").create(&Function::shipped("ssh-key"));
    assert_eq!(rooms(), Vec::<PathBuf>::new());
    let (begun, mut moment) = (Instant::now(), Duration::ZERO);
    while rooms().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was never killed inside");
        function.kill("create", &Values::of("none"), moment);
        moment += Duration::from_millis(2);
    }
    assert_eq!(fs::metadata(&rooms()[0]).unwrap().mode() & 0o7777, 0o700, "nobody else enters");
    let in_use = File::open(&rooms()[0]).unwrap();
    flock(&in_use, FlockOperation::LockExclusive).unwrap();
    Values::of("none").create(&Function::shipped("ssh-key"));
    assert_eq!(rooms().len(), 1, "somebody is in it");
    drop(in_use);
    Values::of("none").create(&Function::shipped("ssh-key"));
    assert_eq!(rooms(), Vec::<PathBuf>::new());
}
