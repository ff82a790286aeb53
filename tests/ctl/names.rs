//! Names of interfaces that rules and states bring up: how many there may be, and what becomes of those that nobody uses.

use std::collections::BTreeSet;
use std::thread;

use pf::kpi::{Direction, Errno};
use pf_abi::*;

use crate::common::rules::{Pooled, Words, dynamic_addr, routed, scrub};
use crate::common::*;

use RulesetKind::{Filter, Scrub};

/// As many as there may be here, so that they come to an end soon.
const MOST: usize = 64;

fn ifname(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

fn on(name: &str, n: u32) -> SyncState {
    SyncState {
        ifname: ifname(name),
        ..connection(n)
    }
}

impl Machine {
    fn names(&self) -> BTreeSet<String> {
        let kifs = self.interfaces("");
        let names = kifs.iter().map(|kif| kif.name.as_str().unwrap().to_owned());
        names.collect()
    }

    fn clear_states(&self, name: &str) {
        let mut arg = IocStateKill {
            ifname: ifname(name),
            ..IocStateKill::default()
        };
        self.ioctl(DIOCCLRSTATES, &mut arg).unwrap();
    }

    fn skip(&self, cmd: u64, name: &str) {
        let mut arg = IocIface {
            name: ifname(name),
            flags: PFI_IFLAG_SKIP,
            ..IocIface::default()
        };
        self.ioctl(cmd, &mut arg).unwrap();
    }
}

#[test]
fn names_come_to_an_end_and_those_that_nobody_uses_are_given_back() {
    let machine = Machine::new();
    machine.pf.limit_names(MOST);
    machine.command(DIOCSTART).unwrap();
    // What a state, and what a source, has been given by rules that are no more.
    let gre = packet(47, [10, 0, 0, 1], [198, 51, 100, 7], &[]);
    for (index, name) in [(12, "tun12"), (13, "tun13")] {
        machine.pf.attach_interface(index, name.as_bytes()).unwrap();
    }
    let sticky = routed(pass("sticky"), Route::To, &["tun13 10.0.0.1"]).sticky();
    machine.load(Filter, &[sticky]).unwrap();
    machine.send(1, Direction::In, &gre);
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    let way = routed(pass("way"), Route::To, &["tun12 10.0.0.1"]);
    machine.load(Filter, &[way]).unwrap();
    machine.send(1, Direction::In, &gre);
    assert_eq!((machine.pf.states().len(), machine.sources().len()), (1, 1));
    machine.pf.detach_interface(12).unwrap();
    machine.pf.detach_interface(13).unwrap();
    // Rules that are loaded, one that is being loaded, and the pool of the next.
    let ends = pass("ends").from("(tun1)").to("(tun2:network)").af(AF_INET);
    let ways = routed(pass("ways"), Route::To, &["tun3 10.0.0.1", "tun4 10.0.0.2"]);
    let rules = [(pass("on").on("tun0"), vec![]), (ends, vec![]), ways];
    machine.load(Filter, &rules).unwrap();
    let mut open = machine.begin(&[Scrub, Filter]);
    machine.add_rule(open.ticket(Scrub), &scrub().on("tun5"), &[]).unwrap();
    // What is skipped, what was, what is there, and what the status is about.
    machine.skip(DIOCSETIFFLAG, "tun8");
    machine.skip(DIOCSETIFFLAG, "gone0");
    machine.skip(DIOCCLRIFFLAG, "gone0");
    machine.pf.attach_interface(9, b"tun9").unwrap();
    machine.pf.attach_interface(10, b"tun10").unwrap();
    let mut status = IocIf {
        ifname: ifname("tun10"),
    };
    machine.ioctl(DIOCSETSTATUSIF, &mut status).unwrap();
    machine.pf.detach_interface(10).unwrap();
    let mut used = machine.names();
    used.remove("gone0");

    for n in 0..MOST - 2 - machine.names().len() {
        let rule = pass("new").on(&format!("x{n}"));
        machine.add_rule(open.ticket(Filter), &rule, &[]).unwrap();
    }
    let address = PoolAddr {
        addr: dynamic_addr("tun6"),
        ifname: ifname("tun7"),
        ..PoolAddr::default()
    };
    machine.pool(&[address]).unwrap();
    assert_eq!(machine.names().len(), MOST);
    assert_eq!(machine.add_state(&on("y0", 0)), Ok(()), "in the place of gone0");
    assert_eq!(machine.add_state(&on("y1", 1)), Err(Errno::Enospc));
    assert_eq!(machine.add_state(&on("x7", 1)), Ok(()), "it has its number");
    // Now all of them are nobody's but x7, which a state is on.
    let mut filter = Transaction::new(&[Filter]);
    filter.elements()[0].ticket = open.ticket(Filter);
    filter.call(&machine, DIOCXROLLBACK).unwrap();
    assert_eq!(machine.names().len(), MOST, "no name goes before another comes");
    assert_eq!(machine.add_state(&on("y1", 2)), Ok(()));
    used.extend(["tun6", "tun7", "x7", "y0", "y1"].map(str::to_owned));
    assert_eq!(machine.names(), used);
    // Everybody means what they meant.
    open.elements().truncate(1);
    open.call(&machine, DIOCXCOMMIT).unwrap();
    let rules = (0..6).map(|n| machine.interfaces(&format!("tun{n}"))[0].rules);
    assert_eq!(rules.collect::<Vec<_>>(), [1; 6]);
    let mut states: Vec<_> = machine.dump().iter().map(|state| state.ifname).collect();
    states.sort_by_key(|name| *name.as_array());
    assert_eq!(states, ["all", "x7", "y0", "y1"].map(ifname));
}

#[test]
fn a_number_is_given_back_only_when_nobody_can_have_it() {
    const ROUNDS: u32 = 300;
    let machine = Machine::new();
    machine.pf.limit_names(MOST);
    // Eight are left, for which all compete.
    let count = (MOST - 8 - machine.names().len()) as u32;
    let states: Vec<_> = (0..count).map(|n| on(&format!("x{n}"), n)).collect();
    machine.add_states(&states).unwrap();
    thread::scope(|scope| {
        let machine = &machine;
        scope.spawn(move || {
            for n in 0..ROUNDS {
                machine
                    .load(Filter, &[(pass("new").on(&format!("r{n}")), vec![])])
                    .unwrap();
            }
        });
        for who in ["a", "b"] {
            scope.spawn(move || {
                for n in 0..ROUNDS {
                    let name = format!("{who}{}", n % 50);
                    // Each of the two has its own connections.
                    let state = on(&name, count + 2 * n + u32::from(who == "b"));
                    match machine.add_state(&state) {
                        Ok(()) => machine.clear_states(&name),
                        Err(errno) => assert_eq!(errno, Errno::Enospc),
                    }
                }
            });
        }
    });
    let mut left = machine.dump();
    left.sort_by_key(|state| state.lan.port.get());
    assert_eq!(left.len(), count as usize, "each clears its own, and nobody else's");
    for state in &left {
        let [_, a, b, c] = state.lan.addr.v4().octets();
        let n = u32::from_be_bytes([0, a, b, c]);
        assert_eq!(state.ifname, ifname(&format!("x{n}")));
    }
}
