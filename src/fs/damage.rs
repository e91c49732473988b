//! Damage that was met since the daemon started: a record or a value that does not open. A monitor that looks at the status
//! shall know of it, though whoever met it has long gone on.

use parking_lot::Mutex;

use super::errno::Fault;
use super::inode::Ino;
use crate::id::NodeId;
use crate::vault::VaultError;

/// What was met.
#[derive(Default)]
pub struct Damage(Mutex<Option<Met>>);

/// How often, and where the last time: a node's number, since a path may be what does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    pub count: u64,
    pub node: NodeId,
}

impl Damage {
    /// Takes note of `fault`, which came of a request on `on`, if it is damage.
    pub fn note(&self, fault: &Fault, on: Option<Ino>) {
        if let Fault::Vault(error) = fault {
            self.note_error(error, on);
        }
    }

    /// The same of what the vault said.
    pub fn note_error(&self, error: &VaultError, on: Option<Ino>) {
        if !error.is_damage() {
            return;
        }
        let asked = on.map_or(NodeId::ROOT, |ino| ino.node);
        let node = match error {
            VaultError::Lost { node, .. } | VaultError::Unreadable { node } => *node,
            _ => asked,
        };
        let mut met = self.0.lock();
        let count = met.map_or(0, |met| met.count);
        *met = Some(Met { count: count + 1, node });
    }

    /// What was met until now.
    pub fn met(&self) -> Option<Met> {
        *self.0.lock()
    }
}
