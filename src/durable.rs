//! Directories that are still there after a power cut.
//!
//! A new directory is a name in the one above it, and that name is on the disk once the one above is synced. A file in it,
//! however often it is synced itself, is lost with any name on the way to it. Knows nothing of what will be in there.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the directory `dir` with the bits `mode`, and those above it that are missing, each of them durable.
///
/// # Errors
/// As of mkdir(2), open(2) and fsync(2). That `dir` is there already is none.
pub fn make_dirs(dir: &Path, mode: u32) -> io::Result<()> {
    make(dir, mode, &mut sync)
}

/// The directory that `path` is a name in.
pub fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Makes the names in the directory `dir` durable.
pub fn sync(dir: &Path) -> io::Result<()> {
    match File::open(dir) {
        Ok(dir) => dir.sync_all(),
        // Who may write a directory and not read it cannot sync it, and could not before.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn make(dir: &Path, mode: u32, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    make(above(dir), mode, sync)?;
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => sync(above(dir)),
        // Somebody else has made it meanwhile, and may not have synced it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => sync(above(dir)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_directory_made_is_synced_into_the_one_above() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        // (made, where a name was new)
        let cases: [(&str, &[&str]); 5] =
            [("a", &[""]), ("a", &[]), ("a/b/c/d", &["a", "a/b", "a/b/c"]), ("a/b/x", &["a/b"]), ("e/f", &["", "e"])];
        for (dir, expected) in cases {
            let mut synced = Vec::new();
            let mut note = |dir: &Path| {
                synced.push(dir.to_owned());
                sync(dir)
            };
            make(&at(dir), 0o700, &mut note).unwrap();
            let expected: Vec<_> = expected
                .iter()
                .map(|name| if name.is_empty() { scratch.path().to_owned() } else { at(name) })
                .collect();
            assert_eq!(synced, expected, "{dir}");
            assert_eq!(at(dir).metadata().unwrap().permissions().mode() & 0o7777, 0o700, "{dir}");
        }
    }

    #[test]
    fn what_cannot_be_made_or_synced_is_said() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        File::create(&file).unwrap();
        assert!(make_dirs(&file, 0o700).is_err());
        assert!(make_dirs(&file.join("below"), 0o700).is_err());
        let fails = |_: &Path| Err(io::Error::other("the disk"));
        assert!(make(&scratch.path().join("new"), 0o700, &mut { fails }).is_err());
        std::os::unix::fs::symlink(scratch.path(), scratch.path().join("link")).unwrap();
        make_dirs(&scratch.path().join("link"), 0o700).unwrap();
        make_dirs(Path::new(""), 0o700).unwrap();
    }

    #[test]
    fn a_name_stands_in_the_directory_above() {
        for (path, expected) in [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", "."), ("/", "/")] {
            assert_eq!(above(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
