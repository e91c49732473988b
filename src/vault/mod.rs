//! The verbs: load, decide, tell the audit, seal, commit. The only effectful middle.
//!
//! A verb takes the ledger's lock, loads what it touches, lets `secret` decide, seals the outcome and commits it in one step;
//! readers take no lock but the cache's. It knows neither the kernel nor an engine's files, and decides nothing itself: what
//! may happen stands in `secret`.
//!
//! Reading order: `node` (what is stored), `error`, `clock`, `keyring` (its keys), `load` (finding it), `cache` and `memory` (without a
//! disk where that is possible), `batch`, `consequences`, `ledger` and `doubt` (writing it), `tree`, `secrets`, `members`, `create`, `deletion`, `keys`, `rewrap`,
//! `instances`, `policies`, `promise` (the verbs), `way`, `decisions` and `trial` (who may), `values` and `rows` (reading), `audited` (what is told of it), `reads` (when it was), `shred`, `announce`, `happened`, `feed`,
//! `rights` (telling of it), `purges`, `due` (what ends by itself), `rotation` and `agenda` (by functions), `inherit`,
//! `boot` and `slots` (making and
//! unlocking a store), `snapshot` (copying it), `anchor`, `verify`, `counted`, `scrub` (whether it is whole and the latest).
//!
//! Invariants: plaintext leaves only as a [`crate::value::Value`]; nothing is shown to a reader before it is durable; what a
//! refused verb was about to change stays as it was.

mod agenda;
mod anchor;
mod announce;
mod audited;
mod batch;
mod boot;
mod cache;
mod clock;
mod consequences;
mod counted;
mod create;
mod decisions;
mod deletion;
mod doubt;
mod due;
mod error;
mod feed;
mod happened;
mod inherit;
mod instances;
mod keyring;
mod keys;
mod ledger;
mod load;
mod members;
mod memory;
mod node;
mod policies;
mod promise;
mod purges;
mod reads;
mod rewrap;
mod rights;
mod rotation;
mod rows;
mod scrub;
mod secrets;
mod shred;
mod slots;
mod snapshot;
mod tree;
mod trial;
mod values;
mod verify;
mod way;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub use agenda::RunCounts;
pub use anchor::Anchor;
pub use announce::Rotated;
pub use audited::{Disclosed, outcome_of};
pub use boot::{Owner, init, master_key, open, random_bytes, unlock};
pub use clock::Clock;
pub use create::Creation;
pub use decisions::{Asking, Needs};
pub use due::{Ended, Purged};
pub use error::{CommitError, StoreError, UnlockError, VaultError};
pub use feed::{Event, Taken};
pub use happened::{Subject, What};
pub use load::{Listing, Placed};
pub use members::{MemberChange, MemberDraft, dotenv_of, member_of};
pub use memory::{from_memory, may_wait};
pub use node::{Directory, Instance, Key, Loaded, Node, Root, SecretNode, trash_list};
pub use rewrap::Rewrapped;
pub use rotation::{Agenda, Task};
pub use scrub::{SCRUB_PAGE, SCRUB_TRIES, Scrubbed};
pub use secrets::{Draft, Written};
pub use slots::{SlotInfo, slots};
pub use tree::AccessChange;
pub use trial::Trial;
pub use verify::VerifyReport;

use crate::audit::Trail;
pub use crate::audit::{AuditError, CLOSE, Exe, Facts, FactsOf, Head as AuditHead, Outcome, Target, Verified, Wanted};
use crate::id::{NodeId, OpId};
use crate::people::People;
pub use crate::secret::Access;
use crate::secret::{Account, Grant};
use crate::store::Store;
pub use crate::store::{Reservation as Room, Snapshot};
use crate::time::SteadyClock;
use agenda::Rotations;
use announce::Listeners;
use cache::Cache;
use clock::MachineClock;
use doubt::Doubt;
use feed::Feed;
use inherit::Heir;
use keyring::Keyring;
use ledger::Ledger;
use memory::Disk;
use promise::Promises;
use purges::Purges;
use reads::Reads;
use rights::Rights;
use rows::ReadLately;
use scrub::Walked;
use shred::Owed;
use values::Pins;

/// Who asks, and under which id the change is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The user, who owns what it makes.
    pub uid: u32,
    /// The group that what it makes gets.
    pub gid: u32,
    /// The thread that waits for the answer; 0 where nobody does.
    pub tid: u32,
    /// The request. One that comes again under its id does nothing more.
    pub op: OpId,
    /// What was done to ask for it, for the audit: `close`, `mkdir`, `api`.
    pub gesture: &'static str,
    /// Its account, where that is not the store's.
    pub account: Option<Account>,
    /// What lets it do so, for the audit.
    pub by: Grant,
}

