//! JSON that holds values: read where it stands, so that no copy of a value is made but the one that is wiped.
//!
//! A document is cut into raw pieces of its own text; what is a value goes from there into a [`Value`] in one step. Invariant: no
//! error has a word of the document.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::found::{Malformed, shape};
use crate::api;
use crate::value::Value;

/// The members of an object, in their order.
pub struct Object<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// The member `name`, unless it is missing or null.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let member = self.0.iter().find(|(found, _)| found == name).map(|(_, member)| *member);
        member.filter(|member| member.get() != "null")
    }

    /// The member `name`, a text that is no value; empty where it is missing.
    pub fn text(&self, name: &str, what: &'static str) -> Result<String, Malformed> {
        self.get(name).map_or(Ok(String::new()), |member| text(member, what))
    }
}

/// The documents that stand one behind the other in `bytes`.
pub fn documents(bytes: &[u8]) -> Result<Vec<&RawValue>, Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let read: Result<Vec<&RawValue>, _> = serde_json::Deserializer::from_slice(bytes).into_iter().collect();
    read.map_err(|error| Malformed::Line { line: error.line(), what: "it is no JSON" })
}

/// An object; `what` says what else it is.
pub fn object<'a>(raw: &'a RawValue, what: &'static str) -> Result<Object<'a>, Malformed> {
    // A text in its place would stand in the parser's error.
    if !raw.get().starts_with('{') {
        return Err(shape(what));
    }
    serde_json::from_str(raw.get()).map_err(|_| shape(what))
}

/// The elements of an array.
pub fn array<'a>(raw: &'a RawValue, what: &'static str) -> Result<Vec<&'a RawValue>, Malformed> {
    if !raw.get().starts_with('[') {
        return Err(shape(what));
    }
    serde_json::from_str(raw.get()).map_err(|_| shape(what))
}

/// A text that is no value.
pub fn text(raw: &RawValue, what: &'static str) -> Result<String, Malformed> {
    let value = unescape(raw.get(), what)?;
    String::from_utf8(value.as_bytes().to_vec()).map_err(|_| shape(what))
}

/// The value that the JSON string `literal` stands for, quotes and all.
pub fn unescape(literal: &str, what: &'static str) -> Result<Value, Malformed> {
    api::unescape(literal.as_bytes()).ok_or(shape(what))
}

/// The value that a JSON string of base64 stands for.
pub fn binary(raw: &RawValue, what: &'static str) -> Result<Value, Malformed> {
    api::from_base64(&unescape(raw.get(), what)?).ok_or(shape(what))
}

/// The text of a JSON document without the blanks between its parts.
pub fn compact(raw: &RawValue) -> Value {
    let mut plain = Vec::with_capacity(raw.get().len());
    let (mut quoted, mut escaped) = (false, false);
    for byte in raw.get().bytes() {
        if quoted || !byte.is_ascii_whitespace() {
            plain.push(byte);
        }
        match byte {
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && byte == b'\\' && !escaped;
    }
    Value::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_cut() {
        let read = documents(b"{\"a\": 1}\n{\"b\": [ 2, \"x y\\\" z\" ]} 7").unwrap();
        let compacted: Vec<_> =
            read.iter().map(|raw| String::from_utf8(compact(raw).as_bytes().to_vec()).unwrap()).collect();
        assert_eq!(compacted, ["{\"a\":1}", "{\"b\":[2,\"x y\\\" z\"]}", "7"]);
        let inner = object(read[1], "").unwrap();
        assert_eq!(array(inner.get("b").unwrap(), "").unwrap().len(), 2);
        assert!(object(read[2], "x").is_err() && array(read[0], "x").is_err());
        for (text, line) in [(&b"{"[..], 1), (b"{}\n{]", 2), (b"\xff", 1), (b"\"\xff\"", 1)] {
            match documents(text).map(drop) {
                Err(Malformed::Line { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn binary_is_base64() {
        let read =
            |json: &str| binary(documents(json.as_bytes()).unwrap()[0], "").ok().map(|value| value.as_bytes().to_vec());
        assert_eq!(read(r#""\/wA=""#), Some(vec![0xff, 0]));
        assert_eq!(read(r#""""#), Some(vec![]));
        for bad in [r#""a""#, r#""ab=c""#, r#""a b=""#, "7"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for raw in documents(&bytes).into_iter().flatten() {
                let _ = (text(raw, ""), binary(raw, ""), compact(raw).len());
            }
        }
    }
}
