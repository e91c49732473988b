//! What a worker serves of views: a session each, beside that of the whole tree.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::ViewOrder;
use crate::daemon::handover::{Connected, Control, ToKeeper};
use crate::daemon::poker::Pokes;
use crate::fs::fuse::{Beside, Connection, Session, adopt_view};
use crate::fs::{Tree, View};
use crate::vault::{Rotated, VaultError};

/// Most rotations that are kept for views that are not there yet.
const EARLY_MAX: usize = 4096;

/// How long after a view could not be served it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// They. Cheap to clone.
#[derive(Clone)]
pub struct Served(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    pokes: Arc<Pokes>,
}

#[derive(Default)]
struct Table {
    views: HashMap<u32, Shown>,
    /// What was rotated before all views were there that a former worker had served: whoever watches in one of them was not told.
    early: Option<Vec<Rotated>>,
}

/// Where one is, and what it shows.
struct Shown {
    point: PathBuf,
    view: View,
}

impl Served {
    /// None yet. What is rotated is told in them by `pokes`.
    pub fn telling(pokes: Arc<Pokes>) -> Self {
        let table = Table { early: Some(Vec::new()), ..Table::default() };
        Self(Arc::new(Shared { table: Mutex::new(table), pokes }))
    }

    /// Has whoever watches in a view told of what was `rotated`.
    pub fn tell(&self, rotated: Rotated) {
        let mut table = self.0.table.lock();
        table.views.values().filter_map(|shown| shown.value_of(&rotated)).for_each(|path| self.0.pokes.add_path(path));
        if let Some(early) = table.early.as_mut().filter(|early| early.len() < EARLY_MAX) {
            early.push(rotated);
        }
    }

    /// Those of a former worker are there.
    pub fn are_all_there(&self) {
        self.0.table.lock().early = None;
    }

    /// Serves a view in a thread of its own, and tells the keeper that it does, that it cannot, and that it was unmounted. What was served before
    /// and cannot be now is tried again: its users wait meanwhile.
    pub fn serve(&self, view: Handed, with: (Arc<Tree>, Beside), control: &Arc<Control>) {
        let (no, again) = (view.no, view.connected.answer.is_some());
        let copy = if again { view.try_clone().ok() } else { None };
        let word = match self.begin(view, &with, control) {
            Ok(answer) => ToKeeper::ViewServes { no, answer },
            Err(why) => match copy {
                Some(copy) => {
                    log::error!("a view is not served yet: {why}");
                    let (served, control) = (self.clone(), control.clone());
                    let retry = move || {
                        thread::sleep(AGAIN);
                        served.serve(copy, with, &control);
                    };
                    match thread::Builder::new().name("kmsfs-view".to_owned()).spawn(retry) {
                        Ok(_) => return,
                        Err(error) => ToKeeper::ViewFails { no, why: error.to_string() },
                    }
                }
                None => ToKeeper::ViewFails { no, why },
            },
        };
        tell(control, &word);
    }

    fn begin(
        &self,
        view: Handed,
        (whole, beside): &(Arc<Tree>, Beside),
        control: &Arc<Control>,
    ) -> Result<Vec<u8>, String> {
        let Handed { no, order, connected, device } = view;
        let said = |error: &dyn Display| error.to_string();
        let view = order.view().map_err(|error| said(&error))?;
        let tree = match whole.viewed(view.clone()) {
            Err(VaultError::Refused(_)) => return Err(format!("nobody is called `{}`", order.principal)),
            other => Arc::new(other.map_err(|error| said(&error))?),
        };
        let Connected { id, init, answer, workers: _, mount } = connected;
        let connection = Connection { device, id, init, answer };
        let session = adopt_view(beside, tree.clone(), connection, mount).map_err(|error| said(&error))?;
        let answer = session.answer().to_vec();
        let shown = Shown { point: order.point, view };
        let mut table = self.0.table.lock();
        let early = table.early.iter().flatten().filter_map(|rotated| shown.value_of(rotated));
        early.for_each(|path| self.0.pokes.add_path(path));
        table.views.insert(no, shown);
        drop(table);
        self.run(no, session, (tree, id), control.clone()).map_err(|error| {
            self.0.table.lock().views.remove(&no);
            said(&error)
        })?;
        Ok(answer)
    }

    fn run(
        &self,
        no: u32,
        session: Session,
        (tree, id): (Arc<Tree>, [u8; 8]),
        control: Arc<Control>,
    ) -> io::Result<()> {
        let served = self.clone();
        let serve = move || {
            let outcome = session.run();
            served.0.table.lock().views.remove(&no);
            tree.forget_connection(id);
            let word = match outcome {
                Ok(()) => ToKeeper::ViewEnds { no },
                Err(error) => ToKeeper::ViewFails { no, why: error.to_string() },
            };
            tell(&control, &word);
        };
        thread::Builder::new().name("kmsfs-view".to_owned()).spawn(serve).map(drop)
    }
}

/// What a worker is handed of a view.
pub struct Handed {
    pub no: u32,
    pub order: ViewOrder,
    pub connected: Connected,
    pub device: OwnedFd,
}

impl Handed {
    fn try_clone(&self) -> io::Result<Self> {
        let (order, connected) = (self.order.clone(), self.connected.clone());
        Ok(Self { no: self.no, order, connected, device: self.device.try_clone()? })
    }
}

impl Shown {
    /// Where it shows the value of what was `rotated`, if that is another one there.
    fn value_of(&self, rotated: &Rotated) -> Option<PathBuf> {
        let turned = rotated.is_current || self.view.label.is_some();
        let path = self.view.path_of(rotated.instance.as_str(), &rotated.name).filter(|_| turned)?;
        Some(self.point.join(path))
    }
}

fn tell(control: &Control, word: &ToKeeper) {
    if let Err(error) = control.send(word, &[]) {
        log::error!("the keeper does not hear of a view: {error}");
    }
}
