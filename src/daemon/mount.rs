//! One mount from its start to its end: look, unlock, keep; and how another program takes it over.
//!
//! [`run`] is the keeper's life, [`go_on`] that of a keeper that another one has become; the worker's is in `worker`. Knows no
//! command line; what it meets is told by [`MountError`], each part of which keeps its type.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::anchor::AnchorError;
use super::handover::Control;
use super::harden::{Hardening, harden};
use super::keeper::{End, Keeper};
use super::logfile::{LogError, LogPlace};
use super::notify::Manager;
use super::open::{StoreFailure, lock_store, master_key};
use super::point::{PointError, check_point};
use super::poker::Poker;
use super::ready::Failure;
use super::recording::RecordingError;
use super::strongbox::Strongbox;
use super::tended::Signals;
use super::unlock::{KeyError, KeySource, read_key};
use super::unmount;
use super::upgrade::{Legacy, Programs};
use super::views::{Door, Kept, OrderError, ViewOrder, orders_in};
use super::worker::Task;
use crate::estate::Files;

/// What is to be mounted, where and how. All paths are absolute.
pub struct Order {
    pub task: Task,
    pub key: KeySource,
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
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot mount on {point}: {source}")]
    Attach { point: PathBuf, source: io::Error },
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("the key cannot be kept in memory: {0}")]
    Strongbox(io::Error),
    #[error("the worker cannot be started: {0}")]
    Start(io::Error),
    /// The worker's own words.
    #[error("{}", .0.message)]
    Worker(Failure),
    #[error("the worker has ended ({0})")]
    WorkerDied(ExitStatus),
    #[error("the worker does not answer, and does not come to its end")]
    Wedged,
    #[error("what was taken over is not served by this program's workers")]
    NeverServed,
    #[error("nothing was handed over: {0}")]
    Handover(io::Error),
    /// The command that started the daemon has gone; nobody waits for the mount.
    #[error("nobody waits for the mount any more: {0}")]
    Abandoned(io::Error),
    #[error("serving has failed: {0}")]
    Serve(io::Error),
}

/// Carries out `order` until the mount is gone. `ready` is called once requests are answered.
pub fn run(order: Order, programs: Programs, ready: impl FnOnce() -> io::Result<()>) -> Result<(), MountError> {
    let Order { task, key: source, accept_rollback, log } = order;
    let hardening = harden();
    check_point(&task.mount.point, &task.store, task.mount.allow_other)?;
    log.take(&task.store)?;
    unmount::take_name();
    let key = read_key(&source, &task.store)?;
    let lock = lock_store(&task.store)?;
    let master = master_key(&task.store, &lock, &key)?;
    // A passphrase would else stay for as long as the mount does.
    drop((key, source));
    let key = Strongbox::lock_up(master.bytes()).map_err(MountError::Strongbox)?;
    drop(master);
    note(&hardening);
    let keeper = Keeper {
        mount: task.mount,
        lock,
        key,
        program: std::env::current_exe().map_err(MountError::Start)?,
        poker: Poker::start(&programs.poker).map_err(MountError::Start)?,
        estate: Files::make().map_err(MountError::Start)?,
        programs,
        accept_rollback,
        line: None,
        signals: Signals::listen().map_err(MountError::Signals)?,
        manager: Manager::of_this_process(),
        former: None,
        views: Kept::default(),
        door: Door::open(&task.store).inspect_err(|error| log::error!("nobody can ask for views: {error}")).ok(),
        ordered: ordered(&task.views),
        store: task.store,
    };
    keep(keeper, &log, ready)
}

/// Goes on with what a former program of this process held, which waits on `control`.
pub fn go_on(task: Task, log: &LogPlace, programs: Programs, control: &Control) -> Result<(), MountError> {
    harden();
    unmount::take_name();
    let keeper = Legacy::receive(control).and_then(|legacy| legacy.keeper(task.mount, task.store, programs));
    keep(keeper.map_err(MountError::Handover)?, log, || {
        log::info!("kmsfs {} goes on with the mount", env!("CARGO_PKG_VERSION"));
        Ok(())
    })
}

/// Keeps the mount, and becomes another program when it is told to.
fn keep(mut keeper: Keeper, log: &LogPlace, ready: impl FnOnce() -> io::Result<()>) -> Result<(), MountError> {
    let mut ready = Some(ready);
    loop {
        let ended = keeper.keep(&mut ready).inspect_err(|_| keeper.give_up());
        match ended? {
            End::Unmounted => {
                // Nobody serves them any more.
                keeper.give_up_views();
                log::info!("{} is unmounted", keeper.mount.point.display());
                return Ok(());
            }
            End::Upgrade => {
                if let Err(error) = log.reopen() {
                    log::error!("the log stays where it was: {error}");
                }
                // With what there is it goes on as it is.
                log::error!("no upgrade: {}", keeper.become_new());
            }
            End::NeverServed => {
                if let Some(error) = keeper.become_former() {
                    log::error!("no way back: {error}");
                }
                // Neither this program's worker serves nor the former's: another try would be like this one.
                keeper.give_up();
                return Err(MountError::NeverServed);
            }
        }
    }
}

/// The views that files order; what is wrong with one is in the log, and the others are there.
fn ordered(dir: &Path) -> VecDeque<ViewOrder> {
    let wrong = |error: OrderError| log::error!("there is no view as ordered: {error}");
    let real = |order: ViewOrder| ViewOrder { point: order.point.canonicalize().unwrap_or(order.point), ..order };
    orders_in(dir).into_iter().filter_map(|order| order.map_err(wrong).ok()).map(real).collect()
}

/// Says in the log what keeps the keys in this process, and what does not.
pub(super) fn note(hardening: &Hardening) {
    match &hardening.locked {
        Ok(()) => log::info!("memory is locked: no key goes to a swap device"),
        Err(why) => log::warn!("memory is not locked, keys may go to a swap device: {why}"),
    }
    if let Err(why) = &hardening.undumpable {
        log::warn!("a core dump of this process may hold keys: {why}");
    }
}
