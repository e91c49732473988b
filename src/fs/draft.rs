//! A draft: what a writer has written and not yet closed. It becomes a version, or tags, or a description, whole or not at
//! all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::inode::{Ino, Kind};
use super::ops::Who;
use super::process::Process;
use super::shares::Share;
use crate::estate::{pack, unpack};
use crate::id::{NodeId, OpId, VersionNo};
use crate::secret::{DESCRIPTION_MAX, Identity, POLICY_MAX, Refusal, VALUE_MAX, VersionId};
use crate::value::Value;
use crate::vault::Room;

/// What the bytes are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A new version with the next `v<n>`, written through `current`.
    Current { secret: NodeId },
    /// Version `id`: one that exists, of which only the same bytes are taken, or one to which the number is promised.
    Version { secret: NodeId, id: VersionId, no: VersionNo, exists: bool },
    /// A member of the current value, all others of which stay. Whether it was there when the file was opened.
    Member { secret: NodeId, name: String, exists: bool },
    /// A text entry of the tree.
    Text,
}

impl Target {
    /// The secret of which it is a value, or a part of one.
    pub fn secret(&self) -> Option<NodeId> {
        match self {
            Target::Current { secret } | Target::Version { secret, .. } | Target::Member { secret, .. } => {
                Some(*secret)
            }
            Target::Text => None,
        }
    }

    /// Whether it is a name that is not there yet.
    pub fn is_new(&self) -> bool {
        matches!(self, Target::Version { exists: false, .. } | Target::Member { exists: false, .. })
    }
}

/// How the draft's bytes stand to the present content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// They are the whole content.
    Whole,
    /// They go behind it: two who append at once both get in. Its length when the file was opened.
    Behind(usize),
    /// Nothing was written: the content is still the present one, of that length.
    Present(usize),
}

/// Why a draft will never be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Poison {
    /// A writer was killed between its writes.
    Killed,
    /// A write or the commit was refused with this errno; what came before is a part of something.
    Failed(i32),
    /// A signal came before a write was taken. A write of this process is that one again, and mends it.
    Interrupted(Option<Process>),
}

/// Longest text of an entry other than a policy and a description: twenty of the longest tags are 5 KiB.
const TEXT_MAX: usize = 64 * 1024;

/// Room on the disk for a draft's commit, and the share that its user has of all such room.
pub struct HeldRoom {
    pub room: Room,
    pub _share: Share,
}

/// One open file that is written.
pub struct Draft {
    /// Its number among the open files.
    pub serial: u64,
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
    /// The request that is storing it: it may come to be stored though this process ends.
    pub storing: Option<OpId>,
    pub room: Option<HeldRoom>,
    /// Who has written last.
    pub writer: Option<Writer>,
    /// Whether some of its bytes were stored before, and come from there.
    pub holds_stored: bool,
    moment: u64,
}

/// All of a draft but its bytes, as the next worker finds it. The room is taken anew there.
#[derive(Serialize, Deserialize)]
struct Facts {
    ino: u64,
    target: Target,
    who: Who,
    opener: Option<Process>,
    writers: Vec<Process>,
    base: Base,
    append: bool,
    dirty: bool,
    emptied: bool,
    poison: Option<Poison>,
    storing: Option<OpId>,
    holds_stored: bool,
}

/// Who has written, with what was found out of it where something had to be.
#[derive(Debug, Clone)]
pub struct Writer {
    pub who: Who,
    pub identity: Option<Identity>,
    pub cgroup: Option<String>,
}

impl Draft {
    /// A draft that has seen no write, of the process `opener`. `emptied` where the file was made or cut by being opened.
    #[allow(clippy::too_many_arguments, reason = "each is one fact about one open, and none belongs to another")]
    pub fn new(
        serial: u64,
        ino: Ino,
        target: Target,
        who: Who,
        opener: Option<Process>,
        base: Base,
        append: bool,
        emptied: bool,
    ) -> Self {
        Self {
            serial,
            ino,
            target,
            who,
            opener,
            writers: Vec::new(),
            bytes: Value::empty(),
            base,
            append,
            dirty: false,
            emptied,
            poison: None,
            storing: None,
            room: None,
            writer: None,
            holds_stored: false,
            moment: 0,
        }
    }

