//! The members of a Key/Value secret as `put --field` takes them: each from a file, one of them from stdin; never from an argument.
//!
//! What an argument may hold by mistake is a value, so that no message repeats more of it than a name.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::fault::DataError;
use super::input;
use crate::cli::reading;
use crate::cli::report::CliError;
use crate::secret::{Object, Refusal, VALUE_MAX, write_object};
use crate::value::Value;

/// Where a member's value is.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    File(&'a Path),
    Stdin,
}

/// The value that has exactly the members `words` give; with `trim` each without one newline at its end.
pub fn object(words: &[OsString], trim: bool) -> Result<Value, CliError> {
    let mut members = Vec::new();
    for (name, source) in parse(words)? {
        let mut value = match source {
            Source::Stdin => input::value(false)?,
            Source::File(path) => {
                // A link or a pipe may well be meant: `@<(command)`.
                let read = File::open(path).and_then(|mut file| reading::read(&mut file, VALUE_MAX));
                read.map_err(|source| CliError::Path { path: path.to_owned(), source })?
            }
        };
        if trim {
            input::trim(&mut value);
        }
        members.push((name, value));
    }
    let mut texts = Vec::new();
    for (name, value) in &members {
        let text = std::str::from_utf8(value.as_bytes());
        texts.push((*name, text.map_err(|_| DataError::MemberNotText((*name).to_owned()))?));
    }
    let mut object = Value::empty();
    // Into memory, which does not fail.
    let _ = write_object(texts, &mut object);
    if Object::parse(object.as_bytes()).is_none() {
        return Err(DataError::Members(Refusal::TooManyMembers).into());
    }
    Ok(object)
}

/// Each name with where its value is.
fn parse(words: &[OsString]) -> Result<Vec<(&str, Source<'_>)>, DataError> {
    let (mut members, mut names, mut has_stdin) = (Vec::new(), HashSet::new(), false);
    for word in words {
        let bytes = word.as_bytes();
        let equals = bytes.iter().position(|byte| *byte == b'=').ok_or(DataError::NoMember)?;
        let name =
            std::str::from_utf8(&bytes[..equals]).ok().filter(|name| !name.is_empty()).ok_or(DataError::NoMember)?;
        let source = match &bytes[equals + 1..] {
            [b'@', path @ ..] if !path.is_empty() => Source::File(Path::new(OsStr::from_bytes(path))),
            b"-" => Source::Stdin,
            _ => return Err(DataError::MemberInArgument(name.to_owned())),
        };
        if source == Source::Stdin && std::mem::replace(&mut has_stdin, true) {
            return Err(DataError::TwoFromStdin);
        }
        if !names.insert(name) {
            return Err(DataError::MemberTwice(name.to_owned()));
        }
        members.push((name, source));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let members = parse(&words).map_err(|error| error.to_string())?;
        Ok(members.iter().map(|(name, source)| format!("{name} {source:?}")).collect())
    }

    #[test]
    fn members_come_from_files_and_stdin_alone() {
        let good = parsed(&["a=@f", "b=-", "c d=@x=y", "e=@-"]).unwrap();
        assert_eq!(good, ["a File(\"f\")", "b Stdin", "c d File(\"x=y\")", "e File(\"-\")"]);
        for (words, why) in [
            (&["a=s3cret"][..], "`a`"),
            (&["a=@"], "`a`"),
            (&["a="], "`a`"),
            (&["s3cret"], "a member is NAME=@FILE"),
            (&["=@f"], "a member is NAME=@FILE"),
            (&["a=-", "b=-"], "one member"),
            (&["a=@f", "a=@g"], "twice"),
        ] {
            let said = parsed(words).unwrap_err();
            assert!(said.contains(why) && !said.contains("s3cret"), "{said}");
        }
    }
}
