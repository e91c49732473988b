//! Closing: when what was written counts.
//!
//! A draft is stored by the close that leaves no writer: a FLUSH comes from every close(2), also from those of shells that
//! only move a descriptor, so it stores nothing while the opener, another process that has written, or a descendant of
//! theirs still has the file open for writing. What none of them stored, the last close (RELEASE) stores, which nobody
//! hears of. A child that has not written may be on its way to another program, and is waited for a little. A writer that a
//! signal killed says so in /proc at its last FLUSH: then nothing is stored.
//!
//! Where the writers have so much open that it takes a while to look through, somebody else looks, and the close is decided
//! when the look comes back. Invariant: a look decides that a draft is stored only if nothing has happened to the draft since.

use super::{Tree, Who};
use crate::fs::draft::{Draft, DraftFile, Poison, Target};
use crate::fs::errno::Fault;
use crate::fs::inode::Handle;
use crate::fs::look::{Look, Writers};
use crate::fs::opens::Held;
use crate::fs::process::{Process, is_being_killed};
use crate::fs::refusals::Gesture;

/// What came of a close.
#[derive(Debug)]
pub enum Close {
    /// Its outcome is known.
    Answered,
    /// Not yet: somebody has to look who still has the file, and hand what comes of it to [`Tree::decide`].
    Looks {
        /// What to look at.
        look: Look,
        /// What is to be waited for before.
        waits: Waits,
    },
}

/// What a look waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It can be taken at once.
    Nothing,
    /// A child that has the file and sleeps.
    Sleeping,
    /// One that runs.
    Running,
}

impl Tree {
    /// One close of `handle`.
    pub fn flush(&self, who: Who, handle: Handle) -> Result<Close, Fault> {
        let Handle::Draft { .. } = handle else { return Ok(Close::Answered) };
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        let closing = Process::of_thread(who.tid);
        if closing.is_some_and(|process| draft.involves(process)) && is_being_killed(who.tid) {
            draft.spoil(Poison::Killed);
            self.changed(Some(who.op), &file, &draft);
        }
        self.poisoned(&draft)?;
        if !draft.is_pending() {
            return Ok(Close::Answered);
        }
        let look = self.look(&draft, closing);
        match look.glance() {
            Some(writers) => self.judge_close(who, &file, &mut draft, &look, writers, true),
            None => Ok(Close::Looks { look, waits: Waits::Nothing }),
        }
    }

    /// The same close, when `look` has seen `writers`. With `patient`, a child that has not written is waited for, since it
    /// may be about to become another program, and have the file only until then.
    pub fn decide(
        &self,
        who: Who,
        handle: Handle,
        look: &Look,
        writers: Writers,
        patient: bool,
    ) -> Result<Close, Fault> {
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        if !draft.is_pending() {
            // Another close has stored it, or fsync(2).
            return Ok(Close::Answered);
        }
        self.judge_close(who, &file, &mut draft, look, writers, patient)
    }

    fn judge_close(
        &self,
        who: Who,
        file: &DraftFile,
        draft: &mut Draft,
        look: &Look,
        writers: Writers,
        patient: bool,
    ) -> Result<Close, Fault> {
        match writers {
            // There is a close to come, which is looked at in its turn.
            Writers::Known => Ok(Close::Answered),
            Writers::Others { run } => {
                // Whoever closes without having written waits for nobody: the close of one who has counts.
                let waits = patient && look.closing.is_some_and(|process| draft.involves(process));
                let running = if run { Waits::Running } else { Waits::Sleeping };
                Ok(if waits { self.looks(draft, look, running) } else { Close::Answered })
            }
            Writers::Nobody if look.moment != draft.moment() => Ok(self.looks(draft, look, Waits::Nothing)),
            Writers::Nobody => {
                self.settle(who, file, draft)?;
                file.close();
                Ok(Close::Answered)
            }
        }
    }

    /// Another look for the close that `before` was taken for.
    fn looks(&self, draft: &Draft, before: &Look, waits: Waits) -> Close {
        Close::Looks { look: self.look(draft, before.closing), waits }
    }

    fn look(&self, draft: &Draft, closing: Option<Process>) -> Look {
        Look {
            known: draft.processes(),
            closing,
            ino: draft.ino.number(),
            device: self.device.get().cloned(),
            moment: draft.moment(),
        }
    }

    /// fsync(2): what was written so far is stored, and durable.
    pub fn sync(&self, who: Who, handle: Handle) -> Result<(), Fault> {
        let Handle::Draft { .. } = handle else { return Ok(()) };
        let file = self.draft_file(handle)?;
        let mut draft = file.lock();
        self.poisoned(&draft)?;
        if draft.dirty { self.settle(who, &file, &mut draft) } else { Ok(()) }
    }

