//! The actions on tags, of one secret and of many.

use serde::Deserialize;
use serde_json::Value as Json;

use super::lists::wrap;
use super::members::{Members, invalid};
use super::permit::Found;
use super::walk::Walk;
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, Right, SecretName, TagKey, Tags};

/// Most secrets of a batch.
const RESOURCES_MAX: usize = 50;
/// Most tags of a batch.
const BATCH_TAGS_MAX: usize = 20;
/// Rows of a page of ListTagResources.
const ROWS_MAX: usize = 200;

/// One tag, as the actions on one resource have it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Pair {
    tag_key: String,
    #[serde(default)]
    tag_value: String,
}

/// The tags of parameter `name`, if it is there.
pub fn tags_of(request: &mut Members<'_>, name: &str) -> Result<Option<Vec<(String, String)>>, ApiError> {
    let pairs: Option<Vec<Pair>> = request.json(name, "[{\"TagKey\":\"...\",\"TagValue\":\"...\"}]")?;
    Ok(pairs.map(|pairs| pairs.into_iter().map(|pair| (pair.tag_key, pair.tag_value)).collect()))
}

/// TagResource.
pub fn tag_one(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::TagResource;
    let found = one(asked, request, action)?;
    let pairs = tags_of(request, "Tags")?.ok_or(ApiError::Missing("Tags"))?;
    asked.end(request, action)?;
    set(asked, &[found], &parsed(&pairs)?, action)
}

/// UntagResource.
pub fn untag_one(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UntagResource;
    let found = one(asked, request, action)?;
    let keys = keys_of(request)?;
    asked.end(request, action)?;
    unset(asked, &[found], Some(keys), action)
}

/// TagResources: all of them, or none.
pub fn tag_many(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::TagResource;
    let found = many(asked, request, action)?;
    let pairs = request.repeated_pairs("Tag", BATCH_TAGS_MAX)?;
    asked.end(request, action)?;
    if pairs.is_empty() {
        return Err(ApiError::Missing("Tag.1.Key"));
    }
    set(asked, &found, &parsed(&pairs)?, action)
}

/// UntagResources: all of them, or none. `All` counts only where no key is given.
pub fn untag_many(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UntagResource;
    let found = many(asked, request, action)?;
    let (keys, all) = (request.repeated("TagKey", BATCH_TAGS_MAX)?, request.flag("All")?);
    asked.end(request, action)?;
    if keys.is_empty() && !all {
        return Err(ApiError::Missing("TagKey.1"));
    }
    unset(asked, &found, (!keys.is_empty()).then_some(keys), action)
}

/// ListTagResources: a row for each tag of each secret, of those named or of all that who asks may describe.
pub fn list(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ListTagResources;
    only_secrets(request)?;
    let names = request.repeated("ResourceId", RESOURCES_MAX)?;
    let wanted = request.repeated_pairs("Tag", BATCH_TAGS_MAX)?;
    let token = request.text("NextToken")?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    asked.end(request, action)?;
    let mut rows = Vec::new();
    if !names.is_empty() {
        asked.waits()?;
        for name in &names {
            let found = asked.secret(&instance, &asked.secret_name(name)?, action)?;
            found.allow(asked, Right::Read, action)?;
            asked.reads(&found.secret, action)?;
            add_rows(&mut rows, &found.record.name, &found.record.tags, &wanted);
        }
        return Ok(tag_rows(rows, String::new()));
    }
    asked.waits()?;
    asked.allow_at(&instance, Right::Read, action)?;
    let mut walk = match token {
        Some(token) => Walk::at(asked, &instance, &token, action)?,
        None => Walk::of(&instance, action),
    };
    // A secret's tags stand on one page.
    while rows.len() + BATCH_TAGS_MAX <= ROWS_MAX {
        let Some(node) = walk.next(asked, &|_| true)? else { break };
        if let Some(secret) = node.as_secret() {
            add_rows(&mut rows, &secret.secret.name, &secret.secret.tags, &wanted);
        }
    }
    asked.reads(&instance, action)?;
    Ok(tag_rows(rows, walk.token().unwrap_or_default()))
}

fn tag_rows(rows: Vec<Json>, token: String) -> Body {
    Body::Json(object! { "NextToken": token, "TagResources": wrap("TagResource", rows) })
}

