//! Rotation by functions: the verbs, and what whoever runs the functions asks for and brings back.
//!
//! Which function runs where, and as whom, is not known here. Invariant: how far a run has come is committed before anything further is
//! done for it, so that after whatever end of a process the step that it stood at is done once more, and none is passed over.

use std::time::Duration;

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::{Caller, Loaded, Target, Vault, VaultError};
use crate::audit::Outcome;
use crate::id::{NodeId, VersionNo};
use crate::secret::{
    self, Action, AtStep, Change, DataType, FunctionName, Grant, Plan, Put, Refusal, Rotation, Run, Secret, Step,
    VersionId,
};
use crate::time::Moment;
use crate::value::Value;

/// What the audit has for the daemon's own doing in a run.
const GESTURE: &str = "rotation";

/// A step that is to be done.
pub struct Task {
    /// Of which run it is, and which.
    pub at: AtStep,
    /// By which function.
    pub function: FunctionName,
    /// The secret's instance and name.
    pub target: Target,
    /// The id that the new version has, or is to have.
    pub version: Option<VersionId>,
    /// The value that was current when the run began.
    pub old: Value,
    /// The new one; `None` before there is any.
    pub new: Option<Value>,
    /// The one before the old one, if that is still there.
    pub older: Option<Value>,
}

impl Task {
    /// The texts that its values are made of: what must be in no message.
    pub fn texts(&self) -> Vec<Value> {
        let values = [Some(&self.old), self.new.as_ref(), self.older.as_ref()];
        values.into_iter().flatten().flat_map(super::members::texts_of).collect()
    }

    /// The old value with the members that `printed` has in the place of its own.
    ///
    /// # Errors
    /// Where one of the two has no members.
    pub fn with_members(&self, printed: &Value) -> Result<Value, Refusal> {
        super::members::with_members(&self.old, printed)
    }
}

/// What is to be done for rotations.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Secrets for which something is to be done now; some of them, where there are many.
    pub due: Vec<NodeId>,
    /// When the next one comes, if one does; it may come sooner by a change.
    pub next: Option<Duration>,
}

impl Vault {
    /// Has secret `id` rotated as `plan` says; `None` by no function.
    pub fn set_rotation(&self, caller: Caller, id: NodeId, plan: Option<Plan>) -> Result<(), VaultError> {
        let now = self.moment()?;
        self.change(caller, Action::UpdateSecretRotationPolicy, id, |record| secret::set_rotation(record, plan, now))
    }

    /// Whether [`Vault::set_rotation`] would be refused.
    pub fn check_rotation(&self, id: NodeId, plan: Option<Plan>) -> Result<(), VaultError> {
        Ok(secret::set_rotation(&self.secret(id)?.1, plan, self.moment()?).map(drop)?)
    }

    /// RotateSecret: begins a run of the secret's function, or goes on with one that is stuck. `version` is the id of the new version.
    pub fn begin_rotation(&self, caller: Caller, id: NodeId, version: Option<VersionId>) -> Result<(), VaultError> {
        let now = self.moment()?;
        self.change_in(caller, Action::RotateSecret, id, None, |record| {
            let change = secret::begin_rotation(record, version, now)?;
            // Without its key no step of it could be done.
            self.key_is_usable(record)?;
            Ok::<_, VaultError>(change)
        })
    }

    /// Ends the run of secret `id` where it stands.
    pub fn cancel_rotation(&self, caller: Caller, id: NodeId) -> Result<(), VaultError> {
        let now = self.moment()?;
        self.change(caller, Action::RotateSecret, id, |record| secret::cancel_rotation(record, now))
    }

