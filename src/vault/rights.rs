//! Whether a right may have been taken away: a number that rises, for whoever keeps what a right has let out.
//!
//! Invariant: when the number rises, readers that are decided from then on are decided by what took the right away.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Vault;
use super::happened::Happened;

/// Called while no other change can be made, so it must not wait.
type Bell = Box<dyn Fn() + Send + Sync>;

/// The number, and who is told when it rises.
pub(super) struct Rights {
    count: AtomicU64,
    bell: OnceLock<Bell>,
}

impl Default for Rights {
    /// It begins above zero: what a former process took away may not have been followed.
    fn default() -> Self {
        Self { count: AtomicU64::new(1), bell: OnceLock::new() }
    }
}

impl Vault {
    /// A number that rises, from 1 on, with each change that may have taken a right away.
    pub fn rights(&self) -> u64 {
        self.rights.count.load(Ordering::SeqCst)
    }

    /// Has `bell` called when [`Vault::rights`] has risen. The first one stays.
    pub fn on_rights(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.rights.bell.set(Box::new(bell));
    }

    /// Looks at what a commit did, once readers see it.
    pub(super) fn look_at_rights(&self, happened: &[Happened]) {
        if happened.iter().any(|happened| happened.what.is_of_rights()) {
            self.raise_rights();
        }
    }

    /// Takes it that something took a right away.
    pub(super) fn raise_rights(&self) {
        self.rights.count.fetch_add(1, Ordering::SeqCst);
        if let Some(bell) = self.rights.bell.get() {
            bell();
        }
    }
}
