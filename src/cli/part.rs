//! A file that gets its name when it is whole: until then it is `FILE.part` beside it, for its owner alone.
//!
//! Invariant: under its name there is what was there before, or all of the new one; what failed leaves nothing behind.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::moving::MovingError;
use super::report::CliError;
use crate::store::LOCK;

/// The file while it is being written.
pub struct PartFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    replaces: bool,
}

impl PartFile {
    /// Begins the file `path`, which is absolute; one that is there is replaced in the end with `replaces`, else refused.
    pub fn begin(path: &Path, replaces: bool) -> Result<Self, CliError> {
        if path.parent().is_some_and(|dir| dir.join(LOCK).exists()) {
            return Err(MovingError::FileInStore(path.to_owned()).into());
        }
        match path.symlink_metadata() {
            Ok(_) if !replaces => return Err(MovingError::FileExists(path.to_owned()).into()),
            Ok(found) if !found.is_file() => return Err(MovingError::NoPlainFile(path.to_owned()).into()),
            Ok(_) | Err(_) => {}
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = open(&part).map_err(|source| CliError::Path { path: part.clone(), source })?;
        let file = file.ok_or_else(|| MovingError::PartInUse(part.clone()))?;
        Ok(Self { file, part, path: path.to_owned(), replaces })
    }

    /// What is written to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is now.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Makes it durable, and gives it its name.
    pub fn finish(self) -> Result<(), CliError> {
        let io = |source| CliError::Path { path: self.path.clone(), source };
        self.file.sync_all().map_err(io)?;
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.part, CWD, &self.path, flags) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(MovingError::FileExists(self.path.clone()).into()),
            // A filesystem that cannot rename so: it was looked at in the beginning.
            Err(rustix::io::Errno::INVAL) => fs::rename(&self.part, &self.path).map_err(io)?,
            Err(error) => return Err(io(error.into())),
        }
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Not there any more once it has its name.
        let _ = fs::remove_file(&self.part);
    }
}

/// Opens and empties `part`, or says `None` where another process is writing it. What a process that died has left is taken.
fn open(part: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(part)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let (own, named) = (file.metadata()?, part.symlink_metadata()?);
    if (own.dev(), own.ino()) != (named.dev(), named.ino()) {
        // Its former writer has given it its name meanwhile.
        return Ok(None);
    }
    if !own.is_file() || own.nlink() != 1 || own.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is there, and no plain file of yours"));
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_name_is_given_to_what_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let begin = |replaces| PartFile::begin(&path, replaces);
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let mut part = begin(false).unwrap();
        part.file().write_all(b"one").unwrap();
        assert!(matches!(begin(false), Err(CliError::Moving(MovingError::PartInUse(_)))));
        assert!(!path.exists());
        part.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names()), (b"one".to_vec(), 1));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(begin(false), Err(CliError::Moving(MovingError::FileExists(_)))));
        // One that was killed has left a part, with whatever bits.
        fs::write(dir.path().join("file.part"), "longer than two").unwrap();
        fs::set_permissions(dir.path().join("file.part"), Permissions::from_mode(0o666)).unwrap();
        let mut part = begin(true).unwrap();
        part.file().write_all(b"two").unwrap();
        drop(part);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"one".to_vec(), 1), "given up");
        let mut part = begin(true).unwrap();
        part.file().write_all(b"two").unwrap();
        part.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names()), (b"two".to_vec(), 1));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_stands_in_the_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let part = PartFile::begin(&path, false).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        assert!(matches!(part.finish(), Err(CliError::Moving(MovingError::FileExists(_)))));
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(matches!(
            PartFile::begin(&dir.path().join("link"), true),
            Err(CliError::Moving(MovingError::NoPlainFile(_)))
        ));
        std::os::unix::fs::symlink(&path, dir.path().join("other.part")).unwrap();
        assert!(matches!(PartFile::begin(&dir.path().join("other"), true), Err(CliError::Path { .. })));
        fs::write(dir.path().join("store.lock"), "").unwrap();
        assert!(matches!(PartFile::begin(&path, true), Err(CliError::Moving(MovingError::FileInStore(_)))));
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    }
}
