//! What is true of a packet filter whatever was done to it.

use std::collections::HashSet;

use pf::kpi::SoftNet;
use pf::state::Tree;
use pf_abi::*;

use crate::common::Machine;

/// Each state is found by both of its keys and is the only one there; the list has as many as the table says, and as went in and did
/// not go out; each rule has as many states as say so.
pub(crate) fn check(machine: &Machine) {
    let level = SoftNet::raise();
    let section = machine.pf.read(&level);
    let states = machine.pf.states();
    let mut keys = vec![];
    let mut of_rules = vec![];
    states.walk(0, &level, |state| {
        keys.push((*state.key(), state.id()));
        of_rules.extend(state.rules().map(|rule| {
            (
                std::ptr::from_ref(&**rule),
                rule.states.load(std::sync::atomic::Ordering::Relaxed),
            )
        }));
        true
    });
    assert_eq!(keys.len(), states.len(), "the list has as many as the table says");
    for (key, id) in &keys {
        for tree in [Tree::LanExt, Tree::ExtGwy] {
            let found = states.find(tree, &key.of_tree(tree), &level, &section);
            let found = found.map(|found| (*found.key(), found.id()));
            assert_eq!(found, Some((*key, *id)), "it is found in {tree:?}");
        }
    }
    let mut counted = std::collections::HashMap::new();
    for (rule, states) in of_rules {
        let entry = counted.entry(rule).or_insert((0u32, states));
        entry.0 += 1;
        assert_eq!(entry.1, states);
    }
    assert!(
        counted.values().all(|(counted, states)| counted == states),
        "rules count their states: {counted:?}"
    );
}

/// What has gone in and out since the counters were cleared adds up.
pub(crate) fn check_counters(machine: &Machine) {
    let status = machine.status();
    let [inserted, removed] = [FCNT_STATE_INSERT, FCNT_STATE_REMOVALS].map(|at| status.fcounters[at]);
    assert_eq!(
        inserted - removed,
        u64::from(status.states),
        "states that went in and did not go out"
    );
}

/// No two states have the same identity, whoever has chosen it.
pub(crate) fn check_identities(machine: &Machine) {
    let states = machine.dump();
    let identities: HashSet<_> = states.iter().map(|state| (state.id, state.creatorid)).collect();
    assert_eq!(identities.len(), states.len());
}
