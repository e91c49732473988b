//! The actions on keys: CreateKey, DescribeKey, ListKeys, EnableKey, DisableKey, UpdateKeyDescription, ListKeyVersions,
//! ScheduleKeyDeletion, CancelKeyDeletion; and those that KMS has not: DestroyKey, RotateKey, MoveSecretToKey.
//!
//! A key's id is the name of its directory in `.keys/`.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::describe::key as described;
use super::lists::wrap;
use super::members::Members;
use super::page::Page;
use super::walk::Walk;
use super::{ApiError, Asked, Body, object};
use crate::id::{NodeId, OpId};
use crate::secret::{Action, KeyName, KeyOrder, KeyWindow, Policy, Refusal, Right};
use crate::vault::Loaded;

/// Most names of secrets that an answer has which are unreadable without a key.
const DOOMED_MAX: usize = 1_000;
/// Rows of a page of ListKeys, unless asked otherwise.
const USUAL_PAGE: usize = 10;
/// What a key may be asked to be, and the only thing that each of these is here.
const KINDS: [(&str, &str, &str); 4] = [
    ("KeySpec", "Aliyun_AES_256", "a key of another kind than Aliyun_AES_256"),
    ("KeyUsage", "ENCRYPT/DECRYPT", "a key for another use than ENCRYPT/DECRYPT"),
    ("Origin", "Aliyun_KMS", "a key whose material comes from elsewhere"),
    ("ProtectionLevel", "SOFTWARE", "a key in a hardware module"),
];

/// CreateKey. KMS makes an id; with `KeyId`, of kmsfs alone, it is the one that is wanted.
pub fn create(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::CreateKey;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    let name = match request.text("KeyId")? {
        Some(name) => KeyName::parse(name.as_bytes())?,
        None => KeyName::parse(made_up(asked.asker.caller.op).as_bytes())?,
    };
    for (member, only, other) in KINDS {
        if request.text(member)?.is_some_and(|kind| kind != only) {
            return Err(ApiError::Unsupported(other));
        }
    }
    let description = request.text("Description")?.unwrap_or_default();
    if request.flag("EnableAutomaticRotation")? {
        return Err(ApiError::Unsupported("rotating a key by itself"));
    }
    let policy = request.text("Policy")?.unwrap_or_default();
    let policy = Policy::parse(policy.as_bytes())?;
    request.pass_over(&["RotationInterval", "KeyStorageMechanism"]);
    asked.end(request, action)?;
    asked.on_key(&name);
    asked.allow_at(&instance, Right::Change, action)?;
    let id = instance.id();
    asked.change(|vault, caller| vault.make_key(caller, id, name.clone(), &description, policy).map(drop))?;
    let key = asked.key(&instance, name.as_str())?;
    metadata(asked, &key)
}

/// A name that nobody has, and the same when the request comes again.
fn made_up(op: OpId) -> String {
    let hex: String = op.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("key-{hex}")
}

/// DescribeKey.
pub fn describe(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DescribeKey;
    let key = asked.named_key(request, Right::Read, action)?;
    asked.end(request, action)?;
    asked.reads(&key, action)?;
    metadata(asked, &key)
}

/// ListKeys, of one instance.
pub fn list(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ListKeys;
    let page = Page::take(request, USUAL_PAGE)?;
    let instance = asked.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
    asked.end(request, action)?;
    asked.allow_at(&instance, Right::Read, action)?;
    let (mut filling, mut after) = (page.fill(), Some(NodeId(0)));
    while let Some(from) = after {
        let keys = asked.vault.keys(instance.id(), from, super::walk::PAGE)?;
        for key in &keys.nodes {
            filling.pass(|| {
                let told = described(asked.vault, key)?;
                let member = |name: &str| told.get(name).cloned().unwrap_or_default();
                Ok(Json::from(object! { "KeyId": member("KeyId"), "KeyArn": member("Arn") }))
            })?;
        }
        after = keys.next;
    }
    let (rows, mut told) = filling.end();
    told.insert("Keys".to_owned(), wrap("Key", rows));
    Ok(Body::Json(told))
}

/// EnableKey.
pub fn enable(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    set_state(asked, request, Action::EnableKey, KeyOrder::Enable)
}

/// DisableKey.
pub fn disable(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    set_state(asked, request, Action::DisableKey, KeyOrder::Disable)
}

fn set_state(
    asked: &mut Asked<'_>,
    request: &mut Members<'_>,
    action: Action,
    order: KeyOrder,
) -> Result<Body, ApiError> {
    let key = asked.named_key(request, Right::Write, action)?;
    asked.end(request, action)?;
    asked.change(|vault, caller| vault.set_key_state(caller, key.id(), order))?;
    Ok(Body::Json(Map::new()))
}

/// ScheduleKeyDeletion. With `Force`, of kmsfs alone, also of a key that secrets are under, which are named.
pub fn schedule(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ScheduleKeyDeletion;
    let key = asked.named_key(request, Right::Write, action)?;
    let days = request.required("PendingWindowInDays")?;
    let forced = request.flag("Force")?;
    asked.end(request, action)?;
    if forced {
        asked.waits()?;
    }
    let window = KeyWindow::of_days(days.parse().map_err(|_| Refusal::BadKeyWindow)?)?;
    let order = KeyOrder::Schedule { due: window.end(asked.vault.moment()?), forced };
    asked.change(|vault, caller| vault.set_key_state(caller, key.id(), order))?;
    Ok(Body::Json(if forced { doomed(asked, &key)? } else { Map::new() }))
}

