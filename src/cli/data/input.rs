//! A value, from stdin or from a prompt that shows nothing of it; never from an argument, which every user of the machine sees.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use super::fault::DataError;
use crate::cli::address::Target;
use crate::cli::report::CliError;
use crate::cli::stdio;
use crate::secret::VALUE_MAX;
use crate::value::Value;

/// Reads a value. On a terminal it is asked for, twice; with `trim` one newline at the end is not its.
pub fn value(trim: bool) -> Result<Value, CliError> {
    // One byte more than a value has, so that what is too long is known to be.
    let piped = || stdio::read(VALUE_MAX).map_err(DataError::Input);
    let mut value = if io::stdin().is_terminal() { asked()? } else { piped()? };
    if trim {
        self::trim(&mut value);
    }
    Ok(value)
}

/// Takes off one newline at the end.
pub fn trim(value: &mut Value) {
    if value.as_bytes().ends_with(b"\n") {
        value.resize(value.len() - 1);
    }
}

fn asked() -> Result<Value, CliError> {
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map_err(CliError::Prompt);
    let first = Value::from_vec(ask("Value: ")?.into_bytes());
    let second = Value::from_vec(ask("The same again: ")?.into_bytes());
    if first.as_bytes() == second.as_bytes() { Ok(first) } else { Err(DataError::ValuesDiffer.into()) }
}

/// Asks on a terminal whether all of `targets` are to be destroyed; elsewhere somebody must have said so before.
pub fn confirm_destruction(targets: &[(PathBuf, Target)]) -> Result<(), CliError> {
    let what = match targets {
        [(_, only)] => only.path(),
        several => format!("{} secrets", several.len()),
    };
    confirm_end(&what)
}

/// The same of `what`.
pub fn confirm_end(what: &str) -> Result<(), CliError> {
    if confirm(&format!("Destroy {what}, with no way back?"))? { Ok(()) } else { Err(DataError::NotConfirmed.into()) }
}

fn confirm(question: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    anstream::eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(DataError::Input)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
