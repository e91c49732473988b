//! `kmsfs status`: one mount about itself, or all mounts in a line each.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::report::CliError;
use super::{places, show};
use crate::daemon::{self, MountPoint, ProbeError};

/// Show a mount's state, or all mounts of kmsfs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsfs status\n  kmsfs status --json /run/secrets | jq .counts")]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The mount point
    #[arg(value_name = "M")]
    point: Option<PathBuf>,
}

/// How long a mount may take to answer: one that is healthy takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(args: &StatusArgs) -> Result<(), CliError> {
    match &args.point {
        Some(point) => one(&places::absolute(point)?, args.json),
        None => all(args.json),
    }
}

fn one(point: &std::path::Path, json: bool) -> Result<(), CliError> {
    if daemon::find(point).map_err(mountinfo)?.is_none() {
        return Err(ProbeError::NotMounted(point.to_owned()).into());
    }
    let status = daemon::ask(point, PATIENCE)?;
    if json { show::print_json(&status) } else { show::print_members(&status) }
}

fn all(json: bool) -> Result<(), CliError> {
    let mounts = daemon::list().map_err(mountinfo)?;
    let asked: Vec<_> = mounts.into_iter().map(|mount| (daemon::ask(&mount.path, PATIENCE), mount)).collect();
    if json {
        return show::print_json(&asked.iter().map(|(status, mount)| to_json(mount, status)).collect());
    }
    if asked.is_empty() {
        return show::print("no kmsfs is mounted\n");
    }
    show::print_table(
        ["MOUNT", "HEALTH", "PID", "STORE", "OPTIONS"],
        asked.iter().map(|(status, mount)| row(mount, status)),
    )
}

fn to_json(mount: &MountPoint, status: &Result<Json, ProbeError>) -> Json {
    let (status, error) = match status {
        Ok(status) => (Some(status), None),
        Err(error) => (None, Some(error.to_string())),
    };
    json!({ "point": mount.path.to_string_lossy(), "options": mount.options, "status": status, "error": error })
}

fn row(mount: &MountPoint, status: &Result<Json, ProbeError>) -> [String; 5] {
    let path = mount.path.display().to_string();
    let options = mount.options.clone();
    match status {
        Ok(status) => {
            let text = |pointer: &str| match status.pointer(pointer) {
                Some(Json::String(text)) => text.clone(),
                Some(Json::Null) | None => "-".to_owned(),
                Some(other) => other.to_string(),
            };
            [path, text("/health"), text("/worker_pid"), text("/store/id"), options]
        }
        Err(error) => [path, health(error).to_owned(), "-".to_owned(), "-".to_owned(), options],
    }
}

/// A word for a mount that gives no account of itself.
fn health(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Dead(_) => "daemon gone",
        ProbeError::Silent { .. } => "no answer",
        ProbeError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => "another user's",
        ProbeError::NotMounted(_) | ProbeError::Malformed(_) | ProbeError::Io { .. } => "unknown",
    }
}

fn mountinfo(source: io::Error) -> CliError {
    CliError::Path { path: "/proc/self/mountinfo".into(), source }
}
