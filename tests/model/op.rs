//! One step of a sequence, and how steps are drawn.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::gestures::Wanted;
use crate::reference::Flags;
use crate::verbs::Turn;

/// Path components from the root; the last is the name that is acted on.
#[derive(Clone, PartialEq)]
pub struct Path(pub Vec<Vec<u8>>);

impl Path {
    /// Its first `depth` components.
    pub fn up_to(&self, depth: usize) -> Path {
        Path(self.0[..depth].to_vec())
    }

    /// The path `names` further down.
    pub fn join(mut self, names: &[&[u8]]) -> Path {
        self.0.extend(names.iter().map(|name| name.to_vec()));
        self
    }
}

impl std::fmt::Debug for Path {
    /// As a regression spells it, long names shortened.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |name: &Vec<u8>| match name.len() {
            0..50 => name.escape_ascii().to_string(),
            len => format!("{}*{len}", name[..1].escape_ascii()),
        };
        let names: Vec<_> = self.0.iter().map(name).collect();
        write!(f, "path(\"{}\")", names.join("/"))
    }
}

#[derive(Debug, Clone)]
pub enum Op {
    Mkdir(Path, u16),
    Create(Path, Flags),
    OpenToRead(Path),
    OpenToWrite(Path, Flags),
    /// Handles are counted from the newest.
    Read(usize),
    Write(usize, u64, Data),
    Truncate(usize, u64),
    Flush(usize),
    Sync(usize),
    Release(usize),
    Symlink(Path, Vec<u8>),
    Rename(Path, Path, bool),
    Unlink(Path),
    Rmdir(Path),
    SetAttr(Path, Wanted),
    Xattr(Path),
    /// The version with that id ends.
    DestroyVersion(Path, &'static str),
    /// The version with that id, or the next one, where the second id is current.
    PutIf(Path, Option<&'static str>, &'static str, Data),
    /// What whoever conducts the rotations of a secret does.
    Rotate(Path, Turn),
    /// Asks for what is due.
    LookForRuns,
    /// So many hours pass.
    Pass(u64),
    /// The wall clock is set so many days ahead of the truth.
    SetClock(i64),
    /// The daemon looks after the store.
    KeepUp,
    /// The next requests are this user's.
    Become(u32),
    Restart,
}

/// Bytes of a write, short in a report however long they are.
#[derive(Clone)]
pub enum Data {
    Bytes(&'static [u8]),
    /// So many of one byte.
    Many(u8, usize),
    /// So many lines `k<n>=v`.
    Tags(usize),
}

impl Data {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Data::Bytes(bytes) => bytes.to_vec(),
            Data::Many(byte, count) => vec![*byte; *count],
            Data::Tags(count) => (0..*count).flat_map(|n| format!("k{n}=v\n").into_bytes()).collect(),
        }
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Data::Bytes(bytes) => write!(f, "Bytes(b\"{}\")", bytes.escape_ascii()),
            Data::Many(byte, count) => write!(f, "Many({byte}, {count})"),
            Data::Tags(count) => write!(f, "Tags({count})"),
        }
    }
}

/// The path that `text` spells, for the regressions.
pub fn path(text: &str) -> Path {
    Path(text.split('/').map(|name| name.as_bytes().to_vec()).collect())
}

/// What `printf %s data > path` sends.
pub fn put(path: Path, data: Data) -> Vec<Op> {
    let flags = Flags { truncates: true, ..Flags::default() };
    vec![Op::Create(path, flags), Op::Write(0, 0, data), Op::Flush(0), Op::Release(0)]
}

/// What `printf %s data >> path` sends.
pub fn append(path: Path, data: Data) -> Vec<Op> {
    let flags = Flags { appends: true, ..Flags::default() };
    vec![Op::Create(path, flags), Op::Write(0, 0, data), Op::Flush(0), Op::Release(0)]
}

fn bytes(names: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::sample::select(names).prop_map(<[u8]>::to_vec)
}

