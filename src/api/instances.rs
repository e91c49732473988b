//! The actions on instances: ListKmsInstances, GetKmsInstance, and UpdateKmsInstance, which KMS has not.

use serde_json::Value as Json;

use super::describe::instance as described;
use super::lists::wrap;
use super::members::Members;
use super::page::Page;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, InstanceState, Right};

/// Rows of a page of ListKmsInstances, unless asked otherwise.
const USUAL_PAGE: usize = 10;

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
    asked.allow_at(&instance, Right::Read, action)?;
    Ok(Body::Json(object! { "KmsInstance": described(asked.vault, &instance)? }))
}

/// UpdateKmsInstance, of kmsfs alone: has its values be had, or sealed; its owner's and root's to say.
pub fn update(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateInstance;
    let name = request.required("KmsInstanceId")?;
    let state = request.text("State")?.map(|text| InstanceState::parse(text.as_bytes())).transpose()?;
    asked.end(request, action)?;
    let instance = asked.instance(Some(&name), action)?;
    asked.must_own_instance(&instance, action)?;
    let state = state.ok_or(ApiError::Missing("State"))?;
    asked.change(|vault, caller| vault.set_instance_state(caller, instance.id(), state))?;
    let instance = asked.instance(Some(&name), action)?;
    Ok(Body::Json(object! { "KmsInstance": described(asked.vault, &instance)? }))
}
