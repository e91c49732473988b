//! The format is what `docs/format.md` says: a reader that was written from that page alone, in another language, reads what
//! the vault wrote, to the byte, and notices what is missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId, VersionNo};
use kmsfs::secret::{Component, InstanceName, RecoveryWindow, StageLabel, Tags, VersionId};
use kmsfs::store::{SqliteStore, Store};
use kmsfs::time::{Timestamp, Uptime};
use kmsfs::value::Value;
use kmsfs::vault::{AccessChange, Caller, Clock, Draft, Loaded, Owner, Vault, Written, init, unlock};
use serde_json::{Value as Json, json};

const KEY: [u8; 32] = *b"the thirty-two bytes of one key.";
const PASSPHRASE: &[u8] = "correct horse, päßword".as_bytes();

/// The Debian package's interpreter: another one may not see Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// A clock that moves on by a second each time it is asked, so that no two times are equal.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000_000_007, Ordering::SeqCst))
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: "one".into(), up: Duration::from_nanos(self.now().0) }
    }
}

/// A store in the making, and every value that was put into it.
struct Filled {
    scratch: tempfile::TempDir,
    vault: Vault,
    values: BTreeMap<(NodeId, VersionNo), Vec<u8>>,
    ops: u8,
}

impl Filled {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::create(&scratch.path().join("store")).unwrap());
        init(&*store, &Source::KeyFile(&KEY), KdfParams::LEAST, Owner { uid: 1000, gid: 100 }).unwrap();
        let clock = Ticking(AtomicU64::new(1_700_000_000_123_456_789));
        let vault = unlock(store, &Source::KeyFile(&KEY)).unwrap().with_clock(Arc::new(clock));
        Self { scratch, vault, values: BTreeMap::new(), ops: 0 }
    }

    fn caller(&mut self) -> Caller {
        self.ops += 1;
        Caller {
            uid: 1000 + u32::from(self.ops),
            gid: 100,
            tid: 0,
            op: OpId([self.ops; 16]),
            gesture: "test",
            account: None,
            by: Default::default(),
        }
    }

    fn instance(&mut self, name: &str) -> NodeId {
        let caller = self.caller();
        self.vault.make_instance(caller, InstanceName::parse(name.as_bytes()).unwrap(), 0o755).unwrap().id()
    }

    fn directory(&mut self, parent: NodeId, name: &str) -> (NodeId, Arc<Loaded>) {
        let caller = self.caller();
        let name = Component::parse(name.as_bytes()).unwrap();
        let directory = self.vault.make_directory(caller, parent, &name, 0o750).unwrap();
        (directory.id(), self.vault.secret_of(&directory).unwrap())
    }

    fn put(&mut self, secret: NodeId, id: Option<&str>, bytes: &[u8]) -> VersionNo {
        let caller = self.caller();
        let value = Value::copy_of(bytes);
        let id = id.map(|id| VersionId::parse(id.as_bytes()).unwrap());
        let draft = Draft { id, ..Draft::of(&value) };
        let Written::Added(no) = self.vault.put_value(caller, secret, draft).unwrap() else { panic!("a replay") };
        self.values.insert((secret, no), bytes.to_vec());
        no
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }
}

