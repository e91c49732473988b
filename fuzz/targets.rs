//! What each fuzz target does with its bytes: used by the fuzzers in `fuzz_targets/`, and by `tests/fuzz.rs`, which runs the corpus.

use std::fs;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kmsfs::api::{ANSWER_MAX, Asker, Reply, answer};
use kmsfs::audit::{Wanted, read, verify};
use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::OpId;
use kmsfs::secret::{
    Account, Action, Circumstances, Edit, Edited, Identity, InstanceName, MemberName, Object, Policy, Subject, Tags,
    Verdict, edit,
};
use kmsfs::store::MemoryStore;
use kmsfs::time::Timestamp;
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
    Caller { uid: UID, gid: UID, tid: 0, op, gesture: "fuzz", account: None, by: Default::default() }
}

/// A request to the api: whatever it is, its answer is one line of JSON within bounds, with a request id.
pub fn api(bytes: &[u8]) {
    let identity = Identity { uid: UID, gid: UID, groups: Vec::new(), overrides: false };
    let answer =
        answer(vault(), Asker { identity: &identity, caller: caller(), follows_audit: false, cgroup: &|| None }, bytes)
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

/// A policy: what is taken reads back as it was, also out of a record, and says something to everybody about everything.
pub fn policy(bytes: &[u8]) {
    let Ok(Some(policy)) = Policy::parse(bytes) else { return };
    assert_eq!(policy.text().as_bytes(), bytes);
    let stored = serde_json::to_string(&policy).expect("a text");
    assert_eq!(serde_json::from_str::<Policy>(&stored).expect("what was stored"), policy);
    let homes = [&Account::from_number(1_192_853_035_118_460), &Account::from_number(1)];
    let guest = Account::from_number(2);
    let (users, roles) = (["alice", "1000"].map(str::to_owned), ["app", "50", "staff", "60"].map(str::to_owned));
    let root = Subject { account: homes[0], is_home: true, is_root: true, uid: 0, users: &[], roles: &[] };
    let alice = Subject { is_root: false, uid: 1000, users: &users, roles: &roles, ..root };
    let of_guest = |subject| Subject { account: &guest, is_home: false, ..subject };
    let (steady, others) = (policy.is_steady(), policy.others(&homes));
    assert!(!others.contains(homes[0]) && (!policy.says_default(&homes) || others.is_empty()));
    for subject in [root, alice, of_guest(root), of_guest(alice)] {
        for action in Action::ALL.iter().copied() {
            let said = |now, cgroup| {
                let at = Circumstances { now: Timestamp(now), cgroup };
                let (verdict, of_key) = (policy.judge(&subject, action, &at), policy.judge_use(&subject, action, &at));
                assert!(
                    matches!(verdict, Verdict::Silent | Verdict::Denied { .. }) || of_key == verdict || subject.is_home
                );
                if let Verdict::Allowed { statement } | Verdict::Denied { statement } = of_key {
                    assert!(policy.statement(statement).is_some() && action.in_policies().is_some());
                }
                let allowed = matches!(verdict, Verdict::Allowed { .. });
                assert!(!allowed || !policy.grants_nothing());
                assert!(!allowed || !subject.is_home || policy.opens(&homes, action), "the bits let them come");
                assert!(!allowed || subject.is_home || others.contains(&guest), "an account that nobody counts");
                verdict
            };
            let verdict = said(0, None);
            let later = [None, Some("/system.slice/app.service"), Some("")].map(|cgroup| said(1 << 60, cgroup));
            assert!(!steady || later.iter().all(|other| *other == verdict));
        }
    }
}

/// A value with members: what is set reads back, all others read as before, and what was removed is gone.
pub fn members(bytes: &[u8]) {
    let Some(object) = Object::parse(bytes) else { return };
    let text = std::str::from_utf8(bytes).expect("a value with members is text");
    let before: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    object.write_dotenv(&mut String::new()).expect("memory takes it");
    for (name, raw) in object.names().iter().zip(object.raws()).filter(|(_, raw)| raw.starts_with('"')) {
        let mut read = String::new();
        object.write_member(name, &mut read).expect("memory takes it");
        assert_eq!(serde_json::from_str(raw).ok(), Some(read), "{raw}");
    }
    let names: Vec<String> = before.keys().cloned().chain(["new".to_owned()]).collect();
    for name in names.iter().filter_map(|name| MemberName::parse(name.as_bytes()).ok()) {
        for how in [Edit::Set(b"it's\n\"\\"), Edit::Put(b"5"), Edit::Append(b"x"), Edit::Remove] {
            let mut out = String::new();
            let Ok(Edited::Changed) = edit(Some(bytes), &name, how, &mut out) else { continue };
            let after = Object::parse(out.as_bytes()).expect("an edited value has members");
            let read = |object: &Object<'_>, name: &str| {
                let mut out = String::new();
                object.write_member(name, &mut out).expect("memory takes it").then_some(out)
            };
            for other in before.keys().filter(|other| *other != name.as_str()) {
                assert_eq!(read(&object, other), read(&after, other));
            }
            let expected = match how {
                Edit::Set(bytes) | Edit::Put(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
                Edit::Append(_) => Some(read(&object, name.as_str()).unwrap_or_default() + "x"),
                Edit::Remove => None,
            };
            assert_eq!(read(&after, name.as_str()), expected);
        }
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
