//! What a path in a mount names: the mount, an instance, a secret, an entry of it. Nothing of the mount is asked: names are read out
//! of the path, and mounts out of the kernel's table.
//!
//! Invariant: a verb on secrets says in what [`Scope`] it acts, so that a path to an entry never stands for the whole secret by
//! mistake.

use std::io;
use std::path::{Component as Part, Path, PathBuf};

use super::exit::Exit;
use super::places;
use super::report::{CliError, LIST_MOUNTS, Verdict, plain, with};
use crate::daemon::{self, MountPoint};
use crate::secret::{Component, InstanceName, MemberName, RESERVED, Refusal, SecretName, StageLabel, VersionId};

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A mount of the whole tree.
    pub mount: PathBuf,
    /// `None` for the mount point itself.
    pub instance: Option<String>,
    /// The secret's full name; `None` for an instance.
    pub secret: Option<String>,
    /// What of it.
    pub entry: Entry,
}

/// What of a secret a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The secret's directory; of an instance or a mount, whatever of it.
    Itself,
    /// The directory of the secret where it waits for its end.
    Deleted,
    /// The value of the version at ACSCurrent.
    Current,
    /// The value of the version with this id.
    Version(String),
    /// The value of the version with this label.
    Stage(String),
    /// The member of this name, of the version at ACSCurrent.
    Field(String),
    /// What has no version's value.
    Other,
}

/// What a verb acts on, which is what its path may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Secrets, with all that is theirs.
    Secret,
    /// A secret, or one of its versions.
    SecretOrVersion,
    /// A value to be read.
    Reading,
    /// A value to be written.
    Writing,
}

impl Scope {
    fn holds(self, entry: &Entry) -> bool {
        match entry {
            Entry::Itself => true,
            Entry::Deleted => self != Scope::Writing,
            Entry::Current => matches!(self, Scope::Reading | Scope::Writing),
            Entry::Version(_) => self != Scope::Secret,
            Entry::Stage(_) | Entry::Field(_) => self == Scope::Reading,
            Entry::Other => false,
        }
    }

    /// What the path has to lead to.
    fn words(self) -> &'static str {
        match self {
            Scope::Secret => "this is done to a whole secret",
            Scope::SecretOrVersion => "this is done to a secret or to one of its versions",
            Scope::Reading => {
                "read is a secret, its `current`, or one of its versions/ID, stages/LABEL and fields/NAME"
            }
            Scope::Writing => "written is a live secret, its `current`, or one of its versions/ID",
        }
    }
}

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("{0} is in no mount of kmsfs")]
    NotInMount(PathBuf),
    #[error("{0} is in a mount of a part of the tree, and the whole is mounted nowhere that can be seen")]
    PartOnly(PathBuf),
    #[error("{path} names no secret: {why}")]
    NoSecret { path: PathBuf, why: String },
    #[error("{path} is a part of the secret {secret}: {words}", words = scope.words())]
    Entry { path: PathBuf, secret: String, directory: PathBuf, scope: Scope },
    #[error("{0} names no instance: that is the first directory in a mount")]
    NoInstance(PathBuf),
    #[error("no mount of kmsfs is named, and there is not exactly one: {0} are mounted")]
    WhichMount(usize),
    #[error("/proc/self/mountinfo: {0}")]
    Mountinfo(io::Error),
}

impl AddressError {
    /// How it ends, and what may help.
    pub fn judge(&self) -> Verdict {
        match self {
            AddressError::NotInMount(_) | AddressError::WhichMount(_) => with(Exit::MountPoint, LIST_MOUNTS),
            AddressError::PartOnly(_) => {
                with(Exit::MountPoint, "read and write the files themselves: they are the secrets")
            }
            AddressError::NoSecret { .. } => with(Exit::Refused, "a secret's path is M/INSTANCE/NAME"),
            AddressError::Entry { directory, .. } => {
                (Exit::Refused, Some(format!("the secret itself is {}", directory.display())))
            }
            AddressError::NoInstance(_) => with(Exit::Refused, "an instance's path is M/INSTANCE"),
            AddressError::Mountinfo(_) => plain(Exit::Refused),
        }
    }
}

