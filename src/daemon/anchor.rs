//! The anchor file: what a store was at its last mount, kept outside of the store's directory, so that an older copy put in
//! the store's place is refused.
//!
//! ```text
//! {"store":"<32 hexadecimal digits>","counter":<commits>,"mark":"<64 hexadecimal digits>"}
//! ```
//!
//! Written at mount, at unmount, and in between at most once a second when the store has changed. A store that is newer than
//! its anchor is fine: the daemon was killed in between. What is promised: who controls the store but not the anchor cannot
//! go back behind the last anchored commit unseen. Who controls both can.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::open::lies_in;
use crate::durable;
use crate::vault::{Anchor, Vault};

/// Where the anchor of a store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorPlace {
    /// In this directory, in a file named after the store.
    In(PathBuf),
    File(PathBuf),
    /// Nowhere: a store that was rolled back is not noticed.
    Nowhere,
}

/// Why the anchor does not let the store be mounted.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("the store was rolled back, from change {from} to change {to}")]
    RolledBack { from: u64, to: u64 },
    #[error("the store was replaced by another copy of itself that went its own way before change {at}")]
    Forked { at: u64 },
    #[error("the anchor file {0} is another store's")]
    OtherStore(PathBuf),
    #[error("the anchor file {0} cannot be understood")]
    Malformed(PathBuf),
    #[error("the anchor file {0} lies in the store's own directory, with which it would be rolled back")]
    InStore(PathBuf),
    #[error("the anchor file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// How long a change may stand without its anchor: what a rollback could take away unseen after a crash.
const PERIOD: Duration = Duration::from_secs(1);
/// No anchor is longer.
const MAX_LEN: u64 = 4_096;

/// The file's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    store: String,
    counter: u64,
    mark: String,
}

/// Keeps an anchor up to date until dropped.
pub struct AnchorKeeper {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AnchorPlace {
    /// The file for the store of `anchor`.
    fn path(&self, anchor: &Anchor) -> Option<PathBuf> {
        match self {
            AnchorPlace::In(dir) => Some(dir.join(hex(&anchor.store.0))),
            AnchorPlace::File(path) => Some(path.clone()),
            AnchorPlace::Nowhere => None,
        }
    }
}

/// Holds the store of `vault`, which lies in `store`, against its anchor, and anchors it anew. With `accept` a store that was
/// rolled back is taken as it is, and the log says so.
///
/// # Errors
/// Also where the anchor cannot be written: a protection that fails is no protection.
pub fn hold(place: &AnchorPlace, vault: &Arc<Vault>, store: &Path, accept: bool) -> Result<AnchorKeeper, AnchorError> {
    let anchor = vault.anchor();
    let Some(path) = place.path(&anchor) else { return Ok(AnchorKeeper { stop: None, thread: None }) };
    if lies_in(&path, store) {
        return Err(AnchorError::InStore(path));
    }
    match read(&path)?.map_or(Ok(()), |written| compare(&written, &anchor, &path)) {
        Ok(()) => {}
        Err(error @ (AnchorError::RolledBack { .. } | AnchorError::Forked { .. })) if accept => {
            log::warn!("{error}; taken as it is, as --accept-rollback asks");
        }
        Err(error) => return Err(error),
    }
    write(&path, &anchor)?;
    keep(path, vault.clone(), anchor.counter)
}

/// Whether the store of `vault` is as late as its anchor says, if it has one. Nothing is written.
pub fn compare_with(place: &AnchorPlace, vault: &Vault) -> Result<(), AnchorError> {
    let anchor = vault.anchor();
    let Some(path) = place.path(&anchor) else { return Ok(()) };
    read(&path)?.map_or(Ok(()), |written| compare(&written, &anchor, &path))
}

fn compare(written: &Written, anchor: &Anchor, path: &Path) -> Result<(), AnchorError> {
    if written.store != hex(&anchor.store.0) {
        return Err(AnchorError::OtherStore(path.to_owned()));
    }
    if written.counter > anchor.counter {
        return Err(AnchorError::RolledBack { from: written.counter, to: anchor.counter });
    }
    if written.counter == anchor.counter && written.mark != hex(&anchor.mark) {
        return Err(AnchorError::Forked { at: anchor.counter });
    }
    Ok(())
}

fn keep(path: PathBuf, vault: Arc<Vault>, mut anchored: u64) -> Result<AnchorKeeper, AnchorError> {
    let (stop, stopped) = channel::<()>();
    let io = |source| AnchorError::Io { path: path.clone(), source };
    let renew = {
        let path = path.clone();
        move || loop {
            let last = match stopped.recv_timeout(PERIOD) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            };
            // Never backwards: it is what a store that was rolled back is held against.
            if vault.counts().changes > anchored {
                let anchor = vault.anchor();
                match write(&path, &anchor) {
                    Ok(()) => anchored = anchor.counter,
                    Err(error) => log::error!("the store is not anchored: {error}"),
                }
            }
            if last {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("anchor".into()).spawn(renew).map_err(io)?;
    Ok(AnchorKeeper { stop: Some(stop), thread: Some(thread) })
}

impl Drop for AnchorKeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the store is not anchored: the thread that does it has failed");
        }
    }
}

fn read(path: &Path) -> Result<Option<Written>, AnchorError> {
    let io = |source| AnchorError::Io { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut text).map_err(io)?;
    serde_json::from_slice(&text).map(Some).map_err(|_| AnchorError::Malformed(path.to_owned()))
}

/// Replaces the file: after a crash it is the old one or the new one.
fn write(path: &Path, anchor: &Anchor) -> Result<(), AnchorError> {
    let written = Written { store: hex(&anchor.store.0), counter: anchor.counter, mark: hex(&anchor.mark) };
    replace(path, &written).map_err(|source| AnchorError::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, written: &Written) -> io::Result<()> {
    let dir = durable::above(path);
    durable::make_dirs(dir, 0o700)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = dir.join(name);
    let flags = libc::O_NOFOLLOW;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(&unfinished)?;
    serde_json::to_writer(&file, written)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    durable::sync(dir)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoreId;

    fn anchor(counter: u64, mark: u8) -> Anchor {
        Anchor { store: StoreId([9; 16]), counter, mark: [mark; 32] }
    }

    #[test]
    fn an_older_store_and_another_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchors/one");
        assert!(read(&path).unwrap().is_none());
        write(&path, &anchor(7, 1)).unwrap();
        let written = read(&path).unwrap().unwrap();
        let outcome = |anchor| compare(&written, &anchor, &path).map_err(|error| error.to_string());
        assert_eq!(outcome(anchor(7, 1)), Ok(()));
        assert_eq!(outcome(anchor(8, 2)), Ok(()), "a store newer than its anchor");
        assert_eq!(outcome(anchor(6, 1)), Err(AnchorError::RolledBack { from: 7, to: 6 }.to_string()));
        assert_eq!(outcome(anchor(7, 2)), Err(AnchorError::Forked { at: 7 }.to_string()));
        let other = Anchor { store: StoreId([8; 16]), ..anchor(9, 1) };
        assert_eq!(outcome(other), Err(AnchorError::OtherStore(path.clone()).to_string()));
    }

    #[test]
    fn what_is_no_anchor_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad");
        for text in ["", "{}", "no json", r#"{"store":1,"counter":2,"mark":3}"#] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(AnchorError::Malformed(_))), "{text:?}");
        }
    }
}
