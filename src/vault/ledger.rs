//! One change, from the nodes it touches to one commit of the store.
//!
//! [`Vault::commit`] seals what a [`Batch`] has collected, and the new head over it (counter, counts, set digest), and
//! hands all of it to the engine at once. Invariant: the head in memory is the head on the disk, or the vault takes no
//! further change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::announce::Turned;
use super::batch::{Batch, Standing};
use super::slots::slot_node;
use super::{Caller, Counts, Loaded, Node, Vault, VaultError};
use crate::audit::Trail;
use crate::crypto::{Head, RecordContext, RowKey, SetElement, SlotMark};
use crate::id::NodeId;
use crate::sealed::Sealed;
use crate::store::{
    CommitError, Committed, Expect, Index, Op, Place, Record, Reservation, Revision, RowId, Store as _, Table,
};

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

/// A row that came into the set digest, or went out.
pub(super) struct Moved {
    pub table: Table,
    pub row: RowId,
    pub element: SetElement,
    pub added: bool,
}

/// A record that a commit has written, or removed: what readers will see.
#[allow(clippy::large_enum_variant, reason = "a handful of them, for the time of one commit")]
enum Shown {
    Written {
        id: NodeId,
        /// The list that it was in before.
        from: Option<NodeId>,
        place: Place,
        sealed: Sealed,
        node: Node,
    },
    Removed {
        id: NodeId,
        from: NodeId,
    },
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

impl Vault {
    /// Seals the records of `batch`. Those that go do so first: another may come to stand in their place.
    fn seal(&self, batch: &mut Batch) -> Result<Vec<Shown>, VaultError> {
        let mut shown = Vec::with_capacity(batch.steps().len());
        let steps = batch.take_steps();
        for old in steps.iter().filter(|step| step.new.is_none()).filter_map(|step| step.old.as_ref()) {
            self.undigest(batch, Digested::Records, old.id(), 0, &record_row(old.place(), &old.record.sealed));
            batch.head.records -= 1;
            batch.ops.push(Op::DeleteRecord { id: old.id(), expect: Expect::Revision(old.record.revision) });
            shown.push(Shown::Removed { id: old.id(), from: old.place().parent });
        }
        for step in steps {
            if let Some(new) = step.new {
                shown.push(self.seal_record(batch, step.id, step.old.as_deref(), new)?);
            }
        }
        Ok(shown)
    }

    fn seal_record(
        &self,
        batch: &mut Batch,
        id: NodeId,
        old: Option<&Loaded>,
        Standing { place, node, keys }: Standing,
    ) -> Result<Shown, VaultError> {
        let keys = match keys {
            Some(keys) => keys,
            None => self.keyring.scope(&self.store, place.scope)?,
        };
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
        Ok(Shown::Written { id, from: old.map(|old| old.place().parent), place, sealed, node })
    }

    /// Adds a wrapped key where there is none.
    pub(super) fn add_wrap(&self, batch: &mut Batch, id: RowId, sealed: Sealed) {
        self.digest(batch, Digested::Wraps, id.node, id.no, sealed.as_bytes());
        batch.head.wraps += 1;
        batch.ops.push(Op::PutWrap { id, sealed });
    }

