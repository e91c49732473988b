//! When the first scheduled secret may be purged. The trash lists are in no such order, so the first is kept in memory: a deletion
//! brings it forward at once; where the first one has gone the lists are walked again, by whoever keeps the store up.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::node::trash_list;
use super::{Node, Vault, VaultError};
use crate::id::NodeId;
use crate::store::Store as _;
use crate::time::Timestamp;

/// Scheduled secrets, or instances, read at a time.
const PAGE: usize = 256;

/// A planned purge: when, and of which secret.
type Planned = (Timestamp, NodeId);

/// What is known of planned purges.
pub(super) struct Purges(Mutex<Known>);

struct Known {
    /// The first one. Where it has gone it stays until the next walk.
    first: Option<Planned>,
    /// Whether a walk is due.
    stale: bool,
    /// While a walk is under way, what it may not have seen.
    during: Option<During>,
}

#[derive(Default)]
struct During {
    first: Option<Planned>,
    gone: HashSet<NodeId>,
}

impl Default for Purges {
    /// Nobody has looked yet.
    fn default() -> Self {
        Self(Mutex::new(Known { first: None, stale: true, during: None }))
    }
}

impl Purges {
    /// Takes note of a record as it was written, or of one that is gone.
    pub fn note(&self, id: NodeId, node: Option<&Node>) {
        let deletion = match node {
            Some(Node::Secret(node)) => node.secret.deletion.as_ref(),
            Some(Node::Root(_) | Node::Instance(_) | Node::Key(_) | Node::Directory(_)) | None => None,
        };
        self.0.lock().note(id, deletion.map(|deletion| deletion.purge_at));
    }
}

impl Known {
    fn note(&mut self, id: NodeId, planned: Option<Timestamp>) {
        if let Some(at) = planned {
            self.first = earlier(self.first, Some((at, id)));
            if let Some(during) = &mut self.during {
                during.first = earlier(during.first, Some((at, id)));
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
        self.purges.0.lock().stale = true;
    }

    /// When the first scheduled secret may be purged, if one is scheduled. After a restore or a purge of that very one it takes until
    /// [`Vault::look_for_purges`] is called to be right again, and before the first call it is not known.
    pub fn next_purge(&self) -> Option<Timestamp> {
        self.purges.0.lock().first.map(|(at, _)| at)
    }

    /// Looks for the first planned purge, where it is not known. To be called by one thread only; it may take long.
    pub fn look_for_purges(&self) {
        let mut known = self.purges.0.lock();
        if !known.stale {
            return;
        }
        known.during = Some(During::default());
        drop(known);
        let found = self.first_purge();
        let mut known = self.purges.0.lock();
        match found {
            Ok(found) => known.walked(found),
            Err(error) => {
                log::warn!("the next purge is not known: {error}");
                known.during = None;
            }
        }
    }

    fn first_purge(&self) -> Result<Option<Planned>, VaultError> {
        let (mut instances, mut first) = (Vec::new(), None);
        self.each(NodeId::ROOT, |id, node| {
            if let Node::Instance(_) = node {
                instances.push(id);
            }
        })?;
        for instance in instances {
            self.each(trash_list(instance), |id, node| {
                if let Node::Secret(node) = node {
                    first = earlier(first, node.secret.deletion.as_ref().map(|deletion| (deletion.purge_at, id)));
                }
            })?;
        }
        Ok(first)
    }

    /// Calls `look` with each member of `list`. Memory keeps none of them: it is for what callers ask for.
    fn each(&self, list: NodeId, mut look: impl FnMut(NodeId, &Node)) -> Result<(), VaultError> {
        let mut after = Some(NodeId(0));
        while let Some(from) = after {
            let page = self.store.list(list, from, PAGE)?;
            after = page.records.last().filter(|_| page.more).map(|record| record.id);
            for record in page.records {
                let loaded = self.unseal(record)?;
                look(loaded.id(), &loaded.node);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { first: None, stale: true, during: None }
    }

    #[test]
    fn the_first_is_known_whatever_comes_and_goes() {
        let mut known = known();
        let first = |known: &Known| known.first.map(|(at, _)| at.0);
        known.during = Some(During::default());
        known.walked(Some((Timestamp(50), NodeId(1))));
        assert_eq!((first(&known), known.stale), (Some(50), false));
        known.note(NodeId(2), Some(Timestamp(40)));
        known.note(NodeId(3), Some(Timestamp(60)));
        known.note(NodeId(9), None);
        assert_eq!((first(&known), known.stale), (Some(40), false), "those behind it may go");
        known.note(NodeId(2), None);
        assert_eq!((first(&known), known.stale), (Some(40), true));
        known.during = Some(During::default());
        known.note(NodeId(4), Some(Timestamp(30)));
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
