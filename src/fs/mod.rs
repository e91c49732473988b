//! The tree told to the kernel.
//!
//! Knows names, inode numbers, permission bits and when a write counts; knows no key, no engine and no rule of secrets: it
//! asks the vault. Reading order: `tree` (the table of all entries), `inode` (numbers that say what they stand for), `ops`
//! (what each request does), `draft`, `process` (when a write counts), `opens`, `scratch`, `refusals`, `errno`, and `fuse`,
//! the only folder that names fuser.
//!
//! Invariants: a reader sees one version from open to close; a version appears whole or not at all; LOOKUP and GETATTR
//! refuse nobody; what changes something runs in one thread, so no thread that serves the kernel waits for a disk.

mod draft;
mod errno;
pub mod fuse;
mod inode;
mod line;
mod opens;
mod ops;
mod process;
mod refusals;
mod scratch;
mod tree;

pub use errno::Fault;
pub use inode::{Handle, Ino, Kind};
pub use ops::{At, Attr, AttrChange, Close, Entry, How, Reading, Tree, Who};
pub use refusals::Gesture;
pub use tree::Shape;

/// How a mount differs from the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing can be changed through it; the kernel sees to that.
    pub read_only: bool,
    /// A value of one line loses the newline that `echo` puts behind it.
    pub trim_newline: bool,
}
