//! What is to be decided, as `docs/policies.md` says it: written without a look at the program, and simple rather than fast.
//!
//! Knows a secret, who asks, and a policy as a structure; knows no vault and no JSON but what it renders for one.

use serde_json::{Value as Json, json};

/// The accounts of the table: the store's, one that its instance is shared with, and one that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    Home,
    Sharee,
    Outsider,
}

/// Logins and groups that stand in the files of every Debian.
const LOGINS: [(u32, &str); 2] = [(1, "daemon"), (65534, "nobody")];
const GROUPS: [(u32, &str); 2] = [(1, "daemon"), (65534, "nogroup")];
/// The year of which all dates of the table are far away.
const NOW: u32 = 2030;
/// What is longer cannot be told.
const CGROUP_MAX: usize = 512;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asks {
    pub account: Account,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Whether it has CAP_DAC_OVERRIDE.
    pub overrides: bool,
    pub cgroup: Option<String>,
}

/// Owner, group and mode.
#[derive(Debug, Clone, Copy)]
pub struct Bits {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// A secret, with all that a decision about it depends on.
#[derive(Debug, Clone)]
pub struct Secret {
    pub maker: Account,
    /// The mount, the instance and the directories on the way.
    pub way: Vec<Bits>,
    pub directory: Bits,
    pub value_mode: u32,
    /// Whose instance it is in.
    pub instance_uid: u32,
    pub policy: Option<Vec<Statement>>,
    pub key_policy: Option<Vec<Statement>>,
}

#[derive(Debug, Clone)]
pub struct Statement {
    pub allows: bool,
    pub principals: Vec<(Account, &'static str)>,
    pub actions: Vec<&'static str>,
    pub conditions: Vec<Condition>,
}

/// An operator, its key, and values: `-` before a year, for dates, is just that year.
#[derive(Debug, Clone)]
pub struct Condition {
    pub operator: &'static str,
    pub key: &'static str,
    pub values: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    GetSecretValue,
    DescribeSecret,
    ListSecrets,
    ListSecretVersionIds,
    ListTagResources,
    PutSecretValue,
    UpdateSecret,
    UpdateSecretVersionStage,
    TagResource,
    UntagResource,
    DeleteSecret,
    GetSecretPolicy,
    SetSecretPolicy,
}

impl Action {
    pub const ALL: [Self; 13] = [
        Self::GetSecretValue,
        Self::DescribeSecret,
        Self::ListSecrets,
        Self::ListSecretVersionIds,
        Self::ListTagResources,
        Self::PutSecretValue,
        Self::UpdateSecret,
        Self::UpdateSecretVersionStage,
        Self::TagResource,
        Self::UntagResource,
        Self::DeleteSecret,
        Self::GetSecretPolicy,
        Self::SetSecretPolicy,
    ];

    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The column `use` of the table of actions.
    fn is_use(self) -> bool {
        use Action as A;
        matches!(
            self,
            A::GetSecretValue | A::DescribeSecret | A::ListSecrets | A::ListSecretVersionIds | A::ListTagResources
        )
    }

    /// What is asked of the key besides.
    fn of_key(self) -> Option<&'static str> {
        match self {
            Action::GetSecretValue => Some("Decrypt"),
            Action::PutSecretValue => Some("GenerateDataKey"),
            _ => None,
        }
    }
}

/// The decision.
pub fn may(asks: &Asks, secret: &Secret, action: Action) -> bool {
    secret_lets(asks, secret, action) && action.of_key().is_none_or(|action| key_lets(asks, secret, action))
}

fn secret_lets(asks: &Asks, secret: &Secret, action: Action) -> bool {
    let bits = bits_let(asks, secret, action);
    let is_own = asks.account == Account::Home || asks.account == secret.maker;
    // Whatever a policy says of these has no effect.
    match action {
        Action::SetSecretPolicy => return is_own && bits,
        Action::GetSecretPolicy => return is_own && bits,
        _ => {}
    }
    let statements = secret.policy.as_deref().unwrap_or_default();
    let speaks = |allows: bool| {
        statements.iter().any(|statement| {
            statement.allows == allows
                && !(is_own && statement.is_default(asks.account))
                && statement.applies(asks, &action.name())
        })
    };
    if speaks(false) {
        return false;
    }
    if is_own { bits || speaks(true) } else { bits && speaks(true) && action.is_use() }
}

fn key_lets(asks: &Asks, secret: &Secret, action: &str) -> bool {
    let Some(statements) = &secret.key_policy else { return asks.account != Account::Outsider };
    let speaks = |allows: bool| statements.iter().any(|said| said.allows == allows && said.applies(asks, action));
    let is_owner = asks.account == Account::Home && (asks.uid == 0 || asks.uid == secret.instance_uid);
    !speaks(false) && (is_owner || speaks(true))
}

fn bits_let(asks: &Asks, secret: &Secret, action: Action) -> bool {
    let passes = secret.way.iter().chain([&secret.directory]).all(|bits| bits.give(asks, 1));
    let values = Bits { mode: secret.value_mode, ..secret.directory };
    let owns = asks.overrides || asks.uid == secret.directory.uid;
    passes
        && match action {
            Action::GetSecretValue => values.give(asks, 4),
            Action::PutSecretValue => values.give(asks, 2),
            Action::UpdateSecret | Action::TagResource | Action::UntagResource => secret.directory.give(asks, 2),
            Action::UpdateSecretVersionStage | Action::DeleteSecret => secret.directory.give(asks, 3),
            Action::SetSecretPolicy => owns,
            _ => secret.directory.give(asks, 4),
        }
}

impl Bits {
    fn give(&self, asks: &Asks, wanted: u32) -> bool {
        let in_group = asks.gid == self.gid || asks.groups.contains(&self.gid);
        let shift = if asks.uid == self.uid {
            6
        } else if in_group {
            3
        } else {
            0
        };
        asks.overrides || (self.mode >> shift) & wanted == wanted
    }
}

impl Statement {
    /// The default statement of that account: it leaves it to the bits.
    fn is_default(&self, account: Account) -> bool {
        self.allows
            && self.conditions.is_empty()
            && self.actions.iter().any(|action| matches!(*action, "kms:*" | "*"))
            && self.principals.contains(&(account, "*"))
    }

