//! The whole program through the real kernel: a store is made, a mount stands, and real tools use it.
//!
//! Needs root (other users are played with setpriv, full disks with tmpfs), /dev/fuse and the packages that
//! `scripts/test-packages` lists; where one is missing the test fails and says so. Each test has a store, a mount and a daemon
//! of its own, which are gone when it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod access;
mod counts;
mod deletion;
mod durability;
mod full_disk;
mod gestures;
mod harness;
mod limits;
mod readers;
mod refusals;
mod secrecy;
mod tree;
