//! Members of Key/Value secrets: what the design says that `fields/` and `dotenv` are of a value, in maps.
//!
//! The values of a case have no blanks within, so that an edited one is written by serde_json to the byte.

use libc::{EFBIG, EINVAL, EKEYREVOKED, ENAMETOOLONG, ENOENT};
use serde_json::{Map, Value as Json};

use crate::reference::{Draft, Model, Outcome, SILENT, Secret, Target};
use crate::rules::VALUE_MAX;

/// A value's members; `None` where it has none.
pub fn members(bytes: &[u8]) -> Option<Map<String, Json>> {
    std::str::from_utf8(bytes).ok()?;
    serde_json::from_slice(bytes).ok()
}

/// What a member reads like.
fn reads(member: &Json) -> String {
    member.as_str().map_or_else(|| member.to_string(), str::to_owned)
}

/// What the member `name` of a value reads like.
pub fn member(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    Some(reads(members(bytes)?.get(name).filter(|_| file_name(name.as_bytes()).is_ok())?).into_bytes())
}

/// A file's name that a member can have.
pub fn file_name(name: &[u8]) -> Outcome<String> {
    let text = std::str::from_utf8(name).map_err(|_| &[EINVAL][..])?;
    if text.len() > 255 {
        return Err(&[ENAMETOOLONG, EINVAL]);
    }
    let bad = text.is_empty() || text.starts_with('.') || text.contains('/') || text.contains(char::is_control);
    if bad { Err(&[EINVAL]) } else { Ok(text.to_owned()) }
}

/// All members as lines for a shell.
pub fn dotenv(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = |(name, member): (&String, &Json)| {
        let text = reads(member);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(word) || !name.starts_with(|c: char| word(c) && !c.is_ascii_digit()) {
            return format!("# {} is left out: no variable can be named so\n", Json::from(name.as_str()));
        }
        if text.contains('\0') {
            return format!("# {} is left out: no variable can hold a NUL\n", Json::from(name.as_str()));
        }
        let plain = text.chars().all(|c| c.is_alphanumeric() || "_-./:@%+,=".contains(c));
        let escaped = text.contains('\'') || text.contains("\\\\") || text.ends_with('\\');
        let quoted = match (plain, escaped, text.contains(['$', '`'])) {
            (true, ..) => text,
            (_, false, _) => format!("'{text}'"),
            (_, _, false) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            // One after the other, so that what the first puts in is not seen by the second.
            _ => format!("'{}'", text.replace('\\', "\0").replace('\'', "'\\''").replace('\0', "'\\\\'")),
        };
        format!("{name}={quoted}\n")
    };
    Some(members(bytes)?.iter().map(line).collect::<String>().into_bytes())
}

/// `value` with its blanks around, and other members.
fn written(value: &[u8], members: &Map<String, Json>) -> Vec<u8> {
    let (begin, end) = (value.iter().position(|b| *b == b'{'), value.iter().rposition(|b| *b == b'}'));
    let (begin, end) = (begin.unwrap_or(0), end.map_or(value.len(), |end| end + 1));
    [&value[..begin], Json::Object(members.clone()).to_string().as_bytes(), &value[end..]].concat()
}

/// What a member is set to.
pub enum Edit<'a> {
    Set(&'a [u8]),
    Append(&'a [u8]),
    Remove,
}

impl Secret {
    /// The current value once one member of it was edited; `None` where it is that already.
    pub fn edited(&self, name: &str, edit: &Edit<'_>) -> Outcome<Option<Vec<u8>>> {
        let value = self.current().map_or(&b"{}"[..], |version| &version.bytes);
        let mut members = members(value).ok_or(&[EINVAL][..])?;
        let (bytes, before) = match edit {
            Edit::Remove => {
                members.shift_remove(name).ok_or(&[ENOENT][..])?;
                return Ok(Some(written(value, &members)));
            }
            Edit::Set(bytes) => (bytes, None),
            Edit::Append(bytes) => (bytes, members.get(name).map(reads)),
        };
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).ok_or(&[EINVAL][..])?;
        let new = Json::from(before.clone().unwrap_or_default() + text);
        if before.is_none() && members.get(name).is_some_and(|old| reads(old) == text) {
            return Ok(None);
        }
        members.insert(name.to_owned(), new);
        let new = written(value, &members);
        if new.len() > VALUE_MAX { Err(&[EFBIG]) } else { Ok(Some(new)) }
    }
}

impl Model {
    /// Edits a member of the secret numbered `serial`.
    pub fn put_member(&mut self, serial: u64, name: &str, edit: &Edit<'_>) -> Outcome<()> {
        let (now, version) = (self.now, self.serial());
        let edited = self.live(serial)?.edited(name, edit);
        if !self.is_usable(serial) {
            return Err(if edited.is_ok() { &[EKEYREVOKED] } else { SILENT });
        }
        match edited? {
            Some(bytes) => self.live(serial)?.put(None, &bytes, version, now),
            None => Ok(()),
        }
    }

    /// What a draft of a member will be refused for, whatever comes behind it.
    pub fn foresee_member(&self, draft: &Draft, adds: bool) -> Outcome<()> {
        let Target::Member(serial, name) = &draft.target else { return Ok(()) };
        let bytes = match std::str::from_utf8(&draft.bytes) {
            Err(error) if error.error_len().is_some() => return Err(&[EINVAL]),
            Err(error) => &draft.bytes[..error.valid_up_to()],
            Ok(_) => &draft.bytes,
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let edit = if adds { Edit::Append(bytes) } else { Edit::Set(bytes) };
        self.secret(*serial).ok_or(&[ENOENT][..])?.0.edited(name, &edit).map(|_| ())
    }
}
