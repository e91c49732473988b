//! Views: more mounts of the same store, each of a part of the tree and for one principal.
//!
//! The keeper mounts them and holds their connections, as it holds that of the whole tree; each worker serves all of them. Reading order:
//! `order` (what one is to be), `door` (how the daemon is asked for one), `kept` (what the keeper holds), `tended` (what
//! it does), `served` (what a worker serves).
//!
//! Invariant: a view that somebody was told is there is served by each worker that comes, until it is closed or unmounted.

mod door;
mod kept;
mod order;
mod served;
mod tended;

pub use door::{Answer, Ask, Door, DoorError, ask, store_of};
pub use kept::{Kept, KeptView};
pub use order::{OrderError, ViewOrder, orders_in};
pub use served::{Handed, Served};
