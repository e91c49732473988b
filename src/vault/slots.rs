//! Unlock slots: several keys or passphrases may open one store.

use super::boot::new_op;
use super::ledger::system_place;
use super::{Vault, VaultError};
use crate::crypto::{KdfParams, SlotKind, Source, open_slot, seal_slot, slot_kind};
use crate::id::NodeId;
use crate::store::{Expect, Op, Record, Store};

/// The most unlock slots a store has: few, so that trying all of them costs little.
pub(super) const SLOTS: u8 = 8;

/// The record that slot `number` stands in.
pub(super) fn slot_node(number: u8) -> NodeId {
    NodeId(NodeId::FIRST_SLOT.0 + u32::from(number))
}

/// One unlock slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    pub number: u8,
    /// What opens it; `None` when the slot is damaged.
    pub kind: Option<SlotKind>,
}

/// The slots in use of a store that nobody has unlocked.
pub fn slots(store: &dyn Store) -> Result<Vec<SlotInfo>, VaultError> {
    let used = slot_records(store)?;
    let info = |(number, record): &(u8, Record)| SlotInfo { number: *number, kind: slot_kind(&record.sealed).ok() };
    Ok(used.iter().map(info).collect())
}

fn slot_records(store: &dyn Store) -> Result<Vec<(u8, Record)>, VaultError> {
    let mut used = Vec::new();
    for number in 0..SLOTS {
        if let Some(record) = store.get(slot_node(number))? {
            used.push((number, record));
        }
    }
    Ok(used)
}

impl Vault {
    /// The slots in use.
    pub fn slots(&self) -> Result<Vec<SlotInfo>, VaultError> {
        slots(&*self.store)
    }

    /// The number of the slot that `source` opens, if one does.
    pub fn slot_of(&self, source: &Source<'_>) -> Result<Option<u8>, VaultError> {
        Ok(self.opened_by(source, &slot_records(&*self.store)?))
    }

    fn opened_by(&self, source: &Source<'_>, used: &[(u8, Record)]) -> Option<u8> {
        let opens = |(number, record): &&(u8, Record)| {
            open_slot(self.keyring.store_id, *number, &record.sealed, source).is_ok()
        };
        used.iter().find(opens).map(|(number, _)| *number)
    }

    /// Adds a slot for `source`, and opens it from what was stored before it says so. Answers its number.
    pub fn add_slot(&self, source: &Source<'_>, kdf: KdfParams) -> Result<u8, VaultError> {
        let _ledger = self.ledger.lock();
        let used = slot_records(&*self.store)?;
        // A second slot for it would let it in again once the first is removed.
        if let Some(number) = self.opened_by(source, &used) {
            let what = match source {
                Source::KeyFile(_) => "key",
                Source::Passphrase(_) => "passphrase",
            };
            return Err(VaultError::Slot(format!("this {what} opens unlock slot {number} already")));
        }
        let number = (0..SLOTS)
            .find(|number| used.iter().all(|(taken, _)| taken != number))
            .ok_or_else(|| VaultError::Slot(format!("all {SLOTS} unlock slots are in use; remove one first")))?;
        let sealed = seal_slot(self.keyring.store_id, number, source, kdf, &self.keyring.master)?;
        let id = slot_node(number);
        let op = Op::PutRecord { id, place: system_place(id), sealed, expect: Expect::Absent };
        self.store.commit(&[op], new_op()?, None)?;
        let stored = self.store.get(id)?.ok_or(VaultError::Lost { what: "the new unlock slot", node: id })?;
        open_slot(self.keyring.store_id, number, &stored.sealed, source)
            .map_err(|_| VaultError::Slot(format!("unlock slot {number} was written but does not open")))?;
        Ok(number)
    }

    /// Removes slot `number` and overwrites it; the last one that can still open the store stays.
    pub fn remove_slot(&self, number: u8) -> Result<(), VaultError> {
        let _ledger = self.ledger.lock();
        let used = slot_records(&*self.store)?;
        let Some((_, record)) = used.iter().find(|(taken, _)| *taken == number) else {
            return Err(VaultError::Slot(format!("there is no unlock slot {number}")));
        };
        let others = used.iter().filter(|(taken, other)| *taken != number && slot_kind(&other.sealed).is_ok()).count();
        if others == 0 {
            return Err(VaultError::Slot(format!("unlock slot {number} is the last one; add another first")));
        }
        let op = Op::DeleteRecord { id: record.id, expect: Expect::Revision(record.revision) };
        self.store.commit(&[op], new_op()?, None)?;
        Ok(self.store.shred()?)
    }
}
