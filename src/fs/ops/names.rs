//! Names: what one stands for in a directory, and what a directory lists.

use super::{Entry, Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::fs::scratch;
use crate::fs::tree::{self, Name};
use crate::fs::view::Shown;
use crate::id::NodeId;
use crate::secret::{Component, InstanceName, KeyName, Secret, SecretName, StageLabel, VersionId};
use crate::vault::{Listing, Loaded};

/// Positions in a listing: fixed entries first, then scratch files, then nodes by their number.
const SCRATCH_AT: u64 = 1 << 16;
const NODES_AT: u64 = 1 << 32;
/// Nodes read at a time.
const PAGE: usize = 256;

/// Takes one name of a listing, with the position to go on from; answers whether it had no room.
pub type Sink<'a> = dyn FnMut(u64, &[u8], Ino) -> bool + 'a;

impl Tree {
    /// What `name` stands for in `parent`. The answer depends on no caller.
    pub fn lookup(&self, who: Who, parent: Ino, name: &[u8]) -> Result<Entry, Fault> {
        let ino = self.resolve(parent, name)?.ok_or(Fault::NoEntry)?;
        self.entry(who, ino)
    }

    /// The inode that `name` stands for in `parent`. A name outside the grammar stands for nothing.
    pub(super) fn resolve(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Fault> {
        if let Some(view) = &self.view {
            if view.is_flat() && parent == Ino::ROOT {
                return self.flat_named(view, name);
            }
            if !self.has_name(view, parent, name)? {
                return Ok(None);
            }
        }
        if let Some(row) = tree::fixed(parent.kind, name) {
            return self.fixed_entry(parent, row.kind);
        }
        let found = match parent.kind {
            Kind::Root => match InstanceName::parse(name) {
                Ok(name) => self.vault.instance_named(&name)?.map(|node| Ino::new(node.id(), Kind::Instance)),
                Err(_) => None,
            },
            Kind::Instance | Kind::Directory => match Component::parse(name) {
                Ok(name) => {
                    let parent = self.loaded(parent.node)?;
                    self.vault.directory_named(&parent, &name)?.map(|node| Ino::new(node.id(), Kind::Directory))
                }
                Err(_) => None,
            },
            Kind::Keys => match KeyName::parse(name) {
                Ok(name) => self.vault.key_named(parent.node, &name)?.map(|node| Ino::new(node.id(), Kind::Key)),
                Err(_) => None,
            },
            Kind::Trash => match SecretName::from_escaped(name) {
                Ok(name) => match self.vault.trashed(parent.node, &name)? {
                    Some(node) => Some(self.entry_of(&node, Kind::Trashed)?),
                    None => None,
                },
                Err(_) => None,
            },
            Kind::Versions => self.version_named(parent.node, name)?,
            Kind::Fields => self.member_named(parent, name)?,
            Kind::Stages => self.label_named(parent.node, name)?,
            _ => None,
        };
        if self.view.is_some() {
            // Whose files in memory are, their bits say, which in a view nobody asks.
            return Ok(found);
        }
        Ok(found.or_else(|| self.shared.scratches.lock().named(parent, name).map(Ino::scratch)))
    }

    /// A fixed entry of `parent`. `current` is there while the secret can be read, and `dotenv` while its value has members.
    fn fixed_entry(&self, parent: Ino, kind: Kind) -> Result<Option<Ino>, Fault> {
        if parent.kind != Kind::Directory {
            // What is in the trash is of one life with its directory there.
            return Ok(Some(Ino { kind, ..parent }));
        }
        let secret = self.place(parent)?.secret;
        let found = record(&secret)?;
        let there = match kind {
            Kind::Current => found.is_live(),
            // `rm -r` has read its name before it came to be scheduled.
            Kind::Dotenv | Kind::Fields => self.is_shown(found, kind),
            _ => true,
        };
        if there { self.entry_of(&secret, kind).map(Some) } else { Ok(None) }
    }

    fn version_named(&self, secret: NodeId, name: &[u8]) -> Result<Option<Ino>, Fault> {
        let Ok(id) = VersionId::parse(name) else { return Ok(None) };
        let loaded = self.loaded(secret)?;
        Ok(record(&loaded)?.version(&id).map(|version| Ino::version(secret, version.no)))
    }

    fn label_named(&self, secret: NodeId, name: &[u8]) -> Result<Option<Ino>, Fault> {
        let Ok(label) = StageLabel::parse(name) else { return Ok(None) };
        let loaded = self.loaded(secret)?;
        Ok(record(&loaded)?.stages.get(&label).map(|_| Ino::stage(secret, &label)))
    }

    /// Where a label's link points now.
    pub fn link_target(&self, ino: Ino) -> Result<Vec<u8>, Fault> {
        if ino.kind == Kind::Scratch {
            let scratches = self.shared.scratches.lock();
            return match scratches.get(ino.ordinal).map(|file| &file.content) {
                Some(scratch::Content::Link(target)) => Ok(target.clone()),
                Some(scratch::Content::File(_)) => Err(Fault::Invalid),
                None => Err(Fault::NoEntry),
            };
        }
        let loaded = self.loaded(ino.node)?;
        let secret = record(&loaded)?;
        let no = secret.stages.iter().find(|(label, _)| Ino::stage(ino.node, label) == ino).map(|(_, no)| no);
        let version = no.and_then(|no| secret.version_no(no)).ok_or(Fault::NoEntry)?;
        Ok(format!("../versions/{}", version.id.as_str()).into_bytes())
    }

    /// What `ino` lists after position `from`, until `sink` is full.
    pub fn list(&self, ino: Ino, from: u64, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let Some(view) = &self.view else { return self.list_all(ino, from, sink) };
        if view.is_flat() && ino == Ino::ROOT {
            return self.list_flat(view, from, sink);
        }
        if self.shown_here(view, ino)? == Shown::Whole {
            return self.list_all(ino, from, sink);
        }
        let mut outcome = Ok(());
        self.list_all(ino, from, &mut |at, name, entry| match self.has_name(view, ino, name) {
            Ok(has) if has || matches!(name, b"." | b"..") => sink(at, name, entry),
            Ok(_) => false,
            Err(fault) => {
                outcome = Err(fault);
                true
            }
        })?;
        outcome
    }

    fn list_all(&self, ino: Ino, from: u64, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if from < SCRATCH_AT && self.list_entries(ino, from, sink)? {
            return Ok(());
        }
        if from < NODES_AT && self.list_scratches(ino, from.max(SCRATCH_AT), sink)? {
            return Ok(());
        }
        self.list_nodes(ino, NodeId(u32::try_from(from.saturating_sub(NODES_AT)).unwrap_or(u32::MAX)), sink)
    }

    /// `.`, `..`, the fixed entries, versions, labels and members. Answers whether `sink` is full.
    fn list_entries(&self, ino: Ino, from: u64, sink: &mut Sink<'_>) -> Result<bool, Fault> {
        let mut entries: Vec<(Vec<u8>, Ino)> = vec![(b".".to_vec(), ino), (b"..".to_vec(), Ino::ROOT)];
        match ino.kind {
            Kind::Directory => self.add_secret_entries(ino, &mut entries)?,
            Kind::Versions | Kind::Stages => self.add_versions(ino, &mut entries)?,
            Kind::Fields => self.add_members(ino, &mut entries)?,
            _ => entries
                .extend(tree::fixed_entries(ino.kind).map(|row| (fixed_name(row), Ino { kind: row.kind, ..ino }))),
        }
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for (at, (name, ino)) in entries.into_iter().enumerate().skip(skip) {
            if sink(at as u64 + 1, &name, ino) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A secret lists its entries, a draft the same without `current`; a scheduled one and a directory that only holds
    /// others list none of them.
    fn add_secret_entries(&self, ino: Ino, entries: &mut Vec<(Vec<u8>, Ino)>) -> Result<(), Fault> {
        let place = self.place(ino)?;
        let secret = record(&place.secret)?;
        let untouched = secret.is_draft() && secret.updated == secret.created;
        if secret.deletion.is_some() || untouched && self.vault.has_directories(place.directory.id())? {
            return Ok(());
        }
        let is_there = |row: &&tree::Row| match row.kind {
            Kind::Current => secret.is_live(),
            kind => self.is_shown(secret, kind),
        };
        let shown = tree::fixed_entries(Kind::Directory).filter(is_there);
        for row in shown {
            entries.push((fixed_name(row), self.entry_of(&place.secret, row.kind)?));
        }
        Ok(())
    }

    fn add_versions(&self, ino: Ino, entries: &mut Vec<(Vec<u8>, Ino)>) -> Result<(), Fault> {
        let loaded = self.loaded(ino.node)?;
        let secret = record(&loaded)?;
        if secret.deletion.is_some() {
            return Ok(());
        }
        if ino.kind == Kind::Versions {
            let entry = |version: &crate::secret::Version| {
                (version.id.as_str().as_bytes().to_vec(), Ino::version(ino.node, version.no))
            };
            entries.extend(secret.versions.iter().map(entry));
        } else {
            let entry =
                |(label, _): (&StageLabel, _)| (label.as_str().as_bytes().to_vec(), Ino::stage(ino.node, label));
            entries.extend(secret.stages.iter().map(entry));
        }
        Ok(())
    }

    fn list_scratches(&self, ino: Ino, from: u64, sink: &mut Sink<'_>) -> Result<bool, Fault> {
        let files = self.shared.scratches.lock().list(ino);
        for (slot, name) in files {
            let next = SCRATCH_AT + u64::from(slot) + 1;
            // An entry that came to be of its name since it was made is what that stands for, and was listed.
            let stands = next > from && self.resolve(ino, &name)? == Some(Ino::scratch(slot));
            if stands && sink(next, &name, Ino::scratch(slot)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn list_nodes(&self, ino: Ino, after: NodeId, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let mut after = after;
        loop {
            let Listing { nodes, next } = match ino.kind {
                Kind::Root | Kind::Instance | Kind::Directory => self.vault.children(ino.node, after, PAGE)?,
                Kind::Keys => self.vault.keys(ino.node, after, PAGE)?,
                Kind::Trash => self.vault.trash(ino.node, after, PAGE)?,
                _ => return Ok(()),
            };
            for node in nodes {
                let named = if let Some(instance) = node.as_instance() {
                    Some((instance.name.as_str().to_owned(), Kind::Instance))
                } else if let Some(directory) = node.as_directory() {
                    Some((directory.name.last().to_owned(), Kind::Directory))
                } else if let Some(key) = node.as_key() {
                    Some((key.name.as_str().to_owned(), Kind::Key))
                } else {
                    let trashed = node.as_secret().filter(|_| ino.kind == Kind::Trash);
                    trashed.map(|secret| (secret.secret.name.escaped(), Kind::Trashed))
                };
                let Some((name, kind)) = named else { continue };
                let ino = if kind == Kind::Trashed { self.entry_of(&node, kind)? } else { Ino::new(node.id(), kind) };
                if sink(NODES_AT + u64::from(node.id().0), name.as_bytes(), ino) {
                    return Ok(());
                }
            }
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Whether an entry of `secret` other than `current` is there: `dotenv` where the current value has members, `fields` while there are
    /// numbers for it.
    fn is_shown(&self, secret: &Secret, kind: Kind) -> bool {
        let current = self.current_no(secret);
        match kind {
            Kind::Dotenv => {
                current.and_then(|no| secret.version_no(no)).is_some_and(|version| version.fields.is_some())
            }
            Kind::Fields => secret.fields_directory(current).is_some(),
            _ => true,
        }
    }

    /// The inode of an entry of `secret`.
    fn entry_of(&self, secret: &Loaded, kind: Kind) -> Result<Ino, Fault> {
        Ok(match kind {
            Kind::Versions | Kind::Stages | Kind::Trashed => Ino::lived(secret.id(), kind, record(secret)?.generation),
            Kind::Fields => {
                let record = record(secret)?;
                let ordinal = record.fields_directory(self.current_no(record)).ok_or(Fault::NoEntry)?;
                Ino { node: secret.id(), kind, ordinal }
            }
            _ => Ino::new(secret.id(), kind),
        })
    }
}

fn fixed_name(row: &tree::Row) -> Vec<u8> {
    match row.name {
        Name::Fixed(name) => name.as_bytes().to_vec(),
        Name::Any => Vec::new(),
    }
}
