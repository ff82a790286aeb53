//! The fuzz targets of `fuzz/`, replayed over their corpus in an ordinary test.
//!
//! `cargo +nightly fuzz run packets` and `... ioctls` look for more; what they find becomes a file of `fuzz/corpus/`.

#[path = "../common/mod.rs"]
mod common;
mod input;
mod invariants;
mod ioctls;
mod made;
mod packets;
mod rulesets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pf_abi::*;
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    /// A little of what the fuzzer does, where there is none.
    #[test]
    fn any_bytes_are_ioctls_that_do_no_harm(bytes in prop::collection::vec(byte(), 0..600)) {
        ioctls::run(&bytes, 4);
    }
}

/// `PROPTEST_CASES`, or a few.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(32)
}

/// Any byte, small numbers and the steps that are right by themselves more often than others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => any::<u8>(), 1 => 0..8u8, 1 => 160..=255u8, 1 => 248..252u8]
}

#[test]
fn any_bytes_reach_every_rule_of_the_rich_ruleset() {
    let mut reached: BTreeMap<(u8, usize), bool> = BTreeMap::new();
    let mut reasons = BTreeSet::new();
    let mut number = 1u64;
    for _ in 0..150 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            // xorshift64
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            number as u8
        })
        .take(2000)
        .collect();
        packets::run_rich(&bytes, 256, |machine| {
            for action in [Action::Scrub, Action::Pass, Action::Nat, Action::Rdr] {
                for (nr, rule) in machine.rules(action).iter().enumerate() {
                    // A rule with `no` counts nothing.
                    let has = rule.packets != [0, 0] || matches!(rule.action, PF_NOSCRUB | PF_NONAT | PF_NORDR);
                    *reached.entry((action.into(), nr)).or_default() |= has;
                }
            }
            let counters = machine.status().counters;
            reasons.extend((0..counters.len()).filter(|at| counters[*at] > 0));
        });
    }
    let missed: Vec<_> = reached.iter().filter(|(_, reached)| !**reached).collect();
    assert!(missed.is_empty(), "{missed:?}");
    for reason in [
        Reason::Fragment,
        Reason::Normalize,
        Reason::IpOption,
        Reason::ProtoCksum,
        Reason::StateMismatch,
        Reason::StateLimit,
        Reason::SrcLimit,
        Reason::Synproxy,
    ] {
        assert!(reasons.contains(&(reason as usize)), "{reason:?}");
    }
}

#[test]
fn the_corpus_of_packets_does_no_harm() {
    replay("packets", packets::run);
}

#[test]
fn the_corpus_of_ioctls_does_no_harm() {
    replay("ioctls", ioctls::run);
}
