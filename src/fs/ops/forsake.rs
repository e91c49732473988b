//! What becomes of a request whose caller did not wait for its answer: a signal came, and it was let go.
//!
//! What had not begun is not done. What was under way is, and leaves nothing that nobody knows of. Where a draft is concerned it
//! is called in the line, before anything that the caller's process asks for later. Invariant: an interrupted write or close has
//! its draft not stored, unless the commit was under way already, or the write came again.

use super::{Tree, Who};
use crate::estate::Key;
use crate::fs::draft::{Draft, Poison};
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::process::Process;

impl Tree {
    /// Closes `handle`, which nobody was told of. Nothing is stored.
    pub fn forsake_open(&self, who: Who, handle: Handle) {
        if let Ok(file) = self.draft_file(handle) {
            let mut draft = file.lock();
            draft.spoil(Poison::Killed);
            self.leave(None, &draft);
        }
        self.release(who, handle);
    }

    /// The same, and takes away the file in memory that was made with it.
    pub fn forsake_made(&self, who: Who, made: Ino, handle: Handle) {
        self.forsake_open(who, handle);
        if made.kind == Kind::Scratch {
            self.change_scratches(None).remove(made.ordinal);
        }
    }

    /// Notes, for the next worker should this one end before its draft knows, that a writer is about to be let go. Called in any
    /// thread, while the writer waits.
    pub fn lets_go(&self, handle: Handle) {
        if let Handle::Draft { serial } = handle {
            self.estate.change(None, &[(Key::LetGo(serial), Some(b""))]);
        }
    }

    /// Notes that a write of `writer` was let go of before its bytes were taken: it may come again.
    pub fn forsake_write(&self, handle: Handle, writer: Option<Process>) {
        if let Ok(file) = self.draft_file(handle) {
            let mut draft = file.lock();
            draft.is_interrupted(writer);
            self.knows(&draft);
        }
    }

    /// Leaves a draft that knows who was let go of it.
    fn knows(&self, draft: &Draft) {
        let entry = draft.to_entry();
        self.estate
            .change(None, &[(Key::Draft(draft.serial), Some(entry.as_bytes())), (Key::LetGo(draft.serial), None)]);
    }

    /// Notes that nobody was told of a write whose bytes were taken: should it come again, they would be there twice.
    pub fn forsake_written(&self, handle: Handle) {
        if let Ok(file) = self.draft_file(handle) {
            let mut draft = file.lock();
            draft.spoil(Poison::Failed(libc::EIO));
            file.show(&draft);
            self.knows(&draft);
        }
    }

    /// Notes that `closing` was let go of in the middle of a close. A process that never wrote takes nothing of others' with it.
    pub fn forsake_close(&self, handle: Handle, closing: Process, was_killed: bool) {
        if let Ok(file) = self.draft_file(handle) {
            let mut draft = file.lock();
            if draft.involves(closing) && (was_killed || draft.is_pending()) {
                draft.spoil(Poison::Killed);
                file.show(&draft);
            }
            self.knows(&draft);
        }
    }
}
