//! The rows through the api in process: each has a secret of its own, made by root, whose answer is held against the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kmsfs::api::{Asker, Reply, answer};
use kmsfs::crypto::{KdfParams, Source};
use kmsfs::id::{NodeId, OpId};
use kmsfs::secret::{self as kms, Component, Identity, InstanceName, KeyName, SecretName};
use kmsfs::store::MemoryStore;
use kmsfs::vault::{AccessChange, Caller, Owner, Vault, init, unlock};
use serde_json::{Value as Json, json};

use crate::oracle::{Account, Action, document};
use crate::policies::of_keys;
use crate::table::{INSTANCE_UID, Row, rows};

const KEY: [u8; 32] = [3; 32];
/// The sharee and the other one.
const NUMBERS: [u64; 2] = [2_222_222_222_222_222, 3_333_333_333_333_333];
/// What the api calls a refusal.
const REFUSED: &str = "Forbidden.NoPermission";

/// A vault with the instance `prod`, in it the directories `open` and `closed`, and a key for each policy of keys.
pub struct Bench {
    vault: Vault,
    instance: NodeId,
    /// The number of the store's own account.
    home: String,
}

fn caller(uid: u32, gid: u32, account: Account) -> Caller {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    let op = OpId(u128::from(REQUESTS.fetch_add(1, Ordering::Relaxed)).to_le_bytes());
    Caller { uid, gid, tid: 0, op, gesture: "test", account: of(account), by: Default::default() }
}

/// What a mount would have been given; the store's own is none.
fn of(account: Account) -> Option<kms::Account> {
    match account {
        Account::Home => None,
        Account::Sharee => Some(kms::Account::from_number(NUMBERS[0])),
        Account::Outsider => Some(kms::Account::from_number(NUMBERS[1])),
    }
}

pub fn root() -> Caller {
    caller(0, 0, Account::Home)
}

fn key_of(row: usize) -> String {
    format!("k{row}")
}

impl Bench {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        init(&*store, &Source::KeyFile(&KEY), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        let vault = unlock(store, &Source::KeyFile(&KEY)).unwrap();
        let instance = vault.make_instance(root(), InstanceName::parse(b"prod").unwrap(), 0o755).unwrap().id();
        let set = |id, mode| {
            let change = AccessChange { dir_mode: Some(mode), ..AccessChange::default() };
            vault.set_access(root(), id, change).unwrap();
        };
        set(NodeId::ROOT, 0o755);
        set(instance, 0o755);
        let change = AccessChange { uid: Some(INSTANCE_UID), ..AccessChange::default() };
        vault.set_access(root(), instance, change).unwrap();
        for (name, mode) in [("open", 0o755), ("closed", 0o700)] {
            let name = Component::parse(name.as_bytes()).unwrap();
            set(vault.make_directory(root(), instance, &name, mode).unwrap().id(), mode);
        }
        vault.set_shares(root(), instance, of(Account::Sharee).into_iter().collect()).unwrap();
        let mut bench = Self { vault, instance, home: String::new() };
        for key in 0..of_keys().len() {
            let name = KeyName::parse(key_of(key).as_bytes()).unwrap();
            bench.vault.make_key(root(), instance, name, "", None).unwrap();
        }
        let told = bench.done(root(), &json!({ "Action": "DescribeKey", "KeyId": "k0" }));
        bench.home = told["KeyMetadata"]["Arn"].as_str().unwrap().split(':').nth(3).unwrap().to_owned();
        bench
    }

    fn number(&self, account: Account) -> String {
        match account {
            Account::Home => self.home.clone(),
            Account::Sharee => NUMBERS[0].to_string(),
            Account::Outsider => NUMBERS[1].to_string(),
        }
    }

    pub fn ask(&self, identity: &Identity, caller: Caller, cgroup: Option<&str>, request: &Json) -> Json {
        let cgroup = || cgroup.map(str::to_owned);
        let asker = Asker { identity, caller, follows_audit: false, cgroup: &cgroup };
        let answer = answer(&self.vault, asker, request.to_string().as_bytes()).unwrap();
        Reply::parse(answer.body.as_bytes()).unwrap();
        serde_json::from_slice(answer.body.as_bytes()).unwrap()
    }

    /// Something that root may.
    fn done(&self, caller: Caller, request: &Json) -> Json {
        let identity = Identity { uid: 0, gid: 0, groups: Vec::new(), overrides: true };
        let mut request = request.clone();
        request["DKMSInstanceId"] = "prod".into();
        let answer = self.ask(&identity, caller, None, &request);
        assert!(answer.get("Code").is_none(), "{request}: {answer}");
        answer
    }

    /// The secret of a row.
    fn make(&self, at: usize, row: &Row) {
        let name = name(at, row);
        let maker = caller(0, 0, row.secret.maker);
        self.done(
            maker,
            &json!({ "Action": "CreateSecret", "SecretName": name, "SecretData": "old", "EncryptionKeyId": key_of(row.key),
                "Tags": "[{\"TagKey\":\"a\",\"TagValue\":\"b\"}]" }),
        );
        let instance = self.vault.node(self.instance).unwrap().unwrap();
        let full = SecretName::parse(&name).unwrap();
        let directory = self.vault.directory_at(&instance, &full).unwrap().unwrap();
        let bits = row.secret.directory;
        let change = AccessChange {
            uid: Some(bits.uid),
            gid: Some(bits.gid),
            dir_mode: Some(bits.mode.try_into().unwrap()),
            value_mode: Some(row.secret.value_mode.try_into().unwrap()),
        };
        self.vault.set_access(root(), directory.id(), change).unwrap();
        if let Some(policy) = &row.secret.policy {
            let policy = document(policy, &|account| self.number(account));
            self.done(root(), &json!({ "Action": "SetSecretPolicy", "SecretName": name, "Policy": policy }));
        }
    }

