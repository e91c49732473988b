//! The embedded engine: one SQLite database in WAL mode, one writer, a reader for each thread that reads.
//!
//! A directory holds `store.db` and its log, `store.lock` (held for as long as the store is open) and `ballast` (room kept
//! for acknowledged bytes). Invariant: after an I/O error of a commit the writer is reopened and checked before it takes
//! another one.

mod ballast;
mod read;
mod schema;
mod wraps;
mod write;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::Connection;

use self::ballast::Ballast;
use self::write::Writer;
use super::{
    CommitError, Index, MAX_COMMIT_BYTES, MAX_OPS, Op, OpenError, Page, Record, Reservation, Revision, Row, RowId,
    Status, Store, StoreError, Table,
};
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

const DATABASE: &str = "store.db";
/// The database while it is being made: it gets its name when it is complete.
const UNFINISHED: &str = "store.db.new";
const LOCK: &str = "store.lock";
const BALLAST: &str = "ballast";

/// A store on the local disk.
pub struct SqliteStore {
    dir: PathBuf,
    /// Idle readers; a thread takes one or opens another. They stand before the writer, since fields are dropped in order
    /// and the last connection to close empties the log into the database, which a reader may not.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    /// Why the writer takes no commit, when it does not; apart from it, so that who asks never waits for a disk.
    trouble: Mutex<Option<String>>,
    ballast: Ballast,
    /// Holds the flock.
    _lock: File,
}

impl SqliteStore {
    /// Makes an empty store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Exists` where there is a store, `InUse` where another process makes or has one.
    pub fn create(dir: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let lock = lock(dir)?;
        if Self::exists(dir).map_err(io)? {
            return Err(OpenError::Exists(dir.display().to_string()));
        }
        let unfinished = dir.join(UNFINISHED);
        for name in [UNFINISHED.to_owned(), format!("{UNFINISHED}-wal"), format!("{UNFINISHED}-shm")] {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                Ok(()) | Err(_) => {}
            }
        }
        private_file(&unfinished).map_err(io)?;
        schema::create(&unfinished).map_err(|error| unopened(dir, &error))?;
        File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&unfinished, dir.join(DATABASE)).map_err(io)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Self::open_locked(dir, lock)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// `Missing`, `InUse`, `Newer` (nothing was written), `Damaged` where the file is no store.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        if !Self::exists(dir).map_err(|source| OpenError::Io { path: dir.display().to_string(), source })? {
            return Err(OpenError::Missing(dir.display().to_string()));
        }
        let lock = lock(dir)?;
        Self::open_locked(dir, lock)
    }

    /// Whether there is a store in `dir`, sound or not.
    pub fn exists(dir: &Path) -> io::Result<bool> {
        dir.join(DATABASE).try_exists()
    }

    fn open_locked(dir: &Path, lock: File) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let database = dir.join(DATABASE);
        schema::check_header(&database)?;
        // The ballast first: it gives back room that a process which died had promised, and the log's index may need it.
        let ballast = Ballast::open(&dir.join(BALLAST)).map_err(io)?;
        let writer = Writer::open(&database).map_err(|error| unopened(dir, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
            readers: Mutex::default(),
            writer: Mutex::new(writer),
            trouble: Mutex::default(),
            ballast,
            _lock: lock,
        })
    }

    /// Runs `read` on an idle reader.
    fn reading<T>(&self, read: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.readers.lock().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => schema::connect(&self.dir.join(DATABASE), schema::Role::Reader).map_err(|error| failed(&error))?,
        };
        let answer = read(&mut reader).map_err(|error| failed(&error))?;
        self.readers.lock().push(reader);
        Ok(answer)
    }
}

impl Store for SqliteStore {
    fn get(&self, id: NodeId) -> Result<Option<Record>, StoreError> {
        self.reading(|reader| read::get(reader, id))
    }

    fn list(&self, parent: NodeId, after: NodeId, limit: usize) -> Result<Page, StoreError> {
        self.reading(|reader| read::list(reader, parent, after, limit))
    }

    fn find(&self, parent: NodeId, index: &Index) -> Result<Option<Record>, StoreError> {
        self.reading(|reader| read::find(reader, parent, index))
    }

    fn value(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.reading(|reader| read::value(reader, id))
    }

    fn wrap(&self, id: RowId) -> Result<Option<Sealed>, StoreError> {
        self.reading(|reader| wraps::get(reader, id))
    }

    fn commit(&self, ops: &[Op], op_id: OpId, room: Option<Reservation>) -> Result<Revision, CommitError> {
        let mut writer = self.writer.lock();
        let outcome = match writer.commit(ops, op_id) {
            // The room that was held for these very bytes is given back to the disk, and taken by the log.
            Err(CommitError::Full) if room.is_some() => {
                drop(room);
                writer.commit(ops, op_id)
            }
            other => other,
        };
        *self.trouble.lock() = writer.trouble();
        outcome
    }

    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError> {
        self.reading(|reader| read::committed(reader, op_id))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        self.ballast.reserve(bytes)
    }

    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.reading(|reader| read::scan(reader, table, after, limit))
    }

    fn shred(&self) -> Result<(), StoreError> {
        // Readers keep no transaction open between calls, so the log can always be emptied.
        self.writer.lock().empty_log().map_err(|error| failed(&error))
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.reading(|reader| read::integrity(reader))?.as_slice() {
            [only] if only == "ok" => Ok(()),
            [first, ..] => Err(StoreError::Damaged(first.clone())),
            [] => Err(StoreError::Damaged("the integrity check gave no answer".into())),
        }
    }

    fn status(&self) -> Status {
        let size = |name: &str| fs::metadata(self.dir.join(name)).map_or(0, |file| file.len());
        let free = rustix::fs::statvfs(&self.dir).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        Status {
            engine: "sqlite",
            read_only: self.trouble.lock().clone(),
            max_ops: MAX_OPS,
            max_commit_bytes: MAX_COMMIT_BYTES,
            disk_bytes: size(DATABASE) + size("store.db-wal"),
            free_bytes: free,
        }
    }
}

/// Takes the store for this process, or says that another one has it.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: dir.display().to_string(), source };
    let file = private_file(&dir.join(LOCK)).map_err(io)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(dir.display().to_string())),
        Err(error) => Err(io(error.into())),
    }
}

/// Opens or makes a file that only its owner can read.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Tells a disk that fails or is full from a file that is no store.
fn unopened(dir: &Path, error: &rusqlite::Error) -> OpenError {
    match failed(error) {
        StoreError::Damaged(why) => OpenError::Damaged(why),
        StoreError::Io(why) => OpenError::Io { path: dir.display().to_string(), source: io::Error::other(why) },
    }
}

/// Tells a disk that fails from content that is wrong.
fn failed(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
        Some(_) => StoreError::Io(error.to_string()),
        None => StoreError::Damaged(error.to_string()),
    }
}
