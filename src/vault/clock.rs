//! Where the time comes from: the machine's clocks, and the steady one that the store keeps by them.
//!
//! The steady clock ([`SteadyClock`]) stands in the root's record. It is looked at whenever something is scheduled or may be due, and
//! kept every hour; what a process that was killed did not keep, the boot clock still knows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::{Node, Root, Vault, VaultError};
use crate::id::NodeId;
use crate::store::Reservation;
use crate::time::{Moment, SteadyClock, Timestamp, Uptime};

/// Where the time comes from; tests bring their own.
pub trait Clock: Send + Sync {
    /// The moment; it may lie before an earlier answer, as a machine's clock may be set back.
    fn now(&self) -> Timestamp;
    /// How long the machine has been up, which nobody sets.
    fn uptime(&self) -> Uptime;
}

/// The machine's clocks.
pub(super) struct MachineClock {
    boot: String,
    /// How far the boot clock shows more than is to be counted,
    ahead: Duration,
    /// or less.
    behind: Duration,
}

/// The kernel's name for a boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// By how much a time namespace has its clocks shifted.
const SHIFTS: &str = "/proc/self/timens_offsets";

impl MachineClock {
    /// As this process finds them.
    pub fn new() -> Self {
        match std::fs::read_to_string(BOOT_ID) {
            Ok(boot) => {
                let shifts = std::fs::read_to_string(SHIFTS).unwrap_or_default();
                let (ahead, behind) = boottime_shift(&shifts);
                Self { boot: boot.trim_end().to_owned(), ahead, behind }
            }
            // Without a name for the boot nothing is known of what came before: it begins with this process.
            Err(_) => {
                let boot = format!("process {:?}", SystemTime::now());
                Self { boot, ahead: boottime(), behind: Duration::ZERO }
            }
        }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: self.boot.clone(), up: (boottime() + self.behind).saturating_sub(self.ahead) }
    }
}

fn boottime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// How far ahead a time namespace has the boot clock, and how far behind, as `/proc/self/timens_offsets` has it.
fn boottime_shift(shifts: &str) -> (Duration, Duration) {
    let line = shifts.lines().find_map(|line| line.strip_prefix("boottime")).unwrap_or_default();
    let mut numbers = line.split_whitespace();
    let seconds: i64 = numbers.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let nanos: u32 = numbers.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    // The nanoseconds are added, whatever the sign.
    if seconds < 0 {
        (Duration::from_nanos(nanos.into()), whole)
    } else {
        (whole + Duration::from_nanos(nanos.into()), Duration::ZERO)
    }
}

impl Vault {
    /// The same vault under another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        *self.steady.lock() = None;
        self
    }

    /// The moment as the machine's clock has it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The moment by both clocks, for what must not come too early.
    pub fn moment(&self) -> Result<Moment, VaultError> {
        let mut steady = self.steady.lock();
        let (wall, uptime) = (self.clock.now(), self.clock.uptime());
        let clock = match &mut *steady {
            Some(clock) => clock,
            None => {
                let kept = self.existing(NodeId::ROOT)?.as_root().and_then(|root| root.steady.clone());
                steady.insert(kept.unwrap_or_else(|| SteadyClock::begin(wall, &uptime)))
            }
        };
        Ok(Moment { wall, steady: clock.look(wall, &uptime) })
    }

    /// Keeps how far the steady clock has come, where it has come so far that it is worth a commit, or where `all` is set.
    ///
    /// # Errors
    /// As any change.
    pub fn keep_steady(&self, all: bool) -> Result<(), VaultError> {
        self.moment()?;
        let mut ledger = self.ledger()?;
        let Some(clock) = self.steady.lock().clone() else { return Ok(()) };
        let loaded = self.existing(NodeId::ROOT)?;
        let root = loaded.as_root().ok_or(VaultError::Unreadable { node: NodeId::ROOT })?;
        let is_worth_it =
            root.steady.as_ref().is_none_or(|kept| if all { clock != *kept } else { clock.differs_from(kept) });
        if !is_worth_it {
            return Ok(());
        }
        let mut batch = Batch::new(&ledger, Purpose::upkeep());
        let root = Root { steady: Some(clock), ..root.clone() };
        batch.put(NodeId::ROOT, loaded.place(), Node::Root(root), Some(&loaded));
        self.commit(&mut ledger, batch, of_daemon("upkeep")?, Some(Reservation::standing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_is_taken_into_account() {
        for (text, expected) in [
            ("monotonic           0         0\nboottime            0         0\n", ((0, 0), 0)),
            ("monotonic        1000         0\nboottime        86400       500\n", ((86_400, 500), 0)),
            ("monotonic           0         0\nboottime       -86400         7\n", ((0, 7), 86_400)),
            ("", ((0, 0), 0)),
        ] {
            let ((ahead, nanos), behind) = expected;
            let expected = (Duration::new(ahead, nanos), Duration::from_secs(behind));
            assert_eq!(boottime_shift(text), expected, "{text}");
        }
    }

    #[test]
    fn the_machine_has_one_boot() {
        let (one, other) = (MachineClock::new(), MachineClock::new());
        let (before, after) = (one.uptime(), other.uptime());
        assert_eq!(before.boot, after.boot);
        assert!(before.up <= after.up && before.up > Duration::ZERO);
    }
}
