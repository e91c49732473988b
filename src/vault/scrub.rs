//! A verification that goes on while the store is in use, a page at a time: whoever calls sets the pace.
//!
//! A page is passed as no commit has left it meanwhile; what commits change afterwards in the rows already passed is followed,
//! so that at the end the rows met are those of the last head, however many commits came between. What the disk does not read is
//! no damage: it is looked at again before long. Invariant: a row is in the tally once it was passed, and as the last commit left
//! it; a problem is told only if it is one while no commit is under way.

use std::sync::atomic::Ordering;

use super::ledger::Moved;
use super::verify::{Met, Tally, WALK};
use super::{Vault, VaultError, VerifyReport};
use crate::id::NodeId;
use crate::store::{Op, Row, RowId, Store as _, Table};
use crate::time::Timestamp;

/// Rows read at a time: values of all of them stand in memory at once, sealed, in 1 MiB at most.
pub const SCRUB_PAGE: usize = 32;
/// How often a page is read beside commits. Who scrubs runs at the lowest priority: with the ledger in hand it would make verbs
/// wait for as long as it waits itself. A store that is written to all the time does wait, for one page.
pub const SCRUB_TRIES: usize = 8;
/// Records kept to be looked at again. A disk that reads less than this waits for the next pass.
const UNREAD_MAX: usize = 1_024;

/// How far a pass has come, and what it has met.
#[derive(Default)]
pub(super) struct Walked {
    tally: Tally,
    /// The table it is in, as a place in [`WALK`].
    table: usize,
    /// The last row passed of that table.
    passed: Option<RowId>,
}

/// What scrubbing has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Passes that came to their end since the store was unlocked.
    pub passes: u64,
    /// When the last one did.
    pub last: Option<Timestamp>,
    /// Problems that it found, or that the present one has found so far.
    pub problems: usize,
    /// What it could not read, or has not been able to so far, and that was not read since.
    pub unread: usize,
}

/// Behind the last row of any table.
const TABLE_END: RowId = RowId { node: NodeId(u32::MAX), no: u32::MAX };

impl Walked {
    fn has_passed(&self, table: Table, row: RowId) -> bool {
        let at = WALK.iter().position(|walked| *walked == table).unwrap_or(WALK.len());
        at < self.table || at == self.table && self.passed.is_some_and(|passed| row <= passed)
    }

    /// Takes in what a commit has changed behind the walk.
    pub fn follow(&mut self, moved: &[Moved], ops: &[Op]) {
        for Moved { table, row, element, added } in moved {
            if !self.has_passed(*table, *row) {
                continue;
            }
            let count = if *table == Table::Records { &mut self.tally.records } else { &mut self.tally.wraps };
            if *added {
                self.tally.digest.add(element);
                *count += 1;
            } else {
                self.tally.digest.remove(element);
                *count = count.wrapping_sub(1);
            }
        }
        for op in ops {
            match op {
                Op::PutValue { id, .. } if self.has_passed(Table::Values, *id) => self.tally.values += 1,
                Op::DeleteValue { id } if self.has_passed(Table::Values, *id) => {
                    self.tally.values = self.tally.values.wrapping_sub(1);
                }
                Op::PutValue { .. }
                | Op::DeleteValue { .. }
                | Op::PutRecord { .. }
                | Op::DeleteRecord { .. }
                | Op::PutWrap { .. }
                | Op::DeleteWrap { .. } => {}
            }
        }
    }
}

impl Vault {
    /// Walks the whole store once, and logs what it finds. `go_on` is asked before each page, and may take its time; `None`
    /// where it said no.
    pub fn scrub(&self, mut go_on: impl FnMut() -> bool) -> Option<VerifyReport> {
        *self.walked.lock() = Some(Walked::default());
        let mut report = VerifyReport::default();
        let ended = self.scrub_tables(&mut go_on, &mut report);
        *self.walked.lock() = None;
        ended?;
        let mut scrubbed = self.scrubbed.lock();
        *scrubbed = Scrubbed {
            passes: scrubbed.passes + 1,
            last: Some(self.now()),
            problems: report.problems.len(),
            unread: report.unread.len(),
        };
        Some(report)
    }

    /// Looks again at the records that could not be read, and logs what it finds.
    pub fn scrub_unread(&self) {
        let unread: Vec<NodeId> = self.unread.lock().iter().copied().collect();
        for id in unread {
            let mut found = VerifyReport::default();
            self.verify_stored(id, &mut found);
            if !found.is_sound() {
                found = self.verify_surely(id);
            }
            if !found.unread.is_empty() {
                continue;
            }
            self.unread.lock().remove(&id);
            let mut scrubbed = self.scrubbed.lock();
            scrubbed.unread = scrubbed.unread.saturating_sub(1);
            scrubbed.problems += found.problems.len();
            drop(scrubbed);
            for problem in found.problems {
                log::error!("the store is damaged: {problem}");
            }
        }
    }

