//! The verbs on data: each turns paths into requests, asks the mount's api, and shows the answer. They decide nothing, read no
//! file of a mount but its api, and take no value as an argument.
//!
//! Reading order: `each` (one thing for many paths), `input` (values from stdin or a prompt), `field` (those of members), `words` (paths and tags in
//! one list), `age` (times for people), `fault`
//! (what goes wrong), then the verbs.

mod age;
pub mod api;
pub mod audit;
pub mod destroy;
mod each;
pub mod exec;
mod fault;
mod field;
pub mod get;
mod input;
pub mod key;
pub mod log;
pub mod ls;
pub mod policy;
pub mod purge;
pub mod put;
pub mod random_password;
pub mod restore;
pub mod rm;
pub mod rollback;
pub mod rotate;
pub mod seal;
pub mod tag;
pub mod trash;
pub mod untag;
mod words;

pub use fault::DataError;
