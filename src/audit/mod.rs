//! The record of every decision that the daemon makes: who, what, which secret and version, and why.
//!
//! Knows records, the chain that binds them and the sinks that take them; knows no kernel, no /proc and no vault: what a caller is, it
//! is told. Reading order: `facts` and `record` (one decision as one line), `book` and `segment` (the chain in its files), `pulse` and
//! `sink` (writing it without anybody waiting for a disk that hangs), `witness` and `herald` (the second sink, and who tells it), `trail` (what each decision needs),
//! `verify` (reading it back).
//!
//! Invariants: a record is written before its decision takes effect, or the decision takes none; nobody waits for a sink longer
//! than a second or two, and threads that must not wait do not wait at all; no value is in a record, nor anything made of one.

mod book;
mod facts;
mod herald;
mod pulse;
mod record;
mod segment;
mod sink;
mod trail;
mod verify;
mod witness;

pub use book::Head;
pub use facts::{CLOSE, Exe, Facts};
pub use record::{Body, Entry, Moment, Outcome, Target};
pub use trail::{AuditError, FactsOf, Origin, SEGMENT, Settings, Ticket, Trail};
pub use verify::{Defect, Verified, Wanted, Wrong, read, verify};
pub use witness::WitnessKind;
