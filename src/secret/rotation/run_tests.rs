//! Tests of runs: where each step leads, and what a failure, a cancellation and another hand make of it.

use super::*;
use crate::id::NodeId;
use crate::secret::{Refusal, SecretName, delete, move_stage, rotation_due};
use crate::time::{Steady, Timestamp};

const DAY: u64 = 86_400;

fn at(seconds: u64) -> Moment {
    Moment { wall: Timestamp(seconds * 1_000_000_000), steady: Steady(seconds * 1_000_000_000) }
}

fn value(bytes: &[u8]) -> Put<'_> {
    Put { id: None, no: None, bytes, stages: None, kind: None, if_current: None }
}

fn plan(text: &str) -> Option<Plan> {
    Plan::parse_file(text.as_bytes()).unwrap()
}

fn put(secret: &Secret) -> Secret {
    match change::put(secret, value(b"by hand"), at(1).wall).unwrap() {
        PutOutcome::Added(change) => change.secret,
        PutOutcome::Replay(no) => panic!("replay of {no:?}"),
    }
}

/// v1 and v2, which is current; rotated each week.
fn secret() -> Secret {
    let draft = Secret::draft(SecretName::parse("db/password").unwrap(), NodeId(70), at(1).wall);
    let secret = put(&put(&draft));
    set_rotation(&secret, plan("function=random\nevery=7d"), at(10)).unwrap().secret
}

fn run(secret: &Secret) -> Run {
    secret.rotation.as_ref().unwrap().run.clone().unwrap()
}

/// `step` of the run that there is; of none where none is under way.
fn of_run(secret: &Secret, step: Step) -> AtStep {
    let none = AtStep { run: 0, begun: at(0).wall, step };
    let run = secret.rotation.as_ref().and_then(|rotation| rotation.run.as_ref());
    run.map_or(none, |run| AtStep { step, ..run.at() })
}

fn done(secret: &Secret, step: Step, now: Moment) -> Result<Change, Refusal> {
    next_step(secret, of_run(secret, step), now)
}

fn failed(secret: &Secret, step: Step, error: &str, for_good: bool, now: Moment) -> Result<Change, Refusal> {
    fail_step(secret, of_run(secret, step), error, for_good, now)
}

fn created(secret: &Secret, bytes: &[u8], now: Moment) -> Result<Change, Refusal> {
    put_pending(secret, of_run(secret, Step::Create), value(bytes), now)
}

fn begun() -> Secret {
    begin_rotation(&secret(), None, at(20)).unwrap().secret
}

/// A secret whose run has come to `step`.
fn come_to(step: Step) -> Secret {
    let mut secret = begun();
    while run(&secret).step != step {
        secret = match run(&secret).step {
            Step::Create => created(&secret, b"new", at(21)).unwrap().secret,
            step => done(&secret, step, at(22)).unwrap().secret,
        };
    }
    secret
}

fn label(secret: &Secret, label: &StageLabel) -> Option<u32> {
    secret.stages.get(label).map(|no| no.0)
}

/// (current, previous, pending)
fn labels(secret: &Secret) -> (Option<u32>, Option<u32>, Option<u32>) {
    let [current, previous, pending] = [StageLabel::current(), StageLabel::previous(), StageLabel::pending()];
    (label(secret, &current), label(secret, &previous), label(secret, &pending))
}

#[test]
fn a_run_has_four_steps_and_the_new_version_is_promoted_behind_the_third() {
    for (step, expected) in [
        (Step::Create, (Some(2), Some(1), None)),
        (Step::Set, (Some(2), Some(1), Some(3))),
        (Step::Test, (Some(2), Some(1), Some(3))),
        (Step::Finish, (Some(3), Some(2), None)),
    ] {
        let secret = come_to(step);
        assert_eq!(labels(&secret), expected, "{step:?}");
        assert_eq!((run(&secret).old, run(&secret).older), (VersionNo(2), Some(VersionNo(1))));
        assert_eq!(rotation_due(&secret), Some(Moment::FIRST), "a run goes on at once");
        for other in [Step::Create, Step::Set, Step::Test, Step::Finish].into_iter().filter(|other| *other != step) {
            assert_eq!(done(&secret, other, at(30)), Err(Refusal::NoRotationRuns), "{other:?} at {step:?}");
        }
    }
    let ended = done(&come_to(Step::Finish), Step::Finish, at(40)).unwrap().secret;
    let rotation = ended.rotation.as_ref().unwrap();
    assert_eq!((rotation.run.as_ref(), rotation.last.as_ref().unwrap().outcome), (None, RunOutcome::Done));
    assert_eq!(rotation_due(&ended), Some(at(20 + 7 * DAY)));
}

