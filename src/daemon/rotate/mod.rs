//! Rotation functions: executables of the operator, run step by step as the user that their declaration names.
//!
//! Reading order: `declaration` (what the operator says of a function), `job` (what is said about a step), `runner` (the process that does one step),
//! `step` (the worker's hold on it), `conductor` (which step of which secret comes next).
//!
//! A step is done by a process of its own, the *runner*: this program started anew, which has no key and no store. It gets the values that
//! the step is about as descriptors, and never looks into them; it starts the function and outlives it, and takes it and all that it has started
//! to its end when the time is over or when the worker is gone. Invariant: at most one step of a secret is being done at a time, also over a
//! worker's death.

mod conductor;
mod declaration;
mod job;
mod runner;
mod step;

pub use conductor::conduct;
pub use runner::{become_function, run};
