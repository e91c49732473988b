//! Telling that a secret's current value is another one, or that a label has moved, to whoever asked to be told.
//!
//! Whatever made it so (a put, a label that moved, a restore), it has come through a commit; so it is told there, once it is
//! durable and to be seen by readers, and no verb can forget it.

use std::sync::OnceLock;

use super::{Node, Vault};
use crate::id::NodeId;
use crate::secret::{InstanceName, SecretName};

/// A secret whose `current` is another version than it was, or is there again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The instance it stands in.
    pub instance: InstanceName,
    /// Its name there.
    pub name: SecretName,
    /// Whether it is its current value; else other labels of it have moved.
    pub is_current: bool,
}

/// The same, where the instance's name is not at hand: that, the secret's name, and whether it is the current value.
pub(super) type Turned = (NodeId, SecretName, bool);

/// Called in the thread that made the change, while no other change can be made: it must not wait.
type Listener = Box<dyn Fn(Rotated) + Send + Sync>;

/// Whoever is told.
#[derive(Default)]
pub(super) struct Listeners(OnceLock<Listener>);

impl Vault {
    /// Has `listener` told of every rotation from now on. The first one stays.
    pub fn on_rotation(&self, listener: impl Fn(Rotated) + Send + Sync + 'static) {
        let _ = self.listeners.0.set(Box::new(listener));
    }

    /// Tells of it.
    pub(super) fn announce(&self, (instance, name, is_current): Turned) {
        let Some(listener) = self.listeners.0.get() else { return };
        match self.node(instance) {
            Ok(Some(instance)) => {
                if let Some(instance) = instance.as_instance() {
                    listener(Rotated { instance: instance.name.clone(), name, is_current });
                }
            }
            Ok(None) => {}
            Err(error) => log::warn!("nobody was told of a rotation: {error}"),
        }
    }
}

/// The secret's name where `new`, in the place of `old`, shows another current value, or has labels elsewhere; whether it is the former.
pub(super) fn rotated(old: Option<&Node>, new: &Node) -> Option<(SecretName, bool)> {
    let stages = |node: &Node| match node {
        Node::Secret(node) if node.secret.deletion.is_none() => Some(node.secret.stages.clone()),
        Node::Secret(_) | Node::Root(_) | Node::Instance(_) | Node::Key(_) | Node::Directory(_) | Node::Rotation(_) => {
            None
        }
    };
    let Node::Secret(secret) = new else { return None };
    let (now, before) = (stages(new)?, old.and_then(stages));
    let current = now.current()?;
    let is_current = before.as_ref().and_then(|stages| stages.current()) != Some(current);
    (is_current || before != Some(now)).then(|| (secret.secret.name.clone(), is_current))
}
