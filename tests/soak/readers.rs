//! Who reads: two that hold what they have opened, two that open anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::account::{Account, Sort};
use crate::cast::{Cue, Stage};
use crate::shelf::ids;
use crate::value::{self, Random};

/// The longest time that a descriptor is held, in milliseconds.
const HELD: u64 = 4_000;
/// Between two reads.
const REST: Duration = Duration::from_millis(2);
/// More than a value has.
const ROOM: usize = 32 * 1_024;

/// Holds `current`.
pub fn hold_current(stage: &Stage, cue: &Cue, account: &mut Account) {
    let mut random = Random::new(3);
    while cue.pause(REST) {
        let secret = any_secret(stage, &mut random);
        hold(&stage.path(secret, "current"), secret, &mut random, cue, account);
    }
}

/// Holds the newest version of a secret; it rolls away meanwhile.
pub fn hold_version(stage: &Stage, cue: &Cue, account: &mut Account) {
    let mut random = Random::new(4);
    while cue.pause(REST) {
        let secret = any_secret(stage, &mut random);
        let path = stage.path(secret, "versions");
        let Some(ids) = account.time(Sort::Read, &format!("{secret}/versions"), || ids(&path)) else { continue };
        let number = |id: &String| id.trim_start_matches(char::is_alphabetic).parse::<u64>().ok();
        let Some(newest) = ids.into_iter().max_by_key(number) else {
            account.fault(format!("{secret} has no versions"));
            continue;
        };
        hold(&path.join(newest), secret, &mut random, cue, account);
    }
}

/// Reads what is current, and never what was before.
pub fn read_current(stage: &Stage, cue: &Cue, account: &mut Account) {
    let mut seen = vec![0; stage.secrets().count()];
    while cue.pause(REST) {
        for (secret, seen) in stage.secrets().zip(&mut seen) {
            let what = format!("{secret}/current");
            let Some(bytes) = account.time(Sort::Read, &what, || fs::read(stage.path(secret, "current"))) else {
                continue;
            };
            match value::number(secret, &bytes) {
                Ok(n) if n < *seen => account.fault(format!("{what}: it is {n}, and was {seen}")),
                Ok(n) => *seen = n,
                Err(wrong) => account.fault(format!("{what}: {wrong}")),
            }
        }
    }
}

/// Reads any entry of a secret that can be read.
pub fn read_all(stage: &Stage, cue: &Cue, account: &mut Account) {
    let mut random = Random::new(5);
    while cue.pause(REST) {
        let secret = any_secret(stage, &mut random);
        let entry = ["stages/ACSCurrent", "stages/ACSPrevious", "info", "tags", "versions"][random.below(5) as usize];
        let (path, what) = (stage.path(secret, entry), format!("{secret}/{entry}"));
        let entry = entry.split('/').next().unwrap_or(entry);
        match entry {
            "versions" => read_version(&path, secret, &mut random, account),
            "stages" if random.below(2) == 0 => {
                account.time(Sort::Read, &what, || fs::read_link(&path));
            }
            _ => {
                let Some(bytes) = account.time(Sort::Read, &what, || fs::read(&path)) else { continue };
                if let Err(wrong) = is_whole(entry, secret, &bytes) {
                    account.fault(format!("{what}: {wrong}"));
                }
            }
        }
    }
}

fn any_secret<'a>(stage: &'a Stage, random: &mut Random) -> &'a str {
    let count = stage.secrets().count() as u64;
    stage.secrets().nth(random.below(count) as usize).expect("a secret of them")
}

/// Opens `path`, and reads again and again what it had then.
fn hold(path: &Path, secret: &str, random: &mut Random, cue: &Cue, account: &mut Account) {
    let what = format!("holding {secret}/{}", path.file_name().unwrap_or_default().display());
    let opened = account.time(Sort::Read, &what, || {
        let file = File::open(path)?;
        let bytes = read_whole(&file)?;
        Ok((file, bytes))
    });
    let Some((file, bytes)) = opened else { return };
    let n = match value::number(secret, &bytes) {
        Ok(n) => n,
        Err(wrong) => return account.fault(format!("{what}: {wrong}")),
    };
    account.count("held");
    let until = Instant::now() + Duration::from_millis(random.below(HELD));
    while Instant::now() < until && cue.pause(REST) {
        // What is wrong once would be told again and again.
        match account.time(Sort::Read, &format!("{what}, which is {n}"), || read_whole(&file)) {
            Some(again) if again == bytes => {}
            Some(other) => {
                return account.fault(format!("{what}: it was {n}, and is {:?}", value::number(secret, &other)));
            }
            None => return,
        }
        match account.time(Sort::Read, &format!("fstat of {n}, {what}"), || file.metadata()) {
            Some(metadata) if metadata.len() == bytes.len() as u64 => {}
            Some(metadata) => {
                return account.fault(format!("{what}: fstat says {}, and it has {}", metadata.len(), bytes.len()));
            }
            None => return,
        }
    }
}

fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let (mut bytes, mut len) = (vec![0; ROOM], 0);
    loop {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads one version of those that are listed. One that has rolled away in between is none.
fn read_version(versions: &Path, secret: &str, random: &mut Random, account: &mut Account) {
    let what = format!("{secret}/versions");
    let Some(listed) = account.time(Sort::Read, &what, || ids(versions)) else { return };
    let Some(id) = listed.iter().nth(random.below(listed.len().max(1) as u64) as usize) else {
        return account.fault(format!("{what}: it is empty"));
    };
    let read = account.time(Sort::Read, &format!("{what}/{id}"), || match fs::read(versions.join(id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !ids(versions)?.contains(id) => Ok(None),
        other => other.map(Some),
    });
    if let Some(Err(wrong)) = read.flatten().map(|bytes| value::number(secret, &bytes)) {
        account.fault(format!("{what}/{id}: {wrong}"));
    }
}

/// Whether `bytes` are what such an entry holds.
fn is_whole(entry: &str, secret: &str, bytes: &[u8]) -> Result<(), String> {
    match entry {
        "info" => serde_json::from_slice::<serde_json::Value>(bytes).map(drop).map_err(|error| error.to_string()),
        "tags" => {
            let whole = bytes.is_empty() || bytes.ends_with(b"\n");
            let lines = String::from_utf8_lossy(bytes);
            let right = whole && lines.lines().all(|line| line.starts_with('k') && line.contains("=v"));
            if right { Ok(()) } else { Err(format!("{lines:?}")) }
        }
        _ => value::number(secret, bytes).map(drop),
    }
}
