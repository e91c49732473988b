//! What the actors of a run have met: how long each operation took, and what went wrong.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Faults that an actor describes before it only counts them.
const DESCRIBED: usize = 50;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Read,
    Write,
}

/// Durations, as many as come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stalls {
    /// How often each came: microseconds, to three digits.
    counts: BTreeMap<u64, u64>,
    /// The longest one, exactly.
    worst: u64,
    /// Operations that ended with an error.
    pub failed: u64,
}

/// What was met, by one or by all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Account {
    pub reads: Stalls,
    pub writes: Stalls,
    /// From the kill of a worker until its process is gone: no other one serves before.
    pub deaths: Stalls,
    /// What went wrong, described.
    pub faults: Vec<String>,
    /// How often anything did.
    pub faulty: u64,
    /// What else came out, by name.
    pub counts: BTreeMap<String, u64>,
}

impl Stalls {
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut unit = 1;
        while micros / unit >= 1_000 {
            unit *= 10;
        }
        *self.counts.entry(micros / unit * unit).or_default() += 1;
        self.worst = self.worst.max(micros);
    }

    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The duration in microseconds that so many of a thousand do not exceed.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1_000).max(1);
        let mut passed = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            passed += **count;
            passed >= rank
        });
        reached.map_or(0, |(micros, _)| *micros)
    }

    pub fn worst(&self) -> u64 {
        self.worst
    }

    fn take_in(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(micros, count)| *self.counts.entry(micros).or_default() += count);
        self.worst = self.worst.max(other.worst);
        self.failed += other.failed;
    }
}

impl Account {
    /// Does `operation` and takes note of how long it took, and of its error.
    pub fn time<T>(&mut self, sort: Sort, what: &str, operation: impl FnOnce() -> io::Result<T>) -> Option<T> {
        let began = Instant::now();
        let outcome = operation();
        self.took(sort, began.elapsed(), what, outcome)
    }

    /// Takes note of an operation that took so long and came out so.
    pub fn took<T>(&mut self, sort: Sort, time: Duration, what: &str, outcome: io::Result<T>) -> Option<T> {
        let stalls = match sort {
            Sort::Read => &mut self.reads,
            Sort::Write => &mut self.writes,
        };
        stalls.add(time);
        stalls.failed += u64::from(outcome.is_err());
        outcome.map_err(|error| self.fault(format!("{what}: {error}"))).ok()
    }

    /// Takes note of what must not be.
    pub fn fault(&mut self, what: String) {
        self.faulty += 1;
        if self.faults.len() < DESCRIBED {
            self.faults.push(what);
        }
    }

    pub fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    pub fn counted(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub fn take_in(&mut self, other: Self) {
        self.reads.take_in(other.reads);
        self.writes.take_in(other.writes);
        self.deaths.take_in(other.deaths);
        self.faults.extend(other.faults);
        self.faulty += other.faulty;
        other.counts.into_iter().for_each(|(what, count)| *self.counts.entry(what).or_default() += count);
    }
}

#[test]
fn stalls_are_kept_to_three_digits() {
    let mut account = Account::default();
    (1..=1_000).for_each(|micros| account.reads.add(Duration::from_micros(micros)));
    account.took(Sort::Read, Duration::from_micros(123_456), "it", Err::<(), _>(io::ErrorKind::NotFound.into()));
    let account: Account = serde_json::from_str(&serde_json::to_string(&account).unwrap()).unwrap();
    let reads = &account.reads;
    assert_eq!((reads.count(), reads.quantile(500), reads.quantile(990), reads.worst()), (1_001, 501, 991, 123_456));
    assert_eq!(reads.quantile(1_000), 123_000);
    assert_eq!((account.faulty, reads.failed, account.writes.count()), (1, 1, 0));
}
