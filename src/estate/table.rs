//! The open files: a row of 64 bytes for each, in memory that is mapped here and outlives the process. A row counts by its serial,
//! which is written last and taken away first: it is there or not, whatever instruction its writer is killed at.
//!
//! ```text
//! u64le serial (0: free) || u64le inode || op[16] || u64le identity || u32le tid || u32le tgid || u32le version || u8 sort ||
//! u32le uid || u32le gid || 0[3]
//! ```
//!
//! Mapped, since a row comes and goes with each open and close of a reader: two calls of pwrite(2) took two microseconds of some
//! thirty-five.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::id::OpId;

/// One open file: numbers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFile {
    /// Its number among the open files; never 0.
    pub serial: u64,
    /// Its inode's number.
    pub ino: u64,
    /// The request that opened it.
    pub op: OpId,
    /// The thread that did.
    pub tid: u32,
    /// The thread's process, and what tells that from a later one of its number; zeros where it is not known.
    pub process: (u32, u64),
    /// What it stands for.
    pub sort: Sort,
    /// The version that a reader has pinned.
    pub version: u32,
    /// The user that opened it, and its group.
    pub user: (u32, u32),
}

/// What an open file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Version = 1,
    Text = 2,
    Draft = 3,
    Scratch = 4,
    Talk = 5,
    Events = 6,
    /// It ends with its worker.
    Snapshot = 8,
}

const ROW: usize = 64;
/// Bytes of the serial.
const SERIAL: usize = 8;
/// Most rows: what is open beyond them is not kept. Only the pages of those that were ever used take memory.
const ROWS_MAX: u32 = 1 << 20;
/// Rows that the file grows by.
const STEP: u32 = 4096;
/// The row of a file that found none.
pub const NO_ROW: u32 = u32::MAX;

pub struct Table {
    memory: Memory,
    rows: Mutex<Rows>,
}

struct Rows {
    file: File,
    /// Below `end`.
    free: Vec<u32>,
    /// One above the highest ever used.
    end: u32,
    /// Rows that the file has room for.
    room: u32,
}

impl Table {
    /// Opens `file`; answers what stands in it.
    pub fn open(file: OwnedFd) -> io::Result<(Self, Vec<(u32, OpenFile)>)> {
        let file = File::from(file);
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        let memory = Memory::map(&file)?;
        let room = u32::try_from(len / ROW).unwrap_or(ROWS_MAX).min(ROWS_MAX);
        let (mut rows, mut opens) = (Rows { file, free: Vec::new(), end: 0, room }, Vec::new());
        for (at, row) in (0..room).zip(bytes.as_chunks::<ROW>().0) {
            if let Some(open) = parse(row) {
                rows.free.extend(rows.end..at);
                rows.end = at + 1;
                opens.push((at, open));
            }
        }
        Ok((Self { memory, rows: Mutex::new(rows) }, opens))
    }

    /// Writes `open` into a free row, which it answers.
    pub fn add(&self, open: &OpenFile) -> io::Result<u32> {
        let row = self.rows.lock().take()?;
        self.memory.write(row, &encode(open));
        Ok(row)
    }

    /// Frees `row`.
    pub fn remove(&self, row: u32) {
        if row != NO_ROW {
            self.memory.clear(row);
            self.rows.lock().free.push(row);
        }
    }
}

impl Rows {
    fn take(&mut self) -> io::Result<u32> {
        if let Some(row) = self.free.pop() {
            return Ok(row);
        }
        if self.end == self.room {
            let room = self.room.saturating_add(STEP);
            if room > ROWS_MAX {
                return Err(io::Error::other("too many files are open"));
            }
            self.file.set_len(u64::from(room) * ROW as u64)?;
            self.room = room;
        }
        self.end += 1;
        Ok(self.end - 1)
    }
}

/// Room for all rows there may ever be, of which the file has the first ones.
struct Memory(*mut c_void);

// SAFETY: the mapping is there as long as this is, and each row is written by who has taken it, and nobody else.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

const MEMORY: usize = ROWS_MAX as usize * ROW;

