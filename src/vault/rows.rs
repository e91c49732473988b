//! Sealed values that were read lately: a value that is read again and again costs no query.
//!
//! Holds what the disk holds, a value sealed under its key and that key wrapped: no plaintext, no open key. Invariant: what a
//! commit deletes is out of here when the commit is shown, and a reader that began before it does not put it back.

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

/// Bytes of memory for all of it: the values that a busy host reads every few seconds.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an entry takes beside its sealed bytes, about.
const ENTRY_BYTES: usize = 256;

/// Rows by their place; those of any size, so that whoever reads a value again waits for no disk.
pub(super) struct ReadLately(Mutex<Kept>);

struct Kept {
    rows: LruCache<RowId, Arc<Rows>>,
    /// What all of them take.
    bytes: usize,
}

impl Default for ReadLately {
    fn default() -> Self {
        Self(Mutex::new(Kept { rows: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Rows {
    fn bytes(&self) -> usize {
        self.value.as_bytes().len() + self.wrap.as_bytes().len() + ENTRY_BYTES
    }
}

impl Kept {
    fn put(&mut self, id: RowId, rows: &Arc<Rows>) {
        self.bytes += rows.bytes();
        if let Some(before) = self.rows.put(id, rows.clone()) {
            self.bytes -= before.bytes();
        }
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.rows.pop_lru()
        {
            self.bytes -= oldest.bytes();
        }
    }

    fn remove(&mut self, id: &RowId) {
        if let Some(rows) = self.rows.pop(id) {
            self.bytes -= rows.bytes();
        }
    }
}

impl ReadLately {
    pub fn get(&self, id: RowId) -> Option<Arc<Rows>> {
        self.0.lock().rows.get(&id).cloned()
    }

    /// Keeps `rows` where `are_stored` says, with no commit shown meanwhile, that they are what the store holds.
    pub fn put(&self, id: RowId, rows: &Arc<Rows>, are_stored: impl FnOnce() -> bool) {
        let mut kept = self.0.lock();
        if are_stored() {
            kept.put(id, rows);
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut kept = self.0.lock();
        kept.rows.clear();
        kept.bytes = 0;
    }

    /// Forgets what `ops` have written or deleted.
    pub fn forget(&self, ops: &[Op]) {
        let mut kept = self.0.lock();
        for op in ops {
            match op {
                Op::PutValue { id, .. } | Op::PutWrap { id, .. } | Op::DeleteValue { id } | Op::DeleteWrap { id } => {
                    kept.remove(id);
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
    fn rows_that_may_be_old_are_not_kept() {
        let lately = ReadLately::default();
        lately.put(AT, &rows(64), || false);
        assert!(lately.get(AT).is_none());
    }

    #[test]
    fn what_was_read_longest_ago_goes_first() {
        const LONG: usize = 32 * 1024;
        let (lately, at) = (ReadLately::default(), |no| RowId { no, ..AT });
        lately.put(at(0), &rows(LONG), || true);
        lately.put(at(0), &rows(LONG), || true);
        let last = u32::try_from(BYTES_MAX / LONG).unwrap();
        for no in 1..=last {
            lately.put(at(no), &rows(LONG), || true);
            assert!(lately.get(at(0)).is_some(), "it was read a moment ago");
        }
        assert!(lately.get(at(1)).is_none() && lately.get(at(last)).is_some());
        let kept = lately.0.lock();
        assert_eq!(kept.bytes, kept.rows.iter().map(|(_, rows)| rows.bytes()).sum::<usize>());
    }
}
