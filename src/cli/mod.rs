//! The command line: one file per verb, each a shape of arguments and a `run`.
//!
//! Reading order: `exit` (the codes), `report` and `moving` (errors told), `logging`, `places` (defaults), `keys` and `options` (arguments
//! that verbs share), `reading` and `stdio` (plaintext in and out), `show`, `part` and `progress` (output), `address` and `client` (a mount's data), then the verbs, those on data in `data`,
//! those that follow what happens in `follow`. Knows what people type and read; decides nothing about secrets.
//! Invariants: no value and no key is ever an argument; every failure is told once, by `report`, with a code from the table.

mod abort;
mod address;
mod backup;
mod client;
mod completions;
mod data;
mod doctor;
mod exit;
mod export;
mod follow;
mod fstab;
mod import;
mod init;
mod keys;
mod logging;
mod man;
mod mount;
mod moving;
mod options;
mod part;
mod places;
mod progress;
mod reading;
mod recording;
mod rekey;
mod report;
mod restore_backup;
mod roles;
mod show;
mod status;
mod stdio;
mod subtree;
mod umount;
mod upgrade;
mod verify;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use exit::{EXITS, Exit, exit_table};
#[doc(hidden)]
pub use import::count as count_imported;
use report::CliError;
use roles::Role;

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
    View(view::ViewArgs),
    Upgrade(upgrade::UpgradeArgs),
    Abort(abort::AbortArgs),
    Put(data::put::PutArgs),
    Get(data::get::GetArgs),
    Ls(data::ls::LsArgs),
    Log(data::log::LogArgs),
    Rollback(data::rollback::RollbackArgs),
    Rm(data::rm::RmArgs),
    Trash(data::trash::TrashArgs),
    Restore(data::restore::RestoreArgs),
    Purge(data::purge::PurgeArgs),
    Destroy(data::destroy::DestroyArgs),
    Rotate(data::rotate::RotateArgs),
    Tag(data::tag::TagArgs),
    Untag(data::untag::UntagArgs),
    Policy(data::policy::PolicyArgs),
    Key(data::key::KeyArgs),
    Seal(data::seal::SealArgs),
    Unseal(data::seal::UnsealArgs),
    RandomPassword(data::random_password::RandomPasswordArgs),
    Exec(data::exec::ExecArgs),
    Api(data::api::ApiArgs),
    Events(follow::events::EventsArgs),
    Watch(follow::watch::WatchArgs),
    Audit(data::audit::AuditArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    Verify(verify::VerifyArgs),
    Backup(backup::BackupArgs),
    RestoreBackup(restore_backup::RestoreBackupArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Rekey(rekey::RekeyArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The variables that are read, and what each says.
const ENVIRONMENT: [(&str, &str); 6] = [
    (logging::FILTER, "what is logged: error, warn, info, debug, or a module's own: kmsfs::daemon=debug"),
    ("NO_COLOR", "no colours"),
    ("CREDENTIALS_DIRECTORY", "where systemd has put what --credential names"),
    ("FUSERMOUNT_PATH", "another fusermount3, for users other than root"),
    ("HOME", "where places are for users other than root"),
    ("XDG_DATA_HOME, XDG_CONFIG_HOME, XDG_STATE_HOME", "the same, for each kind of place"),
];

/// The whole command line, as help, completions and man pages see it.
fn command() -> clap::Command {
    let variable = |(name, meaning): &(&str, &str)| format!("\n  {name}\n      {meaning}");
    let environment: String = ENVIRONMENT.iter().map(variable).collect();
    Cli::command().after_help(format!("{}\nEnvironment:{environment}", exit_table()))
}

/// Parses the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.first().is_some_and(|program| fstab::is_called_as(program)) {
        args = fstab::to_mount_args(&args);
    }
    let exit = match args.get(1).and_then(|word| Role::named(word)) {
        Some(role) => {
            logging::start(logging::DAEMON);
            role.play(&args[1..])
        }
        None => command()
            .try_get_matches_from(&args)
            .and_then(|matches| Cli::from_arg_matches(&matches))
            .map(|cli| run(cli.verb).unwrap_or_else(|error| report::tell(&error.to_failure()))),
    };
    ExitCode::from(exit.unwrap_or_else(|error| tell_usage(&error)).code())
}

/// What is logged while `verb` is done, where nobody says otherwise.
fn filter_of(verb: &Verb) -> &'static str {
    match verb {
        Verb::Mount(_) => logging::DAEMON,
        Verb::Init(_)
        | Verb::Umount(_)
        | Verb::View(_)
        | Verb::Upgrade(_)
        | Verb::Abort(_)
        | Verb::Doctor(_)
        | Verb::Status(_)
        | Verb::Verify(_)
        | Verb::Backup(_)
        | Verb::RestoreBackup(_)
        | Verb::Export(_)
        | Verb::Import(_)
        | Verb::Rekey(_)
        | Verb::Put(_)
        | Verb::Get(_)
        | Verb::Ls(_)
        | Verb::Log(_)
        | Verb::Rollback(_)
        | Verb::Rm(_)
        | Verb::Trash(_)
        | Verb::Restore(_)
        | Verb::Purge(_)
        | Verb::Destroy(_)
        | Verb::Rotate(_)
        | Verb::Tag(_)
        | Verb::Untag(_)
        | Verb::Policy(_)
        | Verb::Key(_)
        | Verb::Seal(_)
        | Verb::Unseal(_)
        | Verb::RandomPassword(_)
        | Verb::Exec(_)
        | Verb::Api(_)
        | Verb::Events(_)
        | Verb::Watch(_)
        | Verb::Audit(_)
        | Verb::Completions(_)
        | Verb::Man(_) => logging::VERB,
    }
}

