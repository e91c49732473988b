//! What complete content becomes, whether it was written in place or renamed there: a version, tags, a text.

use super::{Tree, Who, record};
use crate::fs::draft::{Base, Draft, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::{Ino, Kind};
use crate::id::{NodeId, OpId, VersionNo};
use crate::secret::{
    InstanceState, KeyName, KeyWord, MemberName, Plan, Quota, RecoveryWindow, Refusal, Tags, VersionId, parse_shares,
};
use crate::value::Value;
use crate::vault::{self, Room, Written};

impl Tree {
    /// Stores a draft.
    pub(super) fn store(&self, who: Who, draft: &mut Draft) -> Result<(), Fault> {
        let adds = matches!(draft.base, Base::Behind(_));
        let room = draft.room.take().map(|held| held.room);
        match &draft.target {
            Target::Current { secret } => {
                self.store_value(who, *secret, None, None, &draft.bytes, adds, room)?;
            }
            Target::Version { secret, id, no, exists } => {
                let promised = (!*exists).then_some(*no);
                self.store_value(who, *secret, Some(id.clone()), promised, &draft.bytes, false, room)?;
            }
            Target::Member { secret, name, .. } => {
                // To whom it would be told whether the bytes are there already.
                let writer = draft.writer.as_ref().map_or(who, |writer| Who { op: who.op, ..writer.who });
                let name = MemberName::parse(name.as_bytes())?;
                self.store_member(writer, *secret, name, &draft.bytes, adds, room)?;
            }
            Target::Text => {
                // The disk has what was held for it, from here on.
                drop(room);
                self.store_text(who, draft.ino, draft.bytes.as_bytes(), adds)?;
            }
        }
        self.is_stored(draft)
    }

    /// Stores `value` as version `id`, or as the next `v<n>`.
    #[allow(clippy::too_many_arguments, reason = "each is one fact about one write, and none belongs to another")]
    pub(super) fn store_value(
        &self,
        who: Who,
        secret: NodeId,
        id: Option<VersionId>,
        no: Option<VersionNo>,
        value: &Value,
        adds: bool,
        room: Option<Room>,
    ) -> Result<Written, Fault> {
        let trimmed = self.trimmed(value);
        let bytes = trimmed.as_ref().unwrap_or(value);
        let draft = vault::Draft { id, no, append: adds, room, ..vault::Draft::of(bytes) };
        Ok(self.vault.put_value(who.caller(), secret, draft)?)
    }

    /// What the mount stores of a value whose newline it takes off; `None` where that is all of it.
    pub(super) fn trimmed(&self, value: &Value) -> Option<Value> {
        if self.options.trim_newline { without_newline(value) } else { None }
    }

    /// Makes `bytes` the text of entry `ino`; with `adds`, tags beside those there are.
    pub(super) fn store_text(&self, who: Who, ino: Ino, bytes: &[u8], adds: bool) -> Result<(), Fault> {
        let caller = who.caller();
        match ino.kind {
            Kind::Tags if adds => self.vault.add_tags(caller, ino.node, &Tags::parse_file(bytes)?)?,
            Kind::Tags => self.vault.set_tags(caller, ino.node, Tags::parse_file(bytes)?)?,
            Kind::Description => self.vault.set_description(caller, ino.node, bytes)?,
            Kind::Rotation => self.vault.set_rotation(caller, ino.node, Plan::parse_file(bytes)?)?,
            Kind::Policy => {
                record(&*self.loaded(ino.node)?)?.not_scheduled()?;
                self.vault.set_policy(caller, ino.node, bytes)?;
            }
            Kind::KeyPolicy => self.vault.set_key_policy(caller, ino.node, bytes)?,
            Kind::InstanceState => self.vault.set_instance_state(caller, ino.node, InstanceState::parse(bytes)?)?,
            Kind::Shares => {
                let shares = parse_shares(bytes, &self.vault.root()?.account)?;
                self.vault.set_shares(caller, ino.node, shares)?;
            }
            Kind::AccessQuota => self.vault.set_quota(caller, ino.node, Quota::parse(bytes)?)?,
            Kind::Cmk => self.vault.set_key(caller, ino.node, &KeyName::parse(bytes.trim_ascii())?)?,
            Kind::RecoveryWindow => {
                self.vault.set_recovery_window(caller, ino.node, RecoveryWindow::parse(bytes)?)?;
                self.shared.stale.lock().attrs.push(Ino::new(ino.node, Kind::Instance));
            }
            Kind::TrashedState => match bytes.trim_ascii() {
                b"purge" => self.purge(who, ino.node)?,
                _ => return Err(Refusal::BadState { words: "`purge`" }.into()),
            },
            Kind::KeyState => self.vault.write_key_state(caller, ino.node, KeyWord::parse(bytes)?)?,
            _ => return Err(Refusal::FixedEntry.into()),
        }
        Ok(())
    }

    /// A directory that outlives its purged secret shows the entries of a new draft: the kernel has to forget the old ones.
    fn purge(&self, who: Who, secret: NodeId) -> Result<(), Fault> {
        let directory = self.vault.directory_of(&*self.loaded(secret)?)?;
        self.vault.purge(who.caller(), secret)?;
        self.forget_entries(Some(who.op), secret, directory.map(|directory| directory.id()));
        Ok(())
    }

    /// Forgets what there was of the purged `secret`, of whose name `directory` is still there.
    pub(super) fn forget_entries(&self, op: Option<OpId>, secret: NodeId, directory: Option<NodeId>) {
        self.change_scratches(op).remove_in(Ino::new(secret, Kind::Fields));
        for (kind, name) in [(Kind::Versions, "versions"), (Kind::Stages, "stages")] {
            self.change_scratches(op).remove_in(Ino::new(secret, kind));
            if let Some(directory) = directory {
                self.shared.stale.lock().names.push((Ino::new(directory, Kind::Directory), name.into()));
            }
        }
    }

    pub(super) fn current_len(&self, secret: NodeId) -> Result<usize, Fault> {
        Ok(record(&*self.loaded(secret)?)?.current().map_or(0, |version| version.len as usize))
    }
}

/// A value of one line without its newline; `None` where there is nothing to take off.
fn without_newline(value: &Value) -> Option<Value> {
    let line = value.as_bytes().strip_suffix(b"\n")?;
    let trims = !line.is_empty() && !line.contains(&b'\n');
    trims.then(|| Value::copy_of(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_loses_its_newline() {
        for (written, stored) in [("a\n", Some("a")), ("a", None), ("a\nb\n", None), ("\n", None), ("a\n\n", None)] {
            let trimmed = without_newline(&Value::copy_of(written.as_bytes()));
            assert_eq!(trimmed.as_ref().map(Value::as_bytes), stored.map(str::as_bytes), "{written:?}");
        }
    }
}
