//! `kmsfs mount`: in the foreground, or as a daemon that this very command starts and waits for.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use super::exit::Exit;
use super::keys::{Asking, KeyArgs, StoreArgs};
use super::options::MountOptions;
use super::report::{CliError, tell};
use super::{init, places};
use crate::daemon::{self, AnchorPlace, KeySource, LogPlace, Order, Reporter, StartError, Verdict};
use crate::fs::Options;

/// Mount a store
///
/// Returns when the mount answers, within 30 seconds, or tells why it does not. Two files outside of the store's directory
/// belong to the mount: the daemon's log, which names secrets, and an anchor that remembers how far the store had come, so
/// that an older copy put in its place is refused.
///
/// Options of -o: ro, rw; trim-newline (a value loses the one newline that `echo` adds); allow_other, noallow_other (whether
/// other users reach the mount at all, where modes and owners decide further: root's mounts let them, others do not). Words
/// that fstab has for others (noauto, nofail, _netdev, user, x-systemd...) are passed over.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kmsfs mount --init ~/secrets          # a fresh machine: makes store, key file and mount point
  kmsfs mount --store /srv/kmsfs --key-file /etc/kmsfs/srv.key -o ro /run/secrets
  pass show kmsfs | kmsfs mount --passphrase-file - /run/secrets")]
pub struct MountArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Make the store and its key file when there is neither, and the mount point when it is missing
    #[arg(long)]
    init: bool,
    /// Stay in the foreground and log to stderr
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Mount options, see above
    #[arg(short = 'o', value_name = "OPT,...", value_parser = MountOptions::parse)]
    options: Vec<MountOptions>,
    /// Where the store's anchor is kept; `none` does without [default: a file named after the store in
    /// /var/lib/kmsfs-anchor for root, in $XDG_STATE_HOME/kmsfs/anchor else]
    #[arg(long, value_name = "FILE|none")]
    anchor: Option<PathBuf>,
    /// Take a store that was rolled back as it is, and anchor it anew
    #[arg(long)]
    accept_rollback: bool,
    /// Where the daemon logs, outside of the store's directory; SIGHUP opens the file anew [default: /var/log/kmsfs.log for
    /// root, $XDG_STATE_HOME/kmsfs/kmsfs.log else]
    #[arg(long, value_name = "FILE", conflicts_with = "foreground")]
    log: Option<PathBuf>,
    /// An empty directory
    #[arg(value_name = "M")]
    point: PathBuf,
}

/// How `kmsfs mount` starts its daemon: the same arguments, resolved, after a word that is no verb of the command line. A
/// passphrase comes on stdin, the verdict goes to stdout.
#[derive(Debug, Parser)]
#[command(name = "kmsfs serve")]
pub struct ServeArgs {
    #[command(flatten)]
    mount: MountArgs,
}

/// The word.
pub const SERVE: &str = "serve";
/// Says that there is no anchor.
const NO_ANCHOR: &str = "none";

pub fn run(args: &MountArgs) -> Result<Exit, CliError> {
    let (store, point) = (args.store.dir()?, places::absolute(&args.point)?);
    daemon::harden();
    let key = if args.init { prepare(args, &store, &point)? } else { args.key.source_for(&store)? };
    let order = order(args, key)?;
    if args.foreground {
        daemon::run(&order, || Ok(()))?;
        return Ok(Exit::Done);
    }
    let input = match &order.key {
        KeySource::Passphrase(bytes) => Some(bytes.as_slice()),
        KeySource::KeyFile(_) | KeySource::PassphraseFile(_) | KeySource::Credential(_) => None,
    };
    let started = daemon::start(&to_args(&order), input, &order.point);
    started.map_err(|error: StartError| CliError::Start { error, log: order.log.clone() })?;
    Ok(Exit::Done)
}

