//! `kmsfs doctor`: what this machine has and lacks for mounts.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::report::CliError;
use super::show;
use crate::daemon::{self, Finding, Gravity};

/// Look at this machine and its mounts, and say what to do about what is wrong
///
/// Exits with 0 when nothing is in the way, with 1 otherwise. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsfs doctor\n  kmsfs doctor --json | jq '.[] | select(.gravity == \"fault\")'")]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DoctorArgs) -> Result<Exit, CliError> {
    let findings = daemon::examine();
    if args.json {
        show::print_json(&findings.iter().map(to_json).collect())?;
    } else {
        let rows = findings.iter().map(|finding| {
            let advice = finding.advice.clone().unwrap_or_default();
            [word(finding.gravity).to_owned(), finding.subject.clone(), finding.found.clone(), advice]
        });
        show::print_table(["", "WHAT", "FOUND", "TO DO"], rows)?;
    }
    let faulty = findings.iter().any(|finding| finding.gravity == Gravity::Fault);
    Ok(if faulty { Exit::Refused } else { Exit::Done })
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({
        "gravity": word(finding.gravity),
        "subject": finding.subject,
        "found": finding.found,
        "advice": finding.advice,
    })
}

fn word(gravity: Gravity) -> &'static str {
    match gravity {
        Gravity::Good => "good",
        Gravity::Note => "note",
        Gravity::Warning => "warning",
        Gravity::Fault => "fault",
    }
}
