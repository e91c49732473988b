//! One daemon from its start to its end: look, unlock, hold against the anchor, attach, serve, leave the store at rest.
//!
//! [`run`] does all of it; [`serve`] is the part that a worker will do for a keeper one day: it takes a vault that is unlocked
//! already. Knows no command line; what it meets is told by [`MountError`], each part of which keeps its type.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::anchor::{self, AnchorError, AnchorPlace};
use super::harden::{Hardening, harden};
use super::logfile::{LogError, LogPlace};
use super::open::{StoreFailure, unlock_store};
use super::point::{PointError, check_point};
use super::unlock::{KeyError, KeySource, read_key};
use super::unmount;
use crate::fs::fuse::{Mount, attach};
use crate::fs::{Options, Tree};
use crate::vault::Vault;

/// What is to be mounted, where and how. All paths are absolute.
pub struct Order {
    pub store: PathBuf,
    pub key: KeySource,
    pub point: PathBuf,
    pub options: Options,
    /// Whether others than the mounting user reach the mount at all; modes and owners decide what they may do.
    pub allow_other: bool,
    pub anchor: AnchorPlace,
    /// Take a store that was rolled back as it is.
    pub accept_rollback: bool,
    pub log: LogPlace,
}

/// Why there is no mount, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(transparent)]
    Point(#[from] PointError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreFailure),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot mount on {point}: {source}")]
    Attach { point: PathBuf, source: io::Error },
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The command that started the daemon has gone; nobody waits for the mount.
    #[error("nobody waits for the mount any more: {0}")]
    Abandoned(io::Error),
    #[error("serving has failed: {0}")]
    Serve(io::Error),
}

/// Carries out `order` until the mount is gone. `ready` is called once the kernel has the mount.
pub fn run(order: &Order, ready: impl FnOnce() -> io::Result<()>) -> Result<(), MountError> {
    let hardening = harden();
    check_point(&order.point, &order.store, order.allow_other)?;
    order.log.take(&order.store)?;
    // Whoever unmounts knows the process by it, whatever the file of the program is called.
    if let Err(error) = rustix::thread::set_name(unmount::COMM) {
        log::warn!("the process keeps its name, and `kmsfs umount` may not wait for its end: {error}");
    }
    let key = read_key(&order.key, &order.store)?;
    let vault = unlock_store(&order.store, &key)?;
    drop(key);
    let anchored = anchor::hold(&order.anchor, &vault, &order.store, order.accept_rollback)?;
    log::info!("unlocked the store {}", vault.store_id());
    note(&hardening);
    let mount =
        Mount { point: order.point.clone(), allow_other: order.allow_other, read_only: order.options.read_only };
    let served = serve(vault.clone(), order.options, &mount, &order.log, ready);
    if let Err(error) = vault.rest() {
        log::error!("the store was not left at rest, its next start will take longer: {error}");
    }
    drop(anchored);
    log::info!("unmounted {}, the store is closed", order.point.display());
    served
}

/// Says in the log what keeps the keys in this process, and what does not.
fn note(hardening: &Hardening) {
    match &hardening.locked {
        Ok(()) => log::info!("memory is locked: no key goes to a swap device"),
        Err(why) => log::warn!("memory is not locked, keys may go to a swap device: {why}"),
    }
    if let Err(why) = &hardening.undumpable {
        log::warn!("a core dump of this process may hold keys: {why}");
    }
}

/// Serves `vault` on `mount` until it is unmounted, or SIGTERM or SIGINT asks for that. SIGHUP opens `log` anew.
pub fn serve(
    vault: Arc<Vault>,
    options: Options,
    mount: &Mount,
    log: &LogPlace,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), MountError> {
    // Before the mount is there, so that no signal can end the process and leave a dead mount.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(MountError::Signals)?;
    let tree = Arc::new(Tree::new(vault, options));
    let session = attach(tree, mount).map_err(|source| MountError::Attach { point: mount.point.clone(), source })?;
    log::info!("mounted {}", mount.point.display());
    if let Err(error) = ready() {
        detach(&mount.point);
        return Err(MountError::Abandoned(error));
    }
    let handle = signals.handle();
    let (point, log) = (mount.point.clone(), log.clone());
    let listen = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => match log.reopen() {
                    Ok(()) => log::info!("signal {SIGHUP}: the log goes on here"),
                    Err(error) => log::error!("signal {SIGHUP}: the log stays where it was: {error}"),
                },
                signal => {
                    log::info!("signal {signal}: unmounting {}", point.display());
                    detach(&point);
                }
            }
        }
    };
    let listening = thread::Builder::new().name("signals".into()).spawn(listen).map_err(MountError::Signals)?;
    let served = session.run().map_err(MountError::Serve);
    handle.close();
    if listening.join().is_err() {
        log::error!("the thread that listens for signals has failed");
    }
    served
}

/// Takes the mount out of the tree. Where somebody uses it still, nobody new comes in, and serving ends with the last user.
fn detach(point: &Path) {
    if let Err(error) = unmount::detach_lazily(point) {
        log::error!("cannot unmount {}: {error}", point.display());
    }
}
