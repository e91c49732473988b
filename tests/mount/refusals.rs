//! Bad input: refused with its errno, nothing changed, and the reason where people look for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::harness::{Mount, errno, run};

/// (what, script, errno's text, KMS code). Each runs in `prod`, beside a secret `s`.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("a space in a name", "mkdir 'a b'", "Invalid argument", "InvalidParameter"),
    ("a control byte", "mkdir $'a\\001b'", "Invalid argument", "InvalidParameter"),
    ("a newline", "mkdir $'a\\nb'", "Invalid argument", "InvalidParameter"),
    ("no UTF-8", "mkdir $'a\\xff'", "Invalid argument", "InvalidParameter"),
    ("a leading dot", "mkdir .a", "Invalid argument", "InvalidParameter"),
    ("a reserved name", "mkdir versions", "Invalid argument", "InvalidParameter"),
    ("a reserved name that is not there", "mkdir s/dotenv", "Invalid argument", "InvalidParameter"),
    ("a managed name", "mkdir acs; mkdir acs/x", "Invalid argument", "InvalidParameter"),
    ("an instance's bad name", "mkdir '../a b'", "Invalid argument", "InvalidParameter"),
    ("a file where no file is", "echo v | dd of=password status=none", "not permitted", "InvalidParameter"),
    ("a file in a name", "mkdir db; echo v | dd of=db/password status=none", "not permitted", "InvalidParameter"),
    ("a version's bad id", "echo v | dd of='s/versions/a b' status=none", "Invalid argument", "InvalidParameter"),
    ("an empty value", "dd if=/dev/null of=s/current status=none", "Invalid argument", "InvalidParameter"),
    ("a bad tag line", "echo nonsense | dd of=s/tags status=none", "Invalid argument", "InvalidParameter.TagKey"),
    (
        "a bad second line",
        "printf 'a=b\\n=v\\n' | dd of=s/tags status=none",
        "Invalid argument",
        "InvalidParameter.TagKey",
    ),
    ("a tag twice", "printf 'a=b\\na=c\\n' | dd of=s/tags status=none", "File exists", "Duplicate.TagKey"),
    ("a reserved prefix", "echo ACS:x=y | dd of=s/tags status=none", "not permitted", "InvalidParameter.TagKey"),
    ("no text", "printf 'a\\377' | dd of=s/description status=none", "Invalid argument", "InvalidParameter"),
    (
        "an escape sequence",
        "printf 'a\\033[2J' | dd of=s/description status=none",
        "Invalid argument",
        "InvalidParameter",
    ),
    ("no JSON", "echo nonsense | dd of=s/policy status=none", "Invalid argument", "InvalidParameter"),
    (
        "a policy with a member that means nothing",
        "sed s/Effect/Efect/ s/policy > $OUT/p; cp $OUT/p s/policy",
        "Invalid argument",
        "InvalidParameter",
    ),
    ("a quota", "echo many | dd of=.instance/access-quota status=none", "Invalid argument", "InvalidParameter"),
    ("an account", "echo 7 | dd of=.instance/shares status=none", "Invalid argument", "InvalidParameter"),
    ("a key that is not there", "echo payments | dd of=s/cmk status=none", "not available", "Forbidden.KeyNotFound"),
    ("a key's name", "mkdir '.keys/a b'", "Invalid argument", "InvalidParameter"),
    ("a key's state", "echo Off | dd of=.keys/default/state status=none", "Invalid argument", "InvalidParameter"),
    (
        "a default key's end",
        "echo PendingDeletion | dd of=.keys/default/state status=none",
        "resource busy",
        "Rejected.ResourceInUse",
    ),
    ("a label on no version", "ln -s ../versions/v9 s/stages/x", "No such file", "Forbidden.ResourceNotFound"),
    ("a label on something else", "ln -s ../tags s/stages/x", "Invalid argument", "InvalidParameter"),
    (
        "a rollback to nothing",
        "ln -sfn ../versions/v9 s/stages/ACSCurrent",
        "No such file",
        "Forbidden.ResourceNotFound",
    ),
    ("a file among the labels", "echo v | dd of=s/stages/x status=none", "Invalid argument", "InvalidParameter"),
    ("a link elsewhere", "ln -s /etc/passwd s/x", "not permitted", "InvalidParameter"),
    ("a wrong window", "echo 5 | dd of=.instance/recovery-window status=none", "Invalid argument", "InvalidParameter"),
    ("a value that exists", "echo other | dd of=s/versions/v1 status=none", "File exists", "Rejected.ResourceExist"),
    ("a text's own bits", "chmod 777 s/tags", "not permitted", "Rejected.UnsupportedOperation"),
    ("a rename", "mv s t", "not permitted", "Rejected.UnsupportedOperation"),
    (
        "an attribute",
        "python3 -c \"import os; os.setxattr('s/current', 'user.kmsfs.version', b'v9')\"",
        "not supported",
        "UnsupportedOperation",
    ),
];