/// A name that no secret can have.
fn bad_name() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        bytes(&[
            b"",
            b".",
            b"..",
            b".x",
            b"x y",
            b"x\n",
            b"\xff",
            b"caf\xc3\xa9",
            b"current",
            b"fields",
            b"info",
            b"a%2Fb"
        ]),
        Just(vec![b'n'; 65]),
        Just(vec![b'n'; 193]),
        Just(vec![b'n'; 256]),
    ]
}

/// The names that tools make on their way.
fn scratch_name() -> impl Strategy<Value = Vec<u8>> + Clone {
    bytes(&[b".s", b".s", b"tags~", b"sedAbC123", b"w", b"current.new", b"a", b".n\n", b".\xff"])
}

/// A secret's directory: few, so that they meet.
pub fn dir() -> impl Strategy<Value = Path> + Clone {
    let paths = vec!["p/a"; 12];
    let others = ["p/a/b", "p/a/b", "p/a/b", "p/a/b", "p/b", "p/b", "p/b/a", "p/acs", "p/a/b/c", "q/a"];
    let paths = [paths, others.to_vec()].concat();
    prop::sample::select(paths).prop_map(path)
}

fn version() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        8 => bytes(&[b"v1", b"v1", b"v2", b"v2", b"v3", b"v7", b"x"]),
        1 => bad_name(),
        1 => bytes(&[b".s", b"sedAbC123", b"v12", b"sedation1"]),
    ]
}

fn label() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        8 => bytes(&[b"ACSCurrent", b"ACSCurrent", b"ACSPrevious", b"ACSPending", b"l1", b"l2", b"CuAbC123", b".s"]),
        2 => bytes(&[b"l3", b"l4", b"l5", b"l6", b"l7"]),
        1 => bad_name(),
    ]
}

/// A member, or what may stand beside them.
fn member() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        8 => bytes(&[b"user", b"user", b"n", b"x y", b"caf\xc3\xa9"]),
        1 => bad_name(),
        1 => bytes(&[b".s", b".s", b"sedAbC123", b"sedation1"]),
    ]
}

/// A file of a secret that can be written.
fn file() -> impl Strategy<Value = Path> + Clone {
    prop_oneof![
        6 => dir().prop_map(|dir| dir.join(&[b"current"])),
        5 => (dir(), version()).prop_map(|(dir, id)| dir.join(&[b"versions", &id])),
        4 => (dir(), member()).prop_map(|(dir, name)| dir.join(&[b"fields", &name])),
        3 => (dir(), bytes(&[b"tags", b"tags", b"description", b"policy", b"rotation", b"cmk", b"info"]))
            .prop_map(|(dir, name)| dir.join(&[&name])),
        2 => (dir(), scratch_name()).prop_map(|(dir, name)| dir.join(&[&name])),
        1 => trashed("state"),
    ]
}

/// An entry of a scheduled secret's directory, or that directory.
fn trashed(entry: &'static str) -> impl Strategy<Value = Path> + Clone {
    let names = vec!["p/.deleted/a", "p/.deleted/a", "p/.deleted/a%2Fb", "p/.deleted/b", "q/.deleted/a"];
    prop::sample::select(names).prop_map(move |name| match entry {
        "" => path(name),
        _ => path(&format!("{name}/{entry}")),
    })
}

/// Anything at all.
fn anything() -> impl Strategy<Value = Path> + Clone {
    let fixed = [
        "p",
        "q",
        ".kmsfs",
        ".kmsfs/status",
        "p/.instance",
        "p/.instance/info",
        "p/.instance/recovery-window",
        "p/.keys",
        "p/.keys/default",
        "p/.keys/default/state",
        "p/.keys/other",
        "p/.keys/other/state",
        "p/.deleted",
        "p/.x",
        "p/a/fields/x",
    ];
    prop_oneof![
        5 => file(),
        3 => dir(),
        3 => (dir(), label()).prop_map(|(dir, label)| dir.join(&[b"stages", &label])),
        2 => (dir(), bytes(&[b"versions", b"stages", b"fields", b"dotenv", b"info"])).prop_map(|(dir, name)| dir.join(&[&name])),
        2 => trashed(""),
        1 => trashed("state"),
        1 => trashed("info"),
        1 => prop::sample::select(fixed.to_vec()).prop_map(path),
        1 => (dir(), bad_name()).prop_map(|(dir, name)| dir.join(&[&name])),
    ]
}

