//! How often a worker may die before its keeper stops trying.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many deaths...
const DEATHS: usize = 10;
/// ...within so long a time are no accidents: whatever kills the worker will kill the next one.
const WITHIN: Duration = Duration::from_secs(10);
/// How long callers may wait for a worker that serves them. A longer wait helps nobody, and cannot even be interrupted.
const UNSERVED: Duration = Duration::from_secs(60);

/// The deaths of late.
#[derive(Debug)]
pub struct Restarts {
    /// When the last ones were, the oldest first.
    deaths: VecDeque<Instant>,
    /// How many there ever were.
    pub total: u64,
    unserved_since: Instant,
}

impl Restarts {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { deaths: VecDeque::new(), total: 0, unserved_since: now }
    }

    /// Takes note of a death. Whether another worker is worth starting.
    pub fn died(&mut self, now: Instant, served: bool) -> bool {
        self.total += 1;
        if served {
            self.unserved_since = now;
        }
        self.deaths.push_back(now);
        if self.deaths.len() > DEATHS {
            self.deaths.pop_front();
        }
        let all_of_late = self.deaths.len() == DEATHS && self.deaths.front().is_some_and(|at| now - *at <= WITHIN);
        !all_of_late && now < self.deadline()
    }

    /// Nobody has served since `at`, as it turns out.
    pub fn unserved(&mut self, at: Instant) {
        self.unserved_since = at;
    }

    /// When a new worker must serve at the latest.
    pub fn deadline(&self) -> Instant {
        self.unserved_since + UNSERVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_deaths_in_ten_seconds_are_enough() {
        let start = Instant::now();
        for (apart, given_up) in [(100, Some(10)), (1_000, Some(10)), (1_200, None)] {
            let mut restarts = Restarts::new(start);
            let died = (1..=40).find(|n| !restarts.died(start + Duration::from_millis(apart * n), true));
            assert_eq!(died, given_up, "a death each {apart} ms");
        }
    }

    #[test]
    fn a_minute_without_service_is_enough() {
        let start = Instant::now();
        let mut restarts = Restarts::new(start);
        assert!(restarts.died(start + Duration::from_secs(30), false));
        assert!(!restarts.died(start + Duration::from_secs(60), false));
        let mut restarts = Restarts::new(start);
        assert!(restarts.died(start + Duration::from_secs(90), true), "it served until now");
        assert_eq!(restarts.deadline(), start + Duration::from_secs(150));
    }
}
