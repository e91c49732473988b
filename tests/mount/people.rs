//! Who comes to a mount: users, and accounts; and what a policy says of one of them.

use serde_json::json;

use crate::harness::Mount;

/// An account that instances are shared with, where a test shares them.
pub const SHAREE: &str = "2222222222222222";
/// One that nothing is shared with.
pub const OUTSIDER: &str = "3333333333333333";

/// The number of the store's own account.
pub fn home_number(mount: &Mount) -> String {
    let info: serde_json::Value = serde_json::from_str(&mount.read("prod/.keys/default/info")).unwrap();
    info["Arn"].as_str().unwrap().split(':').nth(3).unwrap().to_owned()
}

/// Mounts the same store again, with callers of that account; none is its own.
pub fn remount(mount: &mut Mount, account: Option<&str>) {
    mount.stop();
    mount.options = account.map_or_else(Vec::new, |account| vec!["-o".to_owned(), format!("account={account}")]);
    mount.start();
}

/// A mount with the secret `prod/s` that the bits give to root alone, and its own account's number.
pub fn closed_mount() -> (Mount, String) {
    let mount = Mount::new();
    mount.secret("prod/s", "pin");
    mount.ok("chmod 755 . prod; chmod 700 prod/s; chmod 600 prod/s/current");
    let home = home_number(&mount);
    (mount, home)
}

/// The policy of one statement, on the identity `who` of `account`.
pub fn statement(effect: &str, account: &str, who: &str, actions: &[&str]) -> String {
    json!({ "Version": "1", "Statement": [{ "Effect": effect, "Principal": { "RAM": format!("acs:ram::{account}:{who}") },
        "Action": actions, "Resource": "*" }] })
    .to_string()
}

/// The same that allows it.
pub fn allow(account: &str, who: &str, actions: &[&str]) -> String {
    statement("Allow", account, who, actions)
}

/// A user without groups does `script`.
pub fn as_user(uid: u32, script: &str) -> String {
    format!("setpriv --reuid {uid} --regid {uid} --clear-groups bash -c '{script}'")
}

/// `script` is told that it may not.
#[track_caller]
pub fn denied(mount: &Mount, script: &str) {
    let said = mount.fails(script);
    assert!(said.contains("denied") || said.contains("not permitted"), "{script}: {said}");
}
