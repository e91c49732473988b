//! What KMS says of a secret, a key, an instance: the members of its answers, and of the tree's `info` files.

use serde_json::{Map, Value as Json, json};

use super::object;
use crate::secret::{KeyName, KeyState, Secret, Tags};
use crate::vault::{Loaded, Vault, VaultError};

/// The region that ARNs name: this program has no other.
pub const REGION: &str = "local";
/// The type of all secrets here.
pub const GENERIC: &str = "Generic";

/// The name that KMS gives a secret: region `local`, the store's account.
pub fn arn(vault: &Vault, secret: &Secret) -> Result<String, VaultError> {
    resource(vault, "secret", secret.name.as_str())
}

fn resource(vault: &Vault, sort: &str, name: &str) -> Result<String, VaultError> {
    Ok(format!("acs:kms:{REGION}:{}:{sort}/{name}", vault.root()?.account.as_str()))
}

/// DescribeSecret; `tags` where they were asked for.
pub fn secret(vault: &Vault, loaded: &Loaded, with_tags: bool) -> Result<Map<String, Json>, VaultError> {
    let secret = &loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?.secret;
    let mut members = object! {
        "Arn": arn(vault, secret)?,
        "SecretName": secret.name.as_str(),
        "SecretType": GENERIC,
        "DKMSInstanceId": instance_name(vault, loaded)?,
        "EncryptionKeyId": vault.key_name(secret.key)?.as_ref().map_or("", KeyName::as_str),
        "Description": secret.description.as_str(),
        "CreateTime": secret.created.to_string(),
        "UpdateTime": secret.updated.to_string(),
        "AutomaticRotation": "Disabled",
        "PlannedDeleteTime": planned(secret),
    };
    if with_tags {
        members.insert("Tags".to_owned(), tag_list(&secret.tags));
    }
    super::rotation::describe(secret, &mut members);
    if !secret.is_draft() {
        members.insert("LastRotationDate".to_owned(), secret.rotated.to_string().into());
    }
    Ok(members)
}

/// When the secret may be purged; empty while it is not scheduled.
pub fn planned(secret: &Secret) -> String {
    secret.deletion.as_ref().map_or(String::new(), |deletion| deletion.purge_at.to_string())
}

/// `{"Tag":[{"TagKey":..., "TagValue":...}]}`
pub fn tag_list(tags: &Tags) -> Json {
    let tags: Vec<Json> =
        tags.iter().map(|(key, value)| json!({ "TagKey": key.as_str(), "TagValue": value.as_str() })).collect();
    json!({ "Tag": tags })
}

/// The instance's name, id and state.
pub fn instance(vault: &Vault, loaded: &Loaded) -> Result<Map<String, Json>, VaultError> {
    let instance = loaded.as_instance().ok_or(VaultError::Unreadable { node: loaded.id() })?;
    Ok(object! {
        "DKMSInstanceId": instance.name.as_str(),
        "State": instance.state.word(),
        "CreateTime": instance.created.to_string(),
        "RecoveryWindowInDays": instance.recovery_window.days(),
        "DefaultKeyId": vault.key_name(instance.default_key)?.as_ref().map_or("", KeyName::as_str),
        "AccessQuota": instance.quota.number(),
        "AccessUsed": instance.others(),
        "Shares": instance.shares.iter().map(|account| account.as_str()).collect::<Vec<_>>(),
    })
}

/// DescribeKey.
pub fn key(vault: &Vault, loaded: &Loaded) -> Result<Map<String, Json>, VaultError> {
    let key = loaded.as_key().ok_or(VaultError::Unreadable { node: loaded.id() })?;
    let delete = match key.state {
        KeyState::PendingDeletion { due, .. } => due.to_string(),
        KeyState::Enabled | KeyState::Disabled | KeyState::Destroyed => String::new(),
    };
    Ok(object! {
        "KeyId": key.name.as_str(),
        "Arn": resource(vault, "key", key.name.as_str())?,
        "DKMSInstanceId": instance_name(vault, loaded)?,
        "Description": key.description.as_str(),
        "KeyState": key.state.to_string(),
        "KeySpec": "Aliyun_AES_256",
        "KeyUsage": "ENCRYPT/DECRYPT",
        "Origin": "Aliyun_KMS",
        "PrimaryKeyVersion": key.primary().to_string(),
        "OldestKeyVersion": key.oldest.to_string(),
        "CreationDate": key.created.to_string(),
        "LastRotationDate": key.versions.last().map_or(String::new(), ToString::to_string),
        "DeleteDate": delete,
    })
}

/// The name of the instance that `loaded` belongs to.
pub fn instance_name(vault: &Vault, loaded: &Loaded) -> Result<String, VaultError> {
    let id = loaded.instance_id();
    let instance = vault.node(id)?.ok_or(VaultError::Lost { what: "an instance", node: id })?;
    let name = instance.as_instance().map(|instance| instance.name.as_str().to_owned());
    name.ok_or(VaultError::Unreadable { node: id })
}
