//! Private maps and sendfile(2) of versions go through the kernel's page cache: they end when the right to read ends, at once, and
//! not before.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use serde_json::json;

use crate::api::done;
use crate::harness::{KMSFS, Mount, ends_within, run};
use crate::keeper::kill_worker;
use crate::waiting::SlowDisk;

/// What takes longer will never be.
const PATIENCE: Duration = Duration::from_secs(60);
const VERSION: &str = "prod/card/versions/v1";
/// Maps a file, and says what is in it, again for each line.
const MAPS: &str = "import mmap, sys
f = open(sys.argv[1])
m = mmap.mmap(f.fileno(), 3, mmap.MAP_PRIVATE, mmap.PROT_READ)
if len(sys.argv) == 2: print(m[:].decode(), flush=True)
else: print('mapped', flush=True)
for line in sys.stdin: print(m[:].decode(), flush=True)
";
const SENDS: &str = "python3 -c \"import os; f = os.open('prod/card/versions/v1', os.O_RDONLY); w = os.open(os.environ['OUT'] + '/out', os.O_WRONLY | os.O_CREAT); \
     print(os.sendfile(w, f, 0, 3))\"";

/// A process that has a file mapped.
pub struct Map {
    process: Child,
    /// None once it is to end.
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Map {
    /// One that has looked at it.
    pub fn of(mount: &Mount, file: &str) -> Self {
        Self::by(mount, 0, file)
    }

    /// The same, of the user `uid`.
    pub fn by(mount: &Mount, uid: u32, file: &str) -> Self {
        let mut map = Self::start(mount, uid, &[file]);
        assert_eq!(map.answer().as_deref(), Some("pin"));
        map
    }

    /// One that has not.
    fn untouched(mount: &Mount, file: &str) -> Self {
        let mut map = Self::start(mount, 0, &[file, "later"]);
        assert_eq!(map.answer().as_deref(), Some("mapped"));
        map
    }

    fn start(mount: &Mount, uid: u32, args: &[&str]) -> Self {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
        command.args(["/usr/bin/python3", "-c", MAPS]).args(args).current_dir(mount.root());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, asks, answers }
    }

    fn ask(&mut self) {
        writeln!(self.asks.as_mut().unwrap()).unwrap();
    }

    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    /// What it reads when it looks again; none if it dies of that.
    fn touch(&mut self) -> Option<String> {
        self.ask();
        let answer = self.answer();
        if answer.is_none() {
            assert_eq!(self.process.wait().unwrap().signal(), Some(libc::SIGBUS));
        }
        answer
    }

    #[track_caller]
    pub fn lives(&mut self) {
        assert_eq!(self.touch().as_deref(), Some("pin"));
    }

