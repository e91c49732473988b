//! The verbs on secrets: each loads the record, lets `secret` decide, and commits what it decided.

use std::sync::Arc;

use super::ledger::{Batch, Ledger};
use super::load::Domain;
use super::node::trash_list;
use super::tree::full_name;
use super::{Caller, Loaded, Node, SecretNode, Vault, VaultError};
use crate::id::{NodeId, VersionNo};
use crate::secret::{
    self, Change, Component, KeyName, PutOutcome, RecoveryWindow, Refusal, Secret, SecretName, StageLabel, Tags,
    VersionId,
};
use crate::store::{Place, Reservation};
use crate::value::Value;

/// What a writer has brought for a new version.
pub struct Draft<'a> {
    /// The version's id; `None` takes the next `v<n>`.
    pub id: Option<VersionId>,
    /// A number that was promised to the writer when it opened the file.
    pub no: Option<VersionNo>,
    /// The bytes; with `append`, those that go behind the current value.
    pub bytes: &'a Value,
    pub append: bool,
    /// Room on the disk, taken when the bytes came.
    pub room: Option<Reservation>,
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A new version.
    Added(VersionNo),
    /// The version was there already with these very bytes.
    Replayed(VersionNo),
}

/// Sealed bytes that one version's commit may take beside the value itself: records, wraps, head.
const COMMIT_OVERHEAD: usize = 16 * 1024;

impl Vault {
    /// Holds room for the commit of one value of any size, so that a full disk is known before the value is complete.
    pub fn reserve(&self) -> Result<Reservation, VaultError> {
        Ok(self.store.reserve(secret::VALUE_MAX + COMMIT_OVERHEAD)?)
    }

    /// PutSecretValue, and CreateSecret for a draft: all at once, or nothing.
    pub fn put_value(&self, caller: Caller, id: NodeId, draft: Draft<'_>) -> Result<Written, VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        self.put_into(&mut ledger, caller, &loaded, &record, loaded.place(), draft)
    }

    /// RestoreSecret and PutSecretValue in one: a scheduled secret comes back to where its name says with the new value, or
    /// stays as it was.
    pub fn restore_with_value(&self, caller: Caller, id: NodeId, draft: Draft<'_>) -> Result<Written, VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        let record = secret::restore(&record, self.now())?.secret;
        let (parent, name) = self.parent_of(loaded.instance_id(), &record.name)?.ok_or(Refusal::NotFound)?;
        let directory = self.directory_named(&parent, &name)?.ok_or(Refusal::NotFound)?;
        let place = self.place_in(directory.id(), loaded.instance_id())?;
        self.put_into(&mut ledger, caller, &loaded, &record, place, draft)
    }

    /// Puts a value into the secret `loaded`, which is as `record` says and is to stand at `place`.
    fn put_into(
        &self,
        ledger: &mut Ledger,
        caller: Caller,
        loaded: &Loaded,
        record: &Secret,
        place: Place,
        draft: Draft<'_>,
    ) -> Result<Written, VaultError> {
        let id = loaded.id();
        let appended = if draft.append { self.appended(loaded, record, draft.bytes)? } else { None };
        let value = appended.as_ref().unwrap_or(draft.bytes);
        let no = self.number_for(id, record, draft.no)?;
        let request = secret::Put { id: draft.id, no: Some(no), bytes: value.as_bytes(), stages: None };
        match secret::put(record, request, self.now())? {
            PutOutcome::Replay(no) => self.replayed(loaded, record, no, value),
            PutOutcome::Added(change) => {
                let added =
                    change.added.as_ref().map(|version| version.no).ok_or(VaultError::Unreadable { node: id })?;
                let mut batch = Batch::new(ledger);
                self.add_version(&mut batch, loaded, change.secret.key, added, value)?;
                self.put_change(&mut batch, loaded, place, &change)?;
                let outcome = self.commit(ledger, batch, caller.op, draft.room);
                self.dropped(id, &change.rolled);
                outcome?;
                self.spend_version(id, added);
                Ok(Written::Added(added))
            }
        }
    }

    /// The current value with `tail` behind it; `None` where there is no current value.
    fn appended(&self, loaded: &Loaded, record: &Secret, tail: &Value) -> Result<Option<Value>, VaultError> {
        let Some(current) = record.current() else { return Ok(None) };
        let mut value = self.value(loaded, current.no)?;
        if value.len() + tail.len() > secret::VALUE_MAX {
            return Err(Refusal::ValueTooLong.into());
        }
        value.write_at(value.len(), tail.as_bytes());
        Ok(Some(value))
    }

