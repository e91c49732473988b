//! The tree's operations, in the tree's words: no kernel structure, no reply, no thread.
//!
//! Each takes who asks and what inode, asks the table what that is, and the vault to do it. Those that change something are
//! called from one thread in the order of the requests (`fuse` sees to it), so two of them never race; those that read, and the last
//! close of a reader, may come from any.
//!
//! Reading order: `shared` (what all mounts of a process have together), `names`, `attr`, `text`, `snapshot`, `xattr` (what is there), `permit` (who may), `open`, `fields` (members of values), `read`, `pages`, `still`, `write`, `foresee`, `close`, `commit` (what
//! is written), `forsake` (whose caller has gone), `make`, `remove`, `rename`, `change` (all other gestures), `talk` (the api), `follow`
//! (what happens), `inherit` (what an earlier worker left), `view` (a mount of a part of the tree, and whose that is).

mod attr;
mod change;
mod close;
mod commit;
mod fields;
mod follow;
mod foresee;
mod forsake;
mod inherit;
mod make;
mod metrics;
mod names;
mod open;
mod pages;
mod permit;
mod read;
mod remove;
mod rename;
mod shared;
mod snapshot;
mod still;
mod talk;
mod text;
mod view;
mod write;
mod xattr;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use attr::{Attr, Entry};
pub use change::AttrChange;
pub use close::{Close, Waits};
pub use follow::Follow;
pub use open::How;
pub use read::Reading;
pub use rename::At;
use shared::Shared;

use super::Options;
use super::errno::Fault;
use super::inode::{Ino, Kind};
use super::meter::Meter;
use super::opens::Opener;
use super::refusals::Gesture;
use super::scratch::ChangingScratches;
use super::tree::{self, Row};
use super::view::View;
use crate::estate::Estate;
use crate::id::{NodeId, OpId};
use crate::secret::{Account, Grant, Secret};
use crate::vault::{Caller, Loaded, Placed, Purged, Target, Vault, VaultError, outcome_of};

/// How long the kernel may keep a name or attributes that only change through the mount itself.
const LONG: Duration = Duration::from_secs(3600);

/// Who asks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Who {
    /// The user whose rights it has: the thread's fsuid.
    pub uid: u32,
    /// The group that what it makes gets; the kernel does not tell the supplementary ones.
    pub gid: u32,
    /// The calling thread; 0 where the kernel does not say.
    pub tid: u32,
    /// The request, as the store remembers it.
    pub op: OpId,
    /// What was done to ask for it.
    #[serde(skip)]
    pub gesture: &'static str,
    /// The account of the mount that it came through, where that is not the store's.
    #[serde(default)]
    pub account: Option<Account>,
    /// What lets it, where that was decided here.
    #[serde(skip)]
    pub by: Grant,
}

impl Who {
    /// For a change that is committed under this request's id.
    fn caller(self) -> Caller {
        Caller {
            uid: self.uid,
            gid: self.gid,
            tid: self.tid,
            op: self.op,
            gesture: self.gesture,
            account: self.account,
            by: self.by,
        }
    }

    /// As whoever opens a file by this request.
    fn opener(self) -> Opener {
        Opener { tid: self.tid, op: self.op, user: (self.uid, self.gid) }
    }
}

/// A mount's tree.
pub struct Tree {
    vault: Arc<Vault>,
    options: Options,
    /// That of all callers, where it is not the store's.
    account: Option<Account>,
    /// Which part of the tree it is, and whose, where it is not all of it.
    view: Option<View>,
    /// What is left to the next worker.
    estate: Arc<Estate>,
    shared: Arc<Shared>,
    /// The `major:minor` of the mount, once there is one.
    device: OnceLock<String>,
}

/// What the kernel has to forget because a request changed something beside its own file.
#[derive(Debug, Default)]
pub struct Stale {
    /// Their attributes.
    pub attrs: Vec<Ino>,
    /// Names, each in its directory.
    pub names: Vec<(Ino, Vec<u8>)>,
}

/// A secret's directory, and the secret of its name wherever that stands.
struct Place {
    directory: Arc<Loaded>,
    secret: Arc<Loaded>,
}

impl Tree {
    /// The tree of all that `vault` holds. Nothing is open in it yet.
    pub fn new(vault: Arc<Vault>, options: Options) -> Self {
        // Where the root cannot be read, nobody is taken for one of the store's own.
        let own = vault.root().ok().map(|root| root.account);
        let account = options.account.filter(|account| Some(*account) != own);
        Self {
            vault,
            options,
            account,
            view: None,
            estate: Arc::default(),
            shared: Arc::default(),
            device: OnceLock::new(),
        }
    }

    /// Tells which process is the poker: what that opens for writing, it only touches.
    pub fn let_poke(&self, pid: u32) {
        self.shared.poker.store(pid, Ordering::Relaxed);
    }

    fn is_poker(&self, who: Who) -> bool {
        // Its first thread opens what is poked, and has the number of the process.
        who.tid != 0 && who.tid == self.shared.poker.load(Ordering::Relaxed)
    }

