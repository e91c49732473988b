//! A store whose disk is full: whoever writes hears of it at the write, and what was there stays.

use std::path::PathBuf;

use crate::harness::{Mount, run};

/// A mount whose store is on a tmpfs of `mib` MiB.
struct SmallDisk {
    mount: Mount,
    disk: PathBuf,
}

impl SmallDisk {
    fn new(mib: u32) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let disk = dir.path().join("store");
        std::fs::create_dir(&disk).unwrap();
        let size = format!("size={mib}m,mode=700");
        run(std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk));
        Self { mount: Mount::in_dir(dir, &[]), disk }
    }

    /// Leaves `free` bytes on the disk.
    fn fill(&self, free: u64) {
        let space = rustix::fs::statvfs(&self.disk).unwrap();
        let bytes = space.f_bavail * space.f_frsize - free.min(space.f_bavail * space.f_frsize);
        run(std::process::Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(self.disk.join("filler")));
    }

    fn empty(&self) {
        std::fs::remove_file(self.disk.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The daemon has the disk open until its own mount is gone.
        if !std::thread::panicking() {
            self.mount.stop();
        }
        let _ = rustix::mount::unmount(&self.disk, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_fails_the_write_and_keeps_the_value() {
    let small = SmallDisk::new(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    small.fill(0);
    for script in [
        "echo v > prod/s/versions/v2",
        "printf %s v > prod/s/current",
        "printf %s v >> prod/s/current",
        "dash -c 'echo v > prod/s/versions/v2'",
        "/bin/echo v > prod/s/current",
        "echo v | tee prod/s/current > /dev/null",
        "echo a=b >> prod/s/tags",
        "echo text > prod/s/description",
        "echo v > $OUT/f; cp $OUT/f prod/s/current",
    ] {
        let error = mount.fails(script);
        // dash has one word for all errors.
        assert!(error.contains("No space left") || error.contains("echo: I/O error"), "{script}: {error}");
        assert_eq!(mount.read("prod/s/current"), "old", "{script}");
        assert_eq!(mount.names("prod/s/versions"), ["v1"], "{script}");
        assert_eq!(mount.read("prod/s/tags"), "", "{script}");
    }
    assert_eq!(
        mount.bash("df prod; ls -la prod/s; mkdir prod/t").status.code(),
        Some(1),
        "reading goes on, making does not"
    );
    small.empty();
    mount.ok("echo v > prod/s/versions/v2");
    assert_eq!(mount.read("prod/s/current"), "v\n");
}

/// The disk fills up between the write and the close: the room was kept, so what was acknowledged is stored.
#[test]
fn what_a_write_acknowledged_finds_its_room() {
    use std::io::Write;
    let small = SmallDisk::new(8);
    let mount = &small.mount;
    mount.secret("prod/s", "old");
    let value = "x".repeat(30_720);
    let mut files: Vec<_> = (0..3)
        .map(|n| {
            let mut file = std::fs::File::create(mount.path(&format!("prod/s/versions/big{n}"))).unwrap();
            file.write_all(value.as_bytes()).unwrap();
            file
        })
        .collect();
    small.fill(0);
    mount.fails("echo v > prod/s/versions/v2");
    for file in files.drain(..) {
        file.sync_all().unwrap();
    }
    assert_eq!(mount.names("prod/s/versions"), ["big0", "big1", "big2", "v1"]);
    assert_eq!(mount.read("prod/s/current"), value);
    small.empty();
}

/// Writing on until the disk is full, and on from there: every acknowledged value is there after a restart.
#[test]
fn nothing_acknowledged_is_lost_on_the_way_to_full() {
    let mut small = SmallDisk::new(6);
    small.fill(2 * 1024 * 1024);
    let mount = &small.mount;
    mount.ok("mkdir prod/s prod/t; echo first > prod/s/current");
    let acknowledged = mount.ok(
        "head -c 30000 /dev/zero | tr '\\0' x > $OUT/f; for n in $(seq 400); do mkdir prod/t/$n 2> /dev/null && cp $OUT/f prod/t/$n/current 2> /dev/null && echo $n; done; true",
    );
    let last: Vec<&str> = acknowledged.lines().collect();
    assert!(!last.is_empty() && last.len() < 400, "{} were written before the disk was full", last.len());
    small.empty();
    small.mount.kill();
    small.mount.start();
    for n in last {
        assert_eq!(small.mount.read(&format!("prod/t/{n}/current")).len(), 30_000, "{n}");
    }
    assert_eq!(small.mount.read("prod/s/current"), "first\n");
}
