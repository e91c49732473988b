//! Copying the database, and looking at a copy.
//!
//! `VACUUM INTO` reads in one transaction, which holds no writer up, and leaves out what was deleted. As long as it runs the log
//! cannot be emptied; whoever wants to is told so, and does not wait.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};
use rustix::fs::MemfdFlags;

use super::super::{OpenError, Record, Revision, Row, Snapshot, SnapshotError, StoreError};
use super::{Claim, DATABASE, LOG_SUFFIX, failed, private_file, schema, unopened, wraps, write};
use crate::durable;
use crate::id::OpId;

/// What a copy is called until it has lost its name: a moment after it was made, or when a store is opened that a process left
/// in the middle of that.
const UNNAMED: &str = "snapshot.new";
/// Room in bytes that a copy leaves on the disk: writers go on while it is there.
const LEFT_FREE: u64 = 1024 * 1024;

/// Copies the database that `reader` reads into a file of `dir`. One at a time.
pub(super) fn take(reader: &Connection, dir: &Path, need: u64) -> Result<Snapshot, SnapshotError> {
    let free = rustix::fs::statvfs(dir).map_or(u64::MAX, |fs| fs.f_bavail * fs.f_frsize);
    if free < need + LEFT_FREE {
        return Err(SnapshotError::Full);
    }
    let path = dir.join(UNNAMED);
    let io = |error: io::Error| SnapshotError::Store(StoreError::Io(error.to_string()));
    clear(dir).map_err(io)?;
    // An empty file of ours, so that the copy has our permission bits from its first byte on.
    let file = private_file(&path).map_err(io)?;
    let copied = path.to_str().map(|path| reader.execute("VACUUM INTO ?1", [path]));
    let unnamed = fs::remove_file(&path);
    match copied {
        Some(Ok(_)) => {}
        Some(Err(error)) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => return Err(SnapshotError::Full),
        Some(Err(error)) => return Err(failed(&error).into()),
        None => return Err(io(io::Error::other("the store's directory has a name that is no text"))),
    }
    unnamed.map_err(io)?;
    Snapshot::in_file(file).map_err(io)
}

/// Removes what a process that died has left of a copy.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(UNNAMED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether `path` is a whole copy of a store, as far as this can be told without a key. Nothing is written beside it.
///
/// # Errors
/// `Newer`, `Damaged` where it is no copy, `Io`.
pub fn examine(path: &Path) -> Result<(), OpenError> {
    schema::check_header(path)?;
    let io = |source| OpenError::Io { path: path.display().to_string(), source };
    let (found, named) = schema::lengths(path).map_err(io)?;
    if found != named {
        return Err(OpenError::Damaged(format!("the file has {found} bytes, and says that it has {named}")));
    }
    let look = || -> rusqlite::Result<String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Immutable: a database whose header speaks of a log is else given one.
        let copy = Connection::open_with_flags(format!("file:{}?immutable=1", escape(path)), flags)?;
        copy.pragma_update(None, "trusted_schema", "off")?;
        copy.pragma_update(None, "cell_size_check", "on")?;
        schema::check(&copy)?;
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
    };
    match look() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(OpenError::Damaged(answer)),
        Err(error) => Err(unopened(path, &error)),
    }
}

impl Claim {
    /// Makes `database`, a closed one on the same disk, the store of this directory.
    ///
    /// # Errors
    /// `Exists` where a log stands beside it that is another store's: it would be replayed into this one.
    pub(crate) fn adopt(self, database: &Path) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: self.dir.display().to_string(), source };
        if self.dir.join(format!("{DATABASE}{LOG_SUFFIX}")).try_exists().map_err(io)? {
            return Err(OpenError::Exists(self.dir.display().to_string()));
        }
        File::open(database).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(database, self.dir.join(DATABASE)).map_err(io)?;
        durable::sync(&self.dir).map_err(io)
    }
}

/// A path as a URI has it.
fn escape(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte);
    let written = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(written).collect()
}

/// The snapshot of an engine that has no database: one is made of its rows.
pub(in crate::store) fn of_rows(
    records: &[Record],
    values: &[Row],
    wrapped: &[Row],
    ops: &[(OpId, Revision)],
) -> Result<Snapshot, SnapshotError> {
    let made = || -> rusqlite::Result<Vec<u8>> {
        let mut database = Connection::open_in_memory()?;
        let transaction = database.transaction()?;
        schema::fill(&transaction)?;
        for record in records {
            write::put_record(&transaction, record.id, record.place, &record.sealed, record.revision)?;
        }
        for row in values {
            write::put_value(&transaction, row.id, &row.sealed)?;
        }
        for row in wrapped {
            wraps::put(&transaction, row.id, &row.sealed)?;
        }
        for (op, revision) in ops {
            write::put_op(&transaction, *op, *revision)?;
        }
        transaction.commit()?;
        Ok(database.serialize(MAIN_DB)?.to_vec())
    };
    let io = |error: io::Error| SnapshotError::Store(StoreError::Io(error.to_string()));
    let bytes = made().map_err(|error| failed(&error))?;
    let mut file =
        File::from(rustix::fs::memfd_create("snapshot", MemfdFlags::CLOEXEC).map_err(|error| io(error.into()))?);
    io::Write::write_all(&mut file, &bytes).map_err(io)?;
    Snapshot::in_file(file).map_err(io)
}
