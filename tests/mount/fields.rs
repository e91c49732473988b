//! Members of Key/Value secrets as files: `fields/<name>`, and `dotenv`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};

use serde_json::{Value as Json, json};

use crate::harness::{Mount, close, errno, text};
use crate::keeper::kill_worker;
use crate::people::{allow, as_user, denied, home_number};

/// With blanks, a number that no float holds, and a member that is no string: what an edit must leave as it stands.
const OBJECT: &str = "{ \"user\": \"u\", \"port\":5432 ,\"big\":12345678901234567890,\n \"pass\" : \"two\" }\n";

/// A secret `prod/s` with the versions v1 = `one` and v2, the object.
fn secret() -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    mount.write("prod/s/current", OBJECT);
    mount
}

/// A command that has Python do `script`, which may quote as it likes.
fn python(mount: &Mount, script: &str) -> String {
    let file = tempfile::Builder::new().suffix(".py").tempfile_in(mount.dir.path()).unwrap();
    let (_, path) = file.keep().unwrap();
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    format!("python3 {}", path.display())
}

/// The object with that text in the place of the password.
fn with_pass(raw: &str) -> String {
    OBJECT.replace("\"two\"", raw)
}

fn versions(mount: &Mount) -> usize {
    mount.names("prod/s/versions").len()
}

#[test]
fn members_are_files() {
    let mount = secret();
    assert_eq!(mount.names("prod/s/fields"), ["big", "pass", "port", "user"]);
    for (name, expected) in [("user", "u"), ("port", "5432"), ("big", "12345678901234567890"), ("pass", "two")] {
        let path = format!("prod/s/fields/{name}");
        assert_eq!(mount.read(&path), expected, "{name}");
        let (by_name, file) = (mount.path(&path).metadata().unwrap(), File::open(mount.path(&path)).unwrap());
        let by_file = file.metadata().unwrap();
        assert_eq!((by_name.len(), by_name.ino()), (expected.len() as u64, by_file.ino()), "{name}");
        assert_eq!((by_file.len(), by_name.mode() & 0o7777), (expected.len() as u64, 0o640), "{name}");
    }
    assert_eq!(mount.read("prod/s/dotenv"), "user=u\nport=5432\nbig=12345678901234567890\npass=two\n");
    let dotenv = mount.path("prod/s/dotenv").metadata().unwrap();
    assert_eq!((dotenv.len(), dotenv.mode() & 0o7777), (mount.read("prod/s/dotenv").len() as u64, 0o440));
    let names = mount.ok("ls -U prod/s");
    assert_eq!(names.lines().next(), Some("current"));
    assert!(names.contains("fields\n") && names.contains("dotenv\n"));
    // Names and sizes are had without a look at the value: its key may be disabled, and nothing is read.
    let read = mount.ok("stat -c %X prod/s/current");
    mount.ok(
        "mkdir prod/.keys/k; kmsfs() { $KMSFS \"$@\"; }; kmsfs key move k prod/s; echo Disabled > prod/.keys/k/state",
    );
    assert_eq!(
        mount.ok("stat -c '%n %s' prod/s/fields/*"),
        "prod/s/fields/big 20\nprod/s/fields/pass 3\nprod/s/fields/port 4\nprod/s/fields/user 1\n"
    );
    assert_eq!(mount.ok("stat -c %s prod/s/dotenv"), "51\n");
    assert!(mount.fails("cat prod/s/fields/user").contains("Key has been revoked"));
    assert!(mount.fails("cat prod/s/dotenv").contains("Key has been revoked"));
    assert!(mount.fails("echo x > prod/s/fields/user").contains("Key has been revoked"));
    assert!(mount.fails("rm prod/s/fields/user").contains("Key has been revoked"));
    mount.ok("echo Enabled > prod/.keys/k/state");
    assert_eq!(mount.ok("stat -c %X prod/s/current"), read, "nothing has counted as a read of the value");
    assert_eq!(mount.ok("cat prod/s/fields/user"), "u");
}

#[test]
fn what_is_no_object_has_no_members() {
    let mount = Mount::new();
    for value in ["plain", "[1]", "{\"a\":1,\"a\":2}", "{\"a\":\"\\\\ud800\"}"] {
        mount.ok(&format!("mkdir -p prod/s; printf '{value}' > prod/s/current"));
        assert_eq!(mount.names("prod/s/fields"), [""; 0], "{value}");
        assert!(!mount.names("prod/s").contains(&"dotenv".to_owned()), "{value}");
        let said = mount.fails("echo x > prod/s/fields/a");
        assert!(said.contains("Invalid argument"), "{said}");
        assert!(mount.read(".kmsfs/last-error").contains("kmsfs put --field"), "it says what to do");
        assert!(mount.fails("printf %s x > $OUT/f; cp $OUT/f prod/s/fields/a").contains("Invalid argument"));
        assert_eq!(mount.ok("cat prod/s/current"), value.replace("\\\\", "\\"));
    }
    assert_eq!(versions(&mount), 4, "nothing has changed");
    assert_eq!(mount.last_code(), "InvalidParameter");
    // A copy or a search of everything is not in its way.
    mount.ok("cp -r prod/s $OUT/copy; grep -r plain prod/s > /dev/null");
    mount.ok("printf '{\"a\":\"b\"}' | $KMSFS put --binary prod/s");
    assert_eq!(mount.names("prod/s/fields"), [""; 0], "what was declared binary is no text");
}

