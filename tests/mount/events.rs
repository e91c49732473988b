//! `.kmsfs/events`: what happens, as the programs that everybody has follow it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::harness::{KMSFS, Mount, errno, run, text};
use crate::keeper::kill_worker;

/// Whatever is waited for comes sooner.
const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: &str = ".kmsfs/events";
/// How often what has to be quick is tried: a busy machine may hold one of them up.
const TRIES: usize = 5;

/// An event in a few words: what, of what, which version.
fn words(line: &str) -> String {
    let event: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    let members = ["what", "instance", "secret", "key", "version"].map(|name| event[name].as_str());
    members.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A reader of one open file.
struct Follower(BufReader<File>);

impl Follower {
    fn open(mount: &Mount) -> Self {
        Self(BufReader::new(File::open(mount.path(EVENTS)).unwrap()))
    }

    /// The next event, whenever it comes.
    #[track_caller]
    fn next(&mut self) -> String {
        let (began, mut line) = (Instant::now(), String::new());
        while !line.ends_with('\n') {
            assert!(began.elapsed() < PATIENCE, "nothing is told but {line:?}");
            self.0.read_line(&mut line).unwrap();
        }
        words(&line)
    }

    /// What is told until nothing is for a while.
    fn rest(&mut self) -> Vec<String> {
        let mut lines = String::new();
        self.0.read_to_string(&mut lines).unwrap();
        lines.lines().map(words).collect()
    }
}

/// A program that follows events, and what it prints.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts it, and waits until it has the file open.
    fn start(mount: &Mount, words: &[&str]) -> Self {
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(mount.root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}; see scripts/test-packages"));
        let (said, lines) = channel();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(said.send(line)))
        });
        let program = Self { child, lines };
        let (began, file) = (Instant::now(), mount.path(EVENTS));
        while !program.opens().contains(&file) {
            assert!(began.elapsed() < PATIENCE, "{words:?} does not open it");
            std::thread::yield_now();
        }
        program
    }

    fn opens(&self) -> Vec<std::path::PathBuf> {
        let links = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter().flatten();
        links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok()).collect()
    }

    #[track_caller]
    fn next(&self) -> String {
        words(&self.lines.recv_timeout(PATIENCE).expect("a line in time"))
    }
}

/// What `read` gives, which does not wait for `what`: in one of some tries on a busy machine.
fn at_once<T>(what: &str, mut read: impl FnMut() -> T) -> T {
    let timed = || {
        let began = Instant::now();
        (read(), began.elapsed())
    };
    let (read, took) = std::iter::repeat_with(timed).take(TRIES).min_by_key(|(_, took)| *took).unwrap();
    assert!(took < Duration::from_millis(900), "it waits for {what}: {took:?}");
    read
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_change_is_told() {
    let mount = Mount::new();
    let mut events = Follower::open(&mount);
    for (script, expected) in [
        ("mkdir test", "instance-made test"),
        ("echo 9 > test/.instance/recovery-window", "window test"),
        ("mkdir -p test/db/pw", "created test db, created test db/pw"),
        ("echo text > test/db/pw/description", "description test db/pw"),
        ("printf %s a > test/db/pw/current", "version-added test db/pw v1, rotated test db/pw v1"),
        ("printf %s b > test/db/pw/versions/mine", "version-added test db/pw mine, rotated test db/pw mine"),
        ("printf %s b > test/db/pw/versions/mine", ""),
        ("cat test/db/pw/current; ls -R test", ""),
        ("echo a=b > test/db/pw/tags", "tags test db/pw"),
        ("ln -s ../versions/v1 test/db/pw/stages/canary", "stages test db/pw"),
        ("rm test/db/pw/stages/canary", "stages test db/pw"),
        (
            "ln -sfn ../versions/v1 test/db/pw/stages/ACSCurrent",
            "stages test db/pw, rotated test db/pw v1, stages test db/pw",
        ),
        ("printf %s c > test/db/pw/current", "version-added test db/pw v2, rotated test db/pw v2"),
        ("$KMSFS destroy --yes test/db/pw --version mine", "version-destroyed test db/pw mine"),
        ("chmod 700 test/db", "access test db"),
        ("chown 7:7 test", "access test"),
        ("chmod 775 .", "access"),
        ("rm -r test/db/pw", "deleted test db/pw, removed test db/pw"),
        ("mv test/.deleted/db%2Fpw test/db/pw", "created test db/pw, restored test db/pw v2"),
        ("mkdir test/draft; rmdir test/draft", "created test draft, removed test draft"),
        ("rm -r test/db/pw", "deleted test db/pw, removed test db/pw"),
        ("echo purge > test/.deleted/db%2Fpw/state", "purged test db/pw"),
        ("mkdir test/.keys/mine; echo mine > test/.keys/mine/state; cat test/.keys/mine/info", "key-made test mine"),
        ("$KMSFS key rotate test mine", "key-rotated test mine"),
        ("echo Disabled > test/.keys/mine/state", "key-state test mine"),
        ("echo Disabled > test/.keys/mine/state; echo Enabled > test/.keys/mine/state", "key-state test mine"),
    ] {
        println!("{script}: {:?}", mount.bash(script));
        for expected in expected.split(", ").filter(|expected| !expected.is_empty()) {
            assert_eq!(events.next(), expected, "{script}");
        }
    }
    assert_eq!(events.rest(), [""; 0]);
}

#[test]
fn tail_follows() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let tails = [&["tail", "-f", EVENTS][..], &["tail", "-F", EVENTS], &["tail", "-f", "-n", "+1", EVENTS]];
    let tails = tails.map(|words| Program::start(&mount, words));
    for round in 2..6 {
        mount.write("prod/s/current", format!("value {round}"));
        for tail in &tails {
            assert_eq!(tail.next(), format!("version-added prod s v{round}"));
            assert_eq!(tail.next(), format!("rotated prod s v{round}"));
        }
        if round == 3 {
            kill_worker(&mount);
            tails.iter().for_each(|tail| assert_eq!(tail.next(), "lost"));
        }
    }
    for tail in &tails {
        assert!(tail.lines.try_recv().is_err(), "each is told once");
    }
}

