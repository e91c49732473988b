//! Opening: all that can be refused is refused here. A reader pins a version and holds no plaintext; a writer gets a draft.

use std::sync::Arc;

use super::{Entry, Place, Tree, Who, record};
use crate::fs::draft::{Base, Draft, DraftFile, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::opens::Held;
use crate::fs::scratch::{self, Content};
use crate::fs::tree;
use crate::id::{NodeId, VersionNo};
use crate::secret::{Action, Component, RESERVED, Refusal, Right, VersionId};
use crate::value::Value;
use crate::vault::{Loaded, Needs};

/// How a file is opened to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// It can be read through the same handle: O_RDWR.
    pub reads: bool,
    /// What is there is given up: O_TRUNC.
    pub truncates: bool,
    /// Each write goes behind what is there, whatever its offset: O_APPEND.
    pub appends: bool,
    /// It must not exist: O_EXCL.
    pub exclusive: bool,
}

impl How {
    /// From the flags of open(2).
    pub fn from_flags(flags: i32) -> Self {
        Self {
            reads: flags & libc::O_ACCMODE == libc::O_RDWR,
            truncates: flags & libc::O_TRUNC != 0,
            appends: flags & libc::O_APPEND != 0,
            exclusive: flags & libc::O_EXCL != 0,
        }
    }
}

impl Tree {
    /// Opens `ino` to be read only.
    pub fn open_to_read(&self, who: Who, ino: Ino) -> Result<Handle, Fault> {
        if let Some((_, handle)) = self.shared.opens.opened_by(who.op) {
            return Ok(handle);
        }
        match ino.kind {
            kind if kind.is_value() => self.pin(who, ino),
            Kind::Scratch => self.open_scratch(who, ino),
            Kind::Api => self.open_talk(who, ino, libc::O_RDONLY),
            Kind::Events => self.open_events(who, ino),
            Kind::Backup => self.open_snapshot(who, ino),
            _ => {
                let who = match self.row(ino.kind)?.read {
                    Some(action) => self.permit_text(who, ino, action, false)?,
                    None => who,
                };
                let text = self.text(who, ino)?;
                self.tell_of_text(who, ino)?;
                Ok(self.shared.opens.add_text(ino, who.opener(), text))
            }
        }
    }

    /// Opens `ino`, which exists, to be written.
    pub fn open_to_write(&self, who: Who, ino: Ino, how: How) -> Result<Handle, Fault> {
        if self.is_poker(who) {
            return Ok(Handle::Poke);
        }
        self.may_change()?;
        if let Some((_, handle)) = self.shared.opens.opened_by(who.op) {
            return Ok(handle);
        }
        match ino.kind {
            Kind::Scratch => {
                if how.truncates {
                    self.change_scratches(Some(who.op)).resize(ino.ordinal, 0)?;
                }
                self.open_scratch(who, ino)
            }
            Kind::Current => {
                let loaded = self.loaded(ino.node)?;
                let secret = record(&loaded)?;
                let who = self.permit_value(who, Action::PutSecretValue, &loaded, Needs::Value(Right::Write))?;
                self.may_read_too(who, how, &loaded)?;
                secret.not_scheduled()?;
                self.vault.key_is_usable(secret)?;
                let present = secret.current().map_or(0, |version| version.len as usize);
                let emptied = how.truncates || secret.is_draft();
                Ok(self.draft(who, ino, Target::Current { secret: ino.node }, base(how, present, true), how, emptied))
            }
            Kind::Version => self.open_version_to_write(who, ino, how),
            Kind::Field => self.open_member_to_write(who, ino, how),
            _ => {
                let row = self.row(ino.kind)?;
                let who = self.permit_write_of_text(who, ino, how.appends)?;
                if let (true, Some(action)) = (how.reads, row.read) {
                    self.permit_text(who, ino, action, false)?;
                }
                if row.within == Kind::Directory && row.shape == tree::Shape::File {
                    // Told now, as bash's builtins don't report an error of close.
                    record(&*self.loaded(ino.node)?)?.not_scheduled()?;
                }
                let present = self.text(who, ino)?.len();
                let base = base(how, present, ino.kind == Kind::Tags);
                Ok(self.draft(who, ino, Target::Text, base, how, how.truncates))
            }
        }
    }

