//! Rotation by functions, as `rotation.md` tells of it: the plan, the one run that there may be, and what labels it moves.

use libc::{EBUSY, EEXIST, ENOENT, EOPNOTSUPP, ESTALE};
use serde_json::{Value as Json, json};

use crate::picture::rfc3339;
use crate::plan::Plan;
use crate::reference::{Bytes, Model, Outcome, Secret, Version};
use crate::rules::{CURRENT, PREVIOUS};
use crate::time::{HOUR, Moment};

/// The label of a new value that is on its way.
pub const PENDING: &str = "ACSPending";
/// Nanoseconds of a second.
const SECOND: u64 = HOUR / 3_600;
/// So often a step is tried.
const TRIES: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create,
    Set,
    Test,
    Finish,
}

/// Versions are named by their serial numbers: an id may come again.
#[derive(Debug, Clone)]
pub struct Run {
    pub step: Step,
    pub begun: u64,
    pub id: Option<String>,
    pub old: u64,
    pub older: Option<u64>,
    pub new: Option<u64>,
    pub failures: u32,
    pub again: Option<Moment>,
    pub error: Option<String>,
    /// A step has failed for good.
    pub failed: bool,
}

#[derive(Debug, Clone)]
pub struct Rotation {
    pub plan: Plan,
    /// When a run begins by itself.
    pub next: Option<Moment>,
    pub run: Option<Run>,
    /// When and how the last one ended, and why.
    pub last: Option<(u64, &'static str, Option<String>)>,
}

/// What a function is given.
#[derive(Debug, PartialEq)]
pub struct Given {
    pub step: &'static str,
    pub function: String,
    pub version: Option<String>,
    pub old: Bytes,
    pub new: Option<Bytes>,
    pub older: Option<Bytes>,
}

impl Step {
    pub fn word(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Set => "set",
            Step::Test => "test",
            Step::Finish => "finish",
        }
    }
}

impl Rotation {
    /// The run that goes on by itself.
    fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| !run.failed)
    }

    fn next_of(plan: &Plan, now: Moment) -> Option<Moment> {
        plan.every.map(|seconds| now.plus(seconds * SECOND))
    }
}

impl Secret {
    fn numbered(&self, serial: u64) -> Option<&Version> {
        self.versions.iter().find(|version| version.serial == serial)
    }

    fn serial_at(&self, label: &str) -> Option<u64> {
        Some(self.version(self.stages.get(label)?)?.serial)
    }

    /// A plan is written: the first run comes an interval later. The function of a run that is under way stays.
    pub fn set_plan(&mut self, plan: Option<Plan>, now: Moment) -> Outcome<()> {
        self.may_have_function(plan.as_ref().map(|plan| plan.function.as_str()))?;
        if self.rotation.as_ref().map(|rotation| &rotation.plan) == plan.as_ref() {
            return Ok(());
        }
        let before = self.rotation.take();
        self.updated = self.time(now.wall);
        self.rotation = plan.map(|plan| {
            let next = Rotation::next_of(&plan, now);
            let (run, last) = match before {
                Some(before) if before.plan.function == plan.function => (before.run, before.last),
                _ => (None, None),
            };
            Rotation { plan, next, run, last }
        });
        Ok(())
    }

    /// EBUSY while a run of another function is under way.
    pub fn may_have_function(&self, function: Option<&str>) -> Outcome<()> {
        let busy = self.rotation.as_ref().filter(|rotation| rotation.running().is_some());
        let is_other = |rotation: &Rotation| Some(rotation.plan.function.as_str()) != function;
        if busy.is_some_and(is_other) { Err(&[EBUSY]) } else { Ok(()) }
    }