    /// The policies of keys, which come last: secrets are made by who may use none of them.
    fn set_key_policies(&self) {
        for (key, policy) in of_keys().into_iter().enumerate() {
            let Some(policy) = policy else { continue };
            let policy = document(&policy, &|account| self.number(account));
            self.done(root(), &json!({ "Action": "SetKeyPolicy", "KeyId": key_of(key), "Policy": policy }));
        }
    }

    /// What a row comes to: whether it was allowed; else the code of an error that is no refusal.
    fn outcome(&self, at: usize, row: &Row) -> Result<bool, String> {
        let asks = &row.asks;
        let identity =
            Identity { uid: asks.uid, gid: asks.gid, groups: asks.groups.clone(), overrides: asks.overrides };
        let request = request(row.action, &name(at, row));
        let answer = self.ask(&identity, caller(asks.uid, asks.gid, asks.account), asks.cgroup.as_deref(), &request);
        match answer["Code"].as_str() {
            None if row.action == Action::ListSecrets => Ok(answer["SecretList"]["Secret"][0].is_object()),
            None => Ok(true),
            Some(REFUSED) => Ok(false),
            Some(code) => Err(code.to_owned()),
        }
    }
}

fn name(at: usize, row: &Row) -> String {
    format!("{}/r{at:04}", if row.is_closed { "closed" } else { "open" })
}

fn request(action: Action, name: &str) -> Json {
    let mut request = json!({ "Action": action.name(), "DKMSInstanceId": "prod" });
    let members = match action {
        Action::ListSecrets => {
            json!({ "Filters": json!([{ "Key": "SecretName", "Values": [name] }]).to_string() })
        }
        Action::ListTagResources => json!({ "ResourceType": "secret", "ResourceId": [name] }),
        Action::PutSecretValue => json!({ "SecretName": name, "SecretData": "new" }),
        Action::UpdateSecret => json!({ "SecretName": name, "Description": "text" }),
        Action::UpdateSecretVersionStage => {
            json!({ "SecretName": name, "VersionStage": "canary", "MoveToVersion": "v1" })
        }
        Action::TagResource => {
            json!({ "SecretName": name, "Tags": "[{\"TagKey\":\"c\",\"TagValue\":\"d\"}]" })
        }
        Action::UntagResource => json!({ "SecretName": name, "TagKeys": "[\"a\"]" }),
        Action::SetSecretPolicy => json!({ "SecretName": name, "Policy": " " }),
        _ => json!({ "SecretName": name }),
    };
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request
}

#[test]
fn each_row_is_decided_as_the_model_says() {
    let (bench, rows) = (Bench::new(), rows());
    assert!(rows.len() >= 500, "{} rows", rows.len());
    for (at, row) in rows.iter().enumerate() {
        bench.make(at, row);
    }
    bench.set_key_policies();
    let (mut allowed, mut wrong) = (0, Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let (expected, got) = (row.expected(), bench.outcome(at, row));
        allowed += usize::from(expected);
        if got != Ok(expected) {
            wrong.push(format!("{at}: expected {expected}, got {got:?}: {}", row.told()));
        }
    }
    println!("{} rows, of which {allowed} are allowed", rows.len());
    assert!(allowed * 5 > rows.len() && allowed * 5 < rows.len() * 4, "they try both: {allowed} of {}", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// `kmsfs policy test` is asked about those of the table that it can name: users that stand in no file and have one group, and root.
#[test]
fn a_trial_says_what_would_be_decided() {
    let mut rows = rows();
    let nameable = |row: &Row| {
        row.asks.groups.is_empty() && row.asks.uid == row.asks.gid && row.asks.overrides == (row.asks.uid == 0)
    };
    let decides = |row: &Row| !matches!(row.action, Action::GetSecretPolicy | Action::SetSecretPolicy);
    rows.retain(|row| nameable(row) && decides(row));
    let bench = Bench::new();
    for (at, row) in rows.iter().enumerate() {
        bench.make(at, row);
    }
    bench.set_key_policies();
    let mut wrong = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let Row { asks, action, .. } = row;
        let who = if asks.uid == 0 { "root".to_owned() } else { format!("user/{}", asks.uid) };
        let mut request = json!({ "Action": "TestSecretPolicy", "SecretName": name(at, row), "TestedAction": format!("kms:{}", action.name()),
            "Principal": format!("acs:ram::{}:{who}", bench.number(asks.account)) });
        if let Some(cgroup) = &asks.cgroup {
            request["Cgroup"] = cgroup.as_str().into();
        }
        request["DKMSInstanceId"] = "prod".into();
        let identity = Identity { uid: 0, gid: 0, groups: Vec::new(), overrides: true };
        let told = bench.ask(&identity, root(), None, &request);
        let expected = if row.expected() { "Allow" } else { "Deny" };
        if told["Decision"] != expected {
            wrong.push(format!("{at}: expected {}, got {told}: {}", row.expected(), row.told()));
        }
    }
    assert!(rows.len() > 200, "{}", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
