//! The actions on a secret but for its values.

use super::describe::{planned, secret};
use super::members::{Members, invalid};
use super::permit::Found;
use super::values::{stage_label, version_id};
use super::{ApiError, Asked, Body, object};
use crate::secret::{Account, Action, RecoveryWindow, Refusal, Right, SecretName};
use crate::vault::Target;

/// Characters of a name that are recorded: of a good one all, of a bad one as many.
const SAID_MAX: usize = 192;

/// DescribeSecret. Works while the secret is scheduled for deletion.
pub fn describe(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DescribeSecret;
    let found = asked.named(request, action)?;
    let tags = request.flag("FetchTags")?;
    asked.end(request, action)?;
    found.allow(asked, Right::Read, action)?;
    asked.reads(&found.secret, action)?;
    Ok(Body::Json(secret(asked.vault, &found.secret, tags)?))
}

/// UpdateSecret: the description.
pub fn update(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateSecret;
    let found = asked.named(request, action)?;
    // An empty one is a description like any other.
    let text = request.text_or_empty("Description")?;
    request.pass_over(&["ExtendedConfig.CustomData"]);
    asked.end(request, action)?;
    found.allow(asked, Right::Write, action)?;
    let id = found.secret.id();
    if let Some(text) = text {
        asked.change(|vault, caller| vault.set_description(caller, id, text.as_bytes()))?;
    }
    Ok(name_alone(&found))
}

/// UpdateSecretVersionStage.
pub fn move_stage(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateSecretVersionStage;
    let found = asked.named(request, action)?;
    let label = stage_label(request, "VersionStage")?.ok_or(ApiError::Missing("VersionStage"))?;
    let (to, from) = (version_id(request, "MoveToVersion")?, version_id(request, "RemoveFromVersion")?);
    asked.end(request, action)?;
    found.allow(asked, Right::Change, action)?;
    let id = found.secret.id();
    match (to, from) {
        (Some(to), from) => {
            asked.change(|vault, caller| vault.move_stage(caller, id, &label, &to, from.as_ref()))?;
        }
        (None, Some(from)) => {
            asked.change(|vault, caller| vault.remove_stage(caller, id, &label, Some(&from)))?;
        }
        (None, None) => return Err(ApiError::Missing("MoveToVersion")),
    }
    Ok(name_alone(&found))
}

/// DeleteSecret. With Force also of a secret that is scheduled already: that is its purge.
pub fn delete(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DeleteSecret;
    let name = asked.secret_name(&request.required("SecretName")?)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    let force = request.flag("ForceDeleteWithoutRecovery")?;
    let window = request.text("RecoveryWindowInDays")?;
    asked.end(request, action)?;
    // Beside Force it has no effect, and is taken: tools send both.
    let window = match window {
        Some(days) => Some(RecoveryWindow::parse(days.as_bytes())?).filter(|_| !force),
        None => None,
    };
    if asked.again && force {
        return Ok(deleted(&name, asked.vault.now().to_string()));
    }
    let found = asked.secret(&instance, &name, action)?;
    found.allow(asked, Right::Change, action)?;
    let (id, scheduled) = (found.secret.id(), found.record.deletion.is_some());
    let planned_at = match (force, scheduled) {
        (true, true) => {
            asked.change(|vault, caller| vault.purge(caller, id))?;
            asked.vault.now().to_string()
        }
        (true, false) => {
            let takes_name = asked.may_take(&instance, &name)?;
            asked.change(|vault, caller| vault.destroy(caller, id, takes_name))?;
            asked.vault.now().to_string()
        }
        (false, _) => {
            let takes_name = asked.may_take(&instance, &name)?;
            asked.change(|vault, caller| vault.delete_secret(caller, id, window, takes_name))?;
            planned(&asked.again_found(&found)?.record)
        }
    };
    asked.touch(instance.id(), &name, true);
    Ok(deleted(&name, planned_at))
}

