//! The verbs: load, decide, seal, commit. The only effectful middle.
//!
//! A verb takes the ledger's lock, loads what it touches, lets `secret` decide, seals the outcome and commits it in one step;
//! readers take no lock but the cache's. It knows neither the kernel nor an engine's files, and decides nothing itself: what
//! may happen stands in `secret`.
//!
//! Reading order: `node` (what is stored), `load` (finding it), `ledger` (writing it), `tree`, `secrets`, `values`, `rows`, `promise`
//! (the verbs), `boot` and `slots` (making and unlocking a store), `anchor`, `verify`.
//!
//! Invariants: plaintext leaves only as a [`crate::value::Value`]; nothing is shown to a reader before it is durable; what a
//! refused verb was about to change stays as it was.

mod anchor;
mod boot;
mod error;
mod keyring;
mod ledger;
mod load;
mod node;
mod promise;
mod rows;
mod secrets;
mod slots;
mod tree;
mod values;
mod verify;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use lru::LruCache;
use parking_lot::Mutex;

pub use anchor::Anchor;
pub use boot::{Owner, init, unlock};
pub use error::{CommitError, StoreError, UnlockError, VaultError};
pub use load::{Listing, Placed};
pub use node::{Access, Directory, Instance, Key, Loaded, Node, Root, SecretNode};
pub use secrets::{Draft, Written};
pub use slots::{SlotInfo, slots};
pub use tree::AccessChange;
pub use verify::VerifyReport;

use crate::id::{NodeId, OpId};
pub use crate::store::Reservation as Room;
use crate::store::{Status, Store};
use crate::time::Timestamp;
use keyring::Keyring;
use ledger::Ledger;
use promise::Promises;
use rows::ReadLately;
use values::Pins;

/// Where the time comes from; tests bring their own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }
}

/// Who asks, and under which id the change is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub op: OpId,
}

/// Decoded records kept in memory: enough for the working set of a busy host, some 8 MiB at most.
const CACHED_NODES: std::num::NonZeroUsize = std::num::NonZeroUsize::new(8_192).expect("8,192 is not zero");

/// An unlocked store.
pub struct Vault {
    store: Arc<dyn Store>,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
    cache: Mutex<LruCache<NodeId, Arc<Loaded>>>,
    /// Rises with each commit shown; a reader that began before it may not fill the cache.
    epoch: AtomicU64,
    read_lately: ReadLately,
    pins: Pins,
    promises: Promises,
    /// As of the last commit; apart from the ledger, so that who asks never waits for a disk.
    counts: Mutex<Counts>,
}

impl Vault {
    fn new(store: Arc<dyn Store>, keyring: Keyring, ledger: Ledger) -> Self {
        let counts = Counts::of(&ledger);
        Self {
            store,
            keyring,
            clock: Arc::new(WallClock),
            ledger: Mutex::new(ledger),
            cache: Mutex::new(LruCache::new(CACHED_NODES)),
            epoch: AtomicU64::new(0),
            read_lately: ReadLately::default(),
            pins: Pins::default(),
            promises: Promises::default(),
            counts: Mutex::new(counts),
        }
    }

    /// The same vault under another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The moment as the vault sees it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Leaves the store at rest: the engine's log is emptied, so that its files can be copied.
    pub fn rest(&self) -> Result<(), VaultError> {
        let _ledger = self.ledger.lock();
        Ok(self.store.shred()?)
    }

    /// How the engine below stands.
    pub fn store_status(&self) -> Status {
        self.store.status()
    }

    /// The store's identity in hexadecimal.
    pub fn store_id(&self) -> String {
        self.keyring.store_id.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many records and versions there are, and how many changes have been made.
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }
}

/// Sizes of a store, from its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub versions: u64,
    pub changes: u64,
}

impl Counts {
    fn of(ledger: &Ledger) -> Self {
        Self { records: ledger.head.records, versions: ledger.head.values, changes: ledger.head.counter }
    }
}
