//! `kmsfs destroy`: one version of a secret is gone before it rolls away.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::Value as Json;

use super::fault::DataError;
use super::input;
use crate::cli::address::{Address, Scope};
use crate::cli::client::{Client, request_of};
use crate::cli::report::CliError;
use crate::cli::show;

/// Destroy one version of a secret that has no label, with no way back
///
/// For a value that has leaked and must not wait until it rolls away. Whoever has it open reads no more of it.
#[derive(Debug, Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  kmsfs destroy --yes --version v1 /run/secrets/prod/db/password
  kmsfs destroy --yes /run/secrets/prod/db/password/versions/v1"
)]
pub struct DestroyArgs {
    /// The version [default: the path's]
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secret, or the version in it
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,
}

pub fn run(args: &DestroyArgs) -> Result<(), CliError> {
    let (address, target) = Address::of_secret(&args.path, Scope::SecretOrVersion)?;
    let version = match (args.version.as_deref(), address.version()) {
        (Some(one), Some(other)) if one != other => return Err(DataError::TwoVersions.into()),
        (named, of_path) => named.or(of_path).ok_or_else(|| DataError::NoVersion(target.path()))?,
    };
    let what = format!("version {version} of {}", target.path());
    if !args.yes {
        input::confirm_end(&what)?;
    }
    let mut client = Client::open(&address.mount)?;
    let mut request = request_of("DestroySecretVersion", &target);
    request.insert("VersionId".to_owned(), version.into());
    let answer = client.ask(request)?;
    if args.json {
        return show::print_json(&Json::Object(answer));
    }
    show::print(&format!("{what}: destroyed\n"))
}