/// The names of the tree that are no secrets' components.
const TRASH: &str = ".deleted";
/// A secret's value.
const CURRENT: &str = "current";
/// The directory of a secret's versions.
const VERSIONS: &str = "versions";
/// The directory of its labels.
const STAGES: &str = "stages";
/// The directory of its members.
const FIELDS: &str = "fields";

impl Address {
    /// Where `path` leads, which need not be there.
    pub fn of(path: &Path) -> Result<Self, CliError> {
        let mounts = daemon::list().map_err(AddressError::Mountinfo)?;
        Ok(within(&real(path, &mounts)?, &mounts)?)
    }

    /// Where `path` leads, if it is to a secret, or to what of one is in `scope`.
    pub fn of_secret(path: &Path, scope: Scope) -> Result<(Self, Target), CliError> {
        let address = Self::of(path)?;
        let missing = || AddressError::NoSecret { path: path.to_owned(), why: "it ends above all secrets".to_owned() };
        let instance = address.instance.clone().ok_or_else(missing)?;
        let secret = address.secret.clone().ok_or_else(missing)?;
        let target = Target { instance, secret, deleted: address.entry == Entry::Deleted };
        if scope.holds(&address.entry) {
            return Ok((address, target));
        }
        let directory = address.mount.join(target.path());
        Err(AddressError::Entry { path: path.to_owned(), secret: target.path(), directory, scope }.into())
    }

    /// The mount on `mount` itself.
    pub fn of_mount(mount: PathBuf) -> Self {
        Self { mount, instance: None, secret: None, entry: Entry::Itself }
    }

    /// The id of the version that it leads to by this id.
    pub fn version(&self) -> Option<&str> {
        match &self.entry {
            Entry::Version(id) => Some(id),
            Entry::Itself | Entry::Deleted | Entry::Current | Entry::Stage(_) | Entry::Field(_) | Entry::Other => None,
        }
    }

    /// The instance that `path` is in.
    pub fn of_instance(path: &Path) -> Result<(Self, String), CliError> {
        let address = Self::of(path)?;
        let instance = address.instance.clone().ok_or_else(|| AddressError::NoInstance(path.to_owned()))?;
        Ok((address, instance))
    }

    /// The mount that `path` is in; without one, the only mount there is.
    pub fn mount(path: Option<&Path>) -> Result<PathBuf, CliError> {
        if let Some(path) = path {
            return Ok(Self::of(path)?.mount);
        }
        let whole: Vec<_> = daemon::list().map_err(AddressError::Mountinfo)?;
        let mut whole: Vec<_> = whole.into_iter().filter(|mount| mount.root == Path::new("/")).collect();
        whole.dedup_by(|one, other| one.device == other.device);
        match &whole[..] {
            [only] => Ok(only.path.clone()),
            other => Err(AddressError::WhichMount(other.len()).into()),
        }
    }
}

/// A secret as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub instance: String,
    pub secret: String,
    /// Whether the secret that waits for its end was named, and no live one.
    pub deleted: bool,
}

impl Target {
    /// As people see it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.instance, self.secret)
    }
}

/// `path` from the root, without links in the part of it that is not in the mount.
fn real(path: &Path, mounts: &[MountPoint]) -> Result<PathBuf, CliError> {
    let path = places::absolute(path)?;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Part::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    // The mount point's own links are followed; what is in a mount is not touched more than that takes.
    let existing = clean.ancestors().find_map(|above| Some((above, followed(above, mounts)?)));
    Ok(match existing {
        Some((above, real)) => clean
            .strip_prefix(above)
            .map_or(clean.clone(), |rest| if rest.as_os_str().is_empty() { real } else { real.join(rest) }),
        None => clean,
    })
}

/// Where `path` really is; `None` where it is not there. What is in a mount is not followed: a label is a link, and which version
/// has it is the daemon's to say, in the moment of the request.
fn followed(path: &Path, mounts: &[MountPoint]) -> Option<PathBuf> {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) if mounts.iter().any(|mount| parent.starts_with(&mount.path)) => {
            Some(parent.join(name))
        }
        (Some(_), _) | (None, _) => path.canonicalize().ok(),
    }
}

