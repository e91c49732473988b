//! Reading what is open: a read of a value is decided on unless it was before and nothing has changed since, and told of before it is
//! answered.

use std::sync::Arc;

use super::{Tree, Who, record};
use crate::api::ANSWER_MAX;
use crate::fs::errno::Fault;
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::opens::Held;
use crate::id::VersionNo;
use crate::secret::{Action, Refusal, Right};
use crate::value::Value;
use crate::vault::{Loaded, Needs};

/// The bytes that a read is answered from.
pub enum Reading {
    /// Wiped when the read is answered.
    Value(Value),
    /// As it was when the file was opened.
    Text(Arc<Vec<u8>>),
    /// The next part of an answer, wherever the file is read.
    Said {
        /// The part.
        part: Value,
        /// Whose it is,
        handle: Handle,
        /// and where it begins.
        from: usize,
    },
}

impl Reading {
    /// The part that a read of `size` bytes at `offset` gets.
    pub fn slice(&self, offset: u64, size: usize) -> &[u8] {
        match self {
            Reading::Value(value) => value.slice(offset, size),
            Reading::Said { part, .. } => part.slice(0, size),
            Reading::Text(text) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                &text[from..from.saturating_add(size).min(text.len())]
            }
        }
    }
}

impl Tree {
    /// What `handle` of `ino` reads. `paged` where the kernel reads ahead for its page cache, not for a caller's read(2).
    pub fn read(&self, who: Who, ino: Ino, handle: Handle, paged: bool) -> Result<Reading, Fault> {
        match handle {
            Handle::Value { .. } if paged && matches!(ino.kind, Kind::Current | Kind::Dotenv) => Err(Fault::PageCache),
            // They would have to be taken back from the kernel by mount, of which there may be a thousand.
            Handle::Value { .. } if paged && self.view.is_some() => Err(Fault::PageCache),
            // Its pages are of all who have the file open, and these bytes are nobody's but its writer's.
            Handle::Draft { .. } if paged && ino.kind.is_value() => Err(Fault::PageCache),
            _ if paged => {
                self.note_paged(ino)?;
                self.may_page(who, ino)?;
                self.read(who, ino, handle, false)
            }
            Handle::Value { serial, no } => self.read_value(who, ino, serial, no),
            Handle::Text { serial } => match self.shared.opens.get(serial).map(|open| open.held) {
                Some(Held::Text(text)) => Ok(Reading::Text(text)),
                // What the former worker read is gone; as it is now it is still an answer.
                None if self.shared.opens.is_of_former(serial) => {
                    let read = self.row(ino.kind)?.read.ok_or(Fault::BadHandle)?;
                    let who = self.permit_text(who, ino, read, false)?;
                    Ok(Reading::Text(Arc::new(self.text(who, ino)?)))
                }
                Some(
                    Held::Version(_)
                    | Held::Draft(_)
                    | Held::Scratch
                    | Held::Talk(_)
                    | Held::Events(_)
                    | Held::Snapshot(_),
                )
                | None => Err(Fault::BadHandle),
            },
            Handle::Draft { serial } => self.read_draft(who, serial),
            Handle::Poke | Handle::Events { .. } | Handle::Snapshot { .. } => Err(Fault::BadHandle),
            Handle::Talk { .. } => self.say(who, handle, ANSWER_MAX, false),
            Handle::Scratch { .. } => self.read_scratch(who, ino),
        }
    }

    /// A file in memory. What comes from an entry is read as long as that may be.
    fn read_scratch(&self, who: Who, ino: Ino) -> Result<Reading, Fault> {
        let scratches = self.shared.scratches.lock();
        let origin = scratches.get(ino.ordinal).and_then(|file| file.origin);
        let copy = scratches.copy(ino.ordinal).map(Reading::Value).ok_or(Fault::NoEntry)?;
        drop(scratches);
        let Some(origin) = origin else { return Ok(copy) };
        let secret = self.loaded(origin.node)?;
        let action = self.row(origin.kind)?.read.ok_or(Refusal::FixedEntry)?;
        let needs = if action == Action::GetSecretValue {
            self.vault.key_is_usable(record(&secret)?)?;
            Needs::Value(Right::Read)
        } else {
            Needs::Directory(Right::Read)
        };
        self.permit_again(who, action, &secret, needs)?;
        Ok(copy)
    }

    /// The version that a reader's handle pins. Each of its readers is told of once.
    fn read_value(&self, who: Who, ino: Ino, serial: u64, no: VersionNo) -> Result<Reading, Fault> {
        let secret = self.loaded(ino.node)?;
        let who = self.may_go_on(who, serial, &secret)?;
        let told = self.shared.opens.told(serial);
        let member = self.member_name(&secret, ino);
        let (value, new) = self.vault.disclose(who.caller(), &secret, no, member.as_deref(), &told)?;
        self.shared.opens.tell(serial, new);
        Ok(Reading::Value(self.part(&secret, ino, value)?))
    }

    /// Decides on a read of what is open: anew where it is another who reads than was decided on, or something has changed since.
    fn may_go_on(&self, who: Who, serial: u64, secret: &Loaded) -> Result<Who, Fault> {
        let rights = self.vault.rights();
        if let Some(judged) = self.shared.opens.judged(serial, who.tid, (who.uid, who.gid), rights, false) {
            return Ok(Who { by: judged.by, ..who });
        }
        // Of a secret that is scheduled for deletion nothing is left to decide.
        record(secret)?.not_scheduled()?;
        let who = self.permit_again(who, Action::GetSecretValue, secret, Needs::Value(Right::Read))?;
        self.judged(who, rights, secret)?.into_iter().for_each(|judged| self.shared.opens.judge(serial, judged));
        Ok(who)
    }

    /// Tells of a read through a draft, which may hold what is stored and bytes behind it or in it.
    pub(super) fn tell_of_draft(&self, who: Who, serial: u64, ino: Ino) -> Result<(), Fault> {
        if !ino.kind.is_value() {
            return self.tell_of_text(who, ino);
        }
        let Some(loaded) = self.vault.node(ino.node)? else {
            // Its secret has gone, and a draft can outlive that; what it holds has no name any more.
            return Ok(self.vault.audit_granted_of(
                who.caller(),
                Action::GetSecretValue,
                &crate::vault::Target::default(),
            )?);
        };
        let no = match ino.kind {
            Kind::Version => record(&loaded)?.version_no(ino.version_no()).map(|version| version.no),
            // What is written to a member, too, goes into the current value.
            _ => record(&loaded)?.stages.current(),
        };
        let Some(no) = no else { return Ok(()) };
        let (member, told) = (self.member_name(&loaded, ino), self.shared.opens.told(serial));
        let new = self.vault.tell_disclosure(who.caller(), &loaded, no, member.as_deref(), &told)?;
        self.shared.opens.tell(serial, new);
        Ok(())
    }

    /// Tells that the caller gets to read a text, unless it is what the mount says of itself.
    pub(super) fn tell_of_text(&self, who: Who, ino: Ino) -> Result<(), Fault> {
        match self.row(ino.kind)?.read {
            None | Some(Action::ReadStatus) => Ok(()),
            Some(action) => match self.vault.node(ino.node)? {
                Some(loaded) => Ok(self.vault.audit_granted(who.caller(), action, &loaded)?),
                None => Ok(self.vault.audit_granted_of(who.caller(), action, &crate::vault::Target::default())?),
            },
        }
    }
}
