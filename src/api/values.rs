//! The actions on values: CreateSecret, PutSecretValue, GetSecretValue, BatchGetSecretValue.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::describe::{GENERIC, arn};
use super::members::{Members, invalid};
use super::permit::Found;
use super::plain::{Plain, from_base64};
use super::{ApiError, Asked, Body, object};
use crate::secret::{Action, DataType, Policy, Right, StageLabel, Tags, Terms, Version, VersionId};
use crate::value::Value;
use crate::vault::{Creation, Draft, Needs};

/// Most secrets of one BatchGetSecretValue.
const BATCH_MAX: usize = 20;
/// Parameters of other types of secrets.
const OF_OTHER_TYPES: [&str; 3] = ["ExtendedConfig", "EnableAutomaticRotation", "RotationInterval"];

/// CreateSecret. Without a VersionId the first version is `v1`, as in the console.
pub fn create(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::CreateSecret;
    let name = asked.secret_name(&request.required("SecretName")?)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    let id = version_id(request, "VersionId")?;
    let (value, kind) = secret_data(request)?;
    let mut terms = Terms { description: request.text("Description")?, ..Terms::default() };
    if let Some(tags) = super::tags::tags_of(request, "Tags")? {
        terms.tags = Some(Tags::from_pairs(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))?);
    }
    if let Some(key) = request.text("EncryptionKeyId")? {
        terms.key = Some(asked.key(&instance, &key)?.id());
    }
    if request.text("SecretType")?.is_some_and(|kind| kind != GENERIC) {
        return Err(ApiError::Unsupported("a secret of another type than Generic"));
    }
    if let Some(policy) = request.text("Policy")? {
        terms.policy = Some(Policy::parse(policy.as_bytes())?);
    }
    request.pass_over(&OF_OTHER_TYPES);
    asked.end(request, action)?;
    if !asked.again {
        asked.may_make(&instance, &name, action)?;
        asked.may_begin(&instance, &name, terms.policy.is_some())?;
        asked.may_seal(&instance, &name, terms.key)?;
    }
    let new = Creation { id, bytes: &value, kind: Some(kind), terms };
    asked.change(|vault, caller| vault.create_secret(caller, instance.id(), &name, new))?;
    asked.touch(instance.id(), &name, false);
    let found = asked.secret(&instance, &name, action)?;
    Ok(Body::Json(object! {
        "Arn": arn(asked.vault, &found.record)?,
        "SecretName": name.as_str(),
        "VersionId": found.record.current().map_or("", |version| version.id.as_str()),
        "SecretType": GENERIC,
        "DKMSInstanceId": super::describe::instance_name(asked.vault, &instance)?,
    }))
}

/// PutSecretValue. Without a VersionId the version gets the next `v<n>`, as a write to `current` does.
pub fn put(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::PutSecretValue;
    let found = asked.named(request, action)?;
    let id = version_id(request, "VersionId")?;
    let (value, kind) = secret_data(request)?;
    let stages = stages_of(request)?;
    let if_current = version_id(request, "IfCurrentVersion")?;
    asked.end(request, action)?;
    match &id {
        // A file is made in `versions/`,
        Some(_) => asked.allow_value(&found, Needs::Directory(Right::Change), action)?,
        // or `current` is written.
        None => asked.allow_value(&found, Needs::Value(Right::Write), action)?,
    }
    // Any label but the one that every new version gets is moved in `stages/`.
    if stages.as_ref().is_some_and(|labels| *labels != [StageLabel::current()]) {
        found.allow(asked, Right::Change, Action::UpdateSecretVersionStage)?;
    }
    found.record.not_scheduled()?;
    let draft = Draft { id: id.clone(), stages, kind: Some(kind), if_current, ..Draft::of(&value) };
    let secret = found.secret.id();
    asked.change(|vault, caller| vault.put_value(caller, secret, draft).map(|_| ()))?;
    let found = asked.again_found(&found)?;
    let version = match &id {
        Some(id) => found.record.version(id),
        None => found.record.versions.last(),
    };
    Ok(Body::Json(object! {
        "SecretName": found.record.name.as_str(),
        "VersionId": version.map_or("", |version| version.id.as_str()),
        "VersionStages": version.map_or(Json::Null, |version| stage_list(&found, version)),
    }))
}

