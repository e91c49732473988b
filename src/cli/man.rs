//! `kmsfs man`: a page for each verb, made from the command line itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::places::{PLACES, Place};
use super::report::CliError;
use super::{ENVIRONMENT, EXITS};

/// Write the man pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsfs man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The directory, which is made when it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &ManArgs) -> Result<(), CliError> {
    let io = |source| CliError::Path { path: args.dir.clone(), source };
    fs::create_dir_all(&args.dir).map_err(io)?;
    // `help` shows these very texts; it needs no page.
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, &args.dir).map_err(io)
}

/// The page of `command`, and those of all that is below it.
fn write_pages(command: &Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands() {
        write_pages(below, dir)?;
    }
    let page = Man::new(command.clone());
    let mut file = File::create(dir.join(page.get_filename()))?;
    page.render_title(&mut file)?;
    page.render_name_section(&mut file)?;
    page.render_synopsis_section(&mut file)?;
    page.render_description_section(&mut file)?;
    page.render_options_section(&mut file)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut file)?;
    }
    sections(command).to_writer(&mut file)?;
    page.render_version_section(&mut file)
}

/// What clap knows nothing of, from the tables that help is made from too.
fn sections(command: &Command) -> Roff {
    let exits = EXITS.iter().map(|(exit, meaning)| (exit.code().to_string(), (*meaning).to_owned()));
    let files = PLACES.iter().map(|Place { what, root, variable, fallback, name }| {
        ((*root).to_owned(), format!("{what} of root; of others ${variable}/{name}, else ~/{fallback}/{name}"))
    });
    let environment = ENVIRONMENT.iter().map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
    let mut roff = Roff::new();
    list(&mut roff, "EXIT STATUS", exits);
    list(&mut roff, "FILES", files);
    list(&mut roff, "ENVIRONMENT", environment);
    // The program's own help ends with these tables, that of a verb with an example.
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some((title, lines)) = help.split_once('\n').filter(|(title, _)| title.starts_with("Example")) {
        roff.control("SH", ["EXAMPLES"]);
        if let Some((_, of)) = title.split_once(": ") {
            roff.text([roman(of)]);
        }
        roff.control("PP", []).control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn list(roff: &mut Roff, title: &str, rows: impl Iterator<Item = (String, String)>) {
    roff.control("SH", [title]);
    for (word, meaning) in rows {
        roff.control("TP", []).text([bold(word)]).text([roman(meaning)]);
    }
}
