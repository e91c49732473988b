//! `kmsfs events` and `kmsfs watch`, beside the programs that they serve.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{KMSFS, Mount, run, text};
use crate::keeper::kill_worker;

/// Whatever is waited for comes sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// SIGINT and SIGTERM, as /proc has sets of signals.
const ENDING: u64 = 1 << 1 | 1 << 14;

/// A verb that follows a mount.
struct Verb(Child);

impl Verb {
    /// Starts it, and waits until it follows.
    fn start(mount: &Mount, args: &[&str]) -> Self {
        let child = Command::new(KMSFS)
            .args(args)
            .current_dir(mount.root())
            .env("OUT", mount.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut verb = Self(child);
        let file = mount.path(".kmsfs/events");
        wait("it follows", || {
            let ended = verb.0.try_wait().unwrap();
            assert!(ended.is_none(), "{args:?}: {ended:?} {}", verb.stderr());
            let status = std::fs::read_to_string(format!("/proc/{}/status", verb.0.id())).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
            let catches = u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & ENDING == ENDING);
            let opens = std::fs::read_dir(format!("/proc/{}/fd", verb.0.id())).into_iter().flatten().flatten();
            let follows = opens.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|path| path == file);
            follows && (catches || args[0] == "events")
        });
        verb
    }

    fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// How it ends.
    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        let mut code = None;
        wait("it ends", || {
            code = self.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Verb {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The file that commands write lines into.
struct Notes(PathBuf);

impl Notes {
    fn of(mount: &Mount) -> Self {
        Self(mount.dir.path().join("notes"))
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.0).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn come_to(&self, expected: &[&str]) {
        wait(&format!("{expected:?}, and there is {:?}", self.lines()), || self.lines() == expected);
    }
}

/// A command that notes what it is told, and what it reads.
const NOTE: &str = "echo $KMSFS_WHAT ${KMSFS_PATH##*/m/} $KMSFS_VERSION $(cat $KMSFS_PATH/current) >> $OUT/notes";

#[test]
fn a_command_runs_after_each_rotation_and_sees_it() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/db/pw prod/db-other");
    mount.ok("for s in db/pw db-other; do printf old > prod/$s/current; done");
    let notes = Notes::of(&mount);
    let mut watch = Verb::start(&mount, &["watch", "prod/db/pw/current", "--", "sh", "-c", NOTE]);
    mount.ok("printf other > prod/db-other/current; echo a=b > prod/db/pw/tags; printf two > prod/db/pw/current");
    notes.come_to(&["rotated prod/db/pw v2 two"]);
    mount.ok("ln -sfn ../versions/v1 prod/db/pw/stages/ACSCurrent");
    notes.come_to(&["rotated prod/db/pw v2 two", "rotated prod/db/pw v1 old"]);
    mount.ok("rm -r prod/db/pw; mv prod/.deleted/db%2Fpw prod/db/pw");
    notes.come_to(&["rotated prod/db/pw v2 two", "rotated prod/db/pw v1 old", "restored prod/db/pw v1 old"]);
    watch.signal(Signal::TERM);
    assert_eq!(watch.end(), Some(0));
}

#[test]
fn a_burst_is_one_and_what_comes_meanwhile_is_another() {
    let mount = Mount::new();
    mount.ok("mkdir prod/a prod/b");
    let notes = Notes::of(&mount);
    let script = format!("{NOTE}; while [ ! -e $OUT/go ]; do sleep 0.01; done");
    let _watch = Verb::start(&mount, &["watch", "prod", "--", "sh", "-c", &script]);
    mount.ok("for n in 1 2 3; do printf $n > prod/a/current; done");
    notes.come_to(&["rotated prod/a v3 3"]);
    mount.ok("for n in 4 5; do printf $n > prod/a/current; printf $n > prod/b/current; done");
    std::fs::write(mount.dir.path().join("go"), "").unwrap();
    notes.come_to(&["rotated prod/a v3 3", "rotated prod/b v2 5"]);
}

#[test]
fn any_change_counts_if_that_is_wanted() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let notes = Notes::of(&mount);
    let mut watch =
        Verb::start(&mount, &["watch", "--any", "--once", "prod/s", "--", "sh", "-c", "echo $KMSFS_WHAT > $OUT/notes"]);
    mount.ok("echo a=b > prod/s/tags");
    notes.come_to(&["tags"]);
    assert_eq!(watch.end(), Some(0));
    let mut failing = Verb::start(&mount, &["watch", "--once", "prod/s", "--", "false"]);
    mount.write("prod/s/current", "new");
    assert_eq!(failing.end(), Some(1));
    assert!(failing.stderr().contains("the command failed: exit status: 1"));
}

#[test]
fn a_watch_outlives_workers_and_programs_and_is_told() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let notes = Notes::of(&mount);
    let _watch = Verb::start(&mount, &["watch", "prod/s", "--", "sh", "-c", NOTE]);
    kill_worker(&mount);
    notes.come_to(&["lost prod/s old"]);
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    notes.come_to(&["lost prod/s old", "lost prod/s old"]);
    mount.write("prod/s/current", "new");
    notes.come_to(&["lost prod/s old", "lost prod/s old", "rotated prod/s v2 new"]);
}

