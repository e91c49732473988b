//! `kmsfs audit`: who did what, and whether the record of it is whole.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Map, Value as Json};

use super::fault::DataError;
use crate::cli::address::Address;
use crate::cli::client::{Client, request, rows, text};
use crate::cli::report::CliError;
use crate::cli::show;

/// Show who read and changed what, or check the record of it; for root and the user whose daemon it is
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  kmsfs audit /run/secrets/prod/db/password
  kmsfs audit -f --json /run/secrets | jq 'select(.outcome != \"granted\")'
  kmsfs audit verify"
)]
pub struct AuditArgs {
    #[command(subcommand)]
    step: Option<Step>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Walk over the whole chain, and name the first record that is not as it was written
    #[command(after_help = "Example:\n  kmsfs audit verify /run/secrets")]
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The mount [default: the only one]
        #[arg(value_name = "M", value_hint = ValueHint::DirPath)]
        mount: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Go on showing what is decided
    #[arg(short, long)]
    follow: bool,
    /// How many of the last records; 0 shows all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Print JSON, a record a line
    #[arg(long)]
    json: bool,
    /// Only what is about this secret, or this instance [default: all of the only mount]
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    path: Option<PathBuf>,
}

/// Records asked for at a time.
const PAGE: usize = 1_000;
/// How long after the last look comes the next.
const PAUSE: Duration = Duration::from_millis(500);

pub fn run(args: &AuditArgs) -> Result<(), CliError> {
    match &args.step {
        Some(Step::Verify { json, mount }) => verify(mount.as_deref(), *json),
        None => show_records(&args.show),
    }
}

fn verify(mount: Option<&Path>, json: bool) -> Result<(), CliError> {
    let answer = Client::open(&Address::mount(mount)?)?.ask(request("VerifyAuditRecords"))?;
    let defect = answer["Defect"]["Message"].as_str().map(str::to_owned);
    if json {
        show::print_json(&Json::Object(answer.clone()))?;
    }
    match defect {
        Some(defect) => {
            let at = |name: &str| answer["Defect"][name].to_string();
            Err(DataError::AuditUnsound { defect, segment: at("Segment"), line: at("Line") }.into())
        }
        None if json => Ok(()),
        None => show::print(&format!(
            "records: {}, the last is {}, segments: {}; all as they were written\n",
            answer["Records"], answer["LastSeq"], answer["Segments"]
        )),
    }
}

fn show_records(args: &ShowArgs) -> Result<(), CliError> {
    let address = match &args.path {
        Some(path) => Address::of(path)?,
        None => Address::of_mount(Address::mount(None)?),
    };
    let mut client = Client::open(&address.mount)?;
    let mut asked = request("ListAuditRecords");
    asked.insert("MaxResults".to_owned(), PAGE.into());
    for (name, wanted) in [("DKMSInstanceId", &address.instance), ("SecretName", &address.secret)] {
        if let Some(wanted) = wanted {
            asked.insert(name.to_owned(), wanted.as_str().into());
        }
    }
    let mut last = VecDeque::new();
    loop {
        let page = next(&mut client, &mut asked)?;
        let ends = page.len() < PAGE;
        for record in page {
            last.push_back(record);
            if args.lines > 0 && last.len() > args.lines {
                last.pop_front();
            }
        }
        if ends {
            break;
        }
    }
    let mut head = !args.json;
    print(last.make_contiguous(), args.json, &mut head)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        thread::sleep(PAUSE);
        print(&next(&mut client, &mut asked)?, args.json, &mut head)?;
    }
}

/// The records behind those of the last time.
fn next(client: &mut Client, asked: &mut Map<String, Json>) -> Result<Vec<Json>, CliError> {
    let answer = client.ask(asked.clone())?;
    asked.insert("NextToken".to_owned(), text(&answer, "NextToken").into());
    Ok(rows(&answer, "AuditRecords", "AuditRecord").to_vec())
}

/// Columns of fixed width, so that what follows stands below what was printed before.
fn print(records: &[Json], json: bool, head: &mut bool) -> Result<(), CliError> {
    let mut lines = String::new();
    if std::mem::take(head) {
        lines.push_str(&line(["TIME", "WHO", "PROGRAM", "ACTION", "OUTCOME", "ON"]));
    }
    for record in records {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        if json {
            lines.push_str(&format!("{record}\n"));
            continue;
        }
        let on: Vec<&str> = ["instance", "secret"].map(text).into_iter().filter(|part| !part.is_empty()).collect();
        let mut on = on.join("/");
        if !text("version").is_empty() {
            on = format!("{on} {}", text("version"));
        }
        if !text("member").is_empty() {
            on = format!("{on} fields/{}", text("member").escape_debug());
        }
        let outcome = if text("code").is_empty() { text("outcome") } else { text("code") };
        let action = if text("action").is_empty() { text("gesture") } else { text("action") };
        let who = text("principal").rsplit(':').next().unwrap_or_default();
        let time = text("time").split('.').next().unwrap_or_default();
        lines.push_str(&line([time, who, text("comm"), action, outcome, &on]));
    }
    show::print(&lines)
}

fn line([time, who, program, action, outcome, on]: [&str; 6]) -> String {
    let line = format!("{time:<19}  {who:<16}  {program:<15}  {action:<24}  {outcome:<24}  {on}");
    format!("{}\n", line.trim_end())
}
