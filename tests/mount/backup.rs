//! Backups: taken of a mount in use, and restored on a machine that has nothing but them and the key.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::harness::{KMSFS, Mount, errno, text};

/// All that a tree shows of itself, `.kmsfs` excepted: by path what stat(2) says and what is in it.
fn dump(mount: &Mount) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![mount.root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let short = path.strip_prefix(mount.root()).unwrap().to_owned();
            if short == Path::new(".kmsfs") {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            let content = if meta.is_dir() {
                folders.push(path.clone());
                String::new()
            } else if meta.is_symlink() {
                path.read_link().unwrap().display().to_string()
            } else {
                format!("{:?}", text(&fs::read(&path).unwrap()))
            };
            let owner = (meta.uid(), meta.gid(), meta.len(), meta.ino());
            seen.insert(short, format!("{:o} {owner:?} {times:?} {content}", meta.mode()));
        }
    }
    seen
}

fn kmsfs(dir: &Path, args: &str) -> Output {
    let mut command = Command::new(KMSFS);
    command.current_dir(dir).args(args.split_whitespace()).stdin(Stdio::null()).env_remove("XDG_STATE_HOME");
    command.output().unwrap()
}

#[track_caller]
fn done(dir: &Path, args: &str) -> String {
    let said = kmsfs(dir, args);
    assert!(said.status.success(), "kmsfs {args}: {}{}", text(&said.stdout), text(&said.stderr));
    text(&said.stdout)
}

#[track_caller]
fn refused(dir: &Path, args: &str, code: i32, words: &str) {
    let said = kmsfs(dir, args);
    let err = text(&said.stderr);
    assert_eq!(said.status.code(), Some(code), "kmsfs {args}: {}{err}", text(&said.stdout));
    assert!(err.contains(words) && err.contains("kmsfs: hint: "), "kmsfs {args}: {err}");
}

/// Another machine: a directory with the key file of `mount` and its backup, and nothing else.
fn elsewhere(mount: &Mount, backup: &Path) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::copy(mount.key(), dir.path().join("key")).unwrap();
    fs::set_permissions(dir.path().join("key"), Permissions::from_mode(0o600)).unwrap();
    fs::copy(backup, dir.path().join("backup")).unwrap();
    dir
}

const RESTORE: &str = "restore-backup --store store --key-file key --anchor none backup";

/// Everything that a tree can have.
fn furnished() -> Mount {
    let mount = Mount::new();
    mount.ok(r#"
        mkdir -m 700 other; chown 1000:1000 other; echo 9 > other/.instance/recovery-window
        mkdir -p prod/db/password prod/web/deep/er prod/draft other/x
        for v in one two three; do printf $v > prod/db/password/versions/$v; done
        ln -s ../versions/one prod/db/password/stages/canary
        ln -sfn ../versions/two prod/db/password/stages/ACSCurrent
        printf 'env=prod\nteam=a\n' > prod/db/password/tags
        echo 'the password' > prod/db/password/description
        for n in $(seq 12); do printf %s $n > prod/web/deep/er/current; done
        head -c 30720 /dev/zero | tr '\0' '\377' > prod/web/current
        chmod 711 prod/web; chmod 604 prod/web/current; chown 1001:1002 prod/web
        echo a=b > prod/draft/tags
        printf gone > other/x/current; rm -r other/x
        mkdir -p prod/tmp/y; printf y > prod/tmp/y/current; rm -r prod/tmp"#);
    mount
}

#[test]
fn a_backup_restored_elsewhere_has_everything() {
    let mount = furnished();
    let before = dump(&mount);
    assert!(before.len() > 60 && before.contains_key(Path::new("other/.deleted/x/info")), "{before:#?}");
    let m = mount.root().display().to_string();
    let said = done(mount.dir.path(), &format!("backup --json out {m}"));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let out = mount.dir.path().join("out");
    assert_eq!(said["bytes"], out.metadata().unwrap().len());
    assert_eq!(out.metadata().unwrap().mode() & 0o7777, 0o600);
    mount.ok("printf later > prod/db/password/current; mkdir prod/later");
    // The gesture is as good as the verb.
    mount.ok("cp .kmsfs/backup $OUT/copied");
    for (backup, same) in [("out", true), ("copied", false)] {
        let dir = elsewhere(&mount, &mount.dir.path().join(backup));
        let said = done(dir.path(), RESTORE);
        assert!(said.starts_with("restored the store "), "{said}");
        for (name, mode) in [("", 0o700), ("store.db", 0o600), ("store.lock", 0o600)] {
            let path = dir.path().join("store").join(name);
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, mode, "{name}");
        }
        let mut there = Mount::found_in(dir, &[]);
        let after = dump(&there);
        if same {
            assert_eq!(before, after);
        } else {
            assert_eq!(dump(&mount), after);
        }
        there.stop();
        assert!(there.verify().status.success());
    }
}

