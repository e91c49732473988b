//! Who may do what: the permission bits on the way, the policy of the secret, and that of its key.
//!
//! With the default policy, on a way that no policy has opened to others, what the kernel has decided is the decision; everything
//! else is decided here, from the same bits and the policies. Invariant: nothing here lets anybody do what neither gives.

use super::consequences::Homes;
use super::feed::Gone;
use super::{Access, Loaded, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{
    self, Account, Action, Circumstances, Denial, Grant, Identity, Policy, Refusal, Right, Secret, Standing, Subject,
    Verdict,
};

/// Who asks, with all that a decision can turn on.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Held against permission bits.
    pub identity: &'a Identity,
    /// Its account, where that is not the store's.
    pub account: Option<Account>,
    /// Finds out its cgroup; `None` where that cannot be told.
    pub cgroup: &'a dyn Fn() -> Option<String>,
}

/// What permission bits have to give for an action, on the way to the secret and at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Of the secret's directory.
    Directory(Right),
    /// Of its values.
    Value(Right),
    /// To own it.
    Ownership,
}

impl Vault {
    /// Whether what the kernel has decided on a secret's entry is all there is to decide: no policy has a say, and nothing on the
    /// way shows other bits than it has.
    pub fn kernel_decides(&self, account: Option<Account>, secret: &Loaded) -> Result<bool, VaultError> {
        let node = secret.as_secret().ok_or(VaultError::Unreadable { node: secret.id() })?;
        if account.is_some() || node.secret.policy.is_some() {
            return Ok(false);
        }
        let at = match node.access {
            Some(_) => secret.instance_id(),
            None => secret.place().parent,
        };
        Ok(!self.is_widened(&self.existing(at)?)?)
    }

    /// Decides whether who asks may do `action` with the secret `loaded`; what lets it.
    pub fn may(&self, who: Asking<'_>, action: Action, loaded: &Loaded, needs: Needs) -> Result<Grant, VaultError> {
        let node = loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        let (verdict, standing, permitted) = self.weigh(who, action, loaded, &node.secret, needs)?;
        let on = || node.secret.name.as_str().to_owned();
        let refusal = match secret::decide(verdict, standing, action, permitted) {
            Ok(grant) => return Ok(grant),
            Err(Denial::Statement(statement)) => Refusal::Denied { action: action.name(), on: on(), statement },
            Err(Denial::Nothing) => Refusal::NotPermitted { action: action.name(), on: on() },
            Err(Denial::Mode) => other(action, "a policy permits it, owner, group and mode do not"),
            Err(Denial::Policy) => other(action, "owner, group and mode permit it, no policy does"),
            Err(Denial::OnlyReads) => other(action, "it can read, and do nothing else"),
        };
        Err(refusal.into())
    }

    /// The same of an action that reads or writes a value: its key must let that be, too.
    pub fn may_with_key(
        &self,
        who: Asking<'_>,
        action: Action,
        loaded: &Loaded,
        needs: Needs,
    ) -> Result<Grant, VaultError> {
        let grant = self.may(who, action, loaded, needs)?;
        let node = loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        if let Some(of_key) = action.of_key() {
            self.may_use_key(who, of_key, node.secret.key)?;
        }
        Ok(grant)
    }

    /// What the policy says of it, how who asks stands to the secret, and what permission bits give.
    fn weigh(
        &self,
        who: Asking<'_>,
        action: Action,
        loaded: &Loaded,
        record: &Secret,
        needs: Needs,
    ) -> Result<(Verdict, Standing, bool), VaultError> {
        let homes = self.homes(record)?;
        let account = self.account_of(who)?;
        let standing = if self.is_home(&homes, &account, loaded)? { Standing::Home } else { Standing::Other };
        let verdict = match &record.policy {
            Some(policy) => self.judge(who, &account, standing, policy, action, Policy::judge)?,
            None => Verdict::Silent,
        };
        Ok((verdict, standing, self.permits(who.identity, loaded, needs)?))
    }

