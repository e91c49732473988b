//! What each fuzz target does with its bytes: used by the fuzzers in `fuzz_targets/`, and by `tests/fuzz.rs`, which runs the corpus.

use std::fs;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kmsfs::api::{ANSWER_MAX, Asker, Reply, answer};
use kmsfs::audit::{Wanted, read, verify};
use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::OpId;
use kmsfs::secret::{Identity, InstanceName, Tags};
use kmsfs::store::MemoryStore;
use kmsfs::vault::{Caller, Owner, Vault, init, unlock};

/// A key file's bytes.
const KEY: [u8; 32] = [7; 32];
/// The owner of everything, who is no root.
const UID: u32 = 1000;

/// A vault in memory with an instance, the same for a whole run.
fn vault() -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        init(&*store, &Source::KeyFile(&KEY), KdfParams::LEAST, Owner { uid: UID, gid: UID }).expect("memory takes it");
        let vault = unlock(store, &Source::KeyFile(&KEY)).expect("its own key");
        vault.make_instance(caller(), InstanceName::parse(b"prod").expect("a name"), 0o755).expect("a new one");
        vault
    })
}

fn caller() -> Caller {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let op = OpId(u128::from(REQUESTS.fetch_add(1, Ordering::Relaxed)).to_le_bytes());
    Caller { uid: UID, gid: UID, tid: 0, op, gesture: "fuzz" }
}

/// A request to the api: whatever it is, its answer is one line of JSON within bounds, with a request id.
pub fn api(bytes: &[u8]) {
    let identity = Identity { uid: UID, gid: UID, groups: Vec::new(), overrides: false };
    let answer = answer(vault(), Asker { identity: &identity, caller: caller(), follows_audit: false }, bytes)
        .expect("it may wait");
    let body = answer.body.as_bytes();
    assert!(body.len() <= ANSWER_MAX && body.ends_with(b"\n"));
    assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 1);
    let reply = Reply::parse(body).expect("an answer can be read");
    assert!(reply.members.contains_key("RequestId"));
    assert_eq!(answer.error.is_some(), reply.error().is_some());
}

/// A file of tags: what is taken reads back as it was.
pub fn tags(bytes: &[u8]) {
    if let Ok(tags) = Tags::parse_file(bytes) {
        assert_eq!(Tags::parse_file(tags.render().as_bytes()), Ok(tags));
    }
}

/// A segment of the audit that somebody else has written: it is read without a panic, and found not to be this store's.
pub fn audit(bytes: &[u8]) {
    let dir = tempfile::Builder::new().prefix("kmsfs-fuzz").tempdir_in("/dev/shm").expect("memory");
    fs::write(dir.path().join("00000001.jsonl"), bytes).expect("memory takes it");
    let wanted = Wanted { limit: 100, ..Wanted::default() };
    let _ = read(dir.path(), None, &wanted);
    let found = verify(dir.path(), &vault().audit_key(), None).expect("files can be read");
    assert!(found.records == 0, "nobody else has the key");
}

/// A file to be imported, in each format: whatever it is, it is read or refused.
pub fn import(bytes: &[u8]) {
    for format in ["dotenv", "aws", "vault", "kmsfs"] {
        let _ = kmsfs::cli::count_imported(format, bytes);
    }
}
