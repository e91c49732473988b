//! A request's members, read one by one as its action wants them.
//!
//! What the service takes loosely is taken loosely here: numbers and truth values may be strings, and lists may be JSON in a
//! string. What nobody has asked for at the end is refused: a misspelt member must not be passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use super::ApiError;
use super::plain::unescape;
use crate::value::Value;

/// What every request of KMS may carry and nobody needs here: how it was signed and how the answer is wanted.
const PASSED_OVER: [&str; 13] = [
    "Version",
    "Format",
    "RegionId",
    "AccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureVersion",
    "SignatureType",
    "Timestamp",
    "ClientToken",
    "ResourceOwnerAccount",
];

/// Longest name that is repeated in a message.
const SAID_MAX: usize = 64;

/// The members that were not asked for yet.
pub struct Members<'a> {
    left: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// As serde reads them: a member that comes twice is an error.
struct Object<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    let value = map.next_value::<&'de RawValue>()?;
                    if members.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{TWICE}{}", speakable(&name))));
                    }
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// Begins serde's message where a member comes twice.
const TWICE: &str = "twice: ";

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// Reads a request.
    pub fn parse(request: &'a [u8]) -> Result<Self, ApiError> {
        if request.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::NoRequest);
        }
        match serde_json::from_slice::<Object<'a>>(request) {
            Ok(Object(left)) => Ok(Self { left }),
            Err(error) => {
                let text = error.to_string();
                // Behind the name serde adds where it is.
                let twice = text.strip_prefix(TWICE).and_then(|rest| rest.split(' ').next());
                Err(match twice {
                    Some(name) => ApiError::Twice(name.to_owned()),
                    None => ApiError::NotJson { line: error.line(), column: error.column() },
                })
            }
        }
    }

    /// A text that may be left out; an empty one counts as left out, as in a query string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        Ok(self.text_or_empty(name)?.filter(|text| !text.is_empty()))
    }

    /// A text that may be left out, and may be empty.
    pub fn text_or_empty(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        match raw.get() {
            "null" => Ok(None),
            text if text.starts_with(['{', '[']) => Err(invalid(name, "is no text")),
            text if text.starts_with('"') => match serde_json::from_str(text) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(invalid(name, "is no text")),
            },
            text => Ok(Some(text.to_owned())),
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &'static str) -> Result<String, ApiError> {
        self.text(name)?.ok_or(ApiError::Missing(name))
    }

    /// `true` or `false`; false where it is left out.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// `true`, `false`, or nothing.
    pub fn choice(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(invalid(name, "is neither true nor false")),
        }
    }

    /// A whole number within `range`, if there is one.
    pub fn number(&mut self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (from, to) = (range.start(), range.end());
        number.map(Some).ok_or_else(|| invalid(name, &format!("is no whole number from {from} to {to}")))
    }

    /// JSON, or a string that holds it.
    pub fn json<T: DeserializeOwned>(&mut self, name: &str, shape: &str) -> Result<Option<T>, ApiError> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        let read = match raw.get() {
            "null" => return Ok(None),
            text if text.starts_with('"') => {
                let inner: String = serde_json::from_str(text).map_err(|_| invalid(name, "is no text"))?;
                if inner.is_empty() {
                    return Ok(None);
                }
                serde_json::from_str(&inner)
            }
            text => serde_json::from_str(text),
        };
        read.map(Some).map_err(|_| invalid(name, &format!("is not of the shape {shape}")))
    }

    /// `ResourceId` as a list, or `ResourceId.1`, `ResourceId.2`... as a query string has them.
    pub fn repeated(&mut self, name: &'static str, most: usize) -> Result<Vec<String>, ApiError> {
        let mut all: Vec<String> = self.json(name, "[\"...\"]")?.unwrap_or_default();
        for n in 1.. {
            match self.text(&format!("{name}.{n}"))? {
                Some(text) => all.push(text),
                None => break,
            }
            if all.len() > most {
                break;
            }
        }
        if all.len() > most { Err(invalid(name, &format!("has more than {most} elements"))) } else { Ok(all) }
    }

    /// `Tag` as a list of keys and values, or `Tag.1.Key` and `Tag.1.Value`...
    pub fn repeated_pairs(&mut self, name: &'static str, most: usize) -> Result<Vec<(String, String)>, ApiError> {
        let pairs: Vec<Pair> = self.json(name, "[{\"Key\":\"...\",\"Value\":\"...\"}]")?.unwrap_or_default();
        let mut all: Vec<_> = pairs.into_iter().map(|pair| (pair.key, pair.value)).collect();
        for n in 1..=most + 1 {
            let Some(key) = self.text(&format!("{name}.{n}.Key"))? else { break };
            all.push((key, self.text(&format!("{name}.{n}.Value"))?.unwrap_or_default()));
        }
        if all.len() > most { Err(invalid(name, &format!("has more than {most} elements"))) } else { Ok(all) }
    }

    /// A string that is plaintext.
    pub fn plain(&mut self, name: &'static str) -> Result<Value, ApiError> {
        let raw = self.take(name).ok_or(ApiError::Missing(name))?;
        unescape(raw.get().as_bytes()).ok_or_else(|| invalid(name, "is no text"))
    }

    /// All that is left, if it is JSON to the bottom.
    pub fn rest(self) -> Option<Map<String, Json>> {
        let read =
            |(name, raw): (Cow<'a, str>, &RawValue)| Some((name.into_owned(), serde_json::from_str(raw.get()).ok()?));
        self.left.into_iter().map(read).collect()
    }

    /// A member's JSON as it stands there.
    pub fn raw_text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|raw| raw.get().to_owned())
    }

    /// Passes over what has no effect on a generic secret.
    pub fn pass_over(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Refuses what `action` has not asked for.
    pub fn end(&self, action: &'static str) -> Result<(), ApiError> {
        match self.left.keys().find(|name| !PASSED_OVER.contains(&name.as_ref())) {
            Some(name) => Err(ApiError::Unknown { name: speakable(name), action }),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.left.remove(name)
    }
}

/// One tag, as the batch actions have it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

/// A parameter that is not what it should be.
pub fn invalid(name: &str, why: &str) -> ApiError {
    ApiError::Invalid { name: speakable(name), why: why.to_owned() }
}

/// As much of a name as can be said to whoever reads a terminal.
pub fn speakable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().take(SAID_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Members<'_> {
        Members::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_no_request_says_where() {
        for (text, code) in [
            ("", "MissingParameter"),
            (" \n", "MissingParameter"),
            ("{", "InvalidParameter"),
            ("[]", "InvalidParameter"),
            ("\"x\"", "InvalidParameter"),
            ("{} x", "InvalidParameter"),
            ("{\"a\":1,\"a\":2}", "InvalidParameter"),
        ] {
            let error = Members::parse(text.as_bytes()).err().unwrap();
            assert_eq!(error.code(), code, "{text}: {error}");
        }
        assert!(matches!(Members::parse(b"{\"a\":1,\"a\":2}"), Err(ApiError::Twice(name)) if name == "a"));
        assert!(matches!(Members::parse(b"{\n  x"), Err(ApiError::NotJson { line: 2, .. })));
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(Members::parse("[".repeat(100_000).as_bytes()).is_err(), "deep nesting is an error, not a crash");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Members::parse(deep.as_bytes()).and_then(|mut members| members.text("a")).is_err());
    }

    #[test]
    fn values_are_taken_loosely() {
        let text =
            r#"{"N":"7","M":8,"F":"True","G":false,"E":"","Z":null,"L":["a"],"S":"[\"b\"]","R.1":"c","R.2":"d"}"#;
        let mut members = members(text);
        assert_eq!(members.number("N", 1..=9).unwrap(), Some(7));
        assert_eq!(members.number("M", 1..=9).unwrap(), Some(8));
        assert!(members.flag("F").unwrap() && !members.flag("G").unwrap() && !members.flag("H").unwrap());
        assert_eq!((members.text("E").unwrap(), members.text("Z").unwrap()), (None, None));
        assert_eq!(members.json::<Vec<String>>("L", "").unwrap(), Some(vec!["a".to_owned()]));
        assert_eq!(members.json::<Vec<String>>("S", "").unwrap(), Some(vec!["b".to_owned()]));
        assert_eq!(members.repeated("R", 9).unwrap(), ["c", "d"]);
        assert!(members.end("X").is_ok());
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let mut some = members(r#"{"Version":"2016-01-20","SecretName":"a","Secretname":"b"}"#);
        some.text("SecretName").unwrap();
        assert!(matches!(some.end("X"), Err(ApiError::Unknown { name, .. }) if name == "Secretname"));
        assert!(members(r#"{"N":10}"#).number("N", 1..=9).is_err());
        assert!(members(r#"{"N":1.5}"#).number("N", 1..=9).is_err());
        assert!(members(r#"{"N":-1}"#).number("N", 0..=9).is_err());
        assert!(members(r#"{"T":[1]}"#).text("T").is_err());
        assert!(members(r#"{"R":["a","b","c"]}"#).repeated("R", 2).is_err());
        assert_eq!(speakable("a\u{1b}[31mä"), "a?[31m?");
    }
}
