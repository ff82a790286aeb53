//! Translation: where a rule takes the new address and port from, and how a free one is found.
//!
//! # Overview
//! [`Pool`] chooses an address, for `nat` and `rdr` and for `route-to` and its like; [`port`] finds a port at that address that no state
//! has; [`binat`] maps one network onto another, both ways.
//!
//! NAT has no table of its own: that a port is taken means that the state table has a state with it, so a translation ends with
//! its state and cannot leak.
//!
//! # Locking
//! None of its own: what a pool remembers is atomic. Between the choice of a port and the insertion of the state another CPU may
//! take it: the insertion, which is atomic over both trees, then fails.

#![forbid(unsafe_code)]

mod binat;
mod pool;
mod port;

pub use pool::{Choice, Current, Pool, Purpose};
pub use port::Source;
