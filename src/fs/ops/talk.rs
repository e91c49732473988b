//! Asking through `.kmsfs/api`: who asks is known from the kernel, what comes of it from `api`.

use std::sync::Arc;

use super::{Reading, Tree, Who};
use crate::api::{self, Answer, ApiError, Asker, Touched};
use crate::fs::errno::Fault;
use crate::fs::identity::{cgroup_of, identity_of};
use crate::fs::inode::{Handle, Ino, Kind};
use crate::fs::opens::Held;
use crate::fs::refusals::Gesture;
use crate::fs::talk::Conversation;
use crate::secret::{Component, Refusal, SecretName};
use crate::vault::Loaded;

impl Tree {
    /// Opens a conversation. Who only writes hears no answer, and would not know whether anything was done.
    pub fn open_talk(&self, who: Who, ino: Ino, flags: i32) -> Result<Handle, Fault> {
        if let Some((_, handle)) = self.shared.opens.opened_by(who.op) {
            return Ok(handle);
        }
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(Refusal::Unsupported("a request whose answer nobody reads").into());
        }
        let identity = identity_of(who).ok_or(Refusal::UnknownCaller)?;
        let serial = self.shared.opens.next_serial();
        let conversation = Conversation::begin(serial, identity, &self.shared.conversations, &self.estate)?;
        Ok(self.shared.opens.add(serial, ino, who.opener(), Held::Talk(conversation)))
    }

    /// Takes a part of a request.
    pub fn hear(&self, who: Who, handle: Handle, data: &[u8]) -> Result<(), Fault> {
        let conversation = self.conversation(handle)?;
        let mut talk = conversation.of(&identity_of(who).ok_or(Refusal::UnknownCaller)?)?;
        conversation.hear(&mut talk, who.op, data, &self.estate)
    }

    /// Whether a read of `handle` would have a request done that may change something.
    pub fn changes(&self, handle: Handle) -> bool {
        self.conversation(handle).is_ok_and(|conversation| conversation.asks(api::changes))
    }

    /// The next part of the answer; the first of them has the request done. With `may_change` this is the line.
    pub fn say(&self, who: Who, handle: Handle, size: usize, may_change: bool) -> Result<Reading, Fault> {
        let conversation = self.conversation(handle)?;
        let identity = identity_of(who).ok_or(Refusal::UnknownCaller)?;
        let mut talk = conversation.of(&identity)?;
        if talk.lacks_answer(who.op) {
            let changes = api::changes(talk.request.as_bytes());
            if changes != may_change {
                // Another thread has gone on with it since it was decided where this is done.
                return Err(Fault::Again);
            }
            let asker = Asker {
                identity: &identity,
                caller: who.caller(),
                follows_audit: talk.follows_audit,
                cgroup: &|| cgroup_of(who.tid),
            };
            let answer = api::answer(&self.vault, asker, talk.request.as_bytes())?;
            talk.follows_audit |= answer.reads_audit();
            self.tell_of(who, changes, &answer);
            conversation.answered(&mut talk, answer.body, changes, &self.estate);
        }
        let part = conversation.say(&mut talk, who.op, size, &self.estate);
        Ok(Reading::Said { part, handle, from: talk.began(who.op) })
    }

    /// Takes back a part that nobody was told of.
    pub fn unsay(&self, handle: Handle, from: usize) {
        if let Ok(conversation) = self.conversation(handle) {
            conversation.unsay(from, &self.estate);
        }
    }

    /// What an answer means to others: a refusal is noted, and the kernel forgets names that stand for something else by now.
    fn tell_of(&self, who: Who, writes: bool, answer: &Answer) {
        for touched in &answer.touched {
            if let Err(fault) = self.forget_touched(touched) {
                // It is done all the same, and must be said to be.
                log::warn!("the kernel was not told that a name stands for something else: {fault}");
            }
        }
        let gesture = Gesture { verb: answer.action, on: Some(Ino::new(crate::id::NodeId::ROOT, Kind::Api)), writes };
        if let Some(ApiError::Vault(error)) = &answer.error {
            self.shared.damage.note_error(error, gesture.on);
        }
        if let Some(error) = &answer.error {
            self.shared.refusals.note_answer(who, gesture, error, &answer.body, &self.estate);
        }
    }

    fn forget_touched(&self, touched: &Touched) -> Result<(), Fault> {
        let instance = self.loaded(touched.instance)?;
        let last = self.forget_way(&instance, &touched.name)?;
        if let Some(directory) = last.filter(|_| touched.another_life) {
            let mut stale = self.shared.stale.lock();
            for name in ["current", "versions", "stages"] {
                stale.names.push((Ino::new(directory.id(), Kind::Directory), name.into()));
            }
        }
        Ok(())
    }

    /// Has the kernel look again at each directory on the way to `name`, and at the first name that is not there; the last
    /// directory, if all are.
    fn forget_way(&self, instance: &Arc<Loaded>, name: &SecretName) -> Result<Option<Arc<Loaded>>, Fault> {
        let (mut at, mut ino) = (instance.clone(), Ino::new(instance.id(), Kind::Instance));
        self.shared.stale.lock().attrs.push(ino);
        for component in name.as_str().split('/') {
            match self.vault.directory_named(&at, &Component::parse(component.as_bytes())?)? {
                Some(next) => {
                    at = next;
                    ino = Ino::new(at.id(), Kind::Directory);
                    self.shared.stale.lock().attrs.push(ino);
                }
                None => {
                    self.shared.stale.lock().names.push((ino, component.into()));
                    return Ok(None);
                }
            }
        }
        Ok(Some(at))
    }

    fn conversation(&self, handle: Handle) -> Result<Arc<Conversation>, Fault> {
        match self.shared.opens.get(handle.serial()).map(|open| open.held) {
            Some(Held::Talk(conversation)) => Ok(conversation),
            Some(
                Held::Version(_) | Held::Text(_) | Held::Draft(_) | Held::Scratch | Held::Events(_) | Held::Snapshot(_),
            )
            | None => Err(Fault::BadHandle),
        }
    }
}
