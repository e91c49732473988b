//! The tree against a reference model, without a mount: sequences of requests, compared after every step.

mod act;
mod drawn;
mod files;
mod gestures;
mod harness;
mod members;
mod names;
mod op;
mod picture;
mod plan;
mod reference;
mod regressions;
mod rotation;
mod rules;
mod time;
mod verbs;
mod walk;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use harness::{Engine, Harness};
use op::Op;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Cases of an ordinary run, over both runs in memory; PROPTEST_CASES has the last word.
const CASES: u32 = 10_000;
/// Cases on the engine that has a disk below it.
const SQLITE_CASES: u32 = 100;

/// Does `ops` on both sides. A panic is a failure like any other, so that it is shrunk too.
fn run(ops: &[Op], engine: Engine) -> Result<(), String> {
    let run = || {
        let mut harness = Harness::new(engine);
        for (at, op) in ops.iter().enumerate() {
            harness.step(op).map_err(|error| format!("step {at}, {op:?}:\n{error}"))?;
        }
        harness.finish().map_err(|error| format!("at the end: {error}"))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "a panic: {}",
            text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).into())).unwrap_or_default()
        ))
    })
}

/// A sequence as a regression spells it.
fn spelled(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("    Op::{op:?},\n")).collect()
}

fn cases(default: u32, share: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(default).div_ceil(share)
}

fn rand_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system has random bytes");
    seed
}

fn prove(cases: u32, gestures: std::ops::Range<usize>, engine: impl Fn() -> (Engine, Option<tempfile::TempDir>)) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    // The ordinary run is the same every time; PROPTEST_CASES asks for so many new ones, to find what nobody has seen yet.
    let rng = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => TestRng::from_seed(RngAlgorithm::ChaCha, &rand_seed()),
        None => TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    };
    let proven = TestRunner::new_with_rng(config, rng).run(&op::sequence(gestures), |ops| {
        let (engine, _dir) = engine();
        run(&ops, engine).map_err(TestCaseError::fail)
    });
    match proven {
        Ok(()) => {}
        Err(TestError::Fail(reason, ops)) => panic!("{reason}\nafter\n{}", spelled(&ops)),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn short_sequences_in_memory() {
    prove(cases(CASES, 2), 2..14, || (Engine::Memory, None));
}

#[test]
fn long_sequences_in_memory() {
    prove(cases(CASES, 2), 8..48, || (Engine::Memory, None));
}

#[test]
fn sequences_on_sqlite() {
    prove(cases(SQLITE_CASES, 1).min(SQLITE_CASES), 1..12, || {
        let dir = tempfile::tempdir().expect("a directory");
        (Engine::Sqlite(dir.path().join("store")), Some(dir))
    });
}
