//! `kmsfs verify`: every record, key and value of an unmounted store opened once.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::keys::{KeyArgs, StoreArgs};
use super::report::CliError;
use super::show;
use crate::daemon;
use crate::vault::VerifyReport;

/// Verify an unmounted store, down to its last value
///
/// Finds what is damaged, missing, moved, or older than the rest. Ends with 22 when there is any such thing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs verify --store /srv/kmsfs --key-file /etc/kmsfs/srv.key --json")]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VerifyArgs) -> Result<(), CliError> {
    daemon::harden();
    let store = args.store.dir()?;
    let key = args.key.key_for(&store)?;
    let opened = daemon::unlock_store(&store, &key).map_err(CliError::from);
    let report = match opened.and_then(|vault| Ok(vault.verify()?)) {
        Ok(report) => report,
        Err(error) => {
            let error = CliError::Unopened(Box::new(error));
            // A script that asked for a report of a damaged store gets one, though nothing of it opens.
            if args.json && error.to_failure().code == Exit::StoreDamaged.code() {
                tell(&VerifyReport::of(error.to_string()), true)?;
            }
            return Err(error);
        }
    };
    tell(&report, args.json)?;
    if report.problems.is_empty() { Ok(()) } else { Err(CliError::Unsound { count: report.problems.len() }) }
}

fn tell(report: &VerifyReport, as_json: bool) -> Result<(), CliError> {
    let VerifyReport { instances, secrets, versions, records, problems, .. } = report;
    if as_json {
        return show::print_json(&json!({
            "sound": problems.is_empty(),
            "instances": instances,
            "secrets": secrets,
            "versions": versions,
            "records": records,
            "problems": problems,
        }));
    }
    show::print_members(&json!({
        "sound": problems.is_empty(), "instances": instances, "secrets": secrets, "versions": versions, "records": records,
    }))?;
    problems.iter().try_for_each(|problem| show::print(&format!("problem: {problem}\n")))
}
