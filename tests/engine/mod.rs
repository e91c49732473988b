//! An engine in memory that does what a test wants at a moment that it names, so that a race has one outcome and a fault its
//! place.

// Each test program uses its own part of this.
#![allow(dead_code)]

use kmsfs::id::{NodeId, OpId};
use kmsfs::sealed::Sealed;
use kmsfs::store::{
    CommitError, Committed, Index, MemoryStore, Op, Page, Record, Reservation, Revision, Row, RowId, Snapshot,
    SnapshotError, Status, Store, StoreError, Table,
};
use parking_lot::Mutex;

/// When something is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A look for a name in this list has found nothing.
    FoundNothing(NodeId),
    /// This record is about to be read.
    Reading(NodeId),
    /// This value is about to be read.
    ReadingValue(RowId),
    /// Rows of this table are about to be read.
    Scanning(Table),
    /// Rows of this table were read, and whoever asked does not know them yet.
    Scanned(Table),
    /// A commit is durable, and its verb does not know it yet.
    Committed,
    /// The log is about to be emptied.
    Shredding,
}

/// What the engine can tell of its commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// All of it.
    #[default]
    Well,
    /// It carries a commit out, and cannot tell that it did.
    CarriesOut,
    /// It carries nothing out, and cannot tell that it did not.
    CarriesNothingOut,
}

type Action = Box<dyn FnOnce() + Send>;

/// A store in memory.
#[derive(Default)]
pub struct Engine {
    /// What is there, for who passes the engine by, as a disk's faults and its thieves do.
    pub rows: MemoryStore,
    plans: Mutex<Vec<(Moment, Action)>>,
    faults: Mutex<Vec<Moment>>,
    mood: Mutex<Mood>,
}

impl Engine {
    /// Does `action` when `moment` comes, once.
    pub fn at(&self, moment: Moment, action: impl FnOnce() + Send + 'static) {
        self.plans.lock().push((moment, Box::new(action)));
    }

    /// Whether all that was planned has happened.
    pub fn is_done(&self) -> bool {
        self.plans.lock().is_empty()
    }

    /// Lets what is done at `moment` fail, until [`Engine::heal`].
    pub fn fail(&self, moment: Moment) {
        self.faults.lock().push(moment);
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        self.faults.lock().clear();
    }

    /// From now on it tells so much of its commits.
    pub fn be(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Takes rows away, as a disk does that loses them.
    pub fn lose(&self, ops: &[Op]) {
        let mut op = [0; 16];
        getrandom::fill(&mut op).unwrap();
        self.rows.commit(ops, OpId(op), None).unwrap();
    }

    fn pass(&self, moment: Moment) -> Result<(), StoreError> {
        let mut plans = self.plans.lock();
        let due = plans.iter().position(|(planned, _)| *planned == moment).map(|at| plans.remove(at));
        // What happens may read and commit itself.
        drop(plans);
        if let Some((_, action)) = due {
            action();
        }
        if self.faults.lock().contains(&moment) { Err(StoreError::Io("a test".into())) } else { Ok(()) }
    }
}

impl Store for Engine {
    fn get(&self, id: NodeId) -> Result<Option<Record>, StoreError> {
        self.pass(Moment::Reading(id))?;
        self.rows.get(id)
    }

    fn find(&self, parent: NodeId, index: &Index) -> Result<Option<Record>, StoreError> {
        let found = self.rows.find(parent, index)?;
        if found.is_none() {
            self.pass(Moment::FoundNothing(parent))?;
        }
        Ok(found)
    }

    fn value(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.pass(Moment::ReadingValue(id))?;
        self.rows.value(id)
    }

    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.pass(Moment::Scanning(table))?;
        let rows = self.rows.scan(table, after, limit)?;
        self.pass(Moment::Scanned(table))?;
        Ok(rows)
    }

    fn commit(&self, ops: &[Op], op: OpId, room: Option<Reservation>) -> Result<Committed, CommitError> {
        let mood = *self.mood.lock();
        if mood == Mood::CarriesNothingOut {
            return Err(CommitError::Unknown("a test".into()));
        }
        let committed = self.rows.commit(ops, op, room)?;
        let told = self.pass(Moment::Committed);
        match (mood, told) {
            (Mood::Well, Ok(())) => Ok(committed),
            _ => Err(CommitError::Unknown("a test".into())),
        }
    }

    fn committed(&self, op: OpId) -> Result<Option<Revision>, StoreError> {
        match *self.mood.lock() {
            Mood::Well => self.rows.committed(op),
            Mood::CarriesOut | Mood::CarriesNothingOut => Err(StoreError::Io("a test".into())),
        }
    }

    fn shred(&self) -> Result<(), StoreError> {
        self.pass(Moment::Shredding)?;
        self.rows.shred()
    }

    fn list(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Page, StoreError> {
        self.rows.list(parent, after, limit)
    }

    fn wrap(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.rows.wrap(id)
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        self.rows.reserve(bytes)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.rows.check()
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        self.rows.snapshot()
    }

    fn status(&self) -> Status {
        self.rows.status()
    }
}
