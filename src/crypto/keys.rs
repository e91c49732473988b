//! The keys, each a type of its own, and what each of them seals.
//!
//! ```text
//! sub(label) = HKDF-Expand-SHA256(MasterKey, "kmsfs/0/" label || store id, 32)
//!     MasterKey is 32 random bytes, so it serves as the pseudorandom key itself
//! root records:  NodeKeys { meta: sub("root-meta"), index: sub("root-index") }
//! head:          sub("head")         set digest: sub("set")         anchor: sub("anchor")     slots' marks: sub("slots")
//! wraps of instances' keys: sub("wrap-node")      wraps of CMKs: sub("wrap-cmk")
//! estate: sub("estate")                audit: sub("audit")
//! ```

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::CryptoError;
use super::aad::Aad;
use super::audit::AuditKey;
use super::envelope::{KEY_LEN, SEAL_OVERHEAD, open, pad, seal, unpad};
use super::estate::EstateRoot;
use super::head::{Head, SetElement, SlotMark};
use crate::id::{NodeId, StoreId, VersionNo};
use crate::sealed::Sealed;
use crate::value::Value;

/// Key bytes on the heap, wiped when dropped; never copied, never shown.
pub(super) struct Secret32(Box<Zeroizing<[u8; KEY_LEN]>>);

impl Secret32 {
    fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_LEN])))
    }

    fn generate() -> Result<Self, CryptoError> {
        let mut key = Self::zero();
        getrandom::fill(key.0.as_mut_slice()).map_err(|_| CryptoError::Random)?;
        Ok(key)
    }

    fn from_slice(bytes: &[u8], what: &'static str) -> Result<Self, CryptoError> {
        if bytes.len() != KEY_LEN {
            return Err(CryptoError::Malformed { what });
        }
        let mut key = Self::zero();
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// The key of a store, from which all others come or under which they are wrapped.
pub struct MasterKey(Secret32);

/// The keys of one instance's records (and of the root's): one seals, one indexes names.
pub struct NodeKeys {
    meta: Secret32,
    index: Secret32,
}

/// One version of a customer master key.
pub struct Cmk(Secret32);

/// The key of one value. It seals exactly one plaintext, so its random nonce can meet no other.
pub struct Dek(Secret32);

/// A row of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// The node that the row belongs to.
    pub node: NodeId,
    /// A number within the node: of a version, of a key version; 0 where it has one row only.
    pub no: u32,
}

/// Where a wrapped key stands.
#[derive(Debug, Clone, Copy)]
pub struct WrapContext {
    /// The store it was made for.
    pub store: StoreId,
    /// The instance it belongs to.
    pub scope: NodeId,
    /// Its own row.
    pub row: RowKey,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub struct RecordContext {
    /// The store it was made for.
    pub store: StoreId,
    /// Its own node.
    pub id: NodeId,
    /// The instance whose keys seal it.
    pub scope: NodeId,
    /// The list that it is found in.
    pub parent: NodeId,
    /// Its name in that list, as the keyed index has it: a record that is renamed is sealed anew.
    pub index: [u8; 16],
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub struct ValueContext {
    /// The store it was made for.
    pub store: StoreId,
    /// The instance of its secret.
    pub scope: NodeId,
    /// Its secret.
    pub secret: NodeId,
    /// The version that has this value.
    pub version: VersionNo,
}

/// Which version of which CMK wrapped a DEK. Nothing else wraps under a CMK; other wraps have zeros here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef {
    /// The CMK.
    pub key: NodeId,
    /// Which of the CMK's versions, from 1.
    pub version: u32,
}

const NO_REF: KeyRef = KeyRef { key: NodeId(0), version: 0 };
const REF_LEN: usize = 8;
/// Every wrap carries this much, so that all rows of wraps have one size and are overwritten in place.
const PAYLOAD_LEN: usize = 2 * KEY_LEN;
/// Bytes of a wrap: `u32le key || u32le version || seal(payload)`.
const WRAP_LEN: usize = REF_LEN + SEAL_OVERHEAD + PAYLOAD_LEN;

impl MasterKey {
    /// A new random one.
    pub fn generate() -> Result<Self, CryptoError> {
        Secret32::generate().map(Self)
    }

