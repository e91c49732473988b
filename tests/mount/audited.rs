//! Every decision has a record, before it takes effect; and what has no record takes none.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use serde_json::{Value as Json, json};

use crate::harness::{KMSFS, Mount, errno, text};
use crate::small_disk::SmallDisk;

/// What is asked of memory is answered within this; and what waits for a sink that hangs, which is a second, within that. On a
/// busy machine it is so once in some tries.
const AT_ONCE: Duration = Duration::from_millis(500);
const IN_TIME: Duration = Duration::from_millis(2500);
/// Whoever takes longer waits for the disk, which takes a minute.
const AT_LAST: Duration = Duration::from_secs(15);

/// Records of `action` on the secret `name`.
fn of(mount: &Mount, action: &str, name: &str) -> Vec<Json> {
    let mut records = mount.records();
    records.retain(|record| record["action"] == action && record["secret"] == name);
    records
}

fn reads(mount: &Mount) -> Vec<Json> {
    of(mount, "GetSecretValue", "db/password")
}

fn with_secret(options: &[&str]) -> Mount {
    let mount = Mount::with(options);
    mount.secret("prod/db/password", "one");
    mount
}

const PATH: &str = "prod/db/password/current";

#[test]
fn a_read_has_one_record_of_who_and_what() {
    let mount = with_secret(&[]);
    mount.ok("chmod 755 prod/db prod/db/password; chmod 644 prod/db/password/current");
    mount.ok(&format!("setpriv --reuid 1234 --regid 99 --clear-groups cat {PATH}"));
    let [read] = &reads(&mount)[..] else { panic!("one record: {:?}", reads(&mount)) };
    let cat = std::fs::metadata("/usr/bin/cat").unwrap();
    for (member, expected) in [
        ("gesture", json!("read")),
        ("outcome", json!("granted")),
        ("code", Json::Null),
        ("reason", json!("mode")),
        ("uid", json!(1234)),
        ("gid", json!(99)),
        ("comm", json!("cat")),
        ("instance", json!("prod")),
        ("version", json!("v1")),
    ] {
        assert_eq!(read[member], expected, "{member}");
    }
    assert_eq!((&read["exe"]["path"], &read["exe"]["ino"]), (&json!("/usr/bin/cat"), &json!(cat.ino())));
    assert_eq!(read["exe"]["dev"], cat.dev());
    assert!(read["principal"].as_str().unwrap().ends_with(":user/1234"), "{read}");
    assert_eq!(read["tgid"], read["tid"]);
}

/// Once for each handle, version and reader: to read on is nothing new, to be another reader is.
#[test]
fn a_read_is_recorded_once_for_each_handle_version_and_reader() {
    let mount = with_secret(&[]);
    let mut file = File::open(mount.path(PATH)).unwrap();
    let read = |file: &mut File| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(mount.read(".kmsfs/last-error"), "{}\n");
    assert_eq!(reads(&mount).len(), 0, "to open is not to read");
    for _ in 0..3 {
        assert_eq!(read(&mut file), "one");
    }
    assert_eq!(reads(&mount).len(), 1);
    mount.write(PATH, "two");
    assert_eq!(read(&mut file), "one");
    assert_eq!(reads(&mount).len(), 1, "it reads the version that it opened");
    let stdin = file.try_clone().unwrap();
    file.rewind().unwrap();
    let cat = Command::new("cat").stdin(stdin).output().unwrap();
    assert_eq!(cat.stdout, b"one");
    let records = reads(&mount);
    assert_eq!(records.len(), 2, "another process reads through the same handle");
    assert_eq!(records[1]["comm"], "cat");
    let mut second = File::open(mount.path(PATH)).unwrap();
    assert_eq!(read(&mut second), "two");
    assert_eq!(reads(&mount)[2]["version"], "v2");
    // The same process as another program, and as another user.
    mount.ok(&format!("exec 3< {PATH}; head -c 1 <&3 >/dev/null; exec head -c 1 <&3"));
    mount.ok(&format!(
        "python3 -c \"import os\nfd = os.open('{PATH}', 0)\nfor uid in (0, 1234, 1234):\n os.setresuid(uid, uid, 0) if uid else 0\n os.pread(fd, 1, 0)\n os.setresuid(0, 0, 0)\""
    ));
    let later: Vec<_> =
        reads(&mount)[3..].iter().map(|record| (record["comm"].clone(), record["uid"].clone())).collect();
    let expected = [("head", 0), ("head", 0), ("python3", 0), ("python3", 1234)];
    assert_eq!(later, expected.map(|(comm, uid)| (json!(comm), json!(uid))));
    // Neither names nor sizes nor listings are reads.
    mount.ok("ls -lR prod > /dev/null; stat prod/db/password/current; find . > /dev/null");
    assert_eq!(reads(&mount).len(), 7);
}

