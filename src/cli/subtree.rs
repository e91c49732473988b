//! A part of a mount's tree: all of it, an instance, or what is below a name.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::moving::MovingError;
use super::report::CliError;
use crate::daemon;

/// A place in a mount, which may not be there yet.
pub struct Subtree {
    /// The mount point.
    pub root: PathBuf,
    /// The instance; none at the mount's root.
    pub instance: Option<String>,
    /// The name below it, empty at the instance itself.
    pub name: String,
}

impl Subtree {
    /// What `path` stands for, which is no entry of a secret or of the mount itself.
    pub fn of(path: &Path) -> Result<Self, CliError> {
        let Address { mount, instance, secret, entry: _ } = Address::of(path)?;
        let name = secret.unwrap_or_default();
        let last = name.rsplit('/').next().filter(|last| !last.is_empty()).or(instance.as_deref());
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let is_point = daemon::list().is_ok_and(|mounts| mounts.iter().any(|mount| mount.path == real));
        if !is_point && real.file_name().and_then(|name| name.to_str()) != last {
            return Err(MovingError::Entry(path.to_owned()).into());
        }
        Ok(Self { root: mount, instance, name })
    }

    /// The directory of the secret `name` in `instance`.
    pub fn directory(&self, instance: &str, name: &str) -> PathBuf {
        self.root.join(instance).join(name)
    }
}
