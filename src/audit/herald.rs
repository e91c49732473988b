//! Tells the second sink: a queue, and the thread that works it off, in order.
//!
//! Nobody waits for a socket who does not want to know what came of it: a record is put in the queue in the order of the chain, and
//! a sink that is full for a moment is waited for by the thread alone. Invariant: what the sink has not taken is counted, and told
//! as a gap as soon as it takes records again, to the sink itself and in the chain.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::book::boot_time;
use super::pulse::{HANG, Pulse};
use super::record::Body;
use super::sink::Event;
use super::witness::Witness;
use crate::time::Timestamp;

/// Bytes of records that may wait: a second of a busy mount's, some ten thousand of the usual length.
const QUEUE_MAX: u64 = 8 * 1024 * 1024;

/// See the file's head.
pub struct Herald {
    queue: Mutex<Queue>,
    /// Rings when there is something to tell.
    bell: Condvar,
    /// Rings when something was told, or was not.
    done_bell: Condvar,
    /// Told of what the chain has to have a gap record of.
    pulse: Arc<Pulse>,
    event: Event,
    name: String,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    /// Of all that wait.
    bytes: u64,
    /// One has been taken out, and is being told.
    telling: bool,
    /// The last number of the chain that is done with, and the last that was missed.
    done: u64,
    missed: u64,
    /// Records that were not taken, and those of them that no gap record tells of yet.
    missed_count: u64,
    untold: u64,
    /// Why the last one was not taken.
    failed: Option<String>,
    ended: bool,
}

/// A record to be told.
struct Item {
    body: Body,
    seq: Option<u64>,
    time: Timestamp,
    boot: u64,
    /// For who waits to know what came of it.
    answer: Option<Arc<Answer>>,
}

#[derive(Default)]
struct Answer {
    outcome: Mutex<Option<Result<(), String>>>,
    bell: Condvar,
}

impl Item {
    fn new(body: Body, seq: Option<u64>, answer: Option<Arc<Answer>>) -> Self {
        Self { body, seq, time: Timestamp::from_system(SystemTime::now()), boot: boot_time(), answer }
    }
}

impl Queue {
    /// Counts one that was not taken.
    fn miss(&mut self, seq: Option<u64>) {
        self.missed_count += 1;
        self.untold += 1;
        self.missed = self.missed.max(seq.unwrap_or(0));
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.telling
    }
}

impl Herald {
    /// Starts the thread. Nothing is connected before the first record.
    pub fn start(witness: Witness, pulse: Arc<Pulse>, event: Event) -> io::Result<Arc<Self>> {
        let name = witness.name();
        let (queue, bell, done_bell) = Default::default();
        let herald = Arc::new(Self { queue, bell, done_bell, pulse, event, name });
        let of_thread = herald.clone();
        thread::Builder::new().name("kmsfs-audit-two".to_owned()).spawn(move || of_thread.work(witness))?;
        Ok(herald)
    }

    /// Its name, why it did not take the last record, and how many it has not taken.
    pub fn status(&self) -> (&str, Option<String>, u64) {
        let queue = self.queue.lock();
        (&self.name, queue.failed.clone(), queue.missed_count)
    }

    /// Has it told of record `seq` of the chain, in its turn and without a wait.
    pub fn offer(&self, body: Body, seq: u64) {
        self.put(Item::new(body, Some(seq), None));
    }

    /// Tells of a record that the chain has not, and waits a second at most for what comes of it.
    pub fn tell(&self, body: Body) -> Result<(), String> {
        let answer = Arc::new(Answer::default());
        if !self.put(Item::new(body, None, Some(answer.clone()))) {
            return Err(format!("{} has too many records before it", self.name));
        }
        let until = Instant::now() + HANG;
        let mut outcome = answer.outcome.lock();
        while outcome.is_none() {
            if answer.bell.wait_until(&mut outcome, until).timed_out() {
                break;
            }
        }
        // Should it be told after all, there is a record of what was not done.
        outcome.take().unwrap_or_else(|| Err(format!("{} does not answer", self.name)))
    }

    fn put(&self, item: Item) -> bool {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + item.body.line_max();
        if bytes > QUEUE_MAX {
            queue.miss(item.seq);
            return false;
        }
        queue.bytes = bytes;
        queue.waiting.push_back(item);
        drop(queue);
        self.bell.notify_one();
        true
    }

    /// Whether it has taken the records of the chain from number `first` to `last`, after a wait of a second at most.
    pub fn has_told(&self, first: u64, last: u64) -> bool {
        self.wait(|queue| queue.done >= last || queue.missed >= first);
        let queue = self.queue.lock();
        queue.done >= last && queue.missed < first
    }

    /// Waits until nothing is left to tell, for a second at most.
    pub fn rest(&self) {
        self.wait(Queue::is_idle);
    }

    fn wait(&self, is_enough: impl Fn(&Queue) -> bool) {
        let until = Instant::now() + HANG;
        let mut queue = self.queue.lock();
        while !is_enough(&queue) && !self.done_bell.wait_until(&mut queue, until).timed_out() {}
    }