/// Runs each script in the directory of a mount of its own; the password must then be that, and all else stand as before.
#[test]
fn a_write_keeps_the_others_and_is_one_version() {
    let tool = |command: &str| format!("printf %s new > $OUT/f; {command}");
    for (script, raw) in [
        ("printf %s new > fields/pass".to_owned(), "\"new\""),
        ("echo new > fields/pass".to_owned(), "\"new\\n\""),
        ("printf %s +more >> fields/pass".to_owned(), "\"two+more\""),
        ("echo new | tee fields/pass > /dev/null".to_owned(), "\"new\\n\""),
        ("exec 3> fields/pass; printf %s ne >&3; printf %s w >&3; exec 3>&-".to_owned(), "\"new\""),
        ("(printf %s ne; /usr/bin/printf %s w) > fields/pass".to_owned(), "\"new\""),
        ("printf %s T 1<> fields/pass".to_owned(), "\"Two\""),
        ("printf '\"\\\\\\t\\303\\251' > fields/pass".to_owned(), "\"\\\"\\\\\\t\u{e9}\""),
        (tool("cp $OUT/f fields/pass"), "\"new\""),
        (tool("dd if=$OUT/f of=fields/pass bs=1 status=none"), "\"new\""),
        (tool("dd if=$OUT/f of=fields/pass conv=fsync status=none"), "\"new\""),
        (tool("rsync -I $OUT/f fields/pass"), "\"new\""),
        (tool("rsync -I --inplace $OUT/f fields/pass"), "\"new\""),
        ("printf %s new > fields/.x; mv fields/.x fields/pass".to_owned(), "\"new\""),
        ("printf %s new > x.tmp; mv x.tmp fields/pass".to_owned(), "\"new\""),
        ("sed -i s/two/new/ fields/pass".to_owned(), "\"new\""),
        ("perl -pi -e s/two/new/ fields/pass".to_owned(), "\"new\""),
        ("printf 's/two/new/\\nwq\\n' | ed -s fields/pass".to_owned(), "\"new\\n\""),
        ("vim -u NONE -es -c 's/two/new/' -c wq fields/pass < /dev/null".to_owned(), "\"new\\n\""),
        ("vim -u DEFAULTS -es -c 's/two/new/' -c wq fields/pass < /dev/null".to_owned(), "\"new\\n\""),
        ("vim -u NONE -es --cmd 'set backup writebackup backupcopy=yes backupdir=/tmp' -c 's/two/new/' -c wq fields/pass < /dev/null; rm -f /tmp/pass~".to_owned(), "\"new\\n\""),
        ("python3 -c \"open('fields/pass', 'w').write('new')\"".to_owned(), "\"new\""),
        ("python3 -c \"f = open('fields/pass', 'r+'); f.write('T'); f.close()\"".to_owned(), "\"Two\""),
        ("python3 -c \"import os, tempfile; f = tempfile.NamedTemporaryFile('w', dir='fields', delete=False); f.write('new'); f.close(); os.replace(f.name, 'fields/pass')\"".to_owned(), "\"new\""),
        ("dash -c 'printf %s new > fields/pass'; busybox sh -c 'printf %s new > fields/pass'".to_owned(), "\"new\""),
    ] {
        let mount = secret();
        mount.ok(&format!("cd prod/s\n{script}"));
        assert_eq!(mount.read("prod/s/current"), with_pass(raw), "{script}");
        assert_eq!(mount.read("prod/s/stages/ACSPrevious"), OBJECT, "{script}: one write is one version");
        assert_eq!(versions(&mount), 3, "{script}");
        assert_eq!(mount.names("prod/s/fields").len(), 4, "{script}: leaves nothing behind");
        assert_eq!(mount.ok("find prod/s -name '.*' -o -name '*~'"), "", "{script}");
    }
}

#[test]
fn a_new_member_comes_last_and_a_removed_one_goes() {
    let mount = secret();
    for script in [
        "printf %s v > fields/n1",
        "printf %s v > $OUT/f; cp $OUT/f fields/n2",
        "install $OUT/f fields/n3",
        "mv $OUT/f fields/n4",
        "printf %s v > $OUT/f; rsync -a $OUT/f fields/n5",
        "python3 -c \"open('fields/n6', 'x').write('v')\"",
        "printf %s v >> fields/n7",
    ] {
        mount.ok(&format!("cd prod/s; {script}"));
    }
    let tail: String = (1..8).map(|n| format!(",\n \"n{n}\" : \"v\"")).collect();
    assert_eq!(mount.read("prod/s/current"), with_pass(&format!("\"two\"{tail}")), "laid out as the others are");
    assert_eq!(mount.names("prod/s/versions").last().map(String::as_str), Some("v9"), "each is one version");
    mount.ok("cd prod/s; rm fields/n1 fields/n3 fields/n5 fields/n6 fields/n7 fields/n4");
    assert_eq!(mount.read("prod/s/current"), with_pass("\"two\",\n \"n2\" : \"v\""));
    assert_eq!(errno(std::fs::remove_file(mount.path("prod/s/fields/n1"))), libc::ENOENT);
    mount.ok("cd prod/s; rm fields/user; test \"$(< stages/ACSPrevious)\" != \"$(< current)\"");
    assert_eq!(mount.names("prod/s/fields"), ["big", "n2", "pass", "port"]);
    // The last one leaves an object without members, which takes new ones.
    let mount = Mount::new();
    mount.ok("mkdir prod/s; printf %s v > prod/s/fields/password");
    assert_eq!(mount.read("prod/s/current"), "{\"password\":\"v\"}", "the first member makes the secret");
    mount.ok("rm prod/s/fields/password");
    assert_eq!((mount.read("prod/s/current").as_str(), mount.read("prod/s/dotenv").as_str()), ("{}", ""));
    mount.ok("printf %s w > prod/s/fields/token");
    assert_eq!(mount.read("prod/s/current"), "{\"token\":\"w\"}");
}

