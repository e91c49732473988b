//! `.kmsfs/metrics`: what Prometheus would make of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::harness::{Mount, text};
use crate::keeper::kill_worker;

/// Reads metrics with the parser of Prometheus's own client, refuses what promtool does, and prints `name{labels}: value` as JSON.
const PARSER: &str = r##"
import json, re, sys
from prometheus_client.parser import text_string_to_metric_families as parse
text = sys.stdin.read()
assert text.endswith("\n")
described, seen, values = set(), set(), {}
for line in text.splitlines():
    if line.startswith("# "):
        _, sort, name, rest = line.split(" ", 3)
        assert sort in ("HELP", "TYPE") and rest, line
        assert (sort, name) not in described, "described twice: " + line
        described.add((sort, name))
        assert sort == "HELP" or ("HELP", name) in described, line
    else:
        name = re.sub("_(bucket|sum|count)$", "", re.split("[{ ]", line)[0])
        name = name if ("TYPE", name) in described else re.split("[{ ]", line)[0]
        assert ("TYPE", name) in described, "a sample before its type: " + line
for family in parse(text):
    assert re.fullmatch("kmsfs_[a-z_]+", family.name) and family.documentation.endswith("."), family
    if family.type == "counter":
        assert all(sample.name.endswith("_total") for sample in family.samples), family
    else:
        assert not family.name.endswith("_total"), family
    buckets = {}
    for sample in family.samples:
        key = sample.name + json.dumps(sample.labels, sort_keys=True)
        assert key not in seen, "twice: " + key
        seen.add(key)
        assert sample.value >= 0, sample
        values[sample.name + "".join(sorted("," + value for value in sample.labels.values()))] = sample.value
        if sample.name.endswith("_bucket"):
            buckets.setdefault(sample.labels["operation"], []).append((float(sample.labels["le"]), sample.value))
        if sample.name.endswith("_count"):
            bounds = buckets[sample.labels["operation"]]
            assert bounds == sorted(bounds) and bounds[-1] == (float("inf"), sample.value), bounds
            assert [count for _, count in bounds] == sorted(count for _, count in bounds), bounds
print(json.dumps(values))
"##;

/// All samples; a name's labels follow it, each behind a comma, in order.
fn samples(mount: &Mount) -> Json {
    let metrics = std::fs::File::open(mount.path(".kmsfs/metrics")).unwrap();
    let output = Command::new("/usr/bin/python3").args(["-c", PARSER]).stdin(Stdio::from(metrics)).output();
    let output = output.expect("python3 and python3-prometheus-client; see scripts/test-packages");
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), mount.read(".kmsfs/metrics"));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(samples: &Json, name: &str) -> f64 {
    samples[name].as_f64().unwrap_or(0.0)
}

#[test]
fn prometheus_understands_and_counts_rise() {
    let mount = Mount::new();
    mount.secret("prod/s", "one");
    let before = samples(&mount);
    for _ in 0..5 {
        mount.read("prod/s/current");
    }
    mount.write("prod/s/current", "two");
    mount.fails("cat prod/nothing; mkdir prod/.bad");
    let held = std::fs::File::open(mount.path("prod/s/versions/v1")).unwrap();
    let events = std::fs::File::open(mount.path(".kmsfs/events")).unwrap();
    let after = samples(&mount);
    drop((held, events));
    let rise = |name: &str| number(&after, name) - number(&before, name);
    for (name, least) in [
        ("kmsfs_requests_total,ok,open", 7.0),
        ("kmsfs_requests_total,ok,read", 5.0),
        ("kmsfs_requests_total,ok,release", 5.0),
        ("kmsfs_requests_total,ok,open_write", 1.0),
        ("kmsfs_requests_total,ok,write", 1.0),
        ("kmsfs_requests_total,close,ok", 1.0),
        ("kmsfs_requests_total,absent,lookup", 1.0),
        ("kmsfs_requests_total,mkdir,refused", 1.0),
        ("kmsfs_request_duration_seconds_count,open", 7.0),
        ("kmsfs_request_duration_seconds_bucket,+Inf,open", 7.0),
        ("kmsfs_store_changes_total", 1.0),
        ("kmsfs_store_versions", 1.0),
        ("kmsfs_events_total", 2.0),
        ("kmsfs_open_files,value", 1.0),
        ("kmsfs_open_files,events", 1.0),
    ] {
        assert!(rise(name) >= least, "{name} rises by {} only\n{before}\n{after}", rise(name));
    }
    assert_eq!(rise("kmsfs_store_changes_total"), 1.0);
    assert!(rise("kmsfs_request_duration_seconds_sum,open") > 0.0);
    for (name, value) in [
        ("kmsfs_health,ok", 1.0),
        ("kmsfs_health,damaged", 0.0),
        ("kmsfs_worker_restarts_total", 0.0),
        (concat!("kmsfs_build_info,", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(after[name].as_f64(), Some(value), "{name}");
    }
    assert!(number(&after, "kmsfs_store_size_bytes") > 4096.0 && number(&after, "kmsfs_store_free_bytes") > 4096.0);
    kill_worker(&mount);
    assert_eq!(samples(&mount)["kmsfs_worker_restarts_total"], 1.0);
}

#[test]
fn the_next_purge_is_known() {
    let mut mount = Mount::new();
    let purge = |mount: &Mount| {
        let status = mount.status()["next_purge"].clone();
        let seconds = samples(mount)["kmsfs_next_purge_timestamp_seconds"].as_f64();
        assert_eq!(status.is_null(), seconds.is_none());
        (status.as_str().map(str::to_owned), seconds)
    };
    let planned = |mount: &Mount, name: &str| {
        let info: Json = serde_json::from_str(&mount.read(&format!("prod/.deleted/{name}/info"))).unwrap();
        info["PlannedDeleteTime"].as_str().unwrap().to_owned()
    };
    assert_eq!(purge(&mount), (None, None));
    mount.secret("prod/late", "x");
    mount.secret("prod/soon", "x");
    mount.ok("rm -r prod/late");
    assert_eq!(purge(&mount).0, Some(planned(&mount, "late")));
    mount.ok("echo 7 > prod/.instance/recovery-window; rm -r prod/soon");
    let soon = planned(&mount, "soon");
    assert_eq!(purge(&mount).0.as_ref(), Some(&soon), "at once");
    mount.restart();
    let began = Instant::now();
    while purge(&mount).0.as_ref() != Some(&soon) {
        assert!(began.elapsed() < Duration::from_secs(30), "a new mount does not find it");
        std::thread::yield_now();
    }
    mount.ok("echo purge > prod/.deleted/soon/state");
    mount.restart();
    let began = Instant::now();
    while purge(&mount).0 != Some(planned(&mount, "late")) {
        assert!(began.elapsed() < Duration::from_secs(30), "a new mount does not find it");
        std::thread::yield_now();
    }
}