#[test]
fn tail_begins_though_there_is_no_pause() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut on = false;
            while !stopped.load(Ordering::Relaxed) {
                on = !on;
                mount.write("prod/s/tags", format!("on={on}"));
            }
        });
        let tail = Program::start(&mount, &["tail", "-f", EVENTS]);
        let told = tail.lines.recv_timeout(PATIENCE);
        stopped.store(true, Ordering::Relaxed);
        assert_eq!(words(&told.expect("it prints")), "tags prod s");
    });
}

#[test]
fn cat_ends_after_a_second_with_what_came_meanwhile() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    // On a busy machine the second may be over before anything is written: then once more.
    let ended = (0..TRIES).find_map(|n| {
        let began = Instant::now();
        let cat = Program::start(&mount, &["cat", EVENTS]);
        mount.write("prod/s/tags", format!("a={n}"));
        assert_eq!(words(&cat.lines.recv().ok()?), "tags prod s");
        assert!(cat.lines.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected), "it ends");
        Some(began.elapsed())
    });
    assert!(ended.expect("cat waits for a second") >= Duration::from_millis(900), "{ended:?}");
    assert_eq!(mount.ok(&format!("cat {EVENTS}")), "", "what happened before an open is not told to it");
}

#[test]
fn a_read_of_a_byte_loses_none() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let dd = format!("exec 3< {EVENTS}; while dd bs=1 status=none <&3; do :; done");
    let dd = Program::start(&mount, &["sh", "-c", &dd]);
    mount.write("prod/s/current", "new");
    assert_eq!([dd.next(), dd.next()], ["version-added prod s v2", "rotated prod s v2"]);
}

#[test]
fn python_reads_as_it_reads_any_file() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let script = "import json, os\n\
        file = open('.kmsfs/events')\n\
        told = []\n\
        while len(told) < 4:\n\
        \x20   told += [json.loads(line)['what'] for line in file]\n\
        assert os.fstat(file.fileno()).st_size == file.tell(), (os.fstat(file.fileno()), file.tell())\n\
        file.close()\n\
        print(json.dumps({'time': 'Z', 'what': ' '.join(told)}), flush=True)\n";
    let python = Program::start(&mount, &["python3", "-c", script]);
    mount.write("prod/s/current", "new");
    mount.write("prod/s/current", "newer");
    assert_eq!(python.next(), "version-added rotated version-added rotated");
}

