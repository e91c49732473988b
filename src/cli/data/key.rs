//! `kmsfs key`: the keys of an instance, under which its values are sealed.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Map, Value as Json};

use super::each;
use crate::cli::address::Address;
use crate::cli::client::{Client, request, request_of, rows, text};
use crate::cli::report::{self, CliError};
use crate::cli::show;

/// List, make, rotate, enable and disable the keys of an instance
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs key ls /run/secrets/prod
  kmsfs key create --description 'cards and accounts' /run/secrets/prod payments
  kmsfs put --key payments /run/secrets/prod/card/pin
  kmsfs key rotate /run/secrets/prod payments
  kmsfs key disable /run/secrets/prod payments")]
pub struct KeyArgs {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// List the keys of an instance
    #[command(after_help = "Example:\n  kmsfs key ls /run/secrets/prod")]
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The instance
        #[arg(value_name = "M/INSTANCE", value_hint = ValueHint::DirPath)]
        instance: PathBuf,
    },
    /// Show what is known of a key
    #[command(after_help = "Example:\n  kmsfs key show /run/secrets/prod payments")]
    Show(One),
    /// Make a key; a secret's is chosen before its first version
    #[command(after_help = "Example:\n  kmsfs key create /run/secrets/prod payments")]
    Create {
        /// What is said of it
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        key: One,
    },
    /// Let values be read and written under a key again
    #[command(after_help = "Example:\n  kmsfs key enable /run/secrets/prod payments")]
    Enable(One),
    /// Let no value be read or written under a key until it is enabled
    ///
    /// It takes effect at once, also for files that are open. Names, versions, tags and deletions stay as they are.
    #[command(after_help = "Example:\n  kmsfs key disable /run/secrets/prod payments")]
    Disable(One),
    /// Schedule the deletion of a key
    ///
    /// Until its window is over it can be taken back. Then the daemon destroys it.
    #[command(after_help = "Example:\n  kmsfs key rm --pending-window 30 /run/secrets/prod payments")]
    Rm {
        /// Days until it may be destroyed, 7 to 366
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        pending_window: u16,
        /// Also where secrets are under it, which are named: their values can never be read again then
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: One,
    },
    /// Take back the deletion of a key; it is enabled then
    #[command(after_help = "Example:\n  kmsfs key restore /run/secrets/prod payments")]
    Restore(One),
    /// Destroy a key whose window is over, with no way back
    #[command(after_help = "Example:\n  kmsfs key destroy /run/secrets/prod payments")]
    Destroy(One),
    /// Make a new version of a key
    ///
    /// New values are sealed under it at once, and what is stored comes under it within seconds to minutes, without being sealed anew.
    /// The older versions are kept.
    #[command(after_help = "Example:\n  kmsfs key rotate /run/secrets/prod payments")]
    Rotate(One),
    /// Have secrets come under another key, whatever versions they have; for their owners
    #[command(after_help = "Example:\n  kmsfs key move payments /run/secrets/prod/card/*")]
    Move {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The key's name, the same in all of their instances
        #[arg(value_name = "KEY")]
        key: String,
        /// The secrets
        #[arg(value_name = "PATH", required = true, value_hint = ValueHint::DirPath)]
        paths: Vec<PathBuf>,
    },
    /// Say something else of a key
    #[command(after_help = "Example:\n  kmsfs key describe /run/secrets/prod payments 'cards and accounts'")]
    Describe {
        #[command(flatten)]
        key: One,
        /// What is said of it from now on
        #[arg(value_name = "TEXT")]
        description: String,
    },
}

/// One key.
#[derive(Debug, Args)]
struct One {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The instance
    #[arg(value_name = "M/INSTANCE", value_hint = ValueHint::DirPath)]
    instance: PathBuf,
    /// The key's name
    #[arg(value_name = "KEY")]
    key: String,
}

/// Keys asked for at a time.
const PAGE: usize = 100;

