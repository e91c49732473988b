//! Test vectors of the format, made by the second implementation (`scripts/make-vectors.py`) and opened by this one. A third
//! of them and more must fail, each for one defect and with one error. They stand in here, since outside of the crate no key
//! is made of bytes, and none shows its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::crypto::{Header, SetDigest, SlotError, Source, open_slot};

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
        MasterKey(secret(&self.bytes(name)))
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

/// A key of known bytes, which only a vector has.
fn secret(bytes: &[u8]) -> Secret32 {
    Secret32::from_slice(bytes, "a key").unwrap()
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

/// What this implementation makes of a vector: the members of `opens`, or an error's name.
fn found(kind: &str, given: &Given) -> Result<Json, &'static str> {
    match kind {
        "aad" => same(aad(given).as_bytes(), &given.bytes("aad")),
        "index" => {
            let keys = NodeKeys { meta: Secret32::zero(), index: secret(&given.bytes("key")) };
            same(&keys.index(given.text("domain"), given.text("name").as_bytes()), &given.bytes("index"))
        }
        "digest" => same(digest(given).as_bytes(), &given.bytes("digest")),
        "header" => {
            let header = Header::read(&given.sealed("header")).map_err(|error| named(&error))?;
            Ok(json!({"format": header.format, "store": hex(&header.store.0)}))
        }
        "slot" => slot(given),
        "wrap" => opened(given).map_err(|error| named(&error)),
        "record" => {
            let keys = NodeKeys { meta: secret(&given.bytes("meta")), index: Secret32::zero() };
            let plain = keys.open_record(given.record(), &given.sealed("sealed")).map_err(|error| named(&error))?;
            Ok(json!({"plain": hex(&plain)}))
        }
        "value" => {
            let dek = Dek(secret(&given.bytes("dek")));
            let value = dek.open(given.value(), &given.sealed("sealed")).map_err(|error| named(&error))?;
            assert!(value.as_bytes().iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
            Ok(json!({"len": value.len()}))
        }
        "head" => {
            let head = given.master("master").open_head(given.store(), &given.sealed("sealed"));
            let head = head.map_err(|error| named(&error))?;
            let marks: String = head.slots.iter().map(|mark| hex(mark.as_bytes())).collect();
            Ok(json!({
                "counter": head.counter, "next_node": head.next_node, "records": head.records, "values": head.values,
                "wraps": head.wraps, "digest": hex(head.digest.as_bytes()), "slots": marks, "audited": head.audited,
            }))
        }
        other => panic!("there is no kind {other}"),
    }
}

fn same(found: &[u8], claimed: &[u8]) -> Result<Json, &'static str> {
    if found == claimed { Ok(json!({})) } else { Err("Differs") }
}

fn aad(given: &Given) -> Aad {
    match given.text("label") {
        "record" => given.record().aad(),
        "value" => given.value().aad(),
        label => {
            let by = KeyRef { key: given.node("key"), version: given.number("version") };
            wrap_aad(label, given.wrap(), by)
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

fn slot(given: &Given) -> Result<Json, &'static str> {
    let bytes = given.bytes("source");
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    let source = match given.text("source_kind") {
        "key file" => Source::KeyFile(key.as_ref().unwrap()),
        _ => Source::Passphrase(&bytes),
    };
    let number = u8::try_from(given.number("number")).unwrap();
    match open_slot(given.store(), number, &given.sealed("slot"), &source) {
        Ok(master) => Ok(json!({"master": hex(master.bytes())})),
        Err(SlotError::Damaged) => Err("Damaged"),
        Err(SlotError::WrongKey) => Err("WrongKey"),
        Err(SlotError::OtherKind) => Err("OtherKind"),
    }
}

fn opened(given: &Given) -> Result<Json, CryptoError> {
    let (at, sealed) = (given.wrap(), given.sealed("wrap"));
    let one = |key: Secret32| key.bytes().to_vec();
    let payload = match given.text("label") {
        "node-keys" => {
            let keys = given.master("by").unwrap_node_keys(at, &sealed)?;
            [keys.meta.bytes().as_slice(), keys.index.bytes()].concat()
        }
        "cmk" => one(given.master("by").unwrap_cmk(at, &sealed)?.0),
        _ => {
            key_ref(&sealed)?;
            one(Cmk(secret(&given.bytes("by"))).unwrap_dek(at, &sealed)?.0)
        }
    };
    Ok(json!({"payload": hex(&payload)}))
}

fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let read = |kind: &str| fs::read(folder.join(format!("{kind}.json"))).unwrap();
    KINDS.iter().map(|kind| serde_json::from_slice(&read(kind)).unwrap()).collect()
}

#[test]
fn what_the_second_implementation_sealed_opens_here_or_fails_for_its_defect() {
    let (mut all, mut failing) = (0, 0);
    for file in files() {
        for vector in &file.vectors {
            let found = found(&file.kind, &vector.given);
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
    let master = MasterKey(secret(&[7; 32]));
    let (store, other) = (StoreId([1; 16]), StoreId([2; 16]));
    let at = RecordContext { store, id: NodeId(16), scope: NodeId(16), parent: NodeId(0), index: [0; 16] };
    let sealed = master.root_keys(store).seal_record(at, b"{}").unwrap();
    assert!(master.root_keys(store).open_record(at, &sealed).is_ok());
    assert!(master.root_keys(other).open_record(at, &sealed).is_err());
}
