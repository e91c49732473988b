//! `kmsfs man`: a page for each verb, made from the command line itself.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::report::CliError;

/// Write the man pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The directory, which is made when it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &ManArgs) -> Result<(), CliError> {
    let io = |source| CliError::Path { path: args.dir.clone(), source };
    fs::create_dir_all(&args.dir).map_err(io)?;
    // `help` shows these very texts; it needs no page.
    clap_mangen::generate_to(super::command().disable_help_subcommand(true), &args.dir).map_err(io)
}
