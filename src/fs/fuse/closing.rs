//! A close, until it can be answered. Whether it counts is decided in the line; what that takes to know is looked up in a
//! thread of its user's, so that one user's many processes and descriptors hold nobody else's changes up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{Errno, FileHandle};

use super::answers::Answer;
use super::callers::LettingGo;
use super::callers::Wait;
use super::convert::handle;
use super::lookout::Lookout;
use crate::fs::Fault;
use crate::fs::line::Door;
use crate::fs::look::{Look, Writers};
use crate::fs::ops::{Close, Tree, Waits, Who};
use crate::fs::process::{Process, is_being_killed};

/// How long a child that has the file and sleeps is waited for, before it counts as one that goes on with it: one on its way
/// to another program runs.
const SLEEPER_MAX: Duration = Duration::from_secs(1);
/// The longest that a close waits for children that run: no fork takes so long to become another program, however busy the
/// machine is.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How long after the first look the second one comes; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause while the child runs: in a moment it will be another program.
const RUNNING_PAUSE_MAX: Duration = Duration::from_millis(8);
/// The longest pause while it sleeps.
const SLEEPING_PAUSE_MAX: Duration = Duration::from_millis(128);

/// One close(2) on its way between the line and the lookout.
pub struct Closing {
    answer: Answer,
    file: FileHandle,
    wait: Wait<()>,
    /// Where everything is decided.
    line: Door,
    /// Where looks are taken.
    lookout: Lookout,
    pause: Duration,
    /// How long a sleeping child was waited for. Pauses count, what a look had to wait for others does not.
    slept: Duration,
    until: Instant,
}

impl Closing {
    pub fn new(answer: Answer, file: FileHandle, wait: Wait<()>, line: Door, lookout: Lookout) -> Self {
        let until = Instant::now() + CLOSE_MAX;
        Self { answer, file, wait, line, lookout, pause: FIRST_PAUSE, slept: Duration::ZERO, until }
    }

    /// In the line, in its turn.
    pub fn begin(self) {
        if self.wait.is_over() {
            return;
        }
        let outcome = handle(self.file).and_then(|file| self.answer.tree.flush(self.answer.who, file));
        self.go_on(outcome);
    }

    /// In the line again, with what the lookout saw.
    fn decide(self, look: &Look, writers: Writers) {
        if self.wait.is_over() {
            return;
        }
        let patient = self.slept < SLEEPER_MAX && Instant::now() < self.until;
        let decide = |file| self.answer.tree.decide(self.answer.who, file, look, writers, patient);
        let outcome = handle(self.file).and_then(decide);
        self.go_on(outcome);
    }

    fn go_on(mut self, outcome: Result<Close, Fault>) {
        match outcome {
            Ok(Close::Looks { look, waits }) => {
                let pause = self.pause(waits);
                let (lookout, uid) = (self.lookout.clone(), self.answer.who.uid);
                lookout.put_after(uid, pause, move || {
                    let writers = look.take();
                    self.line.clone().put(move || self.decide(&look, writers));
                });
            }
            Ok(Close::Answered) => self.answer.give(Ok(()), self.wait),
            Err(fault) => self.answer.give(Err(fault), self.wait),
        }
    }

    /// How long to wait before the next look.
    fn pause(&mut self, waits: Waits) -> Duration {
        let longest = match waits {
            Waits::Nothing => return Duration::ZERO,
            Waits::Running => RUNNING_PAUSE_MAX,
            Waits::Sleeping => SLEEPING_PAUSE_MAX,
        };
        let pause = self.pause.min(longest);
        if waits == Waits::Sleeping {
            self.slept += pause;
        }
        self.pause = (pause * 2).min(SLEEPING_PAUSE_MAX);
        pause
    }
}

/// How the caller of a close is let go. The last close comes behind it in the line, and must find that this one was given up. It
/// is told EIO: many programs take EINTR of a close for success, since the descriptor is closed, and nothing was stored.
pub fn let_go(tree: Arc<Tree>, line: Door, who: Who, file: FileHandle) -> LettingGo {
    let before = move || {
        let (closing, was_killed) = (Process::of_thread(who.tid), is_being_killed(who.tid));
        if let (Some(closing), Ok(file)) = (closing, handle(file)) {
            tree.lets_go(file);
            line.put(move || tree.forsake_close(file, closing, was_killed));
        }
    };
    LettingGo { errno: Errno::EIO, before: Box::new(before) }
}
