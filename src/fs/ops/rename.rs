//! Renaming: a scratch file onto an entry is one write of it; an entry to a scratch name is a copy; a scheduled secret out
//! of `.deleted/` is its restore; a label can take another's place. Nothing else moves.

use super::{Place, Tree, Who, record};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::fs::scratch::{Content, Scratch};
use crate::fs::tree::{self, Shape};
use crate::secret::{Action, Component, MemberName, Refusal, Right, StageLabel, VersionId};
use crate::value::Value;
use crate::vault::{Draft, Needs};

/// A name in a directory.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The directory.
    pub parent: Ino,
    /// One component, as the kernel has it; nothing of it is checked yet.
    pub name: &'a [u8],
}

impl Tree {
    /// Gives what is at `from` the name `to`. With `keeps`, what is at `to` already is not replaced.
    pub fn rename(&self, who: Who, from: At<'_>, to: At<'_>, keeps: bool) -> Result<(), Fault> {
        self.may_change()?;
        let Some(moved) = self.found(who.op, from.parent, from.name)? else { return Ok(()) };
        let target = self.resolve(to.parent, to.name)?;
        if keeps && target.is_some() && target != Some(moved) {
            return Err(Refusal::NameTaken.into());
        }
        match moved.kind {
            Kind::Trashed if target.is_some_and(|target| target.kind == Kind::Scratch) => Err(Fault::NotDirectory),
            Kind::Trashed => self.restore(who, moved, to),
            Kind::Scratch => {
                if let (true, Kind::Fields, Ok(name)) = (keeps, to.parent.kind, MemberName::parse(to.name)) {
                    self.must_be_new(&*self.loaded(to.parent.node)?, &name)?;
                }
                self.rename_scratch(who, moved.ordinal, from.parent, to, target)
            }
            Kind::Stage if from.parent == to.parent => {
                let who = self.permit_names(who, to.parent, Action::UpdateSecretVersionStage)?;
                let (from, to) = (StageLabel::parse(from.name)?, StageLabel::parse(to.name)?);
                self.be_apart(moved.node, &to)?;
                Ok(self.vault.rename_stage(who.caller(), moved.node, &from, &to)?)
            }
            Kind::Directory => Err(Refusal::CannotRename.into()),
            kind if is_text_or_value(kind) && self.is_scratch_name(to, target) => self.copy_to_scratch(who, moved, to),
            _ => Err(Refusal::FixedEntry.into()),
        }
    }

    fn restore(&self, who: Who, moved: Ino, to: At<'_>) -> Result<(), Fault> {
        if !matches!(to.parent.kind, Kind::Instance | Kind::Directory) {
            return Err(Refusal::FixedEntry.into());
        }
        // `mv .deleted/a%2Fb .` asks for its own name there; EINVAL would make mv speak of a subdirectory of itself.
        let Ok(name) = Component::parse(to.name) else {
            let expected = record(&*self.loaded(moved.node)?)?.name.clone();
            return Err(Refusal::WrongRestoreName { expected }.into());
        };
        self.permit_way(who, &self.loaded(to.parent.node)?, Right::Change, Action::RestoreSecret)?;
        let needs = Needs::Directory(Right::Change);
        let who = self.permit(who, Action::RestoreSecret, &*self.loaded(moved.node)?, needs)?;
        Ok(self.vault.restore(who.caller(), moved.node, to.parent.node, &name)?)
    }

    fn rename_scratch(&self, who: Who, slot: u32, from: Ino, to: At<'_>, target: Option<Ino>) -> Result<(), Fault> {
        self.permit_scratch(who, from)?;
        if self.is_scratch_name(to, target) {
            self.permit_scratch(who, to.parent)?;
            return Ok(self.change_scratches(Some(who.op)).rename(slot, to.parent, to.name)?);
        }
        // Its bytes would become what the mover may read; so only who may read it moves it onto an entry.
        let is_anothers =
            |file: &Scratch| matches!(file.content, Content::File(_)) && who.uid != 0 && file.uid != who.uid;
        if self.shared.scratches.lock().get(slot).is_some_and(is_anothers) {
            return Err(Refusal::NotYourScratch.into());
        }
        // Out of the table while it is stored, so that nobody waits for that; back if it is refused.
        let Some(file) = self.shared.scratches.lock().take(slot) else { return Err(Fault::NoEntry) };
        let outcome = self.put_in_place(who, &file, to, target);
        match outcome {
            Ok(()) => drop(self.change_scratches(Some(who.op)).remove(slot)),
            Err(_) => self.shared.scratches.lock().put_back(slot, file),
        }
        outcome
    }

