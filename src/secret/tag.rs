//! Tags, and the file they are read from and written to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Most tags of a secret.
pub const TAGS_MAX: usize = 20;
/// Longest key and longest value in bytes.
const PART_MAX: usize = 128;
/// Keys that begin so, in any case, belong to the system.
const RESERVED_PREFIXES: [&str; 2] = ["aliyun", "acs:"];

/// A tag's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagKey(String);

/// A tag's value; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagValue(String);

impl TagKey {
    /// Parses a key as a request has it; `at` counts the request's tags from 1.
    pub fn parse(text: &str, at: usize) -> Result<Self, Refusal> {
        if text.is_empty() || !is_part(text) {
            return Err(Refusal::BadTagKey { at });
        }
        if is_reserved(text) { Err(Refusal::ReservedTagKey { at }) } else { Ok(Self(text.to_owned())) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TagValue {
    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tags of one secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<TagKey, TagValue>);

impl Tags {
    /// Reads a file of tags, one a line: `key=value`, or `key value` for keys that hold a `=`. Blank lines are skipped. No
    /// line is taken if one is bad.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut tags = BTreeMap::new();
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line_no = at + 1;
            let text = std::str::from_utf8(line).map_err(|_| Refusal::BadTagLine { line: line_no })?;
            // A trailing blank counts: `key ` is the key with an empty value.
            let text = text.strip_suffix('\r').unwrap_or(text).trim_start_matches([' ', '\t']);
            if text.is_empty() {
                continue;
            }
            let (key, value) = parse_line(text).ok_or(Refusal::BadTagLine { line: line_no })?;
            if is_reserved(key) {
                return Err(Refusal::ReservedTag { line: line_no });
            }
            if tags.insert(TagKey(key.to_owned()), TagValue(value.to_owned())).is_some() {
                return Err(Refusal::DuplicateTag { line: line_no });
            }
        }
        if tags.len() > TAGS_MAX { Err(Refusal::TooManyTags) } else { Ok(Self(tags)) }
    }

    /// The tags of a request: keys and values in its order.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Refusal> {
        let mut tags = BTreeMap::new();
        for (at, (key, value)) in (1..).zip(pairs) {
            let key = TagKey::parse(key, at)?;
            if !is_part(value) {
                return Err(Refusal::BadTagValue { at });
            }
            if tags.insert(key, TagValue(value.to_owned())).is_some() {
                return Err(Refusal::DuplicateTagKey { at });
            }
        }
        if tags.len() > TAGS_MAX { Err(Refusal::TooManyTags) } else { Ok(Self(tags)) }
    }

    /// The file that [`Tags::parse_file`] reads back as these tags.
    pub fn render(&self) -> String {
        let line = |(key, value): (&TagKey, &TagValue)| {
            let separator = if key.0.contains('=') { ' ' } else { '=' };
            format!("{}{separator}{}\n", key.0, value.0)
        };
        self.0.iter().map(line).collect()
    }

    /// These tags with `more` beside them; a key given again takes the new value.
    pub fn merge(&self, more: &Tags) -> Result<Tags, Refusal> {
        let mut all = self.0.clone();
        all.extend(more.0.clone());
        if all.len() > TAGS_MAX { Err(Refusal::TooManyTags) } else { Ok(Self(all)) }
    }

