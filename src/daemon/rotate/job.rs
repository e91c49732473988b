//! What is said about a step between the worker, the runner, and what becomes the function. Values are never in it: they go as descriptors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::declaration::Output;
use crate::secret::{FunctionName, Step};

/// From the worker to the runner. With it: the old value, the new one and the one before the old one, each a pipe; the function's stdout and its
/// stderr; and the file in which the runner locks the secret's place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where functions are.
    pub dir: PathBuf,
    pub function: FunctionName,
    pub step: Step,
    /// `INSTANCE/NAME`.
    pub secret: String,
    /// The id that the new version has, or is to have; empty where that is not known yet.
    pub version: String,
    /// The place of the secret in the file that is locked.
    pub place: u32,
}

/// From the runner to the process that becomes the function. The same files go with it, but for the last.
#[derive(Debug, Serialize, Deserialize)]
pub struct Becoming {
    pub program: PathBuf,
    pub step: Step,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// The whole environment.
    pub variables: Vec<(String, String)>,
}

/// From the runner to the worker: how the step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The function was not started, and will not be as it is declared.
    Refused(String),
    /// It exited with this code.
    Exited { code: i32, output: Output },
    /// A signal has ended it.
    Killed { signal: i32 },
    /// It took longer than it may.
    TimedOut { seconds: u64 },
    /// It could not be started, or waited for.
    Failed(String),
}
