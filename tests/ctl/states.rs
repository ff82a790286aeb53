//! States through ioctls: dump, restore, remove, look up.

use crate::common::*;
use pf_abi::*;

#[test]
fn what_is_restored_is_what_was_dumped() {
    let before = Machine::new();
    let states: Vec<_> = (0..1000).map(connection).collect();
    assert_eq!(before.add_states(&states), Ok(1000));
    let dump = before.dump();
    assert_eq!(dump.len(), 1000);
    let after = Machine::new();
    after.set_lock(true);
    assert_eq!(after.add_states(&dump), Ok(1000));
    assert_eq!(sorted(after.dump()), sorted(dump));
}

#[test]
fn rules_are_loaded_and_pf_enabled() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    machine.load(RulesetKind::Filter, &passes(&["a", "b"])).unwrap();
    machine
        .load(RulesetKind::Nat, &[translate(Action::Nat, "n", [192, 0, 2, 1])])
        .unwrap();
    assert_eq!(machine.labels(Action::Pass), ["a", "b"]);
    assert_eq!(machine.labels(Action::Nat), ["n"]);
    assert_eq!(machine.status().running, 1);
}
