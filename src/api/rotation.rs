//! The actions on rotation by functions. KMS has the first two for secrets of other types; what it has functions for, those of the operator are
//! here.

use serde_json::{Map, Value as Json};

use super::members::{Members, invalid};
use super::values::version_id;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, FunctionName, Interval, Plan, Right, RunOutcome, Secret};

/// RotateSecret: begins a run of the secret's function. Without a VersionId the new version takes the next `v<n>`.
pub fn rotate(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::RotateSecret;
    let found = asked.named(request, action)?;
    let id = version_id(request, "VersionId")?;
    asked.end(request, action)?;
    found.allow_value(asked, action)?;
    let secret = found.secret.id();
    asked.change(|vault, caller| vault.begin_rotation(caller, secret, id))?;
    Ok(name_of(&found.record))
}

/// CancelSecretRotation, of kmsfs alone: ends a run where it stands.
pub fn cancel(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::RotateSecret;
    let found = asked.named(request, action)?;
    asked.end(request, action)?;
    found.allow_value(asked, action)?;
    let secret = found.secret.id();
    asked.change(|vault, caller| vault.cancel_rotation(caller, secret))?;
    Ok(name_of(&found.record))
}

/// UpdateSecretRotationPolicy: how often. The function, which KMS knows by the secret's type, is said once; without one there is nothing to enable.
pub fn set_policy(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateSecretRotationPolicy;
    let found = asked.named(request, action)?;
    let enable = request.choice("EnableAutomaticRotation")?.ok_or(ApiError::Missing("EnableAutomaticRotation"))?;
    let every = request.text("RotationInterval")?;
    let every =
        every.map(|text| Interval::parse(&text).ok_or_else(|| invalid("RotationInterval", "is no 6h to 8760h")));
    let (every, function) = (every.transpose()?, request.text("Function")?);
    asked.end(request, action)?;
    found.allow(asked, Right::Write, action)?;
    let function =
        function.map(|name| FunctionName::parse(&name).ok_or_else(|| invalid("Function", "names no function")));
    let before = found.record.rotation.as_ref().map(|rotation| &rotation.plan);
    let function = function.transpose()?.or_else(|| before.map(|plan| plan.function.clone()));
    let function = function.ok_or(ApiError::Unsupported("a rotation policy of a secret that no function rotates"))?;
    let usual = before.and_then(|plan| plan.every);
    let every = if enable { every.or(usual) } else { None };
    if enable && every.is_none() {
        return Err(ApiError::Missing("RotationInterval"));
    }
    let secret = found.secret.id();
    asked.change(|vault, caller| vault.set_rotation(caller, secret, Some(Plan { function, every })))?;
    Ok(name_of(&found.record))
}

fn name_of(secret: &Secret) -> Body {
    Body::Json(object! { "SecretName": secret.name.as_str() })
}

/// What DescribeSecret says of it.
pub fn describe(secret: &Secret, members: &mut Map<String, Json>) {
    let Some(rotation) = &secret.rotation else { return };
    if let Some(every) = rotation.plan.every {
        members.insert("AutomaticRotation".to_owned(), "Enabled".into());
        members.insert("RotationInterval".to_owned(), format!("{}s", every.seconds()).into());
    }
    if let Some(next) = rotation.next {
        members.insert("NextRotationDate".to_owned(), next.wall.to_string().into());
    }
    let mut told = object! { "Function": rotation.plan.function.as_str(), "State": state(secret) };
    if let Some(run) = &rotation.run {
        let version = run.new.and_then(|no| secret.version_no(no)).map(|version| version.id.as_str());
        told.extend(object! {
            "Begun": run.begun.to_string(),
            "VersionId": version.unwrap_or_default(),
            "Failures": run.failures,
        });
        told.extend(run.again.map(|again| ("TryAgain".to_owned(), again.wall.to_string().into())));
        told.extend(run.error.as_ref().map(|error| ("Error".to_owned(), error.as_str().into())));
    }
    if let Some(last) = &rotation.last {
        let mut ended = object! { "Outcome": last.outcome.word(), "Time": last.at.to_string() };
        ended.extend(last.error.as_ref().map(|error| ("Error".to_owned(), error.as_str().into())));
        told.insert("Last".to_owned(), ended.into());
    }
    members.insert("Rotation".to_owned(), told.into());
}

/// The step that is being done, or whether there is none.
fn state(secret: &Secret) -> &'static str {
    let Some(rotation) = &secret.rotation else { return "none" };
    match &rotation.run {
        Some(run) if run.stuck => RunOutcome::Failed.word(),
        Some(run) => run.step.word(),
        None => "idle",
    }
}
