//! Laws: a rule that is printed and read again is the same rule; a dump that is written and read again is the same dump; no
//! text and no bytes bring the reader down.

mod support;

use pf_abi::{PoolAddr, Rule, RulesetKind, SyncState};
use pfctl::dump::identity::{Identity, identify};
use pfctl::dump::{Dump, Format, RuleRecord};
use pfctl::print::rule::RulePrinter;
use proptest::collection::vec;
use proptest::prelude::*;
use support::{FixedResolver, compile};
use zerocopy::FromBytes as _;

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_owned)
}

/// A clause, or nothing.
fn maybe(clause: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::option::of(clause).prop_map(Option::unwrap_or_default)
}

fn interface() -> impl Strategy<Value = String> {
    one_of(&["on em0", "on ! em1", "on { em0 tun0 }", "on ppp"])
}

fn v4() -> impl Strategy<Value = String> {
    (any::<[u8; 4]>(), 0..=32u8, any::<bool>()).prop_map(|([a, b, c, d], bits, not)| {
        let not = if not && bits > 0 { "! " } else { "" };
        format!("{not}{a}.{b}.{c}.{d}/{bits}")
    })
}

fn v6() -> impl Strategy<Value = String> {
    (any::<[u16; 8]>(), 0..=128u8, any::<bool>()).prop_map(|(segments, bits, not)| {
        let not = if not && bits > 0 { "! " } else { "" };
        format!("{not}{}/{bits}", std::net::Ipv6Addr::from(segments))
    })
}

fn dynamic() -> impl Strategy<Value = String> {
    one_of(&[
        "(em0)",
        "(em0:network)",
        "! (em1:0)",
        "(ppp:peer)",
        "(em0:broadcast)/24",
    ])
}

/// Source and destination of one family, with the word of the family or not.
fn ends() -> impl Strategy<Value = String> {
    let of = |word: &'static str, address: BoxedStrategy<String>| {
        (maybe(address.clone()), maybe(address), any::<bool>()).prop_map(move |(from, to, named)| {
            let clause = |word: &str, address: String| match address.as_str() {
                "" => String::new(),
                _ => format!("{word} {address}"),
            };
            let word = if named { word } else { "" };
            format!("{word} {} {}", clause("from", from), clause("to", to))
        })
    };
    prop_oneof![
        of("inet", v4().boxed()),
        of("inet6", v6().boxed()),
        of("", dynamic().boxed()),
        Just("all".to_owned()),
    ]
}

fn ports() -> impl Strategy<Value = String> {
    let port = || any::<u16>().prop_map(|port| port.to_string());
    prop_oneof![
        port(),
        one_of(&["ssh", "domain", "= http", "!= 80"]),
        (one_of(&["<", "<=", ">", ">=", "=", "!="]), port()).prop_map(|(op, port)| format!("{op} {port}")),
        (port(), port()).prop_map(|(a, b)| format!("{a}:{b}")),
        (port(), one_of(&["><", "<>"]), port()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
    ]
}

/// Ends with ports.
fn ported_ends() -> impl Strategy<Value = String> {
    let end = || (prop_oneof![Just("any".to_owned()), v4()], maybe(ports()));
    (end(), end()).prop_map(|((from, from_port), (to, to_port))| {
        let port = |port: String| match port.as_str() {
            "" => String::new(),
            _ => format!("port {port}"),
        };
        format!("from {from} {} to {to} {}", port(from_port), port(to_port))
    })
}

fn matching() -> impl Strategy<Value = String> {
    prop_oneof![
        (
            one_of(&["", "proto tcp", "proto { tcp udp }", "proto 99", "proto esp"]),
            ends()
        )
            .prop_map(|(proto, ends)| format!("{proto} {ends}")),
        (one_of(&["proto tcp", "proto udp", "proto { udp, tcp }"]), ported_ends())
            .prop_map(|(proto, ends)| format!("{proto} {ends}")),
        (one_of(&["echoreq", "8 code 0", "{ unreach code needfrag, timex }", "77"]))
            .prop_map(|kind| format!("inet proto icmp icmp-type {kind}")),
        (one_of(&["echoreq", "{ toobig neighbrsol }", "unreach code admin-unr"]))
            .prop_map(|kind| format!("inet6 proto icmp6 icmp6-type {kind}")),
    ]
}

fn label() -> impl Strategy<Value = String> {
    "[ -!#-~]{0,63}".prop_map(|label| format!("label \"{}\"", label.replace(['$', '\\'], "x")))
}

fn state() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("no state".to_owned()),
        one_of(&["keep state", "modulate state", "synproxy state"]),
        (1..u32::MAX).prop_map(|max| format!("keep state (max {max}, if-bound)")),
        (1..99_999u32).prop_map(|seconds| format!("keep state (tcp.established {seconds} udp.first 7, no-sync)")),
    ]
}

