//! The verbs that end a secret, and those that bring it back.
//!
//! Invariant: a secret that is not purged can be restored whole, whatever was deleted around it.

use std::sync::Arc;

use super::batch::Batch;
use super::error::is_made;
use super::ledger::Ledger;
use super::load::Domain;
use super::node::trash_list;
use super::tree::{Ownership, full_name};
use super::{Caller, Loaded, Node, SecretNode, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{self, Action, Component, RecoveryWindow, Refusal, Secret};
use crate::store::{Place, Reservation};

impl Vault {
    /// DeleteSecret: the secret leaves the tree for the trash, durable and restorable from then on.
    pub fn schedule_deletion(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let mut batch = Batch::new(&ledger, self.purpose(Action::DeleteSecret, id)?);
        self.put_in_trash(&mut batch, id, None)?;
        self.commit(&mut ledger, batch, caller, Some(Reservation::standing()))
    }

    /// DeleteSecret with all that `rm -r` does: with `takes_name` the name leaves the tree too, unless others stand below it. `window`
    /// is the instance's where none is given.
    pub fn delete_secret(
        &self,
        caller: Caller,
        id: NodeId,
        window: Option<RecoveryWindow>,
        takes_name: bool,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let mut batch = Batch::new(&ledger, self.purpose(Action::DeleteSecret, id)?);
        let directory = self.put_in_trash(&mut batch, id, window)?;
        if takes_name && !self.has_directories(directory.id())? {
            self.take_out(&mut batch, &directory)?;
        }
        self.commit(&mut ledger, batch, caller, Some(Reservation::standing()))
    }

    /// Moves secret `id` to the trash; the directory that it leaves.
    fn put_in_trash(
        &self,
        batch: &mut Batch,
        id: NodeId,
        window: Option<RecoveryWindow>,
    ) -> Result<Arc<Loaded>, VaultError> {
        let (loaded, record) = self.secret(id)?;
        let instance_id = loaded.instance_id();
        let instance = self.existing(instance_id)?;
        let usual = instance.as_instance().map_or(RecoveryWindow::DEFAULT, |instance| instance.recovery_window);
        let change = secret::delete(&record, window.unwrap_or(usual), self.moment()?)?;
        let directory = self.existing(loaded.place().parent)?;
        let index = self.index(instance_id, Domain::Trash, record.name.as_str())?;
        let place = Place { scope: instance_id, parent: trash_list(instance_id), index };
        let node = Node::Secret(SecretNode { secret: change.secret, access: directory.access() });
        batch.put(id, place, node, Some(&loaded));
        Ok(directory)
    }

    /// Removes a directory without anything in it.
    fn take_out(&self, batch: &mut Batch, directory: &Arc<Loaded>) -> Result<(), VaultError> {
        batch.delete(directory);
        self.touch(batch, directory.place().parent, self.now())
    }

    /// RestoreSecret, to the directory `name` in `parent`: made anew with the access the secret had, or the one that is
    /// still there.
    pub fn restore(&self, caller: Caller, id: NodeId, parent: NodeId, name: &Component) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let parent = self.existing(parent)?;
        if parent.instance_id() != loaded.instance_id() || full_name(&parent, name)? != record.name {
            return Err(Refusal::WrongRestoreName { expected: record.name.clone() }.into());
        }
        let directory = self.directory_named(&parent, name)?.map(|directory| directory.id());
        let batch = Batch::new(&ledger, self.purpose(Action::RestoreSecret, id)?);
        self.restore_into(&mut ledger, batch, caller, &loaded, (parent.id(), directory))
    }

    /// RestoreSecret, to where its name says. Directories above that are gone are made anew, the caller's own.
    pub fn restore_in_place(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let instance = self.existing(loaded.instance_id())?;
        let mut batch = Batch::new(&ledger, self.purpose(Action::RestoreSecret, id)?);
        let at = match self.directory_at(&instance, &record.name)? {
            Some(directory) => (directory.place().parent, Some(directory.id())),
            None => (self.pave(&mut batch, caller, &instance, &record.name)?, None),
        };
        self.restore_into(&mut ledger, batch, caller, &loaded, at)
    }

    /// Restores `loaded` into its directory, the second of `at`, or into a new one in the first.
    fn restore_into(
        &self,
        ledger: &mut Ledger,
        mut batch: Batch,
        caller: Caller,
        loaded: &Arc<Loaded>,
        at: (NodeId, Option<NodeId>),
    ) -> Result<(), VaultError> {
        let (now, scope) = (self.now(), loaded.instance_id());
        let node = loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        let change = secret::restore(&node.secret, now)?;
        let directory = match at {
            (_, Some(directory)) => directory,
            (parent, None) => {
                let access = node.access.ok_or(VaultError::Unreadable { node: loaded.id() })?;
                self.touch(&mut batch, parent, now)?;
                let owner = Ownership { access, account: node.secret.account };
                self.put_directory(&mut batch, (scope, parent), node.secret.name.clone(), owner, now)?
            }
        };
        let place = self.place_in(directory, scope)?;
        let node = Node::Secret(SecretNode { secret: change.secret, access: None });
        batch.put(loaded.id(), place, node, Some(loaded));
        self.commit(ledger, batch, caller, Some(Reservation::standing()))
    }

    /// ForceDelete of a scheduled secret: its values and their keys are overwritten. Irreversible.
    pub fn purge(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        if record.deletion.is_none() {
            return Err(Refusal::NotScheduled.into());
        }
        let mut batch = Batch::new(&ledger, self.purpose(Action::ForceDeleteSecret, id)?);
        self.put_end(&mut batch, &loaded, &record)?;
        self.give_new_draft(&mut batch, loaded.instance_id(), &record)?;
        let outcome = self.commit(&mut ledger, batch, caller, Some(Reservation::standing()));
        self.dropped(id, &record.versions);
        if is_made(&outcome) {
            self.drop_pinned(id);
            self.shred_behind_purge();
        }
        outcome
    }

    /// ForceDelete of a secret that is not scheduled: it is gone at once, with no way back, and with
    /// `takes_name` so is its name.
    pub fn destroy(&self, caller: Caller, id: NodeId, takes_name: bool) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        record.not_scheduled()?;
        if record.is_draft() {
            return Err(Refusal::NotFound.into());
        }
        let mut batch = Batch::new(&ledger, self.purpose(Action::ForceDeleteSecret, id)?);
        self.put_end(&mut batch, &loaded, &record)?;
        let directory = self.existing(loaded.place().parent)?;
        if !takes_name || self.has_directories(directory.id())? {
            self.give_new_draft(&mut batch, loaded.instance_id(), &record)?;
        } else {
            self.take_out(&mut batch, &directory)?;
        }
        let outcome = self.commit(&mut ledger, batch, caller, Some(Reservation::standing()));
        self.dropped(id, &record.versions);
        if is_made(&outcome) {
            self.drop_pinned(id);
            self.shred_behind_purge();
        }
        outcome
    }

    /// The end of secret `record` and of all its values, in `batch`.
    pub(super) fn put_end(&self, batch: &mut Batch, loaded: &Arc<Loaded>, record: &Secret) -> Result<(), VaultError> {
        for version in &record.versions {
            self.drop_version(batch, loaded, version)?;
        }
        batch.delete(loaded);
        Ok(())
    }

    /// A directory that outlives its purged secret, because others stand below it, gets a draft again. Its key is the instance's: nobody
    /// has chosen one for it. Answers that directory.
    pub(super) fn give_new_draft(
        &self,
        batch: &mut Batch,
        instance: NodeId,
        record: &Secret,
    ) -> Result<Option<NodeId>, VaultError> {
        let Some((parent, name)) = self.parent_of(instance, &record.name)? else { return Ok(None) };
        let Some(directory) = self.directory_named(&parent, &name)? else { return Ok(None) };
        let id = batch.new_nodes(1)?;
        let key = self.existing(instance)?.as_instance().map_or(record.key, |instance| instance.default_key);
        let draft = Secret::draft(record.name.clone(), key, self.now()).made_by(record.account);
        self.put_draft(batch, instance, directory.id(), id, draft)?;
        Ok(Some(directory.id()))
    }

    /// Notes that the secret's own subdirectories were removed from a draft: the kernel counts them dead, so they come
    /// again under other numbers.
    pub fn renew_entries(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, mut record) = self.secret(id)?;
        record.renew_entries();
        let access = loaded.as_secret().and_then(|node| node.access);
        let mut batch = Batch::new(&ledger, self.purpose(Action::UpdateSecret, id)?);
        batch.put(id, loaded.place(), Node::Secret(SecretNode { secret: record, access }), Some(&loaded));
        self.commit(&mut ledger, batch, caller, Some(Reservation::standing()))
    }
}
