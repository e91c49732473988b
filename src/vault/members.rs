//! Members of Key/Value secrets: one of them out of a value, and one of them written.
//!
//! To write one is to put a whole value that differs in it: it is made of the current one in the moment of the commit, while no other
//! change can be made, so that of two who write two members neither loses its own. Whoever writes one learns nothing of the others.

use super::secrets::{Draft, Written};
use super::values::Kept;
use super::{Caller, Loaded, Vault, VaultError};
use crate::id::{NodeId, VersionNo};
use crate::secret::{self, Edit, Edited, MemberName, Object, Refusal, Secret, Version};
use crate::value::Value;

/// What a draft does with one member of the current value, all others of which stay.
pub struct MemberDraft {
    /// The member.
    pub name: MemberName,
    /// What is done.
    pub does: MemberChange,
}

/// What is done with a member.
pub enum MemberChange {
    /// It is the bytes, or has them behind what it was.
    Set {
        /// Whether the same bytes again are a success without a version. To who may not read the value that would tell what it is.
        replays: bool,
    },
    /// It goes.
    Remove {
        /// The version in which it was seen. That stays.
        seen: Option<VersionNo>,
    },
}

/// What a value is once a member of it was changed.
pub(super) enum Made {
    Value(Value),
    /// What it was.
    Same(VersionNo),
}

impl Vault {
    /// Removes a member of the current value, which a caller has seen in version `seen`: one version without it.
    ///
    /// # Errors
    /// Where that version would roll away, among others: whoever removes all that it shows, one by one, shall not lose it.
    pub fn remove_member(
        &self,
        caller: Caller,
        id: NodeId,
        name: MemberName,
        seen: Option<VersionNo>,
    ) -> Result<(), VaultError> {
        let (nothing, does) = (Value::empty(), MemberChange::Remove { seen });
        let draft = Draft { member: Some(MemberDraft { name, does }), ..Draft::of(&nothing) };
        self.put_value(caller, id, draft).map(|_: Written| ())
    }

    /// Whether `edit` could be done to a member as all is now.
    ///
    /// # Errors
    /// What the put would say.
    pub fn check_member(&self, id: NodeId, name: &MemberName, edit: Edit<'_>) -> Result<(), VaultError> {
        let loaded = self.existing(id)?;
        let record = &loaded.as_secret().ok_or(VaultError::Unreadable { node: id })?.secret;
        let (value, _) = self.edited(&loaded, record, name, edit)?;
        if value.len() > secret::VALUE_MAX { Err(Refusal::ValueTooLong.into()) } else { Ok(()) }
    }

    /// The value that `draft`, which is of a member, comes to.
    pub(super) fn with_member(
        &self,
        loaded: &Loaded,
        record: &Secret,
        draft: &Draft<'_>,
        member: &MemberDraft,
    ) -> Result<Made, VaultError> {
        let bytes = draft.bytes.as_bytes();
        let edit = match member.does {
            MemberChange::Set { .. } if draft.append => Edit::Append(bytes),
            MemberChange::Set { replays: true } => Edit::Set(bytes),
            MemberChange::Set { replays: false } => Edit::Put(bytes),
            MemberChange::Remove { .. } => Edit::Remove,
        };
        match (self.edited(loaded, record, &member.name, edit)?, record.current()) {
            ((_, Edited::Same), Some(current)) => Ok(Made::Same(current.no)),
            ((value, _), _) => Ok(Made::Value(value)),
        }
    }

    fn edited(
        &self,
        loaded: &Loaded,
        record: &Secret,
        name: &MemberName,
        edit: Edit<'_>,
    ) -> Result<(Value, Edited), VaultError> {
        let mut value = Value::empty();
        let Some(current) = record.current() else {
            let edited = secret::edit(None, name, edit, &mut value)?;
            return Ok((value, edited));
        };
        if current.kind != secret::DataType::Text {
            return Err(Refusal::NotKeyValue.into());
        }
        let whole = self.undisclosed(loaded, current.no)?;
        let edited = secret::edit(Some(whole.as_bytes()), name, edit, &mut value)?;
        Ok((value, edited))
    }

    /// Whether the current value of `secret` has the member `name`.
    pub fn has_member(&self, secret: &Loaded, record: &Secret, name: &MemberName) -> Result<bool, VaultError> {
        let Some(current) = record.current() else { return Ok(false) };
        if let Some(fields) = &current.fields {
            return Ok(fields.number(name).is_some());
        }
        // It was stored before records knew of members, or there were no numbers left.
        let value = self.undisclosed(secret, current.no)?;
        let is_text = current.kind == secret::DataType::Text;
        Ok(is_text && Object::parse(value.as_bytes()).is_some_and(|object| object.has(name)))
    }

    /// The version, stored or pinned, that has the member numbered `number`.
    pub fn version_of_member(&self, secret: &Loaded, number: u32) -> Option<Version> {
        let has = |version: &&Version| version.fields.as_ref().is_some_and(|fields| fields.numbered(number).is_some());
        let stored = secret.as_secret().and_then(|node| node.secret.versions.iter().find(has).cloned());
        stored.or_else(|| {
            self.kept_where(secret.id(), |kept: &Kept| has(&&kept.version)).map(|kept| kept.version.clone())
        })
    }
}

/// What the member `name` of `value` reads like; `None` where it has none.
pub fn member_of(value: &Value, name: &str) -> Option<Value> {
    let mut out = Value::empty();
    // Into memory, which does not fail.
    let found = Object::parse(value.as_bytes())?.write_member(name, &mut out).ok()?;
    found.then_some(out)
}

/// The value `value` with the members of `others` in the place of its own of the same names, or behind them; all else of it stays.
///
/// # Errors
/// Where one of the two has no members, or a member cannot be one.
pub(super) fn with_members(value: &Value, others: &Value) -> Result<Value, Refusal> {
    let names = Object::parse(others.as_bytes()).ok_or(Refusal::NotKeyValue)?.names();
    let mut whole = Value::copy_of(value.as_bytes());
    for name in names {
        let text = member_of(others, &name).ok_or(Refusal::NotKeyValue)?;
        let (name, mut after) = (MemberName::parse(name.as_bytes())?, Value::empty());
        if secret::edit(Some(whole.as_bytes()), &name, Edit::Set(text.as_bytes()), &mut after)? == Edited::Changed {
            whole = after;
        }
    }
    Ok(whole)
}

/// The texts that `value` is made of, whole and in its members, as they read and as they stand: what must be in no message.
pub(super) fn texts_of(value: &Value) -> Vec<Value> {
    let mut texts = vec![Value::copy_of(value.as_bytes())];
    texts.extend(value.as_bytes().split(|byte| *byte == b'\n').map(Value::copy_of));
    if let Some(object) = Object::parse(value.as_bytes()) {
        texts.extend(object.names().iter().filter_map(|name| member_of(value, name)));
        texts.extend(object.raws().map(|raw| Value::copy_of(raw.trim_matches('"').as_bytes())));
    }
    texts
}

/// All members of `value` as lines for a shell; `None` where it has none.
pub fn dotenv_of(value: &Value) -> Option<Value> {
    let mut out = Value::empty();
    Object::parse(value.as_bytes())?.write_dotenv(&mut out).ok()?;
    Some(out)
}
