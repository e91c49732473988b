//! One member another, or gone: an edit of the value's text, which leaves all else of it as it stands.
//!
//! A new member comes last, set apart as the one before it is, so that what a person has laid out stays so.

use std::fmt::{self, Write};

use super::{MemberName, Object};
use crate::secret::Refusal;

/// What is done to one member. The bytes are plaintext.
#[derive(Clone, Copy)]
pub enum Edit<'a> {
    /// It is these bytes, a string. One that reads like them already, be it a string or not, stays as it is.
    Set(&'a [u8]),
    /// It is these bytes, a string, whatever it was: what comes of it tells nothing of that.
    Put(&'a [u8]),
    /// These bytes stand behind what it reads like.
    Append(&'a [u8]),
    /// It is there no more.
    Remove,
}

/// What comes of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// Another value.
    Changed,
    /// The member reads like that already.
    Same,
}

/// Writes into `out` what the value `current` is once the member `name` was edited; without one, a value with this member alone.
///
/// # Errors
/// Where `current` has no members, or the bytes are none that a member can be.
pub fn edit(
    current: Option<&[u8]>,
    name: &MemberName,
    edit: Edit<'_>,
    out: &mut impl Write,
) -> Result<Edited, Refusal> {
    let object = Object::parse(current.unwrap_or(b"{}")).ok_or(Refusal::NotKeyValue)?;
    let (at, name) = (object.find(name.as_str()), name.as_str());
    let written = match edit {
        Edit::Remove => object.write_without(at.ok_or(Refusal::NoSuchMember)?, out),
        Edit::Set(bytes) | Edit::Put(bytes) | Edit::Append(bytes) => {
            let text = text(bytes)?;
            let before = at.filter(|_| matches!(edit, Edit::Append(_)));
            if matches!(edit, Edit::Set(_)) && at.is_some_and(|at| object.members[at].is(text)) {
                return Ok(Edited::Same);
            }
            if at.is_none() && !object.fits_with(name) {
                return Err(Refusal::TooManyMembers);
            }
            object.write_with(at, name, before, text, out)
        }
    };
    // Into memory, which does not fail.
    written.map_err(|_| Refusal::ValueTooLong)?;
    Ok(Edited::Changed)
}

/// What a member can be.
fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::EmptyValue);
    }
    std::str::from_utf8(bytes).map_err(|_| Refusal::BadMember)
}

/// Writes the value with exactly these members.
pub fn write_object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>, out: &mut impl Write) -> fmt::Result {
    out.write_char('{')?;
    for (at, (name, value)) in members.into_iter().enumerate() {
        out.write_str(if at == 0 { "" } else { "," })?;
        write_string(name, out)?;
        out.write_char(':')?;
        write_string(value, out)?;
    }
    out.write_char('}')
}

impl Object<'_> {
    /// With `text` as the member `name`, which is the one at `at`, or a new one; behind what the member at `before` reads like.
    fn write_with(
        &self,
        at: Option<usize>,
        name: &str,
        before: Option<usize>,
        text: &str,
        out: &mut impl Write,
    ) -> fmt::Result {
        let rest = match at {
            Some(at) => {
                out.write_str(&self.text[..self.members[at].at])?;
                self.members[at].end()
            }
            None => {
                let end = self.members.last().map_or(self.begin(), |last| last.end());
                let (gap, colon) = self.layout();
                out.write_str(&self.text[..end])?;
                out.write_str(gap.0)?;
                out.write_str(gap.1)?;
                write_string(name, out)?;
                out.write_str(colon)?;
                end
            }
        };
        out.write_char('"')?;
        if let Some(before) = before {
            let mut outcome = Ok(());
            self.members[before].chars(|char| outcome = outcome.and_then(|()| write_char(char, out)));
            outcome?;
        }
        text.chars().try_for_each(|char| write_char(char, out))?;
        out.write_char('"')?;
        out.write_str(&self.text[rest..])
    }

    /// Without the member at `at`.
    fn write_without(&self, at: usize, out: &mut impl Write) -> fmt::Result {
        let (from, to) = match (at, self.members.len()) {
            (0, 1) => (self.begin(), self.members[0].end()),
            (0, _) => (self.name_at(0), self.name_at(1)),
            _ => (self.members[at - 1].end(), self.members[at].end()),
        };
        out.write_str(&self.text[..from])?;
        out.write_str(&self.text[to..])
    }

    /// Where the text behind the opening brace begins.
    fn begin(&self) -> usize {
        self.text.find('{').map_or(0, |at| at + 1)
    }

    /// What stands before the name of the member at `at`: nothing but blanks and a comma.
    fn gap(&self, at: usize) -> (usize, usize) {
        let from = at.checked_sub(1).map_or(self.begin(), |before| self.members[before].end());
        (from, self.text[from..].find('"').map_or(from, |quote| from + quote))
    }

    fn name_at(&self, at: usize) -> usize {
        self.gap(at).1
    }

    /// What stands before the last member's name, in two parts, and between that and its value.
    fn layout(&self) -> ((&str, &str), &str) {
        let Some(last) = self.members.len().checked_sub(1) else { return (("", ""), ":") };
        let (from, name) = self.gap(last);
        let head = &self.text[name..self.members[last].at];
        let colon = head.rfind('"').map_or(":", |quote| &head[quote + 1..]);
        (if last == 0 { (",", &self.text[from..name]) } else { (&self.text[from..name], "") }, colon)
    }
}

fn write_string(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    text.chars().try_for_each(|char| write_char(char, out))?;
    out.write_char('"')
}

fn write_char(char: char, out: &mut impl Write) -> fmt::Result {
    match char {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        char if char < ' ' => write!(out, "\\u{:04x}", u32::from(char)),
        char => out.write_char(char),
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