/// They unlink before they write: between the two the member is not there.
#[test]
fn tools_that_unlink_first_make_two_versions() {
    for script in ["install $OUT/f fields/pass", "mv $OUT/f fields/pass", "cp --remove-destination $OUT/f fields/pass"]
    {
        let mount = secret();
        mount.ok(&format!("cd prod/s; printf %s new > $OUT/f; {script}"));
        assert_eq!(mount.read("prod/s/fields/pass"), "new", "{script}");
        assert_eq!(versions(&mount), 4, "{script}");
        assert_eq!(mount.read("prod/s/stages/ACSPrevious"), OBJECT.replace(",\n \"pass\" : \"two\"", ""), "{script}");
    }
}

#[test]
fn the_same_member_again_is_a_success() {
    let mount = secret();
    mount.ok("cd prod/s; printf %s two > fields/pass; printf %s two > $OUT/f; cp $OUT/f fields/pass; sed -i s/x/y/ fields/pass");
    assert_eq!(versions(&mount), 2, "nothing has changed");
    mount.ok("printf %s 5432 > prod/s/fields/port; cp -r prod/s/fields $OUT/f.d; cp $OUT/f.d/* prod/s/fields");
    assert_eq!(versions(&mount), 2, "what reads like that already stays the number that it is");
    mount.ok("printf %s 5433 > prod/s/fields/port");
    assert_eq!(mount.read("prod/s/current"), OBJECT.replace("5432", "\"5433\""));
    assert!(mount.fails(": > prod/s/fields/pass; touch prod/s/fields/none").contains("Invalid argument"));
    assert_eq!((versions(&mount), mount.names("prod/s/fields").len()), (3, 4), "truncation alone is no version");
    assert!(mount.fails("cp /dev/null prod/s/fields/pass").contains("Invalid argument"));
    assert_eq!(mount.read("prod/s/fields/pass"), "two");
}

#[test]
fn nothing_but_members_goes_from_a_live_secret() {
    let mount = secret();
    for (script, why) in [
        ("rmdir prod/s/fields", "not permitted"),
        ("rm prod/s/dotenv", "not permitted"),
        ("echo x > prod/s/dotenv", "not permitted"),
        ("echo x >> prod/s/dotenv", "not permitted"),
        ("mv prod/s/fields/user prod/s/fields/login", "not permitted"),
        ("mkdir prod/s/fields/d", "not permitted"),
        ("ln -s x prod/s/fields/l", "not permitted"),
    ] {
        assert!(mount.fails(script).contains(why), "{script}: {}", mount.fails(script));
    }
    assert_eq!((mount.read("prod/s/current").as_str(), versions(&mount)), (OBJECT, 2));
}

/// `rm -r s/fields` takes one member after the other, but never the version that it began with.
#[test]
fn what_a_removal_began_with_stays() {
    let mount = Mount::new();
    let members: Vec<_> = (10..30).map(|n| format!("\"m{n}\":\"v\"")).collect();
    let whole = format!("{{{}}}", members.join(","));
    mount.secret("prod/s", &whole);
    let said = mount.fails("rm -r prod/s/fields");
    assert!(said.contains("not permitted"), "{said}");
    assert_eq!(mount.read("prod/s/versions/v1"), whole);
    assert_eq!(versions(&mount), 10);
    assert_eq!(mount.names("prod/s/fields").len(), 20 - 9);
    assert_eq!(mount.last_code(), "Rejected.UnsupportedOperation");
    // A whole secret goes as every secret does.
    mount.ok("rm -r prod/s; mv prod/.deleted/s prod/s");
    assert_eq!((mount.read("prod/s/versions/v1"), mount.names("prod/s/fields").len()), (whole, 11));
}

/// The kernel counts directories dead that `rm -r` has removed: a shell that still stands in one must not make the restored one empty.
#[test]
fn a_restored_secret_has_its_members() {
    let mount = secret();
    let script = "cd prod/s/fields; rm -r ../../s; ls; cd $ROOT; mv prod/.deleted/s prod/s; cat prod/s/fields/user; ls prod/s/fields | wc -l";
    assert_eq!(mount.ok(&format!("ROOT=$PWD; {script}")), "u4\n");
    assert_eq!(mount.ok("rm prod/s/current; ls prod/s; cat prod/s/fields/user 2>&1 || :; mv -T prod/.deleted/s prod/s; cat prod/s/fields/user"), "cat: prod/s/fields/user: Identifier removed\nu");
    let refused = mount.fails("rm prod/s/current; echo x > prod/s/fields/user");
    assert!(refused.contains("Identifier removed"), "{refused}");
}

