//! What a worker leaves to the next one: which files are open, and what was written and not yet stored.
//!
//! Two files in memory, which the keeper holds open and hands to each worker. `table` has a row for each open file: plain
//! numbers, the same that the kernel knows. `log` has the rest (drafts, texts, files in memory, versions that rolled away
//! under a reader, each user's last refusal), sealed under a key that comes from the master key, so the keeper holds no plaintext.
//!
//! Knows no inode and no rule: an entry is a [`Key`] and bytes. Invariants: an entry counts once it is written, whole or not at
//! all, and the changes of one request all at once; a worker may be killed at any instruction. What cannot be written any more
//! is given up as a whole, since an older state must never come back as if it were the last.

mod log;
mod table;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::MemfdFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crypto::EstateRoot;
use crate::id::{NodeId, OpId, VersionNo};
use crate::value::Value;
use log::Log;
use table::Table;
pub use table::{OpenFile, Sort};

/// What an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The draft of the open file with this serial.
    Draft(u64),
    /// The text that the open file with this serial reads.
    Text(u64),
    /// The file in memory in this slot.
    Scratch(u32),
    /// A version that rolled away while it was open.
    Version(NodeId, VersionNo),
    /// The secrets that a commit is about to rotate.
    Rotations,
    /// Why the last request of this user was refused.
    Refusal(u32),
    /// A writer of the draft with this serial was let go, and the draft does not know of it yet.
    LetGo(u64),
    /// The last slot that was given to a file in memory.
    LastSlot,
    /// The last requests that changed something here.
    Carried,
    /// What was written to the open file with this serial, which is a conversation with the api.
    Request(u64),
    /// Its answer, where that must not be asked for again.
    Answer(u64),
    /// How much of its answer was read.
    Heard(u64),
    /// What the open file with this serial can read of events, and has not read.
    Events(u64),
    /// The kernel may have pages of the inode with this number.
    Paged(u64),
}

impl Key {
    fn to_parts(self) -> (u8, u64) {
        match self {
            Key::Draft(serial) => (1, serial),
            Key::Text(serial) => (2, serial),
            Key::Scratch(slot) => (3, u64::from(slot)),
            Key::Version(secret, no) => (4, u64::from(secret.0) << 32 | u64::from(no.0)),
            Key::Rotations => (5, 0),
            Key::Refusal(uid) => (6, u64::from(uid)),
            Key::LetGo(serial) => (7, serial),
            Key::LastSlot => (8, 0),
            Key::Carried => (9, 0),
            Key::Request(serial) => (10, serial),
            Key::Answer(serial) => (11, serial),
            Key::Heard(serial) => (12, serial),
            Key::Events(serial) => (13, serial),
            Key::Paged(ino) => (14, ino),
        }
    }

    fn from_parts(sort: u8, id: u64) -> Option<Self> {
        let (high, low) = ((id >> 32) as u32, (id & u64::from(u32::MAX)) as u32);
        Some(match sort {
            1 => Key::Draft(id),
            2 => Key::Text(id),
            3 => Key::Scratch(low),
            4 => Key::Version(NodeId(high), VersionNo(low)),
            5 => Key::Rotations,
            6 => Key::Refusal(low),
            7 => Key::LetGo(id),
            8 => Key::LastSlot,
            9 => Key::Carried,
            10 => Key::Request(id),
            11 => Key::Answer(id),
            12 => Key::Heard(id),
            13 => Key::Events(id),
            14 => Key::Paged(id),
            _ => return None,
        })
    }
}

/// The two files.
pub struct Files {
    table: OwnedFd,
    log: OwnedFd,
}

impl Files {
    /// New ones, with nothing in them.
    pub fn make() -> io::Result<Self> {
        let file = |name: &str| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
        Ok(Self { table: file("kmsfs-table")?, log: file("kmsfs-log")? })
    }

    /// Those that another process has handed over, in the order of [`Files::both`].
    pub fn from_both([table, log]: [OwnedFd; 2]) -> Self {
        Self { table, log }
    }

    /// Both, to be handed over.
    pub fn both(&self) -> [BorrowedFd<'_>; 2] {
        [self.table.as_fd(), self.log.as_fd()]
    }
}

