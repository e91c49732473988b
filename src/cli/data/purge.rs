//! `kmsfs purge`: deleted secrets are gone before their time.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{each, input};
use crate::cli::client::request_of;
use crate::cli::report::CliError;

/// Destroy deleted secrets before their time, with no way back
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs purge --yes /run/secrets/prod/.deleted/db%2Fpassword")]
pub struct PurgeArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secrets, named by where they were, or by where they are in .deleted/
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::DirPath)]
    paths: Vec<PathBuf>,
}

pub fn run(args: &PurgeArgs) -> Result<(), CliError> {
    let targets = each::targets(&args.paths)?;
    if !args.yes {
        input::confirm_destruction(&targets)?;
    }
    each::ask(
        &targets,
        args.json,
        // Only what waits for its end is purged: a live secret that has the name by now is none of it.
        |client, target| client.ask(request_of("PurgeSecret", target)),
        |target, _| format!("{}: destroyed", target.path()),
    )
}
