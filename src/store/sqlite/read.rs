//! Reading rows. Each function is one statement, or one transaction where two must agree.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::super::{Index, Page, Place, Record, Revision, Row, RowId, Table};
use super::wraps;
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

const COLUMNS: &str = "id, scope, parent, idx, revision, sealed";

pub(super) fn get(reader: &Connection, id: NodeId) -> rusqlite::Result<Option<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM record WHERE id = ?1");
    reader.prepare_cached(&sql)?.query_row([id.0], record).optional()
}

pub(super) fn find(reader: &Connection, parent: NodeId, index: &Index) -> rusqlite::Result<Option<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM record WHERE parent = ?1 AND idx = ?2");
    reader.prepare_cached(&sql)?.query_row(params![parent.0, index.0], record).optional()
}

pub(super) fn list(reader: &mut Connection, parent: NodeId, after: NodeId, limit: usize) -> rusqlite::Result<Page> {
    let transaction = reader.transaction()?;
    let sql = format!("SELECT {COLUMNS} FROM record WHERE parent = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut records = transaction
        .prepare_cached(&sql)?
        .query_map(params![parent.0, after.0, one_more], record)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let more = records.len() > limit;
    records.truncate(limit);
    Ok(Page { records, revision: revision(&transaction)?, more })
}

/// The revision of the last commit: the newest one remembered.
pub(super) fn revision(reader: &Connection) -> rusqlite::Result<Revision> {
    let newest: Option<u64> =
        reader.prepare_cached("SELECT max(revision) FROM op")?.query_row([], |row| row.get::<_, Option<u64>>(0))?;
    Ok(Revision(newest.unwrap_or(0)))
}

pub(super) fn committed(reader: &Connection, op_id: OpId) -> rusqlite::Result<Option<Revision>> {
    let mut statement = reader.prepare_cached("SELECT revision FROM op WHERE id = ?1")?;
    statement.query_row([op_id.0], |row| row.get(0).map(Revision)).optional()
}

pub(super) fn value(reader: &Connection, id: RowId) -> rusqlite::Result<Option<Sealed>> {
    let mut statement = reader.prepare_cached("SELECT sealed FROM value WHERE node = ?1 AND no = ?2")?;
    statement.query_row([id.node.0, id.no], |row| row.get(0).map(Sealed::from_bytes)).optional()
}

pub(super) fn scan(
    reader: &Connection,
    table: Table,
    after: Option<RowId>,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match table {
        Table::Records => scan_records(reader, after, limit),
        Table::Values => scan_values(reader, after, limit),
        Table::Wraps => wraps::scan(reader, after, limit),
    }
}

fn scan_records(reader: &Connection, after: Option<RowId>, limit: i64) -> rusqlite::Result<Vec<Row>> {
    let after = after.map_or(-1, |after| i64::from(after.node.0));
    let sql = format!("SELECT {COLUMNS} FROM record WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = reader.prepare_cached(&sql)?;
    let rows = statement.query_map([after, limit], |row| {
        let Record { id, place, sealed, .. } = record(row)?;
        Ok(Row { id: RowId { node: id, no: 0 }, place: Some(place), sealed })
    })?;
    rows.collect()
}

fn scan_values(reader: &Connection, after: Option<RowId>, limit: i64) -> rusqlite::Result<Vec<Row>> {
    let (node, no) = after.map_or((-1, -1), |after| (i64::from(after.node.0), i64::from(after.no)));
    let sql = "SELECT node, no, sealed FROM value WHERE (node, no) > (?1, ?2) ORDER BY node, no LIMIT ?3";
    let mut statement = reader.prepare_cached(sql)?;
    let rows = statement.query_map([node, no, limit], |row| {
        let id = RowId { node: NodeId(row.get(0)?), no: row.get(1)? };
        Ok(Row { id, place: None, sealed: Sealed::from_bytes(row.get(2)?) })
    })?;
    rows.collect()
}

/// What SQLite finds wrong with its pages and indexes: `ok`, or a line for each.
pub(super) fn integrity(reader: &Connection) -> rusqlite::Result<Vec<String>> {
    reader.prepare("PRAGMA integrity_check")?.query_map([], |row| row.get(0))?.collect()
}

fn record(row: &SqlRow<'_>) -> rusqlite::Result<Record> {
    let index: Vec<u8> = row.get(3)?;
    let index = index
        .try_into()
        .map_err(|_| rusqlite::Error::FromSqlConversionFailure(3, Type::Blob, "an index has 16 bytes".into()))?;
    let place = Place { scope: NodeId(row.get(1)?), parent: NodeId(row.get(2)?), index: Index(index) };
    let sealed = Sealed::from_bytes(row.get(5)?);
    Ok(Record { id: NodeId(row.get(0)?), place, revision: Revision(row.get(4)?), sealed })
}
