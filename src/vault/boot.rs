//! Making a store and unlocking one.

use std::sync::Arc;

use super::keyring::Keyring;
use super::ledger::{HEAD_PLACE, Ledger, record_row, system_place};
use super::node::{Access, Node, Root};
use super::slots::{SLOTS, slot_node};
use super::{Clock, UnlockError, Vault, VaultError, WallClock};
use crate::crypto::{
    CryptoError, FORMAT, Head, Header, KdfParams, MasterKey, RecordContext, RowKey, SetDigest, SlotError, Source,
    open_slot, seal_slot,
};
use crate::id::{NodeId, OpId, StoreId};
use crate::secret::Account;
use crate::store::{Expect, Op, Place, Store, StoreError};

/// Who will own the root of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub uid: u32,
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
    let now = WallClock.now();
    let access = Access { uid: owner.uid, gid: owner.gid, dir_mode: ROOT_MODE, value_mode: 0 };
    let root = Node::Root(Root { account: new_account()?, access, created: now, changed: now });
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
    let mut head =
        Head { counter: 1, next_node: NodeId::FIRST_FREE.0, records: 1, values: 0, wraps: 0, digest: SetDigest::EMPTY };
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

/// Opens the store with the first unlock slot that `source` fits.
pub fn unlock(store: Arc<dyn Store>, source: &Source<'_>) -> Result<Vault, UnlockError> {
    let header = read_header(&*store)?;
    let master = open_any_slot(&*store, header.store, source)?;
    let keyring = Keyring::new(header.store, master);
    let record = store.get(NodeId::HEAD)?.ok_or_else(|| UnlockError::Damaged("the head is missing".into()))?;
    let head = keyring
        .master
        .open_head(header.store, &record.sealed)
        .map_err(|error| UnlockError::Damaged(format!("the head: {error}")))?;
    let ledger = Ledger { head, revision: record.revision };
    Ok(Vault::new(store, keyring, ledger))
}

fn read_header(store: &dyn Store) -> Result<Header, UnlockError> {
    let record = store.get(NodeId::HEADER)?.ok_or_else(|| UnlockError::Damaged("the header is missing".into()))?;
    let header = Header::read(&record.sealed).map_err(|error| UnlockError::Damaged(format!("the header: {error}")))?;
    if header.format > FORMAT {
        return Err(UnlockError::Newer { found: header.format, known: FORMAT });
    }
    Ok(header)
}

/// Tries every slot. What is said when none opens: a damaged slot first, since the key may well be its; then a wrong key.
fn open_any_slot(store: &dyn Store, id: StoreId, source: &Source<'_>) -> Result<MasterKey, UnlockError> {
    let (mut damaged, mut wrong) = (None, false);
    for number in 0..SLOTS {
        let Some(record) = store.get(slot_node(number))? else { continue };
        match open_slot(id, number, &record.sealed, source) {
            Ok(master) => return Ok(master),
            Err(SlotError::Damaged) => damaged = Some(number),
            Err(SlotError::WrongKey) => wrong = true,
            Err(SlotError::OtherKind) => {}
        }
    }
    Err(match (damaged, wrong) {
        (Some(number), _) => UnlockError::SlotDamaged(number),
        (None, true) => UnlockError::WrongKey,
        (None, false) => UnlockError::OtherKind,
    })
}

fn new_account() -> Result<Account, VaultError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| CryptoError::Random)?;
    Ok(Account::from_number(ACCOUNT_BASE + u64::from_le_bytes(bytes) % (9 * ACCOUNT_BASE)))
}

/// An id for a change that nobody will ask about again.
pub(super) fn new_op() -> Result<OpId, VaultError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| CryptoError::Random)?;
    Ok(OpId(bytes))
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
            | VaultError::OutOfNodes
            | VaultError::Slot(_)) => UnlockError::Damaged(other.to_string()),
        }
    }
}

/// A store that cannot be read at all is told apart from one that is damaged.
impl UnlockError {
    /// Whether the disk, not the content, is at fault.
    pub fn is_io(&self) -> bool {
        matches!(self, UnlockError::Store(StoreError::Io(_)))
    }
}
