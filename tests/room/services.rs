//! Services that a test has for itself: PostgreSQL, Redis and sshd of Debian's packages, each in a directory of its own, as a user
//! without privileges, on a Unix socket and a free port of the loopback. Each ends when it is dropped, and when the thread that
//! started it does.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a service may take until it answers: far more than any does on a machine that is busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two questions whether it answers.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody took the free one in the meantime.
const PORTS: usize = 5;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A user of this machine, as /etc/passwd has it.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

impl Account {
    #[track_caller]
    pub fn named(name: &str) -> Self {
        let table = fs::read_to_string("/etc/passwd").unwrap();
        let line = table.lines().find(|line| line.split(':').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("there is no user {name}: scripts/test-packages --install"));
        let fields: Vec<&str> = line.split(':').collect();
        let [uid, gid] = [2, 3].map(|at: usize| fields[at].parse().unwrap());
        Self { name: name.to_owned(), uid, gid, home: fields[5].to_owned() }
    }

    /// `program`, as that user with its groups, in a clean environment.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.name, "--regid", &self.gid.to_string(), "--init-groups", "--pdeathsig", "KILL"]);
        command.arg(program.as_ref()).env_clear().env("PATH", PATH).env("HOME", &self.home).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    /// A directory that is this user's.
    pub fn dir(&self) -> tempfile::TempDir {
        let dir = tempfile::Builder::new().prefix("kmsfs-test-").tempdir().unwrap();
        self.owns(dir.path());
        dir
    }

    /// Gives `path` to this user.
    pub fn owns(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).unwrap();
    }
}

/// A process that runs until this is dropped.
struct Daemon {
    child: Child,
    /// What ends it at once, with its own children.
    signal: Signal,
}

impl Daemon {
    /// Starts what `command` gives for a port, and waits until `answers`.
    #[track_caller]
    fn start(
        signal: Signal,
        log: &Path,
        command: impl Fn(u16) -> Command,
        answers: impl Fn(u16) -> bool,
    ) -> (Self, u16) {
        for _ in 0..PORTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let log = File::options().create(true).append(true).open(log).unwrap();
            let child = command(port).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
            let mut daemon = Self { child, signal };
            if daemon.is_ready(|| answers(port)) {
                return (daemon, port);
            }
        }
        panic!("{:?} does not start: {}", command(0), fs::read_to_string(log).unwrap());
    }

    fn is_ready(&mut self, answers: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() && begun.elapsed() < READY_WITHIN {
            if answers() {
                return true;
            }
            thread::sleep(ASK_AGAIN);
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; what has not been waited for keeps its number.
        let _ = kill_process(Pid::from_child(&self.child), self.signal);
        let _ = self.child.wait();
    }
}

/// The path of a program.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let found = PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not there: scripts/test-packages --install"))
}

