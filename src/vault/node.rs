//! What the sealed records hold: one plain type per kind of node, written as JSON inside the seal.
//!
//! A *directory* is a name in the tree and who may use it; the *secret* of that name is a record of its own below it, so that
//! a deletion moves the secret to the instance's trash list and leaves a directory that still has other secrets below it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::secret::{
    Access, Account, InstanceName, InstanceState, KeyName, KeyState, Policy, Quota, RecoveryWindow, Secret, SecretName,
};
use crate::store::{Place, Record};
use crate::time::{SteadyClock, Timestamp};

/// Permission bits of a new secret's directory: nothing for others.
pub const NEW_DIR_MODE: u16 = 0o750;
/// Permission bits of a new secret's values.
pub const NEW_VALUE_MODE: u16 = 0o640;
/// Permission bits of a new instance: anybody may pass and list; its secrets have bits of their own.
pub const NEW_INSTANCE_MODE: u16 = 0o755;

/// The mount's root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    /// The account the store belongs to.
    pub account: Account,
    /// Who owns the mount's root, and who may make instances.
    pub access: Access,
    /// When the store was made.
    pub created: Timestamp,
    /// When an instance was made, or the access last changed.
    pub changed: Timestamp,
    /// The clock that nobody sets, as far as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<SteadyClock>,
    /// How many instances lead to a secret whose policy lets somebody come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passages: u32,
    /// Whether that was ever more than none: whoever came then may still stand here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_opened: bool,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A KMS instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The name of its directory in the root.
    pub name: InstanceName,
    /// Its own directory's, which the control directories below follow; each secret has its own.
    pub access: Access,
    /// When it was made.
    pub created: Timestamp,
    /// When a name directly below it came or went, or its access or window last changed.
    pub changed: Timestamp,
    /// The days that deletions wait; those already scheduled keep theirs.
    pub recovery_window: RecoveryWindow,
    /// The key a secret gets unless another is chosen.
    pub default_key: NodeId,
    /// Whether its values can be had.
    #[serde(default)]
    pub state: InstanceState,
    /// The other accounts that may make secrets in it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shares: BTreeSet<Account>,
    /// How many other accounts may be let in.
    #[serde(default)]
    pub quota: Quota,
    /// Other accounts, each with the number of policies of secrets and keys that allow it something.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub guests: BTreeMap<Account, u64>,
    /// How many names directly below lead to a secret whose policy lets somebody come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passages: u32,
    /// Whether that was ever more than none: whoever came then may still stand here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_opened: bool,
}

impl Instance {
    /// How many other accounts it lets in: it is shared with them, or a policy allows them something.
    pub fn others(&self) -> usize {
        self.guests.keys().filter(|account| !self.shares.contains(*account)).count() + self.shares.len()
    }

    /// Takes note of so many policies more, or fewer, that allow each account something.
    pub(super) fn let_in(&mut self, more: &HashMap<Account, i64>) {
        for (account, more) in more {
            let count = self.guests.entry(*account).or_default();
            *count = count.saturating_add_signed(*more);
        }
        self.guests.retain(|_, count| *count > 0);
    }
}

/// A customer master key; its material stands in wraps of this node, one per version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name of its directory in `.keys/`.
    pub name: KeyName,
    /// What is said of it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its state or its description last changed.
    pub changed: Timestamp,
    /// Whether values can be sealed and opened under it.
    pub state: KeyState,
    /// When each of its versions was made. They are numbered from 1; the last one wraps new data keys.
    pub versions: Vec<Timestamp>,
    /// No data key is wrapped by a version before this one.
    pub oldest: u32,
    /// `None` is the default policy: the instance's own accounts may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// How many secrets are under it, drafts and scheduled ones among them; of an instance's default key nobody counts them.
    pub uses: u64,
}

impl Key {
    /// The version that wraps new data keys.
    pub fn primary(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }
}

/// A name in the tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directory {
    /// The whole path below the instance, which is also the name of its secret.
    pub name: SecretName,
    /// Who may use it, and its secret while that is not scheduled.
    pub access: Access,
    /// When it was made; a directory that a restore makes anew is as young as that.
    pub created: Timestamp,
    /// When a name directly below it came or went, or its access last changed.
    pub changed: Timestamp,
    /// The account that made it, where that is not the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// Whether its own secret's policy lets somebody come, and how many names directly below lead to one whose does, together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passages: u32,
    /// Whether that was ever more than none: whoever came then may still stand here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_opened: bool,
}

/// A secret and, while it is scheduled for deletion, the access it had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretNode {
    /// What the rules decide on.
    pub secret: Secret,
    /// Set while it stands in the trash; a live secret's and a draft's access is its directory's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// That a secret is rotated by a function; all else of that is in the secret's own record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RotationEntry {
    /// The secret.
    pub secret: NodeId,
}

