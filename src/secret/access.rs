//! Owner, group and mode: the RAM side of every decision. The kernel enforces them on the tree; who comes by another door is
//! held against the same bits here, in the same way.

use serde::{Deserialize, Serialize};

/// Who owns a directory and what its bits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The owner, also of the entries.
    pub uid: u32,
    /// The group, also of the entries.
    pub gid: u32,
    /// The directory's permission bits; its entries follow their r and w.
    pub dir_mode: u16,
    /// The permission bits of the secret's values; without meaning where there is none.
    pub value_mode: u16,
}

/// Who asks, as the kernel would see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// All other groups.
    pub groups: Vec<u32>,
    /// Whether permission bits bind it at all: root's do not, unless a container has taken that from it.
    pub overrides: bool,
}

impl Identity {
    /// The user of who is nothing but in a group.
    pub const NOBODY: u32 = u32::MAX - 1;
}

/// What permission bits can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// r
    Read,
    /// w
    Write,
    /// x: to reach what is in a directory.
    Pass,
    /// w and x: to make and remove names in a directory.
    Change,
}

impl Right {
    fn bits(self) -> u16 {
        match self {
            Right::Read => 4,
            Right::Write => 2,
            Right::Pass => 1,
            Right::Change => 3,
        }
    }
}

impl Access {
    /// Whether the directory's bits give `who` the right.
    pub fn allows(&self, who: &Identity, right: Right) -> bool {
        self.grants(self.dir_mode, who, right)
    }

    /// Whether the bits of the secret's values do.
    pub fn allows_value(&self, who: &Identity, right: Right) -> bool {
        self.grants(self.value_mode, who, right)
    }

    /// Whether `who` owns it, or need not.
    pub fn is_owned_by(&self, who: &Identity) -> bool {
        who.overrides || who.uid == self.uid
    }

    /// One class of bits decides, the first that fits: an owner whose bits say no is not helped by the group's.
    fn grants(&self, mode: u16, who: &Identity, right: Right) -> bool {
        let class = if who.uid == self.uid {
            mode >> 6
        } else if who.gid == self.gid || who.groups.contains(&self.gid) {
            mode >> 3
        } else {
            mode
        };
        who.overrides || class & right.bits() == right.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (uid, gid, groups) asks of 1000:100 with mode -> r, w, x
    #[test]
    fn the_first_class_that_fits_decides() {
        let who = |uid, gid, groups: &[u32]| Identity { uid, gid, groups: groups.to_vec(), overrides: false };
        for (who, mode, expected) in [
            (who(1000, 1, &[]), 0o750, [true, true, true]),
            (who(1000, 100, &[]), 0o070, [false; 3]),
            (who(2, 100, &[]), 0o750, [true, false, true]),
            (who(2, 1, &[7, 100]), 0o750, [true, false, true]),
            (who(2, 100, &[]), 0o707, [false; 3]),
            (who(2, 1, &[7]), 0o750, [false; 3]),
            (who(2, 1, &[7]), 0o754, [true, false, false]),
        ] {
            let access = Access { uid: 1000, gid: 100, dir_mode: mode, value_mode: 0 };
            assert_eq!([Right::Read, Right::Write, Right::Pass].map(|right| access.allows(&who, right)), expected);
            assert_eq!(access.allows(&who, Right::Change), expected[1] && expected[2]);
            assert!(!access.allows_value(&who, Right::Read), "values have bits of their own");
            let root = Identity { overrides: true, ..who };
            assert!(access.allows(&root, Right::Change) && access.is_owned_by(&root));
        }
    }
}
