//! Documents that are made to hold everybody up: as long as one may be, with a caller that fits. What a decision takes is
//! printed; `cargo test --release --lib policy -- --nocapture` shows what a user would feel.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;
use crate::secret::Action;
use crate::time::Timestamp;

/// Longest decision in this build. A release build keeps to 1 ms, here there may be no optimisation and a busy machine.
const MOST: Duration = if cfg!(debug_assertions) { Duration::from_millis(20) } else { Duration::from_millis(1) };
const TRIES: usize = 50;
const ACCOUNT: &str = "0000000000000001";

/// As many of `items` as fit between `head` and `tail`, with commas.
fn filled(head: &str, tail: &str, item: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for n in 0.. {
        let (before, item) = (text.len(), item(n));
        if before + item.len() + 1 + tail.len() > POLICY_MAX {
            break;
        }
        write!(text, "{}{item}", if n == 0 { "" } else { "," }).unwrap();
    }
    text + tail
}

fn with_values(operator: &str, key: &str, item: impl Fn(usize) -> String) -> String {
    let head = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Deny","Principal":{{"RAM":"acs:ram::{ACCOUNT}:*"}},"Action":"*","Resource":"*","Condition":{{"{operator}":{{"{key}":["#
    );
    filled(&head, "]}}}]}", item)
}

fn with_pattern(item: impl Fn(usize) -> String) -> String {
    with_values("StringLike", "kmsfs:Cgroup", |n| Json::from(item(n)).to_string())
}

fn with_statements(principal: &str, rest: &str) -> String {
    filled(r#"{"Version":"1","Statement":["#, "]}", |n| {
        let principal = principal.replace('#', &n.to_string());
        format!(
            r#"{{"Effect":"Deny","Principal":{{"RAM":"acs:ram::{ACCOUNT}:{principal}"}},"Action":"*","Resource":"*"{rest}}}"#
        )
    })
}

fn with_principals(kind: &str) -> String {
    let head = r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Principal":{"RAM":["#;
    filled(head, "]}}]}", |n| format!(r#""acs:ram::{ACCOUNT}:{kind}g{n}""#))
}

fn with_actions() -> String {
    let head = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Deny","Principal":{{"RAM":"acs:ram::{ACCOUNT}:*"}},"Resource":"*","Action":["#
    );
    filled(&head, "]}]}", |_| r#""kms:*e*s*t*x""#.to_owned())
}

fn documents() -> Vec<(&'static str, String)> {
    let once = |text: String| move |n: usize| if n == 0 { text.clone() } else { "x".repeat(POLICY_MAX) };
    let like = r#","Condition":{"StringLike":{"kmsfs:Cgroup":"*aa*ab*"}}"#;
    vec![
        ("one pattern *a*a*a", with_pattern(once("*a".repeat(16_200)))),
        ("one pattern ?????", with_pattern(once("?".repeat(32_400)))),
        ("one pattern *?*?*", with_pattern(once("*?".repeat(16_200)))),
        ("one pattern of stars", with_pattern(once("*".repeat(32_400)))),
        ("one pattern *aaa...b", with_pattern(once(format!("*{}b", "a".repeat(32_400))))),
        ("patterns of 510 question marks", with_pattern(|_| format!("*{}b*", "?".repeat(510)))),
        ("patterns of 256 a and a b", with_pattern(|_| format!("*{}b*", "a".repeat(256)))),
        ("patterns *a*a*...b", with_pattern(|_| format!("{}b", "*a".repeat(511)))),
        ("patterns *ab*", with_pattern(|_| "*ab*".to_owned())),
        ("patterns *b", with_pattern(|_| "*b".to_owned())),
        ("patterns *aab*", with_pattern(|_| "*aab*".to_owned())),
        (
            "patterns of other letters",
            with_pattern(|n| format!("*a{}*", char::from_u32(0x400 + n as u32 % 256).unwrap())),
        ),
        ("empty patterns", with_pattern(|_| String::new())),
        ("texts", with_values("StringEquals", "kmsfs:Cgroup", |_| format!("\"{}b\"", "a".repeat(511)))),
        (
            "texts in any case",
            with_values("StringEqualsIgnoreCase", "kmsfs:Cgroup", |_| format!("\"{}b\"", "A".repeat(511))),
        ),
        ("numbers", with_values("NumericEquals", "kmsfs:Uid", |_| "7".to_owned())),
        ("times", with_values("DateEquals", "acs:CurrentTime", |_| "\"2027-01-01T00:00:00Z\"".to_owned())),
        ("statements", with_statements("user/x#", "")),
        ("statements with a pattern", with_statements("*", like)),
        ("statements for groups", with_statements("role/x#*", like)),
        ("actions", with_actions()),
        ("groups", with_principals("role/")),
        ("users", with_principals("user/")),
    ]
}

/// The best of some tries to decide on `text`.
fn time(text: &str, groups: &[String], cgroup: &str) -> Duration {
    let policy = Policy::parse(text.as_bytes()).unwrap().unwrap();
    let (account, users) = (Account::parse(ACCOUNT).unwrap(), ["alice".to_owned(), "1000".to_owned()]);
    let who = Subject { account: &account, is_home: true, is_root: false, uid: 1000, users: &users, roles: groups };
    let at = Circumstances { now: Timestamp(1), cgroup: Some(cgroup) };
    let tries = (0..TRIES).map(|_| {
        let begun = Instant::now();
        std::hint::black_box(policy.judge(std::hint::black_box(&who), Action::GetSecretValue, &at));
        begun.elapsed()
    });
    tries.min().unwrap()
}

#[test]
fn no_document_takes_long_to_decide_on() {
    let groups = |n: usize| (0..n).map(|n| format!("x{n}")).collect::<Vec<_>>();
    let (few, many) = (groups(16), groups(2_000));
    let cgroups = ["a".repeat(512), "ab".repeat(256), format!("{}b", "a".repeat(511)), "aä".repeat(170)];
    let mut late = Vec::new();
    for (name, text) in documents() {
        assert!(text.len() <= POLICY_MAX, "{name}: {}", text.len());
        let begun = Instant::now();
        assert!(Policy::parse(text.as_bytes()).is_ok(), "{name}");
        println!("{:>8.1} us  to read", begun.elapsed().as_secs_f64() * 1e6);
        for groups in [&few, &many] {
            let worst = cgroups.iter().map(|cgroup| time(&text, groups, cgroup)).max().unwrap();
            println!(
                "{:>8.1} us  {name}, {} names of groups, {} bytes",
                worst.as_secs_f64() * 1e6,
                groups.len(),
                text.len()
            );
            if worst > MOST {
                late.push(format!("{name}: {worst:?}"));
            }
        }
    }
    assert!(late.is_empty(), "{late:?}");
}

#[test]
fn deep_nesting_is_an_error() {
    let within = |text: &str| format!(r#"{{"Version":"1","Statement":[{{"Condition":{text}"#);
    for open in ["[", "{\"a\":", "{\"StringLike\":", "{\"RAM\":[", "[\""] {
        let deep = open.repeat(POLICY_MAX / open.len());
        for text in [deep.clone(), within(&deep[..deep.len() / 2])] {
            let refused = Policy::parse(text.as_bytes());
            assert!(matches!(refused, Err(Refusal::BadPolicy { .. })), "{open}");
        }
    }
}
