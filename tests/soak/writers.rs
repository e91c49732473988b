//! Who writes: each secret has one writer, which looks after each write whether it is there once, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::account::{Account, Sort};
use crate::cast::{Cue, Stage};
use crate::harness::close;
use crate::shelf::Shelf;
use crate::value::Random;

/// Bytes of one write(2) where a value is written in several.
const PART: usize = 4_096;
/// Writes of who takes its time.
const PARTS: usize = 4;
/// The longest pause between two of them, in milliseconds.
const PAUSE: u64 = 60;
/// After each write.
const REST: Duration = Duration::from_millis(2);

/// How a value is written.
#[derive(Clone, Copy)]
enum Way {
    /// As `cp` does.
    Parts,
    /// As a program that computes meanwhile.
    Slowly,
    /// As `sed -i` and editors: another file, which takes the place of the former.
    Renamed,
}

/// Rotates `current`, and adds tags.
pub fn write_current(stage: &Stage, cue: &Cue, account: &mut Account) -> Vec<Shelf> {
    let mut shelves: Vec<Shelf> = stage.rotated.iter().map(|secret| Shelf::new(secret)).collect();
    let mut random = Random::new(1);
    while cue.pause(REST) {
        let shelf = &mut shelves[random.below(stage.rotated.len() as u64) as usize];
        match random.below(5) {
            0 | 1 => rotate(stage, shelf, Way::Parts, &mut random, account),
            2 => rotate(stage, shelf, Way::Slowly, &mut random, account),
            3 => rotate(stage, shelf, Way::Renamed, &mut random, account),
            _ => add_tag(stage, shelf, account),
        }
        shelf.check(&stage.root, false, account);
    }
    look_once_more(stage, &mut shelves, account);
    shelves
}

/// Writes new versions under ids of their own.
pub fn write_versions(stage: &Stage, cue: &Cue, account: &mut Account) -> Vec<Shelf> {
    let mut shelves = vec![Shelf::new(&stage.numbered)];
    let mut random = Random::new(2);
    while cue.pause(REST) {
        let shelf = &mut shelves[0];
        let (n, value) = shelf.begin();
        let path = shelf.path(&stage.root, "versions").join(format!("id{n}"));
        let way = if random.below(3) == 0 { Way::Slowly } else { Way::Parts };
        let what = format!("writing id{n} of {}", shelf.secret);
        if write(&path, &value, way, &what, &mut random, account) {
            shelf.acknowledge(n);
        }
        shelf.check(&stage.root, false, account);
    }
    look_once_more(stage, &mut shelves, account);
    shelves
}

fn look_once_more(stage: &Stage, shelves: &mut [Shelf], account: &mut Account) {
    for shelf in shelves {
        shelf.check(&stage.root, true, account);
        shelf.check_tags(&stage.root, account);
    }
}

fn rotate(stage: &Stage, shelf: &mut Shelf, way: Way, random: &mut Random, account: &mut Account) {
    let (n, value) = shelf.begin();
    let path = shelf.path(&stage.root, "current");
    if write(&path, &value, way, &format!("writing {n} of {}", shelf.secret), random, account) {
        shelf.acknowledge(n);
    }
}

fn add_tag(stage: &Stage, shelf: &mut Shelf, account: &mut Account) {
    let tag = shelf.begin_tag();
    let line = format!("{}={}\n", tag.0, tag.1);
    let append = || {
        let mut file = OpenOptions::new().append(true).open(shelf.path(&stage.root, "tags"))?;
        file.write_all(line.as_bytes())?;
        close(file)
    };
    if account.time(Sort::Write, &format!("adding a tag to {}", shelf.secret), append).is_some() {
        account.count("acknowledged");
        shelf.acknowledge_tag(tag);
    }
    shelf.check_tags(&stage.root, account);
}

/// Whether the write was acknowledged. Its pauses are no stall.
fn write(path: &Path, value: &[u8], way: Way, what: &str, random: &mut Random, account: &mut Account) -> bool {
    let (began, mut paused) = (Instant::now(), Duration::ZERO);
    let outcome = match way {
        Way::Parts => write_parts(File::create(path), value, PART, || {}),
        Way::Slowly => {
            let part = value.len().div_ceil(PARTS);
            write_parts(File::create(path), value, part, || paused += pause(random))
        }
        Way::Renamed => write_renamed(path, value, random),
    };
    let acknowledged = account.took(Sort::Write, began.elapsed() - paused, what, outcome).is_some();
    if acknowledged {
        account.count("acknowledged");
    }
    acknowledged
}

fn write_parts(file: io::Result<File>, value: &[u8], part: usize, mut between: impl FnMut()) -> io::Result<()> {
    let mut file = file?;
    for part in value.chunks(part) {
        file.write_all(part)?;
        between();
    }
    close(file)
}

fn write_renamed(path: &Path, value: &[u8], random: &mut Random) -> io::Result<()> {
    let letters: String = (0..6).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let scratch = path.with_file_name(format!("sed{letters}"));
    let outcome = write_parts(File::create_new(&scratch), value, PART, || {}).and_then(|()| fs::rename(&scratch, path));
    if outcome.is_err() {
        // It may have gone with its worker; what matters has been told.
        let _ = fs::remove_file(&scratch);
    }
    outcome
}

fn pause(random: &mut Random) -> Duration {
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(random.below(PAUSE)));
    began.elapsed()
}
