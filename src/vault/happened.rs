//! What a change was, told from the record before it and the one after it. Every verb writes its records through one batch, and
//! each of those is looked at here: so no verb can forget to tell of what it does, and none has to think of it.

use super::Node;
use crate::id::{NodeId, VersionNo};
use crate::secret::{KeyName, KeyState, Rotation, RunOutcome, Secret, SecretName, StageLabel, Stages, VersionId};
use crate::store::Place;

/// What happened to a secret, a name, a key or an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// An instance is there.
    InstanceMade,
    /// A name is there: a directory, with the draft of a secret or for one that was restored.
    Created,
    /// A version is there.
    VersionAdded,
    /// A version is gone before it rolled away.
    VersionDestroyed,
    /// ACSCurrent is on another version, or on the first one.
    Rotated,
    /// A label other than ACSCurrent was added, moved or removed. That ACSPrevious follows a rotation is none of it.
    Stages,
    /// Tags.
    Tags,
    /// The description.
    Description,
    /// Another function rotates the secret, or none, or at other times.
    RotationPlan,
    /// A run of the function that rotates the secret begins, or goes on.
    RotationBegun,
    /// A step of it has failed, and is tried again.
    RotationRetried,
    /// It has failed for good.
    RotationFailed,
    /// Somebody has cancelled it.
    RotationCancelled,
    /// It is done.
    RotationDone,
    /// Another key was chosen: for a secret, or as an instance's default.
    Key,
    /// The policy.
    Policy,
    /// Owner, group or permission bits.
    Access,
    /// The days that deletions in the instance wait.
    Window,
    /// An instance was sealed, or runs again.
    InstanceState,
    /// An instance is shared with other accounts than before.
    Shares,
    /// How many other accounts an instance lets in.
    Quota,
    /// A secret was scheduled for deletion.
    Deleted,
    /// A secret came back from the trash.
    Restored,
    /// A secret is gone for good.
    Purged,
    /// A name left the tree: the directory of a draft, or of a secret that was scheduled or purged.
    Removed,
    /// A key is there, beside the one that each instance begins with.
    KeyMade,
    /// A key may be used, or no longer.
    KeyState,
    /// A key has a version more.
    KeyRotated,
    /// A key is gone for good.
    KeyDestroyed,
}

impl What {
    /// The word for it in an event.
    pub fn word(self) -> &'static str {
        match self {
            What::InstanceMade => "instance-made",
            What::Created => "created",
            What::VersionAdded => "version-added",
            What::VersionDestroyed => "version-destroyed",
            What::Rotated => "rotated",
            What::Stages => "stages",
            What::Tags => "tags",
            What::Description => "description",
            What::RotationPlan => "rotation-plan",
            What::RotationBegun => "rotation-begun",
            What::RotationRetried => "rotation-retried",
            What::RotationFailed => "rotation-failed",
            What::RotationCancelled => "rotation-cancelled",
            What::RotationDone => "rotation-done",
            What::Key => "key",
            What::Policy => "policy",
            What::Access => "access",
            What::Window => "window",
            What::InstanceState => "instance-state",
            What::Shares => "shares",
            What::Quota => "access-quota",
            What::Deleted => "deleted",
            What::Restored => "restored",
            What::Purged => "purged",
            What::Removed => "removed",
            What::KeyMade => "key-made",
            What::KeyState => "key-state",
            What::KeyRotated => "key-rotated",
            What::KeyDestroyed => "key-destroyed",
        }
    }

    /// Whether somebody who could read a value before may not be allowed to by it.
    pub fn is_of_rights(self) -> bool {
        match self {
            What::Access
            | What::Policy
            | What::VersionDestroyed
            | What::Deleted
            | What::Purged
            | What::Removed
            | What::KeyState
            | What::KeyDestroyed
            | What::Key
            | What::InstanceState
            | What::Shares => true,
            What::InstanceMade
            | What::Created
            | What::VersionAdded
            | What::Rotated
            | What::Stages
            | What::Tags
            | What::Description
            | What::RotationPlan
            | What::RotationBegun
            | What::RotationRetried
            | What::RotationFailed
            | What::RotationCancelled
            | What::RotationDone
            | What::Window
            | What::Quota
            | What::Restored
            | What::KeyMade
            | What::KeyRotated => false,
        }
    }

    /// Whether what a reader of `current` gets may be another value by it.
    pub fn is_rotation(self) -> bool {
        matches!(self, What::Rotated | What::Restored)
    }
}

