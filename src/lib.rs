//! kmsfs: a KMS secrets manager that is a filesystem.
//!
//! # The map
//!
//! Reading order is the walk of a datum: `echo v > M/prod/db/password/versions/v2` goes
//!
//! 1. [`fs`]: the kernel's numbers become types, the tree's table says what the name is, a draft grows;
//! 2. [`vault`]: at the close, one verb loads the record, and
//! 3. [`secret`] decides: pure rules, a `Change` or a `Refusal`;
//! 4. [`crypto`] seals the value under a fresh key and the record under the instance's;
//! 5. [`store`] commits all of it in one transaction; then the close returns.
//!
//! # Who may import whom
//!
//! Arrows point inward only; `tests/tidy.rs` keeps this table.
//!
//! | module | may import |
//! | --- | --- |
//! | `value`, `id`, `sealed`, `time`, `durable`, `people` | nothing of ours |
//! | [`secret`] | `id`, `time` |
//! | [`crypto`] | `value`, `id`, `sealed` |
//! | [`store`] | `id`, `sealed`, `durable` |
//! | `estate` | [`crypto`], `value`, `id`, `sealed` |
//! | [`audit`] | `id`, `time`, [`secret`], `sealed`, [`crypto`], [`store`], `durable` |
//! | [`vault`] | all of the above |
//! | [`api`] | [`vault`], [`secret`], `value`, `id`, `time` |
//! | [`fs`] | [`vault`], [`api`], `estate`, [`secret`], `value`, `id`, `time`: no key, no engine |
//! | `daemon` | [`fs`], [`vault`], [`audit`], [`store`], `estate`, [`crypto`], `durable`; for rotation functions also [`secret`], `value`, `id`, `people` |
//! | [`cli`] | `daemon`, [`api`], [`audit`], [`fs`], [`vault`], [`store`], [`crypto`], [`secret`], `value`, `id`, `time` |
//!
//! # Invariants
//!
//! - Plaintext lives in [`value::Value`] alone, which is wiped when dropped.
//! - What was not recorded was not done: [`audit`] comes before every answer that discloses or changes something.
//! - What a writer was told is done is on the disk, whole; what was refused changed nothing.
//! - Only `fs/fuse` names fuser; only `store/sqlite` names rusqlite; only `crypto` names aes-gcm.

pub mod api;
pub mod audit;
pub mod cli;
pub mod crypto;
mod daemon;
mod durable;
mod estate;
pub mod fs;
pub mod id;
mod people;
pub mod sealed;
pub mod secret;
pub mod store;
pub mod time;
pub mod value;
pub mod vault;
