//! `kmsfs restore-backup`: a new store, made of a backup.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::backup::STDIO;
use super::keys::{AnchorArgs, KeyArgs, StoreArgs};
use super::moving::MovingError;
use super::progress::{CopyError, Progress, copy};
use super::report::CliError;
use super::{places, show};
use crate::daemon::{self, AnchorError, MountError, Restoration};
use crate::vault::VerifyReport;

/// Make a new store of a backup
///
/// The backup is copied beside its place, opened with the key and verified down to its last value, as `kmsfs verify` does, and
/// only then put in place: there is a whole store, or none. A store that is there stays as it is. The anchor of a store that
/// had come further refuses the older state at its next mount; --accept-rollback, there or here, says that it is meant.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs restore-backup /backup/kmsfs-2026-01-31.kmsfs
  ssh elsewhere cat secrets.kmsfs | kmsfs restore-backup --store /srv/kmsfs --key-file /etc/kmsfs/srv.key -")]
pub struct RestoreBackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    anchor: AnchorArgs,
    /// Anchor the older state, so that the next mount takes it
    #[arg(long, conflicts_with = "no_verify")]
    accept_rollback: bool,
    /// Look at the file's structure only, which takes no key
    #[arg(long)]
    no_verify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The backup; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What SQLite calls the log of a database that is in use.
const LOG_SUFFIX: &str = "-wal";

pub fn run(args: &RestoreBackupArgs) -> Result<(), CliError> {
    daemon::harden();
    let store = args.store.dir()?;
    let (mut backup, path, len) = open(&args.file)?;
    let restoration = Restoration::begin(&store)?;
    let mut copied = restoration.file()?;
    match copy(&mut backup, &mut copied, &Progress::of_bytes("restoring", len)) {
        Ok(_) => {}
        Err(CopyError::Reading(source)) => return Err(CliError::Path { path, source }),
        Err(CopyError::Writing(source)) => return Err(CliError::Path { path: restoration.stage().to_owned(), source }),
    }
    drop(copied);
    let bad = |error: CliError| CliError::from(MovingError::BadBackup(Box::new(error)));
    restoration.examine().map_err(|error| bad(error.into()))?;
    let mut rolled_back = None;
    if !args.no_verify {
        let key = daemon::read_key(&args.key.source_for(restoration.stage())?, &store)?;
        let vault = daemon::unlock_store(restoration.stage(), &key).map_err(|error| bad(error.into()))?;
        let report = vault.verify()?;
        if !report.problems.is_empty() {
            tell_problems(&report, args.json)?;
            return Err(bad(CliError::Unsound { count: report.problems.len() }));
        }
        let anchor = args.anchor.place()?;
        if args.accept_rollback {
            drop(daemon::hold(&anchor, &vault, &store, true).map_err(MountError::from)?);
        } else {
            rolled_back = daemon::compare_with(&anchor, &vault).err();
        }
        vault.rest()?;
    }
    restoration.put_in_place()?;
    tell(args, &store, rolled_back)
}

/// The backup, its name for messages, and its length where that is known.
fn open(file: &Path) -> Result<(Box<dyn Read>, PathBuf, u64), CliError> {
    if file == Path::new(STDIO) {
        return Ok((Box::new(io::stdin().lock()), file.to_owned(), 0));
    }
    let path = places::absolute(file)?;
    let io = |source| CliError::Path { path: path.clone(), source };
    let mut log = path.as_os_str().to_owned();
    log.push(LOG_SUFFIX);
    if Path::new(&log).metadata().is_ok_and(|log| log.len() > 0) {
        return Err(MovingError::LogBeside(path).into());
    }
    let backup = File::open(&path).map_err(io)?;
    let len = backup.metadata().map_err(io)?.len();
    Ok((Box::new(backup), path, len))
}

fn tell_problems(report: &VerifyReport, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return show::print_json(&json!({ "restored": false, "problems": report.problems }));
    }
    report.problems.iter().try_for_each(|problem| show::print(&format!("problem: {problem}\n")))
}

fn tell(args: &RestoreBackupArgs, store: &Path, rolled_back: Option<AnchorError>) -> Result<(), CliError> {
    let refusal = rolled_back.map(|error| CliError::from(MountError::from(error)).to_failure());
    if args.json {
        return show::print_json(&json!({
            "restored": true,
            "store": store.to_string_lossy(),
            "verified": !args.no_verify,
            "refused_by_anchor": refusal.map(|refusal| refusal.message),
        }));
    }
    show::print(&format!("restored the store {}\n", store.display()))?;
    if let Some(refusal) = refusal {
        anstream::eprintln!("kmsfs: the next mount is refused: {}", refusal.message);
        refusal.hint.into_iter().for_each(|hint| anstream::eprintln!("kmsfs: hint: {hint}"));
    }
    Ok(())
}
