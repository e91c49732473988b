//! What a version's record keeps of its members, so that they are listed and their sizes shown without a look at the value.

use serde::{Deserialize, Serialize};

use super::{MemberName, Object};
use crate::secret::DataType;

/// The members of one version that stand in `fields/`. A version that was stored before there were any of these has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The number of the first; the others' follow. No two members of a secret ever have one number.
    first: u32,
    /// In the order in which they stand in the value.
    names: Vec<String>,
    /// How many bytes each of them reads.
    lens: Vec<u32>,
    /// How many bytes all of them read as lines for a shell.
    dotenv: u32,
}

/// Numbers end here: an inode number has room for 24 bits.
const NUMBERS_END: u32 = 1 << 24;

impl Fields {
    /// Those of the value `bytes`, which are numbered from `first` on; `None` where it has no members, or there is no number left.
    pub(in crate::secret) fn of(bytes: &[u8], kind: DataType, first: u32) -> Option<Self> {
        let object = if kind == DataType::Text { Object::parse(bytes)? } else { return None };
        let names: Vec<_> = object.shown().map(|member| member.name.clone()).collect();
        let lens = object.shown().map(|member| short(member.len())).collect();
        let fields = Self { first, names, lens, dotenv: short(object.dotenv_len()) };
        (fields.end() <= NUMBERS_END).then_some(fields)
    }

    /// The first number behind those of its members.
    pub(in crate::secret) fn end(&self) -> u32 {
        self.first.saturating_add(short(self.names.len()))
    }

    /// Each name with its number, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().zip(self.first..).map(|(name, number)| (name.as_str(), number))
    }

    /// The number of the member `name`.
    pub fn number(&self, name: &MemberName) -> Option<u32> {
        self.iter().find(|(other, _)| *other == name.as_str()).map(|(_, number)| number)
    }

    /// The name and the length of the member numbered `number`.
    pub fn numbered(&self, number: u32) -> Option<(&str, u32)> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        Some((self.names.get(at)?, *self.lens.get(at)?))
    }

    /// How long all of them are as lines for a shell.
    pub fn dotenv_len(&self) -> u32 {
        self.dotenv
    }
}

/// A length of what comes out of a value, which has 30,720 bytes.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_members_are_numbered_in_order() {
        let text = br#"{"user":"u","port":5432,".hidden":1,"a/b":"x","":"","pass":"p\"w"}"#;
        let fields = Fields::of(text, DataType::Text, 7).unwrap();
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("user", 7), ("port", 8), ("pass", 9)]);
        assert_eq!((fields.numbered(8), fields.numbered(9)), (Some(("port", 4)), Some(("pass", 3))));
        assert_eq!((fields.numbered(6), fields.numbered(10), fields.end()), (None, None, 10));
        assert_eq!(fields.number(&MemberName::parse(b"pass").unwrap()), Some(9));
        let stored = serde_json::to_string(&fields).unwrap();
        assert_eq!(serde_json::from_str::<Fields>(&stored).unwrap(), fields);
    }

    #[test]
    fn where_numbers_end_there_are_none() {
        for (first, is_there) in [(NUMBERS_END - 1, true), (NUMBERS_END, false), (u32::MAX, false)] {
            assert_eq!(Fields::of(br#"{"a":1}"#, DataType::Text, first).is_some(), is_there, "{first}");
        }
        assert_eq!(Fields::of(br#"{"a":1}"#, DataType::Binary, 0), None);
        assert_eq!(Fields::of(b"{}", DataType::Text, 0).map(|fields| fields.end()), Some(0));
    }
}
