//! Readers see one version from open to close, and fstat(2) agrees with what they read, while the secret is rotated as fast
//! as it goes.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Mount;

/// How long each form of the stress runs.
const STRESS: Duration = Duration::from_secs(4);
/// Lengths that the values have in turn; each value is one letter, so that a mixture shows.
const LENGTHS: [usize; 26] = [
    1, 2, 3, 63, 64, 65, 100, 500, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 10_000, 12_288,
    16_384, 20_000, 25_000, 30_000, 30_720,
];

fn value(n: u64) -> Vec<u8> {
    let which = (n % 26) as usize;
    vec![b'a' + which as u8; LENGTHS[which]]
}

/// What is wrong with one read of `current`, if anything is.
fn check(path: &Path, chunk: usize, slow: bool) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| format!("open: {error}"))?;
    let size = file.metadata().map_err(|error| format!("fstat: {error}"))?.len();
    if slow {
        // Long enough for rotations to come in between; no outcome waits for it.
        std::thread::yield_now();
        std::thread::sleep(Duration::from_micros(200));
    }
    let mut content = Vec::new();
    let mut buffer = vec![0; chunk];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => content.extend_from_slice(&buffer[..len]),
            Err(error) => return Err(format!("read after {}: {error}", content.len())),
        }
    }
    verify(&content, size)
}

fn verify(content: &[u8], size: u64) -> Result<(), String> {
    let letter = *content.first().ok_or("an empty value")?;
    if content.iter().any(|byte| *byte != letter) {
        return Err(format!("a mixture of {} bytes", content.len()));
    }
    if content.len() != LENGTHS[usize::from(letter - b'a')] {
        return Err(format!("{} bytes of {}", content.len(), letter as char));
    }
    if content.len() as u64 != size {
        return Err(format!("fstat said {size}, and there were {}", content.len()));
    }
    Ok(())
}

/// Rotates as fast as it goes while `read` runs in `threads` threads; answers reads and rotations.
fn stress(mount: &Mount, threads: usize, read: impl Fn(usize) -> Result<(), String> + Sync) -> (u64, u64) {
    let (stop, reads, rotations) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let path = mount.path("prod/s/current");
    let began = Instant::now();
    let failure = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1;
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&path, value(n)).expect("a rotation");
                n += 1;
                rotations.fetch_add(1, Ordering::Relaxed);
            }
        });
        let readers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut turn = 0;
                    while began.elapsed() < STRESS {
                        read(turn)?;
                        turn += 1;
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        let outcomes: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("no panic")).collect();
        stop.store(true, Ordering::Relaxed);
        outcomes.into_iter().find_map(Result::err)
    });
    assert_eq!(failure, None);
    (reads.into_inner(), rotations.into_inner())
}

/// A secret whose first value is one of those that the stress writes.
fn secret() -> Mount {
    let mount = Mount::new();
    std::fs::create_dir(mount.path("prod/s")).unwrap();
    mount.write("prod/s/current", value(0));
    mount
}

#[test]
fn no_torn_read() {
    let mount = secret();
    let path = mount.path("prod/s/current");
    for threads in [1, 4] {
        let (reads, rotations) =
            stress(&mount, threads, |turn| check(&path, if turn % 2 == 0 { 64 * 1024 } else { 4096 }, turn % 3 == 0));
        println!("{threads} reading threads: {reads} reads, {} rotations a second", rotations / STRESS.as_secs());
        assert!(reads > 200 && rotations > 200, "{reads} reads, {rotations} rotations: too few to mean anything");
    }
}

/// A thread asks for the size of what another thread of its process has opened.
#[test]
fn threads_of_a_process_agree() {
    let mount = secret();
    let path = mount.path("prod/s/current");
    let (reads, _) = stress(&mount, 1, |_| {
        let file = File::open(&path).map_err(|error| error.to_string())?;
        let size = std::thread::scope(|scope| scope.spawn(|| file.metadata()).join().expect("no panic"));
        let size = size.map_err(|error| error.to_string())?.len();
        let mut content = vec![0; 40_000];
        let len = file.read_at(&mut content, 0).map_err(|error| error.to_string())?;
        verify(&content[..len], size)
    });
    assert!(reads > 50, "{reads}");
}

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