    fn applies(&self, asks: &Asks, action: &str) -> bool {
        let names = |wanted: &&str| {
            let wanted = wanted.strip_prefix("kms:").unwrap_or(wanted);
            fits(&wanted.to_lowercase(), &action.to_lowercase(), false)
        };
        let unknown = !self.allows;
        self.principals.iter().any(|(account, who)| *account == asks.account && is(asks, who))
            && self.actions.iter().any(names)
            && self.conditions.iter().all(|condition| condition.holds(asks).unwrap_or(unknown))
    }

    fn render(&self, number: &dyn Fn(Account) -> String) -> Json {
        let principal = |(account, who): &(Account, &str)| format!("acs:ram::{}:{who}", number(*account));
        let principals: Vec<String> = self.principals.iter().map(principal).collect();
        let mut told = json!({
            "Effect": if self.allows { "Allow" } else { "Deny" }, "Principal": { "RAM": principals },
            "Action": self.actions, "Resource": ["*"],
        });
        for condition in &self.conditions {
            told["Condition"][condition.operator][condition.key] = json!(condition.values);
        }
        told
    }
}

/// The document that says so; `number` is the number of an account.
pub fn document(statements: &[Statement], number: &dyn Fn(Account) -> String) -> String {
    let statements: Vec<Json> = statements.iter().map(|statement| statement.render(number)).collect();
    json!({ "Version": "1", "Statement": statements }).to_string()
}

/// Whether who asks is `who` of its account.
fn is(asks: &Asks, who: &str) -> bool {
    let called = |number: u32, names: &[(u32, &str)], wanted: &str| {
        let name = names.iter().filter(|(of, _)| *of == number).map(|(_, name)| (*name).to_owned());
        name.chain([number.to_string()]).any(|name| fits(wanted, &name, false))
    };
    match who.split_once('/') {
        None => who == "*" || (who == "root" && asks.uid == 0),
        Some(("user", wanted)) => asks.uid != 0 && called(asks.uid, &LOGINS, wanted),
        Some((_, wanted)) => asks.groups.iter().chain([&asks.gid]).any(|gid| called(*gid, &GROUPS, wanted)),
    }
}

/// Whether `text` fits `pattern`: `*` stands for any characters, and `?` for one where it means something.
fn fits(pattern: &str, text: &str, one: bool) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let (rest, after) = (&pattern[1..], text.get(1..));
    match first {
        '*' => fits(rest, text, one) || after.is_some_and(|after| fits(pattern, after, one)),
        _ => after.is_some_and(|after| (text.starts_with(first) || (one && first == '?')) && fits(rest, after, one)),
    }
}

impl Condition {
    /// Whether it holds; none if that cannot be told.
    fn holds(&self, asks: &Asks) -> Option<bool> {
        let one: Box<dyn Fn(&str) -> bool> = match self.key {
            "acs:SecureTransport" => Box::new(|value| value == "true"),
            "kmsfs:Uid" => Box::new(|value| compares(self.operator, asks.uid, value.parse().unwrap())),
            "acs:CurrentTime" => Box::new(|value| compares(self.operator, NOW, value[..4].parse().unwrap())),
            _ => {
                let cgroup = asks.cgroup.clone().filter(|cgroup| cgroup.len() <= CGROUP_MAX)?;
                Box::new(move |value| reads(self.operator, &cgroup, value))
            }
        };
        let any = self.values.iter().any(|value| one(value));
        Some(any != self.operator.contains("Not"))
    }
}

/// What a value says of a number, a `Not` left away.
fn compares(operator: &str, is: u32, value: u32) -> bool {
    match operator.trim_start_matches("Numeric").trim_start_matches("Date") {
        "LessThan" => is < value,
        "LessThanEquals" => is <= value,
        "GreaterThan" => is > value,
        "GreaterThanEquals" => is >= value,
        _ => is == value,
    }
}

/// What a value says of a text, a `Not` left away.
fn reads(operator: &str, is: &str, value: &str) -> bool {
    match operator {
        "StringLike" | "StringNotLike" => fits(value, is, true),
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => value.eq_ignore_ascii_case(is),
        _ => value == is,
    }
}
