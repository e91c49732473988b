//! What each reader of `dotenv` makes of it: shells, Python's dotenv, and docker's `--env-file` by its rules. The table that this
//! proves is in docs/operations.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use kmsfs::secret::{Object, write_object};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Values that one run of a reader is given.
const VALUES: usize = 4_000;

/// What means something to somebody.
const HARD: &[&str] = &[
    "",
    "plain-1.2/3:4@5%6+7,8=9_",
    "a b",
    " a",
    "a ",
    "\t",
    "\n",
    "\n\n",
    "a\nb",
    "#",
    "a #b",
    "a#b",
    "~",
    "~root",
    "a:~/x",
    "!x",
    "!!",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "(a)",
    "<a>",
    "a|b",
    "a&b",
    "a;b",
    "$",
    "$x",
    "$HOME",
    "${HOME}",
    "x${A:-b}y",
    "$(id)",
    "`id`",
    "\\",
    "\\\\",
    "\\n",
    "a\\",
    "a\\\\b",
    "\\'",
    "\\\"",
    "'",
    "it's",
    "''",
    "\"",
    "say \"x\"",
    "'\"",
    "$it's",
    "`\\",
    "'$x\\'",
    "export",
    "=",
    "a=b==",
    "caf\u{e9}",
    "\u{65e5}\u{672c}",
    "\u{a0}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}x",
    "\u{1}",
    "\u{1b}[0m",
    "\u{7f}",
    "\r",
    "a\r\nb",
    "-----BEGIN KEY-----\nab+/==\n-----END KEY-----\n",
    "{\"a\": [1, null]}",
    "%s",
    "\u{1f600}",
];

/// The hard ones, and many more of the characters that they are made of; the same each time.
fn values() -> Vec<String> {
    let char = prop::sample::select(
        "aZ09 \t\n'\"\\$`#!~*?[]{}()<>|&;=:@%^,./-_+\u{e9}\u{65e5}\u{a0}\u{2028}\u{1}\r".chars().collect::<Vec<_>>(),
    );
    let text = vec(char, 0..10).prop_map(String::from_iter);
    let any = any::<String>().prop_map(|text| text.replace('\0', ""));
    let strategy = prop_oneof![5 => text, 1 => any];
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut values: Vec<String> = HARD.iter().map(|text| (*text).to_owned()).collect();
    values.extend((0..VALUES).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
    values
}

/// `dotenv` of a secret with these members, `V0` and so on.
fn dotenv(values: &[String]) -> String {
    let names: Vec<String> = (0..values.len()).map(|n| format!("V{n}")).collect();
    let mut out = String::new();
    // A value has 512 members, so they come in parts.
    for (names, values) in names.chunks(500).zip(values.chunks(500)) {
        let mut object = String::new();
        write_object(names.iter().map(String::as_str).zip(values.iter().map(String::as_str)), &mut object).unwrap();
        Object::parse(object.as_bytes()).unwrap().write_dotenv(&mut out).unwrap();
    }
    out
}

/// Prints the variables `V0` and so on of its environment as JSON.
const PRINT: &str = "import json, os; print(json.dumps({k: v.decode(\"utf-8\", \"replace\") for k, v in ((k.decode(), v) for k, v in os.environb.items()) if k[0] == \"V\"}))";

fn by(program: &str, args: &[&str], dir: &Path) -> BTreeMap<String, Option<String>> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; see scripts/test-packages"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}; see scripts/test-packages");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_shell_reads_every_value() {
    let (values, dir) = (values(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("dotenv"), dotenv(&values)).unwrap();
    let script = format!("set -a; . ./dotenv; exec python3 -c '{PRINT}'");
    for (shell, first) in [("bash", None), ("bash", Some("--posix")), ("dash", None), ("busybox", Some("sh"))] {
        let args: Vec<&str> = first.into_iter().chain(["-c", &script]).collect();
        let read = by(shell, &args, dir.path());
        for (n, value) in values.iter().enumerate() {
            assert_eq!(read.get(&format!("V{n}")), Some(&Some(value.clone())), "{shell} {first:?}: {value:?}");
        }
    }
}

/// What comes of a value that a reader is given among others.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Right,
    /// It is not there, and all others are.
    Left,
    Wrong,
}