/// The secrets under a key that is to be destroyed, as far as who asks may list them: their values will be unreadable.
fn doomed(asked: &Asked<'_>, key: &Loaded) -> Result<Map<String, Json>, ApiError> {
    let instance = asked.vault.node(key.instance_id())?.ok_or(Refusal::NoSuchInstance)?;
    let (mut walk, mut names) = (Walk::of(&instance, Action::ListSecrets), Vec::new());
    let lists = asked.allow_at(&instance, Right::Read, Action::ListSecrets).is_ok();
    while lists
        && names.len() < DOOMED_MAX
        && let Some(secret) = walk.next(asked, &|_| true)?
    {
        names.extend(
            secret
                .as_secret()
                .map(|node| &node.secret)
                .filter(|secret| secret.key == key.id())
                .map(|secret| Json::from(secret.name.as_str())),
        );
    }
    let uses = asked.vault.node(key.id())?.and_then(|key| Some(key.as_key()?.uses)).unwrap_or_default();
    Ok(object! { "TotalCount": uses, "SecretNames": names })
}

/// CancelKeyDeletion.
pub fn cancel(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    set_state(asked, request, Action::CancelKeyDeletion, KeyOrder::Cancel)
}

/// DestroyKey, which KMS does by itself: the end of a key whose window is over.
pub fn destroy(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::DestroyKey;
    if asked.again {
        // It is gone, and cannot be named any more.
        return Ok(Body::Json(Map::new()));
    }
    let key = asked.named_key(request, Right::Write, action)?;
    asked.end(request, action)?;
    asked.change(|vault, caller| vault.destroy_key(caller, key.id()))?;
    Ok(Body::Json(Map::new()))
}

/// UpdateKeyDescription.
pub fn set_description(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateKeyDescription;
    let key = asked.named_key(request, Right::Write, action)?;
    let text = request.text_or_empty("Description")?.ok_or(ApiError::Missing("Description"))?;
    asked.end(request, action)?;
    asked.change(|vault, caller| vault.set_key_description(caller, key.id(), &text))?;
    Ok(Body::Json(Map::new()))
}

/// RotateKey, which KMS does by itself alone: a new version of the key.
pub fn rotate(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::RotateKey;
    let key = asked.named_key(request, Right::Write, action)?;
    asked.end(request, action)?;
    asked.change(|vault, caller| vault.rotate_key(caller, key.id()))?;
    let key = asked.vault.node(key.id())?.ok_or(Refusal::NotFound)?;
    metadata(asked, &key)
}

/// ListKeyVersions.
pub fn list_versions(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::ListKeyVersions;
    let page = Page::take(request, USUAL_PAGE)?;
    let loaded = asked.named_key(request, Right::Read, action)?;
    asked.end(request, action)?;
    asked.reads(&loaded, action)?;
    let key = loaded.as_key().ok_or(Refusal::NotFound)?;
    let mut filling = page.fill();
    for (made, number) in key.versions.iter().zip(1..) {
        filling.pass(|| {
            let (id, made) = (key.name.as_str(), made.to_string());
            Ok(Json::from(object! { "KeyId": id, "KeyVersionId": number.to_string(), "CreationDate": made }))
        })?;
    }
    let (rows, mut told) = filling.end();
    told.insert("KeyVersions".to_owned(), wrap("KeyVersion", rows));
    Ok(Body::Json(told))
}

/// MoveSecretToKey, which KMS has not: all versions of a secret come under another key of its instance. It is its owner's to do.
pub fn move_secret(asked: &mut Asked<'_>, request: &mut Members<'_>) -> Result<Body, ApiError> {
    let action = Action::UpdateSecret;
    let found = asked.named(request, action)?;
    let name = request.required("EncryptionKeyId")?;
    asked.end(request, action)?;
    found.must_be_owned(asked, action)?;
    let instance = asked.vault.node(found.instance)?.ok_or(Refusal::NoSuchInstance)?;
    let (id, key) = (found.secret.id(), asked.key(&instance, &name)?.id());
    // Whoever may not open the values, or not seal under the other key, could come to it so.
    asked.allow_key(found.record.key, Action::Decrypt)?;
    asked.allow_key(key, Action::GenerateDataKey)?;
    asked.change(|vault, caller| vault.move_to_key(caller, id, key))?;
    Ok(Body::Json(object! { "SecretName": found.record.name.as_str() }))
}

fn metadata(asked: &Asked<'_>, key: &Loaded) -> Result<Body, ApiError> {
    Ok(Body::Json(object! { "KeyMetadata": described(asked.vault, key)? }))
}

impl Asked<'_> {
    /// The key that a request names by `KeyId` and `DKMSInstanceId`. Its instance's bits are its own.
    pub(super) fn named_key(
        &self,
        request: &mut Members<'_>,
        right: Right,
        action: Action,
    ) -> Result<Arc<Loaded>, ApiError> {
        let name = request.required("KeyId")?;
        let instance = self.instance(request.text("DKMSInstanceId")?.as_deref(), action)?;
        self.allow_at(&instance, right, action)?;
        let key = self.key(&instance, &name)?;
        if let Some(key) = key.as_key() {
            self.on_key(&key.name);
        }
        Ok(key)
    }

    /// The key `name` of `instance`, by its name or its ARN.
    pub(super) fn key(&self, instance: &Loaded, name: &str) -> Result<Arc<Loaded>, ApiError> {
        let name = self.named_by_arn("KeyId", "key", name)?.unwrap_or(name);
        let name = KeyName::parse(name.as_bytes())?;
        let key = self.vault.key_named(instance.id(), &name)?;
        Ok(key.ok_or(Refusal::NoSuchKey { name })?)
    }

    /// Has it recorded that the request is on the key `name`.
    fn on_key(&self, name: &KeyName) {
        self.target.borrow_mut().secret = Some(format!(".keys/{}", name.as_str()));
    }
}
