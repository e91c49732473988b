//! Who a caller is beside its uid, as somebody else has found it out: this room reads no /proc.

use super::record::text;

/// The gesture of a close(2). execve(2) may be what closes: then its caller's program must not be asked for before the answer.
pub const CLOSE: &str = "close";

/// What is known of the process that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The process.
    pub tgid: u32,
    /// Tells it from a later process of the same number.
    pub identity: u64,
    /// The program it runs; `None` where that is not to be seen.
    pub exe: Option<Exe>,
    /// As the record has them: comm, exe and cgroup.
    rendered: String,
}

/// A program's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exe {
    /// Its name, any bytes; in the caller's own tree.
    pub path: Vec<u8>,
    /// The device it is on, `major:minor` as makedev(3) joins them.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

impl Facts {
    /// Of process `tgid`, which calls itself `comm` and is in `cgroup`: any bytes.
    pub fn new(tgid: u32, identity: u64, comm: &[u8], exe: Option<Exe>, cgroup: &[u8]) -> Self {
        let mut rendered = String::from("\"comm\":");
        text(&mut rendered, comm);
        rendered.push_str(",\"exe\":");
        match &exe {
            Some(exe) => {
                rendered.push_str("{\"path\":");
                text(&mut rendered, &exe.path);
                rendered.push_str(&format!(",\"dev\":{},\"ino\":{}}}", exe.dev, exe.ino));
            }
            None => rendered.push_str("null"),
        }
        rendered.push_str(",\"cgroup\":");
        text(&mut rendered, cgroup);
        Self { tgid, identity, exe, rendered }
    }

    /// `"comm":...,"exe":...,"cgroup":...`
    pub(super) fn rendered(&self) -> &str {
        &self.rendered
    }
}
