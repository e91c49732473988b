//! Who may do something: what the policy says and what the permission bits give, put together.

use super::{Action, Verdict};

/// How who asks stands to the account whose secret or key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Of the secret's own account.
    Home,
    /// Of another one.
    Other,
}

/// What lets somebody do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grant {
    /// Owner, group and mode.
    #[default]
    Mode,
    /// The policy's statement of this number, from 1.
    Statement(usize),
    /// Nobody asks: its time has come, and the daemon does it.
    Due,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The policy's statement of this number denies it.
    Statement(usize),
    /// Neither the policy nor owner, group and mode allow it.
    Nothing,
    /// The policy allows it, owner, group and mode do not: another account needs both.
    Mode,
    /// Owner, group and mode allow it, the policy does not: another account needs both.
    Policy,
    /// Another account reads, and does nothing else.
    OnlyReads,
}

/// Decides on an action of whose policy `verdict` is, and for which the bits say `permitted`.
pub fn decide(verdict: Verdict, standing: Standing, action: Action, permitted: bool) -> Result<Grant, Denial> {
    if let Verdict::Denied { statement } = verdict {
        return Err(Denial::Statement(statement));
    }
    match (standing, verdict, permitted) {
        (Standing::Home, _, true) => Ok(Grant::Mode),
        (Standing::Home, Verdict::Allowed { statement }, false) => Ok(Grant::Statement(statement)),
        (Standing::Home, _, false) => Err(Denial::Nothing),
        (Standing::Other, ..) if !action.is_for_guests() => Err(Denial::OnlyReads),
        (Standing::Other, Verdict::Allowed { statement }, true) => Ok(Grant::Statement(statement)),
        (Standing::Other, Verdict::Allowed { .. }, false) => Err(Denial::Mode),
        (Standing::Other, _, true) => Err(Denial::Policy),
        (Standing::Other, _, false) => Err(Denial::Nothing),
    }
}

/// Decides on the use of a key: there its policy alone is asked, and who is `trusted` needs none.
pub fn decide_use(verdict: Verdict, trusted: bool) -> Result<Grant, Denial> {
    match verdict {
        Verdict::Denied { statement } => Err(Denial::Statement(statement)),
        Verdict::Allowed { statement } => Ok(Grant::Statement(statement)),
        Verdict::Silent if trusted => Ok(Grant::Mode),
        Verdict::Silent => Err(Denial::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Verdict = Verdict::Allowed { statement: 2 };
    const DENIED: Verdict = Verdict::Denied { statement: 3 };

    #[test]
    fn one_is_enough_at_home_and_both_are_needed_elsewhere() {
        use Standing::{Home, Other};
        use Verdict::Silent;
        for ((verdict, standing, action, permitted), expected) in [
            ((Silent, Home, Action::GetSecretValue, true), Ok(Grant::Mode)),
            ((Silent, Home, Action::GetSecretValue, false), Err(Denial::Nothing)),
            ((ALLOWED, Home, Action::GetSecretValue, false), Ok(Grant::Statement(2))),
            ((ALLOWED, Home, Action::DeleteSecret, false), Ok(Grant::Statement(2))),
            ((ALLOWED, Home, Action::GetSecretValue, true), Ok(Grant::Mode)),
            ((DENIED, Home, Action::GetSecretValue, true), Err(Denial::Statement(3))),
            ((DENIED, Other, Action::GetSecretValue, true), Err(Denial::Statement(3))),
            ((Silent, Other, Action::GetSecretValue, true), Err(Denial::Policy)),
            ((Silent, Other, Action::GetSecretValue, false), Err(Denial::Nothing)),
            ((ALLOWED, Other, Action::GetSecretValue, false), Err(Denial::Mode)),
            ((ALLOWED, Other, Action::GetSecretValue, true), Ok(Grant::Statement(2))),
            ((ALLOWED, Other, Action::PutSecretValue, true), Err(Denial::OnlyReads)),
            ((DENIED, Other, Action::PutSecretValue, true), Err(Denial::Statement(3))),
        ] {
            assert_eq!(decide(verdict, standing, action, permitted), expected, "{verdict:?} {standing:?} {permitted}");
        }
    }

    #[test]
    fn a_key_asks_its_policy_alone() {
        for ((verdict, trusted), expected) in [
            ((Verdict::Silent, true), Ok(Grant::Mode)),
            ((Verdict::Silent, false), Err(Denial::Nothing)),
            ((ALLOWED, false), Ok(Grant::Statement(2))),
            ((DENIED, true), Err(Denial::Statement(3))),
        ] {
            assert_eq!(decide_use(verdict, trusted), expected);
        }
    }
}