/// What it happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The mount's root, or the instance itself.
    Itself,
    /// A name in the instance, and its secret.
    Name(SecretName),
    /// A key of the instance.
    Key(KeyName),
}

/// One thing that a commit does.
#[derive(Debug, Clone)]
pub(super) struct Happened {
    pub what: What,
    pub subject: Subject,
    pub version: Option<VersionId>,
    /// Where the record stands, or has stood; its scope is the instance.
    pub place: Place,
    /// The record itself.
    pub id: NodeId,
    /// Whether that is a secret, which is listed as its directory.
    pub is_secret: bool,
}

/// What it is that a commit does which writes `new` in the place of `old`. A record that only notes that something near it has
/// changed says nothing.
pub(super) fn happened(id: NodeId, place: Place, old: Option<&Node>, new: Option<&Node>) -> Vec<Happened> {
    let told = match (old, new) {
        (None, Some(Node::Instance(_))) => vec![(What::InstanceMade, None)],
        (Some(Node::Instance(old)), Some(Node::Instance(new))) => differing([
            (What::Access, old.access != new.access),
            (What::Window, old.recovery_window != new.recovery_window),
            (What::InstanceState, old.state != new.state),
            (What::Shares, old.shares != new.shares),
            (What::Quota, old.quota != new.quota),
            (What::Key, old.default_key != new.default_key),
        ]),
        (Some(Node::Root(old)), Some(Node::Root(new))) => differing([(What::Access, old.access != new.access)]),
        (None, Some(Node::Key(key))) if key.name != KeyName::default_key() => vec![(What::KeyMade, None)],
        // What is left of one that was forced is taken away without a word.
        (Some(Node::Key(old)), None) => differing([(What::KeyDestroyed, old.state != KeyState::Destroyed)]),
        (Some(Node::Key(old)), Some(Node::Key(new)))
            if old.state != KeyState::Destroyed && new.state == KeyState::Destroyed =>
        {
            vec![(What::KeyDestroyed, None)]
        }
        (Some(Node::Key(old)), Some(Node::Key(new))) => differing([
            (What::KeyState, old.state != new.state),
            (What::Policy, old.policy != new.policy),
            (What::KeyRotated, old.versions.len() != new.versions.len()),
        ]),
        (None, Some(Node::Directory(_))) => vec![(What::Created, None)],
        (Some(Node::Directory(old)), Some(Node::Directory(new))) => {
            differing([(What::Access, old.access != new.access)])
        }
        (Some(Node::Directory(_)), None) => vec![(What::Removed, None)],
        // Its secret is told of.
        (Some(Node::Rotation(_)), _) | (_, Some(Node::Rotation(_))) => Vec::new(),
        (old, new) => of_secret(old.and_then(secret), new.and_then(secret)),
    };
    let subject = match new.or(old) {
        Some(Node::Key(key)) => Subject::Key(key.name.clone()),
        Some(Node::Directory(directory)) => Subject::Name(directory.name.clone()),
        Some(Node::Secret(secret)) => Subject::Name(secret.secret.name.clone()),
        Some(Node::Root(_) | Node::Instance(_) | Node::Rotation(_)) | None => Subject::Itself,
    };
    let is_secret = matches!(new.or(old), Some(Node::Secret(_)));
    let happened = |(what, version)| Happened { what, subject: subject.clone(), version, place, id, is_secret };
    told.into_iter().map(happened).collect()
}

/// What happened, and the version that it happened with.
type Told = Vec<(What, Option<VersionId>)>;

fn secret(node: &Node) -> Option<&Secret> {
    match node {
        Node::Secret(node) => Some(&node.secret),
        Node::Root(_) | Node::Instance(_) | Node::Key(_) | Node::Directory(_) | Node::Rotation(_) => None,
    }
}

