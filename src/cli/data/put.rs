//! `kmsfs put`: a new version, and the secret with it where there is none.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value as Json, json};

use super::{field, input};
use crate::cli::address::{Address, Scope, Target};
use crate::cli::client::{Client, request_of, text};
use crate::cli::report::CliError;
use crate::cli::show;
use crate::daemon;
use crate::secret::DataType;

/// Write a new version of a secret, which makes it current; the secret is made where there is none
///
/// The value comes from stdin, or from a prompt on a terminal; never from an argument, which every user of the machine can see.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  printf %s s3cret | kmsfs put /run/secrets/prod/db/password
  kmsfs random-password | kmsfs put --trim /run/secrets/prod/db/password
  kmsfs put --if-current v3 /run/secrets/prod/api-key < new-key    # refused where v3 is not current any more
  kmsfs put --field user=@user.txt --field password=- /run/secrets/prod/db < password.txt
  kmsfs put --stage canary /run/secrets/prod/api-key < new-key     # current stays what it is")]
pub struct PutArgs {
    /// The version's id [default: the next `v1`, `v2`..., or the path's where it names one]
    #[arg(long, value_name = "ID")]
    version_id: Option<String>,
    /// A label for the version instead of ACSCurrent; may be given several times
    #[arg(long = "stage", value_name = "LABEL")]
    stages: Vec<String>,
    /// Only where this version is current; refused where somebody else was quicker
    #[arg(long, value_name = "ID")]
    if_current: Option<String>,
    /// A member of a Key/Value secret, which comes from a file, or one of them from stdin; exactly those that are given are its members
    #[arg(long = "field", value_name = "NAME=@FILE|NAME=-", conflicts_with = "binary")]
    fields: Vec<OsString>,
    /// Leave off one newline at the value's end, or at each member's
    #[arg(long)]
    trim: bool,
    /// Declare the value binary, which KMS passes on in base64 [default: what is no UTF-8 is]
    #[arg(long)]
    binary: bool,
    /// Of a new secret: what it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Of a new secret: a tag; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Of a new secret: the key that it is sealed under [default: default]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secret
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    path: PathBuf,
}

pub fn run(args: &PutArgs) -> Result<(), CliError> {
    daemon::harden();
    let (address, target) = Address::of_secret(&args.path, Scope::Writing)?;
    let mut client = Client::open(&address.mount)?;
    let value = if args.fields.is_empty() { input::value(args.trim)? } else { field::object(&args.fields, args.trim)? };
    let kind = if args.binary { DataType::Binary } else { DataType::of(value.as_bytes()) };
    let mut put = request_of("PutSecretValue", &target);
    if let Some(id) = args.version_id.as_deref().or(address.version()) {
        put.insert("VersionId".to_owned(), id.into());
    }
    if !args.stages.is_empty() {
        put.insert("VersionStages".to_owned(), args.stages.clone().into());
    }
    let mut create = put.clone();
    if let Some(id) = &args.if_current {
        put.insert("IfCurrentVersion".to_owned(), id.as_str().into());
    }
    let answer = match client.ask_with(put, &value, kind) {
        Err(error) if error.is("Forbidden.ResourceNotFound") && args.if_current.is_none() => {
            create.insert("Action".to_owned(), "CreateSecret".into());
            // A first version is current, whatever else it is.
            let stages = create.remove("VersionStages");
            add_terms(&mut create, args)?;
            let created = client.ask_with(create, &value, kind)?;
            label(&mut client, &target, &created, stages)?;
            created
        }
        other => other?,
    };
    if args.json {
        return show::print_json(&Json::Object(answer));
    }
    show::print(&format!("{}: {}\n", target.path(), text(&answer, "VersionId")))
}

fn add_terms(create: &mut serde_json::Map<String, Json>, args: &PutArgs) -> Result<(), CliError> {
    if let Some(description) = &args.description {
        create.insert("Description".to_owned(), description.as_str().into());
    }
    if let Some(key) = &args.key {
        create.insert("EncryptionKeyId".to_owned(), key.as_str().into());
    }
    if !args.tags.is_empty() {
        let tags: Result<Vec<Json>, CliError> = args.tags.iter().map(|tag| super::tag::pair(tag)).collect();
        create.insert("Tags".to_owned(), tags?.into());
    }
    Ok(())
}

/// Puts the labels that were asked for beside ACSCurrent on a first version.
fn label(
    client: &mut Client,
    target: &Target,
    created: &serde_json::Map<String, Json>,
    stages: Option<Json>,
) -> Result<(), CliError> {
    for stage in stages.iter().filter_map(Json::as_array).flatten() {
        let mut moves = request_of("UpdateSecretVersionStage", target);
        moves.insert("VersionStage".to_owned(), stage.clone());
        moves.insert("MoveToVersion".to_owned(), json!(text(created, "VersionId")));
        client.ask(moves)?;
    }
    Ok(())
}
