//! Unlock sources: a key file, a passphrase, a systemd credential; each becomes a [`Key`].
//!
//! A key file is 32 raw bytes or 64 hexadecimal digits, readable by its owner alone. It is opened first and judged through
//! the descriptor, so that nothing can be swapped between the look and the read. Knows no slot and no store but the directory
//! in which no key may lie. Invariant: key bytes stand in memory that is wiped; no error has them in it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use super::open::lies_in;
use crate::crypto::Source;
use crate::durable;

/// Where a key comes from.
pub enum KeySource {
    KeyFile(PathBuf),
    /// The first line of a file.
    PassphraseFile(PathBuf),
    /// Typed, or handed over a pipe.
    Passphrase(Zeroizing<Vec<u8>>),
    /// A file of this name in `$CREDENTIALS_DIRECTORY`, with the content of a key file.
    Credential(String),
}

/// What opens a slot, in memory that is wiped.
pub enum Key {
    File(Box<Zeroizing<[u8; KEY_LEN]>>),
    Passphrase(Zeroizing<Vec<u8>>),
}

impl Key {
    /// As the envelope takes it.
    pub fn source(&self) -> Source<'_> {
        match self {
            Key::File(bytes) => Source::KeyFile(bytes),
            Key::Passphrase(bytes) => Source::Passphrase(bytes),
        }
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key file {0} does not exist")]
    Missing(PathBuf),
    #[error("there is a key file {0} already")]
    Exists(PathBuf),
    #[error("{0} is a symbolic link, not a file")]
    Symlink(PathBuf),
    #[error("{0} is not a regular file")]
    NotRegular(PathBuf),
    #[error("{path} has {links} names (hard links); a key has one")]
    HardLinked { path: PathBuf, links: u64 },
    #[error("{path} belongs to uid {owner}, neither to root nor to you")]
    Owner { path: PathBuf, owner: u32 },
    #[error("others may use {path}: its mode is {mode:04o}")]
    Mode { path: PathBuf, mode: u32 },
    #[error("{0} lies in the store's own directory")]
    InStore(PathBuf),
    #[error("{0} holds no key: neither 32 bytes nor 64 hexadecimal digits")]
    Malformed(PathBuf),
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("the passphrase is longer than {MAX_PASSPHRASE} bytes")]
    LongPassphrase,
    #[error("$CREDENTIALS_DIRECTORY is not set: there are no credentials outside of a systemd service")]
    NoCredentials,
    #[error("`{0}` is no name of a credential")]
    CredentialName(String),
    #[error("the system gives no random bytes")]
    Random,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// A key in hexadecimal and its newline.
const MAX_KEY_FILE: usize = 2 * KEY_LEN + 1;
/// Bytes of a passphrase: far above what anybody types, far below what a file given by mistake may have.
const MAX_PASSPHRASE: usize = 1024;
/// Who else a key's file may belong to.
const ROOT: u32 = 0;
/// The bits that group and others have.
const OTHERS: u32 = 0o077;

/// Reads a key for the store in `store`.
pub fn read_key(source: &KeySource, store: &Path) -> Result<Key, KeyError> {
    match source {
        KeySource::KeyFile(path) => read_key_bytes(&mut open_private(path, store)?, path),
        KeySource::PassphraseFile(path) => read_passphrase(&mut open_private(path, store)?, path).map(Key::Passphrase),
        KeySource::Passphrase(bytes) => first_line(bytes).map(Key::Passphrase),
        KeySource::Credential(name) => {
            let path = credential_path(name)?;
            // The service manager guards the directory, and gives the files a mode of its own making.
            read_key_bytes(&mut open_regular(&path)?, &path)
        }
    }
}

/// The passphrase in what `input` gives, its first line; `path` names it in errors.
pub fn read_passphrase(input: &mut impl io::Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(vec![0; MAX_PASSPHRASE + 2]);
    let len = fill(input, &mut bytes).map_err(|source| io_error(path, source))?;
    first_line(&bytes[..len])
}

