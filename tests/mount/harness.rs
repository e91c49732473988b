//! A mount for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, prlimit};
use tempfile::TempDir;

/// The program under test.
pub const KMSFS: &str = env!("CARGO_BIN_EXE_kmsfs");
/// A daemon that takes longer to end is a failure.
const END: Duration = Duration::from_secs(30);

/// A store, a mount point, and a daemon while it runs.
pub struct Mount {
    /// Above store, key and mount point.
    pub dir: TempDir,
    /// Options of `kmsfs mount`, from the next start on.
    pub options: Vec<String>,
    /// What is started.
    pub program: PathBuf,
    daemon: Option<Daemon>,
}

/// A running daemon.
struct Daemon {
    keeper: OwnedFd,
}

impl Mount {
    /// A new store, mounted, with an instance named `prod`.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The same, with options of `kmsfs mount`.
    pub fn with(options: &[&str]) -> Self {
        Self::in_dir(TempDir::new().expect("a temporary directory"), options)
    }

    /// The same, in a directory that is there.
    pub fn in_dir(dir: TempDir, options: &[&str]) -> Self {
        let mount = Self::found_in(dir, options);
        std::fs::create_dir(mount.path("prod")).expect("an instance can be made");
        mount
    }

    /// Mounts the store that is in a directory, or a new one without an instance.
    pub fn found_in(dir: TempDir, options: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "the mount tests need root");
        assert!(Path::new("/dev/fuse").exists(), "the mount tests need /dev/fuse");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut mount = Self { dir, options, program: KMSFS.into(), daemon: None };
        mount.start();
        mount
    }

    /// Where the tree is.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("m")
    }

    /// A path in the tree.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The key file.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// The daemon's log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("kmsfs.log")
    }

    /// Where the daemon keeps the record of its decisions.
    pub fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    /// The records that were made so far, each a line of JSON.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let dir = self.audit().join(self.status()["store"]["id"].as_str().expect("a store's id"));
        let entries = std::fs::read_dir(dir).expect("an audit");
        let mut segments: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        segments.sort();
        let text: String = segments.iter().map(|path| std::fs::read_to_string(path).expect("records")).collect();
        text.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }

    /// Starts the daemon; the command returns when the mount answers.
    pub fn start(&mut self) {
        let output = Command::new(&self.program)
            .args(["mount", "--init", "--anchor", "none", "--store"])
            .arg(self.store())
            .arg("--key-file")
            .arg(self.key())
            .arg("--log")
            .arg(self.log_file())
            .arg("--audit")
            .arg(self.audit())
            .args(&self.options)
            .arg(self.root())
            .stdin(Stdio::null())
            .output()
            .expect("kmsfs can be started");
        assert!(output.status.success(), "kmsfs mount: {}", text(&output.stderr));
        self.daemon = Some(Daemon { keeper: self.process("keeper_pid") });
    }

    /// The mount's account of itself.
    pub fn status(&self) -> serde_json::Value {
        let status = std::fs::read_to_string(self.path(".kmsfs/status")).expect("a mount answers");
        serde_json::from_str(&status).expect("the status is JSON")
    }

    /// The process behind the mount that its status calls `role`: `keeper_pid` or `worker_pid`.
    pub fn process(&self, role: &str) -> OwnedFd {
        let pid = self.status()[role].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pidfd_open(pid.expect("a pid"), PidfdFlags::empty()).expect("the process runs")
    }

    /// The keeper's child that is not the worker.
    pub fn poker_pid(&self) -> i32 {
        let status = self.status();
        let keeper = &status["keeper_pid"];
        let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).expect("a keeper");
        let mut pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        pids.find(|pid| Some(i64::from(*pid)) != status["worker_pid"].as_i64()).expect("a poker")
    }

    /// Its process.
    pub fn poker(&self) -> OwnedFd {
        let pid = Pid::from_raw(self.poker_pid()).expect("a pid");
        pidfd_open(pid, PidfdFlags::empty()).expect("the poker runs")
    }

    /// Does `action` while the keeper can open nothing and so start nothing, until it has logged `words`.
    pub fn starved(&self, words: &str, action: impl FnOnce()) {
        let pid = self.status()["keeper_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let limit = |limit| prlimit(pid, Resource::Nofile, limit).expect("root may");
        // What it has is more than this, and what it waits for is less.
        let before = limit(Rlimit { current: Some(8), maximum: getrlimit(Resource::Nofile).maximum });
        action();
        let began = Instant::now();
        while !self.log().contains(words) {
            assert!(began.elapsed() < END, "the keeper does not say: {words}");
            std::thread::yield_now();
        }
        limit(before);
    }

    /// Unmounts, and waits for the daemon to end.
    pub fn stop(&mut self) {
        run(Command::new(KMSFS).arg("umount").arg(self.root()));
        self.daemon.take().expect("it was mounted").wait();
    }

    /// Unmounts and mounts again.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// SIGKILL of keeper and worker, and clears the dead mount away.
    pub fn kill(&mut self) {
        let daemon = self.daemon.take().expect("it was mounted");
        let worker = self.process("worker_pid");
        for process in [&daemon.keeper, &worker] {
            pidfd_send_signal(process, Signal::KILL).expect("the daemon runs");
            assert!(ends_within(process, END), "a killed process did not end");
        }
        self.detach();
    }

    /// For a test that has ended the daemon itself.
    pub fn forget(&mut self) {
        self.daemon = None;
        self.detach();
    }

    /// Runs a bash script in the root of the tree.
    pub fn bash(&self, script: &str) -> Output {
        self.shell("bash", script)
    }

    /// Runs a script in the root of the tree with the shell `shell`.
    pub fn shell(&self, shell: &str, script: &str) -> Output {
        Command::new(shell)
            .args(["-c", script])
            .current_dir(self.root())
            .env("HOME", self.dir.path())
            .env("OUT", self.dir.path())
            .env("KMSFS", KMSFS)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{shell} cannot be started ({error}); see scripts/test-packages"))
    }

    /// Runs a script that must succeed; its standard output.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let output = self.bash(script);
        assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a script that must fail; its standard error.
    #[track_caller]
    pub fn fails(&self, script: &str) -> String {
        let output = self.bash(script);
        assert!(!output.status.success(), "succeeded, and must not: {script}\n{}", text(&output.stdout));
        text(&output.stderr)
    }

    /// The content of a file, which must be there.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes a file of the tree as a program does.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(path), content).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The sorted names in a directory.
    #[track_caller]
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Makes a secret with one version.
    pub fn secret(&self, path: &str, value: &str) {
        std::fs::create_dir_all(self.path(path)).expect("a directory can be made");
        self.write(&format!("{path}/current"), value);
    }

    /// The KMS code of root's last refusal.
    pub fn last_code(&self) -> String {
        let refusal: serde_json::Value = serde_json::from_str(&self.read(".kmsfs/last-error")).expect("JSON");
        refusal["Code"].as_str().unwrap_or("none").to_owned()
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).expect("a log")
    }

    /// What the store's walk finds; the mount is not up.
    pub fn verify(&self) -> Output {
        let mut verify = Command::new(KMSFS);
        verify.arg("verify").arg("--store").arg(self.store()).arg("--key-file").arg(self.key());
        verify.output().expect("kmsfs can be started")
    }

    fn detach(&self) {
        let _ = rustix::mount::unmount(self.root(), rustix::mount::UnmountFlags::DETACH);
    }
}

