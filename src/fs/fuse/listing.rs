//! A part of a directory, between the tree and the kernel's buffer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::convert::{GENERATION, file_attr, file_type, ino, inode_number};
use crate::fs::Fault;
use crate::fs::inode::Ino;
use crate::fs::ops::{Entry, Tree, Who};
use crate::fs::tree::shape;

/// Most names taken at a time: about as many as the 32 KiB have room for with which programs read directories.
const NAMES: usize = 192;

/// A name in a directory.
pub struct Listed {
    /// Where to go on from.
    next: u64,
    name: Vec<u8>,
    ino: Ino,
    /// What is there, where that is asked for as well.
    entry: Option<Entry>,
}

/// Names of `number` after position `from`; `with_entries` what they stand for too. All of them are read before one is answered, so
/// that a listing begun from memory is begun anew by who may wait for the disk, and lists nothing twice.
pub fn list(tree: &Tree, who: Who, number: INodeNo, from: u64, with_entries: bool) -> Result<Vec<Listed>, Fault> {
    // Whoever has opened it may list it no longer.
    tree.open_directory(who, ino(number)?)?;
    let mut listed = Vec::new();
    let mut waits = None;
    tree.list(ino(number)?, from, &mut |next, name, ino| {
        let entry = match with_entries.then(|| tree.entry(who, ino)).transpose() {
            Ok(entry) => entry,
            Err(fault) if fault.would_wait() => {
                waits = Some(fault);
                return true;
            }
            // What went between the listing and the look at it is left out.
            Err(_) => return false,
        };
        listed.push(Listed { next, name: name.to_vec(), ino, entry });
        listed.len() == NAMES
    })?;
    waits.map_or(Ok(listed), Err)
}

pub fn reply_names(mut reply: ReplyDirectory, outcome: Result<Vec<Listed>, Errno>) {
    match outcome {
        Ok(listed) => {
            let mut add = |at: &Listed| {
                reply.add(inode_number(at.ino), at.next, file_type(shape(at.ino.kind)), OsStr::from_bytes(&at.name))
            };
            let _is_full = listed.iter().any(&mut add);
            reply.ok();
        }
        Err(errno) => reply.error(errno),
    }
}

pub fn reply_entries(mut reply: ReplyDirectoryPlus, outcome: Result<Vec<Listed>, Errno>) {
    match outcome {
        Ok(listed) => {
            let mut add = |at: &Listed| {
                let Some(entry) = &at.entry else { return false };
                let (ttl, attr) = (entry.entry_ttl.min(entry.attr_ttl), file_attr(&entry.attr));
                reply.add(inode_number(at.ino), at.next, OsStr::from_bytes(&at.name), &ttl, &attr, GENERATION)
            };
            let _is_full = listed.iter().any(&mut add);
            reply.ok();
        }
        Err(errno) => reply.error(errno),
    }
}
