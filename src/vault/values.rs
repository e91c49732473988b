//! Values: sealing a new one, opening a stored one, and keeping what an open handle has pinned.
//!
//! A pin holds no plaintext. While its version is stored it is a count; when the version rolls away it keeps the sealed bytes
//! in memory, so that the handle goes on reading what it opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::batch::Batch;
use super::rows::Rows;
use super::{Loaded, Vault, VaultError};
use crate::crypto::{Dek, KeyRef, ValueContext, key_ref};
use crate::id::{NodeId, VersionNo};
use crate::sealed::Sealed;
use crate::secret::{KeyState, Refusal, Version};
use crate::store::{RowId, Store as _};
use crate::value::Value;

/// A version that has rolled away while it was pinned.
pub(super) struct Kept {
    pub rows: Rows,
    pub version: Version,
}

/// One pinned version.
#[derive(Default)]
struct Pin {
    /// Open handles that hold it.
    holders: usize,
    /// Its rows, once they are no longer stored, or while they are being removed.
    kept: Option<Arc<Kept>>,
    /// A commit that removes them is under way: readers that have not seen it yet may still come.
    dropping: bool,
}

/// Which versions open handles hold.
#[derive(Default)]
pub(super) struct Pins(Mutex<HashMap<(NodeId, VersionNo), Pin>>);

impl Vault {
    /// Keeps version `no` readable until [`Vault::unpin`], whatever is rotated meanwhile.
    pub fn pin(&self, secret: NodeId, no: VersionNo) {
        let mut pins = self.pins.0.lock();
        let pin = pins.entry((secret, no)).or_default();
        pin.holders += 1;
        if pin.holders == 1
            && let Some(kept) = &pin.kept
        {
            self.leave_version(secret, no, Some(kept));
        }
    }

    /// Ends one [`Vault::pin`].
    pub fn unpin(&self, secret: NodeId, no: VersionNo) {
        let mut pins = self.pins.0.lock();
        if let Some(pin) = pins.get_mut(&(secret, no)) {
            pin.holders -= 1;
            if pin.holders == 0 {
                if pin.kept.is_some() {
                    self.leave_version(secret, no, None);
                }
                if !pin.dropping {
                    pins.remove(&(secret, no));
                }
            }
        }
    }

    /// The version numbered `no`: a stored one, or one that rolled away and is still pinned.
    pub fn version(&self, secret: &Loaded, no: VersionNo) -> Option<Version> {
        let stored = secret.as_secret().and_then(|node| node.secret.version_no(no).cloned());
        stored.or_else(|| self.kept(secret.id(), no).map(|kept| kept.version.clone()))
    }

    /// The plaintext of version `no`: decrypted anew at each call, wiped when dropped. It is for use inside of this program; before
    /// any of it reaches a caller, that is told by [`Vault::disclose`].
    pub fn undisclosed(&self, secret: &Loaded, no: VersionNo) -> Result<Value, VaultError> {
        let node = secret.as_secret().ok_or(VaultError::Unreadable { node: secret.id() })?;
        node.secret.not_scheduled()?;
        // What is kept for a reader may be wrapped by a key that the secret has left: then both have a say.
        self.key_is_usable(&node.secret)?;
        let row = RowId { node: secret.id(), no: no.0 };
        // The version may roll away between the record and its rows: then a pin holds them, or the version is gone.
        if node.secret.version_no(no).is_some()
            && let Some(rows) = self.rows(row)?
        {
            return self.unlock_value(secret, no, &rows);
        }
        match self.kept(secret.id(), no) {
            Some(kept) => self.unlock_value(secret, no, &kept.rows),
            None if self.existing(secret.id())?.as_secret().is_some_and(|now| now.secret.version_no(no).is_some()) => {
                Err(VaultError::Lost { what: "a value", node: secret.id() })
            }
            None => Err(Refusal::NoSuchVersion.into()),
        }
    }

