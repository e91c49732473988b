//! Which actions a statement is about. They are few, so the patterns are held against all of them once, when they are read.

use serde::de::Error;

use super::shape::Shape;
use crate::secret::Action;

/// What policies are about has this in front.
const PREFIX: &str = "kms:";

/// A set of actions. Those that no policy has an effect on are never in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Actions {
    /// A bit for each of [`Action::ALL`].
    bits: u64,
    /// Whether all actions were meant, by `kms:*` or `*`.
    pub(super) all: bool,
}

const _: () = assert!(Action::ALL.len() <= 64, "a bit for each");

impl Actions {
    /// Those whose name, behind `kms:`, fits `pattern`, in which `*` stands for any characters; in any case of letters.
    fn of_pattern(pattern: &str) -> Self {
        let fits = |action: &Action| action.in_policies().is_some_and(|name| fits(pattern.as_bytes(), name.as_bytes()));
        let all = pattern.bytes().all(|byte| byte == b'*');
        Self::of(Action::ALL.iter().copied().filter(fits), all)
    }

    fn of(actions: impl Iterator<Item = Action>, all: bool) -> Self {
        Self { bits: actions.fold(0, |bits, action| bits | bit(action)), all }
    }

    /// Those of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits, all: self.all || other.all }
    }

    pub(super) fn has(self, action: Action) -> bool {
        self.bits & bit(action) != 0
    }

    /// Whether none of them has an effect.
    pub(super) fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Whether one of them can be allowed to who is of another account.
    pub(super) fn reach_guests(self) -> bool {
        Action::ALL.iter().any(|action| self.has(*action) && action.is_for_guests())
    }
}

fn bit(action: Action) -> u64 {
    1 << action as u32
}

/// Whether `name` fits `pattern`: greedy from the left, since the first place for a piece leaves the most for those behind it.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut pieces = pattern.split(|byte| *byte == b'*');
    let head = pieces.next().unwrap_or_default();
    let Some((begin, mut rest)) = name.split_at_checked(head.len()) else { return false };
    let Some(tail) = pieces.next_back() else { return name.eq_ignore_ascii_case(head) };
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let mut places = rest.windows(piece.len());
        let Some(at) = places.position(|place| place.eq_ignore_ascii_case(piece)) else { return false };
        rest = &rest[at + piece.len()..];
    }
    let end = rest.len().checked_sub(tail.len()).map(|at| &rest[at..]);
    begin.eq_ignore_ascii_case(head) && end.is_some_and(|end| end.eq_ignore_ascii_case(tail))
}

/// One pattern of actions.
#[derive(Clone, Copy)]
pub(super) struct ActionText;

impl Shape<'_> for ActionText {
    type Value = Actions;

    fn is(&self) -> String {
        "an action is `*`, or `kms:` and a name of letters, digits and `*`".to_owned()
    }

    fn text<E: Error>(self, text: &str) -> Result<Actions, E> {
        if text == "*" {
            return Ok(Actions::of_pattern(text));
        }
        let kms = text.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX));
        let pattern = if kms { &text[PREFIX.len()..] } else { "" };
        let good = !pattern.is_empty() && pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'*');
        if good { Ok(Actions::of_pattern(pattern)) } else { Err(E::custom(self.is())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Actions> {
        ActionText.text::<serde_json::Error>(text).ok()
    }

    #[test]
    fn patterns_stand_for_actions_in_any_case() {
        use Action::*;
        let list = [ListSecrets, ListSecretVersionIds, ListTagResources];
        for (pattern, expected) in [
            ("kms:GetSecretValue", &[GetSecretValue][..]),
            ("KMS:getsecretVALUE", &[GetSecretValue]),
            ("kms:List*", &list),
            ("kms:*List*", &list),
            ("kms:Update*", &[UpdateSecret, UpdateSecretVersionStage, UpdateSecretRotationPolicy]),
            ("kms:RotateSecret", &[RotateSecret]),
            ("kms:UpdateSecret", &[UpdateSecret]),
            ("kms:*tagresource", &[TagResource, UntagResource]),
            ("kms:DeleteSecret", &[DeleteSecret, ForceDeleteSecret, DestroySecretVersion]),
            ("kms:DestroySecretVersion", &[]),
            ("kms:ForceDeleteSecret", &[]),
            ("kms:D*t", &[DescribeSecret, DeleteSecret, ForceDeleteSecret, DestroySecretVersion, Decrypt]),
            ("kms:Get*Value*Value", &[]),
            ("kms:**GetSecret****Value**", &[GetSecretValue]),
            ("kms:*S*e*c*r*e*t*V*a*l*u*e*", &[GetSecretValue, PutSecretValue]),
            ("kms:GenerateDataKey", &[GenerateDataKey]),
            ("kms:SetSecretPolicy", &[]),
            ("kms:NoSuchAction", &[]),
        ] {
            let actions = read(pattern).unwrap();
            assert_eq!(actions, Actions::of(expected.iter().copied(), false), "{pattern}");
            assert_eq!(actions.is_empty(), expected.is_empty(), "{pattern}");
        }
        for pattern in ["*", "kms:*", "Kms:**"] {
            let effective = |action: &Action| action.in_policies().is_some();
            assert_eq!(read(pattern), Some(Actions::of(Action::ALL.iter().copied().filter(effective), true)));
        }
        for bad in ["", "kms:", "kms", "k*", "**", "kms*", "ecs:*", "kms:a b", "kms:a?", "kms:ä", "kms:a:b", "äms:x"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
