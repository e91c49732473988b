//! What goes wrong where data goes in or out: backup, restore-backup, export, import. A part of `report`.
//!
//! Invariant: as there, no match has a wildcard.

use std::io;
use std::path::PathBuf;

use super::exit::Exit;
use super::import::Malformed;
use super::report::{CliError, Verdict, with};

/// Why data did not go where it was to go.
#[derive(Debug, thiserror::Error)]
pub enum MovingError {
    /// The file that was read or written is no sound store.
    #[error(transparent)]
    BadBackup(Box<CliError>),
    #[error("{0}: a log lies beside it: it is a store in use, or one that was not closed")]
    LogBeside(PathBuf),
    #[error("{path}: {source}")]
    BackupRead { path: PathBuf, source: io::Error },
    #[error("{0} is there already")]
    FileExists(PathBuf),
    #[error("{0} is no plain file")]
    NoPlainFile(PathBuf),
    #[error("{0} is being written by another process")]
    PartInUse(PathBuf),
    #[error("{0} would lie in a store's own directory")]
    FileInStore(PathBuf),
    #[error("{0} does not go to a terminal")]
    Terminal(&'static str),
    #[error("{0} is no mount, no instance and no secret's directory")]
    Entry(PathBuf),
    #[error("{0} is a whole mount")]
    NoInstanceNamed(PathBuf),
    #[error("there is no instance {0}")]
    NoInstance(PathBuf),
    #[error("{path}: {why}")]
    Source { path: PathBuf, why: Malformed },
    #[error("pass cannot show {entry}: {source}")]
    Pass { entry: String, source: io::Error },
    #[error("{refused} of {all} secrets cannot be imported")]
    Unplannable { refused: usize, all: usize },
    #[error("{at} was not imported: {source}")]
    Stopped { at: String, source: io::Error, left: usize },
    #[error("{count} {} not be read, and {} not in the export", if *.count == 1 { "place could" } else { "places could" }, if *.count == 1 { "is" } else { "are" })]
    Unread { count: usize },
}

impl MovingError {
    /// How it ends, and what may help.
    pub fn judge(&self) -> Verdict {
        match self {
            MovingError::BadBackup(error) => {
                let (exit, hint) = error.judge();
                (exit, if exit == Exit::StoreDamaged { Some(BAD_BACKUP.to_owned()) } else { hint })
            }
            MovingError::LogBeside(_) => {
                with(Exit::Refused, "`kmsfs backup` makes a backup of it that can be restored")
            }
            MovingError::BackupRead { source, .. } => (Exit::Refused, unread(source).map(str::to_owned)),
            MovingError::FileExists(_) => with(Exit::Refused, "it stays as it is; --force replaces it"),
            MovingError::NoPlainFile(_) => with(Exit::Refused, "name the file itself"),
            MovingError::PartInUse(_) => with(Exit::Refused, "wait for that one, or choose another name"),
            MovingError::FileInStore(_) => with(Exit::Refused, "choose a directory apart from the store"),
            MovingError::Terminal(_) => with(Exit::Refused, "name a file, or send it on: | ... or > FILE"),
            MovingError::Entry(_) => with(Exit::Refused, "name a mount, an instance, or a name below one"),
            MovingError::NoInstanceNamed(_) => {
                with(Exit::Refused, "name an instance in it; only an export of kmsfs says which instances it is of")
            }
            MovingError::NoInstance(path) => {
                (Exit::Refused, Some(format!("if the name is right, make it: mkdir {}", path.display())))
            }
            MovingError::Source { .. } => {
                with(Exit::Refused, "is --from right? `kmsfs help import` tells what each format is")
            }
            MovingError::Pass { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                with(Exit::Refused, "install pass (Debian: apt-get install pass)")
            }
            MovingError::Pass { .. } => {
                with(Exit::Refused, "does `pass show` of it work here? gpg needs its key, and a terminal")
            }
            MovingError::Unplannable { .. } => with(
                Exit::Refused,
                "nothing was imported; --rename FROM=TO changes names, --overwrite and --skip-existing say what becomes of \
                 those that are there, --skip-refused leaves the rest out",
            ),
            MovingError::Stopped { .. } => with(
                Exit::Refused,
                "the same command goes on where it stopped; .kmsfs/last-error in the mount has the rule that said no, if one did",
            ),
            MovingError::Unread { .. } => {
                with(Exit::Refused, "run it as a user who may read them; the rest was exported")
            }
        }
    }
}

/// The hint of a backup from which no store can be made.
const BAD_BACKUP: &str = "nothing was made of it; is it a backup, and whole? Take another copy";

/// What may help where a backup could not be read.
fn unread(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("who owns the mount's root may, and root of its own mount"),
        io::ErrorKind::NotFound => Some("an older kmsfs serves the mount; `kmsfs upgrade` lets this one take over"),
        io::ErrorKind::StorageFull => Some("while it is read, a copy of the store needs room beside the store"),
        _ => Some("begin again; if the worker has ended meanwhile, the daemon's log says why"),
    }
}
