//! A store in a directory: made, unlocked, looked at.
//!
//! Joins the embedded engine and the vault. Its errors stay what they were, since each has an exit code of its own.

use std::path::Path;
use std::sync::Arc;

use super::unlock::Key;
use crate::crypto::KdfParams;
use crate::store::{OpenError, SqliteStore};
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

/// Whether there is a store in `dir`, sound or not.
pub fn is_store(dir: &Path) -> Result<bool, StoreFailure> {
    let io = |source| OpenError::Io { path: dir.display().to_string(), source };
    Ok(SqliteStore::exists(dir).map_err(io)?)
}

/// Makes an empty store in `dir` that `key` unlocks. Its root belongs to whoever makes it.
pub fn make_store(dir: &Path, key: &Key) -> Result<(), StoreFailure> {
    let store = SqliteStore::create(dir)?;
    let owner = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    vault::init(&store, &key.source(), KdfParams::DEFAULT, owner)?;
    Ok(())
}

/// Opens the store in `dir` for this process alone, and unlocks it.
pub fn unlock_store(dir: &Path, key: &Key) -> Result<Arc<Vault>, StoreFailure> {
    let store = Arc::new(SqliteStore::open(dir)?);
    Ok(Arc::new(vault::unlock(store, &key.source())?))
}

/// The unlock slots of the store in `dir`, without a key.
pub fn slots_of(dir: &Path) -> Result<Vec<SlotInfo>, StoreFailure> {
    Ok(vault::slots(&SqliteStore::open(dir)?)?)
}
