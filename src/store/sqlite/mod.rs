//! The embedded engine: one SQLite database in WAL mode, one writer, a reader for each thread that reads.
//!
//! A directory holds `store.db` and its log, `store.lock` (held for as long as the store is open) and `ballast` (room kept
//! for acknowledged bytes). Invariant: after an I/O error of a commit the writer is reopened and checked, and what is left of
//! that commit is either in the database or void, before it takes another one.
//!
//! Reading order: `schema` (the file), `read`, `write` (one commit), `wraps` (rows that never move), `ballast`,
//! `snapshot` (copies).

mod ballast;
mod read;
mod schema;
mod snapshot;
mod wraps;
mod write;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::Connection;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use self::ballast::Ballast;
pub use self::snapshot::examine;
pub(super) use self::snapshot::of_rows;
use self::write::Writer;
use super::{
    CommitError, Committed, Index, MAX_COMMIT_BYTES, MAX_OPS, Op, OpenError, Page, Record, Reservation, Revision, Row,
    RowId, Snapshot, SnapshotError, Status, Store, StoreError, Table,
};
use crate::durable;
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;

const DATABASE: &str = "store.db";
/// What SQLite puts behind a database's name for its log.
const LOG_SUFFIX: &str = "-wal";
/// And for the log's index.
const LOG_INDEX_SUFFIX: &str = "-shm";
/// The database while it is being made: it gets its name when it is complete.
const UNFINISHED: &str = "store.db.new";
/// The file in a store's directory that is locked for as long as the store is open.
pub const LOCK: &str = "store.lock";
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
    /// Held by whoever copies the database, and by whoever empties its log, which the copy's transaction would hold up.
    copying: Mutex<()>,
    ballast: Ballast,
    _lock: StoreLock,
}

/// A directory without a store, taken by this process: nobody else makes a store there as long as it is held.
pub(crate) struct Claim {
    dir: PathBuf,
    lock: StoreLock,
}

impl Claim {
    /// Makes an empty store there.
    pub(crate) fn create(self) -> Result<SqliteStore, OpenError> {
        let Self { dir, lock } = self;
        let dir = dir.as_path();
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let unfinished = dir.join(UNFINISHED);
        for name in ["", LOG_SUFFIX, LOG_INDEX_SUFFIX].map(|suffix| format!("{UNFINISHED}{suffix}")) {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                Ok(()) | Err(_) => {}
            }
        }
        private_file(&unfinished).map_err(io)?;
        schema::create(&unfinished).map_err(|error| unopened(dir, &error))?;
        File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&unfinished, dir.join(DATABASE)).map_err(io)?;
        durable::sync(dir).map_err(io)?;
        SqliteStore::open_locked(dir, lock)
    }
}

impl SqliteStore {
    /// Makes an empty store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Exists` where there is a store, `InUse` where another process makes or has one.
    pub fn create(dir: &Path) -> Result<Self, OpenError> {
        Self::claim(dir)?.create()
    }

