//! Addresses and tables against models that are too simple to be wrong, and readers against a writer.

use super::*;
use crate::kpi::host::fail_allocations;
use pf_abi::PFR_TFLAG_PERSIST;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::thread;
use std::vec::Vec;

/// Entries by family and network; what is negated.
type Model = BTreeMap<(Af, Prefix), bool>;

/// The naive way: of all networks that have the address, the narrowest.
fn find(model: &Model, af: Af, addr: &Addr) -> Option<(Prefix, bool)> {
    let covering = model
        .iter()
        .filter(|((of, prefix), _)| *of == af && Prefix::new(addr, af, prefix.len()) == *prefix);
    covering
        .max_by_key(|((_, prefix), _)| prefix.len())
        .map(|((_, prefix), negated)| (*prefix, *negated))
}

fn check(addresses: &Addresses, model: &Model) {
    assert_eq!(addresses.len(), model.len());
    let entries: Vec<_> = addresses
        .iter()
        .map(|(af, entry)| ((af, entry.prefix()), entry.is_negated()))
        .collect();
    let expected: Vec<_> = model.iter().map(|(key, negated)| (*key, *negated)).collect();
    assert_eq!(entries, expected, "all of them, in order");
    for af in [Af::Inet, Af::Inet6] {
        let of = expected.iter().filter(|((of, _), _)| *of == af);
        let nth: Vec<_> = (0..addresses.len_of(af))
            .map(|n| addresses.nth(af, n).unwrap().prefix())
            .collect();
        assert!(of.map(|((_, prefix), _)| *prefix).eq(nth), "one after the other");
        assert!(addresses.nth(af, addresses.len_of(af)).is_none());
    }
}

/// Addresses that are near each other, so that networks are within networks.
fn address() -> impl Strategy<Value = (Af, Addr)> {
    let near = prop_oneof![Just(0u128), Just(u128::MAX), any::<u128>()];
    (any::<bool>(), near, 0u32..128, any::<u128>(), 0u32..129).prop_map(|(v6, base, at, noise, len)| {
        let af = if v6 { Af::Inet6 } else { Af::Inet };
        let noise = noise.checked_shr(len).unwrap_or(0);
        (af, Addr::from_bits(base ^ noise ^ 1 << at).of_family(af))
    })
}

fn network() -> impl Strategy<Value = (Af, Prefix)> {
    (address(), prop_oneof![0u8..=128, 24u8..=33]).prop_map(|((af, addr), len)| (af, Prefix::new(&addr, af, len)))
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Af, Prefix, bool),
    Remove(Af, Prefix),
    /// One of those that are there.
    RemoveNth(prop::sample::Index),
    /// From here on the nodes are shared with a version that is kept.
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (network(), any::<bool>()).prop_map(|((af, prefix), not)| Step::Insert(af, prefix, not)),
        1 => network().prop_map(|(af, prefix)| Step::Remove(af, prefix)),
        3 => any::<prop::sample::Index>().prop_map(Step::RemoveNth),
        1 => Just(Step::Keep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_narrowest_network_decides(
        steps in prop::collection::vec(step(), 1..120),
        asked in prop::collection::vec(address(), 40),
    ) {
        let (mut addresses, mut model) = (Addresses::default(), Model::new());
        let mut kept = Vec::new();
        for step in &steps {
            match step {
                Step::Insert(af, prefix, negated) => {
                    addresses.insert(*af, Entry::new(*prefix, *negated, 0)).unwrap();
                    model.insert((*af, *prefix), *negated);
                }
                Step::Remove(af, prefix) => {
                    let was_there = model.remove(&(*af, *prefix)).is_some();
                    prop_assert_eq!(addresses.remove(*af, prefix).unwrap(), was_there);
                }
                Step::RemoveNth(_) if model.is_empty() => (),
                Step::RemoveNth(index) => {
                    let (af, prefix) = *model.keys().nth(index.index(model.len())).unwrap();
                    model.remove(&(af, prefix));
                    prop_assert!(addresses.remove(af, &prefix).unwrap());
                }
                Step::Keep => kept.push((addresses.clone(), model.clone())),
            }
        }
        kept.push((addresses, model));
        for (addresses, model) in &kept {
            check(addresses, model);
            let within = model.keys().map(|(af, prefix)| (*af, prefix.addr()));
            for (af, addr) in asked.iter().copied().chain(within) {
                let found = addresses.find(af, &addr).map(|entry| (entry.prefix(), entry.is_negated()));
                prop_assert_eq!(found, find(model, af, &addr));
            }
        }
    }

    #[test]
    fn a_change_that_runs_out_of_memory_leaves_the_version_before(
        networks in prop::collection::vec(network(), 1..40),
        after in 0usize..40,
    ) {
        let (mut addresses, mut model) = (Addresses::default(), Model::new());
        for (af, prefix) in &networks[1..] {
            addresses.insert(*af, Entry::new(*prefix, false, 0)).unwrap();
            model.insert((*af, *prefix), false);
        }
        let mut changed = addresses.clone();
        let failing = fail_allocations(after);
        let (af, prefix) = networks[0];
        let inserted = changed.insert(af, Entry::new(prefix, true, 0));
        let removed = inserted.and_then(|()| model.keys().try_for_each(|(af, prefix)| {
            changed.remove(*af, prefix).map(|_| ())
        }));
        drop(failing);
        if removed.is_ok() {
            prop_assert!(changed.len() <= 1);
        }
        drop(changed);
        check(&addresses, &model);
    }
}

