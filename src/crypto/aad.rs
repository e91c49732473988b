//! Associated data: what a seal is and where it stands, encoded so that no two places have one encoding.
//!
//! `AAD = "kmsfs/0/" label 0x00 || u8 algorithm || for each field: u8 number || u32le length || bytes`

use crate::id::{NodeId, StoreId};

/// AES-256-GCM with a random 96-bit nonce. The byte stands in front of every seal, so that another one can join.
pub const AES_256_GCM: u8 = 1;

/// Associated data in the making.
pub struct Aad(Vec<u8>);

impl Aad {
    /// Begins with what is sealed and the store it is in.
    pub fn new(label: &str, store: StoreId) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(b"kmsfs/0/");
        bytes.extend_from_slice(label.as_bytes());
        bytes.extend_from_slice(&[0, AES_256_GCM]);
        Self(bytes).field(0, &store.0)
    }

    /// Adds field `number`. All fields of a label are always there, in order of number.
    pub fn field(mut self, number: u8, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("fields are names and numbers of a few bytes");
        self.0.push(number);
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a node's number.
    pub fn node(self, number: u8, id: NodeId) -> Self {
        self.number(number, id.0)
    }

    /// Adds a 32-bit number.
    pub fn number(self, number: u8, value: u32) -> Self {
        self.field(number, &value.to_le_bytes())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_have_one_encoding() {
        let store = StoreId([7; 16]);
        let aad = |label: &str, first: &[u8], second: &[u8]| Aad::new(label, store).field(1, first).field(2, second).0;
        assert_ne!(aad("a", b"bc", b"d"), aad("a", b"b", b"cd"));
        assert_ne!(aad("a", b"", b"b"), aad("a", b"b", b""));
        assert_ne!(aad("a", b"b", b"c"), aad("ab", b"", b"c"));
    }
}
