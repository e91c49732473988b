//! What becomes of names: mkdir, links, removing, renaming, attributes.

use libc::{EEXIST, EIDRM, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};

use crate::members::{Edit, file_name};
use crate::names::scratch_name;
use crate::reference::{
    Access, By, Content, Dir, Instance, Key, Model, Node, Outcome, SILENT, Scratch, Secret, Spot, Trashed,
};
use crate::rules::{RESERVED, component, grammar};

/// What chmod, chown and truncate(2) ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub mode: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
}

impl Model {
    pub fn mkdir(&mut self, by: By, parent: &Node, name: &[u8], mode: u16) -> Outcome<()> {
        match self.lookup(parent, name) {
            Some(Node::Dir(..) | Node::Instance(_)) => return Err(&[EEXIST]),
            // The kernel sees to these.
            Some(_) => return Err(SILENT),
            None => {}
        }
        let (now, serial) = (self.now, self.serial());
        let new_key = Key { serial, created: now, changed: now, enabled: true, pending: None };
        let access = |mode| Access { uid: by.uid, gid: by.gid, mode, value_mode: 0o640 };
        match parent {
            Node::Root => {
                let name = grammar(name, 64)?;
                let (dirs, trash) = Default::default();
                let keys = [("default".to_owned(), new_key)].into();
                let access = access(mode & 0o755);
                let made = Instance { access, created: now, changed: now, days: 30, keys, dirs, trash };
                self.instances.insert(name, made);
                self.root.2 = now;
                Ok(())
            }
            Node::Instance(at) => self.make_dir(at, None, name, access(mode & 0o750)),
            Node::Dir(at, dir) => self.make_dir(at, Some(dir), name, access(mode & 0o750)),
            Node::Keys(at) => {
                self.instances.get_mut(at).ok_or(SILENT)?.keys.insert(grammar(name, 64)?, new_key);
                Ok(())
            }
            _ => Err(SILENT),
        }
    }

    fn make_dir(&mut self, at: &str, above: Option<&str>, name: &[u8], access: Access) -> Outcome<()> {
        let name = component(name)?;
        let full = above.map_or(name.clone(), |above| format!("{above}/{name}"));
        if full.len() > 192 {
            return Err(&[ENAMETOOLONG]);
        }
        if full.starts_with("acs/") {
            return Err(&[EINVAL]);
        }
        let (now, serial) = (self.now, self.serial());
        if self.instances[at].trash.contains_key(&full) {
            return Err(&[EEXIST]);
        }
        self.touch(at, above);
        let dir = Dir { access, created: now, changed: now, secret: Some(Secret::draft(serial, "default", now)) };
        self.instances.get_mut(at).ok_or(SILENT)?.dirs.insert(full, dir);
        Ok(())
    }

    /// The list of names in a directory, or in the instance itself, has changed.
    fn touch(&mut self, at: &str, dir: Option<&str>) {
        let now = self.now;
        match dir {
            Some(dir) => self.dir_mut(at, dir).expect("a parent is there").changed = now,
            None => self.instances.get_mut(at).expect("an instance stays").changed = now,
        }
    }

    pub fn symlink(&mut self, by: By, parent: &Node, name: &[u8], target: &[u8]) -> Outcome<()> {
        if self.lookup(parent, name).is_some() {
            return Err(SILENT);
        }
        let Node::Stages(at, dir) = parent else { return Err(SILENT) };
        let id = target.strip_prefix(b"../versions/").and_then(|id| grammar(id, 64).ok());
        let scratch = |model: &mut Self| {
            let content = Content::Link(target.to_vec());
            model.add_scratch(Spot::Stages(at.clone(), dir.clone()), name, content, (by.uid, by.gid, 0o600)).map(|_| ())
        };
        if name.starts_with(b".") {
            return if id.is_some() { scratch(self) } else { Err(&[EINVAL]) };
        }
        let label = grammar(name, 64)?;
        let id = id.ok_or(&[EINVAL][..])?;
        let (serial, now) = (self.secret_at(at, dir).expect("a directory has a secret").0.serial, self.now);
        match self.live(serial)?.move_stage(&label, &id, now) {
            Err([libc::EDQUOT]) if name.len() == 8 && name.starts_with(b"Cu") => scratch(self),
            outcome => outcome,
        }
    }

