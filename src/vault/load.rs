//! Finding nodes: by number, by name, by list. Reads go through the cache and take no part in a commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache::Known;
use super::node::{Loaded, Node, Root, keys_list, trash_list};
use super::{Access, Vault, VaultError};
use crate::id::{NodeId, OpId};
use crate::secret::{Component, InstanceName, KeyName, Refusal, SecretName};
use crate::store::{Index, Record, Store as _};

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
    /// What says that a secret is rotated by a function: the secret's number.
    Rotation,
}

impl Domain {
    pub(super) fn label(self) -> &'static str {
        match self {
            Domain::Instance => "instance",
            Domain::Key => "key",
            Domain::Directory => "directory",
            Domain::Secret => "secret",
            Domain::Trash => "trash",
            Domain::Rotation => "rotation",
        }
    }
}

/// Instances read at a time.
const TOP_PAGE: usize = 256;

/// A part of a list of nodes.
pub struct Listing {
    /// In order of number; as many as were asked for, or all that are left.
    pub nodes: Vec<Arc<Loaded>>,
    /// The number to go on after; `None` at the end.
    pub next: Option<NodeId>,
}

/// A secret and where it stands.
#[derive(Clone)]
pub struct Placed {
    /// The secret, live, a draft or scheduled.
    pub secret: Arc<Loaded>,
    /// The access of its directory, or the one it had when it was scheduled.
    pub access: Access,
}

