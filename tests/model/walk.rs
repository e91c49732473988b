//! A walk over the real tree by names, as `find` and `cat` would: readdir, lookup, getattr, open, read. On its way it holds
//! the tree to what the kernel is told: that what it may keep is still true, and that numbers are never given twice.

use std::collections::{BTreeSet, HashMap, HashSet};

use kmsfs::fs::{Entry, Ino, Kind, Reading, Shape as FileShape, Tree, Who};

use crate::gestures::Wanted;
use crate::picture::{Picture, Seen, Shape};
use crate::reference::{Bytes, Model};

/// What the kernel has been told and may still believe.
#[derive(Default)]
pub struct Kernel {
    /// Names with a time-out above zero: (directory, name) to inode number.
    names: HashMap<(u64, Vec<u8>), u64>,
    /// Attributes with one.
    attrs: HashMap<u64, kmsfs::fs::Attr>,
    /// Directories that were removed: the kernel counts these dead for ever.
    dead: HashSet<u64>,
    /// Every version number ever seen, its id and bytes.
    versions: HashMap<u64, (Vec<u8>, Bytes)>,
}

impl Kernel {
    /// Takes in what a reply says of a name.
    pub fn told(&mut self, parent: Ino, name: &[u8], entry: &Entry) {
        let number = entry.attr.ino.number();
        if !entry.entry_ttl.is_zero() {
            self.names.insert((parent.number(), name.to_vec()), number);
        }
        if !entry.attr_ttl.is_zero() {
            self.attrs.insert(number, entry.attr);
        }
    }

    /// A request that changed names in `parent` has succeeded: the kernel asks again for its attributes.
    pub fn changed(&mut self, parent: Ino) {
        self.attrs.remove(&parent.number());
    }

    pub fn forget_name(&mut self, parent: Ino, name: &[u8]) {
        self.names.remove(&(parent.number(), name.to_vec()));
    }

    pub fn forget_attr(&mut self, ino: Ino) {
        self.attrs.remove(&ino.number());
    }

    /// `ino` was removed by rmdir(2).
    pub fn removed(&mut self, entry: &Entry) {
        let number = entry.attr.ino.number();
        self.dead.insert(number);
        self.names.retain(|(parent, _), _| *parent != number);
        self.attrs.remove(&number);
    }
}

/// The walk. Its thread is one that no open file belongs to, so that sizes are those of what is stored.
pub struct Walk<'a> {
    pub tree: &'a Tree,
    pub kernel: &'a mut Kernel,
    pub who: Who,
    picture: Picture,
}

/// What went wrong on the way.
pub type Found<T> = Result<T, String>;

impl<'a> Walk<'a> {
    pub fn over(tree: &'a Tree, kernel: &'a mut Kernel, who: Who) -> Found<Picture> {
        let mut walk = Walk { tree, kernel, who, picture: Picture::new() };
        walk.directory(Ino::ROOT, b"")?;
        Ok(walk.picture)
    }

    fn directory(&mut self, ino: Ino, path: &[u8]) -> Found<()> {
        let say = |error: &kmsfs::fs::Fault| format!("{}: {error}", path.escape_ascii());
        let mut listed: Vec<(Vec<u8>, Ino)> = Vec::new();
        let mut from = 0;
        // Three at a time, so that going on from a position is tried as well.
        loop {
            let (mut room, before) = (3, from);
            let listing = self.tree.list(ino, from, &mut |next, name, ino| {
                if room == 0 {
                    return true;
                }
                room -= 1;
                from = next;
                listed.push((name.to_vec(), ino));
                false
            });
            listing.map_err(|error| say(&error))?;
            if from == before {
                break;
            }
        }
        listed.retain(|(name, _)| name != b"." && name != b"..");
        let names: BTreeSet<&[u8]> = listed.iter().map(|(name, _)| name.as_slice()).collect();
        if names.len() != listed.len() {
            return Err(format!("{}: a name is listed twice: {listed:?}", path.escape_ascii()));
        }
        if ino.kind == Kind::Directory && listed.iter().skip(1).any(|(name, _)| name == b"current") {
            return Err(format!("{}: `current` is not listed first", path.escape_ascii()));
        }
        for (name, number) in &listed {
            self.entry(ino, path, name, Some(*number))?;
        }
        if ino.kind == Kind::Directory {
            for name in Model::entry_names().iter().filter(|name| !names.contains(name.as_bytes())) {
                self.entry(ino, path, name.as_bytes(), None)?;
            }
        }
        self.limits(ino.kind, &listed, path)
    }

    fn limits(&self, kind: Kind, listed: &[(Vec<u8>, Ino)], path: &[u8]) -> Found<()> {
        let kept = listed.iter().filter(|(_, ino)| matches!(ino.kind, Kind::Version | Kind::Stage)).count();
        let most = if kind == Kind::Stages { 8 } else { 10 };
        if kept > most {
            return Err(format!("{}: {kept} versions or labels", path.escape_ascii()));
        }
        Ok(())
    }