/// A key's state.
fn key() -> impl Strategy<Value = Path> + Clone {
    prop::sample::select(vec!["p/.keys/default/state", "p/.keys/other/state"]).prop_map(path)
}

const VALUES: &[&[u8]] = &[
    b"a",
    b"b",
    b"ab",
    b"secret\n",
    b"\xff\xfe",
    b"{\"user\":\"u\"}",
    b"{\"user\":\"u\"}",
    b"{\"n\":5432,\"user\":\"it's $x\",\"\":[null]}\n",
];
const TAG_FILES: &[&[u8]] = &[
    b"env=prod\n",
    b"a=1\nb 2\n",
    b"a=1\na=2\n",
    b"acs:x=1\n",
    b"AliYun=1",
    b"a=b c=d\n",
    b"nonsense",
    b"k=v w x",
    b"\n\n",
    b"=v",
    b"k=",
];
const KEYS: &[&[u8]] = &[b"default\n", b"other"];
const WORDS_OF_KEYS: &[&[u8]] = &[b"Enabled\n", b"Enabled", b"Disabled\n", b"PendingDeletion\n", b"PendingDeletion"];
const WORDS: &[&[u8]] = &[b"purge", b"purge\n", b"14\n", b"6", b"default\n", b"other", b"Disabled", b"{}", b" "];
const SIZES: &[usize] = &[64, 8_193, 30_719, 30_720, 30_721, 32_769];

fn data() -> impl Strategy<Value = Data> + Clone {
    prop_oneof![
        10 => prop::sample::select(VALUES).prop_map(Data::Bytes),
        4 => prop::sample::select(TAG_FILES).prop_map(Data::Bytes),
        2 => prop::sample::select(WORDS).prop_map(Data::Bytes),
        1 => (1usize..3).prop_map(|n| Data::Tags(n * 10 + 1)),
        1 => prop::sample::select(SIZES).prop_map(|count| Data::Many(b'z', count)),
    ]
}

fn flags() -> impl Strategy<Value = Flags> + Clone {
    let flags = |(truncates, appends, exclusive, reads)| Flags { reads, truncates, appends, exclusive };
    prop_oneof![
        4 => Just(Flags { truncates: true, ..Flags::default() }),
        2 => Just(Flags { appends: true, ..Flags::default() }),
        1 => Just(Flags { exclusive: true, reads: true, ..Flags::default() }),
        2 => any::<(bool, bool, bool, bool)>().prop_map(flags),
    ]
}

fn handle() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![4 => Just(0usize), 2 => Just(1), 1 => 2usize..5]
}

fn offset() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![6 => Just(0u64), 2 => 1u64..4, 1 => prop::sample::select(vec![30_719u64, 30_720, u64::MAX])]
}

fn wanted() -> impl Strategy<Value = Wanted> + Clone {
    let mode = prop::sample::select(vec![0o600u16, 0o640, 0o750, 0o777, 0o4755]);
    prop_oneof![
        3 => mode.prop_map(|mode| Wanted { mode: Some(mode), ..Wanted::default() }),
        1 => (1000u32..1003).prop_map(|uid| Wanted { uid: Some(uid), ..Wanted::default() }),
        1 => (1000u32..1003).prop_map(|gid| Wanted { gid: Some(gid), ..Wanted::default() }),
        2 => prop::sample::select(vec![0u64, 1, 2, 40_000, u64::MAX])
            .prop_map(|size| Wanted { size: Some(size), ..Wanted::default() }),
    ]
}