/// Makes a key file of random bytes, durably and for its owner alone, and the directories above it.
pub fn make_key_file(path: &Path, store: &Path) -> Result<Key, KeyError> {
    refuse_inside(path, store)?;
    let io = |source| io_error(path, source);
    let parent = durable::above(path);
    durable::make_dirs(parent, 0o700).map_err(io)?;
    let mut key = Box::new(Zeroizing::new([0; KEY_LEN]));
    getrandom::fill(key.as_mut_slice()).map_err(|_| KeyError::Random)?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|source| match source.kind() == io::ErrorKind::AlreadyExists {
        true => KeyError::Exists(path.to_owned()),
        false => io_error(path, source),
    })?;
    file.write_all(key.as_slice()).and_then(|()| file.sync_all()).map_err(io)?;
    durable::sync(parent).map_err(io)?;
    Ok(Key::File(key))
}

/// Opens a file that only its owner may use.
fn open_private(path: &Path, store: &Path) -> Result<File, KeyError> {
    let file = open_regular(path)?;
    let meta = file.metadata().map_err(|source| io_error(path, source))?;
    let path = path.to_owned();
    if meta.nlink() != 1 {
        return Err(KeyError::HardLinked { path, links: meta.nlink() });
    }
    if meta.uid() != ROOT && meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyError::Owner { path, owner: meta.uid() });
    }
    if meta.mode() & OTHERS != 0 {
        return Err(KeyError::Mode { path, mode: meta.mode() & 0o7777 });
    }
    refuse_inside(&path, store)?;
    Ok(file)
}

/// Opens a regular file without following a link in its last component, and without waiting on a pipe.
fn open_regular(path: &Path) -> Result<File, KeyError> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) => KeyError::Missing(path.to_owned()),
        Some(libc::ELOOP) => KeyError::Symlink(path.to_owned()),
        Some(libc::ENXIO) => KeyError::NotRegular(path.to_owned()),
        Some(_) | None => io_error(path, source),
    })?;
    let meta = file.metadata().map_err(|source| io_error(path, source))?;
    if meta.is_file() { Ok(file) } else { Err(KeyError::NotRegular(path.to_owned())) }
}

/// A thief who takes the store's directory must not find the key in it.
fn refuse_inside(path: &Path, store: &Path) -> Result<(), KeyError> {
    if lies_in(path, store) { Err(KeyError::InStore(path.to_owned())) } else { Ok(()) }
}

fn credential_path(name: &str) -> Result<PathBuf, KeyError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) => {
            let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(KeyError::NoCredentials)?;
            Ok(Path::new(&dir).join(only))
        }
        (Some(_) | None, _) => Err(KeyError::CredentialName(name.to_owned())),
    }
}

fn read_key_bytes(file: &mut File, path: &Path) -> Result<Key, KeyError> {
    // One byte more than a key can have, so that a longer file is seen to be one.
    let mut bytes = Zeroizing::new([0; MAX_KEY_FILE + 1]);
    let len = fill(file, bytes.as_mut_slice()).map_err(|source| io_error(path, source))?;
    parse_key(&bytes[..len]).map(Key::File).ok_or_else(|| KeyError::Malformed(path.to_owned()))
}