#[test]
fn two_members_read_through_one_directory_are_of_one_version() {
    let mount = Mount::new();
    mount.secret("prod/s", "{\"a\":\"0\",\"b\":\"0\"}");
    let script = r#"
( for n in $(seq 400); do printf '{"a":"%d","b":"%d"}' $n $n > prod/s/current; done; touch $OUT/over ) &
exec python3 -c "
import os
pairs, gone, seen = 0, 0, set()
while True:
    over = os.path.exists(os.environ['OUT'] + '/over')
    fields = os.open('prod/s/fields', os.O_RDONLY)
    try:
        read = lambda name: open(os.open(name, os.O_RDONLY, dir_fd=fields), 'rb').read()
        a, b = read('a'), read('b')
        assert a == b, (a, b)
        pairs += 1
        seen.add(a)
        assert sorted(os.listdir(fields)) == ['a', 'b']
    except OSError as error:
        # Ten rotations have come between the two.
        assert error.errno == 116, error
        gone += 1
    finally:
        os.close(fields)
    if over:
        break
assert pairs > 50 and len(seen) > 20, (pairs, gone, len(seen))
assert a == b'400', a
"
"#;
    mount.ok(script);
}

#[test]
fn an_open_directory_goes_on_with_its_version() {
    let mount = secret();
    let fields = File::open(mount.path("prod/s/fields")).unwrap();
    let at = |name: &str| format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&fields));
    let read = |name: &str| std::fs::read_to_string(at(name));
    mount.ok("printf new > prod/s/fields/pass; printf x > prod/s/fields/more");
    assert_eq!((read("pass").unwrap(), mount.read("prod/s/fields/pass")), ("two".to_owned(), "new".to_owned()));
    assert_eq!(errno(read("more")), libc::ENOENT);
    // What is written through it goes into the current value.
    std::fs::write(at("user"), "w").unwrap();
    std::fs::remove_file(at("port")).unwrap();
    let current: Json = serde_json::from_str(&mount.read("prod/s/current")).unwrap();
    assert_eq!((&current["user"], &current["pass"], current.get("port")), (&json!("w"), &json!("new"), None));
    assert_eq!(read("user").unwrap(), "u");
    let exclusive = OpenOptions::new().write(true).create_new(true).open(at("more"));
    assert_eq!(errno(exclusive), libc::EEXIST, "it is there by now");
    // As long as somebody has a member of it open, its version stays readable; then it is gone.
    let held = File::open(at("pass")).unwrap();
    mount.ok("for n in $(seq 12); do printf $n > prod/s/fields/pass; done");
    assert_eq!((read("user").unwrap().as_str(), read("port").unwrap().as_str()), ("u", "5432"));
    kill_worker(&mount);
    let mut bytes = [0; 8];
    assert_eq!((held.read_at(&mut bytes, 0).unwrap(), held.metadata().unwrap().len()), (3, 3));
    assert_eq!(read("user").unwrap(), "u");
    drop(held);
    let gone = (0..200).find_map(|_| read("user").err());
    assert_eq!(gone.and_then(|error| error.raw_os_error()), Some(libc::ESTALE));
    assert_eq!(errno(std::fs::write(at("user"), "x")), libc::ESTALE);
    assert_eq!(
        errno(std::fs::read_dir(at(".")).and_then(|entries| entries.collect::<Result<Vec<_>, _>>())),
        libc::ESTALE
    );
}

#[test]
fn two_writers_of_two_members_both_get_in() {
    let mount = Mount::new();
    mount.secret("prod/s", "{\"a\":\"0\",\"b\":\"0\",\"c\":[1.10]}");
    mount.ok("cd prod/s; for w in a b; do (for n in $(seq 60); do printf $n > fields/$w; done) & done; wait");
    assert_eq!(mount.read("prod/s/current"), "{\"a\":\"60\",\"b\":\"60\",\"c\":[1.10]}");
    assert_eq!(mount.ok("ls -v prod/s/versions | tail -1"), "v121\n", "none was lost");
    // Both have it open before either writes.
    mount.ok("cd prod/s; exec 3>> fields/log 4>> fields/log; printf x >&3; exec 3>&-; printf y >&4; exec 4>&-; test $(< fields/log) = xy");
    mount.ok(
        "cd prod/s; exec 3>> fields/log 4>> fields/log; printf 1 >&3; printf 2 >&4; exec 3>&- 4>&-; cat fields/log",
    );
    assert!(["xy12", "xy21"].contains(&mount.read("prod/s/fields/log").as_str()));
}

#[test]
fn a_writer_notices_no_death_of_a_worker() {
    let mount = secret();
    let mut pass = OpenOptions::new().write(true).truncate(true).open(mount.path("prod/s/fields/pass")).unwrap();
    let mut new = OpenOptions::new().write(true).create_new(true).open(mount.path("prod/s/fields/new")).unwrap();
    pass.write_all(b"one ").unwrap();
    new.write_all(b"a").unwrap();
    kill_worker(&mount);
    assert_eq!((pass.metadata().unwrap().len(), new.metadata().unwrap().len()), (4, 1));
    assert_eq!(mount.read("prod/s/current"), OBJECT);
    pass.write_all(b"two").unwrap();
    close(pass).unwrap();
    kill_worker(&mount);
    new.write_all(b"b").unwrap();
    new.sync_all().unwrap();
    assert_eq!(mount.read("prod/s/fields/new"), "ab", "fsync stores it");
    new.write_all(b"c").unwrap();
    close(new).unwrap();
    assert_eq!(mount.read("prod/s/current"), with_pass("\"one two\",\n \"new\" : \"abc\""));
    assert_eq!(versions(&mount), 5, "each once");
    let killed = mount.bash("bash -c 'exec 3> prod/s/fields/pass; printf x >&3; kill -9 $$'");
    assert!(!killed.status.success());
    assert_eq!(mount.read("prod/s/fields/pass"), "one two");
}

