//! Accounts: who may use what of an instance that is shared, and what each other account costs.

use std::process::Command;

use serde_json::{Value as Json, json};

use crate::api::{ask, done};
use crate::harness::{KMSFS, Mount, text};
use crate::people::{OUTSIDER, SHAREE, as_user, denied, home_number, remount};

/// The mount's account options, of the store's own account first.
const ACCOUNTS: [Option<&str>; 3] = [None, Some(SHAREE), Some(OUTSIDER)];

/// The document of `Allow` to each of `principals`.
fn allow(principals: &[String], actions: &str) -> String {
    json!({ "Version": "1", "Statement": [{ "Effect": "Allow", "Principal": { "RAM": principals }, "Action": actions, "Resource": "*" }] })
        .to_string()
}

fn of(account: &str, who: &str) -> String {
    format!("acs:ram::{account}:{who}")
}

/// `script` fails with EDQUOT and its code. What is refused at close(2) is no error of a builtin of bash: programs are to be used.
#[track_caller]
fn over_quota(mount: &Mount, script: &str) {
    let said = mount.fails(script);
    assert!(said.contains("Disk quota exceeded"), "{script}: {said}");
    assert_eq!(mount.last_code(), "Rejected.ShareQuotaExceedLimit", "{script}");
}

/// The table of `docs/policies.md`: a secret of the owner's is its alone, one of the sharee's is both's, and neither is another's.
#[test]
fn a_shared_instance_is_its_owners_and_its_makers() {
    let mut mount = Mount::new();
    mount.ok("chmod 755 .; chmod 777 prod; mkdir prod/owners; printf o > prod/owners/current");
    mount.ok("chmod 755 prod/owners; chmod 644 prod/owners/current");
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    assert_eq!(mount.read("prod/.instance/shares"), format!("{SHAREE}\n"));
    remount(&mut mount, Some(SHAREE));
    mount.ok(&as_user(4001, "mkdir prod/sharees && printf s > prod/sharees/current"));
    mount.ok("chmod 755 prod/sharees; chmod 644 prod/sharees/current");
    denied(&mount, &as_user(4001, "chmod 700 prod/owners"));
    denied(&mount, "echo > prod/.instance/shares");
    denied(&mount, "echo 20 > prod/.instance/access-quota");
    remount(&mut mount, Some(OUTSIDER));
    denied(&mount, &as_user(4001, "mkdir prod/outsiders"));
    denied(&mount, "mkdir prod/outsiders");
    // (account, what it may of the owner's secret, and of the sharee's)
    for (account, owners, sharees) in [(None, true, true), (Some(SHAREE), false, true), (Some(OUTSIDER), false, false)]
    {
        remount(&mut mount, account);
        for (secret, may) in [("owners", owners), ("sharees", sharees)] {
            for reads in ["current", "versions/v1", "info", "tags", "description", "cmk"] {
                for script in
                    [format!("cat prod/{secret}/{reads}"), as_user(4002, &format!("cat prod/{secret}/{reads}"))]
                {
                    if may { drop(mount.ok(&script)) } else { denied(&mount, &script) }
                }
            }
            let changes = [format!("echo a=b >> prod/{secret}/tags"), format!("printf new > prod/{secret}/current")];
            for script in changes {
                if may { drop(mount.ok(&script)) } else { denied(&mount, &script) }
            }
            denied(&mount, &as_user(4002, &format!("echo c=d >> prod/{secret}/tags")));
            for lists in ["versions", "stages"] {
                let script = as_user(4002, &format!("ls prod/{secret}/{lists}"));
                if may { drop(mount.ok(&script)) } else { denied(&mount, &script) }
            }
        }
    }
}

