//! Writing, and when it counts.
//!
//! A draft is stored by the close that leaves no writer: a FLUSH comes from every close(2), also from those of shells that
//! only move a descriptor, so it stores nothing while the opener, another process that has written, or a descendant of
//! theirs still has the file open for writing. What none of them stored, the last close (RELEASE) stores, which nobody
//! hears of. A child that has not written may be on its way to another program, and is waited for a little. A writer that a
//! signal killed says so in /proc at its last FLUSH: then nothing is stored.

use std::sync::Arc;

use super::{Reading, Tree, Who};
use crate::fs::draft::{Base, Draft, DraftFile, HeldRoom, Poison, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::opens::Held;
use crate::fs::process::{OpenFile, Process, is_being_killed, writers_among};
use crate::fs::refusals::Gesture;
use crate::fs::tree;
use crate::secret::{Refusal, VersionId};
use crate::value::Value;
use crate::vault::Loaded;

/// What came of a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Its outcome is known.
    Answered,
    /// Not yet: it is to be asked for again in a moment. Whether a child that has the file is running.
    Waits { for_running: bool },
}

impl Tree {
    /// Takes `data` at `offset`.
    ///
    /// # Errors
    /// All that can be refused of it: EFBIG past the limit, EEXIST where it differs from a version that exists, ENOSPC
    /// where the disk has no room for the commit. After one of them the draft takes no more, and is never stored.
    pub fn write(&self, who: Who, ino: Ino, handle: Handle, offset: u64, data: &[u8]) -> Result<(), Fault> {
        if let Handle::Scratch { .. } = handle {
            return Ok(self.scratches.lock().write(ino.ordinal, offset, data)?);
        }
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        draft.written_by(who.tid);
        let outcome = self.take(who, &mut draft, offset, data);
        if let Err(fault) = &outcome {
            draft.spoil(Poison::Failed(fault.errno()));
        }
        file.show(&draft);
        outcome
    }

    /// Cuts or fills the content of an open file.
    pub(super) fn truncate(&self, who: Who, ino: Ino, handle: Handle, len: u64) -> Result<(), Fault> {
        let len = usize::try_from(len).map_err(|_| Refusal::ValueTooLong)?;
        if let Handle::Scratch { .. } = handle {
            return Ok(self.scratches.lock().resize(ino.ordinal, len)?);
        }
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        draft.fits(len)?;
        draft.written_by(who.tid);
        if len > 0 {
            if draft.base != Base::Whole {
                draft.bytes = self.content(who, &draft)?;
                draft.base = Base::Whole;
            }
            self.make_room(&mut draft)?;
        }
        draft.set_len(len)?;
        file.show(&draft);
        Ok(())
    }

    /// One close of `handle`. With `patient`, a child that has not written is waited for, since it may be about to become
    /// another program, and have the file only until then: the close is to be asked for again.
    pub fn flush(&self, who: Who, handle: Handle, patient: bool) -> Result<Close, Fault> {
        let Handle::Draft { .. } = handle else { return Ok(Close::Answered) };
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        let closing = Process::of_thread(who.tid);
        if closing.is_some_and(|process| draft.involves(process)) && is_being_killed(who.tid) {
            draft.spoil(Poison::Killed);
        }
        self.poisoned(&draft)?;
        if !draft.is_pending() {
            return Ok(Close::Answered);
        }
        let open = OpenFile { ino: draft.ino.number(), device: self.device.get().map(String::as_str) };
        let writers = writers_among(&draft.processes(), closing, &open);
        if writers.known == 0 && writers.others == 0 {
            return self.settle(who, &file, &mut draft).map(|()| Close::Answered);
        }
        // Whoever closes without having written waits for nobody: the close of one who has counts.
        let waits = patient && writers.known == 0 && closing.is_some_and(|process| draft.involves(process));
        Ok(if waits { Close::Waits { for_running: writers.others_run } } else { Close::Answered })
    }

    /// fsync(2): what was written so far is stored, and durable.
    pub fn sync(&self, who: Who, handle: Handle) -> Result<(), Fault> {
        let Handle::Draft { .. } = handle else { return Ok(()) };
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        if draft.dirty { self.settle(who, &file, &mut draft) } else { Ok(()) }
    }

    /// The last close. It comes without a caller, and its error reaches nobody but the log.
    pub fn release(&self, who: Who, handle: Handle) {
        let Some(open) = self.opens.remove(handle.serial()) else { return };
        match open.held {
            Held::Version(no) => self.let_go(open.ino, no),
            Held::Text(_) | Held::Scratch => {}
            Held::Draft(file) => {
                let mut draft = file.lock();
                let opener = Who { op: who.op, ..draft.who };
                let stores = draft.dirty || draft.emptied && draft.target == Target::Text;
                if stores
                    && draft.poison.is_none()
                    && let Err(fault) = self.settle(opener, &file, &mut draft)
                {
                    self.refuse(opener, Gesture { verb: "last close", on: Some(open.ino), writes: true }, &fault);
                }
                if let Target::Version { secret, no, exists: false, .. } = draft.target {
                    self.vault.release_version(secret, no);
                }
            }
        }
    }

