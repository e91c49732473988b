//! Files in memory that editors and tools make on their way: swap files, temporary names that are renamed onto an entry,
//! backups. They are never stored, belong to who made them, are bounded, and are wiped after ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use serde::{Deserialize, Serialize};

use super::inode::Ino;
use crate::estate::{Estate, Key, pack, unpack};
use crate::id::{NodeId, OpId, VersionNo};
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
/// Those it begins with, whatever its maker asked for: it may hold a value.
const NEW_BITS: u16 = 0o600;

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
    /// The version that it is a copy of, byte by byte.
    pub copy_of: Option<(NodeId, VersionNo)>,
    /// The entry that its content comes from, whatever was written to it since: who may not read that reads no copy of it.
    pub origin: Option<Ino>,
    /// Who made it, among whose it counts, whoever owns it.
    maker: u32,
    touched: Instant,
}

/// All of a file but its content, as the next worker finds it. Its ten minutes begin anew there.
#[derive(Serialize, Deserialize)]
struct Facts {
    parent: u64,
    name: Vec<u8>,
    link: bool,
    uid: u32,
    gid: u32,
    mode: u16,
    made: Timestamp,
    copy_of: Option<(NodeId, VersionNo)>,
    origin: Option<u64>,
    maker: u32,
}

impl Scratch {
    /// The file that an earlier worker left in `entry`.
    fn left(entry: &[u8]) -> Option<Self> {
        let (facts, bytes) = unpack::<Facts>(entry)?;
        let Facts { parent, name, link, uid, gid, mode, made, copy_of, origin, maker } = facts;
        let origin = origin.and_then(Ino::parse);
        let content = if link { Content::Link(bytes.to_vec()) } else { Content::File(Value::copy_of(bytes)) };
        let (parent, touched) = (Ino::parse(parent)?, Instant::now());
        Some(Self { parent, name, content, uid, gid, mode, made, copy_of, origin, maker, touched })
    }

    /// As it is left to the next worker.
    fn to_entry(&self) -> Value {
        let (link, bytes) = match &self.content {
            Content::File(value) => (false, value.as_bytes()),
            Content::Link(target) => (true, target.as_slice()),
        };
        let facts = Facts {
            parent: self.parent.number(),
            name: self.name.clone(),
            link,
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            made: self.made,
            copy_of: self.copy_of,
            origin: self.origin.map(Ino::number),
            maker: self.maker,
        };
        pack(&facts, bytes)
    }
}

/// All of them.
#[derive(Default)]
pub struct Scratches {
    next: u32,
    files: BTreeMap<u32, Scratch>,
    /// Those that have changed, come or gone since this was last asked.
    changed: BTreeSet<u32>,
}

/// All of them while a request changes some, which is told to the estate when it has.
pub struct ChangingScratches<'a> {
    scratches: MutexGuard<'a, Scratches>,
    estate: &'a Estate,
    op: Option<OpId>,
}

impl<'a> ChangingScratches<'a> {
    pub fn new(scratches: MutexGuard<'a, Scratches>, estate: &'a Estate, op: Option<OpId>) -> Self {
        Self { scratches, estate, op }
    }

    /// Notes that the request is refused: it has changed nothing in the end, and must not be taken for one that has.
    pub fn refused(&mut self) {
        self.op = None;
    }
}

impl Deref for ChangingScratches<'_> {
    type Target = Scratches;

    fn deref(&self) -> &Scratches {
        &self.scratches
    }
}

impl DerefMut for ChangingScratches<'_> {
    fn deref_mut(&mut self) -> &mut Scratches {
        &mut self.scratches
    }
}

impl Drop for ChangingScratches<'_> {
    fn drop(&mut self) {
        let changed = std::mem::take(&mut self.scratches.changed);
        if changed.is_empty() {
            return;
        }
        let entry = |slot: &u32| (Key::Scratch(*slot), self.scratches.get(*slot).map(Scratch::to_entry));
        let mut entries: Vec<(Key, Option<Value>)> = changed.iter().map(entry).collect();
        entries.push((Key::LastSlot, Some(Value::copy_of(&self.scratches.next.to_le_bytes()))));
        let changes: Vec<_> = entries.iter().map(|(key, entry)| (*key, entry.as_ref().map(Value::as_bytes))).collect();
        self.estate.change(self.op, &changes);
    }
}

