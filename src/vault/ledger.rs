//! One change, from the nodes it touches to one commit of the store.
//!
//! A [`Batch`] collects what a verb writes; [`Vault::commit`] seals the new head over it (counter, counts, set digest) and
//! hands all of it to the engine at once. Invariant: the head in memory is the head on the disk, or the vault takes no
//! further change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Counts, Loaded, Node, Vault, VaultError};
use crate::crypto::{Head, RecordContext, RowKey};
use crate::id::{NodeId, OpId};
use crate::sealed::Sealed;
use crate::store::{CommitError, Expect, Index, Op, Place, Record, Reservation, Revision, RowId};

/// The tables that the set digest covers. Values are not among them: they are written once, and each is bound to its
/// version by the seal.
#[derive(Clone, Copy)]
pub(super) enum Digested {
    Records = 1,
    Wraps = 3,
}

/// The head as it stands on the disk.
pub(super) struct Ledger {
    pub head: Head,
    pub revision: Revision,
}

/// A change in the making. It is written whole, or not at all.
pub(super) struct Batch {
    ops: Vec<Op>,
    head: Head,
    /// What readers will see once it is written.
    shown: Vec<Shown>,
}

/// A record that a commit has written, or removed.
#[allow(clippy::large_enum_variant, reason = "a handful of them, for the time of one commit")]
enum Shown {
    Written { id: NodeId, place: Place, sealed: Sealed, node: Node },
    Removed(NodeId),
}

/// The bytes of a record's row that the set digest covers: its place and its seal.
pub(super) fn record_row(place: Place, sealed: &Sealed) -> Vec<u8> {
    let mut row = Vec::with_capacity(24 + sealed.as_bytes().len());
    row.extend_from_slice(&place.scope.0.to_le_bytes());
    row.extend_from_slice(&place.parent.0.to_le_bytes());
    row.extend_from_slice(&place.index.0);
    row.extend_from_slice(sealed.as_bytes());
    row
}

impl Batch {
    /// Nothing yet, on top of the head in `ledger`.
    pub fn new(ledger: &Ledger) -> Self {
        Self { ops: Vec::new(), head: ledger.head.clone(), shown: Vec::new() }
    }

    /// `count` node numbers in a row that were never given before; the first of them.
    pub fn new_nodes(&mut self, count: u32) -> Result<NodeId, VaultError> {
        let first = self.head.next_node;
        self.head.next_node = first.checked_add(count).ok_or(VaultError::OutOfNodes)?;
        Ok(NodeId(first))
    }
}

impl Vault {
    /// Writes `node` at `place`: in the place of `old`, or anew.
    pub(super) fn put(
        &self,
        batch: &mut Batch,
        id: NodeId,
        place: Place,
        node: Node,
        old: Option<&Loaded>,
    ) -> Result<(), VaultError> {
        let keys = self.keyring.scope(&*self.store, place.scope)?;
        self.put_sealed_by(batch, &keys, id, place, node, old)
    }

    /// As [`Vault::put`], for a scope whose keys are not stored yet.
    pub(super) fn put_sealed_by(
        &self,
        batch: &mut Batch,
        keys: &crate::crypto::NodeKeys,
        id: NodeId,
        place: Place,
        node: Node,
        old: Option<&Loaded>,
    ) -> Result<(), VaultError> {
        let plain = serde_json::to_vec(&node).map_err(|_| VaultError::Unreadable { node: id })?;
        let sealed = keys.seal_record(self.record_context(id, place), &plain)?;
        let expect = match old {
            Some(old) => {
                self.undigest(batch, Digested::Records, id, 0, &record_row(old.place(), &old.record.sealed));
                Expect::Revision(old.record.revision)
            }
            None => {
                batch.head.records += 1;
                Expect::Absent
            }
        };
        self.digest(batch, Digested::Records, id, 0, &record_row(place, &sealed));
        batch.ops.push(Op::PutRecord { id, place, sealed: sealed.clone(), expect });
        batch.shown.push(Shown::Written { id, place, sealed, node });
        Ok(())
    }

    /// Removes the record of `old`.
    pub(super) fn delete(&self, batch: &mut Batch, old: &Loaded) {
        self.undigest(batch, Digested::Records, old.id(), 0, &record_row(old.place(), &old.record.sealed));
        batch.head.records -= 1;
        batch.ops.push(Op::DeleteRecord { id: old.id(), expect: Expect::Revision(old.record.revision) });
        batch.shown.push(Shown::Removed(old.id()));
    }

