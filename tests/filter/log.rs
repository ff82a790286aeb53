//! What pflog(4) shows: which packets, by which rule, and as what.

use std::sync::{Arc, Mutex};

use pf::kpi::{Direction, Kernel, Mbuf, SocketOwner};
use pf_abi::*;

use crate::common::Machine;
use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{Fate, judge};

/// The pflog interface, the header, the packet.
type Shown = (u8, LogHeader, Vec<u8>);

/// A packet filter whose log is read.
struct Gate {
    machine: Machine,
    shown: Arc<Mutex<Vec<Shown>>>,
}

impl Gate {
    fn new(rules: &[Rule]) -> Self {
        Self::of(Kernel::seeded(1), rules)
    }

    fn of(kernel: Kernel, rules: &[Rule]) -> Self {
        let shown = Arc::new(Mutex::new(vec![]));
        let to = shown.clone();
        let log = move |number, header: &LogHeader, packet: &Mbuf| {
            to.lock().unwrap().push((number, *header, packet.clone().to_bytes()));
        };
        let machine = Machine::of(kernel.with_packet_log(Box::new(log)));
        machine.command(DIOCSTART).unwrap();
        let gate = Gate { machine, shown };
        gate.load(RulesetKind::Filter, rules.iter().map(|rule| (rule.clone(), vec![])));
        gate
    }

    fn load(&self, kind: RulesetKind, rules: impl IntoIterator<Item = Loaded>) {
        self.machine.load(kind, &rules.into_iter().collect::<Vec<_>>()).unwrap();
    }

    fn cross(&self, ifindex: u16, direction: Direction, packet: &[u8]) -> Fate {
        judge(&self.machine, ifindex, direction, Mbuf::from_bytes(packet))
    }

    fn receive(&self, packet: &[u8]) -> Fate {
        self.cross(1, Direction::In, packet)
    }

    fn send(&self, packet: &[u8]) -> Fate {
        self.cross(1, Direction::Out, packet)
    }

    /// What has been shown since the last time.
    fn shown(&self) -> Vec<Shown> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }

    fn only(&self) -> Shown {
        let shown = self.shown();
        assert_eq!(shown.len(), 1, "{shown:?}");
        shown.into_iter().next().unwrap()
    }
}

fn header(action: Action, reason: Reason, rule: u32, dir: u8) -> LogHeader {
    LogHeader {
        length: PFLOG_REAL_HDRLEN,
        af: AF_INET,
        action: action.into(),
        reason: reason.into(),
        ifname: IfName::new("em0").unwrap(),
        rulenr: rule.to_be(),
        subrulenr: NO_RULE,
        uid: UID_MAX,
        pid: NO_PID,
        rule_uid: 42,
        rule_pid: 4711,
        dir,
        ..LogHeader::default()
    }
}

trait Log {
    fn log(self, flags: u8, to: u8) -> Self;
}

impl<T: Words> Log for T {
    fn log(self, flags: u8, to: u8) -> Self {
        self.change(|rule| (rule.log, rule.logif) = (flags, to))
    }
}

fn client() -> Ip {
    ip("10.0.0.1", "198.51.100.7")
}

#[test]
fn a_rule_without_log_shows_nothing() {
    let gate = Gate::new(&[pass().keep_state(), block().inward().proto(UDP)]);
    gate.send(&client().udp(1, 2, b"data")).unwrap();
    gate.receive(&client().udp(3, 4, b"data")).unwrap_err();
    assert_eq!(gate.shown(), []);
}

#[test]
fn a_blocked_packet_is_shown_with_its_rule_as_it_is() {
    let gate = Gate::new(&[pass(), block().log(PF_LOG, 0)]);
    let packet = client().udp(5, 53, b"data");
    assert_eq!(gate.receive(&packet), Err(None));
    assert_eq!(gate.only(), (0, header(Action::Drop, Reason::Match, 1, PF_IN), packet));
}

#[test]
fn the_header_speaks_of_ipv6_too() {
    let gate = Gate::new(&[block().log(PF_LOG, 0)]);
    gate.send(&ip("fd00::1", "2001:db8::7").udp(5, 53, b"data"))
        .unwrap_err();
    let (_, shown, _) = gate.only();
    assert_eq!(
        shown,
        LogHeader {
            af: AF_INET6,
            ..header(Action::Drop, Reason::Match, 0, PF_OUT)
        }
    );
}

#[test]
fn log_shows_only_what_makes_the_state() {
    let gate = Gate::new(&[pass().keep_state().log(PF_LOG, 0)]);
    let there = client().udp(5, 53, b"ask");
    gate.send(&there).unwrap();
    assert_eq!(
        gate.only(),
        (0, header(Action::Pass, Reason::Match, 0, PF_OUT), there.clone())
    );
    gate.receive(&client().back().udp(53, 5, b"answer")).unwrap();
    gate.send(&there).unwrap();
    assert_eq!(gate.shown(), []);
}

#[test]
fn without_a_state_every_packet_is_shown() {
    let gate = Gate::new(&[pass().log(PF_LOG, 0)]);
    for _ in 0..3 {
        gate.send(&client().udp(5, 53, b"ask")).unwrap();
    }
    assert_eq!(gate.shown().len(), 3);
}