/// Who is of another account needs the bits and a statement, and only reads.
#[test]
fn another_account_needs_both_and_only_reads() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 755 . prod prod/s; chmod 666 prod/s/current; mkdir prod/.keys/k");
    mount.write("prod/s/policy", allow(&[of(OUTSIDER, "user/4001")], "kms:*"));
    remount(&mut mount, Some(OUTSIDER));
    mount.ok(&as_user(4001, "cat prod/s/info prod/s/tags; ls prod/s prod/s/versions prod/s/stages"));
    denied(&mount, &as_user(4001, "cat prod/s/current"));
    remount(&mut mount, None);
    mount.write("prod/.keys/default/policy", allow(&[of(OUTSIDER, "*")], "kms:Decrypt"));
    remount(&mut mount, Some(OUTSIDER));
    assert_eq!(mount.ok(&as_user(4001, "cat prod/s/current")), "v");
    denied(&mount, &as_user(4002, "cat prod/s/current"));
    for script in ["printf x > prod/s/current", "rm prod/s/current", "echo > prod/s/policy", "chmod 777 prod/s"] {
        denied(&mount, &as_user(4001, script));
        denied(&mount, script);
    }
    remount(&mut mount, None);
    mount.ok("chmod 660 prod/s/current");
    remount(&mut mount, Some(OUTSIDER));
    denied(&mount, &as_user(4001, "cat prod/s/current"));
}

/// What the page says of `kms:ListSecrets`: who may list the directory is shown the secret by ListSecrets as well.
#[test]
fn who_may_list_a_secret_finds_it() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 755 . prod; chmod 700 prod/s");
    let find = r#"echo "{\"Action\":\"ListSecrets\",\"DKMSInstanceId\":\"prod\"}" | $KMSFS api ."#;
    let home = home_number(&mount);
    mount.write("prod/s/policy", allow(&[of(&home, "user/4001"), of(OUTSIDER, "user/4001")], "kms:*"));
    assert!(mount.ok(&as_user(4001, "ls prod/s")).contains("current"));
    assert!(!mount.ok(&as_user(4002, find)).contains("\"s\""));
    let mut wrong = Vec::new();
    let mut finds = |mount: &Mount, who: &str| {
        let told = text(&mount.bash(&as_user(4001, find)).stdout);
        if !told.contains("\"s\"") {
            wrong.push(format!("{who}: {told}"));
        }
    };
    finds(&mount, "of the account");
    // What the policy shows cannot be given while it does.
    mount.ok("cat prod/s/policy > $OUT/p; echo > prod/s/policy; chmod 755 prod/s; cat $OUT/p > prod/s/policy");
    remount(&mut mount, Some(OUTSIDER));
    assert!(mount.ok(&as_user(4001, "ls prod/s")).contains("current"));
    finds(&mount, "of another account");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An account costs one, however many of its identities are named and wherever; one too many is refused by each of the ways.
#[test]
fn each_other_account_costs_one() {
    let mut mount = Mount::new();
    mount.ok("mkdir prod/.keys/k");
    for name in ["a", "b", "c"] {
        mount.secret(&format!("prod/{name}"), "v");
    }
    assert_eq!(mount.read("prod/.instance/access-quota"), "16\n");
    mount.ok("echo 1 > prod/.instance/access-quota");
    let (first, second) = ("1000000000000001", "1000000000000002");
    let named = |account: &str| allow(&["user/a", "role/b", "root", "*"].map(|who| of(account, who)), "kms:*");
    let to = |path: &str, account: &str| format!("/bin/echo '{}' > prod/{path}", named(account));
    for path in ["a/policy", "b/policy", ".keys/k/policy", ".keys/default/policy"] {
        mount.ok(&to(path, first));
    }
    mount.ok(&format!("echo {first} > prod/.instance/shares"));
    let shares = format!("/usr/bin/printf '{first}\\n{second}\\n' > prod/.instance/shares");
    let refuse = |mount: &Mount| {
        for script in [to("c/policy", second), to(".keys/k/policy", second), shares.clone()] {
            over_quota(mount, &script);
        }
    };
    refuse(&mount);
    mount.restart();
    refuse(&mount);
    mount.kill();
    mount.start();
    refuse(&mount);
    // Not free before the last of it has gone.
    for script in [": > prod/.instance/shares", "echo > prod/.keys/k/policy", "echo > prod/.keys/default/policy"] {
        mount.ok(script);
        over_quota(&mount, &to("c/policy", second));
    }
    mount.ok("echo > prod/a/policy; rm -r prod/b");
    over_quota(&mount, &to("c/policy", second));
    mount.ok("echo purge > prod/.deleted/b/state");
    mount.ok(&to("c/policy", second));
    over_quota(&mount, &to("a/policy", first));
    mount.restart();
    over_quota(&mount, &to("a/policy", first));
    // A denial costs nothing, and the own account neither.
    mount.ok(&to("a/policy", first).replace("Allow", "Deny"));
    mount.ok(&to("b2/policy", &home_number(&mount)).replace("/bin/echo", "mkdir prod/b2; echo"));
    mount.stop();
    assert!(mount.verify().status.success(), "{}", text(&mount.verify().stdout));
}

