//! Making a store and unlocking one.

use std::sync::Arc;

use super::clock::MachineClock;
use super::keyring::Keyring;
use super::ledger::{HEAD_PLACE, Ledger, record_row, system_place};
use super::node::{Node, Root};
use super::slots::{slot_node, slot_records, try_slots};
use super::{Access, Clock, UnlockError, Vault, VaultError};
use crate::crypto::{
    CryptoError, FORMAT, Head, Header, KdfParams, MasterKey, RecordContext, RowKey, SLOTS, SetDigest, SlotMark, Source,
    seal_slot,
};
use crate::id::{NodeId, OpId, StoreId};
use crate::secret::Account;
use crate::store::{Expect, Op, Place, Record, Store};

/// Who will own the root of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Its user, who besides root may make instances.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Permission bits of the mount's root.
const ROOT_MODE: u16 = 0o755;
/// Account numbers have 16 digits; the first is not 0.
const ACCOUNT_BASE: u64 = 1_000_000_000_000_000;

/// Makes an empty store in `store`: header, one unlock slot, root and head, in one commit.
pub fn init(store: &dyn Store, source: &Source<'_>, kdf: KdfParams, owner: Owner) -> Result<(), VaultError> {
    let header = Header::generate()?;
    let master = MasterKey::generate()?;
    let slot = seal_slot(header.store, 0, source, kdf, &master)?;
    let now = MachineClock::new().now();
    let access = Access { uid: owner.uid, gid: owner.gid, dir_mode: ROOT_MODE, value_mode: 0 };
    let root = Node::Root(Root {
        account: new_account()?,
        access,
        created: now,
        changed: now,
        steady: None,
        passages: 0,
        was_opened: false,
    });
    let place = Place { scope: NodeId::ROOT, ..system_place(NodeId::ROOT) };
    let at = RecordContext {
        store: header.store,
        id: NodeId::ROOT,
        scope: place.scope,
        parent: place.parent,
        index: place.index.0,
    };
    let plain = serde_json::to_vec(&root).map_err(|_| VaultError::Unreadable { node: NodeId::ROOT })?;
    let sealed = master.root_keys(header.store).seal_record(at, &plain)?;
    let mut slots = [SlotMark::NONE; SLOTS];
    slots[0] = master.slot_mark(header.store, 0, &slot);
    let (next_node, digest) = (NodeId::FIRST_FREE.0, SetDigest::EMPTY);
    let mut head = Head { counter: 1, next_node, records: 1, values: 0, wraps: 0, digest, slots, audited: 0 };
    let row = RowKey { node: NodeId::ROOT, no: 0 };
    head.digest.add(&master.set_element(
        header.store,
        super::ledger::Digested::Records as u8,
        row,
        &record_row(place, &sealed),
    ));
    let sealed_head = master.seal_head(header.store, &head)?;
    let put = |id, place, sealed| Op::PutRecord { id, place, sealed, expect: Expect::Absent };
    let ops = [
        put(NodeId::HEADER, system_place(NodeId::HEADER), header.to_sealed()),
        put(slot_node(0), system_place(slot_node(0)), slot),
        put(NodeId::ROOT, place, sealed),
        put(NodeId::HEAD, HEAD_PLACE, sealed_head),
    ];
    store.commit(&ops, new_op()?, None)?;
    Ok(())
}

/// Opens the store with the first unlock slot that `source` fits and the head knows.
pub fn unlock(store: Arc<dyn Store>, source: &Source<'_>) -> Result<Vault, UnlockError> {
    let master = master_key(&*store, source)?;
    open(store, master)
}

