//! The real tree beside the reference: every step is done on both, and both are compared after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::fs::{Entry, Fault, Gesture, Handle, How, Ino, Options, Reading, Tree, Who};
use kmsfs::id::OpId;
use kmsfs::store::{MemoryStore, SqliteStore, Store};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::vault::{Clock, Owner, Vault, init, unlock};

use crate::op::{Op, Path};
use crate::picture::{Picture, difference};
use crate::reference::{Access, By, Flags, Held, Model, Node, Outcome};
use crate::walk::{Found, Kernel, Walk};

const KEY: &[u8; 32] = &[7; 32];
/// When every case begins, and how far the clock moves with each step.
pub const BEGIN: u64 = 1_700_000_000_000_000_000;
const STEP: u64 = 3_700_000_000_000;
/// A thread that is none: what it asks is answered as to somebody who has nothing open.
pub const NOBODY: u32 = u32::MAX;

pub struct TestClock {
    pub wall: AtomicU64,
    pub up: AtomicU64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: "one".into(), up: Duration::from_nanos(self.up.load(Ordering::Relaxed)) }
    }
}

/// Which engine a case runs on.
pub enum Engine {
    Memory,
    Sqlite(PathBuf),
}

/// An open file on the real side.
#[derive(Clone, Copy)]
pub struct Open {
    pub ino: Ino,
    pub handle: Handle,
}

pub struct Harness {
    pub engine: Engine,
    pub store: Option<Arc<dyn Store>>,
    pub vault: Option<Arc<Vault>>,
    pub tree: Option<Tree>,
    pub clock: Arc<TestClock>,
    pub kernel: Kernel,
    pub opens: Vec<Option<Open>>,
    pub model: Model,
    pub uid: u32,
    pub requests: u64,
}

/// What one step came to on the real side.
pub type Did<T> = Result<T, Fault>;

impl Harness {
    pub fn new(engine: Engine) -> Self {
        let store: Arc<dyn Store> = match &engine {
            Engine::Memory => Arc::new(MemoryStore::new()),
            Engine::Sqlite(dir) => Arc::new(SqliteStore::create(dir).expect("an empty directory")),
        };
        init(&*store, &Source::KeyFile(KEY), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).expect("init");
        let clock = Arc::new(TestClock { wall: AtomicU64::new(BEGIN), up: AtomicU64::new(0) });
        let vault = unlocked(store.clone(), clock.clone());
        // The steady clock begins with the case.
        vault.keep_steady(true).expect("a first look");
        let root = vault.root().expect("a root");
        let access = Access { uid: 0, gid: 0, mode: root.access.dir_mode, value_mode: 0 };
        let times = (access, root.created.0, root.changed.0);
        let model = Model::new(root.account.as_str().to_owned(), times, BEGIN);
        let tree = Some(Tree::new(vault.clone(), Options::default()));
        let (store, vault, opens, kernel) = (Some(store), Some(vault), Vec::new(), Kernel::default());
        Self { engine, store, vault, tree, clock, kernel, opens, model, uid: 1000, requests: 0 }
    }

    pub fn tree(&self) -> &Tree {
        self.tree.as_ref().expect("there is a tree but in a restart")
    }

    pub fn vault(&self) -> &Vault {
        self.vault.as_ref().expect("there is a vault but in a restart")
    }

    pub fn who(&mut self) -> Who {
        self.requests += 1;
        let op = OpId(u128::from(self.requests).to_le_bytes());
        Who { uid: self.uid, gid: 100, tid: 0, op, gesture: "test", account: None, by: Default::default() }
    }

    /// Whoever reads or writes what is open. Whether bits let it by now is none of the model's: `decisions` and `accounts` have that.
    pub fn whom_bits_bind_not(&mut self) -> Who {
        Who { uid: 0, gid: 0, ..self.who() }
    }

    pub fn by(&self) -> By {
        By { uid: self.uid, gid: 100 }
    }

    /// One step, and all that must hold after it.
    pub fn step(&mut self, op: &Op) -> Found<()> {
        self.model.pass(STEP);
        self.set_clocks();
        let (kept, purges) = (self.model.kept(), self.purges(op));
        self.act(op)?;
        let rolled: usize = self.compare_kept(kept)?;
        if rolled > 1 && !purges {
            return Err(format!("{rolled} versions are gone at once, and nothing was purged"));
        }
        self.compare()
    }

