//! Owner, group, permission bits, size; and how much room there is.

use super::{Attr, Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::id::NodeId;
use crate::secret::Refusal;
use crate::vault::AccessChange;

/// What a request wants changed. Times are not among it: they are those of versions and records, and setting them is taken
/// without effect.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttrChange {
    /// New permission bits, as the caller gave them; those that mean nothing here are not kept.
    pub mode: Option<u16>,
    /// A new owner.
    pub uid: Option<u32>,
    /// A new group.
    pub gid: Option<u32>,
    /// A new length in bytes.
    pub size: Option<u64>,
    /// The open file that it comes through.
    pub handle: Option<Handle>,
}

/// What statfs(2) shows: the disk that the store is on.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    pub blocks: u64,
    pub free: u64,
    pub files: u64,
    pub block_size: u32,
}

/// The bits of all but the owner, who takes nothing from anybody by giving it to itself.
const NOT_OWNERS: u16 = 0o077;
/// The bits that let somebody read.
const READ_BITS: u16 = 0o444;
/// The bits that chmod(2) can set on a file: nothing here is executed.
const FILE_BITS: u16 = 0o666;
/// The bits that chmod(2) can set on a directory: set-id and sticky bits mean nothing here.
const DIRECTORY_BITS: u16 = 0o777;
/// The unit that statfs(2) counts in.
const BLOCK_SIZE: u32 = 4096;

impl Tree {
    /// Changes attributes of `ino`; answers what they are then.
    pub fn set_attr(&self, who: Who, ino: Ino, change: AttrChange) -> Result<Attr, Fault> {
        self.may_change()?;
        if let Some(size) = change.size {
            match change.handle {
                Some(handle) => self.truncate(who, ino, handle, size)?,
                None => self.truncate_by_name(who, ino, size)?,
            }
        }
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            self.set_access(who, ino, change)?;
        }
        self.attr(who, ino)
    }

    /// How much room there is.
    pub fn space(&self) -> Space {
        let store = self.vault.store_status();
        let block = u64::from(BLOCK_SIZE);
        let free = store.free_bytes / block;
        Space {
            blocks: free + store.disk_bytes / block,
            free,
            files: self.vault.counts().records,
            block_size: BLOCK_SIZE,
        }
    }

    /// truncate(2): without an open file nothing could be written after it, and a cut value is none.
    fn truncate_by_name(&self, who: Who, ino: Ino, size: u64) -> Result<(), Fault> {
        if ino.kind == Kind::Scratch {
            let size = usize::try_from(size).map_err(|_| Refusal::ScratchLimit)?;
            return Ok(self.change_scratches(Some(who.op)).resize(ino.ordinal, size)?);
        }
        if self.attr(who, ino)?.size == size { Ok(()) } else { Err(Refusal::EmptyValue.into()) }
    }

    fn set_access(&self, who: Who, ino: Ino, change: AttrChange) -> Result<(), Fault> {
        let AttrChange { mode, uid, gid, .. } = change;
        // Tools change the bits that they were shown, and would give everybody what a policy lets somebody have.
        let lent = self.lent_bits(ino)?;
        let mode = mode.map(|mode| mode & !(lent & NOT_OWNERS));
        let change = AttrChange { mode, ..change };
        let who = match ino.kind {
            Kind::Root | Kind::Instance | Kind::Directory => self.permit_access(who, &self.loaded(ino.node)?)?,
            kind if kind.is_value() => {
                let directory = self.directory_of_value(ino.node)?;
                self.permit_access(who, &self.loaded(directory)?)?
            }
            _ => who,
        };
        match ino.kind {
            Kind::Scratch => Ok(self.change_scratches(Some(who.op)).set_access(ino.ordinal, mode, uid, gid)?),
            Kind::Root | Kind::Instance | Kind::Directory => {
                let change = AccessChange { uid, gid, dir_mode: mode, value_mode: None };
                Ok(self.vault.set_access(who.caller(), ino.node, change)?)
            }
            kind if kind.is_value() => self.set_value_access(who, ino, change),
            _ => self.keep_access(who, ino, change),
        }
    }

    /// The owner of a value is its secret's; the bits of one value are those of all.
    fn set_value_access(&self, who: Who, ino: Ino, change: AttrChange) -> Result<(), Fault> {
        let directory = self.directory_of_value(ino.node)?;
        let shown = self.vault.node(directory)?.and_then(|node| node.access()).ok_or(Fault::NoEntry)?;
        let mode = match ino.kind {
            // It shows the bits to read alone, and those to write stay.
            Kind::Dotenv => change.mode.map(|mode| mode & READ_BITS | shown.value_mode & !READ_BITS),
            _ => change.mode,
        };
        let access = AccessChange {
            uid: change.uid.filter(|uid| *uid != shown.uid),
            gid: change.gid.filter(|gid| *gid != shown.gid),
            dir_mode: None,
            value_mode: mode.filter(|mode| mode & FILE_BITS != shown.value_mode),
        };
        // Also where nothing is left to be done: the request may come again, and the kernel not have been told.
        self.shared.stale.lock().attrs.push(Ino::new(directory, Kind::Directory));
        if access.uid.is_none() && access.gid.is_none() && access.value_mode.is_none() {
            return Ok(());
        }
        Ok(self.vault.set_access(who.caller(), directory, access)?)
    }

    fn directory_of_value(&self, secret: NodeId) -> Result<NodeId, Fault> {
        let loaded = self.loaded(secret)?;
        record(&loaded)?.not_scheduled()?;
        Ok(loaded.place().parent)
    }

    /// All other entries follow their directory. What asks for what is there already (`chmod -R`, `cp -p`) gets it.
    fn keep_access(&self, who: Who, ino: Ino, change: AttrChange) -> Result<(), Fault> {
        let attr = self.attr(who, ino)?;
        let directory = attr.shape == crate::fs::tree::Shape::Directory;
        let settable = if directory { DIRECTORY_BITS } else { FILE_BITS };
        let same_mode = |mode: u16| mode & settable == attr.mode;
        let same = change.mode.is_none_or(same_mode)
            && change.uid.is_none_or(|uid| uid == attr.uid)
            && change.gid.is_none_or(|gid| gid == attr.gid);
        if same { Ok(()) } else { Err(Refusal::FollowsDirectory.into()) }
    }
}
