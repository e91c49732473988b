//! `kmsfs completions`: a script for a shell, made from the command line itself.

use clap::Args;
use clap_complete::Shell;

use super::report::CliError;
use super::show;

/// Print the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs completions bash > /usr/share/bash-completion/completions/kmsfs")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "kmsfs", &mut script);
    show::print(&String::from_utf8_lossy(&script))
}
