//! A picture of the whole tree: what a walk by names finds, and what the model says that it must.

use std::collections::BTreeMap;

use serde_json::json;

use crate::members::{dotenv, member, members};
use crate::reference::{Access, Bytes, Content, Model, Scratch, Secret, Spot, TEXTS, Text};

/// What is at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether readdir gives the name; the entries of a secret can be opened without that.
    pub listed: bool,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// mtime, ctime, btime.
    pub times: [u64; 3],
    pub shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Directory,
    Link(Vec<u8>),
    /// Bytes that must be equal.
    File(Bytes),
    /// A document, compared by its members.
    Json(serde_json::Value),
    /// A value whose key is disabled.
    Revoked,
    /// A value whose secret is scheduled for deletion.
    Scheduled,
    /// A file that the model says nothing about.
    Other,
}

/// By path from the root.
pub type Picture = BTreeMap<Vec<u8>, Seen>;

/// What differs, in words that fit on a screen.
pub fn difference(expected: &Picture, seen: &Picture) -> Option<String> {
    if expected == seen {
        return None;
    }
    let paths = expected.keys().chain(seen.keys());
    let differs = paths.filter(|path| expected.get(*path) != seen.get(*path));
    let line = |path: &Vec<u8>| {
        let text = |picture: &Picture| picture.get(path).map_or("nothing".into(), brief);
        format!("{}\n   must be {}\n   is      {}", path.escape_ascii(), text(expected), text(seen))
    };
    let lines: BTreeMap<_, _> = differs.map(|path| (path, line(path))).collect();
    Some(lines.into_values().take(4).collect::<Vec<_>>().join("\n"))
}

fn brief(seen: &Seen) -> String {
    let Seen { listed, mode, uid, gid, times, shape } = seen;
    let shape = match shape {
        Shape::File(bytes) => format!("file of {}: {}", bytes.len(), bytes[..bytes.len().min(60)].escape_ascii()),
        other => format!("{other:?}"),
    };
    format!("listed {listed} {mode:o} {uid}:{gid} {times:?} {shape}")
}

struct Painter<'a> {
    model: &'a Model,
    picture: Picture,
}

impl Model {
    /// What a walk must find.
    pub fn picture(&self) -> Picture {
        let mut painter = Painter { model: self, picture: Picture::new() };
        painter.root();
        painter.picture
    }
}

