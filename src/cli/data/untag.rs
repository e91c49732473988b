//! `kmsfs untag`: tags taken off many secrets.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Map, json};

use super::fault::DataError;
use super::tag::batches;
use super::words::{self, Sort};
use crate::cli::report::CliError;

/// Remove tags of secrets; keys that are not there are passed over
///
/// The last arguments are the keys; all before are paths. A word with a `/` is a path; a path to NAME in the current directory is
/// written ./NAME. Behind `--` all are keys, and all before are paths: for keys with a `/`. Up to 50 secrets of an instance are
/// changed at once: all of them, or none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs untag /run/secrets/prod/db/* team
  kmsfs untag /run/secrets/prod/db/* -- team/owner")]
pub struct UntagArgs {
    /// Remove all tags; then every argument is a path
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secrets, then the keys
    #[arg(value_name = "PATH|KEY", required = true, value_hint = ValueHint::DirPath)]
    words: Vec<String>,
    /// The keys
    #[arg(value_name = "KEY", last = true, conflicts_with = "all")]
    keys: Vec<String>,
}

pub fn run(args: &UntagArgs) -> Result<(), CliError> {
    let (paths, keys) = match args.all {
        true => (args.words.iter().map(PathBuf::from).collect(), Vec::new()),
        false => words::split(&args.words, &args.keys, Sort::Key)?,
    };
    let with = match (args.all, keys.is_empty()) {
        (true, _) => ("All", json!("true")),
        (false, false) => ("TagKey", json!(keys)),
        (false, true) => return Err(DataError::NoTags.into()),
    };
    if paths.is_empty() {
        return Err(DataError::NoPaths.into());
    }
    batches(&paths, "UntagResources", &Map::from_iter([(with.0.to_owned(), with.1)]), args.json)
}
