//! `kmsfs rekey`: what opens a store. Slots are added and removed; the master key below them, and all that it seals, stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::keys::{AnchorArgs, Asking, KeyArgs, StoreArgs, passphrase};
use super::report::CliError;
use super::{places, show};
use crate::crypto::{KdfParams, SlotKind};
use crate::daemon::{self, AnchorKeeper, Key, KeyError, KeySource, MountError};
use crate::vault::{SlotInfo, Vault};

/// Add, remove and list the keys and passphrases that open an unmounted store
///
/// A store has up to eight unlock slots, each of which opens all of it; at least one stays. To change a key, add the new one,
/// then remove the old one's slot. Backups made before still open with the old key; put in the store's place, its anchor tells.
#[derive(Debug, Args)]
#[command(after_help = "Example: another key file instead of the present one
  kmsfs rekey list
  kmsfs rekey add-key-file /etc/kmsfs/new.key
  kmsfs rekey --key-file /etc/kmsfs/new.key remove 0")]
pub struct RekeyArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    anchor: AnchorArgs,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Let a key file open the store; it is made when it is missing
    #[command(after_help = "Example:\n  kmsfs rekey add-key-file /media/usb/kmsfs.key")]
    AddKeyFile {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Let a passphrase open the store; it is asked for, twice
    #[command(after_help = "Example:\n  pass show kmsfs | kmsfs rekey add-passphrase --from -")]
    AddPassphrase {
        /// Take the first line of this file instead (mode 0600); `-` is stdin
        #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
        from: PathBuf,
    },
    /// Take an unlock slot away, and overwrite it
    #[command(after_help = "Example:\n  kmsfs rekey remove 1")]
    Remove {
        #[arg(value_name = "N")]
        slot: u8,
    },
    /// Show the unlock slots; this takes no key
    #[command(after_help = "Example:\n  kmsfs rekey list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &RekeyArgs) -> Result<(), CliError> {
    daemon::harden();
    let store = args.store.dir()?;
    // A slot's going is anchored, so that an older copy, which its key still opens, is known for one at once.
    let open = || -> Result<(Arc<Vault>, AnchorKeeper), CliError> {
        let vault = daemon::unlock_store(&store, &args.key.key_for(&store)?)?;
        let anchored = daemon::hold(&args.anchor.place()?, &vault, &store, false).map_err(MountError::from)?;
        Ok((vault, anchored))
    };
    match &args.step {
        Step::List { json } => list(&daemon::slots_of(&store)?, *json),
        Step::AddKeyFile { file } => {
            // The store first: a key is made for one that opens.
            let (vault, _anchored) = open()?;
            let path = places::absolute(file)?;
            match daemon::read_key(&KeySource::KeyFile(path.clone()), &store) {
                Err(KeyError::Missing(_)) => add_made(&vault, &daemon::make_key_file(&path, &store)?, &path),
                read => add(&vault, &read?),
            }
        }
        Step::AddPassphrase { from } => {
            let (vault, _anchored) = open()?;
            add(&vault, &daemon::read_key(&passphrase(from, Asking::Twice)?, &store)?)
        }
        Step::Remove { slot } => {
            let (vault, _anchored) = open()?;
            vault.remove_slot(*slot)?;
            show::print(&format!("removed unlock slot {slot}\n"))
        }
    }
}

fn add(vault: &Vault, key: &Key) -> Result<(), CliError> {
    tell_added(vault.add_slot(&key.source(), KdfParams::DEFAULT)?)
}

fn tell_added(number: u8) -> Result<(), CliError> {
    show::print(&format!("added unlock slot {number}\n"))
}

/// Adds a slot for a key file that was made for it; one that opens nothing is not left behind.
fn add_made(vault: &Vault, key: &Key, path: &Path) -> Result<(), CliError> {
    let added = vault.add_slot(&key.source(), KdfParams::DEFAULT);
    // A slot that was written all the same keeps its key.
    if added.is_err()
        && matches!(vault.slot_of(&key.source()), Ok(None))
        && let Err(error) = fs::remove_file(path)
    {
        log::warn!("a key file that opens nothing is left: {}: {error}", path.display());
    }
    tell_added(added?)
}

fn list(slots: &[SlotInfo], as_json: bool) -> Result<(), CliError> {
    let kind = |slot: &SlotInfo| match slot.kind {
        Some(SlotKind::KeyFile) => "key-file",
        Some(SlotKind::Passphrase) => "passphrase",
        None => "damaged",
    };
    if as_json {
        return show::print_json(
            &slots.iter().map(|slot| json!({ "slot": slot.number, "kind": kind(slot) })).collect(),
        );
    }
    show::print_table(["SLOT", "KIND"], slots.iter().map(|slot| [slot.number.to_string(), kind(slot).to_owned()]))
}