/// What is stored can be read through a writer's handle, and through what an editor has moved away.
#[test]
fn other_ways_to_a_value_are_recorded() {
    let mount = with_secret(&[]);
    mount.ok(&format!("python3 -c \"f = open('{PATH}', 'r+'); assert f.read() == 'one'\""));
    assert_eq!(reads(&mount).len(), 1, "through a descriptor that also writes");
    mount.ok("cd prod/db/password; mv current current~; cat current~");
    let records = reads(&mount);
    assert_eq!(records.len(), 2);
    assert_eq!(records[1]["gesture"], "rename");
}

#[test]
fn changes_texts_and_refusals_are_recorded() {
    let mount = with_secret(&[]);
    mount.ok("echo two > prod/db/password/current; echo a=b > prod/db/password/tags; cat prod/db/password/info");
    mount.ok("ln -sfn ../versions/v1 prod/db/password/stages/ACSCurrent; chmod 700 prod/db/password");
    mount.ok("cat prod/.instance/info prod/.keys/default/info .kmsfs/status > /dev/null");
    mount.fails("rmdir prod/db/password");
    mount.fails("echo other > prod/db/password/versions/v1");
    mount.bash("cat prod/db/nothing prod/nothing");
    mount.ok("rm -r prod/db/password; mv prod/.deleted/db%2Fpassword prod/db/password; rm -r prod/db/password");
    mount.ok("echo purge > prod/.deleted/db%2Fpassword/state");
    let seen: Vec<_> = mount.records().into_iter().filter(|record| !record["action"].is_null()).collect();
    let told = |record: &Json| {
        ["action", "gesture", "outcome", "code", "version"]
            .map(|member| record[member].as_str().unwrap_or("-").to_owned())
    };
    let seen: Vec<String> = seen.iter().map(|record| told(record).join(" ")).collect();
    let expected = [
        "UpdateInstance mkdir granted - -",
        "CreateSecret mkdir granted - -",
        "CreateSecret mkdir granted - -",
        "CreateSecret close granted - v1",
        "PutSecretValue close granted - v2",
        "TagResource close granted - -",
        "DescribeSecret open granted - -",
        // `ln -sfn` makes a link of another name first.
        "UpdateSecretVersionStage symlink granted - -",
        "UpdateSecretVersionStage rename granted - -",
        "UpdateSecret change of attributes granted - -",
        "DescribeInstance open granted - -",
        "DescribeKey open granted - -",
        "CreateSecret rmdir denied Rejected.ResourceInUse -",
        "PutSecretValue write denied Rejected.ResourceExist v1",
        "DeleteSecret unlink granted - -",
        // `versions`, `stages` and `fields`, which have to be new when the name is used again.
        "UpdateSecret rmdir granted - -",
        "UpdateSecret rmdir granted - -",
        "UpdateSecret rmdir granted - -",
        "DeleteSecret rmdir granted - -",
        "RestoreSecret rename granted - -",
        "DeleteSecret unlink granted - -",
        // `versions`, `stages` and `fields`, which have to be new when the name is used again.
        "UpdateSecret rmdir granted - -",
        "UpdateSecret rmdir granted - -",
        "UpdateSecret rmdir granted - -",
        "DeleteSecret rmdir granted - -",
        "ForceDeleteSecret close granted - -",
    ];
    assert_eq!(seen, expected, "{seen:#?}");
    assert!(mount.records().iter().all(|record| !record.to_string().contains("two")), "no value is recorded");
}

#[test]
fn a_secret_that_is_made_has_a_record_of_its_version() {
    let mount = with_secret(&[]);
    for (name, id, expected) in [("one", "", "v1"), ("two", ",\"VersionId\":\"mine\"", "mine")] {
        let request = format!(
            "{{\"Action\":\"CreateSecret\",\"DKMSInstanceId\":\"prod\",\"SecretName\":\"{name}\",\"SecretData\":\"v\"{id}}}"
        );
        mount.ok(&format!("exec 3<>.kmsfs/api; printf %s '{request}' >&3; cat <&3"));
        assert_eq!(mount.names(&format!("prod/{name}/versions")), [expected]);
        let records = of(&mount, "CreateSecret", name);
        assert_eq!(records.len(), 1, "{records:#?}");
        assert_eq!((&records[0]["version"], &records[0]["outcome"]), (&json!(expected), &json!("granted")));
    }
}

