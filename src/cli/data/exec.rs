//! `kmsfs exec`: a program with values in its environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueHint};

use super::fault::DataError;
use super::get::value_of;
use crate::cli::address::{Address, Entry, Scope};
use crate::cli::report::CliError;

/// Run a program with secrets in its environment
///
/// A variable is named after the secret's last name, or the member's, in capitals, with `_` for what no variable's name can hold; NAME=PATH names it
/// otherwise. The environment of a program is seen by all that runs as the same user, and by its children: where the program can read
/// a file, a path in the mount is better.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs exec PGPASSWORD=/run/secrets/prod/db/password -- psql -h db -U app")]
pub struct ExecArgs {
    /// The secrets, each as PATH or NAME=PATH
    #[arg(value_name = "[NAME=]PATH", required = true, value_hint = ValueHint::DirPath)]
    secrets: Vec<OsString>,
    /// The program and its arguments
    #[arg(value_name = "CMD", last = true, required = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

pub fn run(args: &ExecArgs) -> Result<(), CliError> {
    // Not hardened as the other verbs with values are: the program that this becomes would have inherited that it can never dump
    // core, and whose eyes its new files are for. What else hardening does ends with the exec, as this process's memory does.
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    for word in &args.secrets {
        let (name, path) = variable(word)?;
        let value = value_of(&path)?;
        if value.as_bytes().contains(&0) {
            return Err(DataError::NoVariable { name, why: "the value holds a byte that ends every variable" }.into());
        }
        command.env(name, OsStr::from_bytes(value.as_bytes()));
    }
    // It returns only where the program cannot be started.
    let source = command.exec();
    Err(CliError::Path { path: PathBuf::from(&args.command[0]), source })
}

/// The variable's name, and the secret's path.
fn variable(word: &OsStr) -> Result<(String, PathBuf), CliError> {
    let bytes = word.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    if let Some(at) = equals.filter(|at| is_variable(&bytes[..*at])) {
        let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
        return Ok((name, PathBuf::from(OsStr::from_bytes(&bytes[at + 1..]))));
    }
    let path = Path::new(word);
    let (address, target) = Address::of_secret(path, Scope::Reading)?;
    let name = name_for(match &address.entry {
        Entry::Field(name) => name,
        _ => target.secret.rsplit('/').next().unwrap_or_default(),
    });
    if is_variable(name.as_bytes()) {
        return Ok((name, path.to_owned()));
    }
    Err(DataError::NoVariable { name, why: "no variable can be named so; say NAME=PATH" }.into())
}

fn name_for(last: &str) -> String {
    last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn is_variable(name: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.first().is_some_and(|first| word(first) && !first.is_ascii_digit()) && name.iter().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_secrets_or_by_their_user() {
        assert_eq!(name_for("api-key.v2"), "API_KEY_V2");
        assert_eq!(variable(OsStr::new("A_1=/m/x")).unwrap(), ("A_1".to_owned(), "/m/x".into()));
        for (name, good) in [("A", true), ("_a1", true), ("1A", false), ("", false), ("a-b", false)] {
            assert_eq!(is_variable(name.as_bytes()), good, "{name}");
        }
    }
}
