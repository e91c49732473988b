//! Stage labels: each is on exactly one version, a version has any number of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::name::{SHORT_NAME_MAX, name};
use crate::id::VersionNo;

/// Most labels of a secret, the two built-in ones included.
pub const LABELS_MAX: usize = 8;
const CURRENT: &str = "ACSCurrent";
const PREVIOUS: &str = "ACSPrevious";
const PENDING: &str = "ACSPending";

name!(
    /// A label's name. The prefix `ACS` is free to all: KMS users have labels such as `ACSNext`.
    StageLabel,
    SHORT_NAME_MAX
);

impl StageLabel {
    /// The version that a plain read gives.
    pub fn current() -> Self {
        Self(CURRENT.to_owned())
    }

    /// The version that was current before.
    pub fn previous() -> Self {
        Self(PREVIOUS.to_owned())
    }

    /// The version that a rotation by a function is bringing in; a label like those that users make.
    pub fn pending() -> Self {
        Self(PENDING.to_owned())
    }

    /// Whether it can be moved but never removed.
    pub fn is_built_in(&self) -> bool {
        self.0 == CURRENT || self.0 == PREVIOUS
    }
}

/// The labels of one secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stages(BTreeMap<StageLabel, VersionNo>);

impl Stages {
    /// The version that `label` is on.
    pub fn get(&self, label: &StageLabel) -> Option<VersionNo> {
        self.0.get(label).copied()
    }

    /// The version at ACSCurrent.
    pub fn current(&self) -> Option<VersionNo> {
        self.get(&StageLabel::current())
    }

    /// The labels and their versions, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&StageLabel, VersionNo)> {
        self.0.iter().map(|(label, no)| (label, *no))
    }

    /// The labels on version `no`.
    pub fn of(&self, no: VersionNo) -> Vec<&StageLabel> {
        self.iter().filter(|(_, on)| *on == no).map(|(label, _)| label).collect()
    }

    /// Puts `label` on `to`. ACSCurrent takes ACSPrevious along: to the version it left, for put, promotion and rollback
    /// alike, so that ACSPrevious is always what was current last.
    pub(super) fn set(&mut self, label: StageLabel, to: VersionNo) -> Result<(), Refusal> {
        if label == StageLabel::current()
            && let Some(left) = self.current().filter(|left| *left != to)
        {
            self.0.insert(StageLabel::previous(), left);
        }
        let new = !self.0.contains_key(&label);
        // Room for the two built-in ones is kept, so that no custom label can ever stop a rotation.
        let custom = self.0.keys().filter(|label| !label.is_built_in()).count();
        if new && !label.is_built_in() && custom >= LABELS_MAX - 2 {
            return Err(Refusal::TooManyLabels);
        }
        self.0.insert(label, to);
        Ok(())
    }

    pub(super) fn remove(&mut self, label: &StageLabel) -> Result<(), Refusal> {
        if label.is_built_in() {
            return Err(Refusal::BuiltInLabel);
        }
        self.0.remove(label).map(|_| ()).ok_or(Refusal::NoSuchLabel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (label moved, to) from ACSCurrent=2, ACSPrevious=1 -> (current, previous)
    #[test]
    fn current_leaves_previous_behind() {
        let cases = [
            ("ACSCurrent", 3, (3, 2)),
            ("ACSCurrent", 1, (1, 2)),
            ("ACSCurrent", 2, (2, 1)),
            ("ACSPrevious", 3, (2, 3)),
        ];
        for (label, to, (current, previous)) in cases {
            let mut stages = Stages::default();
            stages.set(StageLabel::current(), VersionNo(1)).unwrap();
            stages.set(StageLabel::current(), VersionNo(2)).unwrap();
            stages.set(StageLabel::parse(label.as_bytes()).unwrap(), VersionNo(to)).unwrap();
            let found = (stages.current().unwrap().0, stages.get(&StageLabel::previous()).unwrap().0);
            assert_eq!(found, (current, previous), "{label} to {to}");
        }
    }

    #[test]
    fn six_custom_labels_and_no_more() {
        let mut stages = Stages::default();
        for n in 0..6 {
            stages.set(StageLabel::parse(format!("l{n}").as_bytes()).unwrap(), VersionNo(1)).unwrap();
        }
        let seventh = StageLabel::parse(b"l6").unwrap();
        assert_eq!(stages.set(seventh, VersionNo(1)), Err(Refusal::TooManyLabels));
        stages.set(StageLabel::parse(b"l5").unwrap(), VersionNo(2)).unwrap();
        stages.set(StageLabel::current(), VersionNo(1)).unwrap();
        stages.set(StageLabel::current(), VersionNo(2)).unwrap();
        assert_eq!(stages.remove(&StageLabel::previous()), Err(Refusal::BuiltInLabel));
    }
}
