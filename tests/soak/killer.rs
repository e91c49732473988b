//! What the mount has to live through: deaths of its worker, and new programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::account::Account;
use crate::cast::Stage;
use crate::harness::{KMSFS, Mount, ends_within, text};
use crate::value::Random;
use crate::watches::Watches;

/// Between two of them at least: ten deaths in ten seconds are no accidents to the keeper.
const APART: Duration = Duration::from_millis(1_100);
/// What is added to that at most, in milliseconds.
const MORE: u64 = 200;
/// From what is waited for to the kill, in microseconds at most: about as long as a commit takes.
const AFTER: u64 = 1_500;
/// How long a moment is waited for, or a death.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happens to the mount in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing, for so long.
    None(Duration),
    /// So many deaths.
    Kills(u64),
    /// So many upgrades.
    Upgrades(u64),
}

/// When a worker is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Any,
    /// A value has been written, and is about to be committed.
    Commit,
    /// A change is done, and the poker is about to tell of it.
    Poke,
}

/// How long `times` of them take, about.
pub fn length(times: u64) -> Duration {
    (APART + Duration::from_millis(MORE / 2)) * u32::try_from(times).unwrap()
}

impl Harm {
    /// Does it to `mount`, in which the actors play on `stage`.
    pub fn happen(self, mount: &Mount, stage: &Stage, account: &mut Account) {
        let mut random = Random::new(6);
        match self {
            Harm::None(time) => std::thread::sleep(time),
            Harm::Kills(times) => Killer::of(mount, stage).kill(times, &mut random, account),
            Harm::Upgrades(times) => {
                for _ in 0..times {
                    pause(&mut random);
                    let upgraded = Command::new(KMSFS).arg("upgrade").arg(mount.root()).output().unwrap();
                    if !upgraded.status.success() {
                        account.fault(format!("an upgrade: {}", text(&upgraded.stderr)));
                    }
                }
            }
        }
    }
}

/// Kills workers, and asks the mount for nothing: it has no stall of its own.
struct Killer {
    /// The keeper's list of its children.
    children: PathBuf,
    /// The one among them that is no worker.
    poker: i32,
    watches: Watches,
}

impl Killer {
    fn of(mount: &Mount, stage: &Stage) -> Self {
        let keeper = &mount.status()["keeper_pid"];
        let children = PathBuf::from(format!("/proc/{keeper}/task/{keeper}/children"));
        let watches = Watches::new();
        for secret in stage.secrets() {
            for entry in ["", "versions"] {
                watches.add(&stage.path(secret, entry), WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE);
            }
        }
        Self { children, poker: mount.poker_pid(), watches }
    }

    fn kill(&self, times: u64, random: &mut Random, account: &mut Account) {
        let mut dead = 0;
        for turn in 0..times {
            pause(random);
            let worker = self.worker_after(dead);
            let moment = [Moment::Any, Moment::Commit, Moment::Poke][(turn % 3) as usize];
            self.wait_for(moment, random);
            let process = pidfd_open(Pid::from_raw(worker).unwrap(), PidfdFlags::empty()).expect("a worker runs");
            let began = Instant::now();
            pidfd_send_signal(&process, Signal::KILL).unwrap();
            assert!(ends_within(&process, PATIENCE), "a killed worker does not end");
            account.deaths.add(began.elapsed());
            dead = worker;
        }
    }

    /// The worker that is not `dead`.
    fn worker_after(&self, dead: i32) -> i32 {
        let began = Instant::now();
        loop {
            let alive = pids(&self.children).into_iter().find(|pid| *pid != self.poker && *pid != dead);
            if let Some(worker) = alive {
                return worker;
            }
            assert!(began.elapsed() < PATIENCE, "the keeper starts no worker");
            std::thread::yield_now();
        }
    }

    fn wait_for(&self, moment: Moment, random: &mut Random) {
        let awaited = match moment {
            Moment::Any => return,
            Moment::Commit => ReadFlags::MODIFY,
            Moment::Poke => ReadFlags::CLOSE_WRITE,
        };
        // What has happened before is no sign.
        while !self.watches.next(Duration::ZERO).is_empty() {}
        let began = Instant::now();
        while !self.watches.next(PATIENCE).iter().any(|event| event.what.contains(awaited)) {
            assert!(began.elapsed() < PATIENCE, "nobody writes");
        }
        let (began, after) = (Instant::now(), Duration::from_micros(random.below(AFTER)));
        while began.elapsed() < after {
            std::hint::spin_loop();
        }
    }
}

fn pause(random: &mut Random) {
    std::thread::sleep(APART + Duration::from_millis(random.below(MORE)));
}

fn pids(children: &Path) -> Vec<i32> {
    let list = std::fs::read_to_string(children).expect("the keeper runs");
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
