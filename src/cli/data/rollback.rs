//! `kmsfs rollback`: another version is current.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::fault::DataError;
use super::log::{labels, versions};
use crate::cli::address::{Address, Scope};
use crate::cli::client::{Client, request_of, rows};
use crate::cli::report::CliError;
use crate::cli::show;

/// Make the version that was current before, or another one, current again
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs rollback /run/secrets/prod/db/password
  kmsfs rollback --to v3 /run/secrets/prod/db/password")]
pub struct RollbackArgs {
    /// The version [default: the path's, else the one at ACSPrevious]
    #[arg(long, value_name = "ID")]
    to: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secret
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,
}

pub fn run(args: &RollbackArgs) -> Result<(), CliError> {
    let (address, target) = Address::of_secret(&args.path, Scope::SecretOrVersion)?;
    let mut client = Client::open(&address.mount)?;
    let to = match args.to.as_deref().or(address.version()) {
        Some(id) => id.to_owned(),
        None => {
            let all = versions(&mut client, &target)?;
            let previous =
                rows(&all, "VersionIds", "VersionId").iter().find(|row| labels(row).contains(&"ACSPrevious"));
            let id = previous.and_then(|row| row["VersionId"].as_str()).map(str::to_owned);
            id.ok_or_else(|| DataError::NothingBefore(target.path()))?
        }
    };
    let mut moves = request_of("UpdateSecretVersionStage", &target);
    moves.insert("VersionStage".to_owned(), "ACSCurrent".into());
    moves.insert("MoveToVersion".to_owned(), to.as_str().into());
    client.ask(moves)?;
    if args.json {
        return show::print_json(&serde_json::json!({ "SecretName": target.secret, "VersionId": to }));
    }
    show::print(&format!("{}: {to}\n", target.path()))
}
