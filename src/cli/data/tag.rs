//! `kmsfs tag`: tags for many secrets, all of an instance's at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Map, Value as Json, json};

use super::each;
use super::fault::DataError;
use super::words::{self, Sort};
use crate::cli::address::Target;
use crate::cli::client::{Client, request};
use crate::cli::progress::Progress;
use crate::cli::report::CliError;
use crate::cli::show;

/// Set tags of secrets; a key that is there takes the new value
///
/// The last arguments are the tags, as KEY=VALUE; all before are paths. A word with a `/` before its first `=` is a path, and so is
/// one without a `=`; a path to NAME in the current directory is written ./NAME. Behind `--` all are tags, and all before are paths:
/// for keys with a `/`. Up to 50 secrets of an instance are tagged at once: all of them, or none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs tag /run/secrets/prod/db/* env=prod team=storage
  kmsfs tag /run/secrets/prod/db/* -- team/owner=storage")]
pub struct TagArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The secrets, then the tags
    #[arg(value_name = "PATH|KEY=VALUE", required = true, value_hint = ValueHint::DirPath)]
    words: Vec<String>,
    /// The tags
    #[arg(value_name = "KEY=VALUE", last = true)]
    tags: Vec<String>,
}

/// Most secrets of one request.
const BATCH: usize = 50;

pub fn run(args: &TagArgs) -> Result<(), CliError> {
    let (paths, tags) = words::split(&args.words, &args.tags, Sort::Tag)?;
    let pairs: Result<Vec<Json>, CliError> =
        tags.iter().map(|tag| Ok(json!({ "Key": split_tag(tag)?.0, "Value": split_tag(tag)?.1 }))).collect();
    let pairs = pairs?;
    if pairs.is_empty() {
        return Err(DataError::NoTags.into());
    }
    if paths.is_empty() {
        return Err(DataError::NoPaths.into());
    }
    batches(&paths, "TagResources", &Map::from_iter([("Tag".to_owned(), pairs.into())]), args.json)
}

/// One request for every 50 secrets of an instance.
pub fn batches(paths: &[PathBuf], action: &str, with: &Map<String, Json>, json: bool) -> Result<(), CliError> {
    let targets = each::targets(paths)?;
    let mut groups: BTreeMap<(&PathBuf, &str), Vec<&Target>> = BTreeMap::new();
    for (mount, target) in &targets {
        groups.entry((mount, &target.instance)).or_default().push(target);
    }
    let (progress, mut answers) = (Progress::of_things("secrets", targets.len()), Vec::new());
    for ((mount, instance), of) in groups {
        let mut client = Client::open(mount)?;
        for some in of.chunks(BATCH) {
            let mut request = request(action);
            request.insert("DKMSInstanceId".to_owned(), instance.into());
            request.insert("ResourceType".to_owned(), "secret".into());
            let names: Vec<&str> = some.iter().map(|target| target.secret.as_str()).collect();
            request.insert("ResourceId".to_owned(), json!(names));
            request.extend(with.clone());
            answers.push(Json::Object(client.ask(request)?));
            progress.add(some.len() as u64);
        }
    }
    drop(progress);
    if json { show::print_json(&Json::Array(answers)) } else { Ok(()) }
}

/// `KEY=VALUE`, split at the first `=`.
fn split_tag(tag: &str) -> Result<(&str, &str), CliError> {
    tag.split_once('=').ok_or_else(|| DataError::NoTag(tag.to_owned()).into())
}

/// A tag as the actions on one secret have it.
pub fn pair(tag: &str) -> Result<Json, CliError> {
    let (key, value) = split_tag(tag)?;
    Ok(json!({ "TagKey": key, "TagValue": value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_split_at_its_first_equals_sign() {
        assert_eq!(pair("k=a=b").unwrap(), json!({ "TagKey": "k", "TagValue": "a=b" }));
        assert!(pair("k").is_err());
    }
}
