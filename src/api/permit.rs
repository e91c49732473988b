//! Finding what a request names, as far as who asks may: the kernel's permission checks, for a door that the kernel does not
//! guard.
//!
//! Invariant: what a gesture in the tree would be refused by the bits of the directories on its way or of the entry at its end,
//! is refused here, in the same order: what cannot be reached is not said to be there or not.

use std::sync::Arc;

use super::members::speakable;
use super::{ApiError, Asked};
use crate::id::NodeId;
use crate::secret::{Access, Action, Component, InstanceName, Refusal, Right, Secret, SecretName};
use crate::vault::{Loaded, VaultError};

/// A secret that was reached. It may be scheduled for deletion, and is no draft.
pub struct Found {
    pub instance: NodeId,
    pub secret: Arc<Loaded>,
    pub record: Secret,
    pub access: Access,
}

impl Asked<'_> {
    /// The instance that a request names, or the only one that who asks can reach.
    pub fn instance(&self, name: Option<&str>, action: Action) -> Result<Arc<Loaded>, ApiError> {
        let root = self.vault.root()?;
        self.allow(&root.access, Right::Pass, action, "the mount")?;
        let Some(name) = name else { return self.only_instance(action) };
        self.target.borrow_mut().instance = Some(speakable(name));
        let name = InstanceName::parse(name.as_bytes())?;
        let found = self.vault.instance_named(&name)?.ok_or(Refusal::NoSuchInstance)?;
        self.allow(&access_of(&found)?, Right::Pass, action, name.as_str())?;
        Ok(found)
    }

    fn only_instance(&self, action: Action) -> Result<Arc<Loaded>, ApiError> {
        let all = self.instances(action)?;
        let [only] = &all[..] else { return Err(ApiError::Missing("DKMSInstanceId")) };
        self.target.borrow_mut().instance = only.as_instance().map(|instance| instance.name.as_str().to_owned());
        Ok(only.clone())
    }

    /// All instances that who asks can reach.
    pub fn instances(&self, action: Action) -> Result<Vec<Arc<Loaded>>, ApiError> {
        let root = self.vault.root()?;
        self.allow(&root.access, Right::Read, action, "the mount")?;
        let mut reached = Vec::new();
        let mut after = Some(NodeId(0));
        while let Some(from) = after {
            let page = self.vault.children(NodeId::ROOT, from, super::walk::PAGE)?;
            for instance in page.nodes.into_iter().filter(|node| node.as_instance().is_some()) {
                if access_of(&instance)?.allows(self.asker.identity, Right::Pass) {
                    reached.push(instance);
                }
            }
            after = page.next;
        }
        Ok(reached)
    }

    /// The secret `name`, in the tree or scheduled for deletion, if who asks may pass on all of the way to it. What else is to be
    /// done with it takes a right more: [`Found::allow`], [`Asked::allow_value`].
    pub fn secret(&self, instance: &Arc<Loaded>, name: &SecretName, action: Action) -> Result<Found, ApiError> {
        let found = match self.directory(instance, name, action)? {
            Some(directory) => self.vault.secret_of(&directory)?,
            None => self.vault.trashed(instance.id(), name)?.ok_or(Refusal::NotFound)?,
        };
        let placed = self.vault.placed(found.id())?.ok_or(Refusal::NotFound)?;
        let node = placed.secret.as_secret().ok_or(VaultError::Unreadable { node: found.id() })?;
        let record = node.secret.clone();
        if record.is_draft() {
            return Err(Refusal::NotFound.into());
        }
        self.allow(&placed.access, Right::Pass, action, name.as_str())?;
        Ok(Found { instance: instance.id(), record, access: placed.access, secret: placed.secret })
    }

    /// The directory `name`, if all of the way there is; every directory on it must let who asks through.
    fn directory(
        &self,
        instance: &Arc<Loaded>,
        name: &SecretName,
        action: Action,
    ) -> Result<Option<Arc<Loaded>>, ApiError> {
        let mut at = instance.clone();
        for component in name.as_str().split('/') {
            self.allow(&access_of(&at)?, Right::Pass, action, name.as_str())?;
            match self.vault.directory_named(&at, &Component::parse(component.as_bytes())?)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Refuses who may not make what is missing of the way to `name`, and `name` itself; a directory that is there must be
    /// theirs to write.
    pub fn may_make(&self, instance: &Arc<Loaded>, name: &SecretName, action: Action) -> Result<(), ApiError> {
        // Also looks whether the way is open.
        let at = match self.directory(instance, name, action)? {
            Some(directory) => directory,
            None => self.lowest_above(instance, name)?,
        };
        self.allow(&access_of(&at)?, Right::Change, action, name.as_str())
    }

    /// Refuses who may not name the secret back into the tree: its owner may, where it stood.
    pub fn may_restore(&self, instance: &Arc<Loaded>, found: &Found) -> Result<(), ApiError> {
        let (action, name) = (Action::RestoreSecret, &found.record.name);
        if !found.access.is_owned_by(self.asker.identity) {
            return Err(denied(action, name.as_str()));
        }
        self.may_make(instance, name, action)
    }

    /// Whether who asks may take `name` out of the directory that it stands in.
    pub fn may_take(&self, instance: &Arc<Loaded>, name: &SecretName) -> Result<bool, ApiError> {
        let above = self.lowest_above(instance, name)?;
        Ok(access_of(&above)?.allows(self.asker.identity, Right::Change))
    }

    /// The lowest directory above `name` that is there.
    fn lowest_above(&self, instance: &Arc<Loaded>, name: &SecretName) -> Result<Arc<Loaded>, ApiError> {
        let mut lowest = instance.clone();
        for above in name.above() {
            match self.vault.directory_named(&lowest, &Component::parse(above.last().as_bytes())?)? {
                Some(directory) => lowest = directory,
                None => break,
            }
        }
        Ok(lowest)
    }

    /// Refuses where the directory's bits do not give `right`.
    pub fn allow(&self, access: &Access, right: Right, action: Action, on: &str) -> Result<(), ApiError> {
        if access.allows(self.asker.identity, right) { Ok(()) } else { Err(denied(action, on)) }
    }

    /// Refuses where the bits of the secret's values do not.
    pub fn allow_value(&self, found: &Found, right: Right, action: Action) -> Result<(), ApiError> {
        let allowed = found.access.allows_value(self.asker.identity, right);
        if allowed { Ok(()) } else { Err(denied(action, found.record.name.as_str())) }
    }
}

impl Found {
    /// Refuses where the directory's bits do not give `right`.
    pub fn allow(&self, asked: &Asked<'_>, right: Right, action: Action) -> Result<(), ApiError> {
        // Of several it is this one that is decided on.
        asked.target.borrow_mut().secret = Some(self.record.name.as_str().to_owned());
        asked.allow(&self.access, right, action, self.record.name.as_str())
    }
}

fn denied(action: Action, on: &str) -> ApiError {
    Refusal::NotPermitted { action: action.name(), on: on.to_owned() }.into()
}

/// The access of a node that has one of its own.
pub fn access_of(loaded: &Loaded) -> Result<Access, VaultError> {
    loaded.access().ok_or(VaultError::Unreadable { node: loaded.id() })
}
