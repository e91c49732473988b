//! `kmsfs restore`: deleted secrets come back whole.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::each;
use crate::cli::client::request_of;
use crate::cli::report::CliError;

/// Bring deleted secrets back, whole: named by where they were, or by where they are in .deleted/
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs restore /run/secrets/prod/db/password
  kmsfs restore /run/secrets/prod/.deleted/*")]
pub struct RestoreArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secrets
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::DirPath)]
    paths: Vec<PathBuf>,
}

pub fn run(args: &RestoreArgs) -> Result<(), CliError> {
    each::ask(
        &each::targets(&args.paths)?,
        args.json,
        |client, target| client.ask(request_of("RestoreSecret", target)),
        |target, _| format!("{}: restored", target.path()),
    )
}
