//! A sample of the table of `tests/decisions`, put to a real mount by real users, groups, logins and user namespaces: the model is the
//! same.

use std::collections::BTreeMap;
use std::process::Output;

use crate::harness::{Mount, text};
use crate::people::{OUTSIDER, SHAREE, home_number, remount};
use oracle::{Account, Action, document};
use policies::of_keys;
use table::{INSTANCE_UID, OWNER, Row, rows};

#[path = "../decisions/oracle.rs"]
mod oracle;
#[path = "../decisions/policies.rs"]
mod policies;
#[path = "../decisions/table.rs"]
mod table;

/// Rows that are tried.
const SAMPLE: usize = 108;
/// A process that is root of a namespace of its own is nobody else for it: so many rows have one such.
const NESTED: usize = 3;

fn option(account: Account) -> Option<&'static str> {
    match account {
        Account::Home => None,
        Account::Sharee => Some(SHAREE),
        Account::Outsider => Some(OUTSIDER),
    }
}

/// Rows of every account, action and outcome, as evenly as there are, with the cgroup that everybody here has.
fn sample() -> Vec<Row> {
    let table = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let cgroup = table.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned);
    let mut cells: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for mut row in rows() {
        row.asks.cgroup.clone_from(&cgroup);
        let cell = (row.asks.account, row.action, expected(&row), row.secret.policy.is_some());
        cells.entry(cell).or_default().push(row);
    }
    let deepest = cells.values().map(Vec::len).max().unwrap();
    // The last of each first: those are drawn from all that there is.
    let pick = |depth: usize| {
        cells.values().filter_map(move |rows| rows.len().checked_sub(depth + 1).map(|at| rows[at].clone()))
    };
    (0..deepest).flat_map(pick).take(SAMPLE).collect()
}

/// A file of tags that is written whole loses some and gets others.
fn expected(row: &Row) -> bool {
    let also = |action| oracle::may(&row.asks, &row.secret, action);
    row.expected() && (row.action != Action::UntagResource || also(Action::TagResource))
}

fn path(at: usize, row: &Row) -> String {
    format!("prod/{}/r{at}", if row.is_closed { "closed" } else { "open" })
}

fn gesture(action: Action, path: &str) -> String {
    match action {
        Action::GetSecretValue => format!("cat {path}/current"),
        Action::DescribeSecret => format!("cat {path}/info"),
        Action::ListSecrets => format!("ls {path}"),
        Action::ListSecretVersionIds => format!("ls {path}/versions"),
        Action::ListTagResources => format!("cat {path}/tags"),
        Action::PutSecretValue => format!("printf new > {path}/current"),
        Action::UpdateSecret => format!("echo text > {path}/description"),
        Action::UpdateSecretVersionStage => format!("ln -s ../versions/v1 {path}/stages/canary"),
        Action::TagResource => format!("echo c=d >> {path}/tags"),
        Action::UntagResource => format!("echo x=y > {path}/tags"),
        Action::DeleteSecret => format!("rm {path}/current"),
        Action::GetSecretPolicy => format!("cat {path}/policy"),
        Action::SetSecretPolicy => format!("echo > {path}/policy"),
    }
}

/// The row's gesture, done by who asks.
fn act(mount: &Mount, at: usize, row: &Row) -> (String, Output) {
    let asks = &row.asks;
    let groups: Vec<String> = asks.groups.iter().map(u32::to_string).collect();
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups {}", groups.join(",")) };
    let bound = if asks.uid == 0 && !asks.overrides { "--bounding-set -dac_override,-dac_read_search" } else { "" };
    let nested = if asks.uid != 0 && at.is_multiple_of(NESTED) { "unshare -U --map-root-user" } else { "" };
    let gesture = gesture(row.action, &path(at, row));
    let script =
        format!("setpriv --reuid {} --regid {} {groups} {bound} {nested} bash -c '{gesture}'", asks.uid, asks.gid);
    let output = mount.bash(&script);
    (script, output)
}

/// Makes the secrets of the rows whose maker is of `account`, which the mount's callers are of.
fn make(mount: &Mount, rows: &[Row], account: Account) {
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.secret.maker == account) {
        let (path, key) = (path(at, row), row.key);
        mount.ok(&format!(
            "mkdir {path}; echo k{key} > {path}/cmk; printf old > {path}/current; echo a=b > {path}/tags"
        ));
    }
}

/// Gives everything its owner, its bits and its policies, keys last.
fn arrange(mount: &Mount, rows: &[Row]) {
    let home = home_number(mount);
    let number = |account| option(account).map_or_else(|| home.clone(), str::to_owned);
    for (at, row) in rows.iter().enumerate() {
        let (path, bits, values) = (path(at, row), row.secret.directory, row.secret.value_mode);
        let (uid, gid) = OWNER;
        mount.ok(&format!("chown {uid}:{gid} {path}; chmod {values:o} {path}/current; chmod {:o} {path}", bits.mode));
        if let Some(policy) = &row.secret.policy {
            mount.write(&format!("{path}/policy"), document(policy, &number));
        }
    }
    for (key, policy) in of_keys().into_iter().enumerate() {
        let Some(policy) = policy else { continue };
        mount.write(&format!("prod/.keys/k{key}/policy"), document(&policy, &number));
    }
}

#[test]
fn rows_of_the_table_are_decided_as_the_model_says() {
    let (mut mount, rows) = (Mount::new(), sample());
    assert!(rows.len() >= 100);
    mount.ok(&format!("chmod 755 . prod; mkdir prod/open prod/closed; chmod 755 prod/open; chmod 700 prod/closed; chown {INSTANCE_UID}:0 prod"));
    for key in 0..of_keys().len() {
        mount.ok(&format!("mkdir prod/.keys/k{key}"));
    }
    mount.write("prod/.instance/shares", format!("{SHAREE}\n"));
    make(&mount, &rows, Account::Home);
    remount(&mut mount, Some(SHAREE));
    make(&mount, &rows, Account::Sharee);
    remount(&mut mount, None);
    arrange(&mount, &rows);
    let mut wrong = Vec::new();
    for account in [Account::Home, Account::Sharee, Account::Outsider] {
        remount(&mut mount, option(account));
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.asks.account == account) {
            let (script, output) = act(&mount, at, row);
            let (got, said) = (output.status.success(), text(&output.stderr));
            let refused = said.contains("denied") || said.contains("not permitted");
            if got != expected(row) || got == refused {
                wrong.push(format!("expected {}: {script}: {said}: {}", expected(row), row.told()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