    /// What a draft reads like: its bytes, with the present content before or below them.
    pub(super) fn read_draft(&self, who: Who, serial: u64) -> Result<Reading, Fault> {
        let file = self.draft_file(Handle::Draft { serial })?;
        let draft = file.lock();
        self.poisoned(&draft)?;
        Ok(Reading::Value(self.content(who, &draft)?))
    }

    fn content(&self, who: Who, draft: &Draft) -> Result<Value, Fault> {
        let mut content = match draft.base {
            Base::Whole => Value::empty(),
            Base::Behind(_) | Base::Present(_) => self.present(who, draft.ino)?,
        };
        content.write_at(content.len(), draft.bytes.as_bytes());
        Ok(content)
    }

    fn take(&self, who: Who, draft: &mut Draft, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let secret = self.writable(draft)?;
        self.take_in(who, draft)?;
        let at = draft.position(offset);
        if let (Target::Version { id, .. }, Some(secret)) = (&draft.target, &secret) {
            self.compare(secret, id, at, data)?;
        }
        self.make_room(draft)?;
        draft.write(at, data)?;
        if draft.target == Target::Text {
            self.foresee(draft.ino, draft.bytes.as_bytes(), matches!(draft.base, Base::Behind(_)))?;
        }
        Ok(())
    }

    /// The secret that the draft is of, unless it was scheduled for deletion since the file was opened: said at the write,
    /// since a shell's `echo` hears nothing of the error of a close.
    fn writable(&self, draft: &Draft) -> Result<Option<Arc<Loaded>>, Fault> {
        let is_secrets =
            tree::of(draft.ino.kind).is_some_and(|row| matches!(row.within, Kind::Directory | Kind::Versions));
        if !is_secrets {
            return Ok(None);
        }
        let secret = self.loaded(draft.ino.node)?;
        super::record(&secret)?.not_scheduled()?;
        Ok(Some(secret))
    }

    /// A version that is there by now, whoever wrote it, takes the same bytes only.
    fn compare(&self, secret: &Loaded, id: &VersionId, at: usize, data: &[u8]) -> Result<(), Fault> {
        let Some(version) = super::record(secret)?.version(id) else { return Ok(()) };
        let stored = self.vault.value(secret, version.no)?;
        let end = at.saturating_add(data.len());
        let same = stored.as_bytes().get(at..end) == Some(data) || self.only_trims(&stored, at, data);
        if same { Ok(()) } else { Err(Refusal::VersionExists { id: id.clone() }.into()) }
    }

    /// Whether `data` is what is stored and the newline that the mount takes off.
    fn only_trims(&self, stored: &Value, at: usize, data: &[u8]) -> bool {
        let before = data.strip_suffix(b"\n");
        self.options.trim_newline && before.is_some() && stored.as_bytes().get(at..) == before
    }

    /// Makes the present content the draft's own, so that a part of it can be replaced.
    fn take_in(&self, who: Who, draft: &mut Draft) -> Result<(), Fault> {
        if let Base::Present(_) = draft.base {
            draft.bytes = self.present(who, draft.ino)?;
            draft.base = Base::Whole;
        }
        Ok(())
    }

    /// Holds room on the disk for the commit of this draft, once.
    fn make_room(&self, draft: &mut Draft) -> Result<(), Fault> {
        if draft.room.is_none() {
            let share = self.shares.take(draft.who.uid).ok_or(Refusal::TooManyDrafts)?;
            draft.room = Some(HeldRoom { room: self.vault.reserve()?, _share: share });
        }
        Ok(())
    }

    fn present(&self, who: Who, ino: Ino) -> Result<Value, Fault> {
        let loaded = match ino.kind {
            Kind::Current | Kind::Version => self.loaded(ino.node)?,
            _ => return Ok(Value::from_vec(self.text(who, ino)?)),
        };
        let no = match ino.kind {
            Kind::Current => super::record(&loaded)?.stages.current(),
            _ => Some(ino.version_no()),
        };
        match no {
            Some(no) => Ok(self.vault.value(&loaded, no)?),
            None => Ok(Value::empty()),
        }
    }

    /// Stores the draft. Written bytes that cannot be stored are never tried again.
    fn settle(&self, who: Who, file: &DraftFile, draft: &mut Draft) -> Result<(), Fault> {
        let outcome = self.store(who, draft);
        match &outcome {
            Ok(()) => (draft.dirty, draft.emptied) = (false, false),
            // A file that was only cut may still be written: where the daemon does not see its callers, this was the close of a
            // shell that has moved its descriptor.
            Err(_) if !draft.dirty => {}
            Err(fault) => draft.spoil(Poison::Failed(fault.errno())),
        }
        draft.room = None;
        file.show(draft);
        outcome
    }

    fn poisoned(&self, draft: &Draft) -> Result<(), Fault> {
        match draft.poison {
            None => Ok(()),
            Some(Poison::Failed(errno)) => Err(Fault::Poisoned(errno)),
            Some(Poison::Killed) => Err(Fault::Poisoned(libc::EIO)),
        }
    }

    fn draft_file(&self, handle: Handle) -> Result<Arc<DraftFile>, Fault> {
        match self.opens.get(handle.serial()).map(|open| open.held) {
            Some(Held::Draft(file)) => Ok(file),
            Some(Held::Version(_) | Held::Text(_) | Held::Scratch) | None => Err(Fault::BadHandle),
        }
    }
}
