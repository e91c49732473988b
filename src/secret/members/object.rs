//! A value as the object that it is: each member's name, and where its own value stands.
//!
//! A string is read as what it says; all else (`5432`, `true`, another object) as it stands in the text. serde_json finds the
//! members and copies none of them; what it would round or drop on the way through a map stays as it is, since the text is what
//! counts.

use std::collections::HashSet;
use std::fmt::{self, Write};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::name::{MemberName, is_shown};

/// Most members of a value that has members: `fields/` lists each, and the record of its secret knows each.
pub const MEMBERS_MAX: usize = 512;
/// Most bytes that the names of shown members have together. Ten versions' names stand in one record, which each change writes anew.
const NAMES_MAX: usize = 4096;

/// A value with members.
pub struct Object<'a> {
    pub(super) text: &'a str,
    pub(super) members: Vec<Member<'a>>,
}

/// One of them.
pub(super) struct Member<'a> {
    pub name: String,
    /// As it stands in the text.
    pub raw: &'a str,
    /// Where that begins.
    pub at: usize,
}

impl<'a> Object<'a> {
    /// Reads `bytes`; `None` where that is no value with members: it is no JSON object, one of its names comes twice, it has too many of them,
    /// or a string of it is none that UTF-8 can hold.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Found(found) = serde_json::from_str(text).ok()?;
        // Each is a part of the text.
        let at = |raw: &str| raw.as_ptr().addr() - text.as_ptr().addr();
        let members: Vec<_> = found.into_iter().map(|(name, raw)| Member { name, raw, at: at(raw) }).collect();
        let object = Self { text, members };
        let is_read = object.members.iter().all(|member| member.chars(|_| ()).is_some());
        (is_read && object.fits()).then_some(object)
    }

    /// Whether it has no more members and names than a value with members has.
    fn fits(&self) -> bool {
        fits(self.members.len(), self.shown().map(|member| member.name.len()).sum())
    }

    /// The same with a member `name` more.
    pub(super) fn fits_with(&self, name: &str) -> bool {
        fits(self.members.len() + 1, name.len() + self.shown().map(|member| member.name.len()).sum::<usize>())
    }

    /// The names of all members, in their order.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.to_string()).collect()
    }

    /// All members as they stand in the text.
    pub fn raws(&self) -> impl Iterator<Item = &'a str> {
        self.members.iter().map(|member| member.raw)
    }

    /// Those that stand in `fields/`.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| is_shown(&member.name))
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    /// Whether it has the member `name`.
    pub fn has(&self, name: &MemberName) -> bool {
        self.find(name.as_str()).is_some()
    }

    /// Writes what the member `name` reads like; whether there is one.
    pub fn write_member(&self, name: &str, out: &mut impl Write) -> Result<bool, fmt::Error> {
        let Some(at) = self.find(name) else { return Ok(false) };
        self.members[at].write(out).map(|()| true)
    }
}

fn fits(members: usize, names: usize) -> bool {
    members <= MEMBERS_MAX && names <= NAMES_MAX
}

impl Member<'_> {
    pub fn end(&self) -> usize {
        self.at + self.raw.len()
    }

    /// Writes what it reads like.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        let mut outcome = Ok(());
        let read = self.chars(|char| outcome = outcome.and_then(|()| out.write_char(char)));
        read.ok_or(fmt::Error).and(outcome)
    }

    /// Its length in bytes, as it reads.
    pub fn len(&self) -> usize {
        let mut len = 0;
        self.chars(|char| len += char.len_utf8());
        len
    }

    /// Whether it reads like `value`.
    pub fn is(&self, value: &str) -> bool {
        let mut rest = value.chars();
        let mut same = true;
        self.chars(|char| same &= rest.next() == Some(char));
        same && rest.next().is_none()
    }

    /// Hands each character that it reads like to `take`; `None` where it has half of a surrogate pair.
    pub fn chars(&self, take: impl FnMut(char)) -> Option<()> {
        let quoted = self.raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match quoted {
            Some(text) => unescape(text, take),
            None => {
                self.raw.chars().for_each(take);
                Some(())
            }
        }
    }
}

/// The characters of a string's text, which is well-formed.
fn unescape(text: &str, mut take: impl FnMut(char)) -> Option<()> {
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        take(match char {
            '\\' => match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => code_point(&mut rest)?,
                itself => itself,
            },
            char => char,
        });
    }
    Some(())
}

/// The character behind `\u`, which may take another `\u`.
fn code_point(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let (first, left) = unit(rest.as_str())?;
    *rest = left.chars();
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first.into());
    }
    let (second, left) = unit(left.strip_prefix("\\u")?)?;
    *rest = left.chars();
    char::decode_utf16([first, second]).next()?.ok()
}

/// Four digits, and what stands behind them.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (hex, left) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(hex, 16).ok()?, left))
}

/// As serde reads them.
struct Found<'a>(Vec<(String, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Found<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Found<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    let raw = map.next_value::<&'de RawValue>()?.get();
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a name comes twice"));
                    }
                    members.push((name, raw));
                }
                Ok(Found(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(object: &Object<'_>, name: &str) -> Option<String> {
        let mut out = String::new();
        object.write_member(name, &mut out).unwrap().then_some(out)
    }

    #[test]
    fn members_read_as_they_are_meant() {
        let text = r#" { "s" : "a\"b\\c\n\u00e9\ud83d\ude00\/" , "n":12345678901234567890, "f": 1.10 ,"b":true,"z":null,
            "o": { "x" : [1, 2] }, "e":"", "caf\u00e9":"k" } "#;
        let object = Object::parse(text.as_bytes()).unwrap();
        for (name, expected) in [
            ("s", "a\"b\\c\n\u{e9}\u{1f600}/"),
            ("n", "12345678901234567890"),
            ("f", "1.10"),
            ("b", "true"),
            ("z", "null"),
            ("o", "{ \"x\" : [1, 2] }"),
            ("e", ""),
            ("caf\u{e9}", "k"),
        ] {
            assert_eq!(read(&object, name).as_deref(), Some(expected), "{name}");
            let member = &object.members[object.find(name).unwrap()];
            assert_eq!((member.len(), &text[member.at..member.end()]), (expected.len(), member.raw), "{name}");
            assert!(member.is(expected) && !member.is(&format!("{expected}x")), "{name}");
        }
        assert_eq!(read(&object, "none"), None);
    }

    #[test]
    fn what_has_no_members_says_so() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(Object::parse(deep.as_bytes()).is_some(), "how deep it goes is nobody's concern");
        let many = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::parse(many(512).as_bytes()).is_some());
        let long = format!("{{\"{}\":1,\"{}\":2}}", "a".repeat(4000), "b".repeat(200));
        assert!(Object::parse(long.as_bytes()).is_some(), "what is not shown takes no room");
        let names: Vec<_> = (10..31).map(|n| format!("\"{n}{}\":0", "x".repeat(200))).collect();
        for text in [
            "",
            "{",
            "[]",
            "\"a\"",
            "1",
            "{} x",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":\"\n\"}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\\ud800\"}",
            "{\"a\":\"\\ud800x\"}",
            "{\"a\":\"\\ud800dc00\"}",
            "{\"a\":\"\\ud83d\\nde00\"}",
            "{\"\\ud800\":1}",
            &many(513),
            &format!("{{{}}}", names.join(",")),
            "\u{feff}{}",
        ] {
            assert!(Object::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(Object::parse(b"{}\n").is_some());
    }
}