    /// From the bytes that [`MasterKey::bytes`] gave to whoever keeps them for the next process.
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        let mut key = Secret32::zero();
        key.0.copy_from_slice(bytes);
        Self(key)
    }

    /// From the bytes that a slot holds.
    pub(super) fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        Secret32::from_slice(bytes, "a master key").map(Self)
    }

    /// Its bytes, for who keeps them out of everybody's reach.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        self.0.bytes()
    }

    /// The keys of the records that belong to no instance.
    pub fn root_keys(&self, store: StoreId) -> NodeKeys {
        NodeKeys { meta: self.sub("root-meta", store), index: self.sub("root-index", store) }
    }

    /// Wraps an instance's keys.
    pub fn wrap_node_keys(&self, at: WrapContext, keys: &NodeKeys) -> Result<Sealed, CryptoError> {
        let mut payload = Zeroizing::new([0; PAYLOAD_LEN]);
        payload[..KEY_LEN].copy_from_slice(keys.meta.bytes());
        payload[KEY_LEN..].copy_from_slice(keys.index.bytes());
        wrap(&self.sub("wrap-node", at.store), "node-keys", at, NO_REF, &payload)
    }

    /// Opens an instance's keys.
    pub fn unwrap_node_keys(&self, at: WrapContext, sealed: &Sealed) -> Result<NodeKeys, CryptoError> {
        const WHAT: &str = "an instance's keys";
        let payload = unwrap(&self.sub("wrap-node", at.store), "node-keys", at, sealed, WHAT)?;
        let (meta, index) = payload.split_at(KEY_LEN);
        Ok(NodeKeys { meta: Secret32::from_slice(meta, WHAT)?, index: Secret32::from_slice(index, WHAT)? })
    }

    /// Wraps a version of a CMK.
    pub fn wrap_cmk(&self, at: WrapContext, cmk: &Cmk) -> Result<Sealed, CryptoError> {
        wrap_one(&self.sub("wrap-cmk", at.store), "cmk", at, NO_REF, &cmk.0)
    }

    /// Opens a version of a CMK.
    pub fn unwrap_cmk(&self, at: WrapContext, sealed: &Sealed) -> Result<Cmk, CryptoError> {
        unwrap_one(&self.sub("wrap-cmk", at.store), "cmk", at, sealed, "a key version").map(Cmk)
    }

    /// Seals the head.
    pub fn seal_head(&self, store: StoreId, head: &Head) -> Result<Sealed, CryptoError> {
        seal(self.sub("head", store).bytes(), &Aad::new("head", store), &head.to_bytes()).map(Sealed::from_bytes)
    }

    /// Opens the head.
    pub fn open_head(&self, store: StoreId, sealed: &Sealed) -> Result<Head, CryptoError> {
        let plain = open(self.sub("head", store).bytes(), &Aad::new("head", store), sealed.as_bytes(), "the head")?;
        Head::from_bytes(&plain)
    }

    /// What an anchor keeps of a head, to know it again without holding it: `HMAC-SHA256(sub("anchor"), head)`.
    pub fn anchor_mark(&self, store: StoreId, head: &Head) -> [u8; 32] {
        let mut mac = mac(&self.sub("anchor", store));
        mac.update(&head.to_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What the head keeps of unlock slot `number`: `HMAC-SHA256(sub("slots"), u8 number || slot)`, its first 16 bytes.
    pub fn slot_mark(&self, store: StoreId, number: u8, slot: &Sealed) -> SlotMark {
        let mut mac = mac(&self.sub("slots", store));
        mac.update(&[number]);
        mac.update(slot.as_bytes());
        SlotMark::from_hash(&mac.finalize().into_bytes().into())
    }

    /// What row `at` of table `table` adds to the set digest:
    /// `HMAC-SHA256(sub("set"), u8 table || u32le node || u32le no || SHA-256(row))`.
    pub fn set_element(&self, store: StoreId, table: u8, at: RowKey, row: &[u8]) -> SetElement {
        let mut mac = mac(&self.sub("set", store));
        mac.update(&[table]);
        mac.update(&at.node.0.to_le_bytes());
        mac.update(&at.no.to_le_bytes());
        mac.update(&Sha256::digest(row));
        SetElement::from_bytes(mac.finalize().into_bytes().into())
    }

    /// For what a worker leaves to the next one.
    pub fn estate_root(&self, store: StoreId) -> EstateRoot {
        EstateRoot::new(self.sub("estate", store), store)
    }

    /// For the record of all decisions.
    pub fn audit_key(&self, store: StoreId) -> AuditKey {
        AuditKey::new(self.sub("audit", store))
    }

    fn sub(&self, label: &str, store: StoreId) -> Secret32 {
        expand(&self.0, label, &store.0)
    }
}

/// HKDF-Expand-SHA256(key, "kmsfs/0/" label || context, 32).
pub(super) fn expand(key: &Secret32, label: &str, context: &[u8; 16]) -> Secret32 {
    let mut expanded = Secret32::zero();
    let hkdf = Hkdf::<Sha256>::from_prk(key.bytes()).expect("32 bytes are a key of SHA-256's size");
    hkdf.expand_multi_info(&[b"kmsfs/0/", label.as_bytes(), context], expanded.0.as_mut_slice())
        .expect("32 bytes are far below HKDF's limit");
    expanded
}

impl NodeKeys {
    /// New random ones.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self { meta: Secret32::generate()?, index: Secret32::generate()? })
    }

    /// A name's place in an index: `HMAC-SHA256(index key, u8 length of domain || domain || name)`, its first 16 bytes.
    pub fn index(&self, domain: &str, name: &[u8]) -> [u8; 16] {
        let mut mac = mac(&self.index);
        mac.update(&[u8::try_from(domain.len()).expect("domains are short words")]);
        mac.update(domain.as_bytes());
        mac.update(name);
        let mut index = [0; 16];
        index.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        index
    }

    /// Seals a record's bytes.
    pub fn seal_record(&self, at: RecordContext, plain: &[u8]) -> Result<Sealed, CryptoError> {
        seal(self.meta.bytes(), &at.aad(), &pad(plain)).map(Sealed::from_bytes)
    }

    /// Opens a record.
    pub fn open_record(&self, at: RecordContext, sealed: &Sealed) -> Result<Vec<u8>, CryptoError> {
        const WHAT: &str = "a record";
        let plain = unpad(open(self.meta.bytes(), &at.aad(), sealed.as_bytes(), WHAT)?, WHAT)?;
        Ok(plain.to_vec())
    }
}