#[test]
fn one_run_at_a_time() {
    let secret = begun();
    assert_eq!(begin_rotation(&secret, None, at(21)), Err(Refusal::RotationUnderWay));
    assert_eq!(set_rotation(&secret, None, at(21)), Err(Refusal::RotationUnderWay));
    assert_eq!(set_rotation(&secret, plan("function=other"), at(21)), Err(Refusal::RotationUnderWay));
    let slower = set_rotation(&secret, plan("function=random\nevery=30d"), at(21)).unwrap().secret;
    assert_eq!((run(&slower), slower.rotation.unwrap().next), (run(&secret), Some(at(21 + 30 * DAY))));
    // The id of a version that is there: it was asked for before.
    let named = VersionId::parse(b"v1").unwrap();
    assert_eq!(begin_rotation(&secret, Some(named), at(21)).unwrap().secret, secret);
}

#[test]
fn who_has_no_plan_or_no_value_is_not_rotated() {
    let none = Secret { rotation: None, ..secret() };
    assert_eq!(begin_rotation(&none, None, at(20)), Err(Refusal::NoRotation));
    assert_eq!((rotation_due(&none), cancel_rotation(&none, at(20))), (None, Err(Refusal::NoRotationRuns)));
    let draft = Secret::draft(SecretName::parse("a").unwrap(), NodeId(70), at(1).wall);
    let draft = set_rotation(&draft, plan("function=random\nevery=7d"), at(2)).unwrap().secret;
    assert_eq!((begin_rotation(&draft, None, at(20)), rotation_due(&draft)), (Err(Refusal::NotFound), None));
    let deleted = delete(&begun(), crate::secret::RecoveryWindow::DEFAULT, at(30)).unwrap().secret;
    assert_eq!(rotation_due(&deleted), None, "it waits until it is restored");
    assert!(matches!(created(&deleted, b"new", at(31)), Err(Refusal::InDeleteWindow { .. })));
    let by_hand = set_rotation(&secret(), plan("function=random"), at(11)).unwrap().secret;
    assert_eq!(rotation_due(&by_hand), None);
}