    /// A run begins, or goes on with the new value of one that has failed, where that still is for the value that is current.
    pub fn begin(&mut self, id: Option<&str>, now: Moment) -> Outcome<()> {
        self.rotation.as_ref().ok_or(&[EOPNOTSUPP][..])?;
        let old = self.serial_at(CURRENT).ok_or(&[ENOENT][..])?;
        if id.is_some_and(|id| self.version(id).is_some()) {
            return Ok(());
        }
        if let Some(run) = self.rotation.as_mut().and_then(|rotation| rotation.run.as_mut()).filter(|run| !run.failed) {
            // One that waits for its next try has it now.
            return if run.again.take().is_some() { Ok(()) } else { Err(&[EBUSY]) };
        }
        let rotation = self.rotation.as_ref().expect("it was just there");
        let failed = rotation.run.clone().filter(|run| {
            let at = if run.step == Step::Finish { run.new } else { Some(run.old) };
            run.new.is_some_and(|new| self.numbered(new).is_some()) && at == Some(old)
        });
        let run = match failed {
            Some(run) => {
                // What its test has not found is set once more.
                let step = if run.step == Step::Test { Step::Set } else { run.step };
                Run { step, failures: 0, again: None, failed: false, ..run }
            }
            None => Run {
                step: Step::Create,
                begun: now.wall,
                id: id.map(str::to_owned),
                old,
                older: self.serial_at(PREVIOUS),
                new: None,
                failures: 0,
                again: None,
                error: None,
                failed: false,
            },
        };
        let rotation = self.rotation.as_mut().expect("it was just there");
        rotation.next = Rotation::next_of(&rotation.plan, now);
        rotation.run = Some(run);
        Ok(())
    }

    /// The run that is at `step`.
    fn run_at(&mut self, step: Step) -> Outcome<&mut Run> {
        let run = self.rotation.as_mut().and_then(|rotation| rotation.run.as_mut());
        run.filter(|run| !run.failed && run.step == step).ok_or(&[EBUSY])
    }

    /// `create` has made a value: a version that is not current yet.
    pub fn put_pending(&mut self, bytes: &[u8], serial: u64, now: Moment) -> Outcome<()> {
        let id = self.run_at(Step::Create)?.id.clone();
        if id.as_ref().is_some_and(|id| self.version(id).is_some()) {
            return Err(&[EEXIST]);
        }
        let mut after = self.clone();
        after.put_at(PENDING, id.as_deref(), bytes, serial, now.wall)?;
        after.go_on(Step::Create, Step::Set)?.new = Some(serial);
        *self = after;
        Ok(())
    }

    fn go_on(&mut self, from: Step, to: Step) -> Outcome<&mut Run> {
        let run = self.run_at(from)?;
        (run.step, run.failures, run.again, run.error) = (to, 0, None, None);
        Ok(run)
    }

    /// `step` is done. Behind `test` the new value becomes current, where the old one still is; behind `finish` the run has ended.
    pub fn end_step(&mut self, step: Step, now: Moment) -> Outcome<()> {
        let run = self.run_at(step)?.clone();
        let new = run.new.and_then(|new| self.numbered(new)).map(|version| version.id.clone());
        let new = new.ok_or(&[ENOENT, EBUSY][..])?;
        match step {
            Step::Create => return Err(&[EBUSY]),
            Step::Set => drop(self.go_on(step, Step::Test)?),
            Step::Test if self.serial_at(CURRENT) != Some(run.old) => return Err(&[ESTALE]),
            Step::Test => {
                self.move_stage(CURRENT, &new, now.wall)?;
                if self.stages.get(PENDING) == Some(&new) {
                    self.stages.remove(PENDING);
                }
                self.go_on(step, Step::Finish)?;
            }
            Step::Finish => self.end_run("done", None, now),
        }
        Ok(())
    }

    fn end_run(&mut self, outcome: &'static str, error: Option<String>, now: Moment) {
        let rotation = self.rotation.as_mut().expect("a run is of a rotation");
        (rotation.run, rotation.last) = (None, Some((now.wall, outcome, error)));
    }

    /// `step` has failed: it is tried again 10 seconds later, then after twice as long each time, an hour at most; `create` eight times in all.
    pub fn fail_step(&mut self, step: Step, error: &str, for_good: bool, now: Moment) -> Outcome<()> {
        let run = self.run_at(step)?;
        run.failures += 1;
        run.error = Some(error.to_owned());
        run.failed = for_good || step == Step::Create && run.failures >= TRIES;
        let wait = ((10 * SECOND) << (run.failures - 1).min(30)).min(3_600 * SECOND);
        run.again = (!run.failed).then(|| now.plus(wait));
        if run.failed {
            let rotation = self.rotation.as_mut().expect("a run is of a rotation");
            rotation.last = Some((now.wall, "failed", Some(error.to_owned())));
        }
        Ok(())
    }

