//! Decisions, held against a model of them that was written from `docs/policies.md` alone: each row of a table through the api in
//! process, and what `kmsfs policy test` says of it. (`tests/mount/decisions.rs` puts a sample of the same rows to a real mount.)

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod documents;
mod oracle;
mod policies;
mod table;
mod through_api;
