//! Pools of addresses: how nat and rdr choose, what becomes of them when ports run out, and errors about what they translated.

use std::collections::{BTreeMap, HashSet};

use pf_abi::*;

use crate::common::packets::*;
use crate::common::rules::*;
use crate::gate::{BLOCKED, Gate, check_table, dropped};

fn from(host: u8) -> Ip {
    ip(&format!("10.0.0.{host}"), "198.51.100.7")
}

/// Source address and port of a packet.
fn source(packet: &[u8]) -> (String, u16) {
    let ends = sound(packet);
    let (src, _) = ends.split_once(" > ").unwrap();
    let (addr, port) = src.rsplit_once(':').unwrap();
    (addr.to_owned(), port.parse().unwrap())
}

fn destination(packet: &[u8]) -> String {
    sound(packet).split_once(" > ").unwrap().1.to_owned()
}

#[test]
fn addresses_of_a_list_take_turns() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.1")
        .and(&["192.0.2.8/31"])
        .choosing(PoolKind::RoundRobin)
        .on("em0")]);
    let given: Vec<String> = (1..=6)
        .map(|host| source(&gate.forward(&from(host).udp(1025, 53, b"?")).unwrap()).0)
        .collect();
    let turn = ["192.0.2.1", "192.0.2.8", "192.0.2.9"];
    assert_eq!(given, [turn, turn].concat());
    check_table(gate.machine());
}

#[test]
fn a_bitmask_keeps_the_host_in_both_families() {
    let gate = Gate::new(&[]).nat(&[
        nat("192.0.2.0/24")
            .choosing(PoolKind::Bitmask)
            .on("em0")
            .from("10.0.0.0/8"),
        nat("2001:db8::/64")
            .choosing(PoolKind::Bitmask)
            .on("em0")
            .from("fd00::/8"),
    ]);
    let out = gate.forward(&from(77).udp(1025, 53, b"?")).unwrap();
    assert_eq!(source(&out).0, "192.0.2.77");
    let out = gate.forward(&ip("fd00::1234:5678", "2001:db8:7::7").udp(1025, 53, b"?"));
    assert_eq!(source(&out.unwrap()).0, "2001:db8::1234:5678");
}

#[test]
fn a_source_hash_gives_a_source_the_same_address_each_time() {
    let with_key = |key: [u32; 4]| {
        Gate::new(&[]).nat(&[nat("192.0.2.0/28")
            .choosing(PoolKind::SourceHash)
            .change(|rule| rule.rpool.key = key)
            .on("em0")])
    };
    let given = |gate: &Gate, port: u16| -> Vec<String> {
        let out = |host| gate.forward(&from(host).udp(port, 53, b"?")).unwrap();
        (1..=40).map(|host| source(&out(host)).0).collect()
    };
    let (gate, same, other) = (with_key([1, 2, 3, 4]), with_key([1, 2, 3, 4]), with_key([1, 2, 3, 5]));
    let first = given(&gate, 1025);
    assert_eq!(first, given(&gate, 1026));
    assert_eq!(first, given(&same, 1025), "the key alone decides");
    assert_ne!(first, given(&other, 1025));
    assert!(first.iter().collect::<HashSet<_>>().len() > 8, "{first:?}");
}

#[test]
fn a_random_address_is_one_of_the_network() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.64/26").choosing(PoolKind::Random).on("em0")]);
    let mut seen = HashSet::new();
    for port in 1025..1125 {
        let (addr, _) = source(&gate.forward(&from(1).udp(port, 53, b"?")).unwrap());
        let last: u8 = addr.strip_prefix("192.0.2.").unwrap().parse().unwrap();
        assert!((64..128).contains(&last));
        seen.insert(last);
    }
    assert!(seen.len() > 30, "{seen:?}");
}

#[test]
fn the_next_address_steps_in_where_one_has_no_port_left() {
    for kind in [PoolKind::RoundRobin, PoolKind::Random] {
        let gate = Gate::new(&[]).nat(&[nat("192.0.2.1")
            .and(&["192.0.2.2", "192.0.2.3"])
            .choosing(kind)
            .on("em0")
            .ports(6000, 6009)]);
        let mut given = BTreeMap::<String, HashSet<u16>>::new();
        for port in 1025..1055 {
            let (addr, port) = source(&gate.forward(&from(1).udp(port, 53, b"?")).unwrap());
            assert!(given.entry(addr).or_default().insert(port));
        }
        assert!(
            given.values().all(|ports| *ports == (6000..=6009).collect()),
            "{kind:?}"
        );
        assert_eq!(
            gate.forward(&from(1).udp(1055, 53, b"?")),
            dropped(Reason::StateInsert),
            "and then there is none"
        );
        assert!(gate.forward(&from(1).udp(1055, 54, b"?")).is_ok());
        check_table(gate.machine());
    }
}