impl Painter<'_> {
    fn put(&mut self, path: &str, access: Access, mode: u16, times: [u64; 3], shape: Shape, listed: bool) {
        let seen = Seen { listed, mode, uid: access.uid, gid: access.gid, times, shape };
        self.picture.insert(path.as_bytes().to_vec(), seen);
    }

    fn root(&mut self) {
        let (access, created, changed) = self.model.root;
        let times = [changed, changed, created];
        self.put(".kmsfs", access, 0o555, times, Shape::Directory, true);
        self.put(".kmsfs/backup", access, 0o400, times, Shape::Other, true);
        self.put(".kmsfs/api", access, 0o666, times, Shape::Other, true);
        for file in ["events", "last-error", "metrics", "status"] {
            self.put(&format!(".kmsfs/{file}"), access, 0o444, times, Shape::Other, true);
        }
        for at in self.model.instances.keys() {
            self.instance(at);
        }
    }

    fn instance(&mut self, at: &str) {
        let instance = &self.model.instances[at];
        let access = instance.access;
        let (mode, times) = (access.mode, [instance.changed, instance.changed, instance.created]);
        self.put(at, access, mode, times, Shape::Directory, true);
        self.put(&format!("{at}/.instance"), access, mode, times, Shape::Directory, true);
        self.put(&format!("{at}/.instance/info"), access, mode & 0o444, times, Shape::Other, true);
        for (name, text) in [("state", "Running\n"), ("shares", ""), ("access-quota", "16\n")] {
            let (path, text) = (format!("{at}/.instance/{name}"), file(text.to_owned()));
            self.put(&path, access, mode & 0o444 | 0o200, times, text, true);
        }
        let days = file(format!("{}\n", instance.days));
        self.put(&format!("{at}/.instance/recovery-window"), access, mode & 0o666, times, days, true);
        self.put(&format!("{at}/.keys"), access, mode, times, Shape::Directory, true);
        for (name, key) in &instance.keys {
            let (path, times) = (format!("{at}/.keys/{name}"), [key.changed, key.changed, key.created]);
            self.put(&path, access, mode, times, Shape::Directory, true);
            self.put(&format!("{path}/info"), access, mode & 0o444, times, Shape::Other, true);
            self.put(&format!("{path}/policy"), access, mode & 0o444 | 0o200, times, Shape::Other, true);
            let state = file(key.state().into());
            self.put(&format!("{path}/state"), access, mode & 0o666, times, state, true);
        }
        self.put(&format!("{at}/.deleted"), access, 0o1777, times, Shape::Directory, true);
        for (full, trashed) in &instance.trash {
            let access = trashed.access;
            let requested = trashed.requested.wall;
            let times = [requested, requested, trashed.secret.created];
            let path = format!("{at}/.deleted/{}", full.replace('/', "%2F"));
            self.put(&path, access, access.mode, times, Shape::Directory, true);
            let info = self.describe(at, full, &trashed.secret, Some(trashed.due().wall));
            self.put(&format!("{path}/info"), access, access.mode & 0o444, times, info, true);
            let state = file("PendingDeletion\n".into());
            self.put(&format!("{path}/state"), access, access.mode & 0o666, times, state, true);
        }
        for name in instance.dirs.keys() {
            self.dir(at, name);
        }
    }

    fn dir(&mut self, at: &str, name: &str) {
        let instance = &self.model.instances[at];
        let dir = &instance.dirs[name];
        let path = format!("{at}/{name}");
        let times = [dir.changed, dir.changed, dir.created];
        self.put(&path, dir.access, dir.access.mode, times, Shape::Directory, true);
        let (secret, scheduled) = self.model.secret_at(at, name).expect("a directory has a secret");
        let access = self.model.access_of(at, name);
        let below = format!("{name}/");
        let bare = secret.is_draft()
            && secret.updated == secret.created
            && instance.dirs.keys().any(|other| other.starts_with(&below));
        let listed = !scheduled && !bare;
        let times = [secret.updated, secret.updated, secret.created];
        for entry in ["versions", "stages", "fields"] {
            self.put(&format!("{path}/{entry}"), access, access.mode, times, Shape::Directory, listed);
        }
        for (entry, kind) in TEXTS {
            let content = match kind {
                Text::Policy => file(self.model.default_policy()),
                Text::Cmk => file(format!("{}\n", secret.key)),
                Text::Tags => file_of(secret.render_tags()),
                Text::Rotation => {
                    file_of(secret.rotation.as_ref().map_or(Vec::new(), |rotation| rotation.plan.render()))
                }
                Text::Description if secret.description.is_empty() => file(String::new()),
                Text::Description => file(format!("{}\n", secret.description)),
            };
            let mode = match kind {
                Text::Policy => access.mode & 0o444 | 0o200,
                Text::Cmk | Text::Tags | Text::Description | Text::Rotation => access.mode & 0o666,
            };
            self.put(&format!("{path}/{entry}"), access, mode, times, content, listed);
        }
        let trashed = instance.trash.get(name).filter(|_| scheduled);
        let info = self.describe(at, name, secret, trashed.map(|trashed| trashed.due().wall));
        self.put(&format!("{path}/info"), access, access.mode & 0o444, times, info, listed);
        if let Some(dotenv) = secret.current().and_then(|version| dotenv(&version.bytes)) {
            let content = match (scheduled, instance.keys[&secret.key].usable()) {
                (true, _) => Shape::Scheduled,
                (false, false) => Shape::Revoked,
                (false, true) => Shape::File(dotenv.into()),
            };
            let times = [secret.rotated, secret.updated, secret.created];
            self.put(&format!("{path}/dotenv"), access, access.value_mode & 0o444, times, content, !scheduled);
        }
        if !scheduled {
            self.versions(&path, access, secret, instance.keys[&secret.key].usable());
        }
        // An entry that came to be of a file's name since is what that stands for, also while the secret lists none.
        let versions: Vec<&str> = secret.versions.iter().map(|version| version.id.as_str()).collect();
        let current = secret.current().and_then(|version| members(&version.bytes)).unwrap_or_default();
        let members: Vec<&str> = current.keys().map(String::as_str).collect();
        self.scratches(&Spot::Dir(at.into(), name.into()), &path, &[]);
        self.scratches(&Spot::Versions(at.into(), name.into()), &format!("{path}/versions"), &versions);
        self.scratches(&Spot::Stages(at.into(), name.into()), &format!("{path}/stages"), &[]);
        self.scratches(&Spot::Fields(at.into(), name.into()), &format!("{path}/fields"), &members);
    }

    fn versions(&mut self, path: &str, access: Access, secret: &Secret, usable: bool) {
        let value = |bytes: &Bytes| if usable { Shape::File(bytes.clone()) } else { Shape::Revoked };
        if let Some(current) = secret.current() {
            let times = [secret.rotated, secret.updated, secret.created];
            let content = value(&current.bytes);
            self.put(&format!("{path}/current"), access, access.value_mode, times, content, true);
        }
        if let Some(current) = secret.current() {
            let times = [current.created, secret.updated, current.created];
            for name in members(&current.bytes).iter().flat_map(|members| members.keys()) {
                if let Some(member) = member(&current.bytes, name) {
                    let content = value(&member.into());
                    self.put(&format!("{path}/fields/{name}"), access, access.value_mode, times, content, true);
                }
            }
        }
        for version in &secret.versions {
            let times = [version.created, secret.updated, version.created];
            let content = value(&version.bytes);
            self.put(&format!("{path}/versions/{}", version.id), access, access.value_mode, times, content, true);
        }
        let times = [secret.updated, secret.updated, secret.created];
        for (label, id) in &secret.stages {
            let link = Shape::Link(format!("../versions/{id}").into_bytes());
            self.put(&format!("{path}/stages/{label}"), access, 0o777, times, link, true);
        }
    }

    fn scratches(&mut self, spot: &Spot, path: &str, entries: &[&str]) {
        let is_hidden = |file: &Scratch| entries.iter().any(|entry| entry.as_bytes() == file.name);
        for file in self.model.scratches.values().filter(|file| file.spot == *spot && !is_hidden(file)) {
            let (shape, mode) = match &file.content {
                Content::File(_) if !self.model.is_readable(file) => (Shape::Revoked, file.mode),
                Content::File(bytes) => (Shape::File(crate::files::shared(bytes)), file.mode),
                Content::Link(target) => (Shape::Link(target.clone()), 0o777),
            };
            let mut path = path.as_bytes().to_vec();
            path.push(b'/');
            path.extend_from_slice(&file.name);
            let times = [file.made; 3];
            self.picture.insert(path, Seen { listed: true, mode, uid: file.uid, gid: file.gid, times, shape });
        }
    }

    /// DescribeSecret.
    fn describe(&self, at: &str, name: &str, secret: &Secret, purge_at: Option<u64>) -> Shape {
        let tags: Vec<_> = secret.tags.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect();
        let mut info = json!({
            "Arn": format!("acs:kms:local:{}:secret/{name}", self.model.account),
            "SecretName": name,
            "SecretType": "Generic",
            "DKMSInstanceId": at,
            "EncryptionKeyId": secret.key,
            "Description": secret.description,
            "CreateTime": rfc3339(secret.created),
            "UpdateTime": rfc3339(secret.updated),
            "AutomaticRotation": "Disabled",
            "PlannedDeleteTime": purge_at.map_or(String::new(), rfc3339),
            "Tags": { "Tag": tags },
        });
        if !secret.is_draft() {
            info["LastRotationDate"] = rfc3339(secret.rotated).into();
        }
        secret.describe_rotation(&mut info);
        Shape::Json(info)
    }
}

pub fn rfc3339(nanos: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn file(text: String) -> Shape {
    file_of(text.into_bytes())
}

fn file_of(bytes: Vec<u8>) -> Shape {
    Shape::File(bytes.into())
}
