//! The tree told to the kernel.
//!
//! Knows names, inode numbers, permission bits and when a write counts; knows no key, no engine and no rule of secrets: it
//! asks the vault.
//!
//! Reading order: `tree` (the table of all entries), `inode` (numbers that say what they stand for), `errno` (what can go
//! wrong), `ops` (what each request does), `draft`, `process`, `look` (when a write counts), `opens`, `threads` (who has what
//! open), `facts` and `identity` (who a caller is, for the audit and to permission bits), `scratch` (files in memory), `talk` (the
//! api), `follow` (what happens), `paged` (what the kernel has pages of), `shares` (how much one user may hold), `refusals`, `damage`, `meter` (what is told of later), `line` (one change at a time), `pool` (what
//! may wait for the disk), `view` (what a mount of a part of the tree shows), and `fuse`, the only folder that names fuser.
//!
//! Invariants: a reader sees one version from open to close; a version appears whole or not at all; LOOKUP and GETATTR
//! refuse nobody; what changes something runs in one thread, and what has to be read from the disk in others, so no thread that
//! serves the kernel waits for a disk.

mod damage;
mod draft;
mod errno;
mod facts;
mod follow;
pub(crate) mod fuse;
mod identity;
mod inode;
mod line;
mod look;
mod meter;
mod opens;
mod ops;
mod paged;
mod pool;
mod process;
mod refusals;
mod scratch;
mod shares;
mod talk;
mod threads;
mod tree;
mod view;

use crate::secret::Account;
pub use errno::Fault;
pub use facts::Callers as CallerFacts;
pub use identity::identity_of;
pub use inode::{Handle, Ino, Kind};
pub use ops::{At, Attr, AttrChange, Close, Entry, How, Reading, Tree, Who};
pub use refusals::Gesture;
pub use tree::Shape;
pub use view::{Layout, Part, View};

/// How a mount differs from the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing can be changed through it; the kernel sees to that.
    pub read_only: bool,
    /// A value of one line loses the newline that `echo` puts behind it.
    pub trim_newline: bool,
    /// The account of its callers, where that is not the store's.
    pub account: Option<Account>,
}

/// Where in its mount's life a process serves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// The process that starts another one when this one ends.
    pub keeper: Option<u32>,
    /// How many have served the mount before.
    pub workers_before: u64,
}
