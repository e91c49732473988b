//! What each step sends to the real tree, and to the reference.

use kmsfs::fs::{At, Close, Fault, Handle, Ino, Tree, Who};

use crate::gestures::Wanted;
use crate::harness::{Did, Harness, NOBODY, Open, how, whole};
use crate::op::{Op, Path};
use crate::reference::{Held, Node, Outcome, SILENT};
use crate::walk::{Found, attr_change};

impl Harness {
    /// Does one step on both sides, and holds what came of it against each other.
    pub fn act(&mut self, op: &Op) -> Found<()> {
        match op {
            Op::Become(uid) => {
                self.uid = *uid;
                Ok(())
            }
            Op::Restart => self.restart(),
            Op::Pass(hours) => self.pass(*hours),
            Op::SetClock(days) => self.set_clock(*days),
            Op::KeepUp => self.keep_up(),
            Op::DestroyVersion(path, id) => self.destroy_version(path, id),
            Op::PutIf(path, id, current, data) => self.put_if(path, *id, current, data),
            Op::Rotate(path, turn) => self.rotate(path, turn),
            Op::LookForRuns => self.look_for_runs(),
            Op::Mkdir(path, mode) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.mkdir(by, parent, name, *mode));
                let real = self.on_tree(path, |tree, who, parent, name| tree.make_directory(who, parent, name, *mode));
                if let Ok((parent, name, entry)) = &real {
                    self.kernel.changed(*parent);
                    self.kernel.told(*parent, name, entry);
                }
                self.judge("mkdir", model, real)
            }
            Op::Symlink(path, target) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.symlink(by, parent, name, target));
                let real = self.on_tree(path, |tree, who, parent, name| tree.make_link(who, parent, name, target));
                self.note_change(&real, false);
                self.judge("symlink", model, real)
            }
            Op::Unlink(path) => {
                let model = self.on_model(path, |model, parent, name| model.unlink(parent, name));
                let real = self.on_tree(path, |tree, who, parent, name| tree.unlink(who, parent, name));
                self.note_change(&real, true);
                self.judge("unlink", model, real)
            }
            Op::Rmdir(path) => {
                let entry = self.find(path);
                let model = self.on_model(path, |model, parent, name| model.rmdir(parent, name));
                let real = self.on_tree(path, |tree, who, parent, name| tree.remove_directory(who, parent, name));
                self.note_change(&real, true);
                if let (Ok(_), Some(entry)) = (&real, entry) {
                    self.kernel.removed(&entry);
                }
                self.judge("rmdir", model, real)
            }
            Op::Rename(from, to, keeps) => self.rename(from, to, *keeps),
            Op::SetAttr(path, wanted) => self.set_attr(path, *wanted),
            Op::Create(path, flags) => {
                let by = self.by();
                let model = self.on_model(path, |model, parent, name| model.create(by, parent, name, *flags));
                // A name that is there already is looked up and opened, as the kernel does of itself.
                let real =
                    self.on_tree(path, |tree, who, parent, name| match tree.create(who, parent, name, how(*flags)) {
                        Err(Fault::Stale) => {
                            let entry = tree.lookup(who, parent, name)?;
                            let who = Who { uid: 0, gid: 0, ..who };
                            let handle = tree.open_to_write(who, entry.attr.ino, how(*flags))?;
                            Ok((entry, handle))
                        }
                        other => other,
                    });
                self.note_change(&real, false);
                self.opened("create", model, real.map(|(.., (entry, handle))| (entry.attr.ino, handle)))
            }
            Op::OpenToRead(path) => {
                let model = self.on_model(path, |model, parent, name| model.open_to_read(parent, name));
                let real = self.open(path, |tree, who, ino| tree.open_to_read(who, ino));
                self.opened("open to read", model, real)
            }
            Op::OpenToWrite(path, flags) => {
                let model = self.on_model(path, |model, parent, name| model.open_to_write(0, parent, name, *flags));
                // Whoever it is stored for later: see `whom_bits_bind_not`.
                let real = self
                    .open(path, |tree, who, ino| tree.open_to_write(Who { uid: 0, gid: 0, ..who }, ino, how(*flags)));
                self.opened("open to write", model, real)
            }
            Op::Xattr(path) => self.xattr(path),
            Op::Read(at) => self.with_handle(*at, Self::read),
            Op::Write(at, offset, data) => self.with_handle(*at, |this, at, open| {
                let data = data.bytes();
                let model = this.model.write(at, *offset, &data);
                let who = this.whom_bits_bind_not();
                let real = this.tree().write(who, open.ino, open.handle, *offset, &data);
                this.judge("write", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Truncate(at, len) => self.with_handle(*at, |this, at, open| {
                let model = this.model.truncate(at, *len);
                let who = this.whom_bits_bind_not();
                let change = attr_change(Wanted { size: Some(*len), ..Wanted::default() }, Some(open.handle));
                // The attributes after it are another question: the file may be gone by name.
                let real = this.tree().set_attr(who, open.ino, change).map(|_| ());
                if model.is_ok() && matches!(&real, Err(Fault::NoEntry)) {
                    return Ok(());
                }
                this.judge("truncate", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Flush(at) => self.with_handle(*at, |this, at, open| {
                let model = this.model.flush(at);
                let who = this.who();
                let mut real = this.tree().flush(who, open.handle);
                if let Ok(Close::Looks { look, .. }) = real {
                    real = this.tree().decide(who, open.handle, &look, look.take(), false);
                }
                let real = real.map(|_| ());
                this.judge("flush", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Sync(at) => self.with_handle(*at, |this, at, open| {
                let model = this.model.sync(at);
                let who = this.who();
                let real = this.tree().sync(who, open.handle);
                this.judge("fsync", model, real.map_err(|fault| (who, fault)))
            }),
            Op::Release(at) => self.with_handle(*at, |this, at, open| {
                this.model.release(at);
                let who = Who { uid: 0, gid: 0, ..this.who() };
                this.tree().release(who, open.handle);
                this.opens[at] = None;
                this.take_stale();
                Ok(())
            }),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path, keeps: bool) -> Found<()> {
        if from == to {
            return Ok(());
        }
        let parents = (self.model_parent(from), self.model_parent(to));
        // Whether a member that is there already is a new version turns on who may read it.
        let onto_member = matches!(&parents.1, Some((Node::Fields(..), _)));
        let uid = if onto_member { 0 } else { self.who().uid };
        let model = match &parents {
            (Some((from, old)), Some((to, new))) => self.model.rename(uid, (from, old), (to, new), keeps),
            _ => Err(&[libc::ENOENT][..]),
        };
        let who = if onto_member { self.whom_bits_bind_not() } else { self.who() };
        let real = match (self.tree_parent(from), self.tree_parent(to)) {
            (Some((parent, name)), Some((to_parent, to_name))) => {
                let (from, to) = (At { parent, name }, At { parent: to_parent, name: to_name });
                let outcome = self.tree().rename(who, from, to, keeps);
                if outcome.is_ok() {
                    for (parent, name) in [(parent, name), (to_parent, to_name)] {
                        self.kernel.changed(parent);
                        self.kernel.forget_name(parent, name);
                    }
                }
                outcome
            }
            _ => Err(Fault::NoEntry),
        };
        self.judge("rename", model, real.map_err(|fault| (who, fault)))
    }

    fn set_attr(&mut self, path: &Path, wanted: Wanted) -> Found<()> {
        let model = self.on_model(path, |model, parent, name| model.set_attr(parent, name, wanted));
        let who = Who { tid: NOBODY, ..self.who() };
        let real = match self.find(path) {
            Some(entry) => self.tree().set_attr(who, entry.attr.ino, attr_change(wanted, None)),
            None => Err(Fault::NoEntry),
        };
        if let Ok(attr) = &real {
            self.kernel.forget_attr(attr.ino);
        }
        self.judge("change of attributes", model, real.map_err(|fault| (who, fault)))
    }

    fn xattr(&mut self, path: &Path) -> Found<()> {
        let expected = self.on_model(path, |model, parent, name| {
            let node = model.lookup(parent, name).ok_or(&[libc::ENOENT][..])?;
            let (Node::Current(at, dir) | Node::Version(at, dir, _) | Node::Field(at, dir, _) | Node::Dotenv(at, dir)) =
                &node
            else {
                return Err(&[libc::ENODATA]);
            };
            let (secret, _) = model.secret_at(at, dir).ok_or(SILENT)?;
            let version = match &node {
                Node::Version(_, _, id) => secret.version(id),
                _ => secret.current(),
            };
            let version = version.ok_or(SILENT)?;
            let kind = if std::str::from_utf8(&version.bytes).is_ok() { "text" } else { "binary" };
            Ok((version.id.clone(), secret.labels_of(&version.id).join(","), kind))
        });
        let who = self.who();
        let Some(entry) = self.find(path) else {
            return self.judge("xattr", expected.map(|_| ()), Err::<(), _>((who, Fault::NoEntry)));
        };
        let get = |name: &str| self.tree().xattr(who, entry.attr.ino, format!("user.kmsfs.{name}").as_bytes());
        match (expected, get("version"), get("stages"), get("data-type")) {
            (Ok((id, labels, kind)), Ok(a), Ok(b), Ok(c)) => {
                let same = a == id.as_bytes() && b == labels.as_bytes() && c == kind.as_bytes();
                if same { Ok(()) } else { Err(format!("xattrs {}", [a, b, c].concat().escape_ascii())) }
            }
            (Err(_), Err(_), Err(_), Err(_)) => Ok(()),
            (expected, ..) => Err(format!("xattrs: must be {expected:?}")),
        }
    }

    fn read(&mut self, at: usize, open: Open) -> Found<()> {
        let held = self.model.handles[at].clone().expect("both sides have it");
        let model = self.model.read(&held);
        let who = self.whom_bits_bind_not();
        let real = self.tree().read(who, open.ino, open.handle, false);
        if let (Ok(Some(expected)), Ok(reading)) = (&model, &real) {
            let bytes = whole(reading);
            if **expected != *bytes {
                let (is, must) = (bytes.escape_ascii(), expected.escape_ascii());
                return Err(format!("read: is {is}, must be {must}"));
            }
        }
        self.judge("read", model.map(|_| ()), real.map_err(|fault| (who, fault)))
    }

    /// The newest open file but `back`, if there is any.
    fn with_handle(&mut self, back: usize, act: impl FnOnce(&mut Self, usize, Open) -> Found<()>) -> Found<()> {
        let there: Vec<usize> = (0..self.opens.len()).filter(|at| self.opens[*at].is_some()).collect();
        let Some(at) = there.len().checked_sub(back + 1).map(|at| there[at]) else { return Ok(()) };
        let open = self.opens[at].expect("it is there");
        act(self, at, open)
    }

    fn opened(
        &mut self,
        verb: &'static str,
        model: Outcome<Held>,
        real: Result<(Ino, Handle), (Who, Fault)>,
    ) -> Found<()> {
        if let (Ok(held), Ok((ino, handle))) = (&model, &real) {
            self.model.handles.push(Some(held.clone()));
            self.opens.push(Some(Open { ino: *ino, handle: *handle }));
        }
        self.judge(verb, model, real)
    }

    #[allow(clippy::result_large_err, reason = "who was refused, and why")]
    fn open(
        &mut self,
        path: &Path,
        act: impl FnOnce(&Tree, Who, Ino) -> Did<Handle>,
    ) -> Result<(Ino, Handle), (Who, Fault)> {
        let who = self.who();
        let entry = self.find(path).ok_or((who, Fault::NoEntry))?;
        let handle = act(self.tree(), who, entry.attr.ino).map_err(|fault| (who, fault))?;
        Ok((entry.attr.ino, handle))
    }
}
