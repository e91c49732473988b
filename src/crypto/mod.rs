//! Keys and the bytes at rest: the hierarchy, the envelope, the unlock sources.
//!
//! ```text
//! unlock source ── slot ── MasterKey ─┬─ root keys, head, set digest        (derived)
//!                                     ├─ NodeKeys of an instance            (random, wrapped)
//!                                     └─ Cmk, version n                     (random, wrapped)
//!                                          └─ Dek, one for each value       (random, wrapped)
//! ```
//!
//! Bytes in, bytes out: no file, no clock, no log. `docs/format.md` has every byte; `tests/vectors` proves it both ways.
//!
//! Invariants: no key encrypts two things under one nonce (a nonce is 96 random bits, and keys that seal many things are
//! bounded far below where those repeat); every seal names in its associated data what it is and where it stands, so that
//! a moved one does not open; any input is answered with an error, none with a panic.

mod aad;
mod envelope;
mod head;
mod header;
#[doc(hidden)]
pub mod keys;
mod slot;

pub use head::{Head, SetDigest, SetElement};
pub use header::{FORMAT, Header};
pub use keys::{Cmk, Dek, KeyRef, MasterKey, NodeKeys, RecordContext, RowKey, ValueContext, WrapContext, key_ref};
pub use slot::{KdfParams, SlotError, SlotKind, Source, open_slot, seal_slot, slot_kind};

/// Why bytes could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The authentication tag is wrong: altered, moved, or sealed under another key.
    #[error("{what} was altered or does not belong here")]
    Altered { what: &'static str },
    /// The length, the marks or the padding are wrong.
    #[error("{what} is malformed")]
    Malformed { what: &'static str },
    #[error("the system gives no random bytes")]
    Random,
    #[error("the key derivation's cost is out of bounds")]
    Cost,
}
