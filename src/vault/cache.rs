//! Decoded records in memory, by number, by name and by list.
//!
//! Invariants: a record that is here is the latest one shown to readers, since a commit puts what it writes here and takes away
//! what it removes; a name is known by the record that stands at its place, so it can be no staler than that. The root and the
//! instances, once learnt, never leave: the top of the tree is answered for without a disk.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::load::Listing;
use super::node::Loaded;
use crate::id::NodeId;
use crate::store::{Index, Place};

/// Records kept below the top: enough for the working set of a busy host, some 8 MiB at most.
const NODES: NonZeroUsize = NonZeroUsize::new(8_192).expect("8,192 is not zero");
/// Lists of which all members are known.
const LISTS: NonZeroUsize = NonZeroUsize::new(1_024).expect("1,024 is not zero");
/// Most members of such a list; a longer one is read anew.
const LIST_MAX: usize = 256;

/// What memory says of a name.
pub(super) enum Known {
    /// It stands for this.
    Node(Arc<Loaded>),
    /// It stands for nothing.
    Nothing,
    /// It may stand for anything.
    Unknown,
}

/// All that is kept of records.
pub(super) struct Cache {
    /// The root and instances.
    top: BTreeMap<NodeId, Arc<Loaded>>,
    /// Whether those are all.
    top_is_whole: bool,
    /// All others that were used lately.
    nodes: LruCache<NodeId, Arc<Loaded>>,
    /// Where each of both stands.
    places: HashMap<(NodeId, Index), NodeId>,
    /// The members of lists, in order.
    lists: LruCache<NodeId, Arc<[NodeId]>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            top: BTreeMap::new(),
            top_is_whole: false,
            nodes: LruCache::new(NODES),
            places: HashMap::new(),
            lists: LruCache::new(LISTS),
        }
    }
}

impl Cache {
    pub fn get(&mut self, id: NodeId) -> Option<Arc<Loaded>> {
        self.top.get(&id).or_else(|| self.nodes.get(&id)).cloned()
    }

    /// What the name `index` in `list` stands for.
    pub fn find(&mut self, list: NodeId, index: &Index) -> Known {
        match self.places.get(&(list, *index)).copied().and_then(|id| self.get(id)) {
            Some(node) => Known::Node(node),
            None if self.is_whole(list) => Known::Nothing,
            None => Known::Unknown,
        }
    }

    /// Up to `limit` members of `list` after `after`, where all of them are here.
    pub fn list(&mut self, list: NodeId, after: NodeId, limit: usize) -> Option<Listing> {
        let (nodes, more) = if list == NodeId::ROOT {
            if !self.top_is_whole {
                return None;
            }
            let mut after = self.top.range(NodeId(after.0.saturating_add(1))..).map(|(_, node)| node);
            let mut instances = after.by_ref().filter(|node| stands_in_root(node.place()));
            let nodes: Vec<_> = instances.by_ref().take(limit).cloned().collect();
            (nodes, instances.next().is_some())
        } else {
            let members = self.lists.get(&list)?.clone();
            let members = &members[members.partition_point(|member| *member <= after)..];
            let nodes = members.iter().take(limit).map(|member| self.get(*member)).collect::<Option<Vec<_>>>()?;
            (nodes, members.len() > limit)
        };
        let next = nodes.last().filter(|_| more).map(|node| node.id());
        Some(Listing { nodes, next })
    }

    /// Takes a record that was read, or written.
    pub fn put(&mut self, loaded: Arc<Loaded>) {
        let (id, place) = (loaded.id(), loaded.place());
        let gone = if id == NodeId::ROOT || stands_in_root(place) {
            self.top.insert(id, loaded)
        } else {
            self.nodes.push(id, loaded).map(|(_, gone)| gone)
        };
        if let Some(gone) = gone {
            self.forget_place(&gone);
        }
        self.places.insert((place.parent, place.index), id);
    }

    /// Takes a record that was written, in the place of one in the list `from` if there was one.
    pub fn write(&mut self, loaded: Arc<Loaded>, from: Option<NodeId>) {
        let to = loaded.place().parent;
        if from != Some(to) {
            self.lists.pop(&to);
            from.map(|from| self.lists.pop(&from));
        }
        self.put(loaded);
    }

    /// Takes away the record `id`, which stood in `list`.
    pub fn remove(&mut self, id: NodeId, list: NodeId) {
        self.lists.pop(&list);
        if let Some(gone) = self.top.remove(&id).or_else(|| self.nodes.pop(&id)) {
            self.forget_place(&gone);
        }
    }

    /// Notes that `members` are all of `list`.
    pub fn learn_list(&mut self, list: NodeId, members: &[Arc<Loaded>]) {
        if list != NodeId::ROOT && members.len() <= LIST_MAX {
            self.lists.put(list, members.iter().map(|node| node.id()).collect());
        }
    }

    /// Notes that `top`, the root and all instances, is all there is of them.
    pub fn learn_top(&mut self, top: Vec<Arc<Loaded>>) {
        for node in top {
            self.put(node);
        }
        self.top_is_whole = true;
    }

    /// How many records are here.
    pub fn count(&self) -> usize {
        self.top.len() + self.nodes.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether all members of `list` are here, and so a name that none of them has stands for nothing.
    fn is_whole(&mut self, list: NodeId) -> bool {
        if list == NodeId::ROOT {
            return self.top_is_whole;
        }
        self.lists.get(&list).is_some_and(|members| members.iter().all(|member| self.nodes.contains(member)))
    }

    fn forget_place(&mut self, gone: &Loaded) {
        let at = (gone.place().parent, gone.place().index);
        if self.places.get(&at) == Some(&gone.id()) {
            self.places.remove(&at);
        }
    }
}

fn stands_in_root(place: Place) -> bool {
    place.parent == NodeId::ROOT
}
