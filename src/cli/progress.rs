//! How far long work has come: a bar on a terminal, once it has taken a moment; nothing elsewhere.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less shows no bar.
const MOMENT: Duration = Duration::from_millis(500);
/// How often the bar is drawn.
const DRAWN_A_SECOND: u8 = 10;
/// Bytes copied at a time.
const PART: usize = 256 * 1024;

/// The bar, drawn or not yet.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: Cell<bool>,
}

impl Progress {
    /// Of `len` bytes.
    pub fn of_bytes(what: &'static str, len: u64) -> Self {
        Self::new(what, len, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    /// Of `len` things.
    pub fn of_things(what: &'static str, len: usize) -> Self {
        Self::new(what, len as u64, "{msg} {wide_bar} {pos}/{len} {eta}")
    }

    fn new(what: &'static str, len: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden()).with_message(what);
        // The templates are the two above.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self { bar, began: Instant::now(), shown: Cell::new(false) }
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        if !self.shown.get() && self.began.elapsed() > MOMENT {
            self.shown.set(true);
            // A terminal shows it, all else does not.
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWN_A_SECOND));
        }
        self.bar.inc(more);
    }

    /// Does what writes to the terminal, above the bar.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Which side of a copy failed.
pub enum CopyError {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies until `from` ends, and answers how many bytes that were.
pub fn copy(from: &mut impl Read, to: &mut impl Write, progress: &Progress) -> Result<u64, CopyError> {
    let mut part = vec![0; PART];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut part) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Reading(error)),
        };
        to.write_all(&part[..read]).map_err(CopyError::Writing)?;
        copied += read as u64;
        progress.add(read as u64);
    }
}
