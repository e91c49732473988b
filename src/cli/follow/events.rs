//! `kmsfs events`: what happens in a mount, a line each.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::stream::{Event, LOST, Stream};
use crate::cli::address::Address;
use crate::cli::report::CliError;

/// Show what happens in a mount
///
/// From now on, of all that may be listed: secrets made, rotated, tagged, deleted, restored, purged; instances and keys made; owners,
/// groups and modes changed. Without -f it ends when nothing has happened for a second. `lost` stands for events that nobody can be told
/// of any more: the mount had more of them than it keeps, or its worker was replaced.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsfs events -f /run/secrets\n  kmsfs events -f --json | jq 'select(.what == \"rotated\")'"
)]
pub struct EventsArgs {
    /// Go on until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// The mount point; not needed where there is only one mount
    #[arg(value_name = "M", value_hint = ValueHint::DirPath)]
    mount: Option<PathBuf>,
}

pub fn run(args: &EventsArgs) -> Result<(), CliError> {
    let mut stream = Stream::open(&Address::mount(args.mount.as_deref())?)?;
    loop {
        let lines = stream.next()?;
        let shown: String = if args.json {
            lines.iter().map(|line| format!("{line}\n")).collect()
        } else {
            lines.iter().map(|line| row(&Event::parse(line))).collect()
        };
        if !write(&shown)? || lines.is_empty() && !args.follow {
            return Ok(());
        }
    }
}

/// Writes `text`; whether anybody reads on.
fn write(text: &str) -> Result<bool, CliError> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Output(error)),
    }
}

/// An event for people. All of its words are of alphabets that command no terminal.
fn row(event: &Event) -> String {
    let Event { time, what, instance, secret, key, version, count } = event;
    let about = match (instance, secret, key) {
        (Some(instance), Some(secret), _) => format!("{instance}/{secret}"),
        (Some(instance), None, Some(key)) => format!("{instance}/.keys/{key}"),
        (Some(instance), None, None) => instance.clone(),
        (None, ..) if what == LOST => count.map_or(String::new(), |count| format!("{count} events")),
        (None, ..) => "/".to_owned(),
    };
    let row = format!("{time:<20}  {what:<13}  {about}  {}", version.as_deref().unwrap_or_default());
    format!("{}\n", row.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_rows_for_people() {
        for (line, expected) in [
            (
                r#"{"time":"2026-01-02T03:04:05Z","instance":"prod","secret":"db/pw","what":"rotated","version":"v2"}"#,
                "2026-01-02T03:04:05Z  rotated        prod/db/pw  v2\n",
            ),
            (
                r#"{"time":"2026-01-02T03:04:05Z","instance":"prod","what":"instance-made"}"#,
                "2026-01-02T03:04:05Z  instance-made  prod\n",
            ),
            (
                r#"{"time":"2026-01-02T03:04:05Z","instance":"prod","key":"k","what":"key-made"}"#,
                "2026-01-02T03:04:05Z  key-made       prod/.keys/k\n",
            ),
            (
                r#"{"time":"2026-01-02T03:04:05Z","what":"lost","count":7}"#,
                "2026-01-02T03:04:05Z  lost           7 events\n",
            ),
            (r#"{"time":"2026-01-02T03:04:05Z","what":"access"}"#, "2026-01-02T03:04:05Z  access         /\n"),
        ] {
            assert_eq!(row(&Event::parse(line)), expected);
        }
    }
}
