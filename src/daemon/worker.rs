//! The worker: opens the store with a key that it is handed, serves the mount, and leaves the store at rest.
//!
//! It is started by its keeper and knows no key source and no mount point's past. Whatever ends it but the mount's own end, the
//! keeper starts another. Invariant: it never touches its own mount.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::anchor::{self, AnchorPlace};
use super::attach::Mount;
use super::forgetter::Forgetter;
use super::handover::{Connected, Control, ToKeeper, ToWorker};
use super::harden::harden;
use super::mount::{MountError, note};
use super::open::open_store;
use super::poker::Pokes;
use super::recording::Recording;
use super::strongbox::Strongbox;
use super::views::{Handed, Served};
use super::{rotate, unmount, upkeep};
use crate::crypto::MasterKey;
use crate::estate::{Estate, Files};
use crate::fs::fuse::{Beside, Connection, Session, adopt};
use crate::fs::{Life, Options, Tree};
use crate::store::StoreLock;
use crate::vault::Vault;

/// What a worker has to know of the order that its keeper was given.
pub struct Task {
    pub store: PathBuf,
    pub mount: Mount,
    pub options: Options,
    pub anchor: AnchorPlace,
    pub recording: Recording,
    /// Where the functions are that rotate secrets.
    pub functions: PathBuf,
    /// Where the files are that say which views there are.
    pub views: PathBuf,
}

/// Does `task` until the mount is gone, or the keeper says that another one goes on. `control` is the way to the keeper.
pub fn work(task: &Task, control: &Arc<Control>) -> Result<(), MountError> {
    let hardening = harden();
    unmount::take_name();
    ignore_signals()?;
    let handed = |what: &'static str| MountError::Handover(io::Error::other(what));
    let (ToWorker::Open { accept_rollback }, files) = next(control)? else {
        return Err(handed("the keeper's first word is not Open"));
    };
    let [lock, key] = <[_; 2]>::try_from(files).map_err(|_| handed("the keeper handed over no lock and no key"))?;
    let master = MasterKey::from_bytes(&Strongbox::open(key).map_err(MountError::Handover)?.key());
    let vault = open_store(&task.store, StoreLock::from(lock), master)?;
    task.recording.start(&vault, &task.store)?;
    let anchored = anchor::hold(&task.anchor, &vault, &task.store, accept_rollback)?;
    note(&hardening);
    tell(control, &ToKeeper::Opened)?;
    let (ToWorker::Serve { connected, poker }, files) = next(control)? else {
        return Err(handed("the keeper's second word is not Serve"));
    };
    let [device, pokes, table, log] = <[_; 4]>::try_from(files)
        .map_err(|_| handed("the keeper handed over no device, no way to the poker or no estate"))?;
    task.recording.begin(&vault, connected.workers)?;
    let pokes = Pokes::start(pokes).map_err(MountError::Handover)?;
    let pokes = Arc::new(pokes);
    let views = Served::telling(pokes.clone());
    let told = views.clone();
    vault.on_rotation(move |rotated| {
        if rotated.is_current {
            pokes.add(&rotated);
        }
        told.tell(rotated);
    });
    let estate = Estate::open(Files::from_both([table, log]), vault.estate_root());
    let (estate, left) = estate.unwrap_or_else(|error| {
        log::error!("nothing is kept for the next worker, and nothing is known of the former: {error}");
        Default::default()
    });
    let tree = Arc::new(Tree::new(vault.clone(), task.options).in_life(life(&connected), Arc::new(estate), &left));
    drop(left);
    tree.let_poke(poker);
    tree.stored_in(task.store.clone());
    let session = take_over(task, tree.clone(), connected, device)?;
    tell(control, &ToKeeper::Serving { answer: session.answer().to_vec() })?;
    listen(control.clone(), vault.clone(), tree, (views, session.beside()))?;
    // What is mounted to be read alone changes nothing by itself.
    let changes = !task.options.read_only;
    let kept = upkeep::keep_up(vault.clone(), changes);
    if let Err(error) = &kept {
        log::error!("nobody scrubs the store: {error}");
    }
    let conductor =
        changes.then(|| rotate::conduct(vault.clone(), task.functions.clone(), task.store.join(crate::store::LOCK)));
    if let Some(Err(error)) = &conductor {
        log::error!("no function rotates a secret: {error}");
    }
    let served = session.run().map_err(MountError::Serve);
    drop((kept, conductor));
    Recording::end(&vault);
    rest(&vault);
    drop(anchored);
    served
}

