//! The feed: what happened of late, for whoever follows it.
//!
//! A commit puts its events into a ring and rings a bell; nobody who changes something waits for anybody who reads. A reader
//! has a cursor, the number of the next event it wants, and is told how many it has missed when the ring was too short for it.
//! Who may see an event is decided by the owners, groups and modes as they were when it happened: what could be listed then may
//! be told later, and nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::happened::{Happened, Subject, What};
use super::node::{keys_list, trash_list};
use super::{Access, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{Identity, InstanceName, Right, VersionId};
use crate::store::Place;
use crate::time::Timestamp;

/// Events kept: a burst over a whole store of usual size, in some two MiB at most.
const EVENTS_MAX: usize = 4096;
/// Most events given at a time, so that the ring is locked for moments.
const TAKEN_MAX: usize = 256;

/// One event.
#[derive(Debug)]
pub struct Event {
    /// When it was committed.
    pub time: Timestamp,
    /// The instance, unless it is the mount's root that it is about.
    pub instance: Option<InstanceName>,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub what: What,
    /// The version that came, or that is current now.
    pub version: Option<VersionId>,
    /// None where it could not be found out: then only those see it whom no bits bind.
    within: Option<Within>,
}

/// Where something stands, as permission bits see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Within {
    /// The directory that lists it; none for what everybody may list who comes so far.
    list: Option<Access>,
    /// All that have to be passed on the way.
    above: Vec<Access>,
}

impl Event {
    /// Whether `who` could list what it is about, as `ls` would.
    pub fn may_be_seen_by(&self, who: &Identity) -> bool {
        match &self.within {
            Some(Within { list, above }) => {
                list.is_none_or(|list| list.allows(who, Right::Read))
                    && above.iter().all(|access| access.allows(who, Right::Pass))
            }
            None => who.overrides,
        }
    }
}

/// What a reader gets.
pub struct Taken {
    /// Events that were in the ring no longer.
    pub lost: u64,
    /// In order; no more than a few hundred at a time.
    pub events: Vec<Arc<Event>>,
    /// The cursor to go on from.
    pub next: u64,
}

/// How a commit tells that there is something new: called while no other change can be made, so it must not wait.
type Bell = Box<dyn Fn() + Send + Sync>;

/// The ring.
#[derive(Default)]
pub(super) struct Feed {
    ring: Mutex<Ring>,
    bell: OnceLock<Bell>,
}

#[derive(Default)]
struct Ring {
    /// The number of the next event; those before it are the last in `events`.
    next: u64,
    events: VecDeque<Arc<Event>>,
}

impl Ring {
    fn add(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(event));
        self.next += 1;
    }

    /// Counts an event that nobody can be told of.
    fn lose(&mut self) {
        self.events.clear();
        self.next += 1;
    }

    fn since(&self, cursor: u64) -> Taken {
        let first = self.next - self.events.len() as u64;
        let from = cursor.clamp(first, self.next);
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let events: Vec<_> = self.events.iter().skip(skip).take(TAKEN_MAX).cloned().collect();
        Taken { lost: from.saturating_sub(cursor), next: from + events.len() as u64, events }
    }
}

impl Feed {
    fn ring_the_bell(&self) {
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }
}

/// Records that a batch takes away, each with the list it stood in and its access.
pub(super) type Gone = HashMap<NodeId, (NodeId, Option<Access>)>;

impl Vault {
    /// Has `bell` called after each commit that something can be told of. The first one stays.
    pub fn on_event(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.feed.bell.set(Box::new(bell));
    }

    /// The cursor of who wants to know what happens from now on.
    pub fn feed_end(&self) -> u64 {
        self.feed.ring.lock().next
    }

    /// What happened from `cursor` on.
    pub fn events_since(&self, cursor: u64) -> Taken {
        self.feed.ring.lock().since(cursor)
    }

    /// Tells of what was committed, and can be seen by readers by now.
    pub(super) fn tell_events(&self, happened: Vec<Happened>, gone: &Gone) {
        if happened.is_empty() {
            return;
        }
        let time = self.now();
        let events: Vec<_> = happened.into_iter().map(|happened| self.event(time, happened, gone)).collect();
        let mut ring = self.feed.ring.lock();
        events.into_iter().for_each(|event| ring.add(event));
        drop(ring);
        self.feed.ring_the_bell();
    }

    /// Tells that something may have happened, and nobody knows what.
    pub(super) fn tell_of_doubt(&self) {
        self.raise_rights();
        self.feed.ring.lock().lose();
        self.feed.ring_the_bell();
    }

