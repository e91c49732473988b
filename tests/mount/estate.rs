//! What is open when a worker dies goes on in the next one: drafts, files in memory, texts, versions that rolled away.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use crate::harness::{KMSFS, Mount, close, errno, run, text};
use crate::keeper::kill_worker;

fn writer(mount: &Mount, path: &str) -> File {
    OpenOptions::new().write(true).truncate(true).open(mount.path(path)).unwrap()
}

fn versions(mount: &Mount, secret: &str) -> usize {
    mount.names(&format!("{secret}/versions")).len()
}

#[test]
fn a_writer_notices_no_death() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut file = writer(&mount, "prod/s/current");
    file.write_all(b"one ").unwrap();
    kill_worker(&mount);
    assert_eq!(file.metadata().unwrap().len(), 4, "its size is the draft's");
    assert_eq!(mount.read("prod/s/current"), "old");
    file.write_all(b"two ").unwrap();
    let mut new = OpenOptions::new().create_new(true).write(true).open(mount.path("prod/s/versions/mine")).unwrap();
    new.write_all(b"th").unwrap();
    kill_worker(&mount);
    file.write_all(b"three").unwrap();
    close(file).unwrap();
    assert_eq!(mount.read("prod/s/current"), "one two three");
    assert_eq!(versions(&mount, "prod/s"), 2, "once");
    new.write_all(b"ree").unwrap();
    close(new).unwrap();
    assert_eq!(mount.read("prod/s/versions/mine"), "three");
    assert_eq!((mount.read("prod/s/current"), versions(&mount, "prod/s")), ("three".to_owned(), 3));
}

#[test]
fn a_writer_notices_no_upgrade() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut file = writer(&mount, "prod/s/current");
    let reader = File::open(mount.path("prod/s/current")).unwrap();
    for part in ["one ", "two ", "three"] {
        file.write_all(part.as_bytes()).unwrap();
        run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    }
    close(file).unwrap();
    assert_eq!(mount.read("prod/s/current"), "one two three");
    let mut read = [0; 8];
    assert_eq!((reader.read_at(&mut read, 0).unwrap(), &read[..3]), (3, &b"old"[..]));
    assert_eq!(versions(&mount, "prod/s"), 2);
}

#[test]
fn a_shell_goes_on_writing() {
    let mount = Mount::new();
    mount.secret("prod/s", "first");
    mount.ok("echo one=1 > prod/s/tags");
    let script = "{ echo a; read go; echo b; } >> prod/s/current; { echo two=2; read go; echo three=3; } >> prod/s/tags; \
        exec 3> prod/s/versions/v9; printf x >&3; read go; printf y >&3; exec 3>&-; echo done";
    let mut child = Command::new("bash")
        .args(["-euc", script])
        .current_dir(mount.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut go = child.stdin.take().unwrap();
    for _ in 0..3 {
        kill_worker(&mount);
        writeln!(go, "go").unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "done\n"));
    assert_eq!(mount.read("prod/s/current"), "xy");
    assert_eq!(mount.read("prod/s/versions/v2"), "firsta\nb\n");
    assert_eq!(mount.read("prod/s/tags"), "one=1\nthree=3\ntwo=2\n");
}

#[test]
fn what_failed_before_a_death_has_failed_after_it() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut file = writer(&mount, "prod/s/current");
    file.write_all(b"part").unwrap();
    assert_eq!(errno(file.write_all(&[b'x'; 40_000])), libc::EFBIG);
    kill_worker(&mount);
    assert_eq!(mount.last_code(), "InvalidParameter", "the reason outlives the worker too");
    assert_eq!(errno(file.write_all(b"more")), libc::EFBIG);
    assert_eq!(errno(close(file)), libc::EFBIG);
    assert_eq!((mount.read("prod/s/current"), versions(&mount, "prod/s")), ("old".to_owned(), 1));
}

#[test]
fn a_writer_that_is_killed_after_a_death_leaves_no_version() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut child = Command::new("bash")
        .args(["-c", "exec 3> prod/s/current; printf part >&3; echo written; read never"])
        .current_dir(mount.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    kill_worker(&mount);
    child.kill().unwrap();
    child.wait().unwrap();
    mount.secret("prod/other", "after it in the line");
    assert_eq!((mount.read("prod/s/current"), versions(&mount, "prod/s")), ("old".to_owned(), 1));
}

