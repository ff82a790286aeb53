//! Memory that can run out: boxes, vectors and counted references whose every allocation can fail, and says so.
//!
//! The kernel's allocator is asked never to sleep, so each of these works in the packet path as well. `alloc` is not
//! linked. Objects of one size that come and go with traffic live in a [`Pool`](crate::kpi::Pool).

mod karc;
mod kbox;
mod kvec;
mod once;
mod row;
mod snapshot;
mod tally;

pub use karc::KArc;
pub use kbox::KBox;
pub use kvec::KVec;
pub use once::Once;
pub use row::Row;
pub use snapshot::{Retired, Snapshot};
pub use tally::Tally;
