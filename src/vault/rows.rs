//! Sealed values that were read lately: a value that is read again and again costs no query.
//!
//! Holds what the disk holds, a value sealed under its key and that key wrapped: no plaintext, no open key. Invariant: what a
//! commit deletes is out of here when the commit is shown, and a reader that began before it does not put it back.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::sealed::Sealed;
use crate::store::{Op, RowId};

/// A stored version: its value and the wrap of the value's key.
pub(super) struct Rows {
    pub value: Sealed,
    pub wrap: Sealed,
}

/// Versions kept: those that a busy host reads every few seconds, in 4 MiB at most.
const KEPT: NonZeroUsize = NonZeroUsize::new(1_024).expect("1,024 is not zero");
/// Longest sealed value kept, in bytes. What is longer costs more to open than to find.
const VALUE_MAX: usize = 4 * 1024;

/// Rows by their place.
pub(super) struct ReadLately(Mutex<LruCache<RowId, Arc<Rows>>>);

impl Default for ReadLately {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl ReadLately {
    pub fn get(&self, id: RowId) -> Option<Arc<Rows>> {
        self.0.lock().get(&id).cloned()
    }

    /// Keeps `rows` where `are_stored` says, with no commit shown meanwhile, that they are what the store holds.
    pub fn put(&self, id: RowId, rows: &Arc<Rows>, are_stored: impl FnOnce() -> bool) {
        if rows.value.as_bytes().len() > VALUE_MAX {
            return;
        }
        let mut kept = self.0.lock();
        if are_stored() {
            kept.put(id, rows.clone());
        }
    }

    /// Forgets what `ops` have written or deleted.
    pub fn forget(&self, ops: &[Op]) {
        let mut kept = self.0.lock();
        for op in ops {
            match op {
                Op::PutValue { id, .. } | Op::PutWrap { id, .. } | Op::DeleteValue { id } | Op::DeleteWrap { id } => {
                    kept.pop(id);
                }
                Op::PutRecord { .. } | Op::DeleteRecord { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    const AT: RowId = RowId { node: NodeId(70), no: 1 };

    fn rows(len: usize) -> Arc<Rows> {
        Arc::new(Rows { value: Sealed::from_bytes(vec![1; len]), wrap: Sealed::from_bytes(vec![2; 101]) })
    }

    #[test]
    fn what_a_commit_touches_is_forgotten() {
        let sealed = || Sealed::from_bytes(Vec::new());
        for op in [
            Op::DeleteValue { id: AT },
            Op::DeleteWrap { id: AT },
            Op::PutValue { id: AT, sealed: sealed() },
            Op::PutWrap { id: AT, sealed: sealed() },
        ] {
            let lately = ReadLately::default();
            lately.put(AT, &rows(64), || true);
            lately.forget(&[Op::DeleteValue { id: RowId { no: 2, ..AT } }]);
            assert!(lately.get(AT).is_some(), "another version's");
            lately.forget(&[op]);
            assert!(lately.get(AT).is_none());
        }
    }

    #[test]
    fn neither_long_values_nor_old_rows_are_kept() {
        for (len, are_stored, kept) in [(VALUE_MAX, true, true), (VALUE_MAX + 1, true, false), (64, false, false)] {
            let lately = ReadLately::default();
            lately.put(AT, &rows(len), || are_stored);
            assert_eq!(lately.get(AT).is_some(), kept, "{len} {are_stored}");
        }
    }
}
