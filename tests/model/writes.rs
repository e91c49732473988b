//! Writing, and what a close stores.

use libc::{EALREADY, EBADF, EEXIST, EFBIG, EIDRM, EINVAL, EKEYREVOKED, ENOENT, EPERM};

use crate::members::{Edit, member};
use crate::plan::{parse_plan, parse_plan_lines};
use crate::reference::{Base, Draft, Flags, Held, Model, Outcome, SILENT, Secret, Spot, Target, Text};
use crate::rules::{VALUE_MAX, grammar, parse_days, parse_description, parse_tags, parse_word};
use crate::time::DAY;

impl Model {
    fn draft(&self, at: usize) -> Outcome<Draft> {
        match &self.handles[at] {
            Some(Held::Draft(draft)) => draft.poison.map_or(Ok(draft.clone()), Err),
            _ => Err(&[EBADF]),
        }
    }

    fn put_draft(&mut self, at: usize, draft: Draft) {
        self.handles[at] = Some(Held::Draft(draft));
    }

    pub fn write(&mut self, at: usize, offset: u64, data: &[u8]) -> Outcome<()> {
        if let Some(Held::Scratch(serial)) = self.handles[at] {
            return self.write_scratch(serial, offset, data);
        }
        let mut draft = self.draft(at)?;
        let outcome = self.take(&mut draft, offset, data);
        draft.poison = outcome.err();
        self.put_draft(at, draft);
        outcome
    }

    fn write_scratch(&mut self, serial: u64, offset: u64, data: &[u8]) -> Outcome<()> {
        let file = self.scratches.get_mut(&serial).ok_or(&[ENOENT][..])?;
        let end = offset.saturating_add(data.len() as u64);
        if end > 256 * 1024 {
            return Err(SILENT);
        }
        put_at(file.bytes_mut()?, offset as usize, data);
        Ok(())
    }

    fn take(&mut self, draft: &mut Draft, offset: u64, data: &[u8]) -> Outcome<()> {
        if let Target::Current(serial)
        | Target::Version(serial, _)
        | Target::Member(serial, _)
        | Target::Text(serial, _) = &draft.target
        {
            match self.secret(*serial) {
                Some((_, scheduled, ..)) if scheduled => return Err(&[EIDRM]),
                Some(_) => {}
                None => return Err(&[ENOENT]),
            }
        }
        self.is_open(draft)?;
        if draft.base == Base::Present {
            draft.bytes = self.present_of(draft)?;
            draft.base = Base::Whole;
        }
        let at = if draft.append || draft.base == Base::Behind { draft.bytes.len() as u64 } else { offset };
        let end = at.saturating_add(data.len() as u64);
        if let Target::Version(serial, id) = &draft.target {
            let (secret, scheduled, ..) = self.secret(*serial).ok_or(&[ENOENT][..])?;
            if let Some(version) = secret.version(id) {
                if scheduled {
                    return Err(&[EIDRM]);
                }
                let same = end <= version.bytes.len() as u64 && version.bytes[at as usize..end as usize] == *data;
                if !same {
                    return Err(&[EEXIST]);
                }
            }
        }
        let before = if draft.base == Base::Behind { draft.behind } else { 0 };
        if before.saturating_add(end) > draft.limit() as u64 {
            return Err(&[EFBIG]);
        }
        put_at(&mut draft.bytes, at as usize, data);
        (draft.dirty, draft.emptied) = (true, false);
        self.foresee(draft)?;
        self.foresee_member(draft, draft.base == Base::Behind)
    }

