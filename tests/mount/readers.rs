//! What a reader holds stays what it is, whatever is rotated meanwhile; the stress of it is in `torn`.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::harness::Mount;

#[test]
fn a_held_descriptor_keeps_its_version() {
    let mut mount = secret_with("first");
    let held = File::open(mount.path("prod/s/current")).unwrap();
    mount.ok("for n in $(seq 25); do echo $n > prod/s/current; done");
    assert_eq!(read_all(&held), "first", "though it has rolled away");
    assert_eq!(held.metadata().unwrap().len(), 5);
    assert!(!mount.names("prod/s/versions").contains(&"v1".to_owned()));
    assert_eq!(mount.read("prod/s/current"), "25\n");
    let version = File::open(mount.path("prod/s/versions/v20")).unwrap();
    mount.ok("for n in $(seq 25); do echo $n > prod/s/current; done");
    assert_eq!(read_all(&version), "19\n", "v20 is the nineteenth that was echoed");
    drop((held, version));
    mount.stop();
    assert!(mount.verify().status.success());
}

/// The thread that opened a file may be gone when another one of its process asks for the size.
#[test]
fn the_opening_thread_may_be_gone() {
    let mount = secret_with("first");
    let path = mount.path("prod/s/current");
    let held = std::thread::spawn(move || File::open(path).unwrap()).join().unwrap();
    mount.ok("printf %s 'the second is longer' > prod/s/current");
    assert_eq!(held.metadata().unwrap().len(), 5);
    assert_eq!(read_all(&held), "first");
}

fn secret_with(text: &str) -> Mount {
    let mount = Mount::new();
    mount.secret("prod/s", text);
    mount
}

fn read_all(file: &File) -> String {
    let mut content = vec![0; 64 * 1024];
    let len = file.read_at(&mut content, 0).unwrap();
    String::from_utf8_lossy(&content[..len]).into_owned()
}

/// One inode for the secret's whole life: a bind mount of the single file follows every rotation.
#[test]
fn current_is_one_inode() {
    let mount = secret_with("first");
    let before = std::fs::metadata(mount.path("prod/s/current")).unwrap().ino();
    mount.ok("echo a > prod/s/current; sed -i s/a/b/ prod/s/current; echo c > $OUT/f; rsync -I $OUT/f prod/s/current");
    assert_eq!(std::fs::metadata(mount.path("prod/s/current")).unwrap().ino(), before);
    let script = "touch $OUT/file; mount --bind prod/s/current $OUT/file; cat $OUT/file; echo d > prod/s/current; cat $OUT/file; \
                  echo e > $OUT/file; cat prod/s/current; mkdir $OUT/d; mount --bind prod/s $OUT/d; echo f > prod/s/current; cat $OUT/d/current";
    assert_eq!(mount.ok(&format!("unshare -m bash -c '{script}'")), "c\nd\ne\nf\n");
}

/// sendfile(2) and private maps go through the page cache, where versions would mix: refused on `current`.
#[test]
fn the_page_cache_is_refused_on_current() {
    let mount = secret_with("first");
    let file = File::open(mount.path("prod/s/current")).unwrap();
    let out = File::create(mount.dir.path().join("out")).unwrap();
    let sent = rustix::fs::sendfile(out.as_fd(), file.as_fd(), None, 100).map_err(std::io::Error::from);
    match sent {
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO)),
        // Kernels whose sendfile reads direct-I/O files as read(2) does give the pinned version.
        Ok(len) => {
            assert_eq!((len, std::fs::read_to_string(mount.dir.path().join("out")).unwrap().as_str()), (5, "first"))
        }
    }
    let map = mount.bash(
        "python3 -c \"import mmap; f = open('prod/s/current'); print(mmap.mmap(f.fileno(), 5, mmap.MAP_PRIVATE, mmap.PROT_READ)[:])\"",
    );
    assert!(!map.status.success(), "a map of `current` must not be served");
    mount.ok("python3 -c \"import mmap; f = open('prod/s/versions/v1'); assert mmap.mmap(f.fileno(), 5, mmap.MAP_PRIVATE, mmap.PROT_READ)[:] == b'first'\"");
    assert_eq!(read_all(&file), "first");
}

#[test]
fn stat_and_fstat_agree() {
    let mount = secret_with("first");
    for file in [
        "current",
        "versions/v1",
        "tags",
        "policy",
        "description",
        "cmk",
        "info",
        "../.instance/info",
        "../../.kmsfs/status",
    ] {
        let path = mount.path("prod/s").join(file);
        let (by_name, by_file) = (std::fs::metadata(&path).unwrap(), File::open(&path).unwrap());
        let content = std::fs::read(&path).unwrap();
        assert_eq!(by_name.ino(), by_file.metadata().unwrap().ino(), "{file}");
        if file != "../../.kmsfs/status" {
            assert_eq!(
                (by_name.len(), by_file.metadata().unwrap().len()),
                (content.len() as u64, content.len() as u64),
                "{file}"
            );
        }
        assert_eq!(
            (by_name.nlink(), by_name.blocks(), by_name.blksize()),
            (1, by_name.len().div_ceil(512), 4096),
            "{file}"
        );
    }
}
