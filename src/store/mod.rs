//! Sealed records and compare-and-commit.
//!
//! An engine keeps three kinds of rows: *records* (a node of the tree, found by id, by parent, or by a keyed index under its
//! parent), *values* (written once) and *wraps* (small rows of one size that hold wrapped keys, so that shredding one is
//! overwriting it). It sees ids, revisions and padded sizes; it knows no name, no key and no KMS word. History is explicit
//! records, never an engine's own versioning. `sqlite` is the engine of every mount, `memory` that of the tests.
//!
//! Invariant: what `commit` answered `Ok` for is durable, whole, and what every later call sees.

mod memory;
mod snapshot;
mod sqlite;

pub use memory::MemoryStore;
pub use snapshot::{Snapshot, SnapshotError};
pub(crate) use sqlite::{Claim, StoreLock};
pub use sqlite::{LOCK, SqliteStore, examine};

use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

/// The store's moment: rises by at least one with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What came of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// What the commit got; the earlier one's where it came `again`.
    pub revision: Revision,
    /// The op id was known: it was committed before, and nothing was done now.
    pub again: bool,
}

/// A keyed index (truncated HMAC) of a name; equal names have equal ones only under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index(pub [u8; 16]);

/// Where a record hangs. All of it is visible to the engine, and bound to the record by its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The instance whose keys seal the record.
    pub scope: NodeId,
    /// The list it is found in.
    pub parent: NodeId,
    /// Its name in that list.
    pub index: Index,
}

/// One sealed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its node, which stays the same when the record is rewritten or moved.
    pub id: NodeId,
    /// The list and the name it is found under.
    pub place: Place,
    /// The revision of the commit that wrote it.
    pub revision: Revision,
    /// The node, sealed under its scope's keys; bound to `id` and `place`, not to the revision.
    pub sealed: Sealed,
}

/// A value or a wrap: the node it belongs to, and a number within that (a version's, a key version's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// A value's secret; a wrap's secret, key or instance.
    pub node: NodeId,
    /// The secret's version or the key's; 0 for the keys of an instance.
    pub no: u32,
}

/// A part of a directory, all of one revision, in order of node id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// As many as were asked for, or all that are left.
    pub records: Vec<Record>,
    /// The store's when they were read.
    pub revision: Revision,
    /// Whether there are records after the last one.
    pub more: bool,
}

/// What an operation on a record expects to find; all else is a [`CommitError::Conflict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No record of this id.
    Absent,
    /// The record as that commit wrote it: nobody has changed it since.
    Revision(Revision),
    /// Whatever is there, or nothing.
    Any,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record, or replaces the one of its id, wherever that stands: so a record moves.
    PutRecord {
        /// The record.
        id: NodeId,
        /// Where it is to be found; no other record may be there.
        place: Place,
        /// What it holds from now on.
        sealed: Sealed,
        /// What is there now.
        expect: Expect,
    },
    /// Removes a record. Under [`Expect::Any`] it may be gone already.
    DeleteRecord {
        /// The record.
        id: NodeId,
        /// What is there now.
        expect: Expect,
    },
    /// Writes a value. Values are written once: the row must be absent.
    PutValue {
        /// The secret and the number of its version.
        id: RowId,
        /// The value, sealed under a key of its own.
        sealed: Sealed,
    },
    /// Removes a value. That it is gone already is no error.
    DeleteValue {
        /// The secret and the number of its version.
        id: RowId,
    },
    /// Writes a wrap, over the bytes of the one of its id where there is one.
    PutWrap {
        /// Whose key it is, and which.
        id: RowId,
        /// The wrapped key.
        sealed: Sealed,
    },
    /// Overwrites a wrap and removes it. That it is gone already is no error.
    DeleteWrap {
        /// Whose key it was, and which.
        id: RowId,
    },
}

/// Every kind of row, for a whole walk of the store (verify, scrub).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The nodes, those of the store itself among them: header, head, unlock slots.
    Records,
    /// The sealed values of versions.
    Values,
    /// The wrapped keys: of instances, of CMK versions, of values.
    Wraps,
}

/// One row met on such a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What the walk goes on after. A record's has the number 0.
    pub id: RowId,
    /// Set for records only.
    pub place: Option<Place>,
    /// The row as it was written; a walk opens nothing.
    pub sealed: Sealed,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused or failed, in the engine's words; the content may be sound.
    #[error("the store's disk could not be read or written: {0}")]
    Io(String),
    /// What was read is none of what this engine writes, in its words. Seals are not its matter.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Nobody has asked the engine: who reads may not wait for a disk now. No engine answers this.
    #[error("the answer has to be read from the disk")]
    WouldWait,
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An expectation did not hold; nothing was written.
    #[error("another change came first")]
    Conflict,
    /// It may have happened: [`Store::committed`] tells, as soon as it can be told.
    #[error("the outcome of the commit is not known: {0}")]
    Unknown(String),
    /// No space; nothing was written.
    #[error("the store's disk is full")]
    Full,
    /// The engine takes no writes now; nothing was written.
    #[error("the store takes no changes: {0}")]
    Unavailable(String),
    /// Past the engine's limits; nothing was written.
    #[error("the change is larger than the engine takes in one commit")]
    TooLarge,
}