#[test]
fn a_backup_tells_a_thief_nothing() {
    let mount = Mount::new();
    mount.secret("prod/unmistakable-name", "an unmistakable value");
    mount.ok("echo unmistakable=tag > prod/unmistakable-name/tags; cat .kmsfs/backup > $OUT/backup");
    let bytes = fs::read(mount.dir.path().join("backup")).unwrap();
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    assert!(!bytes.windows(12).any(|window| window == b"unmistakable"));
}

/// Who owns the root makes backups, and nobody else; nobody writes one.
#[test]
fn a_backup_is_for_the_owner_of_the_root() {
    let mount = Mount::new();
    let as_user = |script: &str| {
        let drop = ["--reuid=1000", "--regid=1000", "--clear-groups", "bash", "-c", script];
        Command::new("setpriv").args(drop).current_dir(mount.root()).output().unwrap()
    };
    fs::set_permissions(mount.dir.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(text(&as_user("cat .kmsfs/backup").stderr).contains("Permission denied"));
    assert_eq!(mount.path(".kmsfs/backup").metadata().unwrap().mode() & 0o7777, 0o400);
    for gesture in ["echo x > .kmsfs/backup", "rm .kmsfs/backup", "chmod 444 .kmsfs/backup", "mv .kmsfs/backup prod"] {
        mount.fails(gesture);
    }
    mount.ok("chown 1000:1000 .");
    let said = as_user("cat .kmsfs/backup | head -c 15");
    assert_eq!(text(&said.stdout), "SQLite format 3");
}

/// Whoever takes the whole store is on record.
#[test]
fn a_backup_is_recorded() {
    let mount = Mount::new();
    mount.ok("head -c 1 .kmsfs/backup > /dev/null");
    let records = mount.records();
    let record = records.iter().find(|record| record.to_string().contains("BackUp"));
    assert!(
        record.is_some_and(|record| record["uid"] == 0 || record.to_string().contains("\"uid\":0")),
        "{records:#?}"
    );
}

/// A descriptor reads one copy from its first byte to its last, whatever is written and whoever else reads meanwhile, in any order.
#[test]
fn each_open_is_one_copy() {
    let mount = Mount::new();
    mount.secret("prod/a", "one");
    let open = || File::open(mount.path(".kmsfs/backup")).unwrap();
    let whole = |file: &mut File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let mut first = open();
    let of_first = whole(&mut first);
    assert_eq!(first.metadata().unwrap().len(), of_first.len() as u64);
    for n in 0..50 {
        mount.secret(&format!("prod/s{n}"), &"x".repeat(2000));
    }
    let mut second = open();
    let of_second = whole(&mut second);
    assert!(of_second.len() > of_first.len());
    assert_eq!(whole(&mut first), of_first);
    let mut part = [0; 100];
    first.read_exact_at(&mut part, 5000).unwrap();
    assert_eq!(part, of_first[5000..5100]);
    assert_eq!(second.read_at(&mut part, of_second.len() as u64 - 7).unwrap(), 7);
    // The page cache knows one file only.
    let sent = mount.bash("python3 -c \"import os; f = os.open('.kmsfs/backup', 0); os.sendfile(1, f, 0, 100)\"");
    assert!(text(&sent.stderr).contains("Input/output error"), "{}", text(&sent.stderr));
    drop((first, second));
    assert!(fs::read_dir(mount.store()).unwrap().all(|entry| entry.unwrap().file_name() != "snapshot.new"));
}

/// A writer never waits for a backup, and what it was told is done before one begins is in it.
#[test]
fn writers_go_on_during_a_backup() {
    let mount = Mount::new();
    for n in 0..20 {
        mount.secret(&format!("prod/large{n}"), &"x".repeat(30_000));
    }
    let (done_with, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done_with.load(Ordering::SeqCst) {
                n += 1;
                mount.secret("prod/moving", &n.to_string());
                written.store(n, Ordering::SeqCst);
            }
        });
        // Also where this thread fails.
        let _ends = Ends(&done_with);
        for round in 0..5 {
            while written.load(Ordering::SeqCst) < 5 * (round + 1) {
                std::thread::yield_now();
            }
            let before = written.load(Ordering::SeqCst);
            let m = mount.root().display().to_string();
            done(mount.dir.path(), &format!("backup --force out {m}"));
            let after = written.load(Ordering::SeqCst) + 1;
            let dir = elsewhere(&mount, &mount.dir.path().join("out"));
            done(dir.path(), RESTORE);
            let there = Mount::found_in(dir, &[]);
            let found: usize = there.read("prod/moving/current").parse().unwrap();
            assert!((before..=after).contains(&found), "{found} of {before} to {after}");
        }
    });
}

