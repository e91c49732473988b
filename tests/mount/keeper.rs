//! The mount outlives its worker and its program.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Signal, pidfd_send_signal};

use crate::harness::{KMSFS, Mount, close, ends_within, run};

const END: Duration = Duration::from_secs(30);
/// `KMSFS_KILLS=500` is the long form.
const KILLS: u64 = 12;
/// So far apart that they are accidents: the keeper gives up after ten in ten seconds.
const APART: Duration = Duration::from_millis(1_100);

/// Stops the worker, all of its threads.
fn stop_worker(mount: &Mount) -> rustix::fd::OwnedFd {
    let (worker, pid) = (mount.process("worker_pid"), mount.status()["worker_pid"].as_i64().unwrap());
    pidfd_send_signal(&worker, Signal::STOP).unwrap();
    let began = Instant::now();
    let stopped = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        status.contains("State:\tT")
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| stopped(task.unwrap())) {
        assert!(began.elapsed() < END, "the worker does not stop");
        std::thread::yield_now();
    }
    worker
}

pub fn kill_worker(mount: &Mount) {
    let worker = mount.process("worker_pid");
    pidfd_send_signal(&worker, Signal::KILL).unwrap();
    assert!(ends_within(&worker, END));
}

#[test]
fn readers_notice_no_death() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/db/pw; printf %s one > prod/db/pw/current; printf %s two > prod/db/pw/current");
    let held = File::open(mount.path("prod/db/pw/versions/v1")).unwrap();
    let kills = std::env::var("KMSFS_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(mount.read("prod/db/pw/current"), "two");
                    let mut text = [0; 8];
                    assert_eq!(held.read_at(&mut text, 0).unwrap(), 3);
                    assert_eq!(&text[..3], b"one");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let found = run(Command::new("find").arg(mount.path("prod")).args(["-name", "current"]));
                assert_eq!(found.lines().count(), 1);
            }
        });
        let mut pause = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..kills {
            pause = pause.rotate_left(7).wrapping_mul(31);
            let until = Instant::now() + APART + Duration::from_micros(pause % 300_000);
            while Instant::now() < until {
                std::thread::yield_now();
            }
            kill_worker(&mount);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > kills * 10, "too few reads to mean anything");
}

#[test]
fn bind_mounts_and_directories_outlive_a_worker() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    std::fs::write(mount.dir.path().join("file"), "").unwrap();
    std::fs::create_dir(mount.dir.path().join("dir")).unwrap();
    std::fs::create_dir(mount.dir.path().join("tree")).unwrap();
    // In a mount namespace of its own, as a container has them.
    let script = "mount --bind m/prod/s/current file; mount --bind m/prod/s dir; mount --rbind m tree; cd dir; echo ready; read _; \
                  cat ../file current ../tree/prod/s/current; echo two > ../tree/prod/s/current; cat ../file; ls .";
    let mut shell = Command::new("unshare")
        .args(["-m", "bash", "-ec", script])
        .current_dir(mount.dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = shell.stdout.take().unwrap();
    let mut ready = [0; 6];
    out.read_exact(&mut ready).unwrap();
    kill_worker(&mount);
    shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert!(shell.wait().unwrap().success(), "{text}");
    assert!(text.starts_with("oneoneonetwo\ncmk\ncurrent\n"), "{text}");
}

#[test]
fn a_new_program_takes_over() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let mut held = File::open(mount.path("prod/s/current")).unwrap();
    let before = mount.status();
    let said = run(Command::new(KMSFS).args(["upgrade", "--json"]).arg(mount.root()));
    let after: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(after["keeper_pid"], before["keeper_pid"]);
    assert_ne!(after["worker_pid"], before["worker_pid"]);
    assert_eq!(held.metadata().unwrap().len(), 3);
    let mut text = String::new();
    held.rewind().unwrap();
    held.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one");
    // A second time, and the daemon is still one that can be unmounted and waited for.
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    assert_eq!(mount.status()["keeper_pid"], before["keeper_pid"]);
}

