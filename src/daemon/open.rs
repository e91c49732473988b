//! A store in a directory: made, unlocked, looked at.
//!
//! Joins the embedded engine and the vault. Its errors stay what they were, since each has an exit code of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::unlock::Key;
use crate::crypto::{KdfParams, MasterKey};
use crate::store::{Claim, OpenError, SqliteStore, Store, StoreError, StoreLock, Table};
use crate::vault::{self, Owner, SlotInfo, UnlockError, Vault, VaultError};

/// Why a store is not open.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The bits that group and others have.
const OTHERS: u32 = 0o077;

/// Whether there are a store's files in `dir`, whatever is in them.
pub fn is_store(dir: &Path) -> Result<bool, StoreFailure> {
    let io = |source| OpenError::Io { path: dir.display().to_string(), source };
    Ok(SqliteStore::exists(dir).map_err(io)?)
}

/// Whether `dir` holds what a new store must not replace. Files whose making was cut short before their first commit hold
/// nothing; one that cannot be opened may hold anything.
///
/// # Errors
/// `InUse` where another process is making a store there.
pub fn is_made(dir: &Path) -> Result<bool, StoreFailure> {
    if !is_store(dir)? {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let taken = SqliteStore::is_taken(dir).map_err(io)?;
        return if taken { Err(OpenError::InUse(dir.display().to_string()).into()) } else { Ok(false) };
    }
    match SqliteStore::open(dir) {
        Ok(store) => Ok(!is_empty(&store)?),
        Err(OpenError::InUse(_) | OpenError::Newer { .. } | OpenError::Damaged(_) | OpenError::Exists(_)) => Ok(true),
        Err(error @ (OpenError::Missing(_) | OpenError::Io { .. })) => Err(error.into()),
    }
}

/// A directory that this process has taken to make a store there: whoever else wants to is refused, so that the key can be made
/// meanwhile, and belongs to this store.
pub struct Site(Ground);

enum Ground {
    Empty(Claim),
    /// A making was cut short here before its first commit.
    Unfinished(Box<SqliteStore>),
}

impl Site {
    /// Takes `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Exists` where there is a store, `InUse` where another process makes or has one.
    pub fn claim(dir: &Path) -> Result<Self, StoreFailure> {
        match SqliteStore::claim(dir) {
            Err(OpenError::Exists(_)) if !is_made(dir)? => {
                Ok(Self(Ground::Unfinished(Box::new(SqliteStore::open(dir)?))))
            }
            claimed => Ok(Self(Ground::Empty(claimed?))),
        }
    }

    /// Makes an empty store that `key` unlocks. Its root belongs to whoever makes it.
    pub fn make(self, key: &Key) -> Result<(), StoreFailure> {
        let store = match self.0 {
            Ground::Empty(claim) => claim.create()?,
            Ground::Unfinished(store) => *store,
        };
        let owner = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        vault::init(&store, &key.source(), KdfParams::DEFAULT, owner)?;
        Ok(())
    }
}

/// Opens the store in `dir` for this process alone, and unlocks it.
pub fn unlock_store(dir: &Path, key: &Key) -> Result<Arc<Vault>, StoreFailure> {
    let store = Arc::new(SqliteStore::open(dir)?);
    warn_of_wide_mode(dir);
    Ok(Arc::new(vault::unlock(store, &key.source())?))
}

/// Takes the store in `dir`, which must be there, for this process and those that it hands the lock to.
pub fn lock_store(dir: &Path) -> Result<StoreLock, StoreFailure> {
    if is_store(dir)? { Ok(StoreLock::take(dir)?) } else { Err(OpenError::Missing(dir.display().to_string()).into()) }
}

/// The master key of the store in `dir`, of which the caller holds `lock`. The store is closed again.
pub fn master_key(dir: &Path, lock: &StoreLock, key: &Key) -> Result<MasterKey, StoreFailure> {
    let io = |source| OpenError::Io { path: dir.display().to_string(), source };
    let store = SqliteStore::open_under(dir, lock.try_clone().map_err(io)?)?;
    Ok(vault::master_key(&store, &key.source())?)
}

