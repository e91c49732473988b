//! Each quota at its limit and one past it, with its errno.

use std::path::Path;

use crate::harness::{Mount, errno};

fn write(path: impl AsRef<Path>, len: usize) -> i32 {
    use std::io::Write;
    let outcome = std::fs::File::create(path).and_then(|mut file| file.write_all(&vec![b'x'; len]));
    outcome.err().map_or(0, |error| error.raw_os_error().expect("an errno"))
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
}

#[test]
fn twenty_tags_of_128_bytes() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    mount.ok("for n in $(seq 20); do echo k$n=v; done > prod/s/tags");
    let error = mount.fails("echo k21=v | tee -a prod/s/tags");
    assert!(error.contains("quota"), "{error}");
    assert_eq!(mount.last_code(), "Rejected.LimitExceeded");
    let (long, longer) = ("x".repeat(128), "x".repeat(129));
    for (line, good) in
        [(format!("{long}={long}"), true), (format!("{longer}=v"), false), (format!("k={longer}"), false)]
    {
        let output = mount.bash(&format!("echo '{line}' | dd of=prod/s/tags status=none"));
        assert_eq!(output.status.success(), good, "{line}");
    }
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
    assert_eq!(errno(std::fs::create_dir(mount.path(&"i".repeat(65)))), libc::ENAMETOOLONG);
    std::fs::create_dir(mount.path(&"i".repeat(64))).unwrap();
}

#[test]
fn a_description_has_8192_bytes_and_a_policy_32768() {
    let mount = Mount::new();
    mount.secret("prod/s", "v");
    assert_eq!(write(mount.path("prod/s/description"), 8_192), 0);
    assert_eq!(write(mount.path("prod/s/description"), 8_194), libc::EFBIG);
    assert_eq!(mount.ok("stat -c %s prod/s/description"), "8193\n", "and its newline");
    let blank = |len: usize| std::fs::write(mount.path("prod/s/policy"), vec![b' '; len]);
    blank(32_768).unwrap();
    assert_eq!(errno(blank(32_769)), libc::EFBIG);
    assert_eq!(mount.last_code(), "InvalidParameter");
}

#[test]
fn windows_have_7_to_30_days() {
    let mount = Mount::new();
    for (days, good) in [("7", true), ("30", true), ("6", false), ("31", false), ("x", false)] {
        let output = mount.bash(&format!("echo {days} | dd of=prod/.instance/recovery-window status=none"));
        assert_eq!(output.status.success(), good, "{days}");
    }
    assert_eq!(mount.read("prod/.instance/recovery-window"), "30\n");
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
