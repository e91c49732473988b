//! What a policy says to one caller. Whether that settles it is not known here: permission bits, and the accounts that a secret
//! is of, are weighed by who asks.

use super::condition::{Condition, Scene};
use super::document::{Effect, Statement};
use super::principal::Caller;
use super::{Account, Policy};
use crate::secret::Action;
use crate::time::Timestamp;

/// Who asks: an identity of an account.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The account.
    pub account: &'a Account,
    /// Whether that is one of the secret's own.
    pub is_home: bool,
    /// Whether it is the account's root.
    pub is_root: bool,
    /// The uid, also of root.
    pub uid: u32,
    /// The names of the user: logins, and the uid in digits; of root none.
    pub users: &'a [String],
    /// The names of all its groups, and their gids in digits.
    pub roles: &'a [String],
}

/// What else conditions ask about.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The caller's cgroup; `None` where it cannot be told, as one of more than 512 bytes cannot.
    pub cgroup: Option<&'a str>,
}

/// What a policy says. Statements count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it, and none denies it.
    Allowed {
        /// The first that allows.
        statement: usize,
    },
    /// A statement denies it, whatever others allow.
    Denied {
        /// The first that denies.
        statement: usize,
    },
    /// No statement applies.
    Silent,
}

impl Policy {
    /// What the policy of a secret says. The default statement allows nothing to who is of one of the secret's own accounts; to
    /// who is of another one no statement allows more than to read.
    pub fn judge(&self, who: &Subject<'_>, action: Action, at: &Circumstances<'_>) -> Verdict {
        match self.weigh(who, action, at, who.is_home) {
            Verdict::Allowed { .. } if !who.is_home && !action.is_for_guests() => Verdict::Silent,
            verdict => verdict,
        }
    }

    /// What the policy of a key says, in which every identity of an account is always just that.
    pub fn judge_use(&self, who: &Subject<'_>, action: Action, at: &Circumstances<'_>) -> Verdict {
        self.weigh(who, action, at, false)
    }

    /// `to_the_bits` is whether the default statement leaves it to them. What costs most comes last: the conditions of a
    /// statement that is about this action and this caller.
    fn weigh(&self, who: &Subject<'_>, action: Action, at: &Circumstances<'_>, to_the_bits: bool) -> Verdict {
        let about = |statement: &&Statement| statement.actions.has(action);
        let principals = self.statements.iter().filter(about).map(|statement| statement.principals.len()).sum();
        let (caller, scene) = (Caller::new(who, principals), Scene::new(who.uid, at));
        let mut verdict = Verdict::Silent;
        for (number, statement) in (1..).zip(&*self.statements).filter(|(_, statement)| about(statement)) {
            let is_settled = statement.allows() && verdict != Verdict::Silent;
            if is_settled || !names(statement, &caller, to_the_bits) {
                continue;
            }
            match (statement.effect, Condition::all_hold(&statement.conditions, &scene)) {
                (Effect::Deny, Some(true) | None) => return Verdict::Denied { statement: number },
                (Effect::Allow, Some(true)) => verdict = Verdict::Allowed { statement: number },
                (Effect::Deny, Some(false)) | (Effect::Allow, Some(false) | None) => {}
            }
        }
        verdict
    }
}

/// Whether the statement is about the caller; the default one is not, where it leaves it to the bits.
fn names(statement: &Statement, caller: &Caller<'_>, to_the_bits: bool) -> bool {
    let passes_over = to_the_bits && statement.is_default();
    statement.principals.iter().any(|principal| !(passes_over && principal.is_everybody()) && caller.is(principal))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
