//! One request for each of many paths: all are looked at before the first is asked for, what fails is told and the rest is done,
//! and a bar shows how far it is where it takes long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::cli::address::{Address, Scope, Target};
use crate::cli::client::{Client, ClientError};
use crate::cli::progress::Progress;
use crate::cli::report::{self, CliError};
use crate::cli::show;

/// The secrets that `paths` name, each with its mount.
pub fn targets(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Target)>, CliError> {
    paths
        .iter()
        .map(|path| Address::of_secret(path, Scope::Secret).map(|(address, target)| (address.mount, target)))
        .collect()
}

/// Asks for each of `targets` and says of each what was done: `say` of its answer, or the answers as JSON.
///
/// # Errors
/// The last one's, after all were tried.
pub fn ask(
    targets: &[(PathBuf, Target)],
    json: bool,
    mut act: impl FnMut(&mut Client, &Target) -> Result<Map<String, Json>, ClientError>,
    say: impl Fn(&Target, &Map<String, Json>) -> String,
) -> Result<(), CliError> {
    let mut clients: BTreeMap<&Path, Client> = BTreeMap::new();
    let (progress, mut answers, mut failed) = (Progress::of_things("secrets", targets.len()), Vec::new(), None);
    for (mount, target) in targets {
        let client = match clients.entry(mount.as_path()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Client::open(mount)?),
        };
        match act(client, target) {
            Ok(answer) if json => answers.push(Json::Object(answer)),
            Ok(answer) => progress.above(|| show::print(&format!("{}\n", say(target, &answer))))?,
            Err(error) => {
                if let Some(before) = failed.replace((target.path(), error)) {
                    progress.above(|| tell(before));
                }
            }
        }
        progress.add(1);
    }
    drop(progress);
    if json {
        show::print_json(&one_or_all(answers))?;
    }
    match failed {
        Some((path, error)) => Err(CliError::Of { path, error: Box::new(error.into()) }),
        None => Ok(()),
    }
}

fn tell((path, error): (String, ClientError)) {
    report::tell(&CliError::Of { path, error: Box::new(error.into()) }.to_failure());
}

/// One answer alone, several as a list.
fn one_or_all(mut answers: Vec<Json>) -> Json {
    if answers.len() == 1 { answers.remove(0) } else { Json::Array(answers) }
}
