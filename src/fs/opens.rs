//! Who has what open, for the one question that a handle's number cannot answer: which version does the process that asks
//! for a file's size have in mind?
//!
//! fstat(2) reaches a filesystem without a handle. A reader of `current` must see the size of what its descriptor reads,
//! not of what was rotated in meanwhile, so GETATTR answers with what the calling thread's newest handle pins, else the
//! newest that its process reads through, else the newest it writes through. Each open file has a row in the estate, so that
//! the next worker knows it too.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::draft::DraftFile;
use super::follow::Follower;
use super::inode::{Handle, Ino};
use super::process::Process;
use super::talk::Conversation;
use super::threads::Threads;
use crate::estate::{Estate, Key, OpenFile, Sort};
use crate::id::{OpId, VersionNo};
use crate::secret::Grant;
use crate::vault::{Disclosed, Snapshot};

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
    /// A conversation with the api.
    Talk(Arc<Conversation>),
    /// A reader of events.
    Events(Arc<Follower>),
    /// A reader's copy of the whole store.
    Snapshot(Arc<Snapshot>),
}

impl Held {
    /// The handle numbered `serial` of it.
    pub fn handle(&self, serial: u64) -> Handle {
        match self {
            Held::Version(no) => Handle::Value { serial, no: *no },
            Held::Text(_) => Handle::Text { serial },
            Held::Draft(_) => Handle::Draft { serial },
            Held::Scratch => Handle::Scratch { serial },
            Held::Talk(_) => Handle::Talk { serial },
            Held::Events(_) => Handle::Events { serial },
            Held::Snapshot(_) => Handle::Snapshot { serial },
        }
    }

    fn sort(&self) -> Sort {
        match self {
            Held::Version(_) => Sort::Version,
            Held::Text(_) => Sort::Text,
            Held::Draft(_) => Sort::Draft,
            Held::Scratch => Sort::Scratch,
            Held::Talk(_) => Sort::Talk,
            Held::Events(_) => Sort::Events,
            Held::Snapshot(_) => Sort::Snapshot,
        }
    }
}

/// Who opens, and by which request.
#[derive(Clone, Copy)]
pub struct Opener {
    pub tid: u32,
    pub op: OpId,
    /// Its user and group.
    pub user: (u32, u32),
}

/// One open file.
#[derive(Clone)]
pub struct Open {
    pub ino: Ino,
    pub held: Held,
    pub tid: u32,
    /// The user and the group that opened it.
    pub user: (u32, u32),
    /// As of the open: later the thread may be gone, and its number another's.
    process: Option<Process>,
    /// The request that opened it.
    op: OpId,
    /// Its row in the estate.
    row: u32,
    /// Who has read a value through it, as far as the audit was told here.
    told: Vec<Disclosed>,
    /// Who may read a value through it, as was decided last.
    judged: Vec<Judged>,
}

impl Open {
    fn new(ino: Ino, held: Held, Opener { tid, op, user }: Opener, process: Option<Process>, row: u32) -> Self {
        Self { ino, held, tid, user, process, op, row, told: Vec::new(), judged: Vec::new() }
    }
}

/// That somebody may read what is open, as long as nothing changes that this turned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub tid: u32,
    pub uid: u32,
    pub gid: u32,
    /// What [`crate::vault::Vault::rights`] was before it was decided.
    pub rights: u64,
    /// What lets it.
    pub by: Grant,
    /// Whether it may write, not read.
    pub writes: bool,
}

/// Readers of one open file that are known again. More than these share none, and further ones are told of at each read.
const READERS_MAX: usize = 16;

/// A serial is `workers before, of which the lowest 8 bits | a count of 28 bits`: the kernel keeps handles over a worker's end,
/// and none of them may be taken for one of the next worker's.
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const WORKER_MASK: u64 = 0xff;

#[derive(Default)]
struct Table {
    /// The part of every serial that this worker gives.
    worker: u64,
    count: u64,
    by_serial: HashMap<u64, Open>,
    /// Serials in order of opening.
    by_ino: HashMap<Ino, Vec<u64>>,
    /// Those of earlier workers by the requests that opened them.
    by_op: HashMap<OpId, u64>,
}

impl Table {
    /// One that nobody has.
    fn next_serial(&mut self) -> u64 {
        loop {
            self.count = (self.count + 1) & COUNT_MASK;
            let serial = self.worker | self.count;
            if !self.by_serial.contains_key(&serial) {
                return serial;
            }
        }
    }

    fn insert(&mut self, serial: u64, open: Open) {
        self.by_ino.entry(open.ino).or_default().push(serial);
        self.by_serial.insert(serial, open);
    }
}