impl RecordContext {
    fn aad(&self) -> Aad {
        Aad::new("record", self.store).node(1, self.id).node(2, self.scope).node(3, self.parent).field(4, &self.index)
    }
}

impl Cmk {
    /// A new random one.
    pub fn generate() -> Result<Self, CryptoError> {
        Secret32::generate().map(Self)
    }

    /// Wraps a value's key; `by` names this very key.
    pub fn wrap_dek(&self, at: WrapContext, by: KeyRef, dek: &Dek) -> Result<Sealed, CryptoError> {
        wrap_one(&self.0, "dek", at, by, &dek.0)
    }

    /// Opens a value's key.
    pub fn unwrap_dek(&self, at: WrapContext, sealed: &Sealed) -> Result<Dek, CryptoError> {
        unwrap_one(&self.0, "dek", at, sealed, "a value's key").map(Dek)
    }
}

impl Dek {
    /// A new random one.
    pub fn generate() -> Result<Self, CryptoError> {
        Secret32::generate().map(Self)
    }

    /// Seals the one value that this key is for.
    pub fn seal(&self, at: ValueContext, value: &Value) -> Result<Sealed, CryptoError> {
        seal(self.0.bytes(), &at.aad(), &pad(value.as_bytes())).map(Sealed::from_bytes)
    }

