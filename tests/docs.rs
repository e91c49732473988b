//! What the documents say of the program is true: the tests they name exist, the exit codes are the program's, and the
//! README's first screen works.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod room;

use std::collections::BTreeSet;
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

/// What the test `test` of `file` says: its body, and the tables of the file that it names. None where there is no such test.
fn test_text(file: &str, test: &str) -> Option<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let source = fs::read_to_string(tests.join(file)).unwrap_or_default();
    let cut = |from: usize, end: &str| source[from..].split_inclusive(end).next().unwrap().to_owned();
    let mut text = cut(source.find(&format!("#[test]\nfn {test}()"))?, "\n}\n");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in source.match_indices("\nconst ") {
        let name = source[at..].trim_start().strip_prefix("const ").unwrap().split(':').next().unwrap();
        if text.split(|c| !is_word(c)).any(|word| word == name) {
            let end = if source[at + 1..].lines().next().unwrap().ends_with(';') { ";\n" } else { "\n];\n" };
            text += &cut(at, end);
        }
    }
    Some(text)
}

#[test]
fn every_test_that_is_named_exists() {
    let mut missing = Vec::new();
    for (path, text) in pages() {
        for (file, test) in named_tests(&text) {
            if test_text(file, test).is_none() {
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

/// Each verb of the program stands in the README's table, and none besides.
#[test]
fn the_commands_are_those_of_the_program() {
    let help = Room::new().kmsfs("--help").expect(0).out;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on from the one above stands further in.
    let begins = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let verbs: BTreeSet<_> = begins.map(|line| line.split_whitespace().next().unwrap()).collect();
    let readme = page("README.md");
    let rows =
        readme.lines().skip_while(|line| *line != "## Commands").take_while(|line| !line.starts_with("## Where"));
    let named: BTreeSet<_> = rows
        .flat_map(|row| row.split("`kmsfs ").skip(1))
        .map(|words| words.split([' ', '`']).next().unwrap())
        .collect();
    assert_eq!(named, verbs);
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

/// The rows of the table below `heading`, each a list of its cells.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| *line != heading).skip(1).skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Tests that ask the api, or have verbs ask it.
const OF_BOTH: [&str; 3] = ["mount/keys.rs", "mount/versions.rs", "mount/rotation.rs"];

/// Each action that the api answers stands in the table of operations, and each row there has tests, one of which asks the api or a
/// verb that does. A test of the api has the action's name in it, and one of the verbs the verb's; those that do both have either.
#[test]
fn every_operation_is_proven() {
    let rows = table(&page("docs/semantics.md"), "## The operations of KMS");
    for row in &rows {
        let tests: Vec<_> = named_tests(row.last().unwrap()).collect();
        let of_api =
            |(file, _): &(&str, &str)| ["mount/api.rs", "mount/verbs.rs"].contains(file) || OF_BOTH.contains(file);
        assert!(!tests.is_empty() && tests.iter().any(of_api), "no test is named for {}", row[0]);
        let actions =
            row[0].split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with(char::is_uppercase));
        let verbs = row[2].split('`').skip(1).step_by(2).flat_map(|verb| verb.split(' ').next());
        let (actions, verbs): (Vec<_>, Vec<_>) = (actions.collect(), verbs.collect());
        let either = [&actions[..], &verbs].concat();
        for (file, test) in tests {
            let wanted = match file {
                "mount/api.rs" => &actions,
                "mount/verbs.rs" => &verbs,
                file if OF_BOTH.contains(&file) => &either,
                // Gestures have no names.
                _ => continue,
            };
            let text = test_text(file, test).unwrap();
            let has =
                |word: &&str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|other| other == *word);
            assert!(wanted.iter().any(has), "{file}::{test} does not try {}", row[0]);
        }
    }
    let told: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].split([' ', ',', ':', '(', ')', '\''])).collect();
    let missing: Vec<_> = kmsfs::api::actions().filter(|action| !told.contains(action)).collect();
    assert!(missing.is_empty(), "not in the table of operations: {missing:?}");
    let api = page("docs/api.md");
    let untold: Vec<_> = kmsfs::api::actions().filter(|action| !api.contains(&format!("`{action}`"))).collect();
    assert!(untold.is_empty(), "not in docs/api.md: {untold:?}");
}

/// Each code that the sources have stands in the table of codes, and the test that it names looks for it.
#[test]
fn every_error_code_is_produced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = ["src/secret/code.rs", "src/api/error.rs"].map(|path| fs::read_to_string(root.join(path)).unwrap());
    let is_code = |word: &&str| {
        let begins = [
            "Invalid",
            "Missing",
            "Forbidden.",
            "Rejected.",
            "Duplicate.",
            "Unsupported",
            "Internal",
            "Service",
            "DryRun",
        ];
        begins.iter().any(|begin| word.starts_with(begin))
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    };
    let sources: BTreeSet<&str> =
        source.iter().flat_map(|text| text.split('"').skip(1).step_by(2)).filter(is_code).collect();
    assert!(sources.len() > 20, "they were found at all: {sources:?}");
    let text = page("docs/semantics.md");
    let rows = table(&text, "### Error codes");
    let told: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2)).collect();
    assert_eq!(told, sources);
    for row in &rows {
        let tests: Vec<_> = named_tests(&row[3]).collect();
        assert_eq!(tests.is_empty(), row[3] == "-", "{}", row[0]);
        for (file, test) in tests {
            let (text, code) = (test_text(file, test).unwrap(), row[0].trim_matches('`'));
            assert!(text.contains(&format!("\"{code}\"")), "{file}::{test} does not look for {code}");
        }
    }
}
