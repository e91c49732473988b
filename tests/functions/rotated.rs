//! Services that a mounted daemon rotates, under clients that read what they log in with from the mount at each connect, while workers and
//! functions are killed. No client ever fails.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use serde_json::Value as Json;

use crate::harness::Mount;
use crate::redis::{self, USERS};
use crate::services::{Postgres, Redis};

/// Rotations of each service; `scripts/rotations` does more.
const ROTATIONS: usize = 4;
/// A rotation that takes longer, with its kills and the waits behind them, will never be.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two deaths of workers: ten in ten seconds are more than a keeper takes.
const BREATH: Duration = Duration::from_millis(1_300);
/// A function dies after so many workers: its next try waits ten seconds.
const RATIO: usize = 4;
/// Of so many rotations each step is to have lost a worker and a function.
const MANY: usize = 50;
const STEPS: [&str; 4] = ["create", "set", "test", "finish"];
const WORKERS: &str = "workers";
const FUNCTIONS: &str = "functions";
/// Logins between two rotations: whoever has read the version before the old one is done with it then.
const LOGINS: usize = 2;

fn rotations() -> usize {
    std::env::var("KMSFS_RUNS").map_or(ROTATIONS, |text| text.parse().expect("a number"))
}

/// A mount with `prod/db`, which a shipped function rotates.
struct Stage {
    mount: Mount,
    /// A line for each step that begins: its name and its process.
    steps: PathBuf,
}

impl Stage {
    fn new(name: &str, declared: &str, value: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("kmsfs-test-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(at("functions")).unwrap();
        let (steps, shipped) = (at("steps"), Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/rotate.d").join(name));
        fs::write(&steps, "").unwrap();
        fs::set_permissions(&steps, fs::Permissions::from_mode(0o666)).unwrap();
        // Where only root comes the function's user does not.
        fs::copy(shipped, at(name)).unwrap();
        let wrapped = format!("#!/bin/sh\necho \"$1 $$\" >> {}\nexec {} \"$@\"\n", steps.display(), at(name).display());
        fs::write(at("functions").join(name), wrapped).unwrap();
        for path in [at(name), at("functions").join(name)] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let declared = format!("secrets=prod/db\noutput=members\n{declared}");
        fs::write(at("functions").join(format!("{name}.conf")), declared).unwrap();
        let functions = at("functions").to_str().unwrap().to_owned();
        let mount = Mount::in_dir(dir, &["--functions", &functions]);
        mount.secret("prod/db", value);
        mount.write("prod/db/rotation", format!("function={name}\n"));
        Self { mount, steps }
    }

    /// User and password of one version, read through one directory.
    fn login(&self) -> [String; 2] {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fields = openat(CWD, self.mount.path("prod/db/fields"), flags | OFlags::DIRECTORY, Mode::empty()).unwrap();
        ["username", "password"].map(|name| {
            let mut text = String::new();
            File::from(openat(&fields, name, flags, Mode::empty()).unwrap()).read_to_string(&mut text).unwrap();
            text
        })
    }

    fn rotation(&self) -> Json {
        let info: Json = serde_json::from_str(&self.mount.read("prod/db/info")).unwrap();
        info["Rotation"].clone()
    }

    /// Rotates once, and waits for the end of it.
    fn rotate(&self) {
        let before = self.mount.ok("readlink prod/db/stages/ACSCurrent");
        self.mount.ok("$KMSFS rotate --no-wait prod/db");
        let began = Instant::now();
        while self.rotation()["State"] != "idle" {
            assert!(began.elapsed() < PATIENCE, "{}", self.rotation());
            assert_ne!(self.rotation()["State"], "failed", "{}", self.rotation());
            thread::sleep(Duration::from_millis(20));
        }
        assert_ne!(self.mount.ok("readlink prod/db/stages/ACSCurrent"), before, "{}", self.rotation());
    }

    /// Kills workers and functions at changing moments of their steps until `over`.
    fn kill(&self, over: &AtomicBool, killed: &Killed) {
        let (mut seen, mut missed, mut last) = (0, 0, Instant::now());
        while !over.load(Ordering::SeqCst) {
            let steps = fs::read_to_string(&self.steps).unwrap();
            let begun = steps.matches('\n').count();
            if begun == seen {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            seen = begun;
            let (step, pid) = steps.lines().nth(seen - 1).and_then(|line| line.split_once(' ')).unwrap();
            // From the beginning of a step to behind its end; nearer to the beginning when functions have ended before they could be killed.
            let moment = Duration::from_millis(seen as u64 * 37 % 160);
            if killed.all(WORKERS) >= (killed.all(FUNCTIONS) + 1) * RATIO {
                if step != killed.least_in(FUNCTIONS) {
                    continue;
                }
                thread::sleep(moment / (1 + missed));
                if kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).is_ok() {
                    missed = 0;
                    killed.count(FUNCTIONS, step);
                } else {
                    missed += 1;
                }
            } else if last.elapsed() > BREATH {
                thread::sleep(moment);
                last = Instant::now();
                pidfd_send_signal(self.mount.process("worker_pid"), Signal::KILL).unwrap();
                killed.count(WORKERS, step);
            }
        }
    }

    /// Rotates again and again, under a client that `lets_in` says of whether it gets in.
    fn run(&self, lets_in: impl Fn(&str, &str) -> bool + Sync) {
        let (over, logins, killed, mut done) = (AtomicBool::new(false), AtomicUsize::new(0), Killed::default(), 0);
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let [user, password] = self.login();
                    assert!(lets_in(&user, &password), "{user} does not get in: {}", self.rotation());
                    logins.fetch_add(1, Ordering::SeqCst);
                }
            });
            let ends = Ends(&over);
            let killer = scope.spawn(|| self.kill(&over, &killed));
            while !client.is_finished() && !killer.is_finished() && (done < rotations() || !killed.enough(rotations()))
            {
                self.rotate();
                done += 1;
                let enough = logins.load(Ordering::SeqCst) + LOGINS;
                while logins.load(Ordering::SeqCst) < enough && !client.is_finished() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            drop(ends);
            client.join().unwrap();
            killer.join().unwrap();
        });
        println!("{done} rotations, {} logins; killed in a step or behind it{killed}", logins.into_inner());
        assert_eq!(self.mount.read("prod/db/fields/host"), "db", "it is kept");
    }
}

