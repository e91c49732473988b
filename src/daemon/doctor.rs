//! What a machine has and lacks for mounts of kmsfs, each with what to do about it.
//!
//! Looks, and changes nothing; asks no mount without a deadline. A check is a function that answers findings; the list of them
//! is [`CHECKS`].

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::abort::waiting;
use super::mounts;
use super::point::{self, PointError};
use super::probe::{self, ProbeError};
use super::strongbox;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// As it should be.
    Good,
    /// Works, and something is worth knowing.
    Note,
    /// Something that one may count on does not hold.
    Warning,
    /// Mounting, or a mount, does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub gravity: Gravity,
    pub subject: String,
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

type Check = fn() -> Vec<Finding>;

const CHECKS: [Check; 8] = [device, helper, kernel, time_limit, propagation, memory, core_dumps, mounts_here];
/// How long a mount may take to answer: one that is healthy takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first kernel that hands a dead worker's requests to the next one.
const RESEND_SINCE: (u32, u32) = (6, 9);

/// Looks at everything.
pub fn examine() -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check()).collect()
}

impl Finding {
    fn good(subject: &str, found: impl Into<String>) -> Self {
        Self { gravity: Gravity::Good, subject: subject.to_owned(), found: found.into(), advice: None }
    }

    fn new(gravity: Gravity, subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { gravity, subject: subject.to_owned(), found: found.into(), advice: Some(advice.into()) }
    }
}

fn device() -> Vec<Finding> {
    let subject = "/dev/fuse";
    vec![match point::check_device() {
        Ok(()) => Finding::good(subject, "can be opened"),
        Err(PointError::Device(error)) => Finding::new(
            Gravity::Fault,
            subject,
            error.to_string(),
            "let the user open it (mode 0666 is usual); in a container, pass the device in",
        ),
        Err(error) => Finding::new(Gravity::Fault, subject, error.to_string(), "load the module: modprobe fuse"),
    }]
}

fn helper() -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let found = point::fusermount();
    let mut findings = vec![match &found {
        Some(path) => Finding::good("fusermount3", path.display().to_string()),
        None if is_root => Finding::new(
            Gravity::Note,
            "fusermount3",
            "is not to be found",
            "root needs none; others do: install fuse3",
        ),
        None => Finding::new(Gravity::Fault, "fusermount3", "is not to be found", "install the package fuse3"),
    }];
    if found.is_some() && !is_root {
        findings.push(match point::check_allow_other() {
            Ok(()) => Finding::good("user_allow_other", "users may mount for others"),
            Err(_) => Finding::new(
                Gravity::Note,
                "user_allow_other",
                "your mounts are for you alone",
                "for -o allow_other, write the line user_allow_other into /etc/fuse.conf",
            ),
        });
    }
    findings
}

fn kernel() -> Vec<Finding> {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let first = if version >= RESEND_SINCE {
        Finding::good("kernel", format!("{release}: a worker that dies is followed by another, unnoticed"))
    } else {
        Finding::new(
            Gravity::Warning,
            "kernel",
            format!("{release}: what a dying worker has begun ends with an error"),
            "Linux 6.9 or newer hands it to the next worker",
        )
    };
    let second = if strongbox::has_secret_memory() {
        Finding::good("memfd_secret", "the key stands where not even root's tools read it")
    } else {
        Finding::new(
            Gravity::Note,
            "memfd_secret",
            "is not to be had: the key stands in ordinary locked memory",
            "boot with secretmem.enable=1",
        )
    };
    vec![first, second]
}

/// It ends the connection, and with it the mount, when one request takes too long.
fn time_limit() -> Vec<Finding> {
    let name = "fs.fuse.default_request_timeout";
    match read("/proc/sys/fs/fuse/default_request_timeout").as_str() {
        "" | "0" => Vec::new(),
        limit => vec![Finding::new(
            Gravity::Warning,
            name,
            format!("{limit} seconds: the kernel ends a mount whose store is slower than that"),
            format!("sysctl -w {name}=0"),
        )],
    }
}

