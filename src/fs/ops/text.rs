//! What the text entries say. Each ends with one newline, unless it is empty.

use serde_json::{Map, Value as Json, json};

use super::{Tree, Who, record};
use crate::api;
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::id::NodeId;
use crate::secret::{KeyName, Secret, render_shares};
use crate::vault::Instance;

impl Tree {
    /// The present content of the text entry `ino`.
    pub(super) fn text(&self, who: Who, ino: Ino) -> Result<Vec<u8>, Fault> {
        let text = match ino.kind {
            Kind::Status => self.status()?,
            Kind::LastError => self.shared.refusals.last(who.uid),
            Kind::Api => String::new(),
            Kind::Events => String::new(),
            Kind::Metrics => self.metrics()?,
            Kind::Tags => record(&*self.loaded(ino.node)?)?.tags.render(),
            Kind::Description => line(&record(&*self.loaded(ino.node)?)?.description),
            Kind::Rotation => record(&*self.loaded(ino.node)?)?
                .rotation
                .as_ref()
                .map_or_else(String::new, |rotation| rotation.plan.render()),
            Kind::Policy => line(self.vault.policy_text(record(&*self.loaded(ino.node)?)?)?.trim_end()),
            Kind::KeyPolicy => line(self.vault.key_policy_text(&*self.loaded(ino.node)?)?.trim_end()),
            Kind::Cmk => {
                line(self.vault.key_name(record(&*self.loaded(ino.node)?)?.key)?.as_ref().map_or("", KeyName::as_str))
            }
            Kind::Info | Kind::TrashedInfo => members(api::secret(&self.vault, &*self.loaded(ino.node)?, true)?),
            Kind::TrashedState => {
                // A purged secret has no state.
                self.loaded(ino.node)?;
                "PendingDeletion\n".to_owned()
            }
            Kind::InstanceInfo => members(api::instance(&self.vault, &*self.loaded(ino.node)?)?),
            Kind::RecoveryWindow => {
                line(&self.instance(ino.node, |instance| instance.recovery_window.days().to_string())?)
            }
            Kind::InstanceState => line(self.instance(ino.node, |instance| instance.state.word())?),
            Kind::Shares => self.instance(ino.node, |instance| render_shares(&instance.shares))?,
            Kind::AccessQuota => line(&self.instance(ino.node, |instance| instance.quota.number().to_string())?),
            Kind::KeyInfo => members(api::key(&self.vault, &*self.loaded(ino.node)?)?),
            Kind::KeyState => line(&self.loaded(ino.node)?.as_key().ok_or(Fault::NoEntry)?.state.to_string()),
            Kind::Current | Kind::Version | Kind::Field | Kind::NewField | Kind::Dotenv | Kind::Backup => {
                return Err(Fault::Invalid);
            }
            Kind::Directory
            | Kind::Versions
            | Kind::Stages
            | Kind::Stage
            | Kind::Fields
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

    /// The name that KMS gives the resource: region `local`, the store's account.
    pub(super) fn arn(&self, secret: &Secret) -> Result<String, Fault> {
        Ok(api::arn(&self.vault, secret)?)
    }

    /// The worst of what is wrong.
    pub(super) fn health(&self) -> Health {
        let damaged =
            self.shared.damage.met().is_some() || self.vault.scrubbed().problems > 0 || self.vault.has_lost_head();
        let blocked = self.audit_status()["state"] == "blocked";
        match (damaged, blocked, &self.vault.store_status().read_only, self.vault.owes_shredding()) {
            (true, ..) => Health::Damaged,
            (false, true, ..) => Health::AuditBlocked,
            (false, false, Some(_), _) => Health::ReadOnly,
            (false, false, None, true) => Health::Unshredded,
            (false, false, None, false) => Health::Ok,
        }
    }

    /// How the audit fares.
    pub(super) fn audit_status(&self) -> Json {
        self.vault.trail().map_or_else(|| json!({ "state": "off" }), |trail| trail.status())
    }

    fn instance<T>(&self, id: NodeId, tell: impl FnOnce(&Instance) -> T) -> Result<T, Fault> {
        let loaded = self.loaded(id)?;
        Ok(tell(loaded.as_instance().ok_or(Fault::NoEntry)?))
    }

    fn status(&self) -> Result<String, Fault> {
        let store = self.vault.store_status();
        let counts = self.vault.counts();
        let root = self.vault.root()?;
        let (damage, scrubbed, owed) = (self.shared.damage.met(), self.vault.scrubbed(), self.vault.owes_shredding());
        Ok(document(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "health": self.health().word(),
            "account": root.account.as_str(),
            "worker_pid": std::process::id(),
            "keeper_pid": self.shared.life.keeper,
            "workers_before": self.shared.life.workers_before,
            "uptime_seconds": self.shared.started.elapsed().as_secs(),
            "options": { "read_only": self.options.read_only, "trim_newline": self.options.trim_newline },
            "counts": { "records": counts.records, "versions": counts.versions, "changes": counts.changes },
            "scrub": {
                "passes": scrubbed.passes,
                "last": scrubbed.last.map(|last| last.to_string()),
                "problems": scrubbed.problems,
                "unread": scrubbed.unread,
            },
            "store": {
                "id": self.vault.store_id(),
                "directory": self.shared.store.get().map(|path| path.to_string_lossy()),
                "engine": store.engine,
                "created": root.created.to_string(),
                "disk_bytes": store.disk_bytes,
                "free_bytes": store.free_bytes,
                "reserve_missing_bytes": store.reserve_missing_bytes,
                "read_only": store.read_only,
                "unshredded": owed,
            },
            "next_purge": self.vault.next_purge().map(|at| at.to_string()),
            "purges_held_seconds": self.vault.purges_held().map(|time| time.as_secs()),
            "audit": self.audit_status(),
            "damage": damage.map(|met| json!({ "count": met.count, "last_node": met.node.0 })),
        })))
    }
}

/// The state that a mount is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Ok,
    /// What was purged is not overwritten yet.
    Unshredded,
    ReadOnly,
    /// No decision can be recorded, so none is made.
    AuditBlocked,
    Damaged,
}

impl Health {
    pub const ALL: [Health; 5] =
        [Health::Ok, Health::Unshredded, Health::ReadOnly, Health::AuditBlocked, Health::Damaged];

    pub fn word(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Unshredded => "unshredded",
            Health::ReadOnly => "read-only",
            Health::AuditBlocked => "audit-blocked",
            Health::Damaged => "damaged",
        }
    }
}

fn line(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

fn members(members: Map<String, Json>) -> String {
    document(&members.into())
}

fn document(json: &Json) -> String {
    format!("{json:#}\n")
}