    /// Opens it.
    pub fn open(&self, at: ValueContext, sealed: &Sealed) -> Result<Value, CryptoError> {
        const WHAT: &str = "a value";
        let mut plain = unpad(open(self.0.bytes(), &at.aad(), sealed.as_bytes(), WHAT)?, WHAT)?;
        // The allocation moves on into the value, which wipes it.
        Ok(Value::from_vec(std::mem::take(&mut *plain)))
    }
}

impl ValueContext {
    fn aad(&self) -> Aad {
        Aad::new("value", self.store).node(1, self.scope).node(2, self.secret).number(3, self.version.0)
    }
}

/// Which key wrapped the DEK in `wrap`.
pub fn key_ref(wrap: &Sealed) -> Result<KeyRef, CryptoError> {
    let bytes = wrap.as_bytes();
    let malformed = CryptoError::Malformed { what: "a value's key" };
    if bytes.len() != WRAP_LEN {
        return Err(malformed);
    }
    let (key, rest) = bytes.split_first_chunk::<4>().ok_or(malformed.clone())?;
    let (version, _) = rest.split_first_chunk::<4>().ok_or(malformed)?;
    Ok(KeyRef { key: NodeId(u32::from_le_bytes(*key)), version: u32::from_le_bytes(*version) })
}

fn wrap_aad(label: &str, at: WrapContext, by: KeyRef) -> Aad {
    Aad::new(label, at.store)
        .node(1, at.scope)
        .node(2, at.row.node)
        .number(3, at.row.no)
        .node(4, by.key)
        .number(5, by.version)
}

fn wrap(
    key: &Secret32,
    label: &str,
    at: WrapContext,
    by: KeyRef,
    payload: &[u8; PAYLOAD_LEN],
) -> Result<Sealed, CryptoError> {
    let mut bytes = Vec::with_capacity(WRAP_LEN);
    bytes.extend_from_slice(&by.key.0.to_le_bytes());
    bytes.extend_from_slice(&by.version.to_le_bytes());
    bytes.extend_from_slice(&seal(key.bytes(), &wrap_aad(label, at, by), payload)?);
    Ok(Sealed::from_bytes(bytes))
}

fn unwrap(
    key: &Secret32,
    label: &str,
    at: WrapContext,
    sealed: &Sealed,
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let by = key_ref(sealed).map_err(|_| CryptoError::Malformed { what })?;
    open(key.bytes(), &wrap_aad(label, at, by), &sealed.as_bytes()[REF_LEN..], what)
}

/// Wraps one key; the second half of the payload is zeros.
fn wrap_one(key: &Secret32, label: &str, at: WrapContext, by: KeyRef, inner: &Secret32) -> Result<Sealed, CryptoError> {
    let mut payload = Zeroizing::new([0; PAYLOAD_LEN]);
    payload[..KEY_LEN].copy_from_slice(inner.bytes());
    wrap(key, label, at, by, &payload)
}

fn unwrap_one(
    key: &Secret32,
    label: &str,
    at: WrapContext,
    sealed: &Sealed,
    what: &'static str,
) -> Result<Secret32, CryptoError> {
    let payload = unwrap(key, label, at, sealed, what)?;
    let (inner, zeros) = payload.split_at(KEY_LEN);
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(CryptoError::Malformed { what });
    }
    Secret32::from_slice(inner, what)
}

