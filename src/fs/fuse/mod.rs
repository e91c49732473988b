//! The adaptor to the kernel, and the only folder that names fuser. It turns numbers into types, asks the tree, and turns the
//! answer into a reply; it decides nothing. `session` mounts and serves, `answers` says which thread answers what,
//! `requests` has a function for each request, `convert` the shapes.
//!
//! What only looks is answered by the thread that serves the request. What changes something goes to the line, whose one
//! thread answers it. Invariant: no serving thread waits for a disk, for another request, or for a lock that is held over
//! either; and no request is ever answered ENOSYS, after which the kernel would stop asking, unless that is what is wanted.

mod answers;
mod convert;
mod requests;
mod session;

pub use session::{Mount, Session, attach};
