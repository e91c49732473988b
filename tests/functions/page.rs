//! `docs/rotation.md`: every setting of a function stands there, and its example works.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::call::Function;
use crate::declaration::{documented, is_declaration, shellcheck, shipped};
use crate::secret::Values;
use crate::services::Account;

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rotation.md")).unwrap()
}

/// The page has a row for each name that a function documents, in the table below its heading, and no other.
#[test]
fn the_page_has_every_setting() {
    let page = page();
    for function in shipped().iter().filter(|path| !is_declaration(path) && !path.is_symlink()) {
        let name = function.file_name().unwrap().to_str().unwrap();
        let section = page.split(&format!("\n### `{name}`\n")).nth(1).expect(name).split("\n#").next().unwrap();
        let rows =
            section.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split(" | ").next().unwrap());
        let told: BTreeSet<_> =
            rows.flat_map(|cell| cell.split('`')).map(|name| name.trim_matches([' ', ','])).collect();
        let told: BTreeSet<_> = told.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
        assert_eq!(told, documented(function), "{name}");
    }
}

/// The example for authors rotates.
#[test]
fn the_example_of_the_page_works() {
    let page = page();
    let block = |begins: &str| {
        let at = page.find(&format!("\n```{begins}")).unwrap() + "\n```".len();
        let text = page[at..].split_once('\n').unwrap().1;
        text.split("```").next().unwrap().to_owned()
    };
    let (script, declaration) = (block("sh\n#!/bin/sh\n"), block("ini\n"));
    let account = Account::named("nobody");
    let dir = account.dir();
    let file = dir.path().join("api-token");
    fs::write(&file, &script).unwrap();
    shellcheck([file]);
    let function = Function::installed("api-token", &script, &declaration.replace("user=api\n", "user=nobody\n"));
    function.fails("test", &Values::of("old token"), 1, "not in /var/lib/api/tokens");
    let tokens = dir.path().join("tokens");
    let function = function.with_path("TOKENS", &tokens);
    fs::write(&tokens, "").unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).unwrap();
    account.owns(&tokens);
    let mut values = Values::of("old token");
    values.create(&function);
    for step in ["set", "set", "test", "finish", "finish"] {
        function.done(step, &values);
    }
    assert_eq!(fs::read_to_string(&tokens).unwrap().lines().count(), 2);
    assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o7777, 0o644, "the service still reads it");
    fs::remove_file(&tokens).unwrap();
    function.done("set", &values);
    function.with("TOKENS", "").fails("create", &values, 78, "TOKENS");
}
