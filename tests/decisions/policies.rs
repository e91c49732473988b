//! The policies of the table, of secrets and of keys.

use super::oracle::{Account, Condition, Statement};
use Account::{Home, Outsider, Sharee};

/// None is the default policy.
pub type Policy = Option<Vec<Statement>>;

const ALL: &[&str] = &["kms:*"];
const USE: &[&str] = &["kms:List*", "kms:Describe*", "kms:GetSecretValue"];
const READ: &[&str] = &["kms:GetSecretValue"];
const TIME: &str = "acs:CurrentTime";
const UID: &str = "kmsfs:Uid";
const CGROUP: &str = "kmsfs:Cgroup";

fn allow(account: Account, who: &'static str, actions: &[&'static str]) -> Statement {
    Statement { allows: true, principals: vec![(account, who)], actions: actions.to_vec(), conditions: Vec::new() }
}

fn deny(account: Account, who: &'static str, actions: &[&'static str]) -> Statement {
    Statement { allows: false, ..allow(account, who, actions) }
}

impl Statement {
    fn and(mut self, account: Account, who: &'static str) -> Self {
        self.principals.push((account, who));
        self
    }

    fn when(mut self, operator: &'static str, key: &'static str, values: &[&'static str]) -> Self {
        self.conditions.push(Condition { operator, key, values: values.to_vec() });
        self
    }
}

/// Those of secrets.
pub fn of_secrets() -> Vec<Policy> {
    let mut all = vec![None];
    let parts = [of_users(), of_everybody(), of_actions(), of_denial(), of_accounts(), of_time_and_uid(), of_cgroup()];
    all.extend(parts.into_iter().flatten().map(Some));
    all
}

fn of_users() -> Vec<Vec<Statement>> {
    vec![
        vec![allow(Home, "user/4001", ALL)],
        vec![allow(Home, "user/daemon", &["kms:GetSecretValue", "kms:Describe*"])],
        vec![allow(Home, "user/1", &["kms:PutSecretValue", "kms:TagResource"])],
        vec![allow(Home, "role/5000", ALL)],
        vec![allow(Home, "role/daemon", &["kms:Get*", "kms:List*"])],
        vec![allow(Home, "role/1", &["kms:Update*"])],
        vec![allow(Home, "user/40*", ALL)],
        vec![allow(Home, "user/*", ALL)],
        vec![allow(Home, "user/dae*", USE)],
        vec![allow(Home, "role/50*", &["kms:PutSecretValue", "kms:DeleteSecret"])],
        vec![allow(Home, "role/*", READ)],
        vec![allow(Home, "user/400", ALL), allow(Home, "role/500", ALL)],
        vec![allow(Home, "user/4001", ALL).and(Home, "role/5000")],
    ]
}

fn of_everybody() -> Vec<Vec<Statement>> {
    vec![
        vec![allow(Home, "*", ALL)],
        vec![allow(Home, "*", &["*"])],
        vec![allow(Home, "*", ALL), deny(Home, "user/4001", ALL)],
        vec![allow(Home, "*", ALL), deny(Home, "user/daemon", READ)],
        vec![allow(Home, "*", ALL), allow(Home, "user/4001", READ)],
        vec![allow(Home, "*", &["*"]), allow(Sharee, "root", USE)],
        vec![allow(Home, "*", READ)],
        vec![allow(Home, "*", &["kms:PutSecretValue", "kms:TagResource", "kms:UntagResource"])],
        vec![allow(Home, "*", ALL).when("Bool", "acs:SecureTransport", &["true"])],
        vec![allow(Home, "*", ALL).when("Bool", "acs:SecureTransport", &["false"])],
        vec![allow(Home, "*", ALL).and(Sharee, "*")],
        vec![allow(Home, "*", ALL), allow(Sharee, "*", ALL)],
        vec![allow(Home, "*", ALL), deny(Sharee, "*", ALL)],
        vec![allow(Home, "root", ALL)],
    ]
}

fn of_actions() -> Vec<Vec<Statement>> {
    vec![
        vec![allow(Home, "user/4001", &["kms:getSECRETvalue", "kms:DESCRIBE*"])],
        vec![allow(Home, "user/4001", &["kms:*secret*"])],
        vec![allow(Home, "user/4001", &["kms:*Value"])],
        vec![allow(Home, "user/4001", &["kms:*et*Value", "kms:*TAG*"])],
        vec![allow(Home, "user/4001", &["kms:GetSecret", "kms:Secret*"])],
        vec![allow(Home, "user/4001", &["*"])],
        vec![allow(Home, "user/4001", &["kms:Decrypt", "kms:GetSecretPolicy", "kms:SetSecretPolicy"])],
        vec![deny(Home, "*", &["kms:Decrypt", "kms:GenerateDataKey", "kms:*Policy"])],
    ]
}

fn of_denial() -> Vec<Vec<Statement>> {
    vec![
        vec![allow(Home, "user/4001", ALL), deny(Home, "user/4001", &["kms:PutSecretValue", "kms:DeleteSecret"])],
        vec![deny(Home, "user/4001", &["kms:Get*", "kms:List*"]), allow(Home, "user/4001", ALL)],
        vec![deny(Home, "*", READ), allow(Home, "user/*", ALL)],
        vec![deny(Home, "*", ALL)],
        vec![deny(Home, "root", ALL)],
        vec![deny(Home, "user/root", ALL)],
        vec![deny(Home, "role/5000", ALL), allow(Home, "user/4002", ALL)],
        vec![deny(Home, "role/1", &["kms:*Secret*"])],
        vec![deny(Home, "user/4000", ALL)],
    ]
}

fn of_accounts() -> Vec<Vec<Statement>> {
    vec![
        vec![allow(Sharee, "root", USE)],
        vec![allow(Sharee, "user/4001", ALL)],
        vec![allow(Sharee, "*", ALL)],
        vec![allow(Sharee, "*", READ), allow(Outsider, "*", USE)],
        vec![allow(Sharee, "role/5000", &["*"]), deny(Sharee, "user/4002", READ)],
        vec![allow(Outsider, "*", ALL)],
        vec![allow(Outsider, "root", &["*"])],
        vec![allow(Outsider, "user/4001", ALL)],
        vec![allow(Outsider, "user/dae*", USE)],
        vec![allow(Outsider, "role/5000", USE)],
        vec![allow(Outsider, "*", ALL), deny(Outsider, "user/4001", READ)],
        vec![allow(Home, "user/4001", ALL).and(Sharee, "user/4001").and(Outsider, "user/4001")],
    ]
}

fn of_time_and_uid() -> Vec<Vec<Statement>> {
    let (past, future) = ("2001-01-01T00:00:00Z", "2099-12-31T23:59:59+08:00");
    let named = || allow(Home, "user/40*", ALL);
    let refused = || deny(Home, "user/40*", ALL);
    vec![
        vec![named().when("DateLessThan", TIME, &[past])],
        vec![named().when("DateLessThanEquals", TIME, &[future])],
        vec![refused().when("DateGreaterThan", TIME, &[future])],
        vec![refused().when("DateGreaterThanEquals", TIME, &[past])],
        vec![named().when("DateGreaterThan", TIME, &[past]).when("DateLessThan", TIME, &[future])],
        vec![named().when("DateGreaterThan", TIME, &[past]).when("DateLessThan", TIME, &[past])],
        vec![named().when("DateNotEquals", TIME, &[past, future])],
        vec![named().when("DateEquals", TIME, &[past, future])],
        vec![named().when("DateLessThan", TIME, &[past, future])],
        vec![named().when("NumericEquals", UID, &["4001", "4002"])],
        vec![named().when("NumericNotEquals", UID, &["4001", "4002"])],
        vec![allow(Home, "*", ALL).when("NumericLessThan", UID, &["4002"])],
        vec![named().when("NumericGreaterThanEquals", UID, &["4002"]).when("NumericLessThanEquals", UID, &["4003"])],
        vec![deny(Home, "*", ALL).when("NumericNotEquals", UID, &["0", "4000"])],
        vec![deny(Home, "*", ALL).when("NumericEquals", UID, &["0"])],
        vec![named().when("NumericGreaterThan", UID, &["4001"]).when("DateGreaterThan", TIME, &[past])],
    ]
}

fn of_cgroup() -> Vec<Vec<Statement>> {
    let named = || allow(Home, "user/40*", ALL);
    let refused = || deny(Home, "*", ALL);
    vec![
        vec![named().when("StringLike", CGROUP, &["/system.slice/*"])],
        vec![named().when("StringNotLike", CGROUP, &["/system.slice/*", "/other/*"])],
        vec![named().when("StringLike", CGROUP, &["/system.slice/ap?.service"])],
        vec![named().when("StringLike", CGROUP, &["*"])],
        vec![named().when("StringEquals", CGROUP, &["/system.slice/ap?.service", "/system.slice/app.service"])],
        vec![named().when("StringEqualsIgnoreCase", CGROUP, &["/SYSTEM.slice/App.service"])],
        vec![refused().when("StringNotEquals", CGROUP, &["/system.slice/app.service"])],
        vec![refused().when("StringNotEqualsIgnoreCase", CGROUP, &["/system.slice/APP.service"])],
        vec![refused().when("StringEquals", CGROUP, &["/system.slice/app.service"])],
        vec![refused().when("StringLike", CGROUP, &["/user.slice/*"])],
    ]
}

/// Those of keys.
pub fn of_keys() -> Vec<Policy> {
    vec![
        None,
        Some(vec![allow(Home, "user/4001", ALL)]),
        Some(vec![allow(Home, "role/5000", &["kms:Decrypt"]), allow(Home, "user/1", &["kms:generatedatakey"])]),
        Some(vec![allow(Home, "*", ALL), deny(Home, "user/4001", &["kms:Decrypt"])]),
        Some(vec![allow(Home, "*", ALL).and(Sharee, "*"), deny(Home, "root", &["kms:GenerateDataKey"])]),
        Some(vec![allow(Outsider, "*", &["kms:Decrypt"])]),
        Some(vec![allow(Sharee, "user/4001", &["*"]).and(Outsider, "user/4001")]),
        Some(vec![deny(Home, "*", &["kms:Decrypt"])]),
        Some(vec![allow(Home, "*", &["kms:GetSecretValue", "kms:PutSecretValue"])]),
    ]
}