/// DestroySecretVersion: the end of one version without a label, which KMS has no action for.
pub fn destroy_version(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DestroySecretVersion;
    let found = asked.named(request, action)?;
    let id = version_id(request, "VersionId")?.ok_or(ApiError::Missing("VersionId"))?;
    asked.end(request, action)?;
    found.allow(asked, Right::Change, action)?;
    let secret = found.secret.id();
    asked.change(|vault, caller| vault.destroy_version(caller, secret, &id))?;
    Ok(Body::Json(object! { "SecretName": found.record.name.as_str(), "VersionId": id.as_str() }))
}

/// GetSecretValue.
pub fn get(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetSecretValue;
    let found = asked.named(request, action)?;
    let (id, stage) = (version_id(request, "VersionId")?, stage_label(request, "VersionStage")?);
    let dry = request.flag("DryRun")?;
    request.pass_over(&["FetchExtendedConfig"]);
    asked.end(request, action)?;
    let version = readable(asked, &found, id, stage)?;
    if dry {
        asked.vault.try_disclosure(&found.secret, version.no)?;
        asked.reads(&found.secret, action)?;
        return Err(ApiError::DryRun);
    }
    read(asked, &found, &version).map(Body::Plain)
}

/// BatchGetSecretValue: each secret is read or has an error of its own.
pub fn get_batch(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::GetSecretValue;
    let shape = "[{\"SecretName\":\"...\",\"VersionId\":\"...\",\"VersionStage\":\"...\"}]";
    let list: Vec<Wanted> = request.json("SecretsList", shape)?.ok_or(ApiError::Missing("SecretsList"))?;
    let instance = request.text("DKMSInstanceId")?;
    asked.end(request, action)?;
    // What was read and recorded of it must not be so again.
    asked.waits()?;
    if list.is_empty() || list.len() > BATCH_MAX {
        return Err(invalid("SecretsList", "has not 1 to 20 elements"));
    }
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for wanted in &list {
        match wanted.read(asked, instance.as_deref()) {
            Ok(value) => values.push(value),
            Err(error) => {
                let target = asked.target.borrow().clone();
                super::tell_refusal(asked.vault, asked.asker.caller, Some(action), &target, &error)?;
                let mut row = json!({ "SecretName": wanted.secret_name });
                if let (Some(row), Json::Object(told)) = (row.as_object_mut(), error.to_json()) {
                    row.extend(told);
                }
                errors.push(row);
            }
        }
    }
    Ok(Body::Plains(values, errors))
}

/// One of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Wanted {
    secret_name: String,
    version_id: Option<String>,
    version_stage: Option<String>,
    #[serde(rename = "DKMSInstanceId")]
    instance: Option<String>,
    #[serde(rename = "FetchExtendedConfig")]
    _fetch: Option<Json>,
}

impl Wanted {
    fn read(&self, asked: &Asked<'_>, instance: Option<&str>) -> Result<Plain, ApiError> {
        let action = Action::GetSecretValue;
        let name = asked.secret_name(&self.secret_name)?;
        let instance = asked.instance(self.instance.as_deref().or(instance), action)?;
        let found = asked.secret(&instance, &name, action)?;
        let id = self.version_id.as_deref().map(|id| VersionId::parse(id.as_bytes())).transpose()?;
        let stage = self.version_stage.as_deref().map(|label| StageLabel::parse(label.as_bytes())).transpose()?;
        let version = readable(asked, &found, id, stage)?;
        read(asked, &found, &version)
    }
}

