//! The verbs. Each takes the record, the request and the time, and answers the record as it will be.

use super::version::{AUTOMATIC_END, VALUE_MAX, VERSIONS_MAX};
use super::{
    DESCRIPTION_MAX, DataType, Deletion, Fields, Policy, RecoveryWindow, Refusal, Secret, StageLabel, Tags, Version,
    VersionId,
};
use crate::id::{NodeId, VersionNo};
use crate::time::{Moment, Timestamp};

/// A decision: the record as it will be, and what comes and goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// All of it, to be stored in the place of the old one.
    pub secret: Secret,
    /// The version whose value is to be stored with it.
    pub added: Option<Version>,
    /// Versions whose value and key are to be destroyed.
    pub rolled: Vec<Version>,
}

impl Change {
    pub(super) fn of(secret: Secret) -> Self {
        Self { secret, added: None, rolled: Vec::new() }
    }
}

/// A new value.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// `None` takes the next `v<n>`.
    pub id: Option<VersionId>,
    /// A number that was promised when the file was opened.
    pub no: Option<VersionNo>,
    /// The value.
    pub bytes: &'a [u8],
    /// Labels for the version; `None` is ACSCurrent alone.
    pub stages: Option<Vec<StageLabel>>,
    /// As it was declared; `None` tells it from the bytes.
    pub kind: Option<DataType>,
    /// The version that has to be at ACSCurrent; `None` is whichever.
    pub if_current: Option<VersionId>,
}

/// What a secret is created with beside its first version.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// `None` leaves the draft's.
    pub description: Option<String>,
    /// `None` leaves the draft's.
    pub tags: Option<Tags>,
    /// `None` leaves the draft's.
    pub key: Option<NodeId>,
    /// `None` leaves the draft's; the inner one is the default policy.
    pub policy: Option<Option<Policy>>,
}

/// What a put comes to.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and gone at once")]
pub enum PutOutcome {
    /// A new version.
    Added(Change),
    /// The id exists: the same bytes again are a success without effect, others are refused. The caller compares.
    Replay(VersionNo),
}

/// PutSecretValue; CreateSecret where the record is a draft.
pub fn put(secret: &Secret, request: Put<'_>, now: Timestamp) -> Result<PutOutcome, Refusal> {
    secret.not_scheduled()?;
    check_value(request.bytes)?;
    let id = match request.id {
        Some(id) => id,
        None => next_automatic_id(secret)?,
    };
    if let Some(version) = secret.version(&id) {
        let same_kind = request.kind.is_none_or(|kind| kind == version.kind);
        return if same_kind { Ok(PutOutcome::Replay(version.no)) } else { Err(Refusal::VersionExists { id }) };
    }
    let current = secret.current().map(|version| &version.id);
    if request.if_current.is_some() && request.if_current.as_ref() != current {
        return Err(Refusal::CurrentMoved { current: current.cloned() });
    }
    let no = request.no.unwrap_or(VersionNo(secret.next_no));
    if no > VersionNo::MAX || secret.version_no(no).is_some() {
        return Err(Refusal::OutOfNumbers);
    }
    let len = u32::try_from(request.bytes.len()).map_err(|_| Refusal::ValueTooLong)?;
    let now = next_moment(secret, now);
    let kind = request.kind.unwrap_or_else(|| DataType::of(request.bytes));
    let fields = Fields::of(request.bytes, kind, secret.next_field);
    let version = Version { no, id, created: now, kind, len, fields };
    let mut after = secret.clone();
    after.updated = now;
    after.next_no = after.next_no.max(no.0 + 1);
    after.next_field = version.fields.as_ref().map_or(after.next_field, Fields::end);
    after.highest_auto = after.highest_auto.max(version.id.automatic_number().unwrap_or(0));
    if after.is_draft() {
        after.created = now;
    }
    after.versions.push(version.clone());
    after.versions.sort_by_key(|version| version.no);
    let mut labels = request.stages.unwrap_or_else(|| vec![StageLabel::current()]);
    if secret.is_draft() && !labels.contains(&StageLabel::current()) {
        labels.push(StageLabel::current());
    }
    for label in labels {
        set_stage(&mut after, label, no, now)?;
    }
    let rolled = roll(&mut after, no);
    Ok(PutOutcome::Added(Change { secret: after, added: Some(version), rolled }))
}

