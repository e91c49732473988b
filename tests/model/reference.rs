//! The reference: what the design's tables say a tree of secrets is, in plain maps. No key, no store, no inode, no cache.
//!
//! It is written from `design.md` and `kms-rules.md`, never from the code it judges. Reading order: here the nouns; `names`
//! (what a name stands for), `gestures` (mkdir, links, removing, renaming, attributes), `files` (opening, reading), `writes`
//! (writing, what a close stores), `members` (parts of values), `plan` and `rotation` (what functions do), `time` (what it ends), `rules` (what may become of one secret),
//! `picture` (what a walk over the tree must show).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::rotation::Rotation;
use crate::time::{DAY, Moment};

pub type Bytes = Rc<[u8]>;

/// The errnos that the tables allow for a refusal; none where the design is silent, and any will do.
pub type Errnos = &'static [i32];
pub const SILENT: Errnos = &[];

/// What a request must come to.
pub type Outcome<T> = Result<T, Errnos>;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct By {
    pub uid: u32,
    pub gid: u32,
}

/// Owner, group, and the two modes that a secret keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub value_mode: u16,
}

#[derive(Debug, Clone)]
pub struct Version {
    pub id: String,
    /// Its own for ever: an id may come again after the version rolled away.
    pub serial: u64,
    pub bytes: Bytes,
    pub created: u64,
}

#[derive(Debug, Clone)]
pub struct Secret {
    pub serial: u64,
    /// The name of its key.
    pub key: String,
    /// In order of creation.
    pub versions: Vec<Version>,
    /// Label to version id.
    pub stages: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub description: String,
    pub created: u64,
    pub updated: u64,
    pub rotated: u64,
    /// The highest n of an id `v<n>` that was ever used.
    pub highest_auto: u64,
    /// Every id that was ever given by a write to `current`.
    pub automatic: BTreeSet<String>,
    pub rotation: Option<Rotation>,
}

/// A secret in `.deleted/`.
#[derive(Debug, Clone)]
pub struct Trashed {
    pub secret: Secret,
    pub access: Access,
    pub requested: Moment,
    pub days: u64,
}

impl Trashed {
    /// When its window is over.
    pub fn due(&self) -> Moment {
        self.requested.plus(self.days * DAY)
    }
}

/// A name in the tree.
#[derive(Debug, Clone)]
pub struct Dir {
    pub access: Access,
    pub created: u64,
    pub changed: u64,
    /// `None` while the secret of this name is scheduled.
    pub secret: Option<Secret>,
}

#[derive(Debug, Clone)]
pub struct Key {
    pub serial: u64,
    pub created: u64,
    pub changed: u64,
    pub enabled: bool,
    /// When its deletion ends it, if that is scheduled.
    pub pending: Option<Moment>,
}

impl Key {
    pub fn usable(&self) -> bool {
        self.enabled && self.pending.is_none()
    }
}

#[derive(Debug, Clone)]
pub struct Instance {
    pub access: Access,
    pub created: u64,
    pub changed: u64,
    pub days: u64,
    pub keys: BTreeMap<String, Key>,
    pub dirs: BTreeMap<String, Dir>,
    pub trash: BTreeMap<String, Trashed>,
}

/// A directory that may hold scratch files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    Dir(String, String),
    Versions(String, String),
    Stages(String, String),
    Fields(String, String),
}

#[derive(Debug, Clone)]
pub enum Content {
    File(Vec<u8>),
    Link(Vec<u8>),
}

#[derive(Debug, Clone)]
pub struct Scratch {
    pub spot: Spot,
    pub name: Vec<u8>,
    pub content: Content,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub made: u64,
    /// The version that it was copied from, while it is that copy.
    pub copy_of: Option<u64>,
    /// The secret that it was copied from, as long.
    pub copied: Option<u64>,
}

impl Scratch {
    /// The bytes of a file, to be changed: it is no copy any more.
    pub fn bytes_mut(&mut self) -> Outcome<&mut Vec<u8>> {
        (self.copy_of, self.copied) = (None, None);
        match &mut self.content {
            Content::File(bytes) => Ok(bytes),
            Content::Link(_) => Err(SILENT),
        }
    }
}

/// An entry of a secret whose content is text that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Tags,
    Policy,
    Description,
    Rotation,
    Cmk,
}

pub const TEXTS: [(&str, Text); 5] = [
    ("tags", Text::Tags),
    ("policy", Text::Policy),
    ("description", Text::Description),
    ("rotation", Text::Rotation),
    ("cmk", Text::Cmk),
];

/// What a name stands for. The strings are an instance, a secret's name, and a version or label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Root,
    Control,
    /// A file that the model does not write: info, status, a key's.
    Fixed,
    Instance(String),
    InstanceControl(String),
    Window(String),
    Keys(String),
    Key(String, String),
    KeyState(String, String),
    Trash(String),
    Trashed(String, String),
    TrashedState(String, String),
    Dir(String, String),
    Current(String, String),
    Versions(String, String),
    Version(String, String, String),
    Stages(String, String),
    Stage(String, String, String),
    Fields(String, String),
    Field(String, String, String),
    Dotenv(String, String),
    Text(String, String, Text),
    Info(String, String),
    Scratch(u64),
}

/// What a draft will be.
#[derive(Debug, Clone)]
pub enum Target {
    Current(u64),
    Version(u64, String),
    Member(u64, String),
    Text(u64, Text),
    State(u64),
    Window(String),
    KeyState(String, u64),
}