    /// What is to be done for rotations now, `most` of it at most and but for those that are `busy`. Runs that are due by their plan begin
    /// here.
    pub fn rotations_due(&self, most: usize, busy: &dyn Fn(NodeId) -> bool) -> Result<Agenda, VaultError> {
        let now = self.moment()?;
        let agenda = self.walk_rotations(now, most, busy)?;
        let mut due = Vec::new();
        for id in agenda.due {
            match self.begin_due(id, now) {
                Ok(true) => due.push(id),
                // Somebody was quicker.
                Ok(false) | Err(VaultError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Agenda { due, next: agenda.next })
    }

    /// Whether a run of secret `id` is to go on now; it begins where it is due by its plan.
    fn begin_due(&self, id: NodeId, now: Moment) -> Result<bool, VaultError> {
        let (_, record) = self.secret(id)?;
        let Some(rotation) = record.rotation.as_ref().filter(|_| record.is_live()) else { return Ok(false) };
        if rotation.running().is_none() {
            self.begin_rotation(of_run()?, id, None)?;
        }
        Ok(secret::rotation_due(&self.secret(id)?.1).is_some_and(|due| due.may_have_come(now)))
    }

    /// What secret `id` is called, for the log.
    pub fn path_of(&self, id: NodeId) -> String {
        let target = self.node(id).ok().flatten().map(|loaded| self.target(&loaded)).unwrap_or_default();
        [target.instance, target.secret].map(Option::unwrap_or_default).join("/")
    }

    /// The step that is to be done now for the run of secret `id`, if one is.
    pub fn step_due(&self, id: NodeId) -> Result<Option<AtStep>, VaultError> {
        let Some(loaded) = self.node(id)? else { return Ok(None) };
        let Some(record) = loaded.as_secret().map(|node| &node.secret) else { return Ok(None) };
        let now = self.moment()?;
        let is_due = secret::rotation_due(record).is_some_and(|due| due.may_have_come(now));
        let run = record.rotation.as_ref().and_then(Rotation::running).filter(|_| is_due);
        Ok(run.map(Run::at))
    }

    /// The step that the run of secret `id` stands at, with what its function needs; there is a record of that.
    pub fn rotation_task(&self, id: NodeId) -> Result<Task, VaultError> {
        let (loaded, record) = self.secret(id)?;
        record.not_scheduled()?;
        self.key_is_usable(&record)?;
        let rotation = record.rotation.as_ref().ok_or(Refusal::NoRotationRuns)?;
        let run = rotation.running().ok_or(Refusal::NoRotationRuns)?;
        let is_there = |no: VersionNo| record.version_no(no).map(|version| version.no);
        let value = |no| self.disclose(of_run()?, &loaded, no, None, &[]).map(|(value, _)| value);
        let new = run.new.map(|no| is_there(no).ok_or(Refusal::NoSuchVersion)).transpose()?;
        let version = run.new.and_then(|no| record.version_no(no)).map(|version| version.id.clone()).or(run.id.clone());
        Ok(Task {
            at: run.at(),
            function: rotation.plan.function.clone(),
            target: self.target(&loaded),
            version,
            old: value(is_there(run.old).ok_or(Refusal::NoSuchVersion)?)?,
            new: new.map(value).transpose()?,
            older: run.older.and_then(is_there).map(value).transpose()?,
        })
    }

    /// Takes the value that the run of secret `id` has created.
    pub fn put_pending(&self, id: NodeId, at: AtStep, value: &Value) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let no = self.number_for(id, &record, None)?;
        let kind = Some(DataType::of(value.as_bytes()));
        let put = Put { id: None, no: Some(no), bytes: value.as_bytes(), stages: None, kind, if_current: None };
        let change = secret::put_pending(&record, at, put, self.moment()?)?;
        let mut batch = self.batch_of_run(&ledger, &loaded, &change)?;
        self.add_version(&mut batch, loaded.instance_id(), id, change.secret.key, no, value)?;
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        let outcome = self.commit(&mut ledger, batch, of_run()?, None);
        self.dropped(id, &change.rolled);
        if super::error::is_made(&outcome) {
            self.spend_version(id, no);
        }
        outcome
    }

    /// Takes it that the step `at` of the run of secret `id` is done.
    pub fn end_step(&self, id: NodeId, at: AtStep) -> Result<(), VaultError> {
        let now = self.moment()?;
        self.change_run(id, |record| secret::next_step(record, at, now))?;
        if at.step == Step::Finish {
            self.rotations.counts.lock().done += 1;
        }
        Ok(())
    }

    /// Takes it that the step `at` of the run of secret `id` has failed: `error` is why, which is no secret.
    pub fn fail_step(&self, id: NodeId, at: AtStep, error: &str, for_good: bool) -> Result<(), VaultError> {
        let now = self.moment()?;
        self.change_run(id, |record| secret::fail_step(record, at, error, for_good, now))?;
        let (loaded, record) = self.secret(id)?;
        let is_stuck = record.rotation.as_ref().is_some_and(|rotation| rotation.running().is_none());
        {
            let mut counts = self.rotations.counts.lock();
            *(if is_stuck { &mut counts.failed } else { &mut counts.retried }) += 1;
        }
        let (target, why) = (self.target(&loaded), format!("{}: {error}", at.step.word()));
        self.audit_refusal(of_run()?, Some(Action::RotateSecret), &target, Outcome::Failed, "RotationFailed", &why)
    }

    fn change_run(
        &self,
        id: NodeId,
        decide: impl FnOnce(&Secret) -> Result<Change, Refusal>,
    ) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let (loaded, record) = self.secret(id)?;
        let change = decide(&record)?;
        let mut batch = self.batch_of_run(&ledger, &loaded, &change)?;
        self.put_change(&mut batch, &loaded, loaded.place(), &change)?;
        self.commit(&mut ledger, batch, of_run()?, None)
    }

    /// For what a run has come to, and the version that it is about.
    fn batch_of_run(
        &self,
        ledger: &super::ledger::Ledger,
        loaded: &Loaded,
        change: &Change,
    ) -> Result<Batch, VaultError> {
        let run = change.secret.rotation.as_ref().and_then(|Rotation { run, .. }| run.as_ref());
        let new = run.and_then(|run| run.new).and_then(|no| change.secret.version_no(no));
        let mut target = self.target(loaded);
        target.version = new.map(|version| version.id.as_str().to_owned());
        Ok(Batch::new(ledger, Purpose::new(Action::RotateSecret, target)))
    }
}

/// The daemon, in a run.
fn of_run() -> Result<Caller, VaultError> {
    Ok(Caller { by: Grant::Due, ..of_daemon(GESTURE)? })
}