#[test]
fn an_offset_stands_for_the_same_byte_and_fstat_for_what_can_be_read() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let file = File::open(mount.path(EVENTS)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    mount.write("prod/s/tags", "a=b");
    let size = file.metadata().unwrap().len();
    assert!(size > 40, "what was not read can be seen");
    assert_eq!(std::fs::metadata(mount.path(EVENTS)).unwrap().size(), size, "by this process");
    assert_eq!(mount.ok(&format!("stat -c %s {EVENTS}")), "0\n", "and by no other");
    let mut bytes = [0; 512];
    let read = file.read_at(&mut bytes, 0).unwrap();
    assert_eq!((read as u64, file.read_at(&mut bytes, 0).unwrap()), (size, read), "until a read goes on behind it");
    let mut part = [0; 10];
    assert_eq!((file.read_at(&mut part, 10).unwrap(), &part[..]), (10, &bytes[10..20]));
    assert_eq!(errno(file.read_at(&mut part, 9)), libc::EINVAL, "what was read is not kept");
    mount.write("prod/s/tags", "a=c");
    assert_eq!(file.metadata().unwrap().len(), 2 * size, "it only grows");
    let mut bytes = vec![0; size as usize];
    let read = at_once("what is there", || file.read_at(&mut bytes, size).unwrap());
    assert_eq!(words(str::from_utf8(&bytes[..read]).unwrap()), "tags prod s");
    assert_eq!(at_once("what never comes", || file.read_at(&mut part, 1 << 40).unwrap()), 0);
    assert_eq!(file.metadata().unwrap().len(), 2 * size);
}

/// A reader, as setpriv(1) makes it with `options`, that has the events open before anything happens, and reads when the directory
/// `last` is there.
fn reader_of_all(mount: &Mount, options: &str, last: &str) -> Program {
    let script = format!("exec 3< {EVENTS}; until test -d {last}; do :; done; exec cat <&3");
    let words: Vec<_> = ["setpriv"].into_iter().chain(options.split(' ')).chain(["sh", "-c", &script]).collect();
    Program::start(mount, &words)
}

#[test]
fn nobody_is_told_of_what_cannot_be_listed() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/db prod/team; chgrp 500 prod/team; chmod 750 prod/team; mkdir shut; chmod 700 shut");
    mount.ok("mkdir mine; chown 1000 mine; chmod 700 mine");
    let reader = |options: &str| (options.to_owned(), reader_of_all(&mount, options, "prod/open"));
    let readers = [
        ("--reuid 1000 --regid 1000 --clear-groups", vec!["created mine own", "created prod open"]),
        (
            "--reuid 1000 --regid 1000 --groups 500",
            vec!["created prod team/s", "created mine own", "created prod open"],
        ),
        (
            "--bounding-set=-dac_override --inh-caps=-dac_override",
            vec!["created prod db/s", "created prod team/s", "created shut s", "created prod open"],
        ),
        (
            "--regid 0 --clear-groups",
            vec!["created prod db/s", "created prod team/s", "created shut s", "created mine own", "created prod open"],
        ),
    ]
    .map(|(options, expected)| (reader(options), expected));
    mount.ok("mkdir prod/db/s prod/team/s shut/s mine/own prod/open");
    for ((options, cat), expected) in readers {
        let told: Vec<_> = cat.lines.iter().map(|line| words(&line)).collect();
        assert_eq!(told, expected, "{options}");
    }
}