    /// Makes and opens the file `name` in `parent`.
    pub fn create(&self, who: Who, parent: Ino, name: &[u8], how: How) -> Result<(Entry, Handle), Fault> {
        self.may_change()?;
        if let Some((ino, handle)) = self.shared.opens.opened_by(who.op) {
            return self.made(who, ino, handle);
        }
        if let Some(there) = self.resolve(parent, name)? {
            if there.kind == Kind::Scratch && self.estate.has_carried_out(who.op) {
                let handle = self.open_scratch(who, there)?;
                return self.made(who, there, handle);
            }
            if matches!(there.kind, Kind::Current | Kind::Version) && self.vault.has_carried_out(who.op)? {
                // This very request, sent again, has brought the secret back already.
                let handle = self.open_to_write(who, there, How { truncates: true, ..how })?;
                return self.made(who, there, handle);
            }
            // Somebody was quicker than the caller's kernel knew. It checks no permission bits of what it believes it makes, so
            // what is there is not opened here: ESTALE has it look again, and open what it finds.
            return Err(if how.exclusive { Refusal::NameTaken.into() } else { Fault::Stale });
        }
        let (ino, handle) = match parent.kind {
            Kind::Directory => self.create_in_secret(who, parent, name, how)?,
            Kind::Versions if name.starts_with(b".") || is_sed_file(name, how) => {
                self.create_scratch(who, parent, name)?
            }
            Kind::Versions => self.create_version(who, parent.node, name, how)?,
            Kind::Fields if name.starts_with(b".") || is_temporary(how) => self.create_scratch(who, parent, name)?,
            Kind::Fields => self.create_member(who, parent, name, how)?,
            Kind::Stages if name.starts_with(b".") => self.create_scratch(who, parent, name)?,
            Kind::Stages => return Err(Refusal::BadLink.into()),
            Kind::Root | Kind::Instance => {
                return Err(Refusal::NotAnEntry(String::from_utf8_lossy(name).into_owned()).into());
            }
            _ => return Err(Refusal::FixedEntry.into()),
        };
        self.made(who, ino, handle)
    }

    /// The answer to who has made `ino`, and opened it as `handle`.
    fn made(&self, who: Who, ino: Ino, handle: Handle) -> Result<(Entry, Handle), Fault> {
        match self.entry(who, ino) {
            Ok(entry) => Ok((entry, handle)),
            Err(fault) => {
                // Nobody was told of the handle, so nobody closes it.
                self.release(who, handle);
                if ino.kind == Kind::Scratch {
                    self.change_scratches(Some(who.op)).remove(ino.ordinal);
                }
                Err(fault)
            }
        }
    }

    /// Whether `who` may open the file `ino` to read it.
    pub(super) fn may_open(&self, who: Who, ino: Ino) -> Result<(), Fault> {
        match self.row(ino.kind)?.read {
            Some(Action::GetSecretValue) => {
                let secret = self.loaded(ino.node)?;
                self.permit_value(who, Action::GetSecretValue, &secret, Needs::Value(Right::Read))?;
            }
            Some(action) => {
                self.permit_text(who, ino, action, false)?;
            }
            None => {}
        }
        Ok(())
    }

    fn pin(&self, who: Who, ino: Ino) -> Result<Handle, Fault> {
        let (rights, loaded) = (self.vault.rights(), self.loaded(ino.node)?);
        let who = self.permit_value(who, Action::GetSecretValue, &loaded, Needs::Value(Right::Read))?;
        let judged = self.judged(who, rights, &loaded)?;
        let no = loop {
            let no = self.readable(ino)?;
            self.vault.key_is_usable(record(&*self.loaded(ino.node)?)?)?;
            self.vault.pin(ino.node, no);
            // Ten rotations may have come between the look and the pin; what is still there now stays readable.
            let still = self.loaded(ino.node).map(|loaded| self.vault.version(&loaded, no).is_some());
            match still {
                Ok(true) => break no,
                Ok(false) => self.vault.unpin(ino.node, no),
                Err(fault) => {
                    self.vault.unpin(ino.node, no);
                    return Err(fault);
                }
            }
        };
        let handle = self.shared.opens.add(self.shared.opens.next_serial(), ino, who.opener(), Held::Version(no));
        judged.into_iter().for_each(|judged| self.shared.opens.judge(handle.serial(), judged));
        Ok(handle)
    }

