//! Rotation by functions: steps, failures, kills, cancellations, and who runs as whom. The functions are shell scripts of these tests; those that
//! are shipped are tried against their services elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

use crate::api::{ask, done};
use crate::harness::Mount;
use crate::keeper::kill_worker;
use crate::people::as_user;

/// A mount whose functions are the test's.
pub struct Stage {
    pub mount: Mount,
}

/// What takes longer will never be.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stage {
    /// One with the secret `prod/s`, whose value is `one`.
    pub fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let functions = dir.path().join("functions");
        fs::create_dir(&functions).unwrap();
        fs::create_dir(dir.path().join("notes")).unwrap();
        fs::set_permissions(dir.path().join("notes"), fs::Permissions::from_mode(0o777)).unwrap();
        let mount = Mount::in_dir(dir, &["--functions", functions.to_str().unwrap()]);
        mount.secret("prod/s", "one");
        Self { mount }
    }

    /// Where functions leave notes.
    fn notes(&self) -> PathBuf {
        self.mount.dir.path().join("notes")
    }

    fn note(&self, name: &str) -> String {
        fs::read_to_string(self.notes().join(name)).unwrap_or_default()
    }

    /// The function `name`, with `script` behind what every one of them does: noting its step.
    pub fn function(&self, name: &str, declared: &str, script: &str) {
        let path = self.mount.dir.path().join("functions").join(name);
        let notes = self.notes();
        let text = format!("#!/bin/sh\nset -eu\nN={}\necho \"$1\" >> $N/steps\n{script}\n", notes.display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.with_extension("conf"), format!("user=root\nsecrets=prod/*\n{declared}\n")).unwrap();
    }

    /// Has `prod/s` rotated by it.
    fn plan(&self, name: &str) {
        self.mount.write("prod/s/rotation", format!("function={name}\n"));
    }

    pub fn rotation(&self, secret: &str) -> Json {
        let info: Json = serde_json::from_str(&self.mount.read(&format!("prod/{secret}/info"))).unwrap();
        info["Rotation"].clone()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "{what}: {}", self.rotation("s"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Makes a value of the version's id, and looks at what it is given.
const PLAIN: &str = r#"
old=$(cat <&3) new=$(cat <&4) older=$(cat <&5)
echo "$1 old=$old new=$new older=$older secret=$KMSFS_SECRET version=$KMSFS_VERSION" >> $N/saw
case $1 in create) printf %s "made-$(date +%N)" ;; esac"#;

#[test]
fn a_function_makes_sets_tests_and_finishes() {
    let stage = Stage::new();
    stage.function(
        "plain",
        "env.WHERE=here",
        &format!("{PLAIN}\nenv | sort > $N/env; pwd > $N/pwd; readlink /proc/self/fd/0 > $N/stdin"),
    );
    let mount = &stage.mount;
    mount.ok("echo function=plain > prod/s/rotation");
    assert_eq!(mount.read("prod/s/rotation"), "function=plain\n");
    let said = mount.ok("$KMSFS rotate prod/s");
    assert!(said.contains("prod/s: rotated"), "{said}");
    let new = mount.read("prod/s/current");
    assert!(new.starts_with("made-"), "{new}");
    assert_eq!(stage.note("steps"), "create\nset\ntest\nfinish\n");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"]);
    assert_eq!(mount.names("prod/s/stages"), ["ACSCurrent", "ACSPrevious"]);
    assert_eq!(mount.ok("readlink prod/s/stages/ACSPrevious"), "../versions/v1\n");
    let saw = stage.note("saw");
    let lines: Vec<&str> = saw.lines().collect();
    assert_eq!(lines[0], "create old=one new= older= secret=prod/s version=");
    for (line, step) in lines[1..].iter().zip(["set", "test", "finish"]) {
        assert_eq!(*line, format!("{step} old=one new={new} older= secret=prod/s version=v2"));
    }
    assert_eq!((stage.note("pwd").as_str(), stage.note("stdin").as_str()), ("/\n", "/dev/null\n"));
    let env = stage.note("env");
    assert!(env.contains("WHERE=here\n") && env.contains("USER=root\n") && env.contains("HOME=/root\n"), "{env}");
    assert!(!env.contains("KMSFS_LOG") && !env.contains("NOTIFY_SOCKET"), "{env}");
    assert_eq!(
        (&stage.rotation("s")["State"], &stage.rotation("s")["Last"]["Outcome"]),
        (&json!("idle"), &json!("done"))
    );
    // The next one has the value before the old one.
    mount.ok("$KMSFS rotate --version-id spring prod/s");
    assert_eq!(mount.ok("readlink prod/s/stages/ACSCurrent"), "../versions/spring\n");
    assert!(stage.note("saw").contains(&format!("create old={new} new= older=one")));
}

#[test]
fn it_is_told_who_rotated_what() {
    let stage = Stage::new();
    stage.function("plain", "", PLAIN);
    stage.plan("plain");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate prod/s");
    let records = mount.records();
    let of = |action: &str| records.iter().filter(|record| record["action"] == action).collect::<Vec<_>>();
    let steps = of("RotateSecret");
    assert!(steps.iter().all(|record| record["outcome"] == "granted"), "{steps:?}");
    assert!(steps.iter().any(|record| record["gesture"] == "api"), "who asked for it");
    assert!(steps.iter().filter(|record| record["gesture"] == "rotation").count() >= 4, "{steps:?}");
    let reads = of("GetSecretValue");
    assert!(reads.iter().any(|record| record["gesture"] == "rotation" && record["version"] == "v2"), "{reads:?}");
    let metrics = mount.read(".kmsfs/metrics");
    assert!(metrics.contains("kmsfs_rotations_total{outcome=\"done\"} 1\n"), "{metrics}");
}

#[test]
fn a_step_that_fails_is_tried_again_with_the_same_value() {
    let stage = Stage::new();
    stage.function(
        "flaky",
        "",
        &format!("{PLAIN}\n[ $1 != set ] || [ -e $N/up ] || {{ echo cannot connect >&2; exit 1; }}"),
    );
    stage.plan("flaky");
    let mount = &stage.mount;
    let said = mount.fails("$KMSFS rotate prod/s");
    assert!(said.contains("set: cannot connect (exit status 1)") && said.contains("tried again"), "{said}");
    assert_eq!(mount.read("prod/s/current"), "one");
    let pending = mount.read("prod/s/stages/ACSPending");
    let told = stage.rotation("s");
    assert_eq!((&told["State"], &told["Failures"], &told["VersionId"]), (&json!("set"), &json!(1), &json!("v2")));
    // Who asks for it has it tried at once.
    assert!(mount.fails("$KMSFS rotate prod/s").contains("cannot connect"));
    assert_eq!(stage.rotation("s")["Failures"], 2);
    assert!(mount.records().iter().any(|record| record["action"] == "RotateSecret" && record["outcome"] == "failed"));
    fs::write(stage.notes().join("up"), "").unwrap();
    stage.until("it is tried again by itself", || mount.read("prod/s/current") == pending);
    stage.until("it comes to its end", || stage.rotation("s")["State"] == "idle");
    assert!(!mount.path("prod/s/stages/ACSPending").exists());
    assert_eq!(stage.note("steps"), "create\nset\nset\nset\ntest\nfinish\n");
}

#[test]
fn what_cannot_be_done_as_configured_waits_for_the_next_run() {
    let stage = Stage::new();
    stage.function(
        "stubborn",
        "",
        "case $1 in create) printf x-new;; set) [ -e $N/fixed ] || { echo bad host >&2; exit 78; };; esac",
    );
    stage.plan("stubborn");
    let mount = &stage.mount;
    assert!(mount.fails("$KMSFS rotate prod/s").contains("bad host"));
    assert_eq!(stage.rotation("s")["State"], "failed");
    assert_eq!(mount.read("prod/s/stages/ACSPending"), "x-new");
    fs::write(stage.notes().join("fixed"), "").unwrap();
    mount.ok("$KMSFS rotate prod/s");
    assert_eq!(mount.read("prod/s/current"), "x-new");
    assert_eq!(stage.note("steps"), "create\nset\nset\ntest\nfinish\n", "with the value that may be in use");
}

#[test]
fn a_function_that_is_not_there_or_not_declared_does_nothing() {
    let stage = Stage::new();
    let mount = &stage.mount;
    assert!(mount.fails("$KMSFS rotate prod/s").contains("rotated by no function"));
    stage.plan("none");
    assert!(mount.fails("$KMSFS rotate prod/s").contains("there is no function none"));
    stage.function("other", "", PLAIN);
    let conf = mount.dir.path().join("functions/other.conf");
    fs::write(&conf, "user=root\nsecrets=test/*\n").unwrap();
    mount.ok("$KMSFS rotate --cancel prod/s; echo function=other > prod/s/rotation");
    assert!(mount.fails("$KMSFS rotate prod/s").contains("it may not rotate it"));
    fs::write(&conf, "user=root\nsecrets=prod/*\n").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(mount.fails("$KMSFS rotate prod/s").contains("others may write it"));
    assert_eq!((stage.note("steps").as_str(), mount.names("prod/s/versions").len()), ("", 1));
    for (text, why) in
        [("function=../x", "names no function"), ("every=7d", "no line names a function"), ("x", "no `=`")]
    {
        let said = mount.fails(&format!(
            "echo '{text}' | tee prod/s/rotation > /dev/null || {{ cat .kmsfs/last-error >&2; false; }}"
        ));
        assert!(said.contains("Invalid argument") && said.contains(why), "{said}");
    }
    assert_eq!(mount.read("prod/s/rotation"), "function=other\n");
    mount.ok("$KMSFS rotate --cancel prod/s; : | tee prod/s/rotation");
    assert_eq!(mount.read("prod/s/rotation"), "");
}

#[test]
fn a_function_runs_as_its_user_and_nothing_of_it_is_left() {
    let stage = Stage::new();
    stage.function(
        "user",
        "user=daemon",
        "id -u > $N/id; id -G >> $N/id; ( sleep 1000 & echo $! > $N/left ); case $1 in create) printf new-value;; esac",
    );
    let conf = stage.mount.dir.path().join("functions/user.conf");
    fs::write(conf, "user=daemon\nsecrets=prod/*\n").unwrap();
    stage.plan("user");
    stage.mount.ok("$KMSFS rotate prod/s");
    assert_eq!(stage.note("id"), "1\n1\n");
    let left = stage.note("left");
    assert!(!PathBuf::from(format!("/proc/{}", left.trim())).exists(), "{left} goes on");
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let stage = Stage::new();
    stage.function("slow", "timeout=1", "echo $$ > $N/pid; sleep 1000");
    stage.plan("slow");
    assert!(stage.mount.fails("$KMSFS rotate prod/s").contains("not done within 1 seconds"));
    let pid = stage.note("pid");
    assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    assert_eq!(stage.mount.names("prod/s/versions"), ["v1"]);
}

/// What a function says is shown to whoever sees the secret's metadata: no value may be in it.
#[test]
fn no_value_is_in_what_is_told_of_a_failure() {
    let stage = Stage::new();
    let value = r#"{"user":"app","password":"hunter2-hunter2","pin":4711471147,"odd":"hunter3\"\u00e9"}"#;
    stage.mount.write("prod/s/current", value);
    let says = r#"echo "no: hunter2-hunter2 4711471147 hunter3\"é $(cat <&4)" >&2; exit 78"#;
    stage.function("loud", "", &format!("case $1 in create) printf correct-horse;; set) {says};; esac"));
    stage.plan("loud");
    let said = stage.mount.fails("$KMSFS rotate prod/s");
    assert!(said.contains("no: *** *** *** ***"), "{said}");
    let records: String = stage.mount.records().iter().map(Json::to_string).collect();
    for text in [said, stage.mount.log(), stage.rotation("s").to_string(), records] {
        assert!(!["hunter", "correct-horse", "4711"].iter().any(|secret| text.contains(secret)), "{text}");
    }
    // Of a line that is too long nobody knows where a value begins.
    stage.function("long", "", "head -c 9000 /dev/zero | tr '\\0' x >&2; cat <&3 >&2; exit 78");
    stage.mount.ok("$KMSFS rotate --cancel prod/s; echo function=long > prod/s/rotation");
    let said = stage.mount.fails("$KMSFS rotate prod/s");
    assert!(said.contains("too long to be shown") && !said.contains("xxx"), "{said}");
}

/// Whoever starts a daemon may have files open that are not for everybody.
#[test]
fn no_descriptor_of_others_comes_to_a_function() {
    let mut stage = Stage::new();
    let dir = stage.mount.dir.path().to_owned();
    fs::write(dir.join("for-root"), "topsecret").unwrap();
    let wrapper = dir.join("wrapper");
    let file = dir.join("for-root");
    let script = format!("#!/bin/sh\nexec 3<{0} 9<{0}\nexec {1} \"$@\"\n", file.display(), crate::harness::KMSFS);
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    stage.mount.program = wrapper;
    stage.mount.restart();
    stage.function("looks", "", "ls -l /proc/$$/fd > $N/fds; case $1 in create) printf new-value;; esac");
    stage.plan("looks");
    stage.mount.ok("$KMSFS rotate prod/s");
    let fds = stage.note("fds");
    let open: Vec<&str> = fds.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
    assert!(open.iter().filter(|file| file.starts_with("pipe:")).count() == 5, "{fds}");
    assert!(!fds.contains("for-root") && !fds.contains("store") && !fds.contains("socket:"), "{fds}");
}

#[test]
fn a_value_must_come_of_it() {
    let stage = Stage::new();
    for (name, script, why) in [
        ("empty", ":", "printed nothing"),
        ("large", "head -c 30721 /dev/zero | tr '\\0' x", "more than 30720 bytes"),
        ("largest", "head -c 3000000 /dev/zero | tr '\\0' x", "more than 30720 bytes"),
    ] {
        stage.function(name, "", script);
        stage.plan(name);
        assert!(stage.mount.fails("$KMSFS rotate prod/s").contains(why), "{name}");
        stage.mount.ok("$KMSFS rotate --cancel prod/s");
    }
    stage.function("binary", "", "case $1 in create) head -c 30720 /dev/urandom | tee $N/made;; esac");
    stage.plan("binary");
    stage.mount.ok("$KMSFS rotate prod/s; cmp prod/s/current $OUT/notes/made");
}

#[test]
fn a_run_is_cancelled() {
    let stage = Stage::new();
    stage.function("held", "", "case $1 in create) printf new-value;; set) echo $$ > $N/pid; sleep 1000;; esac");
    stage.plan("held");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate --no-wait prod/s");
    stage.until("it sets", || !stage.note("pid").is_empty());
    assert!(
        mount.fails("echo function=other > prod/s/rotation; cat .kmsfs/last-error >&2; false").contains("under way")
    );
    mount.ok("$KMSFS rotate --cancel prod/s");
    let pid = PathBuf::from(format!("/proc/{}", stage.note("pid").trim()));
    stage.until("the function is ended", || !pid.exists());
    assert_eq!(
        (mount.read("prod/s/current"), mount.read("prod/s/stages/ACSPending")),
        ("one".into(), "new-value".into())
    );
    assert_eq!(stage.rotation("s")["Last"]["Outcome"], "cancelled");
    assert!(mount.fails("$KMSFS rotate --cancel prod/s").contains("no rotation"));
}

/// What is asked for again is done already, but for a version that a run has left behind.
#[test]
fn a_version_that_is_there_may_not_be_what_it_was_rotated_to() {
    let stage = Stage::new();
    stage.function(
        "held",
        "",
        "case $1 in create) printf \"made-$$\";; set) while [ ! -e $N/go ]; do sleep 0.01; done;; esac",
    );
    stage.plan("held");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate --no-wait --version-id spring prod/s");
    stage.until("it sets", || stage.note("steps").ends_with("set\n"));
    mount.ok("$KMSFS rotate --cancel prod/s");
    let said = mount.fails("$KMSFS rotate --version-id spring prod/s");
    assert!(said.contains("version spring is there, and is neither at ACSCurrent nor at ACSPrevious"), "{said}");
    mount.ok("touch $OUT/notes/go; $KMSFS rotate --version-id summer prod/s");
    for _ in 0..2 {
        let said = mount.ok("$KMSFS rotate --version-id summer prod/s");
        assert!(said.contains("prod/s: rotated"), "{said}");
    }
    assert_eq!(mount.ok("readlink prod/s/stages/ACSCurrent"), "../versions/summer\n");
}

/// The worker is killed in the middle of each step, and so is the function.
#[test]
fn a_run_goes_on_over_kills() {
    let stage = Stage::new();
    let script = format!("{PLAIN}\nif [ ! -e $N/was-$1 ]; then touch $N/was-$1; echo $$ > $N/at-$1; sleep 1000; fi");
    stage.function("killed", "", &script);
    stage.plan("killed");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate --no-wait prod/s");
    for step in ["create", "set", "test", "finish"] {
        stage.until("the step begins", || stage.note(&format!("at-{step}")).ends_with('\n'));
        let pid = stage.note(&format!("at-{step}")).trim().to_owned();
        let function = PathBuf::from(format!("/proc/{pid}"));
        kill_worker(mount);
        stage.until("the function ends with its worker", || !function.exists());
    }
    stage.until("the run comes to its end", || stage.rotation("s")["State"] == "idle");
    assert_eq!(stage.note("steps"), "create\ncreate\nset\nset\ntest\ntest\nfinish\nfinish\n");
    assert_eq!(stage.rotation("s")["Last"]["Outcome"], "done");
    assert_eq!(mount.names("prod/s/versions"), ["v1", "v2"], "one new version, whatever was killed");
    // And the function alone.
    stage.function(
        "dies",
        "",
        &format!("{PLAIN}\nif [ $1 = set ] && [ ! -e $N/died ]; then touch $N/died; kill -9 $$; fi"),
    );
    stage.plan("dies");
    assert!(mount.fails("$KMSFS rotate prod/s").contains("killed by signal 9"));
    stage.until("it is tried again", || stage.rotation("s")["State"] == "idle");
}

#[test]
fn a_runner_that_is_killed_takes_its_function_along() {
    let stage = Stage::new();
    stage.function("held", "", "case $1 in create) echo $PPID $$ > $N/pids; [ -e $N/again ] || { touch $N/again; sleep 1000; }; printf new-value;; esac");
    stage.plan("held");
    stage.mount.ok("$KMSFS rotate --no-wait prod/s");
    stage.until("it begins", || stage.note("pids").ends_with('\n'));
    let pids: Vec<i32> = stage.note("pids").split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    kill_process(Pid::from_raw(pids[0]).unwrap(), Signal::KILL).unwrap();
    stage.until("its function is gone", || !PathBuf::from(format!("/proc/{}", pids[1])).exists());
    stage.until("the step is done again", || stage.mount.read("prod/s/current") == "new-value");
}

/// What a function has started may go on where its runner is killed, and talk on: nobody waits for it.
#[test]
fn nobody_waits_for_what_a_killed_runner_has_left() {
    let stage = Stage::new();
    let chatters = "( while :; do echo x >&2; sleep 0.05; done ) & echo $PPID $! > $N/pids; sleep 1000";
    stage.function("chatty", "", &format!("[ -e $N/again ] || {{ touch $N/again; {chatters}; }}; printf new-value"));
    stage.plan("chatty");
    stage.mount.ok("$KMSFS rotate --no-wait prod/s");
    stage.until("it begins", || stage.note("pids").ends_with('\n'));
    let pids: Vec<i32> = stage.note("pids").split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    kill_process(Pid::from_raw(pids[0]).unwrap(), Signal::KILL).unwrap();
    stage.until("the step is done again", || stage.mount.read("prod/s/current") == "new-value");
    let _ = kill_process(Pid::from_raw(pids[1]).unwrap(), Signal::KILL);
}

/// Somebody cancels, writes and begins anew while a function is on its way: what that makes is of a run that is over.
#[test]
fn a_cancelled_step_comes_to_nothing() {
    let stage = Stage::new();
    stage.function("slow", "", "case $1 in create) n=$(wc -l < $N/steps); while [ $n = 1 ] && [ ! -e $N/go ]; do sleep 0.01; done; printf \"made-$n-of-$(cat <&3)\";; esac");
    stage.plan("slow");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate --no-wait prod/s");
    stage.until("it begins", || stage.note("steps").ends_with('\n'));
    mount.ok("$KMSFS rotate --cancel prod/s; printf by-hand > prod/s/current; $KMSFS rotate --no-wait prod/s; touch $OUT/notes/go");
    stage.until("the second run is done", || stage.rotation("s")["State"] == "idle");
    let current = mount.read("prod/s/current");
    assert!(current.starts_with("made-") && current.ends_with("-of-by-hand"), "{current}");
}

#[test]
fn who_rotated_by_hand_meanwhile_is_not_overruled() {
    let stage = Stage::new();
    stage.function(
        "slow",
        "",
        "case $1 in create) printf new-value;; test) touch $N/tests; while [ ! -e $N/go ]; do sleep 0.05; done;; esac",
    );
    stage.plan("slow");
    let mount = &stage.mount;
    mount.ok("$KMSFS rotate --no-wait prod/s");
    stage.until("it tests", || stage.notes().join("tests").exists());
    mount.ok("printf by-hand > prod/s/current; touch $OUT/notes/go");
    stage.until("it fails", || stage.rotation("s")["State"] == "failed");
    assert_eq!(mount.read("prod/s/current"), "by-hand");
    assert!(stage.rotation("s")["Error"].as_str().unwrap().contains("another version is current by now"));
}

#[test]
fn who_may_rotate() {
    let stage = Stage::new();
    stage.function("plain", "", PLAIN);
    stage.plan("plain");
    let mount = &stage.mount;
    mount.ok("chmod 755 . prod prod/s; chmod 644 prod/s/current");
    for script in ["$KMSFS rotate prod/s", "$KMSFS rotate --cancel prod/s", "echo function=x > prod/s/rotation"] {
        let said = mount.fails(&as_user(1000, script));
        assert!(said.contains("not allowed") || said.contains("denied"), "{script}: {said}");
    }
    assert_eq!(mount.ok(&as_user(1000, "cat prod/s/rotation")), "function=plain\n");
    mount.ok("chmod 666 prod/s/current");
    mount.ok(&as_user(1000, "$KMSFS rotate prod/s"));
}

#[test]
fn the_api_rotates() {
    let stage = Stage::new();
    stage.function("plain", "", PLAIN);
    let mount = &stage.mount;
    let code = |request: Json| ask(mount, request)["Code"].clone();
    let update = |more: Json| {
        let mut request = json!({"Action": "UpdateSecretRotationPolicy", "SecretName": "s"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    assert_eq!(code(json!({"Action": "RotateSecret", "SecretName": "s", "VersionId": "v9"})), "UnsupportedOperation");
    assert_eq!(
        code(update(json!({"EnableAutomaticRotation": true, "RotationInterval": "7d"}))),
        "UnsupportedOperation"
    );
    for bad in [
        json!({"EnableAutomaticRotation": true, "RotationInterval": "1h", "Function": "plain"}),
        json!({"EnableAutomaticRotation": true, "RotationInterval": "7d", "Function": "a/b"}),
    ] {
        assert_eq!(code(update(bad)), "InvalidParameter");
    }
    done(mount, update(json!({"EnableAutomaticRotation": true, "RotationInterval": "168h", "Function": "plain"})));
    assert_eq!(mount.read("prod/s/rotation"), "function=plain\nevery=7d\n");
    let described = done(mount, json!({"Action": "DescribeSecret", "SecretName": "s"}));
    assert_eq!(
        (&described["AutomaticRotation"], &described["RotationInterval"]),
        (&json!("Enabled"), &json!("604800s"))
    );
    assert!(described["NextRotationDate"].is_string());
    done(mount, json!({"Action": "RotateSecret", "SecretName": "s", "VersionId": "mine"}));
    stage.until("it is rotated", || stage.rotation("s")["Last"]["Outcome"] == "done");
    assert_eq!(mount.ok("readlink prod/s/stages/ACSCurrent"), "../versions/mine\n");
    // As KMS has it, an id that is there was asked for before.
    done(mount, json!({"Action": "RotateSecret", "SecretName": "s", "VersionId": "mine"}));
    assert_eq!(stage.note("steps").lines().count(), 4);
    assert_eq!(code(json!({"Action": "CancelSecretRotation", "SecretName": "s"})), "Rejected.StateModifiedFailed");
    done(mount, update(json!({"EnableAutomaticRotation": false})));
    assert_eq!(mount.read("prod/s/rotation"), "function=plain\n");
}
