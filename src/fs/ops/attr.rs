//! What stat(2) shows. Answers alike to everybody, but for the size of what the asking process has open: a refusal that
//! depended on the caller would break other users' working directories and detach mounts.

use std::time::Duration;

use super::{LONG, Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::fs::opens::Held;
use crate::fs::scratch::Content;
use crate::fs::tree::{self, Bits, Shape};
use crate::id::VersionNo;
use crate::secret::{Fields, Version};
use crate::time::Timestamp;
use crate::vault::{Access, Loaded};

/// A file's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// What they are of.
    pub ino: Ino,
    /// Directory, file or link.
    pub shape: Shape,
    /// Bytes that can be read: exactly the plaintext's, or the text's; of a link its target's. A directory's says nothing.
    pub size: u64,
    /// mtime: of a version its making, of `current` the moment that ACSCurrent last moved.
    pub modified: Timestamp,
    /// atime: of `current` the last time that a value of its secret was read, or its making; of all else as mtime.
    pub accessed: Timestamp,
    /// ctime: the last change of the record.
    pub changed: Timestamp,
    /// When it was made. stat(2) does not show it (docs/decisions.md).
    pub created: Timestamp,
    /// Permission bits, without the type.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What a name stands for, and how long the kernel may believe it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What is there, also where the name is that of a link.
    pub attr: Attr,
    /// How long for the name: 0 where it can come to stand for something else, or for nothing, without the kernel's knowing.
    pub entry_ttl: Duration,
    /// How long for the attributes: 0 where they can change by what is written to another file.
    pub attr_ttl: Duration,
}

/// The size that directories show.
const DIRECTORY_SIZE: u64 = 4096;
/// What an entry that can be written has of its directory's bits: to pass through a directory says nothing of its files.
const READ_WRITE: u16 = 0o666;
/// What an entry that nobody writes has of them.
const READ: u16 = 0o444;
/// What its owner has besides of an entry that only the owner writes.
const OWNER_WRITE: u16 = 0o200;

impl Tree {
    /// The attributes of `ino`, as `who` has it open.
    pub fn attr(&self, who: Who, ino: Ino) -> Result<Attr, Fault> {
        match ino.kind {
            Kind::Scratch => self.scratch_attr(ino),
            Kind::Current | Kind::Dotenv => self.current_attr(who, ino),
            Kind::Version | Kind::Field | Kind::NewField => self.version_attr(who, ino),
            Kind::Stage => self.stage_attr(ino),
            _ => self.plain_attr(who, ino),
        }
    }

    /// How long the kernel may keep the attributes of `ino`: those of a name in the tree change only through the mount.
    pub fn attr_ttl(&self, ino: Ino) -> Duration {
        match ino.kind {
            // Another mount may change it.
            _ if self.view.is_some() => Duration::ZERO,
            Kind::Directory | Kind::Instance | Kind::Root => LONG,
            _ => Duration::ZERO,
        }
    }

    /// What a name that stands for `ino` is answered with.
    pub fn entry(&self, who: Who, ino: Ino) -> Result<Entry, Fault> {
        let attr = self.attr(who, ino)?;
        let entry_ttl = match ino.kind {
            _ if self.view.is_some() => Duration::ZERO,
            Kind::Current if record(&*self.loaded(ino.node)?)?.is_live() => LONG,
            Kind::Directory
            | Kind::Versions
            | Kind::Stages
            | Kind::Instance
            | Kind::InstanceControl
            | Kind::Keys
            | Kind::Trash
            | Kind::Control
            | Kind::Status
            | Kind::LastError
            | Kind::Api
            | Kind::Events
            | Kind::Metrics
            | Kind::Backup => LONG,
            _ => Duration::ZERO,
        };
        Ok(Entry { attr, entry_ttl, attr_ttl: self.attr_ttl(ino) })
    }

