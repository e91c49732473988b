//! Files of `KEY=value` lines, as dotenv libraries and container tools read them.
//!
//! ```text
//! # a comment
//! KEY=plain text # a comment behind a blank
//! export KEY='as it is, over several lines'
//! KEY="with \n \r \t \" \\ \$ escapes, over several lines"
//! KEY=`as single quotes`
//! ```
//!
//! Nothing is expanded: `$X` stays as it is, since each tool does that in its own way.

use zeroize::Zeroizing;

use super::found::Malformed;
use crate::value::Value;

/// One line of it, which a quoted value may spread over several.
pub struct Pair {
    /// The line on which it begins, from 1.
    pub line: usize,
    pub key: String,
    pub value: Value,
    /// Whether other tools would put something in the place of a part of the value.
    pub has_variable: bool,
}

/// Reads a whole file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Pair>, Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { rest: bytes, line: 1 };
    let mut pairs = Vec::new();
    while !reader.rest.is_empty() {
        reader.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        match reader.rest.first() {
            None => {}
            Some(b'#') => reader.skip(|byte| byte != b'\n'),
            Some(_) => pairs.push(reader.pair()?),
        }
    }
    Ok(pairs)
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Reader<'a> {
    fn pair(&mut self) -> Result<Pair, Malformed> {
        let line = self.line;
        let mut key = self.take(is_key_byte);
        if key == b"export" && matches!(self.rest.first(), Some(b' ' | b'\t')) {
            self.skip(is_blank);
            key = self.take(is_key_byte);
        }
        if key.first().is_none_or(|first| first.is_ascii_digit() || matches!(first, b'.' | b'-')) {
            return Err(self.bad("no name stands before the `=`"));
        }
        let key = String::from_utf8_lossy(key).into_owned();
        self.skip(is_blank);
        self.rest = self.rest.strip_prefix(b"=").ok_or(self.bad("no `=` follows the name"))?;
        self.skip(is_blank);
        let quote = self.rest.first().copied().filter(|first| matches!(first, b'\'' | b'"' | b'`'));
        let (value, expands) = match quote {
            None => (Value::copy_of(self.plain()), true),
            Some(b'"') => (self.escaped()?, true),
            Some(quote) => (Value::copy_of(self.quoted(quote)?), false),
        };
        if quote.is_some() {
            self.skip(is_blank);
            match self.rest.first() {
                Some(b'#') => self.skip(|byte| byte != b'\n'),
                Some(b'\r' | b'\n') | None => {}
                Some(_) => return Err(self.bad("something follows the closing quote")),
            }
        }
        let has_variable = expands && value.as_bytes().contains(&b'$');
        Ok(Pair { line, key, value, has_variable })
    }

    /// Up to the line's end, or a comment, without the blanks around it.
    fn plain(&mut self) -> &'a [u8] {
        let line = self.take(|byte| byte != b'\n');
        let begins = |at: &usize| line[*at] == b'#' && (*at == 0 || is_blank(line[*at - 1]));
        let end = (0..line.len()).find(begins).unwrap_or(line.len());
        line[..end].trim_ascii_end()
    }

    /// What stands in quotes that know no escape.
    fn quoted(&mut self, quote: u8) -> Result<&'a [u8], Malformed> {
        let open = self.bad("the quote is not closed");
        self.advance(1);
        let inner = self.take(|byte| byte != quote);
        if self.rest.is_empty() {
            return Err(open);
        }
        self.advance(1);
        Ok(inner)
    }

    /// What stands in double quotes.
    fn escaped(&mut self) -> Result<Value, Malformed> {
        let open = self.bad("the quote is not closed");
        self.advance(1);
        // No longer than what is left, so it does not grow.
        let end = self.end_of_escaped().ok_or(open)?;
        let inner = &self.rest[..end];
        let mut plain = Zeroizing::new(Vec::with_capacity(inner.len()));
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            if *byte != b'\\' {
                plain.push(*byte);
                continue;
            }
            match bytes.next() {
                Some(b'n') => plain.push(b'\n'),
                Some(b'r') => plain.push(b'\r'),
                Some(b't') => plain.push(b'\t'),
                Some(same @ (b'"' | b'\\' | b'$' | b'`')) => plain.push(*same),
                // A line that goes on in the next.
                Some(b'\n') => {}
                Some(other) => plain.extend_from_slice(&[b'\\', *other]),
                None => plain.push(b'\\'),
            }
        }
        self.advance(end + 1);
        Ok(Value::from_vec(std::mem::take(&mut *plain)))
    }

    fn end_of_escaped(&self) -> Option<usize> {
        let mut escaped = false;
        self.rest.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })
    }

    fn skip(&mut self, which: impl Fn(u8) -> bool) {
        self.take(which);
    }

    fn take(&mut self, which: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !which(*byte)).unwrap_or(self.rest.len());
        let taken = &self.rest[..end];
        self.advance(end);
        taken
    }

    fn advance(&mut self, count: usize) {
        let (taken, rest) = self.rest.split_at(count);
        self.line += taken.iter().filter(|byte| **byte == b'\n').count();
        self.rest = rest;
    }

    fn bad(&self, what: &'static str) -> Malformed {
        Malformed::Line { line: self.line, what }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(usize, String, String)>, Malformed> {
        let plain = |pair: Pair| (pair.line, pair.key, String::from_utf8_lossy(pair.value.as_bytes()).into_owned());
        parse(text).map(|pairs| pairs.into_iter().map(plain).collect())
    }

    #[test]
    fn the_dialect() {
        type Expected = &'static [(usize, &'static str, &'static str)];
        let cases: &[(&str, Expected)] = &[
            ("", &[]),
            ("\n  \n# only a comment", &[]),
            ("A=1", &[(1, "A", "1")]),
            ("A=1\nB=2\r\nC=3\r\n", &[(1, "A", "1"), (2, "B", "2"), (3, "C", "3")]),
            ("\u{feff}A=1", &[(1, "A", "1")]),
            ("  A = 1 ", &[(1, "A", "1")]),
            (
                "export A=1\nexport\tB=2\nexport=3\nexported=4",
                &[(1, "A", "1"), (2, "B", "2"), (3, "export", "3"), (4, "exported", "4")],
            ),
            ("A=\nB=''\nC=\"\"\nD= # none", &[(1, "A", ""), (2, "B", ""), (3, "C", ""), (4, "D", "")]),
            ("A=a b  c", &[(1, "A", "a b  c")]),
            ("A=a#b\nB=a #b\nC=#b\nD=a\t# b", &[(1, "A", "a#b"), (2, "B", "a"), (3, "C", ""), (4, "D", "a")]),
            ("A='a # b' # c\nB=\"a # b\" # c", &[(1, "A", "a # b"), (2, "B", "a # b")]),
            ("A='a\\nb'\nB=\"a\\nb\"\nC=a\\nb", &[(1, "A", "a\\nb"), (2, "B", "a\nb"), (3, "C", "a\\nb")]),
            ("A=\"\\r\\t\\\\\\\"\\$\\`\\x\"", &[(1, "A", "\r\t\\\"$`\\x")]),
            ("A=\"one\ntwo\"\nB=1", &[(1, "A", "one\ntwo"), (3, "B", "1")]),
            ("A='one\n\ntwo'\nB=1", &[(1, "A", "one\n\ntwo"), (4, "B", "1")]),
            ("A=`one's \"two\"`", &[(1, "A", "one's \"two\"")]),
            ("A=\"one \\\ntwo\"\nB=1", &[(1, "A", "one two"), (3, "B", "1")]),
            ("A=\"it's\"\nB='say \"x\"'", &[(1, "A", "it's"), (2, "B", "say \"x\"")]),
            ("A=a'b'c\nB=a=b==", &[(1, "A", "a'b'c"), (2, "B", "a=b==")]),
            ("A=${X}/y\nB='$X'", &[(1, "A", "${X}/y"), (2, "B", "$X")]),
            ("a.b-C_9=ä", &[(1, "a.b-C_9", "ä")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(line, key, value)| (*line, (*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
        let variables: Vec<_> =
            parse(b"A=$X\nB='$X'\nC=\"$X\"\nD=x").unwrap().iter().map(|pair| pair.has_variable).collect();
        assert_eq!(variables, [true, false, true, false]);
    }

    #[test]
    fn what_is_no_line_is_named() {
        for (text, line, words) in [
            ("A", 1, "no `=`"),
            ("A=1\nexport A", 2, "no `=`"),
            ("=1", 1, "no name"),
            ("9A=1", 1, "no name"),
            ("A B=1", 1, "no `=`"),
            ("A=1\n\n  'x'=1", 3, "no name"),
            ("A='x", 1, "not closed"),
            ("B=1\nA=\"x\\\"\n\n", 2, "not closed"),
            ("A='x'y", 1, "follows the closing quote"),
            ("A: x", 1, "no `=`"),
        ] {
            match read(text.as_bytes()) {
                Err(Malformed::Line { line: found, what }) => {
                    assert!(found == line && what.contains(words), "{text:?}: {found}: {what}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes).map(|pairs| pairs.len());
        }

        #[test]
        fn nothing_like_a_file_makes_it_panic(text in "[A-z=#'\"`\\\\ \n\r$0-9]{0,60}") {
            let _ = parse(text.as_bytes()).map(|pairs| pairs.len());
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[^\"\\\\]{0,40}") {
            let read = read(format!("A=\"{value}\"\nB=1").as_bytes()).unwrap();
            prop_assert_eq!(&read[0].2, &value);
            prop_assert_eq!(read.len(), 2);
        }
    }
}