    /// Adds a wrapped key where there is none.
    pub(super) fn add_wrap(&self, batch: &mut Batch, id: RowId, sealed: Sealed) {
        self.digest(batch, Digested::Wraps, id.node, id.no, sealed.as_bytes());
        batch.head.wraps += 1;
        batch.ops.push(Op::PutWrap { id, sealed });
    }

    /// Removes a wrapped key; what it wrapped cannot be opened any more.
    pub(super) fn delete_wrap(&self, batch: &mut Batch, id: RowId) -> Result<(), VaultError> {
        let old = self.store.wrap(id)?.ok_or(VaultError::Lost { what: "a wrapped key", node: id.node })?;
        self.undigest(batch, Digested::Wraps, id.node, id.no, old.as_bytes());
        batch.head.wraps -= 1;
        batch.ops.push(Op::DeleteWrap { id });
        Ok(())
    }

    pub(super) fn add_value(&self, batch: &mut Batch, id: RowId, sealed: Sealed) {
        batch.head.values += 1;
        batch.ops.push(Op::PutValue { id, sealed });
    }

    pub(super) fn delete_value(&self, batch: &mut Batch, id: RowId) {
        batch.head.values -= 1;
        batch.ops.push(Op::DeleteValue { id });
    }

    /// Writes `batch` durably and only then shows it to readers. Under an `op` already committed, `batch` is dropped.
    pub(super) fn commit(
        &self,
        ledger: &mut Ledger,
        mut batch: Batch,
        op: OpId,
        room: Option<Reservation>,
    ) -> Result<(), VaultError> {
        batch.head.counter += 1;
        let sealed = self.keyring.master.seal_head(self.keyring.store_id, &batch.head)?;
        let expect = Expect::Revision(ledger.revision);
        batch.ops.push(Op::PutRecord { id: NodeId::HEAD, place: HEAD_PLACE, sealed, expect });
        let revision = match self.store.commit(&batch.ops, op, room) {
            Ok(revision) => revision,
            Err(CommitError::Unknown(why)) => self.store.committed(op)?.ok_or(CommitError::Unavailable(why))?,
            Err(error) => return Err(error.into()),
        };
        if revision <= ledger.revision {
            // The request had come before: the engine has done nothing now, and what it did then is shown already.
            return Ok(());
        }
        ledger.head = batch.head;
        ledger.revision = revision;
        *self.counts.lock() = Counts::of(ledger);
        self.show(batch.shown, revision);
        self.read_lately.forget(&batch.ops);
        Ok(())
    }

    /// Puts what was committed into the cache, and lets no reader put older rows over it.
    fn show(&self, shown: Vec<Shown>, revision: Revision) {
        let mut cache = self.cache.lock();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for change in shown {
            match change {
                Shown::Written { id, place, sealed, node } => {
                    let record = Record { id, place, revision, sealed };
                    cache.put(id, Arc::new(Loaded { record, node }));
                }
                Shown::Removed(id) => {
                    cache.pop(&id);
                }
            }
        }
    }

    pub(super) fn record_context(&self, id: NodeId, place: Place) -> RecordContext {
        let Place { scope, parent, index } = place;
        RecordContext { store: self.keyring.store_id, id, scope, parent, index: index.0 }
    }

    fn digest(&self, batch: &mut Batch, table: Digested, node: NodeId, no: u32, row: &[u8]) {
        batch.head.digest.add(&self.keyring.master.set_element(
            self.keyring.store_id,
            table as u8,
            RowKey { node, no },
            row,
        ));
    }

    fn undigest(&self, batch: &mut Batch, table: Digested, node: NodeId, no: u32, row: &[u8]) {
        batch.head.digest.remove(&self.keyring.master.set_element(
            self.keyring.store_id,
            table as u8,
            RowKey { node, no },
            row,
        ));
    }
}

/// Header, head and slots stand in a list of their own, which no directory lists.
pub(super) const SYSTEM_LIST: NodeId = NodeId(0);

/// Where the head stands: its own id is its name.
pub(super) const HEAD_PLACE: Place = system_place(NodeId::HEAD);

/// The place of a record that is found by its id alone.
pub(super) const fn system_place(id: NodeId) -> Place {
    let n = id.0.to_be_bytes();
    let index = Index([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n[0], n[1], n[2], n[3]]);
    Place { scope: SYSTEM_LIST, parent: SYSTEM_LIST, index }
}
