//! Wraps: rows that never move, so that overwriting one destroys it.
//!
//! SQLite's secure_delete zeroes the room that a delete frees. It does not zero the copies that stay behind in the unused part
//! of a page when rows are moved between pages to balance a tree, and such a copy outlives its row. So a row of this table is
//! never deleted, never changes its size, and is only ever appended behind the last one: then no page is split in the middle
//! or merged, and an update writes over the very bytes that were there.
//!
//! A wrap that is deleted becomes a *free place*: zeros, found again by the next wrap of the same size. Its key in the index
//! is `0xffffffff || u32be place`; no node has that number.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::super::{Row, RowId};
use crate::id::NodeId;
use crate::sealed::Sealed;

/// All free places stand from here on.
const FREE: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The key in the index: of one size for all rows, so that it can be overwritten too, and in order of id.
fn key(node: u32, no: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&node.to_be_bytes());
    key[4..].copy_from_slice(&no.to_be_bytes());
    key
}

fn id(key: [u8; 8]) -> RowId {
    let (node, no) = key.split_first_chunk::<4>().expect("8 bytes begin with 4");
    let no = no.try_into().expect("8 bytes less 4 are 4");
    RowId { node: NodeId(u32::from_be_bytes(*node)), no: u32::from_be_bytes(no) }
}

pub(super) fn get(reader: &Connection, at: RowId) -> rusqlite::Result<Option<Sealed>> {
    let mut statement = reader.prepare_cached("SELECT sealed FROM wrap WHERE at = ?1")?;
    statement.query_row([key(at.node.0, at.no)], |row| row.get(0).map(Sealed::from_bytes)).optional()
}

/// Writes over the wrap `at`, or takes a free place of its size, or the next new one.
pub(super) fn put(transaction: &Transaction<'_>, at: RowId, sealed: &Sealed) -> rusqlite::Result<()> {
    let key = key(at.node.0, at.no);
    let len = sealed.as_bytes().len();
    let old = place(transaction, "SELECT place FROM wrap WHERE at = ?1 AND length(sealed) = ?2", key, len)?;
    if old.is_none() {
        delete(transaction, at)?;
    }
    let free = "SELECT place FROM wrap WHERE at >= ?1 AND length(sealed) = ?2 LIMIT 1";
    match old.map_or_else(|| place(transaction, free, FREE, len), |old| Ok(Some(old)))? {
        Some(place) => transaction
            .prepare_cached("UPDATE wrap SET at = ?2, sealed = ?3 WHERE place = ?1")?
            .execute(params![place, key, sealed.as_bytes()])?,
        None => transaction
            .prepare_cached("INSERT INTO wrap (at, sealed) VALUES (?1, ?2)")?
            .execute(params![key, sealed.as_bytes()])?,
    };
    Ok(())
}

/// Zeroes the wrap `at`, if there is one, and frees its place.
pub(super) fn delete(transaction: &Transaction<'_>, at: RowId) -> rusqlite::Result<()> {
    let mut find = transaction.prepare_cached("SELECT place FROM wrap WHERE at = ?1")?;
    let Some(place) = find.query_row([key(at.node.0, at.no)], |row| row.get::<_, u32>(0)).optional()? else {
        return Ok(());
    };
    transaction
        .prepare_cached("UPDATE wrap SET at = ?2, sealed = zeroblob(length(sealed)) WHERE place = ?1")?
        .execute(params![place, key(u32::MAX, place)])?;
    Ok(())
}

pub(super) fn scan(reader: &Connection, after: Option<RowId>, limit: i64) -> rusqlite::Result<Vec<Row>> {
    let after = after.map_or(Vec::new(), |after| key(after.node.0, after.no).to_vec());
    let mut statement =
        reader.prepare_cached("SELECT at, sealed FROM wrap WHERE at > ?1 AND at < ?2 ORDER BY at LIMIT ?3")?;
    let rows = statement.query_map(params![after, FREE, limit], |row| {
        Ok(Row { id: id(row.get(0)?), place: None, sealed: Sealed::from_bytes(row.get(1)?) })
    })?;
    rows.collect()
}

fn place(transaction: &Transaction<'_>, sql: &str, key: [u8; 8], len: usize) -> rusqlite::Result<Option<u32>> {
    transaction.prepare_cached(sql)?.query_row(params![key, len], |row| row.get(0)).optional()
}
