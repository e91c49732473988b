//! Policies: a document that says who may do what with a secret, or use a key. `docs/policies.md` is its specification.
//!
//! Pure as all of `secret`: who asks, the time and the cgroup are given. A document is read once, into statements that decide
//! in time bounded by its length, whatever the caller is called; its text is kept byte for byte, and is what is stored.
//!
//! Invariant: what a document says is understood whole, or the document is refused. A member that meant nothing could be a
//! Deny that nobody obeys.
//!
//! Reading order: `shape` (JSON in our words), `actions`, `principal`, `pattern`, `values` and `condition` (the parts of a
//! statement), `document` (a statement, and all of them), `judge` (what they decide for one caller), `reach` (what they may decide for any).

mod actions;
mod condition;
mod document;
mod judge;
mod pattern;
mod principal;
mod reach;
mod shape;
mod values;

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::Refusal;
use document::Statement;
pub use document::{Cited, Effect};
pub use judge::{Circumstances, Subject, Verdict};

/// Longest policy document in bytes.
pub const POLICY_MAX: usize = 32_768;
const ACCOUNT_DIGITS: usize = 16;

/// An account's number: 16 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Account([u8; ACCOUNT_DIGITS]);

impl Account {
    /// The account numbered `number`, which has 16 digits or fewer; of more, the last 16.
    pub fn from_number(number: u64) -> Self {
        let mut digits = [b'0'; ACCOUNT_DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        Self(digits)
    }

    /// Reads exactly 16 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; ACCOUNT_DIGITS] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are UTF-8")
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Account {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an account has 16 digits")
    }
}

impl From<Account> for String {
    fn from(account: Account) -> String {
        account.as_str().to_owned()
    }
}

/// A policy that somebody wrote. A clone shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    text: Arc<str>,
    statements: Arc<[Statement]>,
}

impl Policy {
    /// Reads a document. A blank one is none: then the default policy holds.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        if bytes.len() > POLICY_MAX {
            return Err(Refusal::PolicyTooLong);
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Refusal::BadPolicy { why: format!("line {line}: bytes that are no UTF-8") }
        })?;
        Ok(Some(Self { text: text.into(), statements: document::read(text)?.into() }))
    }

    /// The document as it was written, byte for byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is, as JSON, the same as the default one of `homes`: such a one need not be stored.
    pub fn says_default(&self, homes: &[&Account]) -> bool {
        let json = |text: &str| serde_json::from_str::<Json>(text).ok();
        json(&self.text) == json(&default_document(homes))
    }

    /// What its statement `n`, from 1, is called in messages.
    pub fn statement(&self, n: usize) -> Option<Cited<'_>> {
        let statement = self.statements.get(n.checked_sub(1)?)?;
        Some(Cited { number: n, sid: statement.sid.as_deref(), effect: statement.effect })
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.text).finish()
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(text.as_bytes()).map_err(D::Error::custom)?.ok_or_else(|| D::Error::custom("a policy is not blank"))
    }
}

/// The policy of a secret that was given none, whose own accounts are `homes`, each of them once.
pub fn default_document(homes: &[&Account]) -> String {
    let principals: Vec<_> = homes.iter().map(|home| format!("\"acs:ram::{}:*\"", home.as_str())).collect();
    format!(
        r#"{{
  "Version": "1",
  "Statement": [
    {{
      "Sid": "kms default secret policy",
      "Effect": "Allow",
      "Principal": {{ "RAM": [{}] }},
      "Action": ["kms:*"],
      "Resource": ["*"]
    }}
  ]
}}
"#,
        principals.join(", ")
    )
}

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64) -> Account {
        Account::from_number(number)
    }

    #[test]
    fn an_account_has_16_digits() {
        for (text, good) in [
            ("1192853035118460", true),
            ("0000000000000000", true),
            ("119285303511846", false),
            ("11928530351184600", false),
            ("119285303511846x", false),
            ("１192853035118", false),
            ("", false),
        ] {
            assert_eq!(Account::parse(text).is_some(), good, "{text}");
            assert_eq!(serde_json::from_value::<Account>(Json::from(text)).is_ok(), good, "{text}");
        }
        let account = account(7);
        assert_eq!(serde_json::to_string(&account).unwrap(), "\"0000000000000007\"");
        assert_eq!(Account::parse(account.as_str()), Some(account));
    }

    #[test]
    fn blank_is_none_and_too_long_is_too_long() {
        for blank in ["", " \n", &" ".repeat(POLICY_MAX)] {
            assert_eq!(Policy::parse(blank.as_bytes()), Ok(None));
        }
        assert_eq!(Policy::parse(" ".repeat(POLICY_MAX + 1).as_bytes()), Err(Refusal::PolicyTooLong));
        let default = default_document(&[&account(1)]);
        let padded = default.clone() + &" ".repeat(POLICY_MAX - default.len());
        assert_eq!(Policy::parse(padded.as_bytes()).unwrap().unwrap().text(), padded);
    }

    #[test]
    fn the_default_one_is_known_as_json() {
        let (one, two) = (account(1), account(2));
        let compact = |text: &str| serde_json::from_str::<Json>(text).unwrap().to_string();
        let (of_one, of_both) = (default_document(&[&one]), default_document(&[&one, &two]));
        for (text, homes, expected) in [
            (&of_one, &[&one][..], true),
            (&compact(&of_one), &[&one], true),
            (&of_one.replace("\"Version\": \"1\",", "").replace("\n  ]\n", "\n  ], \"Version\":\"1\""), &[&one], true),
            (&of_both, &[&one, &two], true),
            (&of_both, &[&one], false),
            (&of_one, &[&two], false),
            (&of_one.replace("kms default", "my own"), &[&one], false),
            (&of_one.replace("[\"*\"]", "\"*\""), &[&one], false),
        ] {
            let policy = Policy::parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(policy.says_default(homes), expected, "{text}");
        }
    }

    #[test]
    fn it_is_stored_as_its_text() {
        let text = default_document(&[&account(1)]);
        let policy = Policy::parse(text.as_bytes()).unwrap().unwrap();
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<String>(&stored).unwrap(), text);
        assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
        for bad in ["\" \"", "\"{}\"", "{}", "7"] {
            assert!(serde_json::from_str::<Policy>(bad).is_err(), "{bad}");
        }
        let cited = policy.statement(1).unwrap();
        assert_eq!(cited.to_string(), "statement 1 (\"kms default secret policy\")");
        assert_eq!((cited.effect, policy.statement(0), policy.statement(2)), (Effect::Allow, None, None));
    }
}