/// All open files.
#[derive(Default)]
pub struct Opens {
    table: Mutex<Table>,
    threads: Threads,
    estate: Arc<Estate>,
}

impl Opens {
    /// None yet, of a worker with so many before it.
    pub fn numbered_after(workers_before: u64, estate: Arc<Estate>) -> Self {
        let worker = (workers_before & WORKER_MASK) << COUNT_BITS;
        Self { table: Mutex::new(Table { worker, ..Table::default() }), threads: Threads::default(), estate }
    }

    /// Whether `serial` is of a worker that has ended.
    pub fn is_of_former(&self, serial: u64) -> bool {
        serial & !COUNT_MASK != self.table.lock().worker
    }

    /// A serial for a file that is about to be open.
    pub fn next_serial(&self) -> u64 {
        self.table.lock().next_serial()
    }

    /// Takes note of an open by a thread that waits for it, under a serial of [`Opens::next_serial`]. What the estate has of it
    /// but its row must be there.
    pub fn add(&self, serial: u64, ino: Ino, opener: Opener, held: Held) -> Handle {
        let process = self.process_of(opener.tid);
        let handle = held.handle(serial);
        let row = self.estate.add_open(&OpenFile {
            serial,
            ino: ino.number(),
            op: opener.op,
            tid: opener.tid,
            process: process.map_or((0, 0), Process::to_parts),
            sort: held.sort(),
            version: if let Held::Version(no) = held { no.0 } else { 0 },
            user: opener.user,
        });
        self.table.lock().insert(serial, Open::new(ino, held, opener, process, row));
        handle
    }

    /// Takes note of an open of `text`.
    pub fn add_text(&self, ino: Ino, opener: Opener, text: Vec<u8>) -> Handle {
        let serial = self.next_serial();
        self.estate.change(None, &[(Key::Text(serial), Some(&text))]);
        self.add(serial, ino, opener, Held::Text(Arc::new(text)))
    }

    /// Takes note of what was open in an earlier worker, as its `row` says.
    pub fn add_again(&self, row: u32, file: &OpenFile, ino: Ino, held: Held) {
        let mut table = self.table.lock();
        table.by_op.insert(file.op, file.serial);
        let process = Process::from_parts(file.process);
        let opener = Opener { tid: file.tid, op: file.op, user: file.user };
        table.insert(file.serial, Open::new(ino, held, opener, process, row));
    }

    /// What the request `op` has opened in an earlier worker, which may not have answered it.
    pub fn opened_by(&self, op: OpId) -> Option<(Ino, Handle)> {
        let table = self.table.lock();
        let serial = *table.by_op.get(&op)?;
        table.by_serial.get(&serial).map(|open| (open.ino, open.held.handle(serial)))
    }

    /// The process of thread `tid`, which waits for an answer.
    pub fn process_of(&self, tid: u32) -> Option<Process> {
        self.threads.process_of(tid)
    }

    /// The open file numbered `serial`.
    pub fn get(&self, serial: u64) -> Option<Open> {
        self.table.lock().by_serial.get(&serial).cloned()
    }

    /// Who has read a value through it, as the audit was told.
    pub fn told(&self, serial: u64) -> Vec<Disclosed> {
        self.table.lock().by_serial.get(&serial).map_or_else(Vec::new, |open| open.told.clone())
    }

    /// Notes that the audit was told of one more.
    pub fn tell(&self, serial: u64, new: Option<Disclosed>) {
        if let (Some(new), Some(open)) = (new, self.table.lock().by_serial.get_mut(&serial))
            && open.told.len() < READERS_MAX
        {
            open.told.push(new);
        }
    }

    /// What was decided on a read by this thread through it, if that stands.
    pub fn judged(&self, serial: u64, tid: u32, (uid, gid): (u32, u32), rights: u64, writes: bool) -> Option<Judged> {
        let table = self.table.lock();
        let stands = |judged: &&Judged| {
            (judged.tid, judged.uid, judged.gid) == (tid, uid, gid)
                && (judged.rights, judged.writes) == (rights, writes)
        };
        table.by_serial.get(&serial)?.judged.iter().find(stands).copied()
    }

    /// Whoever has `ino` open, but for those of whom it was decided since the number was `rights`: pages that one of them has the kernel
    /// read are everybody's. A descriptor may be read by another than has opened it, and both have its pages.
    pub fn holders(&self, ino: Ino, rights: u64) -> Vec<Opener> {
        let table = self.table.lock();
        let serials = table.by_ino.get(&ino).into_iter().flatten();
        let decided = |open: &&Open| {
            let of_opener = |judged: &Judged| (judged.tid, (judged.uid, judged.gid)) == (open.tid, open.user);
            open.judged.iter().any(|judged| judged.rights == rights && !judged.writes && of_opener(judged))
        };
        let opens = serials.filter_map(|serial| table.by_serial.get(serial)).filter(|open| !decided(open));
        opens.map(|open| Opener { tid: open.tid, op: open.op, user: open.user }).collect()
    }

