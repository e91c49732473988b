//! Files with plaintext in them, read into a [`Value`]: nothing passes through a buffer that nobody wipes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::value::Value;

/// What a file is read in, at the least.
const STEP: usize = 64 * 1024;

/// Reads `input` to its end, or until there is more than `max` bytes: one more then.
pub fn read(input: &mut impl Read, max: usize) -> io::Result<Value> {
    let mut value = Value::empty();
    let (mut len, mut room) = (0, 0);
    loop {
        if len == room {
            room = (2 * room).max(STEP).min(max + 1);
            value.resize(room);
        }
        let read = match input.read(value.tail(len)) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        len += read;
        if read == 0 || len > max {
            value.resize(len);
            return Ok(value);
        }
    }
}

/// Reads the regular file `path`, as [`read`] does. A link in its last part is not followed, and a pipe not waited for.
pub fn read_file(path: &Path, max: usize) -> io::Result<Value> {
    read(&mut open_regular(path)?, max)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read_and_little_more_than_was_asked_for() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        for (len, max, expected) in [
            (0, 10, 0),
            (10, 10, 10),
            (11, 10, 11),
            (99, 10, 11),
            (200_000, 1_000_000, 200_000),
            (65_536, 65_536, 65_536),
        ] {
            let value = read(&mut &bytes[..len], max).unwrap();
            assert_eq!(value.as_bytes(), &bytes[..expected], "{len} of {max}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        assert_eq!(read_file(&dir.path().join("file"), 9).unwrap().as_bytes(), b"x");
        assert!(read_file(&dir.path().join("link"), 9).is_err());
        assert!(read_file(dir.path(), 9).is_err());
        assert!(read_file(Path::new("/dev/zero"), 9).is_err());
    }
}