    /// Puts a wrapped key in the place of the one that is there.
    pub(super) fn replace_wrap(&self, batch: &mut Batch, id: RowId, old: &Sealed, new: Sealed) {
        self.undigest(batch, Digested::Wraps, id.node, id.no, old.as_bytes());
        self.digest(batch, Digested::Wraps, id.node, id.no, new.as_bytes());
        batch.ops.push(Op::PutWrap { id, sealed: new });
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

    /// Puts `sealed` into the unlock slot `number`, which is free.
    pub(super) fn put_slot(&self, batch: &mut Batch, number: u8, sealed: Sealed) {
        batch.head.slots[usize::from(number)] = self.keyring.master.slot_mark(self.keyring.store_id, number, &sealed);
        let id = slot_node(number);
        batch.ops.push(Op::PutRecord { id, place: system_place(id), sealed, expect: Expect::Absent });
    }

    /// Empties the unlock slot `number`, in which `old` is.
    pub(super) fn delete_slot(&self, batch: &mut Batch, number: u8, old: &Record) {
        batch.head.slots[usize::from(number)] = SlotMark::NONE;
        batch.ops.push(Op::DeleteRecord { id: old.id, expect: Expect::Revision(old.revision) });
    }

    /// Tells the audit of `batch`, writes it durably, and only then shows it to readers. Under an op already committed, `batch` is
    /// dropped.
    ///
    /// # Errors
    /// `batch` was not written, or may not have been; but where the error [says that it was](VaultError::was_made).
    pub(super) fn commit(
        &self,
        ledger: &mut Ledger,
        mut batch: Batch,
        caller: Caller,
        room: Option<Reservation>,
    ) -> Result<(), VaultError> {
        let op = caller.op;
        self.add_consequences(&mut batch)?;
        let (rotations, happened, gone) = (batch.rotations(), batch.happened(), batch.gone());
        let shown = self.seal(&mut batch)?;
        let stale = std::mem::take(&mut batch.stale);
        batch.head.counter += 1;
        // Not the record of this change: after a power cut it may be missing though the change is there.
        batch.head.audited = batch.head.audited.max(self.trail().map_or(0, Trail::on_disk));
        let sealed = self.keyring.master.seal_head(self.keyring.store_id, &batch.head)?;
        let expect = Expect::Revision(ledger.revision);
        if let Some(doubt) = &*self.doubt.lock() {
            return Err(CommitError::Unavailable(doubt.why.clone()).into());
        }
        batch.ops.push(Op::PutRecord { id: NodeId::HEAD, place: HEAD_PLACE, sealed, expect });
        // It is on its way to the disk while the change is.
        let ticket = self.tell_of_change(caller, &batch.purpose)?;
        self.about_to_tell(&rotations);
        let Committed { revision, again } = match self.store.commit(&batch.ops, op, room) {
            Ok(committed) => committed,
            Err(error) => {
                match error {
                    // The next commit finds out; a watcher that looks in vain does no harm.
                    CommitError::Unknown(_) => {
                        self.tell_of(rotations);
                        self.tell_of_doubt();
                    }
                    CommitError::Conflict | CommitError::Full | CommitError::Unavailable(_) | CommitError::TooLarge => {
                        self.told()
                    }
                }
                self.tell_of_failure(caller, &batch.purpose, &error.to_string());
                self.doubt(op, batch.head, &error);
                return Err(error.into());
            }
        };
        if again {
            // The request had come before: the engine has done nothing now, and what it did then is shown already. Whether
            // anybody was told is not known.
            let told = self.wait_told(ticket);
            self.tell_of(rotations);
            return told;
        }
        ledger.head = batch.head;
        ledger.revision = revision;
        *self.counts.lock() = Counts::of(ledger);
        if let Some(walked) = &mut *self.walked.lock() {
            walked.follow(&batch.moved, &batch.ops);
        }
        self.show(shown, revision);
        self.look_at_rights(&happened);
        self.read_lately.forget(&batch.ops);
        self.stale.lock().extend(stale);
        let told = self.wait_told(ticket);
        // Last of all, so that as little time as can be lies between this and the answer: who is told looks at once, and an mv(1)
        // that is being answered still has the directory in its hands that it replaces.
        self.tell_of(rotations);
        self.tell_events(happened, &gone);
        told
    }

    /// Tells whoever listens of the secrets that were rotated.
    fn tell_of(&self, rotations: Vec<Turned>) {
        if rotations.is_empty() {
            return;
        }
        rotations.into_iter().for_each(|turned| self.announce(turned));
        self.told();
    }

    /// Puts what was committed into the cache, and lets no reader put older rows over it.
    fn show(&self, shown: Vec<Shown>, revision: Revision) {
        let mut cache = self.cache.lock();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for change in shown {
            match change {
                Shown::Written { id, from, place, sealed, node } => {
                    self.purges.note(id, Some(&node));
                    self.key_ends.note(id, Some(&node));
                    self.rotations.note(&node);
                    let record = Record { id, place, revision, sealed };
                    cache.write(Arc::new(Loaded { record, node }), from);
                }
                Shown::Removed { id, from } => {
                    self.purges.note(id, None);
                    self.key_ends.note(id, None);
                    cache.remove(id, from);
                }
            }
        }
    }

    pub(super) fn record_context(&self, id: NodeId, place: Place) -> RecordContext {
        let Place { scope, parent, index } = place;
        RecordContext { store: self.keyring.store_id, id, scope, parent, index: index.0 }
    }

    fn digest(&self, batch: &mut Batch, table: Digested, node: NodeId, no: u32, row: &[u8]) {
        let moved = self.moved(table, RowId { node, no }, row, true);
        batch.head.digest.add(&moved.element);
        batch.moved.push(moved);
    }

    fn undigest(&self, batch: &mut Batch, table: Digested, node: NodeId, no: u32, row: &[u8]) {
        let moved = self.moved(table, RowId { node, no }, row, false);
        batch.head.digest.remove(&moved.element);
        batch.moved.push(moved);
    }

    fn moved(&self, digested: Digested, row: RowId, bytes: &[u8], added: bool) -> Moved {
        let key = RowKey { node: row.node, no: row.no };
        let element = self.keyring.master.set_element(self.keyring.store_id, digested as u8, key, bytes);
        let table = match digested {
            Digested::Records => Table::Records,
            Digested::Wraps => Table::Wraps,
        };
        Moved { table, row, element, added }
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
