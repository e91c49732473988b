//! A directory of files, each a value named by its path; and the entries of `pass`, which are such files, encrypted.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::found::{Finding, Found, Skipped};
use crate::cli::moving::MovingError;
use crate::cli::progress::Progress;
use crate::cli::reading;
use crate::cli::report::CliError;
use crate::secret::VALUE_MAX;
use crate::value::Value;

/// What `pass` puts behind an entry's name.
const ENCRYPTED: &str = ".gpg";

/// Every file below `dir`: what is hidden, or no regular file, is skipped.
pub fn find(dir: &Path) -> Result<Finding, CliError> {
    let mut finding = Finding::default();
    for path in walk(dir, &mut finding.skipped)? {
        let value = reading::read_file(&path, VALUE_MAX).map_err(|source| io_error(&path, source))?;
        let name = name(dir, &path);
        finding.secrets.push(Found::plain(path.display().to_string(), name, value));
    }
    Ok(finding)
}

/// Every entry of the password store `dir`, decrypted by `pass`.
pub fn find_pass(dir: &Path) -> Result<Finding, CliError> {
    let mut finding = Finding::default();
    let paths = walk(dir, &mut finding.skipped)?;
    let progress = Progress::of_things("decrypting", paths.len());
    for path in paths {
        let name = name(dir, &path);
        let Some(entry) = name.strip_suffix(ENCRYPTED) else {
            finding.skipped.push(Skipped { what: path.display().to_string(), why: "it is no entry of pass" });
            continue;
        };
        let mut found = Found::plain(path.display().to_string(), entry.to_owned(), show(dir, entry)?);
        let value = &mut found.versions[0].value;
        // `pass insert` ends a password with a newline that is not a part of it; of a text with several lines it is.
        if value.as_bytes().iter().position(|byte| *byte == b'\n').is_some_and(|at| at + 1 == value.len()) {
            value.resize(value.len() - 1);
        } else if value.as_bytes().contains(&b'\n') {
            found.notes.push("it has several lines, which make one value".to_owned());
        }
        finding.secrets.push(found);
        progress.add(1);
    }
    Ok(finding)
}

fn show(dir: &Path, entry: &str) -> Result<Value, CliError> {
    let failed = |source| MovingError::Pass { entry: entry.to_owned(), source };
    // What gpg asks for, and says, goes by the terminal.
    let mut pass = Command::new("pass")
        .args(["show", "--", entry])
        .env("PASSWORD_STORE_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut output = pass.stdout.take().expect("it is piped");
    let read = reading::read(&mut output, VALUE_MAX);
    drop(output);
    let status = pass.wait().map_err(failed)?;
    let value = read.map_err(failed)?;
    // One that is longer than any value ends by the closed pipe.
    if status.success() || value.len() > VALUE_MAX {
        Ok(value)
    } else {
        Err(failed(io::Error::other(format!("it ended with {status}"))).into())
    }
}

/// The files below `dir`, in order of path.
fn walk(dir: &Path, skipped: &mut Vec<Skipped>) -> Result<Vec<PathBuf>, CliError> {
    let (mut folders, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|source| io_error(&folder, source))? {
            let entry = entry.map_err(|source| io_error(&folder, source))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|source| io_error(&folder, source))?);
            let mut skip = |why| skipped.push(Skipped { what: path.display().to_string(), why });
            if entry.file_name().as_bytes().starts_with(b".") {
                skip("it is hidden");
            } else if kind.is_symlink() {
                skip("it is a symbolic link");
            } else if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            } else {
                skip("it is no regular file");
            }
        }
    }
    files.sort();
    skipped.sort_by(|a, b| a.what.cmp(&b.what));
    Ok(files)
}

fn name(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}

fn io_error(path: &Path, source: io::Error) -> CliError {
    CliError::Path { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::pictures::picture;

    #[test]
    fn files_are_named_by_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("db/.hidden/x")).unwrap();
        for (name, content) in [("b", "2\n"), ("db/a", "1"), (".env", "x"), ("db/.hidden/x/y", "x")] {
            fs::write(at(name), content).unwrap();
        }
        std::os::unix::fs::symlink(at("b"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("db"), at("dir")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let seen = picture(&find(dir.path()).unwrap()).replace(&format!("{}/", dir.path().display()), "");
        assert_eq!(
            seen,
            "b [] <  2\\n>\ndb/a [] <  1>\n-.env: it is hidden\n-db/.hidden: it is hidden\n-dir: it is a symbolic link\n\
             -link: it is a symbolic link\n-pipe: it is no regular file\n"
        );
        assert!(find(&at("none")).is_err());
    }
}
