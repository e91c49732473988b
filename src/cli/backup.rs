//! `kmsfs backup`: a copy of a whole store, sealed as it is, while it is in use.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::address::Address;
use super::keys::StoreArgs;
use super::moving::MovingError;
use super::part::PartFile;
use super::progress::{CopyError, Progress, copy};
use super::report::CliError;
use super::{places, show};
use crate::daemon;
use crate::store::Snapshot;

/// Back a store up, while it is mounted or not
///
/// The backup holds the store as it is at one moment, as encrypted as the store itself: whatever key or passphrase opens the
/// store opens it. Changes go on meanwhile. It is written to FILE.part, looked at, and only then named FILE. Who owns the root
/// of a mount may do this; `cp M/.kmsfs/backup FILE` is the same without the look. `kmsfs restore-backup` makes a store of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs backup /backup/kmsfs-$(date +%F).kmsfs /run/secrets
  kmsfs backup - /run/secrets | ssh elsewhere 'cat > secrets.kmsfs'
  kmsfs backup --store /srv/kmsfs /backup/kmsfs.kmsfs     # a store that is not mounted")]
pub struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the backup goes; `-` is stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The mount point; where it is left out, the only mount there is
    #[arg(value_name = "M", conflicts_with = "store")]
    point: Option<PathBuf>,
}

/// Stands for stdout, and stdin.
pub const STDIO: &str = "-";
/// The file of a mount that is a copy of its store.
const BACKUP: &str = ".kmsfs/backup";

/// Where a backup comes from.
enum Source {
    /// An open file of a mount.
    Mount { file: File, path: PathBuf },
    /// A store that nobody has open.
    Store { copy: Snapshot, read: u64 },
}

pub fn run(args: &BackupArgs) -> Result<(), CliError> {
    daemon::harden();
    if args.file == Path::new(STDIO) {
        if io::stdout().is_terminal() {
            return Err(MovingError::Terminal("a backup").into());
        }
        let mut source = Source::open(args)?;
        return source.copy_to(&mut io::stdout().lock()).map(drop);
    }
    let path = places::absolute(&args.file)?;
    let mut part = PartFile::begin(&path, args.force)?;
    let mut source = Source::open(args)?;
    let bytes = source.copy_to(part.file())?;
    // What is read back here comes from the disk's cache, but by another way than it went there.
    daemon::examine_backup(part.part()).map_err(|error| MovingError::BadBackup(Box::new(error.into())))?;
    part.finish()?;
    if args.json {
        return show::print_json(&json!({ "file": path.to_string_lossy(), "bytes": bytes }));
    }
    show::print(&format!("backed up to {} ({bytes} bytes)\n", path.display()))
}

impl Source {
    fn open(args: &BackupArgs) -> Result<Self, CliError> {
        if args.store.is_given() {
            return Ok(Source::Store { copy: daemon::snapshot_of(&args.store.dir()?)?, read: 0 });
        }
        let path = Address::mount(args.point.as_deref())?.join(BACKUP);
        match File::open(&path) {
            Ok(file) => Ok(Source::Mount { file, path }),
            Err(source) => Err(MovingError::BackupRead { path, source }.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        match self {
            Source::Mount { file, .. } => Ok(file.metadata()?.len()),
            Source::Store { copy, .. } => Ok(copy.len()),
        }
    }

    /// Copies all of it; a part of it is an error.
    fn copy_to(&mut self, to: &mut impl io::Write) -> Result<u64, CliError> {
        let path = match self {
            Source::Mount { path, .. } => path.clone(),
            Source::Store { .. } => PathBuf::from("the store"),
        };
        let read = |source| CliError::from(MovingError::BackupRead { path: path.clone(), source });
        let len = self.len().map_err(read)?;
        let copied = copy(self, to, &Progress::of_bytes("backing up", len));
        let copied = copied.and_then(|copied| to.flush().map(|()| copied).map_err(CopyError::Writing));
        match copied {
            Ok(copied) if copied == len => Ok(copied),
            Ok(_) => Err(read(io::ErrorKind::UnexpectedEof.into())),
            Err(CopyError::Reading(source)) => Err(read(source)),
            Err(CopyError::Writing(source)) => Err(CliError::Output(source)),
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Mount { file, .. } => file.read(buffer),
            Source::Store { copy, read } => {
                let bytes = copy.read_at(*read, buffer.len()).map_err(io::Error::other)?;
                buffer[..bytes.len()].copy_from_slice(&bytes);
                *read += bytes.len() as u64;
                Ok(bytes.len())
            }
        }
    }
}
