//! The words by which this program starts itself: as a mount's daemon, as its worker, as the keeper that goes on after an
//! upgrade, and to ask whether it can. They are no verbs of the command line.
//!
//! Each but the question, the forgetter and what does a step takes the arguments of `kmsfs mount`, resolved. They are seen in `ps`: no passphrase is among them.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use clap::Parser as _;

use super::exit::Exit;
use super::keys::{Asking, NO_ANCHOR};
use super::mount::{self, MountArgs};
use super::options::MountOptions;
use super::recording;
use super::report::{CliError, tell};
use crate::daemon::{self, AnchorPlace, Control, KeySource, LogPlace, Order, Programs, Reporter, ToKeeper, Verdict};

/// What this program is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon that `kmsfs mount` waits for: a passphrase comes on stdin, the verdict goes to stdout.
    Serve,
    /// A keeper that another program has become: what that held comes on stdin.
    Keep,
    /// A worker: its keeper speaks on stdin.
    Work,
    /// The process through which watchers notice a rotation: names come on stdin.
    Poke,
    /// The process through which the kernel is made to forget pages: numbers come on stdin, stdout is the connection.
    Forget,
    /// The process that does a step of a rotation: what that is comes on stdin.
    RunStep,
    /// What becomes the function that does it: the same.
    BecomeFunction,
    /// Exits with 0 if it can go on with what the asking program holds.
    TakesOver,
}

const ROLES: [(&str, Role); 8] = [
    ("serve", Role::Serve),
    ("keep", Role::Keep),
    ("work", Role::Work),
    ("poke", Role::Poke),
    ("forget", Role::Forget),
    ("run-step", Role::RunStep),
    ("become-function", Role::BecomeFunction),
    ("takes-over", Role::TakesOver),
];

#[derive(Debug, clap::Parser)]
#[command(name = "kmsfs")]
struct RoleArgs {
    #[command(flatten)]
    mount: MountArgs,
}

impl Role {
    /// The role that the first argument names.
    pub fn named(word: &OsStr) -> Option<Self> {
        ROLES.iter().find(|(name, _)| word == *name).map(|(_, role)| *role)
    }

    fn word(self) -> &'static str {
        ROLES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }

    /// The arguments that ask a program whether it can take over.
    pub fn question() -> Vec<OsString> {
        daemon::question(Role::TakesOver.word())
    }

    /// Plays it with the arguments behind the word.
    pub fn play(self, args: &[OsString]) -> Result<Exit, clap::Error> {
        if let Err(error) = daemon::keep_descriptors() {
            log::warn!("descriptors that this process was started with may be seen by those that it starts: {error}");
        }
        if self == Role::TakesOver {
            let can = args.get(1).is_some_and(|words| daemon::understands(words));
            return Ok(if can { Exit::Done } else { Exit::Refused });
        }
        let helper: Option<fn() -> Result<(), daemon::MountError>> = match self {
            Role::Forget => Some(daemon::forget),
            Role::RunStep => Some(daemon::run_step),
            Role::BecomeFunction => Some(daemon::become_function),
            Role::Serve | Role::Keep | Role::Work | Role::Poke | Role::TakesOver => None,
        };
        if let Some(help) = helper {
            let helped = help().map_err(CliError::from);
            return Ok(helped.map_or_else(|error| tell(&error.to_failure()), |()| Exit::Done));
        }
        // What the starting program gave up is not given up by a new one, and a passphrase or a key waits on stdin.
        daemon::harden();
        let RoleArgs { mount } = RoleArgs::try_parse_from(args)?;
        let played = match self {
            Role::Serve => serve(&mount),
            Role::Keep => keep(&mount),
            Role::Poke => poke(&mount),
            Role::Work | Role::Forget | Role::RunStep | Role::BecomeFunction | Role::TakesOver => work(&mount),
        };
        Ok(played.unwrap_or_else(|error| tell(&error.to_failure())))
    }
}

