//! `kmsfs get`: a value on stdout.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json};

use super::fault::DataError;
use crate::api;
use crate::cli::address::{Address, Entry, Scope};
use crate::cli::client::{Client, request_of, text};
use crate::cli::report::CliError;
use crate::cli::{show, stdio};
use crate::daemon;
use crate::secret::DataType;
use crate::value::Value;
use crate::vault::member_of;

/// Print a secret's value, to the byte
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs get /run/secrets/prod/db/password
  kmsfs get /run/secrets/prod/db/password/fields/user
  kmsfs get --stage ACSPrevious /run/secrets/prod/db/password
  kmsfs get --json /run/secrets/prod/db/password | jq -r .SecretData")]
pub struct GetArgs {
    /// The version [default: the path's, else the one at ACSCurrent]
    #[arg(long, value_name = "ID")]
    version_id: Option<String>,
    /// The version that has this label
    #[arg(long, value_name = "LABEL")]
    stage: Option<String>,
    /// Print the whole answer as JSON, the value in it
    #[arg(long)]
    json: bool,
    /// The secret, or its `current`, versions/ID, stages/LABEL or fields/NAME
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,
}

pub fn run(args: &GetArgs) -> Result<(), CliError> {
    daemon::harden();
    let (members, value) = ask(&args.path, args.version_id.clone(), args.stage.clone())?;
    if args.json {
        let is_binary = text(&members, "SecretDataType") == DataType::Binary.as_str();
        let kind = if is_binary { DataType::Binary } else { DataType::Text };
        let answer = api::request(members, Some((&value, kind)));
        return stdio::write(answer.as_bytes()).map_err(CliError::Output);
    }
    stdio::write(value.as_bytes()).map_err(CliError::Output)?;
    // For people, whose prompt would else stand behind it.
    let newline = std::io::stdout().is_terminal() && !value.as_bytes().ends_with(b"\n");
    if newline { show::print("\n") } else { Ok(()) }
}

/// The value of a secret, for a verb that hands it on.
pub fn value_of(path: &Path) -> Result<Value, CliError> {
    Ok(ask(path, None, None)?.1)
}

/// The answer for the version that `id` and `stage` name, else `path`, else nothing: the current one.
fn ask(path: &Path, id: Option<String>, stage: Option<String>) -> Result<(Map<String, Json>, Value), CliError> {
    let (address, target) = Address::of_secret(path, Scope::Reading)?;
    let (id, stage) = match (id, stage, &address.entry) {
        (None, None, Entry::Version(id)) => (Some(id.clone()), None),
        (None, None, Entry::Stage(label)) => (None, Some(label.clone())),
        (id, stage, _) => (id, stage),
    };
    let mut get = request_of("GetSecretValue", &target);
    for (name, text) in [("VersionId", id), ("VersionStage", stage)] {
        if let Some(text) = text {
            get.insert(name.to_owned(), text.into());
        }
    }
    let (members, value) = Client::open(&address.mount)?.ask_for_value(get)?;
    let Entry::Field(name) = address.entry else { return Ok((members, value)) };
    match member_of(&value, &name) {
        Some(member) => Ok((members, member)),
        None => Err(DataError::MissingMember { secret: target.path(), name }.into()),
    }
}
