//! The arguments that name a store and what unlocks it, and the questions that are asked where they do not say.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::report::CliError;
use super::{places, stdio};
use crate::crypto::SlotKind;
use crate::daemon::{self, AnchorPlace, Key, KeyError, KeySource};

/// Which store.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The store's directory [default: /var/lib/kmsfs for root, $XDG_DATA_HOME/kmsfs else]
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Whether the command line says which.
    pub fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// The directory, from the root.
    pub fn dir(&self) -> Result<PathBuf, CliError> {
        match &self.store {
            Some(dir) => places::absolute(dir),
            None => places::store(),
        }
    }
}

/// What unlocks it: one of these. Never the key itself: arguments are seen by every user of the machine.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// A file of 32 bytes or 64 hexadecimal digits, of mode 0600 [default: /etc/kmsfs/master.key for root,
    /// $XDG_CONFIG_HOME/kmsfs/master.key else]
    #[arg(long, value_name = "FILE", global = true, conflicts_with_all = ["passphrase_file", "credential"])]
    key_file: Option<PathBuf>,
    /// A file of mode 0600 whose first line is a passphrase; `-` reads it from stdin, or asks on a terminal
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "credential")]
    passphrase_file: Option<PathBuf>,
    /// A systemd credential of this name, with the content of a key file
    #[arg(long, value_name = "NAME", global = true)]
    credential: Option<String>,
}

/// Where the store's anchor is.
#[derive(Debug, Args)]
pub struct AnchorArgs {
    /// Where the store's anchor is kept; `none` does without [default: a file named after the store in
    /// /var/lib/kmsfs-anchor for root, in $XDG_STATE_HOME/kmsfs/anchor else]
    #[arg(long, value_name = "FILE|none", global = true)]
    anchor: Option<PathBuf>,
}

/// Says that there is no anchor.
pub const NO_ANCHOR: &str = "none";

impl AnchorArgs {
    /// The file, from the root.
    pub fn place(&self) -> Result<AnchorPlace, CliError> {
        Ok(match &self.anchor {
            Some(path) if path.as_os_str() == NO_ANCHOR => AnchorPlace::Nowhere,
            Some(path) => AnchorPlace::File(places::absolute(path)?),
            None => AnchorPlace::In(places::anchors()?),
        })
    }
}

/// How often a passphrase is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It opens something.
    Once,
    /// It is new: a slip of the finger would lock its owner out.
    Twice,
}

/// Stands for stdin.
const STDIN: &str = "-";

impl KeyArgs {
    /// Whether the command line says nothing.
    pub fn is_default(&self) -> bool {
        self.key_file.is_none() && self.passphrase_file.is_none() && self.credential.is_none()
    }

    /// What the command line says, or the default key file.
    pub fn source(&self, asking: Asking) -> Result<KeySource, CliError> {
        if let Some(path) = &self.passphrase_file {
            return passphrase(path, asking);
        }
        if let Some(name) = &self.credential {
            return Ok(KeySource::Credential(name.clone()));
        }
        let path = self.key_file.as_deref().map_or_else(places::key_file, places::absolute)?;
        Ok(KeySource::KeyFile(path))
    }

    /// As [`KeyArgs::source`], for a store that is there: where nothing is said, no default key file is there, and only a
    /// passphrase opens the store, it is asked for.
    pub fn source_for(&self, store: &Path) -> Result<KeySource, CliError> {
        let source = self.source(Asking::Once)?;
        let missing = matches!(&source, KeySource::KeyFile(path) if path.symlink_metadata().is_err());
        if self.is_default() && missing && io::stdin().is_terminal() && daemon::is_store(store)? {
            let slots = daemon::slots_of(store)?;
            if slots.iter().all(|slot| slot.kind == Some(SlotKind::Passphrase)) {
                return ask("Passphrase: ").map(KeySource::Passphrase);
            }
        }
        Ok(source)
    }

    /// The key itself, for a store that is there.
    pub fn key_for(&self, store: &Path) -> Result<Key, CliError> {
        Ok(daemon::read_key(&self.source_for(store)?, store)?)
    }
}

/// A passphrase from the file `path`, from stdin or from a terminal.
pub fn passphrase(path: &Path, asking: Asking) -> Result<KeySource, CliError> {
    if path != Path::new(STDIN) {
        return Ok(KeySource::PassphraseFile(places::absolute(path)?));
    }
    if io::stdin().is_terminal() {
        return match asking {
            Asking::Once => ask("Passphrase: "),
            Asking::Twice => ask_twice(),
        }
        .map(KeySource::Passphrase);
    }
    let mut stdin = stdio::stdin().map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok(KeySource::Passphrase(daemon::read_passphrase(&mut stdin, path)?))
}

fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let typed = rpassword::prompt_password(prompt).map_err(CliError::Prompt)?;
    Ok(Zeroizing::new(typed.into_bytes()))
}

fn ask_twice() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let first = ask("New passphrase: ")?;
    if first == ask("The same again: ")? { Ok(first) } else { Err(CliError::PassphrasesDiffer) }
}