/// Tells another thread to end when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_copy_ends_with_its_worker_and_its_reader_is_told() {
    let mount = Mount::new();
    mount.secret("prod/a", "one");
    let file = File::open(mount.path(".kmsfs/backup")).unwrap();
    let worker = mount.process("worker_pid");
    rustix::process::pidfd_send_signal(&worker, rustix::process::Signal::KILL).unwrap();
    assert_eq!(errno(file.read_at(&mut [0; 100], 0)), libc::EIO);
    assert_eq!(errno(file.read_at(&mut [0; 100], 0)), libc::EIO);
    drop(file);
    assert_eq!(mount.ok("head -c 15 .kmsfs/backup"), "SQLite format 3", "the next one is whole");
}

#[test]
fn a_backup_is_named_when_it_is_whole() {
    let mount = Mount::new();
    let (dir, m) = (mount.dir.path(), mount.root().display().to_string());
    fs::write(dir.join("out"), "mine").unwrap();
    refused(dir, &format!("backup out {m}"), 1, "is there already");
    assert_eq!(fs::read(dir.join("out")).unwrap(), b"mine");
    done(dir, &format!("backup --force out {m}"));
    assert!(fs::read(dir.join("out")).unwrap().starts_with(b"SQLite"));
    refused(dir, &format!("backup --force store/store.db {m}"), 1, "a store's own directory");
    refused(dir, "backup new .", 10, "is in no mount of kmsfs");
    refused(dir, "backup --store none new", 1, "there is no store");
    refused(dir, "backup --store store new", 11, "in use by another process");
    refused(dir, &format!("backup /dev/full {m}"), 1, "is there already");
    assert!(!dir.join("new").exists() && !dir.join("new.part").exists());
    // The only mount is found by itself where it is the only one of the machine; the pipe has it all.
    let piped = mount.ok(&format!("{KMSFS} backup - . | cmp - <(cat .kmsfs/backup) && echo same"));
    assert_eq!(piped, "same\n");
}

