//! A walk over the whole store: every row opens, every row that another names is there, and the head's counts and digest
//! agree with what was found. Finds what no single read can: rows that are missing, or old.

use super::ledger::{Digested, record_row};
use super::{Loaded, Vault, VaultError};
use crate::crypto::{RowKey, SetDigest};
use crate::id::NodeId;
use crate::store::{Record, Revision, Row, RowId, Table};

/// Rows read at a time.
const PAGE: usize = 512;
/// Problems named before the report only counts: a store that lost a key would otherwise fill the screen.
const NAMED: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub instances: u64,
    pub secrets: u64,
    pub versions: u64,
    pub records: u64,
    /// One line each; empty when the store is sound.
    pub problems: Vec<String>,
}

impl VerifyReport {
    fn problem(&mut self, text: String) {
        if self.problems.len() < NAMED {
            self.problems.push(text);
        }
    }
}

impl Vault {
    /// Verifies the whole store. Takes no change meanwhile.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        let ledger = self.ledger.lock();
        let mut report = VerifyReport::default();
        if let Err(error) = self.store.check() {
            report.problem(error.to_string());
        }
        let mut digest = SetDigest::EMPTY;
        let mut wraps = 0;
        self.walk(Table::Records, |row| self.verify_record(row, &mut digest, &mut report))?;
        self.walk(Table::Wraps, |row| {
            wraps += 1;
            let key = RowKey { node: row.id.node, no: row.id.no };
            digest.add(&self.keyring.master.set_element(
                self.keyring.store_id,
                Digested::Wraps as u8,
                key,
                row.sealed.as_bytes(),
            ));
            Ok(())
        })?;
        let mut values = 0;
        self.walk(Table::Values, |_| {
            values += 1;
            Ok(())
        })?;
        let head = &ledger.head;
        for (what, found, expected) in [
            ("records", report.records, head.records),
            ("wrapped keys", wraps, head.wraps),
            ("values", values, head.values),
        ] {
            if found != expected {
                report.problem(format!("{found} {what} are there, the head counts {expected}"));
            }
        }
        if digest != head.digest {
            report.problem(
                "a record or a wrapped key is missing, old, or not of this store: the set digest differs".into(),
            );
        }
        for slot in self.slots()?.iter().filter(|slot| slot.kind.is_none()) {
            report.problem(format!("unlock slot {} is damaged", slot.number));
        }
        Ok(report)
    }

    fn walk(&self, table: Table, mut each: impl FnMut(&Row) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let mut after = None;
        loop {
            let rows = self.store.scan(table, after, PAGE)?;
            for row in &rows {
                each(row)?;
            }
            match rows.last() {
                Some(row) if rows.len() == PAGE => after = Some(row.id),
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn verify_record(&self, row: &Row, digest: &mut SetDigest, report: &mut VerifyReport) -> Result<(), VaultError> {
        let id = row.id.node;
        let Some(place) = row.place else { return Ok(()) };
        if id < NodeId::ROOT {
            return Ok(());
        }
        report.records += 1;
        let key = RowKey { node: id, no: 0 };
        digest.add(&self.keyring.master.set_element(
            self.keyring.store_id,
            Digested::Records as u8,
            key,
            &record_row(place, &row.sealed),
        ));
        let record = Record { id, place, revision: Revision(0), sealed: row.sealed.clone() };
        match self.unseal(record) {
            Ok(loaded) => self.verify_node(&loaded, report),
            Err(error) => report.problem(format!("record {}: {error}", id.0)),
        }
        Ok(())
    }

    fn verify_node(&self, loaded: &Loaded, report: &mut VerifyReport) {
        let id = loaded.id();
        if loaded.as_instance().is_some() {
            report.instances += 1;
        }
        let parent = loaded.place().parent;
        if loaded.as_directory().is_some() && !matches!(self.node(parent), Ok(Some(_))) {
            report.problem(format!("record {}: its parent {} is missing", id.0, parent.0));
        }
        let Some(node) = loaded.as_secret() else { return };
        report.secrets += u64::from(!node.secret.is_draft());
        for version in &node.secret.versions {
            report.versions += 1;
            if let Err(error) = self.verify_version(loaded, RowId { node: id, no: version.no.0 }, version.len) {
                report.problem(format!("version {} of record {}: {error}", version.no.0, id.0));
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
