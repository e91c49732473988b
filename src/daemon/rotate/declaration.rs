//! What the operator says of a function, in the file `NAME.conf` beside it: as whom it runs, for which secrets, for how long.
//!
//! Whoever owns a secret chooses by name among the functions there are; all that could be abused stands here. So the directory, the file and
//! the function have to be the daemon's own user's or root's, and nobody else's to write.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::people::{People, Person};
use crate::secret::FunctionName;

/// Seconds of a step where nothing is said.
const TIMEOUT: u64 = 60;
/// Most seconds of a step.
const TIMEOUT_MAX: u64 = 3_600;
/// Largest declaration, in bytes.
const SIZE_MAX: u64 = 64 * 1024;
/// w for the group or for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// x for anybody.
const EXECUTABLE: u32 = 0o111;

/// What `create` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Output {
    /// The new value.
    Value,
    /// Members that replace those of the old value.
    Members,
}

/// A function that may be run.
#[derive(Debug)]
pub struct Declaration {
    /// The executable.
    pub program: PathBuf,
    /// As whom.
    pub user: Person,
    /// The user's login.
    pub login: String,
    /// How long a step may take.
    pub timeout: Duration,
    pub output: Output,
    /// For its environment.
    pub variables: Vec<(String, String)>,
    /// Patterns of `INSTANCE/NAME`.
    secrets: Vec<String>,
}