/// The rows of a secret that has one of the tags that are wanted, or any where none is; an empty value fits every one.
fn add_rows(rows: &mut Vec<Json>, name: &SecretName, tags: &Tags, wanted: &[(String, String)]) {
    for (key, value) in tags.iter() {
        let fits = |(wanted_key, wanted_value): &(String, String)| {
            wanted_key == key.as_str() && (wanted_value.is_empty() || wanted_value == value.as_str())
        };
        if wanted.is_empty() || wanted.iter().any(fits) {
            rows.push(Json::from(object! {
                "ResourceId": name.as_str(),
                "ResourceType": "secret",
                "TagKey": key.as_str(),
                "TagValue": value.as_str(),
            }));
        }
    }
}

fn parsed(pairs: &[(String, String)]) -> Result<Tags, ApiError> {
    Ok(Tags::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?)
}

fn set(asked: &mut Asked<'_>, found: &[Found], tags: &Tags, action: Action) -> Result<Body, ApiError> {
    let ids = writable(asked, found, action)?;
    asked.change(|vault, caller| vault.change_tags(caller, action, &ids, |present| present.merge(tags)))?;
    Ok(Body::Json(serde_json::Map::new()))
}

fn unset(asked: &mut Asked<'_>, found: &[Found], keys: Option<Vec<String>>, action: Action) -> Result<Body, ApiError> {
    let keys: Option<Result<Vec<_>, _>> =
        keys.map(|keys| (1..).zip(&keys).map(|(at, key)| TagKey::parse(key, at)).collect());
    let keys = keys.transpose()?;
    let ids = writable(asked, found, action)?;
    asked.change(|vault, caller| {
        vault.change_tags(caller, action, &ids, |present| {
            Ok(keys.as_ref().map_or_else(Tags::default, |keys| present.without(keys)))
        })
    })?;
    Ok(Body::Json(serde_json::Map::new()))
}

fn writable(asked: &Asked<'_>, found: &[Found], action: Action) -> Result<Vec<crate::id::NodeId>, ApiError> {
    for found in found {
        found.allow(asked, Right::Write, action)?;
        found.record.not_scheduled()?;
    }
    Ok(found.iter().map(|found| found.secret.id()).collect())
}

/// The secret of TagResource and UntagResource, which know keys and certificates too.
fn one(asked: &Asked<'_>, request: &mut Members<'_>, action: Action) -> Result<Found, ApiError> {
    for other in ["KeyId", "CertificateId"] {
        if request.text(other)?.is_some() {
            return Err(ApiError::Unsupported("tagging a key or a certificate"));
        }
    }
    asked.named(request, action)
}

/// The secrets of TagResources and UntagResources.
fn many(asked: &Asked<'_>, request: &mut Members<'_>, action: Action) -> Result<Vec<Found>, ApiError> {
    only_secrets(request)?;
    let names = request.repeated("ResourceId", RESOURCES_MAX)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    if names.is_empty() {
        return Err(ApiError::Missing("ResourceId.1"));
    }
    let mut found: Vec<Found> = Vec::new();
    for name in &names {
        let name = asked.secret_name(name)?;
        // One that is named twice is meant once.
        if !found.iter().any(|found| found.record.name == name) {
            found.push(asked.secret(&instance, &name, action)?);
        }
    }
    Ok(found)
}

fn only_secrets(request: &mut Members<'_>) -> Result<(), ApiError> {
    match request.required("ResourceType")?.as_str() {
        "secret" => Ok(()),
        "key" => Err(ApiError::Unsupported("tagging a key")),
        _ => Err(invalid("ResourceType", "is neither secret nor key")),
    }
}

/// `["k1","k2"]`, also as a text, or `k1,k2`.
fn keys_of(request: &mut Members<'_>) -> Result<Vec<String>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        List(Vec<String>),
        Text(String),
    }
    let shape = "[\"...\"]";
    let text = match request.raw_text("TagKeys") {
        Some(text) => text,
        None => return Err(ApiError::Missing("TagKeys")),
    };
    let read = match serde_json::from_str::<Keys>(&text) {
        Ok(Keys::List(keys)) => keys,
        Ok(Keys::Text(text)) => {
            serde_json::from_str(&text).unwrap_or_else(|_| text.split(',').map(str::to_owned).collect())
        }
        Err(_) => return Err(invalid("TagKeys", &format!("is not of the shape {shape}"))),
    };
    if read.is_empty() { Err(ApiError::Missing("TagKeys")) } else { Ok(read) }
}