#[test]
fn a_store_that_is_not_mounted_is_backed_up_without_a_key() {
    let mut mount = Mount::new();
    mount.secret("prod/a", "one");
    mount.stop();
    fs::rename(mount.key(), mount.dir.path().join("hidden")).unwrap();
    done(mount.dir.path(), "backup --store store out");
    fs::rename(mount.dir.path().join("hidden"), mount.key()).unwrap();
    let there = {
        let dir = elsewhere(&mount, &mount.dir.path().join("out"));
        done(dir.path(), RESTORE);
        Mount::found_in(dir, &[])
    };
    assert_eq!(there.read("prod/a/current"), "one");
    mount.start();
}

/// No store is made of what is not whole, not ours, or not opened by the key; and none in the place of another.
#[test]
fn what_is_no_sound_backup_is_refused() {
    let mount = furnished();
    done(mount.dir.path(), &format!("backup out {}", mount.root().display()));
    let dir = elsewhere(&mount, &mount.dir.path().join("out"));
    let (backup, store) = (dir.path().join("backup"), dir.path().join("store"));
    let whole = fs::read(&backup).unwrap();
    let mut newer = whole.clone();
    newer[63] = 7;
    for (bytes, code, words) in [
        (Vec::new(), 22, "shorter than its header"),
        (b"#!/bin/sh\n".repeat(100), 22, "no database of kmsfs"),
        (whole[..whole.len() / 2].to_vec(), 22, "bytes, and says that it has"),
        (whole[..whole.len() - 1].to_vec(), 22, "bytes, and says that it has"),
        (newer, 24, "has format 7"),
    ] {
        fs::write(&backup, bytes).unwrap();
        refused(dir.path(), RESTORE, code, words);
        assert!(!store.exists(), "{words}: something is left");
    }
    fs::write(&backup, &whole).unwrap();
    fs::write(dir.path().join("wrong"), [7; 32]).unwrap();
    fs::set_permissions(dir.path().join("wrong"), Permissions::from_mode(0o600)).unwrap();
    refused(dir.path(), &RESTORE.replace("file key", "file wrong"), 20, "does not open any unlock slot");
    refused(dir.path(), &RESTORE.replace("file key", "file none"), 1, "does not exist");
    let missing = kmsfs(dir.path(), &RESTORE.replace("none backup", "none missing"));
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("No such file"));
    fs::write(dir.path().join("backup-wal"), "x").unwrap();
    refused(dir.path(), RESTORE, 1, "a log lies beside it");
    fs::remove_file(dir.path().join("backup-wal")).unwrap();
    assert!(!store.exists());
    // A directory that is there, be it a disk of its own, is filled; one with a store is not.
    fs::create_dir(&store).unwrap();
    fs::write(store.join("store.db-wal"), "another store's").unwrap();
    refused(dir.path(), RESTORE, 1, "there is a store in");
    fs::remove_file(store.join("store.db-wal")).unwrap();
    done(dir.path(), &RESTORE.replace("--anchor none", "--no-verify"));
    refused(dir.path(), RESTORE, 1, "there is a store in");
    let names: Vec<_> = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(Mount::found_in(dir, &[]).read("prod/db/password/current"), "two");
}

/// A bit that has turned over is found, or it is one that nothing is in: then all is there.
#[test]
fn a_bit_that_has_turned_over_is_found() {
    let mount = furnished();
    done(mount.dir.path(), &format!("backup out {}", mount.root().display()));
    let before = dump(&mount);
    let whole = fs::read(mount.dir.path().join("out")).unwrap();
    let mut found = 0;
    for at in (1..32).map(|n| n * whole.len() / 32) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        let dir = elsewhere(&mount, &mount.dir.path().join("out"));
        fs::write(dir.path().join("backup"), bytes).unwrap();
        if kmsfs(dir.path(), RESTORE).status.success() {
            assert_eq!(dump(&Mount::found_in(dir, &[])), before, "byte {at}");
        } else {
            refused(dir.path(), RESTORE, 22, "");
            assert!(!dir.path().join("store").exists());
            found += 1;
        }
    }
    assert!(found > 15, "{found} were found");
}
