//! All members as `KEY='value'` lines: for a shell that sources them, and for whatever else reads such a file.
//!
//! POSIX shells are the norm: each line sets the variable to the value, whatever is in it. Of the ways to write that, the one is
//! taken that Python's dotenv reads alike, and where no quotes are needed there are none, since `docker --env-file` takes them for a
//! part of the value (docs/operations.md has the table of who reads what). Where Python's dotenv cannot read a value right it
//! shall not read another one, nor spoil what stands behind it: the line is one that it refuses. So `\` at the end of a value stand
//! behind its quotes, since within them it takes the last one and the quote for a quote.

use std::fmt::{self, Write};

use super::Object;
use super::object::Member;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// As it is.
    None,
    /// `'...'`: nothing in it means anything to a shell; to Python's dotenv `\'` and `\\` do.
    Single,
    /// `"..."`, with `\` before `"` and `\`: only where nothing is in it that a shell expands.
    Double,
    /// Single ones, outside of which `'` and `\` stand behind a `\`.
    Mixed,
}

impl Object<'_> {
    /// Writes each member whose name a variable can have as a line; of each that is left out a comment says so.
    pub fn write_dotenv(&self, out: &mut impl Write) -> fmt::Result {
        for member in &self.members {
            let why = match is_variable(&member.name) {
                false => Some("no variable can be named so"),
                true if has_nul(member) => Some("no variable can hold a NUL"),
                true => None,
            };
            if let Some(why) = why {
                // As JSON writes it, in one line.
                writeln!(out, "# {} is left out: {why}", serde_json::json!(member.name))?;
                continue;
            }
            write!(out, "{}=", member.name)?;
            write_value(member, out)?;
            out.write_char('\n')?;
        }
        Ok(())
    }

    /// How many bytes that is.
    pub(super) fn dotenv_len(&self) -> usize {
        let mut len = Length(0);
        // What counts alone does not fail.
        let _ = self.write_dotenv(&mut len);
        len.0
    }
}

fn write_value(member: &Member<'_>, out: &mut impl Write) -> fmt::Result {
    let ending = ending(member);
    let quotes = quotes(member, &ending);
    let (around, before, behind) = match quotes {
        Quotes::None => ("", "", ""),
        Quotes::Single => ("'", "", ""),
        Quotes::Double => ("\"", "\\", ""),
        Quotes::Mixed => ("'", "'\\", "'"),
    };
    let is_special = |char: char| match quotes {
        Quotes::None | Quotes::Single => false,
        Quotes::Double => matches!(char, '"' | '\\'),
        Quotes::Mixed => matches!(char, '\'' | '\\'),
    };
    out.write_str(around)?;
    let (mut at, mut outcome) = (0, Ok(()));
    member.chars(|char| {
        let (before, behind) = if is_special(char) { (before, behind) } else { ("", "") };
        if at < ending.from {
            outcome = outcome
                .and_then(|()| out.write_str(before))
                .and_then(|()| out.write_char(char))
                .and_then(|()| out.write_str(behind));
        }
        at += 1;
    });
    outcome?;
    out.write_str(around)?;
    (0..ending.len).try_for_each(|_| out.write_str("\\\\"))
}

/// The `\` at the end of a value, in characters.
struct Ending {
    from: usize,
    len: usize,
}

fn ending(member: &Member<'_>) -> Ending {
    let mut ending = Ending { from: 0, len: 0 };
    member.chars(|char| {
        if char == '\\' {
            ending.len += 1;
        } else {
            ending = Ending { from: ending.from + ending.len + 1, len: 0 };
        }
    });
    ending
}

/// How that is written which stands before `ending`.
fn quotes(member: &Member<'_>, ending: &Ending) -> Quotes {
    let (mut is_plain, mut expands, mut is_escaped, mut last, mut at) = (true, false, false, None, 0);
    member.chars(|char| {
        if at < ending.from {
            is_plain &= is_safe(char);
            expands |= matches!(char, '$' | '`');
            is_escaped |= char == '\'' || char == '\\' && last == Some('\\');
            last = Some(char);
        }
        at += 1;
    });
    match (is_plain && ending.len == 0, is_escaped, expands) {
        (true, ..) => Quotes::None,
        (false, false, _) => Quotes::Single,
        (false, true, false) => Quotes::Double,
        (false, true, true) => Quotes::Mixed,
    }
}

/// What means nothing to anybody who reads such lines.
fn is_safe(char: char) -> bool {
    char.is_alphanumeric() || "_-./:@%+,=".contains(char)
}

fn has_nul(member: &Member<'_>) -> bool {
    let mut has = false;
    member.chars(|char| has |= char == '\0');
    has
}

/// Whether a variable of the environment can have this name in every shell.
fn is_variable(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && name.bytes().all(word)
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let cases = [
            ("plain-1.2/3:4@5%6+7,8=9_", "plain-1.2/3:4@5%6+7,8=9_"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("", ""),
            ("a b", "'a b'"),
            ("$x", "'$x'"),
            ("a\"b", "'a\"b'"),
            ("a\\b", "'a\\b'"),
            ("a\nb", "'a\nb'"),
            ("it's", "\"it's\""),
            ("a\\", "'a'\\\\"),
            ("\\", "''\\\\"),
            ("it's \\\\", "\"it's \"\\\\\\\\"),
            ("$it's\\", "'$it'\\''s'\\\\"),
            ("a\\\\\"b", "\"a\\\\\\\\\\\"b\""),
            ("$it's", "'$it'\\''s'"),
            ("`\\", "'`'\\\\"),
            ("`\\\\x", "'`'\\\\''\\\\'x'"),
            ("~", "'~'"),
            ("#", "'#'"),
        ];
        for (value, expected) in cases {
            let text = format!("{{\"K\":{}}}", serde_json::json!(value));
            let object = Object::parse(text.as_bytes()).unwrap();
            let mut out = String::new();
            object.write_dotenv(&mut out).unwrap();
            assert_eq!(out, format!("K={expected}\n"));
            assert_eq!(object.dotenv_len(), out.len());
        }
    }

    #[test]
    fn what_is_no_variable_is_said() {
        let text = "{\"A\":1,\"db-host\":\"x\",\"9\":2,\"\":3,\"\\n\\\"$x\":4,\"N\":\"a\\u0000b\",\"_z\":{\"k\": [null]},\"\u{e9}\":5}";
        let object = Object::parse(text.as_bytes()).unwrap();
        let mut out = String::new();
        object.write_dotenv(&mut out).unwrap();
        let out: Vec<_> = out.lines().collect();
        let left = |name: &str| format!("# {name} is left out: no variable can be named so");
        let expected = [
            "A=1".to_owned(),
            left("\"db-host\""),
            left("\"9\""),
            left("\"\""),
            left("\"\\n\\\"$x\""),
            "# \"N\" is left out: no variable can hold a NUL".to_owned(),
            "_z='{\"k\": [null]}'".to_owned(),
            left("\"\u{e9}\""),
        ];
        assert_eq!(out, expected);
    }
}
