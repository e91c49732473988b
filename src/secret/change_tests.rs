//! Tests of the verbs: tables of what is asked and what comes of it.

use proptest::prelude::*;

use super::*;
use crate::secret::{LABELS_MAX, SecretName};

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

/// A moment that both clocks have alike.
fn both(wall: Timestamp) -> Moment {
    Moment { wall, steady: crate::time::Steady(wall.0) }
}

fn draft() -> Secret {
    Secret::draft(SecretName::parse("db/password").unwrap(), NodeId(70), at(1))
}

fn id(text: &str) -> VersionId {
    VersionId::parse(text.as_bytes()).unwrap()
}

fn label(text: &str) -> StageLabel {
    StageLabel::parse(text.as_bytes()).unwrap()
}

fn request<'a>(name: Option<&str>, bytes: &'a [u8]) -> Put<'a> {
    Put { id: name.map(id), no: None, bytes, stages: None, kind: None, if_current: None }
}

fn added(secret: &Secret, name: Option<&str>) -> Change {
    match put(secret, request(name, b"x"), at(2)).unwrap() {
        PutOutcome::Added(change) => change,
        PutOutcome::Replay(no) => panic!("replay of {no:?}"),
    }
}

fn with_versions(count: usize) -> Secret {
    (0..count).fold(draft(), |secret, _| added(&secret, None).secret)
}

#[test]
fn a_version_without_a_label_is_destroyed_by_itself() {
    let secret = with_versions(4);
    let change = destroy_version(&secret, &id("v1"), at(9)).unwrap();
    assert_eq!(change.rolled.iter().map(|version| version.id.as_str()).collect::<Vec<_>>(), ["v1"]);
    assert_eq!((change.secret.versions.len(), change.secret.updated, change.added), (3, at(9), None));
    assert_eq!((&change.secret.stages, change.secret.next_no), (&secret.stages, secret.next_no));
    let labelled = |text: &str| Err(Refusal::VersionLabelled { label: label(text) });
    for (version, expected) in
        [("v4", labelled("ACSCurrent")), ("v3", labelled("ACSPrevious")), ("v9", Err(Refusal::NoSuchVersion))]
    {
        assert_eq!(destroy_version(&secret, &id(version), at(9)), expected, "{version}");
    }
    // No id comes twice by itself.
    let without = destroy_version(&secret, &id("v2"), at(9)).unwrap().secret;
    assert_eq!(added(&without, None).added.unwrap().id, id("v5"));
    let deleted = delete(&secret, RecoveryWindow::DEFAULT, both(at(5))).unwrap().secret;
    assert!(matches!(destroy_version(&deleted, &id("v1"), at(9)), Err(Refusal::InDeleteWindow { .. })));
}

#[test]
fn a_put_may_want_a_version_to_be_current() {
    let two = with_versions(2);
    let put_if = |secret: &Secret, name: Option<&str>, current: &str| {
        put(secret, Put { if_current: Some(id(current)), ..request(name, b"x") }, at(3))
    };
    assert!(matches!(put_if(&two, None, "v2"), Ok(PutOutcome::Added(_))));
    let moved = Err(Refusal::CurrentMoved { current: Some(id("v2")) });
    assert_eq!((put_if(&two, None, "v1"), put_if(&two, Some("mine"), "v3")), (moved.clone(), moved));
    assert_eq!(put_if(&draft(), None, "v1"), Err(Refusal::CurrentMoved { current: None }));
    // A request that comes again after it was carried out.
    assert!(matches!(put_if(&two, Some("v2"), "v1"), Ok(PutOutcome::Replay(_))));
}

#[test]
fn values_have_1_to_30720_bytes() {
    let long = vec![b'x'; VALUE_MAX + 1];
    for (len, refusal) in
        [(0, Some(Refusal::EmptyValue)), (1, None), (VALUE_MAX, None), (VALUE_MAX + 1, Some(Refusal::ValueTooLong))]
    {
        assert_eq!(put(&draft(), request(None, &long[..len]), at(2)).err(), refusal, "{len}");
    }
}

