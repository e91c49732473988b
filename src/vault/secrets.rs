//! The verbs on secrets: each loads the record, lets `secret` decide, and commits what it decided.

use std::sync::Arc;

use super::audited::Purpose;
use super::batch::Batch;
use super::error::is_made;
use super::ledger::Ledger;
use super::load::Domain;
use super::members::{Made, MemberChange, MemberDraft};
use super::{Caller, Loaded, Node, SecretNode, Vault, VaultError};
use crate::id::{NodeId, VersionNo};
use crate::secret::{
    self, Action, Change, Component, DataType, KeyName, PutOutcome, Refusal, Secret, SecretName, StageLabel, Tags,
    VersionId,
};
use crate::store::{Place, Reservation, Store as _};
use crate::value::Value;

/// What a writer has brought for a new version.
pub struct Draft<'a> {
    /// The version's id; `None` takes the next `v<n>`.
    pub id: Option<VersionId>,
    /// A number that was promised to the writer when it opened the file.
    pub no: Option<VersionNo>,
    /// The bytes; with `append`, those that go behind the current value.
    pub bytes: &'a Value,
    /// Whether the version is the current value with the bytes behind it. Without a current value it is the bytes.
    pub append: bool,
    /// The one member of the current value that the bytes are; all others stay.
    pub member: Option<MemberDraft>,
    /// Room on the disk, taken when the bytes came.
    pub room: Option<Reservation>,
    /// Labels for the version; `None` is ACSCurrent alone.
    pub stages: Option<Vec<StageLabel>>,
    /// As it was declared; `None` tells it from the bytes.
    pub kind: Option<DataType>,
    /// The version that has to be at ACSCurrent; `None` is whichever.
    pub if_current: Option<VersionId>,
}

