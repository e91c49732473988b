//! `kmsfs log`: a secret's versions, the newest first.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json};

use super::age;
use crate::cli::address::{Address, Scope, Target};
use crate::cli::client::{Client, ClientError, request_of, rows};
use crate::cli::report::CliError;
use crate::cli::show;

/// Show a secret's versions and their labels
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs log /run/secrets/prod/db/password")]
pub struct LogArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secret
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    path: PathBuf,
}

pub fn run(args: &LogArgs) -> Result<(), CliError> {
    let (address, target) = Address::of_secret(&args.path, Scope::Secret)?;
    let answer = versions(&mut Client::open(&address.mount)?, &target)?;
    if args.json {
        return show::print_json(&Json::Object(answer));
    }
    let line = |row: &Json| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        [
            text("VersionId"),
            text("CreateTime"),
            age::since(&text("CreateTime")),
            labels(row).join(","),
            text("SecretDataType"),
        ]
    };
    show::print_table(
        ["VERSION", "CREATED", "AGE", "LABELS", "TYPE"],
        rows(&answer, "VersionIds", "VersionId").iter().map(line),
    )
}

/// All versions of `target`, which are ten at most.
pub fn versions(client: &mut Client, target: &Target) -> Result<Map<String, Json>, ClientError> {
    let mut list = request_of("ListSecretVersionIds", target);
    list.insert("IncludeDeprecated".to_owned(), "true".into());
    list.insert("PageSize".to_owned(), 100.into());
    client.ask(list)
}

/// The labels of a version's row.
pub fn labels(row: &Json) -> Vec<&str> {
    let labels = row["VersionStages"]["VersionStage"].as_array();
    labels.into_iter().flatten().filter_map(Json::as_str).collect()
}
