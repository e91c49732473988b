//! Who watches `current` notices a rotation, however it was made.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::harness::{Mount, text};

const PATIENCE: Duration = Duration::from_secs(20);
/// Names the file to the process in another mount namespace.
const FILE: &str = "KMSFS_TEST_WATCHED";

/// Watches of several paths.
pub struct Watcher {
    inotify: OwnedFd,
    paths: Vec<(i32, PathBuf)>,
}

impl Watcher {
    pub fn new(paths: &[PathBuf]) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let watch = |path: &PathBuf| {
            let name = CString::new(path.to_str().unwrap()).unwrap();
            (inotify::add_watch(&inotify, name, WatchFlags::CLOSE_WRITE).unwrap(), path.clone())
        };
        let paths = paths.iter().map(watch).collect();
        Self { inotify, paths }
    }

    /// Waits until every watch has told of a close, at which `path` had `value`.
    #[track_caller]
    pub fn all_tell(&self, path: &Path, value: &str) {
        let mut missing: BTreeSet<i32> = self.paths.iter().map(|(watch, _)| *watch).collect();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        while !missing.is_empty() {
            let timeout = Timespec::try_from(PATIENCE).unwrap();
            let ready = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout)).unwrap();
            let names: Vec<_> = self.paths.iter().filter(|(watch, _)| missing.contains(watch)).collect();
            assert_eq!(ready, 1, "nothing is told of {value} through {names:?}");
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            let mut told = Vec::new();
            while let Ok(event) = reader.next() {
                let of_current = event.file_name().is_none_or(|name| name.to_bytes() == b"current");
                told.extend((event.events().contains(ReadFlags::CLOSE_WRITE) && of_current).then_some(event.wd()));
            }
            // What an event tells is there to be read.
            if !told.is_empty() && std::fs::read_to_string(path).unwrap() == value {
                missing.retain(|watch| !told.contains(watch));
            }
        }
    }
}

/// The ways a secret's current value becomes another, and what it is then.
const ROTATIONS: [(&str, &str); 4] = [
    ("printf %s two > prod/s/current", "two"),
    ("printf %s three > prod/s/versions/x", "three"),
    ("ln -sfn ../versions/v1 prod/s/stages/ACSCurrent", "one"),
    ("(sleep 0.1; printf %s five) > prod/s/versions/five & wait", "five"),
];

/// Those that put another file in the place of `current`: as everywhere, that ends a watch of the file itself.
const REPLACEMENTS: [(&str, &str); 2] =
    [("sed -i s/five/six/ prod/s/current", "six"), ("printf %s seven > $OUT/new; mv $OUT/new prod/s/current", "seven")];

#[test]
fn every_way_to_rotate_is_told() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let current = mount.path("prod/s/current");
    for (script, value) in ROTATIONS {
        let watcher = Watcher::new(&[current.clone(), mount.path("prod/s")]);
        mount.ok(script);
        watcher.all_tell(&current, value);
    }
    for (script, value) in REPLACEMENTS {
        let watcher = Watcher::new(&[mount.path("prod/s")]);
        mount.ok(script);
        watcher.all_tell(&current, value);
    }
    mount.ok("rm -r prod/s; mv prod/.deleted/s prod/s");
    let watcher = Watcher::new(&[current.clone(), mount.path("prod/s")]);
    mount.ok("printf %s eight > prod/s/versions/eight");
    watcher.all_tell(&current, "eight");
}

#[test]
fn a_poke_is_no_version_and_no_read() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let watcher = Watcher::new(&[mount.path("prod/s/current")]);
    mount.ok("printf %s two > prod/s/versions/x");
    watcher.all_tell(&mount.path("prod/s/current"), "two");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "x"]);
    // Whoever is not the poker gets what an open for writing and a close without a write come to.
    mount.ok("exec 3<> prod/s/current; exec 3>&-");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "x"]);
}

#[test]
fn watchers_in_other_mount_namespaces_are_told_also_after_deaths() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    std::fs::write(mount.dir.path().join("file"), "").unwrap();
    std::fs::create_dir(mount.dir.path().join("dir")).unwrap();
    let mut inside = watcher_in_namespace(&mount);
    for (turn, value) in ["two", "three", "four"].into_iter().enumerate() {
        match turn {
            1 => kill(&mount.process("worker_pid")),
            2 => kill(&mount.poker()),
            _ => {}
        }
        mount.ok(&format!("printf %s {value} > prod/s/versions/{value}"));
    }
    let mut out = String::new();
    std::io::Read::read_to_string(&mut inside.stdout.take().unwrap(), &mut out).unwrap();
    assert!(inside.wait().unwrap().success(), "{out}");
}

/// Nobody pokes for a while: the mount goes on, and what was rotated meanwhile is told then.
#[test]
fn a_poker_that_cannot_be_started_is_tried_again() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let watcher = Watcher::new(&[mount.path("prod/s")]);
    mount.starved("no poker can be started", || {
        kill(&mount.poker());
        mount.ok("printf %s two > prod/s/versions/x");
    });
    watcher.all_tell(&mount.path("prod/s/current"), "two");
}

/// This program again, in a mount namespace of its own, with bind mounts of one secret and of its `current`.
fn watcher_in_namespace(mount: &Mount) -> Child {
    let script = "mount --bind m/prod/s/current file; mount --bind m/prod/s dir; \
                  exec \"$0\" --ignored --exact watchers::the_watching_half --nocapture";
    let mut child = Command::new("unshare")
        .args(["-m", "bash", "-ec", script])
        .arg(std::env::current_exe().unwrap())
        .current_dir(mount.dir.path())
        .env(FILE, mount.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says when it watches.
    let mut out = child.stdout.take().unwrap();
    let mut said = Vec::new();
    while !text(&said).contains("watching") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut out, &mut byte).unwrap();
        said.push(byte[0]);
    }
    child.stdout = Some(out);
    child
}

#[test]
#[ignore = "a part of `watchers_in_other_mount_namespaces_are_told_also_after_deaths`"]
fn the_watching_half() {
    let dir = PathBuf::from(std::env::var_os(FILE).expect("the test outside names a directory"));
    let watched = [dir.join("file"), dir.join("dir"), dir.join("dir/current")];
    let watcher = Watcher::new(&watched);
    println!("watching");
    // The values before the last one may have been rotated away when their event is read.
    watcher.all_tell(&dir.join("file"), "four");
}

fn kill(process: &OwnedFd) {
    rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL).unwrap();
    assert!(crate::harness::ends_within(process, PATIENCE));
}