    pub fn unlink(&mut self, parent: &Node, name: &[u8]) -> Outcome<()> {
        let now = self.now;
        match self.lookup(parent, name).ok_or(&[ENOENT][..])? {
            Node::Scratch(serial) => {
                self.scratches.remove(&serial);
                Ok(())
            }
            Node::Current(at, dir) => {
                let requested = self.moment();
                let instance = self.instances.get_mut(&at).ok_or(SILENT)?;
                let entry = instance.dirs.get_mut(&dir).ok_or(SILENT)?;
                let secret = entry.secret.take().ok_or(SILENT)?;
                let trashed = Trashed { secret, access: entry.access, requested, days: instance.days };
                instance.trash.insert(dir, trashed);
                Ok(())
            }
            Node::Stage(at, dir, label) => match self.dir_mut(&at, &dir).and_then(|dir| dir.secret.as_mut()) {
                Some(secret) if !secret.is_draft() => secret.remove_stage(&label, now),
                _ => Ok(()),
            },
            Node::Field(at, dir, name) => {
                let (secret, scheduled) = self.secret_at(&at, &dir).ok_or(SILENT)?;
                let serial = secret.serial;
                if scheduled { Ok(()) } else { self.put_member(serial, &name, &Edit::Remove) }
            }
            Node::Version(at, dir, _) | Node::Text(at, dir, _) | Node::Dotenv(at, dir) => self.unlink_entry(&at, &dir),
            Node::Info(at, dir) if matches!(parent, Node::Dir(..)) => self.unlink_entry(&at, &dir),
            Node::Dir(..) | Node::Versions(..) | Node::Stages(..) | Node::Fields(..) => Err(&[EISDIR]),
            Node::TrashedState(..) | Node::Info(..) => Err(&[EPERM]),
            _ => Err(&[EPERM, EISDIR]),
        }
    }

    /// EPERM on a live secret; nothing happens on others, so that `rm -r` comes to its end.
    fn unlink_entry(&self, at: &str, dir: &str) -> Outcome<()> {
        match self.secret_at(at, dir) {
            Some((secret, false)) if !secret.is_draft() => Err(&[EPERM]),
            _ => Ok(()),
        }
    }

    pub fn rmdir(&mut self, parent: &Node, name: &[u8]) -> Outcome<()> {
        let is_live =
            |model: &Self, at: &str, dir: &str| matches!(model.secret_at(at, dir), Some((s, false)) if !s.is_draft());
        match self.lookup(parent, name).ok_or(&[ENOENT][..])? {
            Node::Dir(at, dir) => {
                let below = format!("{dir}/");
                if is_live(self, &at, &dir) || self.instances[&at].dirs.keys().any(|name| name.starts_with(&below)) {
                    return Err(&[ENOTEMPTY]);
                }
                self.instances.get_mut(&at).ok_or(SILENT)?.dirs.remove(&dir);
                self.touch(&at, dir.rsplit_once('/').map(|(above, _)| above));
                self.scratches.retain(|_, file| !file.spot.is_of(&at, &dir));
                Ok(())
            }
            Node::Fields(at, dir) if is_live(self, &at, &dir) => Err(&[EPERM]),
            Node::Versions(at, dir) | Node::Stages(at, dir) | Node::Fields(at, dir) => {
                if is_live(self, &at, &dir) {
                    return Err(&[ENOTEMPTY]);
                }
                let name = name.to_vec();
                self.scratches.retain(|_, file| !match &file.spot {
                    Spot::Versions(a, d) => name == b"versions" && *a == at && *d == dir,
                    Spot::Stages(a, d) => name == b"stages" && *a == at && *d == dir,
                    Spot::Fields(a, d) => name == b"fields" && *a == at && *d == dir,
                    Spot::Dir(..) => false,
                });
                Ok(())
            }
            Node::Instance(_) => Err(&[ENOTEMPTY, EPERM]),
            Node::Trashed(..) | Node::Trash(_) | Node::Keys(_) | Node::Key(..) => Err(&[EPERM]),
            Node::InstanceControl(_) | Node::Control => Err(&[EPERM]),
            _ => Err(&[ENOTDIR, EPERM]),
        }
    }