fn of_secret(old: Option<&Secret>, new: Option<&Secret>) -> Told {
    let Some(new) = new else {
        // A draft goes with its directory, which is told of.
        return if old.is_some_and(|old| !old.is_draft()) { vec![(What::Purged, None)] } else { Vec::new() };
    };
    let begun = Secret::draft(new.name.clone(), new.key, new.created);
    let old = old.unwrap_or(&begun);
    let current = || new.current().map(|version| version.id.clone());
    let mut told = match (&old.deletion, &new.deletion) {
        (None, Some(_)) => return vec![(What::Deleted, None)],
        (Some(_), None) => vec![(What::Restored, current())],
        (None, None) | (Some(_), Some(_)) => Vec::new(),
    };
    let beside = |one: &Secret, other: &Secret, what| -> Told {
        let versions = one.versions.iter().filter(|version| other.version_no(version.no).is_none());
        versions.map(|version| (what, Some(version.id.clone()))).collect()
    };
    let added = beside(new, old, What::VersionAdded);
    // What rolls away does so for a version that comes.
    if added.is_empty() {
        told.extend(beside(old, new, What::VersionDestroyed));
    }
    told.extend(added);
    let rotates = old.stages.current() != new.stages.current();
    if rotates {
        told.push((What::Rotated, current()));
    }
    told.extend(differing([
        (What::Stages, labels(&old.stages, rotates) != labels(&new.stages, rotates)),
        (What::Tags, old.tags != new.tags),
        (What::Description, old.description != new.description),
        (What::Key, old.key != new.key),
        (What::Policy, old.policy != new.policy),
    ]));
    told.extend(of_rotation(old.rotation.as_ref(), new.rotation.as_ref()));
    told
}

fn of_rotation(old: Option<&Rotation>, new: Option<&Rotation>) -> Told {
    let plan = old.map(|old| &old.plan) != new.map(|new| &new.plan);
    let (before, after) = (old.and_then(Rotation::running), new.and_then(Rotation::running));
    let stuck = new.and_then(|new| new.run.as_ref()).is_some_and(|run| run.stuck);
    let cancelled = new.and_then(|new| new.last.as_ref()).is_some_and(|last| last.outcome == RunOutcome::Cancelled);
    differing([
        (What::RotationPlan, plan),
        (What::RotationBegun, before.is_none() && after.is_some()),
        (What::RotationRetried, before.zip(after).is_some_and(|(before, after)| after.failures > before.failures)),
        (What::RotationFailed, before.is_some() && stuck),
        (What::RotationCancelled, before.is_some() && after.is_none() && !stuck && cancelled),
        (What::RotationDone, before.is_some() && after.is_none() && !stuck && !cancelled),
    ])
}

/// All labels but ACSCurrent, and but the one that follows it where it moves.
fn labels(stages: &Stages, rotates: bool) -> Vec<(&str, VersionNo)> {
    let current = StageLabel::current();
    let others = stages.iter().filter(|(label, _)| !(**label == current || rotates && label.is_built_in()));
    others.map(|(label, no)| (label.as_str(), no)).collect()
}