/// What a refused request must leave as it was.
fn picture(mount: &Mount) -> String {
    mount.ok("cd prod; find . -printf '%p %y %m %s %l\\n' | sort; cat s/current s/tags s/description s/info s/cmk .instance/*")
}

#[test]
fn refusals_are_clear_and_change_nothing() {
    let mount = Mount::new();
    mount.ok("cd prod; mkdir s acs db; printf one > s/current; echo a=b > s/tags; echo text > s/description");
    let before = picture(&mount);
    for (what, script, said, code) in REFUSED {
        let error = mount.fails(&format!("cd prod; {}", script.replace("mkdir acs; ", "").replace("mkdir db; ", "")));
        assert!(error.contains(said), "{what}: {error}");
        assert_eq!(mount.last_code(), *code, "{what}");
        assert_eq!(picture(&mount), before, "{what} changed something");
    }
    let log = mount.log();
    assert!(log.contains("tag keys that begin with"), "the log has the reason:\n{log}");
    assert!(log.contains("TagResource"), "and the action:\n{log}");
}

/// Names are the users' and the paths anybody's: nothing of them makes a line of its own, or reaches a terminal as a command.
#[test]
fn the_log_has_one_line_for_each_event() {
    let dir = tempfile::Builder::new().prefix("a\n[2000-01-01 INFO kmsfs] b\x1b[31m").tempdir().unwrap();
    let mut mount = Mount::in_dir(dir, &[]);
    for name in ["a\n[forged", "\x1b[2Jb", "c\rd", "e\u{9b}31m", "f\u{202e}g", "say \"h\"", "back\\slash"] {
        errno(std::fs::write(mount.path("prod").join(name), "v"));
    }
    errno(std::fs::write(mount.path("prod").join(OsStr::from_bytes(b"i\xff\n")), "v"));
    mount.stop();
    let log = mount.log();
    for line in log.lines() {
        let header = line.split(' ').next().unwrap_or_default();
        assert!(header.starts_with("[2") && header.ends_with('Z'), "no line of ours: {line:?}");
    }
    let unprintable = |char: &char| char.is_control() && *char != '\n' || *char == '\u{202e}';
    assert_eq!(log.chars().find(unprintable), None);
    for shown in [r"a\n[forged", r"\u{1b}[2Jb", r"c\rd", r"f\u{202e}g", r#"say "h""#, r"back\\slash", r"b\u{1b}[31m"] {
        assert!(log.contains(shown), "{shown}:\n{log}");
    }
}

/// bash's own `echo` hears only of its write.
#[test]
fn echo_hears_of_it() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    mount.ok("mkdir prod/t; echo v > prod/t/current; rm -r prod/t");
    for script in [
        "echo nonsense > prod/s/tags",
        "echo acs:x=y >> prod/s/tags",
        "echo nokey > prod/s/cmk",
        "echo 31 > prod/.instance/recovery-window",
        "echo Sealed > prod/.instance/state",
        "echo 12 > prod/.instance/shares",
        "echo -1 > prod/.instance/access-quota",
        "echo nonsense > prod/.keys/default/policy",
        "echo nonsense > prod/s/policy",
        "echo '{\"Version\":\"1\",\"Statement\":[]}' > prod/s/policy",
        "printf 'a\\001\\n' > prod/s/description",
        "echo Purge > prod/.deleted/t/state",
        "echo Off > prod/.keys/default/state",
        "echo PendingDeletion > prod/.keys/default/state",
        "for n in $(seq 21); do echo k$n=v; done > prod/s/tags",
        "for n in $(seq 21); do echo k$n=v >> prod/s/tags || exit 1; done",
    ] {
        mount.fails(script);
    }
    assert_eq!(mount.ok("wc -l < prod/s/tags"), "20\n");
}