/// The arguments of `role` for this very order.
pub fn to_args(role: Role, order: &Order) -> Vec<OsString> {
    let options = MountOptions {
        read_only: order.task.options.read_only,
        trim_newline: order.task.options.trim_newline,
        allow_other: None,
        account: order.task.options.account,
    };
    let mut args: Vec<OsString> = vec![role.word().into(), "--store".into(), order.task.store.clone().into()];
    if role == Role::Serve {
        match &order.key {
            KeySource::KeyFile(path) => args.extend(["--key-file".into(), path.into()]),
            KeySource::PassphraseFile(path) => args.extend(["--passphrase-file".into(), path.into()]),
            KeySource::Credential(name) => args.extend(["--credential".into(), name.into()]),
            KeySource::Passphrase(_) => {}
        }
        if order.accept_rollback {
            args.push("--accept-rollback".into());
        }
    }
    match &order.task.anchor {
        AnchorPlace::File(path) => args.extend(["--anchor".into(), path.into()]),
        AnchorPlace::Nowhere => args.extend(["--anchor".into(), NO_ANCHOR.into()]),
        AnchorPlace::In(_) => {}
    }
    args.extend(recording::to_args(&order.task.recording));
    args.extend(["--functions".into(), order.task.functions.clone().into()]);
    args.extend(["--views".into(), order.task.views.clone().into()]);
    match &order.log {
        // A worker's stderr is its keeper's.
        _ if matches!(role, Role::Work | Role::Poke) => args.push("--foreground".into()),
        LogPlace::Stderr => args.push("--foreground".into()),
        LogPlace::File(path) => args.extend(["--log".into(), path.into()]),
    }
    args.extend([
        "-o".into(),
        options.to_text(order.task.mount.allow_other).into(),
        "--".into(),
        order.task.mount.point.clone().into(),
    ]);
    args
}

/// What makes this program a keeper and a worker for `order`.
pub fn programs(order: &Order) -> Programs {
    let [worker, poker, keeper] = [Role::Work, Role::Poke, Role::Keep].map(|role| to_args(role, order));
    Programs { worker, poker, keeper, asks: Role::question() }
}

fn serve(args: &MountArgs) -> Result<Exit, CliError> {
    let mut reporter = Some(Reporter::take_over().map_err(CliError::Background)?);
    let Err(error) = background(args, &mut reporter) else { return Ok(Exit::Done) };
    let failure = error.to_failure();
    // Once the mount was ready nobody waits for a word, and the log has it.
    match reporter.take().map(|reporter| reporter.report(&Verdict::Failed(failure.clone()))) {
        Some(Ok(())) => Ok(Exit::from_code(failure.code)),
        Some(Err(_)) | None => Ok(tell(&failure)),
    }
}

fn background(args: &MountArgs, reporter: &mut Option<Reporter>) -> Result<(), CliError> {
    let key = match (&reporter, args.key.is_default()) {
        (Some(reporter), true) => KeySource::Passphrase(reporter.input().map_err(CliError::Background)?),
        (Some(_) | None, _) => args.key.source(Asking::Once)?,
    };
    let order = mount::order(args, key)?;
    let programs = programs(&order);
    let ready = || reporter.take().map_or(Ok(()), |reporter| reporter.report(&Verdict::Ready));
    Ok(daemon::run(order, programs, ready)?)
}

fn keep(args: &MountArgs) -> Result<Exit, CliError> {
    let control = Control::inherited().map_err(CliError::Background)?;
    // The key came along: no source is asked for it.
    let order = mount::order(args, KeySource::Credential(String::new()))?;
    let programs = programs(&order);
    daemon::go_on(order.task, &order.log, programs, &control)?;
    Ok(Exit::Done)
}

fn poke(args: &MountArgs) -> Result<Exit, CliError> {
    let names = Control::inherited().map_err(CliError::Background)?.into_fd();
    daemon::poke(&mount::task(args)?.mount.point, &names)?;
    Ok(Exit::Done)
}

fn work(args: &MountArgs) -> Result<Exit, CliError> {
    let control = Arc::new(Control::inherited().map_err(CliError::Background)?);
    let worked = mount::task(args).and_then(|task| Ok(daemon::work(&task, &control)?));
    let Err(error) = worked else { return Ok(Exit::Done) };
    let failure = error.to_failure();
    // A keeper that is gone hears nothing; the log does.
    match control.send(&ToKeeper::Failed(failure.clone()), &[]) {
        Ok(()) => Ok(Exit::from_code(failure.code)),
        Err(_) => Ok(tell(&failure)),
    }
}