    /// Whether the step may end in a purge: it closes a `state` of a scheduled secret, or syncs one, or ends what is due.
    fn purges(&self, op: &Op) -> bool {
        use crate::reference::Target;
        if matches!(op, Op::KeepUp) {
            return true;
        }
        let (Op::Flush(_) | Op::Sync(_) | Op::Release(_)) = op else { return false };
        let is_state = |held: &Held| matches!(held, Held::Draft(draft) if matches!(draft.target, Target::State(_)));
        self.model.handles.iter().flatten().any(is_state)
    }

    /// How many versions the model no longer keeps; those it does are what they were.
    fn compare_kept(&self, before: std::collections::BTreeMap<(u64, u64), crate::reference::Bytes>) -> Found<usize> {
        let after = self.model.kept();
        let mut gone = 0;
        for (version, bytes) in before {
            match after.get(&version) {
                Some(now) if *now == bytes => {}
                Some(_) => return Err(format!("version {version:?} has other bytes")),
                None => gone += 1,
            }
        }
        Ok(gone)
    }

    /// The inode number that a path stands for.
    pub fn number(&mut self, path: &Path) -> Option<u64> {
        self.find(path).map(|entry| entry.attr.ino.number())
    }

    /// Walks over the tree, and finds what the model says.
    pub fn compare(&mut self) -> Found<()> {
        let seen = self.walk()?;
        if let Some(difference) = difference(&self.model.picture(), &seen) {
            return Err(difference);
        }
        let versions = self.model.kept().len() as u64;
        let counts = self.vault().counts();
        if counts.versions != versions {
            return Err(format!("{} versions are counted, there are {versions}", counts.versions));
        }
        Ok(())
    }

    fn walk(&mut self) -> Found<Picture> {
        let who = Who { tid: NOBODY, ..self.who() };
        Walk::over(self.tree.as_ref().expect("a tree"), &mut self.kernel, who)
    }

    /// What must hold when a case ends: the store is sound, and all that was deleted can be restored, as it was.
    pub fn finish(&mut self) -> Found<()> {
        self.step(&Op::Restart)?;
        self.restore_all()?;
        let report = self.vault().verify().map_err(|error| error.to_string())?;
        if report.problems.is_empty() { Ok(()) } else { Err(report.problems.join("\n")) }
    }

    fn restore_all(&mut self) -> Found<()> {
        let trash: Vec<(String, String)> = self
            .model
            .instances
            .iter()
            .flat_map(|(at, instance)| instance.trash.keys().map(|full| (at.clone(), full.clone())))
            .collect();
        let count = trash.len();
        for (at, full) in trash {
            let to = crate::op::path(&format!("{at}/{full}"));
            for depth in 2..to.0.len() {
                self.step(&Op::Mkdir(to.up_to(depth), 0o777))?;
            }
            let from = crate::op::path(&format!("{at}/.deleted/{}", full.replace('/', "%2F")));
            self.step(&Op::Rename(from, to, false))?;
        }
        let left = self.model.instances.values().map(|instance| instance.trash.len()).sum::<usize>();
        if count > 0 && left == count {
            return Err(format!("{left} deleted secrets cannot be restored"));
        }
        if left > 0 {
            // Above a name that is itself scheduled nothing can be made: then its turn comes after.
            return self.restore_all();
        }
        Ok(())
    }

    pub fn restart(&mut self) -> Found<()> {
        self.opens.clear();
        self.kernel = Kernel::default();
        self.model.restart();
        (self.tree, self.vault) = (None, None);
        let store = match &self.engine {
            Engine::Memory => self.store.take().expect("a store"),
            Engine::Sqlite(dir) => {
                self.store = None;
                Arc::new(SqliteStore::open(dir).map_err(|error| error.to_string())?)
            }
        };
        let vault = unlocked(store.clone(), self.clock.clone());
        self.tree = Some(Tree::new(vault.clone(), Options::default()));
        (self.store, self.vault) = (Some(store), Some(vault));
        Ok(())
    }

    pub fn on_model<T>(&mut self, path: &Path, act: impl FnOnce(&mut Model, &Node, &[u8]) -> Outcome<T>) -> Outcome<T> {
        match self.model_parent(path) {
            Some((parent, name)) => act(&mut self.model, &parent, &name),
            None => Err(&[libc::ENOENT]),
        }
    }

    pub fn model_parent(&self, path: &Path) -> Option<(Node, Vec<u8>)> {
        let (name, above) = path.0.split_last().expect("a path has a name");
        let parent = above.iter().try_fold(Node::Root, |at, name| self.model.lookup(&at, name))?;
        Some((parent, name.clone()))
    }

