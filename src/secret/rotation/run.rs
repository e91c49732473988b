//! How a run goes on: from step to step, or to a failure.

use super::{AtStep, Ended, Plan, Rotation, Run, RunOutcome, Step};
use crate::id::VersionNo;
use crate::secret::{Change, Put, PutOutcome, Refusal, Secret, StageLabel, VersionId, change};
use crate::time::Moment;

/// From the first failure of a step to the next try, in nanoseconds; each later one waits twice as long.
const BACKOFF: u64 = 10 * 1_000_000_000;
/// The longest wait.
const BACKOFF_MAX: u64 = 3_600 * 1_000_000_000;
/// So often `create` is tried, the last time some 20 minutes after the first. What may have been set is tried for ever: it is of use only
/// once it is current.
const TRIES: u32 = 8;
/// Longest error that is kept, in bytes.
const ERROR_MAX: usize = 512;

/// Has the secret rotated as `plan` says; `None` by no function. Refused while another function's run is under way.
pub fn set_rotation(secret: &Secret, plan: Option<Plan>, now: Moment) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let mut after = secret.clone();
    let running = secret.rotation.as_ref().filter(|rotation| rotation.running().is_some());
    if running.is_some_and(|rotation| plan.as_ref().map(|plan| &plan.function) != Some(&rotation.plan.function)) {
        return Err(Refusal::RotationUnderWay);
    }
    after.rotation = match (plan, after.rotation) {
        (None, _) => None,
        (Some(plan), Some(before)) if before.plan == plan => Some(before),
        (Some(plan), before) => {
            let next = plan.every.map(|every| now.plus_seconds(every.seconds()));
            let same = before.filter(|before| before.plan.function == plan.function);
            let runs = same.as_ref().map_or(0, |before| before.runs);
            let (run, last) = same.map_or((None, None), |before| (before.run, before.last));
            Some(Rotation { plan, runs, next, run, last })
        }
    };
    if after.rotation != secret.rotation {
        after.updated = change::moment(secret, now.wall);
    }
    Ok(Change::of(after))
}

/// RotateSecret: begins a run, or goes on with one that is stuck or waits for its next try. Where `id` is a version already nothing happens, as KMS has it.
pub fn begin_rotation(secret: &Secret, id: Option<VersionId>, now: Moment) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let rotation = secret.rotation.as_ref().ok_or(Refusal::NoRotation)?;
    let old = secret.current().ok_or(Refusal::NotFound)?.no;
    if id.as_ref().is_some_and(|id| secret.version(id).is_some()) {
        return Ok(Change::of(secret.clone()));
    }
    if let Some(run) = rotation.running() {
        // One that waits for its next try has it now.
        let run = Run { again: None, ..run.clone() };
        let waits = rotation.running().is_some_and(|run| run.again.is_some());
        let rotation = Rotation { run: Some(run), ..rotation.clone() };
        return if waits { Ok(with(secret, rotation)) } else { Err(Refusal::RotationUnderWay) };
    }
    let stuck = rotation.run.clone().filter(|run| goes_on(secret, run));
    let older = secret.stages.get(&StageLabel::previous());
    let fresh = Run {
        no: rotation.runs + 1,
        step: Step::Create,
        begun: now.wall,
        id,
        old,
        older,
        new: None,
        failures: 0,
        again: None,
        error: None,
        stuck: false,
    };
    let run = stuck.map_or(fresh, |run| {
        // What its test does not find may have been lost since it was set.
        let step = if run.step == Step::Test { Step::Set } else { run.step };
        Run { no: rotation.runs + 1, step, failures: 0, again: None, stuck: false, ..run }
    });
    let next = rotation.plan.every.map(|every| now.plus_seconds(every.seconds()));
    Ok(with(secret, Rotation { runs: rotation.runs + 1, run: Some(run), next, ..rotation.clone() }))
}

/// Whether a run that is stuck has something to go on with: a new version, in the place that it was made for.
fn goes_on(secret: &Secret, run: &Run) -> bool {
    let Some(new) = run.new.filter(|new| secret.version_no(*new).is_some()) else { return false };
    match run.step {
        Step::Create => false,
        Step::Set | Step::Test => secret.stages.current() == Some(run.old),
        Step::Finish => secret.stages.current() == Some(new),
    }
}