fn run(verb: Verb) -> Result<Exit, CliError> {
    logging::start(filter_of(&verb));
    match verb {
        Verb::Init(args) => init::run(&args),
        Verb::Mount(args) => return mount::run(&args),
        Verb::Doctor(args) => return doctor::run(&args),
        Verb::Umount(args) => umount::run(&args),
        Verb::View(args) => view::run(&args),
        Verb::Upgrade(args) => upgrade::run(&args),
        Verb::Abort(args) => abort::run(&args),
        Verb::Put(args) => data::put::run(&args),
        Verb::Get(args) => data::get::run(&args),
        Verb::Ls(args) => data::ls::run(&args),
        Verb::Log(args) => data::log::run(&args),
        Verb::Rollback(args) => data::rollback::run(&args),
        Verb::Rm(args) => data::rm::run(&args),
        Verb::Trash(args) => data::trash::run(&args),
        Verb::Restore(args) => data::restore::run(&args),
        Verb::Purge(args) => data::purge::run(&args),
        Verb::Destroy(args) => data::destroy::run(&args),
        Verb::Rotate(args) => data::rotate::run(&args),
        Verb::Tag(args) => data::tag::run(&args),
        Verb::Untag(args) => data::untag::run(&args),
        Verb::Policy(args) => return data::policy::run(&args),
        Verb::Key(args) => data::key::run(&args),
        Verb::Seal(args) => data::seal::seal(&args),
        Verb::Unseal(args) => data::seal::unseal(&args),
        Verb::RandomPassword(args) => data::random_password::run(&args),
        Verb::Exec(args) => data::exec::run(&args),
        Verb::Audit(args) => data::audit::run(&args),
        Verb::Api(args) => return data::api::run(&args),
        Verb::Events(args) => follow::events::run(&args),
        Verb::Watch(args) => follow::watch::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Backup(args) => backup::run(&args),
        Verb::RestoreBackup(args) => restore_backup::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Rekey(args) => rekey::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    }
    .map(|()| Exit::Done)
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
