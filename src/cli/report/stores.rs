//! What goes wrong with stores, keys and anchors. A part of `report`.
//!
//! Invariant: as there, no match has a wildcard.

use super::{Verdict, plain, with};
use crate::cli::exit::Exit;
use crate::daemon::{AnchorError, KeyError, StoreFailure};
use crate::store::{OpenError, StoreError};
use crate::vault::{UnlockError, VaultError};

pub fn key(error: &KeyError) -> Verdict {
    match error {
        KeyError::Missing(_) => with(
            Exit::Refused,
            "name the key with --key-file, --passphrase-file or --credential, or begin with `kmsfs mount --init`",
        ),
        KeyError::Exists(_) => plain(Exit::Refused),
        KeyError::Symlink(_) => with(Exit::Refused, "name the file itself"),
        KeyError::NotRegular(_) => with(Exit::Refused, "a passphrase can come over a pipe: --passphrase-file -"),
        KeyError::HardLinked { .. } => with(Exit::Refused, "remove the other names; whoever has them has the key"),
        KeyError::Owner { path, .. } => (Exit::Refused, Some(format!("chown it: chown root {}", path.display()))),
        KeyError::Mode { path, .. } => (Exit::Refused, Some(format!("close it: chmod 600 {}", path.display()))),
        KeyError::InStore(_) => {
            with(Exit::Refused, "keep the key elsewhere: who takes the store's directory must not find the key in it")
        }
        KeyError::Malformed(_) => {
            with(Exit::Refused, "`kmsfs init` makes a sound one; a passphrase is given by --passphrase-file")
        }
        KeyError::NoCredentials => with(Exit::Refused, "put LoadCredential= or LoadCredentialEncrypted= into the unit"),
        KeyError::EmptyPassphrase
        | KeyError::LongPassphrase
        | KeyError::CredentialName(_)
        | KeyError::Random
        | KeyError::Io { .. } => plain(Exit::Refused),
    }
}

pub fn store(error: &StoreFailure) -> Verdict {
    match error {
        StoreFailure::Open(error) => open(error),
        StoreFailure::Unlock(error) => unlock(error),
        StoreFailure::Vault(error) => vault(error),
    }
}

fn open(error: &OpenError) -> Verdict {
    match error {
        OpenError::Missing(_) => with(Exit::Refused, "`kmsfs init` makes one; or say with --store where it is"),
        OpenError::Exists(_) => with(Exit::Refused, "it stays as it is; say with --store where the new one goes"),
        OpenError::InUse(store) => (
            Exit::InUse,
            Some(format!(
                "`kmsfs status` lists the mounts, `kmsfs umount` ends one; a daemon whose mount was taken away while in \
                 use keeps the store until its last user goes: `fuser -v {store}/store.lock` finds it"
            )),
        ),
        OpenError::Newer { .. } => newer(),
        OpenError::Damaged(_) => damaged(),
        OpenError::Io { .. } => plain(Exit::Refused),
    }
}

fn unlock(error: &UnlockError) -> Verdict {
    match error {
        UnlockError::WrongKey => with(Exit::WrongKey, "is it this store's key? Any of its unlock slots will do"),
        UnlockError::OtherKind => {
            with(Exit::WrongKey, "`kmsfs rekey list` tells whether it takes a key file or a passphrase")
        }
        UnlockError::SlotDamaged(_) => {
            with(Exit::SlotDamaged, "another key or passphrase of the store may still open it; else restore a backup")
        }
        UnlockError::SlotTooCostly(_) => with(
            Exit::SlotDamaged,
            "no kmsfs makes such slots: who wrote it? A key file or another passphrase of the store may still open it",
        ),
        UnlockError::SlotPutBack(_) => with(
            Exit::RolledBack,
            "this key opens the store no longer; with another one `kmsfs rekey remove` takes the slot away again",
        ),
        UnlockError::Damaged(_) => damaged(),
        UnlockError::Newer { .. } => newer(),
        UnlockError::Store(error) => storage(error),
    }
}

fn storage(error: &StoreError) -> Verdict {
    match error {
        StoreError::Io(_) | StoreError::WouldWait => plain(Exit::Refused),
        StoreError::Damaged(_) => damaged(),
    }
}

pub fn vault(error: &VaultError) -> Verdict {
    match error {
        VaultError::Refused(_)
        | VaultError::Commit(_)
        | VaultError::Slot(_)
        | VaultError::OutOfNodes
        | VaultError::Audit(_)
        | VaultError::Crypto(_) => plain(Exit::Refused),
        VaultError::Store(error) => storage(error),
        VaultError::Sealed(_) | VaultError::Lost { .. } | VaultError::Unreadable { .. } => damaged(),
        VaultError::Replaced { .. } => {
            with(Exit::RolledBack, "who else writes the store's files? Keep them as they are")
        }
    }
}

pub fn anchor(error: &AnchorError) -> Verdict {
    match error {
        AnchorError::RolledBack { .. } | AnchorError::Forked { .. } => with(
            Exit::RolledBack,
            "who put the old copy there? If it was you (a backup restored), mount once with --accept-rollback",
        ),
        AnchorError::OtherStore(_) => {
            with(Exit::Refused, "each store has an anchor of its own: say where with --anchor")
        }
        AnchorError::Malformed(_) => {
            with(Exit::Refused, "if the store is known to be the right one, remove the file and mount again")
        }
        AnchorError::InStore(_) => with(Exit::Refused, "say with --anchor where else it goes"),
        AnchorError::Io { .. } => {
            with(Exit::Refused, "say with --anchor where it can be kept, or --anchor none to do without")
        }
    }
}

fn damaged() -> Verdict {
    with(Exit::StoreDamaged, "keep its files as they are, and restore a backup; `kmsfs verify` names what is damaged")
}

/// The hint of a store that verify itself could not open.
pub const UNOPENED: &str = "keep its files as they are, and restore a backup";

fn newer() -> Verdict {
    with(Exit::Newer, "nothing was written; use the kmsfs that wrote it, or a newer one")
}
