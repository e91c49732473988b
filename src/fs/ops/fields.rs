//! Members of Key/Value secrets: `fields/<name>`, and `dotenv`.
//!
//! A directory `fields/` shows one version, which its inode number says: whoever reads two members through one that is open has both of
//! one version. What is written in it goes into the value that is current at the close.

use std::sync::Arc;

use super::open::base;
use super::{Tree, Who, record};
use crate::fs::draft::{Base, Draft, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::ops::How;
use crate::id::{NodeId, VersionNo};
use crate::secret::{Action, Edit, MemberName, Refusal, Right, Version};
use crate::value::Value;
use crate::vault::{self, Loaded, MemberChange, MemberDraft, Needs, Room};

impl Tree {
    /// What the directory `fields`, which is one, shows.
    fn shown(&self, fields: Ino) -> Result<Option<Version>, Fault> {
        let loaded = self.loaded(fields.node)?;
        let record = record(&loaded)?;
        if fields.ordinal < record.fields_gone {
            return Err(Fault::VersionGone);
        }
        let Some(no) = record.shown_by(fields.ordinal) else { return Ok(None) };
        self.vault.version(&loaded, no).map(Some).ok_or(Fault::VersionGone)
    }

    /// The member `name` of what the directory `fields` shows.
    pub(super) fn member_named(&self, fields: Ino, name: &[u8]) -> Result<Option<Ino>, Fault> {
        let Ok(name) = MemberName::parse(name) else { return Ok(None) };
        let number = self.shown(fields)?.and_then(|version| version.fields?.number(&name));
        Ok(number.map(|number| Ino::field(fields.node, number)))
    }

    /// The members of what the directory `fields` shows.
    pub(super) fn add_members(&self, fields: Ino, entries: &mut Vec<(Vec<u8>, Ino)>) -> Result<(), Fault> {
        if record(&*self.loaded(fields.node)?)?.deletion.is_some() {
            return Ok(());
        }
        if let Some(shown) = self.shown(fields)?.and_then(|version| version.fields) {
            let entry = |(name, number): (&str, u32)| (name.as_bytes().to_vec(), Ino::field(fields.node, number));
            entries.extend(shown.iter().map(entry));
        }
        Ok(())
    }

    /// The version, the name and the length of the member `field`.
    pub(super) fn member(&self, secret: &Loaded, field: Ino) -> Option<(Version, String, u32)> {
        let version = self.vault.version_of_member(secret, field.ordinal)?;
        let (name, len) = version.fields.as_ref()?.numbered(field.ordinal)?;
        let name = name.to_owned();
        Some((version, name, len))
    }

    /// The member's name that the value `ino` is alone.
    pub(super) fn member_name(&self, secret: &Loaded, ino: Ino) -> Option<String> {
        if ino.kind == Kind::Field { self.member(secret, ino).map(|(_, name, _)| name) } else { None }
    }

    /// What a reader of `ino` is given of version `no`, which `value` is.
    pub(super) fn part(&self, secret: &Loaded, ino: Ino, value: Value) -> Result<Value, Fault> {
        match ino.kind {
            Kind::Field => {
                let (_, name, _) = self.member(secret, ino).ok_or(Fault::NoEntry)?;
                vault::member_of(&value, &name).ok_or(Fault::NoEntry)
            }
            Kind::Dotenv => Ok(vault::dotenv_of(&value).ok_or(Refusal::NotKeyValue)?),
            _ => Ok(value),
        }
    }

    pub(super) fn open_member_to_write(&self, who: Who, ino: Ino, how: How) -> Result<Handle, Fault> {
        let loaded = self.loaded(ino.node)?;
        let secret = record(&loaded)?;
        let who = self.permit_value(who, Action::PutSecretValue, &loaded, Needs::Value(Right::Write))?;
        self.may_read_too(who, how, &loaded)?;
        secret.not_scheduled()?;
        let (_, name, _) = self.member(&loaded, ino).ok_or(Fault::NoEntry)?;
        let parsed = MemberName::parse(name.as_bytes())?;
        // The version that it is seen in may not be current any more. What comes back there is made anew, which the kernel has not asked
        // for: it has looked at the member's bits alone.
        let exists = self.vault.has_member(&loaded, secret, &parsed)?;
        if !exists {
            self.permit_again(who, Action::PutSecretValue, &loaded, Needs::Directory(Right::Change))?;
        }
        self.may_set(&loaded, &parsed)?;
        let len = self.member_len(ino.node, &name)?;
        let target = Target::Member { secret: ino.node, name, exists };
        Ok(self.draft(who, ino, target, base(how, len, true), how, how.truncates))
    }

    /// A member that is not there; of a draft the first.
    pub(super) fn create_member(&self, who: Who, fields: Ino, name: &[u8], how: How) -> Result<(Ino, Handle), Fault> {
        let name = MemberName::parse(name)?;
        let loaded = self.loaded(fields.node)?;
        let secret = record(&loaded)?;
        secret.not_scheduled()?;
        let who = self.permit_new(who, &loaded)?;
        if how.appends {
            // A read through it gives what it goes behind, should somebody else make that meanwhile.
            self.may_read_too(who, how, &loaded)?;
        }
        if how.exclusive {
            self.must_be_new(&loaded, &name)?;
        }
        self.may_set(&loaded, &name)?;
        let number = self.change_scratches(None).number();
        let ino = Ino { node: fields.node, kind: Kind::NewField, ordinal: number };
        let target = Target::Member { secret: fields.node, name: name.as_str().to_owned(), exists: false };
        Ok((ino, self.draft(who, ino, target, base(how, 0, true), how, true)))
    }

    /// Refuses a member that is there by now, though maybe not in the version that the directory shows.
    pub(super) fn must_be_new(&self, secret: &Loaded, name: &MemberName) -> Result<(), Fault> {
        if self.vault.has_member(secret, record(secret)?, name)? { Err(Refusal::NameTaken.into()) } else { Ok(()) }
    }

    /// Refuses where no value at all could be set as the member `name`, in words that a shell's `echo` hears.
    fn may_set(&self, secret: &Arc<Loaded>, name: &MemberName) -> Result<(), Fault> {
        self.vault.key_is_usable(record(secret)?)?;
        Ok(self.vault.check_member(secret.id(), name, Edit::Put(b"x"))?)
    }

    /// Refuses what a draft of a member has come to, as far as no further byte could mend it.
    pub(super) fn foresee_member(&self, who: Who, draft: &Draft) -> Result<(), Fault> {
        let Target::Member { secret, name, .. } = &draft.target else { return Ok(()) };
        let bytes = draft.bytes.as_bytes();
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_some() => return Err(Refusal::BadMember.into()),
            // The rest of a character may come with the next write.
            Err(error) => &bytes[..error.valid_up_to()],
            Ok(_) => bytes,
        };
        if whole.is_empty() {
            return Ok(());
        }
        let name = MemberName::parse(name.as_bytes())?;
        let edit = match draft.base {
            Base::Behind(_) => Edit::Append(whole),
            _ if self.may_replay(who, &*self.loaded(*secret)?) => Edit::Set(whole),
            _ => Edit::Put(whole),
        };
        Ok(self.vault.check_member(*secret, &name, edit)?)
    }

    /// Stores `value` as the member `name`; with `adds`, behind what that is.
    pub(super) fn store_member(
        &self,
        who: Who,
        secret: NodeId,
        name: MemberName,
        value: &Value,
        adds: bool,
        room: Option<Room>,
    ) -> Result<(), Fault> {
        let trimmed = self.trimmed(value);
        let bytes = trimmed.as_ref().unwrap_or(value);
        let replays = self.may_replay(who, &*self.loaded(secret)?);
        let member = Some(MemberDraft { name, does: MemberChange::Set { replays } });
        let draft = vault::Draft { append: adds, member, room, ..vault::Draft::of(bytes) };
        self.vault.put_value(who.caller(), secret, draft)?;
        Ok(())
    }

    /// Whether `who` may be told, by what comes of it, that it has written what is there already.
    fn may_replay(&self, who: Who, secret: &Loaded) -> bool {
        self.permit_again(who, Action::GetSecretValue, secret, Needs::Value(Right::Read)).is_ok()
    }

    /// Removes the member `name`, which `fields` shows.
    pub(super) fn remove_member(&self, who: Who, fields: Ino, name: &[u8]) -> Result<(), Fault> {
        // That directory goes on showing it.
        if self.vault.has_carried_out(who.op)? {
            return Ok(());
        }
        let loaded = self.loaded(fields.node)?;
        let who = self.permit_new(who, &loaded)?;
        let seen = record(&loaded)?.shown_by(fields.ordinal);
        Ok(self.vault.remove_member(who.caller(), fields.node, MemberName::parse(name)?, seen)?)
    }

    /// How long the member `name` of the current value is; 0 where there is none.
    pub(super) fn member_len(&self, secret: NodeId, name: &str) -> Result<usize, Fault> {
        let loaded = self.loaded(secret)?;
        let fields = record(&loaded)?.current().and_then(|version| version.fields.as_ref());
        let member =
            fields.and_then(|fields| fields.numbered(fields.number(&MemberName::parse(name.as_bytes()).ok()?)?));
        Ok(member.map_or(0, |(_, len)| len as usize))
    }

    /// The version of the value `ino`, as it is to whoever comes now.
    pub(super) fn version_now(&self, secret: &Loaded, ino: Ino) -> Result<Option<VersionNo>, Fault> {
        Ok(match ino.kind {
            Kind::Current | Kind::Dotenv => self.current_no(record(secret)?),
            Kind::Field => self.vault.version_of_member(secret, ino.ordinal).map(|version| version.no),
            Kind::Version => record(secret)?.version_no(ino.version_no()).map(|version| version.no),
            _ => None,
        })
    }
}
