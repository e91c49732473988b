//! `kmsfs upgrade`: the program is replaced under a mount that stays.

use std::path::PathBuf;

use clap::Args;

use super::report::CliError;
use super::roles::Role;
use super::{places, show};
use crate::daemon;

/// Let the program that is installed now take over a mount
///
/// Programs that use the mount notice a pause and no error. To be called when the program's file has been replaced; SIGHUP to
/// the keeper does the same. A program that cannot take over is refused, and the mount is served as before.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  install -m 755 kmsfs /usr/local/bin/kmsfs && kmsfs upgrade /run/secrets")]
pub struct UpgradeArgs {
    /// Print the mount's status as JSON
    #[arg(long)]
    json: bool,
    /// The mount point
    #[arg(value_name = "M")]
    point: PathBuf,
}

pub fn run(args: &UpgradeArgs) -> Result<(), CliError> {
    let status = daemon::relieve(&places::absolute(&args.point)?, &Role::question())?;
    if args.json {
        return show::print_json(&status);
    }
    let version = status.get("version").and_then(serde_json::Value::as_str).unwrap_or("unknown");
    show::print(&format!("kmsfs {version} serves {}\n", args.point.display()))
}
