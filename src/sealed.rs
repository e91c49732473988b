//! What the store can see: bytes that only `crypto` makes and opens.

/// Sealed bytes. Not plaintext, so it may be copied, compared and written anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Bytes as an engine read them back, or as `crypto` has just made them.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