    /// Refuses a writer that could read through its descriptor, O_RDWR, and may not.
    pub(super) fn may_read_too(&self, who: Who, how: How, secret: &Loaded) -> Result<(), Fault> {
        if how.reads {
            self.permit_value(who, Action::GetSecretValue, secret, Needs::Value(Right::Read))?;
        }
        Ok(())
    }

    /// The version that a reader of `ino` gets now.
    pub(super) fn readable(&self, ino: Ino) -> Result<VersionNo, Fault> {
        let loaded = self.loaded(ino.node)?;
        let secret = record(&loaded)?;
        secret.not_scheduled()?;
        let current = self.current_no(secret).and_then(|no| secret.version_no(no));
        if ino.kind == Kind::Dotenv && current.is_some_and(|version| version.fields.is_none()) {
            return Err(Refusal::NotKeyValue.into());
        }
        self.version_now(&loaded, ino)?.ok_or(Fault::NoEntry)
    }

    fn open_version_to_write(&self, who: Who, ino: Ino, how: How) -> Result<Handle, Fault> {
        let loaded = self.loaded(ino.node)?;
        let secret = record(&loaded)?;
        let who = self.permit_value(who, Action::PutSecretValue, &loaded, Needs::Value(Right::Write))?;
        self.may_read_too(who, how, &loaded)?;
        secret.not_scheduled()?;
        self.vault.key_is_usable(secret)?;
        let version = secret.version_no(ino.version_no()).ok_or(Fault::NoEntry)?;
        let target = Target::Version { secret: ino.node, id: version.id.clone(), no: version.no, exists: true };
        let base = base(how, version.len as usize, false);
        Ok(self.draft(who, ino, target, base, how, how.truncates))
    }

    /// `current` of a secret without one, or a scratch file.
    fn create_in_secret(&self, who: Who, parent: Ino, name: &[u8], how: How) -> Result<(Ino, Handle), Fault> {
        let place = self.place(parent)?;
        if tree::fixed(Kind::Directory, name).is_some_and(|row| row.kind == Kind::Current) {
            let secret = place.secret.id();
            let who = self.permit_new(who, &place.secret)?;
            // It comes back whether or not its key lets anybody write it: whoever unlinked it was about to.
            self.restore_scheduled(who, &place)?;
            self.vault.key_is_usable(record(&place.secret)?)?;
            let ino = Ino::new(secret, Kind::Current);
            let target = Target::Current { secret };
            return Ok((ino, self.draft(who, ino, target, Base::Whole, how, true)));
        }
        may_be_scratch(&place, name, how)?;
        self.create_scratch(who, parent, name)
    }

    fn create_version(&self, who: Who, secret: NodeId, name: &[u8], how: How) -> Result<(Ino, Handle), Fault> {
        let id = VersionId::parse(name)?;
        let loaded = self.loaded(secret)?;
        let who = self.permit_new(who, &loaded)?;
        let directory = self.vault.directory_of(&loaded)?.ok_or(Fault::NoEntry)?;
        self.restore_scheduled(who, &Place { directory, secret: loaded.clone() })?;
        self.vault.key_is_usable(record(&loaded)?)?;
        if let Some(version) = record(&*self.loaded(secret)?)?.version(&id) {
            // It came back with the secret.
            let ino = Ino::version(secret, version.no);
            return Ok((ino, self.open_version_to_write(who, ino, How { truncates: true, ..how })?));
        }
        let no = self.vault.promise_version(secret, &id)?;
        let ino = Ino::version(secret, no);
        let target = Target::Version { secret, id, no, exists: false };
        Ok((ino, self.draft(who, ino, target, Base::Whole, how, true)))
    }