/// Makes what a fresh machine lacks.
fn prepare(args: &MountArgs, store: &Path, point: &Path) -> Result<KeySource, CliError> {
    let is_store = daemon::is_made(store)?;
    let key = if is_store { args.key.source_for(store)? } else { args.key.source(Asking::Twice)? };
    let missing = match &key {
        KeySource::KeyFile(path) => path.symlink_metadata().is_err().then(|| path.clone()),
        KeySource::PassphraseFile(_) | KeySource::Passphrase(_) | KeySource::Credential(_) => None,
    };
    match (is_store, missing, &key) {
        (true, Some(key), _) => return Err(CliError::StoreWithoutKey { store: store.to_owned(), key }),
        (true, None, _) => {}
        (false, None, KeySource::KeyFile(key)) => {
            return Err(CliError::KeyWithoutStore { store: store.to_owned(), key: key.clone() });
        }
        (false, _, key) => init::tell(&init::make(store, key)?)?,
    }
    if point.symlink_metadata().is_err() {
        fs::create_dir_all(point).map_err(|source| CliError::Path { path: point.to_owned(), source })?;
    }
    Ok(key)
}

fn order(args: &MountArgs, key: KeySource) -> Result<Order, CliError> {
    let options = args.options.iter().copied().fold(MountOptions::default(), MountOptions::and);
    let anchor = match &args.anchor {
        Some(path) if path.as_os_str() == NO_ANCHOR => AnchorPlace::Nowhere,
        Some(path) => AnchorPlace::File(places::absolute(path)?),
        None => AnchorPlace::In(places::anchors()?),
    };
    let log = match args.foreground {
        true => LogPlace::Stderr,
        false => LogPlace::File(args.log.as_deref().map_or_else(places::log, places::absolute)?),
    };
    Ok(Order {
        store: args.store.dir()?,
        key,
        point: places::absolute(&args.point)?,
        options: Options { read_only: options.read_only, trim_newline: options.trim_newline },
        // Root mounts for the machine: owners and modes decide. Others mount for themselves.
        allow_other: options.allow_other.unwrap_or_else(places::is_root),
        anchor,
        accept_rollback: args.accept_rollback,
        log,
    })
}

/// The arguments that give this very order to the daemon. They are seen in `ps`: no passphrase is among them.
fn to_args(order: &Order) -> Vec<OsString> {
    let options = MountOptions {
        read_only: order.options.read_only,
        trim_newline: order.options.trim_newline,
        allow_other: None,
    };
    let mut args: Vec<OsString> = vec![SERVE.into(), "--store".into(), order.store.clone().into()];
    match &order.key {
        KeySource::KeyFile(path) => args.extend(["--key-file".into(), path.into()]),
        KeySource::PassphraseFile(path) => args.extend(["--passphrase-file".into(), path.into()]),
        KeySource::Credential(name) => args.extend(["--credential".into(), name.into()]),
        KeySource::Passphrase(_) => {}
    }
    match &order.anchor {
        AnchorPlace::File(path) => args.extend(["--anchor".into(), path.into()]),
        AnchorPlace::Nowhere => args.extend(["--anchor".into(), NO_ANCHOR.into()]),
        AnchorPlace::In(_) => {}
    }
    match &order.log {
        LogPlace::File(path) => args.extend(["--log".into(), path.into()]),
        LogPlace::Stderr => {}
    }
    if order.accept_rollback {
        args.push("--accept-rollback".into());
    }
    args.extend(["-o".into(), options.to_text(order.allow_other).into(), "--".into(), order.point.clone().into()]);
    args
}

/// The daemon that `kmsfs mount` waits for.
pub fn serve(ServeArgs { mount: args }: &ServeArgs) -> Result<Exit, CliError> {
    let reporter = Reporter::take_over().map_err(CliError::Background)?;
    let mut reporter = Some(reporter);
    let served = background(args, &mut reporter);
    let Err(error) = served else { return Ok(Exit::Done) };
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
    let order = order(args, key)?;
    let ready = || reporter.take().map_or(Ok(()), |reporter| reporter.report(&Verdict::Ready));
    Ok(daemon::run(&order, ready)?)
}