    /// Seals `value` as version `no` of the secret `id` of instance `scope` under a fresh key, and adds both to `batch`.
    pub(super) fn add_version(
        &self,
        batch: &mut Batch,
        scope: NodeId,
        id: NodeId,
        key: NodeId,
        no: VersionNo,
        value: &Value,
    ) -> Result<(), VaultError> {
        let loaded = self.node(key)?.ok_or(Refusal::KeyGone)?;
        let cmk = loaded.as_key().ok_or(VaultError::Unreadable { node: key })?;
        cmk.state.usable()?;
        let instance = self.existing(scope)?;
        instance.as_instance().map_or(Ok(()), |instance| instance.state.usable())?;
        let by = KeyRef { key, version: cmk.primary() };
        let row = RowId { node: id, no: no.0 };
        let dek = Dek::generate()?;
        let sealed = dek.seal(self.value_context(scope, id, no), value)?;
        let wrap =
            self.keyring.cmk(&self.store, scope, by)?.wrap_dek(self.keyring.wrap_context(scope, row), by, &dek)?;
        self.add_value(batch, row, sealed);
        self.add_wrap(batch, row, wrap);
        Ok(())
    }

    /// Removes version `version` of `secret`; a handle that has pinned it goes on reading it from memory. After the commit,
    /// whatever came of it, [`Vault::dropped`] is due.
    pub(super) fn drop_version(&self, batch: &mut Batch, secret: &Loaded, version: &Version) -> Result<(), VaultError> {
        let row = RowId { node: secret.id(), no: version.no.0 };
        let (value, wrap) = (self.store.value(row)?, self.store.wrap(row)?);
        if value.is_some() {
            self.delete_value(batch, row);
        }
        if wrap.is_some() {
            self.delete_wrap(batch, row)?;
        }
        match (value, wrap) {
            (Some(value), Some(wrap)) => {
                let kept = Arc::new(Kept { rows: Rows { value, wrap }, version: version.clone() });
                let mut pins = self.pins.0.lock();
                let pin = pins.entry((secret.id(), version.no)).or_default();
                if pin.holders > 0 {
                    self.leave_version(secret.id(), version.no, Some(&kept));
                }
                (pin.kept, pin.dropping) = (Some(kept), true);
            }
            // A version that cannot be read any more must not be in the way of those to come, nor of the purge. The head goes
            // on counting what is missing, so that `verify` names it.
            (None, _) | (_, None) if self.is_key_gone(secret)? => {}
            (None, _) | (_, None) => {
                log::error!("version {} of node {} was lost before it was removed", row.no, row.node.0)
            }
        }
        Ok(())
    }

    /// Whether the key of `secret` was destroyed, so that its values are gone.
    pub(super) fn is_key_gone(&self, secret: &Loaded) -> Result<bool, VaultError> {
        let Some(node) = secret.as_secret() else { return Ok(false) };
        let key = self.node(node.secret.key)?;
        Ok(key.is_none_or(|key| key.as_key().is_some_and(|key| key.state == KeyState::Destroyed)))
    }

    /// Lets go of what was kept for readers that might have come during a commit, where none has.
    pub(super) fn dropped(&self, secret: NodeId, versions: &[Version]) {
        let mut pins = self.pins.0.lock();
        for version in versions {
            if let Some(pin) = pins.get_mut(&(secret, version.no)) {
                pin.dropping = false;
                if pin.holders == 0 {
                    pins.remove(&(secret, version.no));
                }
            }
        }
    }

    /// Has what handles have pinned of `secret`, and is stored no longer, follow it under another key.
    pub(super) fn rewrap_kept(&self, secret: &Loaded, by: KeyRef) {
        for ((node, no), pin) in self.pins.0.lock().iter_mut().filter(|((node, _), _)| *node == secret.id()) {
            let Some(kept) = &pin.kept else { continue };
            match self.rewrapped(secret.instance_id(), RowId { node: *node, no: no.0 }, &kept.rows.wrap, by) {
                Ok(wrap) => {
                    let rows = Rows { value: kept.rows.value.clone(), wrap };
                    let kept = Arc::new(Kept { rows, version: kept.version.clone() });
                    if pin.holders > 0 {
                        self.leave_version(*node, *no, Some(&kept));
                    }
                    pin.kept = Some(kept);
                }
                Err(error) => log::error!("a version that is open stays under the key it had: {error}"),
            }
        }
    }