#[test]
fn log_all_shows_every_packet_of_the_state_in_both_directions() {
    let gate = Gate::new(&[pass().keep_state().log(PF_LOG | PF_LOG_ALL, 0)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap();
    let answer = client().back().udp(53, 5, b"answer");
    gate.receive(&answer).unwrap();
    let error = client().back().error(&client().udp(5, 53, b"ask"));
    gate.receive(&error).unwrap();
    let shown = gate.shown();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[1], (0, header(Action::Pass, Reason::Match, 0, PF_IN), answer));
    assert_eq!(shown[2].2, error);
}

#[test]
fn log_all_lives_on_in_a_restored_state() {
    let gate = Gate::new(&[pass().keep_state().log(PF_LOG | PF_LOG_ALL, 0)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap();
    let states = gate.machine.dump();
    gate.machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    assert_eq!(gate.machine.add_states(&states), Ok(1));
    gate.shown();
    gate.receive(&client().back().udp(53, 5, b"answer")).unwrap();
    assert_eq!(gate.shown().len(), 1);
}

#[test]
fn log_to_names_the_interface() {
    let gate = Gate::new(&[pass().log(PF_LOG, 3), block().proto(UDP).log(PF_LOG, 15)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap_err();
    gate.send(&client().ping(7)).unwrap();
    let numbers: Vec<u8> = gate.shown().iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [15, 3]);
}

#[test]
fn there_are_sixteen_interfaces() {
    let gate = Gate::new(&[]);
    let rule = pass().log(PF_LOG, 16);
    let refused = gate.machine.load(RulesetKind::Filter, &[(rule, vec![])]);
    assert_eq!(refused, Err(pf::kpi::Errno::Einval));
    // Without `log` the number means nothing.
    gate.load(RulesetKind::Filter, [(pass().log(0, 16), vec![])]);
    assert_eq!(gate.machine.rules(Action::Pass)[0].logif, 0);
}

#[test]
fn a_translated_packet_is_shown_as_the_filter_rules_see_it() {
    for (rule, action) in [(pass().keep_state(), Action::Pass), (block(), Action::Drop)] {
        let gate = Gate::new(&[rule.log(PF_LOG, 0)]);
        gate.load(RulesetKind::Rdr, [rdr("10.0.0.3").to("192.0.2.1")]);
        let fate = gate.receive(&ip("198.51.100.7", "192.0.2.1").udp(7, 53, b"ask"));
        let seen = ip("198.51.100.7", "10.0.0.3").udp(7, 53, b"ask");
        let (_, shown, packet) = gate.only();
        assert_eq!(shown, header(action, Reason::Match, 0, PF_IN));
        assert_eq!(addresses(&packet), addresses(&seen));
        assert_eq!(wrong_checksums(&packet), [""; 0]);
        assert_eq!(fate.is_ok(), action == Action::Pass);
    }
}

#[test]
fn a_translation_rule_logs_where_the_filter_rule_does_not() {
    let gate = Gate::new(&[pass().keep_state()]);
    gate.load(RulesetKind::Nat, [no_nat().proto(GRE), nat("192.0.2.1").log(PF_LOG, 2)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap();
    let (number, shown, _) = gate.only();
    assert_eq!((number, shown), (2, header(Action::Nat, Reason::Match, 1, PF_OUT)));
    // Where both do, it is the filter rule.
    let gate = Gate::new(&[pass().keep_state().log(PF_LOG, 1)]);
    gate.load(RulesetKind::Nat, [nat("192.0.2.1").log(PF_LOG, 2)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap();
    assert_eq!(gate.only().0, 1);
}

#[test]
fn what_ends_a_packet_that_a_rule_passes_is_the_reason() {
    let gate = Gate::new(&[pass().keep_state().max(1).log(PF_LOG, 0)]);
    gate.send(&client().udp(5, 53, b"ask")).unwrap();
    gate.send(&client().udp(6, 53, b"ask")).unwrap_err();
    assert_eq!(gate.shown()[1].1, header(Action::Drop, Reason::StateLimit, 0, PF_OUT));
}

#[test]
fn what_no_rule_can_look_at_is_shown_on_pflog0() {
    let gate = Gate::new(&[pass()]);
    let packet = client().udp(5, 53, b"ask");
    gate.receive(&packet[..23]).unwrap_err();
    let (number, shown, packet) = gate.only();
    assert_eq!(number, 0);
    let by_nobody = |reason| LogHeader {
        rule_uid: UID_MAX,
        rule_pid: NO_PID,
        ..header(Action::Drop, reason, NO_RULE, PF_IN)
    };
    assert_eq!(shown, by_nobody(Reason::Short));
    assert_eq!(packet.len(), 23);
}

#[test]
fn options_that_no_rule_allows_are_shown_whether_it_logs_or_not() {
    let gate = Gate::new(&[pass().keep_state()]);
    let plain = client().udp(5, 53, b"ask");
    let optional = client().with_options(&[148, 4, 0, 0]).udp(5, 53, b"ask");
    gate.send(&optional).unwrap_err();
    let shown = header(Action::Drop, Reason::IpOption, 0, PF_OUT);
    assert_eq!(gate.only(), (0, shown, optional.clone()));
    // The same within a connection.
    gate.send(&plain).unwrap();
    gate.send(&optional).unwrap_err();
    assert_eq!(gate.only(), (0, shown, optional));
}

#[test]
fn log_user_tells_whose_socket_it_is() {
    let kernel = || {
        Kernel::seeded(1).with_sockets(Box::new(|ends| {
            let uid = 1000 + u32::from(ends.local.1);
            (ends.local.1 < 100).then_some(SocketOwner { uid, gid: 0 })
        }))
    };
    for (log, known, unknown) in [
        (PF_LOG | PF_LOG_SOCKET_LOOKUP, 1005, UID_MAX),
        (PF_LOG, UID_MAX, UID_MAX),
    ] {
        let gate = Gate::of(kernel(), &[pass().log(log, 0)]);
        gate.send(&client().udp(5, 53, b"ask")).unwrap();
        gate.receive(&client().back().udp(53, 5, b"answer")).unwrap();
        gate.send(&client().udp(500, 53, b"ask")).unwrap();
        // No protocol of sockets.
        gate.send(&client().ping(7)).unwrap();
        let uids: Vec<u32> = gate.shown().iter().map(|(_, shown, _)| shown.uid).collect();
        assert_eq!(uids, [known, known, unknown, unknown]);
    }
}

#[test]
fn a_scrub_rule_logs_what_it_drops_as_it_came() {
    let gate = Gate::new(&[pass()]);
    let scrubs = |log| {
        let strict = scrub().af(AF_INET).proto(TCP);
        let drop_ovl = scrub().af(AF_INET).change(|rule| rule.rule_flag = PFRULE_FRAGDROP);
        [strict, drop_ovl, scrub()].map(|rule| (rule.log(log, 2), vec![]))
    };
    let nonsense = client().tcp(&segment(1025, 80, SYN | RST, 1, 0));
    let v4 = |at: u16, more| client().with_fragment(at, more).packet(UDP, &[at as u8; 64]);
    let v6 = |at: u16, more| {
        let ip = ip("fd00::1", "2001:db8:7::7");
        ip.with_fragment(at, more).packet(UDP, &[at as u8; 64])
    };
    let refused = || {
        let mut refused = vec![(0, Reason::Normalize, nonsense.clone())];
        assert!(gate.send(&nonsense).is_err());
        assert!(gate.send(&v4(0, true)).is_ok());
        // It overlaps the first one.
        assert!(gate.send(&v4(32, true)).is_err());
        refused.push((1, Reason::Fragment, v4(32, true)));
        assert!(gate.send(&v6(0, true)).is_ok());
        // And in IPv6, where they wait.
        assert!(gate.send(&v6(32, true)).is_err());
        refused.push((2, Reason::Fragment, v6(32, true)));
        refused
    };
    gate.load(RulesetKind::Scrub, scrubs(PF_LOG));
    for ((rule, reason, packet), (number, shown, bytes)) in refused().into_iter().zip(gate.shown()) {
        let af = if packet[0] >> 4 == 6 { AF_INET6 } else { AF_INET };
        let expected = header(Action::Drop, reason, rule, PF_OUT);
        assert_eq!((number, shown, bytes), (2, LogHeader { af, ..expected }, packet));
    }
    gate.load(RulesetKind::Scrub, scrubs(0));
    gate.machine.advance(100);
    gate.machine.purge();
    assert_eq!(refused().len(), 3);
    assert_eq!(gate.shown(), [], "only where the rule says so");
}

#[test]
fn what_normalisation_drops_is_counted_on_its_interface() {
    let gate = Gate::new(&[pass()]);
    gate.load(RulesetKind::Scrub, [(scrub(), vec![])]);
    let counted = || {
        let kif = gate.machine.interfaces("em0")[0].clone();
        let [passed, dropped] = [0, 1].map(|at| (kif.packets[0][1][at], kif.bytes[0][1][at]));
        (passed, dropped)
    };
    let nonsense = client().tcp(&segment(1025, 80, SYN | RST, 1, 0));
    assert!(gate.send(&nonsense).is_err());
    let len = nonsense.len() as u64;
    assert_eq!(counted(), ((0, 0), (1, len)));
    // What cannot be read is counted as long as it is.
    assert!(gate.send(&nonsense[..23]).is_err());
    assert_eq!(counted(), ((0, 0), (2, len + 23)));
    // What waits is counted when all of it is there.
    assert!(
        gate.send(&client().with_fragment(0, true).packet(GRE, &[1; 64]))
            .is_ok()
    );
    assert_eq!(counted(), ((0, 0), (2, len + 23)));
    let whole = 20 + 64 + 8;
    assert!(
        gate.send(&client().with_fragment(64, false).packet(GRE, &[1; 8]))
            .is_ok()
    );
    assert_eq!(counted(), ((1, whole), (2, len + 23)));
}
