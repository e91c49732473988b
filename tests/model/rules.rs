//! What may become of one secret: the rules of `kms-rules.md`.

use std::collections::BTreeMap;

use crate::reference::{Bytes, Errnos, Key, Outcome, SILENT, Secret, Version};
use crate::time::Moment;

pub const VALUE_MAX: usize = 30_720;
pub const RESERVED: [&str; 11] =
    ["current", "versions", "stages", "fields", "dotenv", "tags", "policy", "description", "cmk", "info", "rotation"];
pub const CURRENT: &str = "ACSCurrent";
pub const PREVIOUS: &str = "ACSPrevious";

impl Secret {
    pub fn draft(serial: u64, key: &str, now: u64) -> Self {
        Self {
            serial,
            key: key.to_owned(),
            versions: Vec::new(),
            stages: BTreeMap::new(),
            tags: BTreeMap::new(),
            description: String::new(),
            created: now,
            updated: now,
            rotated: now,
            highest_auto: 0,
            automatic: Default::default(),
            rotation: None,
        }
    }

    pub fn is_draft(&self) -> bool {
        self.versions.is_empty()
    }

    pub fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    pub fn current(&self) -> Option<&Version> {
        self.version(self.stages.get(CURRENT)?)
    }

    pub fn labels_of(&self, id: &str) -> Vec<&str> {
        self.stages.iter().filter(|(_, on)| *on == id).map(|(label, _)| label.as_str()).collect()
    }

    /// PutSecretValue: version `id`, or the next automatic one.
    pub fn put(&mut self, id: Option<&str>, bytes: &[u8], serial: u64, now: u64) -> Outcome<()> {
        self.put_at(CURRENT, id, bytes, serial, now)
    }

    /// The same, under another label.
    pub fn put_at(&mut self, label: &str, id: Option<&str>, bytes: &[u8], serial: u64, now: u64) -> Outcome<()> {
        match bytes.len() {
            0 => return Err(&[libc::EINVAL]),
            1..=VALUE_MAX => {}
            _ => return Err(&[libc::EFBIG]),
        }
        let automatic = format!("v{}", self.highest_auto + 1);
        if id.is_none() {
            assert!(self.automatic.insert(automatic.clone()), "the model gave an automatic id twice");
        }
        let id = id.unwrap_or(&automatic).to_owned();
        if let Some(version) = self.version(&id) {
            return if *version.bytes == *bytes { Ok(()) } else { Err(&[libc::EEXIST]) };
        }
        // No two versions have one moment.
        let newest = self.versions.iter().map(|version| version.created + 1).max();
        let now = self.time(now).max(newest.unwrap_or(0));
        if self.is_draft() {
            self.created = now;
        }
        let number = id.strip_prefix('v').filter(|digits| !digits.starts_with('0')).and_then(|n| n.parse::<u64>().ok());
        self.highest_auto = self.highest_auto.max(number.unwrap_or(0));
        self.versions.push(Version { id: id.clone(), serial, bytes: Bytes::from(bytes), created: now });
        self.updated = now;
        self.set_stage(label, &id, now)?;
        while self.versions.len() > 10 {
            let oldest = self.versions.iter().position(|v| v.id != id && self.labels_of(&v.id).is_empty());
            self.versions.remove(oldest.expect("at most eight of eleven have a label"));
        }
        Ok(())
    }

    fn set_stage(&mut self, label: &str, id: &str, now: u64) -> Outcome<()> {
        let custom = self.stages.keys().filter(|label| *label != CURRENT && *label != PREVIOUS).count();
        let built_in = label == CURRENT || label == PREVIOUS;
        if !built_in && !self.stages.contains_key(label) && custom >= 6 {
            return Err(&[libc::EDQUOT]);
        }
        if label == CURRENT {
            self.rotated = now;
            if let Some(left) = self.stages.get(CURRENT).filter(|left| *left != id).cloned() {
                self.stages.insert(PREVIOUS.to_owned(), left);
            }
        }
        self.stages.insert(label.to_owned(), id.to_owned());
        self.updated = now;
        Ok(())
    }

    /// UpdateSecretVersionStage: adds or moves a label.
    pub fn move_stage(&mut self, label: &str, id: &str, now: u64) -> Outcome<()> {
        if self.version(id).is_none() {
            return Err(&[libc::ENOENT]);
        }
        if self.stages.get(label).is_some_and(|on| on == id) {
            return Ok(());
        }
        self.set_stage(label, id, self.time(now))
    }

    pub fn remove_stage(&mut self, label: &str, now: u64) -> Outcome<()> {
        if label == CURRENT || label == PREVIOUS {
            return Err(&[libc::EPERM]);
        }
        self.stages.remove(label).ok_or(&[libc::ENOENT][..])?;
        self.updated = self.time(now);
        Ok(())
    }

    /// The end of a version that has no label: its serial number.
    pub fn destroy(&mut self, id: &str, now: u64) -> Outcome<u64> {
        let at = self.versions.iter().position(|version| version.id == id).ok_or(&[libc::ENOENT][..])?;
        if !self.labels_of(id).is_empty() {
            return Err(&[libc::EPERM]);
        }
        self.updated = self.time(now);
        Ok(self.versions.remove(at).serial)
    }