/// CreateSecret: a draft gets its terms and its first version at once.
pub fn create(draft: &Secret, terms: Terms, first: Put<'_>, now: Timestamp) -> Result<Change, Refusal> {
    draft.not_scheduled()?;
    if !draft.is_draft() {
        return Err(Refusal::NameTaken);
    }
    let mut secret = draft.clone();
    if let Some(text) = terms.description {
        secret = set_description(&secret, text.as_bytes(), now)?.secret;
    }
    if let Some(tags) = terms.tags {
        secret = set_tags(&secret, tags, now)?.secret;
    }
    if let Some(policy) = terms.policy {
        secret = set_policy(&secret, policy, now)?.secret;
    }
    if let Some(key) = terms.key {
        secret = set_key(&secret, key, now)?.secret;
    }
    match put(&secret, first, now)? {
        PutOutcome::Added(change) => Ok(change),
        // A draft has no version that could come again.
        PutOutcome::Replay(_) => Err(Refusal::NameTaken),
    }
}

/// UpdateSecretVersionStage with MoveToVersion: adds a label or moves it; ACSCurrent so moved is a promotion or a rollback.
pub fn move_stage(
    secret: &Secret,
    label: &StageLabel,
    to: &VersionId,
    from: Option<&VersionId>,
    now: Timestamp,
) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let to = secret.version(to).ok_or(Refusal::NoSuchVersion)?.no;
    held_by(secret, label, from)?;
    let mut after = secret.clone();
    if secret.stages.get(label) != Some(to) {
        let now = moment(secret, now);
        after.updated = now;
        set_stage(&mut after, label.clone(), to, now)?;
    }
    Ok(Change::of(after))
}

/// UpdateSecretVersionStage with RemoveFromVersion alone: for custom labels.
pub fn remove_stage(
    secret: &Secret,
    label: &StageLabel,
    from: Option<&VersionId>,
    now: Timestamp,
) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    if label.is_built_in() {
        return Err(Refusal::BuiltInLabel);
    }
    held_by(secret, label, from)?;
    let mut after = secret.clone();
    after.stages.remove(label)?;
    after.updated = moment(secret, now);
    Ok(Change::of(after))
}

/// The end of one version, for a value that must not wait until it rolls away. One with a label is in use.
pub fn destroy_version(secret: &Secret, id: &VersionId, now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let version = secret.version(id).ok_or(Refusal::NoSuchVersion)?.clone();
    if let Some(label) = secret.stages.of(version.no).first() {
        return Err(Refusal::VersionLabelled { label: (*label).clone() });
    }
    let mut after = secret.clone();
    after.versions.retain(|kept| kept.no != version.no);
    after.updated = moment(secret, now);
    Ok(Change { secret: after, added: None, rolled: vec![version] })
}

/// A label under another name: the version it is on gets the label `to`, and loses `from`.
pub fn rename_stage(secret: &Secret, from: &StageLabel, to: &StageLabel, now: Timestamp) -> Result<Change, Refusal> {
    let target = secret.stages.get(from).and_then(|no| secret.version_no(no)).ok_or(Refusal::NoSuchLabel)?;
    let without = remove_stage(secret, from, None, now)?.secret;
    move_stage(&without, to, &target.id, None, now)
}

/// TagResource and UntagResource: exactly these tags.
pub fn set_tags(secret: &Secret, tags: Tags, now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let mut after = secret.clone();
    if after.tags != tags {
        after.tags = tags;
        after.updated = moment(secret, now);
    }
    Ok(Change::of(after))
}

/// The description of a secret or a key that `bytes` are. One newline at the end is the file's, not the description's.
pub fn description(bytes: &[u8]) -> Result<&str, Refusal> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.len() > DESCRIPTION_MAX {
        return Err(Refusal::DescriptionTooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::BadDescription)?;
    if text.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')) {
        return Err(Refusal::BadDescription);
    }
    Ok(text)
}

/// UpdateSecret.
pub fn set_description(secret: &Secret, bytes: &[u8], now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let text = description(bytes)?;
    let mut after = secret.clone();
    if after.description != text {
        text.clone_into(&mut after.description);
        after.updated = moment(secret, now);
    }
    Ok(Change::of(after))
}

