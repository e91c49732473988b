//! Inode numbers and file handles are computed, not remembered: a number says what it stands for, so there is no table to
//! fill, forget or lose, and another process could serve the same mount on.
//!
//! An inode number is `node id (32 bits) | kind (8) | ordinal (24)`; the root is 1, as FUSE wants it. A file handle is
//! `sort (4 bits) | serial (36) | version (24)`.

use crate::id::{NodeId, VersionNo};
use crate::secret::StageLabel;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        /// What an inode is. The numbers are part of every inode number: a bind mount holds on to them, so they never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $number),* }

        impl Kind {
            /// The kind numbered `number`, if there is one.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// A secret's value at ACSCurrent. The lowest number: `rm -r` that sorts by inode removes it first.
    Current = 1,
    /// A name in the tree; the node is a directory's, of all other kinds of a secret it is the secret's.
    Directory = 2,
    /// `versions/`; the ordinal counts the secret's lives, how often it was deleted and restored.
    Versions = 3,
    /// A version's value; the ordinal is the version's number.
    Version = 4,
    /// `stages/`; the ordinal counts the secret's lives.
    Stages = 5,
    /// A label; the ordinal is a hash of its name. Two labels must not be one inode, be they on one version: rename(2) does
    /// nothing between two names of one inode, and the kernel does not even ask.
    Stage = 6,
    /// A secret's tags.
    Tags = 7,
    /// A secret's policy document.
    Policy = 8,
    /// A secret's description.
    Description = 9,
    /// The name of a secret's key.
    Cmk = 10,
    /// DescribeSecret of a live secret or a draft.
    Info = 11,
    /// `fields/`; the ordinal is the number of the version whose members it shows, behind the numbers of those that were removed
    /// with their secret. Whoever has it open goes on with that version.
    Fields = 12,
    /// A member's value; the ordinal is the member's number, which no other one of any version has.
    Field = 13,
    /// All members of the version at ACSCurrent as lines for a shell.
    Dotenv = 14,
    /// By which function a secret is rotated, and how often.
    Rotation = 15,
    /// A member that is being written and is in no version yet; the ordinal is a number as files in memory have them.
    NewField = 16,
    /// A KMS instance; the node is the instance's, here and up to its trash, but for those of a key.
    Instance = 32,
    /// `.instance/`.
    InstanceControl = 33,
    /// What the instance is, as JSON.
    InstanceInfo = 34,
    /// The days that deletions in the instance wait.
    RecoveryWindow = 35,
    /// Whether the instance's values can be had.
    InstanceState = 36,
    /// The accounts that the instance is shared with.
    Shares = 37,
    /// How many other accounts the instance lets in.
    AccessQuota = 38,
    /// `.keys/`.
    Keys = 40,
    /// A key's directory; the node is the key's.
    Key = 41,
    /// DescribeKey; the node is the key's.
    KeyInfo = 42,
    /// Whether the key may be used; the node is the key's.
    KeyState = 43,
    /// The key's policy document; the node is the key's.
    KeyPolicy = 44,
    /// `.deleted/`.
    Trash = 48,
    /// A scheduled secret's directory in there; the ordinal counts the secret's lives.
    Trashed = 49,
    /// DescribeSecret of a scheduled secret.
    TrashedInfo = 50,
    /// Where `purge` is written.
    TrashedState = 51,
    /// The mount's root, and inode 1.
    Root = 64,
    /// `.kmsfs/`; the node is the root's, also of the files in it.
    Control = 65,
    /// The mount's state.
    Status = 66,
    /// The reading user's last refusal.
    LastError = 67,
    /// Where requests are written, and their answers read.
    Api = 68,
    /// What happens, a line each.
    Events = 69,
    /// The mount's measures, for Prometheus.
    Metrics = 70,
    /// A copy of the whole store, sealed; each open makes one.
    Backup = 71,
    /// A file in memory; the node is the root's, the ordinal is its slot.
    Scratch = 96,
}

impl Kind {
    /// Whether its bytes are those of a value, or made of them: they are sealed, and their reader is told of.
    pub fn is_value(self) -> bool {
        matches!(self, Kind::Current | Kind::Version | Kind::Field | Kind::NewField | Kind::Dotenv)
    }
}

