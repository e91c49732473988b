//! What would be decided if somebody asked: the same decision, for an identity that is named.

use super::{Asking, Loaded, Needs, Vault, VaultError};
use crate::secret::{Account, Action, Grant, Identity, Refusal, Right, Secret};

/// Somebody who does not ask, but could.
pub struct Trial {
    identity: Identity,
    account: Option<Account>,
    cgroup: Option<String>,
}

/// What an identity's name begins with where it says its account.
const RAM: &str = "acs:ram::";

impl Trial {
    /// The identity called `principal`, see [`Vault::principal`]; in `cgroup`, where that is said.
    pub fn parse(vault: &Vault, principal: &str, cgroup: Option<String>) -> Result<Option<Self>, VaultError> {
        let found = vault.principal(principal)?;
        Ok(found.map(|(identity, account)| Self { identity, account, cgroup }))
    }

    /// What would be decided on `action` with the secret `loaded`.
    pub fn of(&self, vault: &Vault, action: Action, loaded: &Loaded) -> Result<Grant, VaultError> {
        let cgroup = || self.cgroup.clone();
        let who = Asking { identity: &self.identity, account: self.account, cgroup: &cgroup };
        vault.may_with_key(who, action, loaded, needs(action))
    }
}

/// What permission bits give the action, which `docs/policies.md` has a gesture of.
fn needs(action: Action) -> Needs {
    match action {
        Action::GetSecretValue => Needs::Value(Right::Read),
        Action::PutSecretValue => Needs::Value(Right::Write),
        Action::UpdateSecret | Action::TagResource | Action::UntagResource => Needs::Directory(Right::Write),
        Action::UpdateSecretVersionStage | Action::DeleteSecret | Action::DestroySecretVersion => {
            Needs::Directory(Right::Change)
        }
        Action::RestoreSecret => Needs::Ownership,
        _ => Needs::Directory(Right::Read),
    }
}

impl Vault {
    /// The identity called `principal`: `root`, `user/<name>` or `role/<name>`, of the store's account or of the one before it, which is
    /// told where it is another. `None` for what is no name, or nobody's.
    pub fn principal(&self, principal: &str) -> Result<Option<(Identity, Option<Account>)>, VaultError> {
        let own = self.root()?.account;
        let names = self.people.names().ok_or(Refusal::UnknownCaller)?;
        let (account, name) = match principal.strip_prefix(RAM) {
            Some(rest) => {
                let Some((account, name)) = rest.split_once(':') else { return Ok(None) };
                let Some(account) = Account::parse(account) else { return Ok(None) };
                (Some(account).filter(|account| *account != own), name)
            }
            None => (None, principal),
        };
        let identity = match name.split_once('/') {
            None if name == "root" => Some(Identity { uid: 0, gid: 0, groups: Vec::new(), overrides: true }),
            Some(("user", user)) => names.user(user).map(|person| Identity {
                uid: person.uid,
                gid: person.gid,
                groups: person.groups,
                overrides: person.uid == 0,
            }),
            Some(("role", role)) => names.group(role).map(|gid| Identity {
                uid: Identity::NOBODY,
                gid,
                groups: Vec::new(),
                overrides: false,
            }),
            None | Some(_) => None,
        };
        Ok(identity.map(|identity| (identity, account)))
    }

    /// What lets somebody, in words: the statement by its number and its Sid.
    pub fn cite(&self, record: &Secret, grant: Grant) -> String {
        let by_statement =
            |n| record.policy.as_ref().and_then(|policy| policy.statement(n)).map(|cited| cited.to_string());
        match grant {
            // Nobody is tried as the daemon.
            Grant::Due => "its time has come".to_owned(),
            Grant::Mode => "owner, group and mode".to_owned(),
            Grant::Statement(n) => by_statement(n).unwrap_or_else(|| format!("statement {n}")),
        }
    }
}