    /// Forgets what handles have pinned of a purged secret: it is gone for them too.
    pub(super) fn drop_pinned(&self, secret: NodeId) {
        self.drop_pins(|node, _| node == secret);
    }

    /// The same of one version.
    pub(super) fn drop_pinned_version(&self, secret: NodeId, version: VersionNo) {
        self.drop_pins(|node, no| (node, no) == (secret, version));
    }

    fn drop_pins(&self, goes: impl Fn(NodeId, VersionNo) -> bool) {
        for ((node, no), pin) in self.pins.0.lock().iter_mut() {
            if goes(*node, *no) && pin.kept.take().is_some() {
                self.leave_version(*node, *no, None);
            }
        }
        self.wipe_estate();
    }

    /// Keeps a version that rolled away in the time of an earlier process, for those who still pin it.
    pub(super) fn keep_again(&self, secret: NodeId, no: VersionNo, kept: Kept) {
        self.pins.0.lock().entry((secret, no)).or_default().kept = Some(Arc::new(kept));
    }

    /// Whether somebody pins version `no`.
    pub(super) fn is_pinned(&self, secret: NodeId, no: VersionNo) -> bool {
        self.pins.0.lock().contains_key(&(secret, no))
    }

    /// The rows of a stored version: those read lately, else the store's.
    fn rows(&self, id: RowId) -> Result<Option<Arc<Rows>>, VaultError> {
        if let Some(rows) = self.read_lately.get(id) {
            return Ok(Some(rows));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let (Some(value), Some(wrap)) = (self.store.value(id)?, self.store.wrap(id)?) else { return Ok(None) };
        let rows = Arc::new(Rows { value, wrap });
        self.read_lately.put(id, &rows, || self.epoch.load(Ordering::SeqCst) == epoch);
        Ok(Some(rows))
    }

    fn unlock_value(&self, secret: &Loaded, no: VersionNo, rows: &Rows) -> Result<Value, VaultError> {
        let by = key_ref(&rows.wrap)?;
        let key = self.node(by.key)?.ok_or(Refusal::KeyGone)?;
        key.as_key().ok_or(VaultError::Unreadable { node: by.key })?.state.usable()?;
        self.open_value(secret, no, &rows.wrap, &rows.value)
    }

    /// Opens a value without asking whether its key may be used: for verification.
    pub(super) fn open_value(
        &self,
        secret: &Loaded,
        no: VersionNo,
        wrap: &Sealed,
        value: &Sealed,
    ) -> Result<Value, VaultError> {
        let scope = secret.instance_id();
        let by = key_ref(wrap)?;
        let row = RowId { node: secret.id(), no: no.0 };
        let cmk = self.keyring.cmk(&self.store, scope, by)?;
        let dek = cmk.unwrap_dek(self.keyring.wrap_context(scope, row), wrap)?;
        Ok(dek.open(self.value_context(scope, secret.id(), no), value)?)
    }

    fn kept(&self, secret: NodeId, no: VersionNo) -> Option<Arc<Kept>> {
        self.pins.0.lock().get(&(secret, no)).and_then(|pin| pin.kept.clone())
    }

    /// What is kept of `secret` and is as `wanted` says.
    pub(super) fn kept_where(&self, secret: NodeId, wanted: impl Fn(&Kept) -> bool) -> Option<Arc<Kept>> {
        let pins = self.pins.0.lock();
        let kept = pins.iter().filter(|((node, _), _)| *node == secret).filter_map(|(_, pin)| pin.kept.as_ref());
        kept.into_iter().find(|kept| wanted(kept)).cloned()
    }

    fn value_context(&self, scope: NodeId, secret: NodeId, version: VersionNo) -> ValueContext {
        ValueContext { store: self.keyring.store_id, scope, secret, version }
    }
}