    /// What scrubbing has come to.
    pub fn scrubbed(&self) -> Scrubbed {
        *self.scrubbed.lock()
    }

    fn scrub_tables(&self, go_on: &mut impl FnMut() -> bool, report: &mut VerifyReport) -> Option<()> {
        let mut whole = true;
        for table in WALK {
            let mut after = None;
            loop {
                if !go_on() {
                    return None;
                }
                let Some(rows) = self.pass_page(table, after, report) else {
                    whole = false;
                    break;
                };
                for row in rows.iter().filter(|_| table == Table::Records) {
                    self.scrub_record(row, report);
                }
                self.tell(report);
                match rows.last() {
                    Some(row) if rows.len() == SCRUB_PAGE => after = Some(row.id),
                    Some(_) | None => break,
                }
            }
        }
        self.compare(whole, report);
        self.tell(report);
        Some(())
    }

    /// Holds what was met against the head, once it is known. Where it is not, or was in doubt since the pass began, nothing is
    /// compared: the next pass will.
    fn compare(&self, whole: bool, report: &mut VerifyReport) {
        let ledger = match self.ledger() {
            Ok(ledger) => ledger,
            Err(error) => {
                log::warn!("the scrub has no head to hold its rows against: {error}");
                return;
            }
        };
        let walked = self.walked.lock();
        let Some(walked) = &*walked else { return };
        match self.slot_problems(&ledger.head) {
            Ok(problems) => problems.into_iter().for_each(|problem| report.problem(problem)),
            Err(error) => report.failed("the unlock slots", &error),
        }
        if whole {
            walked.tally.against(&ledger.head, report);
        }
    }

    /// Reads the next rows and passes them; no commit comes between the two.
    fn pass_page(&self, table: Table, after: Option<RowId>, report: &mut VerifyReport) -> Option<Vec<Row>> {
        let read = |report: &mut VerifyReport| {
            let rows = self.page(table, after, SCRUB_PAGE, report)?;
            let met: Vec<Met> = rows.iter().map(|row| self.meet(table, row)).collect();
            Some((rows, met))
        };
        for _ in 0..SCRUB_TRIES {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let (rows, met) = read(report)?;
            // A commit that was under way is shown by the time this is locked.
            let _ledger = self.ledger.lock();
            if self.epoch.load(Ordering::SeqCst) == epoch {
                self.pass(table, &rows, &met);
                return Some(rows);
            }
        }
        let _ledger = self.ledger.lock();
        let (rows, met) = read(report)?;
        self.pass(table, &rows, &met);
        Some(rows)
    }

    fn pass(&self, table: Table, rows: &[Row], met: &[Met]) {
        // Gone where a commit has left the head in doubt: then the rest is looked at, and nothing summed.
        if let Some(walked) = &mut *self.walked.lock() {
            met.iter().for_each(|met| walked.tally.add(met));
            walked.table = WALK.iter().position(|walked| *walked == table).unwrap_or(WALK.len());
            walked.passed =
                Some(if rows.len() == SCRUB_PAGE { rows.last().map_or(TABLE_END, |row| row.id) } else { TABLE_END });
        }
    }

    /// Verifies a record that was read a moment ago. What seems wrong may have been changed since: it is looked at again.
    fn scrub_record(&self, row: &Row, report: &mut VerifyReport) {
        let mut found = VerifyReport::default();
        self.verify_record(row, &mut found);
        if !found.is_sound() {
            found = self.verify_surely(row.id.node);
        }
        let mut unread = self.unread.lock();
        if found.unread.is_empty() {
            unread.remove(&row.id.node);
        } else if unread.len() < UNREAD_MAX {
            unread.insert(row.id.node);
        }
        drop(unread);
        report.take_in(found);
    }

    /// Verifies a record while no commit is under way.
    fn verify_surely(&self, id: NodeId) -> VerifyReport {
        let _ledger = self.ledger.lock();
        let mut found = VerifyReport::default();
        self.verify_stored(id, &mut found);
        found
    }

    /// Verifies a record as the store has it, if it has it.
    fn verify_stored(&self, id: NodeId, found: &mut VerifyReport) {
        match self.store.get(id) {
            Ok(Some(record)) => {
                let row = Row { id: RowId { node: id, no: 0 }, place: Some(record.place), sealed: record.sealed };
                self.verify_record(&row, found);
            }
            Ok(None) => {}
            Err(error) => found.failed(&format!("record {}", id.0), &VaultError::Store(error)),
        }
    }

    /// Logs what is new in `report`, and lets it be seen before the pass is at its end.
    fn tell(&self, report: &mut VerifyReport) {
        let (problems, unread) = report.untold();
        for problem in problems {
            log::error!("the store is damaged: {problem}");
        }
        for what in unread {
            log::warn!("the scrub could not look at everything: {what}");
        }
        let mut scrubbed = self.scrubbed.lock();
        scrubbed.problems = scrubbed.problems.max(report.problems.len());
        scrubbed.unread = scrubbed.unread.max(report.unread.len());
    }
}