    pub fn rename(&mut self, uid: u32, from: (&Node, &[u8]), to: (&Node, &[u8]), keeps: bool) -> Outcome<()> {
        let moved = self.lookup(from.0, from.1).ok_or(&[ENOENT][..])?;
        let target = self.lookup(to.0, to.1);
        if keeps && target.as_ref().is_some_and(|target| *target != moved) {
            return Err(&[EEXIST]);
        }
        let now = self.now;
        match moved {
            Node::Trashed(at, full) => self.restore(&at, &full, to, target.as_ref()),
            Node::Scratch(serial) => self.rename_scratch(uid, serial, to, target.as_ref()),
            Node::Stage(at, dir, label) if from.0 == to.0 => {
                let new = grammar(to.1, 64)?;
                let serial = self.secret_at(&at, &dir).expect("a directory has a secret").0.serial;
                self.live(serial)?.rename_stage(&label, &new, now)
            }
            Node::Dir(..) => Err(&[EPERM]),
            Node::Current(at, dir) | Node::Field(at, dir, _) | Node::Text(at, dir, _)
                if self.is_scratch_name(to, target.as_ref()) =>
            {
                scratch_name(to.1)?;
                let node = self.lookup(from.0, from.1).ok_or(SILENT)?;
                let bytes = self.present(&node)?.to_vec();
                let access = self.access_of(&at, &dir);
                let is_value = matches!(node, Node::Current(..) | Node::Field(..));
                let mode = if is_value { access.value_mode } else { access.mode & 0o666 };
                let mut after = self.clone();
                if let Some(Node::Scratch(replaced)) = target {
                    after.scratches.remove(&replaced);
                }
                let spot = self.spot(to.0).ok_or(SILENT)?;
                let copy = after.add_scratch(spot, to.1, Content::File(bytes), (access.uid, access.gid, mode))?;
                let current = self.current_of(&at, &dir).filter(|_| is_value);
                let of = self.secret_at(&at, &dir).map(|(secret, _)| secret.serial).filter(|_| current.is_some());
                let copy = after.scratches.get_mut(&copy).ok_or(SILENT)?;
                (copy.copy_of, copy.copied) = (current.filter(|_| matches!(node, Node::Current(..))), of);
                *self = after;
                Ok(())
            }
            _ => Err(SILENT),
        }
    }

    /// RestoreSecret: back to its own name, whole.
    fn restore(&mut self, at: &str, full: &str, to: (&Node, &[u8]), target: Option<&Node>) -> Outcome<()> {
        let (above, instance) = match to.0 {
            Node::Instance(instance) => (None, instance),
            Node::Dir(instance, above) => (Some(above.as_str()), instance),
            _ => return Err(&[EPERM]),
        };
        // Not EINVAL, of which mv makes a subdirectory of itself.
        let name = component(to.1).map_err(|_| &[EPERM][..])?;
        let wanted = above.map_or(name.clone(), |above| format!("{above}/{name}"));
        if wanted != full || instance != at {
            return Err(SILENT);
        }
        if matches!(target, Some(Node::Scratch(_))) {
            return Err(&[ENOTDIR]);
        }
        if self.dir(at, full).is_none() {
            let (access, now) = (self.instances[at].trash[full].access, self.now);
            self.touch(at, above);
            let dir = Dir { access, created: now, changed: now, secret: None };
            self.instances.get_mut(at).ok_or(SILENT)?.dirs.insert(full.to_owned(), dir);
        }
        self.restore_in_place(at, full);
        Ok(())
    }

    /// A scheduled secret whose directory is still there comes back.
    pub fn restore_in_place(&mut self, at: &str, dir: &str) {
        let now = self.now;
        let instance = self.instances.get_mut(at).expect("an instance stays");
        if let Some(mut trashed) = instance.trash.remove(dir) {
            trashed.secret.updated = trashed.secret.time(now);
            instance.dirs.get_mut(dir).expect("its directory is there").secret = Some(trashed.secret);
        }
    }

