//! The database file: its tables, its marks, and the settings of each connection, all of which are read back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::OpenError;

/// The format that this engine writes, as PRAGMA user_version.
const FORMAT: i64 = 0;
/// `kmsf`, as PRAGMA application_id.
const APPLICATION_ID: i32 = 0x6b6d_7366;
/// Older versions lose commits when a log is reset while a checkpoint runs.
const OLDEST_SQLITE: i32 = 3_051_003;
/// No other process can hold the database, so a wait this long is a defect.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `op` remembers the last commits, so that one that comes again is known; its highest key is the store's revision.
const TABLES: [&str; 7] = [
    "CREATE TABLE record (id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, parent INTEGER NOT NULL, idx BLOB NOT NULL, revision INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT",
    "CREATE UNIQUE INDEX record_name ON record (parent, idx)",
    "CREATE TABLE value (node INTEGER NOT NULL, no INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (node, no)) STRICT",
    "CREATE TABLE wrap (place INTEGER PRIMARY KEY, at BLOB NOT NULL, sealed BLOB NOT NULL) STRICT",
    "CREATE UNIQUE INDEX wrap_at ON wrap (at)",
    "CREATE TABLE op (revision INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT",
    "CREATE INDEX record_list ON record (parent, id)",
];

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// Makes a complete database in the empty file `path`.
pub(super) fn create(path: &Path) -> rusqlite::Result<()> {
    let mut database = connect(path, Role::Writer)?;
    let transaction = database.transaction()?;
    fill(&transaction)?;
    transaction.commit()?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    database.close().map_err(|(_, error)| error)
}

/// Makes the tables in an empty database, and its marks.
pub(super) fn fill(database: &Connection) -> rusqlite::Result<()> {
    for statement in TABLES {
        database.execute(statement, [])?;
    }
    database.pragma_update(None, "application_id", APPLICATION_ID)?;
    mark(database)
}

/// Writes the format's mark. Where it is there already this is a write that changes nothing.
pub(super) fn mark(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "user_version", FORMAT)
}

/// Refuses a file that is no database of this program, or of a newer one, before SQLite touches it.
pub(super) fn check_header(path: &Path) -> Result<(), OpenError> {
    const USER_VERSION_AT: usize = 60;
    const APPLICATION_ID_AT: usize = 68;
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(OpenError::Damaged("the database is shorter than its header".into()));
        }
        Err(source) => return Err(OpenError::Io { path: path.display().to_string(), source }),
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(b"SQLite format 3\0") || number(APPLICATION_ID_AT) != APPLICATION_ID {
        return Err(OpenError::Damaged("the file is no database of kmsfs".into()));
    }
    let found = i64::from(number(USER_VERSION_AT));
    if found > FORMAT {
        return Err(OpenError::Newer { found, known: FORMAT });
    }
    Ok(())
}

/// The bytes of the file, and how many its header says there are: SQLite fills up what is missing of the last page.
pub(super) fn lengths(path: &Path) -> io::Result<(u64, u64)> {
    const PAGE_SIZE_AT: usize = 16;
    const PAGES_AT: usize = 28;
    let mut header = [0; 100];
    let mut file = File::open(path)?;
    file.read_exact(&mut header)?;
    let [high, low] = [header[PAGE_SIZE_AT], header[PAGE_SIZE_AT + 1]].map(u64::from);
    // The largest size has no room in its two bytes, and is written as 1.
    let page = if (high, low) == (0, 1) { 65_536 } else { high << 8 | low };
    let pages = header[PAGES_AT..][..4].iter().fold(0, |pages, byte| pages << 8 | u64::from(*byte));
    Ok((file.metadata()?.len(), page * pages))
}

