//! Pools, binat, route-to and source tracking in pf.conf(5): what becomes of each line, and the mistakes.

mod support;

use pf_abi::{IfName, PF_POOL_TYPEMASK, PoolKind};
use support::{compile, printed};

#[track_caller]
fn check(conf: &str, expected: &str) {
    assert_eq!(
        printed(conf),
        expected.lines().map(str::trim).collect::<Vec<_>>(),
        "{conf}"
    );
}

#[track_caller]
fn refused(conf: &str, message: &str) {
    let report = compile(conf).expect_err(conf);
    assert!(report.contains(message), "{conf}\n{report}");
}

#[test]
fn pools_choose_in_their_ways() {
    for way in ["bitmask", "random", "round-robin", "round-robin sticky-address"] {
        check(
            &format!("nat on em0 from 10/8 -> 192.0.2.0/28 {way}"),
            &format!("nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.0/28 {way}"),
        );
    }
    check(
        "rdr on em0 proto tcp to port 80 -> { 10.0.0.2, 10.0.0.3 } port 8080 round-robin sticky-address",
        "rdr on em0 inet proto tcp from any to any port = http -> { 10.0.0.2, 10.0.0.3 } port 8080 round-robin sticky-address",
    );
    check(
        "nat on em0 from 10/8 -> { 192.0.2.1 192.0.2.9 } port 1024:2047 round-robin",
        "nat on em0 inet from 10.0.0.0/8 to any -> { 192.0.2.1, 192.0.2.9 } port 1024:2047 round-robin",
    );
    check(
        "nat on em0 from 10/8 -> { 192.0.2.1 192.0.2.9 } static-port",
        "nat on em0 inet from 10.0.0.0/8 to any -> { 192.0.2.1, 192.0.2.9 } round-robin static-port",
    );
    refused(
        "nat on em0 from 10/8 -> { 192.0.2.1 192.0.2.9 } random",
        "several addresses can only be taken in turn",
    );
    refused("nat on em0 from 10/8 -> 192.0.2.1 bitmask", "`bitmask` needs a network");
    refused("nat on em0 from 10/8 -> 192.0.2.0/28 random random", "given twice");
}

#[test]
fn an_interface_gives_no_link_local_address() {
    // Its first address is fe80::1.
    for word in ["em0", "em0:0"] {
        check(
            &format!("nat on em0 inet6 from fd00::/64 -> {word}"),
            "nat on em0 inet6 from fd00::/64 to any -> 2001:db8::1",
        );
        check(
            &format!("binat on em0 inet6 from fd00::5 -> {word}"),
            "binat on em0 inet6 from fd00::5 to any -> 2001:db8::1",
        );
    }
    // What is written out is given as it is, and a gateway may have one.
    check(
        "pass in on em1 route-to (em0 fe80::1) no state",
        "pass in on em1 route-to (em0 fe80::1) inet6 all no state",
    );
    check(
        "rdr on em0 inet6 from fd00::/64 -> fe80::1",
        "rdr on em0 inet6 from fd00::/64 to any -> fe80::1",
    );
}

#[test]
fn a_source_hash_has_a_key() {
    let key = "0x0123456789abcdef0011223344556677";
    check(
        &format!("nat on em0 from 10/8 -> 192.0.2.0/28 source-hash {key}"),
        &format!("nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.0/28 source-hash {key}"),
    );
    let keys = |text: &str| -> Vec<[u32; 4]> {
        let conf = format!("nat on em0 from 10/8 -> 192.0.2.0/28 source-hash {text}\n").repeat(2);
        let config = compile(&conf).unwrap();
        assert!(
            config
                .rules
                .iter()
                .all(|rule| rule.rule.rpool.opts & PF_POOL_TYPEMASK == u8::from(PoolKind::SourceHash))
        );
        config.rules.iter().map(|rule| rule.rule.rpool.key).collect()
    };
    assert_eq!(keys(key)[0], [0x0123_4567, 0x89ab_cdef, 0x0011_2233, 0x4455_6677]);
    let named = keys("secret");
    assert_eq!(named[0], named[1], "the same text is the same key");
    assert_ne!(named, keys("\"another secret\""));
    for text in ["", "sticky-address"] {
        let drawn = keys(text);
        assert_ne!(drawn[0], drawn[1], "each rule draws its own");
    }
    refused("nat on em0 from 10/8 -> 192.0.2.0/28 source-hash 0x12", "not a key");
}