impl Mount {
    /// What a daemon that did not come to its end has left beside the mount of the whole tree.
    fn detach_views(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter(|line| line.starts_with("kmsfs "));
        let points = ours.filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        for point in points.filter(|point| point.starts_with(self.dir.path())) {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whatever went wrong, the daemon may have said why.
            println!("the daemon's log:\n{}", std::fs::read_to_string(self.log_file()).unwrap_or_default());
        }
        self.detach();
        self.detach_views();
        if let Some(daemon) = self.daemon.take()
            && !ends_within(&daemon.keeper, END)
        {
            let _ = pidfd_send_signal(&daemon.keeper, Signal::KILL);
            if !std::thread::panicking() {
                panic!("the daemon did not end with its mount");
            }
        }
    }
}

impl Daemon {
    fn wait(&self) {
        assert!(ends_within(&self.keeper, END), "the daemon did not end");
    }
}

/// Whether the process behind `pidfd` ends in time.
pub fn ends_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut watched, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Output as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The errno of an I/O operation that must fail.
#[track_caller]
pub fn errno<T>(outcome: std::io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => panic!("succeeded, and must not"),
        Err(error) => error.raw_os_error().expect("an errno"),
    }
}

/// close(2) with its error, which a dropped `File` swallows.
pub fn close(file: std::fs::File) -> std::io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was this file's alone, and nothing uses it afterwards.
    #[allow(unsafe_code, reason = "no safe call answers the error of a close")]
    let closed = unsafe { libc::close(file.into_raw_fd()) };
    match closed {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
