//! What a policy may decide for anybody, whoever that is: known from the document alone.

use std::collections::BTreeSet;

use super::condition::Condition;
use super::document::Statement;
use super::principal::Principal;
use super::{Account, Policy};
use crate::secret::Action;

impl Policy {
    /// Whether some statement may allow the action to some identity of one of `homes`, to whom the permission bits may not: then
    /// the bits have to let them come. The default statement does not.
    pub fn opens(&self, homes: &[&Account], action: Action) -> bool {
        let opens = |statement: &Statement| {
            let is_default = statement.is_default();
            let names = |principal: &Principal| {
                homes.contains(&&principal.account) && !(is_default && principal.is_everybody())
            };
            statement.actions.has(action) && statement.principals.iter().any(names)
        };
        self.allowing().any(opens)
    }

    /// The accounts, but for `homes`, that some statement may allow something.
    pub fn others(&self, homes: &[&Account]) -> BTreeSet<Account> {
        let allowing = self.allowing().filter(|statement| statement.actions.reach_guests());
        let accounts = allowing.flat_map(|statement| &statement.principals).map(|principal| &principal.account);
        accounts.filter(|account| !homes.contains(account)).cloned().collect()
    }

    /// Whether it says the same to the same caller at any time, from any cgroup.
    pub fn is_steady(&self) -> bool {
        !self.conditions().any(|condition| condition.asks_time() || condition.asks_cgroup())
    }

    /// Whether the caller's cgroup matters.
    pub fn asks_cgroup(&self) -> bool {
        self.conditions().any(Condition::asks_cgroup)
    }

    /// Whether it allows nobody anything that policies have an effect on.
    pub fn grants_nothing(&self) -> bool {
        self.allowing().all(|statement| statement.actions.is_empty())
    }

    fn allowing(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|statement| statement.allows())
    }

    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.statements.iter().flat_map(|statement| &statement.conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(effect: &str, principals: &str, actions: &str, condition: &str) -> Policy {
        let condition = if condition.is_empty() { String::new() } else { format!(r#", "Condition": {{{condition}}}"#) };
        let text = format!(
            r#"{{"Version": "1", "Statement": [{{"Effect": "{effect}", "Principal": {{"RAM": [{principals}]}}, "Action": {actions},
               "Resource": "*"{condition}}}]}}"#
        );
        Policy::parse(text.as_bytes()).unwrap().unwrap()
    }

    const ONE: &str = r#""acs:ram::0000000000000001:*""#;
    const ALICE: &str = r#""acs:ram::0000000000000001:user/alice""#;
    const TWO: &str = r#""acs:ram::0000000000000002:root""#;
    const SECURE: &str = r#""Bool": {"acs:SecureTransport": true}"#;

    #[test]
    fn the_bits_must_let_come_whom_a_statement_names() {
        let both = format!("{ONE}, {ALICE}");
        for (effect, principals, actions, condition, expected) in [
            ("Allow", ALICE, r#""kms:GetSecretValue""#, "", true),
            ("Allow", ALICE, r#""kms:Describe*""#, "", false),
            ("Deny", ALICE, r#""kms:GetSecretValue""#, "", false),
            ("Allow", TWO, r#""kms:GetSecretValue""#, "", false),
            ("Allow", ONE, r#""kms:*""#, "", false),
            ("Allow", ONE, r#"["kms:Get*", "*"]"#, "", false),
            ("Allow", ONE, r#""kms:*""#, SECURE, true),
            ("Allow", ONE, r#""kms:Get*""#, "", true),
            ("Allow", &both, r#""kms:*""#, "", true),
        ] {
            let policy = policy(effect, principals, actions, condition);
            let homes = [&Account::from_number(1), &Account::from_number(3)];
            assert_eq!(policy.opens(&homes, Action::GetSecretValue), expected, "{}", policy.text());
            assert!(!policy.opens(&homes, Action::SetSecretPolicy), "{}", policy.text());
        }
    }

    #[test]
    fn other_accounts_count_if_they_may_do_anything() {
        let both = format!("{ONE}, {TWO}");
        for (effect, actions, others, nothing) in [
            ("Allow", r#""kms:GetSecretValue""#, &[2][..], false),
            ("Allow", r#""kms:Decrypt""#, &[2], false),
            ("Allow", r#""kms:PutSecretValue""#, &[], false),
            ("Allow", r#""kms:SetSecretPolicy""#, &[], true),
            ("Deny", r#""kms:*""#, &[], true),
        ] {
            let policy = policy(effect, &both, actions, "");
            let others: BTreeSet<_> = others.iter().map(|number| Account::from_number(*number)).collect();
            assert_eq!(policy.others(&[&Account::from_number(1)]), others, "{}", policy.text());
            assert_eq!(policy.grants_nothing(), nothing, "{}", policy.text());
        }
    }

    #[test]
    fn time_and_cgroup_make_it_unsteady() {
        for (condition, steady, asks_cgroup) in [
            ("", true, false),
            (SECURE, true, false),
            (r#""NumericLessThan": {"kmsfs:Uid": 7}"#, true, false),
            (r#""DateLessThan": {"acs:CurrentTime": "2027-01-01T00:00:00Z"}"#, false, false),
            (r#""StringNotLike": {"kmsfs:Cgroup": "*"}"#, false, true),
            (r#""StringEquals": {"kmsfs:Cgroup": "/"}"#, false, true),
            (r#""StringEqualsIgnoreCase": {"kmsfs:Cgroup": "/"}"#, false, true),
        ] {
            let policy = policy("Deny", ONE, r#""kms:*""#, condition);
            assert_eq!((policy.is_steady(), policy.asks_cgroup()), (steady, asks_cgroup), "{condition}");
        }
    }
}