#[test]
fn automatic_ids_are_never_used_again() {
    let secret = added(&with_versions(1), Some("v7")).secret;
    let change = added(&secret, None);
    assert_eq!(change.added.unwrap().id, id("v8"));
    assert_eq!(change.secret.current().unwrap().id, id("v8"));
}

#[test]
fn automatic_ids_end_where_no_number_is_left() {
    for (used, next) in [
        ("v9007199254740990", Ok(Some("v9007199254740991"))),
        ("v9007199254740991", Err(Refusal::OutOfNumbers)),
        ("v9007199254740992", Ok(Some("v1"))),
        ("v9007199254740993", Ok(Some("v1"))),
        ("v18446744073709551614", Ok(Some("v1"))),
        ("v18446744073709551615", Ok(Some("v1"))),
        ("v18446744073709551616", Ok(Some("v1"))),
    ] {
        let outcome = put(&added(&draft(), Some(used)).secret, request(None, b"y"), at(3));
        let found = outcome.map(|outcome| match outcome {
            PutOutcome::Added(change) => change.added.map(|version| version.id.as_str().to_owned()),
            PutOutcome::Replay(_) => None,
        });
        assert_eq!(found, next.map(|id: Option<&str>| id.map(str::to_owned)), "after {used}");
    }
}

