//! What a process leaves to the next one that serves the same mount, beside the store itself: versions that rolled away while
//! a file was open on them, and rotations of which nobody may have been told yet.
//!
//! Invariant: a version is in the estate while it is pinned and not stored. A rotation is there from before its commit until
//! whoever listens was told.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::Vault;
use super::announce::Turned;
use super::rows::Rows;
use super::values::Kept;
use crate::crypto::EstateRoot;
use crate::estate::{Estate, Key, Left, pack, unpack};
use crate::id::{NodeId, VersionNo};
use crate::sealed::Sealed;
use crate::secret::Version;
use crate::value::Value;

/// Where it is left; nowhere without one.
pub(super) type Heir = OnceLock<Arc<Estate>>;

/// What is noted of a version beside its sealed value and, behind that, the wrap of the value's key.
#[derive(Serialize, Deserialize)]
struct Facts {
    version: Version,
    value_len: usize,
}

impl Vault {
    /// What the estate of this store is sealed under.
    pub fn estate_root(&self) -> EstateRoot {
        self.keyring.master.estate_root(self.keyring.store_id)
    }

    /// Takes over what was left, and leaves what is to be left in `estate` from now on. The versions that open files pin must have
    /// been pinned, and who is told of rotations must listen.
    pub fn inherit(&self, estate: Arc<Estate>, left: &Left) {
        let _ = self.heir.set(estate);
        for (key, bytes) in &left.entries {
            let Key::Version(secret, no) = *key else { continue };
            // A purge may have ended with its process before it came to this.
            let is_purged = matches!(self.node(secret), Ok(None));
            match from_bytes(bytes.as_bytes()).filter(|_| self.is_pinned(secret, no) && !is_purged) {
                Some(kept) => self.keep_again(secret, no, kept),
                None => self.leave_version(secret, no, None),
            }
            if is_purged {
                self.wipe_estate();
            }
        }
        if let Some(names) = left.entries.get(&Key::Rotations)
            && let Some((names, _)) = unpack::<Vec<Turned>>(names.as_bytes())
        {
            names.into_iter().for_each(|turned| self.announce(turned));
            self.told();
        }
    }

    /// Has the next process tell of these rotations, unless this one does.
    pub(super) fn about_to_tell(&self, rotations: &[Turned]) {
        if let Some(estate) = self.heir.get().filter(|_| !rotations.is_empty()) {
            estate.change(None, &[(Key::Rotations, Some(pack(&rotations, b"").as_bytes()))]);
        }
    }

    /// Notes that whoever listens was told, or that there was nothing to tell.
    pub(super) fn told(&self) {
        if let Some(estate) = self.heir.get() {
            estate.change(None, &[(Key::Rotations, None)]);
        }
    }

    /// Leaves `kept` to the next process, or no longer.
    pub(super) fn leave_version(&self, secret: NodeId, no: VersionNo, kept: Option<&Kept>) {
        if let Some(estate) = self.heir.get() {
            let bytes = kept.map(to_bytes);
            estate.change(None, &[(Key::Version(secret, no), bytes.as_ref().map(|bytes| bytes.as_bytes()))]);
        }
    }

    /// Leaves nothing in the estate's memory of what has gone from it.
    pub(super) fn wipe_estate(&self) {
        if let Some(estate) = self.heir.get() {
            estate.wipe();
        }
    }
}

fn to_bytes(kept: &Kept) -> Value {
    let value = kept.rows.value.as_bytes();
    let facts = Facts { version: kept.version.clone(), value_len: value.len() };
    pack(&facts, &[value, kept.rows.wrap.as_bytes()].concat())
}

fn from_bytes(bytes: &[u8]) -> Option<Kept> {
    let (facts, rows) = unpack::<Facts>(bytes)?;
    let (value, wrap) = rows.split_at_checked(facts.value_len)?;
    let sealed = |bytes: &[u8]| Sealed::from_bytes(bytes.to_vec());
    Some(Kept { rows: Rows { value: sealed(value), wrap: sealed(wrap) }, version: facts.version })
}