/// Why a function cannot be run as it is declared.
#[derive(Debug, thiserror::Error)]
pub enum DeclarationError {
    #[error("there is no function {function}: {path}: {source}")]
    Missing { function: String, path: PathBuf, source: io::Error },
    #[error("{0} is not the daemon's own user's or root's, or others may write it")]
    Writable(PathBuf),
    #[error("{0} is no executable")]
    NotExecutable(PathBuf),
    #[error("{path}, line {line}: {why}")]
    Line { path: PathBuf, line: usize, why: &'static str },
    #[error("{path}: {why}")]
    Lacks { path: PathBuf, why: &'static str },
    #[error("{path}: there is no user {user}")]
    NoUser { path: PathBuf, user: String },
    #[error("{path}: a daemon that is not root's runs functions as its own user alone")]
    OtherUser { path: PathBuf },
    #[error("the declaration of {function} names no pattern that {secret} fits: it may not rotate it")]
    NotDeclared { function: String, secret: String },
}

impl Declaration {
    /// What is declared of `function` in `dir`, which may rotate `secret`, an `INSTANCE/NAME`.
    pub fn of(dir: &Path, function: &FunctionName, secret: &str) -> Result<Self, DeclarationError> {
        let (program, path) = (dir.join(function.as_str()), dir.join(format!("{}.conf", function.as_str())));
        let missing = |path: &Path| {
            let (function, path) = (function.as_str().to_owned(), path.to_owned());
            move |source| DeclarationError::Missing { function, path, source }
        };
        let text = read(&path).map_err(missing(&path))?;
        let resolved = |path: &Path| fs::canonicalize(path).map_err(missing(path));
        let (program, declared) = (resolved(&program)?, resolved(&path)?);
        // Whoever may change a directory on the way may have another file there in a moment.
        for path in program.ancestors().chain(declared.ancestors()) {
            let meta = fs::metadata(path).map_err(missing(path))?;
            if !is_ours_alone(&meta) {
                return Err(DeclarationError::Writable(path.to_owned()));
            }
        }
        let meta = fs::metadata(&program).map_err(missing(&program))?;
        if !meta.is_file() || meta.mode() & EXECUTABLE == 0 {
            return Err(DeclarationError::NotExecutable(program));
        }
        let declared = Self::parse(&text, program, &path)?;
        if !declared.secrets.iter().any(|pattern| fits(pattern, secret)) {
            let (function, secret) = (function.as_str().to_owned(), secret.to_owned());
            return Err(DeclarationError::NotDeclared { function, secret });
        }
        Ok(declared)
    }

    fn parse(text: &str, program: PathBuf, path: &Path) -> Result<Self, DeclarationError> {
        let lacks = |why| DeclarationError::Lacks { path: path.to_owned(), why };
        let (mut login, mut timeout, mut output) = (None, Duration::from_secs(TIMEOUT), Output::Value);
        let (mut secrets, mut variables) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |why| DeclarationError::Line { path: path.to_owned(), line: at, why };
            let (key, value) = line.split_once('=').ok_or_else(|| bad("it has no `=`"))?;
            match (key.trim_end(), value.trim_start()) {
                ("user", user) => login = Some(user.to_owned()),
                ("secrets", patterns) => secrets.extend(patterns.split_whitespace().map(str::to_owned)),
                ("timeout", seconds) => {
                    let seconds = seconds.parse().ok().filter(|seconds| (1..=TIMEOUT_MAX).contains(seconds));
                    timeout = Duration::from_secs(seconds.ok_or_else(|| bad("a timeout is 1 to 3600 seconds"))?);
                }
                ("output", "value") => output = Output::Value,
                ("output", "members") => output = Output::Members,
                ("output", _) => return Err(bad("an output is `value` or `members`")),
                (key, value) => match key.strip_prefix("env.") {
                    Some(name) if is_variable(name) => variables.push((name.to_owned(), value.to_owned())),
                    Some(_) => return Err(bad("no variable has such a name")),
                    None => return Err(bad("it is neither user, secrets, timeout, output nor env.NAME")),
                },
            }
        }
        let login = login.ok_or_else(|| lacks("it names no user"))?;
        let user = People::default().names().and_then(|names| names.user(&login));
        let user = user.ok_or_else(|| DeclarationError::NoUser { path: path.to_owned(), user: login.clone() })?;
        let own = rustix::process::geteuid();
        if !own.is_root() && user.uid != own.as_raw() {
            return Err(DeclarationError::OtherUser { path: path.to_owned() });
        }
        Ok(Self { program, user, login, timeout, output, variables, secrets })
    }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > SIZE_MAX {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    fs::read_to_string(path)
}

/// Whether nobody but root and the daemon's own user can have written it. In a directory with the sticky bit others change only what is theirs.
fn is_ours_alone(meta: &Metadata) -> bool {
    let owned = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
    let is_shared = meta.is_dir() && meta.mode() & STICKY != 0;
    owned && (is_shared || meta.mode() & WRITABLE_BY_OTHERS == 0)
}

fn is_variable(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(good) && !name.starts_with("KMSFS_")
}

/// Whether `text` fits `pattern`, in which `*` stands for anything: greedy from the left.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(tail) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn patterns_of_secrets() {
        for (pattern, text, expected) in [
            ("prod/db/password", "prod/db/password", true),
            ("prod/db/password", "prod/db/password2", false),
            ("prod/db/*", "prod/db/password", true),
            ("prod/db/*", "prod/db/a/b", true),
            ("prod/db/*", "prod/dba", false),
            ("*", "prod/x", true),
            ("*/db/*/password", "prod/db/a/password", true),
            ("*/db/*/password", "prod/db/password", false),
            ("prod*prod", "prod", false),
            ("", "prod/x", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn parsed(text: &str) -> Result<Declaration, DeclarationError> {
        Declaration::parse(text, "/x/f".into(), Path::new("/x/f.conf"))
    }

    #[test]
    fn a_declaration_says_who_and_what_for() {
        let declared = parsed(
            "# who\nuser=root\nsecrets=prod/a prod/b*\nsecrets = x/*\ntimeout=5\noutput=members\nenv.A= b c \n\n",
        )
        .unwrap();
        assert_eq!((declared.user.uid, declared.login.as_str()), (0, "root"));
        assert_eq!(declared.secrets, ["prod/a", "prod/b*", "x/*"]);
        assert_eq!((declared.timeout, declared.output), (Duration::from_secs(5), Output::Members));
        assert_eq!(declared.variables, [("A".to_owned(), "b c".to_owned())]);
        for bad in [
            "secrets=*",
            "user=nobody-of-that-name",
            "user=root\ntimeout=0",
            "user=root\ntimeout=3601",
            "user=root\noutput=json",
            "user=root\nenv.KMSFS_SECRET=x",
            "user=root\nenv.1=x",
            "user=root\nenv.=x",
            "user=root\ngroup=x",
            "user",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_else_may_have_written_it() {
        let dir = tempfile::tempdir().unwrap();
        let function = FunctionName::parse("f").unwrap();
        let at = |name: &str| dir.path().join(name);
        let chmod = |name: &str, mode: u32| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        let of = || Declaration::of(dir.path(), &function, "prod/a");
        assert!(matches!(of(), Err(DeclarationError::Missing { .. })));
        fs::write(at("f.conf"), "user=root\nsecrets=prod/*\n").unwrap();
        assert!(matches!(of(), Err(DeclarationError::Missing { .. })));
        fs::write(at("f"), "#!/bin/sh\n").unwrap();
        chmod("f", 0o644);
        assert!(matches!(of(), Err(DeclarationError::NotExecutable(_))));
        chmod("f", 0o755);
        assert!(of().is_ok());
        assert!(matches!(Declaration::of(dir.path(), &function, "test/a"), Err(DeclarationError::NotDeclared { .. })));
        for (name, mode) in [("f", 0o775), ("f.conf", 0o646), ("", 0o777)] {
            let before = fs::metadata(at(name)).unwrap().permissions();
            chmod(name, mode);
            assert!(matches!(of(), Err(DeclarationError::Writable(_))), "{name}");
            fs::set_permissions(at(name), before).unwrap();
        }
        std::os::unix::fs::chown(at("f"), Some(1000), None).unwrap();
        assert!(matches!(of(), Err(DeclarationError::Writable(_))));
    }
}
