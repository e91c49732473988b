//! What is done to single versions beyond KMS: destroyed by itself, and put only where another one is current.

use serde_json::json;

use crate::api::{ask, done};
use crate::harness::Mount;
use crate::maps::Map;
use crate::people::{allow, as_user, closed_mount};

/// Three versions in `prod/s`: v1 has no label, v2 is at ACSPrevious, v3 at ACSCurrent.
fn three() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "pin");
    mount.ok("printf two > prod/s/current; printf three > prod/s/current");
    mount
}

const DESTROY: &str = "$KMSFS destroy --yes prod/s --version";

#[test]
fn a_version_is_destroyed_for_good() {
    let mount = three();
    let mut map = Map::of(&mount, "prod/s/versions/v1");
    mount.ok(&format!(
        "exec 3< prod/s/versions/v1; head -c 1 <&3; {DESTROY} v1; ! cat <&3 2> $OUT/said && grep 'No such file' $OUT/said"
    ));
    map.dies();
    assert_eq!(mount.names("prod/s/versions"), ["v2", "v3"]);
    assert!(mount.fails("cat prod/s/versions/v1").contains("No such file"));
    assert_eq!(mount.read("prod/s/current"), "three");
    let records = mount.records();
    let record = records.iter().find(|record| record["action"] == "DestroySecretVersion").unwrap();
    assert_eq!((record["secret"].as_str(), record["version"].as_str()), (Some("s"), Some("v1")));
    assert_eq!(record["outcome"], "granted");
    // The next id is none that was there before.
    mount.ok("printf four > prod/s/current; [ $(cat prod/s/versions/v4) = four ]");
}

#[test]
fn a_version_that_is_in_use_is_not_destroyed() {
    let mount = three();
    mount.ok("ln -s ../versions/v1 prod/s/stages/canary");
    for (version, label) in [("v1", "canary"), ("v2", "ACSPrevious"), ("v3", "ACSCurrent")] {
        let said = mount.fails(&format!("{DESTROY} {version}"));
        assert!(said.contains(&format!("the version is at {label}")) && said.contains("hint: "), "{said}");
        let answer = ask(&mount, json!({"Action": "DestroySecretVersion", "SecretName": "s", "VersionId": version}));
        assert_eq!(answer["Code"], "Rejected.UnsupportedOperation");
    }
    assert!(mount.fails(&format!("{DESTROY} v9")).contains("no such version"));
    assert!(mount.fails("$KMSFS destroy prod/s --version v1").contains("not confirmed"));
    assert!(mount.fails("$KMSFS destroy --yes prod/s").contains("no version"));
    assert!(mount.fails("$KMSFS destroy --yes prod/s/versions/v1 --version v2").contains("two versions"));
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2", "v3"]);
    mount.ok("rm prod/s/stages/canary; $KMSFS destroy --yes prod/s/versions/v1");
    assert_eq!(mount.names("prod/s/versions"), ["v2", "v3"]);
}

/// It is a deletion, for those whom the bits or a policy let delete.
#[test]
fn who_may_delete_may_destroy_a_version() {
    let (mount, home) = closed_mount();
    mount.ok("printf two > prod/s/current; printf three > prod/s/current");
    let destroy = as_user(1000, "$KMSFS destroy --yes prod/s --version v1");
    assert!(mount.fails(&destroy).contains("not allowed"));
    mount.write("prod/s/policy", allow(&home, "user/1000", &["kms:GetSecretValue", "kms:PutSecretValue"]));
    assert!(mount.fails(&destroy).contains("not allowed"));
    mount.write("prod/s/policy", allow(&home, "user/1000", &["kms:DeleteSecret"]));
    mount.ok(&destroy);
    assert_eq!(mount.names("prod/s/versions"), ["v2", "v3"]);
}

#[test]
fn a_put_is_refused_where_somebody_was_quicker() {
    let mount = three();
    let said = mount.fails("printf mine | $KMSFS put --if-current v2 prod/s");
    assert!(said.contains("another version is current by now: v3") && said.contains("hint: "), "{said}");
    let put = |current: &str, id: &str, value: &str| json!({"Action": "PutSecretValue", "SecretName": "s", "IfCurrentVersion": current, "VersionId": id, "SecretData": value});
    let answer = ask(&mount, put("v1", "mine", "mine"));
    assert_eq!((&answer["Code"], &answer["HttpStatus"]), (&json!("Rejected.InvalidRequest"), &json!(400)));
    assert_eq!((mount.read("prod/s/current"), mount.names("prod/s/versions").len()), ("three".to_owned(), 3));
    done(&mount, put("v3", "mine", "mine"));
    // The same request again is no conflict with itself.
    done(&mount, put("v3", "mine", "mine"));
    assert_eq!(mount.read("prod/s/current"), "mine");
    mount.fails("printf x | $KMSFS put --if-current v1 prod/none");
    assert!(!mount.path("prod/none").exists(), "a secret is not made where a version of it was to be current");
}

/// Four writers count one number up, each ten times, and none of their steps is lost.
#[test]
fn writers_that_compare_lose_nothing() {
    let mount = Mount::new();
    mount.secret("prod/n", "0");
    let writer = "for i in 1 2 3 4 5 6 7 8 9 10; do
            while :; do
                id=$(basename $(readlink prod/n/stages/ACSCurrent))
                n=$(cat prod/n/versions/$id) || continue
                printf %s $((n + 1)) | $KMSFS put --if-current $id prod/n > /dev/null 2>&1 && break
            done
        done";
    mount.ok(&format!("for w in 1 2 3 4; do ( {writer} ) & done; wait"));
    assert_eq!(mount.read("prod/n/current"), "40");
}
