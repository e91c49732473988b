//! A store made of a backup: put together beside its place, looked at there, and then put in place in one step.
//!
//! Invariant: until then there is no store in the directory; what does not come so far leaves nothing behind.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::open::StoreFailure;
use crate::store::{self, Claim, LOCK, OpenError, Snapshot, SnapshotError, SqliteStore, Store as _};

/// Where it is put together, in the store's own directory, which may be a disk of its own.
const STAGE: &str = "restoring";
/// The name that a store's database has.
const DATABASE: &str = "store.db";

/// A restore under way.
pub struct Restoration {
    dir: PathBuf,
    stage: PathBuf,
    /// Gone once the store is in place.
    claim: Option<Claim>,
    /// Whether the directory was made for this.
    made: bool,
}

/// A copy of the store in `dir`, which nobody has open. It takes no key.
pub fn snapshot_of(dir: &Path) -> Result<Snapshot, StoreFailure> {
    SqliteStore::open(dir)?.snapshot().map_err(|error| match error {
        SnapshotError::Full => {
            let source = io::Error::new(io::ErrorKind::StorageFull, SnapshotError::Full);
            OpenError::Io { path: dir.display().to_string(), source }.into()
        }
        SnapshotError::Store(error) => StoreFailure::Vault(error.into()),
    })
}

/// Whether the file `path` is a whole backup, as far as this can be told without a key.
pub fn examine(path: &Path) -> Result<(), StoreFailure> {
    Ok(store::examine(path)?)
}

impl Restoration {
    /// Takes `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Exists` where there is a store, `InUse` where another process makes or has one.
    pub fn begin(dir: &Path) -> Result<Self, StoreFailure> {
        let io = |source| OpenError::Io { path: dir.display().to_string(), source };
        let made = !dir.try_exists().map_err(io)?;
        let claim = SqliteStore::claim(dir)?;
        let restoration = Self { dir: dir.to_owned(), stage: dir.join(STAGE), claim: Some(claim), made };
        // Of one that was killed.
        restoration.clear().map_err(io)?;
        DirBuilder::new().mode(0o700).create(&restoration.stage).map_err(io)?;
        Ok(restoration)
    }

    /// Where it can be opened as a store once it is filled.
    pub fn stage(&self) -> &Path {
        &self.stage
    }

    /// The file that the backup goes into.
    pub fn file(&self) -> Result<File, StoreFailure> {
        let path = self.database();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(made.map_err(|source| OpenError::Io { path: path.display().to_string(), source })?)
    }

    /// Whether it is a whole backup, as far as this can be told without a key.
    pub fn examine(&self) -> Result<(), StoreFailure> {
        examine(&self.database())
    }

    /// Makes it the directory's store. Nobody has it open.
    pub fn put_in_place(mut self) -> Result<(), StoreFailure> {
        let claim = self.claim.take().expect("it is held until here");
        let adopted = claim.adopt(&self.database());
        self.made &= adopted.is_err();
        Ok(adopted?)
    }

    fn database(&self) -> PathBuf {
        self.stage.join(DATABASE)
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.stage) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            log::warn!("what was put together of a restore is left in {}: {error}", self.stage.display());
        }
        if self.made && !self.dir.join(DATABASE).exists() {
            // The directory was ours from its making on; if somebody else has put something into it, it stays.
            let _ = fs::remove_file(self.dir.join(LOCK));
            let _ = fs::remove_dir(&self.dir);
        }
    }
}
