//! How many requests there were, what came of them and how long they took: numbers that only rise, each of which costs a few
//! nanoseconds where it is counted. What they are called outside stands in `ops/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each request's verb and the name that its operation is counted under, those that come most often first: they are looked for
/// in this order.
pub const OPERATIONS: [(&str, &str); 24] = [
    ("open", "open"),
    ("read", "read"),
    ("release", "release"),
    ("lookup", "lookup"),
    ("stat", "getattr"),
    ("readdir", "readdir"),
    ("write", "write"),
    ("close", "close"),
    ("open for writing", "open_write"),
    ("create", "create"),
    ("read of a draft", "read_draft"),
    ("read of events", "read_events"),
    ("api", "api"),
    ("readlink", "readlink"),
    ("change of attributes", "setattr"),
    ("mkdir", "mkdir"),
    ("unlink", "unlink"),
    ("rmdir", "rmdir"),
    ("symlink", "symlink"),
    ("rename", "rename"),
    ("fsync", "fsync"),
    ("getxattr", "getxattr"),
    ("listxattr", "listxattr"),
    // All others, which are refused or come seldom. It is found for every verb that is not above.
    ("", "other"),
];

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok = 0,
    /// The name stood for nothing: no refusal.
    Absent = 1,
    /// A rule said no.
    Refused = 2,
    /// The store or its disk failed.
    Failed = 3,
    /// The caller was let go, since a signal came.
    Interrupted = 4,
}

/// All of them, as they are called outside.
pub const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Ok, "ok"),
    (Outcome::Absent, "absent"),
    (Outcome::Refused, "refused"),
    (Outcome::Failed, "failed"),
    (Outcome::Interrupted, "interrupted"),
];

impl Outcome {
    /// What `errno` says; 0 for none.
    pub fn of(errno: i32) -> Self {
        match errno {
            0 => Outcome::Ok,
            libc::ENOENT => Outcome::Absent,
            libc::EINTR => Outcome::Interrupted,
            libc::EIO | libc::EBADMSG | libc::ENOSPC | libc::EAGAIN | libc::ESTALE => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }
}

/// The upper bounds of the classes of durations in nanoseconds, each with the name that Prometheus has for it. From memory a
/// request takes some microseconds, from the disk some hundred, a commit some milliseconds.
pub const BOUNDS: [(u64, &str); 6] = [
    (10_000, "0.00001"),
    (100_000, "0.0001"),
    (1_000_000, "0.001"),
    (10_000_000, "0.01"),
    (100_000_000, "0.1"),
    (1_000_000_000, "1"),
];

/// The numbers of one operation.
#[derive(Default)]
struct Counts {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// By class of duration; the last is of those above all bounds.
    classes: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The numbers of all operations.
pub struct Meter {
    operations: [Counts; OPERATIONS.len()],
    /// Requests that had to ask the disk.
    from_disk: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { operations: std::array::from_fn(|_| Counts::default()), from_disk: AtomicU64::new(0) }
    }
}

/// One operation's numbers, as they are at a moment.
pub struct Measured {
    /// As it is called outside.
    pub operation: &'static str,
    /// In the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// In the order of [`BOUNDS`], those above all of them the last.
    pub classes: [u64; BOUNDS.len() + 1],
    pub nanoseconds: u64,
}

impl Meter {
    /// Counts a request that took `time` to be answered with `errno`, 0 for none.
    pub fn count(&self, verb: &str, errno: i32, time: Duration) {
        let at = OPERATIONS.iter().position(|(known, _)| *known == verb).unwrap_or(OPERATIONS.len() - 1);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let class = BOUNDS.iter().position(|(bound, _)| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
        let counts = &self.operations[at];
        counts.outcomes[Outcome::of(errno) as usize].fetch_add(1, Relaxed);
        counts.classes[class].fetch_add(1, Relaxed);
        counts.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// Counts a request to which memory had no answer.
    pub fn count_disk(&self) {
        self.from_disk.fetch_add(1, Relaxed);
    }

    /// Requests to which memory had no answer.
    pub fn asked_disk(&self) -> u64 {
        self.from_disk.load(Relaxed)
    }

    /// The operations that there were requests of.
    pub fn measured(&self) -> impl Iterator<Item = Measured> {
        let read = |numbers: &AtomicU64| numbers.load(Relaxed);
        let measured = move |(counts, (_, operation)): (&Counts, &(&str, &'static str))| Measured {
            operation,
            outcomes: counts.outcomes.each_ref().map(read),
            classes: counts.classes.each_ref().map(read),
            nanoseconds: read(&counts.nanoseconds),
        };
        let all = self.operations.iter().zip(&OPERATIONS).map(measured);
        all.filter(|measured| measured.outcomes.iter().any(|count| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_came_of_them_and_how_long_it_took() {
        let meter = Meter::default();
        for (verb, errno, nanoseconds) in [
            ("open", 0, 10_000),
            ("open", libc::ENOENT, 10_001),
            ("open", libc::EACCES, 99),
            ("open", libc::EIO, 5_000_000_000),
            ("open", libc::EINTR, 0),
            ("setxattr", libc::EPERM, 1),
        ] {
            meter.count(verb, errno, Duration::from_nanos(nanoseconds));
        }
        let measured: Vec<_> = meter.measured().collect();
        assert_eq!(measured.iter().map(|measured| measured.operation).collect::<Vec<_>>(), ["open", "other"]);
        assert_eq!(measured[0].outcomes, [1, 1, 1, 1, 1]);
        assert_eq!(measured[0].classes, [3, 1, 0, 0, 0, 0, 1]);
        assert_eq!(measured[0].nanoseconds, 5_000_020_100);
    }

    #[test]
    fn every_outcome_stands_where_its_number_says() {
        for (at, (outcome, _)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
    }
}