#[test]
fn what_no_member_can_be_is_refused() {
    let mount = secret();
    let long = "x".repeat(256);
    for (script, why) in [
        ("printf 'a\\377b' > prod/s/fields/pass", "Invalid argument"),
        ("printf 'a\\377b' > prod/s/fields/new", "Invalid argument"),
        ("head -c 30720 /dev/zero | tr '\\0' x > prod/s/fields/pass", "too large"),
        ("head -c 30000 /dev/zero | tr '\\0' '\"' > prod/s/fields/pass", "too large"),
        ("head -c 6000 /dev/zero > prod/s/fields/pass", "too large"),
        (&format!("echo x > prod/s/fields/{long}"), "File name too long"),
        ("python3 -c \"open(b'prod/s/fields/a\\x01b', 'w')\"", "Invalid argument"),
        ("python3 -c \"open(b'prod/s/fields/a\\xff', 'w')\"", "Invalid argument"),
    ] {
        let said = mount.fails(script);
        assert!(said.contains(why), "{script}: {said}");
    }
    // At the write, since a shell's builtins hear nothing of the close.
    let script = "import errno, os\n\
                  for what in [b'x' * 30720, b'\"' * 30000, b'\\0' * 6000]:\n\
                  \x20 fd = os.open('prod/s/fields/pass', os.O_WRONLY | os.O_TRUNC)\n\
                  \x20 try: os.write(fd, what)\n\
                  \x20 except OSError as error: assert error.errno == errno.EFBIG, error\n\
                  \x20 else: raise SystemExit('a write of too much was taken')\n\
                  \x20 try: os.close(fd)\n\
                  \x20 except OSError: pass";
    mount.ok(&python(&mount, script));
    assert_eq!((mount.read("prod/s/current").as_str(), versions(&mount)), (OBJECT, 2));
    let half = mount.fails("/usr/bin/printf 'a\\303' > prod/s/fields/pass");
    assert!(half.is_empty() || half.contains("Invalid argument"), "half a character is refused at the close: {half}");
    mount.ok("(printf 'a\\303'; printf '\\251') > prod/s/fields/pass; head -c 9 /dev/zero > prod/s/fields/nul");
    assert_eq!(
        mount.read("prod/s/current"),
        with_pass(&format!("\"a\u{e9}\",\n \"nul\" : \"{}\"", "\\u0000".repeat(9)))
    );
    assert_eq!(mount.read("prod/s/fields/nul"), "\0".repeat(9));
    assert!(mount.read("prod/s/dotenv").ends_with("# \"nul\" is left out: no variable can hold a NUL\n"));
}

#[test]
fn a_value_has_512_members() {
    let mount = Mount::new();
    let many = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"{n}\":\"{n}\"")).collect();
        format!("{{{}}}", members.join(","))
    };
    mount.secret("prod/s", &many(512));
    assert_eq!(mount.names("prod/s/fields").len(), 512);
    let said = mount.fails("echo x > prod/s/fields/new");
    assert!(said.contains("quota"), "{said}");
    mount.ok("printf x > prod/s/fields/511; rm prod/s/fields/0; printf y > prod/s/fields/new");
    assert_eq!(mount.read("prod/s/fields/new"), "y");
    mount.write("prod/s/current", many(513));
    assert_eq!(mount.names("prod/s/fields"), [""; 0], "more are a value like any other");
    assert_eq!(mount.last_code(), "Rejected.LimitExceeded");
    assert!(mount.fails("echo x > prod/s/fields/1").contains("Invalid argument"));
}

/// Their names are no files': they stay in the value, and a write keeps them.
#[test]
fn members_with_other_names_stay_in_the_value() {
    let mount = Mount::new();
    let odd = r#""":"e",".hidden":"h","a/b":"s","..":"d","n\u0000":"0","tab\t":"t""#;
    mount.secret("prod/s", &format!("{{{odd},\"a b\":\"x\",\"caf\u{e9}\":\"y\",\"-n\":\"z\",\"sedation1\":\"s\"}}"));
    assert_eq!(mount.names("prod/s/fields"), ["-n", "a b", "caf\u{e9}", "sedation1"]);
    mount.ok("printf new > 'prod/s/fields/a b'; rm prod/s/fields/-n; printf q > prod/s/fields/sedatives");
    assert_eq!(
        mount.read("prod/s/current"),
        format!("{{{odd},\"a b\":\"new\",\"caf\u{e9}\":\"y\",\"sedation1\":\"s\",\"sedatives\":\"q\"}}")
    );
    // A leading dot is a file in memory, as everywhere.
    mount.ok("echo x > prod/s/fields/.swp; ls -A prod/s/fields | grep -q swp; printf y > prod/s/fields/more; test -e prod/s/fields/.swp; rm prod/s/fields/.swp");
    mount.ok(
        "mv prod/s/fields/more prod/s/fields/.back; cat prod/s/fields/.back prod/s/fields/more; rm prod/s/fields/.back",
    );
    assert_eq!(mount.ok("ls -A prod/s/fields | wc -l"), "5\n");
}

