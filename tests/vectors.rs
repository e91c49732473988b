//! Test vectors of the format, made by the second implementation (`scripts/make-vectors.py`) and opened by this one. A third of
//! them and more must fail, each for one defect and with one error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kmsfs::crypto::keys::vectors;
use kmsfs::crypto::{
    CryptoError, Header, KeyRef, MasterKey, RecordContext, RowKey, SetDigest, SlotError, Source, ValueContext,
    WrapContext, key_ref, open_slot,
};
use kmsfs::id::{NodeId, StoreId, VersionNo};
use kmsfs::sealed::Sealed;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// The kinds there are; each is a file of `tests/vectors`.
const KINDS: [&str; 9] = ["aad", "digest", "head", "header", "index", "record", "slot", "value", "wrap"];
/// The least number of vectors, and that of those that must fail.
const LEAST: (usize, usize) = (60, 30);

#[derive(Deserialize)]
struct File {
    kind: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    given: Given,
    /// What comes out, of a vector that must open.
    opens: Option<Given>,
    /// What is wrong with it, and the error, of one that must fail.
    defect: Option<String>,
    error: Option<String>,
}

/// Members by name; bytes are in hexadecimal.
#[derive(Deserialize)]
#[serde(transparent)]
struct Given(Map<String, Json>);

impl Given {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn number(&self, name: &str) -> u32 {
        u32::try_from(self.0[name].as_u64().unwrap()).unwrap()
    }

    fn node(&self, name: &str) -> NodeId {
        NodeId(self.number(name))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn sealed(&self, name: &str) -> Sealed {
        Sealed::from_bytes(self.bytes(name))
    }

    fn store(&self) -> StoreId {
        StoreId(self.array("store"))
    }

    fn master(&self, name: &str) -> MasterKey {
        vectors::master(self.array(name))
    }

    fn record(&self) -> RecordContext {
        let (id, scope, parent) = (self.node("id"), self.node("scope"), self.node("parent"));
        RecordContext { store: self.store(), id, scope, parent, index: self.array("idx") }
    }

    fn value(&self) -> ValueContext {
        let (scope, secret, version) = (self.node("scope"), self.node("secret"), VersionNo(self.number("version")));
        ValueContext { store: self.store(), scope, secret, version }
    }

    fn wrap(&self) -> WrapContext {
        let row = RowKey { node: self.node("node"), no: self.number("no") };
        WrapContext { store: self.store(), scope: self.node("scope"), row }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of an error, as the vectors have it.
fn named(error: &CryptoError) -> &'static str {
    match error {
        CryptoError::Altered { .. } => "Altered",
        CryptoError::Malformed { .. } => "Malformed",
        CryptoError::Random => "Random",
        CryptoError::Cost => "Cost",
    }
}

/// What this implementation makes of a vector: the members of `opens`, or an error's name. A key does not come out of its type,
/// so keys are compared with `expected`, and shown when they are those.
fn open(kind: &str, given: &Given, expected: Option<&Given>) -> Result<Json, &'static str> {
    match kind {
        "aad" => same(&aad(given), &given.bytes("aad")),
        "index" => {
            let keys = vectors::node_keys([0; 32], given.array("key"));
            same(&keys.index(given.text("domain"), given.text("name").as_bytes()), &given.bytes("index"))
        }
        "digest" => same(digest(given).as_bytes(), &given.bytes("digest")),
        "header" => {
            let header = Header::read(&given.sealed("header")).map_err(|error| named(&error))?;
            Ok(json!({"format": header.format, "store": hex(&header.store.0)}))
        }
        "slot" => slot(given, expected),
        "wrap" => wrap(given, expected).map_err(|error| named(&error)),
        "record" => {
            let keys = vectors::node_keys(given.array("meta"), [0; 32]);
            let plain = keys.open_record(given.record(), &given.sealed("sealed")).map_err(|error| named(&error))?;
            Ok(json!({"plain": hex(&plain)}))
        }
        "value" => {
            let dek = vectors::dek(given.array("dek"));
            let value = dek.open(given.value(), &given.sealed("sealed")).map_err(|error| named(&error))?;
            assert!(value.as_bytes().iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
            Ok(json!({"len": value.len()}))
        }
        "head" => {
            let head = given.master("master").open_head(given.store(), &given.sealed("sealed"));
            let head = head.map_err(|error| named(&error))?;
            Ok(json!({
                "counter": head.counter, "next_node": head.next_node, "records": head.records, "values": head.values,
                "wraps": head.wraps, "digest": hex(head.digest.as_bytes()),
            }))
        }
        other => panic!("there is no kind {other}"),
    }
}

fn same(found: &[u8], claimed: &[u8]) -> Result<Json, &'static str> {
    if found == claimed { Ok(json!({})) } else { Err("Differs") }
}

fn aad(given: &Given) -> Vec<u8> {
    match given.text("label") {
        "record" => vectors::record_aad(given.record()),
        "value" => vectors::value_aad(given.value()),
        label => {
            let by = KeyRef { key: given.node("key"), version: given.number("version") };
            vectors::wrap_aad(label, given.wrap(), by)
        }
    }
}

fn digest(given: &Given) -> SetDigest {
    let mut digest = SetDigest::EMPTY;
    for row in given.0["rows"].as_array().unwrap() {
        let row = Given(row.as_object().unwrap().clone());
        let at = RowKey { node: row.node("node"), no: row.number("no") };
        let table = u8::try_from(row.number("table")).unwrap();
        digest.add(&given.master("master").set_element(given.store(), table, at, &row.bytes("row")));
    }
    digest
}

fn slot(given: &Given, expected: Option<&Given>) -> Result<Json, &'static str> {
    let bytes = given.bytes("source");
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    let source = match given.text("source_kind") {
        "key file" => Source::KeyFile(key.as_ref().unwrap()),
        _ => Source::Passphrase(&bytes),
    };
    let number = u8::try_from(given.number("number")).unwrap();
    match open_slot(given.store(), number, &given.sealed("slot"), &source) {
        Ok(master) => {
            let right = expected.is_some_and(|expected| vectors::is_master(&master, expected.array("master")));
            Ok(json!({"master": expected.filter(|_| right).map(|expected| expected.text("master"))}))
        }
        Err(SlotError::Damaged) => Err("Damaged"),
        Err(SlotError::WrongKey) => Err("WrongKey"),
        Err(SlotError::OtherKind) => Err("OtherKind"),
    }
}