    /// Lets `who` add a value to `secret`, which may be none yet, or scheduled for deletion: then it comes back.
    pub(super) fn permit_new(&self, who: Who, secret: &Loaded) -> Result<Who, Fault> {
        let needs = Needs::Directory(Right::Change);
        let record = record(secret)?;
        let action = if record.is_draft() { Action::CreateSecret } else { Action::PutSecretValue };
        if record.deletion.is_some() {
            self.permit(who, Action::RestoreSecret, secret, needs)?;
        }
        self.permit_value(who, action, secret, needs)
    }

    /// A secret whose `current` was just unlinked comes back when a value is written in its place: that is what `install`
    /// does, and `mv` from another file system.
    pub(super) fn restore_scheduled(&self, who: Who, place: &Place) -> Result<(), Fault> {
        if record(&place.secret)?.deletion.is_some() {
            self.vault.restore_in_place(who.caller(), place.secret.id())?;
        }
        Ok(())
    }

    fn create_scratch(&self, who: Who, parent: Ino, name: &[u8]) -> Result<(Ino, Handle), Fault> {
        self.permit_scratch(who, parent)?;
        let content = Content::File(Value::empty());
        let mut scratches = self.change_scratches(Some(who.op));
        let slot = scratches.add(parent, name, content, who.uid, (who.uid, who.gid), self.vault.now())?;
        drop(scratches);
        let ino = Ino::scratch(slot);
        Ok((ino, self.open_scratch(who, ino)?))
    }

    fn open_scratch(&self, who: Who, ino: Ino) -> Result<Handle, Fault> {
        if self.shared.scratches.lock().get(ino.ordinal).is_none() {
            return Err(Fault::NoEntry);
        }
        Ok(self.shared.opens.add(self.shared.opens.next_serial(), ino, who.opener(), Held::Scratch))
    }

    pub(super) fn draft(&self, who: Who, ino: Ino, target: Target, base: Base, how: How, emptied: bool) -> Handle {
        self.vault.look_at(who.caller());
        let (serial, opener) = (self.shared.opens.next_serial(), self.shared.opens.process_of(who.tid));
        let draft = Draft::new(serial, ino, target, who, opener, base, how.appends, emptied);
        self.leave(Some(who.op), &draft);
        let steady = self.stays(&draft);
        let handle = self.shared.opens.add(serial, ino, who.opener(), Held::Draft(Arc::new(DraftFile::new(draft))));
        if steady {
            self.note_opened(who, serial, how.reads);
        }
        handle
    }

    /// The version that an open handle of a value pins, given up.
    pub(super) fn let_go(&self, ino: Ino, no: VersionNo) {
        self.vault.unpin(ino.node, no);
    }
}

/// Where a draft begins on a file of `present` bytes; `adds` where the kind of file can take an addition by itself.
pub(super) fn base(how: How, present: usize, adds: bool) -> Base {
    if how.truncates {
        Base::Whole
    } else if how.appends && adds {
        Base::Behind(present)
    } else if present == 0 {
        Base::Whole
    } else {
        Base::Present(present)
    }
}

/// `sed -i` opens its file as mkostemp(3) does, which no shell's redirection and no cp does: so a version may be named
/// `sedation1`.
fn is_sed_file(name: &[u8], how: How) -> bool {
    scratch::is_sed_name(name) && is_temporary(how)
}

/// Whether a file is made as mkstemp(3) makes one: a tool renames it when it is complete. No shell's redirection, cp or install does.
fn is_temporary(how: How) -> bool {
    how.exclusive && how.reads
}

/// Whether `name` in a secret's directory may be a file in memory. In the directory of a draft that is only what tools make
/// on their way: `echo v > prod/db/password` without the `mkdir` is a mistake, and has to say so.
fn may_be_scratch(place: &Place, name: &[u8], how: How) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(name).into_owned();
    if RESERVED.contains(&text.as_str()) {
        return Err(Refusal::ReservedName(text).into());
    }
    let by_mkostemp = is_temporary(how);
    let marked = |rest: &str| rest.starts_with(['.', '~', '#']);
    let beside_an_entry = RESERVED.iter().any(|entry| text.strip_prefix(entry).is_some_and(marked));
    if record(&place.secret)?.is_draft() && Component::parse(name).is_ok() && !by_mkostemp && !beside_an_entry {
        return Err(Refusal::NotAnEntry(text).into());
    }
    Ok(())
}
