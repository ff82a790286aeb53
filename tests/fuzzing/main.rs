//! The fuzz targets of `fuzz/`, replayed over their corpus in an ordinary test.
//!
//! `cargo +nightly fuzz run packets` and `... ioctls` look for more; what they find becomes a file of `fuzz/corpus/`.

#[path = "../common/mod.rs"]
mod common;
mod input;
mod invariants;
mod ioctls;
mod packets;

use std::fs;
use std::path::Path;

/// Runs a target over each file of its corpus, and checks after each step.
fn replay(target: &str, run: fn(&[u8], usize)) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        // What goes wrong names the file that makes it.
        let named = std::panic::catch_unwind(|| run(&fs::read(&path).unwrap(), 1));
        assert!(named.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 10, "{count} files in {}", corpus.display());
}

#[test]
fn the_corpus_of_packets_does_no_harm() {
    replay("packets", packets::run);
}

#[test]
fn the_corpus_of_ioctls_does_no_harm() {
    replay("ioctls", ioctls::run);
}
