//! A change in the making: what each record is to be, before any of it is sealed.
//!
//! A verb says what it writes, one record at a time; a record that is written twice is written once, as the last one said. What
//! follows from a change for records that count others (`consequences`) is added on top, and only then the ledger seals it. It is
//! written whole, or not at all.

use std::sync::Arc;

use super::announce::{self, Turned};
use super::audited::Purpose;
use super::feed::Gone;
use super::happened::{Happened, happened};
use super::ledger::{Ledger, Moved};
use super::{Loaded, Node, Target, Vault, VaultError};
use crate::crypto::{Head, NodeKeys};
use crate::id::NodeId;
use crate::store::{Op, Place};

/// A change in the making.
pub(super) struct Batch {
    pub purpose: Purpose,
    pub head: Head,
    /// Wraps, values and slots.
    pub ops: Vec<Op>,
    /// What came into the set digest, and what went out.
    pub moved: Vec<Moved>,
    /// Directories whose permission bits are seen as others by it.
    pub stale: Vec<NodeId>,
    steps: Vec<Step>,
}

/// What one record is to be. It comes, stays under its number, or goes.
pub(super) struct Step {
    pub id: NodeId,
    /// As it is stored.
    pub old: Option<Arc<Loaded>>,
    pub new: Option<Standing>,
}

/// A record that is to stand somewhere.
pub(super) struct Standing {
    pub place: Place,
    pub node: Node,
    /// What seals it, where that is not stored yet.
    pub keys: Option<Arc<NodeKeys>>,
}

