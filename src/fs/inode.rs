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
    /// The ordinal counts the secret's lives, see [`Ino::lived`].
    Versions = 3,
    /// The ordinal is the version's number.
    Version = 4,
    Stages = 5,
    /// A label; the ordinal is a hash of its name. Two labels must not be one inode, be they on one version: rename(2) does
    /// nothing between two names of one inode, and the kernel does not even ask.
    Stage = 6,
    Tags = 7,
    Policy = 8,
    Description = 9,
    Cmk = 10,
    Info = 11,
    // 12 fields, 13 field, 14 dotenv, 15 rotation: with Key/Value secrets and rotation functions.
    Instance = 32,
    InstanceControl = 33,
    InstanceInfo = 34,
    RecoveryWindow = 35,
    // 36 state, 37 shares: with sealing and sharing.
    Keys = 40,
    Key = 41,
    KeyInfo = 42,
    KeyState = 43,
    KeyPolicy = 44,
    Trash = 48,
    Trashed = 49,
    TrashedInfo = 50,
    TrashedState = 51,
    Root = 64,
    Control = 65,
    Status = 66,
    LastError = 67,
    // 68 api, 69 events, 70 metrics: with the api.
    /// A file in memory; the ordinal is its slot.
    Scratch = 96,
}

/// What an inode number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ino {
    pub node: NodeId,
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
    pub const ROOT: Ino = Ino { node: NodeId::ROOT, kind: Kind::Root, ordinal: 0 };

    pub fn new(node: NodeId, kind: Kind) -> Self {
        Self { node, kind, ordinal: 0 }
    }

    /// A directory that is removed and comes again, a secret's own or one in the trash: the ordinal is how often the secret was
    /// deleted and restored. The kernel counts a removed directory's inode dead, or finds it at its former place; under
    /// another number it is another one, and whoever holds the former goes on with that.
    pub fn lived(secret: NodeId, kind: Kind, generation: u32) -> Self {
        Self { node: secret, kind, ordinal: generation & ORDINAL_MASK as u32 }
    }

    /// The same whatever life of its secret it is of.
    pub fn of_any_life(self) -> Self {
        match self.kind {
            Kind::Versions | Kind::Stages => Self { ordinal: 0, ..self },
            _ => self,
        }
    }

    pub fn version(secret: NodeId, no: VersionNo) -> Self {
        Self { node: secret, kind: Kind::Version, ordinal: no.0 }
    }

    pub fn stage(secret: NodeId, label: &StageLabel) -> Self {
        Self { node: secret, kind: Kind::Stage, ordinal: label_ordinal(label) }
    }

    pub fn scratch(slot: u32) -> Self {
        Self { node: NodeId::ROOT, kind: Kind::Scratch, ordinal: slot }
    }

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
    pub fn version_no(self) -> VersionNo {
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

/// What a file handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handle {
    /// A reader of a value, and the version it pinned at open.
    Value { serial: u64, no: VersionNo },
    /// A reader of a text, whose bytes were taken at open.
    Text { serial: u64 },
    /// A writer.
    Draft { serial: u64 },
    /// A file in memory.
    Scratch { serial: u64 },
}

const SORT_SHIFT: u32 = 60;
const SERIAL_SHIFT: u32 = 24;
const SERIAL_MASK: u64 = (1 << (SORT_SHIFT - SERIAL_SHIFT)) - 1;

impl Handle {
    pub fn number(self) -> u64 {
        let (sort, serial, no) = match self {
            Handle::Value { serial, no } => (1, serial, no.0),
            Handle::Text { serial } => (2, serial, 0),
            Handle::Draft { serial } => (3, serial, 0),
            Handle::Scratch { serial } => (4, serial, 0),
        };
        sort << SORT_SHIFT | (serial & SERIAL_MASK) << SERIAL_SHIFT | u64::from(no)
    }

    pub fn parse(number: u64) -> Option<Self> {
        let serial = number >> SERIAL_SHIFT & SERIAL_MASK;
        match number >> SORT_SHIFT {
            1 => Some(Handle::Value { serial, no: VersionNo(u32::try_from(number & ORDINAL_MASK).ok()?) }),
            2 => Some(Handle::Text { serial }),
            3 => Some(Handle::Draft { serial }),
            4 => Some(Handle::Scratch { serial }),
            _ => None,
        }
    }

    pub fn serial(self) -> u64 {
        match self {
            Handle::Value { serial, .. }
            | Handle::Text { serial }
            | Handle::Draft { serial }
            | Handle::Scratch { serial } => serial,
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
        ] {
            assert_eq!(Handle::parse(handle.number()), Some(handle));
        }
        assert_eq!(Handle::parse(0), None);
    }
}
