//! CreateSecret in one step: the names that lead there, the record and its first version, or nothing.

use std::sync::Arc;

use super::audited::Purpose;
use super::batch::Batch;
use super::error::is_made;
use super::node::NEW_DIR_MODE;
use super::policies::own;
use super::tree::Ownership;
use super::{Caller, Loaded, Node, SecretNode, Target, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{self, Action, Component, DataType, Refusal, Secret, SecretName, Terms, VersionId};
use crate::value::Value;

/// A secret to be.
pub struct Creation<'a> {
    /// The id of its first version; `None` takes `v1`.
    pub id: Option<VersionId>,
    /// The value.
    pub bytes: &'a Value,
    /// As it was declared; `None` tells it from the bytes.
    pub kind: Option<DataType>,
    /// All else that is said of it.
    pub terms: Terms,
}

impl Vault {
    /// CreateSecret: directories above that are missing are made, and a draft that stands under the name becomes the secret.
    pub fn create_secret(
        &self,
        caller: Caller,
        instance: NodeId,
        name: &SecretName,
        new: Creation<'_>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let instance = self.existing(instance)?;
        if self.trashed(instance.id(), name)?.is_some() {
            return Err(Refusal::NameScheduled.into());
        }
        let (now, mut batch) = (self.now(), Batch::new(&ledger, Purpose::of_many(Action::CreateSecret)));
        let draft = match self.directory_at(&instance, name)? {
            Some(directory) => Some(self.secret_of(&directory)?),
            None => None,
        };
        let (id, record, directory) = match &draft {
            Some(draft) => (draft.id(), self.secret(draft.id())?.1, draft.place().parent),
            None => self.new_directory(&mut batch, caller, &instance, name)?,
        };
        let no = self.number_for(id, &record, None)?;
        let first = secret::Put {
            id: new.id,
            no: Some(no),
            bytes: new.bytes.as_bytes(),
            stages: None,
            kind: new.kind,
            if_current: None,
        };
        let homes = self.homes(&record)?;
        let policy = new.terms.policy.map(|policy| own(policy, &homes.all()));
        let change = secret::create(&record, Terms { policy, ..new.terms }, first, now)?;
        let scope = instance.id();
        batch.also_for(Target {
            instance: instance.as_instance().map(|instance| instance.name.as_str().to_owned()),
            secret: Some(name.as_str().to_owned()),
            version: change.secret.version_no(no).map(|version| version.id.as_str().to_owned()),
            member: None,
        });
        self.add_version(&mut batch, scope, id, change.secret.key, no, new.bytes)?;
        let node = Node::Secret(SecretNode { secret: change.secret, access: None });
        batch.put(id, self.place_in(directory, scope)?, node, draft.as_ref());
        let outcome = self.commit(&mut ledger, batch, caller, None);
        if is_made(&outcome) {
            self.spend_version(id, no);
        }
        outcome
    }

    /// A directory for `name`, with a record that is not written yet.
    fn new_directory(
        &self,
        batch: &mut Batch,
        caller: Caller,
        instance: &Arc<Loaded>,
        name: &SecretName,
    ) -> Result<(NodeId, Secret, NodeId), VaultError> {
        let (now, scope) = (self.now(), instance.id());
        let key = instance.as_instance().ok_or(VaultError::Unreadable { node: scope })?.default_key;
        let parent = self.pave(batch, caller, instance, name)?;
        self.touch(batch, parent, now)?;
        let owner = Ownership::of(caller, NEW_DIR_MODE);
        let directory = self.put_directory(batch, (scope, parent), name.clone(), owner, now)?;
        let draft = Secret::draft(name.clone(), key, now).made_by(caller.account);
        Ok((batch.new_nodes(1)?, draft, directory))
    }

    /// Makes what is missing of the path above `name`, each directory with its draft, as `mkdir -p` does; the last of it.
    pub(super) fn pave(
        &self,
        batch: &mut Batch,
        caller: Caller,
        instance: &Arc<Loaded>,
        name: &SecretName,
    ) -> Result<NodeId, VaultError> {
        let (now, scope) = (self.now(), instance.id());
        let key = instance.as_instance().ok_or(VaultError::Unreadable { node: scope })?.default_key;
        let mut parent = scope;
        for above in name.above() {
            if let Some(directory) = self.directory_at(instance, &above)? {
                parent = directory.id();
                continue;
            }
            if self.trashed(scope, &above)?.is_some() {
                return Err(Refusal::NameScheduled.into());
            }
            self.touch(batch, parent, now)?;
            let owner = Ownership::of(caller, NEW_DIR_MODE);
            parent = self.put_directory(batch, (scope, parent), above.clone(), owner, now)?;
            let secret = batch.new_nodes(1)?;
            self.put_draft(batch, scope, parent, secret, Secret::draft(above, key, now).made_by(caller.account))?;
        }
        Ok(parent)
    }

    /// The directory of the full name `name`, if all of its path is there.
    pub fn directory_at(&self, instance: &Arc<Loaded>, name: &SecretName) -> Result<Option<Arc<Loaded>>, VaultError> {
        let mut at = instance.clone();
        for component in name.as_str().split('/') {
            match self.directory_named(&at, &Component::parse(component.as_bytes())?)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}
