//! What went wrong, for people and for scripts: every error of every layer becomes a message, a hint and an exit code, here
//! and nowhere else: those of stores and keys in `stores`, those of the verbs on data beside the verbs (`data::fault`, `moving`,
//! `follow::fault`, `address`, `client`).
//!
//! Invariant: no match has a wildcard, so that an error that is new is told well or does not compile.

mod stores;

use std::io;
use std::path::PathBuf;

use super::address::AddressError;
use super::client::ClientError;
use super::data::DataError;
use super::exit::Exit;
use super::follow::FollowError;
use super::moving::MovingError;
use crate::daemon::{
    AbortError, DoorError, Failure, KeyError, LogError, LogPlace, MountError, PointError, ProbeError, RecordingError,
    RelieveError, StartError, StoreFailure, UnmountError, UpgradeError,
};
use crate::vault::VaultError;
use stores::{UNOPENED, anchor, key, store, vault};

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
    Abort(#[from] AbortError),
    #[error(transparent)]
    Relieve(#[from] RelieveError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The daemon's own words.
    #[error("{0}")]
    View(String),
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
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Client(ClientError),
    /// Of one of many.
    #[error("{path}: {error}")]
    Of { path: String, error: Box<CliError> },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("the two passphrases differ")]
    PassphrasesDiffer,
    #[error("cannot ask for a passphrase: {0}")]
    Prompt(io::Error),
    #[error("neither HOME nor {0} is set")]
    NoHome(&'static str),
    #[error(transparent)]
    Moving(#[from] MovingError),
    #[error("{path}: {source}")]
    Path { path: PathBuf, source: io::Error },
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    #[error("the daemon cannot go into the background: {0}")]
    Background(io::Error),
}

/// For a mount point on which there is nothing.
pub(super) const LIST_MOUNTS: &str = "`kmsfs status` lists the mounts";

/// How an error ends, and what may help.
pub(super) type Verdict = (Exit, Option<String>);

impl CliError {
    /// As it is told, here or over the pipe from the daemon.
    pub fn to_failure(&self) -> Failure {
        let (exit, hint) = self.judge();
        Failure { code: exit.code(), message: self.to_string(), hint }
    }

    pub(super) fn judge(&self) -> Verdict {
        match self {
            CliError::Mount(error) => mount(error),
            CliError::Start { error, log } => start(error, log),
            CliError::Store(error) => store(error),
            CliError::Key(error) => key(error),
            CliError::Unmount(error) => unmount(error),
            CliError::Abort(error) => abort(error),
            CliError::Relieve(error) => relieve(error),
            CliError::Probe(error) => probe(error),
            CliError::Door(error) => door(error),
            CliError::View(_) => plain(Exit::Refused),
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
            CliError::Moving(error) => error.judge(),
            CliError::Address(error) => error.judge(),
            CliError::Client(error) => error.judge(),
            CliError::Of { error, .. } => error.judge(),
            CliError::Data(error) => error.judge(),
            CliError::Follow(error) => error.judge(),
            CliError::NoHome(_) => {
                with(Exit::Refused, "say where with --store, --key-file, --anchor, --audit and --log")
            }
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

/// Says what is done all the same, and may not be meant.
pub fn warn(what: &str) {
    anstream::eprintln!("kmsfs: \x1b[1;33mwarning:\x1b[0m {what}");
}

pub(super) fn plain(exit: Exit) -> Verdict {
    (exit, None)
}

pub(super) fn with(exit: Exit, hint: &str) -> Verdict {
    (exit, Some(hint.to_owned()))
}

fn mount(error: &MountError) -> Verdict {
    match error {
        MountError::Point(error) => point(error),
        MountError::Key(error) => key(error),
        MountError::Store(error) => store(error),
        MountError::Anchor(error) => anchor(error),
        MountError::Recording(error) => recording(error),
        MountError::Log(error) => log(error),
        MountError::Attach { .. } => plain(Exit::MountPoint),
        MountError::Worker(failure) => (Exit::from_code(failure.code), failure.hint.clone()),
        MountError::Signals(_)
        | MountError::Strongbox(_)
        | MountError::Start(_)
        | MountError::WorkerDied(_)
        | MountError::Wedged
        | MountError::NeverServed
        | MountError::Handover(_)
        | MountError::Abandoned(_)
        | MountError::Serve(_) => plain(Exit::Refused),
    }
}

fn abort(error: &AbortError) -> Verdict {
    match error {
        AbortError::NotMounted(_) => with(Exit::MountPoint, LIST_MOUNTS),
        AbortError::NoConnection(_) => {
            with(Exit::Refused, "mount the control files: mount -t fusectl none /sys/fs/fuse/connections")
        }
        AbortError::NotPermitted(_) => with(Exit::Refused, "who mounted it may, and root"),
        AbortError::Unmount(error) => unmount(error),
        AbortError::Io { .. } => plain(Exit::Refused),
    }
}

fn relieve(error: &RelieveError) -> Verdict {
    match error {
        RelieveError::Probe(error) => probe(error),
        RelieveError::NoKeeper(_) => with(
            Exit::Refused,
            "its keeper was killed, or is in another pid namespace; unmount and mount again when nobody uses it",
        ),
        RelieveError::NotPermitted(_) => with(Exit::Refused, "who mounted it may"),
        RelieveError::Foreign(_) => with(Exit::Refused, "run this as the user who mounted it"),
        RelieveError::Program(UpgradeError::Start { .. }) => {
            with(Exit::Refused, "install the new program under the path of the old one; the mount is served as before")
        }
        RelieveError::Program(UpgradeError::Stranger(_) | UpgradeError::Silent(_)) => {
            with(Exit::Refused, "the mount is served as before; for this program unmount, and mount again")
        }
        RelieveError::Refused(_) => with(Exit::Refused, "the daemon's log says why"),
        RelieveError::Io { .. } => plain(Exit::Refused),
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

fn recording(error: &RecordingError) -> Verdict {
    match error {
        RecordingError::InStore(_) => with(Exit::Refused, "say with --audit where else it goes"),
        RecordingError::Refused { .. } => with(Exit::Refused, "--audit says where else, --audit none does without"),
        RecordingError::Vault(error) => vault(error),
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
        UnmountError::NotMounted(_) => with(Exit::MountPoint, LIST_MOUNTS),
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

fn door(error: &DoorError) -> Verdict {
    match error {
        DoorError::Nobody { .. } => {
            with(Exit::Refused, "views are asked for by root, or by the user whose daemon it is")
        }
        DoorError::Silent(_) => with(Exit::Refused, "the daemon's log says why"),
        DoorError::Mount(error) => probe(error),
        DoorError::Unknown { .. } => {
            with(Exit::Refused, "`kmsfs upgrade` has it served by this program, which says so")
        }
    }
}

fn probe(error: &ProbeError) -> Verdict {
    match error {
        ProbeError::NotMounted(_) => with(Exit::MountPoint, LIST_MOUNTS),
        ProbeError::Dead(path) => {
            (Exit::MountPoint, Some(format!("take it away: kmsfs umount --lazy {}", path.display())))
        }
        ProbeError::Silent { .. } | ProbeError::Malformed(_) | ProbeError::Io { .. } => plain(Exit::Refused),
    }
}
