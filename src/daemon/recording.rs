//! Where the record of all decisions is kept, and that it is kept at all before a mount stands.
//!
//! Its lines name secrets and who uses them, as the log's do: it never lies in the store's directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::lies_in;
use crate::audit::{AuditError, Origin, Settings, Trail, WitnessKind};
use crate::fs::CallerFacts;
use crate::vault::{Vault, VaultError};

/// Which records are kept, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// A directory with one for each store; `None` keeps no chain.
    pub dir: Option<PathBuf>,
    /// The second sink,
    pub witness: Option<WitnessKind>,
    /// and another socket of it than the usual one.
    pub socket: Option<PathBuf>,
    /// Whether decisions take effect of which there is no record.
    pub fails_open: bool,
    /// Bytes of a segment.
    pub segment: u64,
}

/// Why nothing is recorded, so that there is no mount.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("the audit's directory {0} lies in the store's own directory, whose copies would carry the names in it")]
    InStore(PathBuf),
    #[error("{error} ({dir})")]
    Refused { dir: String, error: AuditError },
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Recording {
    /// Has all that `vault` decides recorded, whose store lies in `store`. Nothing is written yet.
    pub fn start(&self, vault: &Vault, store: &Path) -> Result<(), RecordingError> {
        if self.dir.is_none() && self.witness.is_none() {
            return Ok(());
        }
        let dir = self.dir.as_ref().map(|dir| dir.join(vault.store_id()));
        if let Some(dir) = dir.as_ref().filter(|dir| lies_in(dir, store)) {
            return Err(RecordingError::InStore(dir.clone()));
        }
        let settings = Settings {
            dir,
            witness: self.witness.clone(),
            socket: self.socket.clone(),
            fails_open: self.fails_open,
            segment: self.segment,
        };
        let callers = Arc::new(CallerFacts::default());
        let origin = Origin {
            key: vault.audit_key(),
            known: vault.audited(),
            account: vault.root()?.account.as_str().to_owned(),
            own_uid: rustix::process::geteuid().as_raw(),
            facts: Box::new(move |tid, closes| if closes { callers.remembered(tid) } else { callers.facts(tid) }),
        };
        vault.audit_by(Trail::start(settings, origin).map_err(|error| self.refused(error))?);
        Ok(())
    }

    /// Records that a worker begins. The first one of a mount must: what cannot be recorded is not mounted. A later one serves, and
    /// refuses what it cannot record.
    pub fn begin(&self, vault: &Vault, workers_before: u64) -> Result<(), RecordingError> {
        let Some(trail) = vault.trail() else { return Ok(()) };
        let version = env!("CARGO_PKG_VERSION");
        let (gesture, words) = match workers_before {
            0 => ("mount", format!("kmsfs {version} has unlocked and mounted the store")),
            before => ("worker", format!("kmsfs {version} serves the mount, after {before} workers")),
        };
        match trail.event(gesture, &words) {
            Err(error) if workers_before == 0 => Err(self.refused(error)),
            Err(error) => {
                log::error!("{error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Records that the mount is gone.
    pub fn end(vault: &Vault) {
        if let Some(trail) = vault.trail()
            && let Err(error) = trail.event("unmount", "the mount is gone and the store is closed")
        {
            log::error!("{error}");
        }
    }

    fn refused(&self, error: AuditError) -> RecordingError {
        let dir = self.dir.as_ref().map_or_else(|| "no directory".to_owned(), |dir| dir.display().to_string());
        RecordingError::Refused { dir, error }
    }
}
