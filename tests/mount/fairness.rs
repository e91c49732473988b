//! One user's work does not hold the others up.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Mount, run};

/// Programs that close a file each while a child of theirs sleeps with it, and while they have 2,040 descriptors that a close
/// looks at. Each close is looked at again and again for a second.
const CROWD: usize = 8;
const CROWDED_CLOSE: &str = r#"
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
for _ in range(2040):
    os.open('/dev/null', os.O_RDONLY)
for n in range(int(sys.argv[1])):
    if os.fork() == 0:
        fd = os.open(f'prod/crowd{n}/current', os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b'new')
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        os.write(1, b'closing\n')
        os.close(fd)
        os._exit(0)
sys.stdin.read()
"#;
/// How long the others' changes are watched: less than such a close takes.
const WATCHED: Duration = Duration::from_millis(700);

/// A program of somebody else's that changes a secret again and again, and says how many microseconds one change took in the
/// median.
const OTHER: &str = r#"
import os, sys, time
taken = []
began = time.monotonic()
while time.monotonic() < began + float(sys.argv[1]):
    before = time.monotonic()
    fd = os.open('prod/other/current', os.O_WRONLY | os.O_TRUNC)
    os.write(fd, str(before).encode())
    os.close(fd)
    taken.append(time.monotonic() - before)
print(int(1e6 * sorted(taken)[len(taken) // 2]))
"#;

fn change(mount: &Mount) -> Duration {
    let mut other = Command::new("python3");
    other.args(["-c", OTHER, &WATCHED.as_secs_f64().to_string()]).current_dir(mount.root());
    Duration::from_micros(run(&mut other).trim().parse().unwrap())
}

#[test]
fn closes_that_take_long_to_decide_hold_nobody_up() {
    let mount = Mount::new();
    mount.secret("prod/other", "old");
    for n in 0..CROWD {
        mount.secret(&format!("prod/crowd{n}"), "old");
    }
    let alone = change(&mount);
    let mut crowd = Command::new("python3")
        .args(["-c", CROWDED_CLOSE, &CROWD.to_string()])
        .current_dir(mount.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(crowd.stdout.take().unwrap());
    assert_eq!(said.lines().take(CROWD).map(Result::unwrap).collect::<Vec<_>>(), ["closing"; CROWD]);
    let crowded = change(&mount);
    // The children end with their pipe, and each last close stores its draft.
    drop(crowd.stdin.take());
    crowd.wait().unwrap();
    println!("a change takes {alone:?} alone, {crowded:?} beside {CROWD} closes");
    // Behind such a close it would wait for a second.
    assert!(crowded < alone * 10 + Duration::from_millis(50), "{alone:?} alone, {crowded:?} beside {CROWD} closes");
}

/// How many programs there are whose closes take long each.
const CLOSERS: usize = 16;
/// They are of one user, and change a secret each, with as much open as takes long to look at, until their input ends. Then
/// each says how many microseconds a close took in the median.
const LONG_CLOSES: &str = r#"
import os, resource, select, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
for _ in range(4000):
    os.open('/dev/null', os.O_RDONLY)
for n in range(int(sys.argv[1])):
    if os.fork() == 0:
        taken = []
        while not select.select([0], [], [], 0)[0]:
            fd = os.open(f'prod/crowd{n}/current', os.O_WRONLY | os.O_TRUNC)
            os.write(fd, str(time.monotonic()).encode())
            before = time.monotonic()
            os.close(fd)
            taken.append(time.monotonic() - before)
            if len(taken) == 1:
                os.write(1, b'closing\n')
        os.write(1, b'%d\n' % (1e6 * sorted(taken)[len(taken) // 2]))
        os._exit(0)
for _ in range(int(sys.argv[1])):
    os.wait()
"#;

/// The other program's closes cannot be decided at a glance either; they wait for none of the crowd's.
#[test]
fn looks_of_one_user_hold_no_other_up() {
    let mount = Mount::new();
    mount.secret("prod/other", "old");
    mount.ok("chown 1500 prod/other prod/other/*");
    for n in 0..CLOSERS {
        mount.secret(&format!("prod/crowd{n}"), "old");
    }
    let mut crowd = Command::new("python3")
        .args(["-c", LONG_CLOSES, &CLOSERS.to_string()])
        .current_dir(mount.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(crowd.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.by_ref().take(CLOSERS).collect::<Vec<_>>(), ["closing"; CLOSERS]);
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "1500", "--regid", "1500", "--clear-groups", "/usr/bin/python3", "-c"]);
    let opens = "import os\nfor _ in range(100):\n    os.open('/dev/null', os.O_RDONLY)\n";
    other.args([&format!("{opens}{OTHER}"), &WATCHED.as_secs_f64().to_string()]).current_dir(mount.root());
    let others = Duration::from_micros(run(&mut other).trim().parse().unwrap());
    // They close until now, and each says so.
    drop(crowd.stdin.take());
    let mut crowds: Vec<u64> = said.map(|took| took.parse().unwrap()).collect();
    assert!(crowd.wait().unwrap().success());
    assert_eq!(crowds.len(), CLOSERS);
    crowds.sort_unstable();
    let crowds = Duration::from_micros(crowds[CLOSERS / 2]);
    println!("a change takes {others:?}, a close of the {CLOSERS} beside it {crowds:?}");
    // Of the same run, whatever else the machine does. In one queue for all they are alike.
    assert!(others * 2 < crowds, "a change took {others:?}, a close of the {CLOSERS} beside it {crowds:?}");
}
