//! Nothing waits where it must not: while the store's disk takes seconds for each call, what is in memory is answered at once, and
//! whoever waits can be killed and interrupted at once.
//!
//! The disk is made slow by strace, which holds every call of the worker back that touches the store's files.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Mount, text};

/// How long the disk takes for each call.
const SLOW: &str = "delay_enter=60s";
/// All that a store does with its files that can take a disk's time; and its locks, which it also takes to read what it has in a
/// memory of its own.
const CALLS: &str = "pread64,pwrite64,fdatasync,fsync,fallocate,ftruncate,fcntl";
/// Who takes longer, to be answered or to end, has waited for the disk; who takes less may have waited for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(15);
/// What takes longer will never be.
const PATIENCE: Duration = Duration::from_secs(60);

/// The disk of a mount's store, while it is slow.
pub struct SlowDisk {
    strace: Child,
    /// It ends when nobody listens to it any more.
    _said: BufReader<ChildStderr>,
}

impl SlowDisk {
    pub fn under(mount: &Mount, calls: &str) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &mount.status()["worker_pid"].to_string()]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{SLOW}")]);
        for name in ["store.db", "store.db-wal", "store.db-shm", "ballast"] {
            strace.arg("-P").arg(mount.store().join(name));
        }
        strace.arg("-o").arg(mount.dir.path().join("calls")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().expect("strace can be started; see scripts/test-packages");
        let (mut said, mut line) = (BufReader::new(strace.stderr.take().unwrap()), String::new());
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self { strace, _said: said }
    }

    /// From now on it is quick again.
    fn recovers(self) {}
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // One that holds a call back may miss the end of its caller, and wait for it for good.
        send(&self.strace, Signal::KILL);
        self.strace.wait().unwrap();
    }
}

/// Programs that wait for the mount.
struct Callers(Vec<Child>);

impl Callers {
    /// Starts `count` programs, which are those of `command` that wait when it returns.
    fn wait(mount: &Mount, count: usize, command: impl Fn(usize) -> Command) -> Self {
        let before = waiting(mount);
        let start = |n| {
            let mut command = command(n);
            command.current_dir(mount.root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let callers = Self((0..count).map(start).collect());
        until(|| waiting(mount) >= before + count);
        callers
    }

    /// Sends `signal` to all of them, and sees to it that they end at once, and not well.
    #[track_caller]
    fn end(&mut self, signal: Signal) {
        let begin = Instant::now();
        self.0.iter().for_each(|caller| send(caller, signal));
        let ends = self.ends();
        let took = begin.elapsed();
        println!("{} callers ended within {took:?}", ends.len());
        assert!(took < AT_ONCE, "{} callers ended within {took:?}", ends.len());
        assert!(ends.iter().all(|end| !end.success()), "{ends:?}");
    }

    /// Waits for their ends.
    fn ends(&mut self) -> Vec<ExitStatus> {
        self.0.drain(..).map(|mut caller| caller.wait().unwrap()).collect()
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.0.iter().for_each(|caller| send(caller, Signal::KILL));
        self.ends();
    }
}

/// Requests of the mount that the kernel has no answer to.
fn waiting(mount: &Mount) -> usize {
    let control = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(control.as_fd()).unwrap();
    let connections = fsmount(control.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let (root, mounts) = (mount.root(), std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let line =
        mounts.lines().find(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == root)).unwrap();
    let minor = line.split(' ').nth(2).and_then(|device| device.split(':').nth(1)).unwrap();
    let file = openat(connections, format!("{minor}/waiting"), OFlags::RDONLY, Mode::empty()).unwrap();
    let mut count = String::new();
    File::from(file).read_to_string(&mut count).unwrap();
    count.trim().parse().unwrap()
}

/// Waits until `done` says so.
#[track_caller]
fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "it never came to be");
        thread::yield_now();
    }
}

fn send(to: &Child, signal: Signal) {
    kill_process(Pid::from_child(to), signal).unwrap();
}

/// A mount of secrets `cold0` and so on, and `warm`, which alone was read since the start.
fn mount() -> Mount {
    let mut mount = Mount::new();
    mount.ok("for n in $(seq 0 31); do mkdir prod/cold$n; echo $n > prod/cold$n/current; done");
    mount.secret("prod/warm", "warm");
    mount.restart();
    assert_eq!(mount.read("prod/warm/current"), "warm");
    mount
}

fn cat(n: usize) -> Command {
    let mut cat = Command::new("cat");
    cat.arg(format!("prod/cold{n}/current"));
    cat
}

/// A Python program that writes `secret` and then says that it closes it, once its input ends.
fn closer(mount: &Mount, secret: &str) -> Child {
    let script = "import os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)\nos.write(fd, b'new')\n\
                  os.write(1, b'written\\n')\nsys.stdin.read()\nos.close(fd)";
    let mut python = Command::new("python3");
    python.args(["-c", script, &format!("prod/{secret}/current")]).current_dir(mount.root());
    let mut closer = python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 can be started");
    let mut said = String::new();
    BufReader::new(closer.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "written\n");
    closer
}

/// Has the programs close what they wrote, each after the one before; they wait when it returns.
fn close(mount: &Mount, closers: Vec<Child>) -> Callers {
    let mut callers = Callers(Vec::new());
    for mut closer in closers {
        let before = waiting(mount);
        drop(closer.stdin.take());
        until(|| waiting(mount) > before);
        callers.0.push(closer);
    }
    callers
}

