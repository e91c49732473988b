//! Each quota at its limit and one past it, with its errno.

use std::path::Path;

use crate::harness::{Mount, close, errno};

/// The errno of writing `bytes` to a file, by its open, write or close; 0 where all of them succeed.
fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> i32 {
    use std::io::Write;
    let written = std::fs::File::create(path).and_then(|mut file| {
        file.write_all(bytes.as_ref())?;
        close(file)
    });
    written.err().map_or(0, |error| error.raw_os_error().expect("an errno"))
}

/// The same, with `len` bytes of one line.
fn write(path: impl AsRef<Path>, len: usize) -> i32 {
    put(path, vec![b'x'; len])
}

#[test]
fn a_value_has_30720_bytes() {
    let mount = Mount::new();
    mount.secret("prod/s", "old");
    assert_eq!(write(mount.path("prod/s/current"), 30_720), 0);
    assert_eq!(mount.read("prod/s/current").len(), 30_720);
    assert_eq!(write(mount.path("prod/s/current"), 30_721), libc::EFBIG);
    assert_eq!(mount.read("prod/s/current").len(), 30_720);
    let error = mount.fails("printf x >> prod/s/current");
    assert!(error.contains("too large"), "{error}");
    mount.ok("head -c 30720 /dev/urandom > $OUT/f; cp $OUT/f prod/s/versions/random; cmp $OUT/f prod/s/current");
    assert_eq!(mount.ok("stat -c %s prod/s/current"), "30720\n");
}

#[test]
fn ten_versions_are_kept() {
    let mount = Mount::new();
    mount.ok("mkdir prod/s; for n in $(seq 10); do echo $n > prod/s/current; done");
    assert_eq!(mount.names("prod/s/versions").len(), 10);
    mount.ok("ln -s ../versions/v1 prod/s/stages/keep; echo 11 > prod/s/current");
    let names = mount.names("prod/s/versions");
    assert_eq!(names.len(), 10);
    assert!(names.contains(&"v1".to_owned()) && !names.contains(&"v2".to_owned()), "the oldest without a label goes");
    assert_eq!(errno(std::fs::File::open(mount.path("prod/s/versions/v2"))), libc::ENOENT);
}

#[test]
fn eight_labels() {
    let mount = Mount::new();
    mount.ok(
        "mkdir prod/s; echo 1 > prod/s/current; for n in 1 2 3 4 5 6; do ln -s ../versions/v1 prod/s/stages/l$n; done",
    );
    let seventh = std::os::unix::fs::symlink("../versions/v1", mount.path("prod/s/stages/l7"));
    assert_eq!(errno(seventh), libc::EDQUOT);
    assert_eq!(mount.last_code(), "Rejected.LimitExceeded");
    mount.ok("echo 2 > prod/s/current");
    assert_eq!(mount.names("prod/s/stages").len(), 8, "a rotation always finds room for the built-in ones");
    let ninth = std::os::unix::fs::symlink("../versions/v1", mount.path("prod/s/stages/l7"));
    assert_eq!(errno(ninth), libc::EDQUOT);
    assert_eq!(mount.names("prod/s/stages").len(), 8);
}

#[test]
fn twenty_tags_of_128_bytes() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    let tags = mount.path("prod/s/tags");
    let lines = |count: usize| (1..=count).map(|n| format!("k{n}=v\n")).collect::<String>();
    assert_eq!(put(&tags, lines(20)), 0);
    assert_eq!(put(&tags, lines(21)), libc::EDQUOT);
    assert_eq!(mount.last_code(), "Rejected.LimitExceeded");
    let error = mount.fails("echo k21=v | tee -a prod/s/tags");
    assert!(error.contains("quota"), "{error}");
    assert_eq!(mount.read("prod/s/tags").lines().count(), 20);
    let (long, longer) = ("x".repeat(128), "x".repeat(129));
    for (line, expected) in [
        (format!("{long}={long}\n"), 0),
        (format!("{longer}=v\n"), libc::EINVAL),
        (format!("k={longer}\n"), libc::EINVAL),
    ] {
        assert_eq!(put(&tags, &line), expected, "{line}");
    }
    assert_eq!(mount.read("prod/s/tags"), format!("{long}={long}\n"));
}

#[test]
fn names_have_192_bytes_and_ids_64() {
    let mount = Mount::new();
    let (name, id) = ("n".repeat(192), "i".repeat(64));
    mount.ok(&format!(
        "mkdir prod/{name}; echo v > prod/{name}/versions/{id}; ln -s ../versions/{id} prod/{name}/stages/{id}"
    ));
    assert_eq!(errno(std::fs::create_dir(mount.path(&format!("prod/n{name}")))), libc::ENAMETOOLONG);
    let half = "n".repeat(96);
    mount.ok(&format!("mkdir -p prod/{half}/{}", "m".repeat(95)));
    assert_eq!(
        errno(std::fs::create_dir(mount.path(&format!("prod/{half}/{half}")))),
        libc::ENAMETOOLONG,
        "192 with its slash"
    );
    assert_eq!(errno(std::fs::File::create(mount.path(&format!("prod/{name}/versions/i{id}")))), libc::ENAMETOOLONG);
    let label = mount.path(&format!("prod/{name}/stages/i{id}"));
    assert_eq!(errno(std::os::unix::fs::symlink(format!("../versions/{id}"), label)), libc::ENAMETOOLONG);
    assert_eq!(errno(std::fs::create_dir(mount.path(&"i".repeat(65)))), libc::ENAMETOOLONG);
    std::fs::create_dir(mount.path(&"i".repeat(64))).unwrap();
}

