//! How soon a watcher in another mount namespace, as a container has it, knows of a new version.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::fs::inotify::WatchFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::account::Stalls;
use crate::cast::Cue;
use crate::harness::{Mount, close};
use crate::watches::Watches;

/// Rotations of the short form.
const ROTATIONS: u64 = 50;
/// Names the bind mounts' place to the process in another mount namespace.
const PLACE: &str = "KMSFS_TEST_NOTICED";
/// An event that comes later never does.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the end is looked for where nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// The bind mounts: of `current`, and of its secret's directory.
const WATCHED: [&str; 2] = ["file", "dir"];

#[test]
fn a_watcher_in_another_namespace_soon_knows() {
    let _alone = crate::alone();
    let rotations = crate::number("KMSFS_ROTATIONS").unwrap_or(ROTATIONS);
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    fs::write(mount.dir.path().join(WATCHED[0]), "").unwrap();
    fs::create_dir(mount.dir.path().join(WATCHED[1])).unwrap();
    let (mut watcher, mut events) = watcher(&mount);
    let mut since_call = WATCHED.map(|_| Stalls::default());
    let mut since_return = WATCHED.map(|_| Stalls::default());
    // The first one is none of them: before its events may come those of how the secret was made.
    for n in 0..=rotations {
        let mut file = File::create(mount.path(&format!("prod/s/versions/id{n}"))).unwrap();
        file.write_all(b"another").unwrap();
        let called = now();
        close(file).unwrap();
        let returned = now();
        let mut told = [None; 2];
        while told.contains(&None) {
            let (which, at) = event(&mut events);
            if at >= called {
                told[which].get_or_insert(at);
            }
        }
        for (which, at) in told.into_iter().flatten().enumerate().filter(|_| n > 0) {
            since_call[which].add(at.saturating_sub(called));
            since_return[which].add(at.saturating_sub(returned));
        }
    }
    drop(watcher.stdin.take());
    assert!(watcher.wait().unwrap().success());
    println!("{}", table(&since_call, &since_return));
}

/// As Markdown has it.
fn table(since_call: &[Stalls; 2], since_return: &[Stalls; 2]) -> String {
    let mut table = String::from(
        "| watched by bind mount | from | rotations | median ms | p99 ms | worst ms |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (from, stalls) in [("the call of close(2)", since_call), ("its return", since_return)] {
        for (watched, stalls) in ["`current`", "its directory"].into_iter().zip(stalls) {
            let [median, p99, worst] = [stalls.quantile(500), stalls.quantile(990), stalls.worst()].map(crate::ms);
            writeln!(table, "| {watched} | {from} | {} | {median} | {p99} | {worst} |", stalls.count()).unwrap();
        }
    }
    table
}

/// This program again, in a mount namespace of its own; it watches when this returns.
fn watcher(mount: &Mount) -> (Child, BufReader<ChildStdout>) {
    let script = "mount --bind m/prod/s/current file; mount --bind m/prod/s dir; \
                  exec \"$0\" --ignored --exact notice::the_watching_half --nocapture";
    let mut watcher = Command::new("unshare")
        .args(["-m", "bash", "-ec", script])
        .arg(std::env::current_exe().unwrap())
        .current_dir(mount.dir.path())
        .env(PLACE, mount.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(watcher.stdout.take().unwrap());
    while line(&mut events) != "watching" {}
    (watcher, events)
}

fn line(events: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    assert_ne!(events.read_line(&mut line).unwrap(), 0, "the watcher has ended");
    line.trim_end().to_owned()
}

/// Which watch has told something, and when.
fn event(events: &mut BufReader<ChildStdout>) -> (usize, Duration) {
    let line = line(events);
    let (which, at) = line.split_once(' ').unwrap();
    (WATCHED.iter().position(|name| *name == which).unwrap(), Duration::from_nanos(at.parse().unwrap()))
}

/// The same in all processes.
fn now() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap()
}

#[test]
#[ignore = "a part of `a_watcher_in_another_namespace_soon_knows`"]
fn the_watching_half() {
    let place = PathBuf::from(std::env::var_os(PLACE).expect("the test outside names a directory"));
    let (cue, watches) = (Cue::listen(), Watches::new());
    let numbers = WATCHED.map(|name| watches.add(&place.join(name), WatchFlags::CLOSE_WRITE));
    println!("\nwatching");
    let mut heard = now();
    while cue.goes_on() {
        let events = watches.next(LOOK);
        let at = now();
        assert!(at - heard < PATIENCE, "nothing is told");
        for event in events.iter().filter(|event| event.name.is_empty() || event.name == "current") {
            let which = numbers.iter().position(|number| *number == event.watch).unwrap();
            println!("{} {}", WATCHED[which], at.as_nanos());
            heard = at;
        }
    }
}
