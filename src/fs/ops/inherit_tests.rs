//! A request that comes again to the next worker, after the one that carried it out was killed before its answer: it is answered
//! as it was the first time, and changes nothing more.

use std::os::fd::AsFd as _;

use super::*;
use crate::crypto::{KdfParams, Source};
use crate::estate::Files;
use crate::fs::Options;
use crate::fs::inode::Handle;
use crate::fs::ops::{At, AttrChange, Close, How, Who};
use crate::id::OpId;
use crate::store::MemoryStore;
use crate::vault::{Owner, init, unlock};

const KEY: [u8; 32] = [1; 32];

/// A store and an estate, and how many workers have served them.
struct World {
    store: Arc<MemoryStore>,
    files: Files,
    workers: u64,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        init(&*store, &Source::KeyFile(&KEY), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        Self { store, files: Files::make().unwrap(), workers: 0 }
    }

    /// The next worker's tree. The former one is as if it was killed: nothing is released when it is dropped.
    fn next(&mut self) -> Tree {
        let vault = Arc::new(unlock(self.store.clone(), &Source::KeyFile(&KEY)).unwrap());
        let files = Files::from_both(self.files.both().map(|file| file.as_fd().try_clone_to_owned().unwrap()));
        let (estate, left) = Estate::open(files, vault.estate_root()).unwrap();
        let life = Life { keeper: None, workers_before: self.workers };
        self.workers += 1;
        Tree::new(vault, Options::default()).in_life(life, Arc::new(estate), &left)
    }
}

/// Root, by the request numbered `op`.
fn who(op: u8) -> Who {
    Who {
        uid: 0,
        gid: 0,
        tid: std::process::id(),
        op: OpId([op; 16]),
        gesture: "test",
        account: None,
        by: Default::default(),
    }
}

fn directory(tree: &Tree, path: &[&str]) -> Ino {
    path.iter().fold(Ino::ROOT, |ino, name| tree.lookup(who(0), ino, name.as_bytes()).unwrap().attr.ino)
}

fn secret(tree: &Tree) -> Ino {
    directory(tree, &["prod", "s"])
}

fn entry(tree: &Tree, name: &str) -> Ino {
    directory(tree, &["prod", "s", name])
}

fn writes() -> How {
    How { truncates: true, ..How::default() }
}

/// Writes `text` into entry `name`, all of it, by requests from `op` on.
fn write(tree: &Tree, op: u8, name: &str, text: &[u8]) {
    let ino = entry(tree, name);
    let handle = tree.open_to_write(who(op), ino, writes()).unwrap();
    tree.write(who(op + 1), ino, handle, 0, text).unwrap();
    assert!(matches!(tree.flush(who(op + 2), handle).unwrap(), Close::Answered));
    tree.release(who(op + 3), handle);
}

/// A secret without a value, and a writer of its `current`.
fn writer(tree: &Tree, how: How) -> (Ino, Handle) {
    tree.make_directory(who(1), Ino::ROOT, b"prod", 0o755).unwrap();
    tree.make_directory(who(2), directory(tree, &["prod"]), b"s", 0o750).unwrap();
    let (made, handle) = tree.create(who(3), secret(tree), b"current", how).unwrap();
    (made.attr.ino, handle)
}

fn versions(tree: &Tree) -> Vec<String> {
    seen(tree).into_iter().filter(|line| line.starts_with("prod/s/versions/")).collect()
}

/// Commits what was written through `handle` for the request `op`, as a worker does that is killed before it can note it.
fn commit_and_die(tree: &Tree, op: u8, handle: Handle) {
    let file = tree.draft_file(handle).unwrap();
    let mut draft = file.lock();
    draft.storing = Some(who(op).op);
    tree.leave(draft.storing, &draft);
    tree.store(who(op), &mut draft).unwrap();
}

/// All that can be seen of the instance: its names with their sizes, its texts, its links.
fn seen(tree: &Tree) -> Vec<String> {
    let mut seen = Vec::new();
    look_into(tree, directory(tree, &["prod"]), "prod", &mut seen);
    seen.sort();
    seen
}