/// How many workers and how many functions were killed, by the step that had begun last.
#[derive(Default)]
struct Killed(Mutex<BTreeMap<(&'static str, String), usize>>);

impl Killed {
    fn count(&self, what: &'static str, step: &str) {
        *self.0.lock().unwrap().entry((what, step.to_owned())).or_default() += 1;
    }

    fn all(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|((killed, _), _)| *killed == what).map(|(_, count)| count).sum()
    }

    /// The step in which the fewest of them were killed.
    fn least_in(&self, what: &'static str) -> &'static str {
        let killed = self.0.lock().unwrap();
        let count = |step: &&str| killed.get(&(what, (*step).to_owned())).copied().unwrap_or(0);
        STEPS.into_iter().min_by_key(count).unwrap()
    }

    /// Whether there were enough for as many `rotations`: a worker for each, and of many each in each step.
    fn enough(&self, rotations: usize) -> bool {
        let each = 2 * STEPS.len();
        let in_all_steps = rotations < MANY || self.0.lock().unwrap().len() == each;
        self.all(WORKERS) >= rotations && self.all(FUNCTIONS) >= rotations / RATIO && in_all_steps
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let killed = self.0.lock().unwrap();
        for what in [WORKERS, FUNCTIONS] {
            write!(f, "; {what}")?;
            for step in STEPS {
                write!(f, " {step} {}", killed.get(&(what, step.to_owned())).unwrap_or(&0))?;
            }
        }
        Ok(())
    }
}

/// Whatever becomes of a test, its other threads end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn value(user: &str, password: &str) -> String {
    format!(r#"{{"host":"db","username":"{user}","password":"{password}","port":5432}}"#)
}

#[test]
fn clients_of_postgresql_never_fail_to_log_in() {
    let postgres = Postgres::start();
    for role in ["app", "app_clone"] {
        postgres.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}-old-password'"));
    }
    let declared = format!(
        "user=postgres\nenv.USERS=prod/db:app,app_clone\nenv.PGHOST={}\nenv.PGPORT={}\n",
        postgres.dir.path().display(),
        postgres.port
    );
    let stage = Stage::new("postgresql", &declared, &value("app", "app-old-password"));
    stage.run(|user, password| postgres.lets_in(user, password));
}

#[test]
fn clients_of_redis_never_fail_to_log_in() {
    let redis = Redis::start(USERS, true);
    let file = redis::password_file(&redis, "rotator-password");
    let declared = format!(
        "user=redis\nenv.USERS=prod/db:app\nenv.ADMIN_USER=rotator\nenv.ADMIN_PASSWORD_FILE={}\nenv.REDIS_SOCKET={}\nenv.PERSIST=acl-file\n",
        file.display(),
        redis.socket().display()
    );
    let stage = Stage::new("redis", &declared, &value("app", "app-old-password"));
    stage.run(|user, password| redis.lets_in(user, password));
}
