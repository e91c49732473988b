//! The whole program through the real kernel: a store is made, a mount stands, and real tools use it.
//!
//! Needs root (other users are played with setpriv, full disks with tmpfs), /dev/fuse and the packages that
//! `scripts/test-packages` lists; where one is missing the test fails and says so. Each test has a store, a mount and a daemon
//! of its own, which are gone when it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod access;
mod accounts;
mod api;
mod audited;
mod backup;
mod closes;
mod counts;
mod decisions;
mod deletion;
mod doors;
mod due;
mod durability;
mod estate;
mod events;
mod fairness;
mod fields;
mod follow;
mod full_disk;
mod gestures;
mod harness;
mod keeper;
mod keys;
mod limits;
mod maps;
mod metrics;
mod moving;
mod people;
mod policies;
mod readers;
mod refusals;
mod rotation;
mod seals;
mod secrecy;
mod small_disk;
mod tree;
mod verbs;
mod versions;
mod views;
mod waiting;
mod watchers;
mod ways;
