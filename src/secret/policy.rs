//! Secret policies. For now a policy can be read, checked for its shape and found to be the default one; a stored policy
//! that nobody obeys would be a hole, so any other is refused until policies are enforced.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Refusal;

/// Longest policy document in bytes.
pub const POLICY_MAX: usize = 32_768;
const ACCOUNT_DIGITS: usize = 16;

/// An account's number: 16 digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Account(String);

impl Account {
    /// The account numbered `number`, which has 16 digits or fewer.
    pub fn from_number(number: u64) -> Self {
        Self(format!("{number:0ACCOUNT_DIGITS$}"))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The account that owns the instance may do everything; permission bits decide for its users.
    Default,
}

impl Policy {
    /// Reads a document. Nothing, or a document equal to the default one, is the default policy.
    pub fn parse(bytes: &[u8], account: &Account) -> Result<Self, Refusal> {
        if bytes.len() > POLICY_MAX {
            return Err(Refusal::PolicyTooLong);
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Policy::Default);
        }
        let document: Json = serde_json::from_slice(bytes)
            .map_err(|error| bad(&format!("line {}, column {}: not JSON", error.line(), error.column())))?;
        check_shape(&document)?;
        let default: Option<Json> = serde_json::from_str(&default_document(account)).ok();
        if default.as_ref() == Some(&document) { Ok(Policy::Default) } else { Err(Refusal::PolicyNotEnforced) }
    }
}

/// The policy of a secret that was given none.
pub fn default_document(account: &Account) -> String {
    format!(
        r#"{{
  "Version": "1",
  "Statement": [
    {{
      "Sid": "kms default secret policy",
      "Effect": "Allow",
      "Principal": {{ "RAM": ["acs:ram::{}:*"] }},
      "Action": ["kms:*"],
      "Resource": ["*"]
    }}
  ]
}}
"#,
        account.0
    )
}

fn bad(why: &str) -> Refusal {
    Refusal::BadPolicy { why: why.to_owned() }
}

/// The members that every policy has, so that a wrong one is told from one that is not enforced yet.
fn check_shape(document: &Json) -> Result<(), Refusal> {
    let Some(policy) = document.as_object() else { return Err(bad("it is no JSON object")) };
    if policy.get("Version").and_then(Json::as_str) != Some("1") {
        return Err(bad("its Version is not \"1\""));
    }
    let Some(statements) = policy.get("Statement").and_then(Json::as_array) else {
        return Err(bad("it has no list named Statement"));
    };
    for (at, statement) in statements.iter().enumerate() {
        let effect = statement.get("Effect").and_then(Json::as_str);
        if !matches!(effect, Some("Allow" | "Deny")) {
            return Err(bad(&format!("the Effect of statement {} is neither Allow nor Deny", at + 1)));
        }
        for member in ["Principal", "Action", "Resource"] {
            if statement.get(member).is_none() {
                return Err(bad(&format!("statement {} has no {member}", at + 1)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_policy_is_taken() {
        let account = Account::from_number(1_192_853_035_110_000);
        let compact: Json = serde_json::from_str(&default_document(&account)).unwrap();
        for good in ["", " \n", &default_document(&account), &compact.to_string()] {
            assert_eq!(Policy::parse(good.as_bytes(), &account), Ok(Policy::Default), "{good}");
        }
        let other = default_document(&account).replace("Allow", "Deny");
        assert_eq!(Policy::parse(other.as_bytes(), &account), Err(Refusal::PolicyNotEnforced));
        for bad in
            ["{", "[]", "nonsense", "{\"Version\":\"2\"}", "{\"Version\":\"1\",\"Statement\":[{}]}", "\"x\"", "\x00"]
        {
            assert!(matches!(Policy::parse(bad.as_bytes(), &account), Err(Refusal::BadPolicy { .. })), "{bad}");
        }
        let blank = |len| " ".repeat(len);
        assert_eq!(Policy::parse(blank(POLICY_MAX).as_bytes(), &account), Ok(Policy::Default));
        assert_eq!(Policy::parse(blank(POLICY_MAX + 1).as_bytes(), &account), Err(Refusal::PolicyTooLong));
        let deep = "[".repeat(POLICY_MAX);
        assert!(Policy::parse(deep.as_bytes(), &account).is_err(), "deep nesting is an error, not a crash");
    }
}
