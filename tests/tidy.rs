//! The house rules that a compiler does not know: who may import whom, how long a file and a function may be, which crates
//! have one room, where `unsafe` may stand. Reads the sources as text, so it depends on rustfmt's layout and on nothing else.
//!
//! `cargo test --test tidy -- --nocapture` prints the lines of each file and the imports as they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src`, and the rooms that each may name: the table of `src/lib.rs`. A room that is not built yet may stand
/// here.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("value", &[]),
    ("id", &[]),
    ("sealed", &[]),
    ("time", &[]),
    ("durable", &[]),
    ("secret", &["id", "time"]),
    ("crypto", &["value", "id", "sealed"]),
    ("store", &["id", "sealed", "durable"]),
    ("estate", &["value", "id", "sealed", "crypto"]),
    ("audit", &["id", "time", "secret", "sealed", "crypto", "store", "durable"]),
    ("people", &[]),
    ("vault", &["value", "id", "sealed", "time", "people", "secret", "crypto", "store", "estate", "audit"]),
    ("api", &["value", "id", "time", "secret", "vault"]),
    ("fs", &["value", "id", "time", "secret", "estate", "vault", "api"]),
    ("daemon", &["value", "id", "people", "secret", "fs", "vault", "audit", "store", "estate", "crypto", "durable"]),
    ("cli", &["value", "id", "time", "secret", "crypto", "store", "audit", "vault", "api", "fs", "daemon"]),
    ("main", &["cli"]),
];

/// Crates that one place alone may name: what it is built on can then be exchanged there.
const ONE_PLACE: [(&str, &[&str]); 3] = [
    ("fuser", &["src/fs/fuse.rs", "src/fs/fuse/"]),
    ("rusqlite", &["src/store/sqlite/"]),
    ("aes_gcm", &["src/crypto/"]),
];

/// Files in which a system call leaves no choice.
const UNSAFE: [&str; 4] =
    ["src/daemon/harden.rs", "src/daemon/strongbox.rs", "src/estate/table.rs", "src/fs/fuse/session.rs"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "common", "helpers", "manager"];

/// Matches that must name every case, so that a new one is decided and not defaulted: file, and function or all of it.
const EXHAUSTIVE: [(&str, Option<&str>); 2] = [("src/fs/errno.rs", None), ("src/secret/code.rs", Some("code"))];

/// Lines of a file without its tests: more than one idea does not fit a head.
const FILE_LINES: usize = 400;
/// Files that are one list, and have so many lines: one function for each request of the kernel, all in one `impl`.
const LONG_LISTS: [(&str, usize); 1] = [("src/fs/fuse/requests.rs", 500)];
/// Lines of a function: more does not fit a screen.
const FUNCTION_LINES: usize = 80;
/// Lines above an `unsafe` in which its reason stands.
const REASON_WITHIN: usize = 3;

/// One source file, without its tests.
struct Source {
    /// As `src/store/mod.rs`.
    path: String,
    lines: Vec<String>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let tests = (0..lines.len()).find(|at| {
            let following = lines[at + 1..].iter().find(|line| !line.starts_with('#'));
            lines[*at] == "#[cfg(test)]" && following.is_some_and(|line| line.starts_with("mod "))
        });
        let kept = if is_test(path) { 0 } else { tests.unwrap_or(lines.len()) };
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        Self { path, lines: lines[..kept].to_vec() }
    }

    /// The lines of code with their numbers: no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = |line: &'_ String| -> usize { line.find("//").unwrap_or(line.len()) };
        self.lines.iter().enumerate().map(move |(at, line)| (at + 1, &line[..code(line)]))
    }

    /// The module path: `["store", "sqlite"]` for `src/store/sqlite/mod.rs`, `[]` for `src/lib.rs`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| !matches!(*part, "mod" | "lib")).collect()
    }

    fn room(&self) -> Option<&str> {
        self.module().first().copied()
    }

    /// First line, last line and name of each function.
    fn functions(&self) -> Vec<(usize, usize, &str)> {
        let mut functions = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            let Some((before, after)) = line.split_once("fn ") else { continue };
            let words = ["pub", "pub(super)", "pub(crate)", "const", "unsafe", "extern", "\"C\""];
            if !before.split_whitespace().all(|word| words.contains(&word)) {
                continue;
            }
            let name = &after[..after.find(['(', '<']).unwrap_or(after.len())];
            let end = format!("{}}}", " ".repeat(before.len() - before.trim_start().len()));
            let one_line = line.ends_with('}') || line.ends_with(';');
            let length = self.lines[at..].iter().position(|line| *line == end).unwrap_or(0);
            functions.push((at + 1, if one_line { at + 1 } else { at + 1 + length }, name));
        }
        functions
    }
}