fn wrap(given: &Given, expected: Option<&Given>) -> Result<Json, CryptoError> {
    let (at, sealed) = (given.wrap(), given.sealed("wrap"));
    let payload = expected.map(|expected| expected.bytes("payload")).unwrap_or_default();
    let one = || <[u8; 32]>::try_from(payload.as_slice()).unwrap_or_default();
    let right = match given.text("label") {
        "node-keys" => {
            let keys = given.master("by").unwrap_node_keys(at, &sealed)?;
            payload.len() == 64 && vectors::is_node_keys(&keys, &payload[..32], &payload[32..])
        }
        "cmk" => vectors::is_cmk(&given.master("by").unwrap_cmk(at, &sealed)?, one()),
        _ => {
            key_ref(&sealed)?;
            vectors::is_dek(&vectors::cmk(given.array("by")).unwrap_dek(at, &sealed)?, one())
        }
    };
    Ok(json!({"payload": right.then(|| hex(&payload))}))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn files() -> Vec<File> {
    let read = |kind: &str| fs::read(folder().join(format!("{kind}.json"))).unwrap();
    KINDS.iter().map(|kind| serde_json::from_slice(&read(kind)).unwrap()).collect()
}

#[test]
fn what_the_second_implementation_sealed_opens_here_or_fails_for_its_defect() {
    let (mut all, mut failing) = (0, 0);
    for file in files() {
        for vector in &file.vectors {
            let found = open(&file.kind, &vector.given, vector.opens.as_ref());
            let expected = match (&vector.opens, &vector.error) {
                (Some(opens), None) => Ok(Json::Object(opens.0.clone())),
                (None, Some(error)) => Err(error.as_str()),
                _ => panic!("{}: {}: it must either open or fail", file.kind, vector.name),
            };
            assert_eq!(found, expected, "{}: {}", file.kind, vector.name);
            assert_eq!(vector.defect.is_some(), vector.error.is_some(), "{}: {}", file.kind, vector.name);
            failing += usize::from(vector.error.is_some());
        }
        all += file.vectors.len();
    }
    println!("{all} vectors, {failing} of them must fail");
    assert!(all >= LEAST.0 && failing >= LEAST.1 && 3 * failing >= all);
}

#[test]
fn every_vector_has_a_name_of_its_own() {
    for file in files() {
        let names: BTreeSet<&str> = file.vectors.iter().map(|vector| vector.name.as_str()).collect();
        assert_eq!(names.len(), file.vectors.len(), "{}", file.kind);
    }
}

#[test]
fn the_root_s_keys_come_from_the_master_key() {
    let master = vectors::master([7; 32]);
    let (store, other) = (StoreId([1; 16]), StoreId([2; 16]));
    let at = RecordContext { store, id: NodeId(16), scope: NodeId(16), parent: NodeId(0), index: [0; 16] };
    let sealed = master.root_keys(store).seal_record(at, b"{}").unwrap();
    assert!(master.root_keys(store).open_record(at, &sealed).is_ok());
    assert!(master.root_keys(other).open_record(at, &sealed).is_err());
}

#[test]
fn making_the_vectors_again_gives_the_same_files() {
    let scratch = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-vectors.py");
    let ran = Command::new("/usr/bin/python3").arg("-B").arg(script).arg(scratch.path()).output().unwrap();
    assert!(
        ran.status.success(),
        "it needs: apt install python3 python3-cryptography python3-argon2\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let names = |folder: &Path| -> BTreeSet<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&folder()), names(scratch.path()));
    for name in names(&folder()) {
        let equal = fs::read(folder().join(&name)).unwrap() == fs::read(scratch.path().join(&name)).unwrap();
        assert!(equal, "tests/vectors/{name} is not what scripts/make-vectors.py makes");
    }
}