pub(super) fn mac(key: &Secret32) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.bytes()).expect("HMAC takes a key of any length")
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([9; 16]);

    fn at(node: u32, no: u32) -> WrapContext {
        WrapContext { store: STORE, scope: NodeId(64), row: RowKey { node: NodeId(node), no } }
    }

    #[test]
    fn a_wrap_opens_only_where_it_stands() {
        let (cmk, dek) = (Cmk::generate().unwrap(), Dek::generate().unwrap());
        let by = KeyRef { key: NodeId(67), version: 1 };
        let wrap = cmk.wrap_dek(at(70, 1), by, &dek).unwrap();
        assert_eq!(wrap.as_bytes().len(), WRAP_LEN);
        assert_eq!(key_ref(&wrap), Ok(by));
        assert!(cmk.unwrap_dek(at(70, 1), &wrap).is_ok());
        assert!(cmk.unwrap_dek(at(70, 2), &wrap).is_err(), "another version");
        assert!(cmk.unwrap_dek(at(71, 1), &wrap).is_err(), "another secret");
        assert!(Cmk::generate().unwrap().unwrap_dek(at(70, 1), &wrap).is_err(), "another key");
        let mut other = wrap.as_bytes().to_vec();
        other[0] ^= 1;
        assert!(cmk.unwrap_dek(at(70, 1), &Sealed::from_bytes(other)).is_err(), "the reference is bound");
    }

    #[test]
    fn all_wraps_have_one_size() {
        let master = MasterKey::generate().unwrap();
        let keys = master.wrap_node_keys(at(64, 0), &NodeKeys::generate().unwrap()).unwrap();
        let cmk = master.wrap_cmk(at(67, 1), &Cmk::generate().unwrap()).unwrap();
        assert_eq!((keys.as_bytes().len(), cmk.as_bytes().len()), (WRAP_LEN, WRAP_LEN));
        assert!(master.unwrap_cmk(at(64, 0), &keys).is_err(), "one kind does not pass for another");
    }

    #[test]
    fn values_and_records_open_only_in_their_place() {
        let dek = Dek::generate().unwrap();
        let place = ValueContext { store: STORE, scope: NodeId(64), secret: NodeId(70), version: VersionNo(1) };
        let sealed = dek.seal(place, &Value::copy_of(b"s3cret")).unwrap();
        assert_eq!(dek.open(place, &sealed).unwrap().as_bytes(), b"s3cret");
        assert!(dek.open(ValueContext { version: VersionNo(2), ..place }, &sealed).is_err());
        let keys = NodeKeys::generate().unwrap();
        let place =
            RecordContext { store: STORE, id: NodeId(70), scope: NodeId(64), parent: NodeId(69), index: [1; 16] };
        let sealed = keys.seal_record(place, b"{}").unwrap();
        assert_eq!(keys.open_record(place, &sealed).unwrap(), b"{}");
        for moved in [
            RecordContext { id: NodeId(71), ..place },
            RecordContext { parent: NodeId(71), ..place },
            RecordContext { index: [2; 16], ..place },
            RecordContext { scope: NodeId(65), ..place },
            RecordContext { store: StoreId([8; 16]), ..place },
        ] {
            assert!(keys.open_record(moved, &sealed).is_err());
        }
    }

    #[test]
    fn an_index_keeps_domains_apart() {
        let keys = NodeKeys::generate().unwrap();
        assert_ne!(keys.index("ab", b"c"), keys.index("a", b"bc"));
        assert_eq!(keys.index("a", b"b"), keys.index("a", b"b"));
        assert_ne!(keys.index("a", b"b"), NodeKeys::generate().unwrap().index("a", b"b"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let master = MasterKey::generate().unwrap();
        for len in 0..300 {
            let sealed = Sealed::from_bytes(vec![1; len]);
            assert!(master.unwrap_node_keys(at(1, 1), &sealed).is_err());
            assert!(master.open_head(STORE, &sealed).is_err());
        }
    }
}