    fn event(&self, time: Timestamp, happened: Happened, gone: &Gone) -> Event {
        let Happened { what, subject, version, place, id, is_secret } = happened;
        let is_instance = place.scope == NodeId::ROOT && id != NodeId::ROOT;
        let instance = match (place.scope, is_instance) {
            (_, true) => Some(id),
            (NodeId::ROOT, false) => None,
            (scope, false) => Some(scope),
        };
        let named = instance.map(|instance| self.name_of(instance)).transpose();
        let within = self.within(place, id, is_secret, gone);
        for error in [named.as_ref().err(), within.as_ref().err()].into_iter().flatten() {
            log::warn!("an event is told to few, since it is not known who could list what it is about: {error}");
        }
        // Without its instance's name it would be told of some other secret.
        let within = within.ok().filter(|_| named.is_ok());
        Event { time, instance: named.unwrap_or_default(), subject, what, version, within }
    }

    fn name_of(&self, instance: NodeId) -> Result<InstanceName, VaultError> {
        let loaded = self.existing(instance)?;
        loaded.as_instance().map(|node| node.name.clone()).ok_or(VaultError::Unreadable { node: instance })
    }

    /// Where record `id` at `place` stands.
    fn within(&self, place: Place, id: NodeId, is_secret: bool, gone: &Gone) -> Result<Within, VaultError> {
        let Place { scope, parent, index: _ } = place;
        if id == NodeId::ROOT {
            return Ok(Within { list: None, above: Vec::new() });
        }
        if scope != NodeId::ROOT && parent == trash_list(scope) {
            return Ok(Within { list: None, above: self.way_to(scope, gone)? });
        }
        if scope != NodeId::ROOT && parent == keys_list(scope) {
            // Its bits are the instance's.
            let above = self.way_to(scope, gone)?;
            return Ok(Within { list: above.first().copied(), above });
        }
        // A secret is listed where its directory is.
        let list = if is_secret { self.step_up(parent, gone)?.0 } else { parent };
        let mut way = self.way_to(list, gone)?;
        let readable = way.remove(0);
        Ok(Within { list: Some(readable), above: way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(no: u64) -> Event {
        let version = VersionId::automatic(no);
        let (subject, what, version) = (Subject::Itself, What::Window, Some(version));
        Event { time: Timestamp(no), instance: None, subject, what, version, within: None }
    }

    #[test]
    fn who_is_slow_is_told_how_much_was_lost() {
        let mut ring = Ring::default();
        assert!(ring.since(0).events.is_empty());
        let most = EVENTS_MAX as u64;
        (0..most + 10).for_each(|no| ring.add(event(no)));
        let taken = ring.since(3);
        assert_eq!((taken.lost, taken.events.len(), taken.next), (7, TAKEN_MAX, 10 + TAKEN_MAX as u64));
        assert_eq!(taken.events[0].time, Timestamp(10), "the oldest that is left");
        let mut cursor = taken.next;
        let mut seen = taken.events.len();
        while !ring.since(cursor).events.is_empty() {
            let taken = ring.since(cursor);
            assert_eq!(taken.lost, 0);
            (cursor, seen) = (taken.next, seen + taken.events.len());
        }
        assert_eq!((seen, cursor), (EVENTS_MAX, most + 10));
        ring.lose();
        let taken = ring.since(cursor);
        assert_eq!((taken.lost, taken.events.len(), taken.next), (1, 0, most + 11), "nobody knows what that was");
    }

    #[test]
    fn who_may_list_may_see() {
        let access = |uid, dir_mode| Access { uid, gid: 0, dir_mode, value_mode: 0 };
        let who = Identity { uid: 7, gid: 7, groups: vec![], overrides: false };
        let cases = [
            (Some((Some(access(0, 0o755)), vec![access(0, 0o711)])), true),
            (Some((Some(access(0, 0o751)), vec![access(0, 0o711)])), false),
            (Some((Some(access(0, 0o744)), vec![access(0, 0o711), access(0, 0o750)])), false),
            (Some((Some(access(7, 0o400)), vec![])), true),
            (Some((None, vec![access(0, 0o711)])), true),
            (Some((None, vec![access(0, 0o750)])), false),
            (None, false),
        ];
        for (within, expected) in cases {
            let within = within.map(|(list, above)| Within { list, above });
            let event = Event { within: within.clone(), ..event(1) };
            assert_eq!(event.may_be_seen_by(&who), expected, "{within:?}");
            assert!(event.may_be_seen_by(&Identity { overrides: true, ..who.clone() }));
        }
    }
}