fn within(path: &Path, mounts: &[MountPoint]) -> Result<Address, AddressError> {
    let holds = |mount: &&MountPoint| path.starts_with(&mount.path);
    // Of those at one point the last covers the others.
    let at = mounts.iter().filter(holds).max_by_key(|mount| mount.path.as_os_str().len());
    let at = at.ok_or_else(|| AddressError::NotInMount(path.to_owned()))?;
    let rest = path.strip_prefix(&at.path).unwrap_or(Path::new(""));
    let whole = mounts.iter().rev().find(|mount| mount.device == at.device && mount.root == Path::new("/"));
    let whole = whole.ok_or_else(|| AddressError::PartOnly(path.to_owned()))?;
    let inside = at.root.join(rest);
    let mut names = Vec::new();
    for part in inside.components() {
        if let Part::Normal(name) = part {
            let name = name.to_str().ok_or_else(|| no_secret(path, "a name in it is no text"))?;
            names.push(name);
        }
    }
    parse(path, &names, whole.path.clone())
}

fn parse(path: &Path, names: &[&str], mount: PathBuf) -> Result<Address, AddressError> {
    let refused = |refusal: Refusal| no_secret(path, &refusal.to_string());
    let Some((instance, rest)) = names.split_first().filter(|(first, _)| !first.starts_with('.')) else {
        return Ok(Address::of_mount(mount));
    };
    InstanceName::parse(instance.as_bytes()).map_err(refused)?;
    let instance = Some((*instance).to_owned());
    let (name, entry) = match rest {
        [trash, escaped, rest @ ..] if *trash == TRASH => {
            let entry = if rest.is_empty() { Entry::Deleted } else { Entry::Other };
            (SecretName::from_escaped(escaped.as_bytes()).map_err(refused)?, entry)
        }
        [] => return Ok(Address { instance, ..Address::of_mount(mount) }),
        [control, ..] if control.starts_with('.') => return Ok(Address { instance, ..Address::of_mount(mount) }),
        rest => {
            let end = rest.iter().position(|name| RESERVED.contains(name)).unwrap_or(rest.len());
            if end == 0 {
                return Err(no_secret(path, "an entry of a secret stands directly in the instance"));
            }
            for name in &rest[..end] {
                Component::parse(name.as_bytes()).map_err(refused)?;
            }
            let name = SecretName::parse(&rest[..end].join("/")).map_err(refused)?;
            (name, entry(&rest[end..]).map_err(refused)?)
        }
    };
    Ok(Address { mount, instance, secret: Some(name.as_str().to_owned()), entry })
}

/// What the names below a secret's directory lead to.
fn entry(names: &[&str]) -> Result<Entry, Refusal> {
    Ok(match names {
        [] => Entry::Itself,
        [current] if *current == CURRENT => Entry::Current,
        [versions, id] if *versions == VERSIONS => {
            VersionId::parse(id.as_bytes())?;
            Entry::Version((*id).to_owned())
        }
        [stages, label] if *stages == STAGES => {
            StageLabel::parse(label.as_bytes())?;
            Entry::Stage((*label).to_owned())
        }
        [fields, name] if *fields == FIELDS => {
            MemberName::parse(name.as_bytes())?;
            Entry::Field((*name).to_owned())
        }
        [_, ..] => Entry::Other,
    })
}