/// Whether Python's dotenv reads `value`, by the table of docs/operations.md.
fn python_reads(value: &str, expands: bool) -> Read {
    let body = value.trim_end_matches('\\');
    let braces = value.find("${").is_some_and(|at| value[at..].contains('}'));
    if body.contains(['$', '`']) && (body.contains('\'') || body.contains("\\\\")) {
        // Behind a newline it would find lines of its own.
        return if body.contains(['\n', '\r']) { Read::Wrong } else { Read::Left };
    }
    if body != value {
        return Read::Left;
    }
    if value.contains('\r') || expands && braces { Read::Wrong } else { Read::Right }
}

#[test]
fn python_reads_what_the_table_says() {
    let (values, dir) = (values(), tempfile::tempdir().unwrap());
    // Each in a file of its own, between others in quotes of all kinds, and a comment with some.
    let [before, behind] = [&["it's", "say \"x\""], &["say \"x\"", "it's"]].map(|values| values.map(str::to_owned));
    let file = |value: &String| {
        let all: Vec<String> = before.iter().chain([value]).chain(&behind).cloned().collect();
        let mut lines = dotenv(&all);
        lines.push_str("# \"db-host\" is left out\nLAST=\"it's\"\n");
        lines
    };
    let files: Vec<String> = values.iter().map(file).collect();
    fs::write(dir.path().join("files"), serde_json::to_string(&files).unwrap()).unwrap();
    for expands in [false, true] {
        let read = "import dotenv, json, logging; logging.disable(50)\nout = {}\n\
                    for n, text in enumerate(json.load(open('files'))):\n open('one', 'w', newline='').write(text)\n \
                    out[n] = json.dumps(dotenv.dotenv_values('one', interpolate=EXPANDS))\nprint(json.dumps(out))";
        let read = by(PYTHON, &["-c", &read.replace("EXPANDS", if expands { "True" } else { "False" })], dir.path());
        for (n, value) in values.iter().enumerate() {
            let got: BTreeMap<String, Option<String>> =
                serde_json::from_str(read[&n.to_string()].as_ref().unwrap()).unwrap();
            let get = |name: &str| got.get(name).cloned().flatten();
            let is = |name: &str, value: &str| get(name).as_deref() == Some(value);
            let others = (0..2).all(|n| is(&format!("V{n}"), &before[n]) && is(&format!("V{}", n + 3), &behind[n]))
                && is("LAST", "it's");
            let found = match get("V2") {
                Some(got) if got == *value && others => Read::Right,
                None if others && got.len() == 5 => Read::Left,
                _ => Read::Wrong,
            };
            let expected = python_reads(value, expands);
            // What may be read wrong may be read right by chance.
            let as_told = found == expected || expected == Read::Wrong;
            assert!(as_told, "{value:?} (expands {expands}): {got:?} is {found:?}, not {expected:?}");
        }
    }
}

/// Where Debian's python3-dotenv is.
const PYTHON: &str = "/usr/bin/python3";

/// What `docker run --env-file` makes of a file (docker/cli, pkg/kvfile): `None` where it refuses it.
fn docker(text: &str) -> Option<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = if at == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || name.contains([' ', '\t']) {
            return None;
        }
        // Without a value it is the variable that docker's own caller has.
        if let Some(value) = value {
            read.insert(name.to_owned(), value.to_owned());
        }
    }
    Some(read)
}

#[test]
fn docker_reads_what_needs_no_quotes() {
    for value in values() {
        let text = dotenv(std::slice::from_ref(&value));
        let plain = value.chars().all(|char| char.is_alphanumeric() || "_-./:@%+,=".contains(char));
        let right = docker(&text).is_some_and(|read| read.len() == 1 && read["V0"] == value);
        assert_eq!(right, plain, "{value:?}: {text:?}");
    }
    let others = "{\"A\":\"x\",\"no-name\":\"x\",\"B\":5432,\"N\":\"\\u0000\"}";
    let mut text = String::new();
    Object::parse(others.as_bytes()).unwrap().write_dotenv(&mut text).unwrap();
    let expected = [("A", "x"), ("B", "5432")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(docker(&text), Some(BTreeMap::from(expected)), "what is left out is a comment");
}
