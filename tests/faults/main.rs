//! What happens to a store when the machine fails it: a process that is killed, a disk that fails, a disk that is full
//! (which needs root).
//!
//! Not part of `tests/store`: these tests start processes, and between its fork and its exec a child shares the locks of all
//! stores that are open in this one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod disk;
mod failing_vault;
mod full_disk;
mod io_errors;
mod killed;
#[path = "../store/rows.rs"]
mod rows;

/// Held by each test, so that none starts a process while another one closes a store to open it again.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
