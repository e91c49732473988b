//! What is logged, and how a line of it looks.
//!
//! Invariant: an event is one line, and nothing in it is a command to a terminal. Names are the users' and paths anybody's, so
//! whatever cannot be printed is escaped, here and nowhere else.

use std::io::Write as _;

/// The variable with the log's filter: `warn`, `debug`, `kmsfs::daemon=trace`.
pub const FILTER: &str = "KMSFS_LOG";

/// What a daemon logs unless told otherwise: its own doings, and the troubles of what it stands on. At each unmount from
/// outside fuser warns that the mount is gone.
pub const DAEMON: &str = "warn,kmsfs=info,fuser=error";

/// What a verb logs that starts no daemon.
pub const VERB: &str = "error";

/// Logs to stderr what the environment's filter lets through, or `filter` where it has none.
pub fn start(filter: &str) {
    let env = env_logger::Env::new().filter_or(FILTER, filter);
    let mut builder = env_logger::Builder::from_env(env);
    builder.target(env_logger::Target::Stderr).format(|line, record| {
        let (time, said) = (line.timestamp(), one_line(&record.args().to_string()));
        writeln!(line, "[{time} {:<5} {}] {said}", record.level(), record.target())
    });
    builder.init();
}

/// `text` with escapes for all that is no printable character. A backslash is two, so that no text looks like another's escape.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\'' | '"' => line.push(char),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        for (text, line) in [
            ("mounted /run/secrets", "mounted /run/secrets"),
            ("it's \"quoted\" `so`", "it's \"quoted\" `so`"),
            ("größe 中 é", "größe 中 é"),
            ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
            ("\x1b]0;x\x07\x7f", r"\u{1b}]0;x\u{7}\u{7f}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("\u{2028}\u{202e}\u{200b}\u{feff}", r"\u{2028}\u{202e}\u{200b}\u{feff}"),
            (r"a\nb", r"a\\nb"),
            ("", ""),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }
}
