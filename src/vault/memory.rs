//! Answering from memory alone: for threads that may not wait for a disk.
//!
//! Inside of [`from_memory`] whatever would have to ask the engine is answered [`StoreError::WouldWait`] in its place, however
//! quick the disk would have been: nobody can know. Who asked hands the question to a thread that may wait.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;
use crate::store::{
    CommitError, Committed, Index, Op, Page, Record, Reservation, Revision, Row, RowId, Snapshot, SnapshotError,
    Status, Store, StoreError, Table,
};

thread_local! {
    static FROM_MEMORY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `ask`; what of it cannot be answered without the engine fails with [`StoreError::WouldWait`].
pub fn from_memory<T>(ask: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            FROM_MEMORY.set(self.0);
        }
    }
    let _before = Before(FROM_MEMORY.replace(true));
    ask()
}

/// Whether who asks may wait, for a disk or for others.
pub fn may_wait() -> bool {
    !FROM_MEMORY.get()
}

/// The engine, for those who may wait for it; and how it stood when it was last measured, for everybody.
pub(super) struct Disk {
    engine: Arc<dyn Store>,
    measured: Mutex<Status>,
}

impl Disk {
    pub fn new(engine: Arc<dyn Store>) -> Self {
        let measured = Mutex::new(engine.status());
        Self { engine, measured }
    }

    /// As it was measured last: after the last change, or since.
    pub fn remembered(&self) -> Status {
        self.measured.lock().clone()
    }

    /// Measures again.
    pub fn measure(&self) {
        let status = self.engine.status();
        *self.measured.lock() = status;
    }

    fn asked(&self) -> Result<&dyn Store, StoreError> {
        if may_wait() { Ok(&*self.engine) } else { Err(StoreError::WouldWait) }
    }

    /// What comes of `change`, with a measure taken behind it.
    fn changed<T>(&self, change: impl FnOnce(&dyn Store) -> T) -> T {
        let outcome = change(&*self.engine);
        self.measure();
        outcome
    }
}

impl Store for Disk {
    fn get(&self, id: NodeId) -> Result<Option<Record>, StoreError> {
        self.asked()?.get(id)
    }

    fn list(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Page, StoreError> {
        self.asked()?.list(parent, after, limit)
    }

    fn find(&self, parent: NodeId, index: &Index) -> Result<Option<Record>, StoreError> {
        self.asked()?.find(parent, index)
    }

    fn value(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.asked()?.value(id)
    }

    fn wrap(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.asked()?.wrap(id)
    }

    fn commit(&self, ops: &[Op], op_id: OpId, room: Option<Reservation>) -> Result<Committed, CommitError> {
        self.changed(|engine| engine.commit(ops, op_id, room))
    }

    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError> {
        self.asked()?;
        // After an error the engine may have taken itself up again.
        self.changed(|engine| engine.committed(op_id))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        self.engine.reserve(bytes)
    }

    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.asked()?.scan(table, after, limit)
    }

    fn shred(&self) -> Result<(), StoreError> {
        self.asked()?;
        self.changed(|engine| engine.shred())
    }

    fn check(&self) -> Result<(), StoreError> {
        self.asked()?.check()
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        self.asked()?.snapshot()
    }

    fn status(&self) -> Status {
        self.remembered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn who_may_not_wait_is_told_so_and_only_there() {
        let disk = Disk::new(Arc::new(MemoryStore::new()));
        let waits = || matches!(disk.get(NodeId::ROOT), Err(StoreError::WouldWait));
        assert!(!waits());
        assert!(from_memory(|| from_memory(waits) && waits()), "also behind a scope inside of it");
        assert!(!waits());
        std::thread::scope(|scope| {
            from_memory(|| assert!(!scope.spawn(waits).join().unwrap(), "another thread may wait"));
        });
        assert!(std::panic::catch_unwind(|| from_memory(|| panic!("in the scope"))).is_err());
        assert!(!waits(), "a panic leaves it");
    }
}