/// A filesystem that answers nothing.
struct Silent;

impl fuser::Filesystem for Silent {
    fn getattr(&self, _: &fuser::Request, _: fuser::INodeNo, _: Option<fuser::FileHandle>, reply: fuser::ReplyAttr) {
        // One that is dropped answers.
        std::mem::forget(reply);
    }

    fn lookup(&self, _: &fuser::Request, _: fuser::INodeNo, _: &std::ffi::OsStr, reply: fuser::ReplyEntry) {
        std::mem::forget(reply);
    }
}

/// The poker may wait for an answer of the worker that is gone, which not even SIGKILL ends before another worker serves. Here
/// it waits for another filesystem's.
#[test]
fn a_poker_that_waits_does_not_hold_up_an_upgrade() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let silent = tempfile::TempDir::new().unwrap();
    let session = fuser::spawn_mount(Silent, silent.path(), &fuser::Config::default()).unwrap();
    let mut file = File::create(mount.path("prod/s/current")).unwrap();
    file.write_all(b"two").unwrap();
    rustix::mount::mount_bind(silent.path(), mount.path("prod/s")).unwrap();
    close(file).unwrap();
    let (keeper, poker) = (mount.status()["keeper_pid"].clone(), mount.poker_pid());
    let wchan = format!("/proc/{poker}/wchan");
    until("the poker waits", || std::fs::read_to_string(&wchan).unwrap().contains("request_wait"));

    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    assert_eq!(mount.status()["workers_before"], 1);
    rustix::mount::unmount(mount.path("prod/s"), UnmountFlags::DETACH).unwrap();
    // Whoever waits for it is let go.
    rustix::mount::unmount(silent.path(), UnmountFlags::FORCE | UnmountFlags::DETACH).unwrap();
    drop(session);
    // The former poker is gone then, and leaves nothing behind.
    let children = format!("/proc/{keeper}/task/{keeper}/children");
    until("two children are left", || std::fs::read_to_string(&children).unwrap().split_whitespace().count() == 2);
    assert_eq!(mount.read("prod/s/current"), "two");
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < END, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// A mount whose program stands where the test can replace it.
fn own_program(mount: &mut Mount) -> std::path::PathBuf {
    let program = mount.dir.path().join("bin-kmsfs");
    std::fs::copy(KMSFS, &program).unwrap();
    mount.stop();
    mount.program = program.clone();
    mount.start();
    program
}

#[test]
fn a_program_that_cannot_take_over_is_refused() {
    let mut mount = Mount::new();
    let program = own_program(&mut mount);
    let before = mount.status();
    for (stranger, said) in
        [("#!/bin/sh\nexit 1\n", "does not know how to take over"), ("no program", "cannot be started")]
    {
        let new = mount.dir.path().join("new");
        std::fs::write(&new, stranger).unwrap();
        run(Command::new("chmod").arg("755").arg(&new));
        std::fs::rename(&new, &program).unwrap();
        let refused = Command::new(KMSFS).arg("upgrade").arg(mount.root()).output().unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(said), "{text}");
        assert_eq!(mount.status()["worker_pid"], before["worker_pid"]);
    }
    // A worker that dies now is still followed by one of the program that runs.
    kill_worker(&mount);
    assert_eq!(mount.status()["keeper_pid"], before["keeper_pid"]);
}

/// It says that it can take over, and cannot.
#[test]
fn a_program_whose_worker_does_not_serve_gives_back() {
    let mut mount = Mount::new();
    let program = own_program(&mut mount);
    mount.secret("prod/s", "one");
    let before = mount.status();
    let broken = format!("#!/bin/sh\ncase $1 in work) exit 7;; *) exec {KMSFS} \"$@\";; esac\n");
    let new = mount.dir.path().join("new");
    std::fs::write(&new, broken).unwrap();
    run(Command::new("chmod").arg("755").arg(&new));
    std::fs::rename(&new, &program).unwrap();
    let _ = symlink(&program, mount.dir.path().join("seen"));
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    assert_eq!(mount.status()["keeper_pid"], before["keeper_pid"]);
    assert_eq!(mount.read("prod/s/current"), "one");
}

