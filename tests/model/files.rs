//! What a file holds, opening it and reading it.

use std::rc::Rc;

use libc::{EEXIST, EIDRM, EINVAL, EISDIR, EKEYREVOKED, ENOENT, EPERM};

use crate::members::{Edit, dotenv, file_name, member};
use crate::reference::{
    Base, By, Bytes, Content, Draft, Flags, Held, Model, Node, Outcome, SILENT, Scratch, Spot, Target, Text,
};
use crate::rules::{RESERVED, component, grammar};

impl Model {
    /// The content of an entry that can be written, as a reader is given it.
    pub fn present(&self, node: &Node) -> Outcome<Bytes> {
        match node {
            Node::Current(at, dir) | Node::Version(at, dir, _) | Node::Field(at, dir, _) | Node::Dotenv(at, dir) => {
                let (_, scheduled) = self.secret_at(at, dir).ok_or(&[ENOENT][..])?;
                if scheduled {
                    return Err(&[EIDRM]);
                }
                self.usable(at, dir)?;
                self.stored(node)
            }
            _ => self.stored(node),
        }
    }

    /// The same, whatever the state of its secret is.
    pub fn stored(&self, node: &Node) -> Outcome<Bytes> {
        let text = |bytes: Vec<u8>| Ok(Bytes::from(bytes));
        match node {
            Node::Current(at, dir) => {
                let (secret, _) = self.secret_at(at, dir).ok_or(&[ENOENT][..])?;
                Ok(secret.current().ok_or(&[ENOENT][..])?.bytes.clone())
            }
            Node::Field(at, dir, name) => {
                let (secret, _) = self.secret_at(at, dir).ok_or(&[ENOENT][..])?;
                let current = secret.current().ok_or(&[ENOENT][..])?;
                text(member(&current.bytes, name).ok_or(&[ENOENT][..])?)
            }
            Node::Dotenv(at, dir) => {
                let (secret, _) = self.secret_at(at, dir).ok_or(&[ENOENT][..])?;
                let current = secret.current().ok_or(&[ENOENT][..])?;
                text(dotenv(&current.bytes).ok_or(&[EINVAL][..])?)
            }
            Node::Version(at, dir, id) => {
                let (secret, _) = self.secret_at(at, dir).ok_or(&[ENOENT][..])?;
                Ok(secret.version(id).ok_or(&[ENOENT][..])?.bytes.clone())
            }
            Node::Text(at, dir, kind) => {
                text(self.text(self.secret_at(at, dir).ok_or(&[ENOENT][..])?.0.serial, *kind)?)
            }
            Node::Window(at) => text(format!("{}\n", self.instances[at].days).into_bytes()),
            Node::TrashedState(..) => text(b"PendingDeletion\n".to_vec()),
            Node::KeyState(at, key) => text(self.instances[at].keys[key].state().into()),
            Node::Scratch(serial) => match &self.scratches.get(serial).ok_or(&[ENOENT][..])?.content {
                Content::File(bytes) => text(bytes.clone()),
                Content::Link(_) => Err(SILENT),
            },
            _ => Err(SILENT),
        }
    }

    pub fn text(&self, secret: u64, kind: Text) -> Outcome<Vec<u8>> {
        let (secret, ..) = self.secret(secret).ok_or(&[ENOENT][..])?;
        Ok(match kind {
            Text::Tags => secret.render_tags(),
            Text::Description if secret.description.is_empty() => Vec::new(),
            Text::Description => format!("{}\n", secret.description).into_bytes(),
            Text::Rotation => secret.rotation.as_ref().map_or(Vec::new(), |rotation| rotation.plan.render()),
            Text::Cmk => format!("{}\n", secret.key).into_bytes(),
            Text::Policy => self.default_policy().into_bytes(),
        })
    }

    pub fn default_policy(&self) -> String {
        kmsfs::secret::default_document(&[&kmsfs::secret::Account::from_number(self.account.parse().expect("digits"))])
    }

