//! stdin and stdout as plaintext goes through them: not through std's, whose buffers nobody wipes.

use std::fs::File;
use std::io::{self, Write as _};

use super::reading;
use crate::value::Value;

/// Reads stdin to its end, or until there is more than `max` bytes: one more then.
pub fn read(max: usize) -> io::Result<Value> {
    reading::read(&mut stdin()?, max)
}

/// Writes `bytes` to stdout, all of it unless whoever reads stops reading.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    match stdout()?.write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// stdin, without a buffer.
pub fn stdin() -> io::Result<File> {
    Ok(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?.into())
}

/// stdout, without a buffer.
pub fn stdout() -> io::Result<File> {
    Ok(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?.into())
}