    /// The last close. It comes without a caller, and its error reaches nobody but the log.
    pub fn release(&self, who: Who, handle: Handle) {
        // It is open until it is done: the next worker does what this one did not.
        let Some(open) = self.shared.opens.get(handle.serial()) else { return };
        match open.held {
            Held::Version(no) => self.let_go(open.ino, no),
            Held::Text(_) | Held::Scratch | Held::Talk(_) | Held::Events(_) | Held::Snapshot(_) => {}
            Held::Draft(file) => {
                let mut draft = file.lock();
                // Nobody waits for it: the thread that opened it may be gone, and its number another's.
                let opener = Who { op: who.op, tid: 0, gesture: "last close", ..draft.who };
                let stores = draft.dirty || draft.emptied && draft.target == Target::Text;
                if stores
                    && draft.poison.is_none()
                    && let Err(fault) = self.settle(opener, &file, &mut draft)
                {
                    let gesture = Gesture { verb: opener.gesture, on: Some(open.ino), writes: true };
                    self.tell_of_refusal(opener, gesture, &fault);
                    self.refuse(opener, gesture, &fault);
                }
                if let Target::Version { secret, no, exists: false, .. } = draft.target {
                    self.vault.release_version(secret, no);
                }
            }
        }
        self.shared.opens.remove(handle.serial());
    }

    /// Stores the draft. Written bytes that cannot be stored are never tried again.
    fn settle(&self, who: Who, file: &DraftFile, draft: &mut Draft) -> Result<(), Fault> {
        draft.storing = Some(who.op);
        self.leave(Some(who.op), draft);
        let outcome = self.may_store(draft).and_then(|()| self.store(who, draft));
        draft.storing = None;
        match &outcome {
            Ok(()) => {}
            // A file that was only cut may still be written: where the daemon does not see its callers, this was the close of a
            // shell that has moved its descriptor.
            Err(_) if !draft.dirty => {}
            Err(fault) => draft.spoil(Poison::Failed(fault.errno())),
        }
        draft.room = None;
        draft.moves_on();
        self.changed(Some(who.op), file, draft);
        outcome
    }

    /// Refuses what comes after a failed write or a killed writer.
    pub(super) fn poisoned(&self, draft: &Draft) -> Result<(), Fault> {
        match draft.poison {
            None => Ok(()),
            Some(Poison::Failed(errno)) => Err(Fault::Poisoned(errno)),
            Some(Poison::Killed | Poison::Interrupted(_)) => Err(Fault::Poisoned(libc::EIO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{KdfParams, Source};
    use crate::fs::inode::Ino;
    use crate::fs::ops::How;
    use crate::id::OpId;
    use crate::store::MemoryStore;
    use crate::vault::{Owner, init, unlock};

    /// A tree with the secret `prod/s`, as process `tid` sees it.
    fn tree(who: Who) -> (Tree, Ino) {
        let store = Arc::new(MemoryStore::new());
        init(&*store, &Source::KeyFile(&[1; 32]), KdfParams::LEAST, Owner { uid: 0, gid: 0 }).unwrap();
        let vault = unlock(store, &Source::KeyFile(&[1; 32])).unwrap();
        let tree = Tree::new(Arc::new(vault), crate::fs::Options::default());
        let instance = tree.make_directory(who, Ino::ROOT, b"prod", 0o755).unwrap().attr.ino;
        let again = Who { op: OpId([2; 16]), ..who };
        let secret = tree.make_directory(again, instance, b"s", 0o755).unwrap().attr.ino;
        (tree, secret)
    }

    /// A program that has more open than a glance takes in.
    fn crowd() -> Child {
        let mut shell = Command::new("bash")
            .args(["-c", "for n in {10..90}; do eval \"exec $n>/dev/null\"; done; echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        shell
    }

    #[test]
    fn what_was_seen_before_a_write_says_nothing_after_it() {
        let mut crowd = crowd();
        let who = Who {
            uid: 0,
            gid: 0,
            tid: crowd.id(),
            op: OpId([1; 16]),
            gesture: "test",
            account: None,
            by: Default::default(),
        };
        let (tree, directory) = tree(who);
        let (file, handle) = tree.create(who, directory, b"current", How::default()).unwrap();
        let who = Who { op: OpId([3; 16]), ..who };
        tree.write(who, file.attr.ino, handle, 0, b"part").unwrap();
        let Ok(Close::Looks { look, .. }) = tree.flush(who, handle) else { panic!("it was decided at a glance") };
        tree.write(who, file.attr.ino, handle, 4, b" and rest").unwrap();
        let seen = tree.decide(who, handle, &look, Writers::Nobody, true).unwrap();
        let Close::Looks { look, waits: Waits::Nothing } = seen else { panic!("a part was stored: {seen:?}") };
        assert_eq!(look.take(), Writers::Nobody, "the program never had it open");
        assert!(matches!(tree.decide(who, handle, &look, Writers::Nobody, true), Ok(Close::Answered)));
        tree.release(who, handle);
        let handle = tree.open_to_read(who, file.attr.ino).unwrap();
        assert_eq!(tree.read(who, file.attr.ino, handle, false).unwrap().slice(0, 100), b"part and rest");
        crowd.kill().unwrap();
        crowd.wait().unwrap();
    }
}
