//! How much time has passed for certain: the clock by which nothing comes too early, whatever is done to the machine's own.
//!
//! The wall clock is stepped by hand, by NTP, by an empty battery; the boot clock (CLOCK_BOOTTIME, which runs through a suspend) is
//! not, but begins anew with each boot. So [`SteadyClock`] goes by the boot clock within a boot, whether or not this program ran, and
//! knows nothing of the time from its last look in one boot to its first in another but what the wall clock says, which nobody has witnessed:
//! that *gap* it counts only once the wall clock has gone undisturbed for [`HOLD`] of the later boot, and never more of it than [`GAP_MAX`], nor
//! than it has witnessed since the gap before.
//!
//! Invariant: of what passes on it, no more than [`GAP_MAX`] and half of the rest is not witnessed, whatever the wall clock shows over
//! however many boots. So at least a quarter of the shortest recovery window passes in truth, and mostly all of it. It may show less than the
//! truth: then what waits for it comes late, which harms nobody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, Timestamp};

/// For so long the wall clock has to go as the boot clock does before a gap is believed: NTP corrects a wrong one within minutes of
/// a boot, and so does whoever sees to it.
const HOLD: u64 = 3_600 * 1_000_000_000;
/// The most that is counted of a gap: half of the shortest recovery window.
const GAP_MAX: u64 = 7 * DAY / 2;
/// So far two clocks drift apart, or are slewed, within [`HOLD`]: 500 ppm is 1.8 s of it.
const DRIFT: u64 = 10 * 1_000_000_000;

/// Nanoseconds that the steady clock has shown since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Steady(pub u64);

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the machine's clock, which people go by.
    pub wall: Timestamp,
    /// By the clock that is never set.
    pub steady: Steady,
}

/// How long the machine has been up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Which boot of which machine.
    pub boot: String,
    /// Since then, suspends included.
    pub up: Duration,
}

/// What the steady clock has come to, as it is kept between two processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteadyClock {
    shows: Steady,
    /// The boot in which it was last looked at,
    boot: String,
    /// and the longest that this had been up then, in nanoseconds.
    up: u64,
    /// What it has witnessed since the last gap that is counted, in nanoseconds.
    witnessed: u64,
    /// What a wall clock shows now that was right when it was furthest ahead, and that knows of no gap which is not counted.
    expected: Timestamp,
    /// Set while a gap is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
}

/// A time that nobody has witnessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    /// As the wall clock has it, in nanoseconds.
    len: u64,
    /// Since when it has: nanoseconds since the boot.
    since: u64,
}

impl Steady {
    /// The moment `days` days later.
    pub fn plus_days(self, days: u16) -> Self {
        Self(self.0.saturating_add(u64::from(days) * DAY))
    }
}

impl Moment {
    /// Before all others.
    pub const FIRST: Moment = Moment { wall: Timestamp(0), steady: Steady(0) };

    /// The moment `days` days later.
    pub fn plus_days(self, days: u16) -> Self {
        Self { wall: self.wall.plus_days(days), steady: self.steady.plus_days(days) }
    }

    /// The moment so many seconds later.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        self.plus_nanos(seconds.saturating_mul(1_000_000_000))
    }

    /// The moment so many nanoseconds later.
    pub fn plus_nanos(self, nanos: u64) -> Self {
        let plus = |time: u64| time.saturating_add(nanos);
        Self { wall: Timestamp(plus(self.wall.0)), steady: Steady(plus(self.steady.0)) }
    }

    /// Whether it has come at `now` by one of the clocks: for what must not come too late.
    pub fn may_have_come(self, now: Moment) -> bool {
        now.wall >= self.wall || now.steady >= self.steady
    }

    /// Whether it has come at `now`, by both clocks.
    pub fn has_come(self, now: Moment) -> bool {
        now.wall >= self.wall && now.steady >= self.steady
    }
}

