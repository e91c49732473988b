//! The verbs on keys: making one, its versions, and whether it may be used.
//!
//! A key's material stands in wraps of its node, one for each version; the record says which of them wraps new data keys. A state
//! takes effect on values alone: each is sealed and opened only after the key's record was asked, however long its file was open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::audited::Purpose;
use super::error::is_made;
use super::ledger::Batch;
use super::load::Domain;
use super::node::keys_list;
use super::{Caller, Key, Loaded, Node, Vault, VaultError};
use crate::audit::Target;
use crate::crypto::{Cmk, NodeKeys};
use crate::id::NodeId;
use crate::secret::{self, Action, KEY_VERSIONS_MAX, KeyName, KeyOrder, KeyState, Refusal, Secret};
use crate::store::{Index, Place, Reservation, RowId};
use crate::time::Timestamp;

/// The version that a new key begins with.
const FIRST_KEY_VERSION: u32 = 1;

impl Vault {
    /// CreateKey: a key beside those that the instance has.
    pub fn make_key(
        &self,
        caller: Caller,
        instance: NodeId,
        name: KeyName,
        description: &str,
    ) -> Result<Arc<Loaded>, VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(instance)?;
        if self.key_named(instance, &name)?.is_some() {
            return Err(Refusal::NameTaken.into());
        }
        let description = secret::description(description.as_bytes())?.to_owned();
        let target = Target { secret: Some(format!(".keys/{}", name.as_str())), ..self.target(&loaded) };
        let mut batch = Batch::new(&ledger, Purpose::new(Action::CreateKey, target));
        let (id, keys) = (batch.new_nodes(1)?, self.keyring.scope(&self.store, instance)?);
        self.put_key(&mut batch, &keys, instance, id, new_key(name, description, self.now()))?;
        self.commit(&mut ledger, batch, caller, None)?;
        self.existing(id)
    }

    /// The record of a new key, and its first material.
    pub(super) fn put_key(
        &self,
        batch: &mut Batch,
        keys: &NodeKeys,
        instance: NodeId,
        id: NodeId,
        key: Key,
    ) -> Result<(), VaultError> {
        let material = RowId { node: id, no: key.primary() };
        self.add_material(batch, instance, material)?;
        let index = Index(keys.index(Domain::Key.label(), key.name.as_str().as_bytes()));
        let place = Place { scope: instance, parent: keys_list(instance), index };
        self.put_sealed_by(batch, keys, id, place, Node::Key(key), None)
    }

    /// Fresh material of a key, as the version that `at` names.
    fn add_material(&self, batch: &mut Batch, instance: NodeId, at: RowId) -> Result<(), VaultError> {
        let wrap = self.keyring.master.wrap_cmk(self.keyring.wrap_context(instance, at), &Cmk::generate()?)?;
        self.add_wrap(batch, at, wrap);
        Ok(())
    }

    /// RotateKey: a new version, which new values are sealed under at once, and the stored ones [before long](Vault::rewrap).
    /// The older ones are kept.
    pub fn rotate_key(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let mut key = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?.clone();
        key.state.usable()?;
        if key.versions.len() >= KEY_VERSIONS_MAX {
            return Err(Refusal::TooManyKeyVersions.into());
        }
        key.versions.push(self.now());
        let mut batch = Batch::new(&ledger, Purpose::new(Action::RotateKey, self.target(&loaded)));
        self.add_material(&mut batch, loaded.instance_id(), RowId { node: id, no: key.primary() })?;
        self.put(&mut batch, id, loaded.place(), Node::Key(key), Some(&loaded))?;
        let outcome = self.commit(&mut ledger, batch, caller, None);
        if is_made(&outcome) {
            self.rewraps.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// EnableKey and DisableKey. It must be possible on a full disk: a key is disabled in a hurry.
    pub fn set_key_state(&self, caller: Caller, id: NodeId, order: KeyOrder) -> Result<(), VaultError> {
        let action = match order {
            KeyOrder::Enable => Action::EnableKey,
            KeyOrder::Disable => Action::DisableKey,
        };
        self.change_key(caller, action, id, |key| Ok(Key { state: key.state.after(order)?, ..key }))
    }

    /// UpdateKeyDescription.
    pub fn set_key_description(&self, caller: Caller, id: NodeId, text: &str) -> Result<(), VaultError> {
        self.change_key(caller, Action::UpdateKeyDescription, id, |key| {
            if let KeyState::PendingDeletion { .. } = key.state {
                return Err(Refusal::KeyPendingDeletion);
            }
            Ok(Key { description: secret::description(text.as_bytes())?.to_owned(), ..key })
        })
    }

    /// Whether values of `secret` can be opened, and new ones sealed, under its key as it is now.
    pub fn key_is_usable(&self, secret: &Secret) -> Result<(), VaultError> {
        let loaded = self.node(secret.key)?.ok_or(VaultError::Lost { what: "a key", node: secret.key })?;
        Ok(loaded.as_key().ok_or(VaultError::Unreadable { node: secret.key })?.state.usable()?)
    }

    /// One decision on a key, committed.
    fn change_key(
        &self,
        caller: Caller,
        action: Action,
        id: NodeId,
        decide: impl FnOnce(Key) -> Result<Key, Refusal>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let before = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?;
        let mut after = decide(before.clone())?;
        if after == *before {
            return Ok(());
        }
        after.changed = self.now();
        let mut batch = Batch::new(&ledger, Purpose::new(action, self.target(&loaded)));
        self.put(&mut batch, id, loaded.place(), Node::Key(after), Some(&loaded))?;
        self.commit(&mut ledger, batch, caller, Some(Reservation::standing()))
    }
}

/// A key that may be used at once.
pub(super) fn new_key(name: KeyName, description: String, now: Timestamp) -> Key {
    let (state, versions) = (KeyState::Enabled, vec![now]);
    Key { name, description, created: now, changed: now, state, versions, oldest: FIRST_KEY_VERSION }
}
