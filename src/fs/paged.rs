//! Of which files the kernel may have pages, though they hold values: reads for its page cache were answered.
//!
//! Whoever maps such a file looks at those pages without asking again, so they have to be taken from it when a right goes. Knows
//! neither who can do that nor when. Invariant: a file is noted, here and for the next worker, before the read that may leave a page
//! of it is decided, and is forgotten only once the kernel has forgotten all pages that it had when the file was taken.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::errno::Fault;
use super::inode::Ino;
use crate::estate::{Estate, Key};

/// Files noted at a time. To have the kernel forget so many takes some milliseconds, which a change of rights waits for.
const KEPT_MAX: usize = 4096;
/// How many of the oldest are taken from the kernel where there are more, so that not each new one costs a turn.
const AT_ONCE: usize = 256;
/// No read for the page cache is answered where so many are noted: the kernel does not come to forget them.
const NOTED_MAX: usize = 2 * KEPT_MAX;

/// The files.
#[derive(Default)]
pub struct Paged {
    table: Mutex<Table>,
    estate: Arc<Estate>,
}

#[derive(Default)]
struct Table {
    kept: HashSet<Ino>,
    /// The same, the oldest first.
    order: VecDeque<Ino>,
    /// Those that the kernel is being told to forget.
    taken: HashSet<Ino>,
    /// Whether it could not be told.
    is_broken: bool,
}

impl Paged {
    /// Those that a former worker has noted.
    pub fn left(estate: Arc<Estate>, files: impl Iterator<Item = Ino>) -> Self {
        let order: VecDeque<Ino> = files.collect();
        let table = Table { kept: order.iter().copied().collect(), order, ..Table::default() };
        Self { table: Mutex::new(table), estate }
    }

    /// Notes that the kernel may get a page of `ino`; whether there are too many now.
    ///
    /// # Errors
    /// It must not get one: it could not be told to forget it.
    pub fn note(&self, ino: Ino) -> Result<bool, Fault> {
        let mut table = self.table.lock();
        if table.kept.contains(&ino) {
            return if table.is_broken { Err(Fault::PageCache) } else { Ok(false) };
        }
        if table.is_broken || table.kept.len() + table.taken.len() >= NOTED_MAX {
            return Err(Fault::PageCache);
        }
        if !table.taken.contains(&ino) {
            self.estate.change(None, &[(Key::Paged(ino.number()), Some(b""))]);
        }
        table.kept.insert(ino);
        table.order.push_back(ino);
        Ok(table.kept.len() > KEPT_MAX)
    }

    /// Whether the kernel has no page of any.
    pub fn is_empty(&self) -> bool {
        let table = self.table.lock();
        table.kept.is_empty() && table.taken.is_empty()
    }

    /// Those that the kernel is to be told to forget now: all, or the oldest where there are too many. It comes to
    /// [`Paged::forgotten`] or [`Paged::put_back`] before the next ones are taken.
    pub fn take(&self, all: bool) -> Vec<Ino> {
        let mut table = self.table.lock();
        let count = match table.kept.len() {
            len if all => len,
            len if len > KEPT_MAX => len - KEPT_MAX + AT_ONCE,
            _ => 0,
        };
        let taken: Vec<Ino> = table.order.drain(..count).collect();
        for ino in &taken {
            table.kept.remove(ino);
        }
        table.taken.extend(&taken);
        taken
    }

    /// The kernel has forgotten what was taken. Of some of it it may have new pages by now.
    pub fn forgotten(&self) {
        let mut table = self.table.lock();
        let taken = std::mem::take(&mut table.taken);
        let gone: Vec<_> = taken.difference(&table.kept).map(|ino| (Key::Paged(ino.number()), None)).collect();
        if !gone.is_empty() {
            self.estate.change(None, &gone);
        }
        table.is_broken = false;
    }

    /// The kernel could not be told. Until it can, it gets no more pages.
    pub fn put_back(&self) {
        let mut table = self.table.lock();
        for ino in std::mem::take(&mut table.taken) {
            if table.kept.insert(ino) {
                table.order.push_front(ino);
            }
        }
        table.is_broken = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, VersionNo};

    fn file(node: usize) -> Ino {
        Ino::version(NodeId(node as u32), VersionNo(1))
    }

    #[test]
    fn what_comes_while_it_is_forgotten_is_noted_again() {
        let paged = Paged::default();
        assert!(!paged.note(file(1)).unwrap() && !paged.note(file(2)).unwrap());
        assert_eq!(paged.take(false), [], "there is room");
        assert_eq!(paged.take(true), [file(1), file(2)]);
        paged.note(file(2)).unwrap();
        assert!(!paged.is_empty(), "the kernel has not forgotten the first yet");
        paged.forgotten();
        assert_eq!(paged.take(true), [file(2)]);
        paged.forgotten();
        assert!(paged.is_empty());
    }

    #[test]
    fn there_are_never_too_many() {
        let paged = Paged::default();
        let crowded: Vec<bool> = (0..NOTED_MAX).map(|node| paged.note(file(node)).unwrap()).collect();
        assert_eq!(crowded.iter().position(|crowded| *crowded), Some(KEPT_MAX));
        assert!(paged.note(file(NOTED_MAX)).is_err(), "nobody has the kernel forget");
        assert!(paged.note(file(1)).is_ok(), "one that is noted is one");
        let taken = paged.take(false);
        assert_eq!((taken.len(), taken[0]), (NOTED_MAX - KEPT_MAX + AT_ONCE, file(0)), "the oldest");
        paged.forgotten();
        assert!(paged.note(file(NOTED_MAX)).is_ok());
    }

    #[test]
    fn what_cannot_be_forgotten_is_given_to_nobody() {
        let paged = Paged::default();
        paged.note(file(1)).unwrap();
        paged.take(true);
        paged.put_back();
        assert!(paged.note(file(1)).is_err() && paged.note(file(2)).is_err());
        assert_eq!(paged.take(true), [file(1)]);
        paged.forgotten();
        assert!(paged.note(file(2)).is_ok());
    }
}
