//! The real tree beside the reference: every step is done on both, and both are compared after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::fs::{At, Entry, Fault, Gesture, Handle, How, Ino, Options, Reading, Tree, Who};
use kmsfs::id::OpId;
use kmsfs::store::{MemoryStore, SqliteStore, Store};
use kmsfs::time::Timestamp;
use kmsfs::vault::{Clock, Owner, Vault, init, unlock};

use crate::names::Wanted;
use crate::op::{Op, Path};
use crate::picture::{Picture, difference};
use crate::reference::{Access, By, Flags, Held, Model, Node, Outcome, SILENT};
use crate::walk::{Found, Kernel, Walk, attr_change};

const KEY: &[u8; 32] = &[7; 32];
/// When every case begins, and how far the clock moves with each step.
const BEGIN: u64 = 1_700_000_000_000_000_000;
const STEP: u64 = 3_700_000_000_000;
/// A thread that is none: what it asks is answered as to somebody who has nothing open.
const NOBODY: u32 = u32::MAX;

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Which engine a case runs on.
pub enum Engine {
    Memory,
    Sqlite(PathBuf),
}

/// An open file on the real side.
#[derive(Clone, Copy)]
struct Open {
    ino: Ino,
    handle: Handle,
}

pub struct Harness {
    engine: Engine,
    store: Option<Arc<dyn Store>>,
    vault: Option<Arc<Vault>>,
    tree: Option<Tree>,
    clock: Arc<TestClock>,
    kernel: Kernel,
    opens: Vec<Option<Open>>,
    pub model: Model,
    uid: u32,
    requests: u64,
}

/// What one step came to on the real side.
type Did<T> = Result<T, Fault>;

impl Harness {
    pub fn new(engine: Engine) -> Self {
        let store: Arc<dyn Store> = match &engine {
            Engine::Memory => Arc::new(MemoryStore::new()),
            Engine::Sqlite(dir) => Arc::new(SqliteStore::create(dir).expect("an empty directory")),
        };
        init(&*store, &Source::KeyFile(KEY), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).expect("init");
        let clock = Arc::new(TestClock(AtomicU64::new(BEGIN)));
        let vault = unlocked(store.clone(), clock.clone());
        let root = vault.root().expect("a root");
        let access = Access { uid: 0, gid: 0, mode: root.access.dir_mode, value_mode: 0 };
        let times = (access, root.created.0, root.changed.0);
        let model = Model::new(root.account.as_str().to_owned(), times, BEGIN);
        let tree = Some(Tree::new(vault.clone(), Options::default()));
        let (store, vault, opens, kernel) = (Some(store), Some(vault), Vec::new(), Kernel::default());
        Self { engine, store, vault, tree, clock, kernel, opens, model, uid: 1000, requests: 0 }
    }

    fn tree(&self) -> &Tree {
        self.tree.as_ref().expect("there is a tree but in a restart")
    }

    fn vault(&self) -> &Vault {
        self.vault.as_ref().expect("there is a vault but in a restart")
    }

    fn who(&mut self) -> Who {
        self.requests += 1;
        let op = OpId(u128::from(self.requests).to_le_bytes());
        Who { uid: self.uid, gid: 100, tid: 0, op }
    }

    fn by(&self) -> By {
        By { uid: self.uid, gid: 100 }
    }

    /// One step, and all that must hold after it.
    pub fn step(&mut self, op: &Op) -> Found<()> {
        self.model.now += STEP;
        self.clock.0.store(self.model.now, Ordering::Relaxed);
        let (kept, purges) = (self.model.kept(), self.purges(op));
        self.act(op)?;
        let rolled: usize = self.compare_kept(kept)?;
        if rolled > 1 && !purges {
            return Err(format!("{rolled} versions are gone at once, and nothing was purged"));
        }
        self.compare()
    }

