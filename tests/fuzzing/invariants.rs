//! What is true of a packet filter whatever was done to it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use pf::kpi::SoftNet;
use pf::source::Position;
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
        of_rules.extend(
            state
                .rules()
                .map(|rule| (std::ptr::from_ref(&**rule), rule.states.load(Ordering::Relaxed))),
        );
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
    let mut counted = HashMap::new();
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

/// Each source node has as many states, and connections among them, as say so; each rule as many nodes; the table as many as it says.
pub(crate) fn check_sources(machine: &Machine) {
    let level = SoftNet::raise();
    let (mut states, mut connections) = (HashMap::new(), HashMap::new());
    machine.pf.states().walk(0, &level, |state| {
        let extra = state.extra().into_iter();
        for tie in extra.flat_map(|extra| extra.source.iter().chain(&extra.nat_source)) {
            let node = std::ptr::from_ref(tie.node());
            *states.entry(node).or_insert(0u32) += 1;
            *connections.entry(node).or_insert(0u32) += u32::from(tie.is_connected());
        }
        true
    });
    let sources = machine.pf.sources();
    let (mut nodes, mut of_rules) = (0, HashMap::new());
    let mut from = Some(Position::default());
    while let Some(position) = from {
        from = sources.walk(position, &level, |node| {
            nodes += 1;
            let at = std::ptr::from_ref(node);
            assert_eq!(node.states(), states.get(&at).copied().unwrap_or(0));
            assert_eq!(node.connections(), connections.get(&at).copied().unwrap_or(0));
            if let Some(rule) = node.rule() {
                let entry = of_rules.entry(std::ptr::from_ref(&**rule));
                let (counted, _) = entry.or_insert((0, rule.src_nodes.load(Ordering::Relaxed)));
                *counted += 1;
            }
            true
        });
    }
    assert_eq!(nodes, sources.len(), "the table has as many nodes as it says");
    assert!(
        of_rules.values().all(|(counted, nodes)| counted == nodes),
        "rules count their nodes: {of_rules:?}"
    );
}

/// What is told of a table is the same wherever it is asked, and each has a name of its own.
pub(crate) fn check_tables(machine: &Machine) {
    let mut names = HashSet::new();
    for (name, flags) in machine.tables() {
        assert!(names.insert(name.clone()), "{name} is there twice");
        if flags & PFR_TFLAG_ACTIVE != 0 {
            let stats = machine.table_stats(&name);
            let addresses = machine.table_addresses(&name).unwrap();
            assert_eq!(stats.cnt as usize, addresses.len(), "{name}");
            let distinct: HashSet<&str> = addresses.iter().map(|it| it.trim_start_matches("! ")).collect();
            assert_eq!(distinct.len(), addresses.len(), "an address twice in {name}");
        }
    }
}

/// When the purge has passed, each table is there for somebody: because it is defined, for a rule, a transaction, or the table of its
/// name in an anchor, which it stands behind.
pub(crate) fn check_tables_are_needed(machine: &Machine) {
    let tables = machine.tables();
    for (name, flags) in &tables {
        let needed = PFR_TFLAG_ACTIVE | PFR_TFLAG_REFERENCED | PFR_TFLAG_INACTIVE;
        let is_behind = || tables.iter().any(|(other, _)| other.ends_with(&format!(":{name}")));
        assert!(flags & needed != 0 || is_behind(), "nobody needs {name}: {tables:?}");
    }
}

/// Every anchor is told, in the order of names, and is there for somebody: for rules, tables, a transaction, a rule that calls it, or an
/// anchor within.
pub(crate) fn check_anchors(machine: &Machine) {
    let mut paths = vec![String::new()];
    let mut count = 0;
    while let Some(path) = paths.pop() {
        count += 1;
        assert!(count < 10_000, "anchors go round in circles");
        let children = machine.anchors(&path).unwrap();
        assert!(children.is_sorted_by(|one, next| one < next), "{path}: {children:?}");
        let within = |child: String| match path.as_str() {
            "" => child,
            path => format!("{path}/{child}"),
        };
        paths.extend(children.into_iter().map(within));
        for action in [Action::Pass, Action::Nat, Action::Rdr, Action::Binat, Action::Scrub] {
            let rules = machine.rules_of(&path, action).unwrap();
            assert!(
                rules.iter().map(|(rule, _)| rule.nr).eq(0..rules.len() as u32),
                "{path}"
            );
        }
    }
}

/// Nobody holds a lock that is not there, or holds it for longer than anybody may.
pub(crate) fn check_lock(machine: &Machine) {
    let mut arg = BulkLock {
        head: BulkHead::of::<BulkLock>(),
        action: BULK_LOCK_GET,
        ..BulkLock::default()
    };
    machine.read_ioctl(DIOCBLOCK, &mut arg).unwrap();
    assert_eq!(arg.locked != 0, machine.pf.is_locked());
    if arg.pid == 0 {
        assert_eq!(arg.seconds, 0);
    } else {
        assert!(arg.locked == 1 && arg.seconds <= BULK_LOCK_MOST, "{arg:?}");
    }
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