/// Every kind of node, in every state that it can be in by now.
fn fill() -> Filled {
    let mut filled = Filled::new();
    filled.vault.add_slot(&Source::Passphrase(PASSPHRASE), KdfParams { m_kib: 19_456, t: 2, p: 2 }).unwrap();
    let prod = filled.instance("prod");
    let _empty = filled.instance("an=empty+instance.@-");
    let caller = filled.caller();
    filled.vault.set_recovery_window(caller, prod, RecoveryWindow::parse(b"7").unwrap()).unwrap();

    let (db, _draft) = filled.directory(prod, "db");
    let (_, password) = filled.directory(db, "password");
    for n in 0..13 {
        filled.put(password.id(), None, format!("value {n} ✓\n").as_bytes());
    }
    let label = |name: &str| StageLabel::parse(name.as_bytes()).unwrap();
    let version = |id: &str| VersionId::parse(id.as_bytes()).unwrap();
    let caller = filled.caller();
    filled.vault.move_stage(caller, password.id(), &label("canary"), &version("v7"), None).unwrap();
    let caller = filled.caller();
    filled.vault.move_stage(caller, password.id(), &label("ACSCurrent"), &version("v9"), None).unwrap();
    filled.put(password.id(), Some("2024-01-01"), b"named");
    let caller = filled.caller();
    filled.vault.set_tags(caller, password.id(), Tags::parse_file(b"env=prod\na=b c=d\nempty=\n").unwrap()).unwrap();
    let caller = filled.caller();
    filled.vault.set_description(caller, password.id(), "\"quoted\"\\ ünïcode\n\ttwo lines".as_bytes()).unwrap();

    let (tls, key) = filled.directory(prod, "tls");
    filled.put(key.id(), Some("der"), &(0..=255).cycle().take(30_720).collect::<Vec<u8>>());
    filled.put(key.id(), Some("one"), &[0xff]);
    let caller = filled.caller();
    let change = AccessChange { uid: Some(7), gid: None, dir_mode: Some(0o711), value_mode: Some(0o444) };
    filled.vault.set_access(caller, tls, change).unwrap();

    for (name, fate) in [("scheduled", 0), ("restored", 1), ("purged", 2)] {
        let (_, secret) = filled.directory(prod, name);
        filled.put(secret.id(), None, name.as_bytes());
        let caller = filled.caller();
        filled.vault.schedule_deletion(caller, secret.id()).unwrap();
        let caller = filled.caller();
        match fate {
            0 => {}
            1 => filled.vault.restore_in_place(caller, secret.id()).unwrap(),
            _ => filled.vault.purge(caller, secret.id()).unwrap(),
        }
    }
    filled
}