    /// The draft of the open file `serial` as an earlier worker left it in `entry`.
    pub fn left(serial: u64, entry: &[u8]) -> Option<Self> {
        let (facts, bytes) = unpack::<Facts>(entry)?;
        let Facts { ino, target, who, opener, writers, base, append, dirty, emptied, poison, storing, holds_stored } =
            facts;
        let (ino, bytes) = (Ino::parse(ino)?, Value::copy_of(bytes));
        let room = None;
        Some(Self {
            serial,
            ino,
            target,
            who,
            opener,
            writers,
            bytes,
            base,
            append,
            dirty,
            emptied,
            poison,
            storing,
            room,
            writer: None,
            holds_stored,
            moment: 0,
        })
    }

    /// As it is left to the next worker.
    pub fn to_entry(&self) -> Value {
        let facts = Facts {
            ino: self.ino.number(),
            target: self.target.clone(),
            who: self.who,
            opener: self.opener,
            writers: self.writers.clone(),
            base: self.base,
            append: self.append,
            dirty: self.dirty,
            emptied: self.emptied,
            poison: self.poison,
            storing: self.storing,
            holds_stored: self.holds_stored,
        };
        pack(&facts, self.bytes.as_bytes())
    }

    /// The size that the writer's fstat shows.
    pub fn len(&self) -> usize {
        match self.base {
            Base::Whole => self.bytes.len(),
            Base::Behind(present) => present + self.bytes.len(),
            Base::Present(present) => present,
        }
    }

    /// Rises with whatever happens to it: what was seen of its writers at one moment says nothing of it at another.
    pub fn moment(&self) -> u64 {
        self.moment
    }

    /// Notes that something happens to it.
    pub fn moves_on(&mut self) {
        self.moment += 1;
    }

    /// Lets go of all that a draft holds which will never be stored. The first reason stands.
    pub fn spoil(&mut self, why: Poison) {
        if matches!(self.poison, None | Some(Poison::Interrupted(_))) {
            self.poison = Some(why);
        }
        self.room = None;
        self.bytes.resize(0);
        self.moves_on();
    }

    /// Notes that a write of process `by` was not taken: unless it comes again, what is there is a part of something.
    pub fn is_interrupted(&mut self, by: Option<Process>) {
        match self.poison {
            None => self.poison = Some(Poison::Interrupted(by)),
            Some(Poison::Interrupted(other)) if other != by => self.spoil(Poison::Killed),
            Some(Poison::Interrupted(_) | Poison::Killed | Poison::Failed(_)) => {}
        }
        self.moves_on();
    }

    /// Notes that a write of thread `tid` has come.
    pub fn goes_on(&mut self, tid: u32) {
        if let Some(Poison::Interrupted(Some(by))) = self.poison
            && Process::of_thread(tid) == Some(by)
        {
            self.poison = None;
        }
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
            (Target::Current { .. } | Target::Version { .. } | Target::Member { .. }, _) => {
                (VALUE_MAX, Refusal::ValueTooLong)
            }
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
        self.moves_on();
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
    /// Nobody has it open any more, though the kernel has not said so yet.
    closed: AtomicBool,
    draft: Mutex<Draft>,
}

impl DraftFile {
    pub fn new(draft: Draft) -> Self {
        let shown = AtomicU64::new(draft.len() as u64);
        Self { shown, closed: AtomicBool::new(false), draft: Mutex::new(draft) }
    }

    /// The draft, for the one thread that changes things.
    pub fn lock(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock()
    }

    /// The size to show.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// Whether the close that was its last one has stored it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Notes that this close was its last one for all that can be seen.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Shows the size that `draft`, which is this one, has now.
    pub fn show(&self, draft: &Draft) {
        self.closed.store(false, Ordering::Relaxed);
        self.shown.store(draft.len() as u64, Ordering::Relaxed);
    }
}
