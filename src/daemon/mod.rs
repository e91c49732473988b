//! The process behind a mount: how it starts, holds on to its secrets, and ends.
//!
//! Reading order: `unlock` (where keys come from), `open` (stores), `mounts` and `point` (the place), `harden`, `logfile`,
//! `anchor`, `mount` (a daemon's whole life), `ready` (its birth in the background), `probe` (asking it), `unmount` (its end).
//!
//! Knows no command line and prints nothing: its errors keep their types up to `cli::report`. Invariants: a store is open in
//! one process only; nothing is mounted on a store that was rolled back unless somebody said so; no key and no value is in the
//! log, and the log is not in the store's directory.

mod anchor;
mod harden;
mod logfile;
mod mount;
mod mounts;
mod open;
mod point;
mod probe;
mod ready;
mod unlock;
mod unmount;

pub use anchor::{AnchorError, AnchorPlace};
pub use harden::{Hardening, harden};
pub use logfile::{LogError, LogPlace};
pub use mount::{MountError, Order, run, serve};
pub use mounts::{MountPoint, find, list, real};
pub use open::{StoreFailure, is_made, is_store, make_store, slots_of, unlock_store};
pub use point::PointError;
pub use probe::{ProbeError, ask};
pub use ready::{Failure, Reporter, StartError, Verdict, start};
pub use unlock::{Key, KeyError, KeySource, make_key_file, read_key, read_passphrase};
pub use unmount::{Manner, UnmountError, Unmounted, unmount};
