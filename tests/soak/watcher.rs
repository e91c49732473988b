//! Who watches: the last value of each secret must be told of, and be there to be read then.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::inotify::WatchFlags;

use crate::account::{Account, Sort};
use crate::cast::{Cue, Stage};
use crate::value;
use crate::watches::Watches;

/// An event that comes later never does.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the end is looked for where nothing happens.
const LOOK: Duration = Duration::from_millis(100);

/// Watches the directory of each secret, which outlasts whatever is renamed onto `current`. In the end it is told the last
/// values, a line for each secret: its name and the number.
pub fn watch(stage: &Stage, cue: &Cue, account: &mut Account) {
    let watches = Watches::new();
    let add = |secret: &str, entry: &str| watches.add(&stage.path(secret, entry), WatchFlags::CLOSE_WRITE);
    let mut secrets: BTreeMap<i32, &str> = stage.secrets().map(|secret| (add(secret, ""), secret.as_str())).collect();
    // Nothing is renamed onto this one.
    secrets.insert(add(&stage.numbered, "current"), &stage.numbered);
    let mut told: BTreeMap<i32, u64> = BTreeMap::new();
    let mut end: Option<(Instant, BTreeMap<String, u64>)> = None;
    loop {
        for event in watches.next(LOOK) {
            let of_current = event.name.is_empty() || event.name == "current";
            let Some(secret) = secrets.get(&event.watch).filter(|_| of_current) else { continue };
            account.count("events");
            let what = format!("{secret}/current, after an event");
            let read = account.time(Sort::Read, &what, || fs::read(stage.path(secret, "current")));
            match read.map(|bytes| value::number(secret, &bytes)) {
                Some(Ok(n)) => drop(told.insert(event.watch, n)),
                Some(Err(wrong)) => account.fault(format!("{what}: {wrong}")),
                None => {}
            }
        }
        if cue.goes_on() {
            continue;
        }
        let pair = |line: String| line.split_once(' ').map(|(secret, n)| (secret.to_owned(), n.parse().unwrap()));
        let (since, last) = end.get_or_insert_with(|| (Instant::now(), cue.told().filter_map(pair).collect()));
        let untold = secrets.iter().filter(|(watch, secret)| told.get(watch) != last.get(**secret));
        let untold: Vec<_> = untold.map(|(_, secret)| secret).collect();
        if untold.is_empty() {
            return;
        }
        if since.elapsed() > PATIENCE {
            return account.fault(format!("nothing tells of the last values of {untold:?}"));
        }
    }
}
