//! The record of all decisions: what each of them needs before it takes effect.
//!
//! A decision is told to the chain, and to a second sink where there is one; one that takes it is enough. Where none does, the
//! decision does not take effect: its caller gets an error and nothing else. The next one tries again.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::book::Head;
use super::facts::{CLOSE, Facts};
use super::herald::Herald;
use super::pulse::{Missed, Pulse};
use super::record::{Body, Entry, Outcome, Target};
use super::sink::{Event, Parts, Sink, ToDisk};
use super::witness::{Witness, WitnessKind};
use crate::crypto::AuditKey;
use crate::id::OpId;
use crate::secret::{Account, Identity};

/// Bytes of a segment.
pub const SEGMENT: u64 = 64 * 1024 * 1024;

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory of this store's chain; `None` for no chain.
    pub dir: Option<PathBuf>,
    /// The second sink.
    pub witness: Option<WitnessKind>,
    /// Another socket for it than the usual one.
    pub socket: Option<PathBuf>,
    /// Whether decisions take effect that nobody has taken the record of. They are counted.
    pub fails_open: bool,
    /// Bytes of a segment.
    pub segment: u64,
}

/// What a trail has to know of its surroundings.
pub struct Origin {
    /// The store's.
    pub key: AuditKey,
    /// Number of the last record that the store knows of.
    pub known: u64,
    /// The store's account number.
    pub account: String,
    /// The daemon's own user, who counts as the account itself, as root does.
    pub own_uid: u32,
    /// Finds out about a thread that waits for its answer.
    pub facts: FactsOf,
}

/// Finds out about a thread, by its number; whether it closes a file, and so may be in the middle of execve(2).
pub type FactsOf = Box<dyn Fn(u32, bool) -> Option<Arc<Facts>> + Send + Sync>;

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It has to be asked by a thread that may wait.
    #[error("the audit cannot be written without a wait")]
    Busy,
    /// No sink took it.
    #[error("the audit takes no record, so nothing is done: {0}")]
    Untold(String),
    /// It was written too late to do nothing.
    #[error("it was done, but the record of it may not be on the disk")]
    Unsynced,
    /// Nothing is kept that could be read.
    #[error("no audit is kept")]
    Off,
    /// What is kept cannot be read, or the threads cannot be started.
    #[error("the audit cannot be read: {0}")]
    Unreadable(String),
}

/// The record of all decisions.
pub struct Trail {
    sink: Option<Arc<Sink>>,
    herald: Option<Arc<Herald>>,
    fails_open: bool,
    account: Arc<str>,
    own_uid: u32,
    facts: FactsOf,
}

/// Records that were written, and may not be on the disk yet.
#[must_use]
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticket(Option<(u64, u64)>);

impl Ticket {
    fn of(seq: u64) -> Self {
        Self(Some((seq, seq)))
    }

    /// For its records and those of `later`.
    pub fn and(self, later: Ticket) -> Self {
        match (self.0, later.0) {
            (Some((first, _)), Some((_, last))) => Self(Some((first, last))),
            (mine, other) => Self(mine.or(other)),
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trail")
    }
}

impl Trail {
    /// Begins, or goes on with what there is. No disk is touched before the first record.
    pub fn start(settings: Settings, origin: Origin) -> Result<Self, AuditError> {
        Self::start_with(settings, origin, Box::new(File::sync_data))
    }