impl Batch {
    /// Nothing yet, on top of the head in `ledger`, for `purpose`.
    pub fn new(ledger: &Ledger, purpose: Purpose) -> Self {
        Self {
            purpose,
            head: ledger.head.clone(),
            ops: Vec::new(),
            moved: Vec::new(),
            stale: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Has it recorded of one more.
    pub fn also_for(&mut self, target: Target) {
        self.purpose.targets.push(target);
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.steps.is_empty()
    }

    /// How many rows it writes, but for what follows from it.
    pub fn size(&self) -> usize {
        self.ops.len() + self.steps.len()
    }

    /// `count` node numbers in a row that were never given before; the first of them.
    pub fn new_nodes(&mut self, count: u32) -> Result<NodeId, VaultError> {
        let first = self.head.next_node;
        self.head.next_node = first.checked_add(count).ok_or(VaultError::OutOfNodes)?;
        Ok(NodeId(first))
    }

    /// Writes `node` at `place`: in the place of `old`, or anew.
    pub fn put(&mut self, id: NodeId, place: Place, node: Node, old: Option<&Arc<Loaded>>) {
        self.stand(id, Standing { place, node, keys: None }, old);
    }

    /// Writes `node` anew at `place`, of a scope whose keys are not stored yet.
    pub fn put_sealed_by(&mut self, keys: &Arc<NodeKeys>, id: NodeId, place: Place, node: Node) {
        self.stand(id, Standing { place, node, keys: Some(keys.clone()) }, None);
    }

    fn stand(&mut self, id: NodeId, new: Standing, old: Option<&Arc<Loaded>>) {
        match self.steps.iter_mut().find(|step| step.id == id) {
            Some(step) => {
                let keys = step.new.take().and_then(|before| before.keys).or(new.keys);
                step.new = Some(Standing { keys, ..new });
            }
            None => self.steps.push(Step { id, old: old.cloned(), new: Some(new) }),
        }
    }

    /// Removes the record of `old`.
    pub fn delete(&mut self, old: &Arc<Loaded>) {
        let id = old.id();
        match self.steps.iter_mut().find(|step| step.id == id) {
            Some(step) => step.new = None,
            None => self.steps.push(Step { id, old: Some(old.clone()), new: None }),
        }
        self.steps.retain(|step| step.old.is_some() || step.new.is_some());
    }

    /// What each record is to be, in the order in which that was said.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The same, to be sealed.
    pub fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What the record `id` is to be; `None` where nothing was said of it.
    pub fn step(&self, id: NodeId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The secrets whose current value is another one by it, or whose labels have moved.
    pub fn rotations(&self) -> Vec<Turned> {
        let of = |step: &Step| {
            let new = step.new.as_ref()?;
            let (name, is_current) = announce::rotated(step.old_node(), &new.node)?;
            Some((new.place.scope, name, is_current))
        };
        self.steps.iter().filter_map(of).collect()
    }

    /// What will be told of it once it is written.
    pub fn happened(&self) -> Vec<Happened> {
        self.steps.iter().flat_map(Step::happened).collect()
    }

    /// The records that it takes away.
    pub fn gone(&self) -> Gone {
        let removed = self.steps.iter().filter(|step| step.new.is_none());
        removed.filter_map(|step| step.old.as_ref().map(|old| (step.id, (old.place().parent, old.access())))).collect()
    }
}

impl Step {
    pub fn old_node(&self) -> Option<&Node> {
        self.old.as_deref().map(|old| &old.node)
    }

    pub fn new_node(&self) -> Option<&Node> {
        self.new.as_ref().map(|new| &new.node)
    }

    /// The list that it stands in.
    pub fn old_parent(&self) -> Option<NodeId> {
        self.old.as_deref().map(|old| old.place().parent)
    }

    /// The list that it is to stand in.
    pub fn new_parent(&self) -> Option<NodeId> {
        self.new.as_ref().map(|new| new.place.parent)
    }

    /// The instance that it belongs to; an instance belongs to itself.
    pub fn instance(&self) -> Option<NodeId> {
        match self.new_node().or(self.old_node())? {
            Node::Root(_) => None,
            Node::Instance(_) => Some(self.id),
            Node::Key(_) | Node::Directory(_) | Node::Secret(_) | Node::Rotation(_) => {
                Some(self.new.as_ref().map(|new| new.place).or(self.old.as_deref().map(Loaded::place))?.scope)
            }
        }
    }

    /// Whether a secret gets another policy.
    pub fn policy_changes(&self) -> bool {
        let policy = |node: Option<&Node>| match node {
            Some(Node::Secret(node)) => node.secret.policy.clone(),
            Some(Node::Root(_) | Node::Instance(_) | Node::Key(_) | Node::Directory(_) | Node::Rotation(_)) | None => {
                None
            }
        };
        policy(self.old_node()) != policy(self.new_node())
    }

    fn happened(&self) -> Vec<Happened> {
        let (old, new) = (self.old.as_deref(), self.new.as_ref());
        let place = match (old, new) {
            // A deletion is told to those who could list the secret, not to all who can list what is deleted.
            (Some(old), Some(new)) if is_deleted(&new.node) => old.place(),
            (_, Some(new)) => new.place,
            (Some(old), None) => old.place(),
            (None, None) => return Vec::new(),
        };
        happened(self.id, place, self.old_node(), self.new_node())
    }
}

fn is_deleted(node: &Node) -> bool {
    matches!(node, Node::Secret(secret) if secret.secret.deletion.is_some())
}

impl Vault {
    /// Has the record `id` be what `change` makes of it, as it is to be by now in `batch`. One that goes, or is not there, is left.
    pub(super) fn amend(
        &self,
        batch: &mut Batch,
        id: NodeId,
        change: impl FnOnce(&mut Node),
    ) -> Result<(), VaultError> {
        let (place, mut node, old) = match batch.step(id) {
            Some(Step { new: Some(new), old, .. }) => (new.place, new.node.clone(), old.clone()),
            Some(Step { new: None, .. }) => return Ok(()),
            None => match self.node(id)? {
                Some(loaded) => (loaded.place(), loaded.node.clone(), Some(loaded)),
                None => return Ok(()),
            },
        };
        change(&mut node);
        batch.put(id, place, node, old.as_ref());
        Ok(())
    }
}