/// What an inode number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ino {
    /// The record it is about.
    pub node: NodeId,
    /// What of that record.
    pub kind: Kind,
    /// 24 bits; 0 where the kind has only one.
    pub ordinal: u32,
}

/// FUSE's number for the root.
const ROOT_NUMBER: u64 = 1;
const KIND_SHIFT: u32 = 24;
const NODE_SHIFT: u32 = 32;
const ORDINAL_MASK: u64 = (1 << KIND_SHIFT) - 1;

impl Ino {
    /// The mount's root.
    pub const ROOT: Ino = Ino { node: NodeId::ROOT, kind: Kind::Root, ordinal: 0 };

    /// The inode of a kind that a node has only one of.
    pub(super) fn new(node: NodeId, kind: Kind) -> Self {
        Self { node, kind, ordinal: 0 }
    }

    /// A directory that is removed and comes again, a secret's own or one in the trash: the ordinal is how often the secret was
    /// deleted and restored. The kernel counts a removed directory's inode dead, or finds it at its former place; under
    /// another number it is another one, and whoever holds the former goes on with that.
    pub(super) fn lived(secret: NodeId, kind: Kind, generation: u32) -> Self {
        Self { node: secret, kind, ordinal: generation & ORDINAL_MASK as u32 }
    }

    /// The same whatever life of its secret it is of, and whichever version it shows.
    pub fn of_any_life(self) -> Self {
        match self.kind {
            Kind::Versions | Kind::Stages | Kind::Fields => Self { ordinal: 0, ..self },
            _ => self,
        }
    }

    /// Version `no` of `secret`.
    pub(super) fn version(secret: NodeId, no: VersionNo) -> Self {
        Self { node: secret, kind: Kind::Version, ordinal: no.0 }
    }

    /// The member numbered `number` of `secret`.
    pub(super) fn field(secret: NodeId, number: u32) -> Self {
        Self { node: secret, kind: Kind::Field, ordinal: number }
    }

    /// The label `label` of `secret`, wherever it is.
    pub(super) fn stage(secret: NodeId, label: &StageLabel) -> Self {
        Self { node: secret, kind: Kind::Stage, ordinal: label_ordinal(label) }
    }

    /// The file in memory in slot `slot`.
    pub(super) fn scratch(slot: u32) -> Self {
        Self { node: NodeId::ROOT, kind: Kind::Scratch, ordinal: slot }
    }

    /// As the kernel has it.
    pub fn number(self) -> u64 {
        if self.kind == Kind::Root {
            return ROOT_NUMBER;
        }
        u64::from(self.node.0) << NODE_SHIFT | u64::from(self.kind as u8) << KIND_SHIFT | u64::from(self.ordinal)
    }

    /// What `number` says; `None` for a number that this program never gave.
    pub fn parse(number: u64) -> Option<Self> {
        if number == ROOT_NUMBER {
            return Some(Self::ROOT);
        }
        let node = NodeId(u32::try_from(number >> NODE_SHIFT).ok()?);
        let kind = Kind::from_number(u8::try_from(number >> KIND_SHIFT & 0xff).ok()?)?;
        let ordinal = u32::try_from(number & ORDINAL_MASK).ok()?;
        Some(Self { node, kind, ordinal })
    }

    /// The version whose number this inode carries.
    pub(super) fn version_no(self) -> VersionNo {
        VersionNo(self.ordinal)
    }
}

/// FNV-1a of the label's name, folded to 24 bits. Of a secret's eight labels two collide once in 600,000 secrets; the second
/// is refused.
fn label_ordinal(label: &StageLabel) -> u32 {
    const BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let hash = label.as_str().bytes().fold(BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    (hash >> KIND_SHIFT) ^ (hash & ORDINAL_MASK as u32)
}

/// What a file handle stands for. The serial tells it from all others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handle {
    /// A reader of a value, and the version it pinned at open.
    Value {
        /// Which open.
        serial: u64,
        /// The version; it stays readable until the handle is released.
        no: VersionNo,
    },
    /// A reader of a text, whose bytes were taken at open.
    Text {
        /// Which open.
        serial: u64,
    },
    /// A writer.
    Draft {
        /// Which open.
        serial: u64,
    },
    /// A file in memory.
    Scratch {
        /// Which open.
        serial: u64,
    },
    /// A reader of a copy of the whole store, made at open.
    Snapshot {
        /// Which open.
        serial: u64,
    },
    /// A conversation with the api.
    Talk {
        /// Which open.
        serial: u64,
    },
    /// A reader of events.
    Events {
        /// Which open.
        serial: u64,
    },
    /// The poker's: it is opened and closed, and nothing else.
    Poke,
}