#[test]
fn errnos_are_those_of_the_table() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let odd = mount.path("prod").join(OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(errno(std::fs::create_dir(odd)), libc::EINVAL);
    assert_eq!(errno(std::fs::write(mount.path("prod/s/cmk"), "nokey\n")), libc::ENOKEY);
    assert_eq!(errno(std::fs::write(mount.path("prod/s/tags"), "aliyun=1\n")), libc::EPERM);
    assert_eq!(
        errno(std::fs::write(mount.path("prod/s/policy"), "{\"Version\":\"1\",\"Statement\":[]}")),
        libc::EINVAL
    );
    assert_eq!(errno(std::fs::read(mount.path("prod/s/versions/v2"))), libc::ENOENT);
    assert_eq!(errno(std::fs::hard_link(mount.path("prod/s/current"), mount.path("prod/s/x"))), libc::EPERM);
    assert_eq!(errno(std::fs::read_link(mount.path("prod/s/current"))), libc::EINVAL);
    assert_eq!(errno(std::fs::rename(mount.path("prod/s/versions/v1"), mount.path("prod/s/versions/v2"))), libc::EPERM);
    assert_eq!(errno(std::fs::remove_dir(mount.path("prod"))), libc::ENOTEMPTY);
    assert_eq!(errno(std::fs::remove_dir(mount.path(".kmsfs"))), libc::EPERM);
    assert_eq!(errno(std::fs::write(mount.path(".kmsfs/status"), "x")), libc::EPERM);
}

/// Each user reads why its own last request was refused, and nobody else's.
#[test]
fn last_error_is_the_callers_own() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    mount.ok("chmod 755 prod/s; chown 1000 prod/s");
    mount.fails("mkdir 'prod/a b'");
    let as_user =
        |script: &str| mount.bash(&format!("setpriv --reuid 1000 --regid 1000 --clear-groups sh -c '{script}'"));
    assert_eq!(as_user("cat .kmsfs/last-error").stdout, b"{}\n");
    assert!(!as_user("echo nonsense | dd of=prod/s/tags status=none").status.success());
    let own = as_user("cat .kmsfs/last-error");
    assert!(String::from_utf8_lossy(&own.stdout).contains("InvalidParameter.TagKey"));
    assert_eq!(mount.last_code(), "InvalidParameter");
    let refusal: serde_json::Value = serde_json::from_str(&mount.read(".kmsfs/last-error")).unwrap();
    for member in ["HttpStatus", "Code", "Message", "RequestId"] {
        assert!(refusal.get(member).is_some(), "{member}");
    }
}

/// Damage that a read met shows in the status until the daemon is started again.
#[test]
fn damage_shows_in_the_health() {
    let mut mount = Mount::new();
    mount.secret("prod/s", "value");
    mount.stop();
    let script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                  db.execute('UPDATE value SET sealed = zeroblob(length(sealed))'); db.commit()";
    run(std::process::Command::new("python3").args(["-c", script]).arg(mount.store().join("store.db")));
    mount.start();
    let health = |mount: &Mount| -> (String, serde_json::Value) {
        let status: serde_json::Value = serde_json::from_str(&mount.read(".kmsfs/status")).unwrap();
        (status["health"].as_str().unwrap().to_owned(), status["damage"].clone())
    };
    assert_eq!(health(&mount), ("ok".to_owned(), serde_json::Value::Null));
    for count in 1..3 {
        assert_eq!(errno(std::fs::read(mount.path("prod/s/current"))), libc::EBADMSG);
        let (word, damage) = health(&mount);
        assert_eq!((word.as_str(), damage["count"].as_u64()), ("damaged", Some(count)));
        assert!(damage["last_node"].is_u64(), "{damage}");
    }
    mount.restart();
    assert_eq!(health(&mount).0, "ok");
}
