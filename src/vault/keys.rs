//! The verbs on keys: making one, its versions, and whether it may be used.
//!
//! A key's material stands in wraps of its node, one for each version; the record says which of them wraps new data keys. A state
//! takes effect on values alone: each is sealed and opened only after the key's record was asked, however long its file was open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::audited::Purpose;
use super::batch::Batch;
use super::error::is_made;
use super::load::Domain;
use super::node::keys_list;
use super::{Caller, Key, Loaded, Node, Vault, VaultError};
use crate::audit::Target;
use crate::crypto::{Cmk, NodeKeys};
use crate::id::NodeId;
use crate::secret::{
    self, Action, KEY_VERSIONS_MAX, KeyName, KeyOrder, KeyState, KeyWindow, KeyWord, Policy, RecoveryWindow, Refusal,
    Secret,
};
use crate::store::{Index, Place, Reservation, RowId, Store as _};
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
        policy: Option<Policy>,
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
        let policy = self.own_key_policy(policy, &loaded)?;
        let key = Key { policy, ..new_key(name, description, self.now()) };
        self.put_key(&mut batch, &keys, instance, id, key)?;
        self.commit(&mut ledger, batch, caller, None)?;
        self.existing(id)
    }

    /// The record of a new key, and its first material.
    pub(super) fn put_key(
        &self,
        batch: &mut Batch,
        keys: &Arc<NodeKeys>,
        instance: NodeId,
        id: NodeId,
        key: Key,
    ) -> Result<(), VaultError> {
        let material = RowId { node: id, no: key.primary() };
        self.add_material(batch, instance, material)?;
        let index = Index(keys.index(Domain::Key.label(), key.name.as_str().as_bytes()));
        let place = Place { scope: instance, parent: keys_list(instance), index };
        batch.put_sealed_by(keys, id, place, Node::Key(key));
        Ok(())
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
        key.changed = self.now();
        key.versions.push(key.changed);
        let mut batch = Batch::new(&ledger, Purpose::new(Action::RotateKey, self.target(&loaded)));
        self.add_material(&mut batch, loaded.instance_id(), RowId { node: id, no: key.primary() })?;
        batch.put(id, loaded.place(), Node::Key(key), Some(&loaded));
        let outcome = self.commit(&mut ledger, batch, caller, None);
        if is_made(&outcome) {
            self.rewraps.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// EnableKey, DisableKey, ScheduleKeyDeletion and CancelKeyDeletion. It must be possible on a full disk: a key is disabled in a
    /// hurry.
    pub fn set_key_state(&self, caller: Caller, id: NodeId, order: KeyOrder) -> Result<(), VaultError> {
        let action = match order {
            KeyOrder::Enable => Action::EnableKey,
            KeyOrder::Disable => Action::DisableKey,
            KeyOrder::Schedule { .. } => Action::ScheduleKeyDeletion,
            KeyOrder::Cancel => Action::CancelKeyDeletion,
        };
        let is_default = self.is_default_key(&*self.existing(id)?)?;
        self.change_key(caller, action, id, Some(Reservation::standing()), |key| after(key, order, is_default))
    }

    /// Has the key be what `word` says, as it is written to its `state`.
    pub fn write_key_state(&self, caller: Caller, id: NodeId, word: KeyWord) -> Result<(), VaultError> {
        let order = self.order_of(&*self.existing(id)?, word)?;
        self.set_key_state(caller, id, order)
    }

    /// Whether [`Vault::write_key_state`] would be refused.
    pub fn check_key_word(&self, id: NodeId, word: KeyWord) -> Result<(), VaultError> {
        let loaded = self.existing(id)?;
        let key = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?.clone();
        after(key, self.order_of(&loaded, word)?, self.is_default_key(&loaded)?)?;
        Ok(())
    }

    /// What `word` asks of the key `loaded`.
    fn order_of(&self, loaded: &Loaded, word: KeyWord) -> Result<KeyOrder, VaultError> {
        let key = loaded.as_key().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        Ok(match word {
            KeyWord::Enabled if key.state.is_pending() => KeyOrder::Cancel,
            KeyWord::Enabled => KeyOrder::Enable,
            KeyWord::Disabled => KeyOrder::Disable,
            KeyWord::PendingDeletion => {
                let instance = self.existing(loaded.instance_id())?;
                let window =
                    instance.as_instance().map_or(RecoveryWindow::DEFAULT, |instance| instance.recovery_window);
                KeyOrder::Schedule { due: KeyWindow::of_days(window.days())?.end(self.moment()?), forced: false }
            }
        })
    }

    /// The end of a key whose window is over: its material is overwritten, and no copy of it stays in the store's files. Irreversible.
    pub fn destroy_key(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let outcome = self.end_key(caller, id);
        if is_made(&outcome) {
            let _ledger = self.ledger()?;
            self.shred_behind_purge();
        }
        outcome
    }

    /// The same, but for the copies.
    pub(super) fn end_key(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let key = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?;
        secret::may_be_destroyed(key.state, self.moment()?)?;
        secret::may_be_deleted(key.state, key.uses, self.is_default_key(&loaded)?)?;
        let mut batch = Batch::new(&ledger, Purpose::new(Action::DestroyKey, self.target(&loaded)));
        for no in 1..=key.primary() {
            let material = RowId { node: id, no };
            // One that was lost before is not in the way.
            if self.store.wrap(material)?.is_some() {
                self.delete_wrap(&mut batch, material)?;
            }
        }
        if key.uses == 0 {
            batch.delete(&loaded);
        } else {
            // What it wrapped goes some at a time, and the record then: it says that there is something to go.
            let key = Key { state: KeyState::Destroyed, changed: self.now(), ..key.clone() };
            batch.put(id, loaded.place(), Node::Key(key), Some(&loaded));
        }
        let outcome = self.commit(&mut ledger, batch, caller, Some(Reservation::standing()));
        if is_made(&outcome) {
            self.keyring.forget_key(id);
            self.rewraps.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// Whether new secrets of its instance get the key unless another one is chosen.
    pub(super) fn is_default_key(&self, key: &Loaded) -> Result<bool, VaultError> {
        let instance = self.existing(key.instance_id())?;
        Ok(instance.as_instance().is_some_and(|instance| instance.default_key == key.id()))
    }

    /// UpdateKeyDescription.
    pub fn set_key_description(&self, caller: Caller, id: NodeId, text: &str) -> Result<(), VaultError> {
        self.change_key(caller, Action::UpdateKeyDescription, id, Some(Reservation::standing()), |key| {
            if key.state.is_pending() {
                return Err(Refusal::KeyPendingDeletion);
            }
            Ok(Key { description: secret::description(text.as_bytes())?.to_owned(), ..key })
        })
    }

    /// Whether values of `secret` can be opened, and new ones sealed: under its key as it is now, in its instance as that is.
    pub fn key_is_usable(&self, secret: &Secret) -> Result<(), VaultError> {
        let loaded = self.node(secret.key)?.ok_or(Refusal::KeyGone)?;
        let instance = self.existing(loaded.instance_id())?;
        instance.as_instance().ok_or(VaultError::Unreadable { node: instance.id() })?.state.usable()?;
        Ok(loaded.as_key().ok_or(VaultError::Unreadable { node: secret.key })?.state.usable()?)
    }

    /// One decision on a key, committed.
    pub(super) fn change_key<E: Into<VaultError>>(
        &self,
        caller: Caller,
        action: Action,
        id: NodeId,
        room: Option<Reservation>,
        decide: impl FnOnce(Key) -> Result<Key, E>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let before = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?;
        let mut after = decide(before.clone()).map_err(Into::into)?;
        if after == *before {
            return Ok(());
        }
        after.changed = self.now();
        let mut batch = Batch::new(&ledger, Purpose::new(action, self.target(&loaded)));
        batch.put(id, loaded.place(), Node::Key(after), Some(&loaded));
        self.commit(&mut ledger, batch, caller, room)
    }
}

/// What `key` is once `order` was given.
fn after(key: Key, order: KeyOrder, is_default: bool) -> Result<Key, Refusal> {
    let state = key.state.after(order)?;
    if state.is_pending() {
        secret::may_be_deleted(state, key.uses, is_default)?;
    }
    Ok(Key { state, ..key })
}

/// A key that may be used at once.
pub(super) fn new_key(name: KeyName, description: String, now: Timestamp) -> Key {
    let (state, versions) = (KeyState::Enabled, vec![now]);
    Key {
        name,
        description,
        created: now,
        changed: now,
        state,
        versions,
        oldest: FIRST_KEY_VERSION,
        policy: None,
        uses: 0,
    }
}
