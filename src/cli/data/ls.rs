//! `kmsfs ls`: secrets as a report.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json, json};

use super::age;
use crate::cli::address::Address;
use crate::cli::client::{Client, ClientError, request, rows, text};
use crate::cli::report::CliError;
use crate::cli::show;

/// List the secrets below a path: version, age, last reading, and when they are purged
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs ls /run/secrets
  kmsfs ls --json /run/secrets/prod/db | jq '.[].SecretName'")]
pub struct LsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A mount, an instance, or a directory in one [default: the only mount]
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    path: Option<PathBuf>,
}

/// Rows asked for at a time.
const PAGE: usize = 1_000;

pub fn run(args: &LsArgs) -> Result<(), CliError> {
    let address = match &args.path {
        Some(path) => Address::of(path)?,
        None => Address::of_mount(Address::mount(None)?),
    };
    let mut client = Client::open(&address.mount)?;
    let instances = match address.instance {
        Some(instance) => vec![instance],
        None => instances(&mut client)?,
    };
    let mut secrets = Vec::new();
    for instance in &instances {
        secrets.extend(list(&mut client, instance, address.secret.as_deref())?);
    }
    if args.json {
        return show::print_json(&Json::Array(secrets));
    }
    print(&secrets)
}

/// The secrets of `rows` as a table.
pub fn print(secrets: &[Json]) -> Result<(), CliError> {
    let line = |row: &Json| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let purge = text("PlannedDeleteTime");
        let reader = row["LastReader"].as_str().unwrap_or("-").to_owned();
        [
            format!("{}/{}", text("DKMSInstanceId"), text("SecretName")),
            text("CurrentVersionId"),
            age::since(&text("LastRotationDate")),
            age::since(&text("LastReadTime")),
            reader,
            if purge.is_empty() { "-".to_owned() } else { age::until(&purge) },
        ]
    };
    show::print_table(["SECRET", "VERSION", "AGE", "READ", "BY", "PURGED IN"], secrets.iter().map(line))
}

/// The names of all instances.
fn instances(client: &mut Client) -> Result<Vec<String>, ClientError> {
    let mut names = Vec::new();
    for page in 1.. {
        let mut list = request("ListKmsInstances");
        list.extend([("PageNumber".to_owned(), json!(page)), ("PageSize".to_owned(), json!(100))]);
        let answer = client.ask(list)?;
        let rows = rows(&answer, "KmsInstances", "KmsInstance");
        names.extend(rows.iter().filter_map(|row| row["KmsInstanceId"].as_str()).map(str::to_owned));
        if rows.len() < 100 {
            break;
        }
    }
    names.sort();
    Ok(names)
}

/// The secrets of `instance` at or below `name`, in order of name.
pub fn list(client: &mut Client, instance: &str, name: Option<&str>) -> Result<Vec<Json>, ClientError> {
    let mut all: Vec<Json> = Vec::new();
    let mut token = String::new();
    loop {
        let mut list = request("ListSecrets");
        list.insert("DKMSInstanceId".to_owned(), instance.into());
        list.insert("FetchTags".to_owned(), "true".into());
        list.insert("MaxResults".to_owned(), PAGE.into());
        if let Some(name) = name {
            list.insert("Filters".to_owned(), json!([{ "Key": "SecretName", "Values": [name] }]));
        }
        if !token.is_empty() {
            list.insert("NextToken".to_owned(), token.as_str().into());
        }
        let answer: Map<String, Json> = client.ask(list)?;
        all.extend(rows(&answer, "SecretList", "Secret").iter().filter(|row| is_at_or_below(row, name)).cloned());
        text(&answer, "NextToken").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
    }
    all.sort_by(|one, other| one["SecretName"].as_str().cmp(&other["SecretName"].as_str()));
    Ok(all)
}

/// A filter fits names that begin so; a directory holds those behind a slash.
fn is_at_or_below(row: &Json, name: Option<&str>) -> bool {
    let (Some(name), Some(of)) = (name, row["SecretName"].as_str()) else { return true };
    of.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
