//! The verbs that follow what happens in a mount, by reading its `.kmsfs/events` as any program could.
//!
//! Reading order: `fault` (errors told), `stream` (the lines), `events` (shown), `watched` (which of them somebody waits for), `action` (what is done then),
//! `watch`.

mod action;
pub mod events;
mod fault;
mod stream;
pub mod watch;
mod watched;

pub use fault::FollowError;