/// What was found of an earlier worker.
#[derive(Default)]
pub struct Left {
    /// Open files, each with its row.
    pub opens: Vec<(u32, OpenFile)>,
    /// Sealed entries, opened.
    pub entries: HashMap<Key, Value>,
}

/// The files, as a worker writes them.
#[derive(Default)]
pub struct Estate {
    /// None where nothing is kept.
    table: Option<Table>,
    /// None where nothing is kept, or nothing any more.
    log: Mutex<Option<Log>>,
    /// The requests whose changes were the last of earlier workers: they may not have been answered.
    carried: HashSet<OpId>,
}

impl Estate {
    /// Opens `files`; answers what an earlier worker left there. Where they cannot be opened nothing is left in them: the worker
    /// after this one must not take for the last state what was before.
    ///
    /// # Errors
    /// Those of the files, and what came of emptying them.
    pub fn open(files: Files, root: EstateRoot) -> io::Result<(Self, Left)> {
        let [table, log] = files.both().map(|file| file.try_clone_to_owned());
        let (table, log) = (File::from(table?), File::from(log?));
        Self::open_as_they_are(files, root).inspect_err(|error| {
            if let Err(worse) = table.set_len(0).and(log.set_len(0)) {
                ::log::error!("what an earlier worker left cannot be taken away ({error}): {worse}");
            }
        })
    }

    fn open_as_they_are(files: Files, root: EstateRoot) -> io::Result<(Self, Left)> {
        let (table, opens) = Table::open(files.table)?;
        let (log, entries) = Log::open(files.log, root)?;
        let carried = log.carried().collect();
        Ok((Self { table: Some(table), log: Mutex::new(Some(log)), carried }, Left { opens, entries }))
    }

    /// Whether `op` has made its changes here in the time of an earlier worker, which may not have answered it. They are few: a
    /// worker answers one such request before it begins the next.
    pub fn has_carried_out(&self, op: OpId) -> bool {
        self.carried.contains(&op)
    }

    /// Takes note of an open file; answers its row.
    pub fn add_open(&self, file: &OpenFile) -> u32 {
        let Some(table) = &self.table else { return 0 };
        table.add(file).unwrap_or_else(|error| {
            // Without a row it is a handle that the next worker does not know.
            ::log::error!("an open file is not kept for the next worker: {error}");
            table::NO_ROW
        })
    }

    /// Forgets the open file in `row`.
    pub fn remove_open(&self, row: u32) {
        if let Some(table) = &self.table {
            table.remove(row);
        }
    }

    /// Makes `changes` for the request `op`, all at once: new bytes, or none where the entry goes.
    pub fn change(&self, op: Option<OpId>, changes: &[(Key, Option<&[u8]>)]) {
        self.with_log(|log| log.append(op, changes));
    }

    /// Leaves no trace of what has gone.
    pub fn wipe(&self) {
        self.with_log(Log::compact);
    }

    fn with_log(&self, act: impl FnOnce(&mut Log) -> io::Result<()>) {
        let mut log = self.log.lock();
        if let Some(open) = log.as_mut()
            && let Err(error) = act(open)
        {
            ::log::error!("nothing more is kept for the next worker: {error}");
            open.give_up();
            *log = None;
        }
    }
}

/// `facts` and `bytes` as one entry: `u32le length of facts || facts as JSON || bytes`.
pub fn pack(facts: &impl Serialize, bytes: &[u8]) -> Value {
    let facts = serde_json::to_vec(facts).unwrap_or_default();
    let mut packed = Value::empty();
    packed.resize(LENGTH + facts.len() + bytes.len());
    packed.write_at(0, &u32::try_from(facts.len()).unwrap_or(u32::MAX).to_le_bytes());
    packed.write_at(LENGTH, &facts);
    packed.write_at(LENGTH + facts.len(), bytes);
    packed
}

/// What [`pack`] was given.
pub fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Option<(T, &[u8])> {
    let (len, rest) = packed.split_first_chunk::<LENGTH>()?;
    let (facts, bytes) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    Some((serde_json::from_slice(facts).ok()?, bytes))
}

/// Bytes of a length.
const LENGTH: usize = 4;