#[test]
fn a_member_is_a_value_to_bits_and_policies() {
    let mount = secret();
    let home = home_number(&mount);
    mount.ok("chmod 755 prod/s; chmod 640 prod/s/fields/pass; chmod 604 prod/s/fields/user");
    assert_eq!(
        mount.ok("stat -c %a prod/s/current prod/s/versions/v1 prod/s/fields/pass prod/s/dotenv"),
        "604\n604\n604\n404\n"
    );
    mount.ok("chmod 600 prod/s/dotenv; chown 4001:4002 prod/s/fields/pass");
    assert_eq!(mount.ok("stat -c '%a %u:%g' prod/s/current prod/s/dotenv"), "600 4001:4002\n400 4001:4002\n");
    mount.ok("chown 0:0 prod/s/current");
    for script in [
        "cat prod/s/fields/pass",
        "cat prod/s/dotenv",
        "echo x > prod/s/fields/pass",
        "echo x > prod/s/fields/n",
        "rm prod/s/fields/pass",
    ] {
        denied(&mount, &as_user(4001, script));
    }
    mount.ok(&as_user(4001, "ls prod/s/fields > /dev/null; stat prod/s/fields/pass prod/s/dotenv > /dev/null"));
    // Who may read a value reads its members; and an open one is decided anew.
    mount.write("prod/s/policy", allow(&home, "user/4001", &["kms:GetSecretValue"]));
    assert_eq!(mount.ok(&as_user(4001, "cat prod/s/fields/pass; cat prod/s/dotenv | head -1")), "twouser=u\n");
    denied(&mount, &as_user(4001, "echo x > prod/s/fields/pass"));
    denied(&mount, &as_user(4001, "rm prod/s/fields/pass"));
    let script = "exec 3< prod/s/fields/pass; head -c 1 <&3; read; cat <&3";
    let mut reader = std::process::Command::new("setpriv")
        .args(["--reuid", "4001", "--regid", "4001", "--clear-groups", "bash", "-c", script])
        .current_dir(mount.root())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    reader.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    mount.ok("echo > prod/s/policy");
    reader.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = reader.wait_with_output().unwrap();
    assert!(!said.status.success() && text(&said.stderr).contains("denied"), "{said:?}");
}

/// Who may write a member and not read it learns nothing: not the others, nor by a guess what it is.
#[test]
fn who_may_write_alone_reads_no_member() {
    let mount = secret();
    let home = home_number(&mount);
    mount.ok("chmod 755 prod/s");
    mount.write("prod/s/policy", allow(&home, "user/4001", &["kms:PutSecretValue", "kms:List*"]));
    for script in [
        "cat prod/s/fields/pass",
        "exec 3<> prod/s/fields/pass; cat <&3",
        "cat prod/s/dotenv",
        "mv prod/s/fields/pass prod/s/fields/.b && cat prod/s/fields/.b",
        "sed -i s/t/p/ prod/s/fields/pass",
    ] {
        denied(&mount, &as_user(4001, script));
    }
    mount.ok(&as_user(4001, "printf %s two > prod/s/fields/pass"));
    assert_eq!(versions(&mount), 3, "the same bytes are as new as others");
    mount.ok(&as_user(4001, "printf %s x > prod/s/fields/pass; printf %s y >> prod/s/fields/pass; printf %s n > prod/s/fields/n; rm prod/s/fields/user"));
    let current: Json = serde_json::from_str(&mount.read("prod/s/current")).unwrap();
    assert_eq!((&current["pass"], &current["n"], current.get("user")), (&json!("xy"), &json!("n"), None));
}

/// What comes of a guess is the same whether it is right or not: no error, no length and no error's absence tells.
#[test]
fn who_may_write_alone_finds_out_no_number() {
    let mount = secret();
    let home = home_number(&mount);
    mount.ok("chmod 755 prod/s");
    mount.write("prod/s/policy", allow(&home, "user/4001", &["kms:PutSecretValue", "kms:List*"]));
    let len = || mount.path("prod/s/current").metadata().unwrap().len();
    let mut lens = Vec::new();
    for guess in ["5433", "5432"] {
        mount.write("prod/s/current", OBJECT);
        mount.ok(&as_user(4001, &format!("printf {guess} > prod/s/fields/port")));
        lens.push(len());
    }
    assert_eq!(lens[0], lens[1]);
    // To the last byte: quotes have no room.
    let pad = 30_720 - OBJECT.len() - ", \"pad\" : \"\"".len();
    let full = OBJECT.replace(" }\n", &format!(", \"pad\" : \"{}\" }}\n", "x".repeat(pad - 1)));
    for guess in ["5433", "5432"] {
        mount.write("prod/s/current", &full);
        let said = mount.fails(&as_user(4001, &format!("printf {guess} > prod/s/fields/port")));
        assert!(said.contains("File too large"), "{guess}: {said}");
    }
    mount.ok("printf 5432 > prod/s/fields/port");
    assert_eq!(mount.read("prod/s/current"), full, "who may read it is told that it is that already");
}