    #[track_caller]
    pub fn dies(&mut self) {
        assert_eq!(self.touch(), None, "it goes on showing what nobody may read any more");
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.asks = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A mount with `pin` in a secret of the key `payments`, and in one of `default`.
fn mount() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/other", "pin");
    mount.ok("mkdir prod/.keys/payments prod/card; echo payments > prod/card/cmk; printf %s pin > prod/card/current");
    mount
}

fn disable(mount: &Mount) {
    mount.ok("echo Disabled > prod/.keys/payments/state");
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// The worker's child, which has the kernel forget.
fn forgetter(mount: &Mount) -> Pid {
    let worker = &mount.status()["worker_pid"];
    let tasks = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap();
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap();
    let children: String = tasks.map(|task| children(task.unwrap())).collect();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}

#[test]
fn a_map_ends_with_its_key() {
    let mount = mount();
    let (mut map, mut other) = (Map::of(&mount, VERSION), Map::of(&mount, "prod/other/versions/v1"));
    assert_eq!(mount.ok(SENDS), "3\n");
    disable(&mount);
    map.dies();
    other.lives();
    assert!(mount.fails(SENDS).contains("Error"), "nor does sendfile(2) get cached pages");
    mount.ok("echo Enabled > prod/.keys/payments/state");
    Map::of(&mount, VERSION).lives();
    assert_eq!(mount.ok(SENDS), "3\n");
}

/// Bits, a policy, a seal: whatever took the right away.
#[test]
fn a_map_ends_with_the_right_of_its_user() {
    let mount = mount();
    mount.ok("chmod 755 prod/card; chmod 644 prod/card/current");
    let (mut map, mut roots) = (Map::by(&mount, 1500, VERSION), Map::of(&mount, VERSION));
    mount.ok("chmod 640 prod/card/current");
    map.dies();
    roots.lives();
    let account = mount.status()["account"].as_str().unwrap().to_owned();
    let policy = format!(
        "{{\"Version\":\"1\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":{{\"RAM\":[\"acs:ram::{account}:user/1500\"]}},\
         \"Action\":\"kms:GetSecretValue\",\"Resource\":\"*\"}}]}}"
    );
    mount.write("prod/card/policy", &policy);
    let mut map = Map::by(&mount, 1500, VERSION);
    mount.write("prod/card/policy", "\n");
    map.dies();
    mount.ok("echo Unavailable > prod/.instance/state");
    roots.dies();
}

/// Pages are of all who have a file open: they are kept for nobody while somebody has it open who may not read it any more.
#[test]
fn nobody_has_pages_kept_for_another() {
    let mount = mount();
    mount.ok("chmod 755 prod/card; chmod 644 prod/card/current");
    let mut map = Map::by(&mount, 1500, VERSION);
    map.lives();
    assert_eq!(mount.ok(SENDS), "3\n", "both may");
    mount.ok("chmod 640 prod/card/current");
    assert!(mount.fails(SENDS).contains("Error"), "there would be a page that the other sees");
    assert_eq!(mount.read(VERSION), "pin", "read(2) has it, and leaves no page");
    map.dies();
    drop(map);
    mount.ok(&format!("until {SENDS} 2>&1; do :; done | tail -1 | grep -x 3"));
}

/// sendfile(2) of a file that was open before, from pages that the kernel had.
#[test]
fn an_open_file_is_not_sent_from_the_cache() {
    let mount = mount();
    let file = std::fs::File::open(mount.path(VERSION)).unwrap();
    let out = std::fs::File::create(mount.dir.path().join("out")).unwrap();
    let send = || {
        let mut offset = 0;
        rustix::fs::sendfile(&out, &file, Some(&mut offset), 3)
    };
    assert_eq!(send(), Ok(3));
    disable(&mount);
    assert!(matches!(send(), Err(rustix::io::Errno::IO | rustix::io::Errno::KEYREVOKED)), "{:?}", send());
    mount.ok("echo Enabled > prod/.keys/payments/state");
    assert_eq!(send(), Ok(3));
}

#[test]
fn a_map_ends_with_its_secret() {
    let mount = mount();
    let mut map = Map::of(&mount, VERSION);
    mount.ok("rm -r prod/card");
    map.dies();
    mount.ok("mv prod/.deleted/card prod/card");
    let mut map = Map::of(&mount, VERSION);
    let purge = json!({ "Action": "DeleteSecret", "DKMSInstanceId": "prod", "SecretName": "card",
        "ForceDeleteWithoutRecovery": "true" });
    done(&mount, purge);
    map.dies();
}

/// What an editor has copied beside a value is as good as the value.
#[test]
fn a_map_of_a_copy_ends_too() {
    let mount = mount();
    mount.ok("cd prod/card; mv current current~");
    let mut map = Map::of(&mount, "prod/card/current~");
    disable(&mount);
    map.dies();
}

#[test]
fn a_map_outlives_what_takes_no_right() {
    let mount = mount();
    let mut map = Map::of(&mount, VERSION);
    for change in [
        "echo a=b > prod/card/tags",
        "echo text > prod/card/description",
        "printf %s two > prod/card/current",
        "mkdir prod/new; echo x > prod/new/current; rm -r prod/new",
        "chmod 700 prod/card; chmod 600 prod/card/current; chmod 750 prod/card",
        "echo Disabled > prod/.keys/payments/state; echo Enabled > prod/.keys/payments/state",
    ] {
        mount.ok(change);
        map.lives();
    }
    kill_worker(&mount);
    map.lives();
}

#[test]
fn a_map_of_a_former_worker_ends() {
    let mount = mount();
    let mut map = Map::of(&mount, VERSION);
    kill_worker(&mount);
    disable(&mount);
    map.dies();
    mount.ok("echo Enabled > prod/.keys/payments/state");
    let mut map = Map::of(&mount, VERSION);
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    disable(&mount);
    map.dies();
    kill_worker(&mount);
    assert!(mount.fails(SENDS).contains("Error"));
}

/// The worker dies when the right is taken away and the kernel has not forgotten: whoever took it is answered by the next one, after
/// that has had it forget.
#[test]
fn a_worker_that_dies_on_the_way_has_its_next_one_end_maps() {
    let mount = mount();
    let mut map = Map::of(&mount, VERSION);
    let forgetter = forgetter(&mount);
    kill_process(forgetter, Signal::STOP).unwrap();
    let script = "echo Disabled > prod/.keys/payments/state";
    let mut change = Command::new("bash").args(["-c", script]).current_dir(mount.root()).spawn().unwrap();
    until("the key is disabled", || mount.read("prod/.keys/payments/state") == "Disabled\n");
    map.lives();
    assert_eq!(change.try_wait().unwrap(), None, "it is not answered before the pages are gone");
    kill_worker(&mount);
    assert!(change.wait().unwrap().success());
    map.dies();
    kill_process(forgetter, Signal::KILL).unwrap();
}

/// A process that has the kernel forget may end: another one does it.
#[test]
fn whoever_has_the_kernel_forget_is_followed_by_another() {
    let mount = mount();
    let mut map = Map::of(&mount, VERSION);
    kill_process(forgetter(&mount), Signal::KILL).unwrap();
    disable(&mount);
    map.dies();
}

/// The kernel waits for a page that is being read before it forgets it. That holds up nobody but who takes the right away: other changes are
/// answered, and a worker that is killed is followed by another one.
#[test]
fn a_page_that_is_being_read_holds_nobody_up() {
    let mut mount = mount();
    // It stands in pages of its own, which nothing else has read.
    mount.ok("{ printf %s pin; head -c 30000 /dev/zero; } > prod/card/current");
    mount.restart();
    // What a change reads is in memory by then.
    mount.ok("cd prod/.keys/payments; echo Disabled > state; echo Enabled > state; cd ../..; echo c=d > other/tags");
    let mut map = Map::untouched(&mount, "prod/card/versions/v2");
    let mut noted = Map::of(&mount, "prod/other/versions/v1");
    let forgetter = forgetter(&mount);
    let disk = SlowDisk::under(&mount, "pread64");
    map.ask();
    let (tid, wchan) = (map.process.id(), |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap());
    until("the page is being read", || wchan(tid).contains("folio_wait") || wchan(tid).contains("request_wait"));
    let script = "echo Disabled > prod/.keys/payments/state";
    let mut change = Command::new("bash").args(["-c", script]).current_dir(mount.root()).spawn().unwrap();
    let waits = u32::try_from(forgetter.as_raw_nonzero().get()).unwrap();
    until("the kernel waits for the page", || {
        ["folio_wait", "folio_lock"].iter().any(|call| wchan(waits).contains(call))
    });
    assert_eq!(change.try_wait().unwrap(), None);
    mount.ok("echo a=b > prod/other/tags");
    noted.lives();
    let worker = mount.process("worker_pid");
    pidfd_send_signal(&worker, Signal::KILL).unwrap();
    // A tracer keeps the dead until it looks at them.
    drop(disk);
    assert!(ends_within(&worker, PATIENCE), "it waits for itself");
    assert!(change.wait().unwrap().success());
    assert_eq!(map.answer(), None, "the read that comes again is refused");
    noted.lives();
}
