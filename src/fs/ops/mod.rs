//! The tree's operations, in the tree's words: no kernel structure, no reply, no thread.
//!
//! Each takes who asks and what inode, asks the table what that is, and the vault to do it. Reading order: `names`, `attr`,
//! `text`, `xattr` (what is there), `open`, `write`, `foresee`, `commit` (values and texts), `make`, `remove`, `rename`, `change`. Those that change something are
//! called from one thread in the order of the requests (`fuse` sees to it), so two of them never race; those that read may
//! come from any.

mod attr;
mod change;
mod commit;
mod foresee;
mod make;
mod names;
mod open;
mod remove;
mod rename;
mod text;
mod write;
mod xattr;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use attr::{Attr, Entry};
pub use change::AttrChange;
pub use open::{How, Reading};
pub use rename::At;
pub use write::Close;

use super::Options;
use super::draft::Shares;
use super::errno::Fault;
use super::inode::{Ino, Kind};
use super::opens::Opens;
use super::refusals::{Gesture, Refusals};
use super::scratch::Scratches;
use super::tree::{self, Row};
use crate::id::{NodeId, OpId};
use crate::secret::Secret;
use crate::vault::{Caller, Loaded, Placed, Vault, VaultError};

/// How long the kernel may keep a name or attributes that only change through the mount itself.
const LONG: Duration = Duration::from_secs(3600);

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    pub uid: u32,
    pub gid: u32,
    /// The calling thread; 0 where the kernel does not say.
    pub tid: u32,
    /// The request, as the store remembers it.
    pub op: OpId,
}

impl Who {
    /// For a change that is committed under this request's id.
    fn caller(self) -> Caller {
        Caller { uid: self.uid, gid: self.gid, op: self.op }
    }
}

/// A mount's tree.
pub struct Tree {
    vault: Arc<Vault>,
    options: Options,
    opens: Opens,
    scratches: Mutex<Scratches>,
    shares: Shares,
    refusals: Refusals,
    /// The `major:minor` of the mount, once there is one.
    device: OnceLock<String>,
    /// What the kernel keeps and no longer holds.
    stale: Mutex<Stale>,
    started: Instant,
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
    pub fn new(vault: Arc<Vault>, options: Options) -> Self {
        Self {
            vault,
            options,
            opens: Opens::default(),
            scratches: Mutex::default(),
            shares: Shares::default(),
            refusals: Refusals::default(),
            device: OnceLock::new(),
            stale: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Logs why a request was refused, and keeps it for the caller to read.
    pub fn refuse(&self, who: Who, gesture: Gesture, fault: &Fault) {
        self.refusals.note(who, gesture, fault);
    }

    /// Tells the tree on which device it is mounted, by which its files are told from those of other mounts.
    pub fn mounted_as(&self, device: String) {
        let _ = self.device.set(device);
    }

    /// What the kernel has to be told since this was last asked.
    pub fn take_stale(&self) -> Stale {
        std::mem::take(&mut *self.stale.lock())
    }

    /// Wipes scratch files whose time has come.
    pub fn sweep(&self) {
        self.scratches.lock().sweep();
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
