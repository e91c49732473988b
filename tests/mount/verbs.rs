//! The verbs on data, as people and scripts type them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

use crate::api::goes;
use crate::harness::{KMSFS, Mount, text};

/// Runs `kmsfs` with `args` in the root of the tree, with `input` as its stdin.
fn kmsfs_with(mount: &Mount, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(KMSFS);
    command.args(args).current_dir(mount.root());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that reads nothing is gone by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The same, where it must succeed; its stdout.
#[track_caller]
fn done(mount: &Mount, args: &[&str], input: &str) -> String {
    let output = kmsfs_with(mount, args, input);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The same, where it must be refused with exit code `code`; its stderr.
#[track_caller]
fn refused(mount: &Mount, code: i32, args: &[&str]) -> String {
    let output = kmsfs_with(mount, args, "");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn values_come_from_stdin_and_go_to_stdout() {
    let mount = Mount::new();
    assert_eq!(done(&mount, &["put", "prod/db/password"], "one\n"), "prod/db/password: v1\n");
    assert_eq!(mount.read("prod/db/password/current"), "one\n", "to the byte");
    assert_eq!(done(&mount, &["put", "--trim", "prod/db/password"], "two\n"), "prod/db/password: v2\n");
    assert_eq!(done(&mount, &["get", "prod/db/password"], ""), "two");
    assert_eq!(done(&mount, &["get", "prod/db/password/versions/v1"], ""), "one\n");
    assert_eq!(done(&mount, &["get", "--stage", "ACSPrevious", "prod/db/password"], ""), "one\n");
    let all = json(&done(&mount, &["get", "--json", "prod/db/password"], ""));
    assert_eq!((&all["SecretData"], &all["VersionId"]), (&"two".into(), &"v2".into()));
    let made = json(&done(
        &mount,
        &["put", "--json", "--tag", "env=prod", "--tag", "k=", "--description", "for it", "prod/other"],
        "x",
    ));
    assert_eq!(made["SecretName"], "other");
    assert_eq!(
        (mount.read("prod/other/tags"), mount.read("prod/other/description")),
        ("env=prod\nk=\n".into(), "for it\n".into())
    );
    done(&mount, &["put", "--version-id", "new", "--stage", "canary", "prod/other"], "y");
    assert_eq!((mount.read("prod/other/current"), mount.read("prod/other/stages/canary")), ("x".into(), "y".into()));
    let binary = Command::new("bash")
        .args(["-c", "printf '\\0\\377' | $0 put prod/bin && $0 get prod/bin | od -An -tx1"])
        .arg(KMSFS)
        .current_dir(mount.root())
        .output()
        .unwrap();
    assert_eq!(text(&binary.stdout), "prod/bin: v1\n 00 ff\n", "{}", text(&binary.stderr));
    let declared = json(&done(&mount, &["get", "--json", "prod/bin"], ""));
    assert_eq!((&declared["SecretDataType"], &declared["SecretData"]), (&"binary".into(), &"AP8=".into()));
    done(&mount, &["put", "--binary", "prod/bin"], "plain");
    let declared = json(&done(&mount, &["get", "--json", "prod/bin"], ""));
    assert_eq!((&declared["SecretDataType"], &declared["SecretData"]), (&"binary".into(), &"cGxhaW4=".into()));
    assert_eq!(
        (done(&mount, &["get", "prod/bin"], ""), mount.read("prod/bin/current")),
        ("plain".into(), "plain".into())
    );
    for (args, words) in [
        (&["get", "prod/none"][..], "no such secret"),
        (&["get", "--version-id", "v9", "prod/other"], "no such version"),
        (&["get", "prod"], "names no secret"),
        (&["put", "prod/x/.y"], "leading dot"),
        (&["put", "prod/empty"], "at least one byte"),
    ] {
        let said = refused(&mount, 1, args);
        assert!(said.starts_with("kmsfs: error: ") && said.contains(words), "{args:?}: {said}");
    }
    assert!(refused(&mount, 10, &["get", "/tmp/x"]).contains("in no mount"));
    assert!(!mount.path("prod/empty").exists());
}

#[test]
fn versions_are_shown_and_rolled_back() {
    let mount = Mount::new();
    for value in ["one", "two", "three"] {
        done(&mount, &["put", "prod/s"], value);
    }
    let log = done(&mount, &["log", "prod/s"], "");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["VERSION", "CREATED", "AGE", "LABELS", "TYPE"]);
    assert_eq!((lines[1][0], lines[1][3], lines[2][0], lines[2][3]), ("v3", "ACSCurrent", "v2", "ACSPrevious"));
    assert_eq!(json(&done(&mount, &["log", "--json", "prod/s"], ""))["TotalCount"], 3);
    assert_eq!(done(&mount, &["rollback", "prod/s"], ""), "prod/s: v2\n");
    assert_eq!(mount.read("prod/s/current"), "two");
    done(&mount, &["rollback", "--to", "v1", "prod/s"], "");
    assert_eq!(mount.read("prod/s/current"), "one");
    done(&mount, &["rollback", "prod/s/versions/v3"], "");
    assert_eq!(mount.read("prod/s/current"), "three");
    done(&mount, &["put", "prod/first"], "x");
    assert!(refused(&mount, 1, &["rollback", "prod/first"]).contains("no version that was current before"));
}

#[test]
fn deletions_wait_and_are_taken_back_or_not() {
    let mount = Mount::new();
    for name in ["a", "b/c", "d"] {
        done(&mount, &["put", &format!("prod/{name}")], "v");
    }
    assert!(done(&mount, &["rm", "--recovery-window", "7", "prod/a", "prod/b/c"], "").contains("prod/a: deleted at "));
    let trash = json(&done(&mount, &["trash", "--json", "prod"], ""));
    assert_eq!(trash.as_array().unwrap().len(), 2);
    assert!(done(&mount, &["trash", "prod"], "").contains("b/c"));
    done(&mount, &["restore", "prod/a", "prod/.deleted/b%2Fc"], "");
    assert_eq!(mount.read("prod/b/c/current"), "v");
    assert!(refused(&mount, 1, &["purge", "--yes", "prod/a"]).contains("not scheduled"));
    let said = refused(&mount, 1, &["rm", "prod/none", "prod/a"]);
    assert!(said.contains("prod/none: there is no such secret"), "the rest is done: {said}");
    goes(&mount, "prod/a");
    assert!(refused(&mount, 1, &["purge", "prod/a"]).contains("not confirmed"));
    for args in [&["purge", "--yes", "prod/.deleted/d"][..], &["rm", "--now", "--yes", "prod/.deleted/d"]] {
        assert!(refused(&mount, 1, args).contains("Rejected.ResourceInUse"), "{args:?}: it came back meanwhile");
    }
    assert_eq!(mount.read("prod/d/current"), "v");
    done(&mount, &["purge", "--yes", "prod/a"], "");
    assert_eq!(mount.names("prod/.deleted"), [""; 0]);
    assert!(refused(&mount, 1, &["rm", "--now", "prod/d"]).contains("--yes"));
    done(&mount, &["rm", "--now", "--yes", "prod/d"], "");
    goes(&mount, "prod/d");
    assert!(mount.names("prod/.deleted").is_empty());
    refused(&mount, 2, &["rm", "--now", "--recovery-window", "7", "prod/b/c"]);
    assert!(refused(&mount, 1, &["rm", "--recovery-window", "6", "prod/b/c"]).contains("7 to 30"));
}

#[test]
fn an_entry_never_stands_for_the_secret() {
    let mount = Mount::new();
    for value in ["one", "two"] {
        done(&mount, &["put", "prod/s"], value);
    }
    mount.ok("ln -s ../versions/v1 prod/s/stages/old");
    let entries = ["current", "versions", "versions/v1", "stages/old", "stages/none", "fields/x", "tags", "info"];
    let values = ["current", "versions/v1"];
    for entry in entries {
        let path = format!("prod/s/{entry}");
        let path = path.as_str();
        for args in [
            &["rm", path][..],
            &["rm", "--now", "--yes", path],
            &["purge", "--yes", path],
            &["restore", path],
            &["tag", path, "--", "a=b"],
            &["untag", path, "--", "a"],
            &["log", path],
        ] {
            let said = refused(&mount, 1, args);
            assert!(
                said.contains("is a part of the secret prod/s: this is done to a whole secret"),
                "{args:?}: {said}"
            );
            assert!(said.contains(&format!("the secret itself is {}/prod/s", mount.root().display())), "{said}");
        }
        if !values.contains(&entry) {
            assert!(refused(&mount, 1, &["put", path]).contains("is a part of the secret"), "{path}");
        }
        if entry != "versions/v1" {
            assert!(refused(&mount, 1, &["rollback", path]).contains("or to one of its versions"), "{path}");
        }
        if !values.contains(&entry) && !entry.starts_with("stages/") && entry != "fields/x" {
            assert!(refused(&mount, 1, &["get", path]).contains("read is a secret"), "{path}");
            assert!(refused(&mount, 1, &["exec", &format!("X={path}"), "--", "true"]).contains("read is a secret"));
        }
    }
    assert_eq!((mount.names("prod/.deleted"), mount.read("prod/s/tags")), (vec![], String::new()));
    assert_eq!(json(&done(&mount, &["log", "--json", "prod/s"], ""))["TotalCount"], 2);
    for (entry, value) in [("current", "two"), ("versions/v1", "one"), ("stages/old", "one")] {
        let path = format!("prod/s/{entry}");
        assert_eq!(done(&mount, &["get", &path], ""), value, "{entry}");
        assert_eq!(done(&mount, &["exec", &format!("X={path}"), "--", "sh", "-c", "printf %s $X"], ""), value);
    }
    for args in [&["get", "prod/s/stages/none"][..], &["exec", "X=prod/s/stages/none", "--", "true"]] {
        assert!(refused(&mount, 1, args).contains("Forbidden.ResourceNotFound"), "a label that is nowhere");
    }
    done(&mount, &["put", "prod/s/current"], "three");
    done(&mount, &["put", "prod/s/versions/mine"], "four");
    assert_eq!((mount.read("prod/s/versions/v3"), mount.read("prod/s/versions/mine")), ("three".into(), "four".into()));
    done(&mount, &["rm", "prod/s"], "");
    assert!(refused(&mount, 1, &["rm", "--now", "--yes", "prod/.deleted/s/state"]).contains("whole secret"));
    assert!(refused(&mount, 1, &["put", "prod/.deleted/s"]).contains("written is a live secret"));
    assert!(refused(&mount, 1, &["get", "prod/.deleted/s"]).contains("Rejected.ResourceInDeleteWindow"));
    done(&mount, &["restore", "prod/.deleted/s"], "");
}

#[test]
fn tags_are_set_on_many_at_once() {
    let mount = Mount::new();
    let names: Vec<String> = (0..60).map(|n| format!("prod/app/s{n}")).collect();
    for name in &names {
        mount.secret(name, "v");
    }
    let mut args = vec!["tag"];
    args.extend(names.iter().map(String::as_str));
    args.extend(["--", "env=prod", "a/b=c=d"]);
    done(&mount, &args, "");
    assert_eq!(
        (mount.read("prod/app/s0/tags"), mount.read("prod/app/s59/tags")),
        ("a/b=c=d\nenv=prod\n".into(), "a/b=c=d\nenv=prod\n".into())
    );
    done(&mount, &["untag", "prod/app/s0", "prod/app/s1", "env", "not-there"], "");
    assert_eq!(mount.read("prod/app/s1/tags"), "a/b=c=d\n");
    done(&mount, &["untag", "--all", "prod/app/s1"], "");
    assert_eq!(mount.read("prod/app/s1/tags"), "");
    assert!(refused(&mount, 1, &["tag", "prod/app/s1", "acs:x=y"]).contains("belongs to the system"));
    refused(&mount, 2, &["tag", "prod/app/s1", "prod/app/s2"]);
    refused(&mount, 2, &["untag", "x", "y"]);
}

#[test]
fn no_path_is_taken_for_a_key_and_no_key_for_a_path() {
    let mount = Mount::new();
    for name in ["prod/a", "prod/a=b", "prod/other"] {
        mount.secret(name, "v");
        mount.write(&format!("{name}/tags"), "a/b=1\nteam=x\nother=y\n");
    }
    let before = mount.read("prod/a/tags");
    for (code, args, words) in [
        // Mistyped, wherever it stands.
        (1, &["untag", "prod/a", "prod/mistyped", "team"][..], "prod/mistyped: there is no such path"),
        (1, &["untag", "prod/mistyped", "team"], "there is no such path"),
        (1, &["untag", &mount.path("prod/mistyped").display().to_string(), "team"], "no such secret"),
        (1, &["tag", "prod/mistyped", "team=z"], "there is no such path"),
        (10, &["untag", "/tmp/mistyped", "team"], "in no mount"),
        (1, &["untag", "mistyped/prod/a", "team"], "put `--` before"),
        (2, &["untag", "prod/a", "team", "prod/a=b"], "stands behind a tag"),
        (2, &["untag", "prod/a", "team", "a/b"], "put `--` before"),
        // Both, in a mount: here an instance is named as the key is.
        (2, &["untag", "prod/a", "prod"], "can be a path here, and a tag"),
        (2, &["untag", "--all", "prod/a", "--", "team"], "cannot be used with"),
    ] {
        let said = refused(&mount, code, args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
    assert_eq!(mount.read("prod/a/tags"), before);
    done(&mount, &["untag", "prod/a", "--", "a/b", "not-there", "prod"], "");
    assert_eq!(mount.read("prod/a/tags"), "other=y\nteam=x\n");
    done(&mount, &["tag", "prod/a=b", "url=https://x/y"], "");
    done(&mount, &["tag", "prod/a=b", "--", "c/d=e/f=g"], "");
    assert_eq!(mount.read("prod/a=b/tags"), "a/b=1\nc/d=e/f=g\nother=y\nteam=x\nurl=https://x/y\n");
    // In an instance, where a secret is named as a key is, and another as a tag is.
    for script in
        ["cd prod && $KMSFS untag ./a other", "cd prod && $KMSFS untag a other", "cd prod && $KMSFS tag ./a a=b"]
    {
        let said = mount.fails(script);
        assert!(said.contains("can be a path here, and a tag"), "{script}: {said}");
    }
    mount.ok("cd prod && $KMSFS untag ./a -- team && $KMSFS tag ./a -- a=b");
    assert_eq!(mount.read("prod/a/tags"), "a=b\nother=y\n");
    // Elsewhere, with a file that is named as the key is.
    mount.ok("m=$PWD; cd $OUT && touch other && $KMSFS untag $m/prod/a other");
    assert_eq!(mount.read("prod/a/tags"), "a=b\n");
}

#[test]
fn a_program_gets_values_in_its_environment() {
    let mount = Mount::new();
    mount.secret("prod/db/api-key", "a b\nc");
    let args = [
        "exec",
        "prod/db/api-key",
        "OLD=prod/db/api-key/versions/v1",
        "--",
        "sh",
        "-c",
        "printf '%s|%s' \"$API_KEY\" \"$OLD\"; exit 7",
    ];
    let output = kmsfs_with(&mount, &args, "");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(7), "a b\nc|a b\nc".to_owned()),
        "{}",
        text(&output.stderr)
    );
    std::fs::create_dir(mount.path("prod/1st")).unwrap();
    mount.write("prod/1st/current", "x");
    assert!(refused(&mount, 1, &["exec", "prod/1st", "--", "true"]).contains("NAME=PATH"));
    mount.write("prod/1st/current", "a\0b");
    assert!(refused(&mount, 1, &["exec", "X=prod/1st", "--", "true"]).contains("ends every variable"));
    refused(&mount, 1, &["exec", "prod/none", "--", "touch", "done"]);
    assert!(!Path::new("done").exists());
}

#[test]
fn requests_go_through_as_they_are() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    let request = "{\"Action\":\"GetSecretValue\",\"SecretName\":\"s\"}";
    assert_eq!(json(&done(&mount, &["api", "."], request))["SecretData"], "v");
    let output = kmsfs_with(&mount, &["api", "."], "{\"Action\":\"X\"}");
    assert_eq!(
        (output.status.code(), &json(&text(&output.stdout))["Code"]),
        (Some(1), &"InvalidAction.NotFound".into())
    );
    let password = done(&mount, &["random-password", "--length", "40", "--no-punctuation", "."], "");
    assert!(password.trim_end().len() == 40 && password.trim_end().bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[test]
fn secrets_are_listed_as_a_report() {
    let mount = Mount::new();
    std::fs::create_dir(mount.path("test")).unwrap();
    mount.secret("prod/db/password", "v");
    mount.secret("prod/db2", "v");
    mount.secret("test/x", "v");
    let table = done(&mount, &["ls", "."], "");
    let first: Vec<&str> = table.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["SECRET", "prod/db/password", "prod/db2", "test/x"]);
    let below = json(&done(&mount, &["ls", "--json", "prod/db"], ""));
    assert_eq!(below.as_array().unwrap().len(), 1, "a directory, not what begins like it");
    assert!(below[0].get("LastReadTime").is_none());
    mount.read("prod/db/password/current");
    let read = json(&done(&mount, &["ls", "--json", "prod/db"], ""));
    assert!(read[0]["LastReader"] == "0" && read[0]["LastReadTime"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn find_reports_what_is_due_and_what_nobody_reads() {
    let mut mount = Mount::new();
    for name in ["read", "unread"] {
        mount.secret(&format!("prod/{name}"), "v");
    }
    // The next second each time, which is what stat prints; touch(1) by itself may be some milliseconds behind.
    mount.ok("until [ $(date +%s) -gt $(stat -c %Y prod/unread/current) ]; do :; done; touch -d @$(date +%s) $OUT/made
         until [ $(date +%s) -gt $(stat -c %Y $OUT/made) ]; do :; done; cat prod/read/current");
    let times = |mount: &Mount| mount.ok("stat -c '%X %Y' prod/read/current prod/unread/current");
    let before = times(&mount);
    let of: Vec<Vec<u64>> =
        before.lines().map(|line| line.split(' ').map(|time| time.parse().unwrap()).collect()).collect();
    assert!(of[0][0] > of[0][1] && of[1][0] == of[1][1], "read since its making, and not: {before}");
    assert_eq!(mount.ok("find prod -name current -anewer $OUT/made | sort"), "prod/read/current\n");
    mount.restart();
    assert_eq!(times(&mount), before, "kept over a restart");
    mount.ok("ls -laR prod > /dev/null; stat prod/unread/current > /dev/null; find prod -type f > /dev/null");
    assert_eq!(times(&mount), before, "listing and stat never count as reading");
    let due = mount.ok("find prod -name current -mtime -1 | sort");
    assert_eq!(due, "prod/read/current\nprod/unread/current\n");
    assert_eq!(mount.ok("find prod -name current -mtime +90"), "");
}

#[test]
fn the_audit_is_shown_and_verified() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.secret("prod/t", "v");
    mount.read("prod/s/current");
    mount.fails("echo other | dd of=prod/s/versions/v1 status=none");
    let records: Vec<Json> = done(&mount, &["audit", "--json", "-n", "0", "prod/s"], "").lines().map(json).collect();
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record["action"].as_str().unwrap(), record["outcome"].as_str().unwrap()))
        .collect();
    for expected in [("CreateSecret", "granted"), ("GetSecretValue", "granted"), ("PutSecretValue", "denied")] {
        assert!(seen.contains(&expected), "{expected:?} is not in {seen:?}");
    }
    assert!(records.iter().all(|record| record["secret"] == "s" && record["uid"] == 0));
    let table = done(&mount, &["audit", "-n", "1", "prod/t"], "");
    assert!(table.lines().count() == 2 && table.contains("prod/t v1"), "{table}");
    assert!(done(&mount, &["audit", "verify", "."], "").contains("all as they were written"));
    let other = mount.bash("setpriv --reuid 4711 --clear-groups $KMSFS audit .");
    assert!(
        !other.status.success() && text(&other.stderr).contains("Forbidden.NoPermission"),
        "{}",
        text(&other.stderr)
    );
    // One byte of a record that lies there.
    let script = "f=$(ls $OUT/audit/*/* | head -1); sed -i '2s/\"uid\":0/\"uid\":1/' $f 2>/dev/null || true; head -2 $f | tail -1";
    mount.ok(script);
    let said = refused(&mount, 25, &["audit", "verify", "."]);
    assert!(said.contains("is not as it was written"), "{said}");
}

/// An interactive bash on a terminal of its own: types what completes a name, and prints what the terminal shows.
const TYPING: &str = r#"
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
def until(text):
    shown, end = b'', time.time() + 30
    while text not in shown:
        assert time.time() < end, shown
        if select.select([fd], [], [], 1)[0]:
            shown += os.read(fd, 65536)
    return shown
os.write(fd, b"bind 'set enable-bracketed-paste off'; source <($KMSFS completions bash); echo rea''dy\n")
until(b'ready')
for typed, shown in [(b'kmsfs get pro\tdb/pas\t', b'prod/db/password/'), (b'\x15kmsfs rollb\t--t\t', b'rollback --to ')]:
    os.write(fd, typed)
    until(shown)
os.kill(pid, 9)
"#;

#[test]
fn a_shell_completes_names() {
    let mount = Mount::new();
    mount.secret("prod/db/password", "v");
    let script = mount.dir.path().join("type.py");
    std::fs::write(&script, TYPING).unwrap();
    mount.ok(&format!("python3 {}", script.display()));
}