/// Whoever names a program, a thread or a directory can put any byte there.
#[test]
fn hostile_names_are_one_line_each() {
    let mount = with_secret(&[]);
    let hostile = "a\\nb\\x1b[2J\\\"c\\x5c\\xff";
    mount.ok(&format!(
        "python3 - <<'PY'\nimport ctypes, os, shutil\n\
         name = b'{hostile}'\nctypes.CDLL(None).prctl(15, name + b'\\0')\nopen('{PATH}').read()\n\
         program = os.environ['OUT'].encode() + b'/' + name\nshutil.copy(b'/usr/bin/cat', program)\n\
         os.spawnv(os.P_WAIT, program, [b'cat', b'{PATH}'])\nPY"
    ));
    let records = reads(&mount);
    let shown = "a\nb\u{1b}[2J\"c\\\\\\xff";
    assert_eq!(records[0]["comm"], shown);
    assert!(records[1]["exe"]["path"].as_str().unwrap().ends_with(shown), "{}", records[1]);
    let text: Vec<u8> = std::fs::read_dir(mount.audit())
        .unwrap()
        .flat_map(|store| {
            let files = std::fs::read_dir(store.unwrap().path()).unwrap();
            files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect::<Vec<u8>>()
        })
        .collect();
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n'));
}

#[test]
fn what_was_answered_has_its_record_when_the_worker_is_killed() {
    let mount = with_secret(&[]);
    for n in 1..=5 {
        assert_eq!(mount.read(PATH), "one");
        pidfd_send_signal(mount.process("worker_pid"), Signal::KILL).unwrap();
        assert_eq!(reads(&mount).len(), n);
    }
    let records = mount.records();
    let numbers: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
    let gestures: Vec<_> =
        records.iter().filter(|record| record["action"].is_null()).map(|r| r["gesture"].clone()).collect();
    assert_eq!(gestures[..3], ["segment", "mount", "worker"]);
}

/// A mount whose audit is on a disk of `kib` KiB, in segments of 64 KiB.
fn with_small_disk(kib: u32, options: &[&str]) -> SmallDisk {
    let small = SmallDisk::new("audit", kib, &[&["--audit-segment", "65536"], options].concat());
    small.mount.secret("prod/db/password", "one");
    small
}

/// Reads until `go_on` denies it of a read; how often, that one included.
fn read_while(mount: &Mount, mut go_on: impl FnMut(std::io::Result<Vec<u8>>) -> bool) -> usize {
    let mut reads = 1;
    while go_on(std::fs::read(mount.path(PATH))) {
        reads += 1;
        assert!(reads < 10_000, "the disk does not become full");
    }
    reads
}

#[test]
fn a_full_disk_stops_what_cannot_be_recorded_and_nothing_else() {
    let small = with_small_disk(256, &[]);
    let mount = &small.mount;
    small.take(64 * 1024);
    read_while(mount, |read| read.is_ok());
    assert_eq!(errno(std::fs::read(mount.path(PATH))), libc::EIO);
    let cat = mount.bash(&format!("cat {PATH}"));
    assert!(!cat.status.success() && cat.stdout.is_empty(), "not a byte of the value: {cat:?}");
    assert!(mount.fails("/bin/echo two > prod/db/password/current").contains("Input/output error"));
    assert!(mount.fails("cat prod/db/password/info").contains("Input/output error"));
    assert_eq!(mount.names("prod/db/password/versions"), ["v1"], "nothing was changed");
    assert_eq!(mount.ok("stat -c %s prod/db/password/current"), "3\n");
    let status = mount.status();
    assert_eq!((&status["health"], &status["audit"]["state"]), (&json!("audit-blocked"), &json!("blocked")));
    assert!(status["audit"]["missed"]["refused"].as_u64().unwrap() > 3, "{status}");
    small.empty();
    assert_eq!(mount.read(PATH), "one");
    mount.ok("echo two > prod/db/password/current");
    assert_eq!(mount.status()["health"], "ok");
    let records = mount.records();
    let gap = records.iter().find(|record| record["gesture"] == "gap").expect("what was refused is told of");
    assert!(gap["reason"].as_str().unwrap().contains("requests answered with EIO"), "{gap}");
}

