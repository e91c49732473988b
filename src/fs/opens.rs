//! Who has what open, for the one question that a handle's number cannot answer: which version does the process that asks
//! for a file's size have in mind?
//!
//! fstat(2) reaches a filesystem without a handle. A reader of `current` must see the size of what its descriptor reads,
//! not of what was rotated in meanwhile, so GETATTR answers with what the calling thread's newest handle pins, else the
//! newest that its process reads through, else the newest it writes through. Losing this table loses nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::draft::DraftFile;
use super::inode::Ino;
use super::process::Process;
use crate::id::VersionNo;

/// What a handle stands for.
#[derive(Clone)]
pub enum Held {
    /// A reader's version.
    Version(VersionNo),
    /// A reader's text.
    Text(Arc<Vec<u8>>),
    /// A writer's draft.
    Draft(Arc<DraftFile>),
    /// A file in memory.
    Scratch,
}

/// One open file.
#[derive(Clone)]
pub struct Open {
    pub ino: Ino,
    pub held: Held,
    tid: u32,
    /// Read from /proc only when a thread other than the opener asks.
    process: Arc<OnceLock<Option<Process>>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    by_serial: HashMap<u64, Open>,
    /// Serials in order of opening.
    by_ino: HashMap<Ino, Vec<u64>>,
}

/// All open files.
#[derive(Default)]
pub struct Opens(Mutex<Table>);

impl Opens {
    /// Takes note of an open by thread `tid`; answers its serial.
    pub fn add(&self, ino: Ino, tid: u32, held: Held) -> u64 {
        let mut table = self.0.lock();
        table.next += 1;
        let serial = table.next;
        table.by_serial.insert(serial, Open { ino, held, tid, process: Arc::default() });
        table.by_ino.entry(ino).or_default().push(serial);
        serial
    }

    /// The open file numbered `serial`.
    pub fn get(&self, serial: u64) -> Option<Open> {
        self.0.lock().by_serial.get(&serial).cloned()
    }

    /// Forgets it.
    pub fn remove(&self, serial: u64) -> Option<Open> {
        let mut table = self.0.lock();
        let open = table.by_serial.remove(&serial)?;
        if let Some(serials) = table.by_ino.get_mut(&open.ino) {
            serials.retain(|other| *other != serial);
            if serials.is_empty() {
                table.by_ino.remove(&open.ino);
            }
        }
        Some(open)
    }

    /// What thread `tid` has in mind when it asks about `ino`. `None` also where whatever is open pins the version `seen` by
    /// those who have nothing open: then nobody needs to know who asks.
    pub fn held_by(&self, ino: Ino, tid: u32, seen: Option<VersionNo>) -> Option<Held> {
        let opens = self.of(ino);
        if opens.iter().all(|open| matches!(open.held, Held::Version(no) if Some(no) == seen)) {
            return None;
        }
        if let Some(own) = opens.iter().rev().find(|open| open.tid == tid) {
            return Some(own.held.clone());
        }
        let asks = Process::of_thread(tid)?;
        let same_process = |open: &&Open| *open.process.get_or_init(|| Process::of_thread(open.tid)) == Some(asks);
        let mut of_process = opens.iter().rev().filter(same_process).map(|open| &open.held);
        // A program that has one thread read and another one write asks for the sake of the reading.
        let newest = of_process.next()?;
        let reads = |held: &&Held| matches!(held, Held::Version(_) | Held::Text(_));
        let read = if reads(&newest) { Some(newest) } else { of_process.find(reads) };
        Some(read.unwrap_or(newest).clone())
    }

    /// Whether somebody writes `ino`.
    pub fn is_drafted(&self, ino: Ino) -> bool {
        self.of(ino).iter().any(|open| matches!(open.held, Held::Draft(_)))
    }

    fn of(&self, ino: Ino) -> Vec<Open> {
        let table = self.0.lock();
        let serials = table.by_ino.get(&ino);
        serials.into_iter().flatten().filter_map(|serial| table.by_serial.get(serial).cloned()).collect()
    }
}
