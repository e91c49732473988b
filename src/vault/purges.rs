//! When the next secret is to be purged, and the next key to be destroyed. The lists they stand in are in no such order, so the first of
//! each is kept in memory: a deletion brings it forward at once; where the first one has gone the lists are walked again, by whoever
//! keeps the store up.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;

use super::node::{keys_list, trash_list};
use super::{Node, Vault, VaultError};
use crate::id::NodeId;
use crate::store::Store as _;
use crate::time::{Moment, Steady, Timestamp};

/// Scheduled secrets, keys, or instances, read at a time.
const PAGE: usize = 256;

/// The steady clock never shows this.
const NEVER: Steady = Steady(u64::MAX);

/// A planned end: when, and of what.
type Planned = (Timestamp, NodeId);

/// What is known of planned ends of one sort.
pub(super) struct Purges {
    known: Mutex<Known>,
    /// When a node is to end, if it is of this sort and scheduled.
    due: fn(&Node) -> Option<Moment>,
    /// The list of an instance that those nodes stand in.
    list: fn(NodeId) -> NodeId,
}

struct Known {
    /// The first one. Where it has gone it stays until the next walk.
    first: Option<Planned>,
    /// Whether a walk is due.
    stale: bool,
    /// While a walk is under way, what it may not have seen.
    during: Option<During>,
    /// Whatever is due by the wall clock alone waits for the steady one to come to this.
    held: Steady,
}

#[derive(Default)]
struct During {
    first: Option<Planned>,
    gone: HashSet<NodeId>,
}

impl Purges {
    /// Of scheduled secrets.
    pub fn of_secrets() -> Self {
        Self::new(secret_due, trash_list)
    }

    /// Of scheduled keys.
    pub fn of_keys() -> Self {
        Self::new(key_due, keys_list)
    }

    /// Nobody has looked yet.
    fn new(due: fn(&Node) -> Option<Moment>, list: fn(NodeId) -> NodeId) -> Self {
        let known = Known { first: None, stale: true, during: None, held: Steady(0) };
        Self { known: Mutex::new(known), due, list }
    }

    /// Takes note of a record as it was written, or of one that is gone.
    pub fn note(&self, id: NodeId, node: Option<&Node>) {
        let due = node.and_then(self.due);
        self.known.lock().note(id, due);
    }

    /// When the first one is planned, as far as it is known.
    fn first(&self) -> Option<Timestamp> {
        self.known.lock().first.map(|(at, _)| at)
    }

    /// Whether some may have to end now.
    pub fn may_be_due(&self, now: Moment) -> bool {
        let known = self.known.lock();
        known.first.is_some_and(|(at, _)| now.wall >= at) && now.steady >= known.held
    }

    /// For how long the first one that is due by the wall clock waits for the steady one, as far as that is known.
    fn held(&self, now: Moment) -> Option<Duration> {
        let known = self.known.lock();
        let is_due = !known.stale && known.first.is_some_and(|(at, _)| now.wall >= at);
        known
            .held
            .0
            .checked_sub(now.steady.0)
            .filter(|wait| is_due && *wait > 0 && known.held != NEVER)
            .map(Duration::from_nanos)
    }

    /// Begins to see to what is due.
    pub fn see_to(&self) {
        self.known.lock().held = NEVER;
    }

    /// Leaves it for another time.
    pub fn leave(&self) {
        self.known.lock().held = Steady(0);
    }

    /// Notes that all that is due has been seen to; what is held by the steady clock is so until it shows `held`. What was scheduled
    /// meanwhile may be so for less.
    pub fn seen_to(&self, held: Option<Steady>) {
        let mut known = self.known.lock();
        known.held = known.held.min(held.unwrap_or(NEVER));
    }
}

fn secret_due(node: &Node) -> Option<Moment> {
    match node {
        Node::Secret(node) => node.secret.deletion.as_ref().map(crate::secret::Deletion::due),
        Node::Root(_) | Node::Instance(_) | Node::Key(_) | Node::Directory(_) | Node::Rotation(_) => None,
    }
}

fn key_due(node: &Node) -> Option<Moment> {
    match node {
        Node::Key(key) => key.state.due(),
        Node::Root(_) | Node::Instance(_) | Node::Secret(_) | Node::Directory(_) | Node::Rotation(_) => None,
    }
}

impl Known {
    fn note(&mut self, id: NodeId, due: Option<Moment>) {
        if let Some(due) = due {
            self.held = self.held.min(due.steady);
            self.first = earlier(self.first, Some((due.wall, id)));
            if let Some(during) = &mut self.during {
                during.first = earlier(during.first, Some((due.wall, id)));
                during.gone.remove(&id);
            }
            return;
        }
        self.stale |= self.first.is_some_and(|(_, first)| first == id);
        if let Some(during) = &mut self.during {
            during.gone.insert(id);
        }
    }

    /// Takes what a walk has found.
    fn walked(&mut self, found: Option<Planned>) {
        let During { first, gone } = self.during.take().unwrap_or_default();
        self.first = earlier(found, first);
        self.stale = self.first.is_some_and(|(_, first)| gone.contains(&first));
    }
}