fn host(n: u32) -> Prefix {
    Prefix::host(&Addr::from_v4(n.to_be_bytes()), Af::Inet)
}

#[test]
fn counters_go_on_from_version_to_version() {
    let mut addresses = Addresses::default();
    addresses.insert(Af::Inet, Entry::new(host(7), false, 5)).unwrap();
    let before = addresses.clone();
    addresses.insert(Af::Inet, Entry::new(host(8), false, 6)).unwrap();
    before
        .get(Af::Inet, &host(7))
        .unwrap()
        .count(Direction::Out, Fate::Passed, 100);
    let entry = addresses.get(Af::Inet, &host(7)).unwrap();
    assert_eq!(entry.counted(Direction::Out, Fate::Passed), (1, 100));
    assert_eq!(entry.counted(Direction::In, Fate::Passed), (0, 0));
    entry.clear(9);
    assert_eq!(
        (entry.counted(Direction::Out, Fate::Passed), entry.since()),
        ((0, 0), 9)
    );
    let mut other = Addresses::default();
    assert!(other.share(&addresses, Af::Inet, &host(7)).unwrap());
    assert!(!other.share(&addresses, Af::Inet, &host(9)).unwrap());
    assert!(core::ptr::eq(other.get(Af::Inet, &host(7)).unwrap(), entry));
}

/// A hundred thousand addresses, in no order: one more is a matter of a few nodes.
#[test]
fn adding_one_never_copies_the_table() {
    let mut addresses = Addresses::default();
    for n in 0..100_000u32 {
        let prefix = host(n.wrapping_mul(0x9e37_79b9));
        addresses.insert(Af::Inet, Entry::new(prefix, false, 0)).unwrap();
    }
    let kept = addresses.clone();
    let allocations = 16;
    let failing = fail_allocations(allocations);
    addresses
        .insert(Af::Inet, Entry::new(host(0xdead_beef), false, 0))
        .unwrap();
    addresses.remove(Af::Inet, &host(0)).unwrap();
    drop(failing);
    assert_eq!((kept.len(), addresses.len()), (100_000, 100_000));
    assert!(kept.get(Af::Inet, &host(0)).is_some() && addresses.get(Af::Inet, &host(0)).is_none());
}

// Tables.

