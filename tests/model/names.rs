//! What a name stands for, and which names files in memory can have.

use libc::{EDQUOT, ENAMETOOLONG};

use crate::members::{member, members};
use crate::reference::{Content, Model, Node, Outcome, SILENT, Scratch, Spot, TEXTS};

const ENTRIES: [&str; 11] =
    ["current", "versions", "stages", "fields", "dotenv", "tags", "policy", "description", "rotation", "cmk", "info"];

impl Model {
    /// What `name` stands for in `parent`.
    pub fn lookup(&self, parent: &Node, name: &[u8]) -> Option<Node> {
        let text = std::str::from_utf8(name).ok();
        let named = text.and_then(|text| self.lookup_text(parent, text));
        named.or_else(|| self.scratch_named(&self.spot(parent)?, name).map(Node::Scratch))
    }

    fn lookup_text(&self, parent: &Node, name: &str) -> Option<Node> {
        let owned = || name.to_owned();
        match parent {
            Node::Root if name == ".kmsfs" => Some(Node::Control),
            Node::Root => self.instances.get(name).map(|_| Node::Instance(owned())),
            Node::Control => {
                matches!(name, "api" | "backup" | "events" | "last-error" | "metrics" | "status").then_some(Node::Fixed)
            }
            Node::Instance(at) => match name {
                ".instance" => Some(Node::InstanceControl(at.clone())),
                ".keys" => Some(Node::Keys(at.clone())),
                ".deleted" => Some(Node::Trash(at.clone())),
                _ => self.dir(at, name).map(|_| Node::Dir(at.clone(), owned())),
            },
            Node::InstanceControl(at) => match name {
                "info" | "state" | "shares" | "access-quota" => Some(Node::Fixed),
                "recovery-window" => Some(Node::Window(at.clone())),
                _ => None,
            },
            Node::Keys(at) => self.instances[at].keys.contains_key(name).then(|| Node::Key(at.clone(), owned())),
            Node::Key(at, key) => match name {
                "info" | "policy" => Some(Node::Fixed),
                "state" => Some(Node::KeyState(at.clone(), key.clone())),
                _ => None,
            },
            Node::Trash(at) => {
                let full = name.replace("%2F", "/");
                self.instances[at].trash.contains_key(&full).then(|| Node::Trashed(at.clone(), full))
            }
            Node::Trashed(at, full) => match name {
                "info" => Some(Node::Info(at.clone(), full.clone())),
                "state" => Some(Node::TrashedState(at.clone(), full.clone())),
                _ => None,
            },
            Node::Dir(at, dir) => self.lookup_in_secret(at, dir, name),
            Node::Versions(at, dir) => {
                let (secret, _) = self.secret_at(at, dir)?;
                secret.version(name).map(|_| Node::Version(at.clone(), dir.clone(), owned()))
            }
            Node::Stages(at, dir) => {
                let (secret, _) = self.secret_at(at, dir)?;
                secret.stages.get(name).map(|_| Node::Stage(at.clone(), dir.clone(), owned()))
            }
            Node::Fields(at, dir) => {
                let (secret, _) = self.secret_at(at, dir)?;
                member(&secret.current()?.bytes, name).map(|_| Node::Field(at.clone(), dir.clone(), owned()))
            }
            _ => None,
        }
    }

    fn lookup_in_secret(&self, at: &str, dir: &str, name: &str) -> Option<Node> {
        let (at_owned, dir_owned) = (at.to_owned(), dir.to_owned());
        match name {
            "current" => {
                let (secret, scheduled) = self.secret_at(at, dir)?;
                (!scheduled && !secret.is_draft()).then_some(Node::Current(at_owned, dir_owned))
            }
            "versions" => Some(Node::Versions(at_owned, dir_owned)),
            "stages" => Some(Node::Stages(at_owned, dir_owned)),
            "fields" => Some(Node::Fields(at_owned, dir_owned)),
            "dotenv" => {
                let (secret, _) = self.secret_at(at, dir)?;
                members(&secret.current()?.bytes).map(|_| Node::Dotenv(at_owned, dir_owned))
            }
            "info" => Some(Node::Info(at_owned, dir_owned)),
            _ => match TEXTS.iter().find(|(text, _)| *text == name) {
                Some((_, text)) => Some(Node::Text(at_owned, dir_owned, *text)),
                None => {
                    let full = format!("{dir}/{name}");
                    self.dir(at, &full).map(|_| Node::Dir(at_owned, full))
                }
            },
        }
    }

    /// The place that `parent` is for scratch files.
    pub fn spot(&self, parent: &Node) -> Option<Spot> {
        match parent.clone() {
            Node::Dir(at, dir) => Some(Spot::Dir(at, dir)),
            Node::Versions(at, dir) => Some(Spot::Versions(at, dir)),
            Node::Stages(at, dir) => Some(Spot::Stages(at, dir)),
            Node::Fields(at, dir) => Some(Spot::Fields(at, dir)),
            _ => None,
        }
    }

    pub fn scratch_named(&self, spot: &Spot, name: &[u8]) -> Option<u64> {
        self.scratches.iter().find(|(_, file)| file.spot == *spot && file.name == name).map(|(serial, _)| *serial)
    }

    pub fn add_scratch(
        &mut self,
        spot: Spot,
        name: &[u8],
        content: Content,
        (uid, gid, mode): (u32, u32, u16),
    ) -> Outcome<u64> {
        // Whoever owns them, there is one user here who makes them.
        if self.scratches.len() >= 64 {
            return Err(&[EDQUOT]);
        }
        scratch_name(name)?;
        let serial = self.serial();
        let (name, made) = (name.to_vec(), self.now);
        self.scratches
            .insert(serial, Scratch { spot, name, content, uid, gid, mode, made, copy_of: None, copied: None });
        Ok(serial)
    }

    /// The version that is current in a directory, while that is not scheduled.
    pub fn current_of(&self, at: &str, dir: &str) -> Option<u64> {
        let (secret, scheduled) = self.secret_at(at, dir)?;
        secret.current().filter(|_| !scheduled).map(|version| version.serial)
    }

    /// The names that a secret's directory always knows.
    pub fn entry_names() -> [&'static str; 11] {
        ENTRIES
    }
}

impl Spot {
    pub fn is_of(&self, at: &str, dir: &str) -> bool {
        let (Spot::Dir(a, d) | Spot::Versions(a, d) | Spot::Stages(a, d) | Spot::Fields(a, d)) = self;
        a == at && d == dir
    }
}

/// A scratch file's name: text without control characters, of 255 bytes at most.
pub fn scratch_name(name: &[u8]) -> Outcome<()> {
    let bad = name.iter().any(u8::is_ascii_control)
        || std::str::from_utf8(name).is_err()
        || matches!(name, b"" | b"." | b"..");
    match (bad, name.len() > 255) {
        (true, _) => Err(SILENT),
        (false, true) => Err(&[ENAMETOOLONG]),
        (false, false) => Ok(()),
    }
}
