//! The verbs on names: making and removing instances and directories, and who may use them.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::audited::Purpose;
use super::batch::Batch;
use super::ledger::Ledger;
use super::load::Domain;
use super::node::{NEW_DIR_MODE, NEW_VALUE_MODE};
use super::{Access, Caller, Directory, Loaded, Node, SecretNode, Vault, VaultError};
use crate::audit::Target;
use crate::id::NodeId;
use crate::secret::{Account, Action, Component, Refusal, Secret, SecretName};
use crate::store::{Place, Reservation};
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
        let owner = Ownership::of(caller, mode & NEW_DIR_MODE);
        let id = self.put_directory(&mut batch, (instance_id, parent.id()), full.clone(), owner, now)?;
        let instance = self.existing(instance_id)?;
        let key = instance.as_instance().ok_or(VaultError::Unreadable { node: instance_id })?.default_key;
        let secret = batch.new_nodes(1)?;
        self.put_draft(&mut batch, instance_id, id, secret, Secret::draft(full, key, now).made_by(caller.account))?;
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
        Ownership { access, account }: Ownership,
        now: Timestamp,
    ) -> Result<NodeId, VaultError> {
        let id = batch.new_nodes(1)?;
        let index = self.index(scope, Domain::Directory, name.last())?;
        let node = Node::Directory(Directory {
            name,
            access,
            created: now,
            changed: now,
            account,
            passages: 0,
            was_opened: false,
        });
        batch.put(id, Place { scope, parent, index }, node, None);
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
        batch.put(id, Place { scope, parent: directory, index }, node, None);
        Ok(())
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
        batch.delete(&directory);
        if !scheduled {
            batch.delete(&loaded);
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
            Node::Key(_) | Node::Secret(_) | Node::Rotation(_) => return Err(Refusal::FixedEntry.into()),
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

    /// One record for another, alone in its commit.
    pub(super) fn replace(
        &self,
        ledger: &mut MutexGuard<'_, Ledger>,
        caller: Caller,
        action: Action,
        old: &Arc<Loaded>,
        node: Node,
    ) -> Result<(), VaultError> {
        let mut batch = Batch::new(ledger, Purpose::new(action, self.target(old)));
        batch.put(old.id(), old.place(), node, Some(old));
        self.commit(ledger, batch, caller, None)
    }

    /// Notes in `batch` that the list of names in `id` has changed.
    pub(super) fn touch(&self, batch: &mut Batch, id: NodeId, now: Timestamp) -> Result<(), VaultError> {
        self.amend(batch, id, |node| match node {
            Node::Root(root) => root.changed = now,
            Node::Instance(instance) => instance.changed = now,
            Node::Directory(directory) => directory.changed = now,
            Node::Key(_) | Node::Secret(_) | Node::Rotation(_) => {}
        })
    }
}

/// Whose a directory is to be.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    pub access: Access,
    pub account: Option<Account>,
}

impl Ownership {
    /// Of what `caller` makes.
    pub fn of(caller: Caller, dir_mode: u16) -> Self {
        Self { access: new_access(caller, dir_mode), account: caller.account }
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
