//! What an instance is told: whether its values can be had, whom it is shared with, and how many other accounts it lets in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Account, Refusal};

/// Whether the values of an instance can be had. All else goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// They can.
    #[default]
    Running,
    /// It is sealed: they can be neither read nor written until it runs again.
    Unavailable,
}

impl InstanceState {
    /// Reads what is written to `state`.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        match text.trim_ascii() {
            b"Running" => Ok(InstanceState::Running),
            b"Unavailable" => Ok(InstanceState::Unavailable),
            _ => Err(Refusal::BadState { words: "`Running` or `Unavailable`" }),
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            InstanceState::Running => "Running",
            InstanceState::Unavailable => "Unavailable",
        }
    }

    /// Refuses a value of a sealed instance.
    pub fn usable(self) -> Result<(), Refusal> {
        match self {
            InstanceState::Running => Ok(()),
            InstanceState::Unavailable => Err(Refusal::Sealed),
        }
    }
}

/// How many other accounts an instance lets in: the Access Management Quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quota(u16);

/// Each account let in stands in the instance's record.
const QUOTA_MAX: u16 = 1_000;
const QUOTA_DEFAULT: u16 = 16;

impl Default for Quota {
    fn default() -> Self {
        Self(QUOTA_DEFAULT)
    }
}

impl Quota {
    /// Reads the number, as a user wrote it into a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| Refusal::BadQuota)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number.filter(|number| *number <= QUOTA_MAX).map(Self).ok_or(Refusal::BadQuota)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Refuses `wanted` accounts where `present` are let in. To let in no more than before is no matter of quotas.
    pub fn allows(self, present: usize, wanted: usize) -> Result<(), Refusal> {
        if wanted <= present || wanted <= usize::from(self.0) {
            Ok(())
        } else {
            Err(Refusal::OverQuota { quota: self.0 })
        }
    }
}

/// Reads the accounts that an instance is to be shared with, one a line. Its owner's is none.
pub fn parse_shares(bytes: &[u8], owner: &Account) -> Result<BTreeSet<Account>, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::BadShare { line: 1 })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let account = Account::parse(line.trim()).filter(|account| account != owner);
            account.ok_or(Refusal::BadShare { line: at + 1 })
        })
        .collect()
}

/// The same as text.
pub fn render_shares(shares: &BTreeSet<Account>) -> String {
    shares.iter().map(|account| format!("{}\n", account.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64) -> Account {
        Account::from_number(number)
    }

    #[test]
    fn two_words_are_states() {
        for state in [InstanceState::Running, InstanceState::Unavailable] {
            assert_eq!(InstanceState::parse(format!(" {}\n", state.word()).as_bytes()), Ok(state));
        }
        for bad in ["", "running", "Sealed", "Running Unavailable"] {
            assert!(matches!(InstanceState::parse(bad.as_bytes()), Err(Refusal::BadState { .. })), "{bad}");
        }
        assert_eq!(InstanceState::Running.usable(), Ok(()));
        assert_eq!(InstanceState::Unavailable.usable(), Err(Refusal::Sealed));
    }

    #[test]
    fn a_quota_is_a_number() {
        for (text, number) in
            [("0", Some(0)), ("16\n", Some(16)), ("1000", Some(1000)), ("1001", None), ("-1", None), ("", None)]
        {
            assert_eq!(Quota::parse(text.as_bytes()).ok().map(Quota::number), number, "{text}");
        }
    }

    /// (quota, let in, wanted) -> whether it may be
    #[test]
    fn only_one_more_is_refused() {
        for ((quota, present, wanted), expected) in [
            ((2, 0, 1), true),
            ((2, 1, 2), true),
            ((2, 2, 3), false),
            ((0, 0, 1), false),
            ((1, 3, 3), true),
            ((1, 3, 2), true),
            ((1, 3, 4), false),
        ] {
            assert_eq!(Quota(quota).allows(present, wanted).is_ok(), expected, "{quota} {present} {wanted}");
        }
    }

    #[test]
    fn shares_are_accounts_one_a_line() {
        let owner = account(1);
        let text = "1000000000000002\n\n  1000000000000003 \n1000000000000002\n";
        let shares = parse_shares(text.as_bytes(), &owner).unwrap();
        assert_eq!(render_shares(&shares), "1000000000000002\n1000000000000003\n");
        assert_eq!(parse_shares(b"", &owner), Ok(BTreeSet::new()));
        for (bad, line) in [("1", 1), ("1000000000000002\nx\n", 2), ("0000000000000001\n", 1)] {
            assert_eq!(parse_shares(bad.as_bytes(), &owner), Err(Refusal::BadShare { line }), "{bad}");
        }
    }
}
