//! See `tests/fuzzing/packets.rs`, which an ordinary test replays over the corpus.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/fuzzing/input.rs"]
mod input;
#[path = "../../tests/fuzzing/invariants.rs"]
mod invariants;
#[path = "../../tests/fuzzing/packets.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