fn head() -> impl Strategy<Value = String> {
    (
        one_of(&["", "in", "out"]),
        one_of(&["", "log", "log (all)", "log (all, to pflog3)"]),
        one_of(&["", "quick"]),
        maybe(interface()),
    )
        .prop_map(|(direction, log, quick, interface)| format!("{direction} {log} {quick} {interface}"))
}

fn filter() -> impl Strategy<Value = String> {
    let pass = (
        head(),
        matching(),
        maybe(state()),
        one_of(&["", "flags any", "allow-opts"]),
        maybe(label()),
    )
        .prop_map(|(head, matching, state, more, label)| format!("pass {head} {matching} {state} {more} {label}"));
    let block = (
        one_of(&[
            "",
            "drop",
            "return",
            "return-icmp",
            "return-icmp(host-unr, admin-unr)",
            "return-icmp(200, 201)",
            "return-icmp6",
        ]),
        head(),
        matching(),
        maybe(label()),
    )
        .prop_map(|(answer, head, matching, label)| format!("block {answer} {head} {matching} {label}"));
    prop_oneof![pass, block]
}

fn scrub() -> impl Strategy<Value = String> {
    let options = (
        one_of(&["", "no-df", "random-id", "no-df random-id"]),
        maybe((1..=255u8).prop_map(|ttl| format!("min-ttl {ttl}"))),
        maybe((1..=u16::MAX).prop_map(|mss| format!("max-mss {mss}"))),
        one_of(&["", "fragment reassemble", "fragment crop", "fragment drop-ovl"]),
    )
        .prop_map(|(flags, ttl, mss, fragment)| format!("{flags} {ttl} {mss} {fragment}"))
        .boxed();
    let which = (
        one_of(&["", "log", "log (all, to pflog2)"]),
        maybe(interface()),
        prop_oneof![
            ends(),
            (one_of(&["proto tcp", "proto { tcp udp }"]), ported_ends())
                .prop_map(|(proto, ends)| format!("{proto} {ends}")),
        ],
    )
        .prop_map(|(log, interface, ends)| format!("{log} {interface} {ends}"))
        .boxed();
    let direction = || one_of(&["", "in", "out"]);
    prop_oneof![
        (direction(), which.clone(), options.clone())
            .prop_map(|(direction, which, options)| format!("scrub {direction} {which} {options}")),
        (which.clone(), options).prop_map(|(which, options)| format!("scrub {which} {options} reassemble tcp")),
        (direction(), which).prop_map(|(direction, which)| format!("no scrub {direction} {which}")),
    ]
}

fn translation() -> impl Strategy<Value = String> {
    let nat = (
        one_of(&["nat", "nat pass", "nat log", "nat pass log (all)"]),
        maybe(interface()),
        v4(),
        one_of(&[
            "192.0.2.1",
            "192.0.2.1 port 1024:65535",
            "192.0.2.1 port 5000",
            "192.0.2.1 static-port",
            "(em0)",
            "(em0:0)",
            "192.0.2.0/28 bitmask",
            "192.0.2.0/28 random sticky-address",
            "{ 192.0.2.1 192.0.2.2 } round-robin",
        ]),
    )
        .prop_map(|(nat, interface, from, target)| format!("{nat} {interface} from {from} -> {target}"));
    let rdr = (
        one_of(&["rdr", "rdr pass"]),
        maybe(interface()),
        one_of(&["80", "80:90", "domain"]),
        one_of(&[
            "10.0.0.2",
            "10.0.0.2 port 8080",
            "10.0.0.2 port 8000:*",
            "10.0.0.2 port 8000:9000",
        ]),
    )
        .prop_map(|(rdr, interface, port, target)| {
            format!("{rdr} {interface} proto tcp to 192.0.2.1 port {port} -> {target}")
        });
    let no = (one_of(&["no nat", "no rdr"]), maybe(interface()), v4())
        .prop_map(|(no, interface, to)| format!("{no} {interface} to {to}"));
    prop_oneof![nat, rdr, no]
}