/// How a draft's bytes stand to the file's present content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Whole,
    Behind,
    Present,
}

#[derive(Debug, Clone)]
pub struct Draft {
    pub target: Target,
    pub bytes: Vec<u8>,
    pub base: Base,
    /// The length of what the bytes go behind, as it was when the file was opened.
    pub behind: u64,
    pub append: bool,
    pub dirty: bool,
    pub emptied: bool,
    /// The version that was there when the file was opened.
    pub opened: Option<u64>,
    pub poison: Option<Errnos>,
}

/// What an open file stands for.
#[derive(Debug, Clone)]
pub enum Held {
    Value { secret: u64, version: u64, bytes: Bytes },
    Text(Option<Bytes>),
    Draft(Draft),
    Scratch(u64),
}

/// How a file is opened to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    pub reads: bool,
    pub truncates: bool,
    pub appends: bool,
    pub exclusive: bool,
}

#[derive(Debug, Clone)]
pub struct Model {
    /// What the wall clock shows, in nanoseconds.
    pub now: u64,
    /// Nanoseconds that have passed since the case began.
    pub truth: u64,
    /// By how many days the wall clock is ahead of that.
    pub skew: i64,
    pub account: String,
    pub root: (Access, u64, u64),
    pub instances: BTreeMap<String, Instance>,
    pub scratches: BTreeMap<u64, Scratch>,
    pub handles: Vec<Option<Held>>,
    /// Versions that were destroyed, by their serial numbers.
    pub destroyed: BTreeSet<u64>,
    pub next: u64,
}

impl Model {
    pub fn new(account: String, root: (Access, u64, u64), now: u64) -> Self {
        let (instances, scratches) = (BTreeMap::new(), BTreeMap::new());
        let (truth, skew, handles, destroyed) = (0, 0, Vec::new(), BTreeSet::new());
        Self { now, truth, skew, account, root, instances, scratches, handles, destroyed, next: 0 }
    }

    /// A number that was never given before.
    pub fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn dir(&self, instance: &str, name: &str) -> Option<&Dir> {
        self.instances.get(instance)?.dirs.get(name)
    }

    pub fn dir_mut(&mut self, instance: &str, name: &str) -> Option<&mut Dir> {
        self.instances.get_mut(instance)?.dirs.get_mut(name)
    }

    /// The secret of a directory, wherever it stands, and whether it is scheduled.
    pub fn secret_at(&self, instance: &str, name: &str) -> Option<(&Secret, bool)> {
        let instance = self.instances.get(instance)?;
        match &instance.dirs.get(name)?.secret {
            Some(secret) => Some((secret, false)),
            None => instance.trash.get(name).map(|trashed| (&trashed.secret, true)),
        }
    }

    /// The secret numbered `serial`, its instance and name, and whether it is scheduled.
    pub fn secret(&self, serial: u64) -> Option<(&Secret, bool, String, String)> {
        self.instances.iter().find_map(|(at, instance)| {
            let live = instance.dirs.iter().filter_map(|(name, dir)| Some((name, dir.secret.as_ref()?, false)));
            let trashed = instance.trash.iter().map(|(name, trashed)| (name, &trashed.secret, true));
            live.chain(trashed)
                .find(|(_, secret, _)| secret.serial == serial)
                .map(|(name, secret, scheduled)| (secret, scheduled, at.clone(), name.clone()))
        })
    }

    /// The secret numbered `serial` for a change: ENOENT once it is gone, EIDRM while it is scheduled.
    pub fn live(&mut self, serial: u64) -> Outcome<&mut Secret> {
        let (_, scheduled, instance, name) = self.secret(serial).ok_or(&[libc::ENOENT][..])?;
        if scheduled {
            return Err(&[libc::EIDRM]);
        }
        self.dir_mut(&instance, &name).and_then(|dir| dir.secret.as_mut()).ok_or(SILENT)
    }

    /// EKEYREVOKED while the key of the secret in that directory is disabled.
    pub fn usable(&self, at: &str, dir: &str) -> Outcome<()> {
        let (secret, _) = self.secret_at(at, dir).ok_or(SILENT)?;
        if self.instances[at].keys[&secret.key].usable() { Ok(()) } else { Err(&[libc::EKEYREVOKED]) }
    }

    /// The same of the secret numbered `serial`.
    pub fn is_usable(&self, serial: u64) -> bool {
        self.secret(serial).is_none_or(|(secret, _, at, _)| self.instances[&at].keys[&secret.key].usable())
    }

    /// Everything committed is still there; what was open or in memory is gone.
    pub fn restart(&mut self) {
        self.scratches.clear();
        self.handles.clear();
    }

    /// Everything that is kept or can be restored: (secret, version) and the bytes.
    pub fn kept(&self) -> BTreeMap<(u64, u64), Bytes> {
        let live = self.instances.values().flat_map(|at| at.dirs.values().filter_map(|dir| dir.secret.as_ref()));
        let trashed = self.instances.values().flat_map(|at| at.trash.values().map(|trashed| &trashed.secret));
        let of = |secret: &Secret| {
            let serial = secret.serial;
            secret.versions.iter().map(move |v| ((serial, v.serial), v.bytes.clone())).collect::<Vec<_>>()
        };
        live.chain(trashed).flat_map(of).collect()
    }
}
