//! What the mount measures, as Prometheus reads it: for each metric what it is and of which sort, then its samples.

use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use super::Tree;
use super::text::Health;
use crate::fs::errno::Fault;
use crate::fs::meter::{BOUNDS, Measured, OUTCOMES};
use crate::time::Timestamp;

/// A page of metrics in the making.
struct Page(String);

impl Page {
    /// Begins a metric. What follows are its samples.
    fn begin(&mut self, name: &str, sort: &str, help: &str) {
        // To write into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {sort}");
    }

    /// Adds a sample with labels, whose values are words of this program.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A metric of one sample.
    fn one(&mut self, name: &str, sort: &str, help: &str, value: impl Display) {
        self.begin(name, sort, help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }

    /// A moment that may not be known, or not be planned: then there is no sample.
    fn moment(&mut self, name: &str, help: &str, moment: Option<Timestamp>) {
        self.begin(name, "gauge", help);
        if let Some(moment) = moment {
            self.sample(name, &[], seconds(moment.0));
        }
    }
}

impl Tree {
    /// All metrics.
    pub(super) fn metrics(&self) -> Result<String, Fault> {
        let mut page = Page(String::new());
        page.begin("kmsfs_build_info", "gauge", "The program that serves the mount.");
        page.sample("kmsfs_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.add_requests(&mut page);
        self.add_store(&mut page);
        self.add_audit(&mut page);
        self.add_service(&mut page);
        Ok(page.0)
    }

    fn add_requests(&self, page: &mut Page) {
        let measured: Vec<Measured> = self.shared.meter.measured().collect();
        let name = "kmsfs_requests_total";
        page.begin(name, "counter", "Requests of the kernel, by operation and what came of them.");
        for Measured { operation, outcomes, .. } in &measured {
            for ((_, outcome), count) in OUTCOMES.iter().zip(outcomes).filter(|(_, count)| **count > 0) {
                page.sample(name, &[("operation", operation), ("result", outcome)], count);
            }
        }
        let name = "kmsfs_request_duration_seconds";
        page.begin(
            name,
            "histogram",
            "Time from a request to its answer; that of read_events is mostly spent waiting.",
        );
        for Measured { operation, classes, nanoseconds, .. } in &measured {
            let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
            let mut count = 0;
            for (bound, class) in bounds.zip(classes) {
                count += class;
                page.sample(&format!("{name}_bucket"), &[("operation", operation), ("le", bound)], count);
            }
            page.sample(&format!("{name}_sum"), &[("operation", operation)], seconds(*nanoseconds));
            page.sample(&format!("{name}_count"), &[("operation", operation)], count);
        }
        page.counter(
            "kmsfs_disk_lookups_total",
            "Requests that only look and to which memory had no answer.",
            self.shared.meter.asked_disk(),
        );
    }

    fn add_store(&self, page: &mut Page) {
        let (store, counts, scrubbed) = (self.vault.store_status(), self.vault.counts(), self.vault.scrubbed());
        page.gauge("kmsfs_store_size_bytes", "Bytes of the store on its disk.", store.disk_bytes);
        page.gauge("kmsfs_store_free_bytes", "Bytes free on that disk.", store.free_bytes);
        let help = "Bytes missing of the reserve for deletions and rollbacks on a full disk.";
        page.gauge("kmsfs_store_reserve_missing_bytes", help, store.reserve_missing_bytes);
        page.gauge("kmsfs_store_records", "Instances, keys, directories and secrets.", counts.records);
        page.gauge("kmsfs_store_versions", "Versions of secrets.", counts.versions);
        // As old as the store, and rising with each commit: a counter, though of a store and not of a process.
        page.counter("kmsfs_store_changes_total", "Commits since the store was made.", counts.changes);
        page.gauge("kmsfs_cached_records", "Records kept in memory.", self.vault.cached_records());
        let health = self.health();
        page.begin("kmsfs_health", "gauge", "1 for the state that the mount is in.");
        for state in Health::ALL {
            page.sample("kmsfs_health", &[("state", state.word())], u8::from(state == health));
        }
        let damage = self.shared.damage.met().map_or(0, |met| met.count);
        page.counter("kmsfs_damage_total", "Times that somebody met something which does not open.", damage);
        page.counter("kmsfs_scrub_passes_total", "Walks over the whole store that came to their end.", scrubbed.passes);
        page.gauge("kmsfs_scrub_problems", "Problems that the last walk found, or this one so far.", scrubbed.problems);
        page.gauge("kmsfs_scrub_unread_records", "Records that could not be read, and not since.", scrubbed.unread);
        page.moment("kmsfs_scrub_last_timestamp_seconds", "When the last walk came to its end.", scrubbed.last);
        let help = "When the first of the secrets that are scheduled for deletion may be purged.";
        page.moment("kmsfs_next_purge_timestamp_seconds", help, self.vault.next_purge());
        let runs = self.vault.run_counts();
        page.begin(
            "kmsfs_rotations_total",
            "counter",
            "Runs of rotation functions, and steps of them that are tried again.",
        );
        for (outcome, count) in [("done", runs.done), ("failed", runs.failed), ("retried", runs.retried)] {
            page.sample("kmsfs_rotations_total", &[("outcome", outcome)], count);
        }
        let held = self.vault.purges_held().map_or(0, |time| time.as_secs());
        page.gauge("kmsfs_purges_held_seconds", "For how long what is due waits, since the clock was changed.", held);
    }

    /// The states are those of the status.
    fn add_audit(&self, page: &mut Page) {
        let audit = self.audit_status();
        page.begin("kmsfs_audit", "gauge", "1 for the state that the record of decisions is in.");
        for state in ["ok", "elsewhere", "open", "blocked", "off"] {
            page.sample("kmsfs_audit", &[("state", state)], u8::from(audit["state"] == state));
        }
        let number = |pointer: &str| audit.pointer(pointer).and_then(Json::as_u64).unwrap_or(0);
        let help = "Decisions that stand in the chain, since it was begun.";
        page.counter("kmsfs_audit_records_total", help, number("/seq"));
        let name = "kmsfs_audit_missed_total";
        page.begin(name, "counter", "Decisions that are missing in the chain, by what became of them.");
        for outcome in ["refused", "elsewhere", "let_pass"] {
            page.sample(name, &[("outcome", outcome)], number(&format!("/missed/{outcome}")));
        }
        let help = "Records that the second sink has not taken, since this worker began.";
        page.counter("kmsfs_audit_unheard_total", help, number("/missed/unheard"));
    }

    fn add_service(&self, page: &mut Page) {
        let began = SystemTime::now().checked_sub(self.shared.started.elapsed()).unwrap_or(UNIX_EPOCH);
        page.moment(
            "kmsfs_worker_start_timestamp_seconds",
            "When this worker began; counters begin anew with it.",
            Some(Timestamp::from_system(began)),
        );
        let help = "Workers that served the mount before this one, upgrades included.";
        page.counter("kmsfs_worker_restarts_total", help, self.shared.life.workers_before);
        page.begin("kmsfs_open_files", "gauge", "Open files, by what they are open on.");
        for (sort, count) in self.shared.opens.counts() {
            page.sample("kmsfs_open_files", &[("sort", sort)], count);
        }
        page.gauge(
            "kmsfs_scratch_files",
            "Files of editors and tools in memory.",
            self.shared.scratches.lock().count(),
        );
        page.counter("kmsfs_events_total", "Events told of since this worker began.", self.vault.feed_end());
    }
}

/// Nanoseconds as seconds, exactly.
fn seconds(nanoseconds: u64) -> String {
    let time = Duration::from_nanos(nanoseconds);
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_described_before_its_samples() {
        let mut page = Page(String::new());
        page.begin("a_total", "counter", "What it is.");
        page.sample("a_total", &[("x", "1"), ("y", "z")], 7);
        page.moment("b", "A moment.", Some(Timestamp(1_500_000_000)));
        page.moment("c", "None.", None);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"z\"} 7\n\
            # HELP b A moment.\n# TYPE b gauge\nb 1.500000000\n# HELP c None.\n# TYPE c gauge\n";
        assert_eq!(page.0, expected);
    }
}
