//! `kmsfs import`: secrets from elsewhere, planned whole and then put into a mount.
//!
//! Reading order: `found` (what a source has), `json`, `dotenv`, `files`, `aws`, `vault_kv`, `exported` (the sources), `plan`, `shelf`
//! (where they go), `carry` (how). Knows no rule of secrets but their names and sizes: the mount decides.
//!
//! Invariants: nothing is written before all of the plan can be done; what was done in part goes on where it stopped when it is
//! run again; values stand in [`crate::value::Value`] and in the source's own text alone, which is one.

mod aws;
mod carry;
mod dotenv;
mod exported;
mod files;
mod found;
mod json;
#[cfg(test)]
mod pictures;
mod plan;
mod shelf;
mod vault_kv;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};

use self::carry::{Carried, carry_out};
pub use self::found::Malformed;
use self::found::{Finding, Found};
use self::plan::{Act, Existing, Planned, Planner};
use self::shelf::Shelf;
use super::backup::STDIO;
use super::moving::MovingError;
use super::reading;
use super::report::CliError;
use super::subtree::Subtree;
use super::{places, show, stdio};
use crate::daemon;
use crate::value::Value;

/// Import secrets from elsewhere into a mount
///
/// All of it is read and checked first; the plan tells what becomes of each secret, and where there is one that cannot be had,
/// nothing is imported. What is there with the same value is unchanged, so that an import that failed half-way goes on when it
/// is run again. Whatever the mount's permissions refuse is refused here.
///
/// dotenv: a secret for each KEY=value. dir: one for each file, named by its path; hidden files and links are skipped. pass: one
/// for each entry of a password store, decrypted by `pass show`. aws: what `aws secretsmanager` prints as JSON (get-secret-value,
/// batch-get-secret-value, and describe-secret or list-secrets for tags). vault: what `vault kv get -format=json` prints, alone, or
/// in an object by path. kmsfs: what `kmsfs export` writes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs import --from dotenv .env --to /run/secrets/prod/web --dry-run
  kmsfs import --from pass ~/.password-store --to /run/secrets/prod --rename ' =-'
  aws secretsmanager batch-get-secret-value --filters Key=name,Values=prod | kmsfs import --from aws - --to /run/secrets/prod")]
pub struct ImportArgs {
    /// What the sources are
    #[arg(long, value_name = "FORMAT")]
    from: Format,
    /// An instance in a mount, or a name below it; for `kmsfs` also the mount itself: each secret goes to its own instance
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Where a secret is there with another value, put the new one beside it, and make it current
    #[arg(long, conflicts_with = "skip_existing")]
    overwrite: bool,
    /// Leave secrets alone that are there
    #[arg(long)]
    skip_existing: bool,
    /// Leave out what cannot be had, and import the rest
    #[arg(long)]
    skip_refused: bool,
    /// Put TO in the place of each FROM in names; can be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = rename)]
    rename: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Files, or directories; `-` is stdin
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<PathBuf>,
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Dotenv,
    Pass,
    Dir,
    Aws,
    Vault,
    Kmsfs,
}

/// Longest source file in bytes: all of it stands in memory.
const SOURCE_MAX: usize = 256 * 1024 * 1024;

pub fn run(args: &ImportArgs) -> Result<(), CliError> {
    daemon::harden();
    let target = Subtree::of(&args.to)?;
    if target.instance.is_none() && args.from != Format::Kmsfs {
        return Err(MovingError::NoInstanceNamed(target.root).into());
    }
    if let Some(instance) = &target.instance
        && !target.root.join(instance).is_dir()
    {
        return Err(MovingError::NoInstance(target.root.join(instance)).into());
    }
    let mut finding = Finding::default();
    for source in &args.sources {
        let more = read(args.from, source)?;
        finding.secrets.extend(more.secrets);
        finding.skipped.extend(more.skipped);
    }
    let existing = match (args.overwrite, args.skip_existing) {
        (true, _) => Existing::Overwrite,
        (false, true) => Existing::Skip,
        (false, false) => Existing::Refuse,
    };
    let planner = Planner { target: &target, shelf: &Shelf, existing, renames: &args.rename };
    let plan = planner.plan(finding.secrets);
    let refused = plan.iter().filter(|planned| planned.act == Act::Refuse).count();
    let blocked = refused > 0 && !args.skip_refused;
    if !args.json {
        tell_plan(&plan, &finding.skipped)?;
    }
    let carried = if args.dry_run || blocked { None } else { Some(carry_out(&plan, &Shelf)) };
    if args.json {
        show::print_json(&to_json(&plan, &finding.skipped, carried.as_ref()))?;
    } else if let Some(carried) = &carried {
        show::print(&format!("{}\n", carried.summary()))?;
    }
    if blocked {
        return Err(MovingError::Unplannable { refused, all: plan.len() }.into());
    }
    match carried.and_then(|carried| carried.stopped.map(|(at, source)| (at, source, carried.left.len()))) {
        Some((at, source, left)) => Err(MovingError::Stopped { at, source, left }.into()),
        None => Ok(()),
    }
}

