//! Rows and operations in few words, and everything that a store shows of itself.

#![allow(dead_code, reason = "two test programs use it, each its part")]

use kmsfs::id::{NodeId, OpId};
use kmsfs::sealed::Sealed;
use kmsfs::store::{Expect, Index, Op, Place, Record, Row, RowId, Store, StoreError, Table};

/// The instance that all rows of these tests belong to.
const SCOPE: NodeId = NodeId(64);

/// The id of the `n`th request.
pub fn op_id(n: u64) -> OpId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    OpId(bytes)
}

pub fn sealed(bytes: impl Into<Vec<u8>>) -> Sealed {
    Sealed::from_bytes(bytes.into())
}

pub fn row(node: u32, no: u32) -> RowId {
    RowId { node: NodeId(node), no }
}

/// The place named `name` in the list `parent`.
pub fn place(parent: u32, name: u8) -> Place {
    Place { scope: SCOPE, parent: NodeId(parent), index: Index([name; 16]) }
}

pub fn put(id: u32, at: Place, bytes: impl Into<Vec<u8>>, expect: Expect) -> Op {
    Op::PutRecord { id: NodeId(id), place: at, sealed: sealed(bytes), expect }
}

pub fn delete(id: u32, expect: Expect) -> Op {
    Op::DeleteRecord { id: NodeId(id), expect }
}

pub fn put_value(id: RowId, bytes: impl Into<Vec<u8>>) -> Op {
    Op::PutValue { id, sealed: sealed(bytes) }
}

pub fn put_wrap(id: RowId, bytes: impl Into<Vec<u8>>) -> Op {
    Op::PutWrap { id, sealed: sealed(bytes) }
}

/// Bytes that no compression and no chance makes equal for two `seed`s.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| byte(&mut state)).collect()
}

/// All rows of a store, by each way there is to them.
#[derive(Debug, PartialEq)]
pub struct Contents {
    pub records: Vec<Record>,
    pub values: Vec<Row>,
    pub wraps: Vec<Row>,
}

/// Reads a store whole, and checks that every way to a row leads to the same one.
pub fn contents(store: &dyn Store) -> Result<Contents, StoreError> {
    let mut records = Vec::new();
    for row in store.scan(Table::Records, None, usize::MAX)? {
        let Some(record) = store.get(row.id.node)? else { return Err(StoreError::Damaged("a row is gone".into())) };
        let found = store.find(record.place.parent, &record.place.index)?;
        let listed = store.list(record.place.parent, NodeId(0), usize::MAX)?.records.contains(&record);
        if row.place != Some(record.place) || row.sealed != record.sealed || found.as_ref() != Some(&record) || !listed
        {
            return Err(StoreError::Damaged("two ways to a row lead to two rows".into()));
        }
        records.push(record);
    }
    let values = store.scan(Table::Values, None, usize::MAX)?;
    let wraps = store.scan(Table::Wraps, None, usize::MAX)?;
    for (rows, wanted) in [(&values, true), (&wraps, false)] {
        for row in rows {
            let read = if wanted { store.value(row.id)? } else { store.wrap(row.id)? };
            if read.as_ref() != Some(&row.sealed) {
                return Err(StoreError::Damaged("a scan and a read differ".into()));
            }
        }
    }
    Ok(Contents { records, values, wraps })
}