/// Whether mounts that are made later come into containers that run already.
fn propagation() -> Vec<Finding> {
    let table = read("/proc/self/mountinfo");
    let root =
        table.lines().map(|line| line.split(' ').collect::<Vec<_>>()).rfind(|fields| fields.get(4) == Some(&"/"));
    match root {
        Some(fields) if fields.iter().any(|field| field.starts_with("shared:")) => {
            vec![Finding::good("propagation", "/ is shared: mounts come into containers that take part in it")]
        }
        Some(_) => vec![Finding::new(
            Gravity::Note,
            "propagation",
            "/ is not shared: a container that runs already does not see a mount made now",
            "mount before the container starts, or mount --make-rshared /",
        )],
        None => Vec::new(),
    }
}

fn memory() -> Vec<Finding> {
    let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let lockable = capable || getrlimit(Resource::Memlock).current.is_none();
    let swaps = read("/proc/swaps").lines().count() > 1;
    vec![match (lockable, swaps) {
        (true, _) => Finding::good("memory", "can be locked: no key goes to a swap device"),
        (false, false) => Finding::good("memory", "cannot be locked, and there is no swap device"),
        (false, true) => Finding::new(
            Gravity::Warning,
            "memory",
            "cannot be locked, and there is a swap device: a key may be written to it",
            "raise the limit (ulimit -l unlimited, LimitMEMLOCK=infinity), or encrypt the swap device",
        ),
    }]
}

fn core_dumps() -> Vec<Finding> {
    match read("/proc/sys/fs/suid_dumpable").as_str() {
        "1" => vec![Finding::new(
            Gravity::Warning,
            "core dumps",
            "fs.suid_dumpable is 1, for debugging: processes that give up their dumps may be dumped all the same",
            "sysctl -w fs.suid_dumpable=0",
        )],
        _ => vec![Finding::good("core dumps", "the daemon gives none")],
    }
}

fn mounts_here() -> Vec<Finding> {
    let mounts = match mounts::list() {
        Ok(mounts) => mounts,
        Err(error) => return vec![Finding::new(Gravity::Fault, "mounts", error.to_string(), "is /proc mounted?")],
    };
    mounts.iter().map(|mount| examine_mount(mount, &mount.path)).collect()
}

fn examine_mount(mount: &mounts::MountPoint, path: &Path) -> Finding {
    let subject = path.display().to_string();
    let waits = waiting(mount).filter(|waiting| *waiting > 0);
    match probe::ask(path, PATIENCE) {
        Ok(status) => match status.get("health").and_then(serde_json::Value::as_str) {
            Some("ok") => Finding::good(&subject, "answers"),
            health => Finding::new(
                Gravity::Warning,
                &subject,
                format!("answers, and says of its health: {}", health.unwrap_or("nothing")),
                format!("kmsfs status {subject}"),
            ),
        },
        Err(ProbeError::Dead(_)) => Finding::new(
            Gravity::Fault,
            &subject,
            "its daemon is gone",
            format!("kmsfs umount --lazy {subject}, and mount it again"),
        ),
        Err(ProbeError::Silent { .. }) => Finding::new(
            Gravity::Fault,
            &subject,
            match waits {
                Some(waiting) => format!("does not answer; {waiting} requests wait"),
                None => "does not answer".to_owned(),
            },
            format!("see the daemon's log; kmsfs abort {subject} frees whoever waits"),
        ),
        Err(ProbeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Finding::good(&subject, "another user's")
        }
        Err(error @ (ProbeError::NotMounted(_) | ProbeError::Malformed(_) | ProbeError::Io { .. })) => {
            Finding::new(Gravity::Warning, &subject, error.to_string(), format!("kmsfs status {subject}"))
        }
    }
}

/// A file of /proc without its newline; nothing where it is not there.
fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_comes_with_advice() {
        let findings = examine();
        assert!(findings.iter().any(|finding| finding.subject == "/dev/fuse"));
        for finding in findings {
            assert_eq!(finding.gravity == Gravity::Good, finding.advice.is_none(), "{finding:?}");
        }
    }
}
