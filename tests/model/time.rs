//! Time, and what it ends. Truth goes on with every step and never back; the wall clock shows it, unless somebody sets it.
//!
//! The rule: a deletion ends when its window has passed in truth, and the wall clock shows the end that was told. No time of a secret
//! goes back, whatever the wall clock does.

use std::sync::atomic::Ordering;

use kmsfs::vault::Ended;

use crate::harness::{BEGIN, Harness};
use crate::reference::{Key, Model, Secret};
use crate::walk::Found;

pub const HOUR: u64 = 3_600 * 1_000_000_000;
pub const DAY: u64 = 24 * HOUR;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub wall: u64,
    pub truth: u64,
}

impl Moment {
    pub fn plus(self, nanos: u64) -> Self {
        Self { wall: self.wall + nanos, truth: self.truth + nanos }
    }

    /// Whether it has come for what must never be too early.
    pub fn is_over(self, now: Moment) -> bool {
        now.truth >= self.truth && now.wall >= self.wall
    }

    /// Whether it has come for what must never be too late.
    pub fn may_be_over(self, now: Moment) -> bool {
        now.truth >= self.truth || now.wall >= self.wall
    }
}

impl Secret {
    /// The time of a change that is made at `now`.
    pub fn time(&self, now: u64) -> u64 {
        now.max(self.updated)
    }
}

impl Model {
    pub fn moment(&self) -> Moment {
        Moment { wall: self.now, truth: self.truth }
    }

    /// So much time passes.
    pub fn pass(&mut self, nanos: u64) {
        self.truth += nanos;
        self.set_clock(self.skew);
    }

    /// The wall clock is set to be so many days ahead of the truth.
    pub fn set_clock(&mut self, days: i64) {
        self.skew = days;
        self.now = (BEGIN + self.truth).saturating_add_signed(days * DAY as i64);
    }

    /// All deletions whose time has come end: how many secrets, and keys.
    pub fn end_what_is_due(&mut self) -> (u64, u64) {
        let now = self.moment();
        let trashed = self.instances.values().flat_map(|instance| instance.trash.values());
        let over: Vec<u64> =
            trashed.filter(|trashed| trashed.due().is_over(now)).map(|trashed| trashed.secret.serial).collect();
        for serial in &over {
            self.purge(*serial).expect("it is scheduled");
        }
        let mut keys = 0;
        for instance in self.instances.values_mut() {
            let before = instance.keys.len();
            // Nothing can come under a key that is scheduled.
            instance.keys.retain(|_, key| !key.pending.is_some_and(|due| due.is_over(now)));
            keys += (before - instance.keys.len()) as u64;
        }
        (over.len() as u64, keys)
    }

    /// The key numbered `serial`.
    pub fn key(&self, at: &str, serial: u64) -> Option<(&String, &Key)> {
        self.instances[at].keys.iter().find(|(_, key)| key.serial == serial)
    }
}

impl Harness {
    /// The clocks show what the model has them show.
    pub fn set_clocks(&self) {
        self.clock.wall.store(self.model.now, Ordering::Relaxed);
        self.clock.up.store(self.model.truth, Ordering::Relaxed);
    }

    pub fn pass(&mut self, hours: u64) -> Found<()> {
        self.model.pass(hours * HOUR);
        self.set_clocks();
        Ok(())
    }

    pub fn set_clock(&mut self, days: i64) -> Found<()> {
        self.model.set_clock(days);
        self.set_clocks();
        Ok(())
    }

    /// What the daemon does every few minutes.
    pub fn keep_up(&mut self) -> Found<()> {
        let said = |error: kmsfs::vault::VaultError| error.to_string();
        self.vault().look_for_purges();
        self.vault().keep_steady(false).map_err(said)?;
        let ended = self.vault().end_what_is_due(|| true).map_err(said)?;
        let (secrets, keys) = self.model.end_what_is_due();
        let must = Ended { secrets, keys, failed: 0 };
        if ended != must {
            return Err(format!("{ended:?} have come to their end, and must be {must:?}"));
        }
        self.take_stale();
        Ok(())
    }
}