impl Memory {
    fn map(file: &File) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choosing touches no memory of ours.
        Ok(Self(unsafe { mmap(ptr::null_mut(), MEMORY, protection, MapFlags::SHARED, file, 0) }?))
    }

    fn row(&self, row: u32) -> *mut u8 {
        assert!(row < ROWS_MAX, "rows are below the end of the mapping");
        // SAFETY: the row is in the mapping.
        unsafe { self.0.cast::<u8>().add(row as usize * ROW) }
    }

    fn serial(&self, row: u32) -> &AtomicU64 {
        // SAFETY: a row begins at a multiple of 64 in a mapping of whole pages, and its serial is reached in this way alone.
        unsafe { AtomicU64::from_ptr(self.row(row).cast()) }
    }

    /// Writes a row that was free, its serial last.
    fn write(&self, row: u32, bytes: &[u8; ROW]) {
        let (serial, rest) = bytes.split_at(SERIAL);
        // SAFETY: the row is in the file, nobody else has it, and both are ROW bytes long.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), self.row(row).add(SERIAL), ROW - SERIAL) };
        let serial = u64::from_ne_bytes(serial.try_into().expect("it is eight bytes long"));
        self.serial(row).store(serial, Ordering::Release);
    }

    fn clear(&self, row: u32) {
        self.serial(row).store(0, Ordering::Release);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing points into it any more.
        let _ = unsafe { munmap(self.0, MEMORY) };
    }
}

fn encode(open: &OpenFile) -> [u8; ROW] {
    let mut row = [0; ROW];
    row[..8].copy_from_slice(&open.serial.to_le_bytes());
    row[8..16].copy_from_slice(&open.ino.to_le_bytes());
    row[16..32].copy_from_slice(&open.op.0);
    row[32..40].copy_from_slice(&open.process.1.to_le_bytes());
    row[40..44].copy_from_slice(&open.tid.to_le_bytes());
    row[44..48].copy_from_slice(&open.process.0.to_le_bytes());
    row[48..52].copy_from_slice(&open.version.to_le_bytes());
    row[52] = open.sort as u8;
    row[53..57].copy_from_slice(&open.user.0.to_le_bytes());
    row[57..61].copy_from_slice(&open.user.1.to_le_bytes());
    row
}

/// `None` for a free row, and for one that nobody has written.
fn parse(row: &[u8; ROW]) -> Option<OpenFile> {
    let long = |at: usize| row[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let short = |at: usize| row[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let sort = match row[52] {
        1 => Sort::Version,
        2 => Sort::Text,
        3 => Sort::Draft,
        4 => Sort::Scratch,
        5 => Sort::Talk,
        6 => Sort::Events,
        8 => Sort::Snapshot,
        _ => return None,
    };
    let open = OpenFile {
        serial: long(0),
        ino: long(8),
        op: OpId(*row[16..].first_chunk()?),
        tid: short(40),
        process: (short(44), long(32)),
        sort,
        version: short(48),
        user: (short(53), short(57)),
    };
    (open.serial != 0).then_some(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

    #[test]
    fn what_is_open_is_found_again() {
        let file = rustix::fs::memfd_create("table", MemfdFlags::CLOEXEC).unwrap();
        let again = file.try_clone().unwrap();
        let (table, none) = Table::open(file).unwrap();
        assert!(none.is_empty());
        let open = |serial| OpenFile {
            serial,
            ino: u64::MAX - serial,
            op: OpId([serial as u8; 16]),
            tid: 7,
            process: (8, 9 << 40),
            sort: Sort::Draft,
            version: 11,
            user: (12, u32::MAX),
        };
        let rows: Vec<u32> = (1..=3).map(|serial| table.add(&open(serial)).unwrap()).collect();
        table.remove(rows[1]);
        drop(table);
        let (table, found) = Table::open(again).unwrap();
        assert_eq!(found, [(rows[0], open(1)), (rows[2], open(3))]);
        assert_eq!(table.add(&open(4)).unwrap(), rows[1], "a free row is taken again");
        assert_eq!(table.add(&open(5)).unwrap(), 3);
    }

    #[test]
    fn many_are_found_again() {
        let file = rustix::fs::memfd_create("table", MemfdFlags::CLOEXEC).unwrap();
        let again = file.try_clone().unwrap();
        let (table, _) = Table::open(file).unwrap();
        let open = |serial| OpenFile {
            serial,
            ino: 1,
            op: OpId([0; 16]),
            tid: 7,
            process: (0, 0),
            sort: Sort::Version,
            version: 1,
            user: (0, 0),
        };
        let count = u64::from(2 * STEP) + 1;
        for serial in 1..=count {
            table.add(&open(serial)).unwrap();
        }
        let (_, found) = Table::open(again).unwrap();
        assert_eq!(found.iter().map(|(_, open)| open.serial).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
    }
}