fn name(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

/// Defines a table with these hosts.
fn define(tables: &mut Tables, table: &KArc<Table>, hosts: &[u32], flags: u32, passive: &Passive) {
    let mut addresses = Addresses::default();
    for n in hosts {
        addresses.insert(Af::Inet, Entry::new(host(*n), false, 0)).unwrap();
    }
    let mut changes = KVec::new();
    changes
        .push(Change {
            table: table.clone(),
            new: KBox::new(Contents {
                active: true,
                addresses,
            })
            .unwrap(),
            flags: Some(flags),
            clear: false,
        })
        .unwrap();
    let mut retired = Retired::with_room(1, passive).unwrap();
    tables.apply(changes, 0, passive, &mut retired).unwrap();
}

fn contains(table: &TableRef, n: u32, passive: &Passive) -> bool {
    let level = SoftNet::raise();
    table.contains(Af::Inet, &host(n).addr(), &passive.read(&level))
}

#[test]
fn a_table_lives_as_long_as_something_holds_it() {
    let passive = Passive::new().unwrap();
    let mut tables = Tables::new().unwrap();
    let first = tables.refer(b"", &name("bad"), 10, 0).unwrap();
    assert!(!contains(&first, 1, &passive), "it is not defined");
    let second = tables.refer(b"", &name("bad"), 10, 0).unwrap();
    assert_eq!((tables.len(), first.table().rule_count()), (1, 2));
    let table = first.table().clone();
    define(&mut tables, &table, &[1, 2], 0, &passive);
    assert!(contains(&first, 1, &passive) && !contains(&second, 3, &passive));
    assert_eq!((tables.entries(), table.lookups()), (2, (1, 1)));
    drop(first);
    tables.sweep(&passive);
    assert_eq!(tables.len(), 1);
    drop(second);
    tables.sweep(&passive);
    assert_eq!((tables.len(), tables.entries()), (0, 0));
    // One that is persistent stays.
    let table = tables.bring(b"", &name("good"), 10, 0).unwrap();
    define(&mut tables, &table, &[1], PFR_TFLAG_PERSIST, &passive);
    tables.sweep(&passive);
    assert_eq!(tables.len(), 1);
    table.set_flags(0, PFR_TFLAG_PERSIST);
    tables.sweep(&passive);
    assert_eq!(tables.len(), 0);
}

#[test]
fn a_table_of_an_anchor_stands_before_the_main_rulesets() {
    let passive = Passive::new().unwrap();
    let mut tables = Tables::new().unwrap();
    let rule = tables.refer(b"foo/bar", &name("bad"), 10, 0).unwrap();
    let main = tables.find(b"", &name("bad")).unwrap().clone();
    assert_eq!((tables.len(), main.anchor_count()), (2, 1));
    define(&mut tables, &main, &[1], PFR_TFLAG_PERSIST, &passive);
    assert!(contains(&rule, 1, &passive) && !contains(&rule, 2, &passive));
    assert_eq!(main.lookups(), (0, 0), "no rule of the main ruleset speaks of it");
    let own = rule.table().clone();
    define(&mut tables, &own, &[2], 0, &passive);
    assert!(!contains(&rule, 1, &passive) && contains(&rule, 2, &passive));
    let order: Vec<_> = tables.iter().map(|table| table.anchor().to_vec()).collect();
    assert_eq!(order, [b"".to_vec(), b"foo/bar".to_vec()]);
    drop((rule, own));
    tables.sweep(&passive);
    assert_eq!((tables.len(), main.anchor_count()), (1, 0));
}

#[test]
fn no_more_tables_than_the_limit() {
    let mut tables = Tables::new().unwrap();
    let _one = tables.refer(b"", &name("one"), 2, 0).unwrap();
    assert_eq!(
        tables.refer(b"foo", &name("two"), 2, 0).unwrap_err(),
        crate::kpi::Errno::Enomem
    );
    assert_eq!(tables.len(), 1, "not half of it");
    let _two = tables.refer(b"", &name("two"), 2, 0).unwrap();
    let _one_more = tables.refer(b"", &name("one"), 2, 0).unwrap();
}

/// A writer puts in and takes out networks in rounds, each round whole: what a reader finds is of one round.
#[test]
fn lookups_go_on_while_the_table_changes() {
    const ROUNDS: u32 = 300;
    const HOSTS: u32 = 64;
    let passive = Passive::new().unwrap();
    let mut tables = Tables::new().unwrap();
    let rule = tables.refer(b"", &name("bad"), 10, 0).unwrap();
    let table = rule.table().clone();
    let hosts: Vec<u32> = (0..HOSTS).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
    define(&mut tables, &table, &hosts, 0, &passive);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let level = SoftNet::raise();
                    let section = passive.read(&level);
                    let addresses = rule.addresses(&section).unwrap();
                    let found = hosts
                        .iter()
                        .filter(|n| addresses.find(Af::Inet, &host(**n).addr()).is_some());
                    let found = found.count() as u32;
                    assert!(found == 0 || found == HOSTS, "{found} of them");
                    assert_eq!(addresses.len() as u32, found);
                    assert_eq!(addresses.iter().count() as u32, found);
                }
            });
        }
        for round in 0..ROUNDS {
            define(
                &mut tables,
                &table,
                if round % 2 == 0 { &[] } else { &hosts },
                0,
                &passive,
            );
        }
        done.store(true, Ordering::Relaxed);
    });
}

