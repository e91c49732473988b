//! From the kernel's numbers to types, and from answers to replies.

use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyXattr,
};

use crate::fs::Fault;
use crate::fs::inode::{Handle, Ino};
use crate::fs::ops::{Attr, Entry};
use crate::fs::tree::Shape;

/// Inode numbers are never given twice, so none needs a generation to be told by.
pub const GENERATION: Generation = Generation(0);
/// Bytes of the blocks that stat(2) counts.
const STAT_BLOCK: u64 = 512;
/// Bytes that stat(2) recommends to read at a time: a page, as other file systems do.
const IO_BYTES: u32 = 4096;

pub fn inode_number(ino: Ino) -> INodeNo {
    INodeNo(ino.number())
}

pub fn ino(number: INodeNo) -> Result<Ino, Fault> {
    Ino::parse(number.0).ok_or(Fault::NoEntry)
}

pub fn handle(number: FileHandle) -> Result<Handle, Fault> {
    Handle::parse(number.0).ok_or(Fault::BadHandle)
}

pub fn file_type(shape: Shape) -> FileType {
    match shape {
        Shape::Directory => FileType::Directory,
        Shape::File => FileType::RegularFile,
        Shape::Link => FileType::Symlink,
    }
}

pub fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: inode_number(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(STAT_BLOCK),
        atime: attr.accessed.to_system(),
        mtime: attr.modified.to_system(),
        ctime: attr.changed.to_system(),
        crtime: attr.created.to_system(),
        kind: file_type(attr.shape),
        perm: attr.mode,
        nlink: if attr.shape == Shape::Directory { 2 } else { 1 },
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

pub fn reply_entry(reply: ReplyEntry, outcome: Result<Entry, Errno>) {
    match outcome {
        Ok(entry) => {
            reply.entry_with_ttls(&entry.attr_ttl, &entry.entry_ttl, &file_attr(&entry.attr), GENERATION);
        }
        Err(errno) => reply.error(errno),
    }
}

pub fn reply_attr(reply: ReplyAttr, outcome: Result<(Attr, Duration), Errno>) {
    match outcome {
        Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
        Err(errno) => reply.error(errno),
    }
}

pub fn reply_empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub fn reply_open(reply: ReplyOpen, outcome: Result<(Handle, FopenFlags), Errno>) {
    match outcome {
        Ok((handle, flags)) => reply.opened(FileHandle(handle.number()), flags),
        Err(errno) => reply.error(errno),
    }
}

pub fn reply_xattr(reply: ReplyXattr, size: u32, outcome: Result<Vec<u8>, Errno>) {
    match outcome {
        Ok(bytes) if size == 0 => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(errno) => reply.error(errno),
    }
}
