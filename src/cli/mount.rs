//! `kmsfs mount`: in the foreground, or as a daemon that this very command starts and waits for.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::Mode;

use super::exit::Exit;
use super::keys::{AnchorArgs, Asking, KeyArgs, StoreArgs};
use super::options::MountOptions;
use super::recording::AuditArgs;
use super::report::CliError;
use super::roles::{self, Role};
use super::{init, places};
use crate::daemon::{self, KeySource, LogPlace, Mount, Order, StartError, Task};
use crate::fs::Options;

/// Mount a store
///
/// Returns when the mount answers, within 30 seconds, or tells why it does not. Three things outside of the store's directory
/// belong to the mount: the daemon's log, which names secrets; the record of all decisions, without which none takes effect; and an
/// anchor that remembers how far the store had come, so that an older copy put in its place is refused.
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
    pub key: KeyArgs,
    /// Make the store and its key file when there is neither, and the mount point when it is missing
    #[arg(long)]
    init: bool,
    /// Stay in the foreground and log to stderr
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Mount options, see above
    #[arg(short = 'o', value_name = "OPT,...", value_parser = MountOptions::parse)]
    options: Vec<MountOptions>,
    #[command(flatten)]
    anchor: AnchorArgs,
    #[command(flatten)]
    audit: AuditArgs,
    /// Where the functions are that rotate secrets [default: /etc/kmsfs/rotate.d for root, $XDG_CONFIG_HOME/kmsfs/rotate.d else]
    #[arg(long, value_name = "DIR")]
    functions: Option<PathBuf>,
    /// Where the files `*.view` are that say which views to mount beside it [default: /etc/kmsfs/views.d for root,
    /// $XDG_CONFIG_HOME/kmsfs/views.d else]
    #[arg(long, value_name = "DIR")]
    views: Option<PathBuf>,
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

/// The umask under which keys and stores are made.
const PRIVATE: u32 = 0o077;

/// Mounts, and returns when the mount answers; in the foreground, when it is gone.
pub fn run(args: &MountArgs) -> Result<Exit, CliError> {
    let (store, point) = (args.store.dir()?, places::absolute(&args.point)?);
    let umask = rustix::process::umask(Mode::from_raw_mode(PRIVATE));
    daemon::harden();
    daemon::keep_descriptors().map_err(CliError::Background)?;
    let key = if args.init { prepare(args, &store, &point, umask)? } else { args.key.source_for(&store)? };
    let order = order(args, key)?;
    if args.foreground {
        let programs = roles::programs(&order);
        daemon::run(order, programs, || Ok(()))?;
        return Ok(Exit::Done);
    }
    let input = match &order.key {
        KeySource::Passphrase(bytes) => Some(bytes.as_slice()),
        KeySource::KeyFile(_) | KeySource::PassphraseFile(_) | KeySource::Credential(_) => None,
    };
    let started = daemon::start(&roles::to_args(Role::Serve, &order), input, &order.task.mount.point);
    started.map_err(|error: StartError| CliError::Start { error, log: order.log.clone() })?;
    Ok(Exit::Done)
}

/// Makes what a fresh machine lacks.
fn prepare(args: &MountArgs, store: &Path, point: &Path, umask: Mode) -> Result<KeySource, CliError> {
    let is_store = daemon::is_made(store)?;
    let key = if is_store { args.key.source_for(store)? } else { args.key.source(Asking::Twice)? };
    let missing = match &key {
        KeySource::KeyFile(path) => path.symlink_metadata().is_err().then(|| path.clone()),
        KeySource::PassphraseFile(_) | KeySource::Passphrase(_) | KeySource::Credential(_) => None,
    };
    match (is_store, missing, &key) {
        (true, Some(key), _) => return Err(CliError::StoreWithoutKey { store: store.to_owned(), key }),
        (true, None, _) => {}
        // Made by somebody else since: a store is taken before its key is made, so it is there to be seen by now.
        (false, None, KeySource::KeyFile(_)) if daemon::is_made(store)? => {}
        (false, None, KeySource::KeyFile(key)) => {
            return Err(CliError::KeyWithoutStore { store: store.to_owned(), key: key.clone() });
        }
        (false, _, key) => init::tell(&init::make(store, key)?)?,
    }
    if point.symlink_metadata().is_err() {
        // Others reach the mount through the directories above it: as mkdir(1) makes them, not as keys are kept.
        rustix::process::umask(umask);
        let made = fs::create_dir_all(point);
        rustix::process::umask(Mode::from_raw_mode(PRIVATE));
        made.map_err(|source| CliError::Path { path: point.to_owned(), source })?;
    }
    Ok(key)
}

/// What is to be done, and with which key.
pub fn order(args: &MountArgs, key: KeySource) -> Result<Order, CliError> {
    let log = match args.foreground {
        true => LogPlace::Stderr,
        false => LogPlace::File(args.log.as_deref().map_or_else(places::log, places::absolute)?),
    };
    Ok(Order { task: task(args)?, key, accept_rollback: args.accept_rollback, log })
}

/// What is to be served, and where.
pub fn task(args: &MountArgs) -> Result<Task, CliError> {
    let options = args.options.iter().copied().fold(MountOptions::default(), MountOptions::and);
    let mount = Mount {
        point: places::absolute(&args.point)?,
        // Root mounts for the machine: owners and modes decide. Others mount for themselves.
        allow_other: options.allow_other.unwrap_or_else(places::is_root),
        read_only: options.read_only,
        by_bits: true,
    };
    let MountOptions { read_only, trim_newline, account, .. } = options;
    let options = Options { read_only, trim_newline, account };
    Ok(Task {
        store: args.store.dir()?,
        mount,
        options,
        anchor: args.anchor.place()?,
        recording: args.audit.recording()?,
        functions: args.functions.as_deref().map_or_else(places::functions, places::absolute)?,
        views: args.views.as_deref().map_or_else(places::views, places::absolute)?,
    })
}