    /// Stores a scratch file as the entry at `to`.
    fn put_in_place(&self, who: Who, file: &Scratch, to: At<'_>, target: Option<Ino>) -> Result<(), Fault> {
        let bytes = match (&file.content, to.parent.kind) {
            (Content::Link(link), Kind::Stages) => {
                let who = self.permit_names(who, to.parent, Action::UpdateSecretVersionStage)?;
                return self.move_label(who, to.parent.node, to.name, link);
            }
            (Content::File(bytes), Kind::Versions | Kind::Fields | Kind::Directory) => bytes,
            (Content::Link(_) | Content::File(_), _) => return Err(Refusal::FixedEntry.into()),
        };
        if to.parent.kind == Kind::Versions {
            let id = VersionId::parse(to.name)?;
            let who = self.permit_new(who, &*self.loaded(to.parent.node)?)?;
            let room = Some(self.vault.reserve()?);
            return self.store_value(who, to.parent.node, Some(id), None, bytes, false, room).map(|_| ());
        }
        if to.parent.kind == Kind::Fields {
            let name = MemberName::parse(to.name)?;
            let who = self.permit_new(who, &*self.loaded(to.parent.node)?)?;
            let room = Some(self.vault.reserve()?);
            return self.store_member(who, to.parent.node, name, bytes, false, room);
        }
        let place = self.place(to.parent)?;
        let row = tree::fixed(Kind::Directory, to.name).ok_or(Refusal::CannotRename)?;
        match row.kind {
            Kind::Current if self.is_copy_of_current(file, &place)? => Ok(()),
            Kind::Current => self.put_current(self.permit_new(who, &place.secret)?, &place, bytes),
            kind if row.shape == Shape::File && target.is_some() => {
                let ino = Ino::new(place.secret.id(), kind);
                let who = self.permit_write_of_text(who, ino, false)?;
                self.store_text(who, ino, bytes.as_bytes(), false)
            }
            _ => Err(Refusal::FixedEntry.into()),
        }
    }

    /// Whether `file` is the backup of what is current still: `cp --backup` and `install -b` move it back when they find that
    /// `current` has stayed, and that is no new version.
    fn is_copy_of_current(&self, file: &Scratch, place: &Place) -> Result<bool, Fault> {
        let secret = record(&place.secret)?;
        let current = secret.stages.current().filter(|_| secret.is_live());
        Ok(file.copy_of.is_some() && file.copy_of == current.map(|no| (place.secret.id(), no)))
    }

    /// A scheduled secret comes back by the same change: one that is refused restores nothing.
    fn put_current(&self, who: Who, place: &Place, bytes: &Value) -> Result<(), Fault> {
        let (secret, room) = (place.secret.id(), Some(self.vault.reserve()?));
        if record(&place.secret)?.deletion.is_none() {
            return self.store_value(who, secret, None, None, bytes, false, room).map(|_| ());
        }
        let trimmed = self.trimmed(bytes);
        let bytes = trimmed.as_ref().unwrap_or(bytes);
        let draft = Draft { room, ..Draft::of(bytes) };
        self.vault.restore_with_value(who.caller(), secret, draft)?;
        Ok(())
    }

    /// An editor's backup: the content goes to a scratch file with the entry's owner and bits, and the entry stays.
    fn copy_to_scratch(&self, who: Who, moved: Ino, to: At<'_>) -> Result<(), Fault> {
        let (attr, lent) = (self.attr(who, moved)?, self.lent_bits(moved)?);
        // Nothing is rotated meanwhile, so nothing has to be pinned.
        let (copy, of) = match moved.kind {
            kind if kind.is_value() => {
                let no = self.readable(moved)?;
                let secret = self.loaded(moved.node)?;
                let who = self.permit_value(who, Action::GetSecretValue, &secret, Needs::Value(Right::Read))?;
                let member = self.member_name(&secret, moved);
                let (value, _) = self.vault.disclose(who.caller(), &secret, no, member.as_deref(), &[])?;
                let of = (kind != Kind::Field).then_some((moved.node, no));
                (self.part(&secret, moved, value)?, of)
            }
            _ => {
                let read = self.row(moved.kind)?.read.ok_or(Refusal::FixedEntry)?;
                let who = self.permit_text(who, moved, read, false)?;
                (Value::from_vec(self.text(who, moved)?), None)
            }
        };
        let content = Content::File(copy);
        let mut scratches = self.change_scratches(Some(who.op));
        let replaced = scratches.named(to.parent, to.name).and_then(|slot| Some((slot, scratches.remove(slot)?)));
        match scratches.add(to.parent, to.name, content, who.uid, (attr.uid, attr.gid), self.vault.now()) {
            // The bits that it has by itself: those that a policy shows are nobody's here.
            Ok(slot) => scratches.set_copy(slot, attr.mode & !lent, moved, of),
            Err(refusal) => {
                if let Some((slot, file)) = replaced {
                    scratches.put_back(slot, file);
                }
                scratches.refused();
                return Err(refusal.into());
            }
        }
        drop(scratches);
        // The kernel has moved the entry's own name there, and would go on believing it.
        self.shared.stale.lock().names.push((to.parent, to.name.to_vec()));
        Ok(())
    }

    /// Whether a file renamed to `to` stays one in memory.
    fn is_scratch_name(&self, to: At<'_>, target: Option<Ino>) -> bool {
        match target {
            Some(target) => target.kind == Kind::Scratch,
            None => match to.parent.kind {
                Kind::Directory => !crate::secret::RESERVED.iter().any(|entry| entry.as_bytes() == to.name),
                Kind::Versions | Kind::Stages | Kind::Fields => to.name.starts_with(b"."),
                _ => false,
            },
        }
    }
}

fn is_text_or_value(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Current | Kind::Field | Kind::Tags | Kind::Policy | Kind::Description | Kind::Rotation | Kind::Cmk
    )
}