/// An unlocked store.
pub struct Vault {
    store: Disk,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    /// None until somebody asks.
    steady: Mutex<Option<SteadyClock>>,
    /// Taken by [`Vault::ledger`].
    ledger: Mutex<Ledger>,
    /// Why the ledger may not be what the disk has; locked for moments, so that who asks never waits for a disk.
    doubt: Mutex<Option<Doubt>>,
    cache: Mutex<Cache>,
    /// Rises with each commit shown; a reader that began before it may not fill the cache.
    epoch: AtomicU64,
    read_lately: ReadLately,
    pins: Pins,
    promises: Promises,
    reads: Reads,
    owed: Owed,
    listeners: Listeners,
    feed: Feed,
    rights: Rights,
    purges: Purges,
    key_ends: Purges,
    rotations: Rotations,
    /// Whether there may be data keys under an older version of their key.
    rewraps: AtomicBool,
    trail: OnceLock<Trail>,
    heir: Heir,
    people: People,
    /// Directories whose permission bits are seen as others than before.
    stale: Mutex<Vec<NodeId>>,
    /// Secrets that were purged by themselves, until whoever shows the tree asks for them.
    purged: Mutex<Vec<Purged>>,
    /// While a scrub is under way.
    walked: Mutex<Option<Walked>>,
    scrubbed: Mutex<Scrubbed>,
    /// Records that a scrub could not read, and will look at again.
    unread: Mutex<BTreeSet<NodeId>>,
    /// As of the last commit; apart from the ledger, so that who asks never waits for a disk.
    counts: Mutex<Counts>,
}

impl Vault {
    fn new(store: Arc<dyn Store>, keyring: Keyring, ledger: Ledger) -> Self {
        let counts = Counts::of(&ledger);
        Self {
            store: Disk::new(store),
            keyring,
            clock: Arc::new(MachineClock::new()),
            steady: Mutex::default(),
            ledger: Mutex::new(ledger),
            doubt: Mutex::default(),
            cache: Mutex::default(),
            epoch: AtomicU64::new(0),
            read_lately: ReadLately::default(),
            pins: Pins::default(),
            promises: Promises::default(),
            reads: Reads::default(),
            owed: Owed::default(),
            listeners: Listeners::default(),
            feed: Feed::default(),
            rights: Rights::default(),
            purges: Purges::of_secrets(),
            key_ends: Purges::of_keys(),
            rotations: Rotations::default(),
            rewraps: AtomicBool::new(true),
            trail: OnceLock::new(),
            heir: Heir::default(),
            people: People::default(),
            stale: Mutex::default(),
            purged: Mutex::default(),
            walked: Mutex::default(),
            scrubbed: Mutex::default(),
            unread: Mutex::default(),
            counts: Mutex::new(counts),
        }
    }

    /// Leaves the store at rest: it knows how far the audit has come, and the engine's log is emptied, so that its files can be
    /// copied.
    pub fn rest(&self) -> Result<(), VaultError> {
        if let Some(trail) = self.trail() {
            trail.rest();
        }
        // It takes along how far the audit has come. Where nobody has asked for the time there is nothing to keep.
        let was_asked = self.steady.lock().is_some();
        if was_asked && let Err(error) = self.keep_steady(true) {
            log::warn!("how much time has passed is not kept to the last: {error}");
        }
        if let Err(error) = self.keep_audited() {
            log::warn!("the store does not know how far the audit has come: {error}");
        }
        let _ledger = self.ledger()?;
        self.shred()
    }

    /// The store's identity in hexadecimal.
    pub fn store_id(&self) -> String {
        self.keyring.store_id.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many records are kept in memory.
    pub fn cached_records(&self) -> usize {
        self.cache.lock().count()
    }

    /// How many records and versions there are, and how many changes have been made.
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }
}

/// Sizes of a store, from its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Nodes of the tree, the root among them; header, head and unlock slots are not counted.
    pub records: u64,
    /// Values that are stored.
    pub versions: u64,
    /// Commits since the store was made, which was the first.
    pub changes: u64,
}

impl Counts {
    fn of(ledger: &Ledger) -> Self {
        Self { records: ledger.head.records, versions: ledger.head.values, changes: ledger.head.counter }
    }
}
