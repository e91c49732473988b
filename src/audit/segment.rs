//! The files that the records stand in, one after another in a directory of their own.
//!
//! `00000001.jsonl` is the first. The one that is written has the mode 0600, and its room is taken in advance, so that a full disk is
//! met when a segment begins and not in the middle of it; a closed one has 0400. Nothing here is ever removed: that is for whoever
//! keeps the records.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::durable;

/// What a segment's name ends with.
const EXTENSION: &str = "jsonl";
/// Longer than any line: names of programs and of their cgroups have 4 KiB each at most, of which each byte takes six at most.
pub const LINE_MAX: usize = 128 * 1024;

/// One segment's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    pub number: u64,
    pub path: PathBuf,
}

/// How a segment that somebody wrote before ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last whole line, without its newline.
    pub last: Option<Vec<u8>>,
    /// Where it ends.
    pub end: u64,
    /// Bytes behind it: a line that was cut off.
    pub torn: u64,
}

impl Segment {
    /// Segment `number` in `dir`.
    pub fn at(dir: &Path, number: u64) -> Self {
        Self { number, path: dir.join(format!("{number:08}.{EXTENSION}")) }
    }

    /// Those in `dir`, in order; none where there is no `dir`.
    pub fn list(dir: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let stem = path.file_stem().and_then(OsStr::to_str);
            if path.extension() == Some(OsStr::new(EXTENSION))
                && let Some(number) = stem.and_then(|stem| stem.parse().ok())
            {
                segments.push(Self { number, path });
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Makes it, with room for `most` bytes. One without a byte that is there already is taken. Where there is no such room, what
    /// was taken of it is given back by whom alone may write to it.
    pub fn make(&self, most: u64, alone: bool) -> io::Result<File> {
        let file = self.options().create(true).open(&self.path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are records in it already"));
        }
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, most) {
            // Where it cannot be taken in advance, each record takes its own.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => {
                if alone {
                    let _ = file.set_len(0);
                }
                return Err(error.into());
            }
        }
        file.sync_all()?;
        durable::sync(durable::above(&self.path))?;
        Ok(file)
    }

    /// Opens one that records stand in, to go on with it.
    pub fn open(&self) -> io::Result<File> {
        self.options().open(&self.path)
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options
    }
}

/// Closes `file`, which ends at `end`: the rest of its room is given back, and nobody writes it by mistake. Its last records are
/// synced as all others are, by whoever knows what to do where that fails.
pub fn close(file: &File, end: u64) -> io::Result<()> {
    file.set_len(end)?;
    file.set_permissions(Permissions::from_mode(0o400))
}

/// How `file` ends.
pub fn tail(file: &File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(2 * LINE_MAX as u64);
    let mut bytes = vec![0; usize::try_from(len - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    let Some(newline) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        // What has no line at all is one that was cut off, or nothing that this program wrote.
        return Ok(Tail { last: None, end: from, torn: len - from });
    };
    let begin = bytes[..newline].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let end = from + newline as u64 + 1;
    Ok(Tail { last: Some(bytes[begin..newline].to_vec()), end, torn: len - end })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_tail_is_the_last_whole_line_and_what_is_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        for (number, (text, last, end, torn)) in [
            ("", None, 0, 0),
            ("a\n", Some("a"), 2, 0),
            ("a\nbc\n", Some("bc"), 5, 0),
            ("a\nbc\ntor", Some("bc"), 5, 3),
            ("a\n\0\0", Some("a"), 2, 2),
            ("torn", None, 0, 4),
        ]
        .into_iter()
        .enumerate()
        {
            let segment = Segment::at(dir.path(), number as u64 + 1);
            let mut file = segment.make(1 << 16, true).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let expected = Tail { last: last.map(|last| last.as_bytes().to_vec()), end, torn };
            assert_eq!(tail(&file).unwrap(), expected, "{text:?}");
            if !text.is_empty() {
                assert!(segment.make(1 << 16, true).is_err(), "what has records is not begun anew");
            }
        }
        assert_eq!(Segment::list(dir.path()).unwrap().len(), 6);
        assert_eq!(Segment::list(&dir.path().join("none")).unwrap(), []);
    }
}