    /// As [`Trail::start`], with something in the place of fdatasync(2).
    pub(crate) fn start_with(settings: Settings, origin: Origin, to_disk: ToDisk) -> Result<Self, AuditError> {
        let Settings { dir, witness, socket, fails_open, segment } = settings;
        let Origin { key, known, account, own_uid, facts } = origin;
        let account: Arc<str> = account.into();
        let of_daemon = account.clone();
        let event: Event =
            Arc::new(move |gesture: &'static str, reason: &str| daemon_body(&of_daemon, own_uid, gesture, reason));
        let pulse = Arc::new(Pulse::default());
        let no_thread = |error: io::Error| AuditError::Unreadable(error.to_string());
        let witness = witness.map(|kind| Witness::new(kind, socket.as_deref()));
        let herald = witness.map(|witness| Herald::start(witness, pulse.clone(), event.clone())).transpose();
        let herald = herald.map_err(no_thread)?;
        let parts = |dir| Parts { dir, key, known, most: segment, pulse, herald: herald.clone(), event, to_disk };
        let sink = dir.map(|dir| Sink::start(parts(dir))).transpose().map_err(no_thread)?;
        Ok(Self { sink, herald, fails_open, account, own_uid, facts })
    }

    /// What is known of thread `tid`, which waits for the answer to what it did by `gesture`.
    pub fn facts(&self, tid: u32, gesture: &str) -> Option<Arc<Facts>> {
        if tid == 0 { None } else { (self.facts)(tid, gesture == CLOSE) }
    }

    /// Renders `entry`.
    pub fn body(&self, entry: &Entry<'_>) -> Body {
        let account = entry.account.as_ref().map_or(&*self.account, Account::as_str);
        entry.body(&principal(account, self.own_uid, entry.uid, entry.gid))
    }

    /// Tells of something that happened to the daemon itself.
    pub fn event(&self, gesture: &'static str, reason: &str) -> Result<(), AuditError> {
        self.tell(daemon_body(&self.account, self.own_uid, gesture, reason)).map(|_| ())
    }

    /// Tells of a decision without any wait.
    ///
    /// # Errors
    /// `Busy` where that is not possible; whether it is possible with a wait is not known then.
    pub fn tell_at_once(&self, body: &Body) -> Result<(), AuditError> {
        // Without a chain the second sink is asked, whose answer has to be waited for.
        let sink = self.sink.as_ref().ok_or(AuditError::Busy)?;
        sink.add_at_once(body).map(|_| ()).ok_or(AuditError::Busy)
    }

    /// Tells of a decision, with a wait of a second or two at most.
    ///
    /// # Errors
    /// `Untold` where no sink took it, and nothing may be done.
    pub fn tell(&self, body: Body) -> Result<Ticket, AuditError> {
        let chained = self.sink.as_ref().map(|sink| sink.add_in_time(body.clone()));
        match chained {
            Some(Ok(seq)) => Ok(Ticket::of(seq)),
            Some(Err(why)) => self.tell_without_chain(body, why),
            None => self.tell_without_chain(body, "there is no chain".to_owned()),
        }
    }

    /// As [`Trail::tell`], of a change: its record is synced while the change is made, and [`Trail::wait`] waits for that.
    pub fn tell_of_change(&self, body: Body) -> Result<Ticket, AuditError> {
        let ticket = self.tell(body)?;
        if let (Some(sink), Some(_)) = (&self.sink, ticket.0) {
            sink.sync_soon();
        }
        Ok(ticket)
    }

    /// Waits until records are on the disk, for a second at most. Those that are not by then are so before the next is taken.
    ///
    /// # Errors
    /// `Unsynced` where they are not, and the second sink has not taken them, and decisions do not take effect without a record.
    pub fn wait(&self, ticket: Ticket) -> Result<(), AuditError> {
        let (Some(sink), Some((first, last))) = (&self.sink, ticket.0) else { return Ok(()) };
        if sink.wait_synced(last) || self.herald.as_ref().is_some_and(|herald| herald.has_told(first, last)) {
            return Ok(());
        }
        log::error!("record {last} of the audit is written, and not known to be on the disk");
        if self.fails_open { Ok(()) } else { Err(AuditError::Unsynced) }
    }

    fn tell_without_chain(&self, body: Body, why: String) -> Result<Ticket, AuditError> {
        let miss = |count: fn(&mut Missed)| {
            if let Some(sink) = &self.sink {
                sink.pulse().miss(count);
            }
        };
        let why = match self.herald.as_ref().map(|herald| herald.tell(body)) {
            Some(Ok(())) => {
                miss(|missed| missed.elsewhere += 1);
                return Ok(Ticket::default());
            }
            Some(Err(of_witness)) if self.sink.is_none() => of_witness,
            Some(Err(of_witness)) => format!("{why}; {of_witness}"),
            None => why,
        };
        if self.fails_open {
            miss(|missed| missed.let_pass += 1);
            return Ok(Ticket::default());
        }
        miss(|missed| missed.refused += 1);
        Err(AuditError::Untold(why))
    }

    /// Has all that was written synced and told, with a wait of a second or two at most.
    pub fn rest(&self) {
        if let Some(herald) = &self.herald {
            herald.rest();
        }
        if let Some(head) = self.head()
            && let Err(error) = self.wait(Ticket::of(head.seq))
        {
            log::error!("the audit is not at rest: {error}");
        }
    }

    /// Number of the last record that is on the disk; 0 as long as there is none of this process.
    pub fn on_disk(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.synced())
    }

