//! What the documents say of the program is true: the tests they name exist, the exit codes are the program's, and the
//! README's first screen works.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod room;

use std::fs;
use std::path::Path;
use std::process::Command;

use kmsfs::cli::EXITS;
use room::{Room, is_root};

/// The README and all pages: path and text.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md"));
    pages.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

fn page(name: &str) -> String {
    pages().into_iter().find(|(path, _)| path.ends_with(name)).unwrap().1
}

/// The shell blocks of a page, each a list of its lines.
fn shell_blocks(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| block.lines().map(str::to_owned).collect()).collect()
}

/// The tests that a page names as `file.rs::test`.
fn named_tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter_map(|word| word.split_once("::")).filter(|(file, _)| file.ends_with(".rs"))
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut missing = Vec::new();
    for (path, text) in pages() {
        for (file, test) in named_tests(&text) {
            let source = fs::read_to_string(tests.join(file)).unwrap_or_default();
            if !source.contains(&format!("#[test]\nfn {test}()")) {
                missing.push(format!("{path}: {file}::{test}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named_tests(&page("docs/semantics.md")).count() > 50, "they were found at all");
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let program: Vec<String> = EXITS.iter().map(|(exit, meaning)| format!("| {} | {meaning} |", exit.code())).collect();
    let is_code = |line: &&str| line.split('|').nth(1).is_some_and(|cell| cell.trim().parse::<u8>().is_ok());
    for name in ["README.md", "docs/operations.md"] {
        assert_eq!(page(name).lines().filter(is_code).collect::<Vec<_>>(), program, "{name}");
    }
}

/// One command mounts, six lines write, read, rotate, roll back, delete and restore, one command tests.
#[test]
fn the_first_screen_works() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let [mount, lines, tests] = &shell_blocks(&page("README.md"))[..3] else { unreachable!("three were taken") };
    assert_eq!((mount.len(), lines.len(), &tests[..]), (1, 6, &["cargo test".to_owned()][..]));
    let ci = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    assert!(ci.lines().last().unwrap().starts_with(&tests[0]), "CI ends with the same command");
    let args = mount[0].strip_prefix("cargo run --release -- ").expect("the command builds and mounts");
    let room = Room::new();
    room.kmsfs(&format!("{args} --store store --key-file key --anchor anchor --log log")).expect(0);
    // What `current` and `.deleted` hold after each line.
    let steps = [("one", ""), ("one", ""), ("two", ""), ("one", ""), ("", "db%2Fpassword\n"), ("one", "")];
    for (line, (current, deleted)) in lines.iter().zip(steps) {
        let run = |script: &str| Command::new("sh").args(["-c", script]).current_dir(room.at("")).output().unwrap();
        let said = run(line);
        assert!(said.status.success(), "{line}: {said:?}");
        let text = |script: &str| String::from_utf8(run(script).stdout).unwrap();
        assert_eq!(text("cat M/prod/db/password/current"), current, "{line}");
        assert_eq!(text("ls M/prod/.deleted"), deleted, "{line}");
    }
    room.kmsfs("umount M").expect(0);
}

/// The loop that restores all of `.deleted/` brings parents back first, and directories that are still there.
#[test]
fn the_loop_that_restores_everything_works() {
    assert!(is_root(), "this test mounts: it must be run by root");
    let text = page("docs/operations.md");
    let blocks = shell_blocks(&text);
    let block = blocks.iter().find(|block| block[0].contains(".deleted && ls")).expect("the recipe is there");
    let room = Room::new();
    room.kmsfs("mount --init --store store --key-file key --anchor anchor --log log M").expect(0);
    let run = |script: &str| Command::new("sh").args(["-ec", script]).current_dir(room.at("")).output().unwrap();
    let script = "for s in db db/a/x web; do mkdir -p M/prod/$s; printf %s $s > M/prod/$s/current; done; rm -rf M/prod || :; test $(ls M/prod/.deleted | wc -l) = 3";
    assert!(run(script).status.success());
    let recipe = block.join("\n").replace("/run/secrets", room.at("M").to_str().unwrap());
    let said = run(&recipe);
    assert!(said.status.success(), "{said:?}");
    let said =
        run("test -z \"$(ls M/prod/.deleted)\"; for s in db db/a/x web; do test $(cat M/prod/$s/current) = $s; done");
    assert!(said.status.success(), "{said:?}");
    room.kmsfs("umount M").expect(0);
}