fn life(connected: &Connected) -> Life {
    let keeper = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    Life { keeper, workers_before: connected.workers }
}

fn take_over(task: &Task, tree: Arc<Tree>, connected: Connected, device: OwnedFd) -> Result<Session, MountError> {
    let Connected { id, init, answer, workers: _, mount: _ } = connected;
    let attach = |source| MountError::Attach { point: task.mount.point.clone(), source };
    let mut forgetter = Forgetter::start(device.try_clone().map_err(attach)?);
    let forget = Box::new(move |inodes: &[u64]| forgetter.forget(inodes));
    let connection = Connection { device, id, init, answer };
    adopt(tree, connection, forget, task.mount.allow_other, &task.mount.point).map_err(attach)
}

/// Waits for the keeper's words in a thread of its own. A keeper that is gone can start nobody else: this worker serves on.
fn listen(
    control: Arc<Control>,
    vault: Arc<Vault>,
    tree: Arc<Tree>,
    (views, beside): (Served, Beside),
) -> Result<(), MountError> {
    let wait = move || {
        loop {
            match control.receive::<ToWorker>() {
                Ok(Some((ToWorker::Finish, _))) => {
                    // What is being committed is committed, and answered by the next worker, to whom all unanswered requests come.
                    rest(&vault);
                    log::info!("the worker makes room for another one");
                    std::process::exit(0);
                }
                Ok(Some((ToWorker::Poker(pid), _))) => tree.let_poke(pid),
                Ok(Some((ToWorker::AllViews, _))) => views.are_all_there(),
                Ok(Some((ToWorker::View { no, order, connected }, devices))) => match devices.into_iter().next() {
                    Some(device) => {
                        let view = Handed { no, order, connected, device };
                        views.serve(view, (tree.clone(), beside.clone()), &control);
                    }
                    None => log::error!("the keeper hands over a view without its device"),
                },
                Ok(Some((ToWorker::Open { .. } | ToWorker::Serve { .. }, _))) => {
                    log::error!("the keeper says what is not for now");
                }
                Ok(None) => return log::error!("the keeper is gone: the mount will end with this process"),
                Err(error) => return log::error!("the keeper cannot be understood: {error}"),
            }
        }
    };
    thread::Builder::new().name("keeper".into()).spawn(wait).map_err(MountError::Handover)?;
    Ok(())
}

fn rest(vault: &Vault) {
    if let Err(error) = vault.keep_reads(true) {
        log::warn!("when secrets were last read is not kept to the last: {error}");
    }
    if let Err(error) = vault.rest() {
        log::error!("the store was not left at rest, its next start will take longer: {error}");
    }
}

/// A terminal's Ctrl-C and a service manager's SIGTERM go to the keeper too, which knows what to do.
pub(super) fn ignore_signals() -> Result<(), MountError> {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(MountError::Signals)?;
    }
    Ok(())
}

fn next(control: &Control) -> Result<(ToWorker, Vec<OwnedFd>), MountError> {
    let gone = || MountError::Handover(io::Error::other("the keeper is gone"));
    control.receive().map_err(MountError::Handover)?.ok_or_else(gone)
}

fn tell(control: &Control, word: &ToKeeper) -> Result<(), MountError> {
    control.send(word, &[]).map_err(MountError::Handover)
}