    pub fn cancel(&mut self, now: Moment) -> Outcome<()> {
        self.rotation.as_ref().and_then(|rotation| rotation.run.as_ref()).ok_or(&[EBUSY][..])?;
        self.end_run("cancelled", None, now);
        Ok(())
    }

    /// When something is to be done for its rotation; `None` where nothing is.
    fn due(&self) -> Option<Moment> {
        let rotation = self.rotation.as_ref().filter(|_| !self.is_draft())?;
        match rotation.running() {
            Some(run) => Some(run.again.unwrap_or(Moment { wall: 0, truth: 0 })),
            None => rotation.next,
        }
    }

    /// The step that is to be done at `now`.
    pub fn step_due(&self, now: Moment) -> Option<Step> {
        let run = self.rotation.as_ref()?.running()?;
        self.due().is_some_and(|due| due.may_be_over(now)).then_some(run.step)
    }

    /// What the function of the run is given.
    pub fn given(&self) -> Outcome<Given> {
        let rotation = self.rotation.as_ref().ok_or(&[EBUSY][..])?;
        let run = rotation.running().ok_or(&[EBUSY][..])?;
        let bytes = |serial: u64| self.numbered(serial).map(|version| version.bytes.clone());
        let there = |serial: u64| bytes(serial).ok_or(&[ENOENT][..]);
        let named = run.new.and_then(|new| self.numbered(new)).map(|version| version.id.clone());
        Ok(Given {
            step: run.step.word(),
            function: rotation.plan.function.clone(),
            version: named.or(run.id.clone()),
            old: there(run.old)?,
            new: run.new.map(there).transpose()?,
            older: run.older.and_then(bytes),
        })
    }

    /// What `info` says of it.
    pub fn describe_rotation(&self, info: &mut Json) {
        let Some(Rotation { plan, next, run, last }) = &self.rotation else { return };
        if let Some(seconds) = plan.every {
            (info["AutomaticRotation"], info["RotationInterval"]) = ("Enabled".into(), format!("{seconds}s").into());
        }
        if let Some(next) = next {
            info["NextRotationDate"] = rfc3339(next.wall).into();
        }
        let mut told = json!({ "Function": plan.function, "State": "idle" });
        if let Some(run) = run {
            let new = run.new.and_then(|new| self.numbered(new)).map_or("", |version| version.id.as_str());
            told["State"] = if run.failed { "failed" } else { run.step.word() }.into();
            (told["Begun"], told["VersionId"]) = (rfc3339(run.begun).into(), new.into());
            told["Failures"] = run.failures.into();
            if let Some(again) = run.again {
                told["TryAgain"] = rfc3339(again.wall).into();
            }
            if let Some(error) = &run.error {
                told["Error"] = error.as_str().into();
            }
        }
        if let Some((at, outcome, error)) = last {
            told["Last"] = json!({ "Outcome": outcome, "Time": rfc3339(*at) });
            if let Some(error) = error {
                told["Last"]["Error"] = error.as_str().into();
            }
        }
        info["Rotation"] = told;
    }
}

impl Model {
    /// The instances and names of secrets for which something is due, whose runs begin where they are due by their plan; and how long
    /// it is at most until something else is.
    pub fn rotations_due(&mut self) -> (Vec<(String, String)>, Option<u64>) {
        let (now, mut due, mut wait) = (self.moment(), Vec::new(), None);
        for (at, instance) in &mut self.instances {
            for (name, dir) in &mut instance.dirs {
                let Some(secret) = &mut dir.secret else { continue };
                let is_usable = instance.keys[&secret.key].usable();
                match secret.due() {
                    Some(moment) if moment.may_be_over(now) => {
                        if secret.rotation.as_ref().is_some_and(|rotation| rotation.running().is_none()) {
                            if !is_usable {
                                // It is begun when its key can be used again.
                                continue;
                            }
                            secret.begin(None, now).expect("it is live, and nothing runs");
                        }
                        due.push((at.clone(), name.clone()));
                    }
                    Some(moment) => {
                        let left = (moment.wall - now.wall).min(moment.truth - now.truth);
                        wait = Some(wait.map_or(left, |wait: u64| wait.min(left)));
                    }
                    None => {}
                }
            }
        }
        (due, wait)
    }
}
