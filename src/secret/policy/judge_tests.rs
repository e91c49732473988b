//! What a policy says, in tables: documents of the page, callers, and what comes of it.

use super::*;

const HOME: &str = "1192853035118460";
const GUEST: &str = "0000000000000002";

/// A statement for `principals`, each without `acs:ram::`; `H` and `G` stand for the two accounts.
fn statement(effect: &str, principals: &[&str], actions: &str, condition: &str) -> String {
    let named = |principal: &&str| format!("\"acs:ram::{}\"", principal.replace('H', HOME).replace('G', GUEST));
    let principals: Vec<_> = principals.iter().map(named).collect();
    let condition = if condition.is_empty() { String::new() } else { format!(",\"Condition\":{{{condition}}}") };
    format!(
        r#"{{"Effect":"{effect}","Principal":{{"RAM":[{}]}},"Action":"{actions}","Resource":"*"{condition}}}"#,
        principals.join(",")
    )
}

fn policy(statements: &[String]) -> Policy {
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(","));
    Policy::parse(text.as_bytes()).unwrap().unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Root,
    Alice,
    Bob,
    GuestRoot,
    GuestAlice,
}

/// Alice is in group app, Bob in none that anybody names.
fn ask(policy: &Policy, who: Who, action: Action, cgroup: Option<&str>, of_key: bool) -> Verdict {
    let (home, guest) = (Account::parse(HOME).unwrap(), Account::parse(GUEST).unwrap());
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (alice, app) = (list(&["alice", "1000"]), list(&["app", "50"]));
    let (bob, staff) = (list(&["bob", "1001"]), list(&["staff", "60"]));
    let root = Subject { account: &home, is_home: true, is_root: true, uid: 0, users: &[], roles: &[] };
    let of_alice = Subject { is_root: false, uid: 1000, users: &alice, roles: &app, ..root };
    let subject = match who {
        Who::Root => root,
        Who::Alice => of_alice,
        Who::Bob => Subject { is_root: false, uid: 1001, users: &bob, roles: &staff, ..root },
        Who::GuestRoot => Subject { account: &guest, is_home: false, ..root },
        Who::GuestAlice => Subject { account: &guest, is_home: false, ..of_alice },
    };
    let at = Circumstances { now: Timestamp(1_798_761_600_000_000_000), cgroup };
    if of_key { policy.judge_use(&subject, action, &at) } else { policy.judge(&subject, action, &at) }
}

const SILENT: Verdict = Verdict::Silent;

fn allowed(statement: usize) -> Verdict {
    Verdict::Allowed { statement }
}

fn denied(statement: usize) -> Verdict {
    Verdict::Denied { statement }
}

#[test]
fn a_deny_wins_wherever_it_stands() {
    let allow = || statement("Allow", &["H:user/alice", "H:role/staff"], "kms:*", "");
    let deny = || statement("Deny", &["H:user/alice", "H:root"], "kms:Get*", "");
    for (statements, action, expected) in [
        (vec![allow()], Action::GetSecretValue, [SILENT, allowed(1), allowed(1)]),
        (vec![allow()], Action::PutSecretValue, [SILENT, allowed(1), allowed(1)]),
        (vec![allow()], Action::SetSecretPolicy, [SILENT; 3]),
        (vec![allow(), deny()], Action::GetSecretValue, [denied(2), denied(2), allowed(1)]),
        (vec![deny(), allow()], Action::GetSecretValue, [denied(1), denied(1), allowed(2)]),
        (vec![deny(), allow(), allow()], Action::DescribeSecret, [SILENT, allowed(2), allowed(2)]),
        (vec![deny(), deny()], Action::GetSecretValue, [denied(1), denied(1), SILENT]),
        (vec![deny(), deny()], Action::GetSecretPolicy, [SILENT; 3]),
    ] {
        let policy = policy(&statements);
        let said = [Who::Root, Who::Alice, Who::Bob].map(|who| ask(&policy, who, action, None, false));
        assert_eq!(said, expected, "{action:?}: {}", policy.text());
    }
}

