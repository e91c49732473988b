//! What a request leaves behind whose caller was let go while it was under way.

use std::time::Duration;

use crate::fs::inode::Handle;
use crate::fs::ops::{Attr, Entry, Reading, Tree, Who};

/// What a request is answered with.
pub trait Outcome: Send + 'static {
    /// Undoes what only the answer would have told of.
    fn forsake(self, tree: &Tree, who: Who);
}

/// What a write has taken.
pub struct Taken {
    pub by: Handle,
    pub len: u32,
}

impl Outcome for Handle {
    fn forsake(self, tree: &Tree, who: Who) {
        tree.forsake_open(who, self);
    }
}

impl Outcome for (Entry, Handle) {
    fn forsake(self, tree: &Tree, who: Who) {
        let (entry, handle) = self;
        tree.forsake_made(who, entry.attr.ino, handle);
    }
}

impl Outcome for Reading {
    fn forsake(self, tree: &Tree, _: Who) {
        if let Reading::Said { handle, from, .. } = self {
            tree.unsay(handle, from);
        }
    }
}

impl Outcome for Taken {
    fn forsake(self, tree: &Tree, _: Who) {
        tree.forsake_written(self.by);
    }
}

/// Answers that can be given to nobody without a trace: what they tell of can be seen otherwise, or is nothing.
macro_rules! untold {
    ($($outcome:ty),*) => {
        $(impl Outcome for $outcome {
            fn forsake(self, _: &Tree, _: Who) {}
        })*
    };
}

untold!((), Entry, (Attr, Duration), Vec<u8>, Vec<super::listing::Listed>);
