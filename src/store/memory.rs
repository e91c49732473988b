//! The engine of the tests: ordered maps behind one lock. Also the reference that the others are compared with.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::RwLock;

use super::{
    CommitError, Committed, Expect, Index, KEPT_OPS, MAX_COMMIT_BYTES, MAX_OPS, Op, Page, Place, Record, Reservation,
    Revision, Row, RowId, Snapshot, SnapshotError, Status, Store, StoreError, Table, sealed_bytes, sqlite,
};
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

#[derive(Clone, Default)]
struct Rows {
    revision: u64,
    records: BTreeMap<NodeId, Record>,
    names: BTreeMap<(NodeId, Index), NodeId>,
    values: BTreeMap<RowId, Sealed>,
    wraps: BTreeMap<RowId, Sealed>,
    ops: VecDeque<(OpId, Revision)>,
}

/// A store that is gone with the process.
#[derive(Default)]
pub struct MemoryStore {
    rows: RwLock<Rows>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Rows {
    fn expect(&self, id: NodeId, expect: Expect) -> Result<(), CommitError> {
        let found = self.records.get(&id).map(|record| record.revision);
        let holds = match expect {
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found == Some(revision),
            Expect::Any => true,
        };
        if holds { Ok(()) } else { Err(CommitError::Conflict) }
    }

    fn remove(&mut self, id: NodeId) {
        if let Some(old) = self.records.remove(&id) {
            self.names.remove(&(old.place.parent, old.place.index));
        }
    }

    fn put(&mut self, id: NodeId, place: Place, sealed: Sealed) -> Result<(), CommitError> {
        self.remove(id);
        if self.names.insert((place.parent, place.index), id).is_some() {
            return Err(CommitError::Conflict);
        }
        self.records.insert(id, Record { id, place, revision: Revision(self.revision), sealed });
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), CommitError> {
        match op {
            Op::PutRecord { id, place, sealed, expect } => {
                self.expect(*id, *expect)?;
                self.put(*id, *place, sealed.clone())
            }
            Op::DeleteRecord { id, expect } => {
                self.expect(*id, *expect)?;
                self.remove(*id);
                Ok(())
            }
            Op::PutValue { id, sealed } => match self.values.insert(*id, sealed.clone()) {
                Some(_) => Err(CommitError::Conflict),
                None => Ok(()),
            },
            Op::DeleteValue { id } => {
                self.values.remove(id);
                Ok(())
            }
            Op::PutWrap { id, sealed } => {
                self.wraps.insert(*id, sealed.clone());
                Ok(())
            }
            Op::DeleteWrap { id } => {
                self.wraps.remove(id);
                Ok(())
            }
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, id: NodeId) -> Result<Option<Record>, StoreError> {
        Ok(self.rows.read().records.get(&id).cloned())
    }

    fn list(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Page, StoreError> {
        let rows = self.rows.read();
        let mut records: Vec<_> = rows
            .records
            .range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
            .filter(|(_, record)| record.place.parent == parent)
            .map(|(_, record)| record.clone())
            .take(limit.saturating_add(1))
            .collect();
        let more = records.len() > limit;
        records.truncate(limit);
        Ok(Page { records, revision: Revision(rows.revision), more })
    }

    fn find(&self, parent: NodeId, index: &Index) -> Result<Option<Record>, StoreError> {
        let rows = self.rows.read();
        Ok(rows.names.get(&(parent, *index)).and_then(|id| rows.records.get(id)).cloned())
    }

    fn value(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        Ok(self.rows.read().values.get(&id).cloned())
    }

    fn wrap(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        Ok(self.rows.read().wraps.get(&id).cloned())
    }

    fn commit(&self, ops: &[Op], op_id: OpId, _room: Option<Reservation>) -> Result<Committed, CommitError> {
        let mut rows = self.rows.write();
        if let Some((_, revision)) = rows.ops.iter().find(|(id, _)| *id == op_id) {
            return Ok(Committed { revision: *revision, again: true });
        }
        if ops.len() > MAX_OPS || sealed_bytes(ops) > MAX_COMMIT_BYTES {
            return Err(CommitError::TooLarge);
        }
        let mut after = rows.clone();
        after.revision += 1;
        for op in ops {
            after.apply(op)?;
        }
        let revision = Revision(after.revision);
        after.ops.push_back((op_id, revision));
        if after.ops.len() > KEPT_OPS {
            after.ops.pop_front();
        }
        *rows = after;
        Ok(Committed { revision, again: false })
    }

    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError> {
        Ok(self.rows.read().ops.iter().find(|(id, _)| *id == op_id).map(|(_, revision)| *revision))
    }

    fn reserve(&self, _bytes: usize) -> Result<Reservation, CommitError> {
        Ok(Reservation::none())
    }

    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.rows.read();
        let is_after = |id: RowId| after.is_none_or(|after| id > after);
        let plain = |(id, sealed): (&RowId, &Sealed)| Row { id: *id, place: None, sealed: sealed.clone() };
        Ok(match table {
            Table::Records => rows
                .records
                .values()
                .map(|record| Row {
                    id: RowId { node: record.id, no: 0 },
                    place: Some(record.place),
                    sealed: record.sealed.clone(),
                })
                .filter(|row| is_after(row.id))
                .take(limit)
                .collect(),
            Table::Values => rows.values.iter().filter(|(id, _)| is_after(**id)).take(limit).map(plain).collect(),
            Table::Wraps => rows.wraps.iter().filter(|(id, _)| is_after(**id)).take(limit).map(plain).collect(),
        })
    }

    fn shred(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let rows = self.rows.read().clone();
        let plain = |(id, sealed): (RowId, Sealed)| Row { id, place: None, sealed };
        let records: Vec<_> = rows.records.into_values().collect();
        let values: Vec<_> = rows.values.into_iter().map(plain).collect();
        let wraps: Vec<_> = rows.wraps.into_iter().map(plain).collect();
        sqlite::of_rows(&records, &values, &wraps, &Vec::from(rows.ops))
    }

    fn status(&self) -> Status {
        Status {
            engine: "memory",
            read_only: None,
            max_ops: MAX_OPS,
            max_commit_bytes: MAX_COMMIT_BYTES,
            disk_bytes: 0,
            free_bytes: 0,
            reserve_missing_bytes: 0,
        }
    }
}
