//! SIGKILL of the daemon at any moment loses no value whose writer had returned 0, and leaves no half one.
//!
//! The long form: `KMSFS_KILLS=2000 cargo test --test mount durability -- --nocapture`.

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::harness::{Mount, close};

const KILLS: u64 = 200;
/// A write that takes longer is a failure of its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the writers were told, and what they were doing when the daemon died.
#[derive(Default)]
struct Writers {
    /// The last number that was begun: of `current`, and of versions.
    begun: [AtomicU64; 2],
    /// The numbers whose writer returned 0.
    acknowledged: [Mutex<Vec<u64>>; 2],
    stop: AtomicBool,
}

/// A value that shows whether it is whole.
fn value(n: u64) -> String {
    let len = 1 + (n.wrapping_mul(2_654_435_761) % 30_000) as usize;
    let text = format!("{n} ");
    text.repeat(len.div_ceil(text.len()))
}

fn number(value: &str) -> u64 {
    let n = value.split(' ').next().and_then(|n| n.parse().ok()).expect("a value begins with its number");
    assert_eq!(value, self::value(n), "half a value");
    n
}

impl Writers {
    fn last(&self, which: usize) -> u64 {
        self.acknowledged[which].lock().unwrap().last().copied().unwrap_or(0)
    }

    fn write(&self, which: usize, tell: &Sender<()>, path: impl Fn(u64) -> std::path::PathBuf) {
        let mut n = self.begun[which].load(Ordering::SeqCst);
        while !self.stop.load(Ordering::SeqCst) {
            n += 1;
            self.begun[which].store(n, Ordering::SeqCst);
            // As a program does that looks at close(2): cat, cp, tee.
            let outcome = File::create(path(n)).and_then(|mut file| {
                file.write_all(value(n).as_bytes())?;
                close(file)
            });
            match outcome {
                Ok(()) => {
                    self.acknowledged[which].lock().unwrap().push(n);
                    let _ = tell.send(());
                }
                Err(_) => return,
            }
        }
    }
}

#[test]
fn kills_lose_nothing() {
    let kills = std::env::var("KMSFS_KILLS").map_or(KILLS, |text| text.parse().expect("KMSFS_KILLS is a number"));
    let mut mount = Mount::new();
    mount.ok("mkdir prod/a prod/b");
    mount.write("prod/a/current", value(0));
    let writers = Writers::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // After some acknowledged writes, and at any moment of the next one.
        let (writes, moment) = (random % 12, Duration::from_micros(random % 3_000));
        let (said, heard) = channel();
        writers.stop.store(false, Ordering::SeqCst);
        let (a, b) = (mount.path("prod/a/current"), mount.path("prod/b/versions"));
        std::thread::scope(|scope| {
            let (tell, also) = (said.clone(), said);
            let (writers, a, b) = (&writers, &a, &b);
            scope.spawn(move || writers.write(0, &tell, |_| a.clone()));
            scope.spawn(move || writers.write(1, &also, |n| b.join(format!("id{n}"))));
            for _ in 0..writes {
                heard.recv_timeout(PATIENCE).expect("the writers write");
            }
            let began = Instant::now();
            while began.elapsed() < moment {
                std::hint::spin_loop();
            }
            mount.kill();
            writers.stop.store(true, Ordering::SeqCst);
        });
        mount.start();
        let current = number(&mount.read("prod/a/current"));
        let (told, begun) = (writers.last(0), writers.begun[0].load(Ordering::SeqCst));
        assert!(told <= current && current <= begun, "kill {kill}: {current} is current, {told} was acknowledged");
        let ids = mount.names("prod/b/versions");
        let there: Vec<u64> = ids.iter().map(|id| number(&mount.read(&format!("prod/b/versions/{id}")))).collect();
        for told in writers.acknowledged[1].lock().unwrap().iter().rev().take(8) {
            let rolled = there.iter().filter(|n| *n > told).count() >= 9;
            assert!(there.contains(told) || rolled, "kill {kill}: id{told} was acknowledged, there are {there:?}");
        }
    }
    let told = |which: usize| writers.acknowledged[which].lock().unwrap().len();
    println!("{kills} kills, {} and {} writes acknowledged, none lost", told(0), told(1));
    assert!(told(0) + told(1) > kills as usize, "too few writes to mean anything");
    mount.stop();
    let verified = mount.verify();
    assert!(verified.status.success(), "{}", crate::harness::text(&verified.stderr));
}

#[test]
fn all_of_it_survives_a_restart() {
    let mut mount = Mount::new();
    mount.ok(
        "mkdir -p staging prod/db/password prod/draft; cd prod/db/password; echo one > current; echo two > versions/x; \
         ln -s ../versions/v1 stages/canary; echo a=b > tags; echo text > description; echo 9 > ../../.instance/recovery-window; \
         chmod 700 .; echo d=e > ../../draft/tags; mkdir ../../gone; echo v > ../../gone/current; rm -r ../../gone",
    );
    let picture = "find . -path ./.kmsfs -prune -o -printf '%p %y %m %U:%G %s %l %T@\\n' | sort; find . -path ./.kmsfs -prune -o -type f ! -path '*gone/current' -exec cat {} +";
    let before = mount.ok(picture);
    mount.restart();
    assert_eq!(mount.ok(picture), before);
    mount.kill();
    mount.start();
    assert_eq!(mount.ok(picture), before);
}
