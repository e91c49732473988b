//! A function as kmsfs calls it, by `docs/rotation.md`: session, user, environment, descriptors. Each call is watched: no value of it
//! may be in an argument of any process, nor in what it says, and nothing that it started may stay.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cmdlines;
use crate::declaration::{Declaration, Output};
use crate::room::{Said, is_root};
use crate::secret::{self, Values};
use crate::services::Account;

/// The steps, in their order.
pub const STEPS: [&str; 4] = ["create", "set", "test", "finish"];
/// What stands in `dist/rotate.d`.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/rotate.d");
/// Opens the values of process $1 at its descriptors $2 to $4, and becomes the rest.
const OPEN_AND_BECOME: &str = r#"
exec 3<"/proc/$1/fd/$2" 4<"/proc/$1/fd/$3" 5<"/proc/$1/fd/$4"
shift 4
cd /
umask 077
exec "$@"
"#;

/// A function with a declaration, installed where its user can run it.
pub struct Function {
    dir: tempfile::TempDir,
    name: String,
    account: Account,
    pub declaration: Declaration,
    secret: String,
    /// Where all programs that it executes are written down, with arguments and environment.
    trace: Option<PathBuf>,
}

impl Function {
    /// The one that is shipped as `name`, as its sample declares it.
    #[track_caller]
    pub fn shipped(name: &str) -> Self {
        let text = |name: &str| fs::read_to_string(Path::new(SHIPPED).join(name)).unwrap();
        Self::installed(name, &text(name), &text(&format!("{name}.conf")))
    }

    /// The program `text`, as `declaration` says.
    #[track_caller]
    pub fn installed(name: &str, text: &str, declaration: &str) -> Self {
        assert!(is_root(), "this test calls functions as their users: it must be run by root");
        let dir = tempfile::Builder::new().prefix("kmsfs-test-").tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        for path in [dir.path(), &dir.path().join(name)] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let declaration = Declaration::parse(declaration);
        let account = Account::named(&declaration.user);
        Self { dir, name: name.to_owned(), account, declaration, secret: "prod/db/web.example".to_owned(), trace: None }
    }

    /// With `env.NAME=value` in its declaration.
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.declaration.env.insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    /// With an entry for its secret in the setting `name`.
    pub fn binding(self, name: &str, to: &str) -> Self {
        let entry = format!("{}:{to}", self.secret);
        self.with(name, entry)
    }

    pub fn with_path(self, name: &str, value: &Path) -> Self {
        self.with(name, value.to_str().unwrap())
    }

    pub fn running_as(mut self, user: &str) -> Self {
        self.account = Account::named(user);
        self
    }

    pub fn rotating(mut self, secret: &str) -> Self {
        self.secret = secret.to_owned();
        self
    }

    pub fn traced_to(mut self, file: &Path) -> Self {
        self.trace = Some(file.to_owned());
        self
    }

    /// Takes a step, to its end.
    #[track_caller]
    pub fn step(&self, step: &str, values: &Values) -> Said {
        let call = self.start(step, values);
        let session = call.child.id();
        let output = call.child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("a function says text");
        let said =
            Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
        let mut secrets = values.secrets();
        if step == "create" {
            secrets.extend(secret::secrets(said.out.as_bytes()));
        }
        for secret in &secrets {
            assert!(!cmdlines::saw(secret), "{} {step}: a value in an argument", self.name);
            assert!(!said.err.contains(secret.as_str()), "{} {step}: a value in {:?}", self.name, said.err);
        }
        let left = cmdlines::session(session);
        assert!(left.is_empty(), "{} {step} left {left:?}", self.name);
        said
    }

    /// Takes a step that must be done.
    #[track_caller]
    pub fn done(&self, step: &str, values: &Values) -> String {
        let said = self.step(step, values);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{} {step}: {said:?}", self.name);
        said.out
    }

    /// Takes a step that must end with `code`, and say `words` in its last line.
    #[track_caller]
    pub fn fails(&self, step: &str, values: &Values, code: i32, words: &str) {
        let said = self.step(step, values);
        let last = said.err.lines().last().unwrap_or_default();
        let begins = format!("{}: ", self.name);
        assert!(said.code == code && last.contains(words) && last.starts_with(&begins), "{step}: {said:?}");
        assert!(last.len() <= 512, "it is cut: {last}");
        assert_eq!(said.out, "", "{step}");
    }

    /// Begins a step, kills it after `moment`, and says whether it was still on its way.
    #[track_caller]
    pub fn kill(&self, step: &str, values: &Values, moment: Duration) -> bool {
        let mut call = self.start(step, values);
        let begun = Instant::now();
        while begun.elapsed() < moment && call.child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let ran = call.child.try_wait().unwrap().is_none();
        if ran {
            // It may be on the way from its parent's group to its own.
            while kill_process_group(Pid::from_child(&call.child), Signal::KILL).is_err() {
                std::thread::yield_now();
            }
        }
        call.child.wait().unwrap();
        ran
    }

    fn start(&self, step: &str, values: &Values) -> Call {
        cmdlines::watch();
        let memory = [&values.old, &values.new, &values.before].map(|value| sealed(value));
        let mut command = Command::new("setsid");
        command.args(["sh", "-ec", OPEN_AND_BECOME, "call", &std::process::id().to_string()]);
        command.args(memory.iter().map(|value| value.as_raw_fd().to_string()));
        if let Some(trace) = &self.trace {
            command.args(["strace", "-f", "-qq", "-A", "-v", "-s", "100000", "-e", "trace=execve", "-o"]).arg(trace);
        }
        let Account { name, gid, home, .. } = &self.account;
        command.args(["setpriv", "--reuid", name, "--regid", &gid.to_string(), "--init-groups"]);
        command.arg(self.dir.path().join(&self.name)).arg(step);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8").env("HOME", home).env("USER", name).env("LOGNAME", name);
        command.env("SHELL", "/bin/sh").env("KMSFS_SECRET", &self.secret).env("KMSFS_VERSION", "v2");
        command.env("KMSFS_OUTPUT", if self.declaration.output == Output::Members { "members" } else { "value" });
        command.envs(&self.declaration.env);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Call { child, _memory: memory }
    }
}

/// A step on its way.
struct Call {
    child: Child,
    /// Until it has ended: it opens them when it starts.
    _memory: [OwnedFd; 3],
}

/// A value in memory that nobody can change, and that its path gives to root alone.
fn sealed(value: &[u8]) -> OwnedFd {
    let memory = memfd_create("value", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let mut file = File::from(memory);
    file.write_all(value).unwrap();
    fchmod(&file, Mode::RUSR).unwrap();
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).unwrap();
    file.into()
}