/// Slots between the first ones of two workers: whoever holds a file of a worker that has ended must not come to another's.
const APART: u64 = 1 << 16;

impl Scratches {
    /// None yet, of a worker with so many before it.
    pub fn numbered_after(workers_before: u64) -> Self {
        let first = (workers_before.wrapping_mul(APART) % u64::from(SLOTS)) as u32;
        Self { next: first, ..Self::default() }
    }

    /// Goes on numbering where an earlier worker has ended: a slot that somebody has open comes to nobody else.
    pub fn begin_after(&mut self, last: &[u8]) {
        self.next = last.first_chunk().map_or(self.next, |last| u32::from_le_bytes(*last) % SLOTS);
    }

    /// Takes over the one in `slot` that an earlier worker left in `entry`.
    pub fn inherit(&mut self, slot: u32, entry: &[u8]) {
        if let Some(file) = Scratch::left(entry) {
            self.files.insert(slot, file);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Makes one; answers its slot.
    pub fn add(
        &mut self,
        parent: Ino,
        name: &[u8],
        content: Content,
        maker: u32,
        (uid, gid): (u32, u32),
        now: Timestamp,
    ) -> Result<u32, Refusal> {
        self.sweep();
        if self.files.values().filter(|file| file.maker == maker).count() >= PER_USER_MAX {
            return Err(Refusal::ScratchLimit);
        }
        check_name(name)?;
        let slot = self.number();
        let file = Scratch {
            parent: parent.of_any_life(),
            name: name.to_vec(),
            content,
            uid,
            gid,
            mode: NEW_BITS,
            made: now,
            copy_of: None,
            origin: None,
            maker,
            touched: Instant::now(),
        };
        self.files.insert(slot, file);
        Ok(slot)
    }

    /// A number that no file has, and that the next worker gives to none.
    pub fn number(&mut self) -> u32 {
        loop {
            self.next = (self.next + 1) % SLOTS;
            if !self.files.contains_key(&self.next) {
                self.changed.insert(self.next);
                return self.next;
            }
        }
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

    /// The names of all, each in its directory.
    pub fn names(&self) -> Vec<(Ino, Vec<u8>)> {
        self.files.values().map(|file| (file.parent, file.name.clone())).collect()
    }

    pub fn get(&self, slot: u32) -> Option<&Scratch> {
        self.files.get(&slot)
    }

    fn value_mut(&mut self, slot: u32) -> Result<&mut Value, Refusal> {
        let file = self.get_mut(slot).ok_or(Refusal::NotFound)?;
        file.copy_of = None;
        match &mut file.content {
            Content::File(value) => Ok(value),
            Content::Link(_) => Err(Refusal::NotFound),
        }
    }

    /// For a change; it counts as touched.
    fn get_mut(&mut self, slot: u32) -> Option<&mut Scratch> {
        let file = self.files.get_mut(&slot)?;
        file.touched = Instant::now();
        self.changed.insert(slot);
        Some(file)
    }

    /// Forgets one and wipes its content.
    pub fn remove(&mut self, slot: u32) -> Option<Scratch> {
        self.changed.insert(slot);
        self.files.remove(&slot)
    }

    /// Takes one out to be stored. For the next worker it is there until [`Scratches::remove`].
    pub fn take(&mut self, slot: u32) -> Option<Scratch> {
        self.files.remove(&slot)
    }

    /// Takes back one that was taken out, and was refused.
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

    /// Gives a file the permission bits of `origin`, of which it is a copy, and notes the version if it is one of a value.
    pub fn set_copy(&mut self, slot: u32, mode: u16, origin: Ino, of: Option<(NodeId, VersionNo)>) {
        if let Some(file) = self.get_mut(slot) {
            file.mode = mode;
            (file.copy_of, file.origin) = (of, Some(origin));
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
            self.remove(replaced);
        }
        if let Some(file) = self.get_mut(slot) {
            file.parent = parent.of_any_life();
            file.name = name.to_vec();
        }
        Ok(())
    }

    /// Forgets those in a directory that is gone.
    pub fn remove_in(&mut self, parent: Ino) {
        self.retain(|file| file.parent != parent.of_any_life());
    }

    /// Wipes what nobody has touched for ten minutes.
    pub fn sweep(&mut self) {
        self.sweep_at(Instant::now());
    }

    fn sweep_at(&mut self, now: Instant) {
        self.retain(|file| now.saturating_duration_since(file.touched) < KEPT);
    }

    fn retain(&mut self, stays: impl Fn(&Scratch) -> bool) {
        let going: Vec<u32> = self.files.iter().filter(|(_, file)| !stays(file)).map(|(slot, _)| *slot).collect();
        for slot in going {
            self.remove(slot);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::inode::Kind;
    use crate::id::NodeId;

    const SECOND: Duration = Duration::from_secs(1);

    fn add(files: &mut Scratches, name: &[u8]) -> u32 {
        let parent = Ino::new(NodeId(70), Kind::Directory);
        files.add(parent, name, Content::File(Value::copy_of(b"v")), 0, (0, 0), Timestamp(1)).unwrap()
    }

    /// A change of a scratch file.
    type Touch = fn(&mut Scratches, u32) -> Result<(), Refusal>;

    #[test]
    fn a_file_is_kept_for_ten_minutes_after_its_last_change() {
        let changes: [(&str, Touch); 4] = [
            ("a write", |files, slot| files.write(slot, 0, b"x")),
            ("a cut", |files, slot| files.resize(slot, 0)),
            ("a chmod", |files, slot| files.set_access(slot, Some(0o600), None, None)),
            ("a rename", |files, slot| files.rename(slot, Ino::new(NodeId(70), Kind::Directory), b"new")),
        ];
        for (what, change) in changes {
            let mut files = Scratches::default();
            let began = Instant::now();
            let (touched, left) = (add(&mut files, b"touched"), add(&mut files, b"left"));
            let made = Instant::now();
            files.sweep_at(began + KEPT - SECOND);
            assert!(files.get(left).is_some(), "ten minutes are not over");
            while Instant::now() == made {}
            change(&mut files, touched).unwrap();
            // For the one that was left, and for the other not yet.
            files.sweep_at(made + KEPT);
            assert_eq!((files.get(touched).is_some(), files.get(left).is_some()), (true, false), "{what}");
            files.sweep_at(Instant::now() + KEPT);
            assert!(files.get(touched).is_none(), "{what}");
        }
    }

    #[test]
    fn a_look_keeps_no_file() {
        let mut files = Scratches::default();
        let slot = add(&mut files, b"old");
        let made = Instant::now();
        while Instant::now() == made {}
        assert!(files.copy(slot).is_some() && files.named(Ino::new(NodeId(70), Kind::Directory), b"old").is_some());
        files.sweep_at(made + KEPT);
        assert!(files.get(slot).is_none());
    }

    #[test]
    fn files_count_among_their_makers() {
        let (mut scratches, now) = (Scratches::default(), Timestamp::from_system(std::time::SystemTime::now()));
        let directory = Ino::new(NodeId(70), Kind::Directory);
        let mut add = |name: &str, maker| {
            let content = Content::File(Value::empty());
            scratches.add(directory, name.as_bytes(), content, maker, (0, 0), now)
        };
        for n in 0..PER_USER_MAX {
            add(&format!("copy{n}"), 1000).unwrap();
        }
        assert!(matches!(add("one more", 1000), Err(Refusal::ScratchLimit)));
        assert!(add("the owner's", 0).is_ok(), "who owns the copies has made none");
    }
}
