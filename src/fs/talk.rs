//! A conversation on one open file: a request is written, its answer is read, then comes the next.
//!
//! Knows bytes, a place in them and who talks; what a request means stands in `api`. Invariants: a conversation is with whoever opened
//! the file, user, groups and capabilities alike, so that nobody, and no program with more rights than its user, is made to ask what
//! another has written; a request is answered once, and what was read of its answer does not change, also over a worker's end.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::errno::Fault;
use super::shares::{Share, Shares};
use crate::api::REQUEST_MAX;
use crate::estate::{Estate, Key, Left, pack, unpack};
use crate::id::OpId;
use crate::secret::{Identity, Refusal};
use crate::value::Value;

/// Most writes that a request comes in: with each of them all of it so far is left to the next worker.
const PARTS_MAX: usize = 256;

/// One open file of the api.
pub struct Conversation {
    serial: u64,
    /// Whoever opened it.
    who: Identity,
    talk: Mutex<Talk>,
    /// Given back when it ends; none where an earlier worker let more begin than this one would.
    _share: Option<Share>,
}

/// What was said so far.
pub struct Talk {
    /// The bytes of the request that is being written, or was answered last.
    pub request: Value,
    /// Its answer, once there is one.
    pub answer: Option<Value>,
    /// The request of the kernel that wrote last.
    written: Option<OpId>,
    /// Writes that it came in.
    parts: usize,
    heard: Heard,
    /// Whether there is a record that the audit is read in it.
    pub follows_audit: bool,
}

/// How much of an answer was read.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Heard {
    at: usize,
    /// The last read: the kernel's request, and where its part began.
    last: Option<(OpId, usize)>,
    /// All of it was read, and it is not kept.
    whole: bool,
}

/// What is kept of a request beside its bytes.
#[derive(Serialize, Deserialize)]
struct Written {
    who: Identity,
    op: Option<OpId>,
}

impl Conversation {
    /// Begins one with `who`, in the open file numbered `serial`.
    ///
    /// # Errors
    /// Where the user has as many open as one may have: what is said stands in memory, which is everybody's.
    pub fn begin(serial: u64, who: Identity, shares: &Shares, estate: &Estate) -> Result<Arc<Self>, Refusal> {
        let share = shares.take(who.uid).ok_or(Refusal::TooManyConversations)?;
        let talk = Talk {
            request: Value::empty(),
            answer: None,
            written: None,
            parts: 0,
            heard: Heard::default(),
            follows_audit: false,
        };
        let begun = Self { serial, who, talk: Mutex::new(talk), _share: Some(share) };
        begun.leave_request(&begun.talk.lock(), estate);
        Ok(Arc::new(begun))
    }

    /// One that began in an earlier worker.
    pub fn left(serial: u64, left: &Left, shares: &Shares) -> Option<Arc<Self>> {
        let entry = |key: Key| left.entries.get(&key).map(|value| value.as_bytes());
        let (Written { who, op }, request) = unpack(entry(Key::Request(serial))?)?;
        let heard = entry(Key::Heard(serial)).and_then(|heard| unpack::<Heard>(heard)).map(|(heard, _)| heard);
        let answer = entry(Key::Answer(serial)).map(Value::copy_of);
        let talk = Talk {
            request: Value::copy_of(request),
            answer,
            written: op,
            parts: 0,
            heard: heard.unwrap_or_default(),
            follows_audit: false,
        };
        let share = shares.take(who.uid);
        Some(Arc::new(Self { serial, who, talk: Mutex::new(talk), _share: share }))
    }