    fn rename_scratch(&mut self, uid: u32, serial: u64, to: (&Node, &[u8]), target: Option<&Node>) -> Outcome<()> {
        if self.is_scratch_name(to, target) {
            scratch_name(to.1)?;
            let spot = self.spot(to.0).ok_or(SILENT)?;
            if let Some(Node::Scratch(replaced)) = target.filter(|target| **target != Node::Scratch(serial)) {
                self.scratches.remove(replaced);
            }
            let file = self.scratches.get_mut(&serial).ok_or(SILENT)?;
            (file.spot, file.name) = (spot, to.1.to_vec());
            return Ok(());
        }
        let Scratch { content, uid: owner, copy_of, .. } = self.scratches[&serial].clone();
        if uid != 0 && uid != owner && matches!(content, Content::File(_)) {
            return Err(&[libc::EACCES]);
        }
        match (&content, to.0) {
            (Content::Link(link), Node::Stages(at, dir)) => {
                let label = grammar(to.1, 64)?;
                let id = link.strip_prefix(b"../versions/").and_then(|id| grammar(id, 64).ok()).ok_or(SILENT)?;
                let (secret, now) = (self.secret_at(at, dir).expect("a directory has a secret").0.serial, self.now);
                self.live(secret)?.move_stage(&label, &id, now)?;
            }
            (Content::File(bytes), Node::Versions(at, dir)) => {
                let id = grammar(to.1, 64)?;
                let (now, version) = (self.now, self.serial());
                let secret = self.secret_at(at, dir).expect("a directory has a secret").0.serial;
                self.may_put(secret, |secret| secret.put(Some(&id), bytes, version, now))?;
                self.live(secret)?.put(Some(&id), bytes, version, now)?;
            }
            (Content::File(bytes), Node::Fields(at, dir)) => {
                let name = file_name(to.1)?;
                let secret = self.secret_at(at, dir).expect("a directory has a secret").0.serial;
                self.put_member(secret, &name, &Edit::Set(bytes))?;
            }
            (Content::File(_), Node::Dir(at, dir))
                if to.1 == b"current" && copy_of.is_some() && copy_of == self.current_of(at, dir) => {}
            (Content::File(bytes), Node::Dir(at, dir)) if to.1 == b"current" => {
                let mut after = self.clone();
                after.restore_in_place(at, dir);
                let (now, version) = (after.now, after.serial());
                let serial = after.secret_at(at, dir).ok_or(SILENT)?.0.serial;
                after.may_put(serial, |secret| secret.put(None, bytes, version, now))?;
                after.live(serial)?.put(None, bytes, version, now)?;
                *self = after;
            }
            (Content::File(bytes), Node::Dir(..)) => match target {
                Some(node @ Node::Text(at, dir, text)) => {
                    self.may_set_policy(uid, node)?;
                    let secret = self.secret_at(at, dir).expect("a directory has a secret").0.serial;
                    self.store_text(secret, *text, bytes, false)?;
                }
                _ => return Err(SILENT),
            },
            _ => return Err(SILENT),
        }
        self.scratches.remove(&serial);
        Ok(())
    }

    /// Whether a file renamed to there stays one in memory.
    fn is_scratch_name(&self, to: (&Node, &[u8]), target: Option<&Node>) -> bool {
        match target {
            Some(target) => matches!(target, Node::Scratch(_)),
            None => match to.0 {
                Node::Dir(..) => !RESERVED.iter().any(|entry| entry.as_bytes() == to.1),
                Node::Versions(..) | Node::Stages(..) | Node::Fields(..) => to.1.starts_with(b"."),
                _ => false,
            },
        }
    }

    /// The access that a directory's entries show: of a scheduled secret, that which it had.
    pub fn access_of(&self, at: &str, dir: &str) -> Access {
        match self.dir(at, dir) {
            Some(entry) if entry.secret.is_some() => entry.access,
            _ => self.instances[at].trash[dir].access,
        }
    }