    /// Whether a secret is `account`'s own: the store's, or its maker's for as long as the instance is shared with that.
    fn is_home(&self, homes: &Homes, account: &Account, loaded: &Loaded) -> Result<bool, VaultError> {
        if *account == homes.store {
            return Ok(true);
        }
        if homes.maker != Some(*account) {
            return Ok(false);
        }
        let instance = self.existing(loaded.instance_id())?;
        Ok(instance.as_instance().is_some_and(|instance| instance.shares.contains(account)))
    }

    /// Whether permission bits alone let `who` do it.
    fn permits(&self, who: &Identity, loaded: &Loaded, needs: Needs) -> Result<bool, VaultError> {
        let placed = self.placed(loaded.id())?.ok_or(Refusal::NotFound)?;
        let passes = self.way_of(&placed.secret)?.iter().all(|access| access.allows(who, Right::Pass));
        Ok(passes
            && match needs {
                Needs::Directory(right) => placed.access.allows(who, right),
                Needs::Value(right) => placed.access.allows_value(who, right),
                Needs::Ownership => placed.access.is_owned_by(who),
            })
    }

    /// All that has to be passed to come to a secret's entries.
    fn way_of(&self, secret: &Loaded) -> Result<Vec<Access>, VaultError> {
        let node = secret.as_secret().ok_or(VaultError::Unreadable { node: secret.id() })?;
        match node.access {
            Some(access) => {
                let mut way = self.way_to(secret.instance_id(), &Gone::new())?;
                way.push(access);
                Ok(way)
            }
            None => self.way_to(secret.place().parent, &Gone::new()),
        }
    }

    /// Decides on what is at an instance or a directory and no secret's: who asks must come there, and have `right`.
    pub fn may_at(&self, who: Asking<'_>, action: Action, at: &Loaded, right: Right) -> Result<(), VaultError> {
        if let Some(account) = who.account {
            self.guest_may(account, action, at, right)?;
        }
        let way = self.way_to(at.id(), &Gone::new())?;
        let passes = way.iter().all(|access| access.allows(who.identity, Right::Pass));
        if passes && way.first().is_some_and(|here| here.allows(who.identity, right)) {
            return Ok(());
        }
        Err(Refusal::NotPermitted { action: action.name(), on: self.name_at(at) }.into())
    }

    /// Another account looks at an instance that is shared with it, and makes names in it; all else of it is its owner's.
    pub fn guest_may(&self, account: Account, action: Action, at: &Loaded, right: Right) -> Result<(), VaultError> {
        let instance = self.existing(at.instance_id())?;
        let shared = instance.as_instance().is_some_and(|instance| instance.shares.contains(&account));
        let makes = matches!(action, Action::CreateSecret | Action::RestoreSecret | Action::DeleteSecret);
        let looks = matches!(right, Right::Read | Right::Pass);
        // Each secret of a list is decided on by itself.
        let lists = matches!(action, Action::ListSecrets | Action::ListTagResources);
        if looks && lists || shared && (makes || looks) {
            return Ok(());
        }
        let why = if shared { "it is its owner's" } else { "the instance is not shared with it" };
        Err(other(action, why).into())
    }

    /// Refuses who does not own the secret: what is a matter of permissions alone.
    pub fn must_own(&self, who: Asking<'_>, action: Action, loaded: &Loaded) -> Result<(), VaultError> {
        let node = loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        let is_home = self.is_home(&self.homes(&node.secret)?, &self.account_of(who)?, loaded)?;
        if is_home && self.permits(who.identity, loaded, Needs::Ownership)? {
            return Ok(());
        }
        Err(Refusal::NotPermitted { action: action.name(), on: node.secret.name.as_str().to_owned() }.into())
    }

    /// Refuses who does not own the instance `at`, or does not come there.
    pub fn must_own_at(&self, who: Asking<'_>, action: Action, at: &Loaded) -> Result<(), VaultError> {
        self.may_at(who, action, at, Right::Pass)?;
        let owns = who.account.is_none() && at.access().is_some_and(|access| access.is_owned_by(who.identity));
        if owns { Ok(()) } else { Err(Refusal::NotPermitted { action: action.name(), on: self.name_at(at) }.into()) }
    }

