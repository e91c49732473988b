//! `kmsfs rotate`: the function of a secret makes it a new value, now.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json};

use super::fault::DataError;
use crate::cli::address::{Address, Scope, Target};
use crate::cli::client::{Client, request_of, text};
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
        Some(FAILED) => Err(failed(&target, &rotation["Error"])),
        Some(IDLE) if !args.cancel && args.version_id.is_none() && rotation["Last"]["Outcome"] != "done" => {
            Err(failed(&target, &rotation["Last"]["Outcome"]))
        }
        _ if args.json => Ok(()),
        // It was asked for before, as KMS has it.
        Some(IDLE) | None if args.version_id.is_some() => show::print(&format!("{}: rotated\n", target.path())),
        _ if args.cancel => show::print(&format!("{}: cancelled\n", target.path())),
        Some(IDLE) => show::print(&format!("{}: rotated\n", target.path())),
        state => show::print(&format!("{}: {}\n", target.path(), state.unwrap_or_default())),
    }
}

fn failed(target: &Target, why: &Json) -> CliError {
    DataError::NotRotated { secret: target.path(), why: why.as_str().unwrap_or_default().to_owned() }.into()
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