/// A rule without its number.
fn numberless(rule: &Rule) -> Rule {
    Rule { nr: 0, ..rule.clone() }
}

fn check_printing(conf: &str) -> Result<(), TestCaseError> {
    let config = compile(conf).map_err(|report| TestCaseError::fail(format!("{conf}\n{report}")))?;
    let resolver = FixedResolver::new();
    let printer = RulePrinter {
        resolver: &resolver,
        numbers: false,
    };
    for rule in &config.rules {
        let text = printer.text(&rule.rule, &rule.pool, "");
        let again = compile(&text).map_err(|report| TestCaseError::fail(format!("{conf}\n{report}")))?;
        prop_assert_eq!(again.rules.len(), 1, "{}\n{}", conf, text);
        prop_assert_eq!(
            numberless(&again.rules[0].rule),
            numberless(&rule.rule),
            "{}\n{}",
            conf,
            text
        );
        prop_assert_eq!(&again.rules[0].pool, &rule.pool, "{}\n{}", conf, text);
        let identity = |rule: &Rule, pool: &[PoolAddr]| identify(rule, pool);
        prop_assert_eq!(
            identity(&again.rules[0].rule, &again.rules[0].pool),
            identity(&rule.rule, &rule.pool)
        );
    }
    Ok(())
}

fn any_state() -> impl Strategy<Value = SyncState> {
    any::<[u8; 240]>().prop_map(|mut bytes| {
        // The bytes that no field covers are not kept.
        for host in [24, 48, 72] {
            bytes[host + 18..host + 24].fill(0);
        }
        for peer in [96, 128] {
            bytes[peer + 26..peer + 32].fill(0);
        }
        SyncState::read_from_bytes(&bytes).unwrap()
    })
}

fn any_dump() -> impl Strategy<Value = Dump> {
    let kind = proptest::sample::select(&[RulesetKind::Filter, RulesetKind::Nat, RulesetKind::Rdr][..]);
    let rule = (kind, any::<u32>(), any::<u32>(), any::<[u8; 16]>()).prop_map(|(kind, number, ordinal, identity)| {
        RuleRecord {
            kind,
            number,
            ordinal,
            identity: Identity(identity),
        }
    });
    (any::<u64>(), vec(rule, 0..4), vec(any_state(), 0..6)).prop_map(|(created, rules, states)| Dump {
        created,
        rules,
        states,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_rule_survives_being_printed(conf in filter()) {
        check_printing(&conf)?;
    }

    #[test]
    fn a_scrub_rule_survives_being_printed(conf in scrub()) {
        check_printing(&conf)?;
    }

    #[test]
    fn a_translation_rule_survives_being_printed(conf in translation()) {
        check_printing(&conf)?;
    }

    #[test]
    fn a_dump_survives_both_formats(dump in any_dump()) {
        for format in [Format::Binary, Format::Text] {
            let again = Dump::decode(&dump.encode(format));
            prop_assert_eq!(again.as_ref(), Ok(&dump));
        }
    }

    #[test]
    fn no_bytes_bring_the_reader_of_dumps_down(bytes in vec(any::<u8>(), 0..400), format in 0..3) {
        let start: &[u8] = [&b""[..], b"\x89pfs\r\n\x1a\0\x01\0\0\0", b"pf-states version=1 "][format as usize];
        let _ = Dump::decode(&[start, &bytes].concat());
    }

    #[test]
    fn no_text_brings_the_reader_of_rules_down(text in "\\PC{0,80}", lines in vec("[a-z0-9 {}()<>!=,/.:$\"'#\\\\\n-]{0,30}", 0..4)) {
        let _ = compile(&text);
        let _ = compile(&lines.join("\n"));
    }

    #[test]
    fn no_mixture_of_words_brings_the_reader_of_rules_down(
        words in vec(proptest::sample::select(pfctl::conf::keyword::KEYWORDS), 0..8),
        signs in vec(one_of(&["{", "}", "(", ")", "->", "<", ">", "!", "=", ",", "/", "10.0.0.1", "em0", "80", "tcp", "$a"]), 0..8),
    ) {
        let mixed: Vec<String> = words
            .iter()
            .map(|word| (*word).to_owned())
            .zip(signs.iter().cloned())
            .flat_map(|(word, sign)| [word, sign])
            .collect();
        let _ = compile(&mixed.join(" "));
    }
}
