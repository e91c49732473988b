//! What ends by itself: secrets and keys whose recovery window is over by both clocks, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kmsfs::crypto::Source;
use kmsfs::id::NodeId;
use kmsfs::secret::{Component, KeyName, KeyOrder, KeyWindow, RecoveryWindow};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::value::Value;
use kmsfs::vault::{Clock, Draft, Ended, Vault, unlock};
use parking_lot::Mutex;

use crate::engine::{Moment, Mood};
use crate::room::{Room, caller};

pub const DAY: u64 = 86_400 * 1_000_000_000;
pub const HOUR: u64 = DAY / 24;
/// 2026-11-27.
const TODAY: u64 = 20_784 * DAY;

/// A machine's clocks, which run when they are told to.
pub struct Clocks(Mutex<(u64, u32, u64)>);

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().0)
    }

    fn uptime(&self) -> Uptime {
        let (_, boot, up) = *self.0.lock();
        Uptime { boot: boot.to_string(), up: Duration::from_nanos(up) }
    }
}

/// A machine with an unlocked store.
pub struct Machine {
    room: Room,
    clocks: Arc<Clocks>,
    pub vault: Vault,
}

impl Machine {
    pub fn new() -> Self {
        Self::on(TODAY)
    }

    fn on(day: u64) -> Self {
        let (room, clocks) = (Room::new(), Arc::new(Clocks(Mutex::new((day, 0, 0)))));
        let vault = unlocked(&room, &clocks);
        Self { room, clocks, vault }
    }

    pub fn run(&self, time: u64) {
        let mut clocks = self.clocks.0.lock();
        (clocks.0, clocks.2) = (clocks.0 + time, clocks.2 + time);
    }

    pub fn set(&self, by: i64) {
        let mut clocks = self.clocks.0.lock();
        clocks.0 = clocks.0.saturating_add_signed(by);
    }

    /// Runs hour by hour, and the daemon with it.
    fn watched(&self, time: u64) -> Ended {
        let mut all = Ended::default();
        for _ in 0..time / HOUR {
            self.run(HOUR);
            let ended = self.end();
            all = Ended { secrets: all.secrets + ended.secrets, keys: all.keys + ended.keys, failed: ended.failed };
        }
        all
    }

    fn end(&self) -> Ended {
        self.vault.look_for_purges();
        self.vault.keep_steady(false).unwrap();
        self.vault.end_what_is_due(|| true).unwrap()
    }

    /// The daemon ends, by a kill or not, and begins anew.
    pub fn restart(self, rested: bool) -> Self {
        if rested {
            self.vault.keep_steady(true).unwrap();
        }
        let Self { room, clocks, vault } = self;
        drop(vault);
        let vault = unlocked(&room, &clocks);
        Self { room, clocks, vault }
    }

    /// The machine is off for so long, and boots.
    fn reboot(self, off: u64) -> Self {
        {
            let mut clocks = self.clocks.0.lock();
            *clocks = (clocks.0 + off, clocks.1 + 1, 0);
        }
        self.restart(true)
    }

    pub fn secret(&self, name: &str, versions: usize) -> NodeId {
        let name = Component::parse(name.as_bytes()).unwrap();
        let directory = self.vault.make_directory(caller(), self.room.instance, &name, 0o750).unwrap();
        let id = self.vault.secret_of(&directory).unwrap().id();
        for _ in 0..versions {
            self.vault.put_value(caller(), id, Draft::of(&Value::copy_of(b"a value"))).unwrap();
        }
        id
    }

    /// A secret that was deleted now, with so many days.
    fn deleted(&self, name: &str, days: u16) -> NodeId {
        let id = self.secret(name, 2);
        let window = RecoveryWindow::parse(days.to_string().as_bytes()).unwrap();
        self.vault.delete_secret(caller(), id, Some(window), true).unwrap();
        id
    }

    fn is_there(&self, id: NodeId) -> bool {
        self.vault.node(id).unwrap().is_some()
    }
}

