//! A close by programs that have much open, or many children.

use crate::harness::Mount;

fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    mount
}

/// Whoever writes is looked at before the many who have nothing to do with it.
#[test]
fn a_crowd_hides_no_writer() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import os, socket
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
if os.fork() == 0:
    wait, end = os.pipe()
    all_have_closed, not_yet = os.pipe()
    for _ in range(600):
        if os.fork() == 0:
            os.dup2(wait, 0)
            os.closerange(1, 64)
            os.read(0, 1)
            os._exit(0)
    os.close(not_yet)
    os.read(all_have_closed, 1)
    there.send(b'ready')
    _, fds, _, _ = socket.recv_fds(there, 1, 1)
    os.close(fds[0])
    there.send(b'closed')
    os._exit(0)
here.recv(10)
fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
os.write(fd, b'first half, ')
socket.send_fds(here, [b'x'], [fd])
here.recv(10)
assert open('prod/s/current').read() == 'old', 'a part was seen'
os.write(fd, b'second half')
os.close(fd)
os.wait()
assert open('prod/s/current').read() == 'first half, second half'
PY"#);
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
}

/// However many descriptors a writer has, its value is there when its close(2) returns.
#[test]
fn a_writer_may_have_thousands_of_descriptors() {
    let mount = secret();
    mount.ok(r#"python3 - <<'PY'
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
for _ in range(3000):
    os.open('/dev/null', os.O_RDONLY)
for n in range(50):
    fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
    os.write(fd, str(n).encode())
    os.close(fd)
    assert open('prod/s/current').read() == str(n), n
PY"#);
}

/// A child that keeps the file does not keep the close that waits for it, whether it sleeps (1 s) or runs (5 s); what was
/// written counts when the child has ended.
#[test]
fn a_close_waits_for_no_child_longer_than_its_bound() {
    let mount = secret();
    let took = mount.ok(r#"python3 - <<'PY'
import os, signal, time
def sleep():
    time.sleep(20)
def run():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass
before = 'old'
for child in sleep, run:
    fd = os.open('prod/s/current', os.O_WRONLY | os.O_TRUNC)
    os.write(fd, child.__name__.encode())
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    began = time.monotonic()
    os.close(fd)
    print(time.monotonic() - began)
    assert open('prod/s/current').read() == before, 'a part was seen'
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = open('prod/s/current').read()
    assert before == child.__name__, before
PY"#);
    let took: Vec<f64> = took.lines().map(|took| took.parse().unwrap()).collect();
    assert!(took[0] < 4.0 && took[1] < 9.0, "closes took {took:?} s");
}
