//! When the head in memory may not be the head on the disk.
//!
//! A commit whose outcome is not known may come to be later; one that conflicts has met a head that nobody here has written.
//! From then on what is in memory is in doubt: no change is made on top of it until the engine can tell what came of that
//! commit, and the head was read anew. Reads go on.
//!
//! Invariant: the head in memory never goes back, nor to a store that went its own way. What is found on the disk is taken only
//! where it may have come of this head; who puts an older copy of the store in its place, while it is open, ends all changes.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::ledger::Ledger;
use super::{CommitError, Counts, Vault, VaultError};
use crate::crypto::{Head, MasterKey};
use crate::id::{NodeId, OpId, StoreId};
use crate::store::{Status, Store};

/// A commit that has left the head in doubt.
#[derive(Clone)]
pub(super) struct Doubt {
    op: OpId,
    after: After,
    /// What the engine said, or what was found since.
    pub why: String,
    /// Whether the head was found to be none that may be taken.
    damaged: bool,
}

/// How the commit ended, and with it which heads may be on the disk.
#[derive(Clone)]
enum After {
    /// The one in memory, or this one, which the commit was to write.
    Unknown(Box<Head>),
    /// The one in memory, where other rows were in the way; or one that is further on.
    Conflict,
}

impl Ledger {
    /// The head as the disk has it; `None` where there is none.
    pub fn read(store: &dyn Store, master: &MasterKey, id: StoreId) -> Result<Option<Self>, VaultError> {
        let Some(record) = store.get(NodeId::HEAD)? else { return Ok(None) };
        Ok(Some(Self { head: master.open_head(id, &record.sealed)?, revision: record.revision }))
    }
}

impl Vault {
    /// The ledger, as every verb takes it: what is in doubt is cleared up first.
    ///
    /// # Errors
    /// `Unavailable` as long as it cannot be; `Replaced` where another store is found in the place of this one.
    pub(super) fn ledger(&self) -> Result<MutexGuard<'_, Ledger>, VaultError> {
        let mut ledger = self.ledger.lock();
        let doubt = self.doubt.lock().clone();
        if let Some(doubt) = doubt {
            if let Err(error) = self.clear_up(&mut ledger, &doubt) {
                self.stay_in(doubt, &error);
                return Err(error);
            }
            *self.doubt.lock() = None;
        }
        Ok(ledger)
    }

    /// Notes that the outcome of `op`, which was to write `head`, puts the head in memory in doubt, if it does.
    pub(super) fn doubt(&self, op: OpId, head: Head, error: &CommitError) {
        let after = match error {
            CommitError::Unknown(_) => After::Unknown(Box::new(head)),
            CommitError::Conflict => After::Conflict,
            // Nothing was written.
            CommitError::Full | CommitError::Unavailable(_) | CommitError::TooLarge => return,
        };
        log::error!("the head is read anew before the next change: {error}");
        *self.doubt.lock() = Some(Doubt { op, after, why: error.to_string(), damaged: false });
    }

    /// Keeps what was found where a doubt could not be cleared up, and logs it once.
    fn stay_in(&self, doubt: Doubt, error: &VaultError) {
        let why = error.to_string();
        if error.is_damage() && doubt.why != why {
            log::error!("no change is made: {why}");
            *self.doubt.lock() = Some(Doubt { why, damaged: true, ..doubt });
        }
    }

    /// Whether the store has no head any more that this vault can go on from. It takes no change then.
    pub fn has_lost_head(&self) -> bool {
        self.doubt.lock().as_ref().is_some_and(|doubt| doubt.damaged)
    }

    /// How the engine below stood when it was last measured, and whether what it holds is known.
    pub fn store_status(&self) -> Status {
        let mut status = self.store.remembered();
        if let Some(doubt) = &*self.doubt.lock() {
            status.read_only.get_or_insert_with(|| doubt.why.clone());
        }
        status
    }

    /// Takes the store for what it is, if it may be that: the head is read, and all that memory keeps of other records is
    /// forgotten.
    fn clear_up(&self, ledger: &mut Ledger, doubt: &Doubt) -> Result<(), VaultError> {
        // Before the engine can tell this, what it answers to reads may not be what it will come to.
        let committed = self.store.committed(doubt.op).map_err(|error| CommitError::Unavailable(error.to_string()))?;
        let read = Ledger::read(&self.store, &self.keyring.master, self.keyring.store_id)?;
        let read = read.ok_or(VaultError::Lost { what: "the head", node: NodeId::HEAD })?;
        let may_be = match &doubt.after {
            // A request that had come before has an older revision, and has done nothing now.
            After::Unknown(written) if committed.is_some_and(|revision| revision > ledger.revision) => {
                read.head == **written
            }
            After::Unknown(_) => read.head == ledger.head,
            After::Conflict => read.head == ledger.head || read.head.counter > ledger.head.counter,
        };
        if !may_be {
            return Err(VaultError::Replaced { left: ledger.head.counter, found: read.head.counter });
        }
        *ledger = read;
        *self.counts.lock() = Counts::of(ledger);
        // What a scrub has summed may be of rows that are others by now: this pass compares nothing.
        *self.walked.lock() = None;
        let mut cache = self.cache.lock();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        cache.clear();
        drop(cache);
        self.read_lately.clear();
        self.keyring.forget();
        self.learn_top();
        self.doubt_purges();
        // What is not known may have been a purge.
        self.owe_shredding();
        // What readers see is what came of it only now.
        self.tell_of_doubt();
        Ok(())
    }
}
