//! A secret: everything that is known of it but its values.

use serde::{Deserialize, Serialize};

use super::{Account, Deletion, Policy, Refusal, Rotation, SecretName, Stages, Tags, Version, VersionId};
use crate::id::{NodeId, VersionNo};
use crate::time::Timestamp;

/// Longest description in bytes.
pub const DESCRIPTION_MAX: usize = 8_192;

/// A secret, or the draft of one: a draft has no version yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Its path below the instance, which is also where a restore brings it back to.
    pub name: SecretName,
    /// When its first version came; of a draft, when the directory was made.
    pub created: Timestamp,
    /// When anything of it last changed. It never goes back, though the clock may.
    pub updated: Timestamp,
    /// When ACSCurrent last moved.
    pub rotated: Timestamp,
    /// Text of at most [`DESCRIPTION_MAX`] bytes, without control characters but newline and tab.
    pub description: String,
    /// The CMK that new values are sealed under. It stays from the first version on.
    pub key: NodeId,
    /// The account that made it, where that is not the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// `None` is the default policy: permission bits decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// For people and their tools; nothing is decided by them.
    pub tags: Tags,
    /// In order of number.
    pub versions: Vec<Version>,
    /// Which labels are on which versions. Every number here is that of a version above.
    pub stages: Stages,
    /// The number that the next version gets.
    pub next_no: u32,
    /// The highest n of an id `v<n>` that was ever used.
    pub highest_auto: u64,
    /// The number that the next version's first member gets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next_field: u32,
    /// The directories `fields/` of its versions are numbered behind this one: those up to it were removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fields_gone: u32,
    /// By which function it is rotated, if by any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Set while the secret is in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// When its value was last read, as far as that is kept; no rule asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_read: Option<LastRead>,
    /// Rises whenever the entries of the secret may have been removed and come again.
    pub generation: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A reading of a secret's value, of whichever version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRead {
    /// When.
    pub at: Timestamp,
    /// By which user.
    pub uid: u32,
}

impl Secret {
    /// A secret that waits for its first version.
    pub fn draft(name: SecretName, key: NodeId, now: Timestamp) -> Self {
        Self {
            name,
            created: now,
            updated: now,
            rotated: now,
            description: String::new(),
            key,
            account: None,
            policy: None,
            tags: Tags::default(),
            versions: Vec::new(),
            stages: Stages::default(),
            next_no: 1,
            highest_auto: 0,
            next_field: 0,
            fields_gone: 0,
            rotation: None,
            deletion: None,
            last_read: None,
            generation: 0,
        }
    }

    /// The same, made by the account `account`, where that is not the store's.
    #[must_use]
    pub fn made_by(self, account: Option<Account>) -> Self {
        Self { account, ..self }
    }

    /// Whether it has no version yet.
    pub fn is_draft(&self) -> bool {
        self.versions.is_empty()
    }

    /// Whether it can be read: it has a version and is not scheduled for deletion.
    pub fn is_live(&self) -> bool {
        !self.is_draft() && self.deletion.is_none()
    }

    /// Refuses a secret that is in its deletion window.
    pub fn not_scheduled(&self) -> Result<(), Refusal> {
        match &self.deletion {
            Some(deletion) => Err(Refusal::InDeleteWindow { purge_at: deletion.purge_at }),
            None => Ok(()),
        }
    }

    /// The version at ACSCurrent.
    pub fn current(&self) -> Option<&Version> {
        self.stages.current().and_then(|no| self.version_no(no))
    }

    /// The version named `id`.
    pub fn version(&self, id: &VersionId) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == *id)
    }

    /// The version numbered `no`.
    pub fn version_no(&self, no: VersionNo) -> Option<&Version> {
        self.versions.iter().find(|version| version.no == no)
    }

    /// The number of the directory `fields/` that shows version `no`, or nothing where there is no version; `None` where numbers have
    /// come to their end.
    pub fn fields_directory(&self, no: Option<VersionNo>) -> Option<u32> {
        let number = self.fields_gone.checked_add(no.map_or(0, |no| no.0))?;
        (number <= VersionNo::MAX.0).then_some(number)
    }

    /// The version that the directory `fields/` numbered `number` shows.
    pub fn shown_by(&self, number: u32) -> Option<VersionNo> {
        number.checked_sub(self.fields_gone).filter(|no| *no > 0).map(VersionNo)
    }

    /// Notes that directories of its own were removed: the kernel counts them dead, so they come again under other numbers.
    pub fn renew_entries(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.fields_gone = self.fields_gone.saturating_add(self.next_no);
    }
}
