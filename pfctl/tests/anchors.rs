//! Anchors, antispoof and the criteria that few rules have: pf.conf(5) beside what becomes of it, and the commands.

mod support;

use pf_abi::{OsfpIoctl, PF_ADDR_NOROUTE, PF_ADDR_URPFFAILED};
use pfctl::device::Pf;
use pfctl::load::{self, Scope};
use support::fake::FakePf;
use support::{compile, printed};

#[track_caller]
fn check(conf: &str, expected: &[&str]) {
    assert_eq!(printed(conf), expected, "{conf}");
}

#[track_caller]
fn refused(conf: &str, because: &str) {
    let report = compile(conf).expect_err(conf);
    assert!(report.contains(because), "{conf}\n{report}");
}

#[test]
fn anchors_have_criteria() {
    check("anchor spam", &["anchor \"spam\" all"]);
    check("anchor \"spam/*\"", &["anchor \"spam/*\" all"]);
    check(
        "anchor spam in quick on em0 inet proto tcp from any to any port smtp",
        &["anchor \"spam\" in quick on em0 inet proto tcp from any to any port = smtp"],
    );
    check(
        "anchor \"a\" on { em0 em1 }",
        &["anchor \"a\" on em0 all", "anchor \"a\" on em1 all"],
    );
    check("anchor a tagged X", &["anchor \"a\" all tagged X"]);
    check(
        "nat-anchor \"out\" on em0\nrdr-anchor web\nbinat-anchor both",
        &[
            "nat-anchor \"out\" on em0 all",
            "rdr-anchor \"web\" all",
            "binat-anchor \"both\" all",
        ],
    );
    check(
        "nat-anchor a from any to any port smtp",
        &["nat-anchor \"a\" from any to any port = 25"],
    );
    for kind in ["anchor", "rdr-anchor"] {
        refused(
            &format!("{kind} a from any to any port smtp"),
            "a port without TCP or UDP",
        );
    }
}

#[test]
fn rules_of_an_anchor_stand_in_braces() {
    let conf = "anchor \"ext\" on em0 {\n block\n anchor {\n pass proto tcp\n }\n pass in\n}\nblock\n";
    check(
        conf,
        &[
            "anchor \"ext\" on em0 all",
            "ext: block drop all",
            "ext: anchor all",
            "ext/_2: pass proto tcp all flags S/SA keep state",
            "ext: pass in all flags S/SA keep state",
            "block drop all",
        ],
    );
    refused("anchor a {\n pass\n", "an anchor without its `}`");
    refused("}\n", "a `}` without its `{`");
    refused(
        "anchor a {\n nat on em0 -> 192.0.2.1\n}\n",
        "only filter rules and anchors",
    );
    refused("anchor a {\n pass\n}\nanchor a {\n pass\n}\n", "here and elsewhere");
    refused("anchor", "an anchor without a name");
    refused("anchor _x", "cannot name an anchor");
}

#[test]
fn anchors_are_loaded_from_files_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let inner = file("inner", "pass in\n");
    let outer = file(
        "outer",
        &format!("block\nanchor deep\nload anchor deep from \"{inner}\"\n"),
    );
    let conf = format!("anchor spam\nload anchor spam from \"{outer}\"\n");
    check(
        &conf,
        &[
            "anchor \"spam\" all",
            "spam: block drop all",
            "spam: anchor \"deep\" all",
            "spam/deep: pass in all flags S/SA keep state",
        ],
    );
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(&conf).unwrap()).unwrap();
    let calls = |path: &str| -> Vec<String> {
        let rules = &pf.anchors[&(path.to_owned(), pf_abi::PF_RULESET_FILTER)];
        rules.iter().map(|(_, call)| call.clone()).collect()
    };
    assert_eq!(calls("spam"), ["", "deep"]);
    assert_eq!(calls("spam/deep"), [""]);
    refused("load anchor a from \"/nonexistent\"", "cannot read `/nonexistent`");
    let wrong = file("wrong", "pas\n");
    refused(&format!("load anchor a from \"{wrong}\""), "wrong:1:1");
    let own = directory.path().join("own");
    std::fs::write(&own, format!("load anchor a from \"{}\"\n", own.display())).unwrap();
    refused(
        &format!("load anchor a from \"{}\"", own.display()),
        "files load each other",
    );
}

#[test]
fn a_file_may_be_loaded_into_an_anchor_and_in_parts() {
    let config = compile("set debug loud\nnat on em0 from 10/8 -> 192.0.2.1\nanchor x {\n pass\n}\nblock\n").unwrap();
    let mut pf = FakePf::default();
    let scope = Scope {
        anchor: "a/b".to_owned(),
        options: false,
        ..Scope::default()
    };
    load::load_part(&mut Pf::new(&mut pf), &config, &scope).unwrap();
    let len = |path: &str, kind: i32| pf.anchors.get(&(path.to_owned(), kind)).map_or(0, Vec::len);
    assert_eq!(
        (
            len("a/b", pf_abi::PF_RULESET_FILTER),
            len("a/b", pf_abi::PF_RULESET_NAT)
        ),
        (2, 1)
    );
    assert_eq!(len("a/b/x", pf_abi::PF_RULESET_FILTER), 1);
    assert!(pf.active.values().all(Vec::is_empty));
    assert_eq!(pf.debug, 0, "options are the main ruleset's");
    let mut pf = FakePf::default();
    let scope = Scope {
        kinds: vec![pf_abi::RulesetKind::Nat],
        ..Scope::default()
    };
    load::load_part(&mut Pf::new(&mut pf), &config, &scope).unwrap();
    assert_eq!(pf.active.len(), 1);
    assert_eq!(pf.debug, 3);
}