// Hosts that packets put into tables.

/// A packet filter with a table that a rule speaks of, defined or not, and how often its purge thread was woken.
fn overloading(defined: bool) -> (KBox<crate::Pf>, TableRef, std::sync::Arc<AtomicU32>) {
    let woken = std::sync::Arc::new(AtomicU32::new(0));
    let count = woken.clone();
    let kernel = crate::kpi::Kernel::seeded(1).with_wake(std::boxed::Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let pf = crate::Pf::new(kernel).unwrap();
    let rule = {
        let mut control = pf.control.lock();
        let rule = control.tables.refer(b"", &name("bad"), 10, 0).unwrap();
        if defined {
            define(&mut control.tables, rule.table(), &[1], 0, &pf.passive);
        }
        rule
    };
    (pf, rule, woken)
}

fn overload(pf: &crate::Pf, rule: &TableRef, n: u32) -> bool {
    let level = SoftNet::raise();
    pf.overloads.push(rule, Af::Inet, host(n).addr(), pf.kernel(), &level)
}

#[test]
fn a_host_is_in_the_table_when_the_purge_thread_has_woken() {
    let (pf, rule, woken) = overloading(true);
    let other = pf.control.lock().tables.refer(b"", &name("other"), 10, 0).unwrap();
    define(&mut pf.control.lock().tables, other.table(), &[], 0, &pf.passive);
    assert!(overload(&pf, &rule, 7) && overload(&pf, &other, 8) && overload(&pf, &rule, 9));
    // One that it has, and one that comes twice.
    assert!(overload(&pf, &rule, 1) && overload(&pf, &rule, 7));
    assert_eq!(woken.load(Ordering::Relaxed), 1, "once for all of them");
    assert!(!contains(&rule, 7, &pf.passive));
    pf.catch_up();
    let found = [1, 7, 8, 9].map(|n| (contains(&rule, n, &pf.passive), contains(&other, n, &pf.passive)));
    assert_eq!(found, [(true, false), (true, false), (false, true), (true, false)]);
    assert_eq!(pf.control.lock().tables.entries(), 4);
    assert!(overload(&pf, &rule, 10));
    assert_eq!(woken.load(Ordering::Relaxed), 2);
    pf.purge();
    assert!(contains(&rule, 10, &pf.passive), "the tick does it as well");
}

#[test]
fn hosts_wait_while_somebody_is_at_work_on_tables() {
    let (pf, rule, woken) = overloading(true);
    assert!(overload(&pf, &rule, 7));
    let control = pf.control.lock();
    pf.catch_up();
    assert!(!contains(&rule, 7, &pf.passive));
    assert!(overload(&pf, &rule, 8));
    assert_eq!(woken.load(Ordering::Relaxed), 1, "the next tick is soon enough");
    drop(control);
    pf.purge();
    assert!(contains(&rule, 7, &pf.passive) && contains(&rule, 8, &pf.passive));
}

#[test]
fn hosts_that_are_too_many_are_not_kept() {
    let (pf, rule, _) = overloading(true);
    let kept = (100..3000).filter(|n| overload(&pf, &rule, *n)).count();
    assert_eq!(kept, 1024);
    pf.catch_up();
    assert_eq!(pf.control.lock().tables.entries(), 1025);
    assert!(overload(&pf, &rule, 5000), "there is room again");
}

#[test]
fn a_table_that_is_not_defined_takes_no_host() {
    let (pf, rule, _) = overloading(false);
    assert!(overload(&pf, &rule, 7));
    pf.catch_up();
    assert!(!contains(&rule, 7, &pf.passive));
    drop(rule);
    pf.purge();
    assert!(
        pf.control.lock().tables.is_empty(),
        "a host that waited holds it no longer"
    );
}

#[test]
fn hosts_wait_for_memory() {
    let (pf, rule, _) = overloading(true);
    assert!(overload(&pf, &rule, 7));
    let failing = fail_allocations(0);
    pf.catch_up();
    drop(failing);
    assert!(!contains(&rule, 7, &pf.passive));
    pf.catch_up();
    assert!(contains(&rule, 7, &pf.passive));
}