fn earlier(one: Option<Planned>, other: Option<Planned>) -> Option<Planned> {
    one.into_iter().chain(other).min()
}

impl Vault {
    /// Notes that anything may have been scheduled or gone.
    pub(super) fn doubt_purges(&self) {
        for sort in [&self.purges, &self.key_ends] {
            sort.known.lock().stale = true;
        }
    }

    /// When the first scheduled secret may be purged, if one is scheduled. After a restore or a purge of that very one it takes until
    /// [`Vault::look_for_purges`] is called to be right again, and before the first call it is not known.
    pub fn next_purge(&self) -> Option<Timestamp> {
        self.purges.first()
    }

    /// For how long what is due by the machine's clock waits, since so much time has not passed for certain. `None` where nothing does, or it is not
    /// known.
    pub fn purges_held(&self) -> Option<Duration> {
        let now = self.moment().ok()?;
        [&self.purges, &self.key_ends].iter().filter_map(|sort| sort.held(now)).min()
    }

    /// Looks for the first planned purge, and the first planned end of a key, where they are not known. To be called by one thread
    /// only; it may take long.
    pub fn look_for_purges(&self) {
        for sort in [&self.purges, &self.key_ends] {
            self.look_for(sort);
        }
    }

    fn look_for(&self, sort: &Purges) {
        let mut known = sort.known.lock();
        if !known.stale {
            return;
        }
        known.during = Some(During::default());
        drop(known);
        let mut first = None;
        let walked = self.each_planned(sort, |id, due| {
            first = earlier(first, Some((due.wall, id)));
            true
        });
        let mut known = sort.known.lock();
        match walked {
            Ok(()) => known.walked(first),
            Err(error) => {
                log::warn!("the next purge is not known: {error}");
                known.during = None;
            }
        }
    }

    /// Calls `look` with each node of `sort` that is to end, and when, until it says that this is enough.
    pub(super) fn each_planned(
        &self,
        sort: &Purges,
        mut look: impl FnMut(NodeId, Moment) -> bool,
    ) -> Result<(), VaultError> {
        self.each_of_lists(sort.list, |id, node| (sort.due)(node).is_none_or(|due| look(id, due)))
    }

    /// Calls `look` with each member of that list of each instance, until it says that this is enough.
    pub(super) fn each_of_lists(
        &self,
        list: fn(NodeId) -> NodeId,
        mut look: impl FnMut(NodeId, &Node) -> bool,
    ) -> Result<(), VaultError> {
        let mut instances = Vec::new();
        self.each(NodeId::ROOT, |id, node| {
            if let Node::Instance(_) = node {
                instances.push(id);
            }
            true
        })?;
        for instance in instances {
            let mut enough = false;
            self.each(list(instance), |id, node| {
                enough = !look(id, node);
                !enough
            })?;
            if enough {
                break;
            }
        }
        Ok(())
    }

    /// Calls `look` with each member of `list`, until it says that this is enough. Memory keeps none of them: it is for what callers
    /// ask for.
    fn each(&self, list: NodeId, mut look: impl FnMut(NodeId, &Node) -> bool) -> Result<(), VaultError> {
        let mut after = Some(NodeId(0));
        while let Some(from) = after {
            let page = self.store.list(list, from, PAGE)?;
            after = page.records.last().filter(|_| page.more).map(|record| record.id);
            for record in page.records {
                match self.unseal(record) {
                    Ok(loaded) if !look(loaded.id(), &loaded.node) => return Ok(()),
                    Ok(_) => {}
                    // The scrub tells of it; the others are not to wait for that.
                    Err(error) if error.is_damage() => log::debug!("a record is passed over: {error}"),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { first: None, stale: true, during: None, held: Steady(0) }
    }

    #[test]
    fn the_first_is_known_whatever_comes_and_goes() {
        let mut known = known();
        let at = |wall| Some(Moment { wall: Timestamp(wall), steady: Steady(wall) });
        let first = |known: &Known| known.first.map(|(at, _)| at.0);
        known.during = Some(During::default());
        known.walked(Some((Timestamp(50), NodeId(1))));
        assert_eq!((first(&known), known.stale), (Some(50), false));
        known.note(NodeId(2), at(40));
        known.note(NodeId(3), at(60));
        known.note(NodeId(9), None);
        assert_eq!((first(&known), known.stale), (Some(40), false), "those behind it may go");
        known.note(NodeId(2), None);
        assert_eq!((first(&known), known.stale), (Some(40), true));
        known.during = Some(During::default());
        known.note(NodeId(4), at(30));
        known.note(NodeId(1), None);
        known.walked(Some((Timestamp(50), NodeId(1))));
        assert_eq!((first(&known), known.stale), (Some(30), false), "it came while the lists were walked");
        known.during = Some(During::default());
        known.note(NodeId(4), None);
        known.walked(Some((Timestamp(30), NodeId(4))));
        assert!(known.stale, "it went while the lists were walked");
        known.during = Some(During::default());
        known.walked(None);
        assert_eq!((first(&known), known.stale), (None, false));
    }
}
