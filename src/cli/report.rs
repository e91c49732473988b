//! What went wrong, for people and for scripts: every error of every layer becomes a message, a hint and an exit code, here
//! and nowhere else.
//!
//! Invariant: no match has a wildcard, so that an error that is new is told well or does not compile.

use std::io;
use std::path::PathBuf;

use super::exit::Exit;
use crate::daemon::{
    AnchorError, Failure, KeyError, LogError, LogPlace, MountError, PointError, ProbeError, StartError, StoreFailure,
    UnmountError,
};
use crate::store::{OpenError, StoreError};
use crate::vault::{UnlockError, VaultError};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("{error}")]
    Start { error: StartError, log: LogPlace },
    #[error(transparent)]
    Store(#[from] StoreFailure),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Unmount(#[from] UnmountError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("there is a store in {store}, but no key file {key}")]
    StoreWithoutKey { store: PathBuf, key: PathBuf },
    #[error("there is a key file {key}, but no store in {store}")]
    KeyWithoutStore { store: PathBuf, key: PathBuf },
    #[error("the verification found {count} {}", if *.count == 1 { "problem" } else { "problems" })]
    Unsound { count: usize },
    /// Of verify: what it would be told to do about it is what it is doing.
    #[error(transparent)]
    Unopened(Box<CliError>),
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
    #[error("cannot ask for a passphrase: {0}")]
    Prompt(io::Error),
    #[error("neither HOME nor {0} is set")]
    NoHome(&'static str),
    #[error("{path}: {source}")]
    Path { path: PathBuf, source: io::Error },
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    #[error("the daemon cannot go into the background: {0}")]
    Background(io::Error),
}

/// How an error ends, and what may help.
type Verdict = (Exit, Option<String>);

impl CliError {
    /// As it is told, here or over the pipe from the daemon.
    pub fn to_failure(&self) -> Failure {
        let (exit, hint) = self.judge();
        Failure { code: exit.code(), message: self.to_string(), hint }
    }

    fn judge(&self) -> Verdict {
        match self {
            CliError::Mount(error) => mount(error),
            CliError::Start { error, log } => start(error, log),
            CliError::Store(error) => store(error),
            CliError::Key(error) => key(error),
            CliError::Unmount(error) => unmount(error),
            CliError::Probe(error) => probe(error),
            CliError::Vault(error) => vault(error),
            CliError::StoreWithoutKey { .. } => with(
                Exit::Refused,
                "name its key with --key-file, --passphrase-file or --credential; no other opens it",
            ),
            CliError::KeyWithoutStore { .. } => {
                with(Exit::Refused, "is --store right? `kmsfs init` makes a new store for this key")
            }
            CliError::Unopened(error) => {
                let (exit, hint) = error.judge();
                (exit, if exit == Exit::StoreDamaged { Some(UNOPENED.to_owned()) } else { hint })
            }
            CliError::Unsound { .. } => with(
                Exit::StoreDamaged,
                "keep the store's files as they are, and restore from a backup what is named above",
            ),
            CliError::NoHome(_) => with(Exit::Refused, "say where with --store, --key-file, --anchor and --log"),
            CliError::PassphrasesDiffer
            | CliError::Prompt(_)
            | CliError::Path { .. }
            | CliError::Output(_)
            | CliError::Background(_) => plain(Exit::Refused),
        }
    }
}

/// Tells `failure` on stderr, in colour where that is a terminal.
pub fn tell(failure: &Failure) -> Exit {
    anstream::eprintln!("kmsfs: \x1b[1;31merror:\x1b[0m {}", failure.message);
    if let Some(hint) = &failure.hint {
        anstream::eprintln!("kmsfs: \x1b[1;36mhint:\x1b[0m {hint}");
    }
    Exit::from_code(failure.code)
}

fn plain(exit: Exit) -> Verdict {
    (exit, None)
}

fn with(exit: Exit, hint: &str) -> Verdict {
    (exit, Some(hint.to_owned()))
}

fn mount(error: &MountError) -> Verdict {
    match error {
        MountError::Point(error) => point(error),
        MountError::Key(error) => key(error),
        MountError::Store(error) => store(error),
        MountError::Anchor(error) => anchor(error),
        MountError::Log(error) => log(error),
        MountError::Attach { .. } => plain(Exit::MountPoint),
        MountError::Signals(_) | MountError::Abandoned(_) | MountError::Serve(_) => plain(Exit::Refused),
    }
}

fn start(error: &StartError, log: &LogPlace) -> Verdict {
    let look = || Some(format!("the daemon's last words are in {log}"));
    match error {
        StartError::Failed(failure) => (Exit::from_code(failure.code), failure.hint.clone()),
        StartError::Spawn(_) => plain(Exit::Refused),
        StartError::Died(_) | StartError::Slow | StartError::Mute(_) => (Exit::Refused, look()),
        StartError::Other(_) => with(Exit::MountPoint, "another mount covers it; `kmsfs status` lists the mounts"),
    }
}

fn point(error: &PointError) -> Verdict {
    let hint = match error {
        PointError::Missing(path) => Some(format!("make it: mkdir {}", path.display())),
        PointError::NotDirectory(_) => Some("choose an empty directory".to_owned()),
        PointError::Symlink(_) => {
            Some("name the directory itself, so that nobody can move the mount by a link".to_owned())
        }
        PointError::NotEmpty(_) => Some("the mount would hide what is in it; choose an empty directory".to_owned()),
        PointError::Mounted(path) => {
            Some(format!("`kmsfs status {0}` tells about it, `kmsfs umount {0}` ends it", path.display()))
        }
        PointError::Stale(path) => Some(format!("take it away: kmsfs umount --lazy {}", path.display())),
        PointError::InStore(_) | PointError::CoversStore(_) => {
            Some("choose a directory apart from the store".to_owned())
        }
        PointError::NotWritable(_) => Some("choose a directory of your own".to_owned()),
        PointError::NoDevice => {
            Some("load the module: modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN".to_owned())
        }
        PointError::Device(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(
            "it is for everybody on most systems: chmod 666 /dev/fuse; in a container: --device /dev/fuse".to_owned(),
        ),
        PointError::Device(_) => Some(
            "load the module: modprobe fuse; in a container the device must be allowed: --device /dev/fuse".to_owned(),
        ),
        PointError::NoFusermount => {
            Some("install fuse3 (Debian: apt-get install fuse3); only root mounts without it".to_owned())
        }
        PointError::NoAllowOther => {
            Some("root can put the line `user_allow_other` there; or mount without -o allow_other".to_owned())
        }
        PointError::Io { .. } => None,
    };
    (Exit::MountPoint, hint)
}

fn key(error: &KeyError) -> Verdict {
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

fn store(error: &StoreFailure) -> Verdict {
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
        UnlockError::Damaged(_) => damaged(),
        UnlockError::Newer { .. } => newer(),
        UnlockError::Store(error) => storage(error),
    }
}

fn storage(error: &StoreError) -> Verdict {
    match error {
        StoreError::Io(_) => plain(Exit::Refused),
        StoreError::Damaged(_) => damaged(),
    }
}

fn vault(error: &VaultError) -> Verdict {
    match error {
        VaultError::Refused(_)
        | VaultError::Commit(_)
        | VaultError::Slot(_)
        | VaultError::OutOfNodes
        | VaultError::Crypto(_) => plain(Exit::Refused),
        VaultError::Store(error) => storage(error),
        VaultError::Sealed(_) | VaultError::Lost { .. } | VaultError::Unreadable { .. } => damaged(),
    }
}

fn anchor(error: &AnchorError) -> Verdict {
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

fn log(error: &LogError) -> Verdict {
    match error {
        LogError::InStore(_) => with(Exit::Refused, "say with --log where else it goes"),
        LogError::Io { .. } => with(Exit::Refused, "say with --log where it can be kept: a file, not a link to one"),
    }
}

fn unmount(error: &UnmountError) -> Verdict {
    match error {
        UnmountError::NotMounted(_) => with(Exit::MountPoint, "`kmsfs status` lists the mounts"),
        UnmountError::Busy(path) => (
            Exit::MountPoint,
            Some(format!(
                "`fuser -vm {0}` tells who uses it; `kmsfs umount --lazy {0}` takes it away from newcomers at once",
                path.display()
            )),
        ),
        UnmountError::NotPermitted(_) => with(Exit::Refused, "root can, and who mounted it"),
        UnmountError::NoFusermount => point(&PointError::NoFusermount),
        UnmountError::StillRunning { .. } => with(
            Exit::Refused,
            "its log may tell what it waits for: by default /var/log/kmsfs.log, or $XDG_STATE_HOME/kmsfs/kmsfs.log",
        ),
        UnmountError::Helper { .. } | UnmountError::Io { .. } => plain(Exit::Refused),
    }
}

fn probe(error: &ProbeError) -> Verdict {
    match error {
        ProbeError::NotMounted(_) => with(Exit::MountPoint, "`kmsfs status` lists the mounts"),
        ProbeError::Dead(path) => {
            (Exit::MountPoint, Some(format!("take it away: kmsfs umount --lazy {}", path.display())))
        }
        ProbeError::Silent { .. } | ProbeError::Malformed(_) | ProbeError::Io { .. } => plain(Exit::Refused),
    }
}

fn damaged() -> Verdict {
    with(Exit::StoreDamaged, "keep its files as they are, and restore a backup; `kmsfs verify` names what is damaged")
}

/// The hint of a store that verify itself could not open.
const UNOPENED: &str = "keep its files as they are, and restore a backup";

fn newer() -> Verdict {
    with(Exit::Newer, "nothing was written; use the kmsfs that wrote it, or a newer one")
}
