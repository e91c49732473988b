//! `kmsfs policy`: who may do what with secrets, beside what owner, group and mode allow.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Map, Value as Json};

use super::each;
use super::fault::DataError;
use crate::cli::address::{Address, Scope};
use crate::cli::client::{Client, request_of, text};
use crate::cli::exit::Exit;
use crate::cli::report::{self, CliError};
use crate::cli::{show, stdio};
use crate::secret::POLICY_MAX;

/// Show, set and try the policy of a secret
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs policy show /run/secrets/prod/db/password
  kmsfs policy set /run/secrets/prod/db/password < policy.json
  kmsfs policy test /run/secrets/prod/db/password --as user/alice --action kms:GetSecretValue")]
pub struct PolicyArgs {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Show a secret's policy
    #[command(after_help = "Example:\n  kmsfs policy show /run/secrets/prod/db/password")]
    Show {
        /// The secret
        #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
        path: PathBuf,
    },
    /// Set the policy of secrets, read from stdin
    ///
    /// Nothing at all is the default policy. It is checked as a whole, and what is wrong is named with its line.
    #[command(after_help = "Example:\n  kmsfs policy set /run/secrets/prod/db/password < policy.json")]
    Set {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The secrets
        #[arg(value_name = "PATH", required = true, value_hint = ValueHint::DirPath)]
        paths: Vec<PathBuf>,
    },
    /// Say what would be decided if somebody asked, and by what
    ///
    /// Exits with 1 where it would be refused.
    #[command(after_help = "Examples:
  kmsfs policy test /run/secrets/prod/db/password --as user/alice --action kms:GetSecretValue
  kmsfs policy test /run/secrets/prod/db/password --as role/app --action PutSecretValue")]
    Test {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Who: root, user/NAME or role/NAME, with acs:ram::ACCOUNT: before it of another account
        #[arg(long = "as", value_name = "PRINCIPAL")]
        principal: String,
        /// What: kms:GetSecretValue, kms:PutSecretValue, ...
        #[arg(long, value_name = "ACTION")]
        action: String,
        /// Where, for policies that ask: its cgroup
        #[arg(long, value_name = "PATH")]
        cgroup: Option<String>,
        /// The secret
        #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
        path: PathBuf,
    },
}

pub fn run(args: &PolicyArgs) -> Result<Exit, CliError> {
    match &args.step {
        Step::Show { path } => {
            let (address, target) = Address::of_secret(path, Scope::Secret)?;
            let answer = Client::open(&address.mount)?.ask(request_of("GetSecretPolicy", &target))?;
            show::print(&format!("{}\n", text(&answer, "Policy")))?;
        }
        Step::Set { json, paths } => set(paths, *json)?,
        Step::Test { json, principal, action, cgroup, path } => {
            let (address, target) = Address::of_secret(path, Scope::Secret)?;
            let mut asked = request_of("TestSecretPolicy", &target);
            asked.insert("Principal".to_owned(), principal.as_str().into());
            asked.insert("TestedAction".to_owned(), action.as_str().into());
            asked.extend(cgroup.as_ref().map(|cgroup| ("Cgroup".to_owned(), cgroup.as_str().into())));
            return tell(&Client::open(&address.mount)?.ask(asked)?, *json);
        }
    }
    Ok(Exit::Done)
}

/// What is set of many is set of each that it can be set of.
fn set(paths: &[PathBuf], json: bool) -> Result<(), CliError> {
    // One byte more than a policy has, so that what is too long is known to be.
    let bytes = stdio::read(POLICY_MAX).map_err(DataError::Input)?;
    let policy = std::str::from_utf8(bytes.as_bytes()).map_err(|_| DataError::NotText)?;
    each::ask(
        &each::targets(paths)?,
        json,
        |client, target| {
            let mut asked = request_of("SetSecretPolicy", target);
            // A parameter of KMS is not empty: blanks are none either.
            let policy = if policy.is_empty() { " " } else { policy };
            asked.insert("Policy".to_owned(), policy.into());
            let answer = client.ask(asked)?;
            warnings(&answer).for_each(report::warn);
            Ok(answer)
        },
        |target, _| format!("{}: set", target.path()),
    )
}

fn warnings(answer: &Map<String, Json>) -> impl Iterator<Item = &str> {
    answer.get("Warnings").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn tell(answer: &Map<String, Json>, json: bool) -> Result<Exit, CliError> {
    let allowed = text(answer, "Decision") == "Allow";
    if json {
        show::print_json(&Json::Object(answer.clone()))?;
    } else {
        let word = if allowed { "allowed" } else { "refused" };
        show::print(&format!("{word}: {}\n", text(answer, "By")))?;
    }
    Ok(if allowed { Exit::Done } else { Exit::Refused })
}
