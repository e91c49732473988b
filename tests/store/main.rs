//! The storage engines: one suite over all of them, a model, and what only files on a disk can suffer.
//!
//! `conformance` is what every engine promises; `model` compares SQLite with the memory engine over random commits; `files`
//! is opening, locking and damage; `shredding` looks for deleted bytes; `snapshots` copies whole stores; `rows` are words for all of them. What the machine does
//! to a store is in `tests/faults`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod conformance;
mod files;
mod keys;
mod model;
mod rows;
mod shredding;
mod snapshots;
