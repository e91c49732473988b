//! Who walks over everything, as backups and curious people do: find(1), which says whatever it does not like.

use std::process::Command;
use std::time::Duration;

use crate::account::Account;
use crate::cast::{Cue, Stage};
use crate::harness::text;

/// Between two walks.
const REST: Duration = Duration::from_millis(50);

pub fn find(stage: &Stage, cue: &Cue, account: &mut Account) {
    while cue.pause(REST) {
        let found = Command::new("find").arg(&stage.root).output().expect("find can be started");
        account.count("walks");
        let lines = text(&found.stdout);
        let all = stage.secrets().all(|secret| {
            let current = stage.path(secret, "current");
            lines.lines().any(|line| std::path::Path::new(line) == current)
        });
        if !found.status.success() || !found.stderr.is_empty() || !all {
            account.fault(format!("find ends with {}, all found: {all}: {}", found.status, text(&found.stderr)));
        }
    }
}