/// Opens the store in `dir` under a lock and with a master key that were handed over.
pub fn open_store(dir: &Path, lock: StoreLock, master: MasterKey) -> Result<Arc<Vault>, StoreFailure> {
    let store = Arc::new(SqliteStore::open_under(dir, lock)?);
    warn_of_wide_mode(dir);
    Ok(Arc::new(vault::open(store, master)?))
}

/// The unlock slots of the store in `dir`, without a key.
pub fn slots_of(dir: &Path) -> Result<Vec<SlotInfo>, StoreFailure> {
    Ok(vault::slots(&SqliteStore::open(dir)?)?)
}

/// Whether the file `path` lies in the directory `store` or below it, or will once its directories are made.
pub(super) fn lies_in(path: &Path, store: &Path) -> bool {
    path.parent().is_some_and(|parent| place(parent).starts_with(place(store)))
}

/// `path` without links, as far as it is there; what is missing will be made as plain directories.
fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.components().fold(PathBuf::new(), |mut place, component| match component {
        Component::ParentDir => {
            place.pop();
            place
        }
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::Normal(_) => {
            place.push(component);
            place.canonicalize().unwrap_or(place)
        }
    })
}

fn warn_of_wide_mode(dir: &Path) {
    if let Some(mode) = wide_mode(dir) {
        log::warn!("others may use the store's directory {}: its mode is {mode:04o}", dir.display());
    }
}

/// The mode of `dir` where group or others have a part in it.
fn wide_mode(dir: &Path) -> Option<u32> {
    let mode = fs::metadata(dir).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

fn is_empty(store: &SqliteStore) -> Result<bool, StoreFailure> {
    let records = store.scan(Table::Records, None, 1).map_err(|error: StoreError| VaultError::Store(error))?;
    Ok(records.is_empty())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn what_lies_in_a_store_is_seen_through_links_and_before_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("store")).unwrap();
        std::os::unix::fs::symlink(at("store"), at("link")).unwrap();
        for (path, expected) in [
            ("store/file", true),
            ("store/new/file", true),
            ("link/file", true),
            ("link/new/file", true),
            ("new/../store/file", true),
            ("new/../link/new/file", true),
            ("store/new/../../file", false),
            ("link/../file", false),
            ("store.file", false),
            ("new/store/file", false),
            // The name of the directory itself, and a link to it that stands elsewhere.
            ("store", false),
            ("link", false),
        ] {
            assert_eq!(lies_in(&at(path), &at("store")), expected, "{path}");
            assert_eq!(lies_in(&at(path), &at("link")), expected, "{path}, the store named by a link");
        }
    }

    #[test]
    fn a_wide_mode_is_what_others_have_a_part_in() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, expected) in [(0o700, None), (0o500, None), (0o701, Some(0o701)), (0o750, Some(0o750))] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(wide_mode(dir.path()), expected, "{mode:04o}");
        }
    }

    #[test]
    fn a_making_that_was_cut_short_is_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::File(Box::new(Zeroizing::new([1; 32])));
        let make_store = |dir: &Path| Site::claim(dir).and_then(|site| site.make(&key));
        assert!(!is_made(dir.path()).unwrap());
        // Killed before the first commit.
        drop(SqliteStore::create(dir.path()).unwrap());
        assert!(is_store(dir.path()).unwrap() && !is_made(dir.path()).unwrap());
        make_store(dir.path()).unwrap();
        assert!(is_made(dir.path()).unwrap());
        assert!(matches!(make_store(dir.path()), Err(StoreFailure::Open(OpenError::Exists(_)))));
        let held = unlock_store(dir.path(), &key).unwrap();
        assert!(is_made(dir.path()).unwrap(), "one in use");
        assert!(matches!(make_store(dir.path()), Err(StoreFailure::Open(OpenError::InUse(_)))));
        drop(held);
    }
}
