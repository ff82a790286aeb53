//! Rules about interfaces: their addresses, which may change, and groups of them.

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, dropped};

fn passes(gate: &Gate, src: &str) -> bool {
    gate.receive(&ip(src, "192.0.2.200").udp(1025, 53, b"question")).is_ok()
}

#[test]
fn an_interface_in_parentheses_follows_its_addresses() {
    let gate = Gate::new(&[block(), pass().from("(em1:network)")]);
    assert!(!passes(&gate, "10.0.0.7"), "it has no address yet");
    gate.each(|machine| machine.set_addresses(2, &["10.0.0.1/24"]));
    assert!(passes(&gate, "10.0.0.7"));
    assert!(!passes(&gate, "10.0.1.7"));
    gate.each(|machine| machine.set_addresses(2, &["10.0.1.1/24", "2001:db8::1/64"]));
    assert!(!passes(&gate, "10.0.0.7"));
    assert!(passes(&gate, "10.0.1.7"));
    let v6 = ip("2001:db8::7", "2001:db8:9::9").udp(1025, 53, b"question");
    assert_eq!(gate.receive(&v6), Ok(v6));
    gate.each(|machine| machine.set_addresses(2, &[]));
    assert!(!passes(&gate, "10.0.1.7"));
}

#[test]
fn each_modifier_of_an_interface_means_addresses_of_its_own() {
    let about = |end: &str, src: &str| {
        let gate = Gate::new(&[block().from(end)]);
        gate.each(|machine| machine.set_addresses(1, &["192.0.2.1/24", "192.0.2.9/24"]));
        !passes(&gate, src)
    };
    assert!(about("(em0)", "192.0.2.1") && about("(em0)", "192.0.2.9"));
    assert!(!about("(em0)", "192.0.2.2"));
    assert!(about("(em0:0)", "192.0.2.1") && !about("(em0:0)", "192.0.2.9"));
    assert!(about("(em0:network)", "192.0.2.77"));
    assert!(!about("! (em0:network)", "192.0.2.77") && about("! (em0:network)", "10.0.0.1"));
    assert!(about("(self)", "192.0.2.9") && !about("(em1)", "192.0.2.9"));
}

#[test]
fn a_name_without_a_number_is_every_interface_of_the_driver() {
    let gate = Gate::new(&[block().on("em")]);
    let packet = ip("10.0.0.1", "10.0.0.2").udp(1, 2, b"");
    let blocked = |gate: &Gate, ifindex| gate.cross(ifindex, false, &packet).is_err();
    assert!(
        blocked(&gate, 1) && blocked(&gate, 2) && !blocked(&gate, 3),
        "lo0 is another's"
    );
    // One that comes later is of the group, too.
    gate.each(|machine| machine.pf.attach_interface(9, b"em9").unwrap());
    gate.each(|machine| machine.pf.attach_interface(8, b"emu0").unwrap());
    assert!(blocked(&gate, 9) && !blocked(&gate, 8));
    let others = Gate::new(&[block().on("! em")]);
    assert!(!blocked(&others, 1) && blocked(&others, 3));
}

/// No rule can say whether it is about that interface, so neither one that would pass the packet nor one that would not is asked.
#[test]
fn nothing_crosses_an_interface_that_is_not_known_yet() {
    let open = Gate::new(&[block().on("em9")]);
    let others = Gate::new(&[block(), pass().on("! em0")]);
    let states = Gate::new(&[pass().on("em0").flags(SYN, SYN | ACK).keep_state()]);
    let packet = ip("10.0.0.1", "10.0.0.2").udp(1, 2, b"");
    // A segment in the middle of a connection, which goes a shorter way.
    let there = ip("10.0.0.1", "10.0.0.2");
    states.receive(&there.tcp(&segment(1025, 80, SYN, 1, 0))).unwrap();
    states
        .send(&there.back().tcp(&segment(80, 1025, SYN | ACK, 1, 2)))
        .unwrap();
    states.receive(&there.tcp(&segment(1025, 80, ACK, 2, 2))).unwrap();
    let data = there.tcp(&segment(1025, 80, ACK, 2, 2).with_data(10));
    for (gate, packet) in [(&open, &packet), (&others, &packet), (&states, &data)] {
        assert_eq!(gate.cross(9, false, packet), dropped(Reason::Congestion));
        gate.each(|machine| machine.pf.attach_interface(9, b"em9").unwrap());
    }
    assert_eq!(open.cross(9, false, &packet), BLOCKED);
    assert_eq!(others.cross(9, false, &packet), Ok(packet));
    assert_eq!(states.cross(9, false, &data), Ok(data));
}

#[test]
fn a_reader_sees_how_many_addresses_an_interface_has() {
    let gate = Gate::new(&[pass().from("(em0)").to("(em1)")]);
    gate.each(|machine| machine.set_addresses(1, &["192.0.2.1/24", "2001:db8::1/64"]));
    let rule = gate.rule(0);
    assert_eq!((rule.src.addr.p, rule.dst.addr.p), (2, 0));
    assert_eq!(rule.src.addr.ifname().as_str(), Some("em0"));
    let group = gate.machine().interfaces("em");
    assert!(group.iter().all(|kif| kif.name.as_str().unwrap().starts_with("em")));
}

#[test]
fn an_interface_that_cannot_be_is_refused() {
    let machine = crate::common::Machine::new();
    let refused = |change: fn(&mut AddrWrap)| {
        let mut rule = pass().from("(em0)");
        change(&mut rule.src.addr);
        machine.load(RulesetKind::Filter, &[(rule, vec![])])
    };
    use pf::kpi::Errno::Einval;
    assert_eq!(refused(|_| ()), Ok(()));
    assert_eq!(
        refused(|addr| addr.iflags = PFI_AFLAG_PEER | PFI_AFLAG_NETWORK),
        Err(Einval)
    );
    assert_eq!(refused(|addr| addr.set_ifname(IfName::EMPTY)), Err(Einval));
    assert_eq!(
        refused(|addr| addr.a.addr = Addr::from_words([0x4141_4141; 4])),
        Err(Einval),
        "no end"
    );
}