/// Neither the new program's worker can serve nor the former's: the mount ends, and nothing is tried for ever.
#[test]
fn what_no_program_serves_is_given_up() {
    let mut mount = Mount::new();
    let keeper = mount.process("keeper_pid");
    let away = mount.dir.path().join("away");
    std::fs::rename(mount.store(), &away).unwrap();
    pidfd_send_signal(&keeper, Signal::HUP).unwrap();
    assert!(ends_within(&keeper, END), "the keeper goes on");
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(mount.root().to_str().unwrap()));
    std::fs::rename(&away, mount.store()).unwrap();
    mount.forget();
    mount.start();
}

/// A mount that was taken away while in use is another one's place by then.
#[test]
fn a_keeper_ends_no_other_mount() {
    let mut mount = Mount::new();
    let held = File::open(mount.path("prod")).unwrap();
    let keeper = mount.process("keeper_pid");
    run(Command::new(KMSFS).args(["umount", "--lazy"]).arg(mount.root()));
    let second = Command::new(KMSFS)
        .args(["mount", "--init", "--anchor", "none", "--store"])
        .arg(mount.dir.path().join("second"))
        .arg("--key-file")
        .arg(mount.dir.path().join("second-key"))
        .arg("--audit")
        .arg(mount.audit())
        .arg("--log")
        .arg(mount.log_file())
        .arg(mount.root())
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    pidfd_send_signal(&keeper, Signal::TERM).unwrap();
    drop(held);
    assert!(ends_within(&keeper, END));
    assert_eq!(mount.status()["health"], "ok", "the second mount is there");
    run(Command::new(KMSFS).arg("umount").arg(mount.root()));
    mount.forget();
}

/// The machine is out of processes, of memory, of descriptors: that may pass, and callers wait as they do after a death.
#[test]
fn a_worker_that_cannot_be_started_is_tried_again() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let keeper = mount.status()["keeper_pid"].clone();
    mount.starved("no worker can be started", || kill_worker(&mount));
    assert_eq!(mount.read("prod/s/current"), "one");
    assert_eq!(mount.status()["keeper_pid"], keeper);
}

/// The same, and somebody does not want to wait for it.
#[test]
fn a_mount_whose_worker_cannot_be_started_ends_when_it_is_told_to() {
    let mut mount = Mount::new();
    let keeper = mount.process("keeper_pid");
    mount.starved("no worker can be started", || kill_worker(&mount));
    // It waits for a while before it tries again.
    pidfd_send_signal(&keeper, Signal::TERM).unwrap();
    assert!(ends_within(&keeper, END), "the keeper goes on");
    assert!(mount.log().contains("is given up"), "{}", mount.log());
    mount.forget();
}

/// What is unmounted while no worker serves has a number that the next mount gets. A keeper that gives up ends its own connection, and no
/// other.
#[test]
fn a_keeper_ends_no_other_connection() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let mut mount = Mount::new();
    let number = std::fs::metadata(mount.root()).unwrap().dev();
    let (keeper, status) = (mount.process("keeper_pid"), mount.status());
    let pid = status["keeper_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // It can open nothing, so start nothing; what it has is more than this.
    let limit = |limit| prlimit(pid, Resource::Nofile, limit).unwrap();
    let before = limit(Rlimit { current: Some(8), maximum: getrlimit(Resource::Nofile).maximum });
    kill_worker(&mount);
    until("the keeper waits to try again", || mount.log().contains("no worker can be started"));
    rustix::mount::unmount(mount.root(), UnmountFlags::DETACH).unwrap();
    // One of them gets the number, unless another test has it.
    let others = [(); 3].map(|()| Mount::new());
    println!("numbers: {number}, {:?}", others.each_ref().map(|other| std::fs::metadata(other.root()).unwrap().dev()));
    limit(before);
    pidfd_send_signal(&keeper, Signal::TERM).unwrap();
    assert!(ends_within(&keeper, END), "it has nothing to keep");
    for other in &others {
        other.secret("prod/s", "there");
        assert_eq!(other.read("prod/s/current"), "there");
    }
    mount.forget();
}