impl Vault {
    /// The node numbered `id`, if there is one.
    pub fn node(&self, id: NodeId) -> Result<Option<Arc<Loaded>>, VaultError> {
        if let Some(loaded) = self.cache.lock().get(id) {
            return Ok(Some(loaded));
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

    /// The instance `name`, if there is one.
    pub fn instance_named(&self, name: &InstanceName) -> Result<Option<Arc<Loaded>>, VaultError> {
        self.named(NodeId::ROOT, NodeId::ROOT, Domain::Instance, name.as_str())
    }

    /// The key `name` of `instance`, whatever its state.
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
        let mut looked_at = None;
        loop {
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
            // Every commit writes the head, so one that stayed the same saw a whole look without a change.
            let head = self.store.get(NodeId::HEAD)?.map(|head| head.revision);
            if looked_at == Some(head) {
                return Err(VaultError::Lost { what: "the secret", node: directory.id() });
            }
            looked_at = Some(head);
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
        let Some(mut secret) = self.node(id)? else { return Ok(None) };
        loop {
            let Some(node) = secret.as_secret() else { return Ok(None) };
            if let Some(access) = node.access {
                return Ok(Some(Placed { secret, access }));
            }
            let directory = secret.place().parent;
            if let Some(loaded) = self.node(directory)? {
                let access = loaded.access().ok_or(VaultError::Unreadable { node: directory })?;
                return Ok(Some(Placed { secret, access }));
            }
            // It has left for the trash, or for another directory from there. The store knows it before the cache does.
            let Some(record) = self.store.get(id)? else { return Ok(None) };
            if record.place.parent == directory {
                return Err(VaultError::Lost { what: "the directory", node: directory });
            }
            secret = Arc::new(self.unseal(record)?);
        }
    }

    /// Whether the request `op` has committed a change, by this process or one before it.
    pub fn has_carried_out(&self, op: OpId) -> Result<bool, VaultError> {
        Ok(self.store.committed(op)?.is_some())
    }

    /// Directories (or instances, keys, scheduled secrets) of the list `parent`, after `after`.
    pub fn children(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Listing, VaultError> {
        if let Some(listing) = self.cache.lock().list(parent, after, limit) {
            return Ok(listing);
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let page = self.store.list(parent, after, limit)?;
        let next = page.records.last().filter(|_| page.more).map(|record| record.id);
        let nodes: Vec<_> =
            page.records.into_iter().map(|record| self.open_listed(record, epoch)).collect::<Result<_, _>>()?;
        if after == NodeId(0) && next.is_none() {
            let mut cache = self.cache.lock();
            if self.epoch.load(Ordering::SeqCst) == epoch {
                cache.learn_list(parent, &nodes);
            }
        }
        Ok(Listing { nodes, next })
    }

    /// Takes the root and all instances into memory, where they stay. What cannot be read is said to those who ask for it.
    pub(super) fn learn_top(&self) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        match self.read_top() {
            Ok(top) => {
                let mut cache = self.cache.lock();
                if self.epoch.load(Ordering::SeqCst) == epoch {
                    cache.learn_top(top);
                }
            }
            Err(error) => log::warn!("the root's listing is read from the disk each time: {error}"),
        }
    }

    fn read_top(&self) -> Result<Vec<Arc<Loaded>>, VaultError> {
        let mut top = vec![self.existing(NodeId::ROOT)?];
        let mut after = Some(NodeId(0));
        while let Some(from) = after {
            let Listing { nodes, next } = self.children(NodeId::ROOT, from, TOP_PAGE)?;
            top.extend(nodes);
            after = next;
        }
        for instance in &top {
            // Its names are looked for by a keyed index.
            self.keyring.scope(&self.store, instance.id())?;
        }
        Ok(top)
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
    pub fn key_name(&self, id: NodeId) -> Result<Option<KeyName>, VaultError> {
        let Some(loaded) = self.node(id)? else { return Ok(None) };
        loaded.as_key().map(|key| Some(key.name.clone())).ok_or(VaultError::Unreadable { node: id })
    }

    pub(super) fn index(&self, scope: NodeId, domain: Domain, name: &str) -> Result<Index, VaultError> {
        let keys = self.keyring.scope(&self.store, scope)?;
        Ok(Index(keys.index(domain.label(), name.as_bytes())))
    }

    /// The node that must be there: `Refusal::NotFound` when it is not.
    pub(super) fn existing(&self, id: NodeId) -> Result<Arc<Loaded>, VaultError> {
        self.node(id)?.ok_or(VaultError::Refused(Refusal::NotFound))
    }

    pub(super) fn named(
        &self,
        scope: NodeId,
        list: NodeId,
        domain: Domain,
        name: &str,
    ) -> Result<Option<Arc<Loaded>>, VaultError> {
        let index = self.index(scope, domain, name)?;
        match self.cache.lock().find(list, &index) {
            Known::Node(node) => return Ok(Some(node)),
            Known::Nothing => return Ok(None),
            Known::Unknown => {}
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        match self.store.find(list, &index)? {
            Some(record) => self.open_listed(record, epoch).map(Some),
            None => Ok(None),
        }
    }

    /// Opens a record, or takes the cache's copy of that very revision.
    fn open_listed(&self, record: Record, epoch: u64) -> Result<Arc<Loaded>, VaultError> {
        if let Some(loaded) = self.cache.lock().get(record.id)
            && loaded.record.revision >= record.revision
        {
            return Ok(loaded);
        }
        self.open(record, epoch)
    }

    fn open(&self, record: Record, epoch: u64) -> Result<Arc<Loaded>, VaultError> {
        let loaded = Arc::new(self.unseal(record)?);
        let mut cache = self.cache.lock();
        if self.epoch.load(Ordering::SeqCst) == epoch {
            cache.put(loaded.clone());
        }
        Ok(loaded)
    }

    /// Opens a record without the cache.
    pub(super) fn unseal(&self, record: Record) -> Result<Loaded, VaultError> {
        let keys = self.keyring.scope(&self.store, record.place.scope)?;
        let plain = keys.open_record(self.record_context(record.id, record.place), &record.sealed)?;
        let node: Node = serde_json::from_slice(&plain).map_err(|_| VaultError::Unreadable { node: record.id })?;
        Ok(Loaded { record, node })
    }
}