fn no_secret(path: &Path, why: &str) -> AddressError {
    AddressError::NoSecret { path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> Vec<MountPoint> {
        let mount = |path: &str, root: &str, device: &str| MountPoint {
            path: path.into(),
            root: root.into(),
            options: String::new(),
            device: device.into(),
        };
        vec![
            mount("/m", "/", "0:50"),
            mount("/run/db", "/prod/db", "0:50"),
            mount("/run/part", "/prod/db", "0:51"),
            mount("/m/inner", "/", "0:52"),
            mount("/run/pw", "/prod/db/password/current", "0:50"),
        ]
    }

    #[test]
    fn a_path_says_what_it_names() {
        for (path, mount, instance, secret, entry) in [
            ("/m", "/m", None, None, Entry::Itself),
            ("/m/.kmsfs/status", "/m", None, None, Entry::Itself),
            ("/m/prod", "/m", Some("prod"), None, Entry::Itself),
            ("/m/prod/.keys/default", "/m", Some("prod"), None, Entry::Itself),
            ("/m/prod/.deleted", "/m", Some("prod"), None, Entry::Itself),
            ("/m/prod/db/password", "/m", Some("prod"), Some("db/password"), Entry::Itself),
            ("/m/prod/db/password/current", "/m", Some("prod"), Some("db/password"), Entry::Current),
            ("/m/prod/db/password/current/x", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/prod/db/password/versions", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/prod/db/password/versions/v2", "/m", Some("prod"), Some("db/password"), Entry::Version("v2".into())),
            ("/m/prod/db/password/versions/v2/x", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/prod/db/password/stages/x", "/m", Some("prod"), Some("db/password"), Entry::Stage("x".into())),
            ("/m/prod/db/password/fields/x y", "/m", Some("prod"), Some("db/password"), Entry::Field("x y".into())),
            ("/m/prod/db/password/fields", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/prod/db/password/tags", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/prod/.deleted/db%2Fpassword", "/m", Some("prod"), Some("db/password"), Entry::Deleted),
            ("/m/prod/.deleted/db%2Fpassword/state", "/m", Some("prod"), Some("db/password"), Entry::Other),
            ("/m/inner/prod", "/m/inner", Some("prod"), None, Entry::Itself),
            ("/run/db/password", "/m", Some("prod"), Some("db/password"), Entry::Itself),
            ("/run/db", "/m", Some("prod"), Some("db"), Entry::Itself),
            ("/run/pw", "/m", Some("prod"), Some("db/password"), Entry::Current),
        ] {
            let address = within(Path::new(path), &mounts()).unwrap();
            let own = |text: Option<&str>| text.map(str::to_owned);
            let expected = Address { mount: mount.into(), instance: own(instance), secret: own(secret), entry };
            assert_eq!(address, expected, "{path}");
        }
    }

    #[test]
    fn an_entry_never_stands_for_the_secret() {
        use Scope::{Reading, Secret, SecretOrVersion, Writing};
        for (entry, of) in [
            (Entry::Itself, &[Secret, SecretOrVersion, Reading, Writing][..]),
            (Entry::Deleted, &[Secret, SecretOrVersion, Reading]),
            (Entry::Current, &[Reading, Writing]),
            (Entry::Version("v1".into()), &[SecretOrVersion, Reading, Writing]),
            (Entry::Stage("x".into()), &[Reading]),
            (Entry::Field("x".into()), &[Reading]),
            (Entry::Other, &[]),
        ] {
            for scope in [Secret, SecretOrVersion, Reading, Writing] {
                assert_eq!(scope.holds(&entry), of.contains(&scope), "{scope:?} {entry:?}");
            }
        }
    }

    #[test]
    fn links_are_followed_to_a_mount_and_not_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(at.join("m/prod/s/stages")).unwrap();
        std::os::unix::fs::symlink("../versions/v1", at.join("m/prod/s/stages/x")).unwrap();
        std::os::unix::fs::symlink("m/prod", at.join("link")).unwrap();
        let mount = MountPoint { path: at.join("m"), ..mounts().remove(0) };
        for (path, expected) in [
            ("m/prod/s/stages/x", "m/prod/s/stages/x"),
            ("link/s/stages/x", "m/prod/s/stages/x"),
            ("link", "m/prod"),
            ("link/none/current", "m/prod/none/current"),
            ("none/current", "none/current"),
            ("none/../link/./s", "m/prod/s"),
        ] {
            assert_eq!(real(&at.join(path), std::slice::from_ref(&mount)).unwrap(), at.join(expected), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (path, words) in [
            ("/elsewhere/x", "in no mount"),
            ("/run/part/password", "part of the tree"),
            ("/m/prod/current", "directly in the instance"),
            ("/m/a b/x", "another character"),
            ("/m/prod/a b", "another character"),
            ("/m/prod/a/.x", "leading dot"),
            ("/m/prod/a/versions/.x", "leading dot"),
            ("/m/prod/a/stages/.x", "leading dot"),
            ("/m/prod/a/fields/.x", "leading dot"),
        ] {
            let error = within(Path::new(path), &mounts()).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