#[test]
fn the_default_statement_leaves_it_to_the_bits() {
    let secure = r#""Bool":{"acs:SecureTransport":true}"#;
    let all = [Who::Root, Who::Alice, Who::Bob, Who::GuestRoot, Who::GuestAlice];
    // What a secret's policy says to these of a read, and what a key's.
    for (statements, of_secret, of_key) in [
        (
            vec![statement("Allow", &["H:*"], "kms:*", "")],
            [SILENT; 5],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
        ),
        (
            vec![statement("Allow", &["H:*"], "*", "")],
            [SILENT; 5],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
        ),
        (
            vec![statement("Allow", &["H:*", "H:user/alice", "G:*"], "*", "")],
            [SILENT, allowed(1), SILENT, allowed(1), allowed(1)],
            [allowed(1); 5],
        ),
        (
            vec![statement("Allow", &["H:*"], "*", ""), statement("Allow", &["H:role/app", "G:root"], "kms:*", "")],
            [SILENT, allowed(2), SILENT, allowed(2), SILENT],
            [allowed(1), allowed(1), allowed(1), allowed(2), SILENT],
        ),
        (
            vec![statement("Allow", &["H:*"], "*", ""), statement("Deny", &["H:*"], "*", "")],
            [denied(2), denied(2), denied(2), SILENT, SILENT],
            [denied(2), denied(2), denied(2), SILENT, SILENT],
        ),
        (
            vec![statement("Allow", &["H:*"], "kms:*", secure)],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
        ),
        (
            vec![statement("Allow", &["H:*"], "kms:*e*", "")],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
            [allowed(1), allowed(1), allowed(1), SILENT, SILENT],
        ),
    ] {
        let policy = policy(&statements);
        let said = |action, of_key| all.map(|who| ask(&policy, who, action, None, of_key));
        assert_eq!(said(Action::GetSecretValue, false), of_secret, "a secret's: {}", policy.text());
        assert_eq!(said(Action::Decrypt, true), of_key, "a key's: {}", policy.text());
    }
}

#[test]
fn guests_only_read() {
    let policy = policy(&[
        statement("Allow", &["G:user/alice", "G:root"], "kms:*", ""),
        statement("Deny", &["G:root"], "kms:Put*", ""),
    ]);
    for (action, alice, root) in [
        (Action::GetSecretValue, allowed(1), allowed(1)),
        (Action::ListSecretVersionIds, allowed(1), allowed(1)),
        (Action::PutSecretValue, SILENT, denied(2)),
        (Action::DeleteSecret, SILENT, SILENT),
        (Action::ForceDeleteSecret, SILENT, SILENT),
        (Action::DestroySecretVersion, SILENT, SILENT),
    ] {
        assert_eq!(ask(&policy, Who::GuestAlice, action, None, false), alice, "{action:?}");
        assert_eq!(ask(&policy, Who::GuestRoot, action, None, false), root, "{action:?}");
        assert_eq!(ask(&policy, Who::Alice, action, None, false), SILENT, "{action:?}: a namesake at home");
    }
    assert_eq!(ask(&policy, Who::GuestAlice, Action::GenerateDataKey, None, true), allowed(1), "a sharee's own secret");
}

#[test]
fn what_cannot_be_told_counts_against_the_caller() {
    let within = r#""StringLike":{"kmsfs:Cgroup":"/app/*"}"#;
    let without = r#""StringNotLike":{"kmsfs:Cgroup":"/app/*"}"#;
    let never = r#""StringNotLike":{"kmsfs:Cgroup":"/app/*"},"NumericEquals":{"kmsfs:Uid":7}"#;
    let long = "/app/".to_owned() + &"x".repeat(512);
    for (effect, condition, inside, outside, untold) in [
        ("Allow", within, allowed(1), SILENT, SILENT),
        ("Allow", without, SILENT, allowed(1), SILENT),
        ("Deny", within, denied(1), SILENT, denied(1)),
        ("Deny", without, SILENT, denied(1), denied(1)),
        ("Deny", never, SILENT, SILENT, SILENT),
    ] {
        let policy = policy(&[statement(effect, &["H:user/alice"], "kms:GetSecretValue", condition)]);
        let said = |cgroup| ask(&policy, Who::Alice, Action::GetSecretValue, cgroup, false);
        assert_eq!(
            [said(Some("/app/1")), said(Some("/other")), said(None), said(Some(&long))],
            [inside, outside, untold, untold],
            "{effect} {condition}"
        );
    }
}