    /// Where the chain has come to.
    pub fn head(&self) -> Option<Head> {
        self.sink.as_ref().and_then(|sink| sink.pulse().head())
    }

    /// Where the chain's segments are.
    pub fn dir(&self) -> Option<&PathBuf> {
        self.sink.as_ref().map(|sink| sink.dir())
    }

    /// For `.kmsfs/status`: `state` is `ok`, `blocked` (nothing that has to be recorded is done), `elsewhere` (the second sink alone
    /// takes records) or `open` (decisions take effect without a record).
    pub fn status(&self) -> Json {
        let pulse = self.sink.as_ref().map(|sink| sink.pulse());
        let blocked = pulse.and_then(Pulse::blocked);
        let mut hangs = pulse.is_some_and(Pulse::hangs);
        let mut sinks = Vec::new();
        if pulse.is_some() {
            let why = blocked.as_ref().map(|blocked| blocked.why.clone());
            let why = why.or_else(|| hangs.then(|| "the disk does not answer".to_owned()));
            hangs = why.is_some();
            sinks.push(json!({ "name": "file", "error": why }));
        }
        let (mut witnessed, mut unheard) = (false, 0);
        if let Some(herald) = &self.herald {
            let (name, error, missed) = herald.status();
            (witnessed, unheard) = (error.is_none(), missed);
            sinks.push(json!({ "name": name, "error": error, "missed": missed }));
        }
        let chained = pulse.is_some() && !hangs;
        let state = match (chained, witnessed, self.fails_open) {
            (true, ..) => "ok",
            (false, true, _) if pulse.is_none() => "ok",
            (false, true, _) => "elsewhere",
            (false, false, true) => "open",
            (false, false, false) => "blocked",
        };
        let head = self.head();
        let missed = pulse.map(Pulse::missed).unwrap_or_default();
        json!({
            "state": state,
            "seq": head.map(|head| head.seq),
            "segment": head.map(|head| head.segment),
            "blocked_since": blocked.map(|blocked| blocked.since.to_string()),
            "missed": {
                "refused": missed.refused,
                "elsewhere": missed.elsewhere,
                "let_pass": missed.let_pass,
                "unheard": unheard,
            },
            "sinks": sinks,
        })
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let Some(sink) = &self.sink {
            sink.end();
        }
        if let Some(herald) = &self.herald {
            herald.end();
        }
    }
}

/// The name that KMS has for a caller: root and the daemon's own user are the account itself, others its users; who is a group alone is a role.
fn principal(account: &str, own_uid: u32, uid: u32, gid: u32) -> String {
    if uid == Identity::NOBODY {
        format!("acs:ram::{account}:role/{gid}")
    } else if uid == 0 || uid == own_uid {
        format!("acs:ram::{account}:root")
    } else {
        format!("acs:ram::{account}:user/{uid}")
    }
}

fn daemon_body(account: &str, own_uid: u32, gesture: &str, reason: &str) -> Body {
    let mut op = [0; 16];
    // It tells records apart for who searches, and nothing hangs on it.
    let _ = getrandom::fill(&mut op);
    let entry = Entry {
        op: OpId(op),
        action: None,
        gesture,
        outcome: Outcome::Granted,
        code: None,
        reason: reason.into(),
        account: None,
        uid: own_uid,
        gid: rustix::process::getegid().as_raw(),
        tid: std::process::id(),
        facts: None,
        target: &Target::default(),
    };
    entry.body(&principal(account, own_uid, own_uid, entry.gid))
}
