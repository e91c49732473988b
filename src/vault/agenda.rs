//! Which secrets are rotated by functions, and when the next one is due.
//!
//! Each of them has an entry in a list of its instance, which comes and goes with its plan in the same commit (`consequences`): so they are
//! found without a walk over all secrets. When the first of them is due is kept in memory: a change brings it forward at once, and a
//! walk over the entries, by whoever runs the functions, finds the next one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::load::Domain;
use super::node::rotations_list;
use super::rotation::Agenda;
use super::{Loaded, Node, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{Secret, rotation_due};
use crate::store::Place;
use crate::time::Moment;

/// Called while no other change can be made, so it must not wait.
type Bell = Box<dyn Fn() + Send + Sync>;

/// When the first one is due, as far as it is known: never too late.
pub(super) struct Rotations {
    first: Mutex<Option<First>>,
    bell: OnceLock<Bell>,
    /// What has come of runs in this process.
    pub(super) counts: Mutex<RunCounts>,
}

/// How often runs came to something.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunCounts {
    /// All steps were done.
    pub done: u64,
    /// A step has failed for good.
    pub failed: u64,
    /// A step has failed, and is tried again.
    pub retried: u64,
}

/// The first by each clock, which need not be the same.
#[derive(Debug, Clone, Copy)]
struct First(Moment);

impl Default for Rotations {
    /// Nobody has looked yet.
    fn default() -> Self {
        Self { first: Mutex::new(Some(First(Moment::FIRST))), bell: OnceLock::new(), counts: Mutex::default() }
    }
}

impl Rotations {
    /// Takes note of a record as it was written.
    pub fn note(&self, node: &Node) {
        let Node::Secret(node) = node else { return };
        let Some(due) = rotation_due(&node.secret) else { return };
        let mut first = self.first.lock();
        let before = *first;
        *first = Some(First::of(before, due));
        drop(first);
        let sooner = before.is_none_or(|First(before)| due.wall < before.wall || due.steady < before.steady);
        if let Some(bell) = self.bell.get().filter(|_| sooner) {
            bell();
        }
    }

    /// Whether one may be due.
    fn may_be_due(&self, now: Moment) -> bool {
        self.first.lock().is_some_and(|First(first)| first.may_have_come(now))
    }

    fn wait(&self, now: Moment) -> Option<Duration> {
        let First(first) = (*self.first.lock())?;
        let (wall, steady) = (first.wall.0.saturating_sub(now.wall.0), first.steady.0.saturating_sub(now.steady.0));
        Some(Duration::from_nanos(wall.min(steady)))
    }
}

impl First {
    fn of(before: Option<Self>, due: Moment) -> Self {
        let First(before) = before.unwrap_or(First(due));
        First(Moment { wall: before.wall.min(due.wall), steady: before.steady.min(due.steady) })
    }
}

impl Vault {
    /// How often runs of functions came to something in this process.
    pub fn run_counts(&self) -> RunCounts {
        *self.rotations.counts.lock()
    }

    /// Has `bell` called when something may be due for a rotation sooner than it was known. The first one stays.
    pub fn on_rotations_due(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.rotations.bell.set(Box::new(bell));
    }

    /// The secrets for which something is due at `now`, `most` of them at most and none that is `busy`.
    pub(super) fn walk_rotations(
        &self,
        now: Moment,
        most: usize,
        busy: &dyn Fn(NodeId) -> bool,
    ) -> Result<Agenda, VaultError> {
        let mut due = Vec::new();
        if self.rotations.may_be_due(now) {
            // What changes meanwhile is noted on top of nothing, and so kept.
            let before = self.rotations.first.lock().take();
            let walked = self.each_rotation(|id, secret| {
                let Some(moment) = rotation_due(secret) else { return true };
                if !moment.may_have_come(now) {
                    let mut first = self.rotations.first.lock();
                    *first = Some(First::of(*first, moment));
                } else if !busy(id) {
                    due.push(id);
                }
                due.len() < most
            });
            if walked.is_err() || due.len() >= most {
                let mut first = self.rotations.first.lock();
                *first = before.map(|First(before)| First::of(*first, before)).or(*first);
            }
            walked?;
        }
        Ok(Agenda { due, next: self.rotations.wait(now) })
    }

    /// Calls `look` with each secret that is rotated by a function, until it says that this is enough.
    fn each_rotation(&self, mut look: impl FnMut(NodeId, &Secret) -> bool) -> Result<(), VaultError> {
        let mut entries = Vec::new();
        self.each_of_lists(rotations_list, |_, node| {
            if let Node::Rotation(entry) = node {
                entries.push(entry.secret);
            }
            true
        })?;
        for id in entries {
            let loaded = match self.node(id) {
                Ok(Some(loaded)) => loaded,
                Ok(None) => continue,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            let enough = loaded.as_secret().is_some_and(|node| !look(id, &node.secret));
            if enough {
                break;
            }
        }
        Ok(())
    }

    /// The entry of secret `secret`, of the instance `scope`, if it has one.
    pub(super) fn rotation_entry(&self, scope: NodeId, secret: NodeId) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(scope, rotations_list(scope), Domain::Rotation, &secret.0.to_string())
    }

    /// Where the entry of secret `secret` stands.
    pub(super) fn rotation_place(&self, scope: NodeId, secret: NodeId) -> Result<Place, VaultError> {
        let index = self.index(scope, Domain::Rotation, &secret.0.to_string())?;
        Ok(Place { scope, parent: rotations_list(scope), index })
    }

    /// Has the next walk look at secret `id` again: whoever was busy with it is not any more.
    pub fn look_at_rotation(&self, id: NodeId) -> Result<(), VaultError> {
        if let Some(loaded) = self.node(id)? {
            self.rotations.note(&loaded.node);
        }
        Ok(())
    }

    /// Has the next walk look at all of them.
    pub fn doubt_rotations(&self) {
        *self.rotations.first.lock() = Some(First(Moment::FIRST));
    }
}
