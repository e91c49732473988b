//! The verbs on policies: setting one, and showing it.

use std::collections::{BTreeSet, HashMap};

use super::Caller;
use super::consequences::Homes;
use super::{Instance, Key, Loaded, Node, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{self, Account, Action, Policy, Secret, default_document};

impl Vault {
    /// SetSecretPolicy. Blank, or what says the same as the default policy, is that.
    pub fn set_policy(&self, caller: Caller, id: NodeId, text: &[u8]) -> Result<(), VaultError> {
        let (_, record) = self.secret(id)?;
        let policy = own(Policy::parse(text)?, &self.homes(&record)?.all());
        let now = self.now();
        self.change(caller, Action::SetSecretPolicy, id, |record| secret::set_policy(record, policy, now))
    }

    /// SetKeyPolicy. Blank, or what says the same as the default policy, is that.
    pub fn set_key_policy(&self, caller: Caller, id: NodeId, text: &[u8]) -> Result<(), VaultError> {
        let policy = Policy::parse(text)?;
        self.change_key(caller, Action::SetKeyPolicy, id, None, |key| {
            let instance = self.existing(self.existing(id)?.instance_id())?;
            Ok::<_, VaultError>(Key { policy: self.own_key_policy(policy, &instance)?, ..key })
        })
    }

    /// Whether [`Vault::set_policy`], or [`Vault::set_key_policy`], would be refused: `text` is no policy, or lets more accounts in than
    /// may be.
    pub fn check_policy(&self, id: NodeId, text: &[u8]) -> Result<(), VaultError> {
        let policy = Policy::parse(text)?;
        let loaded = self.existing(id)?;
        let mut after = loaded.node.clone();
        match &mut after {
            Node::Secret(node) => node.secret.policy = policy,
            Node::Key(key) => key.policy = policy,
            Node::Root(_) | Node::Instance(_) | Node::Directory(_) | Node::Rotation(_) => {}
        }
        let mut more = HashMap::new();
        for (node, by) in [(&loaded.node, -1), (&after, 1)] {
            for account in self.let_in(Some(node))? {
                *more.entry(account).or_default() += by;
            }
        }
        self.check_instance(loaded.instance_id(), |instance| instance.let_in(&more))
    }

    /// Whether [`Vault::set_shares`] would be refused.
    pub fn check_shares(&self, id: NodeId, shares: BTreeSet<Account>) -> Result<(), VaultError> {
        self.check_instance(id, |instance| instance.shares = shares)
    }

    fn check_instance(&self, id: NodeId, change: impl FnOnce(&mut Instance)) -> Result<(), VaultError> {
        let loaded = self.existing(id)?;
        let before = loaded.as_instance().ok_or(VaultError::Unreadable { node: id })?;
        let mut after = before.clone();
        change(&mut after);
        Ok(after.quota.allows(before.others(), after.others())?)
    }

    /// Whether the secret's policy lets anybody of its own accounts do what permission bits may not.
    pub fn opens(&self, record: &Secret, action: Action) -> Result<bool, VaultError> {
        match &record.policy {
            Some(policy) => Ok(policy.opens(&self.homes(record)?.all(), action)),
            None => Ok(false),
        }
    }

    /// The secret's policy, as text.
    pub fn policy_text(&self, record: &Secret) -> Result<String, VaultError> {
        match &record.policy {
            Some(policy) => Ok(policy.text().to_owned()),
            None => Ok(default_document(&self.homes(record)?.all())),
        }
    }

    /// The policy of the key `loaded`, as text.
    pub fn key_policy_text(&self, loaded: &Loaded) -> Result<String, VaultError> {
        let key = loaded.as_key().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        match &key.policy {
            Some(policy) => Ok(policy.text().to_owned()),
            None => Ok(default_document(
                &self.homes_of_keys(&*self.existing(loaded.instance_id())?)?.iter().collect::<Vec<_>>(),
            )),
        }
    }

    /// Directories whose permission bits are seen as others than before, since this was last asked.
    pub fn take_stale(&self) -> Vec<NodeId> {
        std::mem::take(&mut *self.stale.lock())
    }

    /// Whose own a secret is.
    pub(super) fn homes(&self, secret: &Secret) -> Result<Homes, VaultError> {
        Ok(Homes { store: self.root()?.account, maker: secret.account })
    }

    /// The policy that a key of `instance` gets: none in the place of the default one.
    pub(super) fn own_key_policy(
        &self,
        policy: Option<Policy>,
        instance: &Loaded,
    ) -> Result<Option<Policy>, VaultError> {
        let homes = self.homes_of_keys(instance)?;
        Ok(own(policy, &homes.iter().collect::<Vec<_>>()))
    }

    /// The accounts that may use the keys of `instance` by default: the store's, and those that it is shared with.
    fn homes_of_keys(&self, instance: &Loaded) -> Result<Vec<Account>, VaultError> {
        let shares = instance.as_instance().map(|instance| instance.shares.iter().copied()).into_iter().flatten();
        Ok(std::iter::once(self.root()?.account).chain(shares).collect())
    }
}

/// The policy that is stored: none in the place of the default one.
pub(super) fn own(policy: Option<Policy>, homes: &[&Account]) -> Option<Policy> {
    policy.filter(|policy| !policy.says_default(homes))
}
