//! The document, written piece by piece through one buffer that is wiped.

use std::io::{self, Write};

use crate::api;
use crate::value::Value;

/// What the document says that it is.
pub const FORMAT: &str = "kmsfs export";
/// Its shape; one that a program does not know is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// A document under way.
pub struct Document<'a, W> {
    to: &'a mut W,
    buffer: Value,
    used: usize,
    /// Whether something stands before what comes next in the list or object that is open.
    follows: bool,
}

impl<'a, W: Write> Document<'a, W> {
    /// Begins one.
    pub fn begin(to: &'a mut W) -> Self {
        let mut buffer = Value::empty();
        buffer.resize(BUFFER);
        Self { to, buffer, used: 0, follows: false }
    }

    /// Opens an object or a list: `{` or `[`.
    pub fn open(&mut self, bracket: u8) -> io::Result<()> {
        self.comma()?;
        self.put(&[bracket])?;
        self.follows = false;
        Ok(())
    }

    /// Closes it: `}` or `]`.
    pub fn close(&mut self, bracket: u8) -> io::Result<()> {
        self.put(&[bracket])?;
        self.follows = true;
        Ok(())
    }

    /// A member's name; its value is what comes next.
    pub fn name(&mut self, name: &str) -> io::Result<()> {
        self.comma()?;
        self.quoted(name)?;
        self.put(b":")?;
        self.follows = false;
        Ok(())
    }

    /// A member with a text.
    pub fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.name(name)?;
        self.string(text)
    }

    /// A text.
    pub fn string(&mut self, text: &str) -> io::Result<()> {
        self.comma()?;
        self.quoted(text)?;
        self.follows = true;
        Ok(())
    }

    /// A number.
    pub fn number(&mut self, number: u32) -> io::Result<()> {
        self.put(number.to_string().as_bytes())?;
        self.follows = true;
        Ok(())
    }

    /// The member of a value: a `text`, or a `base64`.
    pub fn value(&mut self, value: &Value) -> io::Result<()> {
        if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
            return self.text("text", text);
        }
        self.name("base64")?;
        self.put(b"\"")?;
        api::to_base64(value.as_bytes(), |part| self.put(part.as_bytes()))?;
        self.put(b"\"")?;
        self.follows = true;
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.put(b"\n")?;
        self.flush()?;
        self.to.flush()
    }

    fn comma(&mut self) -> io::Result<()> {
        if self.follows { self.put(b",") } else { Ok(()) }
    }

    fn quoted(&mut self, text: &str) -> io::Result<()> {
        self.put(b"\"")?;
        let mut plain = text.as_bytes();
        while let Some(at) = plain.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            let (before, rest) = plain.split_at(at);
            self.put(before)?;
            match rest[0] {
                b'\n' => self.put(b"\\n")?,
                b'\r' => self.put(b"\\r")?,
                b'\t' => self.put(b"\\t")?,
                byte @ (b'"' | b'\\') => self.put(&[b'\\', byte])?,
                byte => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
                    self.put(&[b'\\', b'u', b'0', b'0', high, low])?;
                }
            }
            plain = &rest[1..];
        }
        self.put(plain)?;
        self.put(b"\"")
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.used == BUFFER {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.used));
            self.buffer.write_at(self.used, now);
            self.used += now.len();
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.buffer.as_bytes()[..self.used])?;
        self.used = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(values: &[Value]) -> serde_json::Value {
        let mut out = Vec::new();
        let mut document = Document::begin(&mut out);
        document.open(b'{').unwrap();
        document.name("version").unwrap();
        document.number(7).unwrap();
        document.name("list").unwrap();
        document.open(b'[').unwrap();
        for value in values {
            document.open(b'{').unwrap();
            document.text("id", "x").unwrap();
            document.value(value).unwrap();
            document.close(b'}').unwrap();
        }
        document.close(b']').unwrap();
        document.name("empty").unwrap();
        document.open(b'[').unwrap();
        document.close(b']').unwrap();
        document.close(b'}').unwrap();
        document.finish().unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_document_is_json() {
        let values = ["a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}ä😀", ""].map(|text| Value::copy_of(text.as_bytes()));
        let expected = json!({ "version": 7, "list": [
            { "id": "x", "text": "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}ä😀" }, { "id": "x", "text": "" }], "empty": [] });
        assert_eq!(written(&values), expected);
        assert_eq!(written(&[Value::copy_of(&[0xff, 0])])["list"][0]["base64"], "/wA=");
    }

    proptest! {
        #[test]
        fn any_value_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..30_720)) {
            let value = &written(&[Value::copy_of(&bytes)])["list"][0];
            let read = match (value["text"].as_str(), value["base64"].as_str()) {
                (Some(text), None) => text.as_bytes().to_vec(),
                (None, Some(text)) => BASE64.decode(text.as_bytes()).unwrap(),
                _ => panic!("{value}"),
            };
            prop_assert_eq!(read, bytes);
        }
    }
}
