//! The arguments of all processes of this machine, looked at all the while that functions run, and who is in which session.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// Between two looks. They meet what takes long, such as a login that waits; the trace of `secrecy.rs` misses nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Begins to look, for as long as this test program runs.
pub fn watch() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        thread::spawn(|| {
            loop {
                look();
                thread::sleep(LOOK_AGAIN);
            }
        });
    });
}

fn look() {
    let lines = processes().filter_map(|process| fs::read(format!("/proc/{process}/cmdline")).ok());
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect();
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
}

/// Whether `secret` was in an argument of any process.
pub fn saw(secret: &str) -> bool {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.iter().any(|line| line.contains(secret))
}

/// The processes of a session, with their names.
pub fn session(session: u32) -> Vec<String> {
    let stats = processes().filter_map(|process| fs::read_to_string(format!("/proc/{process}/stat")).ok());
    // PID (NAME) STATE PARENT GROUP SESSION ...
    let of_session = |stat: &String| {
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ');
        fields.next() != Some("Z") && fields.nth(2) == Some(&session.to_string())
    };
    stats.filter(of_session).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
