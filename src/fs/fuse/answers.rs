//! Who answers a request: the thread that serves it, one that may wait for the disk, or the line; and what goes with an answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fuser::{Errno, FileHandle, INodeNo, Notifier, ReplyEmpty, Request};

use super::callers::{LettingGo, Wait};
use super::closing::{Closing, let_go};
use super::convert::{inode_number, reply_empty};
use super::desk::Desk;
use super::lost::Outcome;
use super::revoking::Gate;
use crate::fs::Fault;
use crate::fs::follow::Followed;
use crate::fs::inode::Ino;
use crate::fs::line::{Door, Line};
use crate::fs::ops::{Follow, Tree, Who};
use crate::fs::refusals::Gesture;
use crate::id::OpId;
use crate::secret::Grant;
use crate::vault::{CLOSE, from_memory};

/// The verb of requests to the api.
pub const API: &str = "api";
/// The verb of reads that the line answers.
pub const DRAFT_READ: &str = "read of a draft";
/// The bit that marks a request sent again.
const RESENT: u64 = 1 << 63;

/// How long a write of the audit may take, of which nobody expects that it takes any time.
const HANG: Duration = Duration::from_secs(1);

/// What came of a look that memory has no answer for, or none that needs no record.
struct Looked {
    who: Who,
    gesture: Gesture,
    fault: Fault,
}

/// A mount's requests, and what answers them.
pub struct Adaptor {
    pub tree: Arc<Tree>,
    /// Tells this mount's requests from those of any other.
    pub connection: [u8; 8],
    pub desk: Arc<Desk>,
}

impl Adaptor {
    fn who(&self, request: &Request, gesture: &'static str) -> Who {
        let mut op = [0; 16];
        op[..8].copy_from_slice(&self.connection);
        op[8..].copy_from_slice(&(request.unique().0 & !RESENT).to_le_bytes());
        let ((uid, gid), tid) = (self.tree.user_of(request.uid(), request.gid()), request.pid());
        Who { uid, gid, tid, op: OpId(op), gesture, account: self.tree.account(), by: Grant::Mode }
    }

    /// Answers a request that only looks: at once where memory has the answer, else in a thread that may wait for the disk. So are
    /// refusals answered, of which there is a record before.
    pub fn look<T: Outcome>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        ask: impl Fn(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let reply = counted(self.tree.clone(), verb, Instant::now(), reply);
        let (who, gesture) = (self.who(request, verb), Gesture { verb, on: Ino::parse(on.0), writes: false });
        match from_memory(|| ask(&self.tree, who)) {
            Err(fault) if fault.would_wait() || gesture.is_told(&fault) => {
                let wait = self.desk.callers.add(who.tid, reply);
                self.look_up(Looked { who, gesture, fault }, ask, wait);
            }
            outcome => reply(outcome.map_err(|fault| {
                self.tree.refuse(who, gesture, &fault);
                Errno::from_i32(fault.errno())
            })),
        }
    }

    /// The same, of a request that is told to the audit if it is granted: that is a write(2), which should take no time, and may hang.
    pub fn look_told<T: Outcome>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        ask: impl Fn(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let reply = counted(self.tree.clone(), verb, Instant::now(), reply);
        let (who, gesture) = (self.who(request, verb), Gesture { verb, on: Ino::parse(on.0), writes: false });
        let wait = self.desk.callers.add_within(who.tid, HANG, reply);
        let outcome = match from_memory(|| ask(&self.tree, who)) {
            Err(fault) if fault.would_wait() || gesture.is_told(&fault) => {
                wait.may_take_long();
                return self.look_up(Looked { who, gesture, fault }, ask, wait);
            }
            outcome => outcome.map_err(|fault| {
                self.tree.refuse(who, gesture, &fault);
                Errno::from_i32(fault.errno())
            }),
        };
        if let Some(Ok(lost)) = wait.answer(outcome) {
            lost.forsake(&self.tree, who);
        }
    }

