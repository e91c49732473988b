//! The way to a record: the directories above it, with what their permission bits allow.

use std::sync::Arc;

use super::feed::Gone;
use super::{Access, Loaded, Vault, VaultError};
use crate::id::NodeId;

/// What x in every class is.
const PASS_ALL: u16 = 0o111;

impl Vault {
    /// The access of `list` and of all that are above it, the root's the last. Records in `gone` count as still there.
    pub(super) fn way_to(&self, list: NodeId, gone: &Gone) -> Result<Vec<Access>, VaultError> {
        let (mut way, mut at) = (Vec::new(), list);
        while at != NodeId::ROOT {
            let (above, access) = self.step_up(at, gone)?;
            way.push(access);
            at = above;
        }
        way.push(self.root()?.access);
        Ok(way)
    }

    /// The list that the directory or instance `id` stands in, and its access.
    pub(super) fn step_up(&self, id: NodeId, gone: &Gone) -> Result<(NodeId, Access), VaultError> {
        let (above, access) = match gone.get(&id) {
            Some(step) => *step,
            None => {
                let loaded = self.existing(id)?;
                (loaded.place().parent, loaded.access())
            }
        };
        Ok((above, access.ok_or(VaultError::Unreadable { node: id })?))
    }

    /// Whether `at`, or a directory above it, shows others the right to pass that its bits do not give them, or has done so: a policy lets
    /// somebody come, and whoever has come may stand there still. Then the kernel's decision on the way is none.
    pub fn is_widened(&self, at: &Arc<Loaded>) -> Result<bool, VaultError> {
        let mut at = at.clone();
        loop {
            let passes = at.access().is_some_and(|access| access.dir_mode & PASS_ALL == PASS_ALL);
            if at.was_opened() && !passes {
                return Ok(true);
            }
            if at.id() == NodeId::ROOT {
                return Ok(false);
            }
            at = self.existing(at.place().parent)?;
        }
    }
}
