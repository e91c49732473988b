//! What the text entries say. Each ends with one newline, unless it is empty.

use serde_json::{Value as Json, json};

use super::{Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::secret::{KeyState, Secret, default_document};
use crate::vault::Loaded;

impl Tree {
    /// The present content of the text entry `ino`.
    pub(super) fn text(&self, who: Who, ino: Ino) -> Result<Vec<u8>, Fault> {
        let text = match ino.kind {
            Kind::Status => self.status()?,
            Kind::LastError => self.refusals.last(who.uid),
            Kind::Tags => record(&*self.loaded(ino.node)?)?.tags.render(),
            Kind::Description => line(&record(&*self.loaded(ino.node)?)?.description),
            Kind::Policy | Kind::KeyPolicy => default_document(&self.vault.root()?.account),
            Kind::Cmk => line(self.vault.key_name(record(&*self.loaded(ino.node)?)?.key)?.as_str()),
            Kind::Info | Kind::TrashedInfo => self.describe_secret(&*self.loaded(ino.node)?)?,
            Kind::TrashedState => {
                // A purged secret has no state.
                self.loaded(ino.node)?;
                "PendingDeletion\n".to_owned()
            }
            Kind::InstanceInfo => self.describe_instance(&*self.loaded(ino.node)?)?,
            Kind::RecoveryWindow => {
                let loaded = self.loaded(ino.node)?;
                format!("{}\n", loaded.as_instance().ok_or(Fault::NoEntry)?.recovery_window.days())
            }
            Kind::KeyInfo => self.describe_key(&*self.loaded(ino.node)?)?,
            Kind::KeyState => line(&self.loaded(ino.node)?.as_key().ok_or(Fault::NoEntry)?.state.to_string()),
            Kind::Current | Kind::Version => return Err(Fault::Invalid),
            Kind::Directory
            | Kind::Versions
            | Kind::Stages
            | Kind::Stage
            | Kind::Instance
            | Kind::InstanceControl
            | Kind::Keys
            | Kind::Key
            | Kind::Trash
            | Kind::Trashed
            | Kind::Root
            | Kind::Control
            | Kind::Scratch => return Err(Fault::IsDirectory),
        };
        Ok(text.into_bytes())
    }

    /// DescribeSecret, with the members and spellings of KMS.
    fn describe_secret(&self, loaded: &Loaded) -> Result<String, Fault> {
        let secret = record(loaded)?;
        let tags: Vec<Json> = secret
            .tags
            .iter()
            .map(|(key, value)| json!({ "TagKey": key.as_str(), "TagValue": value.as_str() }))
            .collect();
        let mut info = json!({
            "Arn": self.arn(secret)?,
            "SecretName": secret.name.as_str(),
            "SecretType": "Generic",
            "DKMSInstanceId": self.instance_name(loaded)?,
            "EncryptionKeyId": self.vault.key_name(secret.key)?.as_str(),
            "Description": secret.description,
            "CreateTime": secret.created.to_string(),
            "UpdateTime": secret.updated.to_string(),
            "AutomaticRotation": "Disabled",
            "PlannedDeleteTime": secret.deletion.as_ref().map_or(String::new(), |deletion| deletion.purge_at.to_string()),
            "Tags": { "Tag": tags },
        });
        if !secret.is_draft() {
            info["LastRotationDate"] = secret.rotated.to_string().into();
        }
        Ok(document(&info))
    }

    /// The name that KMS gives the resource: region `local`, the store's account.
    pub(super) fn arn(&self, secret: &Secret) -> Result<String, Fault> {
        let root = self.vault.root()?;
        Ok(format!("acs:kms:local:{}:secret/{}", root.account.as_str(), secret.name.as_str()))
    }

    fn describe_instance(&self, loaded: &Loaded) -> Result<String, Fault> {
        let instance = loaded.as_instance().ok_or(Fault::NoEntry)?;
        Ok(document(&json!({
            "DKMSInstanceId": instance.name.as_str(),
            "State": "Running",
            "CreateTime": instance.created.to_string(),
            "RecoveryWindowInDays": instance.recovery_window.days(),
            "DefaultKeyId": self.vault.key_name(instance.default_key)?.as_str(),
        })))
    }

    fn describe_key(&self, loaded: &Loaded) -> Result<String, Fault> {
        let key = loaded.as_key().ok_or(Fault::NoEntry)?;
        let root = self.vault.root()?;
        let delete = match key.state {
            KeyState::PendingDeletion { due } => due.to_string(),
            KeyState::Enabled | KeyState::Disabled => String::new(),
        };
        Ok(document(&json!({
            "KeyId": key.name.as_str(),
            "Arn": format!("acs:kms:local:{}:key/{}", root.account.as_str(), key.name.as_str()),
            "DKMSInstanceId": self.instance_name(loaded)?,
            "KeyState": key.state.to_string(),
            "KeySpec": "Aliyun_AES_256",
            "KeyUsage": "ENCRYPT/DECRYPT",
            "Origin": "Aliyun_KMS",
            "PrimaryKeyVersion": key.primary.to_string(),
            "CreationDate": key.created.to_string(),
            "DeleteDate": delete,
        })))
    }

    fn instance_name(&self, loaded: &Loaded) -> Result<String, Fault> {
        let instance = self.loaded(loaded.instance_id())?;
        Ok(instance.as_instance().ok_or(Fault::NoEntry)?.name.as_str().to_owned())
    }

    fn status(&self) -> Result<String, Fault> {
        let store = self.vault.store_status();
        let counts = self.vault.counts();
        let root = self.vault.root()?;
        let health = if store.read_only.is_some() { "read-only" } else { "ok" };
        Ok(document(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "health": health,
            "account": root.account.as_str(),
            "worker_pid": std::process::id(),
            "keeper_pid": null,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "options": { "read_only": self.options.read_only, "trim_newline": self.options.trim_newline },
            "counts": { "records": counts.records, "versions": counts.versions, "changes": counts.changes },
            "store": {
                "id": self.vault.store_id(),
                "engine": store.engine,
                "created": root.created.to_string(),
                "disk_bytes": store.disk_bytes,
                "free_bytes": store.free_bytes,
                "read_only": store.read_only,
            },
        })))
    }
}

fn line(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

fn document(json: &Json) -> String {
    format!("{json:#}\n")
}
