//! What the kernel holds, as NetBSD's pfctl prints it.

pub mod addr;
pub mod clock;
pub mod interface;
pub mod osfp;
pub mod rule;
pub mod source;
pub mod state;
pub mod status;
pub mod table;
