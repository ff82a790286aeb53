//! The ioctls of /dev/pf, by those who may write, those who may only read, and those who mean harm.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod anchors;
mod bulk;
mod hostile;
mod meanwhile;
mod names;
mod options;
mod pool;
mod restore;
mod rules;
mod sources;
mod states;
mod table;
mod tables;
