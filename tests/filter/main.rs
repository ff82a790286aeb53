//! The engine's packet path from its public doors: packets in; verdicts, packets, states and counters out.

mod burst;
#[path = "../common/mod.rs"]
mod common;
mod fuzz;
mod gate;
mod headers;
mod icmp;
mod interfaces;
mod lock;
mod memory;
mod nat;
mod purge;
mod rules;
mod tcp;
mod threads;
mod translation;
