//! `.kmsfs/backup`: each open copies the whole store, sealed as it is, and its reads stream that copy.
//!
//! A copy has no name: it goes with its last close, and with the worker. Invariant: what one descriptor reads is one copy.

use std::sync::Arc;

use super::{Tree, Who};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino};
use crate::fs::opens::Held;
use crate::secret::Action;
use crate::vault::{Snapshot, Target};

impl Tree {
    pub(super) fn open_snapshot(&self, who: Who, ino: Ino) -> Result<Handle, Fault> {
        self.refuse_guest(who, Action::BackUp)?;
        let copy = Arc::new(self.vault.snapshot()?);
        self.vault.audit_granted_of(who.caller(), Action::BackUp, &Target::default())?;
        Ok(self.shared.opens.add(self.shared.opens.next_serial(), ino, who.opener(), Held::Snapshot(copy)))
    }

    /// What a read of `size` bytes at `offset` gets of a copy. `paged` as for [`Tree::read`]: the page cache knows one file
    /// where each open has its own.
    pub fn read_snapshot(&self, handle: Handle, offset: u64, size: usize, paged: bool) -> Result<Vec<u8>, Fault> {
        if paged {
            return Err(Fault::PageCache);
        }
        Ok(self.vault.read_snapshot(&*self.held_snapshot(handle)?, offset, size)?)
    }

    /// The last close of a copy, by who may wait for the disk to free its room.
    pub fn release_snapshot(&self, who: Who, handle: Handle) -> Result<(), Fault> {
        self.vault.may_wait()?;
        self.release(who, handle);
        Ok(())
    }

    fn held_snapshot(&self, handle: Handle) -> Result<Arc<Snapshot>, Fault> {
        match self.shared.opens.get(handle.serial()).map(|open| open.held) {
            Some(Held::Snapshot(copy)) => Ok(copy),
            None if self.shared.opens.is_of_former(handle.serial()) => Err(Fault::LostSnapshot),
            Some(
                Held::Version(_) | Held::Text(_) | Held::Draft(_) | Held::Scratch | Held::Talk(_) | Held::Events(_),
            )
            | None => Err(Fault::BadHandle),
        }
    }
}
