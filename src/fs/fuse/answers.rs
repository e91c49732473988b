//! Who answers a request: the thread that serves it, or the line; and what goes with an answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fuser::{Errno, FileHandle, INodeNo, Notifier, ReplyEmpty, Request};

use super::convert::{handle, inode_number, reply_empty};
use crate::fs::Fault;
use crate::fs::inode::Ino;
use crate::fs::line::{Door, Line};
use crate::fs::ops::{Close, Tree, Who};
use crate::fs::refusals::Gesture;
use crate::id::OpId;

/// The bit that marks a request sent again.
const RESENT: u64 = 1 << 63;
/// Looks at a child that has the file and sleeps, before it counts as one that goes on with it: a second. One on its way to
/// another program runs.
const CLOSE_TRIES: u32 = 500;
/// How long after a try the next one comes.
const CLOSE_RETRY: Duration = Duration::from_millis(2);
/// The longest that a close waits for children that run: no fork takes so long to become another program, however busy the
/// machine is.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A mount's requests, and what answers them.
pub struct Adaptor {
    pub tree: Arc<Tree>,
    /// Tells this mount's requests from those of any other.
    pub connection: [u8; 8],
    pub notifier: Arc<OnceLock<Notifier>>,
    pub line: Line,
    pub forgets: Arc<Line>,
}

impl Adaptor {
    fn who(&self, request: &Request) -> Who {
        let mut op = [0; 16];
        op[..8].copy_from_slice(&self.connection);
        op[8..].copy_from_slice(&(request.unique().0 & !RESENT).to_le_bytes());
        Who { uid: request.uid(), gid: request.gid(), tid: request.pid(), op: OpId(op) }
    }

    /// Answers a request that only looks.
    pub fn look<T>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        ask: impl FnOnce(&Tree, Who) -> Result<T, Fault>,
    ) -> Result<T, Errno> {
        let who = self.who(request);
        ask(&self.tree, who).map_err(|fault| {
            self.tree.refuse(who, Gesture { verb, on: Ino::parse(on.0), writes: false }, &fault);
            Errno::from_i32(fault.errno())
        })
    }

    /// Hands a request that changes something to the line, which answers it.
    pub fn change<T>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        act: impl FnOnce(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let (answer, tree) = (self.answer(request, verb, on), self.tree.clone());
        self.line.put(move || {
            let outcome = act(&tree, answer.who);
            answer.give(outcome, reply);
        });
    }

    /// Hands a close to the line, which answers it once its outcome is known.
    pub fn close(&self, request: &Request, on: INodeNo, file: FileHandle, reply: ReplyEmpty) {
        // Without a door the line has ended, and the reply answers with an error as it is dropped.
        if let Some(door) = self.line.door() {
            let answer = self.answer(request, "close", on);
            let closing =
                Closing { answer, file, reply, tries_left: CLOSE_TRIES, until: Instant::now() + CLOSE_MAX, door };
            self.line.put(move || closing.attempt());
        }
    }

    fn answer(&self, request: &Request, verb: &'static str, on: INodeNo) -> Answer {
        Answer {
            tree: self.tree.clone(),
            who: self.who(request),
            gesture: Gesture { verb, on: Ino::parse(on.0), writes: true },
            notifier: self.notifier.clone(),
            forgets: self.forgets.clone(),
        }
    }
}

/// What belongs to an answer given by the line: the refusal is noted, and the kernel is told what it has to forget.
struct Answer {
    tree: Arc<Tree>,
    who: Who,
    gesture: Gesture,
    notifier: Arc<OnceLock<Notifier>>,
    forgets: Arc<Line>,
}

impl Answer {
    fn give<T>(self, outcome: Result<T, Fault>, reply: impl FnOnce(Result<T, Errno>)) {
        let Self { tree, who, gesture, notifier, forgets } = self;
        let outcome = outcome.map_err(|fault| {
            tree.refuse(who, gesture, &fault);
            Errno::from_i32(fault.errno())
        });
        let stale = tree.take_stale();
        for ino in stale.attrs {
            tell(&notifier, |notifier| notifier.inval_inode(inode_number(ino), -1, 0));
        }
        reply(outcome);
        for (parent, name) in stale.names {
            let notifier = notifier.clone();
            forgets.put(move || {
                tell(&notifier, |notifier| notifier.inval_entry(inode_number(parent), OsStr::from_bytes(&name)))
            });
        }
    }
}

/// A close that may have to be asked for several times before it is answered.
struct Closing {
    answer: Answer,
    file: FileHandle,
    reply: ReplyEmpty,
    tries_left: u32,
    until: Instant,
    door: Door,
}

impl Closing {
    fn attempt(mut self) {
        let patient = self.tries_left > 0 && Instant::now() < self.until;
        let outcome = handle(self.file).and_then(|file| self.answer.tree.flush(self.answer.who, file, patient));
        match outcome {
            Ok(Close::Waits { for_running }) => {
                self.tries_left -= u32::from(!for_running);
                self.door.clone().put_after(CLOSE_RETRY, move || self.attempt());
            }
            Ok(Close::Answered) => self.answer.give(Ok(()), |outcome| reply_empty(self.reply, outcome)),
            Err(fault) => self.answer.give(Err(fault), |outcome| reply_empty(self.reply, outcome)),
        }
    }
}

/// Says to the kernel what it has to forget. It may have forgotten already.
fn tell(notifier: &OnceLock<Notifier>, say: impl FnOnce(&Notifier) -> io::Result<()>) {
    if let Some(Err(error)) = notifier.get().map(say) {
        log::warn!("the kernel did not take a notification: {error}");
    }
}
