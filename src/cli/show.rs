//! Output: JSON for programs, tables for people. Whoever reads may stop reading; that is no error.

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde_json::Value as Json;

use super::report::CliError;

/// Writes `text` to stdout; its colours only where that is a terminal.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes one JSON document.
pub fn print_json(json: &Json) -> Result<(), CliError> {
    print(&format!("{json:#}\n"))
}

/// Writes a table under `header`.
pub fn print_table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), CliError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| escape(&cell)));
    }
    print(&render(&table))
}

/// Writes an object's members, a line each, those of nested ones by their path.
pub fn print_members(json: &Json) -> Result<(), CliError> {
    let mut rows = Vec::new();
    flatten("", json, &mut rows);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row.map(|cell| escape(&cell)));
    }
    print(&render(&table))
}

fn render(table: &Table) -> String {
    // The first column's left padding would indent every line.
    table.trim_fmt().lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

fn flatten(path: &str, json: &Json, rows: &mut Vec<[String; 2]>) {
    match json {
        Json::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, member, rows);
            }
        }
        Json::String(text) => rows.push([path.to_owned(), text.clone()]),
        Json::Null => rows.push([path.to_owned(), "-".to_owned()]),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) => rows.push([path.to_owned(), json.to_string()]),
    }
}

/// A path may hold anything, and a terminal obeys control characters.
fn escape(cell: &str) -> String {
    cell.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_members_have_paths() {
        let mut rows = Vec::new();
        flatten("", &serde_json::json!({"a": {"b": 1, "c": null}, "d": "x", "e": [1, 2]}), &mut rows);
        let expected = [["a.b", "1"], ["a.c", "-"], ["d", "x"], ["e", "[1,2]"]];
        assert_eq!(rows, expected.map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn no_cell_commands_the_terminal() {
        assert_eq!(escape("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
    }
}
