//! The actions on policies: GetSecretPolicy, SetSecretPolicy, GetKeyPolicy, SetKeyPolicy, and TestSecretPolicy, which KMS has not.

use serde_json::{Map, Value as Json};

use super::members::{Members, invalid};
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, Policy, Refusal, Right};
use crate::vault::{Trial, VaultError};

/// The only policy that a secret or a key has.
const POLICY: &str = "default";
/// What is said of a policy that lets nobody do anything.
const GRANTS_NOTHING: &str = "it allows nobody anything: owner, group and mode decide alone";

/// GetSecretPolicy.
pub fn get(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetSecretPolicy;
    let found = asked.named(request, action)?;
    policy_name(request)?;
    asked.end(request, action)?;
    found.allow(asked, Right::Read, action)?;
    asked.reads(&found.secret, action)?;
    Ok(Body::Json(object! { "Policy": asked.vault.policy_text(&found.record)?.trim_end() }))
}

/// SetSecretPolicy: its owner's and root's to set, whatever it says. `Warnings`, which KMS has not, says what may not be meant.
pub fn set(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::SetSecretPolicy;
    let found = asked.named(request, action)?;
    policy_name(request)?;
    let policy = request.required("Policy")?;
    asked.end(request, action)?;
    found.must_be_owned(asked, action)?;
    found.record.not_scheduled()?;
    let id = found.secret.id();
    asked.change(|vault, caller| vault.set_policy(caller, id, policy.as_bytes()))?;
    Ok(Body::Json(warned(&policy)?))
}

/// GetKeyPolicy.
pub fn get_of_key(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetKeyPolicy;
    let key = asked.named_key(request, Right::Read, action)?;
    policy_name(request)?;
    asked.end(request, action)?;
    asked.reads(&key, action)?;
    Ok(Body::Json(object! { "Policy": asked.vault.key_policy_text(&key)?.trim_end() }))
}

/// SetKeyPolicy: the instance's owner's and root's to set.
pub fn set_of_key(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::SetKeyPolicy;
    let key = asked.named_key(request, Right::Read, action)?;
    policy_name(request)?;
    let policy = request.required("Policy")?;
    asked.end(request, action)?;
    asked.must_own_instance(&key, action)?;
    asked.change(|vault, caller| vault.set_key_policy(caller, key.id(), policy.as_bytes()))?;
    Ok(Body::Json(warned(&policy)?))
}

fn warned(policy: &str) -> Result<Map<String, Json>, ApiError> {
    let nothing = Policy::parse(policy.as_bytes())?.is_some_and(|policy| policy.grants_nothing());
    Ok(if nothing {
        object! { "Warnings": vec![GRANTS_NOTHING] }
    } else {
        Map::new()
    })
}

fn policy_name(request: &mut Members<'_>) -> Result<(), ApiError> {
    match request.text("PolicyName")?.as_deref() {
        None | Some(POLICY) => Ok(()),
        Some(_) => Err(ApiError::NoSuchPolicy),
    }
}

/// TestSecretPolicy: what would be decided if an identity asked for an action, and by what. Who may read the policy may ask.
pub fn test(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetSecretPolicy;
    let found = asked.named(request, action)?;
    let principal = request.required("Principal")?;
    let tested = request.required("TestedAction")?;
    let cgroup = request.text("Cgroup")?;
    asked.end(request, action)?;
    found.allow(asked, Right::Read, action)?;
    let tested = action_named(&tested)
        .ok_or_else(|| invalid("TestedAction", "is no action of a secret, as kms:GetSecretValue is"))?;
    let trial = Trial::parse(asked.vault, &principal, cgroup)?.ok_or_else(|| {
        invalid("Principal", "is none: root, user/NAME, role/NAME, or with acs:ram::ACCOUNT: before it")
    })?;
    asked.reads(&found.secret, action)?;
    let outcome = trial.of(asked.vault, tested, &found.secret);
    let mut told = object! { "Principal": principal, "Action": format!("kms:{}", tested.name()) };
    match outcome {
        Ok(grant) => {
            told.insert("Decision".to_owned(), "Allow".into());
            told.insert("By".to_owned(), asked.vault.cite(&found.record, grant).into());
        }
        Err(VaultError::Refused(refusal)) => {
            told.insert("Decision".to_owned(), "Deny".into());
            told.insert("By".to_owned(), cited(asked, &found.record, &refusal).into());
            told.insert("RefusalCode".to_owned(), refusal.code().into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Body::Json(told))
}

/// What refused it: the statement by its name, where it was one.
fn cited(asked: &Asked<'_>, record: &crate::secret::Secret, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied { statement, .. } => asked.vault.cite(record, crate::secret::Grant::Statement(*statement)),
        other => other.to_string(),
    }
}

/// The action of a secret that policies know as `name`, with or without `kms:`.
fn action_named(name: &str) -> Option<Action> {
    let name = name.strip_prefix("kms:").unwrap_or(name);
    Action::ALL.iter().copied().find(|action| {
        action.in_policies() == Some(action.name())
            && action.name().eq_ignore_ascii_case(name)
            && !matches!(action, Action::Decrypt | Action::GenerateDataKey)
    })
}