fn differing<const N: usize>(cases: [(What, bool); N]) -> Told {
    cases.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| (what, None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{self, Access, Put, PutOutcome, RecoveryWindow, Tags};
    use crate::store::Index;
    use crate::time::{Moment, Steady, Timestamp};
    use crate::vault::keys::new_key;
    use crate::vault::{Directory, Key, SecretNode};

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn words(old: Option<&Node>, new: Option<&Node>) -> Vec<String> {
        let place = Place { scope: NodeId(64), parent: NodeId(67), index: Index([0; 16]) };
        let word = |told: Happened| match told.version {
            Some(version) => format!("{} {}", told.what.word(), version.as_str()),
            None => told.what.word().to_owned(),
        };
        happened(NodeId(70), place, old, new).into_iter().map(word).collect()
    }

    fn node(secret: &Secret) -> Node {
        Node::Secret(SecretNode { secret: secret.clone(), access: None })
    }

    fn put(secret: &Secret, id: &str) -> Secret {
        let id = VersionId::parse(id.as_bytes()).unwrap();
        let put = Put { id: Some(id), no: None, bytes: b"x", stages: None, kind: None, if_current: None };
        match secret::put(secret, put, NOW).unwrap() {
            PutOutcome::Added(change) => change.secret,
            PutOutcome::Replay(_) => panic!("it is new"),
        }
    }

    #[test]
    fn each_change_of_a_secret_has_its_words() {
        let draft = Secret::draft(SecretName::parse("db/password").unwrap(), NodeId(65), NOW);
        let one = put(&draft, "one");
        let two = put(&one, "two");
        let label = |name: &[u8]| StageLabel::parse(name).unwrap();
        let moved = |secret: &Secret, name: &[u8], to: &str| {
            let to = VersionId::parse(to.as_bytes()).unwrap();
            secret::move_stage(secret, &label(name), &to, None, NOW).unwrap().secret
        };
        let tagged = secret::set_tags(&one, Tags::parse_file(b"a=b\n").unwrap(), NOW).unwrap().secret;
        let described = secret::set_description(&one, b"text", NOW).unwrap().secret;
        let deleted =
            secret::delete(&two, RecoveryWindow::DEFAULT, Moment { wall: NOW, steady: Steady(0) }).unwrap().secret;
        let restored = secret::restore(&deleted, NOW).unwrap().secret;
        let keyed = secret::set_key(&draft, NodeId(80), NOW).unwrap().secret;
        let renewed = Secret { generation: 7, ..draft.clone() };
        let cases: [(Option<&Secret>, Option<&Secret>, &[&str]); 14] = [
            (None, Some(&draft), &[]),
            (None, Some(&one), &["version-added one", "rotated one"]),
            (Some(&draft), Some(&one), &["version-added one", "rotated one"]),
            (Some(&one), Some(&two), &["version-added two", "rotated two"]),
            (Some(&two), Some(&moved(&two, b"ACSCurrent", "one")), &["rotated one"]),
            (Some(&two), Some(&moved(&two, b"canary", "one")), &["stages"]),
            (Some(&two), Some(&moved(&two, b"ACSPrevious", "two")), &["stages"]),
            (Some(&one), Some(&tagged), &["tags"]),
            (Some(&one), Some(&described), &["description"]),
            (Some(&draft), Some(&keyed), &["key"]),
            (Some(&two), Some(&deleted), &["deleted"]),
            (Some(&deleted), Some(&restored), &["restored two"]),
            (Some(&deleted), None, &["purged"]),
            (Some(&draft), Some(&renewed), &[]),
        ];
        for (old, new, expected) in cases {
            assert_eq!(words(old.map(node).as_ref(), new.map(node).as_ref()), expected, "{old:?} {new:?}");
        }
        assert_eq!(words(Some(&node(&draft)), None), [""; 0], "a draft goes with its directory");
    }

    #[test]
    fn a_key_is_told_of_when_it_comes_changes_and_goes() {
        let key = |name: &[u8]| new_key(KeyName::parse(name).unwrap(), String::new(), NOW);
        let old = key(b"mine");
        let changed = [
            (Key { state: KeyState::Disabled, ..old.clone() }, "key-state"),
            (
                Key { state: KeyState::PendingDeletion { due: NOW, steady: None, forced: false }, ..old.clone() },
                "key-state",
            ),
            (Key { versions: vec![NOW; 2], ..old.clone() }, "key-rotated"),
            (Key { uses: 7, oldest: 2, description: "text".to_owned(), ..old.clone() }, ""),
        ];
        let old = Node::Key(old);
        assert_eq!(words(None, Some(&old)), ["key-made"]);
        assert_eq!(words(None, Some(&Node::Key(key(b"default")))), [""; 0], "each instance has one");
        assert_eq!(words(Some(&old), None), ["key-destroyed"]);
        for (new, expected) in changed {
            assert_eq!(words(Some(&old), Some(&Node::Key(new))).concat(), expected);
        }
    }

    #[test]
    fn a_directory_is_told_of_when_it_comes_changes_and_goes() {
        let access = Access { uid: 1, gid: 1, dir_mode: 0o750, value_mode: 0o640 };
        let name = SecretName::parse("db").unwrap();
        let old = Directory { name, access, created: NOW, changed: NOW, account: None, passages: 0, was_opened: false };
        let touched = Node::Directory(Directory { changed: Timestamp(5), ..old.clone() });
        let given = Node::Directory(Directory { access: Access { gid: 9, ..access }, ..old.clone() });
        let old = Node::Directory(old);
        assert_eq!(words(None, Some(&old)), ["created"]);
        assert_eq!(words(Some(&old), Some(&touched)), [""; 0]);
        assert_eq!(words(Some(&old), Some(&given)), ["access"]);
        assert_eq!(words(Some(&old), None), ["removed"]);
    }
}