    /// The talk, for `who`.
    ///
    /// # Errors
    /// Of anybody but whom it is with; and `Again` where another thread's request on it is under way: nobody waits for that one.
    pub fn of(&self, who: &Identity) -> Result<MutexGuard<'_, Talk>, Fault> {
        if *who != self.who {
            return Err(Refusal::NotYourConversation.into());
        }
        self.talk.try_lock().ok_or(Fault::Again)
    }

    /// Whether a request stands there that `is` says yes to, and that was not answered.
    pub fn asks(&self, is: impl FnOnce(&[u8]) -> bool) -> bool {
        // Who reads meanwhile finds out what has become of it.
        self.talk.try_lock().is_some_and(|talk| !talk.is_answered() && is(talk.request.as_bytes()))
    }

    /// Takes a part of a request, written by the kernel's request `op`. The first part behind an answer begins the next one.
    pub fn hear(&self, talk: &mut Talk, op: OpId, data: &[u8], estate: &Estate) -> Result<(), Fault> {
        if talk.written == Some(op) {
            return Ok(());
        }
        let begins = talk.is_answered();
        let before = if begins { 0 } else { talk.request.len() };
        let parts = if begins { 1 } else { talk.parts + 1 };
        if before + data.len() > REQUEST_MAX || parts > PARTS_MAX {
            return Err(Refusal::RequestTooLong.into());
        }
        if begins {
            (talk.request, talk.answer, talk.heard) = (Value::empty(), None, Heard::default());
        }
        talk.parts = parts;
        talk.request.write_at(before, data);
        talk.written = Some(op);
        self.leave_request(talk, estate);
        Ok(())
    }

    /// Takes the answer to what was asked. With `keeps` it is left to the next worker as it is: asking again would change
    /// something again.
    pub fn answered(&self, talk: &mut Talk, answer: Value, keeps: bool, estate: &Estate) {
        // The request may hold a value, and is not needed any more: what came of it is in the answer.
        talk.request = Value::empty();
        if keeps {
            let request = self.request_entry(talk);
            let entries = [
                (Key::Answer(self.serial), Some(answer.as_bytes())),
                (Key::Request(self.serial), Some(request.as_bytes())),
            ];
            estate.change(None, &entries);
        }
        talk.answer = Some(answer);
    }

    /// The next part of the answer, of `size` bytes at most; the same again for the same request `op`. Nothing at its end.
    pub fn say(&self, talk: &mut Talk, op: OpId, size: usize, estate: &Estate) -> Value {
        let from = match talk.heard.last {
            Some((last, from)) if last == op => from,
            Some(_) | None => talk.heard.at,
        };
        let Some(answer) = &talk.answer else { return Value::empty() };
        if from >= answer.len() {
            // Whoever asks again has heard the end of it: no value stays here longer than that.
            talk.answer = None;
            estate.change(None, &[(Key::Answer(self.serial), None)]);
            return Value::empty();
        }
        let part = Value::copy_of(answer.slice(from as u64, size));
        let at = from + part.len();
        talk.heard = Heard { at, last: Some((op, from)), whole: at >= answer.len() };
        let heard = pack(&talk.heard, b"");
        // An answer that takes several reads stays the same for all of them.
        let rest = answer.as_bytes();
        let keeps = [(Key::Answer(self.serial), Some(rest)), (Key::Heard(self.serial), Some(heard.as_bytes()))];
        let first_of_many = from == 0 && !talk.heard.whole;
        estate.change(None, if first_of_many { &keeps } else { &keeps[1..] });
        part
    }

    /// Takes back the part that began at `from`: nobody was told of it.
    pub fn unsay(&self, from: usize, estate: &Estate) {
        // Where another thread has gone on with it meanwhile, there is nothing to go back to.
        let Some(mut talk) = self.talk.try_lock() else { return };
        if talk.answer.is_none() {
            // That was its end, which is told again.
            return;
        }
        talk.heard = Heard { at: from, last: None, whole: false };
        estate.change(None, &[(Key::Heard(self.serial), Some(pack(&talk.heard, b"").as_bytes()))]);
    }

    /// What is no longer left to anybody once the file is closed.
    pub fn keys(serial: u64) -> [Key; 3] {
        [Key::Request(serial), Key::Answer(serial), Key::Heard(serial)]
    }

    fn request_entry(&self, talk: &Talk) -> Value {
        pack(&Written { who: self.who.clone(), op: talk.written }, talk.request.as_bytes())
    }

    fn leave_request(&self, talk: &Talk, estate: &Estate) {
        let request = self.request_entry(talk);
        estate.change(
            None,
            &[
                (Key::Request(self.serial), Some(request.as_bytes())),
                (Key::Answer(self.serial), None),
                (Key::Heard(self.serial), None),
            ],
        );
    }
}

impl Talk {
    /// Whether the request that stands there has its answer, be it that it was read and is gone.
    pub fn is_answered(&self) -> bool {
        self.answer.is_some() || self.heard.whole
    }