    /// Notes a decision. Those that stand no longer are forgotten.
    pub fn judge(&self, serial: u64, judged: Judged) {
        if let Some(open) = self.table.lock().by_serial.get_mut(&serial) {
            open.judged.retain(|other| other.rights == judged.rights);
            if open.judged.len() < READERS_MAX {
                open.judged.push(judged);
            }
        }
    }

    /// Forgets it, and what the estate has of it.
    pub fn remove(&self, serial: u64) -> Option<Open> {
        let open = self.take(serial)?;
        match open.held {
            Held::Draft(_) => self.estate.change(None, &[(Key::Draft(serial), None)]),
            Held::Text(_) => self.estate.change(None, &[(Key::Text(serial), None)]),
            Held::Talk(_) => self.estate.change(None, &Conversation::keys(serial).map(|key| (key, None))),
            Held::Events(_) => self.estate.change(None, &[(Key::Events(serial), None)]),
            Held::Version(_) | Held::Scratch | Held::Snapshot(_) => {}
        }
        self.estate.remove_open(open.row);
        Some(open)
    }

    fn take(&self, serial: u64) -> Option<Open> {
        let mut table = self.table.lock();
        let open = table.by_serial.remove(&serial)?;
        if let Some(serials) = table.by_ino.get_mut(&open.ino) {
            serials.retain(|other| *other != serial);
            if serials.is_empty() {
                table.by_ino.remove(&open.ino);
            }
        }
        table.by_op.remove(&open.op);
        Some(open)
    }

    /// What thread `tid` has in mind when it asks about `ino`. `None` also where whatever is open pins the version `seen` by
    /// those who have nothing open: then nobody needs to know who asks.
    pub fn held_by(&self, ino: Ino, tid: u32, seen: Option<VersionNo>) -> Option<Held> {
        let mut opens = self.of(ino);
        // The last close of a writer is told of some time after its close(2) has returned.
        opens.retain(|open| !matches!(&open.held, Held::Draft(draft) if draft.is_closed()));
        if opens.iter().all(|open| matches!(open.held, Held::Version(no) if Some(no) == seen)) {
            return None;
        }
        if let Some(own) = opens.iter().rev().find(|open| open.tid == tid) {
            return Some(own.held.clone());
        }
        let asks = self.process_of(tid)?;
        let same_process = |open: &&Open| open.process == Some(asks);
        let mut of_process = opens.iter().rev().filter(same_process).map(|open| &open.held);
        // A program that has one thread read and another one write asks for the sake of the reading.
        let newest = of_process.next()?;
        let reads =
            |held: &&Held| matches!(held, Held::Version(_) | Held::Text(_) | Held::Events(_) | Held::Snapshot(_));
        let read = if reads(&newest) { Some(newest) } else { of_process.find(reads) };
        Some(read.unwrap_or(newest).clone())
    }

    /// What was opened by requests of `connection`, each with the request.
    pub fn of_connection(&self, connection: [u8; 8]) -> Vec<(OpId, Handle)> {
        let table = self.table.lock();
        let its = table.by_serial.iter().filter(|(_, open)| open.op.0.starts_with(&connection));
        its.map(|(serial, open)| (open.op, open.held.handle(*serial))).collect()
    }

    /// How many files are open on what.
    pub fn counts(&self) -> [(&'static str, usize); 7] {
        let mut counts =
            [("value", 0), ("text", 0), ("draft", 0), ("scratch", 0), ("api", 0), ("events", 0), ("backup", 0)];
        for open in self.table.lock().by_serial.values() {
            let at = match open.held {
                Held::Version(_) => 0,
                Held::Text(_) => 1,
                Held::Draft(_) => 2,
                Held::Scratch => 3,
                Held::Talk(_) => 4,
                Held::Events(_) => 5,
                Held::Snapshot(_) => 6,
            };
            counts[at].1 += 1;
        }
        counts
    }

    /// Whether somebody writes `ino`.
    pub fn is_drafted(&self, ino: Ino) -> bool {
        self.of(ino).iter().any(|open| matches!(open.held, Held::Draft(_)))
    }

    fn of(&self, ino: Ino) -> Vec<Open> {
        let table = self.table.lock();
        let serials = table.by_ino.get(&ino);
        serials.into_iter().flatten().filter_map(|serial| table.by_serial.get(serial).cloned()).collect()
    }
}
