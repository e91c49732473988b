//! The tree as one table. Lookup, listing, attributes and open all read it: a file cannot be added without a row that says
//! what it is, whose permission bits it has, and which KMS action guards it.

use super::inode::Kind;
use crate::secret::Action;

/// What the kernel sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Holds names.
    Directory,
    /// Holds bytes: a value or a text.
    File,
    /// Holds a target: labels, and scratch links.
    Link,
}

/// Where an entry's permission bits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// The directory's own.
    Directory,
    /// The directory's r and w.
    Entry,
    /// The directory's r; and w of its owner alone, whatever its bits are.
    Owner,
    /// The directory's r.
    ReadOnly,
    /// The values'.
    Value,
    /// The values' r.
    ReadValue,
    /// These, whatever the directory's are.
    Fixed(u16),
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Always this one.
    Fixed(&'static str),
    /// As many as users have made.
    Any,
}

/// One row: an entry of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub within: Kind,
    pub name: Name,
    pub kind: Kind,
    pub shape: Shape,
    pub bits: Bits,
    pub read: Option<Action>,
    pub write: Option<Action>,
}

const fn row(
    within: Kind,
    name: Name,
    kind: Kind,
    shape: Shape,
    bits: Bits,
    read: Option<Action>,
    write: Option<Action>,
) -> Row {
    Row { within, name, kind, shape, bits, read, write }
}

use Action as A;
use Bits as B;
use Name::{Any, Fixed};
use Shape::{Directory as Dir, File, Link};

/// World-writable and sticky: whoever owned a scheduled secret may rename it out, nobody else's.
const TRASH_BITS: u16 = 0o1777;
/// What the mount says about itself: anybody may look, nobody writes.
const CONTROL_DIR_BITS: u16 = 0o555;
/// The same of its files.
const CONTROL_FILE_BITS: u16 = 0o444;
/// Anybody may ask: who is refused what is decided by each request.
const API_BITS: u16 = 0o666;
/// Of a copy of the store: for the owner of the root alone.
const BACKUP_BITS: u16 = 0o400;
/// A link's bits, which nobody asks: its target's decide.
pub const LINK_BITS: u16 = 0o777;

/// The tree. Within a directory the order is that of readdir; `current` comes first, so that `rm -r` schedules the
/// deletion before it meets anything else.
#[rustfmt::skip]
pub const TREE: &[Row] = &[
    row(Kind::Root, Fixed(".kmsfs"), Kind::Control, Dir, B::Fixed(CONTROL_DIR_BITS), Some(A::ReadStatus), None),
    row(Kind::Root, Any, Kind::Instance, Dir, B::Directory, Some(A::ListSecrets), None),

    row(Kind::Control, Fixed("api"), Kind::Api, File, B::Fixed(API_BITS), Some(A::Ask), Some(A::Ask)),
    row(Kind::Control, Fixed("events"), Kind::Events, File, B::Fixed(CONTROL_FILE_BITS), Some(A::ReadStatus), None),
    row(Kind::Control, Fixed("metrics"), Kind::Metrics, File, B::Fixed(CONTROL_FILE_BITS), Some(A::ReadStatus), None),
    row(Kind::Control, Fixed("backup"), Kind::Backup, File, B::Fixed(BACKUP_BITS), Some(A::BackUp), None),
    row(Kind::Control, Fixed("last-error"), Kind::LastError, File, B::Fixed(CONTROL_FILE_BITS), Some(A::ReadStatus), None),
    row(Kind::Control, Fixed("status"), Kind::Status, File, B::Fixed(CONTROL_FILE_BITS), Some(A::ReadStatus), None),

    row(Kind::Instance, Fixed(".instance"), Kind::InstanceControl, Dir, B::Directory, Some(A::DescribeInstance), None),
    row(Kind::Instance, Fixed(".keys"), Kind::Keys, Dir, B::Directory, Some(A::ListKeys), None),
    row(Kind::Instance, Fixed(".deleted"), Kind::Trash, Dir, B::Fixed(TRASH_BITS), Some(A::ListSecrets), None),
    row(Kind::Instance, Any, Kind::Directory, Dir, B::Directory, Some(A::ListSecrets), Some(A::CreateSecret)),

    row(Kind::InstanceControl, Fixed("info"), Kind::InstanceInfo, File, B::ReadOnly, Some(A::DescribeInstance), None),
    row(Kind::InstanceControl, Fixed("state"), Kind::InstanceState, File, B::Owner, Some(A::DescribeInstance), Some(A::UpdateInstance)),
    row(Kind::InstanceControl, Fixed("shares"), Kind::Shares, File, B::Owner, Some(A::DescribeInstance), Some(A::UpdateInstance)),
    row(Kind::InstanceControl, Fixed("access-quota"), Kind::AccessQuota, File, B::Owner, Some(A::DescribeInstance), Some(A::UpdateInstance)),
    row(Kind::InstanceControl, Fixed("recovery-window"), Kind::RecoveryWindow, File, B::Entry, Some(A::DescribeInstance), Some(A::UpdateInstance)),

    row(Kind::Keys, Any, Kind::Key, Dir, B::Directory, Some(A::DescribeKey), Some(A::CreateKey)),
    row(Kind::Key, Fixed("info"), Kind::KeyInfo, File, B::ReadOnly, Some(A::DescribeKey), None),
    row(Kind::Key, Fixed("state"), Kind::KeyState, File, B::Entry, Some(A::DescribeKey), Some(A::UpdateKeyState)),
    row(Kind::Key, Fixed("policy"), Kind::KeyPolicy, File, B::Owner, Some(A::GetKeyPolicy), Some(A::SetKeyPolicy)),

    row(Kind::Trash, Any, Kind::Trashed, Dir, B::Directory, Some(A::DescribeSecret), None),
    row(Kind::Trashed, Fixed("info"), Kind::TrashedInfo, File, B::ReadOnly, Some(A::DescribeSecret), None),
    row(Kind::Trashed, Fixed("state"), Kind::TrashedState, File, B::Entry, Some(A::DescribeSecret), Some(A::ForceDeleteSecret)),

    row(Kind::Directory, Fixed("current"), Kind::Current, File, B::Value, Some(A::GetSecretValue), Some(A::PutSecretValue)),
    row(Kind::Directory, Fixed("versions"), Kind::Versions, Dir, B::Directory, Some(A::ListSecretVersionIds), Some(A::PutSecretValue)),
    row(Kind::Directory, Fixed("stages"), Kind::Stages, Dir, B::Directory, Some(A::ListSecretVersionIds), Some(A::UpdateSecretVersionStage)),
    row(Kind::Directory, Fixed("fields"), Kind::Fields, Dir, B::Directory, Some(A::ListSecretVersionIds), Some(A::PutSecretValue)),
    row(Kind::Directory, Fixed("dotenv"), Kind::Dotenv, File, B::ReadValue, Some(A::GetSecretValue), None),
    row(Kind::Directory, Fixed("tags"), Kind::Tags, File, B::Entry, Some(A::ListTagResources), Some(A::TagResource)),
    row(Kind::Directory, Fixed("policy"), Kind::Policy, File, B::Owner, Some(A::GetSecretPolicy), Some(A::SetSecretPolicy)),
    row(Kind::Directory, Fixed("description"), Kind::Description, File, B::Entry, Some(A::DescribeSecret), Some(A::UpdateSecret)),
    row(Kind::Directory, Fixed("rotation"), Kind::Rotation, File, B::Entry, Some(A::DescribeSecret), Some(A::UpdateSecretRotationPolicy)),
    row(Kind::Directory, Fixed("cmk"), Kind::Cmk, File, B::Entry, Some(A::DescribeSecret), Some(A::UpdateSecret)),
    row(Kind::Directory, Fixed("info"), Kind::Info, File, B::ReadOnly, Some(A::DescribeSecret), None),
    row(Kind::Directory, Any, Kind::Directory, Dir, B::Directory, Some(A::ListSecrets), Some(A::CreateSecret)),

    row(Kind::Versions, Any, Kind::Version, File, B::Value, Some(A::GetSecretValue), Some(A::PutSecretValue)),
    row(Kind::Fields, Any, Kind::Field, File, B::Value, Some(A::GetSecretValue), Some(A::PutSecretValue)),
    row(Kind::Fields, Any, Kind::NewField, File, B::Value, Some(A::GetSecretValue), Some(A::PutSecretValue)),
    row(Kind::Stages, Any, Kind::Stage, Link, B::Fixed(LINK_BITS), Some(A::ListSecretVersionIds), Some(A::UpdateSecretVersionStage)),
];

