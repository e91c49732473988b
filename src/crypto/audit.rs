//! The key of the audit's chain.
//!
//! ```text
//! mac of a record = HMAC-SHA256(sub("audit"), mac of the record before || the record without its mac)
//! ```
//!
//! The key is a store's own, so no record of another store's audit fits into the chain.

use hmac::Mac as _;

use super::keys::{Secret32, mac};

/// What each record of a store's audit is bound to the one before with.
pub struct AuditKey(Secret32);

impl AuditKey {
    pub(super) fn new(key: Secret32) -> Self {
        Self(key)
    }

    /// The mac of `record`, which comes behind the one whose mac is `before`; behind none, that is zeros.
    pub fn mac(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32] {
        let mut mac = mac(&self.0);
        mac.update(before);
        mac.update(record);
        mac.finalize().into_bytes().into()
    }
}
