//! `kmsfs rotate`: the function of a secret makes it a new value, now.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json};

use super::fault::DataError;
use super::log::{labels, versions};
use crate::cli::address::{Address, Scope, Target};
use crate::cli::client::{Client, request_of, rows, text};
use crate::cli::report::CliError;
use crate::cli::show;

/// Rotate a secret by its function now
///
/// The function is the one that the secret's `rotation` names. It makes a new value, sets it where it is used, and tests it there; then that is
/// current. Returns when that is done, or has failed: then it is tried again by itself, and a later `rotate` goes on where it stands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo function=postgresql > /run/secrets/prod/db/rotation
  kmsfs rotate /run/secrets/prod/db
  kmsfs rotate --cancel /run/secrets/prod/db")]
pub struct RotateArgs {
    /// End the rotation that is under way where it stands
    #[arg(long, conflicts_with_all = ["no_wait", "version_id"])]
    cancel: bool,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// The id of the new version [default: the next `v1`, `v2`...]
    #[arg(long, value_name = "ID")]
    version_id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secret
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    path: PathBuf,
}

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// The states of a rotation that nothing is being done for.
const IDLE: &str = "idle";
const FAILED: &str = "failed";
/// How the last one ended, if it came to its end.
const DONE: &str = "done";
/// The labels of a version that a rotation has come to.
const CURRENT: &str = "ACSCurrent";
const PREVIOUS: &str = "ACSPrevious";

pub fn run(args: &RotateArgs) -> Result<(), CliError> {
    let (address, target) = Address::of_secret(&args.path, Scope::Secret)?;
    let mut client = Client::open(&address.mount)?;
    let mut request = request_of(if args.cancel { "CancelSecretRotation" } else { "RotateSecret" }, &target);
    if let Some(id) = &args.version_id {
        request.insert("VersionId".to_owned(), id.as_str().into());
    }
    let before = failures(&describe(&mut client, &target)?);
    client.ask(request)?;
    let described =
        if args.cancel || args.no_wait { describe(&mut client, &target)? } else { wait(&mut client, &target, before)? };
    if args.json {
        show::print_json(&Json::Object(described.clone()))?;
    }
    let rotation = described.get("Rotation").unwrap_or(&Json::Null);
    match rotation["State"].as_str() {
        Some(FAILED) => Err(failed(&target, rotation["Error"].as_str().unwrap_or_default())),
        Some(IDLE) if !args.cancel => {
            if let Some(why) = missed(&mut client, &target, args.version_id.as_deref(), &rotation["Last"]["Outcome"])? {
                return Err(failed(&target, &why));
            }
            if args.json { Ok(()) } else { show::print(&format!("{}: rotated\n", target.path())) }
        }
        _ if args.json => Ok(()),
        _ if args.cancel => show::print(&format!("{}: cancelled\n", target.path())),
        state => show::print(&format!("{}: {}\n", target.path(), state.unwrap_or_default())),
    }
}

fn failed(target: &Target, why: &str) -> CliError {
    DataError::NotRotated { secret: target.path(), why: why.to_owned() }.into()
}

/// Why a secret that nothing is being done for was not rotated, to `version` where one was asked for; `None` where it was.
fn missed(
    client: &mut Client,
    target: &Target,
    version: Option<&str>,
    last: &Json,
) -> Result<Option<String>, CliError> {
    let Some(version) = version else {
        let outcome = last.as_str().unwrap_or_default();
        return Ok((outcome != DONE).then(|| outcome.to_owned()));
    };
    // To rotate to a version that is there is a success that changes nothing, as KMS has it. A run that has failed or was cancelled leaves one too.
    let all = versions(client, target)?;
    let is_it = |row: &&Json| row["VersionId"] == version;
    let labels = rows(&all, "VersionIds", "VersionId").iter().find(is_it).map(labels).unwrap_or_default();
    let was_current = labels.iter().any(|label| [CURRENT, PREVIOUS].contains(label));
    Ok((!was_current).then(|| format!("version {version} is there, and is neither at {CURRENT} nor at {PREVIOUS}")))
}

fn failures(described: &Map<String, Json>) -> u64 {
    described.get("Rotation").and_then(|rotation| rotation["Failures"].as_u64()).unwrap_or_default()
}

/// Waits until the rotation has come to its end, or a step of it has failed once more than `before`.
fn wait(client: &mut Client, target: &Target, before: u64) -> Result<Map<String, Json>, CliError> {
    loop {
        let described = describe(client, target)?;
        let rotation = described.get("Rotation").unwrap_or(&Json::Null);
        let state = rotation["State"].as_str().unwrap_or(IDLE);
        if state == IDLE || state == FAILED {
            return Ok(described);
        }
        if failures(&described) > before {
            let (error, again) =
                (rotation["Error"].as_str().unwrap_or_default(), rotation["TryAgain"].as_str().unwrap_or_default());
            let why = format!("{state}: {error}; it is tried again at {again}");
            return Err(DataError::NotRotated { secret: target.path(), why }.into());
        }
        thread::sleep(LOOK);
    }
}

fn describe(client: &mut Client, target: &Target) -> Result<Map<String, Json>, CliError> {
    let described = client.ask(request_of("DescribeSecret", target))?;
    debug_assert_eq!(text(&described, "SecretName"), target.secret);
    Ok(described)
}