    /// Opens a file to be read.
    pub fn open_to_read(&mut self, parent: &Node, name: &[u8]) -> Outcome<Held> {
        let node = self.lookup(parent, name).ok_or(&[ENOENT][..])?;
        Ok(match &node {
            Node::Current(at, dir) | Node::Version(at, dir, _) | Node::Field(at, dir, _) | Node::Dotenv(at, dir) => {
                let bytes = self.present(&node)?;
                let (secret, _) = self.secret_at(at, dir).ok_or(SILENT)?;
                let id = match &node {
                    Node::Version(_, _, id) => secret.version(id),
                    _ => secret.current(),
                };
                Held::Value { secret: secret.serial, version: id.ok_or(SILENT)?.serial, bytes }
            }
            Node::Scratch(serial) => Held::Scratch(*serial),
            Node::Text(..) | Node::Window(_) | Node::TrashedState(..) | Node::KeyState(..) => {
                Held::Text(Some(self.stored(&node)?))
            }
            Node::Info(..) | Node::Fixed => Held::Text(None),
            Node::Stage(..) => return Err(SILENT),
            _ => return Err(&[EISDIR]),
        })
    }

    /// A policy is its secret's owner's and root's to set, whatever the bits are.
    pub fn may_set_policy(&self, uid: u32, node: &Node) -> Outcome<()> {
        match node {
            Node::Text(at, dir, Text::Policy) if uid != 0 && uid != self.access_of(at, dir).uid => {
                Err(&[libc::EACCES, EIDRM])
            }
            _ => Ok(()),
        }
    }

    /// Opens a file that is there, to be written.
    pub fn open_to_write(&mut self, uid: u32, parent: &Node, name: &[u8], flags: Flags) -> Outcome<Held> {
        let node = self.lookup(parent, name).ok_or(&[ENOENT][..])?;
        self.may_set_policy(uid, &node)?;
        let secret = |model: &Self, at: &str, dir: &str| {
            let (secret, scheduled) = model.secret_at(at, dir).ok_or(&[ENOENT][..])?;
            if scheduled { Err(&[EIDRM][..]) } else { Ok(secret.serial) }
        };
        if let Node::Current(at, dir) | Node::Version(at, dir, _) | Node::Field(at, dir, _) = &node {
            secret(self, at, dir)?;
            self.usable(at, dir)?;
        }
        let mut opened = None;
        let (target, adds) = match &node {
            Node::Scratch(serial) => {
                if flags.truncates {
                    self.scratches.get_mut(serial).ok_or(SILENT)?.bytes_mut()?.clear();
                }
                return Ok(Held::Scratch(*serial));
            }
            Node::Current(at, dir) => (Target::Current(secret(self, at, dir)?), true),
            Node::Version(at, dir, id) => {
                let serial = secret(self, at, dir)?;
                opened =
                    self.secret_at(at, dir).and_then(|(secret, _)| secret.version(id)).map(|version| version.serial);
                (Target::Version(serial, id.clone()), false)
            }
            Node::Field(at, dir, name) => (Target::Member(secret(self, at, dir)?, name.clone()), true),
            Node::Text(at, dir, kind) => (Target::Text(secret(self, at, dir)?, *kind), *kind == Text::Tags),
            Node::TrashedState(at, dir) => (Target::State(self.instances[at].trash[dir].secret.serial), false),
            Node::Window(at) => (Target::Window(at.clone()), false),
            Node::KeyState(at, key) => (Target::KeyState(at.clone(), self.instances[at].keys[key].serial), false),
            Node::Info(..) | Node::Fixed | Node::Dotenv(..) => return Err(&[EPERM]),
            Node::Stage(..) => return Err(SILENT),
            _ => return Err(&[EISDIR, EPERM]),
        };
        let present = self.stored(&node)?;
        let base = match present.is_empty() {
            _ if flags.truncates => Base::Whole,
            // Two who append at once both get in, also where there was nothing.
            _ if flags.appends && adds => Base::Behind,
            true => Base::Whole,
            false => Base::Present,
        };
        Ok(Held::Draft(Draft {
            base,
            behind: present.len() as u64,
            opened,
            emptied: flags.truncates,
            ..Draft::new(target, flags)
        }))
    }