/// The same holds for what is gone by the time that somebody is told, or comes back; and to pass through an instance is not to list it.
#[test]
fn nobody_is_told_of_what_could_not_be_listed_before() {
    let mount = Mount::new();
    mount.ok("mkdir -p prod/team half; chgrp 500 prod/team; chmod 750 prod/team");
    for secret in ["prod/team/s", "prod/team/d/s", "half/s"] {
        mount.secret(secret, "value");
    }
    mount.ok("chmod 711 half");
    let [other, member, root] =
        ["--reuid 1000 --regid 1000 --clear-groups", "--reuid 1000 --regid 1000 --groups 500", "--clear-groups"]
            .map(|options| reader_of_all(&mount, options, "prod/go"));
    mount.ok("mkdir prod/team/e half/e; rmdir prod/team/e half/e");
    mount.ok("rm -r prod/team/d prod/team/s half/s");
    mount.ok("mkdir prod/team/d; mv prod/.deleted/team%2Fd%2Fs prod/team/d/s");
    mount.ok("mv prod/.deleted/team%2Fs prod/team/s; mv half/.deleted/s half/s");
    mount.ok("mkdir prod/go");
    let [other, member, root] =
        [other, member, root].map(|cat| cat.lines.iter().map(|line| words(&line)).collect::<Vec<_>>());
    for what in ["created", "removed", "deleted", "restored"] {
        for name in ["prod team/", "half "] {
            assert!(root.iter().any(|line| line.starts_with(&format!("{what} {name}"))), "{what} {name}: {root:#?}");
        }
    }
    assert_eq!(other, ["created prod go"]);
    // The group may list `team`, and not `team/d`.
    let listed = |line: &String| line.split(' ').nth(1) == Some("prod") && !line.contains(" team/d/");
    let expected: Vec<_> = root.into_iter().filter(listed).collect();
    assert!(expected.contains(&"restored prod team/s v1".to_owned()), "{expected:#?}");
    assert_eq!(member, expected);
}

#[test]
fn many_wait_and_hold_nobody_up() {
    const READERS: usize = 150;
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut files: Vec<_> = (0..READERS).map(|_| Follower::open(&mount)).collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = files.iter_mut().map(|file| scope.spawn(|| [file.next(), file.next()])).collect();
        // All of them wait for a while before something happens.
        let (began, mut waits) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_millis(1500) {
            let asked = Instant::now();
            assert_eq!(mount.read("prod/s/current"), "old");
            waits.push(asked.elapsed());
        }
        waits.sort();
        let median = waits[waits.len() / 2];
        assert!(median < Duration::from_millis(100), "a reader of a value waits: {median:?}");
        mount.write("prod/s/current", "new");
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ["version-added prod s v2", "rotated prod s v2"]);
        }
    });
}

#[test]
fn who_waits_can_be_interrupted() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let took = (0..TRIES).map(|_| {
            let mut cat = Program::start(&mount, &["cat", EVENTS]);
            let sent = Instant::now();
            kill_process(Pid::from_child(&cat.child), signal).unwrap();
            cat.child.wait().unwrap();
            sent.elapsed()
        });
        let took = took.min().unwrap();
        assert!(took < Duration::from_millis(300), "{signal:?}: {took:?}");
    }
}

#[test]
fn a_reader_goes_on_after_a_death_and_is_told_that_something_may_be_lost() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut file = File::open(mount.path(EVENTS)).unwrap();
    mount.write("prod/s/tags", "a=b");
    let mut begun = [0; 20];
    file.read_exact(&mut begun).unwrap();
    kill_worker(&mount);
    mount.write("prod/s/tags", "a=c");
    kill_worker(&mount);
    mount.write("prod/s/tags", "a=d");
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    let lines = text(&begun) + &rest;
    let told: Vec<_> = lines.lines().map(words).collect();
    assert_eq!(told, ["tags prod s", "lost", "lost", "tags prod s"], "what was begun is ended");
    assert_eq!(file.metadata().unwrap().len(), lines.len() as u64);
    let waits = std::thread::spawn(move || {
        let mut rest = String::new();
        while rest.lines().count() < 2 {
            file.read_to_string(&mut rest).unwrap();
        }
        rest.lines().map(words).collect::<Vec<_>>()
    });
    run(Command::new(KMSFS).arg("upgrade").arg(mount.root()));
    mount.write("prod/s/tags", "a=e");
    assert_eq!(waits.join().unwrap(), ["lost", "tags prod s"], "a read that waits is answered by the next worker");
}

#[test]
fn two_readers_are_told_the_same() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    let mut readers = [Follower::open(&mount), Follower::open(&mount)];
    mount.write("prod/s/tags", "a=b");
    let mut late = Follower::open(&mount);
    mount.write("prod/s/tags", "a=c");
    assert_eq!(readers.each_mut().map(|reader| [reader.next(), reader.next()]), [["tags prod s", "tags prod s"]; 2]);
    assert_eq!(late.rest(), ["tags prod s"]);
}
