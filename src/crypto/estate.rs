//! The keys of what a worker leaves to the next one, which no disk ever has.
//!
//! ```text
//! region key = HKDF-Expand-SHA256(sub("estate"), "kmsfs/0/" "region" || salt, 32)
//! ```

use super::CryptoError;
use super::aad::Aad;
use super::envelope::{open, seal};
use super::keys::{Secret32, expand};
use crate::id::StoreId;
use crate::sealed::Sealed;
use crate::value::Value;

/// What the keys of the estate's regions come from.
pub struct EstateRoot {
    key: Secret32,
    store: StoreId,
}

/// The key of one region of the estate, which is begun anew long before a random nonce could repeat.
pub struct RegionKey {
    key: Secret32,
    store: StoreId,
}

impl EstateRoot {
    pub(super) fn new(key: Secret32, store: StoreId) -> Self {
        Self { key, store }
    }

    /// The key of the region that begins with `salt`, which is random.
    pub fn region(&self, salt: &[u8; 16]) -> RegionKey {
        RegionKey { key: expand(&self.key, "region", salt), store: self.store }
    }
}

impl RegionKey {
    /// Seals what stands at byte `at` of the estate.
    pub fn seal(&self, at: u64, plain: &[u8]) -> Result<Sealed, CryptoError> {
        seal(self.key.bytes(), &self.aad(at), plain).map(Sealed::from_bytes)
    }

    /// Opens it.
    pub fn open(&self, at: u64, sealed: &Sealed) -> Result<Value, CryptoError> {
        let mut plain = open(self.key.bytes(), &self.aad(at), sealed.as_bytes(), "an entry of the estate")?;
        Ok(Value::from_vec(std::mem::take(&mut *plain)))
    }

    fn aad(&self, at: u64) -> Aad {
        Aad::new("estate", self.store).field(1, &at.to_le_bytes())
    }
}
