//! Users and groups by name, from `/etc/passwd` and `/etc/group` alone: a decision must not wait for a directory service. Each file
//! is read again when it has changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

/// Largest file that is read, in bytes: some hundred thousand users.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// The machine's users and groups.
pub struct People {
    users: File,
    groups: File,
}

/// A user as others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub uid: u32,
    pub gid: u32,
    /// All groups that name it as a member.
    pub groups: Vec<u32>,
    /// Where it is at home, as far as that is known.
    pub home: Option<PathBuf>,
}

struct File {
    path: PathBuf,
    read: Mutex<Option<Arc<Read>>>,
}

#[derive(Default)]
struct Read {
    /// Which file, and when it last changed.
    stamp: Option<(u64, u64, i64, i64)>,
    lines: Vec<Line>,
    /// The names of each number.
    names: BTreeMap<u32, Vec<String>>,
}

/// A line: `name:x:number:rest`.
struct Line {
    name: String,
    number: u32,
    rest: String,
}

impl Default for People {
    fn default() -> Self {
        Self::in_files("/etc/passwd".into(), "/etc/group".into())
    }
}

/// All users and groups, as of one moment.
pub struct Names {
    users: Arc<Read>,
    groups: Arc<Read>,
}

impl People {
    fn in_files(users: PathBuf, groups: PathBuf) -> Self {
        let file = |path| File { path, read: Mutex::default() };
        Self { users: file(users), groups: file(groups) }
    }

    /// All of them now; `None` where they cannot be known: then nobody can say whom a name means. Where there is no such file, nobody
    /// has a name.
    pub fn names(&self) -> Option<Names> {
        Some(Names { users: self.users.current()?, groups: self.groups.current()? })
    }
}

impl Names {
    /// What user `uid` is called: its logins, and the number.
    pub fn of_user(&self, uid: u32) -> Vec<String> {
        self.users.names_of(uid)
    }

    /// What group `gid` is called: its names, and the number.
    pub fn of_group(&self, gid: u32) -> Vec<String> {
        self.groups.names_of(gid)
    }

    /// The user called `name`, by its login or its number.
    pub fn user(&self, name: &str) -> Option<Person> {
        let (uid, gid, login, home) = match self.users.find(name) {
            Some(line) => {
                let mut rest = line.rest.split(':');
                let gid = rest.next().and_then(|gid| gid.parse().ok());
                (line.number, gid, Some(&line.name), rest.nth(1).map(PathBuf::from))
            }
            None => (name.parse().ok()?, None, None, None),
        };
        // Who stands in no file has a group of its own, as far as anybody knows.
        let groups = login.map_or_else(Vec::new, |login| self.groups.with_member(login));
        Some(Person { uid, gid: gid.unwrap_or(uid), groups, home })
    }

    /// The group called `name`, by its name or its number.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.find(name).map(|line| line.number).or_else(|| name.parse().ok())
    }
}

impl File {
    /// What the file says now. It is read anew only where it has changed; one that could not be read is tried again.
    fn current(&self) -> Option<Arc<Read>> {
        let stamp = match fs::metadata(&self.path) {
            Ok(meta) => Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => return None,
        };
        if let Some(read) = self.read.lock().as_ref().filter(|read| read.stamp == stamp) {
            return Some(read.clone());
        }
        let text = match stamp {
            None => Vec::new(),
            Some((_, size, ..)) if size > FILE_MAX => return None,
            Some(_) => fs::read(&self.path).ok()?,
        };
        let read = Arc::new(Read { stamp, ..Read::of(&String::from_utf8_lossy(&text)) });
        *self.read.lock() = Some(read.clone());
        Some(read)
    }
}

impl Read {
    /// The names of `number`, and its digits.
    fn names_of(&self, number: u32) -> Vec<String> {
        let mut names = self.names.get(&number).cloned().unwrap_or_default();
        names.push(number.to_string());
        names
    }

    /// The line of `name`, or of the number that it is.
    fn find(&self, name: &str) -> Option<&Line> {
        let is_digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u32> = if is_digits { name.parse().ok() } else { None };
        self.lines.iter().find(|line| number.map_or(line.name == name, |number| line.number == number))
    }

    /// The numbers of the lines that have `name` in their list of members.
    fn with_member(&self, name: &str) -> Vec<u32> {
        let has = |line: &&Line| line.rest.split(',').any(|member| member == name);
        self.lines.iter().filter(has).map(|line| line.number).collect()
    }

    fn of(text: &str) -> Self {
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        let mut names: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for line in &lines {
            names.entry(line.number).or_default().push(line.name.clone());
        }
        Self { stamp: None, lines, names }
    }
}

impl Line {
    /// A name of digits alone would be taken for a number.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, ':');
        let (name, _, number, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_name = name.bytes().any(|byte| !byte.is_ascii_digit());
        is_name.then_some(())?;
        Some(Self { name: name.to_owned(), number: number.parse().ok()?, rest: rest.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_and_found_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let (users, groups) = (dir.path().join("passwd"), dir.path().join("group"));
        fs::write(&users, "root:x:0:0::/:\nalice:x:1000:100:,,:/:/bin/sh\ntwin:x:1000:100::/:\n77:x:5:5::/:\nbad\n")
            .unwrap();
        fs::write(&groups, "users:x:100:\napp:x:200:bob,alice\nother:x:201:alicex\n").unwrap();
        let people = People::in_files(users.clone(), groups);
        assert_eq!(people.names().unwrap().of_user(1000), ["alice", "twin", "1000"]);
        assert_eq!(people.names().unwrap().of_user(5), ["5"]);
        assert_eq!(people.names().unwrap().of_user(77), ["77"], "not the login of digits");
        assert_eq!(people.names().unwrap().of_group(200), ["app", "200"]);
        let alice = Person { uid: 1000, gid: 100, groups: vec![200], home: Some("/".into()) };
        assert_eq!(people.names().unwrap().user("alice"), Some(alice.clone()));
        assert_eq!(people.names().unwrap().user("1000"), Some(alice));
        assert_eq!(
            people.names().unwrap().user("4242"),
            Some(Person { uid: 4242, gid: 4242, groups: vec![], home: None })
        );
        assert_eq!(people.names().unwrap().user("nobody-here"), None);
        assert_eq!(
            (
                people.names().unwrap().group("app"),
                people.names().unwrap().group("7"),
                people.names().unwrap().group("none")
            ),
            (Some(200), Some(7), None)
        );
        fs::write(&users, "carol:x:1000:100::/:\n").unwrap();
        assert_eq!(people.names().unwrap().of_user(1000), ["carol", "1000"]);
        fs::File::options().write(true).open(&users).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(people.names().is_none(), "nobody knows who is who");
        fs::remove_file(&users).unwrap();
        assert_eq!(people.names().unwrap().of_user(1000), ["1000"]);
    }
}