    fn entry(&mut self, parent: Ino, above: &[u8], name: &[u8], listed: Option<Ino>) -> Found<()> {
        let mut path = above.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let at = || path.escape_ascii().to_string();
        let entry = match self.tree.lookup(self.who, parent, name) {
            Ok(entry) => entry,
            Err(error) if listed.is_some() => return Err(format!("{}: listed, but {error}", at())),
            Err(_) => return self.believed(parent, name, None).map_err(|error| format!("{}: {error}", at())),
        };
        let attr = entry.attr;
        if listed.is_some_and(|ino| ino != attr.ino) {
            return Err(format!("{}: listed as {listed:?}, looked up as {:?}", at(), attr.ino));
        }
        if self.tree.attr(self.who, attr.ino).ok() != Some(attr) {
            return Err(format!("{}: getattr and lookup differ", at()));
        }
        self.believed(parent, name, Some(&entry)).map_err(|error| format!("{}: {error}", at()))?;
        self.kernel.told(parent, name, &entry);
        let shape = match attr.shape {
            FileShape::Directory => Shape::Directory,
            FileShape::Link => Shape::Link(self.tree.link_target(attr.ino).map_err(|e| format!("{}: {e}", at()))?),
            FileShape::File => self.file(attr.ino, attr.size).map_err(|error| format!("{}: {error}", at()))?,
        };
        if let (Kind::Version | Kind::Field, Shape::File(bytes)) = (attr.ino.kind, &shape) {
            let was = self.kernel.versions.entry(attr.ino.number());
            let was = was.or_insert_with(|| (name.to_vec(), bytes.clone()));
            if was.0 != name || was.1 != *bytes {
                return Err(format!("{}: the number {:?} was given to another version before", at(), attr.ino));
            }
        }
        let times = [attr.modified.0, attr.changed.0, attr.created.0];
        let seen = Seen { listed: listed.is_some(), mode: attr.mode, uid: attr.uid, gid: attr.gid, times, shape };
        let is_directory = seen.shape == Shape::Directory;
        self.picture.insert(path.clone(), seen);
        if is_directory { self.directory(attr.ino, &path) } else { Ok(()) }
    }

    /// Whether what the kernel may keep of a name is what the tree says now.
    fn believed(&self, parent: Ino, name: &[u8], now: Option<&Entry>) -> Found<()> {
        let key = (parent.number(), name.to_vec());
        let number = now.map(|entry| entry.attr.ino.number());
        // A directory of an earlier life of its secret serves as well.
        let plain = |number: u64| Ino::parse(number).map(Ino::of_any_life);
        if let Some(kept) = self.kernel.names.get(&key).filter(|kept| plain(**kept) != number.and_then(plain)) {
            return Err(format!("the kernel goes on believing in {kept:?}, it is {number:?}"));
        }
        let Some(now) = now else { return Ok(()) };
        if let Some(kept) = self.kernel.attrs.get(&now.attr.ino.number()).filter(|kept| **kept != now.attr) {
            return Err(format!("the kernel goes on believing in {kept:?}, it is {:?}", now.attr));
        }
        let dead = number.is_some_and(|number| self.kernel.dead.contains(&number));
        if dead { Err(format!("{number:?} was removed, and comes again")) } else { Ok(()) }
    }

    fn file(&self, ino: Ino, size: u64) -> Found<Shape> {
        if matches!(ino.kind, Kind::Api | Kind::Backup) {
            // Nobody waits for the model's requests, and the api answers only those whom it sees. A copy of the whole store is a
            // database that is made anew: it has tests of its own, and ten thousand walks would make one each step.
            return Ok(Shape::Other);
        }
        let handle = match self.tree.open_to_read(self.who, ino) {
            Err(error) if error.errno() == libc::EKEYREVOKED => return Ok(Shape::Revoked),
            Err(error) if error.errno() == libc::EIDRM && ino.kind == Kind::Dotenv => return Ok(Shape::Scheduled),
            opened => opened.map_err(|error| error.to_string())?,
        };
        if ino.kind == Kind::Events {
            // What happened before an open is not told to it.
            self.tree.release(self.who, handle);
            return if size == 0 { Ok(Shape::Other) } else { Err(format!("{size} bytes are shown")) };
        }
        let reading = self.tree.read(self.who, ino, handle, false);
        self.tree.release(self.who, handle);
        let reading = match reading {
            Ok(Reading::Value(value)) => Bytes::from(value.as_bytes()),
            Ok(Reading::Text(text)) => Bytes::from(text.as_slice()),
            Ok(Reading::Said { part, .. }) => Bytes::from(part.as_bytes()),
            Err(error) if error.errno() == libc::EKEYREVOKED => return Ok(Shape::Revoked),
            Err(error) => return Err(error.to_string()),
        };
        let counts = !matches!(ino.kind, Kind::Status | Kind::LastError | Kind::Metrics);
        if counts && reading.len() as u64 != size {
            return Err(format!("{} bytes are read, {size} are shown", reading.len()));
        }
        Ok(match ino.kind {
            Kind::Info | Kind::TrashedInfo => Shape::Json(serde_json::from_slice(&reading).map_err(|e| e.to_string())?),
            Kind::Status | Kind::LastError | Kind::Metrics | Kind::InstanceInfo | Kind::KeyInfo | Kind::KeyPolicy => {
                Shape::Other
            }
            _ => Shape::File(reading),
        })
    }
}

/// What chmod, chown and truncate(2) ask for, in the tree's words.
pub fn attr_change(wanted: Wanted, handle: Option<kmsfs::fs::Handle>) -> kmsfs::fs::AttrChange {
    let Wanted { mode, uid, gid, size } = wanted;
    kmsfs::fs::AttrChange { mode, uid, gid, size, handle }
}
