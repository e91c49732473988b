//! What the kernel has pages of, and what becomes of them when a right may have gone.

use super::{Kind, Tree, Who};
use crate::fs::errno::Fault;
use crate::fs::inode::Ino;
use crate::fs::opens::Opener;

/// Open files that are looked at for one page.
const HOLDERS_MAX: usize = 64;

/// Wakes whoever has the kernel forget. It must not wait.
pub(super) type Bell = Box<dyn Fn() + Send + Sync>;

impl Tree {
    /// Notes that the kernel may get a page of `ino`, before it is decided whether it does.
    pub(super) fn note_paged(&self, ino: Ino) -> Result<(), Fault> {
        if !ino.kind.is_value() && ino.kind != Kind::Scratch {
            // It holds no value.
            return Ok(());
        }
        if self.shared.paged.note(ino)?
            && let Some(bell) = self.shared.crowded.get()
        {
            bell();
        }
        Ok(())
    }

    /// Refuses to have the kernel keep a page of a value while somebody has it open who may not read it by now: pages are of all who
    /// have a file open, and whoever has them is asked no more.
    pub(super) fn may_page(&self, who: Who, ino: Ino) -> Result<(), Fault> {
        if !matches!(ino.kind, Kind::Version | Kind::Field) {
            return Ok(());
        }
        let others = self.shared.opens.holders(ino, self.vault.rights());
        if others.len() > HOLDERS_MAX {
            return Err(Fault::PageCache);
        }
        let secret = self.loaded(ino.node)?;
        let may = |other: Opener| {
            let (uid, gid) = other.user;
            let holder = Who { uid, gid, tid: other.tid, ..who };
            self.permit_holder(holder, &secret).is_ok()
        };
        if others.into_iter().all(may) { Ok(()) } else { Err(Fault::PageCache) }
    }

    /// A number that rises with each change that may have taken a right away.
    pub fn rights(&self) -> u64 {
        self.vault.rights()
    }

    /// Has `bell` called when pages are to be forgotten: a right may have gone, or there are too many. The first one stays.
    pub fn on_pages_to_forget(&self, bell: impl Fn() + Clone + Send + Sync + 'static) {
        self.vault.on_rights(bell.clone());
        let _ = self.shared.crowded.set(Box::new(bell));
    }

    /// Whether the kernel may have pages of values.
    pub fn has_paged(&self) -> bool {
        !self.shared.paged.is_empty()
    }

    /// Files of which the kernel is to forget all pages: all that it may have some of, or the oldest where there are too many.
    pub fn take_paged(&self, all: bool) -> Vec<Ino> {
        self.shared.paged.take(all)
    }

    /// It has forgotten those that were taken.
    pub fn forgot_paged(&self) {
        self.shared.paged.forgotten();
    }

    /// It could not be told.
    pub fn put_paged_back(&self) {
        self.shared.paged.put_back();
    }
}