/// Runs the independent reader on `store`.
fn read(store: &Path, source: &[&str]) -> Output {
    let has_packages = Command::new(PYTHON).args(["-c", "import cryptography, argon2"]).output();
    assert!(
        has_packages.is_ok_and(|ran| ran.status.success()),
        "the independent reader needs: apt install python3 python3-cryptography python3-argon2"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/read-store.py");
    Command::new(PYTHON).arg("-B").arg(script).arg(store).args(source).output().unwrap()
}

/// What the reader makes of a sound store.
fn dump(store: &Path, source: &[&str]) -> Json {
    let ran = read(store, source);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn key_file(scratch: &Path) -> String {
    let path = scratch.join("key");
    fs::write(&path, KEY).unwrap();
    path.to_str().unwrap().to_owned()
}

/// All nodes of a dump.
fn nodes(dump: &Json) -> Vec<&Json> {
    let mut nodes = vec![&dump["root"]];
    for instance in dump["instances"].as_array().unwrap() {
        nodes.push(instance);
        nodes.extend(["keys", "directories", "secrets"].iter().flat_map(|kind| instance[kind].as_array().unwrap()));
    }
    nodes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| -> Vec<char> {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        let digit = |at: usize| if at <= three.len() { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) } else { '=' };
        (0..4).map(digit).collect()
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// Compares one node of the dump with the vault's, member by member.
fn compare_node(vault: &Vault, found: &Json) {
    let id = NodeId(u32::try_from(found["id"].as_u64().unwrap()).unwrap());
    let loaded = vault.node(id).unwrap().unwrap();
    let expected = serde_json::to_value(&loaded.node).unwrap();
    for (kind, content) in expected.as_object().unwrap() {
        assert_eq!(&found[kind], content, "node {}", id.0);
    }
    assert_eq!(found["parent"], loaded.place().parent.0);
    assert_eq!(found["idx"], hex(&loaded.place().index.0));
}

/// Compares every value of one secret with what was written.
fn compare_values(filled: &Filled, found: &Json) -> usize {
    let secret = NodeId(u32::try_from(found["id"].as_u64().unwrap()).unwrap());
    let loaded = filled.vault.node(secret).unwrap().unwrap();
    let versions = &loaded.as_secret().unwrap().secret.versions;
    let values = found["values"].as_array().unwrap();
    assert_eq!(values.len(), versions.len());
    for (value, version) in values.iter().zip(versions) {
        let written = &filled.values[&(secret, version.no)];
        let mut expected = json!({"no": version.no, "key": loaded.as_secret().unwrap().secret.key, "key_version": 1});
        match std::str::from_utf8(written) {
            Ok(text) => expected["text"] = text.into(),
            Err(_) => expected["base64"] = base64(written).into(),
        }
        assert_eq!(value, &expected, "version {} of {}", version.no.0, secret.0);
    }
    values.len()
}

fn compare(filled: &Filled, dump: &Json) {
    let counts = filled.vault.counts();
    let found = nodes(dump);
    assert_eq!(found.len() as u64, counts.records);
    found.iter().for_each(|node| compare_node(&filled.vault, node));
    let secrets = found.iter().filter(|node| node.get("secret").is_some());
    assert_eq!(secrets.map(|secret| compare_values(filled, secret)).sum::<usize>() as u64, counts.versions);
    assert_eq!(dump["store"], filled.vault.store_id());
    assert_eq!((&dump["head"]["counter"], &dump["head"]["values"]), (&json!(counts.changes), &json!(counts.versions)));
    assert_eq!(dump["slots"], json!([{"number": 0, "kind": "key file"}, {"number": 1, "kind": "passphrase"}]),);
    assert_eq!(dump["problems"], json!([]));
}

#[test]
fn a_second_implementation_reads_all_of_it() {
    let filled = fill();
    assert_eq!(filled.vault.verify().unwrap().problems, Vec::<String>::new());
    let key = key_file(filled.scratch.path());
    let while_open = dump(&filled.store(), &["--key-file", &key]);
    compare(&filled, &while_open);
    let scheduled = &while_open["instances"][0]["secrets"].as_array().unwrap();
    assert_eq!(scheduled.iter().filter(|secret| secret["secret"].get("access").is_some()).count(), 1);

    let passphrase = filled.scratch.path().join("passphrase");
    fs::write(&passphrase, [PASSPHRASE, b"\n"].concat()).unwrap();
    let store = filled.store();
    let Filled { scratch, vault, .. } = filled;
    drop(vault);
    let names = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["ballast", "store.db", "store.lock"], "a closed store has no log");
    let closed = dump(&store, &["--passphrase-file", passphrase.to_str().unwrap()]);
    assert_eq!(closed, while_open);
    fs::write(&key, hex(&KEY)).unwrap();
    assert_eq!(dump(&store, &["--key-file", &key]), while_open, "a key in hexadecimal");
    drop(scratch);
}

#[test]
fn a_second_implementation_finds_what_is_wrong() {
    let filled = fill();
    let (store, scratch) = (filled.store(), filled.scratch);
    drop(filled.vault);
    let key = key_file(scratch.path());
    let sound = fs::read(store.join("store.db")).unwrap();
    // (what is done to the database, what the reader says)
    let cases = [
        ("DELETE FROM value WHERE node > 64 AND no = 13", "the head counts"),
        ("DELETE FROM wrap WHERE place = 3", "the set digest differs"),
        ("DELETE FROM record WHERE id = (SELECT max(id) FROM record)", "the set digest differs"),
        ("UPDATE record SET parent = parent + 1 WHERE id = (SELECT max(id) FROM record)", "Altered"),
        ("UPDATE value SET sealed = (SELECT sealed FROM value ORDER BY node DESC LIMIT 1)", "Altered"),
        ("UPDATE wrap SET sealed = (SELECT sealed FROM wrap WHERE place = 6) WHERE place = 7", "Altered"),
        ("UPDATE record SET sealed = (SELECT sealed FROM record WHERE id = 16) WHERE id = 2", "head: Altered"),
        ("UPDATE record SET sealed = zeroblob(32) WHERE id = 1", "the header: Malformed"),
        ("PRAGMA user_version = 1", "Newer"),
        ("PRAGMA application_id = 1", "Damaged"),
    ];
    for (statement, said) in cases {
        fs::write(store.join("store.db"), &sound).unwrap();
        rusqlite::Connection::open(store.join("store.db")).unwrap().execute_batch(statement).unwrap();
        let ran = read(&store, &["--key-file", &key]);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && stderr.contains(said), "{statement}: {stderr}");
    }
    fs::write(store.join("store.db"), &sound).unwrap();
    fs::write(&key, [9; 32]).unwrap();
    let ran = read(&store, &["--key-file", &key]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("WrongKey"));
}