    /// Takes `dir`, which is made if it is missing, to make a store there.
    ///
    /// # Errors
    /// `Exists` where there is a store, `InUse` where another process makes or has one.
    pub(crate) fn claim(dir: &Path) -> Result<Claim, OpenError> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        durable::make_dirs(dir, 0o700).map_err(io)?;
        let lock = StoreLock::take(dir)?;
        if Self::exists(dir).map_err(io)? {
            return Err(OpenError::Exists(dir.display().to_string()));
        }
        Ok(Claim { dir: dir.to_owned(), lock })
    }

    /// Whether another process has `dir`: a store there, or one in the making.
    pub(crate) fn is_taken(dir: &Path) -> io::Result<bool> {
        use rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match File::open(dir.join(LOCK)) {
            Ok(lock) => Ok(rustix::fs::flock(lock, NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// `Missing`, `InUse`, `Newer` (nothing was written), `Damaged` where the file is no store.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        if !Self::exists(dir).map_err(|source| OpenError::Io { path: dir.display().to_string(), source })? {
            return Err(OpenError::Missing(dir.display().to_string()));
        }
        Self::open_under(dir, StoreLock::take(dir)?)
    }

    /// Opens the store in `dir`, whose lock its caller has taken, or was handed.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_under(dir: &Path, lock: StoreLock) -> Result<Self, OpenError> {
        if !Self::exists(dir).map_err(|source| OpenError::Io { path: dir.display().to_string(), source })? {
            return Err(OpenError::Missing(dir.display().to_string()));
        }
        Self::open_locked(dir, lock)
    }

    /// Whether there is a store in `dir`, sound or not.
    pub fn exists(dir: &Path) -> io::Result<bool> {
        dir.join(DATABASE).try_exists()
    }

    fn open_locked(dir: &Path, lock: StoreLock) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let database = dir.join(DATABASE);
        schema::check_header(&database)?;
        schema::check_log(&database)?;
        // The ballast first: it gives back room that a process which died had promised, and the log's index may need it.
        snapshot::clear(dir).map_err(io)?;
        let ballast = Ballast::open(&dir.join(BALLAST)).map_err(io)?;
        let writer = Writer::open(&database).map_err(|error| unopened(dir, &error))?;
        ballast.refill();
        Ok(Self {
            dir: dir.to_owned(),
            readers: Mutex::default(),
            writer: Mutex::new(writer),
            trouble: Mutex::default(),
            copying: Mutex::default(),
            ballast,
            _lock: lock,
        })
    }

    /// Runs `write` on the writer, and notes how it stands afterwards.
    fn writing<T>(&self, write: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = self.writer.lock();
        let outcome = write(&mut writer);
        *self.trouble.lock() = writer.trouble();
        outcome
    }

    /// Empties the log. Readers keep no transaction open between calls, so that can always be done but for a copy under way.
    fn empty_log(&self, writer: &mut Writer) -> Result<(), CommitError> {
        let Some(_nobody_copies) = self.copying.try_lock() else {
            return Err(CommitError::Unavailable("the store is being copied, and its log is read".into()));
        };
        writer.empty_log()
    }

    /// Runs `write` while the disk has the standing reserve.
    fn with_reserve<T>(&self, writer: &mut Writer, write: impl FnOnce(&mut Writer) -> T) -> T {
        let _lent = self.ballast.lend();
        write(writer)
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

    fn commit(&self, ops: &[Op], op_id: OpId, room: Option<Reservation>) -> Result<Committed, CommitError> {
        let outcome = self.writing(|writer| match (writer.commit(ops, op_id), room) {
            (Err(CommitError::Full), Some(room)) if room.is_standing() => self.with_reserve(writer, |writer| {
                // The log's own room is the better part of it, once the database has what is in it.
                if let Err(error) = self.empty_log(writer) {
                    log::warn!("the log could not be emptied on a full disk: {error}");
                }
                writer.commit(ops, op_id)
            }),
            // The room that was held for these very bytes is given back to the disk, and taken by the log.
            (Err(CommitError::Full), Some(room)) => {
                drop(room);
                writer.commit(ops, op_id)
            }
            (other, _) => other,
        });
        self.ballast.refill();
        outcome
    }

    fn committed(&self, op_id: OpId) -> Result<Option<Revision>, StoreError> {
        // Of the writer, since a reader cannot know what will come of a commit that failed.
        self.writing(|writer| writer.committed(op_id)).map_err(|error| StoreError::Io(error.to_string()))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, CommitError> {
        self.ballast.reserve(bytes)
    }

    fn scan(&self, table: Table, after: Option<RowId>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.reading(|reader| read::scan(reader, table, after, limit))
    }

    fn shred(&self) -> Result<(), StoreError> {
        let emptied = self.writing(|writer| match self.empty_log(writer) {
            Err(CommitError::Full) => self.with_reserve(writer, |writer| self.empty_log(writer)),
            other => other,
        });
        self.ballast.refill();
        emptied.map_err(|error| StoreError::Io(error.to_string()))
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.reading(|reader| read::integrity(reader))?.as_slice() {
            [only] if only == "ok" => Ok(()),
            [first, ..] => Err(StoreError::Damaged(first.clone())),
            [] => Err(StoreError::Damaged("the integrity check gave no answer".into())),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let _alone = self.copying.lock();
        let need = self.status().disk_bytes;
        // A connection of its own: what it has cached of the whole store is of no use to anybody.
        let reader = schema::connect(&self.dir.join(DATABASE), schema::Role::Reader).map_err(|error| failed(&error))?;
        snapshot::take(&reader, &self.dir, need)
    }

    fn status(&self) -> Status {
        // Nothing but the size: since Linux 6.13 who asks for the times has the next write set them anew, and the next fsync write
        // the inode for it, which made a rotation a tenth slower.
        let size = |name: &str| {
            let file = statx(CWD, self.dir.join(name), AtFlags::empty(), StatxFlags::SIZE);
            file.map_or(0, |file| file.stx_size)
        };
        let free = rustix::fs::statvfs(&self.dir).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        Status {
            engine: "sqlite",
            read_only: self.trouble.lock().clone(),
            max_ops: MAX_OPS,
            max_commit_bytes: MAX_COMMIT_BYTES,
            disk_bytes: size(DATABASE) + size(&format!("{DATABASE}{LOG_SUFFIX}")),
            free_bytes: free,
            reserve_missing_bytes: self.ballast.missing(),
        }
    }
}

/// The right to a store: whoever has a copy of this descriptor has it, and it ends with the last copy.
pub struct StoreLock(File);

impl StoreLock {
    /// Takes the store in `dir`, or says that another process has it.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let file = private_file(&dir.join(LOCK)).map_err(io)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(dir.display().to_string())),
            Err(error) => Err(io(error.into())),
        }
    }

    /// A copy, for whoever opens the store next.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// One that was handed over.
impl From<OwnedFd> for StoreLock {
    fn from(file: OwnedFd) -> Self {
        Self(file.into())
    }
}

impl AsFd for StoreLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens or makes a file that only its owner can read.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Tells a disk that fails or is full from a file that is no store.
fn unopened(dir: &Path, error: &rusqlite::Error) -> OpenError {
    let why = match failed(error) {
        StoreError::Damaged(why) => return OpenError::Damaged(why),
        StoreError::Io(why) => why,
        waits @ StoreError::WouldWait => waits.to_string(),
    };
    OpenError::Io { path: dir.display().to_string(), source: io::Error::other(why) }
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
