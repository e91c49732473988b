//! Readers see one version from open to close, and fstat(2) agrees with what they read, while the secret is rotated
//! as fast as the daemon can: between most opens and reads a rotation comes.
//!
//! Readers and rotators are processes of their own, each this test program again: what one process has open is nothing to the
//! others. The store is on a tmpfs, so that the rate is the daemon's and not a disk's. A program of its own, so that no other
//! test of this package runs beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "mount/harness.rs"]
#[allow(dead_code, reason = "it has more than this test needs")]
mod harness;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use harness::{Mount, text};

/// How long one round of the stress lasts.
const ROUND: Duration = Duration::from_secs(4);
/// Rounds that are tried to reach the rate: the machine may have other things to do.
const ROUNDS: usize = 12;
/// Rotations in the best second: fewer, on a machine that does nothing else, are a daemon that has become slow.
const RATE: u64 = 500;
/// Rotations in all, for each form.
const ROTATIONS: u64 = 4_000;
/// Reads in all, for each form.
const READS: u64 = 500;
/// Reads that had another version current when they ended than when they began: only these can be torn.
const MET: u64 = 400;
/// Processes that rotate: one waits for its answer while the other's request is carried out.
const ROTATORS: usize = 2;
/// Parts of a second that rotations are counted by.
const PARTS: u64 = 10;
/// Names the file to the processes of the stress.
const FILE: &str = "KMSFS_TEST_STRESS";
/// How many threads read.
const THREADS: &str = "KMSFS_TEST_STRESS_THREADS";
/// Lengths that the values have in turn; each value is one letter, so that a mixture shows.
const LENGTHS: [usize; 26] = [
    1, 2, 3, 63, 64, 65, 100, 500, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 10_000, 12_288,
    16_384, 20_000, 25_000, 30_000, 30_720,
];

fn value(n: u64) -> Vec<u8> {
    let which = (n % 26) as usize;
    vec![b'a' + which as u8; LENGTHS[which]]
}

