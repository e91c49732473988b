//! Declarations as `docs/rotation.md` describes them, and the samples that are shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::call::SHIPPED;
use crate::services::program;

/// What `create` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Value,
    Members,
}

#[derive(Debug)]
pub struct Declaration {
    pub user: String,
    pub secrets: Option<String>,
    pub output: Output,
    pub env: BTreeMap<String, String>,
}

impl Declaration {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut env = BTreeMap::new();
        let (mut user, mut secrets, mut output) = (None, None, Output::Value);
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').expect(line);
            match (key, value) {
                ("user", user_name) => user = Some(user_name.to_owned()),
                ("secrets", patterns) => secrets = Some(patterns.to_owned()),
                ("timeout", seconds) => assert!((1..=3600).contains(&seconds.parse::<u32>().unwrap()), "{line}"),
                ("output", "value") => output = Output::Value,
                ("output", "members") => output = Output::Members,
                _ => {
                    let name = key.strip_prefix("env.").expect(line);
                    assert!(env.insert(name.to_owned(), value.to_owned()).is_none(), "twice: {line}");
                }
            }
        }
        Self { user: user.expect("user is required"), secrets, output, env }
    }
}

pub fn shipped() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(SHIPPED).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub fn is_declaration(path: &Path) -> bool {
    path.extension().is_some()
}

/// The names in the block that begins with `# Configuration`, before anything else on their line.
pub fn documented(function: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(function).unwrap();
    let block = text.lines().skip_while(|line| !line.starts_with("# Configuration")).skip(1);
    let lines = block.take_while(|line| !line.starts_with("# Packages")).filter_map(|line| line.strip_prefix("#   "));
    let names = lines.filter(|line| line.starts_with(char::is_uppercase)).flat_map(|line| {
        let name = line.split("  ").next().unwrap();
        name.split(", ").map(str::to_owned).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn every_function_has_a_declaration_that_rotates_nothing_yet() {
    let (declarations, functions): (BTreeSet<_>, BTreeSet<_>) =
        shipped().into_iter().partition(|path| is_declaration(path));
    assert!(!functions.is_empty());
    assert_eq!(functions.iter().map(|path| path.with_extension("conf")).collect::<BTreeSet<_>>(), declarations);
    for function in &functions {
        assert_eq!(fs::metadata(function).unwrap().permissions().mode() & 0o777, 0o755, "{function:?}");
    }
    for declaration in &declarations {
        let text = fs::read_to_string(declaration).unwrap();
        assert_eq!(Declaration::parse(&text).secrets, None, "{declaration:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("#secrets=")).count(), 1, "{declaration:?}");
        // What is commented out is right as well.
        let names = text.replace("\n#env.", "\nenv.").replace("\n#secrets=", "\nsecrets=");
        let declared = Declaration::parse(&names);
        let documented = documented(&declaration.with_extension(""));
        for name in declared.env.keys() {
            assert!(documented.contains(name), "{declaration:?} sets {name}, its function knows {documented:?}");
        }
    }
}

/// What shellcheck has to say of `files`.
pub fn shellcheck(files: impl IntoIterator<Item = PathBuf>) {
    let output = Command::new(program("shellcheck")).args(["--shell=sh"]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn shellcheck_has_nothing_to_say() {
    shellcheck(shipped().into_iter().filter(|path| !is_declaration(path)));
}