/// The master key, from the first unlock slot that `source` fits and the head knows.
pub fn master_key(store: &dyn Store, source: &Source<'_>) -> Result<MasterKey, UnlockError> {
    let id = read_header(store)?.store;
    let mut used = slot_records(store)?;
    let mut put_back = None;
    loop {
        let (number, master) =
            open_any_slot(id, &used, source).map_err(|error| put_back.map_or(error, UnlockError::SlotPutBack))?;
        let head = read_head(store, id, &master)?.head;
        let opened = used.extract_if(.., |(taken, _)| *taken == number);
        let marks: Vec<_> = opened.map(|(_, slot)| master.slot_mark(id, number, &slot.sealed)).collect();
        if marks == [head.slots[usize::from(number)]] {
            return Ok(master);
        }
        // The key may have a slot of its own beside the one that somebody put back.
        put_back = Some(number);
    }
}

/// Opens the store of which `master` is the key: no slot is asked, so no passphrase has to be stretched again.
pub fn open(store: Arc<dyn Store>, master: MasterKey) -> Result<Vault, UnlockError> {
    let header = read_header(&*store)?;
    let ledger = read_head(&*store, header.store, &master)?;
    let vault = Vault::new(store, Keyring::new(header.store, master), ledger);
    vault.shred_what_was_left();
    vault.learn_top();
    Ok(vault)
}

fn read_head(store: &dyn Store, id: StoreId, master: &MasterKey) -> Result<Ledger, UnlockError> {
    match Ledger::read(store, master, id) {
        Ok(Some(ledger)) => Ok(ledger),
        Ok(None) => Err(UnlockError::Damaged("the head is missing".into())),
        Err(VaultError::Sealed(error)) => Err(UnlockError::Damaged(format!("the head: {error}"))),
        Err(error) => Err(error.into()),
    }
}

fn read_header(store: &dyn Store) -> Result<Header, UnlockError> {
    let record = store.get(NodeId::HEADER)?.ok_or_else(|| UnlockError::Damaged("the header is missing".into()))?;
    let header = Header::read(&record.sealed).map_err(|error| UnlockError::Damaged(format!("the header: {error}")))?;
    if header.format > FORMAT {
        return Err(UnlockError::Newer { found: header.format, known: FORMAT });
    }
    Ok(header)
}

/// Tries every slot. What is said when none opens: a damaged slot first, since the key may well be its, then one that was not
/// tried; then a wrong key.
fn open_any_slot(id: StoreId, used: &[(u8, Record)], source: &Source<'_>) -> Result<(u8, MasterKey), UnlockError> {
    let tried = try_slots(id, used, source);
    match (tried.opened, tried.damaged, tried.untried, tried.wrong) {
        (Some(opened), ..) => Ok(opened),
        (None, Some(number), ..) => Err(UnlockError::SlotDamaged(number)),
        (None, None, Some(number), _) => Err(UnlockError::SlotTooCostly(number)),
        (None, None, None, true) => Err(UnlockError::WrongKey),
        (None, None, None, false) => Err(UnlockError::OtherKind),
    }
}

fn new_account() -> Result<Account, VaultError> {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes)?;
    Ok(Account::from_number(ACCOUNT_BASE + u64::from_le_bytes(bytes) % (9 * ACCOUNT_BASE)))
}

/// An id for a change that nobody will ask about again.
pub(super) fn new_op() -> Result<OpId, VaultError> {
    let mut bytes = [0; 16];
    random_bytes(&mut bytes)?;
    Ok(OpId(bytes))
}

/// Fills `bytes` from the system's source of randomness.
pub fn random_bytes(bytes: &mut [u8]) -> Result<(), VaultError> {
    Ok(getrandom::fill(bytes).map_err(|_| CryptoError::Random)?)
}

impl From<VaultError> for UnlockError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => UnlockError::Store(error),
            other @ (VaultError::Refused(_)
            | VaultError::Commit(_)
            | VaultError::Sealed(_)
            | VaultError::Crypto(_)
            | VaultError::Lost { .. }
            | VaultError::Unreadable { .. }
            | VaultError::Replaced { .. }
            | VaultError::OutOfNodes
            | VaultError::Audit(_)
            | VaultError::Slot(_)) => UnlockError::Damaged(other.to_string()),
        }
    }
}