    #[allow(
        clippy::type_complexity,
        clippy::result_large_err,
        reason = "where it was done, and what came of it or why not"
    )]
    pub fn on_tree<'p, T>(
        &mut self,
        path: &'p Path,
        act: impl FnOnce(&Tree, Who, Ino, &[u8]) -> Did<T>,
    ) -> Result<(Ino, &'p [u8], T), (Who, Fault)> {
        let who = self.who();
        let (parent, name) = self.tree_parent(path).ok_or((who, Fault::NoEntry))?;
        let done = act(self.tree(), who, parent, name).map_err(|fault| (who, fault))?;
        Ok((parent, name, done))
    }

    pub fn tree_parent<'p>(&mut self, path: &'p Path) -> Option<(Ino, &'p [u8])> {
        let who = Who { tid: NOBODY, ..self.who() };
        let (name, above) = path.0.split_last().expect("a path has a name");
        let step = |at: Ino, name: &Vec<u8>| self.tree().lookup(who, at, name).ok().map(|entry| entry.attr.ino);
        Some((above.iter().try_fold(Ino::ROOT, step)?, name))
    }

    pub fn find(&mut self, path: &Path) -> Option<Entry> {
        let (parent, name) = self.tree_parent(path)?;
        let who = Who { tid: NOBODY, ..self.who() };
        self.tree().lookup(who, parent, name).ok()
    }

    /// The kernel asks again for the attributes of a directory in which it has changed a name.
    pub fn note_change<T>(&mut self, real: &Result<(Ino, &[u8], T), (Who, Fault)>, removes: bool) {
        if let Ok((parent, name, _)) = real {
            self.kernel.changed(*parent);
            if removes {
                self.kernel.forget_name(*parent, name);
            }
        }
    }

    pub fn take_stale(&mut self) {
        let stale = self.tree().take_stale();
        for ino in stale.attrs {
            self.kernel.forget_attr(ino);
        }
        for (parent, name) in stale.names {
            self.kernel.forget_name(parent, &name);
        }
    }

    /// Whether both sides came to the same, and a refusal can be read in `last-error`.
    pub fn judge<M, T>(&mut self, verb: &'static str, model: Outcome<M>, real: Result<T, (Who, Fault)>) -> Found<()> {
        self.take_stale();
        let refused = match (&model, &real) {
            (Ok(_), Ok(_)) => return Ok(()),
            (Ok(_), Err((_, fault))) => return Err(format!("{verb} must succeed, and was refused: {fault}")),
            (Err(errnos), Ok(_)) => return Err(format!("{verb} must be refused with {errnos:?}, and succeeded")),
            (Err(errnos), Err((_, fault))) if errnos.is_empty() || errnos.contains(&fault.errno()) => fault,
            (Err(errnos), Err((_, fault))) => {
                return Err(format!("{verb} must be refused with {errnos:?}, not {}: {fault}", fault.errno()));
            }
        };
        if refused.is_failure() {
            return Err(format!("{verb} failed: {refused}"));
        }
        if refused.refusal().is_none() {
            return Ok(());
        }
        let Err((who, fault)) = real else { return Ok(()) };
        self.tree().refuse(who, Gesture { verb, on: None, writes: true }, &fault);
        self.last_error(who)
    }

    fn last_error(&mut self, who: Who) -> Found<()> {
        let ino = self.find(&crate::op::path(".kmsfs/last-error")).ok_or("no last-error")?.attr.ino;
        let handle = self.tree().open_to_read(who, ino).map_err(|error| error.to_string())?;
        let reading = self.tree().read(who, ino, handle, false).map_err(|error| error.to_string());
        self.tree().release(who, handle);
        let body: serde_json::Value = serde_json::from_slice(&whole(&reading?)).map_err(|error| error.to_string())?;
        let code = body["Code"].as_str().is_some_and(|code| !code.is_empty());
        if code { Ok(()) } else { Err(format!("last-error holds no code: {body}")) }
    }
}

fn unlocked(store: Arc<dyn Store>, clock: Arc<TestClock>) -> Arc<Vault> {
    Arc::new(unlock(store, &Source::KeyFile(KEY)).expect("its own key").with_clock(clock))
}

pub fn how(flags: Flags) -> How {
    let Flags { reads, truncates, appends, exclusive } = flags;
    How { reads, truncates, appends, exclusive }
}

pub fn whole(reading: &Reading) -> Vec<u8> {
    reading.slice(0, usize::MAX).to_vec()
}
