//! The actors of a run, each a process of its own: this program again. What one process has open is nothing to the others.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::harness::{KMSFS, run, text};
use crate::shelf::Shelf;
use crate::{finder, readers, watcher, writers};

/// What an actor has to know, as JSON.
const PART: &str = "KMSFS_TEST_SOAK";
/// What stands before an actor's account in what it prints.
const SAID: &str = "the account is ";

/// An actor that takes longer to its end hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    HoldCurrent,
    HoldVersion,
    ReadCurrent,
    ReadAll,
    WriteCurrent,
    WriteVersions,
    Find,
    Watch,
}

/// All of them; who writes comes first, since whoever watches must outlast it.
pub const CAST: [Role; 8] = [
    Role::WriteCurrent,
    Role::WriteVersions,
    Role::HoldCurrent,
    Role::HoldVersion,
    Role::ReadCurrent,
    Role::ReadAll,
    Role::Find,
    Role::Watch,
];

/// What an actor plays in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Where the mount is.
    pub root: PathBuf,
    /// The secrets that are written through `current`.
    pub rotated: Vec<String>,
    /// The one that is written through `versions/`.
    pub numbered: String,
}

/// What an actor has to say in the end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Said {
    pub account: Account,
    /// What a writer has left.
    pub shelves: Vec<Shelf>,
}

/// Whether the actor is to go on, and what it is told.
pub struct Cue {
    ends: Arc<AtomicBool>,
    lines: Receiver<String>,
}

/// An actor that plays.
pub struct Actor {
    pub role: Role,
    root: PathBuf,
    process: Child,
}

impl Stage {
    /// All secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &String> {
        self.rotated.iter().chain([&self.numbered])
    }

    /// A path in the directory of `secret`.
    pub fn path(&self, secret: &str, entry: &str) -> PathBuf {
        self.root.join("prod").join(secret).join(entry)
    }
}

impl Actor {
    pub fn start(role: Role, stage: &Stage) -> Self {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "cast::an_actor", "--nocapture"])
            .env(PART, serde_json::to_string(&(role, stage)).unwrap())
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { role, root: stage.root.clone(), process }
    }

    /// Tells it `words` and that this is the end, and hears it out.
    pub fn end(mut self, words: &str) -> Said {
        self.process.stdin.take().unwrap().write_all(words.as_bytes()).unwrap();
        let (tell, told) = channel();
        std::thread::spawn(move || tell.send(self.process.wait_with_output().unwrap()));
        let output = told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            // Else nobody could end it, and what waits for it.
            run(Command::new(KMSFS).arg("abort").arg(&self.root));
            panic!("{:?} waits for an answer that does not come", self.role);
        });
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let said = out.lines().find_map(|line| line.strip_prefix(SAID));
        let said = said.unwrap_or_else(|| panic!("{:?} has ended: {}\n{out}\n{err}", self.role, output.status));
        serde_json::from_str(said).unwrap()
    }
}

impl Cue {
    /// What is told on stdin; its end is the actor's.
    pub fn listen() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (tell, lines) = channel();
        let its = ends.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                tell.send(line.unwrap()).unwrap();
            }
            its.store(true, Ordering::SeqCst);
        });
        Self { ends, lines }
    }

    pub fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::SeqCst)
    }

    /// What was told, once all is.
    pub fn told(&self) -> impl Iterator<Item = String> {
        self.lines.try_iter()
    }

    /// Whether it is to go on after a pause: an actor leaves the processor to the others, as programs do.
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.goes_on() && Instant::now() < until {
            std::thread::sleep((until - Instant::now()).min(Duration::from_millis(100)));
        }
        self.goes_on()
    }
}

#[test]
#[ignore = "a part of the soak"]
fn an_actor() {
    let part = std::env::var(PART).expect("the soak gives it a part");
    let (role, stage): (Role, Stage) = serde_json::from_str(&part).unwrap();
    let (cue, mut said) = (Cue::listen(), Said::default());
    let account = &mut said.account;
    match role {
        Role::HoldCurrent => readers::hold_current(&stage, &cue, account),
        Role::HoldVersion => readers::hold_version(&stage, &cue, account),
        Role::ReadCurrent => readers::read_current(&stage, &cue, account),
        Role::ReadAll => readers::read_all(&stage, &cue, account),
        Role::WriteCurrent => said.shelves = writers::write_current(&stage, &cue, account),
        Role::WriteVersions => said.shelves = writers::write_versions(&stage, &cue, account),
        Role::Find => finder::find(&stage, &cue, account),
        Role::Watch => watcher::watch(&stage, &cue, account),
    }
    println!("\n{SAID}{}", serde_json::to_string(&said).unwrap());
}