fn look_into(tree: &Tree, ino: Ino, path: &str, seen: &mut Vec<String>) {
    let mut names = Vec::new();
    tree.list(ino, 0, &mut |_, name, ino| {
        names.push((String::from_utf8(name.to_vec()).unwrap(), ino));
        false
    })
    .unwrap();
    for (name, ino) in names {
        let path = format!("{path}/{name}");
        let attr = tree.attr(who(0), ino).unwrap();
        let content = match attr.shape {
            crate::fs::tree::Shape::Directory if matches!(name.as_str(), "." | "..") => continue,
            crate::fs::tree::Shape::Directory => {
                look_into(tree, ino, &path, seen);
                String::new()
            }
            crate::fs::tree::Shape::Link => String::from_utf8(tree.link_target(ino).unwrap()).unwrap(),
            crate::fs::tree::Shape::File => {
                let handle = tree.open_to_read(who(0), ino).unwrap();
                let bytes = tree.read(who(0), ino, handle, false).unwrap().slice(0, usize::MAX).to_vec();
                tree.release(who(0), handle);
                String::from_utf8(bytes).unwrap()
            }
        };
        seen.push(format!("{path} {:o} {}: {content}", attr.mode, attr.uid));
    }
}

/// What a request answers, for comparison.
type Outcome = Result<String, Fault>;
/// A request that comes twice, after what has to be there for it.
type Case = (&'static str, fn(&Tree), fn(&Tree, Who) -> Outcome);

fn nothing(_: &Tree) {}

fn scratch(tree: &Tree) {
    scratch_by(tree, 60);
}

fn scratch_by(tree: &Tree, op: u8) {
    let (made, handle) = tree.create(who(op), secret(tree), b".new", How::default()).unwrap();
    tree.write(who(op + 1), made.attr.ino, handle, 0, b"scratch").unwrap();
    tree.release(who(op + 2), handle);
}

fn scheduled(tree: &Tree) {
    tree.unlink(who(60), secret(tree), b"current").unwrap();
    tree.remove_directory(who(61), directory(tree, &["prod"]), b"s").unwrap();
}

fn labelled(tree: &Tree) {
    tree.make_link(who(60), entry(tree, "stages"), b"canary", b"../versions/v1").unwrap();
}

fn at<'a>(parent: Ino, name: &'a str) -> At<'a> {
    At { parent, name: name.as_bytes() }
}

fn done(outcome: Result<(), Fault>) -> Outcome {
    outcome.map(|()| "done".to_owned())
}

const CASES: &[Case] = &[
    ("mkdir of an instance", nothing, |tree, who| {
        tree.make_directory(who, Ino::ROOT, b"test", 0o755).map(|made| format!("{:?}", made.attr.ino))
    }),
    ("mkdir", nothing, |tree, who| {
        tree.make_directory(who, directory(tree, &["prod"]), b"t", 0o750).map(|made| format!("{:?}", made.attr.ino))
    }),
    (
        "rmdir of a draft",
        |tree| {
            tree.make_directory(who(60), directory(tree, &["prod"]), b"t", 0o750).unwrap();
        },
        |tree, who| done(tree.remove_directory(who, directory(tree, &["prod"]), b"t")),
    ),
    ("unlink of current", nothing, |tree, who| done(tree.unlink(who, secret(tree), b"current"))),
    (
        "rmdir of a scheduled secret",
        |tree| tree.unlink(who(60), secret(tree), b"current").unwrap(),
        |tree, who| done(tree.remove_directory(who, directory(tree, &["prod"]), b"s")),
    ),
    ("restore", scheduled, |tree, who| {
        let from = directory(tree, &["prod", ".deleted"]);
        done(tree.rename(who, at(from, "s"), at(directory(tree, &["prod"]), "s"), false))
    }),
    ("link of a label", nothing, |tree, who| {
        let made = tree.make_link(who, entry(tree, "stages"), b"canary", b"../versions/v1");
        made.map(|made| format!("{:?}", made.attr.ino))
    }),
    ("link of a file in memory", nothing, |tree, who| {
        let made = tree.make_link(who, entry(tree, "stages"), b".tmp", b"../versions/v1");
        made.map(|made| format!("{:?}", made.attr.ino))
    }),
    ("unlink of a label", labelled, |tree, who| done(tree.unlink(who, entry(tree, "stages"), b"canary"))),
    ("rename of a label", labelled, |tree, who| {
        let stages = entry(tree, "stages");
        done(tree.rename(who, at(stages, "canary"), at(stages, "blue"), false))
    }),
    ("chmod", nothing, |tree, who| {
        let change = AttrChange { mode: Some(0o700), ..AttrChange::default() };
        tree.set_attr(who, secret(tree), change).map(|attr| format!("{:o}", attr.mode))
    }),
    ("create of a file in memory", nothing, |tree, who| {
        let made = tree.create(who, secret(tree), b".new", How { exclusive: true, ..How::default() });
        made.map(|(entry, handle)| format!("{:?} {handle:?}", entry.attr.ino))
    }),
    ("rename of a file in memory", scratch, |tree, who| {
        let secret = secret(tree);
        done(tree.rename(who, at(secret, ".new"), at(secret, ".other"), false))
    }),
    ("rename of a file in memory onto current", scratch, |tree, who| {
        let secret = secret(tree);
        done(tree.rename(who, at(secret, ".new"), at(secret, "current"), false))
    }),
    ("rename of a file in memory to a version", scratch, |tree, who| {
        let (from, to) = (secret(tree), entry(tree, "versions"));
        done(tree.rename(who, at(from, ".new"), at(to, "mine"), false))
    }),
    ("backup of current", nothing, |tree, who| {
        let secret = secret(tree);
        done(tree.rename(who, at(secret, "current"), at(secret, "current~"), false))
    }),
    ("unlink of a file in memory", scratch, |tree, who| done(tree.unlink(who, secret(tree), b".new"))),
    ("open to read", nothing, |tree, who| {
        tree.open_to_read(who, entry(tree, "current")).map(|handle| format!("{handle:?}"))
    }),
    ("open of a text", nothing, |tree, who| {
        tree.open_to_read(who, entry(tree, "tags")).map(|handle| format!("{handle:?}"))
    }),
    ("open to write", nothing, |tree, who| {
        tree.open_to_write(who, entry(tree, "current"), writes()).map(|handle| format!("{handle:?}"))
    }),
    ("create of a version", nothing, |tree, who| {
        let made = tree.create(who, entry(tree, "versions"), b"mine", How { exclusive: true, ..writes() });
        made.map(|(entry, handle)| format!("{:?} {handle:?}", entry.attr.ino))
    }),
];

