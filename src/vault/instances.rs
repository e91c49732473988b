//! The verbs on instances: making one, and what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::audited::Purpose;
use super::batch::Batch;
use super::error::is_made;
use super::keyring::NODE_KEYS_NO;
use super::keys::new_key;
use super::load::Domain;
use super::node::{INSTANCE_NUMBERS, NEW_INSTANCE_MODE};
use super::tree::new_access;
use super::{Caller, Instance, Loaded, Node, Vault, VaultError};
use crate::audit::Target;
use crate::crypto::NodeKeys;
use crate::id::NodeId;
use crate::secret::{Account, Action, InstanceName, InstanceState, KeyName, Quota, RecoveryWindow, Refusal};
use crate::store::{Place, Reservation, RowId};
use crate::time::Timestamp;

impl Vault {
    /// Makes the instance `name`, with a key named `default`.
    pub fn make_instance(&self, caller: Caller, name: InstanceName, mode: u16) -> Result<Arc<Loaded>, VaultError> {
        let mut ledger = self.ledger()?;
        if self.instance_named(&name)?.is_some() {
            return Err(Refusal::NameTaken.into());
        }
        let now = self.now();
        let target = Target { instance: Some(name.as_str().to_owned()), ..Target::default() };
        let mut batch = Batch::new(&ledger, Purpose::new(Action::UpdateInstance, target));
        let id = batch.new_nodes(INSTANCE_NUMBERS)?;
        let key = batch.new_nodes(1)?;
        let place = Place {
            scope: NodeId::ROOT,
            parent: NodeId::ROOT,
            index: self.index(NodeId::ROOT, Domain::Instance, name.as_str())?,
        };
        let access = new_access(caller, mode & NEW_INSTANCE_MODE);
        let instance = Instance {
            name,
            access,
            created: now,
            changed: now,
            recovery_window: RecoveryWindow::DEFAULT,
            default_key: key,
            state: InstanceState::default(),
            shares: BTreeSet::new(),
            quota: Quota::default(),
            guests: BTreeMap::new(),
            passages: 0,
            was_opened: false,
        };
        batch.put(id, place, Node::Instance(instance), None);
        self.put_new_keys(&mut batch, id, key, now)?;
        self.touch(&mut batch, NodeId::ROOT, now)?;
        self.commit(&mut ledger, batch, caller, None)?;
        self.existing(id)
    }

    /// The keys of a new instance: those of its records, and the CMK `default`.
    fn put_new_keys(&self, batch: &mut Batch, instance: NodeId, key: NodeId, now: Timestamp) -> Result<(), VaultError> {
        let own = RowId { node: instance, no: NODE_KEYS_NO };
        let keys = Arc::new(NodeKeys::generate()?);
        let wrap = self.keyring.master.wrap_node_keys(self.keyring.wrap_context(instance, own), &keys)?;
        self.add_wrap(batch, own, wrap);
        self.put_key(batch, &keys, instance, key, new_key(KeyName::default_key(), String::new(), now))
    }

    /// Sets the days that a deletion of the instance's secrets waits.
    pub fn set_recovery_window(&self, caller: Caller, id: NodeId, window: RecoveryWindow) -> Result<(), VaultError> {
        self.change_instance(caller, id, None, |instance| instance.recovery_window = window)
    }

    /// Seals the instance's values, or has them be had again. It must be possible on a full disk: an instance is sealed in a hurry.
    pub fn set_instance_state(&self, caller: Caller, id: NodeId, state: InstanceState) -> Result<(), VaultError> {
        let outcome =
            self.change_instance(caller, id, Some(Reservation::standing()), |instance| instance.state = state);
        if state == InstanceState::Unavailable && is_made(&outcome) {
            self.keyring.forget_keys_of(id);
            self.read_lately.clear();
        }
        outcome
    }

    /// Shares the instance with these accounts, and no others.
    ///
    /// # Errors
    /// Where that lets in more than the quota allows.
    pub fn set_shares(&self, caller: Caller, id: NodeId, shares: BTreeSet<Account>) -> Result<(), VaultError> {
        self.change_instance(caller, id, None, |instance| instance.shares = shares)
    }

    /// Sets how many other accounts may be let in. Those that are stay.
    pub fn set_quota(&self, caller: Caller, id: NodeId, quota: Quota) -> Result<(), VaultError> {
        self.change_instance(caller, id, None, |instance| instance.quota = quota)
    }

    /// One change of an instance's record, committed.
    fn change_instance(
        &self,
        caller: Caller,
        id: NodeId,
        room: Option<Reservation>,
        change: impl FnOnce(&mut Instance),
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let mut after = loaded.as_instance().ok_or(Refusal::NoSuchInstance)?.clone();
        change(&mut after);
        after.changed = self.now();
        let mut batch = Batch::new(&ledger, Purpose::new(Action::UpdateInstance, self.target(&loaded)));
        batch.put(id, loaded.place(), Node::Instance(after), Some(&loaded));
        self.commit(&mut ledger, batch, caller, room)
    }
}