    /// What a text will be refused for, whatever comes behind it, is said at the write: its complete lines, a document that
    /// can never be JSON.
    fn foresee(&self, draft: &Draft) -> Outcome<()> {
        let bytes = &draft.bytes;
        let lines = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| &bytes[..=at]);
        match (&draft.target, lines) {
            (Target::Text(_, Text::Policy), _) => {
                let json = serde_json::from_slice::<serde_json::Value>(bytes);
                let default = bytes.trim_ascii() == self.default_policy().trim_ascii().as_bytes();
                if default || json.is_err_and(|error| error.is_eof()) { Ok(()) } else { Err(SILENT) }
            }
            (Target::Text(serial, kind), Some(lines)) => self.foresee_lines(*serial, *kind, lines, draft.base),
            (Target::Window(_), Some(lines)) => parse_days(lines).map(|_| ()),
            (Target::KeyState(at, key), Some(lines)) => {
                let (name, key) = self.key(at, *key).ok_or(&[ENOENT][..])?;
                let due = self.moment().plus(self.instances[at].days * DAY);
                key.clone().take(parse_word(lines)?, self.is_kept(at, name), due, self.now)
            }
            (Target::State(_), Some(lines)) if lines.trim_ascii() != b"purge" => Err(&[EINVAL]),
            _ => Ok(()),
        }
    }

    fn foresee_lines(&self, serial: u64, kind: Text, lines: &[u8], base: Base) -> Outcome<()> {
        let secret = self.secret(serial);
        let tags = secret.as_ref().map(|(secret, ..)| secret.tags.clone()).unwrap_or_default();
        let parsed = match kind {
            Text::Tags => parse_tags(lines).and_then(|new| {
                let mut all = if base == Base::Behind { tags } else { Default::default() };
                all.extend(new);
                if all.len() > 20 { Err(&[libc::EDQUOT][..]) } else { Ok(()) }
            }),
            Text::Description => parse_description(lines).map(|_| ()),
            Text::Cmk => self.chosen(serial, lines).map(|_| ()),
            Text::Rotation => parse_plan_lines(lines).and_then(|(function, _)| match (&secret, function) {
                (Some((secret, false, ..)), Some(function)) => secret.may_have_function(Some(&function)),
                // A line behind may still name the one that runs.
                _ => Ok(()),
            }),
            Text::Policy => Ok(()),
        };
        let state: Outcome<()> = match secret {
            None => Err(&[ENOENT]),
            Some((_, true, ..)) if kind != Text::Tags => Err(&[EIDRM]),
            Some(_) => Ok(()),
        };
        // Which of two reasons is said first is nobody's concern.
        match (parsed, state) {
            (Ok(()), state) => state,
            (Err(errnos), Ok(())) => Err(errnos),
            (Err(_), Err(_)) => Err(SILENT),
        }
    }

    /// ftruncate(2).
    pub fn truncate(&mut self, at: usize, len: u64) -> Outcome<()> {
        if let Some(Held::Scratch(serial)) = self.handles[at] {
            let file = self.scratches.get_mut(&serial).ok_or(&[ENOENT][..])?;
            if len > 256 * 1024 {
                return Err(SILENT);
            }
            file.bytes_mut()?.resize(len as usize, 0);
            return Ok(());
        }
        let mut draft = self.draft(at)?;
        if len > draft.limit() as u64 {
            return Err(&[EFBIG]);
        }
        if len > 0 && draft.base != Base::Whole {
            let mut content = self.present_of(&draft)?;
            content.extend_from_slice(&draft.bytes);
            draft.bytes = content;
        }
        draft.base = Base::Whole;
        draft.bytes.resize(len as usize, 0);
        (draft.dirty, draft.emptied) = (len > 0, len == 0);
        self.put_draft(at, draft);
        Ok(())
    }

    /// One close, of a process that nothing is known of: what was written is stored.
    pub fn flush(&mut self, at: usize) -> Outcome<()> {
        if !matches!(self.handles[at], Some(Held::Draft(_))) {
            return Ok(());
        }
        let draft = self.draft(at)?;
        if draft.dirty || draft.emptied { self.settle(at, draft) } else { Ok(()) }
    }

    pub fn sync(&mut self, at: usize) -> Outcome<()> {
        if !matches!(self.handles[at], Some(Held::Draft(_))) {
            return Ok(());
        }
        let draft = self.draft(at)?;
        if draft.dirty { self.settle(at, draft) } else { Ok(()) }
    }

    /// The last close; its error reaches nobody.
    pub fn release(&mut self, at: usize) {
        if let Ok(draft) = self.draft(at) {
            let value = matches!(draft.target, Target::Current(_) | Target::Version(..) | Target::Member(..));
            if draft.dirty || draft.emptied && !value {
                let _ = self.settle(at, draft);
            }
        }
        self.handles[at] = None;
    }

    fn settle(&mut self, at: usize, mut draft: Draft) -> Outcome<()> {
        let outcome = self.store(&mut draft);
        match outcome {
            Ok(()) => (draft.dirty, draft.emptied) = (false, false),
            Err(errnos) if draft.dirty => draft.poison = Some(errnos),
            // A file that was only cut may still be written.
            Err(_) => {}
        }
        self.put_draft(at, draft);
        outcome
    }

    fn store(&mut self, draft: &mut Draft) -> Outcome<()> {
        let (now, version) = (self.now, self.serial());
        let adds = draft.base == Base::Behind;
        match &draft.target {
            Target::Current(serial) => {
                let secret = self.live(*serial)?;
                let mut bytes = Vec::new();
                if adds {
                    bytes.extend_from_slice(secret.current().map_or(&[][..], |version| &version.bytes));
                }
                bytes.extend_from_slice(&draft.bytes);
                self.may_put(*serial, |secret| secret.put(None, &bytes, version, now))?;
                self.live(*serial)?.put(None, &bytes, version, now)?;
                draft.behind = bytes.len() as u64;
            }
            Target::Version(serial, id) => {
                self.live(*serial)?;
                self.may_put(*serial, |secret| secret.put(Some(id), &draft.bytes, version, now))?;
                self.live(*serial)?.put(Some(id), &draft.bytes, version, now)?;
            }
            Target::Member(serial, name) => {
                let edit = if adds { Edit::Append(&draft.bytes) } else { Edit::Set(&draft.bytes) };
                self.put_member(*serial, name, &edit)?;
                let current = self.live(*serial)?.current().ok_or(SILENT)?;
                draft.behind = member(&current.bytes, name).map_or(0, |member| member.len() as u64);
            }
            Target::Text(serial, kind) => {
                self.store_text(*serial, *kind, &draft.bytes, adds)?;
                draft.behind = self.text(*serial, *kind)?.len() as u64;
            }
            Target::Window(at) => {
                let days = parse_days(&draft.bytes)?;
                let instance = self.instances.get_mut(at).ok_or(SILENT)?;
                (instance.days, instance.changed) = (days, now);
            }
            Target::KeyState(at, key) => {
                let word = parse_word(&draft.bytes)?;
                let name = self.key(at, *key).ok_or(&[ENOENT][..])?.0.clone();
                let (kept, due) = (self.is_kept(at, &name), self.moment().plus(self.instances[at].days * DAY));
                let instance = self.instances.get_mut(at).ok_or(SILENT)?;
                instance.keys.get_mut(&name).ok_or(SILENT)?.take(word, kept, due, now)?;
            }
            Target::State(serial) => {
                if draft.bytes.trim_ascii() != b"purge" {
                    return Err(&[EINVAL]);
                }
                self.purge(*serial)?;
            }
        }
        if adds {
            draft.bytes.clear();
        }
        Ok(())
    }

    pub fn store_text(&mut self, serial: u64, kind: Text, bytes: &[u8], adds: bool) -> Outcome<()> {
        let state = self.secret(serial).map(|(_, scheduled, ..)| scheduled);
        let (now, moment) = (self.now, self.moment());
        let parsed = match kind {
            Text::Tags => parse_tags(bytes).map(Some),
            Text::Description => parse_description(bytes).map(|_| None),
            Text::Policy if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
            Text::Policy if bytes.trim_ascii() == self.default_policy().trim_ascii().as_bytes() => Ok(None),
            Text::Policy => Err(SILENT),
            Text::Cmk => self.chosen(serial, bytes).map(|_| None),
            Text::Rotation => parse_plan(bytes).map(|_| None),
        };
        // Which of two reasons is said first is nobody's concern.
        match state {
            Some(false) => {}
            Some(true) => return Err(if parsed.is_ok() { &[EIDRM] } else { SILENT }),
            None => return Err(if parsed.is_ok() { &[ENOENT] } else { SILENT }),
        }
        let tags = parsed?;
        let secret = self.live(serial)?;
        match kind {
            Text::Tags => {
                let mut all = if adds { secret.tags.clone() } else { Default::default() };
                all.extend(tags.unwrap_or_default());
                if all.len() > 20 {
                    return Err(&[libc::EDQUOT]);
                }
                secret.set_tags(all, now);
            }
            Text::Description => {
                let text = parse_description(bytes)?;
                if secret.description != text {
                    (secret.description, secret.updated) = (text, secret.time(now));
                }
            }
            Text::Cmk => {
                let key = grammar(bytes.trim_ascii(), 64)?;
                if secret.key != key {
                    (secret.key, secret.updated) = (key, secret.time(now));
                }
            }
            Text::Rotation => secret.set_plan(parse_plan(bytes)?, moment)?,
            Text::Policy => {}
        }
        Ok(())
    }

    /// The key that is chosen for a secret: one of its instance, and another than it has only for a draft.
    fn chosen(&self, serial: u64, bytes: &[u8]) -> Outcome<String> {
        let name = grammar(bytes.trim_ascii(), 64)?;
        match self.secret(serial) {
            // Of a secret that is gone, or scheduled, whatever is said.
            None | Some((_, true, ..)) => Err(SILENT),
            Some((_, _, at, _)) if !self.instances[&at].keys.contains_key(&name) => Err(&[libc::ENOKEY]),
            Some((secret, ..)) if secret.key != name && !secret.is_draft() => Err(&[EPERM]),
            Some((secret, _, at, _)) if secret.key != name && self.instances[&at].keys[&name].pending.is_some() => {
                Err(&[EKEYREVOKED])
            }
            Some(_) => Ok(name),
        }
    }

    /// EKEYREVOKED for the draft of a value whose key is disabled.
    pub fn is_open(&self, draft: &Draft) -> Outcome<()> {
        match &draft.target {
            Target::Current(serial) | Target::Version(serial, _) | Target::Member(serial, _)
                if !self.is_usable(*serial) =>
            {
                Err(&[EKEYREVOKED])
            }
            _ => Ok(()),
        }
    }

    /// Under a key that is disabled a put is refused, for that or for what it would be refused for anyway.
    pub fn may_put(&self, serial: u64, put: impl FnOnce(&mut Secret) -> Outcome<()>) -> Outcome<()> {
        let Some((secret, ..)) = self.secret(serial).filter(|_| !self.is_usable(serial)) else { return Ok(()) };
        Err(put(&mut secret.clone()).map_or(SILENT, |()| &[EKEYREVOKED]))
    }

    /// Whether a key cannot be deleted: an instance's default one, and those that are used.
    fn is_kept(&self, at: &str, key: &str) -> bool {
        let instance = &self.instances[at];
        let live = instance.dirs.values().filter_map(|dir| dir.secret.as_ref());
        let trashed = instance.trash.values().map(|trashed| &trashed.secret);
        key == "default" || live.chain(trashed).any(|secret| secret.key == *key)
    }

    /// ForceDelete. The directory that outlives its secret is a draft again.
    pub fn purge(&mut self, serial: u64) -> Outcome<()> {
        let (_, scheduled, at, name) = self.secret(serial).ok_or(&[ENOENT][..])?;
        if !scheduled {
            return Err(&[EALREADY]);
        }
        let (now, draft) = (self.now, self.serial());
        let instance = self.instances.get_mut(&at).ok_or(SILENT)?;
        instance.trash.remove(&name);
        if let Some(dir) = instance.dirs.get_mut(&name) {
            dir.secret = Some(Secret::draft(draft, "default", now));
        }
        let of_secret = |spot: &Spot| !matches!(spot, Spot::Dir(..)) && spot.is_of(&at, &name);
        self.scratches.retain(|_, file| !of_secret(&file.spot));
        Ok(())
    }
}

impl Draft {
    /// A draft that has seen no write.
    pub fn new(target: Target, flags: Flags) -> Self {
        Self {
            target,
            bytes: Vec::new(),
            base: Base::Whole,
            behind: 0,
            append: flags.appends,
            dirty: false,
            emptied: false,
            opened: None,
            poison: None,
        }
    }

    fn limit(&self) -> usize {
        match self.target {
            Target::Current(_) | Target::Version(..) | Target::Member(..) => VALUE_MAX,
            Target::Text(_, Text::Policy) => 32_768,
            Target::Text(_, Text::Description) => 8_193,
            _ => 64 * 1024,
        }
    }
}

fn put_at(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if end > bytes.len() {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}