    /// Whether the step may end in a purge: it closes a `state` of a scheduled secret, or syncs one.
    fn purges(&self, op: &Op) -> bool {
        use crate::reference::Target;
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

    fn act(&mut self, op: &Op) -> Found<()> {
        match op {
            Op::Become(uid) => {
                self.uid = *uid;
                Ok(())
            }
            Op::Restart => self.restart(),
            Op::Mkdir(path, mode) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.mkdir(by, parent, name, *mode));
                let real = self.on_tree(path, |tree, who, parent, name| tree.make_directory(who, parent, name, *mode));
                if let Ok((parent, name, entry)) = &real {
                    self.kernel.changed(*parent);
                    self.kernel.told(*parent, name, entry);
                }
                self.judge("mkdir", model, real)
            }
            Op::Symlink(path, target) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.symlink(by, parent, name, target));
                let real = self.on_tree(path, |tree, who, parent, name| tree.make_link(who, parent, name, target));
                self.note_change(&real, false);
                self.judge("symlink", model, real)
            }
            Op::Unlink(path) => {
                let model = self.on_model(path, |model, parent, name| model.unlink(parent, name));
                let real = self.on_tree(path, |tree, who, parent, name| tree.unlink(who, parent, name));
                self.note_change(&real, true);
                self.judge("unlink", model, real)
            }
            Op::Rmdir(path) => {
                let entry = self.find(path);
                let model = self.on_model(path, |model, parent, name| model.rmdir(parent, name));
                let real = self.on_tree(path, |tree, who, parent, name| tree.remove_directory(who, parent, name));
                self.note_change(&real, true);
                if let (Ok(_), Some(entry)) = (&real, entry) {
                    self.kernel.removed(&entry);
                }
                self.judge("rmdir", model, real)
            }
            Op::Rename(from, to, keeps) => self.rename(from, to, *keeps),
            Op::SetAttr(path, wanted) => self.set_attr(path, *wanted),
            Op::Create(path, flags) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.create(by, parent, name, *flags));
                let real = self.on_tree(path, |tree, who, parent, name| tree.create(who, parent, name, how(*flags)));
                self.note_change(&real, false);
                self.opened("create", model, real.map(|(.., (entry, handle))| (entry.attr.ino, handle)))
            }
            Op::OpenToRead(path) => {
                let model = self.on_model(path, |model, parent, name| model.open_to_read(parent, name));
                let real = self.open(path, |tree, who, ino| tree.open_to_read(who, ino));
                self.opened("open to read", model, real)
            }
            Op::OpenToWrite(path, flags) => {
                let model = self.on_model(path, |model, parent, name| model.open_to_write(parent, name, *flags));
                let real = self.open(path, |tree, who, ino| tree.open_to_write(who, ino, how(*flags)));
                self.opened("open to write", model, real)
            }
            Op::Xattr(path) => self.xattr(path),
            Op::Read(at) => self.with_handle(*at, Self::read),
            Op::Write(at, offset, data) => self.with_handle(*at, |this, at, open| {
                let data = data.bytes();
                let model = this.model.write(at, *offset, &data);
                let who = this.who();
                let real = this.tree().write(who, open.ino, open.handle, *offset, &data);
                this.judge("write", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Truncate(at, len) => self.with_handle(*at, |this, at, open| {
                let model = this.model.truncate(at, *len);
                let who = this.who();
                let change = attr_change(Wanted { size: Some(*len), ..Wanted::default() }, Some(open.handle));
                // The attributes after it are another question: the file may be gone by name.
                let real = this.tree().set_attr(who, open.ino, change).map(|_| ());
                if model.is_ok() && matches!(&real, Err(Fault::NoEntry)) {
                    return Ok(());
                }
                this.judge("truncate", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Flush(at) => self.with_handle(*at, |this, at, open| {
                let model = this.model.flush(at);
                let who = this.who();
                let real = this.tree().flush(who, open.handle);
                this.judge("flush", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Sync(at) => self.with_handle(*at, |this, at, open| {
                let model = this.model.sync(at);
                let who = this.who();
                let real = this.tree().sync(who, open.handle);
                this.judge("fsync", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Release(at) => self.with_handle(*at, |this, at, open| {
                this.model.release(at);
                let who = Who { uid: 0, gid: 0, ..this.who() };
                this.tree().release(who, open.handle);
                this.opens[at] = None;
                this.take_stale();
                Ok(())
            }),
        }
    }

    fn restart(&mut self) -> Found<()> {
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

    fn rename(&mut self, from: &Path, to: &Path, keeps: bool) -> Found<()> {
        if from == to {
            return Ok(());
        }
        let by = self.by();
        let parents = (self.model_parent(from), self.model_parent(to));
        let model = match &parents {
            (Some((from, old)), Some((to, new))) => self.model.rename(by, (from, old), (to, new), keeps),
            _ => Err(&[libc::ENOENT][..]),
        };
        let who = self.who();
        let real = match (self.tree_parent(from), self.tree_parent(to)) {
            (Some((parent, name)), Some((to_parent, to_name))) => {
                let (from, to) = (At { parent, name }, At { parent: to_parent, name: to_name });
                let outcome = self.tree().rename(who, from, to, keeps);
                if outcome.is_ok() {
                    for (parent, name) in [(parent, name), (to_parent, to_name)] {
                        self.kernel.changed(parent);
                        self.kernel.forget_name(parent, name);
                    }
                }
                outcome
            }
            _ => Err(Fault::NoEntry),
        };
        self.judge("rename", model, real.map_err(|fault| (who, fault)))
    }

    fn set_attr(&mut self, path: &Path, wanted: Wanted) -> Found<()> {
        let model = self.on_model(path, |model, parent, name| model.set_attr(parent, name, wanted));
        let who = Who { tid: NOBODY, ..self.who() };
        let real = match self.find(path) {
            Some(entry) => self.tree().set_attr(who, entry.attr.ino, attr_change(wanted, None)),
            None => Err(Fault::NoEntry),
        };
        if let Ok(attr) = &real {
            self.kernel.forget_attr(attr.ino);
        }
        self.judge("change of attributes", model, real.map_err(|fault| (who, fault)))
    }

    fn xattr(&mut self, path: &Path) -> Found<()> {
        let expected = self.on_model(path, |model, parent, name| {
            let node = model.lookup(parent, name).ok_or(&[libc::ENOENT][..])?;
            let (Node::Current(at, dir) | Node::Version(at, dir, _)) = &node else { return Err(&[libc::ENODATA]) };
            let (secret, _) = model.secret_at(at, dir).ok_or(SILENT)?;
            let version = match &node {
                Node::Version(_, _, id) => secret.version(id),
                _ => secret.current(),
            };
            let version = version.ok_or(SILENT)?;
            let kind = if std::str::from_utf8(&version.bytes).is_ok() { "text" } else { "binary" };
            Ok((version.id.clone(), secret.labels_of(&version.id).join(","), kind))
        });
        let who = self.who();
        let Some(entry) = self.find(path) else {
            return self.judge("xattr", expected.map(|_| ()), Err::<(), _>((who, Fault::NoEntry)));
        };
        let get = |name: &str| self.tree().xattr(entry.attr.ino, format!("user.kmsfs.{name}").as_bytes());
        match (expected, get("version"), get("stages"), get("data-type")) {
            (Ok((id, labels, kind)), Ok(a), Ok(b), Ok(c)) => {
                let same = a == id.as_bytes() && b == labels.as_bytes() && c == kind.as_bytes();
                if same { Ok(()) } else { Err(format!("xattrs {}", [a, b, c].concat().escape_ascii())) }
            }
            (Err(_), Err(_), Err(_), Err(_)) => Ok(()),
            (expected, ..) => Err(format!("xattrs: must be {expected:?}")),
        }
    }

    fn read(&mut self, at: usize, open: Open) -> Found<()> {
        let held = self.model.handles[at].clone().expect("both sides have it");
        let model = self.model.read(&held);
        let who = self.who();
        let real = self.tree().read(who, open.ino, open.handle, false);
        if let (Ok(Some(expected)), Ok(reading)) = (&model, &real) {
            let bytes = whole(reading);
            if **expected != *bytes {
                let (is, must) = (bytes.escape_ascii(), expected.escape_ascii());
                return Err(format!("read: is {is}, must be {must}"));
            }
        }
        self.judge("read", model.map(|_| ()), real.map_err(|fault| (who, fault)))
    }

    /// The newest open file but `back`, if there is any.
    fn with_handle(&mut self, back: usize, act: impl FnOnce(&mut Self, usize, Open) -> Found<()>) -> Found<()> {
        let there: Vec<usize> = (0..self.opens.len()).filter(|at| self.opens[*at].is_some()).collect();
        let Some(at) = there.len().checked_sub(back + 1).map(|at| there[at]) else { return Ok(()) };
        let open = self.opens[at].expect("it is there");
        act(self, at, open)
    }

    fn opened(
        &mut self,
        verb: &'static str,
        model: Outcome<Held>,
        real: Result<(Ino, Handle), (Who, Fault)>,
    ) -> Found<()> {
        if let (Ok(held), Ok((ino, handle))) = (&model, &real) {
            self.model.handles.push(Some(held.clone()));
            self.opens.push(Some(Open { ino: *ino, handle: *handle }));
        }
        self.judge(verb, model, real)
    }

    fn open(
        &mut self,
        path: &Path,
        act: impl FnOnce(&Tree, Who, Ino) -> Did<Handle>,
    ) -> Result<(Ino, Handle), (Who, Fault)> {
        let who = self.who();
        let entry = self.find(path).ok_or((who, Fault::NoEntry))?;
        let handle = act(self.tree(), who, entry.attr.ino).map_err(|fault| (who, fault))?;
        Ok((entry.attr.ino, handle))
    }

    fn on_model<T>(&mut self, path: &Path, act: impl FnOnce(&mut Model, &Node, &[u8]) -> Outcome<T>) -> Outcome<T> {
        match self.model_parent(path) {
            Some((parent, name)) => act(&mut self.model, &parent, &name),
            None => Err(&[libc::ENOENT]),
        }
    }

    fn model_parent(&self, path: &Path) -> Option<(Node, Vec<u8>)> {
        let (name, above) = path.0.split_last().expect("a path has a name");
        let parent = above.iter().try_fold(Node::Root, |at, name| self.model.lookup(&at, name))?;
        Some((parent, name.clone()))
    }

    #[allow(clippy::type_complexity, reason = "where it was done, and what came of it or why not")]
    fn on_tree<'p, T>(
        &mut self,
        path: &'p Path,
        act: impl FnOnce(&Tree, Who, Ino, &[u8]) -> Did<T>,
    ) -> Result<(Ino, &'p [u8], T), (Who, Fault)> {
        let who = self.who();
        let (parent, name) = self.tree_parent(path).ok_or((who, Fault::NoEntry))?;
        let done = act(self.tree(), who, parent, name).map_err(|fault| (who, fault))?;
        Ok((parent, name, done))
    }

    fn tree_parent<'p>(&mut self, path: &'p Path) -> Option<(Ino, &'p [u8])> {
        let who = Who { tid: NOBODY, ..self.who() };
        let (name, above) = path.0.split_last().expect("a path has a name");
        let step = |at: Ino, name: &Vec<u8>| self.tree().lookup(who, at, name).ok().map(|entry| entry.attr.ino);
        Some((above.iter().try_fold(Ino::ROOT, step)?, name))
    }

    fn find(&mut self, path: &Path) -> Option<Entry> {
        let (parent, name) = self.tree_parent(path)?;
        let who = Who { tid: NOBODY, ..self.who() };
        self.tree().lookup(who, parent, name).ok()
    }

    /// The kernel asks again for the attributes of a directory in which it has changed a name.
    fn note_change<T>(&mut self, real: &Result<(Ino, &[u8], T), (Who, Fault)>, removes: bool) {
        if let Ok((parent, name, _)) = real {
            self.kernel.changed(*parent);
            if removes {
                self.kernel.forget_name(*parent, name);
            }
        }
    }

    fn take_stale(&mut self) {
        let stale = self.tree().take_stale();
        for ino in stale.attrs {
            self.kernel.forget_attr(ino);
        }
        for (parent, name) in stale.names {
            self.kernel.forget_name(parent, &name);
        }
    }

    /// Whether both sides came to the same, and a refusal can be read in `last-error`.
    fn judge<M, T>(&mut self, verb: &'static str, model: Outcome<M>, real: Result<T, (Who, Fault)>) -> Found<()> {
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

fn how(flags: Flags) -> How {
    let Flags { reads, truncates, appends, exclusive } = flags;
    How { reads, truncates, appends, exclusive }
}

fn whole(reading: &Reading) -> Vec<u8> {
    reading.slice(0, usize::MAX).to_vec()
}
