//! How much each user holds of what is everybody's, and that none but root holds too much.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Who holds how much of what is everybody's: room on the disk for drafts, of which one byte written makes the store keep free much
/// more than that byte; memory for conversations with the api, and for what followers of events are told.
#[derive(Default)]
pub struct Shares(Arc<Mutex<HashMap<u32, usize>>>);

/// The share of one of them, given back when dropped.
pub struct Share {
    of: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

/// Most that one user but root may have at once.
const SHARES_MAX: usize = 64;

impl Shares {
    /// A share for user `uid`, if it has one left.
    pub fn take(&self, uid: u32) -> Option<Share> {
        let mut held = self.0.lock();
        let count = held.entry(uid).or_default();
        if uid != 0 && *count >= SHARES_MAX {
            return None;
        }
        *count += 1;
        Some(Share { of: self.0.clone(), uid })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        if let Some(count) = held.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.uid);
            }
        }
    }
}