#[test]
fn binat_maps_one_network_onto_another() {
    check(
        "binat on em0 from 10.0.0.5 to any -> 192.0.2.5",
        "binat on em0 inet from 10.0.0.5 to any -> 192.0.2.5",
    );
    check(
        "binat pass log on em0 proto tcp from 10.0.0.0/24 to 198.51.100.0/24 -> 192.0.2.0/24",
        "binat pass log on em0 inet proto tcp from 10.0.0.0/24 to 198.51.100.0/24 -> 192.0.2.0/24",
    );
    check(
        "binat on em0 inet6 from fd00::/64 to any -> 2001:db8::/64",
        "binat on em0 inet6 from fd00::/64 to any -> 2001:db8::/64",
    );
    check(
        "no binat on em0 from 10.0.0.5",
        "no binat on em0 inet from 10.0.0.5 to any",
    );
    refused("binat on em0 from 10.0.0.0/24 -> 192.0.2.0/25", "not of one size");
    refused("binat on em0 from any -> 192.0.2.1", "needs the addresses inside");
    refused(
        "binat on em0 from { 10.0.0.1 10.0.0.2 } -> 192.0.2.1",
        "a list in a `binat` rule",
    );
    refused(
        "binat on { em0 em1 } from 10.0.0.1 -> 192.0.2.1",
        "a list in a `binat` rule",
    );
    refused(
        "binat on em0 proto tcp from 10.0.0.1 port 80 -> 192.0.2.1",
        "a port in a `binat` rule",
    );
    refused("binat on em0 from 10.0.0.1 -> 192.0.2.1 random", "no choice");
    refused("binat on em0 from 10.0.0.1", "a translation without `->`");
}

#[test]
fn packets_are_sent_another_way() {
    check(
        "pass in on em1 route-to (em0 192.0.2.254) from 10/8 no state",
        "pass in on em1 route-to (em0 192.0.2.254) inet from 10.0.0.0/8 to any no state",
    );
    check("pass out route-to em0 no state", "pass out route-to em0 all no state");
    check(
        "pass in on em0 reply-to (em0 192.0.2.254) proto tcp to port 22",
        "pass in on em0 reply-to (em0 192.0.2.254) inet proto tcp from any to any port = ssh flags S/SA keep state",
    );
    check(
        "pass in dup-to (em1 2001:db8::fe) no state",
        "pass in dup-to (em1 2001:db8::fe) inet6 all no state",
    );
    check("pass in fastroute no state", "pass in fastroute all no state");
    check(
        "pass in on em1 route-to { (em0 192.0.2.254), (tun0 10.9.0.2) } sticky-address from 10/8 no state",
        "pass in on em1 route-to { (em0 192.0.2.254), (tun0 10.9.0.2) } round-robin sticky-address inet from 10.0.0.0/8 to any no state",
    );
    check(
        "pass in route-to (em0 192.0.2.240/28) source-hash 0x00000000000000000000000000000001 no state",
        "pass in route-to (em0 192.0.2.240/28) source-hash 0x00000000000000000000000000000001 inet all no state",
    );
    let config = compile("pass in route-to { em0 em1 }").unwrap();
    let names: Vec<IfName> = config.rules[0].pool.iter().map(|address| address.ifname).collect();
    assert_eq!(names, ["em0", "em1"].map(|name| IfName::new(name).unwrap()));
    refused("pass route-to em0", "depends on their direction");
    refused(
        "pass in inet route-to (em0 2001:db8::fe)",
        "no gateway has the rule's family",
    );
    refused("pass in route-to em0 reply-to em1", "given twice");
    refused(
        "pass in route-to { em0 em1 } random",
        "several addresses can only be taken in turn",
    );
}

#[test]
fn sources_are_tracked() {
    let state = |options: &str, expected: &str| {
        check(
            &format!("pass keep state ({options})"),
            &format!("pass all flags S/SA keep state ({expected})"),
        );
    };
    state("source-track", "source-track global");
    state("source-track rule", "source-track rule");
    state(
        "source-track global, max-src-states 3",
        "source-track global, max-src-states 3",
    );
    state("max-src-states 3", "source-track global, max-src-states 3");
    state("max-src-nodes 9", "source-track rule, max-src-nodes 9");
    state(
        "max-src-conn 5, max-src-conn-rate 3/10, overload <bad> flush global",
        "source-track rule, max-src-conn 5, max-src-conn-rate 3/10, overload <bad> flush global",
    );
    state(
        "max-src-conn 5, overload <bad> flush, source-track rule",
        "source-track rule, max-src-conn 5, overload <bad> flush",
    );
    for (options, message) in [
        ("max-src-states 0", "must be above 0"),
        ("max-src-conn-rate 3/0", "must be above 0"),
        ("max-src-conn-rate 3", "expected `/`"),
        ("max-src-conn 1 max-src-conn 2", "given twice"),
        ("source-track rule source-track rule", "given twice"),
        ("source-track global, max-src-nodes 1", "the rule's alone"),
        (
            "source-track rule, overload <bad>",
            "without anything that could be too much",
        ),
    ] {
        refused(&format!("pass keep state ({options})"), message);
    }
}