/// The new version of the run that is at `create`: `put`, without being current.
pub fn put_pending(secret: &Secret, at: AtStep, put: Put<'_>, now: Moment) -> Result<Change, Refusal> {
    let (rotation, run) = at_step(secret, at)?;
    if run.step != Step::Create {
        return Err(Refusal::NoRotationRuns);
    }
    let put = Put { id: run.id.clone(), stages: Some(vec![StageLabel::pending()]), if_current: None, ..put };
    let PutOutcome::Added(mut change) = change::put(secret, put, now.wall)? else {
        // Somebody has taken the id meanwhile.
        return Err(Refusal::VersionExists { id: run.id.ok_or(Refusal::NoSuchVersion)? });
    };
    let new = change.added.as_ref().map(|version| version.no);
    let run = Run { step: Step::Set, new, failures: 0, again: None, error: None, ..run };
    change.secret.rotation = Some(Rotation { run: Some(run), ..rotation });
    Ok(change)
}

/// The step is done: the next one is. Behind `test` the new version is promoted, behind `finish` the run has come to its end.
pub fn next_step(secret: &Secret, at: AtStep, now: Moment) -> Result<Change, Refusal> {
    let (rotation, run) = at_step(secret, at)?;
    let new = run.new.filter(|new| secret.version_no(*new).is_some()).ok_or(Refusal::NoSuchVersion)?;
    let to = |step| Run { step, failures: 0, again: None, error: None, ..run.clone() };
    match at.step {
        Step::Create => Err(Refusal::NoRotationRuns),
        Step::Set => Ok(with(secret, Rotation { run: Some(to(Step::Test)), ..rotation })),
        Step::Test => {
            let promoted = promote(secret, run.old, new, now)?;
            Ok(with(&promoted, Rotation { run: Some(to(Step::Finish)), ..rotation }))
        }
        Step::Finish => {
            let last = Some(Ended { at: now.wall, outcome: RunOutcome::Done, error: None });
            Ok(with(secret, Rotation { run: None, last, ..rotation }))
        }
    }
}

/// The secret with the new version in the place of the old one. Where another one is current by now, whoever put it there knows better.
fn promote(secret: &Secret, old: VersionNo, new: VersionNo, now: Moment) -> Result<Secret, Refusal> {
    if secret.stages.current() != Some(old) {
        return Err(Refusal::CurrentMoved { current: secret.current().map(|version| version.id.clone()) });
    }
    let id = secret.version_no(new).ok_or(Refusal::NoSuchVersion)?.id.clone();
    let mut after = change::move_stage(secret, &StageLabel::current(), &id, None, now.wall)?.secret;
    if after.stages.get(&StageLabel::pending()) == Some(new) {
        after.stages.remove(&StageLabel::pending())?;
    }
    Ok(after)
}

/// The step has failed, and is tried again later; where it failed `for_good`, or `create` too often, the run is stuck.
pub fn fail_step(secret: &Secret, at: AtStep, error: &str, for_good: bool, now: Moment) -> Result<Change, Refusal> {
    let (rotation, run) = at_step(secret, at)?;
    let (failures, error) = (run.failures + 1, Some(shortened(error)));
    let stuck = for_good || run.step == Step::Create && failures >= TRIES;
    let wait = BACKOFF.saturating_mul(1 << (failures - 1).min(32)).min(BACKOFF_MAX);
    let again = (!stuck).then(|| now.plus_nanos(wait));
    let last = Ended { at: now.wall, outcome: RunOutcome::Failed, error: error.clone() };
    let last = if stuck { Some(last) } else { rotation.last.clone() };
    Ok(with(secret, Rotation { run: Some(Run { failures, again, error, stuck, ..run }), last, ..rotation }))
}

/// Ends a run where it stands. A new version that may be in use already keeps its label.
pub fn cancel_rotation(secret: &Secret, now: Moment) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let rotation = secret.rotation.clone().filter(|rotation| rotation.run.is_some()).ok_or(Refusal::NoRotationRuns)?;
    let last = Some(Ended { at: now.wall, outcome: RunOutcome::Cancelled, error: None });
    Ok(with(secret, Rotation { run: None, last, ..rotation }))
}

/// The rotation of `secret`, whose run stands there. Another one means that somebody has cancelled it, or was quicker.
fn at_step(secret: &Secret, at: AtStep) -> Result<(Rotation, Run), Refusal> {
    secret.not_scheduled()?;
    let rotation = secret.rotation.clone().ok_or(Refusal::NoRotationRuns)?;
    let run = rotation.running().filter(|run| run.at() == at).cloned().ok_or(Refusal::NoRotationRuns)?;
    Ok((rotation, run))
}

fn with(secret: &Secret, rotation: Rotation) -> Change {
    Change::of(Secret { rotation: Some(rotation), ..secret.clone() })
}

/// The beginning of `error`, in one line.
fn shortened(error: &str) -> String {
    let end = (0..=ERROR_MAX.min(error.len())).rev().find(|end| error.is_char_boundary(*end)).unwrap_or(0);
    error[..end].chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