#[test]
fn files_in_memory_outlive_a_worker() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut scratch = File::create_new(mount.path("prod/s/.current.swp")).unwrap();
    scratch.write_all(b"new va").unwrap();
    mount.ok("chmod 640 prod/s/.current.swp; ln -s ../versions/v1 prod/s/stages/.mine; mv prod/s/.current.swp prod/s/.second");
    kill_worker(&mount);
    scratch.write_all(b"lue").unwrap();
    assert_eq!(mount.read("prod/s/.second"), "new value");
    assert_eq!(mount.ok("stat -c '%a %s' prod/s/.second; readlink prod/s/stages/.mine"), "640 9\n../versions/v1\n");
    mount.ok("mv prod/s/.second prod/s/current; mv prod/s/stages/.mine prod/s/stages/canary");
    kill_worker(&mount);
    assert_eq!(mount.read("prod/s/current"), "new value");
    assert_eq!(mount.ok("readlink prod/s/stages/canary; ls -A prod/s | grep -c '^\\.' || true"), "../versions/v1\n0\n");
    // A number that was given is not given again.
    let other = File::create_new(mount.path("prod/s/.other")).unwrap();
    other.write_at(b"other", 0).unwrap();
    assert!(scratch.write_at(b"mine", 0).is_err(), "what became the value is no file any more");
    assert_eq!(mount.read("prod/s/.other"), "other");
}

#[test]
fn a_reader_goes_on_with_what_it_opened() {
    let mount = Mount::new();
    mount.secret("prod/s", "the first value");
    mount.ok("echo one=1 > prod/s/tags");
    let (mut value, mut tags) =
        (File::open(mount.path("prod/s/current")).unwrap(), File::open(mount.path("prod/s/tags")).unwrap());
    let rotate = |from: usize| {
        for n in from..from + 12 {
            mount.write("prod/s/current", format!("value {n}"));
        }
    };
    rotate(0);
    mount.ok("echo two=2 > prod/s/tags");
    // Rolled away in the life of the first worker, and again in that of the second one.
    for life in 1..3 {
        assert!(!mount.names("prod/s/versions").contains(&"v1".to_owned()));
        kill_worker(&mount);
        rotate(life * 12);
        assert_eq!(value.metadata().unwrap().size(), 15, "fstat is of what it reads");
        let mut read = String::new();
        value.seek(SeekFrom::Start(0)).unwrap();
        value.read_to_string(&mut read).unwrap();
        assert_eq!(read, "the first value");
        read.clear();
        tags.seek(SeekFrom::Start(0)).unwrap();
        tags.read_to_string(&mut read).unwrap();
        assert_eq!(read, "one=1\n");
    }
    drop((value, tags));
    assert_eq!(mount.read("prod/s/current"), "value 35");
}

/// A version that was stored when its worker died, and rolls away in the life of the next.
#[test]
fn a_version_rolls_away_under_a_reader_of_a_worker_that_is_gone() {
    let mount = Mount::new();
    mount.secret("prod/s", "the first value");
    let value = File::open(mount.path("prod/s/versions/v1")).unwrap();
    kill_worker(&mount);
    for n in 0..12 {
        mount.write("prod/s/current", format!("value {n}"));
    }
    kill_worker(&mount);
    let mut read = [0; 32];
    assert_eq!(value.read_at(&mut read, 0).unwrap(), 15);
    assert_eq!(&read[..15], b"the first value");
    mount.ok("rm -r prod/s; echo purge > prod/.deleted/s/state");
    assert!(value.read_at(&mut read, 0).is_err(), "a purged one is gone for everybody");
    kill_worker(&mount);
    assert!(value.read_at(&mut read, 0).is_err());
}

/// Many that come and go leave nothing: the memory of the estate stays small.
#[test]
fn what_was_closed_leaves_nothing() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("for n in $(seq 300); do cat prod/s/info prod/s/current > /dev/null; echo $n > prod/s/description; done");
    kill_worker(&mount);
    mount.ok("cat prod/s/current > /dev/null");
    let keeper = mount.status()["keeper_pid"].as_i64().unwrap();
    let files: Vec<_> = std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().map(|fd| fd.unwrap().path()).collect();
    let size = |name: &str| {
        let file = files.iter().find(|fd| std::fs::read_link(fd).unwrap().to_string_lossy().contains(name)).unwrap();
        std::fs::metadata(file).unwrap().blocks() * 512
    };
    assert!(size("kmsfs-log") <= 16 * 1024, "{}", size("kmsfs-log"));
    assert!(size("kmsfs-table") <= 16 * 1024, "{}", size("kmsfs-table"));
}
