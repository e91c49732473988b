//! The actions on policies and instances, as far as there is one of each.

use serde_json::Value as Json;

use super::describe::instance as described;
use super::lists::wrap;
use super::members::Members;
use super::page::Page;
use super::permit::access_of;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, Refusal, Right, default_document};

/// The only policy that a secret has.
const POLICY: &str = "default";
/// Rows of a page of ListKmsInstances, unless asked otherwise.
const USUAL_PAGE: usize = 10;

/// GetSecretPolicy.
pub fn get_policy(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetSecretPolicy;
    let found = asked.named(request, action)?;
    policy_name(request)?;
    asked.end(request, action)?;
    found.allow(asked, Right::Read, action)?;
    asked.reads(&found.secret, action)?;
    Ok(Body::Json(object! { "Policy": default_document(&asked.account()?).trim_end() }))
}

/// SetSecretPolicy: its owner's and root's to set.
pub fn set_policy(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::SetSecretPolicy;
    let found = asked.named(request, action)?;
    policy_name(request)?;
    let policy = request.required("Policy")?;
    asked.end(request, action)?;
    found.allow(asked, Right::Write, action)?;
    found.record.not_scheduled()?;
    asked.default_policy(&policy)?;
    Ok(Body::Json(serde_json::Map::new()))
}

fn policy_name(request: &mut Members<'_>) -> Result<(), ApiError> {
    match request.text("PolicyName")?.as_deref() {
        None | Some(POLICY) => Ok(()),
        Some(_) => Err(ApiError::NoSuchPolicy),
    }
}

/// ListKmsInstances: those that who asks can reach.
pub fn list_instances(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DescribeInstance;
    let page = Page::take(request, USUAL_PAGE)?;
    asked.end(request, action)?;
    let (account, mut filling) = (asked.account()?, page.fill());
    for instance in asked.instances(action)? {
        let name = instance.as_instance().map_or("", |instance| instance.name.as_str());
        filling.pass(|| {
            let arn = format!("acs:kms:{}:{}:keystore/{name}", super::describe::REGION, account.as_str());
            Ok(Json::from(object! { "KmsInstanceId": name, "KmsInstanceArn": arn }))
        })?;
    }
    let (rows, mut told) = filling.end();
    told.insert("KmsInstances".to_owned(), wrap("KmsInstance", rows));
    Ok(Body::Json(told))
}

/// GetKmsInstance.
pub fn get_instance(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DescribeInstance;
    let name = request.required("KmsInstanceId")?;
    asked.end(request, action)?;
    let instance = asked.instance(Some(&name), action)?;
    if !access_of(&instance)?.allows(asked.asker.identity, Right::Read) {
        return Err(Refusal::NotPermitted { action: action.name(), on: name }.into());
    }
    Ok(Body::Json(object! { "KmsInstance": described(asked.vault, &instance)? }))
}
