//! `kmsfs view`: mounts of parts of the tree, each for one principal, served by the daemon of the whole.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use serde_json::json;

use super::report::CliError;
use super::{places, show};
use crate::daemon::{self, Answer, Ask, ViewOrder};

/// Mount a part of the tree for one principal
///
/// All who come by a view are that principal, whatever user they are, and nothing else has a name there: it is what a container or a service is
/// given. The daemon of the whole tree serves it; it is there over a worker's end and an upgrade, and ends with the daemon. To have it there
/// again with the next one, say it in a file (see --views of `kmsfs mount`). Without a directory, lists the views there are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs view /run/secrets --as role/web --only prod/db,prod/tls --read-only /run/views/web
  kmsfs view /run/secrets --as user/app --only prod/db --layout flat /run/views/app
  kmsfs view /run/secrets
  kmsfs view /run/secrets --close /run/views/web")]
pub struct ViewArgs {
    /// Whose rights all who come by it have: `root`, `user/NAME` or `role/GROUP`
    #[arg(long = "as", value_name = "PRINCIPAL", requires = "directory")]
    principal: Option<String>,
    /// What it shows, with all that stands below: instances, directories, secrets, as `prod/db`
    #[arg(long, value_name = "PATH,...", value_delimiter = ',', requires = "directory")]
    only: Vec<String>,
    /// Nothing is changed through it
    #[arg(long, requires = "directory")]
    read_only: bool,
    /// `current` is the version at this label, where there is one; such a view is read-only
    #[arg(long, value_name = "LABEL", requires = "directory")]
    label: Option<String>,
    /// How it shows that
    #[arg(long, value_name = "LAYOUT", value_enum, default_value = "tree")]
    layout: Layout,
    /// Take the view on this directory away
    #[arg(long, value_name = "DIR", conflicts_with = "directory", value_hint = ValueHint::DirPath)]
    close: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The mount of the whole tree
    #[arg(value_name = "M", value_hint = ValueHint::DirPath)]
    mount: PathBuf,
    /// Where the view is to be: an empty directory
    #[arg(value_name = "DIR", requires_all = ["principal", "only"], value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// As it stands in the tree: `DIR/prod/db/password/current`
    Tree,
    /// Each secret is one file, its value: `DIR/password`
    Flat,
}

pub fn run(args: &ViewArgs) -> Result<(), CliError> {
    let store = daemon::store_of(&places::absolute(&args.mount)?)?;
    let ask = match (&args.directory, &args.principal, &args.close) {
        (Some(directory), Some(principal), _) => Ask::Open(ViewOrder {
            point: real(directory)?,
            principal: principal.clone(),
            only: args.only.iter().map(|path| path.trim_matches('/').to_owned()).collect(),
            read_only: args.read_only,
            label: args.label.clone(),
            flat: args.layout == Layout::Flat,
        }),
        (_, _, Some(directory)) => Ask::Close(real(directory)?),
        _ => return list(&views(&store)?, args.json),
    };
    match daemon::ask_daemon(&store, &ask)? {
        Answer::Refused(why) => Err(CliError::View(why)),
        Answer::Done | Answer::Views(_) => Ok(()),
    }
}

/// Where a directory really is, so that the daemon need not look through a mount of its own. What is not there is named as it is written.
fn real(directory: &Path) -> Result<PathBuf, CliError> {
    let path = places::absolute(directory)?;
    Ok(path.canonicalize().unwrap_or(path))
}

/// All that there are, some at a time.
fn views(store: &Path) -> Result<Vec<ViewOrder>, CliError> {
    let (mut views, mut behind) = (Vec::new(), 0);
    loop {
        match daemon::ask_daemon(store, &Ask::List { behind })? {
            Answer::Refused(why) => return Err(CliError::View(why)),
            Answer::Done => return Ok(views),
            Answer::Views(some) => {
                let Some((last, _)) = some.last() else { return Ok(views) };
                behind = *last;
                views.extend(some.into_iter().map(|(_, order)| order));
            }
        }
    }
}

fn list(views: &[ViewOrder], as_json: bool) -> Result<(), CliError> {
    if as_json {
        let view = |view: &ViewOrder| {
            json!({
                "Directory": view.point, "Principal": view.principal, "Only": view.only, "ReadOnly": view.read_only || view.label.is_some(),
                "Label": view.label, "Layout": if view.flat { "flat" } else { "tree" },
            })
        };
        return show::print_json(&views.iter().map(view).collect());
    }
    let row = |view: &ViewOrder| {
        let words = [
            view.read_only.then(|| "read-only".to_owned()),
            view.label.as_ref().map(|label| format!("label={label}")),
            view.flat.then(|| "flat".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        let options = if words.is_empty() { "-".to_owned() } else { words.join(",") };
        [view.point.display().to_string(), view.principal.clone(), view.only.join(","), options]
    };
    show::print_table(["DIRECTORY", "AS", "ONLY", "OPTIONS"], views.iter().map(row))
}