fn parse_key(bytes: &[u8]) -> Option<Box<Zeroizing<[u8; KEY_LEN]>>> {
    let mut key = Box::new(Zeroizing::new([0; KEY_LEN]));
    if bytes.len() == KEY_LEN {
        key.copy_from_slice(bytes);
        return Some(key);
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [hex_digit(pair[0])?, hex_digit(pair[1])?];
        *byte = high << 4 | low;
    }
    Some(key)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn first_line(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() {
        0 => Err(KeyError::EmptyPassphrase),
        1..=MAX_PASSPHRASE => Ok(Zeroizing::new(line.to_vec())),
        _ => Err(KeyError::LongPassphrase),
    }
}

/// Reads until `buffer` is full or the input ends; nothing is copied through a buffer that is not wiped.
fn fill(input: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Room {
        dir: tempfile::TempDir,
    }

    impl Room {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("store")).unwrap();
            Self { dir }
        }

        fn file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }

        fn read(&self, path: &Path) -> Result<Key, KeyError> {
            read_key(&KeySource::KeyFile(path.to_owned()), &self.dir.path().join("store"))
        }
    }

    fn bytes(key: Key) -> Vec<u8> {
        match key {
            Key::File(bytes) => bytes.to_vec(),
            Key::Passphrase(bytes) => bytes.to_vec(),
        }
    }

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let digits = "0f".repeat(32);
        for (content, expected) in [
            (vec![7; 32], Some(vec![7; 32])),
            (digits.clone().into_bytes(), Some(vec![0x0f; 32])),
            (format!("{}\n", digits.to_uppercase()).into_bytes(), Some(vec![0x0f; 32])),
            (vec![7; 31], None),
            (vec![7; 33], None),
            (vec![], None),
            (format!("{digits}\n\n").into_bytes(), None),
            (format!("{}zz", &digits[2..]).into_bytes(), None),
            (vec![7; 4096], None),
        ] {
            let room = Room::new();
            let path = room.file("key", &content, 0o600);
            match (room.read(&path), expected) {
                (Ok(key), Some(expected)) => assert_eq!(bytes(key), expected),
                (Err(KeyError::Malformed(_)), None) => {}
                (other, _) => panic!("{content:?}: {:?}", other.err()),
            }
        }
    }

    #[test]
    fn a_file_that_others_can_reach_is_no_key() {
        let room = Room::new();
        let key = [1; 32];
        assert!(matches!(room.read(&room.dir.path().join("none")), Err(KeyError::Missing(_))));
        assert!(matches!(room.read(room.dir.path()), Err(KeyError::NotRegular(_))));
        for mode in [0o640, 0o604, 0o610, 0o601, 0o666] {
            assert!(matches!(room.read(&room.file("open", &key, mode)), Err(KeyError::Mode { .. })), "{mode:o}");
        }
        let path = room.file("key", &key, 0o400);
        assert!(room.read(&path).is_ok());
        std::os::unix::fs::symlink(&path, room.dir.path().join("link")).unwrap();
        assert!(matches!(room.read(&room.dir.path().join("link")), Err(KeyError::Symlink(_))));
        let inside = room.file("store/key", &key, 0o600);
        assert!(matches!(room.read(&inside), Err(KeyError::InStore(_))));
        fs::hard_link(&path, room.dir.path().join("second")).unwrap();
        assert!(matches!(room.read(&path), Err(KeyError::HardLinked { links: 2, .. })));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            room.dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(room.read(&room.dir.path().join("fifo")), Err(KeyError::NotRegular(_))));
    }

    #[test]
    fn a_made_key_is_private_and_made_once() {
        let room = Room::new();
        let path = room.dir.path().join("etc/kmsfs/key");
        let made = make_key_file(&path, &room.dir.path().join("store")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(bytes(room.read(&path).unwrap()), bytes(made));
        assert!(matches!(make_key_file(&path, &room.dir.path().join("store")), Err(KeyError::Exists(_))));
        let inside = room.dir.path().join("store/key");
        assert!(matches!(make_key_file(&inside, &room.dir.path().join("store")), Err(KeyError::InStore(_))));
    }

    #[test]
    fn a_passphrase_is_a_first_line() {
        let room = Room::new();
        for (content, expected) in [
            (&b"correct horse\nsecond line\n"[..], Some(&b"correct horse"[..])),
            (b"no newline", Some(b"no newline")),
            (b"dos\r\n", Some(b"dos")),
            (b"\n", None),
            (b"", None),
            (&[b'x'; MAX_PASSPHRASE + 1], None),
        ] {
            let source = KeySource::PassphraseFile(room.file("pass", content, 0o600));
            let read = read_key(&source, &room.dir.path().join("store"));
            assert_eq!(read.ok().map(bytes).as_deref(), expected);
        }
    }

    #[test]
    fn a_credential_is_a_plain_name() {
        for name in ["", "a/b", "..", "/etc/shadow", "."] {
            assert!(matches!(credential_path(name), Err(KeyError::CredentialName(_))), "{name:?}");
        }
    }
}
