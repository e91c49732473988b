//! When a write counts: a version appears whole or not at all, and is there when the command that wrote it returns.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::harness::{Mount, close, errno};

fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    mount
}

/// What one redirection writes is one version, whatever descriptors a shell moves about meanwhile.
#[test]
fn one_redirection_is_one_version() {
    let scripts = [
        "{ echo a; echo progress >&2; echo b; } > prod/s/current",
        "exec 3> prod/s/current; echo a >&3; echo progress >&2; echo b >&3; exec 3>&-",
        "(/bin/echo a; /bin/echo b) > prod/s/current",
        "for x in a b; do echo $x; done > prod/s/current",
        "{ echo a; (echo b); } > prod/s/current",
        "{ echo a | cat; /bin/echo b; } > prod/s/current",
        "bash -c 'echo a; exec /bin/echo b' > prod/s/current",
        "f() { echo a; echo b; }; f > prod/s/current",
        "exec 3> prod/s/current 4>&3; echo a >&3; exec 3>&-; echo b >&4; exec 4>&-",
        "{ echo a; sleep 0.1; echo b; } > prod/s/current & wait",
    ];
    for script in scripts {
        let mount = secret();
        mount.ok(script);
        assert_eq!(mount.read("prod/s/current"), "a\nb\n", "{script}");
        assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"], "{script}");
        assert_eq!(mount.read("prod/s/stages/ACSPrevious"), "old", "{script}");
    }
}

/// The parent closes its descriptor while its child still writes: the child's close counts.
#[test]
fn a_child_may_outlast_the_opener() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import subprocess
f = open('prod/s/current', 'w')
child = subprocess.Popen(['sh', '-c', 'echo a; read line; echo b'], stdin=subprocess.PIPE, stdout=f)
f.close()
assert open('prod/s/current').read() == 'old', 'a part was seen'
child.communicate(b'go\n')
assert open('prod/s/current').read() == 'a\nb\n', open('prod/s/current').read()
PY"#);
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
}

/// A descriptor that is sent to another process is closed there without a word; the last close counts all the same.
#[test]
fn a_descriptor_may_be_handed_over() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import os, socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
if os.fork() == 0:
    _, fds, _, _ = socket.recv_fds(b, 1, 1)
    os.write(fds[0], b'handed over')
    os._exit(0)
socket.send_fds(a, [b'x'], [fd])
os.wait()
os.close(fd)
PY"#);
    assert_eq!(mount.read("prod/s/current"), "handed over");
}

#[test]
fn the_value_is_there_when_the_command_returns() {
    let mount = secret();
    mount.ok("for n in $(seq 200); do echo $n > prod/s/current; [ $(cat prod/s/current) = $n ] || exit 1; done");
    mount.ok("for n in $(seq 50); do echo $n | tee prod/s/current > /dev/null; [ $(cat prod/s/current) = $n ] || exit 1; done");
}

/// Cutting or touching a file is no version; it is told wherever somebody listens.
#[test]
fn truncation_alone_is_no_version() {
    let mount = secret();
    for script in [
        "touch prod/s/versions/v9",
        "truncate -s 0 prod/s/current",
        "cp /dev/null prod/s/current",
        "cp /dev/null prod/s/versions/v9",
        "python3 -c \"open('prod/s/current', 'w').close()\"",
        "python3 -c \"import os; os.truncate('prod/s/current', 0)\"",
    ] {
        assert!(mount.fails(script).contains("Invalid argument"), "{script}");
        assert_eq!(mount.last_code(), "InvalidParameter", "{script}");
    }
    mount.bash(": > prod/s/versions/v9; : > prod/s/current; > prod/s/current");
    mount.ok("touch prod/s/current prod/s/versions/v1");
    assert_eq!(mount.names("prod/s/versions"), ["v1"]);
    assert_eq!(mount.read("prod/s/current"), "old");
    assert_eq!(mount.names("prod/s/stages"), ["ACSCurrent"]);
}

