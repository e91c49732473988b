//! The measuring client of `scripts/bench`: how long a gesture on a file takes, in microseconds.
//!
//! ```text
//! open_read_close [--cpu N] [--rounds R] [--ops N] [--to-end | --rotate | --rotate-synced] FILE...
//! ```
//! The gesture is open + one read + close; with `--to-end` the reads go on until one gives nothing, as cat(1) does; with
//! `--rotate` it is open(O_TRUNC) + write of 64 bytes + close, with `--rotate-synced` with an fsync before the close. The files
//! take turns within each round, so that whatever else the machine does meets all of them alike. For each file one line: the
//! median of the rounds' medians, the least and the greatest of these.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on says so by panicking")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, fsync, openat};
use rustix::io::{read, write};
use rustix::thread::{CpuSet, sched_setaffinity};

#[derive(Clone, Copy)]
enum Gesture {
    ReadOnce,
    ReadToEnd,
    Rotate { synced: bool },
}

/// Bytes of what is written: the size of the measured value.
const VALUE_LEN: usize = 64;

fn main() {
    let (mut cpu, mut rounds, mut ops, mut gesture) = (None, 5, 2_000, Gesture::ReadOnce);
    let mut files = Vec::<PathBuf>::new();
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|text| text.to_str()?.parse::<usize>().ok()).expect("a number follows");
        match arg.to_str() {
            Some("--cpu") => cpu = Some(number()),
            Some("--rounds") => rounds = number(),
            Some("--ops") => ops = number(),
            Some("--to-end") => gesture = Gesture::ReadToEnd,
            Some("--rotate") => gesture = Gesture::Rotate { synced: false },
            Some("--rotate-synced") => gesture = Gesture::Rotate { synced: true },
            // What cargo says to every bench.
            Some("--bench") => {}
            _ => files.push(arg.into()),
        }
    }
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).unwrap();
    }
    let mut medians = vec![Vec::new(); files.len()];
    for _ in 0..rounds {
        for (file, medians) in files.iter().zip(&mut medians) {
            medians.push(round(file, gesture, ops));
        }
    }
    for (file, mut medians) in files.iter().zip(medians) {
        medians.sort_by(f64::total_cmp);
        println!("{:.2} {:.2} {:.2} {}", medians[rounds / 2], medians[0], medians[rounds - 1], file.display());
    }
}

/// The median of `ops` gestures on `file`, and some before them that do not count.
fn round(file: &Path, gesture: Gesture, ops: usize) -> f64 {
    let mut times: Vec<f64> = (0..ops / 10).map(|_| once(file, gesture)).collect();
    times.clear();
    times.extend((0..ops).map(|_| once(file, gesture)));
    times.sort_by(f64::total_cmp);
    times[ops / 2]
}

fn once(file: &Path, gesture: Gesture) -> f64 {
    let mut buffer = [b'v'; 64 * 1024];
    let begin = Instant::now();
    match gesture {
        Gesture::ReadOnce | Gesture::ReadToEnd => {
            let opened = openat(CWD, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let to_end = matches!(gesture, Gesture::ReadToEnd);
            while read(&opened, &mut buffer).unwrap() > 0 && to_end {}
        }
        Gesture::Rotate { synced } => {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
            let opened = openat(CWD, file, flags, Mode::empty()).unwrap();
            assert_eq!(write(&opened, &buffer[..VALUE_LEN]).unwrap(), VALUE_LEN);
            if synced {
                fsync(&opened).unwrap();
            }
        }
    }
    begin.elapsed().as_secs_f64() * 1e6
}