#[test]
fn with_merge_only_what_is_set_is_set() {
    let config = compile("set limit states 500\n").unwrap();
    let mut pf = FakePf {
        debug: 3,
        ..FakePf::default()
    };
    let scope = Scope {
        merge: true,
        ..Scope::default()
    };
    load::load_part(&mut Pf::new(&mut pf), &config, &scope).unwrap();
    assert_eq!((pf.debug, pf.timeouts.len(), pf.limits.len()), (3, 0, 1));
}

#[test]
fn antispoof_is_a_rule_for_networks_and_one_for_addresses() {
    check(
        "antispoof for lo0",
        &[
            "block drop in on ! lo0 inet from 127.0.0.0/8 to any",
            "block drop in on ! lo0 inet6 from ::1 to any",
        ],
    );
    check(
        "antispoof log quick for em1 inet label \"x\"",
        &[
            "block drop in log quick on ! em1 inet from 10.0.0.0/8 to any label \"x\"",
            "block drop in log quick inet from 10.0.0.1 to any label \"x\"",
        ],
    );
    check(
        "antispoof for (em1)",
        &[
            "block drop in on ! em1 from (em1:network) to any",
            "block drop in from (em1) to any",
        ],
    );
    refused("antispoof quick", "for which interface");
}

#[test]
fn users_and_groups_by_name_and_number() {
    check(
        "pass proto tcp user root",
        &["pass proto tcp all user = 0 flags S/SA keep state"],
    );
    check(
        "block proto { tcp udp } user { 1000 >< 2000, unknown } group wheel",
        &[
            "block drop proto tcp all user 1000 >< 2000 group = 0",
            "block drop proto tcp all user = unknown group = 0",
            "block drop proto udp all user 1000 >< 2000 group = 0",
            "block drop proto udp all user = unknown group = 0",
        ],
    );
    check("block proto udp group != 7", &["block drop proto udp all group != 7"]);
    refused("pass user nobody-knows", "there is no user");
    refused("pass user > unknown", "`unknown` can only be equal");
    refused("pass proto icmp user root", "apply to TCP and UDP only");
}

#[test]
fn tags_tos_and_probability() {
    check("pass in tag A", &["pass in all flags S/SA keep state tag A"]);
    check("block out tagged A", &["block drop out all tagged A"]);
    check("block out ! tagged A", &["block drop out all ! tagged A"]);
    check(
        "nat on em0 inet tag A tagged B -> 192.0.2.1",
        &["nat on em0 inet all tag A tagged B -> 192.0.2.1"],
    );
    check("block tos lowdelay", &["block drop all tos 0x10"]);
    check("block tos 0x28", &["block drop all tos 0x28"]);
    check("block probability 20%", &["block drop all probability 20%"]);
    check("block probability 0.5", &["block drop all probability 50%"]);
    refused("block probability 120%", "is no probability");
    refused("block probability 0", "is no probability");
    refused("block tos 0", "type of service 0");
    refused("pass tag A tag B", "`tag` given twice");
}

#[test]
fn sources_without_a_route_and_with_the_wrong_one() {
    let config = compile("block in quick from no-route\nblock in from urpf-failed to any\n").unwrap();
    let kinds: Vec<u8> = config.rules.iter().map(|rule| rule.rule.src.addr.kind).collect();
    assert_eq!(kinds, [PF_ADDR_NOROUTE, PF_ADDR_URPFFAILED]);
    check("block from no-route", &["block drop from no-route to any"]);
    check("block from ! urpf-failed", &["block drop from ! urpf-failed to any"]);
    refused("block from route \"x\"", "NetBSD's routes have no labels");
}

#[test]
fn systems_are_numbered_as_their_file_has_them() {
    check(
        "block proto tcp from any os { OpenBSD, \"Linux 2.6\", unknown }",
        &[
            "block drop proto tcp from any os \"OpenBSD\" to any",
            "block drop proto tcp from any os \"Linux 2.6\" to any",
            "block drop proto tcp from any os \"unknown\" to any",
        ],
    );
    refused("block from any os Plan9", "no fingerprint of `Plan9`");
    refused("block proto udp from any os Linux", "`os` applies to TCP only");
    refused("block to any os Linux", "`os` of a destination");
    refused("set fingerprints \"/nonexistent\"", "cannot read `/nonexistent`");
    let mut pf = FakePf {
        fingerprints: vec![OsfpIoctl::default()],
        ..FakePf::default()
    };
    let config = compile("set fingerprints \"short\"\nblock proto tcp from any os Toaster\n").unwrap();
    load::load(&mut Pf::new(&mut pf), &config).unwrap();
    assert_eq!(pf.fingerprints.len(), 1);
    assert_eq!(pf.fingerprints[0].os.class_nm.as_str(), Some("Toaster"));
    load::load(&mut Pf::new(&mut pf), &compile("block\n").unwrap()).unwrap();
    assert_eq!(pf.fingerprints.len(), 1, "rules that do not ask leave them alone");
}