#[test]
fn who_asks_for_it_is_let_pass_without_a_record() {
    let small = with_small_disk(192, &["--audit-fail", "open"]);
    let mount = &small.mount;
    small.take(32 * 1024);
    let read = read_while(mount, |read| {
        assert_eq!(read.unwrap(), b"one");
        mount.status()["audit"]["state"] == "ok"
    });
    assert_eq!(mount.status()["audit"]["state"], "open");
    mount.ok("echo two > prod/db/password/current");
    small.empty();
    assert_eq!(mount.read(PATH), "two\n");
    // A record that is shorter than the one before may still find room: how many had none, and in how many gaps, is the disk's.
    let let_pass: Vec<usize> = mount
        .records()
        .iter()
        .filter(|record| record["gesture"] == "gap")
        .map(|gap| {
            gap["reason"]
                .as_str()
                .and_then(|reason| reason.strip_suffix(" let pass")?.rsplit(' ').next())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    println!("let pass: {let_pass:?}");
    assert!(!let_pass.is_empty());
    let recorded = reads(mount).len() + of(mount, "PutSecretValue", "db/password").len();
    assert_eq!(recorded + let_pass.iter().sum::<usize>(), read + 2, "each is recorded or counted: {let_pass:?}");
}

#[test]
fn a_second_sink_is_enough() {
    let mut mount = Mount::new();
    mount.stop();
    let socket = mount.dir.path().join("socket");
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let heard = std::thread::spawn(move || {
        let (mut heard, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
        loop {
            let len = listener.recv(&mut buffer).unwrap();
            if &buffer[..len] == b"end" {
                return heard;
            }
            heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
    });
    mount.options = ["--audit-to", "journald", "--audit-socket", socket.to_str().unwrap()].map(str::to_owned).to_vec();
    let dir = mount.dir.path().join("audit");
    mount.start();
    mount.secret("prod/db/password", "one");
    assert_eq!(mount.read(PATH), "one");
    mount.stop();
    // A directory that is none: no chain can be written.
    std::fs::rename(&dir, mount.dir.path().join("before")).unwrap();
    std::fs::write(&dir, "").unwrap();
    mount.start();
    assert_eq!(mount.read(PATH), "one");
    mount.ok("echo two > prod/db/password/current");
    let status = mount.status();
    assert_eq!((&status["audit"]["state"], &status["health"]), (&json!("elsewhere"), &json!("ok")));
    let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
    sender.send_to(b"end", &socket).unwrap();
    let heard = heard.join().unwrap();
    let read: Vec<_> = heard.iter().filter(|heard| heard.contains("\"GetSecretValue\"")).collect();
    assert_eq!(read.len(), 2, "{heard:#?}");
    assert!(
        read.iter().all(|read| read.starts_with("MESSAGE={\"seq\":") && read.contains("SYSLOG_IDENTIFIER=kmsfs-audit"))
    );
    // Nobody listens any more: then nothing takes effect.
    assert_eq!(errno(std::fs::read(mount.path(PATH))), libc::EIO);
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(mount.read(PATH), "two\n");
}

/// The store knows how far the chain has come: after an orderly end all of it, after another what was on the disk at the last change.
#[test]
fn an_end_that_was_cut_off_while_nothing_was_mounted_is_found() {
    let mut mount = with_secret(&[]);
    let segment = mount.audit().join(mount.status()["store"]["id"].as_str().unwrap()).join("00000001.jsonl");
    let verify = |mount: &Mount| {
        let output = Command::new(KMSFS).args(["audit", "verify"]).arg(mount.root()).output().unwrap();
        (output.status.code(), text(&output.stderr) + &text(&output.stdout))
    };
    assert_eq!(mount.read(PATH), "one");
    mount.stop();
    let whole = std::fs::read_to_string(&segment).unwrap();
    let last = whole.lines().count();
    type End = fn(&mut Mount);
    let cuts: [(&str, &str, End); 2] = [
        ("\"GetSecretValue\"", "an orderly end", |_| ()),
        ("\"close\"", "another end", |mount| {
            mount.start();
            for value in ["two", "three"] {
                mount.write(PATH, value);
            }
            mount.kill();
        }),
    ];
    for (cut, what, end) in cuts {
        end(&mut mount);
        let lines = std::fs::read_to_string(&segment).unwrap();
        let kept: Vec<_> = lines.lines().take_while(|line| !line.contains(cut)).collect();
        std::fs::write(&segment, kept.join("\n") + "\n").unwrap();
        mount.start();
        let records = mount.records();
        let repair = records.iter().find(|record| record["gesture"] == "repair").expect(what);
        let said = format!("records {} to ", kept.len() + 1);
        assert!(repair["reason"].as_str().unwrap().contains(&said), "{what}: {repair}");
        assert!(repair["seq"].as_u64().unwrap() > last as u64, "{what}: no number is given again: {repair}");
        let (code, said) = verify(&mount);
        assert!(code == Some(25) && said.contains("records are missing"), "{what}: {code:?} {said}");
        assert!(mount.log().contains("which the store knows of, are not here"));
        mount.stop();
        // As if nobody had cut it.
        std::fs::write(&segment, &whole).unwrap();
    }
}

#[test]
fn a_chain_that_cannot_be_begun_is_no_mount() {
    let mut mount = Mount::new();
    mount.stop();
    let place = mount.dir.path().join("file");
    std::fs::write(&place, "").unwrap();
    let try_to = |audit: &std::path::Path| {
        let mut command = Command::new(KMSFS);
        command.args(["mount", "--anchor", "none", "--store"]).arg(mount.store()).arg("--key-file").arg(mount.key());
        command.arg("--log").arg(mount.log_file()).arg("--audit").arg(audit).arg(mount.root());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = try_to(&place);
    assert!(said.contains("the audit takes no record") && said.contains("--audit none"), "{said}");
    let said = try_to(&mount.store().join("audit"));
    assert!(said.contains("lies in the store's own directory"), "{said}");
    mount.start();
}

#[test]
fn segments_are_closed_as_they_fill_up() {
    let mut mount = with_secret(&["--audit-segment", "16384"]);
    for _ in 0..200 {
        assert_eq!(mount.read(PATH), "one");
    }
    mount.restart();
    assert_eq!(mount.read(PATH), "one");
    let records = mount.records();
    assert_eq!(reads(&mount).len(), 201);
    let begins: Vec<_> = records.iter().filter(|record| record["gesture"] == "segment").collect();
    assert!(begins.len() > 4 && mount.status()["audit"]["segment"].as_u64() == Some(begins.len() as u64));
    assert!(begins.iter().all(|record| record["prev"].as_str().is_some_and(|prev| prev.len() == 64)));
    assert!(records.iter().zip(1..).all(|(record, n)| record["seq"] == n));
    let last = &records[records.len() - 1];
    assert_eq!(last["gesture"], "read");
    let gestures: Vec<_> = records.iter().filter_map(|record| record["gesture"].as_str()).collect();
    assert!(gestures.contains(&"unmount"));
}

/// The disk of a chain, every call to which is held back by strace.
struct SlowDisk {
    strace: Child,
    /// It ends when nobody listens to it any more.
    _said: BufReader<ChildStderr>,
}

impl SlowDisk {
    fn under(mount: &Mount) -> Self {
        let store = mount.status()["store"]["id"].as_str().unwrap().to_owned();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &mount.status()["worker_pid"].to_string(), "-e", "trace=pwrite64,fdatasync"]);
        strace.args(["-e", "inject=pwrite64,fdatasync:delay_enter=60s", "-P"]);
        strace.arg(mount.audit().join(store).join("00000001.jsonl"));
        strace.arg("-o").arg(mount.dir.path().join("calls")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().expect("strace can be started; see scripts/test-packages");
        let (mut said, mut line) = (BufReader::new(strace.stderr.take().unwrap()), String::new());
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self { strace, _said: said }
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.strace), Signal::KILL).unwrap();
        self.strace.wait().unwrap();
    }
}

#[test]
fn a_sink_that_hangs_holds_nobody_up() {
    let mount = with_secret(&[]);
    assert_eq!(mount.read(PATH), "one");
    let slow = SlowDisk::under(&mount);
    let (mut reads, mut looks, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4 {
        let began = Instant::now();
        assert_eq!(errno(std::fs::read(mount.path(PATH))), libc::EIO);
        reads.push(began.elapsed());
        let began = Instant::now();
        mount.ok("ls -l prod/db/password > /dev/null; stat prod/db/password/current > /dev/null");
        let status = mount.status();
        looks.push(began.elapsed());
        assert_eq!(status["audit"]["state"], "blocked");
        let began = Instant::now();
        assert!(mount.fails("/bin/echo two > prod/db/password/current").contains("Input/output error"));
        changes.push(began.elapsed());
    }
    for (took, bound) in [(reads, IN_TIME), (looks, AT_ONCE), (changes, IN_TIME)] {
        let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
        assert!(*least < bound && *most < AT_LAST, "within {bound:?}: {took:?}");
    }
    drop(slow);
    let began = Instant::now();
    while mount.status()["audit"]["state"] != "ok" {
        let _ = std::fs::read(mount.path(PATH));
        assert!(began.elapsed() < Duration::from_secs(30), "the disk is quick again");
    }
    assert_eq!(mount.read(PATH), "one");
    assert_eq!(mount.names("prod/db/password/versions"), ["v1"]);
}
