//! A walk over the whole store: every row opens, every row that another names is there, and the head's counts and digest
//! agree with what was found. Finds what no single read can: rows that are missing, or old.

use super::counted::Counted;
use super::ledger::{Digested, record_row};
use super::{Loaded, Node, StoreError, Vault, VaultError};
use crate::crypto::{Head, RowKey, SetDigest, SetElement};
use crate::id::NodeId;
use crate::store::{Record, Revision, Row, RowId, Store as _, Table};

/// Rows read at a time.
const PAGE: usize = 512;
/// Problems named before the report only counts: a store that lost a key would otherwise fill the screen.
const NAMED: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Instances that open.
    pub instances: u64,
    /// Secrets that open, scheduled ones among them; drafts are not counted.
    pub secrets: u64,
    /// Versions that those secrets name, whether or not their values open.
    pub versions: u64,
    /// Records of the tree that were met, those that do not open among them.
    pub records: u64,
    /// One line each, the first ones where there are very many; empty when the store is sound.
    pub problems: Vec<String>,
    /// The same of what could not be looked at, since the disk or the machine failed; of [`Vault::verify`] it is among the
    /// problems.
    pub unread: Vec<String>,
    /// How many of both were told already.
    told: (usize, usize),
    /// What was met of that which records count of others.
    counted: Counted,
}

/// The tables, in the order in which they are walked.
pub(super) const WALK: [Table; 3] = [Table::Records, Table::Wraps, Table::Values];

/// What a walk has met so far, to be held against the head.
pub(super) struct Tally {
    pub records: u64,
    pub wraps: u64,
    pub values: u64,
    pub digest: SetDigest,
}

impl Default for Tally {
    fn default() -> Self {
        Self { records: 0, wraps: 0, values: 0, digest: SetDigest::EMPTY }
    }
}

/// What a row adds to a tally.
pub(super) enum Met {
    Record(SetElement),
    Wrap(SetElement),
    Value,
    /// It is none that the head counts.
    Uncounted,
}

impl Tally {
    pub fn add(&mut self, met: &Met) {
        match met {
            Met::Record(element) => {
                self.records += 1;
                self.digest.add(element);
            }
            Met::Wrap(element) => {
                self.wraps += 1;
                self.digest.add(element);
            }
            Met::Value => self.values += 1,
            Met::Uncounted => {}
        }
    }

    /// Names what is not as the head says, once everything was met.
    pub fn against(&self, head: &Head, report: &mut VerifyReport) {
        for (what, found, expected) in [
            ("records", self.records, head.records),
            ("wrapped keys", self.wraps, head.wraps),
            ("values", self.values, head.values),
        ] {
            if found != expected {
                report.problem(format!("{found} {what} are there, the head counts {expected}"));
            }
        }
        if self.digest != head.digest {
            report.problem(
                "a record or a wrapped key is missing, old, or not of this store: the set digest differs".into(),
            );
        }
    }
}

impl VerifyReport {
    /// A report of one problem alone.
    pub(crate) fn of(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Whether all was looked at, and nothing is wrong.
    pub(super) fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.unread.is_empty()
    }

    /// Adds what another part of the walk has found.
    pub(super) fn take_in(&mut self, other: VerifyReport) {
        self.instances += other.instances;
        self.secrets += other.secrets;
        self.versions += other.versions;
        self.records += other.records;
        other.problems.into_iter().for_each(|problem| self.problem(problem));
        other.unread.into_iter().for_each(|what| self.unread(what));
    }

    /// The problems that were not told yet, and what was not read.
    pub(super) fn untold(&mut self) -> (&[String], &[String]) {
        let (problems, unread) = std::mem::replace(&mut self.told, (self.problems.len(), self.unread.len()));
        (&self.problems[problems..], &self.unread[unread..])
    }

    pub(super) fn problem(&mut self, text: String) {
        if self.problems.len() < NAMED {
            self.problems.push(text);
        }
    }

    fn unread(&mut self, text: String) {
        if self.unread.len() < NAMED {
            self.unread.push(text);
        }
    }

