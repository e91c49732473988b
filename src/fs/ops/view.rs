//! A mount of a part of the tree: which names are there, and whose rights its callers have.
//!
//! The kernel is told nothing that it could decide by, and keeps nothing: each name is looked up again, each open asked for here. So what
//! another mount changes is seen at once, and what the principal may do is decided here alone.

use std::sync::Arc;

use super::{Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::identity::identity_of;
use crate::fs::inode::{Ino, Kind};
use crate::fs::ops::names::Sink;
use crate::fs::tree::{self, Shape};
use crate::fs::view::{Part, Shown, View};
use crate::id::{NodeId, VersionNo};
use crate::secret::{Component, Grant, Identity, Refusal, Secret, SecretName};
use crate::vault::{Loaded, VaultError};

/// Of a position in the listing of a flat view: the number of the part, from 1 on. Below stands the directory that was listed last.
const PART_SHIFT: u32 = 34;
/// That there is one.
const WALKED: u64 = 1 << 33;
const NODE_MASK: u64 = u32::MAX as u64;

impl Tree {
    /// The tree of another mount: what `view` shows of this one, which it has open files and all else in common with.
    ///
    /// # Errors
    /// Where its principal is nobody's name.
    pub fn viewed(&self, view: View) -> Result<Self, VaultError> {
        let (_, account) = self.vault.principal(&view.principal)?.ok_or(Refusal::UnknownCaller)?;
        Ok(Self {
            vault: self.vault.clone(),
            options: self.options,
            account,
            view: Some(view),
            estate: self.estate.clone(),
            shared: self.shared.clone(),
            device: Default::default(),
        })
    }

    /// The view that it is the tree of.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Whose rights `who` has: the view's principal's, or its own. That one is looked up anew each time, since its groups may have changed.
    pub(super) fn identity_of(&self, who: Who) -> Option<Identity> {
        match &self.view {
            Some(view) => self.vault.principal(&view.principal).ok().flatten().map(|(identity, _)| identity),
            None => identity_of(who),
        }
    }

    /// Refuses a change where nothing can be changed: the kernel has found nobody to own anything, so in a view nobody changes anything.
    pub(super) fn may_change(&self) -> Result<(), Fault> {
        if self.view.is_some() { Err(Refusal::ReadOnlyView.into()) } else { Ok(()) }
    }

    /// The user and the group that a request of `uid` and `gid` counts as.
    pub fn user_of(&self, uid: u32, gid: u32) -> (u32, u32) {
        match &self.view {
            // Whoever nobody knows any more is given nothing by its identity.
            Some(view) => match self.vault.principal(&view.principal) {
                Ok(Some((identity, _))) => (identity.uid, identity.gid),
                Ok(None) | Err(_) => (u32::MAX, u32::MAX),
            },
            None => (uid, gid),
        }
    }

    /// The version of `secret` that stands for the current one here.
    pub(super) fn current_no(&self, secret: &Secret) -> Option<VersionNo> {
        let current = secret.stages.current();
        let label = self.view.as_ref().and_then(|view| view.label.as_ref());
        label.filter(|_| current.is_some()).and_then(|label| secret.stages.get(label)).or(current)
    }

    /// How what `ino` is stands to the view, if it is an instance, a directory, or the root.
    pub(super) fn shown_here(&self, view: &View, ino: Ino) -> Result<Shown, Fault> {
        match ino.kind {
            Kind::Root => Ok(Shown::Way),
            Kind::Instance | Kind::Directory => {
                let (instance, name) = self.path_of(ino)?;
                Ok(view.shows(&instance, name.as_ref().map(SecretName::as_str)))
            }
            _ => Ok(Shown::Whole),
        }
    }

    /// Whether `name` in `parent` is in the view.
    pub(super) fn has_name(&self, view: &View, parent: Ino, name: &[u8]) -> Result<bool, Fault> {
        if !matches!(parent.kind, Kind::Root | Kind::Instance | Kind::Directory) {
            return Ok(true);
        }
        if tree::fixed(parent.kind, name).is_some() {
            return Ok(self.shown_here(view, parent)? == Shown::Whole);
        }
        let Ok(name) = std::str::from_utf8(name) else { return Ok(false) };
        if parent.kind == Kind::Root {
            return Ok(view.shows(name, None) != Shown::Nothing);
        }
        let (instance, above) = self.path_of(parent)?;
        let full = above.map_or_else(|| name.to_owned(), |above| format!("{}/{name}", above.as_str()));
        Ok(view.shows(&instance, Some(&full)) != Shown::Nothing)
    }

    /// The instance that `ino` is or stands in, and its name there.
    fn path_of(&self, ino: Ino) -> Result<(String, Option<SecretName>), Fault> {
        let loaded = self.loaded(ino.node)?;
        let name = loaded.as_directory().map(|directory| directory.name.clone());
        let instance = self.loaded(loaded.instance_id())?;
        let instance = instance.as_instance().ok_or(VaultError::Unreadable { node: instance.id() })?;
        Ok((instance.name.as_str().to_owned(), name))
    }

    /// The secret that the file `name` of a flat view is.
    pub(super) fn flat_named(&self, view: &View, name: &[u8]) -> Result<Option<Ino>, Fault> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        for part in &view.only {
            for secret in part.secrets_of(name) {
                if let Some(ino) = self.flat_secret(part, &secret)? {
                    return Ok(Some(ino));
                }
            }
        }
        Ok(None)
    }

    fn flat_secret(&self, part: &Part, name: &SecretName) -> Result<Option<Ino>, Fault> {
        match self.directory(part, Some(name))? {
            Some(directory) => self.value_in(&directory).map(|found| found.map(|(ino, _)| ino)),
            None => Ok(None),
        }
    }

    /// The directory `name` of the part's instance, or that itself.
    fn directory(&self, part: &Part, name: Option<&SecretName>) -> Result<Option<Arc<Loaded>>, Fault> {
        let Some(mut at) = self.vault.instance_named(&part.instance)? else { return Ok(None) };
        for component in name.into_iter().flat_map(|name| name.as_str().split('/')) {
            match self.vault.directory_named(&at, &Component::parse(component.as_bytes())?)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The value of the secret whose directory that is, if it has one now.
    fn value_in(&self, directory: &Loaded) -> Result<Option<(Ino, SecretName)>, Fault> {
        if directory.as_directory().is_none() {
            return Ok(None);
        }
        let loaded = self.vault.secret_of(directory)?;
        let secret = record(&loaded)?;
        Ok(secret.is_live().then(|| (Ino::new(loaded.id(), Kind::Current), secret.name.clone())))
    }

    /// What the root of a flat view lists after position `from`, until `sink` is full.
    pub(super) fn list_flat(&self, view: &View, from: u64, sink: &mut Sink<'_>) -> Result<(), Fault> {
        for (at, name) in [".", ".."].into_iter().enumerate().skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            if sink(at as u64 + 1, name.as_bytes(), Ino::ROOT) {
                return Ok(());
            }
        }
        let first = usize::try_from(from >> PART_SHIFT).unwrap_or(usize::MAX).saturating_sub(1);
        let mut last = (from & WALKED != 0).then_some(NodeId((from & NODE_MASK) as u32));
        for (index, part) in view.only.iter().enumerate().skip(first) {
            let Some(top) = self.directory(part, part.name.as_ref())? else { continue };
            let mut at = match last.take() {
                Some(last) => self.next_below(top.id(), last)?,
                None => Some(top.clone()),
            };
            while let Some(directory) = at {
                if let Some((ino, name)) = self.value_in(&directory)?
                    && let Some(file) = part.file_name(&name)
                    // Of two that are one name the first is there.
                    && self.flat_named(view, file.as_bytes())? == Some(ino)
                {
                    let position = (index as u64 + 1) << PART_SHIFT | WALKED | u64::from(directory.id().0);
                    if sink(position, file.as_bytes(), ino) {
                        return Ok(());
                    }
                }
                at = self.next_below(top.id(), directory.id())?;
            }
        }
        Ok(())
    }

    /// The directory behind `last` in a walk over all below `top`, each before those in it.
    fn next_below(&self, top: NodeId, last: NodeId) -> Result<Option<Arc<Loaded>>, Fault> {
        let (mut parent, mut after) = (last, NodeId(0));
        loop {
            let children = self.vault.children(parent, after, 1)?;
            if let Some(next) = children.nodes.into_iter().next() {
                return Ok(Some(next));
            }
            if parent == top {
                return Ok(None);
            }
            // Where it was removed meanwhile the walk ends: nobody knows what was listed behind it.
            let Some(done) = self.vault.node(parent)? else { return Ok(None) };
            (parent, after) = (done.place().parent, parent);
        }
    }

    /// Lets go of what was opened by the connection `connection`, which has ended: where the kernel was made to end it, it says nothing of files
    /// that were open.
    pub fn forget_connection(&self, connection: [u8; 8]) {
        for (op, handle) in self.shared.opens.of_connection(connection) {
            let nobody = Who { uid: 0, gid: 0, tid: 0, op, gesture: "end of a view", account: None, by: Grant::Mode };
            self.release(nobody, handle);
        }
    }

    /// Whether `who` may read, write or pass `ino`, as access(2) asks: the bits of what a view shows are not what decides there.
    pub fn access(&self, who: Who, ino: Ino, reads: bool, writes: bool, passes: bool) -> Result<(), Fault> {
        let shape = tree::shape(ino.kind);
        if writes {
            self.may_change()?;
        }
        if passes && shape == Shape::File {
            return Err(Refusal::NotAnEntry("a program".to_owned()).into());
        }
        match shape {
            Shape::Directory if reads => self.open_directory(who, ino),
            Shape::File if reads => self.may_open(who, ino),
            Shape::Directory | Shape::File | Shape::Link => Ok(()),
        }
    }
}