/// Through a descriptor that was to make a member nobody reads one that somebody else has made.
#[test]
fn who_may_write_alone_reads_nothing_behind_what_it_makes() {
    let mount = secret();
    let home = home_number(&mount);
    mount.ok("chmod 775 prod/s; chmod 600 prod/s/current; chgrp 4001 prod/s");
    mount.write("prod/s/policy", allow(&home, "user/4001", &["kms:PutSecretValue", "kms:List*"]));
    let script = "import os, subprocess\n\
                  fd = os.open('prod/s/fields/token', os.O_RDWR | os.O_CREAT | os.O_APPEND)\n\
                  print(os.pread(fd, 100, 0))";
    denied(&mount, &as_user(4001, &python(&mount, script)));
    // It may append without, and reads what it has written itself.
    mount.ok(&as_user(4001, "printf a >> prod/s/fields/token; printf b >> prod/s/fields/token"));
    let own = "import os\nfd = os.open('prod/s/fields/new', os.O_RDWR | os.O_CREAT)\n\
               os.write(fd, b'own')\nassert os.pread(fd, 9, 0) == b'own'\nos.close(fd)";
    mount.ok(&as_user(4001, &python(&mount, own)));
    assert_eq!((mount.read("prod/s/fields/token"), mount.read("prod/s/fields/new")), ("ab".into(), "own".into()));
}

/// A directory that is held shows what it showed; what is made new is held against what is there now.
#[test]
fn no_member_is_overwritten_through_an_older_directory() {
    let mount = secret();
    let script = "import ctypes, errno, os, subprocess\n\
                  libc = ctypes.CDLL(None, use_errno=True)\n\
                  held = os.open('prod/s/fields', os.O_RDONLY)\n\
                  subprocess.run('printf theirs > prod/s/fields/new; rm prod/s/fields/pass', shell=True, check=True)\n\
                  def fails(act):\n\
                  \x20 try: act()\n\
                  \x20 except OSError as error: return error.errno\n\
                  def rename():\n\
                  \x20 os.close(os.open('.f', os.O_CREAT | os.O_WRONLY, dir_fd=held))\n\
                  \x20 if libc.renameat2(held, b'.f', held, b'new', 1): raise OSError(ctypes.get_errno(), '')\n\
                  assert fails(lambda: os.open('new', os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=held)) == errno.EEXIST\n\
                  assert fails(rename) == errno.EEXIST";
    mount.ok(&python(&mount, script));
    assert_eq!(mount.read("prod/s/fields/new"), "theirs");
    // To bring a member back is to make it.
    mount.ok("chmod 750 prod/s; chmod 660 prod/s/current; chgrp -R 4001 prod/s");
    mount.write("prod/s/current", OBJECT);
    let back = "import os, subprocess, sys\n\
                held = os.open('prod/s/fields', os.O_RDONLY)\n\
                os.write(1, b'held\\n'); sys.stdin.readline()\n\
                os.open('pass', os.O_WRONLY, dir_fd=held)";
    mount.ok(&format!(
        "mkfifo $OUT/go $OUT/held; chmod 666 $OUT/go $OUT/held; {{ {}; echo $? > $OUT/code; }} < $OUT/go > $OUT/held & \
         exec 3> $OUT/go; read word < $OUT/held; rm prod/s/fields/pass; echo go >&3; wait; test $(cat $OUT/code) != 0",
        as_user(4001, &python(&mount, back))
    ));
}

#[test]
fn pages_of_members_are_their_own() {
    let mount = secret();
    let send = |name: &str| {
        let (file, out) = (File::open(mount.path(name)).unwrap(), File::create(mount.dir.path().join("out")).unwrap());
        rustix::fs::sendfile(out.as_fd(), file.as_fd(), None, 100).map_err(std::io::Error::from)
    };
    assert_eq!(send("prod/s/fields/pass").unwrap(), 3);
    assert_eq!(mount.ok("cat $OUT/out"), "two");
    let error = send("prod/s/dotenv").expect_err("one inode's pages would mix versions");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    // What is not stored is nobody's but its writer's: not by the pages that another descriptor of the file has, too.
    let script = "import os\n\
                  reader = os.open('prod/s/fields/pass', os.O_RDONLY)\n\
                  writer = os.open('prod/s/fields/pass', os.O_RDWR)\n\
                  os.pwrite(writer, b'new', 0)\n\
                  out = os.open(os.environ['OUT'] + '/out', os.O_RDWR | os.O_CREAT | os.O_TRUNC)\n\
                  try: os.sendfile(out, writer, 0, 100)\n\
                  except OSError: pass\n\
                  os.ftruncate(out, 0); os.lseek(out, 0, 0)\n\
                  os.sendfile(out, reader, 0, 100)\n\
                  assert os.pread(out, 9, 0) == b'two', os.pread(out, 9, 0)";
    mount.ok(&python(&mount, script));
    mount.ok("printf %s new > prod/s/fields/pass");
    assert_eq!(send("prod/s/fields/pass").unwrap(), 3);
    assert_eq!(mount.ok("cat $OUT/out"), "new");
    mount.ok("python3 -c \"import shutil; shutil.copyfile('prod/s/fields/pass', '$OUT/f'); shutil.copyfile('prod/s/dotenv', '$OUT/e')\"; cmp $OUT/e prod/s/dotenv");
    mount.ok("cp -a prod/s/fields $OUT/d; rsync -a prod/s/fields/ $OUT/r; diff -r prod/s/fields $OUT/d; diff -r $OUT/r $OUT/d");
}