fn rename(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() => Ok((from.to_owned(), to.to_owned())),
        Some(_) | None => Err("it is FROM=TO".to_owned()),
    }
}

/// All that `source` has.
fn read(format: Format, source: &Path) -> Result<Finding, CliError> {
    if let Format::Dir | Format::Pass = format {
        let dir = places::absolute(source)?;
        return if format == Format::Dir { files::find(&dir) } else { files::find_pass(&dir) };
    }
    let io = |error| CliError::Path { path: source.to_owned(), source: error };
    let content = if source == Path::new(STDIO) {
        stdio::read(SOURCE_MAX)
    } else {
        reading::read_file(&source.canonicalize().map_err(io)?, SOURCE_MAX)
    };
    let content = content.map_err(io)?;
    if content.len() > SOURCE_MAX {
        return Err(io(io::ErrorKind::FileTooLarge.into()));
    }
    parse(format, &content, source).map_err(|why| MovingError::Source { path: source.to_owned(), why }.into())
}

/// What a file of `format` has.
fn parse(format: Format, content: &Value, source: &Path) -> Result<Finding, Malformed> {
    let from = source.display().to_string();
    let stem = source.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    match format {
        Format::Dotenv => dotenv::parse(content.as_bytes()).map(|pairs| from_pairs(pairs, &from)),
        Format::Aws => aws::parse(content.as_bytes(), &from),
        Format::Vault => vault_kv::parse(content.as_bytes(), &from, &stem),
        Format::Kmsfs => exported::parse(content.as_bytes(), &from),
        Format::Dir | Format::Pass => Err(found::shape("it is no file of this format")),
    }
}

fn from_pairs(pairs: Vec<dotenv::Pair>, from: &str) -> Finding {
    let found = |pair: dotenv::Pair| {
        let mut found = Found::plain(format!("{from}:{}", pair.line), pair.key, pair.value);
        if pair.has_variable {
            found.notes.push("it has a `$`, and nothing is expanded".to_owned());
        }
        found
    };
    Finding { secrets: pairs.into_iter().map(found).collect(), skipped: Vec::new() }
}

fn tell_plan(plan: &[Planned], skipped: &[found::Skipped]) -> Result<(), CliError> {
    let row = |planned: &Planned| {
        let name = format!("{}/{}", planned.instance, planned.name);
        let versions = planned.found.versions.len().to_string();
        let notes = planned.problem.iter().chain(&planned.found.notes).cloned().collect::<Vec<_>>().join("; ");
        [planned.act.word().to_owned(), name, versions, planned.found.from.clone(), notes]
    };
    let left = |skipped: &found::Skipped| {
        ["not taken".to_owned(), "-".to_owned(), "-".to_owned(), skipped.what.clone(), skipped.why.to_owned()]
    };
    let rows = plan.iter().map(row).chain(skipped.iter().map(left));
    show::print_table(["WHAT", "SECRET", "VERSIONS", "FROM", "NOTE"], rows)
}

fn to_json(plan: &[Planned], skipped: &[found::Skipped], carried: Option<&Carried>) -> Json {
    let secret = |planned: &Planned| {
        let versions: Vec<_> = planned.found.versions.iter().map(|version| version.id.clone()).collect();
        json!({
            "action": planned.act.word(),
            "instance": planned.instance,
            "name": planned.name,
            "from": planned.found.from,
            "versions": versions,
            "problem": planned.problem,
            "notes": planned.found.notes,
        })
    };
    let carried = carried.map(|carried| {
        json!({
            "imported": carried.done,
            "unchanged": carried.unchanged,
            "skipped": carried.skipped,
            "failed": carried.stopped.as_ref().map(|(at, error)| json!({ "name": at, "error": error.to_string() })),
            "not_imported": carried.left,
        })
    });
    let skipped: Vec<_> = skipped.iter().map(|skipped| json!({ "from": skipped.what, "why": skipped.why })).collect();
    json!({ "plan": plan.iter().map(secret).collect::<Vec<_>>(), "not_taken": skipped, "carried_out": carried })
}

/// Reads `bytes` as a file of the format named `format`, for those who throw anything at it. Answers how many secrets there are.
pub fn count(format: &str, bytes: &[u8]) -> Option<usize> {
    let format = Format::from_str(format, false).ok()?;
    let finding = parse(format, &Value::copy_of(bytes), Path::new("input"));
    finding.ok().map(|finding| finding.secrets.len())
}
