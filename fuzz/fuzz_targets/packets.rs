//! See `tests/fuzzing/packets.rs`, which an ordinary test replays over the corpus.
#![no_main]
#![allow(dead_code, reason = "each target takes what it needs")]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/fuzzing/input.rs"]
mod input;
#[path = "../../tests/fuzzing/invariants.rs"]
mod invariants;
#[path = "../../tests/fuzzing/made.rs"]
mod made;
#[path = "../../tests/fuzzing/rulesets.rs"]
mod rulesets;
#[path = "../../tests/fuzzing/packets.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes, 8));
