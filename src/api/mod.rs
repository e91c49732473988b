//! Requests and answers of KMS as JSON, each mapped to a verb of the vault: a surface beside the tree.
//!
//! Knows the official names of members and codes, and who may ask for what; knows no kernel, no socket and no file. Whatever
//! door a request comes through hands over who asks, the bytes, and gets bytes back: [`answer`]. Invariants: no rule of secrets
//! is written here; a value stands in the request's bytes, in a [`Value`] and in the answer's bytes, and nowhere else; what
//! permission bits refuse in the tree is refused here.
//!
//! Reading order: `error` (what can be wrong), `members` (a request read), `plain` (values in JSON), `permit` (who may),
//! `describe` (what KMS says of a thing), `page` and `walk` (lists), then the actions: `values`, `secrets`, `lists`, `tags`, `keys`,
//! `policies`, `instances`, `password`, `audit`; `dispatch`, which finds the action by its name; and `reply`, the other side.

mod audit;
mod describe;
mod dispatch;
mod error;
mod instances;
mod keys;
mod lists;
mod members;
mod page;
mod password;
mod permit;
mod plain;
mod policies;
mod reply;
mod rotation;
mod secrets;
mod tags;
mod values;
mod walk;

use std::cell::{Cell, RefCell};

use serde_json::{Map, Value as Json};

pub use describe::{arn, instance, key, secret};
pub use dispatch::{actions, changes};
pub use error::ApiError;
pub use plain::{from_base64, to_base64, unescape};
pub use reply::{Reply, request};

use crate::id::{NodeId, OpId};
use crate::secret::{Action, Grant, Identity, SecretName};
use crate::value::Value;
use crate::vault::{Asking, Caller, Loaded, Outcome, StoreError, Target, Vault, VaultError, may_wait};
use plain::Plain;

/// Longest request in bytes.
pub const REQUEST_MAX: usize = 1024 * 1024;
/// Longest answer in bytes.
pub const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Who asks, and by which request.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// Held against the permission bits.
    pub identity: &'a Identity,
    /// What a change is remembered and recorded by.
    pub caller: Caller,
    /// Whether there is a record that the audit is being read: each further look would else be what the next one finds.
    pub follows_audit: bool,
    /// Finds out its cgroup, for policies that ask; `None` where that cannot be told.
    pub cgroup: &'a dyn Fn() -> Option<String>,
}

/// An answer, and what it changed.
pub struct Answer {
    /// One JSON document with a newline behind it: what was asked for, or an error.
    pub body: Value,
    /// Names that stand for something else by now.
    pub touched: Vec<Touched>,
    /// The error, where it is one.
    pub error: Option<ApiError>,
    /// The action that was asked for, where it is one of KMS.
    pub action: &'static str,
}

/// A name whose directory has come, gone or begun another life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Its instance.
    pub instance: NodeId,
    /// The secret's full name.
    pub name: SecretName,
    /// Whether the secret was deleted, restored or purged, so that its entries are others.
    pub another_life: bool,
}

/// What an action comes to.
enum Body {
    /// Members without a value of a secret among them.
    Json(Map<String, Json>),
    /// Members, and one that is plaintext.
    Plain(Plain),
    /// BatchGetSecretValue: those that were read, and the errors of the others.
    Plains(Vec<Plain>, Vec<Json>),
}

/// One request under way.
struct Asked<'a> {
    vault: &'a Vault,
    asker: Asker<'a>,
    /// Whether the change was made before, and only its answer is wanted.
    again: bool,
    touched: Vec<Touched>,
    /// What is being decided on.
    target: RefCell<Target>,
    /// Whether there is a record of what was granted.
    told: Cell<bool>,
    /// What lets who asks do it.
    by: Cell<Grant>,
}

impl Asked<'_> {
    /// Makes a change, unless that was done when the request came for the first time.
    fn change(&self, act: impl FnOnce(&Vault, Caller) -> Result<(), VaultError>) -> Result<(), ApiError> {
        if self.again { Ok(()) } else { Ok(act(self.vault, self.caller())?) }
    }

    /// Has it recorded that who asks gets to read what `action` guards of `on`.
    fn reads(&self, on: &Loaded, action: Action) -> Result<(), ApiError> {
        self.told.set(true);
        Ok(self.vault.audit_granted(self.caller(), action, on)?)
    }

    /// Who asks, with what lets it.
    fn caller(&self) -> Caller {
        Caller { by: self.by.get(), ..self.asker.caller }
    }

    /// Who asks, to decisions.
    fn asking(&self) -> Asking<'_> {
        Asking { identity: self.asker.identity, account: self.asker.caller.account, cgroup: self.asker.cgroup }
    }

    /// Refuses who may not wait: what follows takes long, or must not be begun again.
    fn waits(&self) -> Result<(), ApiError> {
        if may_wait() { Ok(()) } else { Err(VaultError::Store(StoreError::WouldWait).into()) }
    }

    fn touch(&mut self, instance: NodeId, name: &SecretName, another_life: bool) {
        self.touched.push(Touched { instance, name: name.clone(), another_life });
    }
}

/// Does what `request` asks for.
///
/// # Errors
/// Only where the answer has to be read from a disk, and who asks may not wait for it: nothing was done then.
pub fn answer(vault: &Vault, asker: Asker<'_>, request: &[u8]) -> Result<Answer, VaultError> {
    let dispatch::Ran { name: action, action: guard, target, outcome, touched } = dispatch::run(vault, asker, request);
    let id = asker.caller.op;
    let (body, error) = match outcome {
        Ok(body) => (body.render(id), None),
        Err(ApiError::Vault(error)) if error.would_wait() => return Err(error),
        Err(ApiError::DryRun) => (ApiError::DryRun.render(id), Some(ApiError::DryRun)),
        Err(error) => {
            tell_refusal(vault, asker.caller, guard, &target, &error)?;
            (error.render(id), Some(error))
        }
    };
    if body.len() <= ANSWER_MAX {
        return Ok(Answer { body, touched, error, action });
    }
    let error = ApiError::AnswerTooLong;
    Ok(Answer { body: error.render(id), touched, error: Some(error), action })
}

/// Has it recorded that a request was refused. Where nobody takes the record it is refused all the same.
fn tell_refusal(
    vault: &Vault,
    caller: Caller,
    action: Option<Action>,
    target: &Target,
    error: &ApiError,
) -> Result<(), VaultError> {
    let outcome = match error {
        ApiError::Vault(error) if error.is_failure() => Outcome::Failed,
        _ => Outcome::Denied,
    };
    match vault.audit_refusal(caller, action, target, outcome, error.code(), &error.to_string()) {
        Err(error) if error.would_wait() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Answer {
    /// Whether it was read from the audit.
    pub fn reads_audit(&self) -> bool {
        self.error.is_none() && self.action == audit::LIST
    }
}

impl Body {
    fn render(self, id: OpId) -> Value {
        plain::document(&self.with_id(id))
    }

    fn with_id(self, id: OpId) -> plain::Document {
        plain::Document { body: self, id: id.request_id() }
    }
}

/// Members in the order in which they are given.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {{
        let mut members = ::serde_json::Map::new();
        $(members.insert($name.to_owned(), ::serde_json::Value::from($value));)*
        members
    }};
}
use object;