    /// Where requests are counted.
    pub fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    /// Logs why a request was refused, and keeps it for the caller to read; damage for the status. The audit was told before.
    pub fn refuse(&self, who: Who, gesture: Gesture, fault: &Fault) {
        self.shared.damage.note(fault, gesture.on);
        // Nobody reads it by a view, and the user of that number may be another.
        self.shared.refusals.note(who, gesture, fault, (self.view.is_none()).then_some(&*self.estate));
    }

    /// Tells the audit why a request is about to be refused, in a thread that may wait. That a name is not there is no refusal, and
    /// what is refused stays so where nobody takes the record.
    pub fn tell_of_refusal(&self, who: Who, gesture: Gesture, fault: &Fault) {
        // That the audit takes nothing is what it cannot be told.
        if !gesture.is_told(fault) || matches!(fault, Fault::Vault(VaultError::Audit(_))) {
            return;
        }
        let (target, action, outcome) = (self.target(gesture), gesture.action(), outcome_of(fault.refusal()));
        let why = fault.to_string();
        if let Err(error) = self.vault.audit_refusal(who.caller(), action, &target, outcome, fault.code(), &why) {
            log::error!("there is no record of a refusal: {error}");
        }
    }

    /// The names of what a gesture is on, as far as they can be told.
    fn target(&self, gesture: Gesture) -> Target {
        let Some(ino) = gesture.on.filter(|ino| ino.kind != Kind::Scratch) else { return Target::default() };
        // Where the disk does not read, or the node is gone, there is nothing that has a name.
        let Ok(Some(loaded)) = self.vault.node(ino.node) else { return Target::default() };
        let mut target = self.vault.target(&loaded);
        let version = match ino.kind {
            Kind::Version => self.vault.version(&loaded, ino.version_no()),
            Kind::Field => self.vault.version_of_member(&loaded, ino.ordinal),
            _ => None,
        };
        target.version = version.map(|version| version.id.as_str().to_owned());
        target.member = self.member_name(&loaded, ino);
        target
    }

    /// Tells the tree where its store is.
    pub fn stored_in(&self, directory: PathBuf) {
        let _ = self.shared.store.set(directory);
    }

    /// Tells the tree on which device it is mounted, by which its files are told from those of other mounts.
    pub fn mounted_as(&self, device: String) {
        let _ = self.device.set(device);
    }

    /// What the kernel has to be told of the whole tree's mount since this was last asked: of views it keeps nothing.
    pub fn take_stale(&self) -> Stale {
        self.bits_changed(self.vault.take_stale());
        for Purged { secret, directory } in self.vault.take_purged() {
            self.forget_entries(None, secret, directory);
        }
        std::mem::take(&mut *self.shared.stale.lock())
    }

    /// Wipes scratch files whose time has come.
    pub fn sweep(&self) {
        drop(self.change_scratches(None));
    }

    /// The files in memory, to be changed by the request `op`, of which this is the last step.
    fn change_scratches(&self, op: Option<OpId>) -> ChangingScratches<'_> {
        // What has outlived its time is none of the request's doing.
        ChangingScratches::new(self.shared.scratches.lock(), &self.estate, None).sweep();
        ChangingScratches::new(self.shared.scratches.lock(), &self.estate, op)
    }

    /// Whether the request `op` was carried out before: it comes again where the worker that did it could not answer it.
    fn has_carried_out(&self, op: OpId) -> Result<bool, Fault> {
        Ok(self.estate.has_carried_out(op) || self.vault.has_carried_out(op)?)
    }

    /// What `name` in `parent` stands for, to be taken away by the request `op`; `None` where that has done so before.
    fn found(&self, op: OpId, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Fault> {
        if self.estate.has_carried_out(op) {
            return Ok(None);
        }
        match self.resolve(parent, name)? {
            Some(ino) => Ok(Some(ino)),
            None if self.vault.has_carried_out(op)? => Ok(None),
            None => Err(Fault::NoEntry),
        }
    }

    fn loaded(&self, id: NodeId) -> Result<Arc<Loaded>, Fault> {
        self.vault.node(id)?.ok_or(Fault::NoEntry)
    }

    fn placed(&self, id: NodeId) -> Result<Placed, Fault> {
        self.vault.placed(id)?.ok_or(Fault::NoEntry)
    }

    /// The directory `ino` and its secret.
    fn place(&self, ino: Ino) -> Result<Place, Fault> {
        let directory = self.loaded(ino.node)?;
        let secret = self.vault.secret_of(&directory)?;
        Ok(Place { directory, secret })
    }

    fn row(&self, kind: Kind) -> Result<&'static Row, Fault> {
        tree::of(kind).ok_or(Fault::NoEntry)
    }
}

/// The record of a loaded secret.
fn record(loaded: &Loaded) -> Result<&Secret, Fault> {
    match loaded.as_secret() {
        Some(node) => Ok(&node.secret),
        None => Err(Fault::Vault(VaultError::Unreadable { node: loaded.id() })),
    }
}
