//! Writing: what was acknowledged stands in a draft, and has its room on the disk. When it counts, `close` says.

use std::sync::Arc;

use super::{Reading, Tree, Who};
use crate::estate::Key;
use crate::fs::draft::{Base, Draft, DraftFile, HeldRoom, Poison, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::opens::Held;
use crate::fs::tree;
use crate::id::OpId;
use crate::secret::{Action, Refusal, Right, VersionId};
use crate::value::Value;
use crate::vault::{Loaded, Needs, member_of};

impl Tree {
    /// Takes `data` at `offset`.
    ///
    /// # Errors
    /// All that can be refused of it: EFBIG past the limit, EEXIST where it differs from a version that exists, ENOSPC
    /// where the disk has no room for the commit. After one of them the draft takes no more, and is never stored.
    pub fn write(&self, who: Who, ino: Ino, handle: Handle, offset: u64, data: &[u8]) -> Result<(), Fault> {
        if let Handle::Scratch { .. } = handle {
            return Ok(self.change_scratches(Some(who.op)).write(ino.ordinal, offset, data)?);
        }
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        draft.goes_on(who.tid);
        self.poisoned(&draft)?;
        if self.estate.has_carried_out(who.op) {
            return Ok(());
        }
        draft.written_by(who.tid);
        self.vault.look_at(who.caller());
        let outcome = self.take(who, &mut draft, offset, data);
        if let Err(fault) = &outcome {
            draft.spoil(Poison::Failed(fault.errno()));
        }
        self.changed(Some(who.op), &file, &draft);
        outcome
    }

    /// Cuts or fills the content of an open file.
    pub(super) fn truncate(&self, who: Who, ino: Ino, handle: Handle, len: u64) -> Result<(), Fault> {
        let len = usize::try_from(len).map_err(|_| Refusal::ValueTooLong)?;
        if let Handle::Scratch { .. } = handle {
            return Ok(self.change_scratches(Some(who.op)).resize(ino.ordinal, len)?);
        }
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        self.may_cut(who, &mut draft)?;
        draft.fits(len)?;
        draft.written_by(who.tid);
        if len > 0 {
            self.make_room(&mut draft)?;
            if draft.base != Base::Whole {
                draft.bytes = self.content(who, &draft)?;
                (draft.base, draft.holds_stored) = (Base::Whole, true);
            }
        }
        draft.set_len(len)?;
        self.changed(Some(who.op), &file, &draft);
        Ok(())
    }

    /// Shows the size that `draft`, which is in `file`, has now, and leaves it so to the next worker.
    pub(super) fn changed(&self, op: Option<OpId>, file: &DraftFile, draft: &Draft) {
        file.show(draft);
        self.leave(op, draft);
    }

    /// Leaves `draft` to the next worker as the request `op` has made it, if one has.
    pub(super) fn leave(&self, op: Option<OpId>, draft: &Draft) {
        self.estate.change(op, &[(Key::Draft(draft.serial), Some(draft.to_entry().as_bytes()))]);
    }

    /// What a draft reads like: its bytes, with the present content before or below them.
    pub(super) fn read_draft(&self, who: Who, serial: u64) -> Result<Reading, Fault> {
        let file = self.draft_file(Handle::Draft { serial })?;
        let draft = file.lock();
        self.poisoned(&draft)?;
        self.key_allows(&draft)?;
        self.may_read_on(who, &draft)?;
        let content = self.content(who, &draft)?;
        self.tell_of_draft(who, serial, draft.ino)?;
        Ok(Reading::Value(content))
    }

    fn content(&self, who: Who, draft: &Draft) -> Result<Value, Fault> {
        let mut content = match draft.base {
            Base::Whole => Value::empty(),
            Base::Behind(_) | Base::Present(_) => self.present(who, draft)?,
        };
        content.write_at(content.len(), draft.bytes.as_bytes());
        Ok(content)
    }

    fn take(&self, who: Who, draft: &mut Draft, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let secret = self.writable(who, draft)?;
        self.take_in(who, draft)?;
        let at = draft.position(offset);
        if let (Target::Version { id, .. }, Some(secret)) = (&draft.target, &secret) {
            self.compare(who, secret, id, at, data)?;
        }
        if takes_room(draft.ino.kind) {
            self.make_room(draft)?;
        }
        draft.write(at, data)?;
        if draft.target == Target::Text {
            self.foresee(draft.ino, draft.bytes.as_bytes(), matches!(draft.base, Base::Behind(_)))?;
        }
        self.foresee_member(who, draft)
    }

    /// Refuses the draft of a value whose key was disabled since the file was opened.
    fn key_allows(&self, draft: &Draft) -> Result<(), Fault> {
        let Some(secret) = draft.target.secret() else { return Ok(()) };
        match self.vault.node(secret)? {
            Some(loaded) => Ok(self.vault.key_is_usable(super::record(&loaded)?)?),
            None => Ok(()),
        }
    }

    /// The secret that the draft is of, unless it was scheduled for deletion, or its key disabled, since the file was opened: said at
    /// the write, since a shell's `echo` hears nothing of the error of a close.
    fn writable(&self, who: Who, draft: &mut Draft) -> Result<Option<Arc<Loaded>>, Fault> {
        let is_secrets = tree::of(draft.ino.kind)
            .is_some_and(|row| matches!(row.within, Kind::Directory | Kind::Versions | Kind::Fields));
        if !is_secrets {
            self.may_write_on(who, draft)?;
            return Ok(None);
        }
        let secret = self.loaded(draft.ino.node)?;
        super::record(&secret)?.not_scheduled()?;
        self.key_allows(draft)?;
        self.may_write_on(who, draft)?;
        Ok(Some(secret))
    }

    /// A version that is there by now, whoever wrote it, takes the same bytes only.
    ///
    /// Who may not read it is told at the close, of all of it at once: told of each write, a writer would find out byte by byte what
    /// is there.
    fn compare(&self, who: Who, secret: &Loaded, id: &VersionId, at: usize, data: &[u8]) -> Result<(), Fault> {
        let Some(version) = super::record(secret)?.version(id) else { return Ok(()) };
        if self.permit_again(who, Action::GetSecretValue, secret, Needs::Value(Right::Read)).is_err() {
            return Ok(());
        }
        let stored = self.vault.undisclosed(secret, version.no)?;
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
            draft.bytes = self.present(who, draft)?;
            (draft.base, draft.holds_stored) = (Base::Whole, true);
        }
        Ok(())
    }

    /// Holds room on the disk for the commit of this draft, once.
    pub(super) fn make_room(&self, draft: &mut Draft) -> Result<(), Fault> {
        if draft.room.is_none() {
            let share = self.shared.shares.take(draft.who.uid).ok_or(Refusal::TooManyDrafts)?;
            draft.room = Some(HeldRoom { room: self.vault.reserve()?, _share: share });
        }
        Ok(())
    }

    /// The present content of what `draft` is of. Of a member that is what the current value has: a write goes there.
    fn present(&self, who: Who, draft: &Draft) -> Result<Value, Fault> {
        let ino = draft.ino;
        if draft.target == Target::Text {
            return Ok(Value::from_vec(self.text(who, ino)?));
        }
        let loaded = self.loaded(ino.node)?;
        let no = match &draft.target {
            Target::Version { no, .. } => Some(*no),
            Target::Current { .. } | Target::Member { .. } | Target::Text => super::record(&loaded)?.stages.current(),
        };
        // Who reads it through its draft is told of there.
        let value = no.map(|no| self.vault.undisclosed(&loaded, no)).transpose()?;
        let value = value.unwrap_or(Value::empty());
        if let Target::Member { name, .. } = &draft.target {
            return Ok(member_of(&value, name).unwrap_or(Value::empty()));
        }
        Ok(value)
    }

    pub(super) fn draft_file(&self, handle: Handle) -> Result<Arc<DraftFile>, Fault> {
        match self.shared.opens.get(handle.serial()).map(|open| open.held) {
            Some(Held::Draft(file)) => Ok(file),
            None if self.shared.opens.is_of_former(handle.serial()) => Err(Fault::LostDraft),
            Some(
                Held::Version(_) | Held::Text(_) | Held::Scratch | Held::Talk(_) | Held::Events(_) | Held::Snapshot(_),
            )
            | None => Err(Fault::BadHandle),
        }
    }
}

/// Whether room is held for what is written to an entry of `kind`. A purge is asked for in order to get room, and a key is disabled, or
/// an instance sealed, in a hurry.
pub(super) fn takes_room(kind: Kind) -> bool {
    !matches!(kind, Kind::TrashedState | Kind::KeyState | Kind::InstanceState)
}