/// The letter that one read of `current` came to, or what is wrong with it.
fn check(path: &Path, chunk: usize, slow: bool) -> Result<u8, String> {
    let mut file = File::open(path).map_err(|error| format!("open: {error}"))?;
    let size = file.metadata().map_err(|error| format!("fstat: {error}"))?.len();
    if slow {
        // Long enough for rotations to come in between; no outcome waits for it.
        std::thread::sleep(Duration::from_micros(1_500));
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

fn verify(content: &[u8], size: u64) -> Result<u8, String> {
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
    Ok(letter)
}

/// A secret in memory whose first value is one of those that the stress writes.
fn secret() -> Mount {
    let mount = Mount::in_dir(TempDir::new_in("/dev/shm").expect("/dev/shm, a tmpfs, is there"), &[]);
    std::fs::create_dir(mount.path("prod/s")).unwrap();
    mount.write("prod/s/current", value(0));
    mount
}

/// This program again, as the ignored test `half`.
fn process(half: &str, path: &Path, threads: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", half, "--nocapture"])
        .env(FILE, path)
        .env(THREADS, threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it printed in the end; it must have found nothing wrong.
#[track_caller]
fn ended(process: Child) -> String {
    let output = process.wait_with_output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    out
}

/// The numbers behind `word` at the beginning of lines.
fn numbers<'a>(out: &'a str, word: &'a str) -> impl Iterator<Item = Vec<u64>> + 'a {
    let lines = out.lines().filter_map(move |line| line.strip_prefix(word));
    lines.map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect())
}

/// Reads of one round, how many of them met a rotation, and its rotations in each part of a second.
fn round(mount: &Mount, threads: usize) -> ([u64; 2], BTreeMap<u64, u64>) {
    let path = mount.path("prod/s/current");
    let reader = process("the_reading_half", &path, threads);
    let rotators: Vec<_> = (0..ROTATORS).map(|_| process("the_rotating_half", &path, 0)).collect();
    let mut rotations = BTreeMap::new();
    for out in rotators.into_iter().map(ended) {
        for counted in numbers(&out, "rotations ") {
            *rotations.entry(counted[0]).or_default() += counted[1];
        }
    }
    // Its standard input ends with this, and it with that.
    let out = ended(reader);
    let counted = numbers(&out, "reads ").next().unwrap();
    ([counted[0], counted[1]], rotations)
}

/// The most rotations that came within a second.
fn best_second(rotations: &BTreeMap<u64, u64>) -> u64 {
    let second = |from: u64| rotations.range(from..from + PARTS).map(|(_, count)| count).sum();
    rotations.keys().map(|from| second(*from)).max().unwrap_or(0)
}

#[test]
fn no_torn_read() {
    let mount = secret();
    for threads in [1, 4] {
        let (mut reads, mut met, mut total, mut best) = (0, 0, 0, 0);
        for _ in 0..ROUNDS {
            let ([more, could_tear], rotations) = round(&mount, threads);
            reads += more;
            met += could_tear;
            total += rotations.values().sum::<u64>();
            best = best.max(best_second(&rotations));
            if reads >= READS && met >= MET && total >= ROTATIONS && best >= RATE {
                break;
            }
        }
        println!(
            "{threads} reading threads: {reads} reads, {met} met a rotation; {total} rotations, {best} in the best second"
        );
        assert!(
            reads >= READS && met >= MET,
            "{reads} reads, of which {met} met a rotation, are too few to mean anything: the machine is too busy for this test"
        );
        assert!(
            total >= ROTATIONS && best >= RATE,
            "no read was torn, but there were {total} rotations and {best} in the best second: either the machine is too \
             busy for this test, or the daemon has become slow"
        );
    }
}

/// The moment in parts of a second, the same in all processes.
fn part() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() * PARTS / 1000
}

#[test]
#[ignore = "a part of `no_torn_read`"]
fn the_rotating_half() {
    let path = PathBuf::from(std::env::var_os(FILE).expect("the test outside names a file"));
    let mut counts = BTreeMap::<u64, u64>::new();
    let began = Instant::now();
    for n in 0.. {
        if began.elapsed() >= ROUND {
            break;
        }
        std::fs::write(&path, value(n)).expect("a rotation");
        *counts.entry(part()).or_default() += 1;
    }
    println!();
    for (part, count) in counts {
        println!("rotations {part} {count}");
    }
}

#[test]
#[ignore = "a part of `no_torn_read`"]
fn the_reading_half() {
    let path = PathBuf::from(std::env::var_os(FILE).expect("the test outside names a file"));
    let threads: usize = std::env::var(THREADS).unwrap().parse().unwrap();
    // The rotations come first: a reader that takes the processor from them sees fewer.
    rustix::process::nice(19).unwrap();
    let (stop, reads, met) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let failure = std::thread::scope(|scope| {
        let one = || {
            let mut before = None;
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let slow = turn % 3 == 0;
                let letter = check(&path, if turn % 2 == 0 { 64 * 1024 } else { 4096 }, slow)?;
                reads.fetch_add(1, Ordering::Relaxed);
                // The one before took its time between open and read, and this one came right behind it.
                met.fetch_add(u64::from(before.is_some_and(|before| before != letter)), Ordering::Relaxed);
                before = slow.then_some(letter);
            }
            Ok::<(), String>(())
        };
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().find_map(|reader| reader.join().expect("no panic").err())
    });
    assert_eq!(failure, None);
    println!("\nreads {} {}", reads.into_inner(), met.into_inner());
}

/// A thread asks for the size of what another thread of its process has opened.
#[test]
fn threads_of_a_process_agree() {
    let mount = secret();
    let path = mount.path("prod/s/current");
    let rotator = process("the_rotating_half", &path, 0);
    let (began, mut reads) = (Instant::now(), 0);
    while began.elapsed() < ROUND {
        let file = File::open(&path).unwrap();
        let size = std::thread::scope(|scope| scope.spawn(|| file.metadata()).join().expect("no panic")).unwrap().len();
        let mut content = vec![0; 40_000];
        let len = file.read_at(&mut content, 0).unwrap();
        verify(&content[..len], size).unwrap();
        reads += 1;
    }
    ended(rotator);
    assert!(reads > 50, "{reads}");
}
