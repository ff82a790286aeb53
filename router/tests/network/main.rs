//! pf-router between real Linux network stacks.
//!
//! Each test has network namespaces of its own, without a name: they go when the test does, however it ends, and tests run side by
//! side. They need root and /dev/net/tun, and fail in plain words where they cannot have them.

mod bulk;
mod control;
mod discovery;
mod filter;
mod firewall;
mod forward;
mod fragments;
mod harness;
mod life;
mod loss;
mod pflog;
mod pools;
mod relay;
mod survive;
mod tables;
mod tcp;
mod translate;
