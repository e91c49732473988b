//! Finding what a request names, as far as who asks may: the kernel's permission checks, for a door that the kernel does not
//! guard, and the policies.
//!
//! Invariant: what a gesture in the tree would be refused, by the bits of the directories on its way, those of the entry at its end or
//! a policy, is refused here, in the same order: what cannot be reached is not said to be there or not.

use std::sync::Arc;

use super::members::speakable;
use super::{ApiError, Asked};
use crate::id::NodeId;
use crate::secret::{Access, Action, Component, Grant, InstanceName, Refusal, Right, Secret, SecretName};
use crate::vault::{Loaded, Needs, VaultError};

/// A secret that was reached. It may be scheduled for deletion, and is no draft.
pub struct Found {
    pub instance: NodeId,
    pub secret: Arc<Loaded>,
    pub record: Secret,
}

impl Asked<'_> {
    /// The instance that a request names, or the only one that who asks can reach.
    pub fn instance(&self, name: Option<&str>, action: Action) -> Result<Arc<Loaded>, ApiError> {
        let root = self.vault.node(NodeId::ROOT)?.ok_or(Refusal::NotFound)?;
        if !self.passes(&root)? {
            return Err(denied(action, "the mount"));
        }
        let Some(name) = name else { return self.only_instance(action) };
        self.target.borrow_mut().instance = Some(speakable(name));
        let name = InstanceName::parse(name.as_bytes())?;
        let found = self.vault.instance_named(&name)?.ok_or(Refusal::NoSuchInstance)?;
        if self.passes(&found)? { Ok(found) } else { Err(denied(action, name.as_str())) }
    }

    /// Whether who asks may pass through `at`; or may have to, on the way to a secret whose policy lets somebody come: then that is
    /// decided there.
    fn passes(&self, at: &Loaded) -> Result<bool, ApiError> {
        Ok(at.passages() > 0 || access_of(at)?.allows(self.asker.identity, Right::Pass))
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
        if !root.access.allows(self.asker.identity, Right::Read) {
            return Err(denied(action, "the mount"));
        }
        let mut reached = Vec::new();
        let mut after = Some(NodeId(0));
        while let Some(from) = after {
            let page = self.vault.children(NodeId::ROOT, from, super::walk::PAGE)?;
            for instance in page.nodes.into_iter().filter(|node| node.as_instance().is_some()) {
                if self.passes(&instance)? {
                    reached.push(instance);
                }
            }
            after = page.next;
        }
        Ok(reached)
    }

    /// The secret `name`, in the tree or scheduled for deletion, if who asks may pass on all of the way to it, or its policy may let it.
    /// What is to be done with it is decided by [`Found::allow`] and [`Asked::allow_value`].
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
        if record.policy.is_none() && !placed.access.allows(self.asker.identity, Right::Pass) {
            return Err(denied(action, name.as_str()));
        }
        Ok(Found { instance: instance.id(), record, secret: placed.secret })
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
            if !self.passes(&at)? {
                return Err(denied(action, name.as_str()));
            }
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
        Ok(self.vault.may_at(self.asking(), action, &at, Right::Change)?)
    }

    /// Refuses who may not bring the secret back: its owner may, and whom its policy lets; where its name has gone, only who may make
    /// it again.
    pub fn may_restore(&self, instance: &Arc<Loaded>, found: &Found) -> Result<(), ApiError> {
        let (action, name) = (Action::RestoreSecret, &found.record.name);
        self.decide(found, action, Needs::Ownership)?;
        let stands = self.vault.directory_at(instance, name)?.is_some();
        if stands && self.by.get() != Grant::Mode { Ok(()) } else { self.may_make(instance, name, action) }
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

    /// Refuses who does not get `right` at the instance `at`, or does not come there.
    pub fn allow_at(&self, at: &Loaded, right: Right, action: Action) -> Result<(), ApiError> {
        Ok(self.vault.may_at(self.asking(), action, at, right)?)
    }

    /// Refuses who does not own the instance that `at` is, or belongs to.
    pub fn must_own_instance(&self, at: &Loaded, action: Action) -> Result<(), ApiError> {
        let instance = self.vault.node(at.instance_id())?.ok_or(Refusal::NoSuchInstance)?;
        Ok(self.vault.must_own_at(self.asking(), action, &instance)?)
    }

    /// Refuses who may not read or write a value of a secret for `action`, or use its key for that.
    pub fn allow_value(&self, found: &Found, needs: Needs, action: Action) -> Result<(), ApiError> {
        self.by.set(self.vault.may_with_key(self.asking(), action, &found.secret, needs)?);
        Ok(())
    }

    /// Refuses who may not make a secret of the draft that stands under the name, if one does; `sets_policy` is for its owner alone.
    pub fn may_begin(&self, instance: &Arc<Loaded>, name: &SecretName, sets_policy: bool) -> Result<(), ApiError> {
        let action = Action::CreateSecret;
        let Some(directory) = self.vault.directory_at(instance, name)? else { return Ok(()) };
        let draft = self.vault.secret_of(&directory)?;
        self.vault.may(self.asking(), action, &draft, Needs::Directory(Right::Change))?;
        if sets_policy { Ok(self.vault.must_own(self.asking(), action, &draft)?) } else { Ok(()) }
    }

    /// Refuses who may not seal the first value of the secret `name` to be: under the key that was asked for, else its draft's, else the
    /// instance's.
    pub fn may_seal(&self, instance: &Arc<Loaded>, name: &SecretName, key: Option<NodeId>) -> Result<(), ApiError> {
        let draft = match self.vault.directory_at(instance, name)? {
            Some(directory) => self.vault.secret_of(&directory)?.as_secret().map(|node| node.secret.key),
            None => None,
        };
        let usual = instance.as_instance().map(|instance| instance.default_key);
        match key.or(draft).or(usual) {
            Some(key) => self.allow_key(key, Action::GenerateDataKey),
            None => Err(VaultError::Unreadable { node: instance.id() }.into()),
        }
    }

    /// Refuses who may not use the key `id`.
    pub fn allow_key(&self, id: NodeId, action: Action) -> Result<(), ApiError> {
        Ok(self.vault.may_use_key(self.asking(), action, id)?)
    }

    fn decide(&self, found: &Found, action: Action, needs: Needs) -> Result<(), ApiError> {
        self.by.set(self.vault.may(self.asking(), action, &found.secret, needs)?);
        Ok(())
    }
}

impl Found {
    /// Refuses who does not get `right` at the secret's directory, and whom no policy lets do `action`.
    pub fn allow(&self, asked: &Asked<'_>, right: Right, action: Action) -> Result<(), ApiError> {
        // Of several it is this one that is decided on.
        asked.target.borrow_mut().secret = Some(self.record.name.as_str().to_owned());
        asked.decide(self, action, Needs::Directory(right))
    }

    /// Refuses who may not write the secret's value, and whom no policy lets do `action`.
    pub fn allow_value(&self, asked: &Asked<'_>, action: Action) -> Result<(), ApiError> {
        asked.decide(self, action, Needs::Value(Right::Write))
    }

    /// Refuses who does not own the secret.
    pub fn must_be_owned(&self, asked: &Asked<'_>, action: Action) -> Result<(), ApiError> {
        Ok(asked.vault.must_own(asked.asking(), action, &self.secret)?)
    }
}

fn denied(action: Action, on: &str) -> ApiError {
    Refusal::NotPermitted { action: action.name(), on: on.to_owned() }.into()
}

/// The access of a node that has one of its own.
pub fn access_of(loaded: &Loaded) -> Result<Access, VaultError> {
    loaded.access().ok_or(VaultError::Unreadable { node: loaded.id() })
}
