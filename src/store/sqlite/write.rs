//! The writer: one transaction a commit, and what happens when the disk fails in the middle of one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::{CommitError, Expect, KEPT_OPS, MAX_COMMIT_BYTES, MAX_OPS, Op, Place, Revision, sealed_bytes};
use super::{read, schema, wraps};
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

/// The one connection that writes.
pub(super) struct Writer {
    path: PathBuf,
    state: State,
}

enum State {
    Ready(Connection),
    /// A commit failed in a way that leaves its outcome open; the next one opens the database anew.
    Suspect(String),
}

impl Writer {
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self { path: path.to_owned(), state: State::Ready(connect(path)?) })
    }

    /// Why it takes no commit, when it does not.
    pub fn trouble(&self) -> Option<String> {
        match &self.state {
            State::Ready(_) => None,
            State::Suspect(why) => Some(why.clone()),
        }
    }

    /// Writes all of `ops`, or nothing.
    pub fn commit(&mut self, ops: &[Op], op_id: OpId) -> Result<Revision, CommitError> {
        let connection = self.ready()?;
        match write(connection, ops, op_id) {
            Ok(revision) => Ok(revision),
            Err(Failure::Conflict) => Err(CommitError::Conflict),
            Err(Failure::TooLarge) => Err(CommitError::TooLarge),
            Err(Failure::Sqlite(error)) if is_full(&error) => Err(CommitError::Full),
            Err(Failure::Sqlite(error)) if is_name_conflict(&error) => Err(CommitError::Conflict),
            Err(Failure::Sqlite(error)) => {
                let why = error.to_string();
                log::error!("a commit failed, the database is opened anew: {why}");
                self.state = State::Suspect(why.clone());
                match self.ready().map(|connection| read::committed(connection, op_id)) {
                    Ok(Ok(Some(revision))) => Ok(revision),
                    Ok(Ok(None)) => Err(CommitError::Unavailable(why)),
                    Ok(Err(_)) | Err(_) => Err(CommitError::Unknown(why)),
                }
            }
        }
    }

    /// Moves the log into the database and empties it, so that what was deleted is in neither.
    pub fn empty_log(&mut self) -> rusqlite::Result<()> {
        let State::Ready(connection) = &self.state else { return Err(rusqlite::Error::InvalidQuery) };
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    }

    /// The connection, opened and checked anew after a failure.
    fn ready(&mut self) -> Result<&mut Connection, CommitError> {
        if let State::Suspect(_) = self.state {
            let unavailable = |error: rusqlite::Error| CommitError::Unavailable(error.to_string());
            let connection = connect(&self.path).map_err(unavailable)?;
            let answer: String =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(unavailable)?;
            if answer != "ok" {
                return Err(CommitError::Unavailable(answer));
            }
            self.state = State::Ready(connection);
        }
        match &mut self.state {
            State::Ready(connection) => Ok(connection),
            State::Suspect(why) => Err(CommitError::Unavailable(why.clone())),
        }
    }
}

enum Failure {
    Conflict,
    TooLarge,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::connect(path, schema::Role::Writer)?;
    schema::check(&connection)?;
    Ok(connection)
}

fn write(connection: &mut Connection, ops: &[Op], op_id: OpId) -> Result<Revision, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(revision) = read::committed(&transaction, op_id)? {
        return Ok(revision);
    }
    if ops.len() > MAX_OPS || sealed_bytes(ops) > MAX_COMMIT_BYTES {
        return Err(Failure::TooLarge);
    }
    let revision = Revision(read::revision(&transaction)?.0 + 1);
    for op in ops {
        apply(&transaction, op, revision)?;
    }
    transaction
        .prepare_cached("INSERT INTO op (revision, id) VALUES (?1, ?2)")?
        .execute(params![revision.0, op_id.0])?;
    transaction
        .prepare_cached("DELETE FROM op WHERE revision <= ?1")?
        .execute([revision.0.saturating_sub(KEPT_OPS as u64)])?;
    transaction.commit()?;
    Ok(revision)
}

fn apply(transaction: &Transaction<'_>, op: &Op, revision: Revision) -> Result<(), Failure> {
    match op {
        Op::PutRecord { id, place, sealed, expect } => {
            check(transaction, *id, *expect)?;
            put_record(transaction, *id, *place, sealed, revision)?;
        }
        Op::DeleteRecord { id, expect } => {
            check(transaction, *id, *expect)?;
            transaction.prepare_cached("DELETE FROM record WHERE id = ?1")?.execute([id.0])?;
        }
        Op::PutValue { id, sealed } => {
            transaction
                .prepare_cached("INSERT INTO value (node, no, sealed) VALUES (?1, ?2, ?3)")?
                .execute(params![id.node.0, id.no, sealed.as_bytes()])?;
        }
        Op::DeleteValue { id } => {
            transaction.prepare_cached("DELETE FROM value WHERE node = ?1 AND no = ?2")?.execute([id.node.0, id.no])?;
        }
        Op::PutWrap { id, sealed } => wraps::put(transaction, *id, sealed)?,
        Op::DeleteWrap { id } => wraps::delete(transaction, *id)?,
    }
    Ok(())
}

fn put_record(
    transaction: &Transaction<'_>,
    id: NodeId,
    place: Place,
    sealed: &Sealed,
    revision: Revision,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO record (id, scope, parent, idx, revision, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO UPDATE SET scope = excluded.scope, parent = excluded.parent, idx = excluded.idx, \
             revision = excluded.revision, sealed = excluded.sealed",
        )?
        .execute(params![id.0, place.scope.0, place.parent.0, place.index.0, revision.0, sealed.as_bytes()])?;
    Ok(())
}

fn check(transaction: &Transaction<'_>, id: NodeId, expect: Expect) -> Result<(), Failure> {
    let found: Option<u64> = transaction
        .prepare_cached("SELECT revision FROM record WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    let holds = match expect {
        Expect::Absent => found.is_none(),
        Expect::Revision(revision) => found == Some(revision.0),
        Expect::Any => true,
    };
    if holds { Ok(()) } else { Err(Failure::Conflict) }
}

/// SQLite says "disk full" for the log and the database, and an I/O error where the log's index cannot grow.
fn is_full(error: &rusqlite::Error) -> bool {
    const SHM_SIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    let code = error.sqlite_error();
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || code.is_some_and(|code| code.extended_code == SHM_SIZE)
}

/// Two records of one name, or a value that is there already.
fn is_name_conflict(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
