//! The rotation functions of `dist/rotate.d`, called as kmsfs calls them, on real services.
//!
//! Reading order: `call` (how one is called), `secret` (over which values), `cmdlines` (who watches), `declaration` (the samples),
//! then a file for each function, `killed` (steps that are cut short), `rotated` (by a mounted daemon), `secrecy` (where values may not be) and `page`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod call;
mod cmdlines;
mod declaration;
#[path = "../mount/harness.rs"]
#[allow(dead_code, reason = "the mount tests use more of it")]
mod harness;
mod killed;
mod page;
mod postgresql;
mod random;
mod redis;
#[path = "../room/mod.rs"]
mod room;
mod rotated;
mod secrecy;
mod secret;
#[path = "../room/services.rs"]
mod services;
mod ssh_key;
mod tls;
