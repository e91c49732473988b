//! `kmsfs api`: a request of KMS as it is, and its answer as it is.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::fault::DataError;
use crate::api::{REQUEST_MAX, Reply};
use crate::cli::address::Address;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::stdio;
use crate::daemon;

/// Ask the api: a request as JSON on stdin, its answer as JSON on stdout
///
/// Members and codes are those of KMS. An answer that is an error ends this with exit code 1.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  echo '{\"Action\":\"GetSecretValue\",\"DKMSInstanceId\":\"prod\",\"SecretName\":\"db/password\"}' | kmsfs api /run/secrets")]
pub struct ApiArgs {
    /// The mount, or a path in it [default: the only mount]
    #[arg(value_name = "M", value_hint = ValueHint::DirPath)]
    mount: Option<PathBuf>,
}

pub fn run(args: &ApiArgs) -> Result<Exit, CliError> {
    daemon::harden();
    let mut client = Client::open(&Address::mount(args.mount.as_deref())?)?;
    let request = stdio::read(REQUEST_MAX).map_err(DataError::Input)?;
    let answer = client.exchange(request.as_bytes())?;
    stdio::write(answer.as_bytes()).map_err(CliError::Output)?;
    let failed = Reply::parse(answer.as_bytes()).is_none_or(|reply| reply.error().is_some());
    Ok(if failed { Exit::Refused } else { Exit::Done })
}
