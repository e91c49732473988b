//! The rows: every policy with everybody, and what is drawn evenly from all that there is. The same at each run.

use super::oracle::{Account, Action, Asks, Bits, Secret, document, may};
use super::policies::{Policy, of_keys, of_secrets};

/// The owner and the group of all secrets of the table.
pub const OWNER: (u32, u32) = (4000, 5500);
/// Who owns the instance: an ordinary user, so that root is not meant where the owner is.
pub const INSTANCE_UID: u32 = 4006;
/// Bits of a directory and of its values.
const MODES: [(u32, u32); 6] =
    [(0o700, 0o600), (0o750, 0o640), (0o755, 0o644), (0o770, 0o660), (0o777, 0o666), (0o000, 0o000)];
/// Drawn rows, and those of other accounts beside them.
const DRAWN: u64 = 300;
const FOREIGN: u64 = 300;
const KEYED: u64 = 100;

/// Somebody: user, group, other groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who(pub u32, pub u32, pub &'static [u32]);

/// Everybody: root, the owner, users by number and by login, members of groups by the first and by the others, of the secret's
/// group, and strangers; the owner of the instance.
pub const PEOPLE: [Who; 11] = [
    Who(0, 0, &[]),
    Who(OWNER.0, 4000, &[]),
    Who(4001, 4001, &[]),
    Who(1, 4010, &[]),
    Who(4002, 5000, &[]),
    Who(4003, 4003, &[7, 5000]),
    Who(4004, 4004, &[1]),
    Who(4005, 4005, &[OWNER.1]),
    Who(INSTANCE_UID, 4006, &[]),
    Who(65534, 65534, &[]),
    Who(4400, 1, &[]),
];

/// Where who asks runs; what cannot be told.
pub const CGROUPS: [fn() -> Option<String>; 4] =
    [|| Some("/system.slice/app.service".into()), || Some("/user.slice/a".into()), || None, || Some("/x".repeat(300))];

/// One question.
#[derive(Debug, Clone)]
pub struct Row {
    pub asks: Asks,
    pub action: Action,
    /// The number of its key's policy.
    pub key: usize,
    pub is_closed: bool,
    pub secret: Secret,
}

impl Row {
    pub fn expected(&self) -> bool {
        may(&self.asks, &self.secret, self.action)
    }

    /// All that it depends on, in a line.
    pub fn told(&self) -> String {
        let Self { asks, action, secret, .. } = self;
        let Asks { account, uid, gid, groups, overrides, cgroup } = asks;
        let cgroup = cgroup.as_deref().map(|cgroup| &cgroup[..cgroup.len().min(30)]);
        let said = |policy: &Policy| match policy {
            Some(statements) => document(statements, &|account| format!("{account:?}")),
            None => "default".to_owned(),
        };
        format!(
            "{action:?} by {account:?} {uid}:{gid} {groups:?} overrides {overrides} cgroup {cgroup:?}; made by {:?}, {:o} {:o}, closed {}; \
             policy {}; key {}",
            secret.maker,
            secret.directory.mode,
            secret.value_mode,
            self.is_closed,
            said(&secret.policy),
            said(&secret.key_policy)
        )
    }
}

/// Numbers that are spread evenly and are always the same (splitmix64).
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// What rows are made of.
struct Kit {
    policies: Vec<Policy>,
    keys: Vec<Policy>,
    drawn: Drawn,
}

impl Kit {
    /// A row of what is not drawn.
    fn row(&mut self, who: Who, account: Account, maker: Account, policy: usize, action: Action, key: usize) -> Row {
        let (mode, value_mode) = self.drawn.of(&MODES);
        // One in four, so that most rows decide at the secret itself.
        let is_closed = self.drawn.below(4) == 0;
        let cgroup = if self.drawn.below(2) == 0 { CGROUPS[0] } else { self.drawn.of(&CGROUPS) };
        let root = |mode| Bits { uid: 0, gid: 0, mode };
        let instance = Bits { uid: INSTANCE_UID, gid: 0, mode: 0o755 };
        let way = vec![root(0o755), instance, root(if is_closed { 0o700 } else { 0o755 })];
        // Root that a container has taken CAP_DAC_OVERRIDE from is among them.
        let overrides = who.0 == 0 && self.drawn.below(3) != 0;
        let asks = Asks { account, uid: who.0, gid: who.1, groups: who.2.to_vec(), overrides, cgroup: cgroup() };
        let secret = Secret {
            maker,
            way,
            directory: Bits { uid: OWNER.0, gid: OWNER.1, mode },
            value_mode,
            instance_uid: INSTANCE_UID,
            policy: self.policies[policy].clone(),
            key_policy: self.keys[key].clone(),
        };
        Row { asks, action, key, is_closed, secret }
    }

    fn maker(&mut self) -> Account {
        if self.drawn.below(3) == 0 { Account::Sharee } else { Account::Home }
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut kit = Kit { policies: of_secrets(), keys: of_keys(), drawn: Drawn(7) };
    let (policies, keys) = (kit.policies.len(), kit.keys.len());
    let mut rows = Vec::new();
    for policy in 0..policies {
        for who in PEOPLE {
            let action = kit.drawn.of(&Action::ALL);
            rows.push(kit.row(who, Account::Home, Account::Home, policy, action, 0));
        }
    }
    for _ in 0..DRAWN {
        let (who, account) =
            (kit.drawn.of(&PEOPLE), kit.drawn.of(&[Account::Home, Account::Sharee, Account::Outsider]));
        let (maker, policy, action) = (kit.maker(), kit.drawn.below(policies), kit.drawn.of(&Action::ALL));
        let key = kit.drawn.below(keys);
        rows.push(kit.row(who, account, maker, policy, action, key));
    }
    let foreign: Vec<usize> = (0..policies).filter(|policy| names_others(&kit.policies[*policy])).collect();
    for _ in 0..FOREIGN {
        let (who, account) = (kit.drawn.of(&PEOPLE), kit.drawn.of(&[Account::Sharee, Account::Outsider]));
        let (maker, policy, action) = (kit.maker(), kit.drawn.of(&foreign), kit.drawn.of(&Action::ALL));
        rows.push(kit.row(who, account, maker, policy, action, 0));
    }
    for _ in 0..KEYED {
        let (who, account) =
            (kit.drawn.of(&PEOPLE), kit.drawn.of(&[Account::Home, Account::Sharee, Account::Outsider]));
        let action = kit.drawn.of(&[Action::GetSecretValue, Action::PutSecretValue]);
        let (policy, key) = (kit.drawn.of(&foreign), kit.drawn.below(keys));
        rows.push(kit.row(who, account, Account::Home, policy, action, key));
    }
    rows.push(bound_root(&mut kit));
    rows
}

/// Root that permission bits bind, where they let everybody, and a key that has a policy which does not speak of it: it is root, whom
/// no policy of a key has to name.
fn bound_root(kit: &mut Kit) -> Row {
    let mut row = kit.row(PEOPLE[0], Account::Home, Account::Home, 0, Action::GetSecretValue, 1);
    row.asks.overrides = false;
    (row.secret.directory.mode, row.secret.value_mode) = (0o755, 0o644);
    (row.is_closed, row.secret.way[2].mode) = (false, 0o755);
    row
}

fn names_others(policy: &Policy) -> bool {
    policy.iter().flatten().any(|statement| statement.principals.iter().any(|(account, _)| *account != Account::Home))
}