#[test]
fn a_request_that_comes_again_is_answered_as_before() {
    for (what, prepare, request) in CASES {
        let mut world = World::new();
        let tree = world.next();
        let (ino, handle) = writer(&tree, writes());
        tree.write(who(4), ino, handle, 0, b"one").unwrap();
        tree.flush(who(5), handle).unwrap();
        tree.release(who(6), handle);
        write(&tree, 7, "tags", b"a=1\n");
        prepare(&tree);
        let first = request(&tree, who(99)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let before = seen(&tree);
        let tree = world.next();
        let again = request(&tree, who(99)).unwrap_or_else(|fault| panic!("{what}, again: {fault}"));
        assert_eq!((again, seen(&tree)), (first, before), "{what}");
    }
}

/// The kernel has moved `current` to the backup's name, and was not told that it is there still.
#[test]
fn the_kernel_is_told_by_the_next_worker() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, writes());
    tree.write(who(4), ino, handle, 0, b"one").unwrap();
    tree.flush(who(5), handle).unwrap();
    let directory = secret(&tree);
    tree.rename(who(6), at(directory, "current"), at(directory, "current~"), false).unwrap();
    let tree = world.next();
    assert_eq!(tree.take_stale().names, [(directory, b"current~".to_vec())]);
    let change = AttrChange { uid: Some(1000), ..AttrChange::default() };
    tree.set_attr(who(7), ino, change).unwrap();
    let tree = world.next();
    tree.set_attr(who(7), ino, change).unwrap();
    assert!(tree.take_stale().attrs.contains(&directory));
}

/// The directory that a member was removed from goes on showing it.
#[test]
fn a_removal_of_a_member_that_comes_again_is_one() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, writes());
    tree.write(who(4), ino, handle, 0, br#"{"a":1,"b":2}"#).unwrap();
    tree.flush(who(5), handle).unwrap();
    tree.release(who(6), handle);
    let fields = entry(&tree, "fields");
    tree.unlink(who(7), fields, b"a").unwrap();
    let after = seen(&tree);
    let tree = world.next();
    tree.unlink(who(7), fields, b"a").unwrap();
    assert_eq!(seen(&tree), after);
    assert!(tree.unlink(who(8), fields, b"a").is_err(), "another request finds that it is gone");
}