/// Any node. The JSON member that wraps it names its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "always behind an Arc, one at a time")]
pub enum Node {
    /// The one node that is its own scope; it stands in no list of the tree.
    Root(Root),
    /// In the list of the root.
    Instance(Instance),
    /// In its instance's list of keys.
    Key(Key),
    /// In the list of its instance, or of the directory above.
    Directory(Directory),
    /// In the list of its directory; while it is scheduled, in its instance's trash.
    Secret(SecretNode),
    /// In its instance's list of those that are rotated.
    Rotation(RotationEntry),
}

impl Node {
    /// The count of ways that lead on from it, and whether there ever were some, where it has them.
    pub(super) fn passages_mut(&mut self) -> Option<(&mut u32, &mut bool)> {
        match self {
            Node::Root(root) => Some((&mut root.passages, &mut root.was_opened)),
            Node::Instance(instance) => Some((&mut instance.passages, &mut instance.was_opened)),
            Node::Directory(directory) => Some((&mut directory.passages, &mut directory.was_opened)),
            Node::Key(_) | Node::Secret(_) | Node::Rotation(_) => None,
        }
    }
}

/// A node together with the row it was opened from.
#[derive(Debug)]
pub struct Loaded {
    pub(super) record: Record,
    /// What the record holds.
    pub node: Node,
}

impl Loaded {
    /// Its number in the store, the same for as long as it exists.
    pub fn id(&self) -> NodeId {
        self.record.id
    }

    /// The list it stands in, and its name there.
    pub fn place(&self) -> Place {
        self.record.place
    }

    /// The instance it belongs to; an instance belongs to itself.
    pub fn instance_id(&self) -> NodeId {
        if matches!(self.node, Node::Instance(_)) { self.record.id } else { self.record.place.scope }
    }

    /// The root, if it is that.
    pub(super) fn as_root(&self) -> Option<&Root> {
        if let Node::Root(root) = &self.node { Some(root) } else { None }
    }

    /// The instance, if it is one.
    pub fn as_instance(&self) -> Option<&Instance> {
        if let Node::Instance(instance) = &self.node { Some(instance) } else { None }
    }

    /// The key, if it is one.
    pub fn as_key(&self) -> Option<&Key> {
        if let Node::Key(key) = &self.node { Some(key) } else { None }
    }

    /// The directory, if it is one; an instance is none, though others see it as one.
    pub fn as_directory(&self) -> Option<&Directory> {
        if let Node::Directory(directory) = &self.node { Some(directory) } else { None }
    }

    /// The secret, if it is one: live, a draft, or scheduled.
    pub fn as_secret(&self) -> Option<&SecretNode> {
        if let Node::Secret(secret) = &self.node { Some(secret) } else { None }
    }

    /// How many ways lead on from here to a secret whose policy lets somebody come.
    pub fn passages(&self) -> u32 {
        match &self.node {
            Node::Root(root) => root.passages,
            Node::Instance(instance) => instance.passages,
            Node::Directory(directory) => directory.passages,
            Node::Key(_) | Node::Secret(_) | Node::Rotation(_) => 0,
        }
    }

    /// Whether somebody may have come by here whom its bits do not let pass, since a policy lets, or has let, somebody come.
    pub fn was_opened(&self) -> bool {
        match &self.node {
            Node::Root(root) => root.was_opened,
            Node::Instance(instance) => instance.was_opened,
            Node::Directory(directory) => directory.was_opened,
            Node::Key(_) | Node::Secret(_) | Node::Rotation(_) => false,
        }
    }

    /// The access of a node that has one of its own.
    pub fn access(&self) -> Option<Access> {
        match &self.node {
            Node::Root(root) => Some(root.access),
            Node::Instance(instance) => Some(instance.access),
            Node::Directory(directory) => Some(directory.access),
            Node::Secret(secret) => secret.access,
            Node::Key(_) | Node::Rotation(_) => None,
        }
    }
}

/// The list that an instance's keys stand in. It has no record: an instance takes three numbers when it is made.
pub fn keys_list(instance: NodeId) -> NodeId {
    NodeId(instance.0 + 1)
}

/// The list that an instance's scheduled secrets stand in.
pub fn trash_list(instance: NodeId) -> NodeId {
    NodeId(instance.0 + 2)
}

/// The list of what says that a secret of the instance is rotated by a function. It has the number of the key that the instance was made
/// with, below which nothing else stands.
pub fn rotations_list(instance: NodeId) -> NodeId {
    NodeId(instance.0 + INSTANCE_NUMBERS)
}

/// Numbers taken by one instance: its own, its keys list's, its trash list's.
pub const INSTANCE_NUMBERS: u32 = 3;
