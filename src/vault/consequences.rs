//! What a change means for the records that count others: how many secrets are under a key, how many ways lead to a secret whose
//! policy lets somebody come, which other accounts an instance lets in, and which secrets are rotated by functions. It is a part of the commit that makes the change.

use std::collections::{BTreeMap, HashMap};

use super::batch::{Batch, Step};
use super::node::RotationEntry;
use super::{Key, Node, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{Account, Action, Policy};

/// What a record counts for with another.
type Deltas<K> = HashMap<K, i64>;

/// The accounts whose own a secret is: the store's, and that of whoever made it.
pub(super) struct Homes {
    pub store: Account,
    pub maker: Option<Account>,
}

impl Homes {
    /// All of them.
    pub fn all(&self) -> Vec<&Account> {
        std::iter::once(&self.store).chain(&self.maker).collect()
    }
}

/// Whether `policy` lets somebody come whom permission bits may not.
fn lets_come(policy: Option<&Policy>, homes: &Homes) -> bool {
    policy.is_some_and(|policy| Action::ALL.iter().any(|action| policy.opens(&homes.all(), *action)))
}

impl Vault {
    /// Adds to `batch` what follows from it.
    ///
    /// # Errors
    /// Where it would let in more accounts than the instance's quota allows.
    pub(super) fn add_consequences(&self, batch: &mut Batch) -> Result<(), VaultError> {
        self.count_uses(batch)?;
        self.count_guests(batch)?;
        self.enter_rotations(batch)?;
        self.count_passages(batch)
    }

    /// Which secrets begin or cease to be rotated by a function.
    fn enter_rotations(&self, batch: &mut Batch) -> Result<(), VaultError> {
        let has = |node: Option<&Node>| matches!(node, Some(Node::Secret(node)) if node.secret.rotation.is_some());
        let changes = batch.steps().iter().filter_map(|step| {
            let (before, after) = (has(step.old_node()), has(step.new_node()));
            Some((step.id, step.instance().filter(|_| before != after)?, after))
        });
        for (secret, scope, enters) in changes.collect::<Vec<_>>() {
            match (enters, self.rotation_entry(scope, secret)?) {
                (true, None) => {
                    let (id, place) = (batch.new_nodes(1)?, self.rotation_place(scope, secret)?);
                    batch.put(id, place, Node::Rotation(RotationEntry { secret }), None);
                }
                (false, Some(entry)) => batch.delete(&entry),
                (true, Some(_)) | (false, None) => {}
            }
        }
        Ok(())
    }

    /// How many secrets more or fewer come under each key. What cannot be read is told to whoever verifies.
    fn count_uses(&self, batch: &mut Batch) -> Result<(), VaultError> {
        let mut uses = Deltas::new();
        let key = |node: &Node| if let Node::Secret(node) = node { Some(node.secret.key) } else { None };
        for step in batch.steps() {
            count(&mut uses, step.old_node().and_then(key), -1);
            count(&mut uses, step.new_node().and_then(key), 1);
        }
        for (id, more) in uses.into_iter().filter(|(_, more)| *more != 0) {
            let loaded = match self.node(id) {
                Ok(Some(loaded)) => loaded,
                Ok(None) => continue,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            if !self.is_default_key(&loaded)? {
                self.amend(batch, id, |node| {
                    if let Node::Key(Key { uses, .. }) = node {
                        *uses = uses.saturating_add_signed(more);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Which accounts the policies of secrets and keys let into their instances.
    fn count_guests(&self, batch: &mut Batch) -> Result<(), VaultError> {
        let mut guests: BTreeMap<NodeId, Deltas<Account>> = BTreeMap::new();
        for step in batch.steps() {
            let Some(instance) = step.instance() else { continue };
            let of = guests.entry(instance).or_default();
            for (node, more) in [(step.old_node(), -1), (step.new_node(), 1)] {
                for account in self.let_in(node)? {
                    count(of, Some(account), more);
                }
            }
        }
        for (instance, deltas) in guests {
            let before = self.node(instance)?;
            let before = before.as_ref().and_then(|loaded| loaded.as_instance());
            let present = before.map_or(0, super::Instance::others);
            if deltas.values().any(|more| *more != 0) {
                self.amend(batch, instance, |node| {
                    if let Node::Instance(instance) = node {
                        instance.let_in(&deltas);
                    }
                })?;
            }
            if let Some(Node::Instance(after)) = batch.step(instance).and_then(Step::new_node) {
                after.quota.allows(present, after.others())?;
            }
        }
        Ok(())
    }

    /// The other accounts that the policy of `node` lets in.
    pub(super) fn let_in(&self, node: Option<&Node>) -> Result<Vec<Account>, VaultError> {
        let (policy, homes) = match node {
            Some(Node::Secret(node)) => (&node.secret.policy, self.homes(&node.secret)?),
            Some(Node::Key(key)) => (&key.policy, Homes { store: self.root()?.account, maker: None }),
            Some(Node::Root(_) | Node::Instance(_) | Node::Directory(_) | Node::Rotation(_)) | None => {
                return Ok(Vec::new());
            }
        };
        Ok(policy.as_ref().map_or_else(Vec::new, |policy| policy.others(&homes.all()).into_iter().collect()))
    }

    /// Which directories lead to a secret whose policy lets somebody come. One that begins or ceases to do so is told of to the one
    /// above it.
    fn count_passages(&self, batch: &mut Batch) -> Result<(), VaultError> {
        let mut passages = Deltas::new();
        let mut stale = Vec::new();
        for step in batch.steps() {
            count(&mut passages, self.opens_way(step.old_node(), step.old_parent())?, -1);
            count(&mut passages, self.opens_way(step.new_node(), step.new_parent())?, 1);
            if step.policy_changes() {
                stale.extend(step.new_parent());
            }
            if let (Some(old), None) = (step.old.as_ref(), &step.new)
                && old.as_directory().is_some_and(|directory| directory.passages > 0)
            {
                count(&mut passages, Some(old.place().parent), -1);
            }
        }
        let mut changed: Vec<_> = passages.into_iter().filter(|(_, more)| *more != 0).collect();
        while let Some((id, more)) = changed.pop() {
            let (mut before, mut after) = (0, 0);
            self.amend(batch, id, |node| {
                if let Some((passages, was_opened)) = node.passages_mut() {
                    before = *passages;
                    *passages = before.saturating_add_signed(i32::try_from(more).unwrap_or(0));
                    after = *passages;
                    *was_opened |= after > 0;
                }
            })?;
            if (before > 0) != (after > 0) {
                stale.push(id);
                if let Some(above) = self.above(batch, id)? {
                    changed.push((above, if after > 0 { 1 } else { -1 }));
                }
            }
        }
        batch.stale.extend(stale);
        Ok(())
    }

    /// The directory that a secret stands in, where its policy lets somebody come.
    pub(super) fn opens_way(&self, node: Option<&Node>, parent: Option<NodeId>) -> Result<Option<NodeId>, VaultError> {
        match node {
            Some(Node::Secret(node)) if node.secret.deletion.is_none() && node.secret.policy.is_some() => {
                let homes = self.homes(&node.secret)?;
                Ok(parent.filter(|_| lets_come(node.secret.policy.as_ref(), &homes)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The list that `id` stands in, as it is to be; none for the root.
    fn above(&self, batch: &Batch, id: NodeId) -> Result<Option<NodeId>, VaultError> {
        if id == NodeId::ROOT {
            return Ok(None);
        }
        match batch.step(id) {
            Some(step) => Ok(step.new_parent()),
            None => Ok(self.node(id)?.map(|loaded| loaded.place().parent)),
        }
    }
}

fn count<K: std::hash::Hash + Eq>(deltas: &mut Deltas<K>, key: Option<K>, more: i64) {
    if let Some(key) = key {
        *deltas.entry(key).or_default() += more;
    }
}