    /// The same id again: fine with the same bytes, refused with others.
    fn replayed(&self, loaded: &Loaded, record: &Secret, no: VersionNo, value: &Value) -> Result<Written, VaultError> {
        if self.value(loaded, no)?.as_bytes() == value.as_bytes() {
            return Ok(Written::Replayed(no));
        }
        let id = record.version_no(no).map(|version| version.id.clone()).ok_or(Refusal::NoSuchVersion)?;
        Err(Refusal::VersionExists { id }.into())
    }

    /// UpdateSecretVersionStage: adds `label` to version `to`, or moves it there.
    pub fn move_stage(&self, caller: Caller, id: NodeId, label: &StageLabel, to: &VersionId) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::move_stage(record, label, to, None, now))
    }

    /// UpdateSecretVersionStage: takes a custom label away.
    pub fn remove_stage(&self, caller: Caller, id: NodeId, label: &StageLabel) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::remove_stage(record, label, now))
    }

    /// Puts label `to` where label `from` is, and takes `from` away, in one step.
    pub fn rename_stage(
        &self,
        caller: Caller,
        id: NodeId,
        from: &StageLabel,
        to: &StageLabel,
    ) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::rename_stage(record, from, to, now))
    }

    /// Exactly `tags`, in the place of those there are.
    pub fn set_tags(&self, caller: Caller, id: NodeId, tags: Tags) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::set_tags(record, tags, now))
    }

    /// TagResource: `tags` beside those there are.
    pub fn add_tags(&self, caller: Caller, id: NodeId, tags: &Tags) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::set_tags(record, record.tags.merge(tags)?, now))
    }

    /// UpdateSecret.
    pub fn set_description(&self, caller: Caller, id: NodeId, text: &[u8]) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, id, |record| secret::set_description(record, text, now))
    }

    /// Whether [`Vault::set_key`] would be refused.
    pub fn check_key(&self, id: NodeId, name: &KeyName) -> Result<(), VaultError> {
        let key = self.key_of(id, name)?;
        secret::set_key(&self.secret(id)?.1, key, self.now())?;
        Ok(())
    }

    /// The key named `name` in the instance of secret `id`.
    fn key_of(&self, id: NodeId, name: &KeyName) -> Result<NodeId, VaultError> {
        let instance = self.existing(id)?.instance_id();
        Ok(self.key_named(instance, name)?.ok_or_else(|| Refusal::NoSuchKey { name: name.clone() })?.id())
    }

    /// Chooses the key of a draft by its name.
    pub fn set_key(&self, caller: Caller, id: NodeId, name: &KeyName) -> Result<(), VaultError> {
        let key = self.key_of(id, name)?;
        let now = self.now();
        self.change(caller, id, |record| secret::set_key(record, key, now))
    }

    /// DeleteSecret: the secret leaves the tree for the trash, durable and restorable from then on.
    pub fn schedule_deletion(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        let instance_id = loaded.instance_id();
        let instance = self.existing(instance_id)?;
        let window = instance.as_instance().map_or(RecoveryWindow::DEFAULT, |instance| instance.recovery_window);
        let change = secret::delete(&record, window, self.now())?;
        let directory = self.existing(loaded.place().parent)?;
        let index = self.index(instance_id, Domain::Trash, record.name.as_str())?;
        let place = Place { scope: instance_id, parent: trash_list(instance_id), index };
        let node = Node::Secret(SecretNode { secret: change.secret, access: directory.access() });
        let mut batch = Batch::new(&ledger);
        self.put(&mut batch, id, place, node, Some(&loaded))?;
        self.commit(&mut ledger, batch, caller.op, None)
    }

    /// RestoreSecret, to the directory `name` in `parent`: made anew with the access the secret had, or the one that is
    /// still there.
    pub fn restore(&self, caller: Caller, id: NodeId, parent: NodeId, name: &Component) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        let parent = self.existing(parent)?;
        if parent.instance_id() != loaded.instance_id() || full_name(&parent, name)? != record.name {
            return Err(Refusal::WrongRestoreName { expected: record.name.clone() }.into());
        }
        self.restore_below(&mut ledger, caller, &loaded, &record, &parent, name)
    }

    /// RestoreSecret, to where its name says; the directories above must be there.
    pub fn restore_in_place(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        let (parent, name) = self.parent_of(loaded.instance_id(), &record.name)?.ok_or(Refusal::NotFound)?;
        self.restore_below(&mut ledger, caller, &loaded, &record, &parent, &name)
    }

    fn restore_below(
        &self,
        ledger: &mut Ledger,
        caller: Caller,
        loaded: &Loaded,
        record: &Secret,
        parent: &Loaded,
        name: &Component,
    ) -> Result<(), VaultError> {
        let now = self.now();
        let change = secret::restore(record, now)?;
        let mut batch = Batch::new(ledger);
        let directory = match self.directory_named(parent, name)? {
            Some(directory) => directory.id(),
            None => {
                let access = loaded.access().ok_or(VaultError::Unreadable { node: loaded.id() })?;
                self.touch(&mut batch, parent.id(), now)?;
                self.put_directory(&mut batch, parent, record.name.clone(), access, now)?
            }
        };
        let place = self.place_in(directory, loaded.instance_id())?;
        let node = Node::Secret(SecretNode { secret: change.secret, access: None });
        self.put(&mut batch, loaded.id(), place, node, Some(loaded))?;
        self.commit(ledger, batch, caller.op, None)
    }

    /// ForceDelete of a scheduled secret: its values and their keys are overwritten. Irreversible.
    pub fn purge(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        if record.deletion.is_none() {
            return Err(Refusal::NotScheduled.into());
        }
        let mut batch = Batch::new(&ledger);
        for version in &record.versions {
            self.drop_version(&mut batch, &loaded, version)?;
        }
        self.delete(&mut batch, &loaded);
        self.give_new_draft(&mut batch, loaded.instance_id(), &record)?;
        let outcome = self.commit(&mut ledger, batch, caller.op, None);
        self.dropped(id, &record.versions);
        outcome?;
        self.drop_pinned(id);
        Ok(self.store.shred()?)
    }

    /// A directory that outlives its purged secret, because others stand below it, gets a draft again.
    fn give_new_draft(&self, batch: &mut Batch, instance: NodeId, record: &Secret) -> Result<(), VaultError> {
        let Some((parent, name)) = self.parent_of(instance, &record.name)? else { return Ok(()) };
        let Some(directory) = self.directory_named(&parent, &name)? else { return Ok(()) };
        let id = batch.new_nodes(1)?;
        let draft = Secret::draft(record.name.clone(), record.key, self.now());
        self.put_draft(batch, instance, directory.id(), id, draft)
    }

    /// Notes that the secret's own subdirectories were removed from a draft: the kernel counts them dead, so they come
    /// again under another generation.
    pub fn renew_entries(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, mut record) = self.secret(id)?;
        record.generation = record.generation.wrapping_add(1);
        let access = loaded.as_secret().and_then(|node| node.access);
        self.replace(&mut ledger, caller, &loaded, Node::Secret(SecretNode { secret: record, access }))
    }

    /// The directory above `name`, if all of its path is there, and the last component.
    pub(super) fn parent_of(
        &self,
        instance: NodeId,
        name: &SecretName,
    ) -> Result<Option<(Arc<Loaded>, Component)>, VaultError> {
        let last = Component::parse(name.last().as_bytes())?;
        let mut parent = self.existing(instance)?;
        let Some(path) = name.parent() else { return Ok(Some((parent, last))) };
        for component in path.as_str().split('/') {
            match self.directory_named(&parent, &Component::parse(component.as_bytes())?)? {
                Some(next) => parent = next,
                None => return Ok(None),
            }
        }
        Ok(Some((parent, last)))
    }

    /// One decision on a record, committed.
    fn change(
        &self,
        caller: Caller,
        id: NodeId,
        decide: impl FnOnce(&Secret) -> Result<Change, Refusal>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger.lock();
        let (loaded, record) = self.secret(id)?;
        let change = decide(&record)?;
        if change.secret == record {
            return Ok(());
        }
        let mut batch = Batch::new(&ledger);
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        self.commit(&mut ledger, batch, caller.op, None)
    }

    /// Writes a change of a secret that is not scheduled, or no longer, to where it is to stand.
    fn put_change(&self, batch: &mut Batch, loaded: &Loaded, place: Place, change: &Change) -> Result<(), VaultError> {
        for version in &change.rolled {
            self.drop_version(batch, loaded, version)?;
        }
        let node = Node::Secret(SecretNode { secret: change.secret.clone(), access: None });
        self.put(batch, loaded.id(), place, node, Some(loaded))
    }

    /// Where the secret of `directory` stands.
    fn place_in(&self, directory: NodeId, scope: NodeId) -> Result<Place, VaultError> {
        Ok(Place { scope, parent: directory, index: self.index(scope, Domain::Secret, "")? })
    }

    fn secret(&self, id: NodeId) -> Result<(Arc<Loaded>, Secret), VaultError> {
        let loaded = self.existing(id)?;
        let record = loaded.as_secret().ok_or(VaultError::Unreadable { node: id })?.secret.clone();
        Ok((loaded, record))
    }
}
