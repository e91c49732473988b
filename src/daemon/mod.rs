//! The process behind a mount: how it starts, holds on to its secrets, and ends.
//!
//! Reading order: `unlock` (where keys come from), `open` (stores), `restore` (a store of a backup), `mounts` and `point` (the place), `harden`, `logfile`,
//! `recording`, `anchor`, `mount` (a mount's whole life), `attach` (the kernel), `strongbox` and `handover` (what is handed on), `keeper` with
//! `tended`, `restarts` and `notify`, `worker` with `upkeep`, `forgetter` and `rotate`, `poker`, `views` (more mounts of the same store), `upgrade`; then what others do to a mount: `ready` (its birth in the
//! background), `probe` (asking it), `relieve`, `unmount`, `abort`, `doctor`.
//!
//! Knows no command line and prints nothing: its errors keep their types up to `cli::report`. Invariants: a store is open in
//! one process at a time, the worker; nothing is mounted on a store that was rolled back unless somebody said so; no key and no value is in the
//! log, and the log is not in the store's directory.

mod abort;
mod anchor;
mod attach;
mod doctor;
mod forgetter;
mod handover;
mod harden;
mod keeper;
mod logfile;
mod mount;
mod mounts;
mod notify;
mod open;
mod point;
mod poker;
mod probe;
mod ready;
mod recording;
mod relieve;
mod restarts;
mod restore;
mod rotate;
mod strongbox;
mod tended;
mod unlock;
mod unmount;
mod upgrade;
mod upkeep;
mod views;
mod worker;

pub use abort::{AbortError, abort};
pub use anchor::{AnchorError, AnchorKeeper, AnchorPlace, compare_with, hold};
pub use attach::Mount;
pub use doctor::{Finding, Gravity, examine};
pub use forgetter::forget;
pub use handover::{Control, ToKeeper};
pub use harden::{harden, keep_descriptors};
pub use logfile::{LogError, LogPlace};
pub use mount::{MountError, Order, go_on, run};
pub use mounts::{MountPoint, find, list};
pub use open::{Site, StoreFailure, is_made, is_store, slots_of, unlock_store};
pub use point::PointError;
pub use poker::poke;
pub use probe::{ProbeError, ask};
pub use ready::{Failure, Reporter, StartError, Verdict, start};
pub use recording::{Recording, RecordingError};
pub use relieve::{RelieveError, relieve};
pub use restore::{Restoration, examine as examine_backup, snapshot_of};
pub use rotate::{become_function, run as run_step};
pub use unlock::{Key, KeyError, KeySource, make_key_file, read_key, read_passphrase};
pub use unmount::{Manner, UnmountError, Unmounted, unmount};
pub use upgrade::{Programs, UpgradeError, question, understands};
pub use views::{Answer, Ask, DoorError, ViewOrder, ask as ask_daemon, store_of};
pub use worker::{Task, work};
