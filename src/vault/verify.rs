//! A walk over the whole store: every row opens, every row that another names is there, and the head's counts and digest
//! agree with what was found. Finds what no single read can: rows that are missing, or old.

use super::ledger::{Digested, record_row};
use super::{Loaded, Node, StoreError, Vault, VaultError};
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

/// What is wrong, without what every line of the report says already: that the store is damaged.
fn reason(error: &VaultError) -> String {
    match error {
        VaultError::Sealed(why) => why.to_string(),
        VaultError::Lost { what, .. } => format!("{what} is missing"),
        VaultError::Unreadable { .. } => "what it holds cannot be understood".to_owned(),
        VaultError::Store(StoreError::Damaged(why)) => why.clone(),
        VaultError::Store(StoreError::Io(_))
        | VaultError::Refused(_)
        | VaultError::Commit(_)
        | VaultError::Crypto(_)
        | VaultError::OutOfNodes
        | VaultError::Slot(_) => error.to_string(),
    }
}

impl Vault {
    /// Verifies the whole store, as far as it can be read. Takes no change meanwhile.
    ///
    /// # Errors
    /// None today: what cannot be read is a problem of the report.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        let ledger = self.ledger.lock();
        let mut report = VerifyReport::default();
        if let Err(error) = self.store.check() {
            report.problem(reason(&VaultError::Store(error)));
        }
        let mut digest = SetDigest::EMPTY;
        let mut wraps = 0;
        let mut whole = self.walk(Table::Records, &mut report, |row, report| {
            self.verify_record(row, &mut digest, report);
        });
        whole &= self.walk(Table::Wraps, &mut report, |row, _| {
            wraps += 1;
            let key = RowKey { node: row.id.node, no: row.id.no };
            digest.add(&self.keyring.master.set_element(
                self.keyring.store_id,
                Digested::Wraps as u8,
                key,
                row.sealed.as_bytes(),
            ));
        });
        let mut values = 0;
        whole &= self.walk(Table::Values, &mut report, |_, _| values += 1);
        match self.slots() {
            Ok(slots) => {
                for slot in slots.iter().filter(|slot| slot.kind.is_none()) {
                    report.problem(format!("unlock slot {} is damaged", slot.number));
                }
            }
            Err(error) => report.problem(format!("the unlock slots: {}", reason(&error))),
        }
        if !whole {
            // What was not read can neither be counted nor compared; that it was not read is told above.
            return Ok(report);
        }
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
        Ok(report)
    }

    /// Reads a table to its end, or as far as it can be read; whether it was the end.
    fn walk(&self, table: Table, report: &mut VerifyReport, mut each: impl FnMut(&Row, &mut VerifyReport)) -> bool {
        let mut after = None;
        loop {
            let rows = match self.store.scan(table, after, PAGE) {
                Ok(rows) => rows,
                Err(error) => {
                    let what = match table {
                        Table::Records => "records",
                        Table::Wraps => "wrapped keys",
                        Table::Values => "values",
                    };
                    report.problem(format!("not all {what} can be read: {}", reason(&VaultError::Store(error))));
                    return false;
                }
            };
            for row in &rows {
                each(row, report);
            }
            match rows.last() {
                Some(row) if rows.len() == PAGE => after = Some(row.id),
                Some(_) | None => return true,
            }
        }
    }

    fn verify_record(&self, row: &Row, digest: &mut SetDigest, report: &mut VerifyReport) {
        let id = row.id.node;
        let Some(place) = row.place else { return };
        if id < NodeId::ROOT {
            return;
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
            Err(error) => report.problem(format!("record {}: {}", id.0, reason(&error))),
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
        }
    }

    fn verify_node(&self, loaded: &Loaded, report: &mut VerifyReport) {
        let id = loaded.id();
        if loaded.as_instance().is_some() {
            report.instances += 1;
        }
        let parent = loaded.place().parent;
        if loaded.as_directory().is_some() && !matches!(self.node(parent), Ok(Some(_))) {
            report.problem(format!("{}: the record {} above it is missing or damaged", self.called(loaded), parent.0));
        }
        let Some(node) = loaded.as_secret() else { return };
        report.secrets += u64::from(!node.secret.is_draft());
        for version in &node.secret.versions {
            report.versions += 1;
            if let Err(error) = self.verify_version(loaded, RowId { node: id, no: version.no.0 }, version.len) {
                let (secret, version) = (self.called(loaded), version.id.as_str());
                report.problem(format!("{secret}, version {version}: {}", reason(&error)));
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