#[test]
fn a_description_has_8192_bytes_and_a_policy_32768() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    let line = |len: usize, end: &str| "d".repeat(len) + end;
    for (text, expected) in [
        (line(8_192, ""), 0),
        (line(8_193, ""), libc::EFBIG),
        (line(8_192, "\n"), 0),
        (line(8_193, "\n"), libc::EFBIG),
        (line(8_191, "\n\n"), 0),
        (line(8_192, "\n\n"), libc::EFBIG),
    ] {
        assert_eq!(put(mount.path("prod/s/description"), &text), expected, "{} bytes", text.len());
    }
    assert_eq!(mount.ok("stat -c %s prod/s/description"), "8193\n", "the file's newline does not count");
    let blank = |len: usize| put(mount.path("prod/s/policy"), vec![b' '; len]);
    assert_eq!(blank(32_768), 0);
    assert_eq!(blank(32_769), libc::EFBIG);
    assert_eq!(mount.last_code(), "InvalidParameter");
}

#[test]
fn windows_have_7_to_30_days() {
    let mount = Mount::new();
    let window = mount.path("prod/.instance/recovery-window");
    for (days, expected) in [("7", 0), ("30", 0), ("6", libc::EINVAL), ("31", libc::EINVAL), ("x", libc::EINVAL)] {
        assert_eq!(put(&window, format!("{days}\n")), expected, "{days}");
    }
    assert_eq!(mount.read("prod/.instance/recovery-window"), "30\n");
}

/// Opens 65 new versions, writes to all, closes one, and writes to one more; says what came of each step.
const DRAFTS: &str = r#"
import errno, os
def draft(n):
    return os.open(f"prod/s/versions/{os.getuid()}-{n}", os.O_CREAT | os.O_WRONLY)
def write(fd):
    try:
        os.write(fd, b"v")
        return "OK"
    except OSError as error:
        return errno.errorcode[error.errno]
files = [draft(n) for n in range(65)]
written = [write(fd) for fd in files]
print(written.count("OK"), *written[64:])
more = draft(65)
print(write(more))
os.close(files[0])
print(write(draft(66)), write(draft(67)))
"#;

#[test]
fn a_user_writes_64_files_at_once() {
    let mount = Mount::new();
    mount.ok("mkdir prod/s; chgrp 1000 prod/s; chmod 770 prod/s");
    let drafts = |uid: u32| {
        let command = format!("exec setpriv --reuid {uid} --regid 1000 --clear-groups /usr/bin/python3 -c '{DRAFTS}'");
        mount.ok(&command)
    };
    assert_eq!(drafts(1000), "64 EDQUOT\nEDQUOT\nOK EDQUOT\n");
    assert_eq!(mount.log().matches("64 files open that were written").count(), 3, "and the log has why");
    assert_eq!(drafts(1001), "64 EDQUOT\nEDQUOT\nOK EDQUOT\n", "each user has a share of its own");
    assert_eq!(drafts(1000), "64 EDQUOT\nEDQUOT\nOK EDQUOT\n", "and has it again when its files are closed");
    assert_eq!(drafts(0), "65 OK\nOK\nOK OK\n", "root has no share");
}

/// What a user names past the numbers of automatic ids is a name like any other, which the next write to `current` passes over.
#[test]
fn no_id_uses_up_the_automatic_ones() {
    let mount = Mount::new();
    for (at, id) in ["v9007199254740993", "v18446744073709551615", "v18446744073709551616", "v99999999999999999999999"]
        .into_iter()
        .enumerate()
    {
        mount.ok(&format!("mkdir -p prod/s{at}; echo old > prod/s{at}/versions/{id}; echo new > prod/s{at}/current"));
        assert_eq!(mount.names(&format!("prod/s{at}/versions")), ["v1", id], "{id}");
        assert_eq!(mount.read(&format!("prod/s{at}/current")), "new\n", "{id}");
    }
    mount.ok("mkdir prod/s; echo old > prod/s/versions/v9007199254740991");
    for _ in 0..2 {
        assert_eq!(put(mount.path("prod/s/current"), "new"), libc::EDQUOT, "the last number is used");
        assert_eq!(mount.last_code(), "Rejected.LimitExceeded");
    }
    assert_eq!(mount.read("prod/s/current"), "old\n");
}

#[test]
fn scratch_files_are_bounded() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    assert_eq!(write(mount.path("prod/s/.swap"), 256 * 1024), 0);
    assert_eq!(write(mount.path("prod/s/.swap"), 256 * 1024 + 1), libc::EDQUOT);
    for n in 1..64 {
        assert_eq!(write(mount.path(&format!("prod/s/.f{n}")), 1), 0);
    }
    assert_eq!(write(mount.path("prod/s/.one-more"), 1), libc::EDQUOT);
    mount.ok("rm prod/s/.f1");
    assert_eq!(write(mount.path("prod/s/.one-more"), 1), 0);
}