    /// Answers a request in a thread that may wait.
    fn look_up<T: Outcome>(
        &self,
        looked: Looked,
        ask: impl Fn(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        wait: Wait<T>,
    ) {
        let (tree, Looked { who, gesture, fault }) = (self.tree.clone(), looked);
        if fault.would_wait() {
            tree.meter().count_disk();
        }
        let pool = if gesture.verb == API { &self.desk.asks } else { &self.desk.pool };
        pool.put(move || {
            if wait.is_over() {
                return;
            }
            let outcome = if fault.would_wait() { ask(&tree, who) } else { Err(fault) };
            let outcome = outcome.map_err(|fault| {
                tree.tell_of_refusal(who, gesture, &fault);
                tree.refuse(who, gesture, &fault);
                Errno::from_i32(fault.errno())
            });
            if let Some(Ok(lost)) = wait.answer(outcome) {
                lost.forsake(&tree, who);
            }
        });
    }

    /// Hands a request that changes something to the line, which answers it. One whose caller was let go before is not done.
    pub fn change<T: Outcome>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        act: impl FnOnce(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        self.change_or(request, verb, on, act, LettingGo::default(), |_| (), reply);
    }

    /// The same, of a caller that is let go as `let_go` says; does `instead` in the place of what is not done.
    #[allow(clippy::too_many_arguments, reason = "a request, what to do of it in each case, and where the answer goes")]
    pub fn change_or<T: Outcome>(
        &self,
        request: &Request,
        verb: &'static str,
        on: INodeNo,
        act: impl FnOnce(&Tree, Who) -> Result<T, Fault> + Send + 'static,
        let_go: LettingGo,
        instead: impl FnOnce(&Tree) + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let (answer, tree) = (self.answer(request, verb, on), self.tree.clone());
        let reply = counted(self.tree.clone(), verb, Instant::now(), reply);
        let wait = self.desk.callers.add_with(answer.who.tid, reply, let_go);
        self.desk.line.put(move || {
            if wait.is_over() {
                return instead(&tree);
            }
            let outcome = act(&tree, answer.who);
            answer.give(outcome, wait);
        });
    }

    /// Hands a close to the line, which answers it once its outcome is known.
    pub fn close(&self, request: &Request, on: INodeNo, file: FileHandle, reply: ReplyEmpty) {
        // Without its door the line has ended, and the reply answers with an error as it is dropped.
        if let Some(line) = self.desk.line.door() {
            let answer = self.answer(request, CLOSE, on);
            let let_go = let_go(self.tree.clone(), line.clone(), answer.who, file);
            let reply = counted(self.tree.clone(), "close", Instant::now(), |outcome| reply_empty(reply, outcome));
            let wait = self.desk.callers.add_with(answer.who.tid, reply, let_go);
            let closing = Closing::new(answer, file, wait, line, self.desk.lookout.clone());
            self.desk.line.put(move || closing.begin());
        }
    }

    /// Answers a read of events: at once where there are some, else when something happens or its time is up.
    pub fn follow(
        &self,
        request: &Request,
        on: INodeNo,
        read: Result<Follow, Fault>,
        reply: impl FnOnce(Result<Vec<u8>, Errno>) + Send + 'static,
    ) {
        let verb = "read of events";
        let who = self.who(request, verb);
        let reply = counted(self.tree.clone(), verb, Instant::now(), reply);
        match read.and_then(|read| Ok((read, self.tree.follow(read)?))) {
            Ok((_, Followed::Bytes(bytes))) => reply(Ok(bytes)),
            Ok((read, Followed::Nothing { until })) => {
                self.desk.following.put(read, until, self.desk.callers.add(who.tid, reply));
            }
            Err(fault) => {
                self.tree.refuse(who, Gesture { verb, on: Ino::parse(on.0), writes: false }, &fault);
                reply(Err(Errno::from_i32(fault.errno())));
            }
        }
    }

    fn answer(&self, request: &Request, verb: &'static str, on: INodeNo) -> Answer {
        Answer {
            tree: self.tree.clone(),
            who: self.who(request, verb),
            gesture: Gesture { verb, on: Ino::parse(on.0), writes: true },
            notifier: self.desk.notifier.clone(),
            forgets: self.desk.forgets.clone(),
            gate: self.desk.revoking.gate(),
            line: self.desk.line.door(),
        }
    }
}

/// `reply`, counted as the answer to a request of `verb` that came at `came`.
fn counted<T>(
    tree: Arc<Tree>,
    verb: &'static str,
    came: Instant,
    reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
) -> impl FnOnce(Result<T, Errno>) + Send + 'static {
    move |outcome| {
        tree.meter().count(verb, errno_of(&outcome), came.elapsed());
        reply(outcome);
    }
}

fn errno_of<T>(outcome: &Result<T, Errno>) -> i32 {
    outcome.as_ref().err().map_or(0, |errno| errno.code())
}

/// What belongs to an answer given by the line: the refusal is noted, and the kernel is told what it has to forget.
pub struct Answer {
    pub tree: Arc<Tree>,
    pub who: Who,
    gesture: Gesture,
    notifier: Arc<OnceLock<Notifier>>,
    forgets: Arc<Line>,
    gate: Gate,
    /// Where that is undone of which nobody is told any more; none once the line ends.
    line: Option<Door>,
}

impl Answer {
    /// Answers, in the line. Whoever took a right away is answered once the kernel has forgotten what it let out.
    pub fn give<T: Outcome>(self, outcome: Result<T, Fault>, wait: Wait<T>) {
        let outcome = outcome.map_err(|fault| {
            self.tree.tell_of_refusal(self.who, self.gesture, &fault);
            self.tree.refuse(self.who, self.gesture, &fault);
            Errno::from_i32(fault.errno())
        });
        let stale = self.tree.take_stale();
        for ino in stale.attrs {
            tell(&self.notifier, |notifier| notifier.inval_inode(inode_number(ino), -1, 0));
        }
        // Nobody waits for a last close, and reads may have to wait for its answer; a page that a draft's read fills is waited for itself.
        if self.gate.holds(&self.tree) && self.who.tid != 0 && self.gesture.verb != DRAFT_READ {
            let (tree, gate) = (self.tree.clone(), self.gate.clone());
            return gate.after(&tree, move || {
                if let Some(Ok(lost)) = wait.answer(outcome)
                    && let Some(line) = &self.line
                {
                    let (tree, who) = (self.tree.clone(), self.who);
                    line.put(move || lost.forsake(&tree, who));
                }
                self.forget_names(stale.names);
            });
        }
        if let Some(Ok(lost)) = wait.answer(outcome) {
            lost.forsake(&self.tree, self.who);
        }
        self.forget_names(stale.names);
    }

    fn forget_names(&self, names: Vec<(Ino, Vec<u8>)>) {
        for (parent, name) in names {
            let notifier = self.notifier.clone();
            self.forgets.put(move || {
                tell(&notifier, |notifier| notifier.inval_entry(inode_number(parent), OsStr::from_bytes(&name)))
            });
        }
    }
}

/// Says to the kernel what it has to forget. It may have forgotten already.
fn tell(notifier: &OnceLock<Notifier>, say: impl FnOnce(&Notifier) -> io::Result<()>) {
    if let Some(Err(error)) = notifier.get().map(say) {
        log::warn!("the kernel did not take a notification: {error}");
    }
}