#[test]
fn a_command_that_runs_is_told_to_end_first() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let notes = Notes::of(&mount);
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        let _ = std::fs::remove_file(&notes.0);
        let script = format!(
            "trap 'echo ended >> $OUT/notes; exit' {name}; echo began >> $OUT/notes; while :; do sleep 0.01; done"
        );
        let mut watch = Verb::start(&mount, &["watch", "prod/s", "--", "bash", "-c", &script]);
        mount.write("prod/s/current", name);
        notes.come_to(&["began"]);
        watch.signal(signal);
        assert_eq!(watch.end(), Some(0));
        assert_eq!(notes.lines(), ["began", "ended"], "{name}");
    }
}

#[test]
fn a_process_is_sent_a_signal() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let notes = Notes::of(&mount);
    let server = "trap 'echo reload >> $OUT/notes' HUP; echo $$ > $OUT/pid; while :; do sleep 0.01; done";
    let mut server = Command::new("bash").args(["-c", server]).env("OUT", mount.dir.path()).spawn().unwrap();
    let file = mount.dir.path().join("pid");
    wait("it serves", || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
    let args = ["watch", ".", "--signal", "HUP", "--pid-file", file.to_str().unwrap()];
    let mut watch = Verb::start(&mount, &args);
    for (at, value) in ["two", "three"].iter().enumerate() {
        mount.write("prod/s/current", value);
        notes.come_to(&vec!["reload"; at + 1]);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let mut once = Verb::start(&mount, &[&args[..], &["--once"]].concat());
    mount.write("prod/s/current", "four");
    assert_eq!(once.end(), Some(1));
    assert!(once.stderr().contains("does not run"));
    for (text, why) in [("1\n", "one number above 1"), ("-5", "one number above 1"), ("x", "one number above 1")] {
        std::fs::write(&file, text).unwrap();
        let mut once = Verb::start(&mount, &[&args[..], &["--once"]].concat());
        mount.write("prod/s/current", format!("{text} five"));
        assert_eq!(once.end(), Some(1), "{text}");
        assert!(once.stderr().contains(why), "{text}");
    }
    watch.signal(Signal::INT);
    assert_eq!(watch.end(), Some(0));
    assert!(watch.stderr().contains("warning"), "it was told of all that, and went on");
}

#[test]
fn events_are_shown_to_people_and_programs() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut shown = Verb::start(&mount, &["events", "-f", "."]);
    let mut json = Verb::start(&mount, &["events", "--json", "."]);
    mount.write("prod/s/current", "new");
    let mut lines = BufReader::new(shown.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().ends_with("version-added  prod/s  v2"));
    assert!(lines.next().unwrap().ends_with("rotated        prod/s  v2"));
    // What has not been read when a worker dies is lost.
    let mut objects = BufReader::new(json.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let all: Vec<String> = objects.by_ref().take(2).collect();
    assert!(all[1].contains(r#""what":"rotated","version":"v2""#), "{all:?}");
    kill_worker(&mount);
    assert!(lines.next().unwrap().ends_with("lost"));
    drop(lines);
    mount.write("prod/s/current", "newer");
    assert_eq!(shown.end(), Some(0), "nobody reads on");
    let rest: Vec<String> = objects.collect();
    assert!(rest[0].contains(r#""what":"lost""#) && rest.len() == 3, "{rest:?}");
    assert_eq!(json.end(), Some(0), "it ends when nothing happens");
}

#[test]
fn what_cannot_be_watched_is_said() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/db/pw");
    let refused = |args: &[&str]| {
        let output = Command::new(KMSFS).args(args).current_dir(mount.root()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    for (args, code, why) in [
        (&["watch", "/tmp", "--", "true"][..], 10, "is in no mount"),
        (&["watch", "prod"], 2, "required"),
        (&["watch", "prod", "--signal", "HUP"], 2, "--pid-file"),
        (&["watch", "prod", "--signal", "NONE", "--pid-file", "x"], 2, "is no signal"),
        (&["watch", "prod", "--signal", "HUP", "--pid-file", "x", "--", "true"], 2, "cannot be used with"),
    ] {
        let (is, said) = refused(args);
        assert!(is == Some(code) && said.contains(why), "{args:?}: {is:?} {said}");
    }
    let script = "setpriv --reuid 1000 --regid 1000 --clear-groups timeout -s TERM 0.5 $KMSFS watch prod/db/pw -- true";
    let output =
        Command::new("sh").args(["-c", script]).current_dir(mount.root()).env("KMSFS", KMSFS).output().unwrap();
    assert!(text(&output.stderr).contains("as long as it cannot be listed"), "{output:?}");
}