/// The same where workers can be started: there is nothing for them to serve.
#[test]
fn what_is_unmounted_between_two_workers_is_no_mount_any_more() {
    let mut mount = Mount::new();
    let keeper = mount.process("keeper_pid");
    pidfd_send_signal(mount.process("worker_pid"), Signal::KILL).unwrap();
    rustix::mount::unmount(mount.root(), UnmountFlags::DETACH).unwrap();
    assert!(ends_within(&keeper, END), "the keeper goes on");
    assert!(!mount.log().contains("given up"), "{}", mount.log());
    mount.forget();
}

#[test]
fn a_worker_that_always_dies_is_given_up() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "one");
    let keeper = mount.process("keeper_pid");
    let began = Instant::now();
    // Ten within ten seconds.
    while !ends_within(&keeper, Duration::ZERO) {
        assert!(began.elapsed() < END, "the keeper does not give up");
        if let Ok(status) = std::fs::read_to_string(mount.path(".kmsfs/status")) {
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let pid = status["worker_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            let pid = pid.and_then(rustix::process::Pid::from_raw).unwrap();
            if let Ok(worker) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                let _ = pidfd_send_signal(&worker, Signal::KILL);
            }
        }
    }
    assert!(mount.log().contains("no other worker is started"), "{}", mount.log());
    mount.forget();
    mount.start();
    assert_eq!(mount.read("prod/s/current"), "one");
}

#[test]
fn abort_frees_whoever_waits() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "one");
    let keeper = mount.process("keeper_pid");
    let worker = stop_worker(&mount);
    let path = mount.path("prod/s/current");
    let (tell, tid) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        std::fs::read(path).map_err(|error| error.raw_os_error())
    });
    // It waits in the kernel once it is no longer in user space.
    let began = Instant::now();
    let stat = format!("/proc/self/task/{}/wchan", tid.recv_timeout(END).unwrap());
    while !std::fs::read_to_string(&stat).unwrap().contains("request_wait") {
        assert!(began.elapsed() < END, "nobody waits");
        std::thread::yield_now();
    }
    run(Command::new(KMSFS).arg("abort").arg(mount.root()));
    let errno = waiting.join().unwrap().unwrap_err();
    // The second is what a request gets that had not been read out yet.
    assert!(matches!(errno, Some(libc::ECONNABORTED | libc::ENOTCONN)), "{errno:?}");
    pidfd_send_signal(&worker, Signal::CONT).unwrap();
    assert!(ends_within(&worker, END) && ends_within(&keeper, END), "the daemon goes with its connection");
    mount.forget();
}

/// Half a minute: it is as long as a slow disk is given.
#[test]
fn a_worker_that_hangs_is_replaced() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let worker = stop_worker(&mount);
    let began = Instant::now();
    assert_eq!(mount.read("prod/s/current"), "one");
    assert!(began.elapsed() < 2 * END, "it took {:?}", began.elapsed());
    assert!(ends_within(&worker, END), "the one that hung is still there");
    assert!(mount.log().contains("does not answer; it is killed"));
}

#[test]
fn a_keeper_that_is_gone_leaves_a_worker_that_serves() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "one");
    let (keeper, worker) = (mount.process("keeper_pid"), mount.process("worker_pid"));
    pidfd_send_signal(&keeper, Signal::KILL).unwrap();
    assert!(ends_within(&keeper, END));
    assert_eq!(mount.read("prod/s/current"), "one");
    mount.write("prod/s/current", "two");
    assert_eq!(std::fs::metadata(mount.path("prod/s/current")).unwrap().size(), 3);
    run(Command::new(KMSFS).arg("umount").arg(mount.root()));
    assert!(ends_within(&worker, END), "the worker ends with the mount");
    mount.forget();
}
