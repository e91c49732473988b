//! The threads that answer what a serving thread does not: those of one process, for all mounts that it serves. Changes through all of them
//! stand in one line, and a thousand mounts have no more threads here than one.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use fuser::Notifier;

use super::callers::Callers;
use super::following::Following;
use super::lookout::Lookout;
use super::revoking::{Forget, Revoking};
use crate::fs::line::Line;
use crate::fs::ops::Tree;
use crate::fs::pool::Pool;

/// They.
pub struct Desk {
    /// Tells the kernel of the mount of the whole tree, once that is served; of the others it keeps nothing.
    pub notifier: Arc<OnceLock<Notifier>>,
    pub line: Line,
    /// Where that is read which is not in memory.
    pub pool: Pool,
    /// Where requests to the api are answered that take long: they wait for each other, and nobody else for them.
    pub asks: Pool,
    /// Callers who are not answered at once.
    pub callers: Callers,
    /// Where it is looked up who can still write to a file.
    pub lookout: Lookout,
    /// Where the kernel is told to forget names. INVAL_ENTRY takes the directory's lock, which a caller may hold whose request stands in
    /// the line.
    pub forgets: Arc<Line>,
    /// Reads that wait for something to happen.
    pub following: Following,
    /// Where answers wait until pages are gone.
    pub revoking: Revoking,
}

impl Desk {
    /// Waits until all is done that stands in the line now.
    pub fn finish(&self) {
        let (done, waits) = channel::<()>();
        self.line.put(move || drop(done));
        // It is dropped once it is its turn, and where the line has ended.
        let _ = waits.recv();
    }

    /// Starts them, for the mount of the whole `tree`; `forget` has the kernel forget pages that it has of that.
    pub fn start(tree: &Arc<Tree>, forget: Forget) -> io::Result<Self> {
        let sweeper = tree.clone();
        Ok(Self {
            notifier: Arc::default(),
            line: Line::start("kmsfs-change", move || sweeper.sweep())?,
            pool: Pool::default(),
            asks: Pool::default(),
            callers: Callers::start()?,
            lookout: Lookout::default(),
            forgets: Arc::new(Line::start("kmsfs-forget", || {})?),
            following: Following::start(tree.clone())?,
            revoking: Revoking::start(tree.clone(), forget)?,
        })
    }
}
