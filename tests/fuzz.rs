//! The corpus of the fuzz targets, run once as it is: what a fuzzer has found stays found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Each of `target`'s files, which are some.
fn run(target: &str, act: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 3, "{} has next to nothing", dir.display());
    for file in files {
        act(&fs::read(&file).unwrap());
    }
}

#[test]
fn requests_of_the_api() {
    run("api", targets::api);
}

#[test]
fn files_of_tags() {
    run("tags", targets::tags);
}

#[test]
fn members_of_values() {
    run("members", targets::members);
}

#[test]
fn policies() {
    run("policy", targets::policy);
}

#[test]
fn segments_of_the_audit() {
    run("audit", targets::audit);
}

#[test]
fn files_to_be_imported() {
    run("import", targets::import);
}

/// Each target that cargo-fuzz knows has a corpus that is run here.
#[test]
fn every_target_is_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("tests/fuzz.rs")).unwrap();
    for entry in fs::read_dir(root.join("fuzz/fuzz_targets")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(source.contains(&format!("run(\"{name}\", targets::{name})")), "{name}");
    }
}
