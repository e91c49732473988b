//! The keys of an unlocked store, opened when first needed and kept until the vault is dropped.
//!
//! Knows wraps and which node they belong to; knows no name and no rule.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::VaultError;
use crate::crypto::{Cmk, KeyRef, MasterKey, NodeKeys, RowKey, WrapContext};
use crate::id::{NodeId, StoreId};
use crate::store::{RowId, Store};

/// Which number of an instance's wraps holds its record and index keys.
pub const NODE_KEYS_NO: u32 = 0;

/// A version of a CMK, opened.
struct Opened {
    /// The instance it belongs to.
    scope: NodeId,
    cmk: Arc<Cmk>,
}

/// The master key and what it has opened.
pub struct Keyring {
    pub store_id: StoreId,
    pub master: MasterKey,
    root: Arc<NodeKeys>,
    /// Bounded by the number of instances.
    scopes: RwLock<HashMap<NodeId, Arc<NodeKeys>>>,
    /// Bounded by the number of key versions in use.
    cmks: RwLock<HashMap<(NodeId, u32), Opened>>,
}

impl Keyring {
    pub fn new(store_id: StoreId, master: MasterKey) -> Self {
        let root = Arc::new(master.root_keys(store_id));
        Self { store_id, master, root, scopes: RwLock::default(), cmks: RwLock::default() }
    }

    /// The context that binds a wrap to its place.
    pub fn wrap_context(&self, scope: NodeId, row: RowId) -> WrapContext {
        WrapContext { store: self.store_id, scope, row: RowKey { node: row.node, no: row.no } }
    }

    /// The keys that seal the records of `scope` and index their names.
    pub fn scope(&self, store: &dyn Store, scope: NodeId) -> Result<Arc<NodeKeys>, VaultError> {
        if scope == NodeId::ROOT {
            return Ok(self.root.clone());
        }
        if let Some(keys) = self.scopes.read().get(&scope) {
            return Ok(keys.clone());
        }
        let row = RowId { node: scope, no: NODE_KEYS_NO };
        let sealed = store.wrap(row)?.ok_or(VaultError::Lost { what: "an instance's keys", node: scope })?;
        let keys = Arc::new(self.master.unwrap_node_keys(self.wrap_context(scope, row), &sealed)?);
        self.scopes.write().insert(scope, keys.clone());
        Ok(keys)
    }

    /// Version `by.version` of the CMK `by.key`, which belongs to `scope`.
    pub fn cmk(&self, store: &dyn Store, scope: NodeId, by: KeyRef) -> Result<Arc<Cmk>, VaultError> {
        let at = (by.key, by.version);
        if let Some(opened) = self.cmks.read().get(&at) {
            return Ok(opened.cmk.clone());
        }
        let row = RowId { node: by.key, no: by.version };
        let sealed = store.wrap(row)?.ok_or(VaultError::Lost { what: "a key version", node: by.key })?;
        let cmk = Arc::new(self.master.unwrap_cmk(self.wrap_context(scope, row), &sealed)?);
        self.cmks.write().insert(at, Opened { scope, cmk: cmk.clone() });
        Ok(cmk)
    }

    /// Forgets all versions of the CMK `key`.
    pub fn forget_key(&self, key: NodeId) {
        self.cmks.write().retain(|(of, _), _| *of != key);
    }

    /// Forgets all CMKs of the instance `scope`.
    pub fn forget_keys_of(&self, scope: NodeId) {
        self.cmks.write().retain(|_, opened| opened.scope != scope);
    }

    /// Forgets what the master key has opened.
    pub fn forget(&self) {
        self.scopes.write().clear();
        self.cmks.write().clear();
    }
}
