//! What is a policy and what is none, as the page has it: each through the api, which says on which line it is wrong.

use serde_json::json;

use super::through_api::Bench;

/// A document of one statement, with `changes` of its members: a value, or none to leave it away.
fn document(changes: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("Effect", "\"Allow\""),
        ("Principal", "{\"RAM\": [\"acs:ram::1234567890123456:user/a\"]}"),
        ("Action", "[\"kms:*\"]"),
        ("Resource", "[\"*\"]"),
    ];
    for (name, value) in changes {
        members.retain(|(other, _)| other != name);
        if !value.is_empty() {
            members.push((name, value));
        }
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{\"Version\": \"1\",\n \"Statement\": [{{\n  {}\n }}]}}", members.join(",\n  "))
}

fn condition(operator: &str, key: &str, value: &str) -> String {
    document(&[("Condition", &format!("{{\"{operator}\": {{\"{key}\": {value}}}}}"))])
}

fn principal(who: &str) -> String {
    document(&[("Principal", &format!("{{\"RAM\": [\"{who}\"]}}"))])
}

fn good() -> Vec<String> {
    let one = "{\"RAM\": \"acs:ram::1234567890123456:role/a.b-c\"}";
    vec![
        String::new(),
        " \n".to_owned(),
        document(&[]),
        document(&[("Principal", one), ("Action", "\"kms:Get*\""), ("Resource", "\"*\"")]),
        document(&[("Action", "\"*\""), ("Effect", "\"Deny\"")]),
        document(&[("Action", "[\"kms:getsecretvalue\", \"kms:SomethingElse\"]")]),
        document(&[("Sid", &format!("\"{}\"", "ä ".repeat(64)))]),
        principal("acs:ram::1234567890123456:*"),
        principal("acs:ram::1234567890123456:root"),
        principal("acs:ram::1234567890123456:user/a*"),
        principal("acs:ram::1234567890123456:role/*"),
        condition("DateLessThan", "acs:CurrentTime", "\"2027-01-01T00:00:00+08:00\""),
        condition("DateNotEquals", "acs:CurrentTime", "[\"2027-01-01T00:00:00Z\", \"2028-01-01T00:00:00Z\"]"),
        condition("StringNotLike", "kmsfs:Cgroup", "[\"/a/*\", \"/b?\"]"),
        condition("NumericGreaterThan", "kmsfs:Uid", "\"1000\""),
        condition("Bool", "acs:SecureTransport", "\"true\""),
    ]
}

fn bad() -> Vec<String> {
    let whole = document(&[]);
    vec![
        "nonsense".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("{whole} x"),
        format!("{whole}{whole}"),
        whole.replace("\"1\"", "\"2\""),
        whole.replace("\"1\"", "1"),
        whole.replace("\"Version\": \"1\",", ""),
        whole.replace("\"Version\": \"1\",", "\"Version\": \"1\", \"Version\": \"1\","),
        whole.replace("\"Version\": \"1\",", "\"Version\": \"1\", \"Id\": \"x\","),
        "{\"Version\": \"1\"}".to_owned(),
        "{\"Version\": \"1\", \"Statement\": []}".to_owned(),
        document(&[("Effect", "")]),
        document(&[("Effect", "\"allow\"")]),
        document(&[("Principal", "")]),
        document(&[("Principal", "\"*\"")]),
        document(&[("Principal", "{\"RAM\": []}")]),
        document(&[("Principal", "{\"Service\": [\"x\"]}")]),
        document(&[("Action", "")]),
        document(&[("Action", "[]")]),
        document(&[("Action", "\"ecs:*\"")]),
        document(&[("Resource", "")]),
        document(&[("Resource", "[]")]),
        document(&[("Resource", "\"acs:kms:local:1234567890123456:secret/a\"")]),
        document(&[("NotAction", "\"kms:*\"")]),
        document(&[("Sid", &format!("\"{}\"", "a".repeat(129)))]),
        document(&[("Effect", "\"Allow\", \"Effect\": \"Deny\"")]),
        principal("acs:ram::123456789012345:user/a"),
        principal("acs:ram::12345678901234567:user/a"),
        principal("acs:ram::1234567890123456:user/"),
        principal("acs:ram::1234567890123456:user/a*b"),
        principal("acs:ram::1234567890123456:group/a"),
        principal("acs:ram::1234567890123456:"),
        principal("acs:ram::*:root"),
        principal("aacs:ram::1234567890123456:root"),
        condition("StringSounds", "kmsfs:Cgroup", "\"a\""),
        condition("StringEquals", "acs:SourceIp", "\"a\""),
        condition("StringEquals", "kmsfs:Uid", "\"1\""),
        condition("NumericEquals", "kmsfs:Cgroup", "\"1\""),
        condition("NumericEquals", "kmsfs:Uid", "\"one\""),
        condition("NumericEquals", "kmsfs:Uid", "[]"),
        condition("DateLessThan", "acs:CurrentTime", "\"tomorrow\""),
        condition("DateLessThan", "acs:CurrentTime", "\"2027-02-30T00:00:00Z\""),
        condition("Bool", "acs:SecureTransport", "\"maybe\""),
        format!("{whole}{}", " ".repeat(32_768)),
    ]
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    let bench = Bench::new();
    let root = kmsfs::secret::Identity { uid: 0, gid: 0, groups: Vec::new(), overrides: true };
    let create = json!({ "Action": "CreateSecret", "DKMSInstanceId": "prod", "SecretName": "s", "SecretData": "v" });
    let ask = |request: &serde_json::Value| bench.ask(&root, super::through_api::root(), None, request);
    ask(&create);
    let set = |policy: &str| {
        // A parameter of KMS is not empty.
        let policy = if policy.is_empty() { " " } else { policy };
        ask(&json!({ "Action": "SetSecretPolicy", "DKMSInstanceId": "prod", "SecretName": "s", "Policy": policy }))
    };
    let mut wrong: Vec<String> = Vec::new();
    for policy in good() {
        let answer = set(&policy);
        if answer.get("Code").is_some() {
            wrong.push(format!("is refused: {policy}: {answer}"));
        }
    }
    for policy in bad() {
        let answer = set(&policy);
        let told = answer["Message"].as_str().unwrap_or_default();
        let has_line = told.contains("line ") || policy.len() > 32_768;
        if answer["Code"] != "InvalidParameter" || !has_line {
            wrong.push(format!("is taken, or no line is said: {policy:.300}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
