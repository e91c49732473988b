//! `kmsfs umount`: the mount goes, and with it its daemon.

use std::path::PathBuf;

use clap::Args;

use super::report::CliError;
use super::{places, show};
use crate::daemon::{self, Manner, Unmounted};

/// Unmount, and wait until the daemon has closed the store
#[derive(Debug, Args)]
#[command(visible_alias = "unmount", after_help = "Example:\n  kmsfs umount /run/secrets")]
pub struct UmountArgs {
    /// Take a mount that is in use away from newcomers now; it ends with its last user
    #[arg(long)]
    lazy: bool,
    /// The mount point
    #[arg(value_name = "M")]
    point: PathBuf,
}

pub fn run(args: &UmountArgs) -> Result<(), CliError> {
    let manner = if args.lazy { Manner::Lazy } else { Manner::Free };
    match daemon::unmount(&places::absolute(&args.point)?, manner)? {
        Unmounted::Ended => Ok(()),
        Unmounted::Serving(pids) => {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            let pids = pids.join(", ");
            show::print(&format!(
                "the daemon (pid {pids}) goes on, and keeps the store, until the mount's last user goes\n"
            ))
        }
    }
}
