//! Who a caller is to permission bits: its supplementary groups, and whether bits bind it at all. A request carries neither,
//! so /proc is asked; the kernel needs none of this, since it knows its callers itself.
//!
//! Invariant: whoever cannot be known for sure is nobody, and is given nothing.

use std::fs;

use super::ops::Who;
use super::process::field;
use crate::secret::Identity;

/// The capability that permission bits do not bind, as a bit of `CapEff`.
const CAP_DAC_OVERRIDE: u64 = 1 << 1;

/// The identity of the thread that waits for the answer to `who`'s request. `None` where the kernel does not say which thread that
/// is, where it is gone, and where it is another user than the request's: then a file system on top of this one asks in
/// somebody's name, and nobody knows in whose groups.
pub fn identity_of(who: Who) -> Option<Identity> {
    if who.tid == 0 {
        return None;
    }
    let status = of_thread(who.tid, "status")?;
    let (fsuid, groups, capable) = parse(&status)?;
    if fsuid != who.uid {
        return None;
    }
    Some(Identity { uid: who.uid, gid: who.gid, groups, overrides: capable && is_of_our_namespace(who.tid) })
}

/// Whoever /proc does not show, as its request has it: in no group but that one. For what the kernel has let it come to, where it
/// has known no more either.
pub fn as_requested(who: Who) -> Identity {
    Identity { uid: who.uid, gid: who.gid, groups: Vec::new(), overrides: who.uid == 0 }
}

/// The cgroup of thread `tid` in the hierarchy of version 2; `None` where it is in none, or is not seen.
pub fn cgroup_of(tid: u32) -> Option<String> {
    let lines = String::from_utf8(fs::read(format!("/proc/{tid}/cgroup")).ok().filter(|_| tid != 0)?).ok()?;
    lines.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// All of a file of /proc: with its supplementary groups a `status` can be longer than most.
fn of_thread(tid: u32, file: &str) -> Option<String> {
    let text = fs::read(format!("/proc/{tid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// fsuid, supplementary groups, and whether it has the capability, from the text of a `status`.
fn parse(status: &str) -> Option<(u32, Vec<u32>, bool)> {
    let fsuid = field(status, "Uid:")?.split_whitespace().nth(3)?.parse().ok()?;
    let groups = field(status, "Groups:")?.split_whitespace();
    let groups = groups.map(|group| group.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let capabilities = u64::from_str_radix(field(status, "CapEff:")?, 16).ok()?;
    Some((fsuid, groups, capabilities & CAP_DAC_OVERRIDE != 0))
}

/// Whether the thread has its capabilities where this process has its own. Root of a user namespace that anybody can make for
/// himself has all of them there, and none here. Its map of users is unlike ours; to compare the namespaces themselves would
/// take the right to trace it.
fn is_of_our_namespace(tid: u32) -> bool {
    let ours = fs::read_to_string("/proc/self/uid_map").ok();
    ours.is_some() && of_thread(tid, "uid_map") == ours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OpId;

    #[test]
    fn a_status_is_read_whole_or_not_at_all() {
        let status = |uid: &str, groups: &str, capabilities: &str| {
            format!("Name:\tx\nUid:\t{uid}\nGid:\t1\t1\t1\t1\nGroups:\t{groups}\nCapEff:\t{capabilities}\n")
        };
        for (uid, groups, capabilities, expected) in [
            ("1\t2\t3\t4", "5 6 ", "0000000000000002", Some((4, vec![5, 6], true))),
            ("1\t2\t3\t4", " ", "00000000fffffffd", Some((4, vec![], false))),
            ("1\t2\t3\t4", "5 x", "2", None),
            ("1\t2\t3", "5", "2", None),
            ("1\t2\t3\t4", "5", "-", None),
        ] {
            assert_eq!(parse(&status(uid, groups, capabilities)), expected, "{uid:?} {groups:?} {capabilities:?}");
        }
        assert_eq!(parse("Name:\tx\nUid:\t1\t1\t1\t1\nGroups:\t7\n"), None, "without capabilities it is cut short");
    }

    #[test]
    fn only_who_asks_itself_is_known() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let who =
            |uid, tid| Who { uid, gid, tid, op: OpId([0; 16]), gesture: "test", account: None, by: Default::default() };
        let known = identity_of(who(uid, tid)).expect("this thread is there");
        assert_eq!((known.uid, known.gid), (uid, gid));
        assert_eq!(identity_of(who(uid + 1, tid)), None, "another user than the thread's");
        assert_eq!(identity_of(who(uid, 0)), None);
        let gone = std::thread::spawn(|| rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
        assert_eq!(identity_of(who(uid, gone.join().expect("it ends"))), None, "a thread that is gone");
    }
}
