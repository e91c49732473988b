//! The test vectors of the format are those that the second implementation makes. What this one makes of them is tested in
//! `src/crypto/vectors_tests.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

#[test]
fn making_the_vectors_again_gives_the_same_files() {
    let scratch = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-vectors.py");
    let ran = Command::new("/usr/bin/python3").arg("-B").arg(script).arg(scratch.path()).output().unwrap();
    assert!(
        ran.status.success(),
        "it needs: apt install python3 python3-cryptography python3-argon2\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let names = |folder: &Path| -> BTreeSet<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&folder()), names(scratch.path()));
    for name in names(&folder()) {
        let equal = fs::read(folder().join(&name)).unwrap() == fs::read(scratch.path().join(&name)).unwrap();
        assert!(equal, "tests/vectors/{name} is not what scripts/make-vectors.py makes");
    }
}
