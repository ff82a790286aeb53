//! pf-router: pf in a Linux process, as a router between TUN interfaces.
//!
//! # Overview
//! The other side of each TUN interface is a Linux network stack, in the router's own network namespace or in another
//! one: to the router that stack is the wire. A packet read from an interface passes pf's input hook, is answered if it is for the
//! router itself and forwarded otherwise, passes the output hook, and is written to the interface that the forwarding table
//! names. pfctl(8) talks to the engine through a Unix socket, as it would through /dev/pf on NetBSD.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | the command line |
//! | [`netns`], [`tun`] | network namespaces, and the TUN devices in them |
//! | [`packet`], [`icmp`] | IP headers as a router sees them; the ICMP messages that it sends |
//! | [`table`] | which interface leads to an address |
//! | [`link`] | the interfaces, their counters, and how packets leave |
//! | [`router`] | one packet's whole way |
//! | [`clock`] | the engine's time, and the purge |
//! | [`pflog`] | logged packets as a pcapng file |
//! | [`control`], [`memory`] | ioctls from a Unix socket, and the caller's memory |
//! | [`stop`] | how all of it ends |
//! | [`run`] | all of it together |
//!
//! # Locking
//! Nothing here holds a lock while a packet passes: the table and the list of interfaces do not change after the start, counters
//! are atomic, and the engine locks for itself. The one lock, around the budget of ICMP errors, covers a few instructions.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod clock;
pub mod control;
pub mod divert;
pub mod icmp;
pub mod link;
pub mod memory;
pub mod netns;
pub mod options;
pub mod packet;
pub mod pflog;
pub mod router;
pub mod run;
pub mod stop;
pub mod table;
pub mod tun;