fn is_test(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with("_tests.rs"))
}

/// Every file below `src`, in order of path.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut files) = (vec![root.join("src")], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|path| Source::read(root, path)).collect()
}

/// Fails with all of `faults`, a line each, so that one run shows everything.
fn none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

fn is_word_byte(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Where `word` stands in `text` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        !is_word_byte(before) && !is_word_byte(text.as_bytes().get(at + word.len()))
    })
}

/// Whether `code` uses the crate `name`; a text may have the same word.
fn names_crate(code: &str, name: &str) -> bool {
    has_word(code, name) && (code.contains(&format!("{name}::")) || code.contains(&format!("use {name}")))
}

/// The first words that follow `prefix` in `code`: `crate::a::b` gives `a`, `crate::{a, b::{c, d}}` gives `a` and `b`.
fn named_after<'a>(code: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    let word = |text: &'a str| -> &'a str {
        &text[..text.bytes().position(|byte| !is_word_byte(Some(&byte))).unwrap_or(text.len())]
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix).filter(|(at, _)| *at == 0 || !is_word_byte(code.as_bytes().get(at - 1))) {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push((at, word(rest)));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (offset, char) in group.char_indices() {
            match char {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                char if begins && char.is_alphanumeric() => {
                    begins = false;
                    found.push((at, word(&group[offset..])));
                }
                _ => {}
            }
        }
    }
    found
}

/// Each import of one room by another: line, importing room, imported one.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.code().map(|(_, code)| code).collect();
    let code = code.join("\n");
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    let prefix = if source.room() == Some("main") { "kmsfs::" } else { "crate::" };
    let mut found: Vec<(usize, String)> =
        named_after(&code, prefix).into_iter().map(|(at, room)| (line(at), room.to_owned())).collect();
    // So many `super` lead out of the room as well.
    let climbs_out = "super::".repeat(source.module().len().max(1));
    found.extend(named_after(&code, &climbs_out).into_iter().map(|(at, room)| (line(at), room.to_owned())));
    found.retain(|(_, room)| !room.is_empty() && source.room() != Some(room.as_str()));
    found
}

#[test]
fn arrows_point_inward_only() {
    let table: BTreeMap<_, _> = MAY_IMPORT.into_iter().collect();
    let (mut faults, mut seen) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for source in sources().iter().filter(|source| source.room().is_some()) {
        let room = source.room().unwrap();
        let Some(allowed) = table.get(room) else {
            faults.push(format!("{}: the room `{room}` is not in the table", source.path));
            continue;
        };
        for (line, imported) in imports(source) {
            if !allowed.contains(&imported.as_str()) {
                faults.push(format!("{}:{line}: `{room}` may not import `{imported}`", source.path));
            }
            seen.entry(room.to_owned()).or_default().insert(imported);
        }
    }
    for (room, imported) in seen {
        println!("{room:8} -> {}", imported.into_iter().collect::<Vec<_>>().join(", "));
    }
    none("an arrow that the table in src/lib.rs does not have", &faults);
}

#[test]
fn one_place_knows_each_foundation() {
    let mut faults = Vec::new();
    for source in sources() {
        for (name, places) in ONE_PLACE {
            let at_home = places.iter().any(|place| source.path.starts_with(place));
            let naming = source.code().filter(|(_, code)| !at_home && names_crate(code, name));
            faults.extend(naming.map(|(line, _)| format!("{}:{line}: names `{name}`", source.path)));
        }
    }
    none("a crate outside its one place", &faults);
}

#[test]
fn files_and_functions_are_short() {
    let (mut faults, mut table, mut total) = (Vec::new(), String::new(), 0);
    for source in sources() {
        let lines = source.lines.len();
        total += lines;
        writeln!(table, "{lines:5} {}", source.path).unwrap();
        let most = LONG_LISTS.iter().find(|(path, _)| *path == source.path).map_or(FILE_LINES, |(_, most)| *most);
        if lines > most {
            faults.push(format!("{}: {lines} lines, {most} are the most", source.path));
        }
        for (first, last, name) in source.functions() {
            let long = last - first + 1;
            if long > FUNCTION_LINES {
                faults
                    .push(format!("{}:{first}: `{name}` has {long} lines, {FUNCTION_LINES} are the most", source.path));
            }
        }
    }
    println!("{table}{total:5} in all, without tests");
    none("too long", &faults);
}