    /// These tags but those of `keys`; a key that is not there changes nothing.
    pub fn without(&self, keys: &[TagKey]) -> Tags {
        let keeps = |(key, _): &(&TagKey, &TagValue)| !keys.contains(key);
        Self(self.0.iter().filter(keeps).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// The tags in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&TagKey, &TagValue)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_line(text: &str) -> Option<(&str, &str)> {
    let (key, value) = match text.find([' ', '\t']) {
        Some(at) => (&text[..at], text[at..].trim()),
        None => text.split_once('=')?,
    };
    (!key.is_empty() && is_part(key) && is_part(value)).then_some((key, value))
}

/// Whether `text` may be a key or a value, of which only a value may be empty.
fn is_part(text: &str) -> bool {
    text.len() <= PART_MAX && text.bytes().all(is_tag_byte)
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/\\_-.+=:@".contains(&byte)
}

fn is_reserved(key: &str) -> bool {
    RESERVED_PREFIXES
        .iter()
        .any(|prefix| key.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_splits_at_white_space_else_at_the_first_equals() {
        for (file, rendered) in [
            ("env=prod", "env=prod\n"),
            ("env=a=b\n\n", "env=a=b\n"),
            ("  env=prod\r\n", "env=prod\n"),
            ("a=b c=d\n", "a=b c=d\n"),
            ("a\tb\nc=", "a=b\nc=\n"),
            ("k  v  ", "k=v\n"),
            ("", ""),
        ] {
            assert_eq!(Tags::parse_file(file.as_bytes()).unwrap().render(), rendered, "{file:?}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let long = format!("{}=v", "k".repeat(129));
        let cases: [(&str, Refusal); 9] = [
            ("a=b\nnonsense", Refusal::BadTagLine { line: 2 }),
            ("=v", Refusal::BadTagLine { line: 1 }),
            ("k=v w x", Refusal::BadTagLine { line: 1 }),
            ("k=ä", Refusal::BadTagLine { line: 1 }),
            ("k=\x01", Refusal::BadTagLine { line: 1 }),
            (&long, Refusal::BadTagLine { line: 1 }),
            ("AliYun.x=v", Refusal::ReservedTag { line: 1 }),
            ("a=1\nACS:k=v", Refusal::ReservedTag { line: 2 }),
            ("a=1\na=2", Refusal::DuplicateTag { line: 2 }),
        ];
        for (file, refusal) in cases {
            assert_eq!(Tags::parse_file(file.as_bytes()), Err(refusal), "{file:?}");
        }
        assert!(Tags::parse_file(b"\xff=v").is_err());
        let at_limit = format!("{}={}", "k".repeat(128), "v".repeat(128));
        assert!(Tags::parse_file(at_limit.as_bytes()).is_ok());
    }

    #[test]
    fn a_request_names_the_tag_that_is_bad() {
        for (pairs, refusal) in [
            (&[("a", "1"), ("", "2")][..], Refusal::BadTagKey { at: 2 }),
            (&[("a b", "1")], Refusal::BadTagKey { at: 1 }),
            (&[("a", "\n")], Refusal::BadTagValue { at: 1 }),
            (&[("a", "1"), ("b", "2"), ("aCs:c", "3")], Refusal::ReservedTagKey { at: 3 }),
            (&[("a", "1"), ("a", "1")], Refusal::DuplicateTagKey { at: 2 }),
        ] {
            assert_eq!(Tags::from_pairs(pairs.iter().copied()), Err(refusal), "{pairs:?}");
        }
        let tags = Tags::from_pairs([("b", ""), ("a", "1")]).unwrap();
        assert_eq!(tags.render(), "a=1\nb=\n");
        let keys = ["b", "c"].map(|key| TagKey::parse(key, 1).unwrap());
        assert_eq!(tags.without(&keys).render(), "a=1\n");
    }

    #[test]
    fn twenty_tags_and_no_more() {
        let file = |n: usize| (0..n).map(|i| format!("k{i}=v\n")).collect::<String>();
        let twenty = Tags::parse_file(file(20).as_bytes()).unwrap();
        assert_eq!(Tags::parse_file(file(21).as_bytes()), Err(Refusal::TooManyTags));
        assert_eq!(twenty.merge(&Tags::parse_file(b"other=1").unwrap()), Err(Refusal::TooManyTags));
        assert_eq!(twenty.merge(&Tags::parse_file(b"k0=new").unwrap()).unwrap().len(), 20);
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(tags in proptest::collection::btree_map("[a-z/=:.@-]{1,9}", "[a-z/=:.@-]{0,9}", 0..20)) {
            let tags = Tags(tags.into_iter().map(|(key, value)| (TagKey(key), TagValue(value))).collect());
            prop_assume!(tags.0.keys().all(|key| !is_reserved(&key.0)));
            prop_assert_eq!(Tags::parse_file(tags.render().as_bytes()), Ok(tags));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tags::parse_file(&bytes);
        }
    }
}
