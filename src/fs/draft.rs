//! A draft: what a writer has written and not yet closed. It becomes a version, or tags, or a description, whole or not at
//! all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::inode::{Ino, Kind};
use super::ops::Who;
use super::process::Process;
use crate::id::{NodeId, VersionNo};
use crate::secret::{DESCRIPTION_MAX, POLICY_MAX, Refusal, VALUE_MAX, VersionId};
use crate::value::Value;
use crate::vault::Room;

/// What the bytes are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new version with the next `v<n>`, written through `current`.
    Current { secret: NodeId },
    /// Version `id`: one that exists, of which only the same bytes are taken, or one to which the number is promised.
    Version { secret: NodeId, id: VersionId, no: VersionNo, exists: bool },
    /// A text entry of the tree.
    Text,
}

/// How the draft's bytes stand to the present content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// They are the whole content.
    Whole,
    /// They go behind it: two who append at once both get in. Its length when the file was opened.
    Behind(usize),
    /// Nothing was written: the content is still the present one, of that length.
    Present(usize),
}

/// Why a draft will never be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// A writer was killed between its writes.
    Killed,
    /// A write or the commit was refused with this errno; what came before is a part of something.
    Failed(i32),
}

/// Longest text of an entry other than a policy and a description: twenty of the longest tags are 5 KiB.
const TEXT_MAX: usize = 64 * 1024;

/// Room on the disk for a draft's commit, and the share that its user has of all such room.
pub struct HeldRoom {
    pub room: Room,
    pub _share: Share,
}

/// Who holds room for how many drafts: what one byte written makes the store keep free is much more than that byte.
#[derive(Default)]
pub struct Shares(Arc<Mutex<HashMap<u32, usize>>>);

/// One draft's share, given back when dropped.
pub struct Share {
    of: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

/// Most drafts with written bytes that one user but root may have open at once.
const SHARES_MAX: usize = 64;

impl Shares {
    /// A share for user `uid`, if it has one left.
    pub fn take(&self, uid: u32) -> Option<Share> {
        let mut held = self.0.lock();
        let count = held.entry(uid).or_default();
        if uid != 0 && *count >= SHARES_MAX {
            return None;
        }
        *count += 1;
        Some(Share { of: self.0.clone(), uid })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        if let Some(count) = held.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.uid);
            }
        }
    }
}

/// One open file that is written.
pub struct Draft {
    pub ino: Ino,
    pub target: Target,
    /// Who opened it: a last close comes without a name.
    pub who: Who,
    pub opener: Option<Process>,
    /// Other processes that have written.
    writers: Vec<Process>,
    pub bytes: Value,
    pub base: Base,
    /// Every write goes to the end.
    append: bool,
    /// Bytes were written since the last commit.
    pub dirty: bool,
    /// The file was made or cut, and nothing written since.
    pub emptied: bool,
    pub poison: Option<Poison>,
    pub room: Option<HeldRoom>,
}

impl Draft {
    /// A draft that has seen no write. `emptied` where the file was made or cut by being opened.
    pub fn new(ino: Ino, target: Target, who: Who, base: Base, append: bool, emptied: bool) -> Self {
        Self {
            ino,
            target,
            who,
            opener: Process::of_thread(who.tid),
            writers: Vec::new(),
            bytes: Value::empty(),
            base,
            append,
            dirty: false,
            emptied,
            poison: None,
            room: None,
        }
    }

    /// The size that the writer's fstat shows.
    pub fn len(&self) -> usize {
        match self.base {
            Base::Whole => self.bytes.len(),
            Base::Behind(present) => present + self.bytes.len(),
            Base::Present(present) => present,
        }
    }

    /// Lets go of all that a draft holds which will never be stored. The first reason stands.
    pub fn spoil(&mut self, why: Poison) {
        self.poison.get_or_insert(why);
        self.room = None;
        self.bytes.resize(0);
    }

    /// Whether a close has something to store.
    pub fn is_pending(&self) -> bool {
        self.dirty || self.emptied
    }

    /// Where a write at `offset` begins in the draft's bytes.
    pub fn position(&self, offset: u64) -> usize {
        let appends = self.append || matches!(self.base, Base::Behind(_));
        if appends { self.bytes.len() } else { usize::try_from(offset).unwrap_or(usize::MAX) }
    }

    /// Takes `data` at position `at`, whole or not at all.
    pub fn write(&mut self, at: usize, data: &[u8]) -> Result<(), Refusal> {
        let before = if let Base::Behind(present) = self.base { present } else { 0 };
        self.fits(before.saturating_add(at).saturating_add(data.len()))?;
        self.bytes.write_at(at, data);
        self.dirty = true;
        self.emptied = false;
        Ok(())
    }

    /// Cuts or fills the content. The present content must have been taken in, unless nothing of it is to stay.
    pub fn set_len(&mut self, len: usize) -> Result<(), Refusal> {
        self.fits(len)?;
        self.base = Base::Whole;
        self.bytes.resize(len);
        self.emptied = len == 0;
        self.dirty = len > 0;
        Ok(())
    }

    /// Whether the content may be `len` bytes long.
    pub fn fits(&self, len: usize) -> Result<(), Refusal> {
        // A description's newline is the file's.
        let (limit, too_long) = match (&self.target, self.ino.kind) {
            (Target::Current { .. } | Target::Version { .. }, _) => (VALUE_MAX, Refusal::ValueTooLong),
            (Target::Text, Kind::Policy) => (POLICY_MAX, Refusal::PolicyTooLong),
            (Target::Text, Kind::Description) => (DESCRIPTION_MAX + 1, Refusal::DescriptionTooLong),
            (Target::Text, _) => (TEXT_MAX, Refusal::TextTooLong),
        };
        if len > limit { Err(too_long) } else { Ok(()) }
    }

    /// Whether `process` opened or wrote it.
    pub fn involves(&self, process: Process) -> bool {
        self.opener == Some(process) || self.writers.contains(&process)
    }

    /// Notes that thread `tid` writes.
    pub fn written_by(&mut self, tid: u32) {
        if tid == self.who.tid {
            return;
        }
        if let Some(process) = Process::of_thread(tid).filter(|process| !self.involves(*process)) {
            self.writers.push(process);
        }
    }

    /// Every process known to have had it.
    pub fn processes(&self) -> Vec<Process> {
        self.opener.into_iter().chain(self.writers.iter().copied()).collect()
    }
}

/// A draft among the open files. Its size stands beside it, so that whoever asks for it waits for no commit.
pub struct DraftFile {
    shown: AtomicU64,
    draft: Mutex<Draft>,
}

impl DraftFile {
    pub fn new(draft: Draft) -> Self {
        Self { shown: AtomicU64::new(draft.len() as u64), draft: Mutex::new(draft) }
    }

    /// The draft, for the one thread that changes things.
    pub fn lock(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock()
    }

    /// The size to show.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// Shows the size that `draft`, which is this one, has now.
    pub fn show(&self, draft: &Draft) {
        self.shown.store(draft.len() as u64, Ordering::Relaxed);
    }
}
