//! Finding nodes: by number, by name, by list. Reads go through the cache and take no part in a commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::node::{Loaded, Node, Root, keys_list, trash_list};
use super::{Access, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::{Component, InstanceName, KeyName, Refusal, SecretName};
use crate::store::{Index, Record};

/// What a name is the name of, so that a key and a secret of one name never share an index.
#[derive(Clone, Copy)]
pub(super) enum Domain {
    Instance,
    Key,
    /// A directory below another: its last component.
    Directory,
    /// The secret of a directory: the name is empty.
    Secret,
    /// A scheduled secret: its full name.
    Trash,
}

impl Domain {
    pub(super) fn label(self) -> &'static str {
        match self {
            Domain::Instance => "instance",
            Domain::Key => "key",
            Domain::Directory => "directory",
            Domain::Secret => "secret",
            Domain::Trash => "trash",
        }
    }
}

/// A part of a list of nodes.
pub struct Listing {
    pub nodes: Vec<Arc<Loaded>>,
    /// The number to go on after; `None` at the end.
    pub next: Option<NodeId>,
}

/// A secret and where it stands.
#[derive(Clone)]
pub struct Placed {
    pub secret: Arc<Loaded>,
    /// The access of its directory, or the one it had when it was scheduled.
    pub access: Access,
}

impl Vault {
    /// The node numbered `id`, if there is one.
    pub fn node(&self, id: NodeId) -> Result<Option<Arc<Loaded>>, VaultError> {
        if let Some(loaded) = self.cache.lock().get(&id) {
            return Ok(Some(loaded.clone()));
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        match self.store.get(id)? {
            Some(record) => self.open(record, epoch).map(Some),
            None => Ok(None),
        }
    }

    /// The root of the tree.
    pub fn root(&self) -> Result<Root, VaultError> {
        let loaded = self.node(NodeId::ROOT)?.ok_or(VaultError::Lost { what: "the root", node: NodeId::ROOT })?;
        loaded.as_root().cloned().ok_or(VaultError::Unreadable { node: NodeId::ROOT })
    }

    pub fn instance_named(&self, name: &InstanceName) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(NodeId::ROOT, NodeId::ROOT, Domain::Instance, name.as_str())
    }

