//! The header: which store this is and how it is written, readable without a key.
//!
//! `header = "kmsfs" 0x00 || u16le format || store id[16] || SHA-256 of the former, its first 8 bytes`

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::envelope::random;
use crate::id::StoreId;
use crate::sealed::Sealed;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u16 = 0;

const MAGIC: &[u8; 6] = b"kmsfs\0";
const BODY_LEN: usize = 24;
const CHECK_LEN: usize = 8;

/// A store's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format of everything else; the header keeps its shape in all of them.
    pub format: u16,
    /// Random, and part of all associated data.
    pub store: StoreId,
}

impl Header {
    /// The header of a new store.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self { format: FORMAT, store: StoreId(random()?) })
    }

    /// The bytes to be stored.
    pub fn to_sealed(&self) -> Sealed {
        let mut bytes = Vec::with_capacity(BODY_LEN + CHECK_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.store.0);
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_LEN]);
        Sealed::from_bytes(bytes)
    }

    /// Reads what was stored; a header of a newer format is read too, so that it can be named.
    pub fn read(sealed: &Sealed) -> Result<Self, CryptoError> {
        let malformed = || CryptoError::Malformed { what: "the header" };
        let bytes = sealed.as_bytes();
        if bytes.len() != BODY_LEN + CHECK_LEN || !bytes.starts_with(MAGIC) {
            return Err(malformed());
        }
        let (body, check) = bytes.split_at(BODY_LEN);
        if Sha256::digest(body)[..CHECK_LEN] != *check {
            return Err(malformed());
        }
        let store = body[8..].try_into().map_err(|_| malformed())?;
        Ok(Self { format: u16::from_le_bytes([body[6], body[7]]), store: StoreId(store) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_or_is_refused() {
        let header = Header { format: 3, store: StoreId([5; 16]) };
        let sealed = header.to_sealed();
        assert_eq!(Header::read(&sealed), Ok(header));
        for at in 0..sealed.as_bytes().len() {
            let mut altered = sealed.as_bytes().to_vec();
            altered[at] ^= 1;
            assert!(Header::read(&Sealed::from_bytes(altered)).is_err(), "byte {at}");
        }
    }
}
