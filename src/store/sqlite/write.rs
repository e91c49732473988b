//! The writer: one transaction a commit, and what happens when the disk fails in the middle of one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::{
    CommitError, Committed, Expect, KEPT_OPS, MAX_COMMIT_BYTES, MAX_OPS, Op, Place, Revision, RowId, sealed_bytes,
};
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
    /// A commit failed in a way that leaves its outcome open; the next call opens the database anew.
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
    pub fn commit(&mut self, ops: &[Op], op_id: OpId) -> Result<Committed, CommitError> {
        let connection = self.ready()?;
        let (error, was_new) = match write(connection, ops, op_id) {
            Ok(committed) => return Ok(committed),
            Err(Failure::Conflict) => return Err(CommitError::Conflict),
            Err(Failure::TooLarge) => return Err(CommitError::TooLarge),
            Err(Failure::Looking(error) | Failure::Writing(error)) if is_full(&error) => return Err(CommitError::Full),
            Err(Failure::Writing(error)) if is_name_conflict(&error) => return Err(CommitError::Conflict),
            Err(Failure::Looking(error)) => (error, false),
            Err(Failure::Writing(error)) => (error, true),
        };
        let why = error.to_string();
        log::error!("a commit failed, the database is opened anew: {why}");
        self.state = State::Suspect(why.clone());
        match self.committed(op_id) {
            // Found where it was not before, it is this commit's; where nobody had come to look, nothing was written, so it was
            // there before.
            Ok(Some(revision)) => Ok(Committed { revision, again: !was_new }),
            Ok(None) if is_index_full(&error) => Err(CommitError::Full),
            Ok(None) => Err(CommitError::Unavailable(why)),
            Err(later) => {
                log::error!("the outcome of a commit is not known yet: {later}");
                Err(CommitError::Unknown(why))
            }
        }
    }

    /// The revision that `op_id` got. While a failed commit may still come to be, or not, there is no answer.
    pub fn committed(&mut self, op_id: OpId) -> Result<Option<Revision>, CommitError> {
        let connection = self.ready()?;
        read::committed(connection, op_id).map_err(|error| unavailable(&error))
    }

    /// Moves the log into the database and empties it, so that what was deleted is in neither.
    pub fn empty_log(&mut self) -> Result<(), CommitError> {
        let connection = self.ready()?;
        empty_log(connection).map_err(|error| unavailable(&error))
    }

    /// The connection, opened and checked anew after a failure.
    fn ready(&mut self) -> Result<&mut Connection, CommitError> {
        if let State::Suspect(why) = &mut self.state {
            match reopen(&self.path) {
                Ok(connection) => self.state = State::Ready(connection),
                Err(error) => *why = error.to_string(),
            }
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
    /// Before it was known whether the id is there already.
    Looking(rusqlite::Error),
    /// Afterwards: it was not.
    Writing(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Writing(error)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::connect(path, schema::Role::Writer)?;
    schema::check(&connection)?;
    Ok(connection)
}

/// Opens the database after a commit that failed, and puts an end to what is left of it.
///
/// Its frames may stand in the log, whole, and be on the disk, or on their way there, or only in the kernel's memory where no
/// sync will write them any more. So what they are to be is decided here, by what a new connection sees: the log goes into the
/// database and is emptied, and a write that changes nothing begins it anew. Its header, once synced, voids the old frames
/// for good; and a disk that takes it takes commits again.
fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Err(trouble(rusqlite::ffi::SQLITE_CORRUPT, &answer));
    }
    empty_log(&connection)?;
    schema::mark(&connection)?;
    Ok(connection)
}

fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(trouble(rusqlite::ffi::SQLITE_BUSY, "the log is still being read")) }
}

fn trouble(code: i32, what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(what.to_owned()))
}

/// Why the engine does not do now what it was asked.
fn unavailable(error: &rusqlite::Error) -> CommitError {
    if is_full(error) || is_index_full(error) { CommitError::Full } else { CommitError::Unavailable(error.to_string()) }
}

fn write(connection: &mut Connection, ops: &[Op], op_id: OpId) -> Result<Committed, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Failure::Looking)?;
    if let Some(revision) = read::committed(&transaction, op_id).map_err(Failure::Looking)? {
        return Ok(Committed { revision, again: true });
    }
    if ops.len() > MAX_OPS || sealed_bytes(ops) > MAX_COMMIT_BYTES {
        return Err(Failure::TooLarge);
    }
    let revision = Revision(read::revision(&transaction)?.0 + 1);
    for op in ops {
        apply(&transaction, op, revision)?;
    }
    put_op(&transaction, op_id, revision)?;
    transaction
        .prepare_cached("DELETE FROM op WHERE revision <= ?1")?
        .execute([revision.0.saturating_sub(KEPT_OPS as u64)])?;
    transaction.commit()?;
    Ok(Committed { revision, again: false })
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
        Op::PutValue { id, sealed } => put_value(transaction, *id, sealed)?,
        Op::DeleteValue { id } => {
            transaction.prepare_cached("DELETE FROM value WHERE node = ?1 AND no = ?2")?.execute([id.node.0, id.no])?;
        }
        Op::PutWrap { id, sealed } => wraps::put(transaction, *id, sealed)?,
        Op::DeleteWrap { id } => wraps::delete(transaction, *id)?,
    }
    Ok(())
}

/// Remembers the commit `op_id`.
pub(super) fn put_op(transaction: &Transaction<'_>, op_id: OpId, revision: Revision) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO op (revision, id) VALUES (?1, ?2)")?
        .execute(params![revision.0, op_id.0])?;
    Ok(())
}

pub(super) fn put_value(transaction: &Transaction<'_>, id: RowId, sealed: &Sealed) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO value (node, no, sealed) VALUES (?1, ?2, ?3)")?.execute(params![
        id.node.0,
        id.no,
        sealed.as_bytes()
    ])?;
    Ok(())
}

pub(super) fn put_record(
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

/// The log or the database cannot grow; nothing was committed.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// The log's index cannot grow: the disk is full too, but the commit may stand in the log by then.
fn is_index_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|code| code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Two records of one name, or a value that is there already.
fn is_name_conflict(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
