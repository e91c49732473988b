//! The verbs on names: making and removing instances and directories, and who may use them.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::audited::Purpose;
use super::keyring::NODE_KEYS_NO;
use super::keys::new_key;
use super::ledger::{Batch, Ledger};
use super::load::Domain;
use super::node::{INSTANCE_NUMBERS, NEW_DIR_MODE, NEW_INSTANCE_MODE, NEW_VALUE_MODE};
use super::{Access, Caller, Directory, Instance, Loaded, Node, SecretNode, Vault, VaultError};
use crate::audit::Target;
use crate::crypto::NodeKeys;
use crate::id::NodeId;
use crate::secret::{Action, Component, InstanceName, KeyName, RecoveryWindow, Refusal, Secret, SecretName};
use crate::store::{Place, Reservation, RowId};
use crate::time::Timestamp;

/// A change of owner, group or permission bits; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessChange {
    /// The new owner.
    pub uid: Option<u32>,
    /// The new group.
    pub gid: Option<u32>,
    /// The directory's new bits; none but rwx are kept.
    pub dir_mode: Option<u16>,
    /// The new bits of the secret's values; none but r and w are kept.
    pub value_mode: Option<u16>,
}

/// The permission bits that a directory keeps; set-id and sticky bits mean nothing here.
const DIR_BITS: u16 = 0o777;
/// The permission bits that a value keeps: a secret is never executed.
const VALUE_BITS: u16 = 0o666;

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
        };
        self.put(&mut batch, id, place, Node::Instance(instance), None)?;
        self.put_new_keys(&mut batch, id, key, now)?;
        self.touch(&mut batch, NodeId::ROOT, now)?;
        self.commit(&mut ledger, batch, caller, None)?;
        self.existing(id)
    }

    /// The keys of a new instance: those of its records, and the CMK `default`.
    fn put_new_keys(&self, batch: &mut Batch, instance: NodeId, key: NodeId, now: Timestamp) -> Result<(), VaultError> {
        let own = RowId { node: instance, no: NODE_KEYS_NO };
        let keys = NodeKeys::generate()?;
        let wrap = self.keyring.master.wrap_node_keys(self.keyring.wrap_context(instance, own), &keys)?;
        self.add_wrap(batch, own, wrap);
        self.put_key(batch, &keys, instance, key, new_key(KeyName::default_key(), String::new(), now))
    }

    /// Makes the directory `name` in `parent` (an instance or a directory), with the draft of a secret.
    pub fn make_directory(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Component,
        mode: u16,
    ) -> Result<Arc<Loaded>, VaultError> {
        let mut ledger = self.ledger()?;
        let parent = self.existing(parent)?;
        let full = full_name(&parent, name)?;
        let instance_id = parent.instance_id();
        if self.directory_named(&parent, name)?.is_some() {
            return Err(Refusal::NameTaken.into());
        }
        if self.trashed(instance_id, &full)?.is_some() {
            return Err(Refusal::NameScheduled.into());
        }
        let now = self.now();
        let target = Target { secret: Some(full.as_str().to_owned()), ..self.target(&parent) };
        let mut batch = Batch::new(&ledger, Purpose::new(Action::CreateSecret, target));
        let access = new_access(caller, mode & NEW_DIR_MODE);
        let id = self.put_directory(&mut batch, (instance_id, parent.id()), full.clone(), access, now)?;
        let instance = self.existing(instance_id)?;
        let key = instance.as_instance().ok_or(VaultError::Unreadable { node: instance_id })?.default_key;
        let secret = batch.new_nodes(1)?;
        self.put_draft(&mut batch, instance_id, id, secret, Secret::draft(full, key, now))?;
        self.touch(&mut batch, parent.id(), now)?;
        self.commit(&mut ledger, batch, caller, None)?;
        self.existing(id)
    }

    /// A new directory in `parent`, of the scope of an instance.
    pub(super) fn put_directory(
        &self,
        batch: &mut Batch,
        (scope, parent): (NodeId, NodeId),
        name: SecretName,
        access: Access,
        now: Timestamp,
    ) -> Result<NodeId, VaultError> {
        let id = batch.new_nodes(1)?;
        let index = self.index(scope, Domain::Directory, name.last())?;
        let node = Node::Directory(Directory { name, access, created: now, changed: now });
        self.put(batch, id, Place { scope, parent, index }, node, None)?;
        Ok(id)
    }

    pub(super) fn put_draft(
        &self,
        batch: &mut Batch,
        scope: NodeId,
        directory: NodeId,
        id: NodeId,
        secret: Secret,
    ) -> Result<(), VaultError> {
        let index = self.index(scope, Domain::Secret, "")?;
        let node = Node::Secret(SecretNode { secret, access: None });
        self.put(batch, id, Place { scope, parent: directory, index }, node, None)
    }

    /// Removes a directory that holds no live secret and no other directory; a draft goes with it. A scheduled secret stays
    /// in the trash.
    pub fn remove_directory(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let directory = self.existing(id)?;
        if directory.as_directory().is_none() {
            return Err(Refusal::FixedEntry.into());
        }
        let loaded = self.secret_of(&directory)?;
        let secret = &loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?.secret;
        let scheduled = secret.deletion.is_some();
        if self.has_directories(id)? || !(scheduled || secret.is_draft()) {
            return Err(Refusal::NotEmpty.into());
        }
        let mut batch = Batch::new(&ledger, Purpose::new(Action::DeleteSecret, self.target(&directory)));
        self.delete(&mut batch, &directory);
        if !scheduled {
            self.delete(&mut batch, &loaded);
        }
        self.touch(&mut batch, directory.place().parent, self.now())?;
        self.commit(&mut ledger, batch, caller, Some(Reservation::standing()))
    }

    /// Gives the root, an instance or a directory another owner or other bits.
    pub fn set_access(&self, caller: Caller, id: NodeId, change: AccessChange) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let now = self.now();
        let mut node = loaded.node.clone();
        let (access, changed) = match &mut node {
            Node::Root(root) => (&mut root.access, Some(&mut root.changed)),
            Node::Instance(instance) => (&mut instance.access, Some(&mut instance.changed)),
            Node::Directory(directory) => (&mut directory.access, Some(&mut directory.changed)),
            Node::Key(_) | Node::Secret(_) => return Err(Refusal::FixedEntry.into()),
        };
        access.uid = change.uid.unwrap_or(access.uid);
        access.gid = change.gid.unwrap_or(access.gid);
        access.dir_mode = change.dir_mode.map_or(access.dir_mode, |mode| mode & DIR_BITS);
        access.value_mode = change.value_mode.map_or(access.value_mode, |mode| mode & VALUE_BITS);
        if let Some(changed) = changed {
            *changed = now;
        }
        let action = if loaded.as_directory().is_some() { Action::UpdateSecret } else { Action::UpdateInstance };
        self.replace(&mut ledger, caller, action, &loaded, node)
    }

    /// Sets the days that a deletion of the instance's secrets waits.
    pub fn set_recovery_window(&self, caller: Caller, id: NodeId, window: RecoveryWindow) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let loaded = self.existing(id)?;
        let mut instance = loaded.as_instance().ok_or(Refusal::NoSuchInstance)?.clone();
        instance.recovery_window = window;
        instance.changed = self.now();
        self.replace(&mut ledger, caller, Action::UpdateInstance, &loaded, Node::Instance(instance))
    }

    /// One record for another, alone in its commit.
    pub(super) fn replace(
        &self,
        ledger: &mut MutexGuard<'_, Ledger>,
        caller: Caller,
        action: Action,
        old: &Loaded,
        node: Node,
    ) -> Result<(), VaultError> {
        let mut batch = Batch::new(ledger, Purpose::new(action, self.target(old)));
        self.put(&mut batch, old.id(), old.place(), node, Some(old))?;
        self.commit(ledger, batch, caller, None)
    }

    /// Notes in `batch` that the list of names in `id` has changed.
    pub(super) fn touch(&self, batch: &mut Batch, id: NodeId, now: Timestamp) -> Result<(), VaultError> {
        let loaded = self.existing(id)?;
        let mut node = loaded.node.clone();
        match &mut node {
            Node::Root(root) => root.changed = now,
            Node::Instance(instance) => instance.changed = now,
            Node::Directory(directory) => directory.changed = now,
            Node::Key(_) | Node::Secret(_) => return Ok(()),
        }
        self.put(batch, id, loaded.place(), node, Some(&loaded))
    }
}

/// The access of what `caller` makes.
pub(super) fn new_access(caller: Caller, dir_mode: u16) -> Access {
    Access { uid: caller.uid, gid: caller.gid, dir_mode, value_mode: NEW_VALUE_MODE }
}

/// The secret's name that `name` in `parent` stands for.
pub(super) fn full_name(parent: &Loaded, name: &Component) -> Result<SecretName, VaultError> {
    let full = match parent.as_directory() {
        Some(directory) => directory.name.join(name)?,
        None => SecretName::top(name.clone())?,
    };
    Ok(full)
}
