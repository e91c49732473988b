//! SIGKILL of the daemon at any moment loses no value whose writer had returned 0, and leaves no half one.
//!
//! The long form: `KMSFS_KILLS=2000 cargo test --test mount durability -- --nocapture`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Mount;

const KILLS: u64 = 200;

/// What the writers were told, and what they were doing when the daemon died.
#[derive(Default)]
struct Writers {
    /// Numbers that were begun, and those that returned 0: of `current`, and of versions.
    begun: [AtomicU64; 2],
    done: [AtomicU64; 2],
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
    fn write(&self, which: usize, path: impl Fn(u64) -> std::path::PathBuf) {
        let mut n = self.begun[which].load(Ordering::SeqCst);
        while !self.stop.load(Ordering::SeqCst) {
            n += 1;
            self.begun[which].store(n, Ordering::SeqCst);
            // A program that looks at close(2), as cat, cp and tee do.
            let outcome = std::process::Command::new("dd")
                .arg("status=none")
                .arg("bs=64k")
                .arg(format!("of={}", path(n).display()))
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .and_then(|mut dd| {
                    std::io::Write::write_all(dd.stdin.as_mut().expect("a pipe"), value(n).as_bytes())?;
                    dd.wait()
                });
            match outcome {
                Ok(status) if status.success() => self.done[which].store(n, Ordering::SeqCst),
                Ok(_) | Err(_) => return,
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
        let moment = Duration::from_micros(random % 30_000);
        writers.stop.store(false, Ordering::SeqCst);
        let (a, b) = (mount.path("prod/a/current"), mount.path("prod/b/versions"));
        std::thread::scope(|scope| {
            scope.spawn(|| writers.write(0, |_| a.clone()));
            scope.spawn(|| writers.write(1, |n| b.join(format!("id{n}"))));
            let began = Instant::now();
            while began.elapsed() < moment {
                std::hint::spin_loop();
            }
            mount.kill();
            writers.stop.store(true, Ordering::SeqCst);
        });
        mount.start();
        let load = |counters: &[AtomicU64; 2], which: usize| counters[which].load(Ordering::SeqCst);
        let current = number(&mount.read("prod/a/current"));
        assert!(
            (load(&writers.done, 0)..=load(&writers.begun, 0)).contains(&current),
            "kill {kill}: current is {current}, {} was acknowledged, {} begun",
            load(&writers.done, 0),
            load(&writers.begun, 0)
        );
        let mut versions: Vec<u64> = mount
            .names("prod/b/versions")
            .iter()
            .map(|id| number(&mount.read(&format!("prod/b/versions/{id}"))))
            .collect();
        versions.sort_unstable();
        let acknowledged = load(&writers.done, 1);
        for n in acknowledged.saturating_sub(8).max(1)..=acknowledged {
            assert!(versions.contains(&n), "kill {kill}: id{n} was acknowledged and is not there: {versions:?}");
        }
        // What was begun and not acknowledged may be there or not; it is not begun again under the same number.
        for which in 0..2 {
            writers.done[which].store(
                load(&writers.begun, which).min(if which == 0 { current } else { *versions.last().unwrap_or(&0) }),
                Ordering::SeqCst,
            );
        }
    }
    println!(
        "{kills} kills, {} and {} writes begun",
        writers.begun[0].load(Ordering::SeqCst),
        writers.begun[1].load(Ordering::SeqCst)
    );
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