    /// Where the part that `op` has read began.
    pub fn began(&self, op: OpId) -> usize {
        self.heard.last.filter(|(last, _)| *last == op).map_or(self.heard.at, |(_, from)| from)
    }

    /// Whether the read `op` has to be given an answer first. One that comes again may find that what it was answered from is
    /// gone with its worker.
    pub fn lacks_answer(&self, op: OpId) -> bool {
        let comes_again = self.heard.last.is_some_and(|(last, _)| last == op);
        self.answer.is_none() && (!self.heard.whole || comes_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: [OpId; 4] = [OpId([1; 16]), OpId([2; 16]), OpId([3; 16]), OpId([4; 16])];

    fn who(uid: u32) -> Identity {
        Identity { uid, gid: uid, groups: vec![1], overrides: false }
    }

    fn hear(conversation: &Conversation, op: OpId, text: &str) -> Result<(), Fault> {
        conversation.hear(&mut *conversation.of(&who(7))?, op, text.as_bytes(), &Estate::default())
    }

    fn say(conversation: &Conversation, op: OpId, size: usize) -> String {
        let part = conversation.say(&mut conversation.of(&who(7)).unwrap(), op, size, &Estate::default());
        String::from_utf8(part.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_request_comes_in_parts_and_its_answer_goes_in_parts() {
        let estate = Estate::default();
        let conversation = Conversation::begin(1, who(7), &Shares::default(), &estate).unwrap();
        hear(&conversation, OPS[0], "{\"a\":").unwrap();
        hear(&conversation, OPS[1], "1}").unwrap();
        hear(&conversation, OPS[1], "1}").unwrap();
        assert!(conversation.asks(|request| request == b"{\"a\":1}"), "what came again was taken once");
        conversation.answered(&mut conversation.of(&who(7)).unwrap(), Value::copy_of(b"answer\n"), true, &estate);
        assert!(!conversation.asks(|_| true));
        assert_eq!(say(&conversation, OPS[0], 4), "answ");
        assert_eq!(say(&conversation, OPS[0], 4), "answ", "the same request comes again");
        assert_eq!(say(&conversation, OPS[1], 4), "er\n");
        conversation.unsay(4, &estate);
        assert_eq!(say(&conversation, OPS[2], 4), "er\n", "nobody was told of it");
        assert_eq!(say(&conversation, OPS[3], 4), "");
        conversation.unsay(7, &estate);
        assert_eq!(say(&conversation, OPS[0], 4), "", "the end stays the end");
        assert!(!conversation.of(&who(7)).unwrap().lacks_answer(OPS[3]));
        conversation.of(&who(7)).unwrap().answer = None;
        assert!(
            conversation.of(&who(7)).unwrap().lacks_answer(OPS[2]),
            "the next worker asks anew for whoever was not told"
        );
        assert!(!conversation.of(&who(7)).unwrap().lacks_answer(OPS[0]));
        hear(&conversation, OPS[3], "next").unwrap();
        assert!(conversation.asks(|request| request == b"next"));
    }

    #[test]
    fn nobody_else_talks_in_it() {
        let conversation = Conversation::begin(1, who(7), &Shares::default(), &Estate::default()).unwrap();
        assert!(matches!(
            conversation.of(&who(8)).err().and_then(|fault| fault.refusal().cloned()),
            Some(Refusal::NotYourConversation)
        ));
        for other in [
            Identity { gid: 8, ..who(7) },
            Identity { groups: vec![1, 2], ..who(7) },
            Identity { overrides: true, ..who(7) },
        ] {
            assert!(conversation.of(&other).is_err(), "a program with other rights than its user's: {other:?}");
        }
        let many = Conversation::begin(2, who(7), &Shares::default(), &Estate::default()).unwrap();
        for n in 0..PARTS_MAX {
            hear(&many, OpId((n as u128).to_le_bytes()), "x").unwrap();
        }
        assert!(hear(&many, OpId([9; 16]), "x").is_err(), "each of them costs as much as all of it so far");
        let long = "x".repeat(REQUEST_MAX);
        hear(&conversation, OPS[0], &long).unwrap();
        let more = hear(&conversation, OPS[1], "x").unwrap_err();
        assert_eq!(more.refusal(), Some(&Refusal::RequestTooLong));
    }
}