#[test]
fn names_say_what_is_inside() {
    let mut faults = Vec::new();
    for source in sources() {
        let parts = source.module().into_iter().filter(|part| EMPTY_NAMES.contains(part));
        faults.extend(parts.map(|part| format!("{}: named `{part}`", source.path)));
        for (line, code) in source.code() {
            let module = code.trim().trim_end_matches([';', '{', ' ']).rsplit_once("mod ").map(|(_, name)| name);
            if module.is_some_and(|name| EMPTY_NAMES.contains(&name)) {
                faults.push(format!("{}:{line}: {}", source.path, code.trim()));
            }
        }
    }
    none("a name that says nothing", &faults);
}

#[test]
fn translations_name_every_case() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some((_, function)) = EXHAUSTIVE.iter().find(|(path, _)| *path == source.path) else { continue };
        let spans: Vec<_> = match function {
            None => vec![(1, source.lines.len())],
            Some(name) => {
                source.functions().iter().filter(|function| function.2 == *name).map(|(a, b, _)| (*a, *b)).collect()
            }
        };
        assert!(!spans.is_empty(), "{}: there is no `fn {}`", source.path, function.unwrap_or_default());
        for (line, code) in source.code() {
            let wild =
                code.contains("_ =>") && !is_word_byte(code.as_bytes().get(code.find("_ =>").unwrap().wrapping_sub(1)));
            if wild && spans.iter().any(|(first, last)| (first..=last).contains(&&line)) {
                faults.push(format!("{}:{line}: {}", source.path, code.trim()));
            }
        }
    }
    none("a match that would swallow a new case", &faults);
}

#[test]
fn unsafe_stands_in_few_files_and_says_why() {
    let mut faults = Vec::new();
    for source in sources() {
        for (line, code) in source.code().filter(|(_, code)| has_word(code, "unsafe")) {
            let above = &source.lines[line.saturating_sub(1 + REASON_WITHIN)..line];
            if !UNSAFE.contains(&source.path.as_str()) {
                faults.push(format!("{}:{line}: the file is not among those that may: {}", source.path, code.trim()));
            } else if !above.iter().any(|line| line.contains("SAFETY:")) {
                faults.push(format!("{}:{line}: no `SAFETY:` within {REASON_WITHIN} lines above", source.path));
            }
        }
    }
    none("unsafe code", &faults);
}

/// Values leave by `Vault::disclose`, which tells the audit. What takes one without is named here, and hands it to nobody.
#[test]
fn few_places_open_a_value_that_nobody_is_told_of() {
    const PLACES: [&str; 5] = [
        "src/vault/audited.rs",
        "src/vault/members.rs",
        "src/vault/secrets.rs",
        "src/vault/values.rs",
        "src/fs/ops/write.rs",
    ];
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !PLACES.contains(&source.path.as_str())) {
        let calls = source.code().filter(|(_, code)| has_word(code, "undisclosed"));
        faults.extend(calls.map(|(line, code)| format!("{}:{line}: {}", source.path, code.trim())));
    }
    none("a value past the audit", &faults);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let silent = |source: &Source| {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        !text.starts_with("//!")
    };
    let faults: Vec<_> = sources().iter().filter(|source| silent(source)).map(|source| source.path.clone()).collect();
    none("a file without a `//!` at its head", &faults);
}

#[test]
fn the_reader_of_imports_reads_them() {
    let cases: [(&str, &[&str]); 5] = [
        ("use crate::id::NodeId;", &["id"]),
        ("use crate::{id::{NodeId, OpId}, sealed::Sealed, time};", &["id", "sealed", "time"]),
        ("let x = crate::value::Value::empty(); crate::id::f()", &["value", "id"]),
        ("use mycrate::id;", &[]),
        ("use crate::{\n    id,\n    vault::{self, Vault},\n};", &["id", "vault"]),
    ];
    for (code, expected) in cases {
        let found: Vec<_> = named_after(code, "crate::").into_iter().map(|(_, room)| room).collect();
        assert_eq!(found, expected, "{code}");
    }
}
