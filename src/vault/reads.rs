//! When each secret was last read, and by whom: known at once, and kept in batches.
//!
//! A read must not wait for a commit, and a secret that is read a thousand times a second shall not be written as often. So reads
//! are noted here, and every now and then those are kept in the records whose kept moment is old. Invariant: what is kept is never
//! later than the last read, and after a process has ended without a word not earlier than it by much more than [`FRESH`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::{Loaded, Node, SecretNode, Vault, VaultError};
use crate::id::NodeId;
use crate::secret::LastRead;
use crate::store::Reservation;

/// A kept moment that is no older than this, in nanoseconds, is good enough for reports that count days.
const FRESH: u64 = 10 * 60 * 1_000_000_000;
/// Secrets of one commit: as many as every engine takes at once.
const BATCH: usize = 100;
/// Most secrets that are noted at a time; then the moment of the next one is lost, not the read.
const NOTED_MAX: usize = 64 * 1024;

/// Reads that are not kept yet.
#[derive(Default)]
pub(super) struct Reads(Mutex<HashMap<NodeId, LastRead>>);

impl Vault {
    /// Notes that the value of secret `id` was read by user `uid`.
    pub(super) fn note_read(&self, id: NodeId, uid: u32) {
        let at = self.now();
        let mut reads = self.reads.0.lock();
        if reads.len() < NOTED_MAX || reads.contains_key(&id) {
            reads.insert(id, LastRead { at, uid });
        }
    }

    /// The last reading of `secret`, if it ever was read.
    pub fn last_read(&self, secret: &Loaded) -> Option<LastRead> {
        let noted = self.reads.0.lock().get(&secret.id()).copied();
        let kept = secret.as_secret().and_then(|node| node.secret.last_read);
        // A clock that was set back does not make an earlier read the last.
        match (noted, kept) {
            (Some(noted), Some(kept)) if kept.at > noted.at => Some(kept),
            (noted, kept) => noted.or(kept),
        }
    }

    /// Keeps what was noted: all of it, or where `all` is not set, that of which the record has an old moment or none.
    pub fn keep_reads(&self, all: bool) -> Result<(), VaultError> {
        let noted: Vec<(NodeId, LastRead)> = self.reads.0.lock().iter().map(|(id, read)| (*id, *read)).collect();
        for some in noted.chunks(BATCH) {
            self.keep_some(some, all)?;
        }
        Ok(())
    }

    fn keep_some(&self, some: &[(NodeId, LastRead)], all: bool) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let mut batch = Batch::new(&ledger, Purpose::upkeep());
        let mut done = Vec::new();
        for (id, read) in some {
            // What is gone, or cannot be read, is in nobody's way.
            let Some((loaded, node)) = self.node(*id).ok().flatten().and_then(|loaded| {
                let node = self.with_read(&loaded, *read, all).ok()?;
                Some((loaded, node))
            }) else {
                done.push((*id, *read));
                continue;
            };
            if let Some(node) = node {
                batch.put(*id, loaded.place(), node, Some(&loaded));
                done.push((*id, *read));
            }
        }
        if !batch.is_empty() {
            self.commit(&mut ledger, batch, of_daemon("upkeep")?, Some(Reservation::standing()))?;
        }
        let mut reads = self.reads.0.lock();
        for (id, read) in done {
            if reads.get(&id) == Some(&read) {
                reads.remove(&id);
            }
        }
        Ok(())
    }

    /// The record with `read` in it, where that is worth a commit.
    fn with_read(&self, loaded: &Arc<Loaded>, read: LastRead, all: bool) -> Result<Option<Node>, VaultError> {
        let node = loaded.as_secret().ok_or(VaultError::Unreadable { node: loaded.id() })?;
        let kept = node.secret.last_read.map_or(0, |kept| kept.at.0);
        let is_due = read.at.0 > kept && (all || self.now().0.saturating_sub(kept) >= FRESH);
        if !is_due {
            return Ok(None);
        }
        let mut secret = node.secret.clone();
        secret.last_read = Some(read);
        Ok(Some(Node::Secret(SecretNode { secret, access: node.access })))
    }
}
