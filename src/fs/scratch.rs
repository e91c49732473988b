//! Files in memory that editors and tools make on their way: swap files, temporary names that are renamed onto an entry,
//! backups. They are never stored, belong to who made them, are bounded, and are wiped after ten minutes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::inode::Ino;
use crate::secret::Refusal;
use crate::time::Timestamp;
use crate::value::Value;

/// Longest scratch file: a swap file of an editor for the longest value fits many times.
pub const SIZE_MAX: usize = 256 * 1024;
/// Most scratch files of one user.
const PER_USER_MAX: usize = 64;
/// How long one that nobody touches is kept.
const KEPT: Duration = Duration::from_secs(600);
/// Longest name in bytes, as everywhere on Linux.
pub const NAME_MAX: usize = 255;
/// Numbers that an inode's ordinal has room for.
const SLOTS: u32 = 1 << 24;

/// The permission bits that a scratch file keeps.
const BITS: u16 = 0o666;

/// What a scratch name stands for.
pub enum Content {
    File(Value),
    /// The temporary link of `ln -sfn`.
    Link(Vec<u8>),
}

/// One of them.
pub struct Scratch {
    /// The directory it is in.
    pub parent: Ino,
    pub name: Vec<u8>,
    pub content: Content,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub made: Timestamp,
    touched: Instant,
}

/// All of them.
#[derive(Default)]
pub struct Scratches {
    next: u32,
    files: BTreeMap<u32, Scratch>,
}

impl Scratches {
    /// Makes one; answers its slot.
    pub fn add(
        &mut self,
        parent: Ino,
        name: &[u8],
        content: Content,
        (uid, gid): (u32, u32),
        now: Timestamp,
    ) -> Result<u32, Refusal> {
        self.sweep();
        if self.files.values().filter(|file| file.uid == uid).count() >= PER_USER_MAX {
            return Err(Refusal::ScratchLimit);
        }
        check_name(name)?;
        self.next = (self.next + 1) % SLOTS;
        let slot = self.next;
        let file = Scratch {
            parent: parent.of_any_life(),
            name: name.to_vec(),
            content,
            uid,
            gid,
            mode: 0o600,
            made: now,
            touched: Instant::now(),
        };
        self.files.insert(slot, file);
        Ok(slot)
    }

    /// The one named `name` in `parent`.
    pub fn named(&self, parent: Ino, name: &[u8]) -> Option<u32> {
        self.files
            .iter()
            .find(|(_, file)| file.parent == parent.of_any_life() && file.name == name)
            .map(|(slot, _)| *slot)
    }

    /// The names in `parent`.
    pub fn list(&self, parent: Ino) -> Vec<(u32, Vec<u8>)> {
        let inside = self.files.iter().filter(|(_, file)| file.parent == parent.of_any_life());
        inside.map(|(slot, file)| (*slot, file.name.clone())).collect()
    }

    pub fn get(&self, slot: u32) -> Option<&Scratch> {
        self.files.get(&slot)
    }

    fn value_mut(&mut self, slot: u32) -> Result<&mut Value, Refusal> {
        match self.get_mut(slot).map(|file| &mut file.content) {
            Some(Content::File(value)) => Ok(value),
            Some(Content::Link(_)) | None => Err(Refusal::NotFound),
        }
    }

    /// For a change; it counts as touched.
    fn get_mut(&mut self, slot: u32) -> Option<&mut Scratch> {
        let file = self.files.get_mut(&slot)?;
        file.touched = Instant::now();
        Some(file)
    }

    /// Forgets one and wipes its content.
    pub fn remove(&mut self, slot: u32) -> Option<Scratch> {
        self.files.remove(&slot)
    }

    /// Takes back one that was removed to be stored, and was refused.
    pub fn put_back(&mut self, slot: u32, file: Scratch) {
        self.files.insert(slot, file);
    }

    /// A copy of a file's content.
    pub fn copy(&self, slot: u32) -> Option<Value> {
        match &self.files.get(&slot)?.content {
            Content::File(value) => Some(Value::copy_of(value.as_bytes())),
            Content::Link(_) => None,
        }
    }

    /// Puts `data` at `offset`.
    pub fn write(&mut self, slot: u32, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        let at = usize::try_from(offset).map_err(|_| Refusal::ScratchLimit)?;
        if at.saturating_add(data.len()) > SIZE_MAX {
            return Err(Refusal::ScratchLimit);
        }
        self.value_mut(slot)?.write_at(at, data);
        Ok(())
    }

    /// Cuts or fills a file's content.
    pub fn resize(&mut self, slot: u32, len: usize) -> Result<(), Refusal> {
        if len > SIZE_MAX {
            return Err(Refusal::ScratchLimit);
        }
        self.value_mut(slot)?.resize(len);
        Ok(())
    }

    /// Gives a file the permission bits of what it is a copy of.
    pub fn set_mode(&mut self, slot: u32, mode: u16) {
        if let Some(file) = self.files.get_mut(&slot) {
            file.mode = mode;
        }
    }

    /// Changes owner, group and bits.
    pub fn set_access(
        &mut self,
        slot: u32,
        mode: Option<u16>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Refusal> {
        let file = self.get_mut(slot).ok_or(Refusal::NotFound)?;
        file.mode = mode.map_or(file.mode, |mode| mode & BITS);
        file.uid = uid.unwrap_or(file.uid);
        file.gid = gid.unwrap_or(file.gid);
        Ok(())
    }

    /// Gives one another name, in the place of what has it.
    pub fn rename(&mut self, slot: u32, parent: Ino, name: &[u8]) -> Result<(), Refusal> {
        check_name(name)?;
        if let Some(replaced) = self.named(parent, name).filter(|other| *other != slot) {
            self.files.remove(&replaced);
        }
        if let Some(file) = self.get_mut(slot) {
            file.parent = parent.of_any_life();
            file.name = name.to_vec();
        }
        Ok(())
    }

    /// Forgets those in a directory that is gone.
    pub fn remove_in(&mut self, parent: Ino) {
        self.files.retain(|_, file| file.parent != parent.of_any_life());
    }

    /// Wipes what nobody has touched for ten minutes.
    pub fn sweep(&mut self) {
        self.files.retain(|_, file| file.touched.elapsed() < KEPT);
    }
}

/// Any text will do that a terminal can show.
fn check_name(name: &[u8]) -> Result<(), Refusal> {
    if name.len() > NAME_MAX {
        return Err(Refusal::NameTooLong);
    }
    let bad = name.iter().any(u8::is_ascii_control) || std::str::from_utf8(name).is_err();
    if bad || matches!(name, b"" | b"." | b"..") {
        return Err(Refusal::BadName { what: "control characters or bytes that are no text", max: NAME_MAX });
    }
    Ok(())
}

/// `sed -i` writes `sed` and six characters, then renames.
pub fn is_sed_name(name: &[u8]) -> bool {
    name.len() == 9 && name.starts_with(b"sed")
}

/// `ln -sf` makes a link named `Cu` and six characters, then renames it.
pub fn is_ln_name(name: &[u8]) -> bool {
    name.len() == 8 && name.starts_with(b"Cu")
}