/// A writer that a signal ends between its writes leaves nothing, whichever signal and wherever it writes.
#[test]
fn a_killed_writer_leaves_no_version() {
    for file in ["current", "versions/v2"] {
        for signal in ["KILL", "TERM", "INT", "HUP", "SEGV"] {
            let mount = secret();
            let script = format!("{{ echo part; kill -{signal} $BASHPID; echo rest; }} > prod/s/{file}");
            // Alone in its shell, so that the signal ends the opener itself.
            // Whoever runs the tests may have been told to ignore one (nohup does so).
            mount.bash(&format!("env --default-signal bash -c '{script}' 2> /dev/null; true"));
            // Once the descriptor is gone for good, so is the draft: an unmount waits for that.
            assert_eq!(mount.names("prod/s/versions"), ["v1"], "{signal} on {file}");
            assert_eq!(mount.read("prod/s/current"), "old", "{signal} on {file}");
        }
    }
}

/// A killed child leaves nothing of what its parent opened for it, though the parent goes on.
#[test]
fn a_killed_child_spoils_the_whole_write() {
    let mut mount = secret();
    mount.bash("{ sh -c 'echo part; kill -9 $$'; echo rest; } > prod/s/current");
    mount.restart();
    assert_eq!(mount.read("prod/s/current"), "old");
    assert_eq!(mount.names("prod/s/versions"), ["v1"]);
}

