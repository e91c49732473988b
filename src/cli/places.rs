//! Where things are unless somebody says otherwise: in the system's places for root, in the user's own for others.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::report::CliError;

/// A place, for root and for others.
pub struct Place {
    pub what: &'static str,
    pub root: &'static str,
    /// The variable with the directory that it is in for others,
    pub variable: &'static str,
    /// that directory below the home where the variable is not set,
    pub fallback: &'static str,
    /// and its name there.
    pub name: &'static str,
}

const STORE: Place = Place {
    what: "the store",
    root: "/var/lib/kmsfs",
    variable: "XDG_DATA_HOME",
    fallback: ".local/share",
    name: "kmsfs",
};
const KEY_FILE: Place = Place {
    what: "the key file",
    root: "/etc/kmsfs/master.key",
    variable: "XDG_CONFIG_HOME",
    fallback: ".config",
    name: "kmsfs/master.key",
};
const ANCHORS: Place = Place {
    what: "the anchors (a file for each store)",
    root: "/var/lib/kmsfs-anchor",
    variable: "XDG_STATE_HOME",
    fallback: ".local/state",
    name: "kmsfs/anchor",
};
const LOG: Place = Place {
    what: "the daemon's log",
    root: "/var/log/kmsfs.log",
    variable: "XDG_STATE_HOME",
    fallback: ".local/state",
    name: "kmsfs/kmsfs.log",
};

const AUDIT: Place = Place {
    what: "the record of all decisions (a directory for each store)",
    root: "/var/log/kmsfs-audit",
    variable: "XDG_STATE_HOME",
    fallback: ".local/state",
    name: "kmsfs/audit",
};

const FUNCTIONS: Place = Place {
    what: "the functions that rotate secrets",
    root: "/etc/kmsfs/rotate.d",
    variable: "XDG_CONFIG_HOME",
    fallback: ".config",
    name: "kmsfs/rotate.d",
};

const VIEWS: Place = Place {
    what: "the files that say which views there are",
    root: "/etc/kmsfs/views.d",
    variable: "XDG_CONFIG_HOME",
    fallback: ".config",
    name: "kmsfs/views.d",
};

/// All of them, as man pages list them.
pub const PLACES: [Place; 7] = [STORE, KEY_FILE, ANCHORS, LOG, AUDIT, FUNCTIONS, VIEWS];

/// The store's directory.
pub fn store() -> Result<PathBuf, CliError> {
    of(&STORE)
}

/// The key file.
pub fn key_file() -> Result<PathBuf, CliError> {
    of(&KEY_FILE)
}

/// The directory of anchors, a file for each store.
pub fn anchors() -> Result<PathBuf, CliError> {
    of(&ANCHORS)
}

/// The daemon's log.
pub fn log() -> Result<PathBuf, CliError> {
    of(&LOG)
}

/// The directory of all stores' records.
pub fn audit() -> Result<PathBuf, CliError> {
    of(&AUDIT)
}

/// The directory of the functions that rotate secrets.
pub fn functions() -> Result<PathBuf, CliError> {
    of(&FUNCTIONS)
}

/// The directory of the files that say which views there are.
pub fn views() -> Result<PathBuf, CliError> {
    of(&VIEWS)
}

fn of(place: &Place) -> Result<PathBuf, CliError> {
    if is_root() { Ok(place.root.into()) } else { user(place.variable, place.fallback, place.name) }
}

/// `path` from the root, without `.` and without a slash at the end, which would follow a link. Nothing is looked at.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    let path = std::path::absolute(path).map_err(|source| CliError::Path { path: path.to_owned(), source })?;
    Ok(path.components().collect())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place of the XDG base directories; a variable that is not absolute counts as not set.
fn user(variable: &'static str, fallback: &str, name: &str) -> Result<PathBuf, CliError> {
    let set = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(OsStr::new(fallback))));
    Ok(base.ok_or(CliError::NoHome(variable))?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_place() {
        let readme = include_str!("../../README.md");
        for Place { what, root, variable, fallback, name } in PLACES {
            let row = readme.lines().find(|line| line.contains(&format!("| `{root}")));
            let row = row.unwrap_or_else(|| panic!("{what} of root is not in the README"));
            for of_others in [format!("`${variable}/{name}"), format!("`~/{fallback}/{name}")] {
                assert!(row.contains(&of_others), "{what}: {of_others} is not in {row}");
            }
        }
    }
}
