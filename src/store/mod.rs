//! Sealed records and compare-and-commit.
//!
//! An engine keeps three kinds of rows: *records* (a node of the tree, found by id, by parent, or by a keyed index under its
//! parent), *values* (written once) and *wraps* (small rows of one size that hold wrapped keys, so that shredding one is
//! overwriting it). It sees ids, revisions and padded sizes; it knows no name, no key and no KMS word. History is explicit
//! records, never an engine's own versioning.
//!
//! Invariant: what `commit` answered `Ok` for is durable, whole, and what every later call sees.

mod memory;
mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

/// The store's moment: rises by at least one with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

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
    pub id: NodeId,
    pub place: Place,
    /// The revision of the commit that wrote it.
    pub revision: Revision,
    pub sealed: Sealed,
}

/// A value or a wrap: the node it belongs to, and a number within that (a version's, a key version's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    pub node: NodeId,
    pub no: u32,
}

/// A part of a directory, all of one revision, in order of node id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Record>,
    pub revision: Revision,
    /// Whether there are records after the last one.
    pub more: bool,
}

/// What an operation expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Revision(Revision),
    Any,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    PutRecord {
        id: NodeId,
        place: Place,
        sealed: Sealed,
        expect: Expect,
    },
    DeleteRecord {
        id: NodeId,
        expect: Expect,
    },
    /// Values are written once: the row must be absent.
    PutValue {
        id: RowId,
        sealed: Sealed,
    },
    /// Deleting what is not there is no error.
    DeleteValue {
        id: RowId,
    },
    /// Replaces the row if it is there, in place.
    PutWrap {
        id: RowId,
        sealed: Sealed,
    },
    DeleteWrap {
        id: RowId,
    },
}

/// Every kind of row, for a whole walk of the store (verify, scrub).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Records,
    Values,
    Wraps,
}

/// One row met on such a walk. For a record `id.no` is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: RowId,
    /// Set for records only.
    pub place: Option<Place>,
    pub sealed: Sealed,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store's disk could not be read or written: {0}")]
    Io(String),
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An expectation did not hold; nothing was written.
    #[error("another change came first")]
    Conflict,
    /// It may have happened: [`Store::committed`] tells.
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
    #[error("there is no store in {0}")]
    Missing(String),
    #[error("there is a store in {0} already")]
    Exists(String),
    #[error("the store in {0} is in use by another process")]
    InUse(String),
    #[error("the store has format {found}, this kmsfs knows up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("cannot open the store in {path}: {source}")]
    Io { path: String, source: std::io::Error },
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
}

/// Room for one commit, held until dropped or handed to [`Store::commit`].
pub struct Reservation {
    /// What gives the room back when dropped; nothing in engines that hold none.
    _guard: Option<Box<dyn Send + Sync>>,
}

impl Reservation {
    /// A reservation of an engine whose space is not its own to hold.
    pub fn none() -> Self {
        Self { _guard: None }
    }

    /// A reservation that `guard` gives back when dropped.
    pub fn held(guard: Box<dyn Send + Sync>) -> Self {
        Self { _guard: Some(guard) }
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

    /// Carries out all of `ops` durably, or none of them. Under an `op_id` already committed nothing is done and that
    /// commit's revision is answered. Two records in one list may not share an index (`Conflict`). A disk that is full is
    /// tried again with the room of `reservation` given back.
    fn commit(&self, ops: &[Op], op_id: OpId, reservation: Option<Reservation>) -> Result<Revision, CommitError>;

    /// The revision that `op_id` got, if it is among the last 4,096 committed.
    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError>;

    /// Holds room on the disk for one commit of up to `bytes` sealed bytes, so that a full disk speaks now and not then.
    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError>;

    /// Up to `limit` rows of `table` after `after`, in order of id: for a walk over everything.
    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Overwrites what deletes have left in the engine's files and logs.
    fn shred(&self) -> Result<(), StoreError>;

    /// Checks the engine's own structure (pages, indexes), not the seals.
    fn check(&self) -> Result<(), StoreError>;

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
