//! A directory in which a test has its stores and mounts; whatever is still mounted there when it ends is taken down.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The program under test.
pub const KMSFS: &str = env!("CARGO_BIN_EXE_kmsfs");
/// Some ordinary user and group; they need not be known by name.
pub const USER: u32 = 1000;

pub struct Room {
    dir: tempfile::TempDir,
}

/// A command that runs.
pub struct Started(Child);

impl Started {
    /// Waits for its end.
    pub fn end(self) -> Said {
        Said::of(self.0.wait_with_output().unwrap())
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The arguments in `args`; a mount keeps its audit in the room.
fn words(args: &str) -> Vec<&str> {
    let mut words: Vec<&str> = args.split_whitespace().collect();
    if words.first() == Some(&"mount") && !words.contains(&"--audit") {
        words.splice(1..1, ["--audit", "audit"]);
    }
    words
}

impl Room {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kmsfs-test-").tempdir().unwrap();
        Self { dir }
    }

    /// One that belongs to the ordinary user, with the program in it where that user can run it.
    pub fn of_user() -> Self {
        assert!(is_root(), "this test acts as root and as a user: it must be run by root");
        let room = Self::new();
        fs::copy(KMSFS, room.at("kmsfs")).unwrap();
        fs::set_permissions(room.at("kmsfs"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(room.dir.path(), Some(USER), Some(USER)).unwrap();
        room
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `kmsfs ARGS`, in this directory.
    pub fn kmsfs(&self, args: &str) -> Said {
        said(self.command(KMSFS).args(words(args)))
    }

    /// `kmsfs ARGS`, in this directory and on its way.
    pub fn start(&self, args: &str) -> Started {
        let mut command = self.command(KMSFS);
        command.args(words(args)).stdout(Stdio::piped()).stderr(Stdio::piped());
        Started(command.spawn().unwrap())
    }

    /// As [`Room::kmsfs`], with `input` on stdin.
    pub fn kmsfs_fed(&self, args: &str, input: &str) -> Said {
        fs::write(self.at(".input"), input).unwrap();
        let file = fs::File::open(self.at(".input")).unwrap();
        said(self.command(KMSFS).args(words(args)).stdin(file))
    }

    /// Runs `prepare` in a mount namespace of its own, then `script` there, as `user`; `kmsfs` is the program.
    pub fn apart(&self, prepare: &str, user: u32, script: &str) -> Said {
        assert!(is_root(), "this test hides parts of the machine from itself: it must be run by root");
        let drop = format!("setpriv --reuid {user} --regid {user} --clear-groups");
        let script = format!("{prepare}; exec {drop} -- sh -ec '{script}'");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.path().display());
        said(
            self.command("unshare")
                .args(["--mount", "sh", "-ec", &script])
                .env("PATH", path)
                .env("HOME", self.dir.path()),
        )
    }

    /// Makes the store `store` with the key `key`.
    pub fn init(&self) {
        self.kmsfs("init --store store --key-file key").expect(0);
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        for variable in ["KMSFS_LOG", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(variable);
        }
        command
    }

    /// What is mounted in here.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|point| point.starts_with(self.dir.path())).collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for point in self.mounts() {
            // The test has failed already if one is here; what remains must not be in the next one's way.
            let _ = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

impl Said {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: status.code().unwrap_or(-1), out: text(&stdout), err: text(&stderr) }
    }

    /// That it ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// That it failed with `code`, saying `words`, and a hint.
    #[track_caller]
    pub fn refused(self, code: i32, words: &str) -> Self {
        let said = self.expect(code);
        assert!(said.err.starts_with("kmsfs: error: ") && said.err.contains(words), "{said:#?}");
        assert!(said.err.contains("\nkmsfs: hint: "), "no hint: {said:#?}");
        said
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Copies a directory of files. Of a store that a killed daemon has left that may have its socket, which nobody copies.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn said(command: &mut Command) -> Said {
    Said::of(command.output().unwrap())
}