    pub fn rename_stage(&mut self, from: &str, to: &str, now: u64) -> Outcome<()> {
        let mut after = self.clone();
        let id = after.stages.get(from).cloned().ok_or(&[libc::ENOENT][..])?;
        after.remove_stage(from, now)?;
        after.move_stage(to, &id, now)?;
        *self = after;
        Ok(())
    }

    pub fn set_tags(&mut self, tags: BTreeMap<String, String>, now: u64) {
        if self.tags != tags {
            self.tags = tags;
            self.updated = self.time(now);
        }
    }

    pub fn render_tags(&self) -> Vec<u8> {
        let line = |(key, value): (&String, &String)| {
            format!("{key}{}{value}\n", if key.contains('=') { ' ' } else { '=' }).into_bytes()
        };
        self.tags.iter().flat_map(line).collect()
    }
}

/// A name of 1 to `max` bytes of the shared alphabet.
pub fn grammar(name: &[u8], max: usize) -> Result<String, Errnos> {
    let bad = name.is_empty()
        || name[0] == b'.'
        || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_+=.@-".contains(byte));
    match (bad, name.len() > max) {
        (true, true) => Err(&[libc::EINVAL, libc::ENAMETOOLONG]),
        (true, false) => Err(&[libc::EINVAL]),
        (false, true) => Err(&[libc::ENAMETOOLONG]),
        (false, false) => Ok(String::from_utf8(name.to_vec()).expect("the alphabet is ASCII")),
    }
}

/// One component of a secret's name.
pub fn component(name: &[u8]) -> Result<String, Errnos> {
    let name = grammar(name, 192)?;
    if RESERVED.contains(&name.as_str()) { Err(&[libc::EINVAL]) } else { Ok(name) }
}

/// A file of tags. Where several lines are bad, which of them is named is nobody's concern.
pub fn parse_tags(bytes: &[u8]) -> Result<BTreeMap<String, String>, Errnos> {
    let (mut tags, mut bad) = (BTreeMap::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match parse_tag(line) {
            Ok((key, value)) => {
                if tags.insert(key, value).is_some() {
                    bad.push(&[libc::EEXIST][..]);
                }
            }
            Err(errnos) => bad.push(errnos),
        }
    }
    match bad.first() {
        Some(first) if bad.iter().all(|errnos| errnos == first) => Err(first),
        Some(_) => Err(SILENT),
        None if tags.len() > 20 => Err(&[libc::EDQUOT]),
        None => Ok(tags),
    }
}

fn parse_tag(line: &[u8]) -> Result<(String, String), Errnos> {
    let line = std::str::from_utf8(line).map_err(|_| &[libc::EINVAL][..])?.trim_start_matches([' ', '\t']);
    let (key, value) = match line.split_once([' ', '\t']) {
        Some((key, value)) => (key, value.trim()),
        None => line.split_once('=').ok_or(&[libc::EINVAL][..])?,
    };
    let part = |text: &str, least: usize| {
        (least..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/\\_-.+=:@".contains(&byte))
    };
    if !part(key, 1) || !part(value, 0) {
        return Err(&[libc::EINVAL]);
    }
    let lower = key.to_lowercase();
    let reserved = lower.starts_with("aliyun") || lower.starts_with("acs:");
    if reserved { Err(&[libc::EPERM]) } else { Ok((key.to_owned(), value.to_owned())) }
}

pub fn parse_description(bytes: &[u8]) -> Result<String, Errnos> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.len() > 8_192 {
        return Err(&[libc::EFBIG]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SILENT)?;
    let bad = text.chars().any(|char| char.is_control() && char != '\n' && char != '\t');
    if bad { Err(SILENT) } else { Ok(text.to_owned()) }
}

/// A word that is written to a key's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Enabled,
    Disabled,
    Pending,
}

pub fn parse_word(bytes: &[u8]) -> Result<Word, Errnos> {
    match bytes.trim_ascii() {
        b"Enabled" => Ok(Word::Enabled),
        b"Disabled" => Ok(Word::Disabled),
        b"PendingDeletion" => Ok(Word::Pending),
        _ => Err(&[libc::EINVAL]),
    }
}

impl Key {
    pub fn state(&self) -> &'static str {
        match (self.pending.is_some(), self.enabled) {
            (true, _) => "PendingDeletion\n",
            (false, true) => "Enabled\n",
            (false, false) => "Disabled\n",
        }
    }

    /// Takes `word`; `kept` where the key is used, or an instance's default one. A deletion that is scheduled now ends it at `due`.
    pub fn take(&mut self, word: Word, kept: bool, due: Moment, now: u64) -> Outcome<()> {
        let (enabled, pending) = match (word, self.pending) {
            (Word::Enabled, _) => (true, None),
            (Word::Disabled | Word::Pending, Some(_)) => return Err(&[libc::EBUSY]),
            (Word::Disabled, None) => (false, None),
            (Word::Pending, None) if kept => return Err(&[libc::EBUSY]),
            (Word::Pending, None) => (self.enabled, Some(due)),
        };
        if (enabled, pending) != (self.enabled, self.pending) {
            (self.enabled, self.pending, self.changed) = (enabled, pending, now);
        }
        Ok(())
    }
}

pub fn parse_days(bytes: &[u8]) -> Result<u64, Errnos> {
    let text = std::str::from_utf8(bytes.trim_ascii()).unwrap_or("");
    text.parse().ok().filter(|days| (7..=30).contains(days)).ok_or(&[libc::EINVAL])
}
