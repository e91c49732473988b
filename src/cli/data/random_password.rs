//! `kmsfs random-password`: made by the daemon, stored nowhere.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::api;
use crate::cli::address::Address;
use crate::cli::client::{Client, request};
use crate::cli::report::CliError;
use crate::cli::{show, stdio};
use crate::daemon;

/// Print a random password, which is stored nowhere
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs random-password --length 24 --no-punctuation
  kmsfs random-password | kmsfs put --trim /run/secrets/prod/db/password")]
pub struct RandomPasswordArgs {
    /// Characters, 8 to 128
    #[arg(long, value_name = "N", default_value_t = 32)]
    length: u8,
    /// Characters that are not in it
    #[arg(long, value_name = "CHARACTERS", allow_hyphen_values = true)]
    exclude: Option<String>,
    /// No a to z
    #[arg(long)]
    no_lowercase: bool,
    /// No A to Z
    #[arg(long)]
    no_uppercase: bool,
    /// No 0 to 9
    #[arg(long)]
    no_numbers: bool,
    /// No punctuation
    #[arg(long)]
    no_punctuation: bool,
    /// Do not see to it that every type is in it
    #[arg(long)]
    any: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A mount whose daemon makes it [default: the only one]
    #[arg(value_name = "M", value_hint = ValueHint::DirPath)]
    mount: Option<PathBuf>,
}

pub fn run(args: &RandomPasswordArgs) -> Result<(), CliError> {
    daemon::harden();
    let mut asked = request("GetRandomPassword");
    asked.insert("PasswordLength".to_owned(), args.length.to_string().into());
    if let Some(characters) = &args.exclude {
        asked.insert("ExcludeCharacters".to_owned(), characters.as_str().into());
    }
    for (name, said) in [
        ("ExcludeLowercase", args.no_lowercase),
        ("ExcludeUppercase", args.no_uppercase),
        ("ExcludeNumbers", args.no_numbers),
        ("ExcludePunctuation", args.no_punctuation),
        ("RequireEachIncludedType", !args.any),
    ] {
        asked.insert(name.to_owned(), said.to_string().into());
    }
    let mut client = Client::open(&Address::mount(args.mount.as_deref())?)?;
    if args.json {
        let answer = client.exchange(api::request(asked, None).as_bytes())?;
        return stdio::write(answer.as_bytes()).map_err(CliError::Output);
    }
    let (_, password) = client.ask_for_value(asked)?;
    stdio::write(password.as_bytes()).map_err(CliError::Output)?;
    show::print("\n")
}
