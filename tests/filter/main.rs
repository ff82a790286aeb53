//! The engine's packet path from its public doors: packets in; verdicts, packets, states and counters out.

mod anchors;
mod binat;
mod burst;
#[path = "../common/mod.rs"]
mod common;
mod fragments;
mod fuzz;
mod gate;
mod headers;
mod icmp;
mod interfaces;
mod lock;
mod log;
mod matching;
mod memory;
mod modulate;
mod nat;
mod pools;
mod purge;
mod queue;
mod route;
mod rules;
mod scrub;
mod sources;
mod synproxy;
mod tables;
mod tcp;
mod threads;
mod timestamps;
mod translation;
