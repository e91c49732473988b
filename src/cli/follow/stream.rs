//! The lines of `.kmsfs/events`, as they come.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::fault::FollowError;
use crate::cli::report::CliError;

/// Where they are in a mount.
const EVENTS: &str = ".kmsfs/events";
/// Bytes read at a time.
const PART: usize = 64 * 1024;
/// What stands in the place of events that were lost.
pub const LOST: &str = "lost";

/// One event, as a line says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// When it was committed: RFC 3339.
    pub time: String,
    /// What happened, or [`LOST`].
    pub what: String,
    pub instance: Option<String>,
    /// The secret's name in it.
    pub secret: Option<String>,
    /// Or the key's.
    pub key: Option<String>,
    pub version: Option<String>,
    /// How many were lost, if that is known.
    pub count: Option<u64>,
}

impl Event {
    /// What a line says; one that cannot be understood says that something happened.
    pub fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|_| Event {
            time: String::new(),
            what: LOST.to_owned(),
            instance: None,
            secret: None,
            key: None,
            version: None,
            count: None,
        })
    }
}

/// An open file of events.
pub struct Stream {
    mount: PathBuf,
    file: File,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Stream {
    /// Follows the mount on `mount` from now on.
    pub fn open(mount: &Path) -> Result<Self, CliError> {
        let file = File::open(mount.join(EVENTS)).map_err(|source| failed(mount, source))?;
        Ok(Self { mount: mount.to_owned(), file, begun: Vec::new() })
    }

    /// The lines that came; none when a second went by without.
    pub fn next(&mut self) -> Result<Vec<String>, CliError> {
        let mut part = vec![0; PART];
        let len = loop {
            match self.file.read(&mut part) {
                Ok(len) => break len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failed(&self.mount, source)),
            }
        };
        self.begun.extend_from_slice(&part[..len]);
        Ok(take_lines(&mut self.begun))
    }
}

fn failed(mount: &Path, source: io::Error) -> CliError {
    FollowError::Events { mount: mount.to_owned(), source }.into()
}

/// The whole lines at the beginning of `bytes`, which are taken away.
fn take_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole() {
        let mut bytes = b"one\ntwo\nthr".to_vec();
        assert_eq!(take_lines(&mut bytes), ["one", "two"]);
        assert_eq!(take_lines(&mut bytes), [""; 0]);
        bytes.extend_from_slice(b"ee\n");
        assert_eq!((take_lines(&mut bytes), bytes.len()), (vec!["three".to_owned()], 0));
    }

    #[test]
    fn a_line_that_cannot_be_understood_says_that_something_happened() {
        let event = Event::parse(r#"{"time":"t","instance":"prod","secret":"s","what":"rotated","version":"v2"}"#);
        assert_eq!((event.what.as_str(), event.version.as_deref(), event.count), ("rotated", Some("v2"), None));
        for line in ["", "{", r#"{"what":7}"#] {
            assert_eq!(Event::parse(line).what, LOST, "{line}");
        }
    }
}