/// The output of `command`, which must succeed.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A PostgreSQL whose superuser `postgres` comes by the socket as the user of that name, and everybody else with a password
/// (SCRAM): by the socket as well as by the loopback. It logs every statement, and counts them in pg_stat_statements.
pub struct Postgres {
    account: Account,
    daemon: Option<Daemon>,
    bin: PathBuf,
    /// Where its socket is.
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Postgres {
    #[track_caller]
    pub fn start() -> Self {
        let account = Account::named("postgres");
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
        let bins = versions.map(|version| version.join("bin")).filter(|bin| bin.join("postgres").exists());
        let bin = bins.max().expect("postgresql is not there: scripts/test-packages --install");
        let dir = account.dir();
        let data = dir.path().join("data");
        let mut initdb = account.command(bin.join("initdb"));
        initdb
            .args([
                "-U",
                "postgres",
                "-A",
                "peer",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--wal-segsize=1",
                "-D",
            ])
            .arg(&data);
        output(&mut initdb);
        let hba = "local all postgres peer\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let mut postgres = Self { account, daemon: None, bin, dir, port: 0 };
        let (daemon, port) = Daemon::start(
            Signal::QUIT,
            &postgres.log_file(),
            |port| postgres.server(port),
            |port| postgres.answers(port),
        );
        (postgres.daemon, postgres.port) = (Some(daemon), port);
        postgres.sql("CREATE EXTENSION pg_stat_statements");
        postgres
    }

    fn server(&self, port: u16) -> Command {
        let mut command = self.account.command(self.bin.join("postgres"));
        let settings = [
            format!("port={port}"),
            format!("unix_socket_directories={}", self.dir.path().display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "log_statement=all".to_owned(),
            "shared_preload_libraries=pg_stat_statements".to_owned(),
        ];
        command.arg("-D").arg(self.dir.path().join("data"));
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        command
    }

    fn answers(&self, port: u16) -> bool {
        let mut ask = self.account.command(self.bin.join("pg_isready"));
        ask.args(["-q", "-p", &port.to_string(), "-h"]).arg(self.dir.path()).status().unwrap().success()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What `statement` answers the superuser, unaligned.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let mut psql = self.account.command(self.bin.join("psql"));
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string(), "-h"]);
        // On stdin, since it may have a password in it, and arguments are looked at.
        let mut psql =
            psql.arg(self.dir.path()).arg("postgres").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        psql.stdin.take().unwrap().write_all(statement.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "{statement}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether `role` gets in by the loopback with `password`.
    pub fn lets_in(&self, role: &str, password: &str) -> bool {
        let mut psql = self.account.command(self.bin.join("psql"));
        psql.args([
            "-X",
            "-w",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            role,
            "-c",
            "SELECT 1",
            "postgres",
        ]);
        psql.env("PGPASSWORD", password).output().unwrap().status.success()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }
}

/// A Redis with the users of an ACL file, or of its configuration.
pub struct Redis {
    account: Account,
    daemon: Option<Daemon>,
    /// Where its socket `redis.sock` is, its configuration, and `users.acl` where it has one.
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Redis {
    /// With `users`, each a line `user NAME RULE...`.
    #[track_caller]
    pub fn start(users: &str, acl_file: bool) -> Self {
        let account = Account::named("redis");
        let dir = account.dir();
        let path = |name: &str| dir.path().join(name);
        let mut config = format!("bind 127.0.0.1\nsave \"\"\ndir {}\n", dir.path().display());
        config += &format!("unixsocket {}\n", path("redis.sock").display());
        if acl_file {
            config += &format!("aclfile {}\n", path("users.acl").display());
            fs::write(path("users.acl"), users).unwrap();
            account.owns(&path("users.acl"));
        } else {
            config += users;
        }
        fs::write(path("redis.conf"), config).unwrap();
        account.owns(&path("redis.conf"));
        let mut redis = Self { account, daemon: None, dir, port: 0 };
        redis.restart();
        redis
    }

    /// Ends it, where it runs, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon = None;
        let server = |port: u16| {
            let mut command = self.account.command(program("redis-server"));
            command.arg(self.dir.path().join("redis.conf")).args(["--port", &port.to_string()]);
            command
        };
        let (daemon, port) = Daemon::start(Signal::KILL, &self.dir.path().join("log"), server, |port| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        (self.daemon, self.port) = (Some(daemon), port);
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// What it answers to `command`, of `user` with `password`.
    pub fn ask(&self, user: &str, password: &str, command: &str) -> String {
        let mut client = Command::new(program("redis-cli"));
        client.arg("-s").arg(self.socket()).args(["--no-auth-warning", "--user", user]).env("REDISCLI_AUTH", password);
        let output = client.args(command.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether `user` gets in with `password`; it may PING.
    pub fn lets_in(&self, user: &str, password: &str) -> bool {
        self.ask(user, password, "PING") == "PONG\n"
    }
}

/// An sshd that lets one user in, its own, by the keys in `authorized_keys`.
pub struct Sshd {
    pub account: Account,
    daemon: Option<Daemon>,
    /// That user's, with `authorized_keys`, `known_hosts` and the log.
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Sshd {
    #[track_caller]
    pub fn start(user: &str) -> Self {
        let account = Account::named(user);
        let dir = account.dir();
        let path = |name: &str| dir.path().join(name);
        let key = path("host_key");
        output(account.command(program("ssh-keygen")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        fs::write(path("authorized_keys"), "").unwrap();
        account.owns(&path("authorized_keys"));
        // The directory is in /tmp, which sshd otherwise would not take an authorized_keys from.
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n",
            key.display(),
            path("authorized_keys").display()
        );
        fs::write(path("sshd_config"), config).unwrap();
        let server = |port: u16| {
            let mut command = account.command(program("sshd"));
            command.args(["-D", "-e", "-o", &format!("ListenAddress=127.0.0.1:{port}"), "-f"]).arg(path("sshd_config"));
            command
        };
        let (daemon, port) = Daemon::start(Signal::KILL, &path("log"), server, |port| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        let host = fs::read_to_string(path("host_key.pub")).unwrap();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        account.owns(&path("known_hosts"));
        Self { account, daemon: Some(daemon), dir, port }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Whether the private key `key` gets in.
    pub fn lets_in(&self, key: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), key).unwrap();
        let hosts = format!("UserKnownHostsFile={}", self.at("known_hosts").display());
        let mut ssh = Command::new(program("ssh"));
        ssh.args(["-F", "none", "-T", "-p", &self.port.to_string(), "-l", &self.account.name, "-o", &hosts, "-i"]);
        ssh.arg(file.path()).args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "127.0.0.1", "echo in"]);
        let output = ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output().unwrap();
        output.stdout == b"in\n"
    }
}
