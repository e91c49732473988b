//! `kmsfs init`: a new store, and a key for it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::keys::{Asking, KeyArgs, StoreArgs};
use super::report::CliError;
use super::show;
use crate::daemon::{self, KeyError, KeySource, Site, StoreFailure};
use crate::store::OpenError;
use crate::vault::{CommitError, VaultError};

/// Make an empty store, and its key file when that is missing
///
/// Keep a copy of the key file somewhere else than the store's backups: without it nobody can read the store, with both
/// anybody can.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs init --store /srv/kmsfs --key-file /etc/kmsfs/srv.key")]
pub struct InitArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was made.
pub struct Made {
    pub store: PathBuf,
    /// Set when the key file was made too.
    pub key_file: Option<PathBuf>,
}

pub fn run(args: &InitArgs) -> Result<(), CliError> {
    daemon::harden();
    let made = make(&args.store.dir()?, &args.key.source(Asking::Twice)?)?;
    if args.json {
        return show::print_json(&json!({ "store": made.store, "key_file": made.key_file }));
    }
    tell(&made)
}

/// Says what was made.
pub fn tell(made: &Made) -> Result<(), CliError> {
    let mut text = format!("made the store {}\n", made.store.display());
    if let Some(path) = &made.key_file {
        text += &format!("made the key file {0}: keep a copy of it apart from the store\n", path.display());
    }
    show::print(&text)
}

/// Whether the store may be there although its making failed.
fn may_be_made(error: &StoreFailure) -> bool {
    matches!(error, StoreFailure::Vault(VaultError::Commit(CommitError::Unknown(_))))
}

/// Makes a store in `store` that `source` opens; a key file that is missing is made first.
pub fn make(store: &Path, source: &KeySource) -> Result<Made, CliError> {
    if daemon::is_made(store)? {
        return Err(StoreFailure::from(OpenError::Exists(store.display().to_string())).into());
    }
    // Taken before a key is read or made: of two who do this at once, one does, and the key is that of its store.
    let site = Site::claim(store)?;
    let (key, key_file) = match source {
        KeySource::KeyFile(path) => match daemon::read_key(source, store) {
            Err(KeyError::Missing(_)) => (daemon::make_key_file(path, store)?, Some(path.clone())),
            read => (read?, None),
        },
        KeySource::PassphraseFile(_) | KeySource::Passphrase(_) | KeySource::Credential(_) => {
            (daemon::read_key(source, store)?, None)
        }
    };
    if let Err(error) = site.make(&key) {
        // A key without a store would be in the way of the next try; a store without its key, for ever.
        let unmade = key_file.as_deref().filter(|_| !may_be_made(&error));
        if let Some(Err(error)) = unmade.map(std::fs::remove_file) {
            log::warn!("a key file that opens nothing is left: {error}");
        }
        return Err(error.into());
    }
    Ok(Made { store: store.to_owned(), key_file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_store_that_may_be_there_is_kept() {
        for (error, may_be) in [(CommitError::Unknown("EIO".into()), true), (CommitError::Full, false)] {
            assert_eq!(may_be_made(&VaultError::Commit(error).into()), may_be);
        }
    }
}
