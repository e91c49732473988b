//! Plaintext in JSON: read out of a request and written into an answer without a copy that nobody wipes.

use std::{fmt, io};

use data_encoding::BASE64;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::Body;
use crate::secret::DataType;
use crate::value::Value;

/// Bytes of a value that are encoded at a time: a multiple of three, so that only the last ones are filled up.
const CHUNK: usize = 3 * 1024;

/// Members, among them one that is plaintext.
pub struct Plain {
    /// All others.
    pub members: Map<String, Json>,
    /// What the one is called.
    pub name: &'static str,
    /// The plaintext.
    pub value: Value,
    /// How it is written.
    pub kind: DataType,
}

/// A whole answer.
pub struct Document {
    pub body: Body,
    pub id: String,
}

/// The JSON of `document` in one line, in memory that is wiped.
pub fn document(document: &impl Serialize) -> Value {
    let mut out = Writer(Value::empty());
    // A write into memory does not fail, and nothing that is written has keys other than strings.
    if serde_json::to_writer(&mut out, document).is_err() {
        out.0.resize(0);
    }
    out.0.write_at(out.0.len(), b"\n");
    out.0
}

/// Writes behind what is there.
struct Writer(Value);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(self.0.len(), bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.body {
            Body::Json(members) => {
                for (name, member) in members {
                    map.serialize_entry(name, member)?;
                }
            }
            Body::Plain(plain) => plain.entries(&mut map)?,
            Body::Plains(plains, errors) => {
                map.serialize_entry("SecretValues", plains)?;
                map.serialize_entry("Errors", errors)?;
            }
        }
        map.serialize_entry("RequestId", &self.id)?;
        map.end()
    }
}

impl Plain {
    fn entries<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (name, member) in &self.members {
            map.serialize_entry(name, member)?;
        }
        map.serialize_entry(self.name, &Text { value: &self.value, kind: self.kind })
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// The plaintext alone: written straight to where the answer is written.
struct Text<'a> {
    value: &'a Value,
    kind: DataType,
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.kind, std::str::from_utf8(self.value.as_bytes())) {
            (DataType::Text, Ok(text)) => serializer.serialize_str(text),
            // A text that was declared one is UTF-8; what is not could only be shown so.
            (DataType::Text, Err(_)) | (DataType::Binary, _) => {
                serializer.collect_str(&InBase64(self.value.as_bytes()))
            }
        }
    }
}

/// Bytes as base64, which the writer gets part by part.
struct InBase64<'a>(&'a [u8]);

impl fmt::Display for InBase64<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        to_base64(self.0, |part| out.write_str(part))
    }
}

/// Hands `bytes` to `put` as base64, part by part, out of one buffer that is wiped.
pub fn to_base64<E>(bytes: &[u8], mut put: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut encoded = Zeroizing::new([0; CHUNK / 3 * 4]);
    for chunk in bytes.chunks(CHUNK) {
        let text = &mut encoded[..BASE64.encode_len(chunk.len())];
        put(BASE64.encode_mut_str(chunk, text))?;
    }
    Ok(())
}

/// The content of a base64 text, to the letter of RFC 4648; `None` where it is none.
pub fn from_base64(text: &Value) -> Option<Value> {
    let len = BASE64.decode_len(text.len()).ok()?;
    let mut bytes = Value::empty();
    bytes.resize(len);
    let mut decoded = Zeroizing::new(vec![0; len]);
    let len = BASE64.decode_mut(text.as_bytes(), &mut decoded).ok()?;
    bytes.write_at(0, &decoded[..len]);
    bytes.resize(len);
    Some(bytes)
}