    /// open(2) with O_CREAT.
    pub fn create(&mut self, by: By, parent: &Node, name: &[u8], flags: Flags) -> Outcome<Held> {
        if self.lookup(parent, name).is_some() {
            return if flags.exclusive { Err(&[EEXIST]) } else { self.open_to_write(0, parent, name, flags) };
        }
        let mkostemp = flags.exclusive && flags.reads;
        let sed = name.len() == 9 && name.starts_with(b"sed") && mkostemp;
        match parent {
            Node::Dir(at, dir) if name == b"current" => {
                self.restore_in_place(at, dir);
                self.usable(at, dir)?;
                let secret = self.secret_at(at, dir).ok_or(SILENT)?.0.serial;
                Ok(Held::Draft(Draft { emptied: true, ..Draft::new(Target::Current(secret), flags) }))
            }
            Node::Dir(at, dir) => {
                let text = String::from_utf8_lossy(name);
                if RESERVED.contains(&&*text) {
                    return Err(&[EINVAL]);
                }
                let beside = RESERVED.iter().any(|entry| text.starts_with(entry));
                let draft = self.secret_at(at, dir).is_some_and(|(secret, _)| secret.is_draft());
                if draft && component(name).is_ok() && !mkostemp && !beside {
                    return Err(SILENT);
                }
                self.create_scratch(by, Spot::Dir(at.clone(), dir.clone()), name)
            }
            Node::Versions(at, dir) if name.starts_with(b".") || sed => {
                self.create_scratch(by, Spot::Versions(at.clone(), dir.clone()), name)
            }
            Node::Versions(at, dir) => {
                let id = grammar(name, 64)?;
                self.restore_in_place(at, dir);
                self.usable(at, dir)?;
                let secret = self.secret_at(at, dir).ok_or(SILENT)?.0.serial;
                Ok(Held::Draft(Draft { emptied: true, ..Draft::new(Target::Version(secret, id), flags) }))
            }
            Node::Fields(at, dir) if name.starts_with(b".") || mkostemp => {
                self.create_scratch(by, Spot::Fields(at.clone(), dir.clone()), name)
            }
            Node::Fields(at, dir) => {
                let name = file_name(name)?;
                let (secret, scheduled) = self.secret_at(at, dir).ok_or(SILENT)?;
                if scheduled {
                    return Err(&[EIDRM]);
                }
                self.usable(at, dir)?;
                secret.edited(&name, &Edit::Set(b"x"))?;
                let base = if flags.appends && !flags.truncates { Base::Behind } else { Base::Whole };
                let target = Target::Member(secret.serial, name);
                Ok(Held::Draft(Draft { emptied: true, base, ..Draft::new(target, flags) }))
            }
            Node::Stages(at, dir) if name.starts_with(b".") => {
                self.create_scratch(by, Spot::Stages(at.clone(), dir.clone()), name)
            }
            Node::Stages(..) => Err(&[EINVAL]),
            _ => Err(SILENT),
        }
    }

    fn create_scratch(&mut self, by: By, spot: Spot, name: &[u8]) -> Outcome<Held> {
        let serial = self.add_scratch(spot, name, Content::File(Vec::new()), (by.uid, by.gid, 0o600))?;
        Ok(Held::Scratch(serial))
    }