/// Each write of an appending writer gets in once, whichever of them come again.
#[test]
fn an_appended_write_that_comes_again_is_one() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, How { appends: true, ..How::default() });
    tree.write(who(4), ino, handle, 0, b"one ").unwrap();
    let tree = world.next();
    tree.write(who(4), ino, handle, 0, b"one ").unwrap();
    tree.write(who(5), ino, handle, 4, b"two").unwrap();
    let tree = world.next();
    tree.write(who(5), ino, handle, 4, b"two").unwrap();
    tree.flush(who(6), handle).unwrap();
    let tree = world.next();
    tree.flush(who(6), handle).unwrap();
    for _ in 0..2 {
        let tree = world.next();
        tree.release(who(7), handle);
        let current = entry(&tree, "current");
        let reading = tree.open_to_read(who(0), current).unwrap();
        assert_eq!(tree.read(who(0), current, reading, false).unwrap().slice(0, 99), b"one two");
        tree.release(who(0), reading);
        assert_eq!(versions(&tree).len(), 1);
    }
}

/// The commit was made and nothing more: the draft is as it was before, and its close comes from somebody else.
#[test]
fn what_was_stored_is_not_stored_again_by_another_close() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, writes());
    tree.write(who(4), ino, handle, 0, b"one").unwrap();
    commit_and_die(&tree, 5, handle);
    let tree = world.next();
    tree.release(who(6), handle);
    assert_eq!(versions(&tree).len(), 1);
}

/// What comes again comes in any order, and its second worker may be killed as well.
#[test]
fn a_write_that_comes_again_after_another_one_is_one() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, How { appends: true, ..How::default() });
    tree.write(who(4), ino, handle, 0, b"one ").unwrap();
    let tree = world.next();
    tree.write(who(5), ino, handle, 4, b"two").unwrap();
    let tree = world.next();
    tree.write(who(4), ino, handle, 0, b"one ").unwrap();
    tree.write(who(5), ino, handle, 4, b"two").unwrap();
    tree.flush(who(6), handle).unwrap();
    assert!(versions(&tree)[0].ends_with(": one two"), "{:?}", versions(&tree));
}

/// The store remembers its last 4,096 requests: whoever inherits a draft that was stored has to write that down.
#[test]
fn what_was_stored_long_ago_is_not_stored_again() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, writes());
    tree.write(who(4), ino, handle, 0, b"one").unwrap();
    commit_and_die(&tree, 5, handle);
    let tree = world.next();
    for n in 0..4_200_u16 {
        let mut op = OpId([6; 16]);
        op.0[..2].copy_from_slice(&n.to_le_bytes());
        let mode = Some(0o700 + (n & 7));
        tree.set_attr(Who { op, ..who(0) }, secret(&tree), AttrChange { mode, ..AttrChange::default() }).unwrap();
    }
    let tree = world.next();
    tree.release(who(7), handle);
    assert_eq!(versions(&tree).len(), 1);
}

/// A writer was let go, and its worker was killed before the draft knew.
#[test]
fn a_draft_whose_writer_was_let_go_is_never_stored() {
    let mut world = World::new();
    let tree = world.next();
    let (ino, handle) = writer(&tree, writes());
    tree.write(who(4), ino, handle, 0, b"part").unwrap();
    tree.lets_go(handle);
    let tree = world.next();
    assert_eq!(tree.write(who(5), ino, handle, 4, b" and rest").unwrap_err().errno(), libc::EIO);
    assert_eq!(tree.flush(who(6), handle).unwrap_err().errno(), libc::EIO);
    tree.release(who(7), handle);
    assert_eq!(versions(&tree).len(), 0);
}

/// A write that was let go of is mended by its own process, and by no other that writes to the file.
#[test]
fn only_who_was_interrupted_mends_it() {
    use crate::fs::process::Process;

    let (me, other) = (Process::numbered(std::process::id()), Process::numbered(1));
    for (interrupted, errno) in [(me, None), (other, Some(libc::EIO)), (None, Some(libc::EIO))] {
        let tree = World::new().next();
        let (ino, handle) = writer(&tree, writes());
        tree.forsake_write(handle, interrupted);
        let wrote = tree.write(who(5), ino, handle, 0, b"mine");
        assert_eq!(wrote.err().map(|fault| fault.errno()), errno);
        assert_eq!(tree.flush(who(6), handle).err().map(|fault| fault.errno()), errno);
        tree.release(who(7), handle);
        assert_eq!(versions(&tree).len(), usize::from(errno.is_none()));
    }
}

/// A file in memory that is gone may be open still: its number comes to no other, however many workers there were.
#[test]
fn a_slot_is_given_once() {
    let mut world = World::new();
    let tree = world.next();
    writer(&tree, writes());
    scratch(&tree);
    let first = entry(&tree, ".new").ordinal;
    tree.unlink(who(63), secret(&tree), b".new").unwrap();
    let tree = world.next();
    scratch_by(&tree, 70);
    assert_eq!(entry(&tree, ".new").ordinal, first + 1);
}