fn unlocked(room: &Room, clocks: &Arc<Clocks>) -> Vault {
    let vault = unlock(room.engine.clone(), &Source::KeyFile(&[1; 32])).unwrap().with_clock(clocks.clone());
    vault.moment().unwrap();
    vault
}

const NOTHING: Ended = Ended { secrets: 0, keys: 0, failed: 0 };
const ONE: Ended = Ended { secrets: 1, keys: 0, failed: 0 };

#[test]
fn a_secret_is_purged_when_its_window_is_over() {
    for day in [TODAY, 24_855 * DAY - 3 * DAY, 49_710 * DAY - 3 * DAY] {
        let machine = Machine::on(day);
        let (week, month) = (machine.deleted("week", 7), machine.deleted("month", 30));
        assert_eq!(machine.watched(7 * DAY - HOUR), NOTHING);
        machine.run(HOUR - 1);
        assert_eq!(machine.end(), NOTHING, "a moment before");
        machine.run(1);
        assert_eq!(machine.end(), ONE, "day {}", day / DAY);
        assert_eq!((machine.is_there(week), machine.is_there(month)), (false, true));
        assert_eq!(machine.watched(23 * DAY), ONE);
        assert!(!machine.is_there(month) && machine.vault.verify().unwrap().problems.is_empty());
        assert_eq!(machine.vault.next_purge(), None);
    }
}

#[test]
fn a_restored_secret_stays() {
    let machine = Machine::new();
    let (one, other) = (machine.deleted("one", 7), machine.deleted("other", 7));
    machine.run(7 * DAY - HOUR);
    machine.vault.restore_in_place(caller(), one).unwrap();
    assert_eq!(machine.watched(2 * HOUR), ONE);
    assert_eq!((machine.is_there(one), machine.is_there(other)), (true, false));
    assert_eq!(machine.watched(40 * DAY), NOTHING);
}

#[test]
fn what_came_due_while_nothing_was_mounted_is_purged_at_the_start() {
    for rested in [true, false] {
        let machine = Machine::new();
        machine.deleted("secret", 7);
        assert_eq!(machine.watched(2 * HOUR), NOTHING);
        let machine = machine.restart(rested);
        machine.run(30 * DAY);
        let machine = machine.restart(rested);
        assert_eq!(machine.end(), ONE);
    }
}

/// Whatever is done to the wall clock, the seven days pass in truth.
#[test]
fn no_step_of_the_clock_purges_before_the_time() {
    let years = 5 * 365 * DAY as i64;
    for steps in [
        // Ahead, for good; ahead and back; back, for good; back and ahead.
        [years, 0],
        [years, -years],
        [-years, 0],
        [-years, years],
        [20 * DAY as i64, 20 * DAY as i64],
        [-20 * DAY as i64, -20 * DAY as i64],
    ] {
        let machine = Machine::new();
        machine.run(HOUR);
        machine.set(steps[0]);
        let id = machine.deleted("secret", 7);
        assert_eq!(machine.watched(DAY), NOTHING);
        machine.set(steps[1]);
        assert_eq!(machine.watched(6 * DAY - HOUR), NOTHING, "{steps:?}");
        let machine = machine.restart(false);
        assert_eq!(machine.end(), NOTHING, "{steps:?}");
        machine.run(HOUR);
        let is_late = steps[1] < 0;
        assert_eq!(machine.end() == ONE, !is_late, "{steps:?}");
        if is_late {
            // The clock that people go by has not come to the time yet.
            machine.set(-steps[1]);
            assert_eq!(machine.end(), ONE);
        }
        assert!(!machine.is_there(id));
    }
}

/// The clock is five years ahead after a boot: NTP sets it right before long.
#[test]
fn a_clock_that_is_wrong_after_a_boot_purges_nothing() {
    let machine = Machine::new();
    let id = machine.deleted("secret", 7);
    machine.watched(DAY);
    machine.set(5 * 365 * DAY as i64);
    let machine = machine.reboot(60_000_000_000);
    assert_eq!(machine.end(), NOTHING);
    assert_eq!(machine.watched(2 * DAY), NOTHING, "where nobody sets it right it may be half a window wrong, no more");
    machine.set(-5 * 365 * DAY as i64);
    assert_eq!(machine.watched(3 * DAY), NOTHING);
    assert!(machine.is_there(id));
    assert_eq!(machine.watched(2 * DAY), ONE);
}