    fn current_attr(&self, who: Who, ino: Ino) -> Result<Attr, Fault> {
        let placed = self.placed(ino.node)?;
        let secret = record(&placed.secret)?;
        let current = self.current_no(secret);
        let seen = if secret.is_live() { current } else { None };
        // Of a label nobody knows since when it is there.
        let turned = |version: &Version| {
            if secret.stages.current() == Some(version.no) { secret.rotated } else { version.created }
        };
        let held = self.shared.opens.held_by(ino, who.tid, seen);
        let size = |version: &Version| match ino.kind {
            // Where there is nothing to read, its open says so.
            Kind::Dotenv => version.fields.as_ref().map_or(0, Fields::dotenv_len),
            _ => version.len,
        };
        // Whoever never read it has not read it since it was made.
        let accessed = self.vault.last_read(&placed.secret).map_or(secret.created, |read| read.at);
        if let Some(Held::Version(no)) = held
            // A handle whose close has come meanwhile keeps nothing any more.
            && let Some(version) = self.vault.version(&placed.secret, no)
        {
            let modified = turned(&version);
            let size = u64::from(size(&version));
            return Ok(Attr {
                size,
                modified,
                accessed,
                ..self.file_attr(ino, &placed.access, secret.created, secret.updated)?
            });
        }
        let (size, modified) = match held {
            Some(Held::Draft(draft)) => (draft.shown(), secret.rotated),
            Some(
                Held::Version(_) | Held::Text(_) | Held::Scratch | Held::Talk(_) | Held::Events(_) | Held::Snapshot(_),
            )
            | None => match current.and_then(|no| secret.version_no(no)) {
                // Of a scheduled secret `rm -r` still removes it.
                Some(version) if secret.deletion.is_none() || ino.kind == Kind::Dotenv => {
                    (u64::from(size(version)), turned(version))
                }
                Some(_) | None => return Err(Fault::NoEntry),
            },
        };
        Ok(Attr { size, modified, accessed, ..self.file_attr(ino, &placed.access, secret.created, secret.updated)? })
    }

    /// A version, or a member of one.
    fn version_attr(&self, who: Who, ino: Ino) -> Result<Attr, Fault> {
        let placed = self.placed(ino.node)?;
        let secret = record(&placed.secret)?;
        let stored = self.stored(&placed.secret, ino);
        let own = match stored {
            // Other bytes are never written to it.
            Some(_) if ino.kind == Kind::Version => None,
            Some((no, ..)) => self.shared.opens.held_by(ino, who.tid, Some(no)),
            None => self.shared.opens.held_by(ino, who.tid, None),
        };
        let (size, created) = match (own, stored) {
            (Some(Held::Draft(draft)), Some((_, _, created))) => (draft.shown(), created),
            (Some(Held::Draft(draft)), None) => (draft.shown(), secret.updated),
            (_, Some((_, len, created))) => (u64::from(len), created),
            // What is being written by somebody else has a number, and no size yet.
            (_, None) if self.shared.opens.is_drafted(ino) => (0, secret.updated),
            (
                Some(
                    Held::Version(_)
                    | Held::Text(_)
                    | Held::Scratch
                    | Held::Talk(_)
                    | Held::Events(_)
                    | Held::Snapshot(_),
                )
                | None,
                None,
            ) => {
                return Err(Fault::NoEntry);
            }
        };
        let attr = self.file_attr(ino, &placed.access, created, secret.updated.max(created))?;
        Ok(Attr { size, modified: created, accessed: created, ..attr })
    }

    /// The version that `ino` is, or is a member of: its number, how long that is, and when it was made.
    fn stored(&self, secret: &Loaded, ino: Ino) -> Option<(VersionNo, u32, Timestamp)> {
        match ino.kind {
            Kind::Field => self.member(secret, ino).map(|(version, _, len)| (version.no, len, version.created)),
            Kind::NewField => None,
            _ => self.vault.version(secret, ino.version_no()).map(|version| (version.no, version.len, version.created)),
        }
    }

    fn stage_attr(&self, ino: Ino) -> Result<Attr, Fault> {
        let placed = self.placed(ino.node)?;
        let secret = record(&placed.secret)?;
        let size = self.link_target(ino)?.len() as u64;
        Ok(Attr {
            size,
            modified: secret.updated,
            ..self.file_attr(ino, &placed.access, secret.created, secret.updated)?
        })
    }

    fn scratch_attr(&self, ino: Ino) -> Result<Attr, Fault> {
        let scratches = self.shared.scratches.lock();
        let file = scratches.get(ino.ordinal).ok_or(Fault::NoEntry)?;
        let (shape, size, mode) = match &file.content {
            Content::File(value) => (Shape::File, value.len(), file.mode),
            Content::Link(target) => (Shape::Link, target.len(), tree::LINK_BITS),
        };
        Ok(Attr {
            ino,
            shape,
            size: size as u64,
            modified: file.made,
            accessed: file.made,
            changed: file.made,
            created: file.made,
            mode,
            uid: file.uid,
            gid: file.gid,
        })
    }

    /// Directories, and entries whose content is text.
    fn plain_attr(&self, who: Who, ino: Ino) -> Result<Attr, Fault> {
        let (access, created, changed) = self.times(ino)?;
        let attr = self.file_attr(ino, &access, created, changed)?;
        if attr.shape != Shape::File {
            return Ok(attr);
        }
        let size = match self.shared.opens.held_by(ino, who.tid, None) {
            Some(Held::Draft(draft)) => draft.shown(),
            Some(Held::Text(text)) => text.len() as u64,
            Some(Held::Events(events)) => events.len(&self.vault, &self.estate),
            // Who has it not open finds nothing in it.
            None if ino.kind == Kind::Events => 0,
            Some(Held::Snapshot(copy)) => copy.len(),
            // What a copy would have now, nearly: who trusts it (tar, rsync) opens the file, and is told then.
            None if ino.kind == Kind::Backup => self.vault.store_status().disk_bytes,
            Some(Held::Version(_) | Held::Scratch | Held::Talk(_)) | None => self.text(who, ino)?.len() as u64,
        };
        Ok(Attr { size, ..attr })
    }

