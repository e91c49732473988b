//! How a secret is rotated by a function: which one, how often, and how far a run of it has come.
//!
//! A run has four steps, as those of Function Compute for KMS have. `create` makes a new value, which becomes a version at
//! [`StageLabel::pending`](super::StageLabel::pending); `set` makes it known where it is used; `test` tries it there. Then it is promoted to ACSCurrent, and `finish` ends
//! what the value before was good for. What is kept here is kept before a step is begun, so that a run goes on where it stood whatever ends
//! the program. Invariant: from the moment that `set` may have begun, the new value keeps its label until it is current, or another one
//! takes its place.

mod plan;
mod run;

use serde::{Deserialize, Serialize};

pub use plan::{FunctionName, Interval, Plan};
pub use run::{begin_rotation, cancel_rotation, fail_step, next_step, put_pending, set_rotation};

use super::{Secret, VersionId};
use crate::id::VersionNo;
use crate::time::{Moment, Timestamp};

/// That a secret is rotated by a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// By which, and how often.
    pub plan: Plan,
    /// How many runs have begun.
    #[serde(default)]
    pub runs: u32,
    /// When a run begins by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Moment>,
    /// The run that has begun and has not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
}

/// What a function is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// A new value.
    Create,
    /// That it holds where it is used.
    Set,
    /// Whether it does.
    Test,
    /// That what the former one was good for ends.
    Finish,
}

/// Where a run stands. What is done for it elsewhere counts only where it stands there still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtStep {
    /// The number of the run,
    pub run: u32,
    /// and when that began: a plan that was taken away and set again counts anew.
    pub begun: Timestamp,
    /// The step that is next, or being done.
    pub step: Step,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number: no two of a secret have the same.
    #[serde(default)]
    pub no: u32,
    /// The step that is next, or being done.
    pub step: Step,
    /// When it began.
    pub begun: Timestamp,
    /// The id that the new version is to have; `None` takes the next `v<n>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<VersionId>,
    /// The version that was current when it began.
    pub old: VersionNo,
    /// The one that was before that, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<VersionNo>,
    /// The new version, once it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<VersionNo>,
    /// How often the step has failed.
    #[serde(default)]
    pub failures: u32,
    /// When it is tried again; `None` at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Moment>,
    /// Why it has failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it has failed so often, or so badly, that it waits for the next run, which goes on where it stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: RunOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether the new value is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It is, and all steps are done.
    Done,
    /// A step failed for good.
    Failed,
    /// Somebody has cancelled it.
    Cancelled,
}

impl Step {
    /// The word that a function is called with.
    pub fn word(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Set => "set",
            Step::Test => "test",
            Step::Finish => "finish",
        }
    }
}

impl RunOutcome {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            RunOutcome::Done => "done",
            RunOutcome::Failed => "failed",
            RunOutcome::Cancelled => "cancelled",
        }
    }
}

impl Run {
    /// Where it stands.
    pub fn at(&self) -> AtStep {
        AtStep { run: self.no, begun: self.begun, step: self.step }
    }
}

impl Rotation {
    /// The run that goes on by itself.
    pub fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| !run.stuck)
    }
}

/// When something is to be done for the rotation of `secret`, if anything is. What is due at once is so since ever.
pub fn rotation_due(secret: &Secret) -> Option<Moment> {
    let rotation = secret.rotation.as_ref().filter(|_| secret.is_live())?;
    match rotation.running() {
        Some(run) => Some(run.again.unwrap_or(Moment::FIRST)),
        None => rotation.next,
    }
}
