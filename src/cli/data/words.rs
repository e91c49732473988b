//! Words of one list: secrets' paths, and behind them tags or the keys of tags, both of which may hold `/` and `=`.
//!
//! Invariant: a path that was mistyped is never taken for a key, and no file that happens to be there turns a key into a path.
//! What could be both is refused, and `--` between them says which is which.

use std::path::{Path, PathBuf};

use super::fault::DataError;
use crate::cli::address::Address;
use crate::cli::report::CliError;

/// What stands behind the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// `KEY=VALUE`.
    Tag,
    /// `KEY`.
    Key,
}

/// The paths among `words`, and what stands behind them there or behind `--`.
pub fn split(words: &[String], behind: &[String], sort: Sort) -> Result<(Vec<PathBuf>, Vec<String>), CliError> {
    if !behind.is_empty() {
        return Ok((words.iter().map(PathBuf::from).collect(), behind.to_vec()));
    }
    let (paths, others) = divide(words, sort, |word| Address::of(word).is_ok() && is_there(word))?;
    // An absolute one is told by what becomes of it; for any other it may not be known that it is taken for a path.
    match paths.iter().find(|path| path.is_relative() && !is_there(path)) {
        Some(none) => Err(DataError::NoPath(none.clone()).into()),
        None => Ok((paths, others)),
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The same without `--`, where `leads` says whether a word leads to something in a mount.
fn divide(
    words: &[String],
    sort: Sort,
    leads: impl Fn(&Path) -> bool,
) -> Result<(Vec<PathBuf>, Vec<String>), DataError> {
    let (mut paths, mut others) = (Vec::new(), Vec::new());
    for word in words {
        let key = match sort {
            Sort::Tag => word.split_once('=').map(|(key, _)| key),
            Sort::Key => Some(word.as_str()),
        };
        let is_path = key.is_none_or(|key| key.contains('/'));
        if is_path && !others.is_empty() {
            return Err(DataError::PathBehind(word.clone()));
        } else if is_path {
            paths.push(PathBuf::from(word));
        } else if leads(Path::new(word)) {
            return Err(DataError::PathOrTag(word.clone()));
        } else {
            others.push(word.clone());
        }
    }
    Ok((paths, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_paths_or_tags_and_never_guessed() {
        let there = |path: &Path| ["here", "a=b"].map(Path::new).contains(&path);
        for (words, sort, paths) in [
            ("/m/a /m/b=c/d a=1 b=2=3", Sort::Tag, Ok(2)),
            ("/m/a url=https://x/y", Sort::Tag, Ok(1)),
            ("here ./a=b k=v", Sort::Tag, Ok(2)),
            ("m/none k=v", Sort::Tag, Ok(1)),
            ("k=v", Sort::Tag, Ok(0)),
            ("/m/a a=b", Sort::Tag, Err("`a=b` can be")),
            ("/m/a k=v /m/b", Sort::Tag, Err("`/m/b`")),
            ("/m/a k=v a/b=c", Sort::Tag, Err("`a/b=c`")),
            ("/m/a k=v here", Sort::Tag, Err("`here`")),
            ("/m/a ../b env team=x", Sort::Key, Ok(2)),
            ("/m/a m/mistyped env", Sort::Key, Ok(2)),
            ("env team", Sort::Key, Ok(0)),
            ("here env", Sort::Key, Err("`here` can be")),
            ("./x here", Sort::Key, Err("`here` can be")),
            ("/m/a env a/b", Sort::Key, Err("`a/b`")),
        ] {
            let list: Vec<String> = words.split(' ').map(str::to_owned).collect();
            match (divide(&list, sort, there), paths) {
                (Ok((some, others)), Ok(count)) => {
                    assert_eq!((some.len(), others), (count, list[count..].to_vec()), "{words}");
                }
                (Err(error), Err(said)) => assert!(error.to_string().contains(said), "{words}: {error}"),
                (divided, _) => panic!("{words}: {divided:?}"),
            }
        }
    }
}