#[test]
fn dotenv_is_one_inode_and_pins_its_version() {
    let mount = secret();
    let held = File::open(mount.path("prod/s/dotenv")).unwrap();
    let script = "touch $OUT/e; mount --bind prod/s/dotenv $OUT/e; printf new > prod/s/fields/pass; tail -1 $OUT/e; \
                  printf plain > prod/s/current; cat $OUT/e 2>&1 || :; cat prod/s/dotenv 2>&1 || :";
    let said = mount.ok(&format!("unshare -m bash -c '{script}'"));
    let expected = "pass=new\ncat: ".to_owned();
    assert!(said.starts_with(&expected) && said.contains("Invalid argument"), "{said}");
    assert!(said.ends_with("prod/s/dotenv: No such file or directory\n"), "{said}");
    let mut bytes = [0; 100];
    let len = held.read_at(&mut bytes, 0).unwrap();
    assert!(text(&bytes[..len]).ends_with("pass=two\n"));
    assert_eq!(held.metadata().unwrap().len(), len as u64);
}

#[test]
fn a_shell_sources_what_a_service_is_given() {
    let mount = Mount::new();
    let members = json!({ "DB_USER": "u", "DB_PASS": "it's $HOME `x` \"q\" \\ \\\\", "EMPTY": "", "PORT": 5432, "no-name": "x",
        "KEY": "-----BEGIN-----\nab==\n-----END-----\n", "SP": "  a  b  " });
    mount.secret("prod/s", &members.to_string());
    for shell in ["bash", "dash"] {
        let script = "set -a; . prod/s/dotenv; exec python3 -c 'import os, json; print(json.dumps(dict(os.environ)))'";
        let output = mount.shell(shell, script.replace(". prod", ". ./prod").as_str());
        let env: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{shell}: {output:?}"));
        for name in ["DB_USER", "DB_PASS", "EMPTY", "KEY", "SP"] {
            assert_eq!(env[name], members[name], "{shell} {name}");
        }
        assert_eq!(env["PORT"], "5432");
    }
}

#[test]
fn verbs_write_and_read_members() {
    let mount = Mount::new();
    mount.ok("printf %s alice > $OUT/user; echo s3cret > $OUT/pass");
    mount.ok("$KMSFS put --field user=@$OUT/user --field pass=- --trim prod/db < $OUT/pass");
    assert_eq!(mount.read("prod/db/current"), "{\"user\":\"alice\",\"pass\":\"s3cret\"}");
    assert_eq!(mount.ok("$KMSFS get prod/db/fields/pass"), "s3cret");
    let got: Json = serde_json::from_str(&mount.ok("$KMSFS get --json prod/db/fields/user")).unwrap();
    assert_eq!((&got["SecretData"], &got["VersionId"]), (&json!("alice"), &json!("v1")));
    assert_eq!(
        mount.ok("$KMSFS exec prod/db/fields/pass X=prod/db/fields/user -- sh -c 'echo $PASS $X'"),
        "s3cret alice\n"
    );
    mount.ok("$KMSFS put --field a=@<(printf %s '\"') prod/db");
    assert_eq!(mount.read("prod/db/current"), "{\"a\":\"\\\"\"}", "exactly these members");
    assert_eq!(mount.ok("$KMSFS get --version-id v1 prod/db/fields/user"), "alice");
    for (script, why) in [
        ("$KMSFS put --field a=s3cret prod/db", "which every user of the machine can see"),
        ("$KMSFS put --field s3cret prod/db", "NAME=@FILE"),
        ("$KMSFS put --field a=- --field b=- prod/db", "one member comes from stdin"),
        ("$KMSFS put --field a=@$OUT/user --field a=- prod/db", "twice"),
        ("$KMSFS put --field a=@$OUT/none prod/db", "No such file"),
        ("$KMSFS put --field a=@<(printf '\\377') prod/db", "no UTF-8"),
        ("$KMSFS put --field a=@$OUT/user --binary prod/db", "cannot be used with"),
        ("$KMSFS get prod/db/fields/none", "no member `none`"),
        ("$KMSFS put prod/db/fields/a", "is a part of the secret"),
    ] {
        let said = mount.fails(script);
        assert!(said.contains(why) && !said.contains("s3cret"), "{script}: {said}");
    }
    assert_eq!(mount.names("prod/db/versions"), ["v1", "v2"]);
}

#[test]
fn records_name_the_member() {
    let mount = secret();
    mount.ok("cat prod/s/fields/pass prod/s/dotenv; printf new > prod/s/fields/pass; rm prod/s/fields/user; ls -l prod/s/fields");
    let of = |action: &str| {
        let mut records = mount.records();
        records.retain(|record| record["action"] == action && record["secret"] == "s");
        records.iter().map(|record| (record["version"].clone(), record["member"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(of("GetSecretValue"), [(json!("v2"), json!("pass")), (json!("v2"), Json::Null)]);
    let puts = of("PutSecretValue");
    assert_eq!(puts[puts.len() - 2..], [(json!("v3"), json!("pass")), (json!("v4"), json!("user"))]);
    assert!(mount.ok("$KMSFS audit prod/s").contains("prod/s v2 fields/pass"));
}

/// All of it is in the record, and is there after a restart.
#[test]
fn members_survive_a_restart() {
    let mut mount = secret();
    mount.ok("printf new > prod/s/fields/pass; rm prod/s/fields/user");
    let listing = |mount: &Mount| mount.ok("ls -li prod/s/fields prod/s/dotenv; cat prod/s/fields/* prod/s/dotenv");
    let before = listing(&mount);
    mount.restart();
    assert_eq!(listing(&mount), before);
    mount.stop();
    assert!(mount.verify().status.success(), "{}", text(&mount.verify().stdout));
}
