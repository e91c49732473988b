//! What is done by the vault's verbs and not through the tree: as the api does it, and whoever conducts rotations.

use std::collections::BTreeSet;
use std::time::Duration;

use kmsfs::fs::Fault;
use kmsfs::id::NodeId;
use kmsfs::secret::{self, AtStep, VersionId};
use kmsfs::time::Timestamp;
use kmsfs::value::Value;
use kmsfs::vault::{Agenda, Caller, Draft, Task, Vault, VaultError, Written};

use crate::harness::Harness;
use crate::op::{Data, Path};
use crate::reference::{Bytes, Model, Node, Outcome, SILENT};
use crate::rotation::{Given, Step};
use crate::rules::VALUE_MAX;
use crate::walk::Found;

/// What is done for the rotation of one secret.
#[derive(Debug, Clone)]
pub enum Turn {
    /// A run begins; the id is that of the new version.
    Begin(Option<&'static str>),
    /// Looks at what the function of the next step would be given.
    Look,
    /// `create` has printed that.
    Create(Data),
    /// A step is done.
    End(Step),
    /// A step has failed, perhaps for good.
    Fail(Step, bool),
    /// The step that is due is done, whichever it is; where that is refused, it has failed for good.
    Conduct(Data),
    Cancel,
}

/// What a function has said.
const ERROR: &str = "cannot connect";

impl Model {
    /// The secret of the directory at `path`, by its serial number.
    fn secret_of(&self, parent: &Node, name: &[u8]) -> Outcome<u64> {
        let Some(Node::Dir(at, dir)) = self.lookup(parent, name) else { return Err(&[libc::ENOENT]) };
        Ok(self.secret_at(&at, &dir).ok_or(SILENT)?.0.serial)
    }

    fn destroy_version(&mut self, serial: u64, id: &str) -> Outcome<()> {
        let now = self.now;
        let gone = self.live(serial)?.destroy(id, now)?;
        self.destroyed.insert(gone);
        Ok(())
    }

    /// Whether it was a version that is there already.
    fn put_if(&mut self, serial: u64, id: Option<&str>, current: &str, bytes: &[u8]) -> Outcome<bool> {
        let (now, version) = (self.now, self.serial());
        let secret = self.live(serial)?;
        let replays = id.is_some_and(|id| secret.version(id).is_some());
        let is_current = secret.current().is_some_and(|version| version.id == current);
        if !replays && !is_current {
            // A value that is none is refused for that, too.
            return Err(if (1..=VALUE_MAX).contains(&bytes.len()) { &[libc::ESTALE] } else { SILENT });
        }
        self.may_put(serial, |secret| secret.put(id, bytes, version, now))?;
        self.live(serial)?.put(id, bytes, version, now)?;
        Ok(replays)
    }

    fn create_pending(&mut self, serial: u64, bytes: &[u8]) -> Outcome<()> {
        let (now, version) = (self.moment(), self.serial());
        self.live(serial)?;
        self.may_put(serial, |secret| secret.put_pending(bytes, version, now))?;
        self.live(serial)?.put_pending(bytes, version, now)
    }

    fn given(&mut self, serial: u64) -> Outcome<Given> {
        let is_usable = self.is_usable(serial);
        let given = self.live(serial)?.given();
        if is_usable { given } else { Err(if given.is_ok() { &[libc::EKEYREVOKED] } else { SILENT }) }
    }

    /// What `turn` comes to, but for `Conduct`, which is one of the others.
    fn take_turn(&mut self, serial: u64, turn: &Turn) -> Outcome<()> {
        let now = self.moment();
        match turn {
            Turn::Begin(id) => {
                let is_usable = self.is_usable(serial);
                let mut begun = self.live(serial)?.clone();
                begun.begin(*id, now)?;
                if !is_usable {
                    return Err(&[libc::EKEYREVOKED]);
                }
                *self.live(serial)? = begun;
                Ok(())
            }
            Turn::Create(data) => self.create_pending(serial, &data.bytes()),
            Turn::End(step) => self.live(serial)?.end_step(*step, now),
            Turn::Fail(step, for_good) => self.live(serial)?.fail_step(*step, ERROR, *for_good, now),
            Turn::Cancel => self.live(serial)?.cancel(now),
            Turn::Look | Turn::Conduct(_) => Err(SILENT),
        }
    }
}

impl Harness {
    pub fn destroy_version(&mut self, path: &Path, id: &str) -> Found<()> {
        let model = self.on_model(path, |model, parent, name| {
            let serial = model.secret_of(parent, name)?;
            model.destroy_version(serial, id)
        });
        self.on_vault("destroy a version", path, model, |vault, caller, secret| {
            vault.destroy_version(caller, secret, &version(id))
        })
    }