    pub fn key_named(&self, instance: NodeId, name: &KeyName) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(instance, keys_list(instance), Domain::Key, name.as_str())
    }

    /// The directory `name` in `parent`, which is a directory or an instance.
    pub fn directory_named(&self, parent: &Loaded, name: &Component) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(parent.instance_id(), parent.id(), Domain::Directory, name.as_str())
    }

    /// The scheduled secret `name` of `instance`.
    pub fn trashed(&self, instance: NodeId, name: &SecretName) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(instance, trash_list(instance), Domain::Trash, name.as_str())
    }

    /// The secret of `directory`: the one below it, else the scheduled one of its name.
    pub fn secret_of(&self, directory: &Loaded) -> Result<Arc<Loaded>, VaultError> {
        let instance = directory.instance_id();
        let name = &directory.as_directory().ok_or(VaultError::Unreadable { node: directory.id() })?.name;
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if let Some(secret) = self.named(instance, directory.id(), Domain::Secret, "")? {
                return Ok(secret);
            }
            if let Some(secret) = self.trashed(instance, name)? {
                return Ok(secret);
            }
            // It may have gone from one to the other between the two looks, or with its directory.
            if self.store.get(directory.id())?.is_none() {
                return Err(Refusal::NotFound.into());
            }
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return Err(VaultError::Lost { what: "the secret", node: directory.id() });
            }
        }
    }

    /// The directory that `secret` is the secret of, wherever the secret itself stands.
    pub fn directory_of(&self, secret: &Loaded) -> Result<Option<Arc<Loaded>>, VaultError> {
        let node = secret.as_secret().ok_or(VaultError::Unreadable { node: secret.id() })?;
        if node.secret.deletion.is_none() {
            return self.node(secret.place().parent);
        }
        match self.parent_of(secret.instance_id(), &node.secret.name)? {
            Some((parent, name)) => self.directory_named(&parent, &name),
            None => Ok(None),
        }
    }

    /// The secret numbered `id`, with its access.
    pub fn placed(&self, id: NodeId) -> Result<Option<Placed>, VaultError> {
        let Some(secret) = self.node(id)? else { return Ok(None) };
        let Some(kept) = secret.as_secret().map(|secret| secret.access) else { return Ok(None) };
        let access = match kept {
            Some(access) => access,
            None => {
                let directory = secret.place().parent;
                // A secret that has just left its directory is in the trash by now, and has its access there.
                let Some(loaded) = self.node(directory)? else { return self.placed_anew(id, directory) };
                loaded.access().ok_or(VaultError::Unreadable { node: directory })?
            }
        };
        Ok(Some(Placed { secret, access }))
    }

    /// The secret numbered `id`, whose directory `gone` is no longer there.
    fn placed_anew(&self, id: NodeId, gone: NodeId) -> Result<Option<Placed>, VaultError> {
        let Some(record) = self.store.get(id)? else { return Ok(None) };
        let secret = Arc::new(self.unseal(record)?);
        match secret.as_secret().and_then(|secret| secret.access) {
            Some(access) => Ok(Some(Placed { secret, access })),
            None => Err(VaultError::Lost { what: "the directory", node: gone }),
        }
    }

    /// Directories (or instances, keys, scheduled secrets) of the list `parent`, after `after`.
    pub fn children(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Listing, VaultError> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let page = self.store.list(parent, after, limit)?;
        let next = page.records.last().filter(|_| page.more).map(|record| record.id);
        let nodes = page.records.into_iter().map(|record| self.open_listed(record, epoch)).collect::<Result<_, _>>()?;
        Ok(Listing { nodes, next })
    }

    /// The keys of an instance.
    pub fn keys(&self, instance: NodeId, after: NodeId, limit: usize) -> Result<Listing, VaultError> {
        self.children(keys_list(instance), after, limit)
    }

    /// The scheduled secrets of an instance.
    pub fn trash(&self, instance: NodeId, after: NodeId, limit: usize) -> Result<Listing, VaultError> {
        self.children(trash_list(instance), after, limit)
    }

    /// Whether other directories stand in `parent`.
    pub fn has_directories(&self, parent: NodeId) -> Result<bool, VaultError> {
        // The directory's own secret may be one of the two.
        let listing = self.children(parent, NodeId(0), 2)?;
        Ok(listing.nodes.iter().any(|node| node.as_directory().is_some()))
    }

    /// The name of key `id`, for people.
    pub fn key_name(&self, id: NodeId) -> Result<KeyName, VaultError> {
        let loaded = self.node(id)?.ok_or(VaultError::Lost { what: "a key", node: id })?;
        loaded.as_key().map(|key| key.name.clone()).ok_or(VaultError::Unreadable { node: id })
    }

    pub(super) fn index(&self, scope: NodeId, domain: Domain, name: &str) -> Result<Index, VaultError> {
        let keys = self.keyring.scope(&*self.store, scope)?;
        Ok(Index(keys.index(domain.label(), name.as_bytes())))
    }

    /// The node that must be there: `Refusal::NotFound` when it is not.
    pub(super) fn existing(&self, id: NodeId) -> Result<Arc<Loaded>, VaultError> {
        self.node(id)?.ok_or(VaultError::Refused(Refusal::NotFound))
    }

    fn named(
        &self,
        scope: NodeId,
        list: NodeId,
        domain: Domain,
        name: &str,
    ) -> Result<Option<Arc<Loaded>>, VaultError> {
        let index = self.index(scope, domain, name)?;
        let epoch = self.epoch.load(Ordering::SeqCst);
        match self.store.find(list, &index)? {
            Some(record) => self.open_listed(record, epoch).map(Some),
            None => Ok(None),
        }
    }

    /// Opens a record, or takes the cache's copy of that very revision.
    fn open_listed(&self, record: Record, epoch: u64) -> Result<Arc<Loaded>, VaultError> {
        if let Some(loaded) = self.cache.lock().get(&record.id)
            && loaded.record.revision >= record.revision
        {
            return Ok(loaded.clone());
        }
        self.open(record, epoch)
    }

    fn open(&self, record: Record, epoch: u64) -> Result<Arc<Loaded>, VaultError> {
        let loaded = Arc::new(self.unseal(record)?);
        let mut cache = self.cache.lock();
        if self.epoch.load(Ordering::SeqCst) == epoch {
            cache.put(loaded.id(), loaded.clone());
        }
        Ok(loaded)
    }

    /// Opens a record without the cache.
    pub(super) fn unseal(&self, record: Record) -> Result<Loaded, VaultError> {
        let keys = self.keyring.scope(&*self.store, record.place.scope)?;
        let plain = keys.open_record(self.record_context(record.id, record.place), &record.sealed)?;
        let node: Node = serde_json::from_slice(&plain).map_err(|_| VaultError::Unreadable { node: record.id })?;
        Ok(Loaded { record, node })
    }
}
