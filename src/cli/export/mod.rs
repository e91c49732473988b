//! `kmsfs export`: all that the caller can read below some paths, in plaintext.
//!
//! ```json
//! {"format": "kmsfs export", "version": 1, "secrets": [
//!   {"instance": "prod", "name": "db/password", "description": "…", "tags": {"env": "prod"}, "versions": [
//!     {"id": "v1", "created": "2026-01-31T00:00:00Z", "stages": ["ACSPrevious"], "text": "…"},
//!     {"id": "v2", "created": "…", "stages": ["ACSCurrent"], "base64": "…"}]},
//!   {"instance": "prod", "name": "old", "description": "", "tags": {}, "deletion": {"planned": "…"}}]}
//! ```
//!
//! It reads the files of the mount, so that the kernel's permissions hold. Values go from the file they are read from into
//! [`crate::value::Value`], and escaped from there into one buffer that is wiped.

mod document;
mod walk;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::document::Document;
use self::walk::{Reader, Unread};
use super::address::Address;
use super::backup::STDIO;
use super::moving::MovingError;
use super::part::PartFile;
use super::report::CliError;
use super::subtree::Subtree;
use super::{places, show, stdio};
use crate::daemon;

pub use document::{FORMAT, FORMAT_VERSION};

/// Write secrets out in plaintext, as JSON
///
/// What is written can be read by anybody who gets it: --plaintext says so, and where it goes. `kmsfs import --from kmsfs` reads
/// it. For a copy that tells a thief nothing there is `kmsfs backup`.
///
/// Each secret has its name, description, tags, and its versions with their labels: a `text` where the value is one, else a
/// `base64`. What is scheduled for deletion has no values. What the caller may not read is left out and named on stderr, and
/// the command ends with 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs export --plaintext secrets.json /run/secrets/prod/db
  kmsfs export --plaintext - /run/secrets/prod | age -r age1... > secrets.json.age")]
pub struct ExportArgs {
    /// Write plaintext to this file (mode 0600), or to stdout where it is `-`
    #[arg(long, value_name = "FILE|-")]
    plaintext: PathBuf,
    /// Only the current version of each secret
    #[arg(long)]
    current: bool,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON about what was written, if that goes to a file
    #[arg(long)]
    json: bool,
    /// Mounts, instances, or names in them; where nothing is named, the only mount there is
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub fn run(args: &ExportArgs) -> Result<(), CliError> {
    daemon::harden();
    let targets = match args.paths.as_slice() {
        [] => vec![Subtree::of(&Address::mount(None)?)?],
        paths => paths.iter().map(|path| Subtree::of(path)).collect::<Result<_, _>>()?,
    };
    if args.plaintext == Path::new(STDIO) {
        if io::stdout().is_terminal() {
            return Err(MovingError::Terminal("plaintext").into());
        }
        let mut stdout = stdio::stdout().map_err(CliError::Output)?;
        let (_, unread) = write(args, &targets, &mut stdout)?;
        return tell_unread(&unread);
    }
    let path = places::absolute(&args.plaintext)?;
    let mut part = PartFile::begin(&path, args.force)?;
    let (count, unread) = write(args, &targets, part.file())?;
    part.finish()?;
    if args.json {
        let unread: Vec<_> =
            unread.iter().map(|unread| json!({ "path": unread.path, "error": unread.error.to_string() })).collect();
        show::print_json(&json!({ "file": path.to_string_lossy(), "secrets": count, "unread": unread }))?;
    } else {
        show::print(&format!("exported {count} secrets to {}, in plaintext\n", path.display()))?;
    }
    tell_unread(&unread)
}

/// Writes the document; how many secrets are in it, and what could not be read.
fn write(args: &ExportArgs, targets: &[Subtree], to: &mut std::fs::File) -> Result<(usize, Vec<Unread>), CliError> {
    let mut reader = Reader::new(Document::begin(to), args.current);
    for target in targets {
        reader.below(target).map_err(CliError::Output)?;
    }
    reader.finish().map_err(CliError::Output)
}

fn tell_unread(unread: &[Unread]) -> Result<(), CliError> {
    for Unread { path, error } in unread {
        anstream::eprintln!("kmsfs: not exported: {}: {error}", path.display());
    }
    if unread.is_empty() { Ok(()) } else { Err(MovingError::Unread { count: unread.len() }.into()) }
}