/// The version that id and label designate, if who asks may read it.
fn readable(
    asked: &Asked<'_>,
    found: &Found,
    id: Option<VersionId>,
    stage: Option<StageLabel>,
) -> Result<Version, ApiError> {
    use crate::secret::Refusal::{NoSuchLabel, NoSuchVersion};
    asked.allow_value(found, Needs::Value(Right::Read), Action::GetSecretValue)?;
    found.record.not_scheduled()?;
    let record = &found.record;
    let by_id = id.map(|id| record.version(&id).ok_or(NoSuchVersion)).transpose()?;
    let label = if by_id.is_none() { Some(stage.unwrap_or_else(StageLabel::current)) } else { stage };
    let by_stage = label
        .map(|label| record.stages.get(&label).and_then(|no| record.version_no(no)).ok_or(NoSuchLabel))
        .transpose()?;
    match (by_id, by_stage) {
        (Some(one), Some(other)) if one != other => {
            Err(invalid("VersionStage", "is the label of another version than VersionId"))
        }
        (Some(version), _) | (None, Some(version)) => Ok(version.clone()),
        (None, None) => Err(NoSuchVersion.into()),
    }
}

fn read(asked: &Asked<'_>, found: &Found, version: &Version) -> Result<Plain, ApiError> {
    asked.told.set(true);
    let (value, _) = asked.vault.disclose(asked.caller(), &found.secret, version.no, None, &[])?;
    let members = object! {
        "SecretName": found.record.name.as_str(),
        "VersionId": version.id.as_str(),
        "SecretDataType": version.kind.as_str(),
        "CreateTime": found.record.created.to_string(),
        "SecretType": GENERIC,
        "VersionStages": stage_list(found, version),
        "AutomaticRotation": "Disabled",
    };
    Ok(Plain { members, name: "SecretData", value, kind: version.kind })
}

/// `{"VersionStage":[...]}`
pub fn stage_list(found: &Found, version: &Version) -> Json {
    let labels: Vec<&str> = found.record.stages.of(version.no).iter().map(|label| label.as_str()).collect();
    json!({ "VersionStage": labels })
}

/// SecretData and SecretDataType: the content, of which the limit counts.
fn secret_data(request: &mut Members<'_>) -> Result<(Value, DataType), ApiError> {
    let text = request.plain("SecretData")?;
    match request.text("SecretDataType")?.as_deref() {
        None | Some("text") => Ok((text, DataType::Text)),
        Some("binary") => {
            let bytes = from_base64(&text).ok_or_else(|| invalid("SecretData", "is not base64, as binary data is"))?;
            Ok((bytes, DataType::Binary))
        }
        Some(_) => Err(invalid("SecretDataType", "is neither text nor binary")),
    }
}

/// A version's id, if one is given.
pub fn version_id(request: &mut Members<'_>, name: &str) -> Result<Option<VersionId>, ApiError> {
    Ok(request.text(name)?.map(|id| VersionId::parse(id.as_bytes())).transpose()?)
}

/// A label, if one is given.
pub fn stage_label(request: &mut Members<'_>, name: &str) -> Result<Option<StageLabel>, ApiError> {
    Ok(request.text(name)?.map(|label| StageLabel::parse(label.as_bytes())).transpose()?)
}

/// `["a","b"]`, or as KMS answers them: `{"VersionStage":["a","b"]}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stages {
    List(Vec<String>),
    Wrapped {
        #[serde(rename = "VersionStage")]
        list: Vec<String>,
    },
}

fn stages_of(request: &mut Members<'_>) -> Result<Option<Vec<StageLabel>>, ApiError> {
    let Some(stages) = request.json::<Stages>("VersionStages", "[\"ACSCurrent\"]")? else { return Ok(None) };
    let (Stages::List(labels) | Stages::Wrapped { list: labels }) = stages;
    if labels.is_empty() {
        return Ok(None);
    }
    let labels: Result<Vec<_>, _> = labels.iter().map(|label| StageLabel::parse(label.as_bytes())).collect();
    Ok(Some(labels?))
}
