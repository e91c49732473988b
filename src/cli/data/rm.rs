//! `kmsfs rm`: deletions that wait, or that do not.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{age, each, input};
use crate::cli::client::{request_of, text};
use crate::cli::report::CliError;

/// Schedule the deletion of secrets; until they are purged, `kmsfs restore` brings them back
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs rm /run/secrets/prod/db/password
  kmsfs rm --recovery-window 7 /run/secrets/prod/old/*
  kmsfs rm --now --yes /run/secrets/prod/leaked            # no way back")]
pub struct RmArgs {
    /// Days that they wait, 7 to 30 [default: the instance's]
    #[arg(long, value_name = "DAYS", conflicts_with = "now")]
    recovery_window: Option<u8>,
    /// Destroy them at once, with all versions; nothing brings them back
    #[arg(long)]
    now: bool,
    /// With --now: do not ask
    #[arg(long, requires = "now")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secrets
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::DirPath)]
    paths: Vec<PathBuf>,
}

pub fn run(args: &RmArgs) -> Result<(), CliError> {
    let targets = each::targets(&args.paths)?;
    if args.now && !args.yes {
        input::confirm_destruction(&targets)?;
    }
    each::ask(
        &targets,
        args.json,
        |client, target| {
            if args.now && target.deleted {
                return client.ask(request_of("PurgeSecret", target));
            }
            let mut delete = request_of("DeleteSecret", target);
            if args.now {
                delete.insert("ForceDeleteWithoutRecovery".to_owned(), "true".into());
            } else if let Some(days) = args.recovery_window {
                delete.insert("RecoveryWindowInDays".to_owned(), days.to_string().into());
            }
            client.ask(delete)
        },
        |target, answer| match args.now {
            true => format!("{}: destroyed", target.path()),
            false => {
                let planned = text(answer, "PlannedDeleteTime");
                format!("{}: deleted at {planned}, in {}", target.path(), age::until(planned))
            }
        },
    )
}