    pub fn put_if(&mut self, path: &Path, id: Option<&str>, current: &str, data: &Data) -> Found<()> {
        let bytes = data.bytes();
        let model = self.on_model(path, |model, parent, name| {
            let serial = model.secret_of(parent, name)?;
            model.put_if(serial, id, current, &bytes)
        });
        let replays = model == Ok(true);
        let mut was_replayed = replays;
        self.on_vault("put if current", path, model, |vault, caller, secret| {
            let value = Value::copy_of(&bytes);
            let draft = Draft { id: id.map(version), if_current: Some(version(current)), ..Draft::of(&value) };
            let written = vault.put_value(caller, secret, draft)?;
            was_replayed = matches!(written, Written::Replayed(_));
            Ok(())
        })?;
        if was_replayed == replays { Ok(()) } else { Err("a replay is one on both sides".into()) }
    }

    pub fn rotate(&mut self, path: &Path, turn: &Turn) -> Found<()> {
        let serial = self.on_model(path, |model, parent, name| model.secret_of(parent, name));
        match (turn, serial) {
            (Turn::Look, Ok(serial)) => self.look_at_task(path, serial),
            (Turn::Conduct(data), Ok(serial)) => self.conduct(path, serial, data),
            (turn, serial) => self.take_turn(path, serial, turn).map(drop),
        }
    }

    /// One turn on both sides; whether it was made.
    fn take_turn(&mut self, path: &Path, serial: Outcome<u64>, turn: &Turn) -> Found<bool> {
        let model = serial.and_then(|serial| self.model.take_turn(serial, turn));
        let verb = match turn {
            Turn::Begin(_) => "begin a run",
            Turn::Create(_) => "create a value",
            Turn::End(_) => "end a step",
            Turn::Fail(..) => "fail a step",
            Turn::Cancel => "cancel a run",
            Turn::Look | Turn::Conduct(_) => "rotate",
        };
        self.on_vault(verb, path, model, |vault, caller, secret| match turn {
            Turn::Begin(id) => vault.begin_rotation(caller, secret, id.map(version)),
            Turn::Create(data) => {
                vault.put_pending(secret, at(vault, secret, Step::Create)?, &Value::copy_of(&data.bytes()))
            }
            Turn::End(step) => vault.end_step(secret, at(vault, secret, *step)?),
            Turn::Fail(step, for_good) => vault.fail_step(secret, at(vault, secret, *step)?, ERROR, *for_good),
            Turn::Cancel => vault.cancel_rotation(caller, secret),
            Turn::Look | Turn::Conduct(_) => Err(secret::Refusal::NoRotationRuns.into()),
        })?;
        Ok(model.is_ok())
    }

    /// As the daemon conducts a run, with a function that prints `data`.
    fn conduct(&mut self, path: &Path, serial: u64, data: &Data) -> Found<()> {
        let now = self.model.moment();
        let due = self.model.live(serial).ok().and_then(|secret| secret.step_due(now));
        let real = self.secret_at(path).and_then(|secret| Ok(self.vault().step_due(secret)?));
        let real = real.map_err(|fault| format!("which step is due: {fault}"))?.map(|at| at.step.word());
        if due.map(Step::word) != real {
            return Err(format!("step {real:?} is due, and must be {due:?}"));
        }
        let Some(step) = due else { return Ok(()) };
        let turn = if step == Step::Create { Turn::Create(data.clone()) } else { Turn::End(step) };
        let taken = self.take_turn(path, Ok(serial), &turn)?;
        if taken { Ok(()) } else { self.take_turn(path, Ok(serial), &Turn::Fail(step, true)).map(drop) }
    }

