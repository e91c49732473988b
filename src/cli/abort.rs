//! `kmsfs abort`: the way out when a mount does not answer.

use std::path::PathBuf;

use clap::Args;

use super::places;
use super::report::CliError;
use crate::daemon;

/// End a mount that does not answer: whoever waits for it gets an error
///
/// What was written and not yet closed is lost; what was closed is not. Its mount point is free afterwards. For a mount that
/// answers, `kmsfs umount` is the way.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs abort /run/secrets")]
pub struct AbortArgs {
    /// The mount point
    #[arg(value_name = "M")]
    point: PathBuf,
}

pub fn run(args: &AbortArgs) -> Result<(), CliError> {
    Ok(daemon::abort(&places::absolute(&args.point)?)?)
}
