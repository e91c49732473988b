//! Keys and the bytes at rest: the hierarchy, the envelope, the unlock sources.
//!
//! ```text
//! unlock source ── slot ── MasterKey ─┬─ root keys, head, digest, estate, audit     (derived)
//!                                     ├─ NodeKeys of an instance            (random, wrapped)
//!                                     └─ Cmk, version n                     (random, wrapped)
//!                                          └─ Dek, one for each value       (random, wrapped)
//! ```
//!
//! Bytes in, bytes out: no file, no clock, no log. `docs/format.md` has every byte; `tests/vectors` proves it both ways.
//!
//! Reading order: `envelope` (one seal), `aad` (what binds it to its place), `keys` (the hierarchy), `estate` (what one worker leaves to the next), `audit` (its chain), `slot` (unlock sources),
//! `header`, `head` (what a store says of itself).
//!
//! Invariants: no key encrypts two things under one nonce (a nonce is 96 random bits, and keys that seal many things are
//! bounded far below where those repeat); every seal names in its associated data what it is and where it stands, so that
//! a moved one does not open; any input is answered with an error, none with a panic.

mod aad;
mod audit;
mod envelope;
mod estate;
mod head;
mod header;
mod keys;
mod slot;

pub use audit::AuditKey;
pub use estate::{EstateRoot, RegionKey};
pub use head::{Head, SLOTS, SetDigest, SetElement, SlotMark};
pub use header::{FORMAT, Header};
pub use keys::{Cmk, Dek, KeyRef, MasterKey, NodeKeys, RecordContext, RowKey, ValueContext, WrapContext, key_ref};
pub use slot::{KdfParams, SlotError, SlotKind, Source, open_slot, seal_slot, slot_kind, slot_work};

/// Why bytes could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The authentication tag is wrong: altered, moved, or sealed under another key.
    #[error("{what} was altered or does not belong here")]
    Altered {
        /// The kind of thing, with its article: `a value`.
        what: &'static str,
    },
    /// The length, the marks or the padding are wrong.
    #[error("{what} is malformed")]
    Malformed {
        /// The kind of thing, with its article: `a value`.
        what: &'static str,
    },
    /// getrandom(2) has failed, which it does not on a system that works. Nothing is sealed without it.
    #[error("the system gives no random bytes")]
    Random,
    /// The parameters of Argon2id are below what protects a passphrase, or above what a machine has memory for.
    #[error("the key derivation's cost is out of bounds")]
    Cost,
}
