//! `kmsfs trash`: what waits for its end.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::Value as Json;

use super::{age, ls};
use crate::cli::address::Address;
use crate::cli::client::Client;
use crate::cli::report::CliError;
use crate::cli::show;

/// List an instance's deleted secrets, those that are purged first on top
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs trash /run/secrets/prod")]
pub struct TrashArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The instance
    #[arg(value_name = "M/INSTANCE", value_hint = ValueHint::DirPath)]
    path: PathBuf,
}

pub fn run(args: &TrashArgs) -> Result<(), CliError> {
    let (address, instance) = Address::of_instance(&args.path)?;
    let mut deleted = ls::list(&mut Client::open(&address.mount)?, &instance, None)?;
    let planned = |row: &Json| row["PlannedDeleteTime"].as_str().unwrap_or_default().to_owned();
    deleted.retain(|row| !planned(row).is_empty());
    deleted.sort_by_key(planned);
    if args.json {
        return show::print_json(&Json::Array(deleted));
    }
    let line = |row: &Json| {
        let name = row["SecretName"].as_str().unwrap_or_default().to_owned();
        [name, planned(row), age::until(&planned(row))]
    };
    show::print_table(["SECRET", "PURGED AT", "IN"], deleted.iter().map(line))
}