/// The row of the fixed entry `name` in a directory of kind `within`, with its place in the listing.
pub fn fixed(within: Kind, name: &[u8]) -> Option<&'static Row> {
    fixed_entries(within).find(|row| matches!(row.name, Name::Fixed(fixed) if fixed.as_bytes() == name))
}

/// The fixed entries of a directory of kind `within`, in order.
pub fn fixed_entries(within: Kind) -> impl Iterator<Item = &'static Row> {
    TREE.iter().filter(move |row| row.within == within && matches!(row.name, Name::Fixed(_)))
}

/// The row of the entries that users make in a directory of kind `within`, if they make any.
pub fn any_entry(within: Kind) -> Option<&'static Row> {
    TREE.iter().find(|row| row.within == within && row.name == Name::Any)
}

/// The row that describes entries of `kind`. The root and scratch files have none.
pub fn of(kind: Kind) -> Option<&'static Row> {
    TREE.iter().find(|row| row.kind == kind)
}

/// What the kernel sees of entries of `kind`. Scratch files count as files here, though a few are links.
pub fn shape(kind: Kind) -> Shape {
    if kind == Kind::Root { Shape::Directory } else { of(kind).map_or(Shape::File, |row| row.shape) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::RESERVED;

    #[test]
    fn every_entry_of_a_secret_is_reserved() {
        for row in fixed_entries(Kind::Directory) {
            let Name::Fixed(name) = row.name else { unreachable!("fixed entries have fixed names") };
            assert!(RESERVED.contains(&name), "{name} could be made as a secret");
        }
    }

    #[test]
    fn current_is_listed_first() {
        assert_eq!(fixed_entries(Kind::Directory).next().map(|row| row.kind), Some(Kind::Current));
    }

    #[test]
    fn every_file_names_the_action_that_guards_it() {
        for row in TREE {
            assert!(row.read.is_some(), "{:?} can be read without an action", row.kind);
            let writable =
                matches!(row.bits, Bits::Entry | Bits::Owner | Bits::Value) || row.bits == Bits::Fixed(API_BITS);
            assert_eq!(
                writable && row.shape == Shape::File,
                row.write.is_some() && row.shape == Shape::File,
                "{:?}",
                row.kind
            );
        }
    }
}