    fn look_at_task(&mut self, path: &Path, serial: u64) -> Found<()> {
        let model = self.model.given(serial);
        let who = self.who();
        let real = self.secret_at(path).and_then(|secret| Ok(self.vault().rotation_task(secret)?));
        let real = real.map_err(|fault| (who, fault)).map(given);
        if let (Ok(must), Ok(is)) = (&model, &real)
            && must != is
        {
            return Err(format!("a function is given {is:?}, and must be {must:?}"));
        }
        self.judge("look at a task", model.map(|_| ()), real)
    }

    /// What is due is what the model says, and whoever sleeps as long as he is told misses nothing.
    pub fn look_for_runs(&mut self) -> Found<()> {
        let Agenda { due, next } = self.vault().rotations_due(1_000, &|_| false).map_err(|error| error.to_string())?;
        let (must, wait) = self.model.rotations_due();
        let names: Result<BTreeSet<_>, String> = due.iter().map(|secret| self.name_of(*secret)).collect();
        let (names, must) = (names?, must.into_iter().collect());
        if names != must || names.len() != due.len() {
            return Err(format!("rotations of {names:?} are due, and must be of {must:?}"));
        }
        let in_time = wait.is_none_or(|wait| next.is_some_and(|next| next <= Duration::from_nanos(wait)));
        self.take_stale();
        if in_time { Ok(()) } else { Err(format!("the next run is due in {wait:?}, and is looked for in {next:?}")) }
    }

    fn name_of(&self, secret: NodeId) -> Found<(String, String)> {
        let loaded = self.vault().node(secret).map_err(|error| error.to_string())?.ok_or("what is due is gone")?;
        let name = loaded.as_secret().ok_or("no secret is due")?.secret.name.as_str().to_owned();
        let instance = self.vault().node(loaded.instance_id()).map_err(|error| error.to_string())?;
        let instance = instance.and_then(|instance| Some(instance.as_instance()?.name.as_str().to_owned()));
        Ok((instance.ok_or("it is of no instance")?, name))
    }

    /// Does `act` to the secret of the directory at `path`, and holds what came of it against the model.
    fn on_vault<M>(
        &mut self,
        verb: &'static str,
        path: &Path,
        model: Outcome<M>,
        act: impl FnOnce(&Vault, Caller, NodeId) -> Result<(), VaultError>,
    ) -> Found<()> {
        let who = self.who();
        let caller = Caller {
            uid: who.uid,
            gid: who.gid,
            tid: who.tid,
            op: who.op,
            gesture: "test",
            account: None,
            by: Default::default(),
        };
        let real = self.secret_at(path).and_then(|secret| Ok(act(self.vault(), caller, secret)?));
        self.judge(verb, model, real.map_err(|fault| (who, fault)))
    }

    fn secret_at(&mut self, path: &Path) -> Result<NodeId, Fault> {
        let entry = self.find(path).ok_or(Fault::NoEntry)?;
        let directory = self.vault().node(entry.attr.ino.node)?.ok_or(Fault::NoEntry)?;
        Ok(self.vault().secret_of(&directory)?.id())
    }
}

fn version(id: &str) -> VersionId {
    VersionId::parse(id.as_bytes()).expect("the model's ids are good ones")
}

fn real(step: Step) -> secret::Step {
    match step {
        Step::Create => secret::Step::Create,
        Step::Set => secret::Step::Set,
        Step::Test => secret::Step::Test,
        Step::Finish => secret::Step::Finish,
    }
}

/// What the real side gives a function, in the model's words.
/// `step` of the run that `secret` has, as whoever does it knows it.
fn at(vault: &Vault, secret: NodeId, step: Step) -> Result<AtStep, VaultError> {
    let loaded = vault.node(secret)?;
    let rotation = loaded.as_ref().and_then(|loaded| loaded.as_secret()?.secret.rotation.as_ref());
    let run = rotation.and_then(|rotation| rotation.run.as_ref()).map(secret::Run::at);
    let none = AtStep { run: 0, begun: Timestamp(0), step: real(step) };
    Ok(run.map_or(none, |run| AtStep { step: real(step), ..run }))
}

fn given(task: Task) -> Given {
    let bytes = |value: &Value| Bytes::from(value.as_bytes());
    Given {
        step: task.at.step.word(),
        function: task.function.as_str().to_owned(),
        version: task.version.map(|id| id.as_str().to_owned()),
        old: bytes(&task.old),
        new: task.new.as_ref().map(bytes),
        older: task.older.as_ref().map(bytes),
    }
}
