//! `kmsfs seal` and `kmsfs unseal`: whether the values of an instance can be had.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::address::Address;
use crate::cli::client::{Client, request};
use crate::cli::report::CliError;
use crate::secret::InstanceState;

/// Let no value of an instance be read or written until it is unsealed
///
/// It takes effect at once, also for files that are open, and for memory maps. Names, versions, tags and policies stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs seal /run/secrets/prod")]
pub struct SealArgs {
    /// The instance
    #[arg(value_name = "M/INSTANCE", value_hint = ValueHint::DirPath)]
    instance: PathBuf,
}

/// Let the values of a sealed instance be read and written again
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs unseal /run/secrets/prod")]
pub struct UnsealArgs {
    /// The instance
    #[arg(value_name = "M/INSTANCE", value_hint = ValueHint::DirPath)]
    instance: PathBuf,
}

pub fn seal(args: &SealArgs) -> Result<(), CliError> {
    set(&args.instance, InstanceState::Unavailable)
}

pub fn unseal(args: &UnsealArgs) -> Result<(), CliError> {
    set(&args.instance, InstanceState::Running)
}

fn set(path: &std::path::Path, state: InstanceState) -> Result<(), CliError> {
    let (address, instance) = Address::of_instance(path)?;
    let mut asked = request("UpdateKmsInstance");
    asked.insert("KmsInstanceId".to_owned(), instance.into());
    asked.insert("State".to_owned(), state.word().into());
    Client::open(&address.mount)?.ask(asked)?;
    Ok(())
}
