//! pfctl(8) and pfs(8) as a library: pf.conf(5) into rules, rules and states into text, the state table into a file and back.
//!
//! | module | |
//! |---|---|
//! | [`conf`] | reads pf.conf(5) and reports its mistakes |
//! | [`resolve`], [`icmp`] | names into numbers |
//! | [`mod@print`] | what the kernel holds, as NetBSD's pfctl prints it |
//! | [`device`] | ioctls of `/dev/pf`, or of pf-router over a socket |
//! | [`load`], [`ruleset`], [`states`] | what is done with ioctls |
//! | [`lock`], [`dump`] | the state table kept over a reboot |
//! | [`cli`] | the two commands |
//!
//! `unsafe` stands in two places: the calls of ioctl(2) and of localtime_r(3).
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod cli;
pub mod conf;
pub mod device;
pub mod dump;
pub mod icmp;
pub mod load;
pub mod lock;
pub mod osfp;
pub mod print;
pub mod resolve;
pub mod ruleset;
pub mod states;