#[test]
fn version_numbers_end_where_an_inode_has_no_room() {
    let mut secret = with_versions(1);
    secret.next_no = VersionNo::MAX.0;
    let last = added(&secret, None).secret;
    assert_eq!(last.current().unwrap().no, VersionNo::MAX);
    assert_eq!(put(&last, request(None, b"y"), at(3)), Err(Refusal::OutOfNumbers));
    for no in [VersionNo(VersionNo::MAX.0 + 1), VersionNo(u32::MAX), VersionNo(1)] {
        let promised = Put { no: Some(no), ..request(None, b"y") };
        assert_eq!(put(&secret, promised, at(3)), Err(Refusal::OutOfNumbers), "{no:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_takes_no_time_back() {
    let late = |change: Result<Change, Refusal>| change.unwrap().secret;
    let before = (0..10).fold(draft(), |secret, n| {
        let PutOutcome::Added(change) = put(&secret, request(None, b"x"), at(100 + n)).unwrap() else { panic!() };
        change.secret
    });
    let (early, highest) = (at(5), at(109));
    let PutOutcome::Added(change) = put(&before, request(None, b"y"), early).unwrap() else { panic!("a replay") };
    let after = change.secret;
    assert_eq!(change.rolled[0].id, id("v1"), "the oldest goes, not the newest");
    assert!(change.added.unwrap().created > highest);
    assert!(after.rotated > highest && after.updated >= after.rotated, "who waits for a newer file sees it");
    let moved = late(move_stage(&before, &StageLabel::current(), &id("v3"), None, early));
    assert!(moved.rotated >= highest && moved.updated >= highest);
    let labelled = late(move_stage(&before, &label("x"), &id("v3"), None, early));
    assert!(labelled.updated >= highest);
    for after in [
        late(remove_stage(&labelled, &label("x"), None, early)),
        late(rename_stage(&labelled, &label("x"), &label("y"), early)),
        late(set_tags(&before, Tags::parse_file(b"a=b").unwrap(), early)),
        late(set_description(&before, b"text", early)),
        late(restore(&late(delete(&before, RecoveryWindow::DEFAULT, both(early))), early)),
    ] {
        assert!(after.updated >= before.updated && after.created == before.created);
    }
    assert!(late(set_key(&draft(), NodeId(71), at(0))).updated >= at(1));
    let deletion = late(delete(&before, RecoveryWindow::DEFAULT, both(early))).deletion.unwrap();
    assert_eq!(deletion.purge_at, early.plus_days(30), "days are counted by the clock that will end them");
}

#[test]
fn an_id_that_exists_is_a_replay() {
    let secret = with_versions(2);
    assert_eq!(put(&secret, request(Some("v1"), b"other"), at(3)), Ok(PutOutcome::Replay(VersionNo(1))));
}

#[test]
fn the_eleventh_version_rolls_the_oldest_without_a_label() {
    let mut secret = with_versions(10);
    assert_eq!(secret.versions.len(), 10);
    secret = move_stage(&secret, &label("keep"), &id("v1"), None, at(3)).unwrap().secret;
    let change = added(&secret, None);
    let rolled: Vec<_> = change.rolled.iter().map(|version| version.id.as_str()).collect();
    assert_eq!(rolled, ["v2"], "v1 has a label");
    assert_eq!(change.secret.versions.len(), 10);
}

#[test]
fn labels_given_without_current_do_not_rotate() {
    let secret = with_versions(2);
    let request = Put { stages: Some(vec![label("pending")]), ..request(None, b"y") };
    let PutOutcome::Added(change) = put(&secret, request, at(4)).unwrap() else { panic!("a replay") };
    assert_eq!(change.secret.current().unwrap().id, id("v2"));
    assert_eq!(change.secret.rotated, secret.rotated);
    assert_eq!(change.secret.stages.get(&label("pending")), Some(VersionNo(3)));
}

#[test]
fn rollback_moves_previous_to_what_current_left() {
    let secret = with_versions(3);
    let back = move_stage(&secret, &StageLabel::current(), &id("v1"), None, at(9)).unwrap().secret;
    assert_eq!(back.current().unwrap().id, id("v1"));
    assert_eq!(back.stages.get(&StageLabel::previous()), Some(VersionNo(3)));
    assert_eq!(back.rotated, at(9));
    let refused = move_stage(&secret, &label("x"), &id("v9"), None, at(9));
    assert_eq!(refused, Err(Refusal::NoSuchVersion));
    let elsewhere = move_stage(&secret, &StageLabel::current(), &id("v1"), Some(&id("v2")), at(9));
    assert_eq!(elsewhere, Err(Refusal::LabelElsewhere));
}

#[test]
fn a_label_renamed_stays_on_its_version() {
    let secret = move_stage(&with_versions(3), &label("new"), &id("v1"), None, at(8)).unwrap().secret;
    let after = rename_stage(&secret, &label("new"), &StageLabel::current(), at(9)).unwrap().secret;
    assert_eq!(after.current().unwrap().id, id("v1"));
    assert_eq!(after.stages.get(&label("new")), None);
    assert_eq!(after.stages.get(&StageLabel::previous()), Some(VersionNo(3)), "a rollback like any other");
    let built_in = rename_stage(&secret, &StageLabel::current(), &label("x"), at(9));
    assert_eq!(built_in, Err(Refusal::BuiltInLabel));
    assert_eq!(rename_stage(&secret, &label("none"), &label("x"), at(9)), Err(Refusal::NoSuchLabel));
}

#[test]
fn descriptions_are_text_of_8192_bytes() {
    let text = "d".repeat(DESCRIPTION_MAX);
    let set = |bytes: &[u8]| set_description(&draft(), bytes, at(2)).map(|change| change.secret.description);
    assert_eq!(set(text.as_bytes()).unwrap(), text);
    assert_eq!(set(format!("{text}\n").as_bytes()).unwrap(), text, "the file's newline does not count");
    assert_eq!(set(format!("{text}d").as_bytes()), Err(Refusal::DescriptionTooLong));
    for bad in [&b"\xff"[..], b"a\x1b[2J", b"a\0"] {
        assert_eq!(set(bad), Err(Refusal::BadDescription));
    }
}

#[test]
fn a_scheduled_secret_takes_no_change_but_a_restore() {
    let secret = with_versions(2);
    let deleted = delete(&secret, RecoveryWindow::DEFAULT, both(at(5))).unwrap().secret;
    let purge_at = at(5).plus_days(30);
    assert_eq!(deleted.deletion.as_ref().map(|deletion| deletion.purge_at), Some(purge_at));
    let refusal = Refusal::InDeleteWindow { purge_at };
    assert_eq!(put(&deleted, request(None, b"x"), at(6)), Err(refusal.clone()));
    for refused in [
        move_stage(&deleted, &label("x"), &id("v1"), None, at(6)),
        remove_stage(&deleted, &label("x"), None, at(6)),
        set_tags(&deleted, Tags::default(), at(6)),
        set_description(&deleted, b"x", at(6)),
        set_key(&deleted, NodeId(1), at(6)),
        delete(&deleted, RecoveryWindow::DEFAULT, both(at(6))),
    ] {
        assert_eq!(refused, Err(refusal.clone()));
    }
    let restored = restore(&deleted, at(7)).unwrap().secret;
    assert_eq!((&restored.versions, &restored.stages), (&secret.versions, &secret.stages));
    assert_eq!(restore(&restored, at(8)), Err(Refusal::NotScheduled));
    assert_eq!(delete(&draft(), RecoveryWindow::DEFAULT, both(at(8))), Err(Refusal::NotFound));
}

#[test]
fn the_key_is_chosen_once() {
    assert_eq!(set_key(&draft(), NodeId(71), at(2)).unwrap().secret.key, NodeId(71));
    let secret = with_versions(1);
    assert_eq!(set_key(&secret, NodeId(71), at(2)), Err(Refusal::KeyChosen));
    assert!(set_key(&secret, secret.key, at(2)).is_ok(), "the same key again changes nothing");
}

#[derive(Debug, Clone)]
enum Step {
    Put(Option<u8>),
    Move(u8, u8),
    Remove(u8),
    Delete,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => proptest::option::of(0u8..14).prop_map(Step::Put),
        3 => (0u8..10, 0u8..14).prop_map(|(label, to)| Step::Move(label, to)),
        1 => (0u8..10).prop_map(Step::Remove),
        1 => Just(Step::Delete),
        1 => Just(Step::Restore),
    ]
}

/// Labels 0 and 1 are the built-in ones.
fn numbered_label(n: u8) -> StageLabel {
    match n {
        0 => StageLabel::current(),
        1 => StageLabel::previous(),
        n => label(&format!("l{n}")),
    }
}

proptest! {
    #[test]
    fn no_sequence_of_verbs_breaks_a_secret(steps in proptest::collection::vec(step(), 0..60)) {
        let mut secret = draft();
        for (time, step) in steps.into_iter().enumerate() {
            let now = at(time as u64 + 2);
            let change = match step {
                Step::Put(n) => match put(&secret, request(n.map(|n| format!("v{n}")).as_deref(), b"x"), now) {
                    Ok(PutOutcome::Added(change)) => Ok(change),
                    Ok(PutOutcome::Replay(_)) => continue,
                    Err(refusal) => Err(refusal),
                },
                Step::Move(l, to) => move_stage(&secret, &numbered_label(l), &id(&format!("v{to}")), None, now),
                Step::Remove(l) => remove_stage(&secret, &numbered_label(l), None, now),
                Step::Delete => delete(&secret, RecoveryWindow::DEFAULT, both(now)),
                Step::Restore => restore(&secret, now),
            };
            let Ok(change) = change else { continue };
            let after = change.secret;
            prop_assert!(after.versions.len() <= VERSIONS_MAX);
            prop_assert!(after.stages.iter().count() <= LABELS_MAX);
            prop_assert!(after.stages.iter().all(|(_, no)| after.version_no(no).is_some()), "a label without a version");
            prop_assert_eq!(after.is_draft(), after.current().is_none());
            prop_assert!(after.next_no >= secret.next_no && after.highest_auto >= secret.highest_auto);
            prop_assert!(after.versions.is_sorted_by_key(|version| version.no));
            for version in &change.rolled {
                prop_assert!(after.stages.of(version.no).is_empty(), "a labelled version rolled away");
                prop_assert_ne!(Some(version), change.added.as_ref(), "the new version rolled away");
            }
            secret = after;
        }
    }
}