/// Off for three days: the machine's clock is believed when it has gone on for an hour.
#[test]
fn a_machine_that_was_off_catches_up() {
    let machine = Machine::new();
    machine.deleted("secret", 7);
    machine.watched(4 * DAY);
    let machine = machine.reboot(3 * DAY + HOUR);
    assert_eq!(machine.end(), NOTHING);
    assert_eq!(machine.watched(2 * HOUR), ONE);
}

#[test]
fn many_are_purged_some_at_a_time() {
    let machine = Machine::new();
    let ids: Vec<NodeId> = (0..60).map(|n| machine.deleted(&format!("s{n}"), 7)).collect();
    let kept = machine.secret("kept", 1);
    machine.run(7 * DAY);
    machine.vault.look_for_purges();
    let before = machine.vault.counts().changes;
    let mut pauses = 0;
    let ended = machine.vault.end_what_is_due(|| {
        pauses += 1;
        pauses < 3
    });
    let first = ended.unwrap().secrets;
    assert!(first > 0 && first < 60, "{first}: two commits of some each");
    // Somebody writes between two of them.
    let ended = machine
        .vault
        .end_what_is_due(|| machine.vault.put_value(caller(), kept, Draft::of(&Value::copy_of(b"meanwhile"))).is_ok());
    assert_eq!(ended.unwrap(), Ended { secrets: 60 - first, keys: 0, failed: 0 });
    assert!(ids.iter().all(|id| !machine.is_there(*id)) && machine.is_there(kept));
    let commits = machine.vault.counts().changes - before;
    assert!(commits < 40, "{commits} commits for 60 secrets, some of them ours");
    assert_eq!(machine.vault.verify().unwrap().problems, [] as [&str; 0]);
}

/// The log is emptied behind those that were purged, though a commit behind theirs fails.
#[test]
fn what_was_purged_before_a_failure_is_shredded() {
    let machine = Machine::new();
    for n in 0..60 {
        machine.deleted(&format!("s{n}"), 7);
    }
    machine.run(7 * DAY);
    machine.vault.look_for_purges();
    let (engine, mut pauses) = (machine.room.engine.clone(), 0);
    let shredded = Arc::new(AtomicBool::new(false));
    let told = shredded.clone();
    engine.at(Moment::Shredding, move || told.store(true, Ordering::SeqCst));
    let outcome = machine.vault.end_what_is_due(|| {
        pauses += 1;
        if pauses == 2 {
            engine.be(Mood::CarriesOut);
        }
        true
    });
    assert!(outcome.is_err() && pauses == 2, "{outcome:?}");
    assert!(
        machine.vault.owes_shredding(),
        "no change can be made before it is known what became of the second commit"
    );
    engine.be(Mood::Well);
    machine.vault.shred_what_is_owed();
    assert!(shredded.load(Ordering::SeqCst) && !machine.vault.owes_shredding());
    assert!(machine.end().secrets > 0);
}

#[test]
fn a_key_ends_by_itself() {
    let machine = Machine::new();
    let name = KeyName::parse(b"payments").unwrap();
    let key = machine.vault.make_key(caller(), machine.room.instance, name, "", None).unwrap().id();
    let due = KeyWindow::of_days(40).unwrap().end(machine.vault.moment().unwrap());
    machine.vault.set_key_state(caller(), key, KeyOrder::Schedule { due, forced: false }).unwrap();
    machine.set(100 * DAY as i64);
    assert_eq!(machine.watched(39 * DAY), NOTHING);
    machine.set(-100 * DAY as i64);
    assert_eq!(machine.watched(DAY - HOUR), NOTHING);
    assert_eq!(machine.watched(HOUR), Ended { secrets: 0, keys: 1, failed: 0 });
    assert!(!machine.is_there(key));
}