pub fn run(args: &KeyArgs) -> Result<(), CliError> {
    match &args.step {
        Step::Ls { json, instance } => list(instance, *json),
        Step::Show(key) => {
            let known = key.ask("DescribeKey", [])?;
            let known = known.get("KeyMetadata").cloned().unwrap_or_default();
            if key.json { show::print_json(&known) } else { show::print_members(&known) }
        }
        Step::Create { description, key } => {
            let with = description.iter().map(|text| ("Description", text.as_str()));
            key.told(key.ask("CreateKey", with)?)
        }
        Step::Enable(key) => key.told(key.ask("EnableKey", [])?),
        Step::Disable(key) => key.told(key.ask("DisableKey", [])?),
        Step::Rm { pending_window, force, key } => {
            let (days, force) = (pending_window.to_string(), force.to_string());
            let with = [("PendingWindowInDays", days.as_str()), ("Force", force.as_str())];
            let answer = key.ask("ScheduleKeyDeletion", with)?;
            doomed(&answer).for_each(|name| report::warn(&format!("{name} will be unreadable without the key")));
            key.told(answer)
        }
        Step::Restore(key) => key.told(key.ask("CancelKeyDeletion", [])?),
        Step::Destroy(key) => key.told(key.ask("DestroyKey", [])?),
        Step::Rotate(key) => key.told(key.ask("RotateKey", [])?),
        Step::Move { json, key, paths } => move_secrets(paths, key, *json),
        Step::Describe { key, description } => {
            key.told(key.ask("UpdateKeyDescription", [("Description", description.as_str())])?)
        }
    }
}

fn doomed(answer: &Map<String, Json>) -> impl Iterator<Item = &str> {
    answer.get("SecretNames").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

impl One {
    fn ask<'a>(
        &self,
        action: &str,
        with: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Result<Map<String, Json>, CliError> {
        let (address, instance) = Address::of_instance(&self.instance)?;
        let mut asked = request(action);
        asked.insert("DKMSInstanceId".to_owned(), instance.into());
        asked.insert("KeyId".to_owned(), self.key.as_str().into());
        asked.extend(with.into_iter().map(|(name, text)| (name.to_owned(), text.into())));
        Ok(Client::open(&address.mount)?.ask(asked)?)
    }

    /// Who changes something is told of it only in JSON, as the other verbs do.
    fn told(&self, answer: Map<String, Json>) -> Result<(), CliError> {
        if self.json { show::print_json(&Json::Object(answer)) } else { Ok(()) }
    }
}

/// Those that cannot be moved are told of, and do not stand in the others' way.
fn move_secrets(paths: &[PathBuf], key: &str, json: bool) -> Result<(), CliError> {
    each::ask(
        &each::targets(paths)?,
        json,
        |client, target| {
            let mut asked = request_of("MoveSecretToKey", target);
            asked.insert("EncryptionKeyId".to_owned(), key.into());
            client.ask(asked)
        },
        |target, _| format!("{}: under {key}", target.path()),
    )
}

fn list(path: &Path, json: bool) -> Result<(), CliError> {
    let (address, instance) = Address::of_instance(path)?;
    let mut client = Client::open(&address.mount)?;
    let mut keys = Vec::new();
    for page in 1.. {
        let mut asked = request("ListKeys");
        asked.insert("DKMSInstanceId".to_owned(), instance.as_str().into());
        asked.insert("PageNumber".to_owned(), page.into());
        asked.insert("PageSize".to_owned(), PAGE.into());
        let answer = client.ask(asked)?;
        let rows = rows(&answer, "Keys", "Key");
        for row in rows {
            let mut asked = request("DescribeKey");
            asked.insert("DKMSInstanceId".to_owned(), instance.as_str().into());
            asked.insert("KeyId".to_owned(), row["KeyId"].clone());
            keys.push(client.ask(asked)?.remove("KeyMetadata").unwrap_or_default());
        }
        if rows.len() < PAGE {
            break;
        }
    }
    if json {
        return show::print_json(&Json::Array(keys));
    }
    let empty = Map::new();
    let line = |key: &Json| {
        let key = key.as_object().unwrap_or(&empty);
        ["KeyId", "KeyState", "CreationDate", "Description"].map(|name| text(key, name).to_owned())
    };
    show::print_table(["KEY", "STATE", "MADE", "DESCRIPTION"], keys.iter().map(line))
}
