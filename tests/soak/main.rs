//! A mount that does not break: its worker is killed again and again, and its program replaced, under readers, writers, a find
//! and a watcher. Nobody sees an error; every write that returned 0 is there exactly once.
//!
//! A short form by itself. `scripts/soak` runs the long one, which these say: `KMSFS_KILLS=500`, `KMSFS_UPGRADES=20`,
//! `KMSFS_ROTATIONS=1000`; the run without harm is then as long as the one with kills.
//!
//! Reading order: `value` (what is written), `account` (what was met), `shelf` (what must be stored), `cast` with `writers`,
//! `readers`, `finder`, `watcher` (who acts), `killer` (what happens to the mount), `notice` (how soon a watcher knows), `watches`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod account;
mod cast;
mod finder;
#[path = "../mount/harness.rs"]
#[allow(dead_code, reason = "it has more than this test needs")]
mod harness;
mod killer;
mod notice;
mod readers;
mod shelf;
mod value;
mod watcher;
mod watches;
mod writers;

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use account::Account;
use cast::{Actor, CAST, Role, Stage};
use harness::{Mount, text};
use killer::Harm;
use shelf::Shelf;

const KILLS: u64 = 10;
const UPGRADES: u64 = 2;
/// How long the short form runs without harm.
const UNHARMED: Duration = Duration::from_secs(4);
/// Secrets that are written through `current`.
const ROTATED: [&str; 3] = ["a", "b", "c"];

/// Held by each test: what another one does beside it would be in its figures.
static ALONE: Mutex<()> = Mutex::new(());

/// A run, and what came of it.
struct Run {
    name: String,
    took: Duration,
    account: Account,
    shelves: Vec<Shelf>,
}

#[test]
fn the_mount_does_not_break() {
    let _alone = alone();
    let kills = number("KMSFS_KILLS");
    let unharmed = kills.map_or(UNHARMED, killer::length);
    let (kills, upgrades) = (kills.unwrap_or(KILLS), number("KMSFS_UPGRADES").unwrap_or(UPGRADES));
    let mut mount = Mount::new();
    let keeper = mount.status()["keeper_pid"].clone();
    let runs = [
        ("no harm".to_owned(), "calm", Harm::None(unharmed)),
        (format!("{kills} kills"), "kills", Harm::Kills(kills)),
        (format!("{upgrades} upgrades"), "upgrades", Harm::Upgrades(upgrades)),
    ];
    let runs = runs.map(|(name, below, harm)| run(&mount, name, below, harm));
    let after = mount.status()["keeper_pid"].clone();
    let deaths = mount.log().matches(") has ended: ").count() as u64;
    let stored = stored(&mut mount, &runs);
    println!("{}", table(&runs));
    let accounts = runs.iter().map(|run| &run.account).chain([&stored]);
    let faults: Vec<_> = accounts.clone().flat_map(|account| &account.faults).collect();
    assert!(faults.is_empty(), "{} faults: {faults:#?}", accounts.map(|account| account.faulty).sum::<u64>());
    assert_eq!((after, deaths), (keeper, kills), "processes have died that nobody killed");
    for run in &runs {
        for what in ["acknowledged", "held", "walks", "events"] {
            assert!(run.account.counted(what) > 1, "{}, {what}: too little happened to mean anything", run.name);
        }
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Lets all actors play in secrets of their own below `prod/BELOW`, while `harm` happens.
fn run(mount: &Mount, name: String, below: &str, harm: Harm) -> Run {
    let rotated = ROTATED.map(|secret| format!("{below}/{secret}")).to_vec();
    let stage = Stage { root: mount.root(), rotated, numbered: format!("{below}/numbered") };
    for secret in stage.secrets() {
        shelf::make(&stage.path(secret, ""), secret);
    }
    let actors = CAST.map(|role| Actor::start(role, &stage));
    let (began, mut account) = (Instant::now(), Account::default());
    harm.happen(mount, &stage, &mut account);
    let took = began.elapsed();
    let (mut shelves, mut last) = (Vec::new(), String::new());
    for actor in actors {
        let words = if actor.role == Role::Watch { last.as_str() } else { "" };
        let mut said = actor.end(words);
        for shelf in &said.shelves {
            writeln!(last, "{} {}", shelf.secret, shelf.last()).unwrap();
        }
        account.take_in(said.account);
        shelves.append(&mut said.shelves);
    }
    Run { name, took, account, shelves }
}

/// Looks for all that was acknowledged in the store, opened anew, which is sound.
fn stored(mount: &mut Mount, runs: &[Run]) -> Account {
    let mut account = Account::default();
    mount.stop();
    let verified = mount.verify();
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    mount.start();
    for shelf in runs.iter().flat_map(|run| &run.shelves) {
        let mut shelf = shelf.clone();
        shelf.check(&mount.root(), true, &mut account);
        shelf.check_tags(&mount.root(), &mut account);
    }
    account
}

/// As Markdown has it.
fn table(runs: &[Run]) -> String {
    let mut table = String::from(
        "| run | seconds | | operations | median ms | p99 ms | worst ms | errors |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Run { name, took, account, .. } in runs {
        let rows = [("reads", &account.reads), ("writes", &account.writes), ("a worker's end", &account.deaths)];
        for (what, stalls) in rows.into_iter().filter(|(_, stalls)| stalls.count() > 0) {
            let [median, p99, worst] = [stalls.quantile(500), stalls.quantile(990), stalls.worst()].map(ms);
            let (seconds, count, failed) = (took.as_secs(), stalls.count(), stalls.failed);
            writeln!(table, "| {name} | {seconds} | {what} | {count} | {median} | {p99} | {worst} | {failed} |")
                .unwrap();
        }
    }
    table
}

/// Microseconds in milliseconds.
fn ms(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1_000.0)
}