    /// Takes note of what `error` has kept from being found sound: it is damaged, or it could not be looked at.
    pub(super) fn failed(&mut self, what: &str, error: &VaultError) {
        let text = format!("{what}: {}", reason(error));
        if error.is_damage() { self.problem(text) } else { self.unread(text) }
    }

    /// Names records that count others wrong.
    fn compare_counts(&mut self) {
        std::mem::take(&mut self.counted).problems().into_iter().for_each(|problem| self.problem(problem));
    }

    /// The same, where what could not be looked at is a problem too.
    fn strictly(mut self) -> Self {
        let unread = std::mem::take(&mut self.unread);
        unread.into_iter().for_each(|what| self.problem(what));
        self
    }
}

/// What is wrong, without what every line of the report says already: that the store is damaged.
pub(super) fn reason(error: &VaultError) -> String {
    match error {
        VaultError::Sealed(why) => why.to_string(),
        VaultError::Lost { what, .. } => format!("{what} is missing"),
        VaultError::Unreadable { .. } => "what it holds cannot be understood".to_owned(),
        VaultError::Store(StoreError::Damaged(why)) => why.clone(),
        VaultError::Store(StoreError::Io(_) | StoreError::WouldWait)
        | VaultError::Refused(_)
        | VaultError::Commit(_)
        | VaultError::Crypto(_)
        | VaultError::Replaced { .. }
        | VaultError::OutOfNodes
        | VaultError::Audit(_)
        | VaultError::Slot(_) => error.to_string(),
    }
}