/// As [`check_header`], for what stands in the log alone: a newer program may have died before it moved the new format into
/// the file. The log is read through an index in memory, nothing is moved out of it, and so no file is made or changed.
pub(super) fn check_log(path: &Path) -> Result<(), OpenError> {
    let mut log = path.as_os_str().to_owned();
    log.push(super::LOG_SUFFIX);
    if Path::new(&log).metadata().map_or(0, |log| log.len()) == 0 {
        return Ok(());
    }
    let found = format_in_log(path).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => OpenError::Damaged(error.to_string()),
        Some(_) => OpenError::Io { path: path.display().to_string(), source: std::io::Error::other(error) },
    })?;
    if found > FORMAT { Err(OpenError::Newer { found, known: FORMAT }) } else { Ok(()) }
}

fn format_in_log(path: &Path) -> rusqlite::Result<i64> {
    let database =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Who holds the database alone keeps the log's index in memory and not in a file.
    set(&database, "locking_mode", "exclusive", "exclusive")?;
    database.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Opens a connection and reads back each of its settings.
pub(super) fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(unfit("SQLite is older than 3.51.3"));
    }
    let access = match role {
        Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let database = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    if role == Role::Writer {
        set(&database, "journal_mode", "wal", "wal")?;
        set(&database, "secure_delete", "on", "1")?;
    }
    set(&database, "synchronous", "full", "2")?;
    set(&database, "temp_store", "memory", "2")?;
    set(&database, "trusted_schema", "off", "0")?;
    set(&database, "mmap_size", "0", "0")?;
    set(&database, "cell_size_check", "on", "1")?;
    set(&database, "foreign_keys", "on", "1")?;
    Ok(database)
}

/// Whether the schema is this program's, to the letter.
pub(super) fn check(database: &Connection) -> rusqlite::Result<()> {
    let mut statement = database.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY sql")?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut expected = TABLES;
    expected.sort_unstable();
    if found == expected { Ok(()) } else { Err(unfit("the tables are not those of kmsfs")) }
}

fn set(database: &Connection, pragma: &str, value: &str, reads_back: &str) -> rusqlite::Result<()> {
    database.pragma_update(None, pragma, value)?;
    let found = database.pragma_query_value(None, pragma, |row| {
        row.get_ref(0).map(|found| match found {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        })
    });
    match found {
        Ok(found) if found == reads_back => Ok(()),
        // A build without memory mapping has no such setting, which is what is wanted.
        Err(rusqlite::Error::QueryReturnedNoRows) if pragma == "mmap_size" => Ok(()),
        Ok(_) | Err(_) => Err(unfit(pragma)),
    }
}

fn unfit(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
    rusqlite::Error::SqliteFailure(code, Some(format!("the database does not take a setting or is not ours: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(database: &Connection, pragma: &str) -> String {
        let text = |found: rusqlite::types::ValueRef<'_>| match found {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => other.as_i64().unwrap().to_string(),
        };
        database.pragma_query_value(None, pragma, |row| row.get_ref(0).map(text)).unwrap()
    }

    #[test]
    fn every_setting_holds_on_every_connection() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("store.db");
        File::create(&path).unwrap();
        create(&path).unwrap();
        let both = [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("temp_store", "2"),
            ("trusted_schema", "0"),
            ("cell_size_check", "1"),
            ("foreign_keys", "1"),
            ("application_id", "1802335078"),
            ("user_version", "0"),
        ];
        let writer = connect(&path, Role::Writer).unwrap();
        let reader = connect(&path, Role::Reader).unwrap();
        for (pragma, expected) in both {
            assert_eq!(setting(&writer, pragma), expected, "{pragma}");
            assert_eq!(setting(&reader, pragma), expected, "{pragma}");
        }
        assert_eq!(setting(&writer, "secure_delete"), "1");
        for config in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
            assert!(!writer.db_config(config).unwrap() && !reader.db_config(config).unwrap());
        }
        assert!(writer.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
        assert!(reader.execute("DELETE FROM value", []).is_err(), "a reader cannot write");
        check(&writer).unwrap();
    }

    #[test]
    fn a_setting_that_does_not_hold_is_refused() {
        let database = Connection::open_in_memory().unwrap();
        assert!(set(&database, "journal_mode", "wal", "wal").is_err(), "a database in memory has no log");
        assert!(set(&database, "synchronous", "full", "2").is_ok());
    }
}
