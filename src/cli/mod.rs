//! The command line: one file per verb, each a shape of arguments and a `run`.
//!
//! Reading order: `exit` (the codes), `report` (errors told), `places` (defaults), `keys` and `options` (arguments that verbs
//! share), `show` (output), then the verbs. Knows what people type and read; decides nothing about secrets. Invariants: no
//! value and no key is ever an argument; every failure is told once, by `report`, with a code from the table.

mod completions;
mod exit;
mod init;
mod keys;
mod man;
mod mount;
mod options;
mod places;
mod rekey;
mod report;
mod show;
mod status;
mod umount;
mod verify;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use exit::{EXITS, Exit, exit_table};
use report::CliError;

/// A KMS secrets manager that is a filesystem: every secret is a directory.
#[derive(Debug, Parser)]
#[command(name = "kmsfs", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::InitArgs),
    Mount(mount::MountArgs),
    Umount(umount::UmountArgs),
    Status(status::StatusArgs),
    Verify(verify::VerifyArgs),
    Rekey(rekey::RekeyArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The variable with the log's filter: `warn`, `debug`, `kmsfs::daemon=trace`.
const LOG_FILTER: &str = "KMSFS_LOG";

/// What a daemon logs unless told otherwise: its own doings, and the troubles of what it stands on. At each unmount from
/// outside fuser warns that the mount is gone.
const DAEMON_LOG: &str = "warn,kmsfs=info,fuser=error";

/// The whole command line, as help, completions and man pages see it.
fn command() -> clap::Command {
    Cli::command().after_help(format!(
        "{}\nEnvironment:\n  {LOG_FILTER}  what is logged: error, warn, info, debug, or a module's own: kmsfs::daemon=debug\n  \
         NO_COLOR   no colours",
        exit_table()
    ))
}

/// Parses the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let exit = if std::env::args_os().nth(1).is_some_and(|verb| verb == mount::SERVE) {
        mount::ServeArgs::try_parse_from(std::env::args_os().skip(1)).map(serve)
    } else {
        command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)).map(|cli| run(cli.verb))
    };
    let exit = match exit {
        Ok(outcome) => outcome.unwrap_or_else(|error| report::tell(&error.to_failure())),
        Err(error) => tell_usage(&error),
    };
    ExitCode::from(exit.code())
}

fn serve(args: mount::ServeArgs) -> Result<Exit, CliError> {
    start_log(DAEMON_LOG);
    mount::serve(&args)
}

fn run(verb: Verb) -> Result<Exit, CliError> {
    start_log(match verb {
        Verb::Mount(_) => DAEMON_LOG,
        Verb::Init(_)
        | Verb::Umount(_)
        | Verb::Status(_)
        | Verb::Verify(_)
        | Verb::Rekey(_)
        | Verb::Completions(_)
        | Verb::Man(_) => "error",
    });
    match verb {
        Verb::Init(args) => init::run(&args),
        Verb::Mount(args) => return mount::run(&args),
        Verb::Umount(args) => umount::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Rekey(args) => rekey::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    }
    .map(|()| Exit::Done)
}

fn start_log(filter: &str) {
    let env = env_logger::Env::new().filter_or(LOG_FILTER, filter);
    env_logger::Builder::from_env(env).target(env_logger::Target::Stderr).init();
}

/// Help and versions are answers; all else that the parser says is an error of usage.
fn tell_usage(error: &clap::Error) -> Exit {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let helped = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !asked && !helped {
        anstream::eprint!("kmsfs: ");
    }
    // Whoever closed the pipe wants no more of it.
    let _ = error.print();
    if asked { Exit::Done } else { Exit::Usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example() {
        for verb in command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", verb.get_name());
        }
    }
}