/// What would cost one too many is refused by the api alike, also where the secret is being made.
#[test]
fn the_api_counts_accounts_too() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("echo 0 > prod/.instance/access-quota");
    let policy = allow(&[of(OUTSIDER, "root")], "kms:GetSecretValue");
    for mut request in [
        json!({ "Action": "SetSecretPolicy", "SecretName": "s" }),
        json!({ "Action": "SetKeyPolicy", "KeyId": "default" }),
        json!({ "Action": "CreateSecret", "SecretName": "new", "SecretData": "v" }),
        json!({ "Action": "CreateKey", "KeyId": "new" }),
    ] {
        request["Policy"] = policy.clone().into();
        request["DKMSInstanceId"] = "prod".into();
        let answer: Json = ask(&mount, request.clone());
        assert_eq!(answer["Code"], "Rejected.ShareQuotaExceedLimit", "{request}: {answer}");
    }
    assert!(!mount.path("prod/new").exists() && !mount.path("prod/.keys/new").exists());
    mount.ok("echo 1 > prod/.instance/access-quota");
    done(&mount, json!({ "Action": "SetSecretPolicy", "DKMSInstanceId": "prod", "SecretName": "s", "Policy": policy }));
}

/// What a restored secret's policy allows counts as before: it was never free.
#[test]
fn a_scheduled_secret_keeps_its_share_of_the_quota() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.secret("prod/t", "v");
    mount.ok("echo 1 > prod/.instance/access-quota");
    mount.write("prod/s/policy", allow(&[of(SHAREE, "*")], "kms:*"));
    mount.ok("rm -r prod/s");
    over_quota(&mount, &format!("/bin/echo '{}' > prod/t/policy", allow(&[of(OUTSIDER, "*")], "kms:*")));
    mount.ok("mv prod/.deleted/s prod/s; echo > prod/s/policy");
    mount.write("prod/t/policy", allow(&[of(OUTSIDER, "*")], "kms:*"));
}

#[test]
fn an_account_has_sixteen_digits() {
    let mut mount = Mount::new();
    for bad in ["1", "12345678901234567", "123456789012345x", ""] {
        let mut command = Command::new(KMSFS);
        command.args(["mount", "--store"]).arg(mount.store()).arg("--key-file").arg(mount.key());
        let output = command.args(["-o", &format!("account={bad}")]).arg(mount.dir.path().join("n")).output().unwrap();
        assert!(!output.status.success(), "{bad}");
    }
    for bad in ["1234", &format!("{SHAREE}x"), &home_number(&mount)] {
        assert!(mount.fails(&format!("/bin/echo {bad} > prod/.instance/shares")).contains("Invalid argument"), "{bad}");
    }
    // The store's own number as an option is its own account.
    let home = home_number(&mount);
    mount.secret("prod/s", "v");
    remount(&mut mount, Some(&home));
    assert_eq!(mount.read("prod/s/current"), "v");
    for account in ACCOUNTS {
        remount(&mut mount, account);
        assert_eq!(mount.bash("cat prod/s/current").status.success(), account.is_none());
    }
}