/// Steps that belong together, as a tool sends them.
fn gesture() -> impl Strategy<Value = Vec<Op>> {
    let one = |op: Op| vec![op];
    prop_oneof![
        // What is there before anything can happen to it.
        6 => (dir(), prop::sample::select(vec![0o777u16, 0o700])).prop_map(|(dir, mode)| mkdirs(&dir, mode)),
        1 => (dir(), bad_name()).prop_map(move |(dir, name)| one(Op::Mkdir(dir.join(&[&name]), 0o777))),
        1 => anything().prop_map(move |path| one(Op::Mkdir(path, 0o777))),
        // Shells.
        10 => (file(), data()).prop_map(|(path, data)| put(path, data)),
        3 => (file(), data()).prop_map(|(path, data)| append(path, data)),
        2 => (dir(), 1usize..13).prop_map(|(dir, count)| fill(&dir, count)),
        2 => (dir(), scratch_name(), file(), data()).prop_map(|(dir, name, to, data)| {
            let mut ops = put(dir.clone().join(&[&name]), data);
            ops.push(Op::Rename(dir.join(&[&name]), to, false));
            ops
        }),
        3 => (dir(), any::<bool>()).prop_map(|(dir, whole)| rm_r(&dir, whole)),
        2 => (trashed(""), dir(), any::<bool>()).prop_map(move |(from, to, keeps)| one(Op::Rename(from, to, keeps))),
        3 => prop::sample::select(vec![("p/.deleted/a", "p/a"), ("p/.deleted/a%2Fb", "p/a/b"), ("p/.deleted/b", "p/b")])
            .prop_map(move |(from, to)| one(Op::Rename(path(from), path(to), false))),
        2 => trashed("state").prop_map(|path| put(path, Data::Bytes(b"purge\n"))),
        2 => (Just(path("p/.instance/recovery-window")), data()).prop_map(|(path, data)| put(path, data)),
        1 => Just(one(Op::Mkdir(path("p/.keys/other"), 0o777))),
        2 => (dir(), prop::sample::select(KEYS)).prop_map(|(dir, key)| {
            put(dir.join(&[b"cmk"]), Data::Bytes(key))
        }),
        3 => (key(), prop::sample::select(WORDS_OF_KEYS))
            .prop_map(|(key, word)| put(key, Data::Bytes(word))),
        4 => (dir(), label(), version()).prop_map(move |(dir, label, id)| {
            let target = [b"../versions/", id.as_slice()].concat();
            one(Op::Symlink(dir.join(&[b"stages", &label]), target))
        }),
        3 => (dir(), label(), version()).prop_map(|(dir, label, id)| link_over(&dir, &label, &id)),
        // Files that stay open while other things happen.
        6 => (dir(), bytes(&[b"current", b"versions/v1", b"fields/user", b"dotenv", b"tags"])).prop_map(move |(dir, name)| {
            let names: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
            one(Op::OpenToRead(dir.join(&names)))
        }),
        6 => (dir(), bytes(&[b"current", b"current", b"versions/v1", b"versions/v7", b"tags", b"description"]), flags())
            .prop_map(move |(dir, name, flags)| {
                let names: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
                one(Op::Create(dir.join(&names), flags))
            }),
        // Single requests, in any order.
        4 => (file(), flags()).prop_map(move |(path, flags)| one(Op::Create(path, flags))),
        4 => (anything(), flags()).prop_map(move |(path, flags)| one(Op::OpenToWrite(path, flags))),
        5 => prop_oneof![2 => file(), 1 => anything()].prop_map(move |path| one(Op::OpenToRead(path))),
        8 => handle().prop_map(move |at| one(Op::Read(at))),
        10 => (handle(), offset(), data()).prop_map(move |(at, offset, data)| one(Op::Write(at, offset, data))),
        5 => (handle(), prop::sample::select(vec![0u64, 0, 1, 2, 5, 30_721]))
            .prop_map(move |(at, len)| one(Op::Truncate(at, len))),
        6 => handle().prop_map(move |at| one(Op::Flush(at))),
        3 => handle().prop_map(move |at| one(Op::Sync(at))),
        3 => handle().prop_map(move |at| one(Op::Release(at))),
        3 => (anything(), anything(), any::<bool>()).prop_map(move |(from, to, keeps)| one(Op::Rename(from, to, keeps))),
        2 => (dir(), label(), label()).prop_map(move |(dir, from, to)| {
            one(Op::Rename(dir.clone().join(&[b"stages", &from]), dir.join(&[b"stages", &to]), false))
        }),
        4 => anything().prop_map(move |path| one(Op::Unlink(path))),
        2 => dir().prop_map(move |dir| one(Op::Unlink(dir.join(&[b"current"])))),
        2 => (dir(), member()).prop_map(move |(dir, name)| one(Op::Unlink(dir.join(&[b"fields", &name])))),
        4 => anything().prop_map(move |path| one(Op::Rmdir(path))),
        3 => (anything(), wanted()).prop_map(move |(path, wanted)| one(Op::SetAttr(path, wanted))),
        1 => file().prop_map(move |path| one(Op::Xattr(path))),
        24 => crate::drawn::gesture(dir()),
        1 => (1000u32..1003).prop_map(move |uid| one(Op::Become(uid))),
        1 => Just(one(Op::Restart)),
    ]
}

