//! Policies through the real kernel: what is open is decided anew, whoever holds it, and the verbs that show, set and try a policy.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value as Json, json};

use crate::harness::{KMSFS, Mount, text};
use crate::maps::Map;
use crate::people::closed_mount;

/// Opens a file, and says for each line what reading it comes to.
const READS: &str = "import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
def look():
    try: print(os.pread(fd, 100, 0).decode(), flush=True)
    except OSError as error: print(error.errno, flush=True)
look()
for line in sys.stdin: look()
";
/// Opens a file as one user, and reads from the descriptor as others.
const PASSES: &str = "import os, socket, sys
opener, file, others = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
here, there = socket.socketpair()
if os.fork() == 0:
    os.setresgid(opener, opener, opener); os.setresuid(opener, opener, opener)
    socket.send_fds(there, [b'x'], [os.open(file, os.O_RDONLY)])
    os._exit(0)
fd = socket.recv_fds(here, 1, 1)[1][0]
for uid in map(int, others):
    pid = os.fork()
    if pid == 0:
        os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
        try: print(os.pread(fd, 100, 0).decode(), flush=True)
        except OSError as error: print(error.errno, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
";

/// A user's process with a file open.
struct Reader {
    process: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn of(mount: &Mount, uid: u32, file: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
        command.args(["/usr/bin/python3", "-c", READS, file]).current_dir(mount.root());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut reader = Self { process, asks, answers };
        assert_eq!(reader.answer(), "pin");
        reader
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What reading comes to now.
    fn read(&mut self) -> String {
        writeln!(self.asks.as_mut().unwrap()).unwrap();
        self.answer()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.asks = None;
        let _ = self.process.wait();
    }
}

fn statement(home: &str, effect: &str, who: &str, actions: &str) -> Json {
    json!({ "Sid": format!("{effect} {who}"), "Effect": effect, "Principal": { "RAM": format!("acs:ram::{home}:{who}") },
        "Action": actions, "Resource": "*" })
}

fn policy(statements: &[Json]) -> String {
    json!({ "Version": "1", "Statement": statements }).to_string()
}

#[test]
fn what_is_open_is_decided_anew() {
    let (mount, home) = closed_mount();
    let denied = libc::EACCES.to_string();
    let allowed = policy(&[statement(&home, "Allow", "user/4001", "kms:*")]);
    let other = policy(&[statement(&home, "Allow", "user/4002", "kms:*")]);
    let of_key = policy(&[statement(&home, "Allow", "user/4002", "kms:Decrypt")]);
    for file in ["prod/s/current", "prod/s/versions/v1"] {
        mount.write("prod/s/policy", &allowed);
        let mut reader = Reader::of(&mount, 4001, file);
        let mut expect = |change: &str, reads: &str| {
            mount.ok(change);
            assert_eq!(reader.read(), reads, "{file} after {change}");
        };
        expect(&format!("echo '{other}' > prod/s/policy"), &denied);
        expect(&format!("echo '{allowed}' > prod/s/policy"), "pin");
        expect("echo > prod/s/policy", &denied);
        expect(&format!("echo '{other}' > prod/s/policy"), &denied);
        // What a policy shows cannot be given while it does.
        expect("chmod 711 prod/s; chmod 604 prod/s/current", &denied);
        expect("echo > prod/s/policy; chmod 711 prod/s; chmod 604 prod/s/current", "pin");
        expect("chmod 600 prod/s/current", &denied);
        expect("chmod 604 prod/s/current", "pin");
        expect("chmod 700 prod/s", &denied);
        expect("chown 4001 prod/s", "pin");
        expect(&format!("echo '{of_key}' > prod/.keys/default/policy"), &denied);
        expect("echo > prod/.keys/default/policy", "pin");
        expect("chown 0 prod/s; chmod 600 prod/s/current", &denied);
        mount.ok("echo > prod/s/policy");
    }
}

/// A descriptor that was passed on is read by who reads, not by who opened it.
#[test]
fn a_descriptor_that_was_passed_on_is_its_readers() {
    let (mount, home) = closed_mount();
    mount.write(
        "prod/s/policy",
        policy(&[
            statement(&home, "Allow", "user/4001", "kms:GetSecretValue"),
            statement(&home, "Allow", "role/4003", "kms:GetSecretValue"),
            statement(&home, "Deny", "user/4004", "kms:*"),
            statement(&home, "Allow", "role/4004", "kms:*"),
        ]),
    );
    std::fs::write(mount.dir.path().join("passes.py"), PASSES).unwrap();
    for opener in [0, 4001] {
        for file in ["prod/s/current", "prod/s/versions/v1"] {
            let told = mount.ok(&format!("python3 $OUT/passes.py {opener} {file} 0 4001 4002 4003 4004 4001"));
            assert_eq!(told, "pin\npin\n13\npin\n13\npin\n", "{file} opened by {opener}");
        }
    }
}

#[test]
fn a_policy_that_takes_the_right_away_ends_maps() {
    let (mount, home) = closed_mount();
    let of = |who: &str| policy(&[statement(&home, "Allow", who, "kms:*")]);
    let file = "prod/s/versions/v1";
    mount.write("prod/s/policy", of("user/4001"));
    let mut map = Map::by(&mount, 4001, file);
    mount.write(
        "prod/s/policy",
        policy(&[statement(&home, "Allow", "user/4001", "kms:*"), statement(&home, "Allow", "user/4002", "kms:*")]),
    );
    map.lives();
    let mut of_root = Map::of(&mount, file);
    mount.write("prod/s/policy", of("user/4002"));
    map.dies();
    of_root.lives();
    mount.write("prod/s/policy", of("user/4001"));
    let mut map = Map::by(&mount, 4001, file);
    mount.write("prod/.keys/default/policy", policy(&[statement(&home, "Deny", "user/4001", "kms:Decrypt")]));
    map.dies();
    of_root.lives();
}

/// `kmsfs ARGS` in the root of the tree.
fn kmsfs(mount: &Mount, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(KMSFS);
    command.args(args).current_dir(mount.root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn policies_have_verbs() {
    let (mount, home) = closed_mount();
    let show = || text(&kmsfs(&mount, &["policy", "show", "prod/s"], "").stdout);
    let default: Json = serde_json::from_str(&show()).unwrap();
    assert_eq!(default["Statement"][0]["Principal"]["RAM"], json!([format!("acs:ram::{home}:*")]));
    assert_eq!(serde_json::from_str::<Json>(&mount.read("prod/s/policy")).unwrap(), default);
    let set = |input: &str| kmsfs(&mount, &["policy", "set", "prod/s"], input);
    let ours =
        policy(&[statement(&home, "Allow", "user/4001", "kms:Get*"), statement(&home, "Deny", "user/4002", "kms:*")]);
    let output = set(&ours);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str(), text(&output.stderr).as_str()),
        (Some(0), "prod/s: set\n", "")
    );
    assert_eq!(show(), format!("{ours}\n"));
    for (bad, line) in [
        ("{\n\"Version\": \"2\",\n\"Statement\": []}", "line 2"),
        ("{\n\"Version\": \"1\",\n\"Statement\": [\n{\"Effect\": \"Maybe\"}]}", "line 4"),
        ("{\n\"Version\": \"1\",\n\"Statement\": [", "line 3"),
    ] {
        let output = set(bad);
        assert_eq!(output.status.code(), Some(1), "{bad}");
        assert!(text(&output.stderr).contains(line), "{bad}: {}", text(&output.stderr));
    }
    assert_eq!(show(), format!("{ours}\n"), "what is refused changes nothing");
    for (vain, warns) in [
        (policy(&[statement(&home, "Deny", "user/4002", "kms:*")]), true),
        (policy(&[statement(&home, "Allow", "user/4002", "kms:SetSecretPolicy")]), true),
        (ours.clone(), false),
    ] {
        let output = set(&vain);
        assert_eq!(
            (output.status.code(), text(&output.stderr).contains("warning")),
            (Some(0), warns),
            "{vain}: {output:?}"
        );
    }
    assert_eq!(set("").status.code(), Some(0));
    assert_eq!(serde_json::from_str::<Json>(&show()).unwrap(), default, "nothing at all is the default policy");
}

/// (who, action, decision, exit code)
#[test]
fn a_policy_can_be_tried() {
    let (mount, home) = closed_mount();
    mount.ok("mkdir prod/.keys/k");
    mount.write(
        "prod/s/policy",
        policy(&[
            statement(&home, "Allow", "user/4001", "kms:*"),
            statement(&home, "Deny", "role/4003", "kms:PutSecretValue"),
            statement(&home, "Allow", "role/4003", "kms:*Value"),
        ]),
    );
    let nothing = |action: &str| {
        format!("refused: {action} is not allowed: neither the owner, group and mode of `s` nor a policy permit it\n")
    };
    let other = "acs:ram::3333333333333333:user/4001";
    for (who, action, said, code) in [
        ("root", "kms:GetSecretValue", "allowed: owner, group and mode\n".to_owned(), 0),
        ("user/4001", "kms:GetSecretValue", "allowed: statement 1 (\"Allow user/4001\")\n".to_owned(), 0),
        ("user/4001", "deletesecret", "allowed: statement 1 (\"Allow user/4001\")\n".to_owned(), 0),
        ("role/4003", "GetSecretValue", "allowed: statement 3 (\"Allow role/4003\")\n".to_owned(), 0),
        ("role/4003", "kms:PutSecretValue", "refused: statement 2 (\"Deny role/4003\")\n".to_owned(), 1),
        ("role/4003", "kms:DescribeSecret", nothing("DescribeSecret"), 1),
        ("user/nobody", "kms:GetSecretValue", nothing("GetSecretValue"), 1),
    ] {
        let output = kmsfs(&mount, &["policy", "test", "--as", who, "--action", action, "prod/s"], "");
        assert_eq!((text(&output.stdout), output.status.code()), (said, Some(code)), "{who} {action}: {output:?}");
    }
    let test = |who: &str, action: &str| {
        let output = kmsfs(&mount, &["policy", "test", "--json", "--as", who, "--action", action, "prod/s"], "");
        let told: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (told["Decision"].as_str().unwrap_or("none").to_owned(), output.status.code())
    };
    assert_eq!(test("user/4001", "kms:GetSecretValue"), ("Allow".to_owned(), Some(0)));
    assert_eq!(test(other, "kms:GetSecretValue"), ("Deny".to_owned(), Some(1)));
    mount.write("prod/.keys/default/policy", policy(&[statement(&home, "Deny", "user/4001", "kms:Decrypt")]));
    assert_eq!(test("user/4001", "kms:GetSecretValue"), ("Deny".to_owned(), Some(1)), "the key is asked besides");
    for (who, action) in [("user/", "kms:GetSecretValue"), ("alice", "kms:GetSecretValue"), ("root", "kms:Nothing")] {
        assert_eq!(test(who, action), ("none".to_owned(), Some(1)), "{who} {action}");
    }
}

/// A policy goes on deciding while the secret is scheduled: who may look at it, restore it and purge it.
#[test]
fn what_is_scheduled_is_decided_alike() {
    let (mount, home) = closed_mount();
    let lets = |who: &str, actions: &str| statement(&home, "Allow", who, actions);
    let statements = [
        lets("user/4001", "kms:DeleteSecret"),
        lets("user/4002", "kms:RestoreSecret"),
        lets("user/4003", "kms:Describe*"),
        lets("user/4004", "kms:*"),
    ];
    mount.write("prod/s/policy", policy(&statements));
    let as_user =
        |uid: u32, script: &str| format!("setpriv --reuid {uid} --regid {uid} --clear-groups bash -c '{script}'");
    let api = |action: &str| {
        format!(
            "echo \"{{\\\"Action\\\":\\\"{action}\\\",\\\"DKMSInstanceId\\\":\\\"prod\\\",\\\"SecretName\\\":\\\"s\\\"}}\" | $KMSFS api ."
        )
    };
    let mut wrong = Vec::new();
    let mut tries = |uid: u32, script: &str, may: bool| {
        let output = mount.bash(&as_user(uid, script));
        let done = output.status.success() && !text(&output.stdout).contains("\"Code\"");
        if done != may {
            wrong.push(format!("{uid}: {script}: {may}: {}{}", text(&output.stdout), text(&output.stderr)));
        }
    };
    for (uid, may) in [(4000, false), (4002, false), (4003, false), (4001, true)] {
        tries(uid, "rm prod/s/current", may);
    }
    for (uid, may) in [(4000, false), (4001, false), (4002, false), (4003, true), (4004, true), (0, true)] {
        tries(uid, "cat prod/.deleted/s/info", may);
        tries(uid, &api("DescribeSecret"), may);
    }
    for (uid, may) in [(4000, false), (4001, false), (4003, false), (4002, true)] {
        tries(uid, &api("RestoreSecret"), may);
    }
    tries(4004, "cat prod/s/current && rm prod/s/current", true);
    for (uid, may) in [(4000, false), (4002, false), (4003, false), (4001, true)] {
        tries(uid, "echo purge > prod/.deleted/s/state", may);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