/// PurgeSecret, which KMS has not: Force for what is scheduled alone, so that no secret is destroyed that came back meanwhile.
pub fn purge(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ForceDeleteSecret;
    let name = asked.secret_name(&request.required("SecretName")?)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    asked.end(request, action)?;
    if !asked.again {
        let found = asked.secret(&instance, &name, action)?;
        found.allow(asked, Right::Change, action)?;
        let id = found.secret.id();
        asked.change(|vault, caller| vault.purge(caller, id))?;
    }
    asked.touch(instance.id(), &name, true);
    Ok(deleted(&name, asked.vault.now().to_string()))
}

/// RestoreSecret: to where it was; directories above that have gone are made again.
pub fn restore(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::RestoreSecret;
    let name = asked.secret_name(&request.required("SecretName")?)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    asked.end(request, action)?;
    let found = asked.secret(&instance, &name, action)?;
    asked.may_restore(&instance, &found)?;
    let id = found.secret.id();
    asked.change(|vault, caller| vault.restore_in_place(caller, id))?;
    asked.touch(instance.id(), &name, true);
    Ok(name_alone(&found))
}

fn name_alone(found: &Found) -> Body {
    Body::Json(object! { "SecretName": found.record.name.as_str() })
}

fn deleted(name: &SecretName, planned: String) -> Body {
    Body::Json(object! { "SecretName": name.as_str(), "PlannedDeleteTime": planned })
}

/// A name as far as it is recorded of a request that may be refused.
fn said(name: &str) -> String {
    name.chars().take(SAID_MAX).collect()
}

impl Asked<'_> {
    /// The secret that a request names by `SecretName` and `DKMSInstanceId`.
    pub(super) fn named(&self, request: &mut Members<'_>, action: Action) -> Result<Found, ApiError> {
        let name = self.secret_name(&request.required("SecretName")?)?;
        let instance = self.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
        self.secret(&instance, &name, action)
    }

    /// The same secret as it is now.
    pub(super) fn again_found(&self, found: &Found) -> Result<Found, ApiError> {
        let placed = self.vault.placed(found.secret.id())?.ok_or(Refusal::NotFound)?;
        let record = placed.secret.as_secret().ok_or(Refusal::NotFound)?.secret.clone();
        Ok(Found { instance: found.instance, record, secret: placed.secret })
    }

    /// A secret's name, or its ARN.
    pub(super) fn secret_name(&self, text: &str) -> Result<SecretName, ApiError> {
        *self.target.borrow_mut() = Target { secret: Some(said(text)), ..Target::default() };
        let Some(name) = self.named_by_arn("SecretName", "secret", text)? else { return Ok(SecretName::parse(text)?) };
        let name = SecretName::parse(name)?;
        self.target.borrow_mut().secret = Some(name.as_str().to_owned());
        Ok(name)
    }

    /// The name of a resource of `sort` in its ARN, which is the parameter `member`; `None` where that is no ARN.
    pub(super) fn named_by_arn<'t>(
        &self,
        member: &'static str,
        sort: &str,
        text: &'t str,
    ) -> Result<Option<&'t str>, ApiError> {
        let Some(rest) = text.strip_prefix("acs:kms:") else { return Ok(None) };
        let mut parts = rest.splitn(3, ':');
        let (region, account, name) = (parts.next(), parts.next(), parts.next());
        let name = name.and_then(|name| name.strip_prefix(sort)?.strip_prefix('/'));
        let (Some(_), Some(account), Some(name)) = (region, account, name) else {
            return Err(invalid(member, &format!("is neither a name nor the ARN of a {sort}")));
        };
        if account != self.account()?.as_str() {
            return Err(ApiError::OtherAccount);
        }
        Ok(Some(name))
    }

    pub(super) fn account(&self) -> Result<Account, ApiError> {
        Ok(self.vault.root()?.account)
    }

    /// Refuses members that the action has not asked for.
    pub(super) fn end(&self, request: &mut Members<'_>, action: Action) -> Result<(), ApiError> {
        request.end(action.name())
    }
}