fn mkdirs(dir: &Path, mode: u16) -> Vec<Op> {
    (1..=dir.0.len()).map(|depth| Op::Mkdir(dir.up_to(depth), mode)).collect()
}

/// `count` values one after the other.
fn fill(dir: &Path, count: usize) -> Vec<Op> {
    let value = |n: usize| put(dir.clone().join(&[b"current"]), Data::Many(b'0' + n as u8, 3));
    (0..count).flat_map(value).collect()
}

/// `ln -sfn ../versions/ID stages/LABEL`, as coreutils does it.
fn link_over(dir: &Path, label: &[u8], id: &[u8]) -> Vec<Op> {
    let target = [b"../versions/", id].concat();
    let temporary = dir.clone().join(&[b"stages", b"CuXyZ789"]);
    let to = dir.clone().join(&[b"stages", label]);
    vec![Op::Symlink(temporary.clone(), target), Op::Rename(temporary, to, false)]
}

/// `rm -r`, in the order of readdir, or broken off after its first step.
fn rm_r(dir: &Path, whole: bool) -> Vec<Op> {
    let mut ops = vec![Op::Unlink(dir.clone().join(&[b"current"]))];
    if whole {
        for entry in [&b"dotenv"[..], b"tags", b"policy", b"description", b"rotation", b"cmk", b"info"] {
            ops.push(Op::Unlink(dir.clone().join(&[entry])));
        }
        ops.extend([&b"versions"[..], b"stages", b"fields"].map(|entry| Op::Rmdir(dir.clone().join(&[entry]))));
        ops.push(Op::Rmdir(dir.clone()));
    }
    ops
}

/// What is there before a sequence begins.
fn prelude() -> impl Strategy<Value = Vec<Op>> {
    let value = |name: &str| put(path(name), Data::Bytes(b"secret\n"));
    let (a, nested) = (mkdirs(&path("p/a"), 0o777), mkdirs(&path("p/a/b"), 0o777));
    let label = Op::Symlink(path("p/a/stages/l1"), b"../versions/v1".to_vec());
    let live = [a.clone(), value("p/a/current"), vec![label]].concat();
    let full = [a.clone(), fill(&path("p/a"), 9)].concat();
    let both = [nested, value("p/a/current"), value("p/a/b/current")].concat();
    let deleted = [both.clone(), rm_r(&path("p/a/b"), true), rm_r(&path("p/a"), false)].concat();
    let key = vec![Op::Mkdir(path("p/.keys/other"), 0o777)];
    let keyed = [a.clone(), key, put(path("p/a/cmk"), Data::Bytes(b"other\n")), value("p/a/current")].concat();
    let object = Data::Bytes(b"{\"n\":5432,\"user\":\"u\",\".h\":\"\"}");
    let fielded = [a.clone(), put(path("p/a/current"), object)].concat();
    prop_oneof![
        2 => Just(a),
        4 => Just(fielded),
        4 => Just(live),
        2 => Just(full),
        3 => Just(both),
        2 => Just(deleted),
        2 => Just(keyed),
    ]
}

/// A sequence: something to begin with, then anything.
pub fn sequence(gestures: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    let gestures = vec(gesture(), gestures).prop_map(|gestures| gestures.concat());
    (prelude(), gestures).prop_map(|(prelude, gestures)| [prelude, gestures].concat())
}
