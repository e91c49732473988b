//! Fixed keys and bare encodings, for test vectors alone: nothing else makes a key from bytes, or looks at one.

use super::*;

pub fn master(bytes: [u8; KEY_LEN]) -> MasterKey {
    MasterKey(Secret32::from_slice(&bytes, "a key").expect("32 bytes are a key"))
}

pub fn cmk(bytes: [u8; KEY_LEN]) -> Cmk {
    Cmk(Secret32::from_slice(&bytes, "a key").expect("32 bytes are a key"))
}

pub fn dek(bytes: [u8; KEY_LEN]) -> Dek {
    Dek(Secret32::from_slice(&bytes, "a key").expect("32 bytes are a key"))
}

pub fn node_keys(meta: [u8; KEY_LEN], index: [u8; KEY_LEN]) -> NodeKeys {
    let key = |bytes: [u8; KEY_LEN]| Secret32::from_slice(&bytes, "a key").expect("32 bytes are a key");
    NodeKeys { meta: key(meta), index: key(index) }
}

/// Whether the two keys are the same, for a vector that holds one.
pub fn is_dek(dek: &Dek, bytes: [u8; KEY_LEN]) -> bool {
    *dek.0.bytes() == bytes
}

pub fn is_cmk(cmk: &Cmk, bytes: [u8; KEY_LEN]) -> bool {
    *cmk.0.bytes() == bytes
}

pub fn is_node_keys(keys: &NodeKeys, meta: &[u8], index: &[u8]) -> bool {
    keys.meta.bytes() == meta && keys.index.bytes() == index
}

pub fn record_aad(at: RecordContext) -> Vec<u8> {
    at.aad().as_bytes().to_vec()
}

pub fn value_aad(at: ValueContext) -> Vec<u8> {
    at.aad().as_bytes().to_vec()
}

pub fn wrap_aad(label: &str, at: WrapContext, by: KeyRef) -> Vec<u8> {
    super::wrap_aad(label, at, by).as_bytes().to_vec()
}

pub fn is_master(master: &MasterKey, bytes: [u8; KEY_LEN]) -> bool {
    *master.bytes() == bytes
}