/// To list a secret's directory is `kms:ListSecrets` of it: another account needs a policy that says so, as it does for all else.
#[test]
fn another_account_lists_no_secret_that_does_not_say_so() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("chmod 755 . prod prod/s");
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    for account in [OUTSIDER, SHAREE] {
        remount(&mut mount, Some(account));
        denied(&mount, "ls prod/s");
        denied(&mount, &as_user(4001, "ls prod/s"));
    }
}

/// What a sharee makes is its own also in a directory of the owner's, which stays that one's.
#[test]
fn a_sharee_makes_secrets_where_the_bits_let_it() {
    let mut mount = Mount::new();
    mount.ok("chmod 755 . prod; mkdir prod/open; chmod 777 prod/open");
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    remount(&mut mount, Some(SHAREE));
    mount.ok(&as_user(4001, "mkdir -p prod/open/a/b && printf v > prod/open/a/b/current && cat prod/open/a/b/current"));
    let create = r#"echo "{\"Action\":\"CreateSecret\",\"DKMSInstanceId\":\"prod\",\"SecretName\":\"open/c/d\",\"SecretData\":\"v\"}" | $KMSFS api ."#;
    let told = mount.ok(&as_user(4001, create));
    assert!(!told.contains("\"Code\""), "{told}");
    mount.ok(&as_user(
        4001,
        "cat prod/open/c/d/current; rm -r prod/open/c/d; mv -T prod/.deleted/open%2Fc%2Fd prod/open/c/d",
    ));
    denied(&mount, &as_user(4001, "mkdir prod/new"));
    denied(&mount, &as_user(4001, "printf v > prod/open/current"));
    mount.ok(&as_user(4001, "chmod 700 prod/open/a; echo a=b >> prod/open/a/b/tags; rm -r prod/open/a/b"));
    remount(&mut mount, None);
    assert_eq!(mount.ok("cat prod/open/c/d/current"), "v");
    mount.write("prod/.instance/shares", "");
    remount(&mut mount, Some(SHAREE));
    denied(&mount, &as_user(4001, "mkdir prod/open/e"));
    // What it has made is its own for as long as the instance is shared with it.
    denied(&mount, &as_user(4001, "cat prod/open/c/d/info"));
    denied(&mount, &as_user(4001, "echo a=b >> prod/open/c/d/tags"));
    denied(&mount, &as_user(4001, "cat prod/open/c/d/current"));
}

/// A quota below what is used refuses what would use more, and nothing else; a draft gives back what its policy has used.
#[test]
fn a_lower_quota_takes_nothing_away() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("mkdir prod/draft");
    let (first, second) = (allow(&[of(SHAREE, "*")], "kms:*"), allow(&[of(OUTSIDER, "*")], "kms:*"));
    let both = allow(&[of(SHAREE, "root"), of(OUTSIDER, "user/*")], "kms:*");
    mount.write("prod/s/policy", &first);
    mount.write("prod/draft/policy", &second);
    mount.ok("echo 0 > prod/.instance/access-quota");
    mount.write("prod/s/policy", &both);
    mount.write("prod/draft/policy", &both);
    mount.write("prod/s/policy", &first);
    mount.ok("echo text > prod/s/description; printf w > prod/s/current");
    over_quota(&mount, "/bin/echo 1000000000000003 > prod/.instance/shares");
    mount.ok("rmdir prod/draft");
    over_quota(&mount, &format!("/bin/echo '{both}' > prod/s/policy"));
    mount.ok("echo 2 > prod/.instance/access-quota");
    mount.write("prod/s/policy", &both);
    for bad in ["-1", "1001", "x", "1 2", ""] {
        assert!(
            mount.fails(&format!("/bin/echo {bad} > prod/.instance/access-quota")).contains("Invalid argument"),
            "{bad}"
        );
    }
    mount.stop();
    assert!(mount.verify().status.success(), "{}", text(&mount.verify().stdout));
}
