//! Unlock slots: several keys or passphrases may open one store.

use super::audited::{Purpose, of_daemon};
use super::batch::Batch;
use super::error::is_made;
use super::{Vault, VaultError};
use crate::audit::Target;
use crate::crypto::{
    self, Head, KdfParams, MasterKey, SlotError, SlotKind, SlotMark, Source, open_slot, seal_slot, slot_kind, slot_work,
};
use crate::id::{NodeId, StoreId};
use crate::store::{Record, Store};

/// The most unlock slots a store has.
const SLOTS: u8 = crypto::SLOTS as u8;

/// What trying one passphrase on all slots may cost: as much as the one costliest slot. Costs are read from the disk, and a
/// wrong passphrase is tried on every slot.
const MOST_WORK: u64 = KdfParams::MOST.m_kib as u64 * KdfParams::MOST.t as u64;

/// The record that slot `number` stands in.
pub(super) fn slot_node(number: u8) -> NodeId {
    NodeId(NodeId::FIRST_SLOT.0 + u32::from(number))
}

/// One unlock slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// From 0; a removed one's is given again.
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

/// What came of trying a key on slots.
#[derive(Default)]
pub(super) struct Tried {
    /// The slot that it opened, and what was in it.
    pub opened: Option<(u8, MasterKey)>,
    pub damaged: Option<u8>,
    /// Whether a slot of this kind of key was not its.
    pub wrong: bool,
    /// A slot that was not tried, since it would have cost too much beside those that were.
    pub untried: Option<u8>,
}

/// Tries `source` on `used`, the cheapest first, so that no costly slot stands in the way of an ordinary one.
pub(super) fn try_slots(store: StoreId, used: &[(u8, Record)], source: &Source<'_>) -> Tried {
    let mut tried = Tried::default();
    let mut by_work: Vec<_> = used.iter().map(|slot| (slot_work(&slot.1.sealed).unwrap_or(0), slot)).collect();
    by_work.sort_by_key(|(work, (number, _))| (*work, *number));
    let mut spent = 0;
    for (work, (number, record)) in by_work {
        let cost = if matches!(source, Source::Passphrase(_)) { work } else { 0 };
        if spent + cost > MOST_WORK {
            tried.untried.get_or_insert(*number);
            continue;
        }
        spent += cost;
        match open_slot(store, *number, &record.sealed, source) {
            Ok(master) => {
                tried.opened = Some((*number, master));
                break;
            }
            Err(SlotError::Damaged) => tried.damaged = Some(*number),
            Err(SlotError::WrongKey) => tried.wrong = true,
            Err(SlotError::OtherKind) => {}
        }
    }
    tried
}

pub(super) fn slot_records(store: &dyn Store) -> Result<Vec<(u8, Record)>, VaultError> {
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
        slots(&self.store)
    }

    /// The number of the slot that `source` opens, if one does.
    pub fn slot_of(&self, source: &Source<'_>) -> Result<Option<u8>, VaultError> {
        let tried = try_slots(self.keyring.store_id, &slot_records(&self.store)?, source);
        Ok(tried.opened.map(|(number, _)| number))
    }

    /// Adds a slot for `source`, and opens it from what was stored before it says so. Answers its number.
    pub fn add_slot(&self, source: &Source<'_>, kdf: KdfParams) -> Result<u8, VaultError> {
        let mut ledger = self.ledger()?;
        let used = slot_records(&self.store)?;
        let work: u64 = used.iter().map(|(_, record)| slot_work(&record.sealed).unwrap_or(0)).sum();
        if matches!(source, Source::Passphrase(_)) && work + kdf.work() > MOST_WORK {
            return Err(VaultError::Slot(
                "trying a passphrase on all unlock slots would cost too much; remove one first".into(),
            ));
        }
        // A second slot for it would let it in again once the first is removed.
        if let Some((number, _)) = try_slots(self.keyring.store_id, &used, source).opened {
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
        let mut batch = Batch::new(&ledger, Purpose { action: None, targets: vec![Target::default()] });
        self.put_slot(&mut batch, number, sealed);
        self.commit(&mut ledger, batch, of_daemon("rekey")?, None)?;
        let id = slot_node(number);
        let stored = self.store.get(id)?.ok_or(VaultError::Lost { what: "the new unlock slot", node: id })?;
        open_slot(self.keyring.store_id, number, &stored.sealed, source)
            .map_err(|_| VaultError::Slot(format!("unlock slot {number} was written but does not open")))?;
        Ok(number)
    }

    /// Whether the head knows slot `number` as it is stored: neither damaged nor put back.
    fn is_own_slot(&self, head: &Head, number: u8, record: &Record) -> bool {
        let mark = self.keyring.master.slot_mark(self.keyring.store_id, number, &record.sealed);
        head.slots[usize::from(number)] == mark
    }

    /// What is wrong with the slots, one line each.
    pub(super) fn slot_problems(&self, head: &Head) -> Result<Vec<String>, VaultError> {
        let used = slot_records(&self.store)?;
        let missing = (0..SLOTS).filter(|number| {
            head.slots[usize::from(*number)] != SlotMark::NONE && used.iter().all(|(taken, _)| taken != number)
        });
        let mut problems: Vec<_> = missing.map(|number| format!("unlock slot {number} is missing")).collect();
        for (number, record) in used.iter().filter(|(number, record)| !self.is_own_slot(head, *number, record)) {
            problems.push(match slot_kind(&record.sealed) {
                Ok(_) => format!("unlock slot {number} is none that the store has: an older one was put back"),
                Err(_) => format!("unlock slot {number} is damaged"),
            });
        }
        Ok(problems)
    }

    /// Removes slot `number` and overwrites it; the last one that can still open the store stays.
    pub fn remove_slot(&self, number: u8) -> Result<(), VaultError> {
        let mut ledger = self.ledger()?;
        let used = slot_records(&self.store)?;
        let Some((_, record)) = used.iter().find(|(taken, _)| *taken == number) else {
            return Err(VaultError::Slot(format!("there is no unlock slot {number}")));
        };
        let opens = |(taken, other): &&(u8, Record)| *taken != number && self.is_own_slot(&ledger.head, *taken, other);
        if used.iter().filter(opens).count() == 0 {
            return Err(VaultError::Slot(format!("unlock slot {number} is the last one; add another first")));
        }
        let mut batch = Batch::new(&ledger, Purpose { action: None, targets: vec![Target::default()] });
        self.delete_slot(&mut batch, number, record);
        let outcome = self.commit(&mut ledger, batch, of_daemon("rekey")?, None);
        if is_made(&outcome) {
            self.shred()?;
        }
        outcome
    }
}
