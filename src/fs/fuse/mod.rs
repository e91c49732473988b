//! The adaptor to the kernel, and the only folder that names fuser. It turns numbers into types, asks the tree, and turns the
//! answer into a reply; it decides nothing. `session` mounts and serves, `desk` has the threads that all mounts of a process have in common, `answers` says which thread answers what, `callers` lets
//! those go that a signal came for, `lost` says what they leave behind, `closing` what becomes of a close(2), `lookout` where it is
//! looked for writers, `following` where reads wait for events, `revoking` where answers wait
//! for pages to be gone, `requests` has a function for each request, `listing` and `convert` the shapes.
//!
//! What only looks is answered by the thread that serves the request, from memory; where memory has no answer, by a thread that may
//! wait for the disk. What changes something goes to the line, whose one thread answers it. Invariant: no serving thread waits for
//! a disk, for another request, or for a lock that is held over either; whoever waits for an answer is let go when a signal comes;
//! and no request is ever answered ENOSYS, after which the kernel would stop asking, unless that is what is wanted.

mod answers;
mod callers;
mod closing;
mod convert;
mod desk;
mod following;
mod listing;
mod lookout;
mod lost;
mod requests;
mod revoking;
mod session;

pub use session::{Beside, Connection, Session, adopt, adopt_view};