impl Uptime {
    fn nanos(&self) -> u64 {
        u64::try_from(self.up.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl SteadyClock {
    /// One that begins at `wall`.
    pub fn begin(wall: Timestamp, uptime: &Uptime) -> Self {
        Self {
            shows: Steady(0),
            boot: uptime.boot.clone(),
            up: uptime.nanos(),
            witnessed: 0,
            expected: wall,
            gap: None,
        }
    }

    /// What it showed when it was last looked at.
    pub fn shows(&self) -> Steady {
        self.shows
    }

    /// Looks at the machine's clocks: what it shows now.
    pub fn look(&mut self, wall: Timestamp, uptime: &Uptime) -> Steady {
        let up = uptime.nanos();
        if self.boot == uptime.boot {
            // A machine that was set back to a snapshot, or has a twin, has an uptime that was counted before.
            self.count(up.saturating_sub(self.up));
            self.up = self.up.max(up);
        } else {
            // Perhaps of another machine, which was up long before.
            self.boot.clone_from(&uptime.boot);
            self.gap = Some(Gap { len: self.ahead(wall), since: up });
            self.up = up;
        }
        self.look_at_gap(wall);
        if self.gap.is_none() {
            // A step ahead within a boot is no time that has passed. It is never taken back, so that a later step back and
            // ahead again, over a boot, is no gap.
            self.expected = self.expected.max(wall);
        }
        self.shows
    }

    /// Whether it is worth keeping, where `kept` is what is kept of it: it has gone on for an hour, or is in another boot.
    pub fn differs_from(&self, kept: &SteadyClock) -> bool {
        self.boot != kept.boot || self.gap.is_some() != kept.gap.is_some() || self.up.abs_diff(kept.up) >= HOLD
    }

    fn count(&mut self, passed: u64) {
        self.shows.0 = self.shows.0.saturating_add(passed);
        self.witnessed = self.witnessed.saturating_add(passed);
        self.expected.0 = self.expected.0.saturating_add(passed);
    }

    /// How far the wall clock is ahead of what was expected.
    fn ahead(&self, wall: Timestamp) -> u64 {
        wall.0.saturating_sub(self.expected.0)
    }

    fn look_at_gap(&mut self, wall: Timestamp) {
        let Some(gap) = self.gap else { return };
        let len = self.ahead(wall);
        if len.abs_diff(gap.len) > DRIFT {
            self.gap = Some(Gap { len, since: self.up });
        } else if self.up - gap.since >= HOLD {
            self.shows.0 = self.shows.0.saturating_add(len.min(GAP_MAX).min(self.witnessed));
            self.witnessed = 0;
            self.gap = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = HOLD;
    const SECOND: u64 = 1_000_000_000;
    /// 2026-11-27.
    const TODAY: u64 = 20_784 * DAY;

    /// A machine in whose hands the clocks are.
    struct Machine {
        clock: SteadyClock,
        wall: u64,
        boot: u32,
        up: u64,
        /// What has passed in truth.
        passed: u64,
    }

    impl Machine {
        fn new() -> Self {
            let clock = SteadyClock::begin(Timestamp(TODAY), &Uptime { boot: "0".into(), up: Duration::ZERO });
            Self { clock, wall: TODAY, boot: 0, up: 0, passed: 0 }
        }

        fn run(&mut self, time: u64) -> &mut Self {
            (self.wall, self.up, self.passed) = (self.wall + time, self.up + time, self.passed + time);
            self
        }

        fn set(&mut self, by: i64) -> &mut Self {
            self.wall = self.wall.saturating_add_signed(by);
            self
        }

        /// Is off, or between two boots, for so long; the battery's clock goes on.
        fn off(&mut self, time: u64) -> &mut Self {
            (self.wall, self.passed) = (self.wall + time, self.passed + time);
            (self.boot, self.up) = (self.boot + 1, 0);
            self
        }

        /// Looks; what the clock shows is never more than what has passed but for the gaps.
        fn shows(&mut self) -> u64 {
            let uptime = Uptime { boot: self.boot.to_string(), up: Duration::from_nanos(self.up) };
            let shows = self.clock.look(Timestamp(self.wall), &uptime).0;
            assert_eq!(self.clock.shows().0, shows);
            shows
        }

        /// Runs for so long, and looks every minute meanwhile.
        fn watched(&mut self, time: u64) -> u64 {
            for _ in 0..time / (60 * SECOND) {
                self.run(60 * SECOND);
                self.shows();
            }
            self.shows()
        }
    }

    #[test]
    fn within_a_boot_it_goes_by_the_boot_clock() {
        let mut machine = Machine::new();
        assert_eq!(machine.run(3 * DAY).shows(), 3 * DAY, "also where nobody looked");
        let years = 5 * 365 * DAY as i64;
        for step in [years, -years, -years, years, 40 * DAY as i64, -1] {
            let before = machine.shows();
            assert_eq!(machine.set(step).shows(), before, "a step of {step}");
            assert_eq!(machine.run(DAY).shows(), before + DAY, "behind a step of {step}");
            assert_eq!(machine.watched(2 * HOUR), before + DAY + 2 * HOUR);
        }
        assert_eq!(machine.shows(), machine.passed);
    }

    #[test]
    fn a_gap_is_counted_when_the_clock_was_left_alone_for_an_hour() {
        let mut machine = Machine::new();
        machine.run(9 * DAY).shows();
        machine.off(2 * DAY).run(60 * SECOND);
        assert_eq!(machine.shows(), 9 * DAY);
        assert_eq!(machine.watched(HOUR - 60 * SECOND), 9 * DAY + HOUR - 60 * SECOND);
        assert_eq!(machine.watched(60 * SECOND), machine.passed, "all of it, and the minute before the first look");
        machine.run(9 * DAY).shows();
        machine.off(5 * DAY).shows();
        let late = machine.watched(2 * HOUR);
        assert_eq!(machine.passed - late, 5 * DAY - GAP_MAX, "no more than half of the shortest window");
        machine.watched(9 * DAY);
        machine.off(HOUR);
        machine.watched(HOUR / 2);
        machine.off(HOUR);
        let late = machine.watched(3 * HOUR);
        assert_eq!(machine.passed - late, 5 * DAY - GAP_MAX, "two gaps with one hour behind them");
    }

    #[test]
    fn a_clock_that_is_wrong_after_a_boot_counts_nothing() {
        let mut machine = Machine::new();
        machine.run(9 * DAY).shows();
        // An empty battery: 1970 until NTP comes.
        machine.off(HOUR).set(-(TODAY as i64)).run(60 * SECOND).shows();
        machine.watched(HOUR / 2);
        machine.set(TODAY as i64);
        machine.watched(HOUR / 2 + 60 * SECOND);
        assert_eq!(machine.passed - machine.shows(), HOUR + 60 * SECOND, "the hour begins with the correction");
        assert_eq!(machine.watched(HOUR), machine.passed);
        machine.watched(9 * DAY);
        // One that is five years ahead until NTP comes.
        machine.off(HOUR).set(5 * 365 * DAY as i64).run(SECOND).shows();
        machine.watched(HOUR / 2);
        machine.set(-5 * 365 * DAY as i64);
        assert_eq!(machine.watched(2 * HOUR), machine.passed);
        // And one that nobody corrects.
        machine.watched(9 * DAY);
        machine.off(0).set(5 * 365 * DAY as i64).shows();
        let shows = machine.watched(2 * HOUR);
        assert_eq!(shows - machine.passed, GAP_MAX, "the most that it can be wrong at once");
        // Over each of many boots another three days and a half.
        for _ in 0..50 {
            machine.off(0).set(GAP_MAX as i64).shows();
            machine.watched(2 * HOUR);
        }
        let (wrong, watched) = (machine.shows() - shows, 50 * 2 * HOUR);
        assert!(wrong <= 2 * watched, "{} days in {}", wrong / DAY, watched / DAY);
    }

    #[test]
    fn an_uptime_that_goes_back_and_on_is_counted_once() {
        let mut machine = Machine::new();
        for up in [1, 10, 1, 10, 3, 10] {
            machine.up = up * DAY;
            machine.shows();
        }
        assert_eq!(machine.shows(), 10 * DAY);
    }

    /// The clock is twenty days behind at the end of one boot, and right in the next: nothing has passed.
    #[test]
    fn a_clock_that_was_behind_is_no_gap() {
        let mut machine = Machine::new();
        machine.run(DAY).shows();
        machine.set(-20 * DAY as i64).run(DAY).shows();
        machine.off(60 * SECOND).set(20 * DAY as i64).shows();
        assert_eq!(machine.watched(2 * HOUR), machine.passed);
    }

    #[test]
    fn another_machine_has_been_up_for_whoever_knows_how_long() {
        let mut machine = Machine::new();
        machine.run(DAY).shows();
        (machine.boot, machine.up) = (7, 300 * DAY);
        assert_eq!(machine.shows(), DAY);
        assert_eq!(machine.watched(2 * HOUR), machine.passed);
    }

    #[test]
    fn a_machine_that_is_set_back_to_a_snapshot_counts_nothing_twice() {
        let mut machine = Machine::new();
        machine.run(DAY).shows();
        let before = (machine.up, machine.wall);
        assert_eq!(machine.run(DAY).shows(), 2 * DAY);
        (machine.up, machine.wall) = before;
        assert_eq!(machine.run(HOUR).shows(), 2 * DAY, "it was counted before");
        assert_eq!(machine.run(DAY).shows(), 2 * DAY + HOUR);
        let kept = machine.clock.clone();
        assert!(!machine.clock.differs_from(&kept));
        machine.run(HOUR).shows();
        assert!(machine.clock.differs_from(&kept));
        let text = serde_json::to_string(&machine.clock).unwrap();
        assert_eq!(serde_json::from_str::<SteadyClock>(&text).unwrap(), machine.clock);
    }

    #[test]
    fn both_clocks_have_to_come_to_it() {
        let now = Moment { wall: Timestamp(TODAY), steady: Steady(5) };
        let due = now.plus_days(7);
        for (wall, steady, expected) in [(7, 7, true), (6, 8, false), (8, 6, false), (5_000, 7, true), (0, 0, false)] {
            let then = Moment { wall: now.wall.plus_days(wall), steady: now.steady.plus_days(steady) };
            assert_eq!(due.has_come(then), expected, "{wall} and {steady} days");
        }
        // Past 2038 and past 2106, where 32 bits of seconds end.
        for days in [15_000_u64, 50_000] {
            let late = Moment { wall: Timestamp(days * DAY), steady: Steady(0) };
            assert!(late.plus_days(30).has_come(late.plus_days(30)) && !late.plus_days(30).has_come(late));
        }
    }
}