/// The bytes that the JSON string `raw` stands for, its quotes included; `None` where it is no string.
pub fn unescape(raw: &[u8]) -> Option<Value> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut value = Value::empty();
    // No escape is shorter than what it stands for.
    value.resize(inner.len());
    let (mut len, mut rest) = (0, inner);
    let mut put = |bytes: &[u8]| {
        value.write_at(len, bytes);
        len += bytes.len();
    };
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        put(&rest[..at]);
        let (char, after) = escape(&rest[at + 1..])?;
        put(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    put(rest);
    value.resize(len);
    Some(value)
}

/// What the escape behind a backslash stands for, and what follows it.
fn escape(text: &[u8]) -> Option<(char, &[u8])> {
    let (sort, rest) = text.split_first()?;
    let char = match sort {
        b'"' | b'\\' | b'/' => char::from(*sort),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        _ => return None,
    };
    Some((char, rest))
}

/// Four digits, or two times four for what is beyond the first 65,536 characters.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = four_digits(text)?;
    let unit = |unit: u32| u16::try_from(unit).ok();
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let (second, rest) = four_digits(rest.strip_prefix(b"\\u")?)?;
    let char = char::decode_utf16([unit(first)?, unit(second)?]).next()?.ok()?;
    Some((char, rest))
}

fn four_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| all_hex)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_those_of_json() {
        for (raw, expected) in [
            (r#""""#, Some("")),
            (r#""a\"\\\/\b\f\n\r\t""#, Some("a\"\\/\u{8}\u{c}\n\r\t")),
            (r#""\u00e4\u20ac\ud83d\ude00x""#, Some("ä€😀x")),
            (r#""\ud83d""#, None),
            (r#""\ude00""#, None),
            (r#""\ud83d\u0041""#, None),
            (r#""\u00+4""#, None),
            (r#""\x""#, None),
            (r#""\"#, None),
            ("7", None),
            ("\"", None),
        ] {
            let read = unescape(raw.as_bytes());
            assert_eq!(read.as_ref().map(Value::as_bytes), expected.map(str::as_bytes), "{raw}");
        }
    }

    #[test]
    fn base64_is_taken_to_the_letter() {
        for (text, expected) in [
            ("AP8=", Some(&b"\0\xff"[..])),
            ("", Some(b"")),
            ("AP8", None),
            ("AP9=", None),
            ("!", None),
            ("AP8=\n", None),
        ] {
            let read = from_base64(&Value::copy_of(text.as_bytes()));
            assert_eq!(read.as_ref().map(Value::as_bytes), expected, "{text}");
        }
    }

    #[test]
    fn a_value_of_many_parts_is_one_base64() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 30_720] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut text = String::new();
            to_base64(&bytes, |part| {
                text.push_str(part);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(text, BASE64.encode(&bytes), "{len}");
        }
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_back(text in any::<String>()) {
            let raw = serde_json::to_string(&text).unwrap();
            let read = unescape(raw.as_bytes()).unwrap();
            prop_assert_eq!(read.as_bytes(), text.as_bytes());
        }

        #[test]
        fn it_reads_what_serde_reads(raw in "\"([ -~]|\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-fA-FdD]{4}){0,12}\"") {
            let expected: Option<String> = serde_json::from_str(&raw).ok();
            // What serde refuses for a quote in the middle comes to no one here: it is cut out of a whole document.
            if let Some(text) = expected {
                let read = unescape(raw.as_bytes());
                prop_assert_eq!(read.as_ref().map(Value::as_bytes), Some(text.as_bytes()));
            }
        }

        #[test]
        fn an_answer_is_json(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let kind = DataType::of(&bytes);
            let plain = Plain { members: Map::new(), name: "SecretData", value: Value::copy_of(&bytes), kind };
            let out = document(&plain);
            let read: Json = serde_json::from_slice(out.as_bytes()).unwrap();
            let data = read["SecretData"].as_str().unwrap().as_bytes();
            match kind {
                DataType::Text => prop_assert_eq!(data, &bytes[..]),
                DataType::Binary => prop_assert_eq!(BASE64.decode(data).unwrap(), bytes),
            }
        }
    }
}