#[track_caller]
fn at_once(mount: &Mount, script: &str) -> Output {
    let begin = Instant::now();
    let output = mount.bash(script);
    let took = begin.elapsed();
    println!("{script}: {took:?}");
    assert!(took < AT_ONCE, "{script}: {took:?}");
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    output
}

/// Everything works, and the store is whole.
fn works(mut mount: Mount) {
    for n in 0..32 {
        assert_eq!(mount.read(&format!("prod/cold{n}/current")), format!("{n}\n"));
    }
    mount.secret("prod/after", "after");
    assert_eq!(mount.read("prod/after/current"), "after");
    assert_eq!(mount.status()["health"], "ok");
    assert!(!mount.log().contains("ERROR"), "{}", mount.log());
    mount.stop();
    assert!(mount.verify().status.success());
}

#[test]
fn what_is_in_memory_is_answered_while_the_disk_is_slow() {
    let mount = mount();
    let writer = closer(&mount, "warm");
    let disk = SlowDisk::under(&mount, CALLS);
    let mut readers = Callers::wait(&mount, 16, cat);
    let mut writers = close(&mount, vec![writer]);
    for script in [
        "ls -la . | grep -q prod",
        "stat .",
        "stat prod",
        "df . | grep -q kmsfs",
        "ls -la .kmsfs",
        "grep -q '\"health\": \"ok\"' .kmsfs/status",
        "cat .kmsfs/last-error",
        "[ \"$(cat prod/warm/current)\" = warm ]",
        "ls -l prod/warm/versions prod/warm/stages | grep -q v1",
        "cat prod/warm/info prod/warm/tags",
        "[ ! -e instance-that-is-not-there ]",
    ] {
        at_once(&mount, script);
    }
    readers.end(Signal::KILL);
    disk.recovers();
    assert!(writers.ends().iter().all(ExitStatus::success));
    assert_eq!(mount.read("prod/warm/current"), "new");
    works(mount);
}

#[test]
fn who_waits_for_the_disk_can_be_killed_and_interrupted() {
    let mount = mount();
    let disk = SlowDisk::under(&mount, CALLS);
    for (signal, first) in [(Signal::KILL, 0), (Signal::INT, 8)] {
        Callers::wait(&mount, 8, |n| cat(first + n)).end(signal);
    }
    let python = |n: usize| {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("open('prod/cold{}/current').read()", 16 + n)]);
        python
    };
    // The signal is Python's to handle, so the kernel does not count it as one that kills.
    Callers::wait(&mount, 2, python).end(Signal::INT);
    disk.recovers();
    works(mount);
}

/// Whose change has not begun makes none, wherever it stands in its gesture.
#[test]
fn a_writer_that_is_let_go_of_leaves_nothing() {
    let mount = mount();
    mount.ok("for s in killed interrupted opened echoed made; do mkdir prod/$s; echo old > prod/$s/current; done");
    // A name that is not there can be told from memory in a directory that was listed.
    mount.ok("ls -a prod/made");
    let first = closer(&mount, "warm");
    let (killed, interrupted) = (closer(&mount, "killed"), closer(&mount, "interrupted"));
    let disk = SlowDisk::under(&mount, CALLS);
    // Its commit takes long, and all others stand behind it.
    let mut first = close(&mount, vec![first]);
    let (mut killed, mut interrupted) = (close(&mount, vec![killed]), close(&mount, vec![interrupted]));
    let mut echo = Callers::wait(&mount, 1, |_| {
        let mut bash = Command::new("bash");
        bash.args(["-c", "echo new > prod/echoed/current"]);
        bash
    });
    let mut make = Callers::wait(&mount, 1, |_| {
        let mut mkdir = Command::new("mkdir");
        mkdir.arg("prod/made/below");
        mkdir
    });
    let mut open = Callers::wait(&mount, 1, |_| {
        let mut python = Command::new("python3");
        python.args(["-c", "with open('prod/opened/current', 'w') as file: file.write('new')"]);
        python
    });
    killed.end(Signal::KILL);
    interrupted.end(Signal::INT);
    echo.end(Signal::KILL);
    make.end(Signal::KILL);
    open.end(Signal::INT);
    disk.recovers();
    assert!(first.ends().iter().all(ExitStatus::success), "nobody has let it go");
    assert_eq!(mount.read("prod/warm/current"), "new");
    for secret in ["killed", "interrupted", "opened", "echoed", "made"] {
        assert_eq!(mount.read(&format!("prod/{secret}/current")), "old\n", "{secret}");
        assert_eq!(mount.names(&format!("prod/{secret}/versions")), ["v1"], "{secret}");
    }
    assert!(!mount.path("prod/made/below").exists());
    works(mount);
}

/// Whose commit is under way is let go as well; it is made whole, or not at all.
#[test]
fn a_commit_that_is_under_way_goes_on_without_its_writer() {
    let mount = mount();
    let writer = closer(&mount, "warm");
    let disk = SlowDisk::under(&mount, "pwrite64,fdatasync");
    let calls = mount.dir.path().join("calls");
    let mut writer = close(&mount, vec![writer]);
    until(|| std::fs::read_to_string(&calls).is_ok_and(|calls| calls.contains("pwrite64")));
    writer.end(Signal::KILL);
    disk.recovers();
    // The next change stands behind it.
    mount.secret("prod/next", "next");
    assert_eq!(mount.read("prod/warm/current"), "new");
    assert_eq!(mount.names("prod/warm/versions"), ["v1", "v2"]);
    works(mount);
}