    /// What an open file reads; `None` where the model does not say.
    pub fn read(&self, held: &Held) -> Outcome<Option<Bytes>> {
        match held {
            Held::Value { secret, bytes, version } => match self.secret(*secret) {
                Some((_, false, ..)) if !self.is_usable(*secret) => Err(&[EKEYREVOKED]),
                Some((_, false, ..)) if self.destroyed.contains(version) => Err(&[ENOENT]),
                Some((_, false, ..)) => Ok(Some(bytes.clone())),
                Some((_, true, ..)) => Err(&[EIDRM]),
                None => Err(&[ENOENT]),
            },
            Held::Text(bytes) => Ok(bytes.clone()),
            Held::Scratch(serial) if self.scratches.get(serial).is_some_and(|file| !self.is_readable(file)) => {
                Err(&[EKEYREVOKED])
            }
            Held::Scratch(serial) => self.stored(&Node::Scratch(*serial)).map(Some),
            // What is never stored is not kept.
            Held::Draft(draft) if draft.poison.is_some() => Err(SILENT),
            Held::Draft(draft) => {
                self.is_open(draft)?;
                let mut content = match draft.base {
                    Base::Whole => Vec::new(),
                    Base::Behind | Base::Present => self.present_of(draft)?,
                };
                content.extend_from_slice(&draft.bytes);
                Ok(Some(content.into()))
            }
        }
    }

    /// Whether a file in memory is no copy of a value whose key is disabled.
    pub fn is_readable(&self, file: &Scratch) -> bool {
        file.copied.is_none_or(|secret| self.is_usable(secret))
    }

    /// The present content of what a draft is of.
    pub fn present_of(&self, draft: &Draft) -> Outcome<Vec<u8>> {
        match &draft.target {
            Target::Current(serial) | Target::Version(serial, _) => {
                let (secret, scheduled, ..) = self.secret(*serial).ok_or(&[ENOENT][..])?;
                if scheduled {
                    return Err(&[EIDRM]);
                }
                let present = match (&draft.target, draft.opened) {
                    (Target::Current(_), _) => {
                        Ok(secret.current().map_or(Vec::new(), |version| version.bytes.to_vec()))
                    }
                    (_, Some(opened)) => self.pinned(opened).map(|bytes| bytes.to_vec()),
                    (_, None) => Ok(Vec::new()),
                }?;
                // A version that is gone is that first.
                if self.is_usable(*serial) { Ok(present) } else { Err(&[EKEYREVOKED]) }
            }
            Target::Member(serial, name) => {
                let (secret, scheduled, ..) = self.secret(*serial).ok_or(&[ENOENT][..])?;
                if scheduled {
                    return Err(&[EIDRM]);
                }
                let present = secret.current().and_then(|version| member(&version.bytes, name));
                if self.is_usable(*serial) { Ok(present.unwrap_or_default()) } else { Err(&[EKEYREVOKED]) }
            }
            Target::Text(secret, kind) => self.text(*secret, *kind),
            Target::State(secret) => self.secret(*secret).map(|_| b"PendingDeletion\n".to_vec()).ok_or(&[ENOENT]),
            Target::Window(at) => Ok(format!("{}\n", self.instances[at].days).into_bytes()),
            Target::KeyState(at, key) => Ok(self.key(at, *key).ok_or(&[ENOENT][..])?.1.state().into()),
        }
    }

    /// A version that is stored, or that a reader has open.
    fn pinned(&self, version: u64) -> Outcome<Bytes> {
        if let Some((_, bytes)) = self.kept().into_iter().find(|((_, serial), _)| *serial == version) {
            return Ok(bytes);
        }
        let open =
            self.handles.iter().flatten().filter(|_| !self.destroyed.contains(&version)).find_map(|held| match held {
                Held::Value { version: serial, bytes, .. } if *serial == version => Some(bytes.clone()),
                _ => None,
            });
        open.ok_or(&[ENOENT])
    }
}

/// Shares `bytes` among all who hold them.
pub fn shared(bytes: &[u8]) -> Bytes {
    Rc::from(bytes)
}
