//! How steps are drawn that are none of a tool's: those of the api, of time, and of rotations by functions.

use proptest::prelude::*;

use crate::op::{Data, Op, Path, path, put};
use crate::rotation::Step;
use crate::verbs::Turn;

/// Texts of `rotation`; the first ones are good.
const PLANS: &[&[u8]] = &[
    b"function=random\n",
    b"function=random\nevery=7d\n",
    b"function=random\nevery=7d\n",
    b"every=6h\nfunction=other\n",
    b"function=other\nevery=604800s",
    b"",
    b"\n",
    b"every=7d\n",
    b"every=5h\n",
    b"function=../random\n",
    b"function=random\nfunction=random\n",
    b"function",
];
const IDS: [&str; 4] = ["v1", "v2", "v3", "x"];
const NEW_IDS: [Option<&str>; 8] = [None, None, None, None, None, Some("v1"), Some("v3"), Some("x")];
const MADE: &[&[u8]] = &[b"made", b"made", b"made", b"{\"user\":\"m\"}", b""];
const STEPS: [Step; 4] = [Step::Create, Step::Set, Step::Test, Step::Finish];
/// Hours that pass: about the shortest interval and window, and much more than them.
const HOURS: &[u64] = &[1, 6, 24, 160, 168, 168, 400, 720, 720];
/// Days by which the wall clock is wrong.
const DAYS: &[i64] = &[0, 0, 0, 1, 8, 40, -1, -8, -40];

fn made() -> impl Strategy<Value = Data> + Clone {
    prop::sample::select(MADE).prop_map(Data::Bytes)
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => prop::sample::select(NEW_IDS.to_vec()).prop_map(Turn::Begin),
        8 => made().prop_map(Turn::Conduct),
        2 => made().prop_map(Turn::Create),
        2 => prop::sample::select(STEPS.to_vec()).prop_map(Turn::End),
        3 => (prop::sample::select(STEPS.to_vec()), any::<bool>()).prop_map(|(step, good)| Turn::Fail(step, good)),
        2 => Just(Turn::Look),
        1 => Just(Turn::Cancel),
    ]
}

/// Steps that belong together, about the secret at `dir`.
pub fn gesture(dir: impl Strategy<Value = Path> + Clone + 'static) -> impl Strategy<Value = Vec<Op>> {
    let plan = prop::sample::select(PLANS).prop_map(Data::Bytes);
    let conduct = Op::Rotate;
    prop_oneof![
        4 => (dir.clone(), plan.clone()).prop_map(|(dir, plan)| put(dir.join(&[b"rotation"]), plan)),
        1 => (plan.clone(), plan).prop_map(|(one, other)| plan_in_two(one, other)),
        3 => (dir.clone(), 0usize..5, made()).prop_map(|(dir, steps, made)| run(&dir, steps, made)),
        8 => (dir.clone(), turn()).prop_map(move |(dir, turn)| vec![conduct(dir, turn)]),
        2 => Just(vec![Op::LookForRuns]),
        2 => (dir.clone(), prop::sample::select(IDS.to_vec()))
            .prop_map(|(dir, id)| vec![Op::DestroyVersion(dir, id)]),
        2 => (dir, prop::sample::select(NEW_IDS.to_vec()), prop::sample::select(IDS.to_vec()), made())
            .prop_map(|(dir, id, current, data)| vec![Op::PutIf(dir, id, current, data)]),
        4 => (prop::sample::select(HOURS), any::<bool>()).prop_map(|(hours, restarts)| pass(hours, restarts)),
        1 => prop::sample::select(DAYS).prop_map(|days| vec![Op::SetClock(days)]),
        1 => (prop::sample::select(DAYS), prop::sample::select(HOURS)).prop_map(|(days, hours)| set_and_back(days, hours)),
    ]
}

/// A plan, and a run of as many steps.
fn run(dir: &Path, steps: usize, made: Data) -> Vec<Op> {
    let mut ops = put(dir.clone().join(&[b"rotation"]), Data::Bytes(PLANS[1]));
    ops.push(Op::Rotate(dir.clone(), Turn::Begin(None)));
    ops.extend((0..steps).map(|_| Op::Rotate(dir.clone(), Turn::Conduct(made.clone()))));
    ops
}

/// `{ printf one; printf other; } > rotation`, as a shell writes it.
fn plan_in_two(one: Data, other: Data) -> Vec<Op> {
    let mut ops = put(path("p/a/rotation"), one);
    let end = ops.split_off(2);
    ops.push(Op::Write(0, 0, other));
    ops.extend(end);
    ops
}

fn pass(hours: u64, restarts: bool) -> Vec<Op> {
    let restart = restarts.then_some(Op::Restart);
    [Some(Op::Pass(hours)), restart, Some(Op::KeepUp), Some(Op::LookForRuns)].into_iter().flatten().collect()
}

/// The wall clock is wrong for a while.
fn set_and_back(days: i64, hours: u64) -> Vec<Op> {
    let while_wrong = [Op::SetClock(days), Op::KeepUp, Op::LookForRuns, Op::Pass(hours), Op::KeepUp];
    while_wrong.into_iter().chain([Op::SetClock(0), Op::KeepUp, Op::LookForRuns]).collect()
}