/// SIGKILL from outside, between two writes that the test sees happen.
#[test]
fn a_writer_killed_from_outside_leaves_no_version() {
    let mut mount = secret();
    let mut writer = Command::new("python3")
        .args(["-c", "import os, sys\nfd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)\nos.write(fd, b'part')\nprint('written', flush=True)\nsys.stdin.read()"])
        .current_dir(mount.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(writer.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(mount.read("prod/s/current"), "old", "nobody sees a part");
    writer.kill().unwrap();
    writer.wait().unwrap();
    mount.restart();
    assert_eq!(mount.read("prod/s/current"), "old");
    assert_eq!(mount.names("prod/s/versions"), ["v1"]);
}

/// A program that ends with an error has written what it has written; only a signal is an interruption.
#[test]
fn a_failing_program_is_not_an_interrupted_one() {
    let mount = secret();
    mount.bash("bash -c 'echo whole; exit 3' > prod/s/current");
    assert_eq!(mount.read("prod/s/current"), "whole\n");
    // Threads of a process that exits as it should are ended by a signal of the kernel's own.
    mount.ok(r#"python3 - <<'PY'
import os, threading, time
fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
for _ in range(4):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
os.write(fd, b'by threads')
os._exit(0)
PY"#);
    assert_eq!(mount.read("prod/s/current"), "by threads");
}

/// After a refused write the rest is refused too: what came before is a part of something.
#[test]
fn a_refused_write_spoils_the_rest() {
    let mount = secret();
    let error = mount.fails("head -c 30000 /dev/zero > $OUT/a; cat $OUT/a $OUT/a > prod/s/current");
    assert!(error.contains("File too large"), "{error}");
    mount.bash("{ head -c 31000 /dev/zero; echo rest; } > prod/s/versions/v2");
    assert_eq!(mount.read("prod/s/current"), "old");
    assert_eq!(mount.names("prod/s/versions"), ["v1"]);
}

/// fsync(2) means durable: it survives the daemon's death with the descriptor still open.
#[test]
fn fsync_is_durable() {
    use std::io::Write;
    let mut mount = secret();
    let mut file = std::fs::File::create(mount.path("prod/s/current")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    mount.kill();
    drop(file);
    mount.start();
    assert_eq!(mount.read("prod/s/current"), "synced");
}

/// The writer sees the size of what it has written, everybody else that of the present value.
#[test]
fn a_writer_sees_its_own_size() {
    use std::io::Write;
    let mount = secret();
    let mut file = std::fs::File::create(mount.path("prod/s/current")).unwrap();
    file.write_all(b"longer than old").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 15);
    assert_eq!(mount.ok("stat -c %s prod/s/current"), "3\n");
    drop(file);
    let mut file = std::fs::OpenOptions::new().append(true).open(mount.path("prod/s/current")).unwrap();
    file.write_all(b"!").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 16);
}

/// Two writers of one new version: the same bytes are one version, other bytes are refused; none is mixed.
#[test]
fn two_writers_never_mix() {
    use std::io::Write;
    let mount = secret();
    let path = mount.path("prod/s/versions/v2");
    let open = || std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
    let (mut first, mut second) = (open(), open());
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    close(first).unwrap();
    assert_eq!(errno(close(second)), libc::EEXIST);
    assert_eq!(mount.read("prod/s/versions/v2"), "first");
    // Two versions in the making do not stand in each other's way.
    let make = |name: &str| std::fs::File::create(mount.path(&format!("prod/s/versions/{name}"))).unwrap();
    let (mut third, mut fourth) = (make("x3"), make("x4"));
    fourth.write_all(b"four").unwrap();
    third.write_all(b"three").unwrap();
    mount.write("prod/s/current", "five");
    close(third).unwrap();
    close(fourth).unwrap();
    assert_eq!(mount.read("prod/s/versions/x3") + &mount.read("prod/s/versions/x4"), "threefour");
    assert_eq!(mount.read("prod/s/current"), "four", "the last to close is current");
}

/// A polling reader sees the old value, then the whole new one, while several processes write through one redirection.
#[test]
fn nobody_sees_a_part() {
    let mount = secret();
    let whole: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let mut writer = Command::new("bash")
        .args(["-c", "for n in $(seq 0 39); do /bin/echo line $n; done > prod/s/current"])
        .current_dir(mount.root())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    while writer.try_wait().unwrap().is_none() {
        seen.push(mount.read("prod/s/current"));
    }
    seen.push(mount.read("prod/s/current"));
    assert!(seen.iter().all(|value| value == "old" || *value == whole), "a part was seen");
    assert_eq!(seen.first().map(String::as_str), Some("old"), "the reader was there from the beginning");
    assert_eq!(seen.last(), Some(&whole));
}

/// A thread starts programs while another one writes: between fork and exec such a child has a copy of every descriptor, and
/// is no writer. The value is there all the same when close(2) returns.
#[test]
fn children_on_their_way_hold_nothing_up() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import os, threading
done = threading.Event()
def start():
    while not done.is_set():
        child = os.fork()
        if child == 0:
            os.execv('/bin/true', ['true'])
        os.waitpid(child, 0)
threads = [threading.Thread(target=start) for _ in range(3)]
for thread in threads: thread.start()
try:
    for n in range(200):
        with open('prod/s/current', 'w') as file: file.write(str(n))
        with open('prod/s/current') as file: assert file.read() == str(n), n
finally:
    done.set()
    for thread in threads: thread.join()
PY"#);
}

/// A child that was forked, and goes on by itself with the descriptor it has inherited, is a writer like any other.
#[test]
fn a_forked_child_may_write_on() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import os
fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
os.write(fd, b'parent, ')
go_read, go = os.pipe()
if os.fork() == 0:
    os.read(go_read, 1)
    os.write(fd, b'child')
    os._exit(0)
os.close(fd)
assert open('prod/s/current').read() == 'old', 'a part was seen'
os.write(go, b'x')
os.wait()
assert open('prod/s/current').read() == 'parent, child'
PY"#);
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
}

/// execve(2) closes descriptors while it holds a lock that a reader of /proc/<pid>/stat waits for; whoever looks there
/// before it answers waits for ever, and so does the program, and every `ps`.
#[test]
fn a_program_may_start_another_while_it_writes() {
    use std::io::Write;
    let mount = secret();
    let mut file = std::fs::File::create(mount.path("prod/s/current")).unwrap();
    file.write_all(b"part").unwrap();
    // The descriptor is closed in the child, when it becomes another program.
    assert_eq!(mount.ok("cat prod/s/current"), "old");
    file.write_all(b" and rest").unwrap();
    close(file).unwrap();
    assert_eq!(mount.read("prod/s/current"), "part and rest");
    // The same where the program that wrote becomes another one, which is when its write counts.
    mount.ok("python3 -c \"import os; fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC); os.write(fd, b'before exec'); os.execv('/bin/true', ['true'])\"");
    assert_eq!(mount.read("prod/s/current"), "before exec");
}