    fn file_attr(&self, ino: Ino, access: &Access, created: Timestamp, changed: Timestamp) -> Result<Attr, Fault> {
        let shape = tree::shape(ino.kind);
        let mode = self.own_mode(ino, access)? | self.opened_bits(ino)?;
        let size = if shape == Shape::Directory { DIRECTORY_SIZE } else { 0 };
        let accessed = changed;
        Ok(Attr {
            ino,
            shape,
            size,
            modified: changed,
            accessed,
            changed,
            created,
            mode,
            uid: access.uid,
            gid: access.gid,
        })
    }

    /// The bits that `ino` has by itself.
    fn own_mode(&self, ino: Ino, access: &Access) -> Result<u16, Fault> {
        let bits = if ino.kind == Kind::Root { Bits::Directory } else { self.row(ino.kind)?.bits };
        Ok(match bits {
            Bits::Directory => access.dir_mode,
            Bits::Entry => access.dir_mode & READ_WRITE,
            Bits::Owner => access.dir_mode & READ | OWNER_WRITE,
            Bits::ReadOnly => access.dir_mode & READ,
            Bits::Value => access.value_mode,
            Bits::ReadValue => access.value_mode & READ,
            Bits::Fixed(bits) => bits,
        })
    }

    /// The bits that `ino` shows and does not have: what a policy may allow somebody.
    pub(super) fn lent_bits(&self, ino: Ino) -> Result<u16, Fault> {
        let lent = self.opened_bits(ino)?;
        Ok(if lent == 0 { 0 } else { lent & !self.own_mode(ino, &self.times(ino)?.0)? })
    }

    /// Who owns what `ino` stands for, when it was made and when it last changed.
    fn times(&self, ino: Ino) -> Result<(Access, Timestamp, Timestamp), Fault> {
        match ino.kind {
            Kind::Root
            | Kind::Control
            | Kind::Status
            | Kind::LastError
            | Kind::Api
            | Kind::Events
            | Kind::Metrics
            | Kind::Backup => {
                let root = self.vault.root()?;
                Ok((root.access, root.created, root.changed))
            }
            Kind::Directory => {
                let loaded = self.loaded(ino.node)?;
                let directory = loaded.as_directory().ok_or(Fault::NoEntry)?;
                Ok((directory.access, directory.created, directory.changed))
            }
            Kind::Instance
            | Kind::InstanceControl
            | Kind::InstanceInfo
            | Kind::InstanceState
            | Kind::Shares
            | Kind::AccessQuota
            | Kind::RecoveryWindow
            | Kind::Keys
            | Kind::Trash => self.instance_times(&*self.loaded(ino.node)?),
            Kind::Key | Kind::KeyInfo | Kind::KeyState | Kind::KeyPolicy => {
                let key = self.loaded(ino.node)?;
                let (access, ..) = self.instance_times(&*self.loaded(key.instance_id())?)?;
                let key = key.as_key().ok_or(Fault::NoEntry)?;
                Ok((access, key.created, key.changed))
            }
            Kind::Trashed | Kind::TrashedInfo | Kind::TrashedState => {
                let placed = self.placed(ino.node)?;
                let secret = record(&placed.secret)?;
                let deletion = secret.deletion.as_ref().ok_or(Fault::NoEntry)?;
                Ok((placed.access, secret.created, deletion.requested))
            }
            Kind::Current
            | Kind::Versions
            | Kind::Version
            | Kind::Stages
            | Kind::Stage
            | Kind::Fields
            | Kind::Field
            | Kind::NewField
            | Kind::Dotenv
            | Kind::Tags
            | Kind::Policy
            | Kind::Description
            | Kind::Rotation
            | Kind::Cmk
            | Kind::Info
            | Kind::Scratch => {
                let placed = self.placed(ino.node)?;
                let secret = record(&placed.secret)?;
                Ok((placed.access, secret.created, secret.updated))
            }
        }
    }

    fn instance_times(&self, loaded: &Loaded) -> Result<(Access, Timestamp, Timestamp), Fault> {
        let instance = loaded.as_instance().ok_or(Fault::NoEntry)?;
        Ok((instance.access, instance.created, instance.changed))
    }
}
