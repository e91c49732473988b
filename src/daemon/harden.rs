//! What the process gives up so that keys stay in it: no core dump, no ptrace by its own user, no page on a swap device, no
//! file that others can read.
//!
//! Invariant: what could not be had is in the answer, for the log; it never stops the daemon.

#![allow(unsafe_code)]

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{CapabilitySet, capabilities};

/// What was achieved, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardening {
    /// No core dumps, and neither ptrace nor `/proc/<pid>/mem` for processes of the same user.
    pub undumpable: Result<(), String>,
    /// No page goes to a swap device.
    pub locked: Result<(), String>,
}

/// Allocations from here on are given back to the system when freed. glibc raises the threshold when a large block is freed,
/// and then keeps the session's 16 MiB read buffers resident: 200 mounts took 985 MB so, and 7 MB with the threshold fixed.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 128 * 1024;

/// Hardens this process. To be called before a key is read and before another thread is started.
pub fn harden() -> Hardening {
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    allow_descriptors();
    let hardening = Hardening { undumpable: forbid_dumps(), locked: lock_memory() };
    return_large_blocks();
    hardening
}

/// Keeps descriptors that this process was started with from those that it starts: whoever started it may have left some open.
pub fn keep_descriptors() -> std::io::Result<()> {
    close_range(libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes all descriptors but the first three. For a process that has opened none yet.
pub fn close_all() -> std::io::Result<()> {
    close_range(0)
}

/// The first descriptor that is not stdin, stdout or stderr.
const FIRST: libc::c_uint = 3;

fn close_range(flags: libc::c_uint) -> std::io::Result<()> {
    // SAFETY: the call takes three numbers. It closes descriptors only in `close_all`, which no descriptor of this process precedes.
    match unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// As many descriptors as may be: each view has one, and the limit that is usual is of programs that use select(2).
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        log::warn!("there will be few descriptors: {error}");
    }
}

fn forbid_dumps() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    done.map_err(|error| error.to_string())
}

/// Under a limit, locking all memory would make later allocations fail; so it is locked only where there is none.
fn lock_memory() -> Result<(), String> {
    let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if !capable && getrlimit(Resource::Memlock).current.is_some() {
        return Err("it takes CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK".into());
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| error.to_string())
}

#[cfg(target_env = "gnu")]
fn return_large_blocks() {
    // SAFETY: mallopt takes two integers and changes the allocator's settings under the allocator's own lock. Where it
    // refuses, more memory stays resident than needed, and nothing else.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) };
}

#[cfg(not(target_env = "gnu"))]
fn return_large_blocks() {}