impl Vault {
    /// Verifies the whole store, as far as it can be read. Takes no change meanwhile.
    ///
    /// # Errors
    /// While the head itself is in doubt, since a commit has failed; all else that cannot be read is a problem of the report.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        let ledger = self.ledger()?;
        let mut report = VerifyReport::default();
        if let Err(error) = self.store.check() {
            report.problem(reason(&VaultError::Store(error)));
        }
        let mut tally = Tally::default();
        let mut whole = true;
        for table in WALK {
            whole &= self.walk(table, &mut tally, &mut report);
        }
        match self.slot_problems(&ledger.head) {
            Ok(problems) => problems.into_iter().for_each(|problem| report.problem(problem)),
            Err(error) => report.failed("the unlock slots", &error),
        }
        // What was not read can neither be counted nor compared; that it was not read is told above.
        if whole {
            tally.against(&ledger.head, &mut report);
            report.compare_counts();
        }
        Ok(report.strictly())
    }

    /// Reads a table to its end, or as far as it can be read; whether it was the end.
    fn walk(&self, table: Table, tally: &mut Tally, report: &mut VerifyReport) -> bool {
        let mut after = None;
        loop {
            let Some(rows) = self.page(table, after, PAGE, report) else { return false };
            for row in &rows {
                tally.add(&self.meet(table, row));
                if let Table::Records = table {
                    self.verify_record(row, report);
                }
            }
            match rows.last() {
                Some(row) if rows.len() == PAGE => after = Some(row.id),
                Some(_) | None => return true,
            }
        }
    }

    /// The next rows of a table; `None` where they cannot be read, which is in the report.
    pub(super) fn page(
        &self,
        table: Table,
        after: Option<RowId>,
        limit: usize,
        report: &mut VerifyReport,
    ) -> Option<Vec<Row>> {
        match self.store.scan(table, after, limit) {
            Ok(rows) => Some(rows),
            Err(error) => {
                let what = match table {
                    Table::Records => "records",
                    Table::Wraps => "wrapped keys",
                    Table::Values => "values",
                };
                report.failed(&format!("not all {what} can be read"), &VaultError::Store(error));
                None
            }
        }
    }

    /// What `row` of `table` adds to a tally.
    pub(super) fn meet(&self, table: Table, row: &Row) -> Met {
        let key = RowKey { node: row.id.node, no: row.id.no };
        let element =
            |of: Digested, bytes: &[u8]| self.keyring.master.set_element(self.keyring.store_id, of as u8, key, bytes);
        match (table, row.place) {
            (Table::Records, Some(place)) if row.id.node >= NodeId::ROOT => {
                Met::Record(element(Digested::Records, &record_row(place, &row.sealed)))
            }
            (Table::Records, _) => Met::Uncounted,
            (Table::Wraps, _) => Met::Wrap(element(Digested::Wraps, row.sealed.as_bytes())),
            (Table::Values, _) => Met::Value,
        }
    }

    pub(super) fn verify_record(&self, row: &Row, report: &mut VerifyReport) {
        let id = row.id.node;
        let Some(place) = row.place else { return };
        if id < NodeId::ROOT {
            return;
        }
        report.records += 1;
        let record = Record { id, place, revision: Revision(0), sealed: row.sealed.clone() };
        match self.unseal(record) {
            Ok(loaded) => self.verify_node(&loaded, report),
            Err(error) => report.failed(&format!("record {}", id.0), &error),
        }
    }

    /// As people call the node: `prod`, `prod/db/password`, a key of `prod`; what of it cannot be read is a number.
    fn called(&self, loaded: &Loaded) -> String {
        let within = |name: &str| match self.node(loaded.instance_id()) {
            Ok(Some(instance)) if instance.as_instance().is_some() => format!("{}/{name}", self.called(&instance)),
            Ok(_) | Err(_) => format!("{name} of instance {}", loaded.instance_id().0),
        };
        match &loaded.node {
            Node::Root(_) => "the root".to_owned(),
            Node::Instance(instance) => instance.name.as_str().to_owned(),
            Node::Key(key) => within(&format!(".keys/{}", key.name.as_str())),
            Node::Directory(directory) => within(directory.name.as_str()),
            Node::Secret(node) => within(node.secret.name.as_str()),
            Node::Rotation(entry) => within(&format!("the rotation of record {}", entry.secret.0)),
        }
    }

    fn verify_node(&self, loaded: &Loaded, report: &mut VerifyReport) {
        let id = loaded.id();
        if loaded.as_instance().is_some() {
            report.instances += 1;
        }
        if let Err(error) = self.count_in(&mut report.counted, loaded, self.called(loaded)) {
            report.failed("what records count of others", &error);
        }
        let parent = loaded.place().parent;
        // Not through the cache, which belongs to who reads; whether it opens is told when the walk comes to it.
        if loaded.as_directory().is_some() {
            match self.store.get(parent) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    report.problem(format!("{}: the record {} above it is missing", self.called(loaded), parent.0));
                }
                Err(error) => {
                    let what = format!("{}, the record {} above it", self.called(loaded), parent.0);
                    report.failed(&what, &VaultError::Store(error));
                }
            }
        }
        let Some(node) = loaded.as_secret() else { return };
        report.secrets += u64::from(!node.secret.is_draft());
        // Of values whose key was destroyed nothing is left to be opened.
        if self.is_key_gone(loaded).unwrap_or(false) {
            report.versions += node.secret.versions.len() as u64;
            return;
        }
        for version in &node.secret.versions {
            report.versions += 1;
            if let Err(error) = self.verify_version(loaded, RowId { node: id, no: version.no.0 }, version.len) {
                let (secret, version) = (self.called(loaded), version.id.as_str());
                report.failed(&format!("{secret}, version {version}"), &error);
            }
        }
    }

    /// Opens one value, whatever the state of its secret or key is, and forgets it.
    fn verify_version(&self, secret: &Loaded, row: RowId, len: u32) -> Result<(), VaultError> {
        let lost = |what| VaultError::Lost { what, node: row.node };
        let value = self.store.value(row)?.ok_or(lost("a value"))?;
        let wrap = self.store.wrap(row)?.ok_or(lost("a wrapped key"))?;
        let opened = self.open_value(secret, crate::id::VersionNo(row.no), &wrap, &value)?;
        if u64::try_from(opened.len()).ok() != Some(u64::from(len)) {
            return Err(VaultError::Unreadable { node: row.node });
        }
        Ok(())
    }
}