#[test]
fn a_step_that_fails_is_tried_again_later_and_later() {
    let waits = |step: Step, tries: usize| {
        let (mut secret, mut waits) = (come_to(step), Vec::new());
        while waits.len() < tries && !run(&secret).stuck {
            secret = failed(&secret, step, "cannot connect", false, at(100)).unwrap().secret;
            waits.extend(run(&secret).again.map(|again| (again.wall.0 - at(100).wall.0) / 1_000_000_000));
        }
        (secret, waits)
    };
    // What may be in use is tried for ever,
    let (secret, times) = waits(Step::Set, 12);
    assert_eq!(times, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
    assert_eq!((labels(&secret).2, run(&secret).failures), (Some(3), 12));
    assert!(!rotation_due(&secret).unwrap().may_have_come(at(101)));
    // and at once where somebody asks for it.
    let now = begin_rotation(&secret, None, at(200)).unwrap().secret;
    assert_eq!((rotation_due(&now), run(&now).at()), (Some(Moment::FIRST), run(&secret).at()));
    assert_eq!(run(&done(&now, Step::Set, at(201)).unwrap().secret).step, Step::Test);
    // A value that nobody has made is not.
    let (secret, times) = waits(Step::Create, 100);
    assert_eq!(times, [10, 20, 40, 80, 160, 320, 640]);
    let rotation = secret.rotation.as_ref().unwrap();
    assert_eq!(rotation.last.as_ref().unwrap().outcome, RunOutcome::Failed);
    assert_eq!(rotation.last.as_ref().unwrap().error.as_deref(), Some("cannot connect"));
    assert_eq!(rotation_due(&secret), Some(at(20 + 7 * DAY)));
}

/// Somebody cancels, puts another value and begins anew, while a function is on its way: what that has made is of a run that is over.
#[test]
fn a_step_counts_for_its_own_run_alone() {
    let first = come_to(Step::Create);
    let stale = run(&first).at();
    let again = begin_rotation(&put(&cancel_rotation(&first, at(30)).unwrap().secret), None, at(30)).unwrap().secret;
    assert_eq!(put_pending(&again, stale, value(b"stale"), at(31)), Err(Refusal::NoRotationRuns));
    assert_eq!(fail_step(&again, stale, "stale", true, at(31)), Err(Refusal::NoRotationRuns));
    assert!(created(&again, b"new", at(32)).is_ok());
}

#[test]
fn what_failed_at_its_test_is_set_again() {
    let stuck = failed(&come_to(Step::Test), Step::Test, "no", true, at(30)).unwrap().secret;
    assert!(run(&stuck).stuck, "for good at once");
    assert_eq!(run(&begin_rotation(&stuck, None, at(31)).unwrap().secret).step, Step::Set);
    let made = failed(&begun(), Step::Create, "no", true, at(30)).unwrap().secret;
    assert_eq!(run(&begin_rotation(&made, None, at(31)).unwrap().secret).step, Step::Create);
    let finishing = failed(&come_to(Step::Finish), Step::Finish, "no", true, at(30)).unwrap().secret;
    assert_eq!(run(&begin_rotation(&finishing, None, at(31)).unwrap().secret).step, Step::Finish);
}

#[test]
fn another_hand_is_not_overruled() {
    let other = put(&come_to(Step::Test));
    let moved = Refusal::CurrentMoved { current: other.current().map(|version| version.id.clone()) };
    assert_eq!(done(&other, Step::Test, at(30)), Err(moved));
    // A new run begins with a new value, whose place the former takes with its label.
    let stuck = failed(&other, Step::Test, "moved", true, at(31)).unwrap().secret;
    let again = begin_rotation(&stuck, None, at(32)).unwrap().secret;
    assert_eq!((run(&again).step, run(&again).old, labels(&again).2), (Step::Create, VersionNo(4), Some(3)));
    let made = created(&again, b"newer", at(33)).unwrap().secret;
    assert_eq!(labels(&made), (Some(4), Some(2), Some(5)));
    let rolled_back =
        move_stage(&come_to(Step::Finish), &StageLabel::current(), &VersionId::automatic(2), None, at(9).wall);
    let finished = done(&rolled_back.unwrap().secret, Step::Finish, at(34)).unwrap().secret;
    assert_eq!(labels(&finished), (Some(2), Some(3), None), "a rollback stays");
}

#[test]
fn what_is_cancelled_keeps_what_may_be_in_use() {
    for (step, pending) in [(Step::Create, None), (Step::Set, Some(3)), (Step::Test, Some(3)), (Step::Finish, None)] {
        let cancelled = cancel_rotation(&come_to(step), at(30)).unwrap().secret;
        let rotation = cancelled.rotation.as_ref().unwrap();
        assert_eq!((&rotation.run, labels(&cancelled).2), (&None, pending), "{step:?}");
        assert_eq!(rotation.last.as_ref().unwrap().outcome, RunOutcome::Cancelled);
        // What is being done meanwhile comes to nothing.
        assert_eq!(done(&cancelled, step, at(31)), Err(Refusal::NoRotationRuns));
        assert_eq!(failed(&cancelled, step, "no", false, at(31)), Err(Refusal::NoRotationRuns));
    }
}

#[test]
fn an_error_is_a_line() {
    for (error, expected) in [("a\nb\u{7}c", "a b c"), ("", "")] {
        assert_eq!(shortened(error), expected);
    }
    assert_eq!(shortened(&"é".repeat(400)).len(), 512);
}
