//! What a view is to be, as it is asked for and as it stands in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{Layout, Part, View};
use crate::secret::{Refusal, StageLabel};

/// Most parts of a view.
const PARTS_MAX: usize = 64;
/// Longest name of a principal in bytes: an account, and a name as shadow(5) takes it at most.
const PRINCIPAL_MAX: usize = 300;
/// Longest file.
const FILE_MAX: u64 = 64 * 1024;
/// What the files of views end with.
const ENDING: &str = "view";

/// What a view is to be. Names in it are as they were written; they are looked at where one is made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewOrder {
    /// Where it is mounted: an absolute path.
    pub point: PathBuf,
    /// Whose rights its callers have.
    pub principal: String,
    /// Instances, and names in them.
    pub only: Vec<String>,
    pub read_only: bool,
    pub label: Option<String>,
    pub flat: bool,
}

/// Why none can be made of an order.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("a view shows something: name one secret, directory or instance at least")]
    Nothing,
    #[error("a view has at most {PARTS_MAX} parts")]
    TooMany,
    #[error("`{part}`: {why}")]
    Part { part: String, why: Refusal },
    #[error("the label `{label}`: {why}")]
    Label { label: String, why: Refusal },
    #[error("views that can be written are not there yet: say read-only")]
    Writable,
    #[error("a principal has at most {PRINCIPAL_MAX} bytes")]
    Principal,
    #[error("`{name}` and `{other}` would be one file")]
    Twins { name: String, other: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {why}")]
    Line { path: PathBuf, line: usize, why: String },
    #[error("{path} has no line `{word}=`")]
    Missing { path: PathBuf, word: &'static str },
}

impl ViewOrder {
    /// What it is to show.
    pub fn view(&self) -> Result<View, OrderError> {
        match self.only.len() {
            0 => return Err(OrderError::Nothing),
            parts if parts > PARTS_MAX => return Err(OrderError::TooMany),
            _ => {}
        }
        if self.principal.len() > PRINCIPAL_MAX {
            return Err(OrderError::Principal);
        }
        let part = |part: &String| Part::parse(part).map_err(|why| OrderError::Part { part: part.clone(), why });
        let only = self.only.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if self.flat {
            refuse_twins(&only)?;
        }
        let label = |label: &String| {
            StageLabel::parse(label.as_bytes()).map_err(|why| OrderError::Label { label: label.clone(), why })
        };
        let label = self.label.as_ref().map(label).transpose()?;
        let layout = if self.flat { Layout::Flat } else { Layout::Tree };
        // What is written would be at another label than what is read.
        if !self.read_only && label.is_none() {
            return Err(OrderError::Writable);
        }
        Ok(View { principal: self.principal.clone(), only, label, layout })
    }

    /// About how long it is in a message, in bytes.
    pub fn size(&self) -> usize {
        let parts: usize = self.only.iter().map(|part| part.len() + 3).sum();
        self.point.as_os_str().len() + self.principal.len() + parts + 256
    }

    /// Reads the file at `path`: `dir=`, `as=` and `only=`, that one again for each part, and `label=`, `layout=flat`, `read-only`.
    pub fn read(path: &Path) -> Result<Self, OrderError> {
        let io = |source| OrderError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.len() > FILE_MAX {
            return Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 64 KiB")));
        }
        Self::parse(path, &fs::read_to_string(path).map_err(io)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, OrderError> {
        let (mut point, mut principal, mut label) = (None, None, None);
        let (mut only, mut read_only, mut flat) = (Vec::new(), false, false);
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| OrderError::Line { path: path.to_owned(), line: number, why: why.to_owned() };
            match line.split_once('=').map_or((line, None), |(word, value)| (word.trim_end(), Some(value.trim_start())))
            {
                ("dir", Some(value)) if Path::new(value).is_absolute() => point = Some(PathBuf::from(value)),
                ("dir", Some(_)) => return Err(wrong("the directory must be an absolute path")),
                ("as", Some(value)) => principal = Some(value.to_owned()),
                ("only", Some(value)) => only.extend(value.split(',').map(|part| part.trim().to_owned())),
                ("label", Some(value)) => label = Some(value.to_owned()),
                ("layout", Some("flat")) => flat = true,
                ("layout", Some("tree")) => flat = false,
                ("layout", Some(_)) => return Err(wrong("a layout is `tree` or `flat`")),
                ("read-only", None) => read_only = true,
                _ => {
                    return Err(wrong(
                        "it is none of dir=DIR, as=PRINCIPAL, only=PATH, label=LABEL, layout=flat, read-only",
                    ));
                }
            }
        }
        let missing = |word| OrderError::Missing { path: path.to_owned(), word };
        let point = point.ok_or_else(|| missing("dir"))?;
        let principal = principal.ok_or_else(|| missing("as"))?;
        if only.is_empty() {
            return Err(missing("only"));
        }
        Ok(Self { point, principal, only, read_only, label, flat })
    }
}

/// Refuses two parts that are secrets of one last name: in a flat view the second would never be seen.
fn refuse_twins(only: &[Part]) -> Result<(), OrderError> {
    let last = |part: &Part| part.name.as_ref().map(|name| name.last().to_owned());
    for (at, part) in only.iter().enumerate() {
        let twin = only[..at].iter().find(|other| last(other).is_some() && last(other) == last(part));
        if let Some(other) = twin {
            return Err(OrderError::Twins { name: part.to_string(), other: other.to_string() });
        }
    }
    Ok(())
}

/// The orders in the files `*.view` of `dir`, by name; none where there is no such directory.
pub fn orders_in(dir: &Path) -> Vec<Result<ViewOrder, OrderError>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => return vec![Err(OrderError::Io { path: dir.to_owned(), source })],
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    paths.iter().map(|path| ViewOrder::read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ViewOrder, String> {
        ViewOrder::parse(Path::new("/etc/app.view"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_a_view_is() {
        let order =
            parse("# the app\ndir = /run/app\nas=role/web\nonly=prod/db, prod/tls\nonly=test\n\nread-only\n").unwrap();
        assert_eq!(order.point, Path::new("/run/app"));
        assert_eq!(order.only, ["prod/db", "prod/tls", "test"]);
        assert!(order.read_only && !order.flat && order.label.is_none());
        let view = order.view().unwrap();
        assert_eq!((view.principal.as_str(), view.only.len(), view.layout), ("role/web", 3, Layout::Tree));
        let order = parse("dir=/run/app\nas=root\nonly=prod/db\nlabel=canary\nlayout=flat\n").unwrap();
        assert!(order.view().unwrap().is_flat(), "what is at a label is read alone");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("as=root\nonly=prod\n", "no line `dir=`"),
            ("dir=/d\nonly=prod\n", "no line `as=`"),
            ("dir=/d\nas=root\n", "no line `only=`"),
            ("dir=d\nas=root\nonly=prod\n", "line 1: the directory must be an absolute path"),
            ("dir=/d\nas=root\nonly=prod\nlayout=x\n", "line 4: a layout is"),
            ("dir=/d\nas=root\nonly=prod\nwhat\n", "line 4: it is none of"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
        let order = parse("dir=/d\nas=root\nonly=prod/db\nread-only\n").unwrap();
        assert!(order.view().is_ok());
        let writable = ViewOrder { read_only: false, ..order.clone() }.view();
        assert!(matches!(writable, Err(OrderError::Writable)));
        let long = ViewOrder { principal: "x".repeat(301), ..order.clone() }.view();
        assert!(matches!(long, Err(OrderError::Principal)));
        for (only, label, flat, why) in [
            (vec![], None, false, "a view shows something"),
            (vec!["prod/.keys"], None, false, "`prod/.keys`: "),
            (vec!["prod"; 65], None, false, "at most 64"),
            (vec!["prod/a/x", "prod/b/x"], None, true, "`prod/b/x` and `prod/a/x` would be one file"),
            (vec!["prod"], Some("a/b"), false, "the label `a/b`"),
        ] {
            let only = only.into_iter().map(str::to_owned).collect();
            let order = ViewOrder { only, label: label.map(str::to_owned), flat, ..order.clone() };
            let said = order.view().unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