    fn name_at(&self, at: &Loaded) -> String {
        let target = self.target(at);
        target.secret.or(target.instance).unwrap_or_else(|| "the mount".to_owned())
    }

    /// Decides on a value under the key `id`: that must let it be opened, or sealed.
    pub fn may_use_key(&self, who: Asking<'_>, action: Action, id: NodeId) -> Result<(), VaultError> {
        let loaded = self.node(id)?.ok_or(Refusal::KeyGone)?;
        let key = loaded.as_key().ok_or(VaultError::Unreadable { node: id })?;
        let instance = self.existing(loaded.instance_id())?;
        let instance = instance.as_instance().ok_or(VaultError::Unreadable { node: loaded.instance_id() })?;
        let account = self.account_of(who)?;
        let is_home = account == self.root()?.account;
        let (verdict, trusted) = match &key.policy {
            None => (Verdict::Silent, is_home || instance.shares.contains(&account)),
            Some(policy) => {
                let standing = if is_home { Standing::Home } else { Standing::Other };
                let verdict = self.judge(who, &account, standing, policy, action, Policy::judge_use)?;
                (verdict, is_home && (is_root(who.identity.uid) || instance.access.is_owned_by(who.identity)))
            }
        };
        match secret::decide_use(verdict, trusted) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::KeyDenies { action: action.name(), key: key.name.clone() }.into()),
        }
    }

    /// Whether a decision on a value of `record` stays the same until somebody changes something: no policy asks what time it is, or
    /// where who asks runs.
    pub fn is_steady(&self, record: &Secret) -> Result<bool, VaultError> {
        let loaded = self.node(record.key)?.ok_or(Refusal::KeyGone)?;
        let of_key = loaded.as_key().and_then(|key| key.policy.as_ref());
        Ok(record.policy.iter().chain(of_key).all(Policy::is_steady))
    }

    /// Whether a key asks who uses it: it has a policy, or who asks is of another account.
    pub fn key_asks(&self, account: Option<Account>, record: &Secret) -> Result<bool, VaultError> {
        let loaded = self.node(record.key)?.ok_or(Refusal::KeyGone)?;
        Ok(account.is_some() || loaded.as_key().is_some_and(|key| key.policy.is_some()))
    }

    fn judge(
        &self,
        who: Asking<'_>,
        account: &Account,
        standing: Standing,
        policy: &Policy,
        action: Action,
        how: impl FnOnce(&Policy, &Subject<'_>, Action, &Circumstances<'_>) -> Verdict,
    ) -> Result<Verdict, VaultError> {
        let Identity { uid, gid, groups, .. } = who.identity;
        let is_root = is_root(*uid);
        // Whom a Deny names must not be let pass since nobody can look the name up.
        let names = self.people.names().ok_or(Refusal::UnknownCaller)?;
        let users = if is_root { Vec::new() } else { names.of_user(*uid) };
        let gids = std::iter::once(gid).chain(groups);
        let roles: Vec<_> = gids.flat_map(|gid| names.of_group(*gid)).collect();
        let cgroup = if policy.asks_cgroup() { (who.cgroup)() } else { None };
        let is_home = standing == Standing::Home;
        let subject = Subject { account, is_home, is_root, uid: *uid, users: &users, roles: &roles };
        Ok(how(policy, &subject, action, &Circumstances { now: self.now(), cgroup: cgroup.as_deref() }))
    }

    fn account_of(&self, who: Asking<'_>) -> Result<Account, VaultError> {
        match who.account {
            Some(account) => Ok(account),
            None => Ok(self.root()?.account),
        }
    }
}

/// Whether a user is its account's root: uid 0, and the user whose daemon this is.
fn is_root(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn other(action: Action, why: &'static str) -> Refusal {
    Refusal::OtherAccount { action: action.name(), why }
}
