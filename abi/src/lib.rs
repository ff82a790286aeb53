//! What passes through `/dev/pf`: the structs, constants and ioctl numbers of NetBSD's `net/pfvar.h` and
//! `net/if_pflog.h`, for amd64. The file is the same (revision 1.23) in NetBSD 10.1 and 11.0.
//!
//! The engine and pfctl(8) both speak this and nothing else. It is `no_std`, allocates nothing and holds no `unsafe`.
//!
//! # Names
//! Constants keep their C names (`PF_PASS`, `PFTM_TCP_FIRST_PACKET`, `DIOCADDRULE`). A type drops the C prefix and
//! says which struct it is:
//!
//! | C | Rust | |
//! |---|---|---|
//! | `struct pf_*` | [`Rule`], [`Addr`], [`Status`] ... | pf's own objects |
//! | `struct pfioc_*` | [`IocRule`], [`IocStates`] ... | arguments of ioctls |
//! | `struct pfsync_state*` | [`SyncState`], [`SyncPeer`] ... | a state outside the kernel |
//! | `struct pfr_*` | [`Table`], [`TableAddr`] ... | address tables |
//! | `struct pfi_kif`, `struct pfloghdr` | [`Kif`], [`LogHeader`] | interfaces, the log |
//!
//! Fields drop their prefix (`pfrt_`, `psk_`, ...); a field whose C name is a Rust keyword gets another (`type` is `kind`).
//!
//! # Bytes
//! Every struct is plain bytes: any bit pattern is a value of it, and all its padding is spelled out in hidden fields, so
//! that none can leak uninitialised memory. A zeroed one comes from `Default`. A pointer of the caller's is a
//! [`UserPtr`], a number that must never be followed. Character arrays are [`CName`]s, whose contents count only after a
//! check. Multi-byte fields are in host byte order (little-endian) except the types [`Be16`] and [`Addr`],
//! which are in network byte order.
//!
//! What a field's value means is up to whoever reads it; nothing here says that a value is sane.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[macro_use]
mod macros;

mod addr;
mod altq;
mod bulk;
pub mod errno;
mod iface;
pub mod ioctl;
mod ioctl_args;
mod log;
mod name;
mod osfp;
mod rule;
pub mod socket;
mod source;
mod state;
mod status;
mod table;
mod timeout;

pub use addr::*;
pub use altq::*;
pub use bulk::*;
pub use iface::*;
pub use ioctl::*;
pub use ioctl_args::*;
pub use log::*;
pub use name::*;
pub use osfp::*;
pub use rule::*;
pub use source::*;
pub use state::*;
pub use status::*;
pub use table::*;
pub use timeout::*;

const _: () = assert!(cfg!(target_endian = "little"), "the layouts are those of amd64");