impl<'a> Draft<'a> {
    /// The next `v<n>`, current at once.
    pub fn of(bytes: &'a Value) -> Self {
        Self {
            id: None,
            no: None,
            bytes,
            append: false,
            member: None,
            room: None,
            stages: None,
            kind: None,
            if_current: None,
        }
    }
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
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        self.put_into(&mut ledger, caller, &loaded, &record, loaded.place(), draft)
    }

    /// RestoreSecret and PutSecretValue in one: a scheduled secret comes back to where its name says with the new value, or
    /// stays as it was.
    pub fn restore_with_value(&self, caller: Caller, id: NodeId, draft: Draft<'_>) -> Result<Written, VaultError> {
        let mut ledger = self.ledger()?;
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
        loaded: &Arc<Loaded>,
        record: &Secret,
        place: Place,
        draft: Draft<'_>,
    ) -> Result<Written, VaultError> {
        let id = loaded.id();
        let made = match &draft.member {
            Some(member) => match self.with_member(loaded, record, &draft, member)? {
                Made::Value(value) => Some(value),
                Made::Same(no) => {
                    record.not_scheduled()?;
                    self.tell_of_replay(caller, loaded, no, Some(&member.name))?;
                    return Ok(Written::Replayed(no));
                }
            },
            None if draft.append => self.appended(loaded, record, draft.bytes)?,
            None => None,
        };
        let value = made.as_ref().unwrap_or(draft.bytes);
        let no = self.number_for(id, record, draft.no)?;
        let request = secret::Put {
            id: draft.id,
            no: Some(no),
            bytes: value.as_bytes(),
            stages: draft.stages,
            kind: draft.kind,
            if_current: draft.if_current,
        };
        match secret::put(record, request, self.now())? {
            PutOutcome::Replay(no) => self.replayed(caller, loaded, record, no, value),
            PutOutcome::Added(change) => {
                may_roll(&change, draft.member.as_ref())?;
                let added =
                    change.added.as_ref().map(|version| version.no).ok_or(VaultError::Unreadable { node: id })?;
                let action =
                    match (record.is_draft(), loaded.as_secret().is_some_and(|node| node.secret.deletion.is_some())) {
                        (true, _) => Action::CreateSecret,
                        (false, true) => Action::RestoreSecret,
                        (false, false) => Action::PutSecretValue,
                    };
                let mut target = self.target(loaded);
                target.version = change.secret.version_no(added).map(|version| version.id.as_str().to_owned());
                target.member = draft.member.as_ref().map(|member| member.name.as_str().to_owned());
                let mut batch = Batch::new(ledger, Purpose::new(action, target));
                self.add_version(&mut batch, loaded.instance_id(), id, change.secret.key, added, value)?;
                self.put_change(&mut batch, loaded, place, &change)?;
                let outcome = self.commit(ledger, batch, caller, draft.room);
                self.dropped(id, &change.rolled);
                if is_made(&outcome) {
                    self.spend_version(id, added);
                }
                outcome.map(|()| Written::Added(added))
            }
        }
    }

    /// The current value with `tail` behind it; `None` where there is no current value.
    fn appended(&self, loaded: &Loaded, record: &Secret, tail: &Value) -> Result<Option<Value>, VaultError> {
        let Some(current) = record.current() else { return Ok(None) };
        let mut value = self.undisclosed(loaded, current.no)?;
        if value.len() + tail.len() > secret::VALUE_MAX {
            return Err(Refusal::ValueTooLong.into());
        }
        value.write_at(value.len(), tail.as_bytes());
        Ok(Some(value))
    }

    /// The same id again: fine with the same bytes, refused with others.
    fn replayed(
        &self,
        caller: Caller,
        loaded: &Loaded,
        record: &Secret,
        no: VersionNo,
        value: &Value,
    ) -> Result<Written, VaultError> {
        if self.undisclosed(loaded, no)?.as_bytes() == value.as_bytes() {
            self.tell_of_replay(caller, loaded, no, None)?;
            return Ok(Written::Replayed(no));
        }
        let id = record.version_no(no).map(|version| version.id.clone()).ok_or(Refusal::NoSuchVersion)?;
        Err(Refusal::VersionExists { id }.into())
    }

    /// UpdateSecretVersionStage: adds `label` to version `to`, or moves it there, from version `from`
    /// if one is given.
    pub fn move_stage(
        &self,
        caller: Caller,
        id: NodeId,
        label: &StageLabel,
        to: &VersionId,
        from: Option<&VersionId>,
    ) -> Result<(), VaultError> {
        let now = self.now();
        self.change_from_reserve(caller, Action::UpdateSecretVersionStage, id, |record| {
            secret::move_stage(record, label, to, from, now)
        })
    }

    /// UpdateSecretVersionStage: takes a custom label away, from version `from` if one is given.
    pub fn remove_stage(
        &self,
        caller: Caller,
        id: NodeId,
        label: &StageLabel,
        from: Option<&VersionId>,
    ) -> Result<(), VaultError> {
        let now = self.now();
        self.change_from_reserve(caller, Action::UpdateSecretVersionStage, id, |record| {
            secret::remove_stage(record, label, from, now)
        })
    }

    /// The end of version `version` of secret `id`, also for whoever has it open: its value and its key are overwritten.
    pub fn destroy_version(&self, caller: Caller, id: NodeId, version: &VersionId) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let change = secret::destroy_version(&record, version, self.now())?;
        let mut target = self.target(&loaded);
        target.version = Some(version.as_str().to_owned());
        let mut batch = Batch::new(&ledger, Purpose::new(Action::DestroySecretVersion, target));
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        let outcome = self.commit(&mut ledger, batch, caller, Some(Reservation::standing()));
        self.dropped(id, &change.rolled);
        if is_made(&outcome) {
            change.rolled.iter().for_each(|gone| self.drop_pinned_version(id, gone.no));
            self.shred_behind_purge();
        }
        outcome
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
        self.change_from_reserve(caller, Action::UpdateSecretVersionStage, id, |record| {
            secret::rename_stage(record, from, to, now)
        })
    }

    /// Exactly `tags`, in the place of those there are.
    pub fn set_tags(&self, caller: Caller, id: NodeId, tags: Tags) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, Action::TagResource, id, |record| secret::set_tags(record, tags, now))
    }

    /// TagResource: `tags` beside those there are.
    pub fn add_tags(&self, caller: Caller, id: NodeId, tags: &Tags) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, Action::TagResource, id, |record| secret::set_tags(record, record.tags.merge(tags)?, now))
    }

    /// TagResources and UntagResources: each of the secrets gets the tags that `decide` makes of its own, or none does.
    pub fn change_tags(
        &self,
        caller: Caller,
        action: Action,
        ids: &[NodeId],
        decide: impl Fn(&Tags) -> Result<Tags, Refusal>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (now, mut batch) = (self.now(), Batch::new(&ledger, Purpose::of_many(action)));
        for id in ids {
            let (loaded, record) = self.secret(*id)?;
            batch.also_for(self.target(&loaded));
            let change = secret::set_tags(&record, decide(&record.tags)?, now)?;
            if change.secret != record {
                self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.commit(&mut ledger, batch, caller, None) }
    }

    /// UpdateSecret.
    pub fn set_description(&self, caller: Caller, id: NodeId, text: &[u8]) -> Result<(), VaultError> {
        let now = self.now();
        self.change(caller, Action::UpdateSecret, id, |record| secret::set_description(record, text, now))
    }

    /// Whether [`Vault::set_key`] would be refused.
    pub fn check_key(&self, id: NodeId, name: &KeyName) -> Result<(), VaultError> {
        self.choose_key(id, name, &self.secret(id)?.1).map(drop)
    }

    /// What `record`, of secret `id`, is once the key named `name` was chosen for it. One that is to be destroyed cannot be.
    fn choose_key(&self, id: NodeId, name: &KeyName, record: &Secret) -> Result<Change, VaultError> {
        let instance = self.existing(id)?.instance_id();
        let key = self.key_named(instance, name)?.ok_or_else(|| Refusal::NoSuchKey { name: name.clone() })?;
        let change = secret::set_key(record, key.id(), self.now())?;
        if change.secret.key != record.key {
            key.as_key().map_or(Ok(()), |key| key.state.may_be_chosen())?;
        }
        Ok(change)
    }

    /// Chooses the key of a draft by its name.
    pub fn set_key(&self, caller: Caller, id: NodeId, name: &KeyName) -> Result<(), VaultError> {
        self.change_in(caller, Action::UpdateSecret, id, None, |record| self.choose_key(id, name, record))
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

    /// As [`Vault::change`], where it must be possible on a full disk.
    fn change_from_reserve(
        &self,
        caller: Caller,
        action: Action,
        id: NodeId,
        decide: impl FnOnce(&Secret) -> Result<Change, Refusal>,
    ) -> Result<(), VaultError> {
        self.change_in(caller, action, id, Some(Reservation::standing()), decide)
    }

    /// One decision on a record, committed.
    pub(super) fn change(
        &self,
        caller: Caller,
        action: Action,
        id: NodeId,
        decide: impl FnOnce(&Secret) -> Result<Change, Refusal>,
    ) -> Result<(), VaultError> {
        self.change_in(caller, action, id, None, decide)
    }

    pub(super) fn change_in<E: Into<VaultError>>(
        &self,
        caller: Caller,
        action: Action,
        id: NodeId,
        room: Option<Reservation>,
        decide: impl FnOnce(&Secret) -> Result<Change, E>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let change = decide(&record).map_err(Into::into)?;
        if change.secret == record {
            return Ok(());
        }
        let mut batch = Batch::new(&ledger, Purpose::new(action, self.target(&loaded)));
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        self.commit(&mut ledger, batch, caller, room)
    }

    /// Writes a change of a secret that is not scheduled, or no longer, to where it is to stand.
    pub(super) fn put_change(
        &self,
        batch: &mut Batch,
        loaded: &Arc<Loaded>,
        place: Place,
        change: &Change,
    ) -> Result<(), VaultError> {
        for version in &change.rolled {
            self.drop_version(batch, loaded, version)?;
        }
        let node = Node::Secret(SecretNode { secret: change.secret.clone(), access: None });
        batch.put(loaded.id(), place, node, Some(loaded));
        Ok(())
    }

    /// Where the secret of `directory` stands.
    pub(super) fn place_in(&self, directory: NodeId, scope: NodeId) -> Result<Place, VaultError> {
        Ok(Place { scope, parent: directory, index: self.index(scope, Domain::Secret, "")? })
    }

    pub(super) fn secret(&self, id: NodeId) -> Result<(Arc<Loaded>, Secret), VaultError> {
        let loaded = self.existing(id)?;
        let record = loaded.as_secret().ok_or(VaultError::Unreadable { node: id })?.secret.clone();
        Ok((loaded, record))
    }
}

/// Refuses a removal that takes the version along in which the member was seen.
fn may_roll(change: &Change, member: Option<&MemberDraft>) -> Result<(), Refusal> {
    let Some(MemberDraft { does: MemberChange::Remove { seen: Some(seen) }, .. }) = member else { return Ok(()) };
    if change.rolled.iter().any(|version| version.no == *seen) { Err(Refusal::FieldsRollAway) } else { Ok(()) }
}
