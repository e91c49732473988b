//! Requests and answers of KMS through `.kmsfs/api`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Mount, text};
use crate::keeper::kill_worker;

/// An open conversation.
struct Talk(File);

impl Talk {
    fn open(mount: &Mount) -> Self {
        Self(OpenOptions::new().read(true).write(true).open(mount.path(".kmsfs/api")).unwrap())
    }

    /// What `request` is answered with.
    fn ask(&mut self, request: &Json) -> Json {
        self.0.write_all(request.to_string().as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Json {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).unwrap();
        serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{error}: {}", text(&answer)))
    }
}

/// What one request is answered with, in a conversation of its own.
pub fn ask(mount: &Mount, request: Json) -> Json {
    Talk::open(mount).ask(&request)
}

/// The same, where it must be no error.
#[track_caller]
pub fn done(mount: &Mount, request: Json) -> Json {
    let answer = ask(mount, request.clone());
    assert!(answer.get("Code").is_none(), "{request}: {answer}");
    assert!(answer["RequestId"].is_string(), "{answer}");
    answer
}

/// The code of the error that it is answered with.
#[track_caller]
pub fn refused(mount: &Mount, request: Json) -> String {
    let answer = ask(mount, request.clone());
    answer["Code"].as_str().unwrap_or_else(|| panic!("{request} was done: {answer}")).to_owned()
}

/// The kernel is told behind the answer that a name is gone, and believes in it until then.
pub fn goes(mount: &Mount, path: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while mount.path(path).exists() {
        assert!(Instant::now() < until, "{path} stays");
        std::thread::yield_now();
    }
}

#[test]
fn a_secret_lives_through_the_api() {
    let mount = Mount::new();
    let of = |action: &str, rest: Json| {
        let mut request = json!({ "Action": action, "DKMSInstanceId": "prod", "SecretName": "db/password" });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    let made = done(
        &mount,
        of(
            "CreateSecret",
            json!({
                "VersionId": "v1", "SecretData": "first\n\"ä\"", "Description": "of the database", "EncryptionKeyId": "default",
                "Tags": "[{\"TagKey\":\"env\",\"TagValue\":\"prod\"}]",
            }),
        ),
    );
    assert_eq!((&made["VersionId"], &made["SecretType"]), (&json!("v1"), &json!("Generic")));
    assert!(made["Arn"].as_str().unwrap().ends_with(":secret/db/password"));
    assert_eq!(mount.read("prod/db/password/current"), "first\n\"ä\"");
    assert_eq!(mount.read("prod/db/password/tags"), "env=prod\n");
    assert_eq!(
        refused(&mount, of("CreateSecret", json!({ "VersionId": "v1", "SecretData": "x" }))),
        "Rejected.ResourceExist"
    );

    let put = done(&mount, of("PutSecretValue", json!({ "VersionId": "v2", "SecretData": "second" })));
    assert_eq!(put["VersionStages"]["VersionStage"], json!(["ACSCurrent"]));
    done(&mount, of("PutSecretValue", json!({ "VersionId": "v2", "SecretData": "second" })));
    let other = of("PutSecretValue", json!({ "VersionId": "v2", "SecretData": "other" }));
    assert_eq!(refused(&mount, other), "Rejected.ResourceExist");
    let typed =
        of("PutSecretValue", json!({ "VersionId": "v2", "SecretData": "c2Vjb25k", "SecretDataType": "binary" }));
    assert_eq!(refused(&mount, typed), "Rejected.ResourceExist", "the same bytes as another type");
    let pending = of(
        "PutSecretValue",
        json!({ "VersionId": "v3", "SecretData": "AP8=", "SecretDataType": "binary", "VersionStages": "[\"Pending\"]" }),
    );
    done(&mount, pending);
    assert_eq!(std::fs::read(mount.path("prod/db/password/versions/v3")).unwrap(), b"\0\xff");

    let current = done(&mount, of("GetSecretValue", json!({})));
    assert_eq!((&current["SecretData"], &current["VersionId"]), (&json!("second"), &json!("v2")));
    let previous = done(&mount, of("GetSecretValue", json!({ "VersionStage": "ACSPrevious" })));
    assert_eq!(previous["SecretData"], "first\n\"ä\"");
    let binary = done(&mount, of("GetSecretValue", json!({ "VersionId": "v3", "VersionStage": "Pending" })));
    assert_eq!((&binary["SecretData"], &binary["SecretDataType"]), (&json!("AP8="), &json!("binary")));
    assert_eq!(
        refused(&mount, of("GetSecretValue", json!({ "VersionId": "v1", "VersionStage": "Pending" }))),
        "InvalidParameter"
    );
    assert_eq!(refused(&mount, of("GetSecretValue", json!({ "VersionId": "v9" }))), "Forbidden.ResourceNotFound");
    assert_eq!(refused(&mount, of("GetSecretValue", json!({ "DryRun": "true" }))), "DryRunOperationError");

    done(&mount, of("UpdateSecretVersionStage", json!({ "VersionStage": "ACSCurrent", "MoveToVersion": "v3" })));
    assert_eq!(std::fs::read(mount.path("prod/db/password/current")).unwrap(), b"\0\xff");
    done(&mount, of("UpdateSecretVersionStage", json!({ "VersionStage": "Pending", "RemoveFromVersion": "v3" })));
    for (rest, code) in [
        (json!({ "VersionStage": "ACSCurrent", "RemoveFromVersion": "v3" }), "Rejected.UnsupportedOperation"),
        (json!({ "VersionStage": "x", "MoveToVersion": "v1", "RemoveFromVersion": "v2" }), "Rejected.InvalidRequest"),
        (json!({ "VersionStage": "x", "MoveToVersion": "v8" }), "Forbidden.ResourceNotFound"),
        (json!({ "VersionStage": "x" }), "MissingParameter"),
    ] {
        assert_eq!(refused(&mount, of("UpdateSecretVersionStage", rest.clone())), code, "{rest}");
    }
    let all = done(&mount, of("ListSecretVersionIds", json!({ "IncludeDeprecated": "true" })));
    let ids: Vec<_> =
        all["VersionIds"]["VersionId"].as_array().unwrap().iter().map(|row| row["VersionId"].clone()).collect();
    assert_eq!((ids, &all["TotalCount"]), (vec![json!("v3"), json!("v2"), json!("v1")], &json!(3)));
    let labelled = done(&mount, of("ListSecretVersionIds", json!({})));
    assert_eq!(labelled["TotalCount"], 2, "v1 has no label any more");

    done(&mount, of("UpdateSecret", json!({ "Description": "another" })));
    assert_eq!(mount.read("prod/db/password/description"), "another\n");
    let described = done(&mount, of("DescribeSecret", json!({ "FetchTags": "true" })));
    let info: Json = serde_json::from_str(&mount.read("prod/db/password/info")).unwrap();
    for (name, member) in info.as_object().unwrap() {
        assert_eq!(&described[name], member, "{name}");
    }
    assert!(done(&mount, of("DescribeSecret", json!({}))).get("Tags").is_none());

    let deleted = done(&mount, of("DeleteSecret", json!({ "RecoveryWindowInDays": "7" })));
    assert!(deleted["PlannedDeleteTime"].as_str().unwrap().ends_with('Z'));
    assert!(mount.path("prod/.deleted/db%2Fpassword").exists());
    goes(&mount, "prod/db/password");
    // Its directory went with it, and the one above as well.
    std::fs::remove_dir(mount.path("prod/db")).unwrap();
    done(&mount, of("RestoreSecret", json!({})));
    assert_eq!(std::fs::read(mount.path("prod/db/password/current")).unwrap(), b"\0\xff");
    assert_eq!(refused(&mount, of("RestoreSecret", json!({}))), "Rejected.ResourceInUse");

    done(&mount, of("DeleteSecret", json!({ "ForceDeleteWithoutRecovery": "true", "RecoveryWindowInDays": "30" })));
    goes(&mount, "prod/db/password");
    assert!(!mount.path("prod/.deleted/db%2Fpassword").exists());
    assert_eq!(refused(&mount, of("DescribeSecret", json!({}))), "Forbidden.ResourceNotFound");
}

/// What KMS has on the deletion life cycle: metadata is read, all else is refused.
#[test]
fn what_waits_can_be_looked_at_alone() {
    let mount = Mount::new();
    mount.secret("prod/s", "value");
    mount.ok("rm -r prod/s");
    let of = |action: &str, rest: Json| {
        let mut request = json!({ "Action": action, "DKMSInstanceId": "prod", "SecretName": "s" });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    let tag = json!([{ "TagKey": "a", "TagValue": "b" }]);
    for (action, rest) in [
        ("GetSecretValue", json!({})),
        ("PutSecretValue", json!({ "VersionId": "v7", "SecretData": "x" })),
        ("CreateSecret", json!({ "VersionId": "v7", "SecretData": "x" })),
        ("DeleteSecret", json!({})),
        ("UpdateSecret", json!({ "Description": "x" })),
        ("UpdateSecretVersionStage", json!({ "VersionStage": "x", "MoveToVersion": "v1" })),
        ("SetSecretPolicy", json!({ "Policy": " ", "PolicyName": "default" })),
        ("TagResource", json!({ "Tags": tag })),
        ("UntagResource", json!({ "TagKeys": ["a"] })),
        ("DestroySecretVersion", json!({ "VersionId": "v1" })),
        ("MoveSecretToKey", json!({ "EncryptionKeyId": "default" })),
        ("RotateSecret", json!({})),
        ("CancelSecretRotation", json!({})),
        ("UpdateSecretRotationPolicy", json!({ "EnableAutomaticRotation": false, "Function": "random" })),
    ] {
        assert_eq!(refused(&mount, of(action, rest)), "Rejected.ResourceInDeleteWindow", "{action}");
    }
    assert!(!done(&mount, of("DescribeSecret", json!({})))["PlannedDeleteTime"].as_str().unwrap().is_empty());
    for action in ["ListSecretVersionIds", "GetSecretPolicy"] {
        done(&mount, of(action, json!({})));
    }
    done(&mount, json!({ "Action": "ListTagResources", "ResourceType": "secret", "ResourceId": ["s"] }));
    let listed = done(&mount, json!({ "Action": "ListSecrets" }));
    assert!(listed["SecretList"]["Secret"].to_string().contains("PlannedDeleteTime"), "{listed}");
}

#[test]
fn force_purges_what_is_scheduled() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    let of = |action: &str| json!({ "Action": action, "DKMSInstanceId": "prod", "SecretName": "s" });
    done(&mount, of("DeleteSecret"));
    let purge = of("PurgeSecret");
    done(&mount, of("RestoreSecret"));
    assert_eq!(refused(&mount, purge.clone()), "Rejected.ResourceInUse", "it came back, and is not destroyed");
    done(&mount, of("DeleteSecret"));
    done(&mount, purge);
    assert_eq!(mount.names("prod/.deleted"), [""; 0]);
    mount.secret("prod/s", "v");
    done(&mount, of("DeleteSecret"));
    let mut force = of("DeleteSecret");
    force["ForceDeleteWithoutRecovery"] = true.into();
    done(&mount, force.clone());
    assert_eq!(mount.names("prod/.deleted"), [""; 0]);
    assert_eq!(refused(&mount, force), "Forbidden.ResourceNotFound");
    mount.secret("prod/s", "again");
    assert_eq!(mount.read("prod/s/current"), "again");
}

#[test]
fn a_conversation_goes_on_in_one_open_file() {
    let mount = Mount::new();
    mount.secret("prod/s", "value");
    let mut talk = Talk::open(&mount);
    for _ in 0..3 {
        let answer = talk.ask(&json!({ "Action": "GetSecretValue", "DKMSInstanceId": "prod", "SecretName": "s" }));
        assert_eq!(answer["SecretData"], "value");
    }
    // In parts, written and read.
    let request = json!({ "Action": "GetSecretValue", "DKMSInstanceId": "prod", "SecretName": "s" }).to_string();
    let (begin, end) = request.split_at(20);
    talk.0.write_all(begin.as_bytes()).unwrap();
    talk.0.write_all(end.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 7];
    loop {
        match talk.0.read(&mut part).unwrap() {
            0 => break,
            len => answer.extend_from_slice(&part[..len]),
        }
    }
    assert_eq!(serde_json::from_slice::<Json>(&answer).unwrap()["SecretData"], "value");
    // A shell's way.
    let script = format!("exec 3<>.kmsfs/api; printf '%s' '{request}' >&3; cat <&3");
    assert_eq!(serde_json::from_str::<Json>(&mount.ok(&script)).unwrap()["VersionId"], "v1");
    let python = format!(
        "python3 -c 'import json; f = open(\".kmsfs/api\", \"r+b\", buffering=0); f.write(b\"\"\"{request}\"\"\"); print(json.loads(f.read())[\"SecretData\"])'"
    );
    assert_eq!(mount.ok(&python), "value\n");
}

#[test]
fn requests_and_answers_have_their_limits() {
    let mount = Mount::new();
    let mut talk = Talk::open(&mount);
    // A value of the greatest length, every byte of which JSON writes with six.
    let value = "\u{1}".repeat(30_720);
    for n in 0..20 {
        let made = talk.ask(&json!({ "Action": "CreateSecret", "DKMSInstanceId": "prod", "SecretName": format!("s{n}"), "SecretData": value }));
        assert_eq!(made["VersionId"], "v1");
    }
    let list: Vec<Json> = (0..20).map(|n| json!({ "SecretName": format!("s{n}") })).collect();
    let all = talk.ask(&json!({ "Action": "BatchGetSecretValue", "DKMSInstanceId": "prod", "SecretsList": list }));
    let values = all["SecretValues"].as_array().unwrap();
    assert!(
        values.len() == 20 && values.iter().all(|row| row["SecretData"] == value.as_str()),
        "more than 3 MiB come whole"
    );
    let long = json!({ "Action": "CreateSecret", "DKMSInstanceId": "prod", "SecretName": "x", "SecretData": "x".repeat(30_721) });
    assert_eq!(talk.ask(&long)["Code"], "InvalidParameter");
    let exact = "x".repeat(1024 * 1024);
    talk.0.write_all(exact.as_bytes()).unwrap();
    let more = talk.0.write_all(b"x").unwrap_err();
    assert_eq!(more.raw_os_error(), Some(libc::EFBIG));
    assert_eq!(talk.answer()["Code"], "InvalidParameter", "and the conversation goes on");
    assert_eq!(talk.ask(&json!({ "Action": "ListKmsInstances" }))["TotalCount"], 1);
    let script = "import os\nos.setuid(4711)\nfds = [os.open('.kmsfs/api', os.O_RDWR) for _ in range(64)]\n\
        try:\n    os.open('.kmsfs/api', os.O_RDWR)\nexcept OSError as error:\n    print(error.strerror)\n\
        os.close(fds[0])\nos.open('.kmsfs/api', os.O_RDWR)";
    assert_eq!(mount.ok(&format!("python3 -c {}", shell_words(script))), "Disk quota exceeded\n");
}

#[test]
fn what_is_no_request_is_answered_with_what_is_wrong() {
    let mount = Mount::new();
    mount.secret("prod/s", "value");
    for (request, code, words) in [
        ("", "MissingParameter", "no request"),
        ("nonsense", "InvalidParameter", "line 1, column 2"),
        ("{}", "MissingParameter", "Action"),
        (r#"{"Action":"Nonsense"}"#, "InvalidAction.NotFound", "Nonsense"),
        (r#"{"Action":"ListResourceTags","KeyId":"k"}"#, "UnsupportedOperation", "tagging a key"),
        (r#"{"Action":"GetSecretValue"}"#, "MissingParameter", "SecretName"),
        (r#"{"Action":"GetSecretValue","SecretName":"s","Secretname":"t"}"#, "InvalidParameter", "Secretname"),
        (r#"{"Action":"GetSecretValue","SecretName":"s","SecretName":"t"}"#, "InvalidParameter", "twice"),
        (r#"{"Action":"GetSecretValue","SecretName":"a b"}"#, "InvalidParameter", "another character"),
        (
            r#"{"Action":"GetSecretValue","SecretName":"s","DKMSInstanceId":"other"}"#,
            "Forbidden.DKMSInstanceNotFound",
            "instance",
        ),
        (
            r#"{"Action":"GetSecretValue","SecretName":"acs:kms:local:1234567890123456:secret/s"}"#,
            "Forbidden.ResourceNotFound",
            "another account",
        ),
        (r#"{"Action":"PutSecretValue","SecretName":"s","SecretData":""}"#, "InvalidParameter", "at least one byte"),
        (
            r#"{"Action":"PutSecretValue","SecretName":"s","SecretData":"%","SecretDataType":"binary"}"#,
            "InvalidParameter",
            "base64",
        ),
        (r#"{"Action":"PutSecretValue","SecretName":"s","SecretData":7}"#, "InvalidParameter", "SecretData"),
        (r#"{"Action":"DeleteSecret","SecretName":"s","RecoveryWindowInDays":"6"}"#, "InvalidParameter", "7 to 30"),
        (r#"{"Action":"ListSecrets","PageSize":101}"#, "InvalidParameter", "PageSize"),
        (r#"{"Action":"ListSecrets","Filters":"[{\"Key\":\"Nonsense\"}]"}"#, "InvalidParameter", "Filters"),
        (r#"{"Action":"SetSecretPolicy","SecretName":"s","Policy":"{}"}"#, "InvalidParameter", "policy"),
        (
            r#"{"Action":"GetSecretPolicy","SecretName":"s","PolicyName":"other"}"#,
            "Forbidden.ResourceNotFound",
            "policy",
        ),
        (r#"{"Action":"DescribeKey","KeyId":"other"}"#, "Forbidden.KeyNotFound", "no key named"),
        (
            r#"{"Action":"CreateSecret","SecretName":"t","SecretData":"x","SecretType":"Rds"}"#,
            "UnsupportedOperation",
            "type",
        ),
        (
            r#"{"Action":"CreateSecret","SecretName":"current","SecretData":"x"}"#,
            "InvalidParameter",
            "entry of every secret",
        ),
        (r#"{"Action":"CreateSecret","SecretName":"acs/x","SecretData":"x"}"#, "InvalidParameter", "managed"),
        (r#"{"Action":"GetRandomPassword","PasswordLength":"7"}"#, "InvalidParameter", "PasswordLength"),
    ] {
        let mut talk = Talk::open(&mount);
        talk.0.write_all(request.as_bytes()).unwrap();
        let answer = talk.answer();
        assert_eq!(answer["Code"], code, "{request}: {answer}");
        assert!(answer["Message"].as_str().unwrap().contains(words), "{request}: {answer}");
        assert!(answer["HttpStatus"].as_u64().is_some_and(|status| (400..600).contains(&status)), "{answer}");
        if !request.is_empty() {
            assert_eq!(mount.last_code(), code, "{request}: readable in last-error");
        }
    }
    assert_eq!(mount.read("prod/s/current"), "value");
    assert_eq!(mount.names("prod"), [".deleted", ".instance", ".keys", "s"]);
    let refused = std::fs::write(mount.path(".kmsfs/api"), "{}").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP), "who only writes hears no answer");
    assert!(mount.ok("cat .kmsfs/api").contains("MissingParameter"), "a look does no harm");
}

#[test]
fn tags_go_to_all_secrets_or_to_none() {
    let mount = Mount::new();
    for name in ["a", "b", "c"] {
        mount.secret(&format!("prod/{name}"), "v");
    }
    let batch = |action: &str, ids: &[&str], rest: Json| {
        let mut request =
            json!({ "Action": action, "DKMSInstanceId": "prod", "ResourceType": "secret", "ResourceId": ids });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    done(
        &mount,
        batch("TagResources", &["a", "b"], json!({ "Tag": [{ "Key": "env", "Value": "prod" }, { "Key": "k" }] })),
    );
    assert_eq!(
        (mount.read("prod/a/tags"), mount.read("prod/b/tags")),
        ("env=prod\nk=\n".into(), "env=prod\nk=\n".into())
    );
    for (ids, rest, code) in [
        (&["a", "none"][..], json!({ "Tag": [{ "Key": "x", "Value": "y" }] }), "Forbidden.ResourceNotFound"),
        (&["a", "c"], json!({ "Tag": [{ "Key": "acs:x", "Value": "y" }] }), "InvalidParameter.TagKey"),
        (&["a", "c"], json!({ "Tag": [{ "Key": "x", "Value": "a b" }] }), "InvalidParameter.TagValue"),
        (
            &["a", "c"],
            json!({ "Tag": [{ "Key": "x", "Value": "1" }, { "Key": "x", "Value": "2" }] }),
            "Duplicate.TagKey",
        ),
        (&["a", "c"], json!({}), "MissingParameter"),
        (&[], json!({ "Tag": [{ "Key": "x" }] }), "MissingParameter"),
    ] {
        assert_eq!(refused(&mount, batch("TagResources", ids, rest.clone())), code, "{rest}");
    }
    // Twenty of one secret are full, so the batch fails for the other too.
    let many: String = (0..19).map(|n| format!("t{n}=v\n")).collect();
    mount.write("prod/c/tags", many);
    let two = json!({ "Tag": [{ "Key": "x" }, { "Key": "y" }] });
    assert_eq!(refused(&mount, batch("TagResources", &["a", "c"], two)), "Rejected.LimitExceeded");
    assert_eq!(mount.read("prod/a/tags"), "env=prod\nk=\n");
    let rows = done(&mount, batch("ListTagResources", &[], json!({ "Tag": [{ "Key": "env" }] })));
    assert_eq!(rows["TagResources"]["TagResource"].as_array().unwrap().len(), 2);
    done(&mount, batch("UntagResources", &["a", "b"], json!({ "TagKey": ["k", "not-there"] })));
    assert_eq!(mount.read("prod/b/tags"), "env=prod\n");
    done(&mount, batch("UntagResources", &["a", "c"], json!({ "All": "true" })));
    assert_eq!((mount.read("prod/a/tags"), mount.read("prod/c/tags")), (String::new(), String::new()));
    let one = json!({ "Action": "TagResource", "DKMSInstanceId": "prod", "SecretName": "a", "Tags": "[{\"TagKey\":\"k\",\"TagValue\":\"v\"}]" });
    done(&mount, one);
    for keys in [json!("[\"k\"]"), json!(["k"]), json!("k,l")] {
        done(
            &mount,
            json!({ "Action": "UntagResource", "DKMSInstanceId": "prod", "SecretName": "a", "TagKeys": keys }),
        );
    }
    assert_eq!(mount.read("prod/a/tags"), "");
}

#[test]
fn lists_come_in_pages_and_by_filters() {
    let mount = Mount::new();
    for n in 0..25 {
        mount.secret(&format!("prod/app{}/s{n:02}", n % 3), "v");
    }
    mount.write("prod/app0/s00/tags", "env=prod\n");
    mount.write("prod/app1/s01/description", "of the first");
    mount.ok("rm -r prod/app2/s02");
    let list = |rest: Json| {
        let mut request = json!({ "Action": "ListSecrets", "DKMSInstanceId": "prod" });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        done(&mount, request)
    };
    let names = |answer: &Json| -> Vec<String> {
        let rows = answer["SecretList"]["Secret"].as_array().unwrap();
        rows.iter().map(|row| row["SecretName"].as_str().unwrap().to_owned()).collect()
    };
    let first = list(json!({}));
    assert_eq!((&first["TotalCount"], names(&first).len()), (&json!(25), 10));
    let mut all = Vec::new();
    for page in 1..=3 {
        all.extend(names(&list(json!({ "PageNumber": page, "PageSize": "10" }))));
    }
    let mut by_token = Vec::new();
    let mut token = String::new();
    loop {
        let page = list(json!({ "MaxResults": 4, "NextToken": token }));
        by_token.extend(names(&page));
        token = page["NextToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((all.len(), &all), (25, &by_token), "each once, and in one order");
    assert_eq!(all.last().map(String::as_str), Some("app2/s02"), "scheduled ones are at the end");
    let filter = |filters: Json| names(&list(json!({ "Filters": filters.to_string(), "PageSize": 100 })));
    assert_eq!(filter(json!([{ "Key": "SecretName", "Values": ["app1/s0"] }])), ["app1/s01", "app1/s04", "app1/s07"]);
    assert_eq!(
        filter(json!([{ "Key": "TagKey", "Values": ["env", "x"] }, { "Key": "TagValue", "Values": ["prod"] }])),
        ["app0/s00"]
    );
    assert_eq!(filter(json!([{ "Key": "Description", "Values": ["of the"] }])), ["app1/s01"]);
    assert_eq!(filter(json!([{ "Key": "SecretName", "Values": ["nothing"] }])), [""; 0]);
    assert_eq!(filter(json!([{ "Key": "SecretType", "Values": ["Generic"] }])).len(), 25);
    let bad = json!({ "Action": "ListSecrets", "DKMSInstanceId": "prod", "NextToken": "1.2-3" });
    assert_eq!(refused(&mount, bad), "InvalidParameter");
}

#[test]
fn permission_bits_hold_for_the_api() {
    let mount = Mount::new();
    mount.secret("prod/app/mine", "mine");
    mount.secret("prod/hidden/deep", "deep");
    mount.ok("chmod 755 prod/app; chown -R 4711:4711 prod/app/mine; chmod 711 prod/hidden; chmod 755 prod/hidden/deep; chmod 644 prod/hidden/deep/current");
    let as_user = |uid: u32, groups: &str, request: &Json| -> Json {
        let script = format!(
            "import os, json\nos.setgroups([{groups}])\nos.setgid(65534)\nos.setuid({uid})\nfd = os.open('.kmsfs/api', os.O_RDWR)\nos.write(fd, {:?}.encode())\nout = b''\nwhile part := os.read(fd, 65536): out += part\nprint(out.decode())",
            request.to_string()
        );
        serde_json::from_str(&mount.ok(&format!("python3 -c {}", shell_words(&script)))).unwrap()
    };
    let of = |action: &str, name: &str| json!({ "Action": action, "DKMSInstanceId": "prod", "SecretName": name });
    let code = |answer: Json| answer["Code"].as_str().unwrap_or("done").to_owned();
    let denied = "Forbidden.NoPermission";
    for (uid, groups, request, expected) in [
        (4711, "", of("GetSecretValue", "app/mine"), "done"),
        (4712, "", of("GetSecretValue", "app/mine"), denied),
        (4712, "4711", of("GetSecretValue", "app/mine"), "done"),
        (4712, "4711", of("DescribeSecret", "app/mine"), "done"),
        (4712, "4711", of("DeleteSecret", "app/mine"), denied),
        (4712, "4711", of("UpdateSecret", "app/mine"), denied),
        (4712, "", of("DescribeSecret", "app/mine"), denied),
        (4712, "", of("ListSecretVersionIds", "app/mine"), denied),
        (4712, "", of("GetSecretValue", "hidden/deep"), "done"),
        (4712, "", of("GetSecretValue", "hidden/none"), "Forbidden.ResourceNotFound"),
        (4712, "", of("GetSecretValue", "app/mine/none"), denied),
        (0, "", of("GetSecretValue", "app/mine"), "done"),
    ] {
        assert_eq!(code(as_user(uid, groups, &request)), expected, "{uid} [{groups}] {request}");
    }
    let mut create = of("CreateSecret", "app/new");
    create["SecretData"] = "x".into();
    assert_eq!(code(as_user(4712, "", &create)), denied, "the directory above is root's");
    mount.ok("chmod 777 prod/app");
    assert_eq!(code(as_user(4712, "", &create)), "done");
    assert_eq!(mount.ok("stat -c '%u %a' prod/app/new"), "4712 750\n");
    let mut put = of("PutSecretValue", "app/mine");
    put["SecretData"] = "x".into();
    assert_eq!(code(as_user(4712, "4711", &put)), denied, "the group reads");
    mount.ok("chmod 660 prod/app/mine/current");
    assert_eq!(code(as_user(4712, "4711", &put)), "done", "as `current` is written");
    put["VersionId"] = "mine".into();
    assert_eq!(code(as_user(4712, "4711", &put)), denied, "as a file is made in versions/");
    let listed = as_user(4712, "", &json!({ "Action": "ListSecrets", "DKMSInstanceId": "prod" }));
    let names: Vec<_> =
        listed["SecretList"]["Secret"].as_array().unwrap().iter().map(|row| row["SecretName"].clone()).collect();
    assert_eq!(names, ["app/new"], "what `ls` does not show, and what may not be described, is not listed");
    // A label is a name in stages/, which the group may not change.
    let mut labelled = of("PutSecretValue", "app/mine");
    labelled["SecretData"] = "y".into();
    labelled["VersionStages"] = json!(["canary"]);
    assert_eq!(code(as_user(4712, "4711", &labelled)), denied);
    labelled["VersionStages"] = json!(["ACSCurrent"]);
    assert_eq!(code(as_user(4712, "4711", &labelled)), "done");
    mount.ok("chmod 711 prod; echo env=prod > prod/app/new/tags");
    for action in ["ListSecrets", "ListTagResources", "ListKeys"] {
        let mut list = json!({ "Action": action, "DKMSInstanceId": "prod" });
        if action == "ListTagResources" {
            list["ResourceType"] = "secret".into();
        }
        assert_eq!(code(as_user(4712, "", &list)), denied, "{action} of what `ls` does not list");
    }
    mount.ok("chmod 755 prod");
    // Its owner may not take the name out of root's directory: it stays, so that he can bring the secret back.
    mount.ok("chmod 755 prod/app");
    assert_eq!(code(as_user(4711, "", &of("DeleteSecret", "app/mine"))), "done");
    assert!(mount.path("prod/app/mine").exists());
    assert_eq!(code(as_user(4711, "", &of("RestoreSecret", "app/mine"))), "done");
    mount.ok("chmod 777 prod/app");
    assert_eq!(code(as_user(4711, "", &of("DeleteSecret", "app/mine"))), "done");
    assert_eq!(code(as_user(4712, "", &of("RestoreSecret", "app/mine"))), denied, "nobody else's");
    assert_eq!(code(as_user(4711, "", &of("RestoreSecret", "app/mine"))), "done");
}

/// One word of a shell.
fn shell_words(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn nobody_is_made_to_ask_for_another() {
    let mount = Mount::new();
    mount.secret("prod/s", "secret");
    let request = "b'{\"Action\":\"GetSecretValue\",\"SecretName\":\"s\"}'";
    // (who opens and writes, who goes on) -> whether that one is refused
    let writes = format!("os.write(fd, {request})");
    // A program of the same user, with a group that he has not: what `sg` and setgid programs are.
    let other_group = "os.setgid(4712)\n    os.read(fd, 100)";
    for (first, then) in [("", writes.as_str()), (writes.as_str(), "os.read(fd, 100)"), (writes.as_str(), other_group)]
    {
        let script = format!(
            "import os, socket\nhere, there = socket.socketpair()\npid = os.fork()\n\
             if pid == 0:\n    os.setuid(4711)\n    fd = os.open('.kmsfs/api', os.O_RDWR)\n    {first}\n    \
             socket.send_fds(there, [b'x'], [fd])\n    os._exit(0)\n\
             fd = socket.recv_fds(here, 1, 1)[1][0]\n\
             try:\n    {then}\n    print('done')\nexcept PermissionError:\n    print('refused')\n"
        );
        assert_eq!(mount.ok(&format!("python3 -c {}", shell_words(&script))), "refused\n", "{then}");
    }
}

#[test]
fn passwords_are_as_they_were_asked_for() {
    let mount = Mount::new();
    let password = |rest: Json| {
        let mut request = json!({ "Action": "GetRandomPassword" });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        done(&mount, request)["RandomPassword"].as_str().unwrap().to_owned()
    };
    let usual = password(json!({}));
    assert!(usual.len() == 32 && usual != password(json!({})));
    let digits = password(
        json!({ "PasswordLength": "128", "ExcludeLowercase": "true", "ExcludeUppercase": true, "ExcludePunctuation": "true", "ExcludeCharacters": "01" }),
    );
    assert!(digits.len() == 128 && digits.bytes().all(|byte| (b'2'..=b'9').contains(&byte)), "{digits}");
    let nothing = json!({ "Action": "GetRandomPassword", "ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludeNumbers": true, "ExcludePunctuation": true });
    assert_eq!(refused(&mount, nothing), "InvalidParameter");
}

#[test]
fn a_conversation_outlives_its_worker() {
    let mount = Mount::new();
    mount.secret("prod/s", "value");
    let mut talk = Talk::open(&mount);
    let put = json!({ "Action": "PutSecretValue", "DKMSInstanceId": "prod", "SecretName": "s", "VersionId": "v2", "SecretData": "second" });
    talk.0.write_all(put.to_string().as_bytes()).unwrap();
    kill_worker(&mount);
    assert_eq!(talk.answer()["VersionId"], "v2", "what was asked before");
    let batch = json!({ "Action": "ListSecretVersionIds", "DKMSInstanceId": "prod", "SecretName": "s" });
    talk.0.write_all(batch.to_string().as_bytes()).unwrap();
    let mut begin = [0; 10];
    talk.0.read_exact(&mut begin).unwrap();
    mount.write("prod/s/current", "third");
    kill_worker(&mount);
    let mut rest = begin.to_vec();
    talk.0.read_to_end(&mut rest).unwrap();
    let answer: Json = serde_json::from_slice(&rest).unwrap();
    assert_eq!(answer["TotalCount"], 2, "an answer stays the one that it was");
    kill_worker(&mount);
    assert_eq!(talk.0.read(&mut begin).unwrap(), 0, "and does not come twice");
}

#[test]
fn policies_keys_and_instances_are_described() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    std::fs::create_dir(mount.path("test")).unwrap();
    let of = |action: &str, rest: Json| {
        let mut request = json!({ "Action": action, "DKMSInstanceId": "prod" });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    let policy = done(&mount, of("GetSecretPolicy", json!({ "SecretName": "s", "PolicyName": "default" })));
    assert_eq!(policy["Policy"].as_str().unwrap(), mount.read("prod/s/policy").trim_end());
    done(&mount, of("SetSecretPolicy", json!({ "SecretName": "s", "Policy": policy["Policy"] })));
    let set = |policy: String| of("SetSecretPolicy", json!({ "SecretName": "s", "Policy": policy }));
    assert_eq!(refused(&mount, set("{}".to_owned())), "InvalidParameter");
    let other = policy["Policy"].as_str().unwrap().replace("kms:*", "kms:GetSecretValue");
    assert!(!done(&mount, set(other.clone())).as_object().unwrap().contains_key("Warnings"));
    assert_eq!(mount.read("prod/s/policy").trim_end(), other);
    let nothing = other.replace("GetSecretValue", "SetSecretPolicy");
    assert_eq!(done(&mount, set(nothing))["Warnings"].as_array().unwrap().len(), 1, "nobody gets anything by it");
    let test = json!({ "SecretName": "s", "Principal": "root", "TestedAction": "kms:GetSecretValue" });
    assert_eq!(done(&mount, of("TestSecretPolicy", test))["Decision"], "Allow");
    done(&mount, set(" ".to_owned()));
    let of_key = done(&mount, of("GetKeyPolicy", json!({ "KeyId": "default" })));
    assert_eq!(of_key["Policy"].as_str().unwrap(), mount.read("prod/.keys/default/policy").trim_end());
    done(&mount, of("SetKeyPolicy", json!({ "KeyId": "default", "Policy": of_key["Policy"] })));
    let sealed = json!({ "Action": "UpdateKmsInstance", "KmsInstanceId": "prod", "State": "Unavailable" });
    assert_eq!(done(&mount, sealed.clone())["KmsInstance"]["State"], "Unavailable");
    assert_eq!(refused(&mount, of("GetSecretValue", json!({ "SecretName": "s" }))), "Rejected.Unavailable");
    let mut running = sealed;
    running["State"] = "Running".into();
    done(&mount, running);
    let keys = done(&mount, of("ListKeys", json!({})));
    assert_eq!((&keys["TotalCount"], &keys["Keys"]["Key"][0]["KeyId"]), (&json!(1), &json!("default")));
    let key = done(&mount, of("DescribeKey", json!({ "KeyId": "default" })));
    let info: Json = serde_json::from_str(&mount.read("prod/.keys/default/info")).unwrap();
    assert_eq!(key["KeyMetadata"], info);
    let instances = done(&mount, json!({ "Action": "ListKmsInstances" }));
    let names: Vec<_> = instances["KmsInstances"]["KmsInstance"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["KmsInstanceId"].clone())
        .collect();
    assert_eq!(names, ["prod", "test"]);
    let instance = done(&mount, json!({ "Action": "GetKmsInstance", "KmsInstanceId": "prod" }));
    let info: Json = serde_json::from_str(&mount.read("prod/.instance/info")).unwrap();
    assert_eq!(instance["KmsInstance"], info);
    let arn = mount.read("prod/s/info");
    let arn: Json = serde_json::from_str(&arn).unwrap();
    assert_eq!(done(&mount, of("GetSecretValue", json!({ "SecretName": arn["Arn"] })))["SecretData"], "v");
    let nowhere = json!({ "Action": "GetSecretValue", "SecretName": "s" });
    assert_eq!(refused(&mount, nowhere), "MissingParameter", "with two instances one has to be named");
}

/// Every request has one record, granted or denied, of what it was about.
#[test]
fn each_request_has_one_record() {
    let mount = Mount::new();
    for name in ["a", "b"] {
        mount.secret(&format!("prod/{name}"), "v");
    }
    let last = |count: usize| -> Vec<(String, String, String)> {
        let records = mount.records();
        let text = |record: &Json, name: &str| record[name].as_str().unwrap_or("-").to_owned();
        let of = |record: &Json| (text(record, "action"), text(record, "outcome"), text(record, "secret"));
        records[records.len() - count..].iter().map(of).collect()
    };
    let record = |action: &str, outcome: &str, secret: &str| (action.to_owned(), outcome.to_owned(), secret.to_owned());
    for (request, expected) in [
        (json!({ "Action": "GetRandomPassword" }), record("GetRandomPassword", "granted", "-")),
        (json!({ "Action": "ListKmsInstances" }), record("DescribeInstance", "granted", "-")),
        (json!({ "Action": "DescribeSecret", "SecretName": "a" }), record("DescribeSecret", "granted", "a")),
        (json!({ "Action": "UpdateSecret", "SecretName": "a" }), record("UpdateSecret", "granted", "a")),
        (
            json!({ "Action": "UpdateSecret", "SecretName": "a", "Description": "x" }),
            record("UpdateSecret", "granted", "a"),
        ),
        (
            json!({ "Action": "GetSecretValue", "SecretName": "a", "DryRun": true }),
            record("GetSecretValue", "granted", "a"),
        ),
        (json!({ "Action": "GetSecretValue", "SecretName": "none" }), record("GetSecretValue", "denied", "none")),
        (json!({ "Action": "ListAuditRecords", "NextToken": "0" }), record("ReadAudit", "granted", "-")),
        (json!({ "Action": "Nonsense" }), record("-", "denied", "-")),
    ] {
        let before = mount.records().len();
        ask(&mount, request.clone());
        assert_eq!((mount.records().len(), last(1)), (before + 1, vec![expected]), "{request}");
    }
    let batch =
        json!([{ "SecretName": "a" }, { "SecretName": "b", "DKMSInstanceId": "other" }, { "SecretName": "none" }]);
    let before = mount.records().len();
    done(&mount, json!({ "Action": "BatchGetSecretValue", "SecretsList": batch }));
    let expected = [("granted", "a"), ("denied", "b"), ("denied", "none")]
        .map(|(outcome, secret)| record("GetSecretValue", outcome, secret));
    assert_eq!((mount.records().len(), last(3)), (before + 3, expected.to_vec()));
    let tags = json!({ "Action": "TagResources", "ResourceType": "secret", "ResourceId": ["a", "b"], "Tag": [{ "Key": "k" }] });
    done(&mount, tags);
    assert_eq!(last(2), ["a", "b"].map(|secret| record("TagResource", "granted", secret)));
    let mut talk = Talk::open(&mount);
    talk.ask(&json!({ "Action": "ListAuditRecords" }));
    let before = mount.records().len();
    talk.ask(&json!({ "Action": "ListAuditRecords", "NextToken": "1" }));
    assert_eq!(mount.records().len(), before, "who follows the audit in one conversation is recorded once");
}
