//! What an earlier worker of the mount left: open files, drafts, files in memory, refusals. After this they are as if they had been
//! opened here.

use std::sync::Arc;

use super::Tree;
use crate::estate::{Estate, Key, Left, OpenFile, Sort};
use crate::fs::Life;
use crate::fs::draft::{Base, Draft, DraftFile, Poison, Target};
use crate::fs::errno::Fault;
use crate::fs::follow::Follower;
use crate::fs::inode::Ino;
use crate::fs::opens::{Held, Opens};
use crate::fs::paged::Paged;
use crate::fs::scratch::Scratches;
use crate::fs::talk::Conversation;
use crate::id::VersionNo;

impl Tree {
    /// The same tree, served by a process that others have served before, which `left` that. What is to be left to the next one
    /// goes to `estate`. Whoever listens to the vault's rotations must do so by now.
    pub fn in_life(mut self, life: Life, estate: Arc<Estate>, left: &Left) -> Self {
        self.estate = estate;
        let mut scratches = Scratches::numbered_after(life.workers_before);
        for (key, entry) in &left.entries {
            match *key {
                Key::Scratch(slot) => scratches.inherit(slot, entry.as_bytes()),
                Key::Refusal(uid) => self.shared.refusals.inherit(uid, entry.as_bytes()),
                Key::LastSlot => scratches.begin_after(entry.as_bytes()),
                Key::Draft(_)
                | Key::Text(_)
                | Key::Version(..)
                | Key::Rotations
                | Key::LetGo(_)
                | Key::Carried
                | Key::Request(_)
                | Key::Answer(_)
                | Key::Heard(_)
                | Key::Events(_)
                | Key::Paged(_) => {}
            }
        }
        let paged =
            left.entries.keys().filter_map(|key| if let Key::Paged(ino) = key { Ino::parse(*ino) } else { None });
        let shared = Arc::get_mut(&mut self.shared).expect("no other mount's tree was made of this one yet");
        shared.life = life;
        shared.opens = Opens::numbered_after(life.workers_before, self.estate.clone());
        shared.paged = Paged::left(self.estate.clone(), paged);
        // One that is an entry's copy has the name to which the kernel has moved the entry: it may not have been told.
        shared.stale.get_mut().names = scratches.names();
        *shared.scratches.get_mut() = scratches;
        // In the order of opening: the kernel numbers requests in theirs.
        let mut opens: Vec<_> = left.opens.iter().collect();
        opens.sort_by_key(|(_, file)| u64::from_le_bytes(*file.op.0.last_chunk().expect("an id has 16 bytes")));
        for (row, file) in opens {
            match self.held(file, left) {
                Some((ino, held)) => self.shared.opens.add_again(*row, file, ino, held),
                None => {
                    match file.sort {
                        Sort::Snapshot => log::warn!("a backup that was being read has ended with its worker"),
                        Sort::Version | Sort::Text | Sort::Draft | Sort::Scratch | Sort::Talk | Sort::Events => {
                            log::warn!("a file that is open (serial {:x}) is not known any more", file.serial);
                        }
                    }
                    self.estate.remove_open(*row);
                }
            }
        }
        for key in left.entries.keys() {
            // One that was closed, or about to be opened, when its worker ended.
            if let Key::Draft(serial)
            | Key::Text(serial)
            | Key::LetGo(serial)
            | Key::Request(serial)
            | Key::Answer(serial)
            | Key::Heard(serial)
            | Key::Events(serial) = key
                && self.shared.opens.get(*serial).is_none()
            {
                self.estate.change(None, &[(*key, None)]);
            }
        }
        self.vault.inherit(self.estate.clone(), left);
        self
    }

    fn held(&self, file: &OpenFile, left: &Left) -> Option<(Ino, Held)> {
        let ino = Ino::parse(file.ino)?;
        let entry = |key: Key| left.entries.get(&key).map(|value| value.as_bytes());
        let held = match file.sort {
            Sort::Version => {
                let no = VersionNo(file.version);
                self.vault.pin(ino.node, no);
                Held::Version(no)
            }
            Sort::Text => Held::Text(Arc::new(entry(Key::Text(file.serial))?.to_vec())),
            Sort::Draft => {
                let mut draft = Draft::left(file.serial, entry(Key::Draft(file.serial))?)?;
                if entry(Key::LetGo(file.serial)).is_some() {
                    draft.spoil(Poison::Killed);
                }
                let draft = self.go_on(draft).inspect_err(|fault| log::error!("a draft is lost: {fault}")).ok()?;
                Held::Draft(Arc::new(DraftFile::new(draft)))
            }
            Sort::Scratch => Held::Scratch,
            // Its copy had no name by which it could be found again; its reader is told EIO.
            Sort::Snapshot => return None,
            Sort::Talk => Held::Talk(Conversation::left(file.serial, left, &self.shared.conversations)?),
            Sort::Events => {
                let entry = entry(Key::Events(file.serial))?;
                let follower = Follower::left(file.serial, entry, self.vault.now(), &self.shared.followers)?;
                follower.leave(&self.estate);
                Held::Events(Arc::new(follower))
            }
        };
        Some((ino, held))
    }

    /// A draft that goes on here. What was being stored when its worker ended was stored, or is still to be.
    fn go_on(&self, mut draft: Draft) -> Result<Draft, Fault> {
        if let Target::Version { secret, id, no, exists: false } = &draft.target {
            self.vault.promise_again(*secret, id, *no)?;
        }
        if let Some(op) = draft.storing.take() {
            if self.vault.has_carried_out(op)? {
                self.is_stored(&mut draft)?;
            }
            // The store remembers its last requests only.
            self.leave(None, &draft);
        }
        if draft.dirty
            && draft.poison.is_none()
            && super::write::takes_room(draft.ino.kind)
            && let Err(fault) = self.make_room(&mut draft)
        {
            // Its close will tell whether there is room then.
            log::warn!("no room is held for a draft of an earlier worker: {fault}");
        }
        Ok(draft)
    }

    /// Takes note that all of `draft` is stored.
    pub(super) fn is_stored(&self, draft: &mut Draft) -> Result<(), Fault> {
        (draft.dirty, draft.emptied) = (false, false);
        if let Target::Version { secret, no, exists, .. } = &mut draft.target
            && !*exists
        {
            self.vault.release_version(*secret, *no);
            *exists = true;
        }
        if let Target::Member { exists, .. } = &mut draft.target {
            *exists = true;
        }
        if let Base::Behind(_) = draft.base {
            // What was appended is in the content now; what comes next goes behind that.
            draft.base = Base::Behind(self.present_len(draft)?);
            draft.bytes.resize(0);
        }
        Ok(())
    }

    fn present_len(&self, draft: &Draft) -> Result<usize, Fault> {
        match &draft.target {
            Target::Current { secret } | Target::Version { secret, .. } => self.current_len(*secret),
            Target::Member { secret, name, .. } => self.member_len(*secret, name),
            Target::Text => Ok(self.text(draft.who, draft.ino)?.len()),
        }
    }
}

#[cfg(test)]
#[path = "inherit_tests.rs"]
mod tests;
