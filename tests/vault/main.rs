//! The vault over an engine in which something happens at a chosen moment: what passes by between two reads, what is lost, and what is
//! answered without it; and data keys that come under another key.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod audited;
mod due;
#[path = "../engine/mod.rs"]
mod engine;
mod keys;
mod lost;
mod memory;
mod passing;
mod rewrap;
mod room;
mod rotation;
