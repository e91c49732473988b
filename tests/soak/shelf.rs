//! A secret as its only writer knows it: what must be stored, and what is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::account::{Account, Sort};
use crate::value;

/// Versions that a secret keeps; the oldest goes.
const KEPT: usize = 10;
/// Tag keys that are written in turn: fewer than a secret takes.
const TAGS: u64 = 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shelf {
    /// Its path below `prod/`, which its values name.
    pub secret: String,
    /// The number in each stored version.
    versions: BTreeMap<String, u64>,
    /// The numbers whose write has returned 0, and that were not looked for yet.
    acknowledged: Vec<u64>,
    /// The last number that was written or tried.
    begun: u64,
    /// The last one that was acknowledged.
    last: u64,
    tags: BTreeMap<String, String>,
}

impl Shelf {
    /// The secret as [`make`] has made it.
    pub fn new(secret: &str) -> Self {
        let versions = BTreeMap::from([("v1".to_owned(), 0), ("v2".to_owned(), 1)]);
        Self { secret: secret.to_owned(), versions, acknowledged: vec![], begun: 1, last: 1, tags: BTreeMap::new() }
    }

    pub fn path(&self, root: &Path, entry: &str) -> PathBuf {
        root.join("prod").join(&self.secret).join(entry)
    }

    /// The last number that was acknowledged.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A number that was never written, and its value.
    pub fn begin(&mut self) -> (u64, Vec<u8>) {
        self.begun += 1;
        (self.begun, value::value(&self.secret, self.begun))
    }

    pub fn acknowledge(&mut self, n: u64) {
        self.acknowledged.push(n);
        self.last = n;
    }

    /// A line for `tags`.
    pub fn begin_tag(&mut self) -> (String, String) {
        self.begun += 1;
        (format!("k{}", self.begun % TAGS), format!("v{}", self.begun))
    }

    pub fn acknowledge_tag(&mut self, (key, value): (String, String)) {
        self.tags.insert(key, value);
    }

    /// Compares what is stored with what was acknowledged. What was found once is read again where `anew`.
    pub fn check(&mut self, root: &Path, anew: bool, account: &mut Account) {
        let Some(found) = self.found(root, anew, account) else { return };
        let mut expected: Vec<u64> = self.versions.values().chain(&self.acknowledged).copied().collect();
        expected.sort_unstable();
        expected.drain(..expected.len().saturating_sub(KEPT));
        let mut numbers: Vec<u64> = found.values().copied().collect();
        numbers.sort_unstable();
        if numbers != expected {
            account.fault(format!("{}: {numbers:?} are stored, and {expected:?} should be", self.secret));
        }
        // One fault is told once.
        (self.versions, self.acknowledged) = (found, vec![]);
        let what = format!("{}/current", self.secret);
        if let Some(bytes) = account.time(Sort::Read, &what, || fs::read(self.path(root, "current"))) {
            match value::number(&self.secret, &bytes) {
                Ok(n) if n == self.last => {}
                Ok(n) => account.fault(format!("{what}: it is {n}, and {} was acknowledged last", self.last)),
                Err(wrong) => account.fault(format!("{what}: {wrong}")),
            }
            self.last = value::number(&self.secret, &bytes).unwrap_or(self.last);
        }
    }

    /// The number in each version that is there; `None` where that cannot be read.
    fn found(&self, root: &Path, anew: bool, account: &mut Account) -> Option<BTreeMap<String, u64>> {
        let ids =
            account.time(Sort::Read, &format!("{}/versions", self.secret), || ids(&self.path(root, "versions")))?;
        let mut found = BTreeMap::new();
        for id in ids {
            let known = self.versions.get(&id).copied().filter(|_| !anew);
            let what = format!("{}/versions/{id}", self.secret);
            let n = match known {
                Some(n) => n,
                None => {
                    let path = self.path(root, "versions").join(&id);
                    let bytes = account.time(Sort::Read, &what, || fs::read(path))?;
                    let number = value::number(&self.secret, &bytes);
                    number.map_err(|wrong| account.fault(format!("{what}: {wrong}"))).ok()?
                }
            };
            found.insert(id, n);
        }
        Some(found)
    }

    /// The same of the tags.
    pub fn check_tags(&mut self, root: &Path, account: &mut Account) {
        let what = format!("{}/tags", self.secret);
        let Some(text) = account.time(Sort::Read, &what, || fs::read_to_string(self.path(root, "tags"))) else {
            return;
        };
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let found: BTreeMap<_, _> = text.lines().filter_map(pair).collect();
        if found != self.tags {
            account.fault(format!("{what}: {found:?}, and {:?} was acknowledged", self.tags));
        }
        self.tags = found;
    }
}

/// Makes the secret in the directory `path`, with two versions: so it has all labels.
pub fn make(path: &Path, secret: &str) {
    fs::create_dir_all(path).unwrap();
    (0..2).for_each(|n| fs::write(path.join("current"), value::value(secret, n)).unwrap());
}

/// The names in a directory.
pub fn ids(path: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
