//! Where an import puts what it has: the files of a mount, so that the kernel's permissions hold, and each step is a gesture
//! that anybody could make by hand. All that an import asks and does of secrets goes through here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::cli::reading;
use crate::secret::VALUE_MAX;
use crate::value::Value;

/// Secrets by their directories.
pub struct Shelf;

/// Longest text of an entry that is looked at.
const TEXT_MAX: usize = 64 * 1024;

impl Shelf {
    /// The ids of the versions there; `None` where there is no secret.
    pub fn versions(&self, at: &Path) -> io::Result<Option<Vec<String>>> {
        let listed = match fs::read_dir(at.join("versions")) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let ids = listed.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let ids = ids.collect::<io::Result<Vec<_>>>()?;
        Ok(if ids.is_empty() { None } else { Some(ids) })
    }

    /// Whether the secret `name` below `instance` waits for its purge.
    pub fn is_scheduled(&self, instance: &Path, name: &str) -> bool {
        instance.join(".deleted").join(name.replace('/', "%2F")).symlink_metadata().is_ok()
    }

    /// The version `id`, or what is current.
    pub fn value(&self, at: &Path, id: Option<&str>) -> io::Result<Value> {
        reading::read_file(&entry(at, id), VALUE_MAX)
    }

    /// The id of what is current.
    pub fn current(&self, at: &Path) -> io::Result<String> {
        self.label(at, "ACSCurrent").map(Option::unwrap_or_default)
    }

    /// The id of the version that `label` is at.
    pub fn label(&self, at: &Path, label: &str) -> io::Result<Option<String>> {
        match at.join("stages").join(label).read_link() {
            Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What stands in `tags` or `description`.
    pub fn text(&self, at: &Path, name: &str) -> io::Result<String> {
        let text = reading::read_file(&at.join(name), TEXT_MAX)?;
        Ok(String::from_utf8_lossy(text.as_bytes()).into_owned())
    }

    /// Makes the directory of a secret, and those above it.
    pub fn make(&self, at: &Path) -> io::Result<()> {
        fs::create_dir_all(at)
    }

    /// Writes a version; under its id, or as what is current.
    pub fn put(&self, at: &Path, id: Option<&str>, value: &Value) -> io::Result<()> {
        // `current` of a secret without a version is made by being opened so.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(entry(at, id))?;
        write(file, value.as_bytes())
    }

    /// Adds tags, lines of `key value`.
    pub fn tag(&self, at: &Path, lines: &str) -> io::Result<()> {
        write(OpenOptions::new().append(true).open(at.join("tags"))?, lines.as_bytes())
    }

    /// Writes the description.
    pub fn describe(&self, at: &Path, text: &str) -> io::Result<()> {
        let file = OpenOptions::new().write(true).truncate(true).open(at.join("description"))?;
        write(file, format!("{text}\n").as_bytes())
    }

    /// Puts `label` at the version `id`, from wherever it is.
    pub fn put_label(&self, at: &Path, label: &str, id: &str) -> io::Result<()> {
        if self.label(at, label)?.as_deref() == Some(id) {
            return Ok(());
        }
        let (link, target) = (at.join("stages").join(label), Path::new("../versions").join(id));
        match std::os::unix::fs::symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // As `ln -sfn` does it: the label is at no moment gone.
                let scratch = at.join("stages").join(format!(".{label}"));
                std::os::unix::fs::symlink(&target, &scratch)?;
                fs::rename(&scratch, &link)
            }
            made => made,
        }
    }
}

/// Writes all of it, and hears what became of it: nobody is told what close(2) says.
fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn entry(at: &Path, id: Option<&str>) -> std::path::PathBuf {
    id.map_or_else(|| at.join("current"), |id| at.join("versions").join(id))
}
