//! What all mounts that a process serves have together: who has what open, what is written and not stored, what was refused.
//!
//! Handles are numbered over all of them, so that what one mount opened is nothing to another, and the next worker finds all of it in one
//! place. What differs from mount to mount stands in [`Tree`](super::Tree).

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use parking_lot::Mutex;

use super::Stale;
use super::pages::Bell;
use crate::fs::Life;
use crate::fs::damage::Damage;
use crate::fs::meter::Meter;
use crate::fs::opens::Opens;
use crate::fs::paged::Paged;
use crate::fs::refusals::Refusals;
use crate::fs::scratch::Scratches;
use crate::fs::shares::Shares;

/// It.
pub(super) struct Shared {
    pub life: Life,
    /// The process that opens files so that their watchers notice; 0 where there is none.
    pub poker: AtomicU32,
    pub opens: Opens,
    pub scratches: Mutex<Scratches>,
    pub shares: Shares,
    pub conversations: Shares,
    pub followers: Shares,
    /// What the kernel has pages of by the mount of the whole tree: by no other one does it get any.
    pub paged: Paged,
    /// Rings when there are too many of these.
    pub crowded: OnceLock<Bell>,
    /// What the kernel keeps by the mount of the whole tree, and no longer holds.
    pub stale: Mutex<Stale>,
    pub refusals: Refusals,
    pub damage: Damage,
    /// What the requests of this process were.
    pub meter: Meter,
    pub started: Instant,
    /// Where the store is, for who asks the mount about it.
    pub store: OnceLock<PathBuf>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            life: Life::default(),
            poker: AtomicU32::new(0),
            opens: Opens::default(),
            scratches: Mutex::default(),
            shares: Shares::default(),
            conversations: Shares::default(),
            followers: Shares::default(),
            paged: Paged::default(),
            crowded: OnceLock::new(),
            stale: Mutex::default(),
            refusals: Refusals::default(),
            damage: Damage::default(),
            meter: Meter::default(),
            started: Instant::now(),
            store: OnceLock::new(),
        }
    }
}