/// Gives the secret a policy of its own; `None` is the default one.
pub fn set_policy(secret: &Secret, policy: Option<Policy>, now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let mut after = secret.clone();
    if after.policy != policy {
        after.policy = policy;
        after.updated = moment(secret, now);
    }
    Ok(Change::of(after))
}

/// Has the secret's values come under another key, whatever versions there are.
pub fn move_to_key(secret: &Secret, key: NodeId, now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let mut after = secret.clone();
    if after.key != key {
        (after.key, after.updated) = (key, moment(secret, now));
    }
    Ok(Change::of(after))
}

/// Chooses the key, which only a draft can.
pub fn set_key(secret: &Secret, key: NodeId, now: Timestamp) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    let mut after = secret.clone();
    if after.key != key {
        if !secret.is_draft() {
            return Err(Refusal::KeyChosen);
        }
        after.key = key;
        after.updated = moment(secret, now);
    }
    Ok(Change::of(after))
}

/// DeleteSecret with a recovery window.
pub fn delete(secret: &Secret, window: RecoveryWindow, now: Moment) -> Result<Change, Refusal> {
    secret.not_scheduled()?;
    if secret.is_draft() {
        return Err(Refusal::NotFound);
    }
    let mut after = secret.clone();
    after.deletion = Some(Deletion::within(window, now));
    after.generation = after.generation.wrapping_add(1);
    Ok(Change::of(after))
}

/// RestoreSecret: whole, as it was.
pub fn restore(secret: &Secret, now: Timestamp) -> Result<Change, Refusal> {
    if secret.deletion.is_none() {
        return Err(Refusal::NotScheduled);
    }
    let mut after = secret.clone();
    after.deletion = None;
    after.updated = moment(secret, now);
    after.generation = after.generation.wrapping_add(1);
    Ok(Change::of(after))
}

fn check_value(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.len() {
        0 => Err(Refusal::EmptyValue),
        1..=VALUE_MAX => Ok(()),
        _ => Err(Refusal::ValueTooLong),
    }
}

/// Refuses where `label` is not on version `from`, if one is given.
fn held_by(secret: &Secret, label: &StageLabel, from: Option<&VersionId>) -> Result<(), Refusal> {
    let holder = secret.stages.get(label).and_then(|no| secret.version_no(no)).map(|version| &version.id);
    if from.is_some_and(|from| holder != Some(from)) { Err(Refusal::LabelElsewhere) } else { Ok(()) }
}

/// `now`, unless the clock was set back: no time of a record goes back, so that whoever waits for a later one sees every
/// change. A deletion alone is by the clock, which has to come to its end.
pub(super) fn moment(secret: &Secret, now: Timestamp) -> Timestamp {
    now.max(secret.updated)
}

/// A moment after those of all versions: the oldest roll away first.
fn next_moment(secret: &Secret, now: Timestamp) -> Timestamp {
    let newest = secret.versions.iter().map(|version| version.created).max();
    let after = newest.map_or(now, |newest| Timestamp(newest.0.saturating_add(1)));
    moment(secret, now).max(after)
}

/// One above the highest number ever used, so that no id comes twice.
fn next_automatic_id(secret: &Secret) -> Result<VersionId, Refusal> {
    let next = secret.highest_auto.checked_add(1).filter(|next| *next < AUTOMATIC_END);
    next.map(VersionId::automatic).ok_or(Refusal::OutOfNumbers)
}

fn set_stage(secret: &mut Secret, label: StageLabel, to: VersionNo, now: Timestamp) -> Result<(), Refusal> {
    if label == StageLabel::current() {
        secret.rotated = now;
    }
    secret.stages.set(label, to)
}

/// Takes the oldest versions without a label until at most ten are left. At most eight have labels, so there always is one;
/// the new version is never among them.
fn roll(secret: &mut Secret, new: VersionNo) -> Vec<Version> {
    let mut rolled = Vec::new();
    while secret.versions.len() > VERSIONS_MAX {
        let unlabelled = |version: &Version| version.no != new && secret.stages.of(version.no).is_empty();
        // A number may have been promised long before its version was written.
        let candidates = secret.versions.iter().enumerate().filter(|(_, version)| unlabelled(version));
        let Some((oldest, _)) = candidates.min_by_key(|(_, version)| (version.created, version.no)) else { break };
        rolled.push(secret.versions.remove(oldest));
    }
    rolled
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
