//! `kmsfs init`: a new store, and a key for it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::keys::{Asking, KeyArgs, StoreArgs};
use super::report::CliError;
use super::show;
use crate::daemon::{self, Key, KeyError, KeySource, StoreFailure};
use crate::store::OpenError;

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

/// Makes a store in `store` that `source` opens; a key file that is missing is made first.
pub fn make(store: &Path, source: &KeySource) -> Result<Made, CliError> {
    if daemon::is_made(store)? {
        return Err(StoreFailure::from(OpenError::Exists(store.display().to_string())).into());
    }
    let (key, key_file) = match source {
        KeySource::KeyFile(path) => match daemon::read_key(source, store) {
            Err(KeyError::Missing(_)) => (daemon::make_key_file(path, store)?, Some(path.clone())),
            read => (read?, None),
        },
        KeySource::PassphraseFile(_) | KeySource::Passphrase(_) | KeySource::Credential(_) => {
            (daemon::read_key(source, store)?, None)
        }
    };
    make_with(store, &key, key_file)
}

fn make_with(store: &Path, key: &Key, key_file: Option<PathBuf>) -> Result<Made, CliError> {
    if let Err(error) = daemon::make_store(store, key) {
        // A key without a store would be in the way of the next try; where somebody else makes one, it may be with this key.
        let elsewhere = matches!(error, StoreFailure::Open(OpenError::Exists(_) | OpenError::InUse(_)));
        if !elsewhere && let Some(Err(error)) = key_file.as_deref().map(std::fs::remove_file) {
            log::warn!("a key file that opens nothing is left: {error}");
        }
        return Err(error.into());
    }
    Ok(Made { store: store.to_owned(), key_file })
}