const SORT_SHIFT: u32 = 60;
const SERIAL_SHIFT: u32 = 24;
const SERIAL_MASK: u64 = (1 << (SORT_SHIFT - SERIAL_SHIFT)) - 1;

impl Handle {
    /// As the kernel has it.
    pub(super) fn number(self) -> u64 {
        let (sort, serial, no) = match self {
            Handle::Value { serial, no } => (1, serial, no.0),
            Handle::Text { serial } => (2, serial, 0),
            Handle::Draft { serial } => (3, serial, 0),
            Handle::Scratch { serial } => (4, serial, 0),
            Handle::Poke => (5, 0, 0),
            Handle::Talk { serial } => (6, serial, 0),
            Handle::Events { serial } => (7, serial, 0),
            Handle::Snapshot { serial } => (8, serial, 0),
        };
        sort << SORT_SHIFT | (serial & SERIAL_MASK) << SERIAL_SHIFT | u64::from(no)
    }

    /// What `number` says; `None` for a number that this program never gave.
    pub(super) fn parse(number: u64) -> Option<Self> {
        let serial = number >> SERIAL_SHIFT & SERIAL_MASK;
        match number >> SORT_SHIFT {
            1 => Some(Handle::Value { serial, no: VersionNo(u32::try_from(number & ORDINAL_MASK).ok()?) }),
            2 => Some(Handle::Text { serial }),
            3 => Some(Handle::Draft { serial }),
            4 => Some(Handle::Scratch { serial }),
            5 => Some(Handle::Poke),
            6 => Some(Handle::Talk { serial }),
            7 => Some(Handle::Events { serial }),
            8 => Some(Handle::Snapshot { serial }),
            _ => None,
        }
    }

    /// Which open it came of.
    pub(super) fn serial(self) -> u64 {
        match self {
            Handle::Value { serial, .. }
            | Handle::Text { serial }
            | Handle::Draft { serial }
            | Handle::Scratch { serial }
            | Handle::Talk { serial }
            | Handle::Events { serial }
            | Handle::Snapshot { serial } => serial,
            // No open file has it.
            Handle::Poke => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_what_they_stand_for() {
        let secret = NodeId(u32::MAX);
        for ino in [
            Ino::ROOT,
            Ino::new(secret, Kind::Current),
            Ino::version(secret, VersionNo::MAX),
            Ino::field(secret, 0),
            Ino::field(secret, ORDINAL_MASK as u32),
            Ino::stage(NodeId(64), &StageLabel::current()),
            Ino::scratch(7),
        ] {
            assert_eq!(Ino::parse(ino.number()), Some(ino));
        }
        assert_eq!(Ino::parse(0xff << 24), None, "an unknown kind");
    }

    #[test]
    fn current_is_the_lowest_of_its_secret() {
        let secret = NodeId(70);
        let current = Ino::new(secret, Kind::Current).number();
        for number in 2..=255 {
            if let Some(kind) = Kind::from_number(number).filter(|kind| *kind != Kind::Root) {
                assert!(Ino::new(secret, kind).number() > current);
            }
        }
    }

    #[test]
    fn handles_carry_their_version() {
        for handle in [
            Handle::Value { serial: SERIAL_MASK, no: VersionNo::MAX },
            Handle::Text { serial: 1 },
            Handle::Draft { serial: 2 },
            Handle::Scratch { serial: 3 },
            Handle::Events { serial: 4 },
            Handle::Snapshot { serial: 4 },
            Handle::Poke,
            Handle::Talk { serial: 4 },
        ] {
            assert_eq!(Handle::parse(handle.number()), Some(handle));
        }
        assert_eq!(Handle::parse(0), None);
    }
}