    /// Lets the thread end, once it has told all that waits.
    pub fn end(&self) {
        self.queue.lock().ended = true;
        self.bell.notify_one();
    }

    fn work(&self, mut witness: Witness) {
        let mut queue = self.queue.lock();
        loop {
            let item = loop {
                match queue.waiting.pop_front() {
                    Some(item) => break item,
                    None if queue.ended => return,
                    None => self.bell.wait(&mut queue),
                }
            };
            queue.bytes -= item.body.line_max();
            queue.telling = true;
            let untold = queue.untold;
            drop(queue);
            let (gap_told, outcome) = self.tell_with_gap(&mut witness, &item, untold);
            queue = self.queue.lock();
            queue.telling = false;
            if gap_told {
                queue.untold -= untold;
                self.pulse.miss(|missed| missed.unheard += untold);
            }
            queue.failed = outcome.as_ref().err().cloned();
            queue.done = queue.done.max(item.seq.unwrap_or(0));
            if outcome.is_err() {
                queue.miss(item.seq);
            }
            if let Some(answer) = item.answer {
                *answer.outcome.lock() = Some(outcome);
                answer.bell.notify_one();
            }
            self.done_bell.notify_all();
        }
    }

    /// Tells of what was missed before, if that is anything, and of `item`. Whether the one was told, and what came of the other.
    fn tell_with_gap(&self, witness: &mut Witness, item: &Item, untold: u64) -> (bool, Result<(), String>) {
        if untold > 0 {
            let words = format!("{untold} records were not told here");
            let gap = (self.event)("gap", &words).unchained(None, item.time, item.boot);
            if let Err(error) = witness.tell(&gap, HANG) {
                return (false, Err(error));
            }
        }
        let line = item.body.unchained(item.seq, item.time, item.boot);
        (untold > 0, witness.tell(&line, HANG))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::super::record::{Entry, Outcome, Target};
    use super::super::witness::WitnessKind;
    use super::*;
    use crate::id::OpId;

    fn body(gesture: &str, reason: &str) -> Body {
        let entry = Entry {
            op: OpId([0; 16]),
            action: None,
            gesture,
            outcome: Outcome::Granted,
            code: None,
            reason: reason.into(),
            account: None,
            uid: 0,
            gid: 0,
            tid: 0,
            facts: None,
            target: &Target::default(),
        };
        entry.body("somebody")
    }

    fn event() -> Event {
        Arc::new(|gesture: &'static str, reason: &str| body(gesture, reason))
    }

    fn heard(listener: &UnixDatagram) -> serde_json::Value {
        let mut bytes = [0; 4096];
        let len = listener.recv(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap()
    }

    /// Many more than a socket holds, told while nobody takes them out, come in order; and what was told while nobody listened is
    /// counted, and told as a gap.
    #[test]
    fn records_come_in_order_and_what_is_missed_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (path, pulse) = (dir.path().join("socket"), Arc::new(Pulse::default()));
        let witness = Witness::new(WitnessKind::Syslog, Some(&path));
        let herald = Herald::start(witness, pulse.clone(), event()).unwrap();
        for seq in 1..=3 {
            herald.offer(body("read", "mode"), seq);
        }
        assert!(herald.tell(body("read", "mode")).is_err(), "nobody listens");
        assert!(!herald.has_told(1, 3) && !herald.has_told(3, 3));
        assert_eq!(herald.status().2, 4);
        let listener = UnixDatagram::bind(&path).unwrap();
        const MANY: u64 = 2_000;
        for seq in 4..MANY {
            herald.offer(body("read", "mode"), seq);
        }
        let gap = heard(&listener);
        assert_eq!((&gap["gesture"], &gap["reason"]), (&"gap".into(), &"4 records were not told here".into()));
        for seq in 4..MANY {
            assert_eq!(heard(&listener)["seq"], seq);
        }
        assert!(herald.has_told(4, MANY - 1) && !herald.has_told(3, MANY - 1));
        assert_eq!((herald.status().1, herald.status().2, pulse.missed().unheard), (None, 4, 4));
        herald.tell(body("read", "mode")).unwrap();
        herald.rest();
        herald.end();
    }

    #[test]
    fn a_queue_is_bounded_and_what_it_has_no_room_for_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let witness = Witness::new(WitnessKind::Syslog, Some(&path));
        let herald = Herald::start(witness, Arc::new(Pulse::default()), event()).unwrap();
        let long = body("read", &"x".repeat(64 * 1024));
        let many = 3 * QUEUE_MAX / long.line_max();
        let began = Instant::now();
        (1..=many).for_each(|seq| herald.offer(long.clone(), seq));
        assert!(began.elapsed() < Duration::from_millis(900), "nobody waits: {:?}", began.elapsed());
        assert!(herald.status().2 > many / 3, "{:?}", herald.status());
        assert!(herald.queue.lock().bytes <= QUEUE_MAX && !herald.has_told(1, many));
        herald.end();
    }
}