#[test]
fn a_static_port_takes_the_next_address_where_it_is_taken() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.1")
        .and(&["192.0.2.2"])
        .choosing(PoolKind::RoundRobin)
        .on("em0")
        .ports(0, 0)]);
    let out = |host| gate.forward(&from(host).udp(1025, 53, b"?"));
    assert_eq!(source(&out(1).unwrap()), ("192.0.2.1".into(), 1025));
    assert_eq!(source(&out(2).unwrap()), ("192.0.2.2".into(), 1025));
    assert_eq!(out(3), dropped(Reason::StateInsert));
}

#[test]
fn every_port_of_a_range_is_found() {
    // The whole range that pfctl(8) gives a rule, to one destination: the last one is not found by luck.
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.1").on("em0")]);
    gate.each(|machine| machine.set_limit(Limit::States, 100_000));
    let mut given = HashSet::new();
    for n in 0..65_535 - 50_001 + 1u32 {
        let from = ip(&format!("10.0.{}.{}", n >> 8, n & 0xff), "198.51.100.7");
        let (_, port) = source(&gate.send(&from.udp(1025, 53, b"?")).unwrap());
        assert!(given.insert(port));
    }
    let late = ip("10.1.0.0", "198.51.100.7").udp(1025, 53, b"?");
    assert_eq!(gate.send(&late), dropped(Reason::StateInsert));
    // What is remembered of that is over in the next second.
    gate.tick(70);
    assert_eq!(gate.states(), 0);
    assert!(gate.send(&late).is_ok());
}

#[test]
fn ten_thousand_connections_share_four_addresses() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.0/30").choosing(PoolKind::RoundRobin).on("em0")]);
    gate.each(|machine| machine.set_limit(Limit::States, 100_000));
    let mut given = BTreeMap::<String, HashSet<u16>>::new();
    for n in 0..10_000u32 {
        let from = ip(&format!("10.0.{}.{}", n >> 8, n & 0xff), "198.51.100.7");
        let out = gate.send(&from.tcp(&segment(1025, 443, SYN, n, 0))).unwrap();
        let (addr, port) = source(&out);
        assert!(given.entry(addr).or_default().insert(port));
    }
    assert_eq!(given.len(), 4);
    assert!(given.values().all(|ports| ports.len() == 2500));
    check_table(gate.machine());
}

#[test]
fn echo_identifiers_are_found_at_the_next_address_too() {
    let gate = Gate::new(&[]).nat(&[nat("192.0.2.1")
        .and(&["192.0.2.2"])
        .choosing(PoolKind::RoundRobin)
        .on("em0")]);
    let outs = [1, 2].map(|host| gate.forward(&from(host).ping(77)).unwrap());
    assert!(sound(&outs[0]).starts_with("192.0.2.1") && sound(&outs[1]).starts_with("192.0.2.2"));
}

#[test]
fn connections_are_spread_over_servers() {
    let gate = Gate::new(&[]).rdr(&[rdr("10.0.0.80")
        .and(&["10.0.0.81", "10.0.0.82"])
        .choosing(PoolKind::RoundRobin)
        .on("em0")
        .proto(TCP)
        .port(80)
        .ports(8080, 0)]);
    let stranger = ip("198.51.100.7", "192.0.2.1");
    let to = |port: u16| destination(&gate.receive(&stranger.tcp(&segment(port, 80, SYN, 1, 0))).unwrap());
    let servers = ["10.0.0.80:8080", "10.0.0.81:8080", "10.0.0.82:8080"];
    assert_eq!([1025, 1026, 1027, 1028].map(to)[..3], servers);
    // A connection stays where it is.
    assert_eq!(to(1026), "10.0.0.81:8080");
    check_table(gate.machine());
}

#[test]
fn errors_about_what_a_pool_translated_find_their_way() {
    let gate = Gate::new(&[]).nat(&[
        nat("192.0.2.0/30")
            .choosing(PoolKind::RoundRobin)
            .on("em0")
            .from("10.0.0.0/8"),
        nat("2001:db8::/126")
            .choosing(PoolKind::RoundRobin)
            .on("em0")
            .from("fd00::/8"),
    ]);
    for (inside, outside, hop) in [
        ("10.0.0.1", "198.51.100.7", "203.0.113.1"),
        ("fd00::1", "2001:db8:7::7", "2001:db8:8::1"),
    ] {
        for port in 1025..1029 {
            let sent = ip(inside, outside).udp(port, 53, b"?");
            let out = gate.forward(&sent).unwrap();
            let (gateway, _) = source(&out);
            let back = gate.forward_back(&ip(hop, &gateway).error(&out)).unwrap();
            assert_eq!(back, ip(hop, inside).error(&sent));
        }
    }
}