    /// chmod, chown and truncate(2) by name.
    pub fn set_attr(&mut self, parent: &Node, name: &[u8], wanted: Wanted) -> Outcome<()> {
        let node = self.lookup(parent, name).ok_or(&[ENOENT][..])?;
        let now = self.now;
        if let Some(size) = wanted.size {
            return match node {
                Node::Scratch(serial) if size <= 256 * 1024 => {
                    self.scratches.get_mut(&serial).ok_or(SILENT)?.bytes_mut()?.resize(size as usize, 0);
                    Ok(())
                }
                Node::Current(..) | Node::Version(..) | Node::Field(..) | Node::Dotenv(..) | Node::Text(..) => {
                    let present = self.stored(&node)?;
                    if present.len() as u64 == size { Ok(()) } else { Err(&[EINVAL]) }
                }
                _ => Err(SILENT),
            };
        }
        let set = |access: &mut Access, bits: u16| {
            access.uid = wanted.uid.unwrap_or(access.uid);
            access.gid = wanted.gid.unwrap_or(access.gid);
            access.mode = wanted.mode.map_or(access.mode, |mode| mode & bits);
        };
        match node {
            Node::Scratch(serial) => {
                let file = self.scratches.get_mut(&serial).ok_or(SILENT)?;
                file.uid = wanted.uid.unwrap_or(file.uid);
                file.gid = wanted.gid.unwrap_or(file.gid);
                file.mode = wanted.mode.map_or(file.mode, |mode| mode & 0o666);
                Ok(())
            }
            Node::Instance(at) => {
                let instance = self.instances.get_mut(&at).ok_or(SILENT)?;
                set(&mut instance.access, 0o777);
                instance.changed = now;
                Ok(())
            }
            Node::Dir(at, dir) => {
                let entry = self.dir_mut(&at, &dir).ok_or(SILENT)?;
                set(&mut entry.access, 0o777);
                entry.changed = now;
                Ok(())
            }
            Node::Current(ref at, ref dir)
            | Node::Version(ref at, ref dir, _)
            | Node::Field(ref at, ref dir, _)
            | Node::Dotenv(ref at, ref dir) => {
                let (at, dir) = (at.clone(), dir.clone());
                let entry = self.dir_mut(&at, &dir).ok_or(SILENT)?;
                if entry.secret.is_none() {
                    return Err(&[EIDRM]);
                }
                let before = entry.access;
                entry.access.uid = wanted.uid.unwrap_or(before.uid);
                entry.access.gid = wanted.gid.unwrap_or(before.gid);
                entry.access.value_mode = match wanted.mode {
                    Some(mode) if matches!(node, Node::Dotenv(..)) => mode & 0o444 | before.value_mode & 0o222,
                    Some(mode) => mode & 0o666,
                    None => before.value_mode,
                };
                if entry.access != before {
                    entry.changed = now;
                }
                Ok(())
            }
            _ => {
                // All other entries follow their directory; what asks for what is there already gets it.
                let (access, shown, bits) = self.shown(parent, &node).ok_or(SILENT)?;
                let same = wanted.uid.is_none_or(|uid| uid == access.uid)
                    && wanted.gid.is_none_or(|gid| gid == access.gid)
                    && wanted.mode.is_none_or(|mode| mode & bits == shown);
                if same { Ok(()) } else { Err(&[EPERM]) }
            }
        }
    }

    /// Owner and mode of an entry that has none of its own, and the bits that such an entry has.
    fn shown(&self, parent: &Node, node: &Node) -> Option<(Access, u16, u16)> {
        let directory = |access: Access| Some((access, access.mode, 0o777));
        let text = |access: Access| Some((access, access.mode & 0o666, 0o666));
        let info = |access: Access| Some((access, access.mode & 0o444, 0o666));
        let instance = |at: &String| self.instances[at].access;
        match (node, parent) {
            (Node::Control, _) => Some((self.root.0, 0o555, 0o777)),
            (Node::Fixed, Node::Control) => Some((self.root.0, 0o444, 0o666)),
            (Node::Fixed, Node::InstanceControl(at) | Node::Key(at, _)) => info(instance(at)),
            (Node::InstanceControl(at) | Node::Keys(at) | Node::Key(at, _), _) => directory(instance(at)),
            (Node::Trash(at), _) => Some((instance(at), 0o1777, 0o777)),
            (Node::Window(at) | Node::KeyState(at, _), _) => text(instance(at)),
            (Node::Trashed(at, full), _) => directory(self.instances[at].trash[full].access),
            (Node::TrashedState(at, full), _) => text(self.instances[at].trash[full].access),
            (Node::Info(at, full), Node::Trashed(..)) => info(self.instances[at].trash[full].access),
            (Node::Info(at, dir), _) => info(self.access_of(at, dir)),
            (Node::Text(at, dir, _), _) => text(self.access_of(at, dir)),
            (Node::Versions(at, dir) | Node::Stages(at, dir) | Node::Fields(at, dir), _) => {
                directory(self.access_of(at, dir))
            }
            (Node::Stage(at, dir, _), _) => Some((self.access_of(at, dir), 0o777, 0o666)),
            _ => None,
        }
    }
}