/// Why a store could not be opened. Each has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no store in that directory.
    #[error("there is no store in {0}")]
    Missing(String),
    /// One was to be made where there is one, which stays as it is.
    #[error("there is a store in {0} already")]
    Exists(String),
    /// Another process has the store in that directory open, or is making one there.
    #[error("the store in {0} is in use by another process")]
    InUse(String),
    /// A later kmsfs has made it; nothing was written.
    #[error("the store has format {found}, this kmsfs knows up to {known}")]
    Newer {
        /// The format that the file names.
        found: i64,
        /// The newest that this program reads.
        known: i64,
    },
    /// The file is no store, or is not whole; why, in the engine's words.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A file of the store could not be read, written or locked.
    #[error("cannot open the store in {path}: {source}")]
    Io {
        /// The store's directory, or the file in it that failed.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How an engine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The engine's name: `sqlite`, `memory`.
    pub engine: &'static str,
    /// Why it takes no writes, when it does not.
    pub read_only: Option<String>,
    /// The most operations one commit takes.
    pub max_ops: usize,
    /// The most sealed bytes one commit takes.
    pub max_commit_bytes: usize,
    /// Bytes on the disk, its log included; 0 in memory.
    pub disk_bytes: u64,
    /// Bytes that are free there; 0 in memory.
    pub free_bytes: u64,
    /// Bytes that the disk had no room for of the reserve that stands for changes which make room; 0 in memory.
    pub reserve_missing_bytes: u64,
}

/// Room for one commit, held until dropped or handed to [`Store::commit`].
pub struct Reservation(Kept);

enum Kept {
    /// Gives the room back when dropped; nothing in engines that hold none.
    Held { _guard: Option<Box<dyn Send + Sync>> },
    /// Nothing of its own: the engine's standing reserve.
    Standing,
}

impl Reservation {
    /// A reservation of an engine whose space is not its own to hold.
    pub fn none() -> Self {
        Self(Kept::Held { _guard: None })
    }

    /// A reservation that `guard` gives back when dropped.
    fn held(guard: Box<dyn Send + Sync>) -> Self {
        Self(Kept::Held { _guard: Some(guard) })
    }

    /// The reserve that an engine keeps for changes which make room, or undo a mistake: they must be possible on a full disk.
    pub fn standing() -> Self {
        Self(Kept::Standing)
    }

    fn is_standing(&self) -> bool {
        matches!(self.0, Kept::Standing)
    }
}

/// A storage engine. All calls are synchronous and may come from any thread.
pub trait Store: Send + Sync {
    /// The record `id`, if there is one.
    fn get(&self, id: NodeId) -> Result<Option<Record>, StoreError>;

    /// Up to `limit` records of the list `parent` with ids above `after`, in order of id, consistent at one revision.
    fn list(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Page, StoreError>;

    /// The record named `index` in the list `parent`. At most one has that name.
    fn find(&self, parent: NodeId, index: &Index) -> Result<Option<Record>, StoreError>;

    /// A sealed value.
    fn value(&self, id: RowId) -> Result<Option<Sealed>, StoreError>;

    /// A wrapped key.
    fn wrap(&self, id: RowId) -> Result<Option<Sealed>, StoreError>;

    /// Carries out all of `ops` durably, or none of them. Under an `op_id` already committed nothing is done: that commit's
    /// revision is answered, and that it came `again`. A disk that is full is tried again with the room of `reservation`
    /// given back.
    ///
    /// # Errors
    /// `Conflict` also where two records of one list would share an index.
    fn commit(&self, ops: &[Op], op_id: OpId, reservation: Option<Reservation>) -> Result<Committed, CommitError>;

    /// The revision that `op_id` got, if it is among the last 4,096 committed. An answer is final: what is not there then will
    /// not come to be. After [`CommitError::Unknown`] this is an error until the engine can tell.
    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError>;

    /// Holds room on the disk for one commit of up to `bytes` sealed bytes, so that a full disk speaks now and not then.
    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError>;

    /// Up to `limit` rows of `table` after `after`, in order of id: for a walk over everything.
    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Overwrites what deletes have left in the engine's files and logs.
    fn shred(&self) -> Result<(), StoreError>;

    /// Checks the engine's own structure (pages, indexes), not the seals.
    fn check(&self) -> Result<(), StoreError>;

    /// Copies the whole store as it is at one moment. Commits go on meanwhile.
    ///
    /// # Errors
    /// `Full` where the copy has no room beside the store; nothing of it is left behind then.
    fn snapshot(&self) -> Result<Snapshot, SnapshotError>;

    /// How the engine stands.
    fn status(&self) -> Status;
}

/// Commits whose ids an engine remembers.
const KEPT_OPS: usize = 4_096;
/// Operations that the embedded engines take in one commit: a purge of a full secret needs some thirty.
const MAX_OPS: usize = 4_096;
/// Sealed bytes that the embedded engines take in one commit.
const MAX_COMMIT_BYTES: usize = 16 * 1024 * 1024;

/// The sealed bytes that `ops` carry.
fn sealed_bytes(ops: &[Op]) -> usize {
    let carried = |op: &Op| match op {
        Op::PutRecord { sealed, .. } | Op::PutValue { sealed, .. } | Op::PutWrap { sealed, .. } => {
            sealed.as_bytes().len()
        }
        Op::DeleteRecord { .. } | Op::DeleteValue { .. } | Op::DeleteWrap { .. } => 0,
    };
    ops.iter().map(carried).sum()
}