#[test]
fn an_interface_in_parentheses_gives_the_addresses_that_it_has() {
    let dynamic = |flags: u8| {
        let (rule, mut pool) = nat("192.0.2.1").choosing(PoolKind::RoundRobin).on("em0").ports(0, 0);
        pool[0].addr.set_ifname(IfName::new("em0").unwrap());
        pool[0].addr.a.mask = Addr::from_words([u32::MAX; 4]);
        (pool[0].addr.kind, pool[0].addr.iflags) = (PF_ADDR_DYNIFTL, flags);
        Gate::new(&[]).nat(&[(rule, pool)])
    };
    let give = |gate: &Gate, addresses: &[&str]| gate.each(|machine| machine.set_addresses(1, addresses));
    let by = |gate: &Gate, port: u16| gate.forward(&from(1).udp(port, 53, b"?")).map(|out| source(&out).0);
    let gate = dynamic(0);
    assert_eq!(by(&gate, 1025), Err(Some(Reason::StateInsert)), "it has none");
    give(&gate, &["192.0.2.1/24", "2001:db8::1/64", "192.0.2.9/24"]);
    let given: Vec<String> = (1026..1030).map(|port| by(&gate, port).unwrap()).collect();
    assert!(
        given.contains(&"192.0.2.1".into()) && given.contains(&"192.0.2.9".into()),
        "{given:?}"
    );
    // What there is stays; what is new takes what is there now.
    give(&gate, &["203.0.113.5/24"]);
    assert_eq!(by(&gate, 1030), Ok("203.0.113.5".into()));
    assert_eq!(by(&gate, 1026), Ok(given[0].clone()));
    let gate = dynamic(PFI_AFLAG_NOALIAS);
    give(&gate, &["192.0.2.1/24", "192.0.2.9/24"]);
    assert_eq!([1025, 1026].map(|port| by(&gate, port).unwrap()), ["192.0.2.1"; 2]);
}

#[test]
fn an_interface_gives_no_link_local_address() {
    let to = |words: &str, translation: Loaded| {
        let (rule, mut pool) = translation.on("em0");
        pool[0].addr = dynamic_addr(words);
        (rule.af(AF_INET6), pool)
    };
    let (client, server) = ("fd00::5", "2001:db8:7::7");
    let out = |gate: &Gate, port| source(&gate.forward(&ip(client, server).udp(port, 53, b"?")).unwrap()).0;
    let has = |gate: &Gate, index, addresses: &[&str]| gate.each(|machine| machine.set_addresses(index, addresses));
    let em0 = ["fe80::1/64", "2001:db8::1/64", "2001:db8::9/64"];
    for (words, given) in [("em0", 2), ("em0:0", 1)] {
        let nat = to(words, nat("::1").choosing(PoolKind::RoundRobin));
        let gate = Gate::new(&[]).nat(&[nat]);
        has(&gate, 1, &em0);
        let all: HashSet<_> = (1025..1033).map(|port| out(&gate, port)).collect();
        assert!(all.len() == given && all.contains("2001:db8::1"), "{words}: {all:?}");
        has(&gate, 1, &["fe80::1/64"]);
        let packet = ip(client, server).udp(1040, 53, b"?");
        assert_eq!(gate.forward(&packet), dropped(Reason::StateInsert), "there is no other");
    }
    // Neither outside nor inside.
    let gate = Gate::new(&[]).binat(&[to("em0", binat("(em1)", "::1"))]);
    has(&gate, 1, &em0);
    has(&gate, 2, &["fe80::2/64", "fd00::5/64"]);
    assert_eq!(out(&gate, 1025), "2001:db8::1");
    let syn = segment(1025, 80, SYN, 1000, 0);
    let inside = gate.receive(&ip(server, "2001:db8::1").tcp(&syn));
    assert_eq!(inside, Ok(ip(server, client).tcp(&syn)));
    // Whom rules are about, and who is a gateway, is another matter.
    gate.load_filter(&[block().from("(em0)")]);
    assert_eq!(gate.send(&ip("fe80::1", "fe80::2").udp(1025, 53, b"?")), BLOCKED);
    let mut hop = routed(pass().inward().on("em1").af(AF_INET6), Route::To, &["em0"]);
    hop.1[0].addr = dynamic_addr("em2");
    gate.each(|machine| {
        machine.pf.attach_interface(4, b"em2").unwrap();
        machine.set_addresses(4, &["fe80::fe/64"]);
        machine.load(RulesetKind::Filter, std::slice::from_ref(&hop)).unwrap();
    });
    assert_eq!(
        gate.receive_inside(&ip("fd00::6", server).udp(1025, 53, b"?")),
        Err(None)
    );
    assert_eq!(gate.routed()[0].1, "fe80::fe");
}
