//! pf.conf(5): each line beside what NetBSD's pfctl would print of its rules, and the mistakes beside their reports.

mod support;

use pf_abi::{Limit, Timeout};
use support::{compile, printed, warnings};

/// The lines of a text, without indentation and empty ones.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[track_caller]
fn check(conf: &str, expected: &str) {
    assert_eq!(printed(conf), lines(expected), "{conf}");
}

#[test]
fn pass_keeps_state_unless_told() {
    check("pass", "pass all flags S/SA keep state");
    check("pass all", "pass all flags S/SA keep state");
    check("pass no state", "pass all no state");
    check("pass flags any", "pass all flags any keep state");
    check("pass proto tcp flags any", "pass proto tcp all flags any keep state");
    check("pass proto udp", "pass proto udp all keep state");
    check(
        "pass proto tcp flags /SFRA",
        "pass proto tcp all flags /FSRA keep state",
    );
    check("pass fragment", "pass all keep state fragment");
    check(
        "pass proto tcp modulate state",
        "pass proto tcp all flags S/SA modulate state",
    );
    check("pass proto udp modulate state", "pass proto udp all keep state");
    check(
        "pass in proto { tcp udp } to port 4711 synproxy state (max 7, no-sync, tcp.first 5)",
        "pass in proto tcp from any to any port = 4711 flags S/SA synproxy state (max 7, no-sync, tcp.first 5)\n\
         pass in proto udp from any to any port = 4711 keep state (max 7, no-sync, tcp.first 5)",
    );
}

#[test]
fn scrub_says_what_it_changes() {
    check("scrub", "scrub all fragment reassemble");
    check("scrub in all", "scrub in all fragment reassemble");
    check("no scrub in", "no scrub in all");
    check(
        "scrub out log on em0 inet proto tcp from 10/8 to any port 80 max-mss 1440 no-df min-ttl 3 random-id",
        "scrub out log on em0 inet proto tcp from 10.0.0.0/8 to any port = http no-df random-id min-ttl 3 max-mss 1440 \
         fragment reassemble",
    );
    check("scrub fragment reassemble", "scrub all fragment reassemble");
    check("scrub fragment crop", "scrub all fragment crop");
    check("scrub in fragment drop-ovl", "scrub in all fragment drop-ovl");
    check("scrub reassemble tcp", "scrub all reassemble tcp fragment reassemble");
    check(
        "scrub on { em0 lo0 } proto { tcp udp } from any to any port domain min-ttl 0xa",
        "scrub on em0 proto tcp from any to any port = domain min-ttl 10 fragment reassemble
         scrub on em0 proto udp from any to any port = domain min-ttl 10 fragment reassemble
         scrub on lo0 proto tcp from any to any port = domain min-ttl 10 fragment reassemble
         scrub on lo0 proto udp from any to any port = domain min-ttl 10 fragment reassemble",
    );
}

#[test]
fn scrub_stands_between_options_and_translation() {
    let good =
        "set limit frags 100\nset timeout frag 5\nset timeout interval 7\nscrub in\nnat on em0 -> 192.0.2.1\npass";
    let config = compile(good).unwrap();
    assert_eq!(config.options.limit(Limit::Frags), 100);
    assert_eq!(config.options.timeout(Timeout::Frag), 5);
    assert_eq!(config.options.timeout(Timeout::Interval), 7);
    for bad in [
        "pass\nscrub in",
        "nat on em0 -> 192.0.2.1\nscrub in",
        "scrub in\nset limit frags 1",
    ] {
        assert!(compile(bad).unwrap_err().contains("this line stands too late"), "{bad}");
    }
}

#[test]
fn scrub_rules_that_make_no_sense_are_refused() {
    for (conf, message) in [
        ("scrub in reassemble tcp", "`reassemble tcp` in one direction"),
        ("no scrub no-df", "`no scrub` changes nothing"),
        ("no scrub fragment crop", "`no scrub` changes nothing"),
        ("scrub quick", "`quick` in a scrub rule"),
        ("scrub min-ttl 256", "at most 255"),
        ("scrub max-mss 65536", "at most 65535"),
        ("scrub max-mss", "a maximum segment size"),
        ("scrub fragment", "`reassemble`, `crop` or `drop-ovl`"),
        ("scrub fragment drop", "`reassemble`, `crop` or `drop-ovl`"),
        ("scrub reassemble udp", "`tcp`"),
        ("scrub no-df no-df", "`no-df` given twice"),
        ("scrub in out", "the direction given twice"),
        ("scrub to port 80", "a port without TCP or UDP"),
        ("scrub inet from fd00::1", "do not go together"),
        ("scrub keep state", "a part of a scrub rule"),
    ] {
        let report = compile(conf).expect_err(conf);
        assert!(report.contains(message), "{conf}\n{report}");
    }
}

#[test]
fn block_answers_as_told() {
    check("block", "block drop all");
    check("block drop in", "block drop in all");
    check("block return", "block return all");
    check("block return-rst proto tcp", "block return-rst proto tcp all");
    check(
        "block return-rst(ttl 9) proto tcp",
        "block return-rst(ttl 9) proto tcp all",
    );
    check("block return-icmp", "block return-icmp(port-unr, port-unr) all");
    check("block return-icmp inet", "block return-icmp(port-unr) inet all");
    check("block return-icmp(net-unr) inet", "block return-icmp(net-unr) inet all");
    check("block return-icmp(13) inet", "block return-icmp(13) inet all");
    check(
        "block return-icmp6(admin-unr) inet6",
        "block return-icmp6(admin-unr) inet6 all",
    );
    check("block return-icmp(1, 2)", "block return-icmp(host-unr, notnbr-unr) all");
    check(
        "set block-policy return\nblock\nblock drop",
        "block return all\nblock drop all",
    );
}

#[test]
fn words_stand_in_any_order() {
    let expected =
        "pass in log quick on em0 inet proto tcp from any to any port = ssh flags S/SA keep state label \"a\"";
    check(
        "pass in log quick on em0 inet proto tcp to port ssh keep state label a",
        expected,
    );
    check("pass label a proto tcp to port ssh inet on em0 quick log in", expected);
}

#[test]
fn addresses_are_looked_up() {
    check(
        "pass from 10/8 to any no state",
        "pass inet from 10.0.0.0/8 to any no state",
    );
    check(
        "pass from 10.1.2.3/8 no state",
        "pass inet from 10.0.0.0/8 to any no state",
    );
    check(
        "pass from ! 10.0.0.1 no state",
        "pass inet from ! 10.0.0.1 to any no state",
    );
    check(
        "pass to 2001:db8::/32 no state",
        "pass inet6 from any to 2001:db8::/32 no state",
    );
    check("pass from 0/0 no state", "pass inet all no state");
    check("pass from em1 no state", "pass inet from 10.0.0.1 to any no state");
    check(
        "pass inet from em0:network no state",
        "pass inet from 192.0.2.0/24 to any no state\npass inet from 192.0.2.0/24 to any no state",
    );
    check(
        "pass from em1:broadcast no state",
        "pass inet from 10.255.255.255 to any no state",
    );
    check(
        "pass from tun0:peer no state",
        "pass inet from 10.9.0.2 to any no state",
    );
    check(
        "pass from em0:0 no state",
        "pass inet from 192.0.2.1 to any no state
         pass on em0 inet6 from fe80::1 to any no state",
    );
    check(
        "pass to www.example.org no state",
        "pass inet from any to 198.51.100.7 no state
         pass inet6 from any to 2001:db8:1::7 no state",
    );
    check(
        "pass inet to www.example.org no state",
        "pass inet from any to 198.51.100.7 no state",
    );
    check(
        "pass from (em0) to (em1:network:0)/16 no state",
        "pass from (em0) to (em1:network:0)/16 no state",
    );
    check(
        "pass inet6 from em0 no state on em0",
        "pass on em0 inet6 from fe80::1 to any no state\npass on em0 inet6 from 2001:db8::1 to any no state",
    );
    check(
        "pass inet6 from fe80::1%em0 no state",
        "pass on em0 inet6 from fe80::1 to any no state",
    );
    check(
        "pass inet6 from em0 no state on em1",
        "pass on em1 inet6 from 2001:db8::1 to any no state",
    );
}

#[test]
fn ports_are_compared() {
    for (spec, expected) in [
        ("80", "= http"),
        ("= 80", "= http"),
        ("http", "= http"),
        ("www", "= http"),
        ("!= 8080", "!= 8080"),
        ("< 1024", "< 1024"),
        ("<= 80", "<= 80"),
        (">1023", "> 1023"),
        (">= http", ">= 80"),
        ("80:90", "80:90"),
        ("ssh:http", "22:80"),
        ("1 >< 9", "1 >< 9"),
        ("1 <> 9", "1 <> 9"),
    ] {
        check(
            &format!("block proto tcp to port {spec}"),
            &format!("block drop proto tcp from any to any port {expected}"),
        );
    }
    check(
        "block proto udp from port ntp",
        "block drop proto udp from any port = ntp to any",
    );
}

#[test]
fn lists_multiply_in_netbsds_order() {
    check(
        "block on { em0 em1 } proto { tcp, udp } from { 10.0.0.1 10.0.0.2 } to port { 53, 123 }",
        "block drop on em0 inet proto tcp from 10.0.0.1 to any port = domain
         block drop on em0 inet proto tcp from 10.0.0.1 to any port = 123
         block drop on em0 inet proto tcp from 10.0.0.2 to any port = domain
         block drop on em0 inet proto tcp from 10.0.0.2 to any port = 123
         block drop on em0 inet proto udp from 10.0.0.1 to any port = domain
         block drop on em0 inet proto udp from 10.0.0.1 to any port = ntp
         block drop on em0 inet proto udp from 10.0.0.2 to any port = domain
         block drop on em0 inet proto udp from 10.0.0.2 to any port = ntp
         block drop on em1 inet proto tcp from 10.0.0.1 to any port = domain
         block drop on em1 inet proto tcp from 10.0.0.1 to any port = 123
         block drop on em1 inet proto tcp from 10.0.0.2 to any port = domain
         block drop on em1 inet proto tcp from 10.0.0.2 to any port = 123
         block drop on em1 inet proto udp from 10.0.0.1 to any port = domain
         block drop on em1 inet proto udp from 10.0.0.1 to any port = ntp
         block drop on em1 inet proto udp from 10.0.0.2 to any port = domain
         block drop on em1 inet proto udp from 10.0.0.2 to any port = ntp",
    );
    check(
        "block from { 10.0.0.1, { 10.0.0.2 2001:db8::2 } } to { 10.0.0.3 2001:db8::3 }",
        "block drop inet from 10.0.0.1 to 10.0.0.3
         block drop inet from 10.0.0.2 to 10.0.0.3
         block drop inet6 from 2001:db8::2 to 2001:db8::3",
    );
    check("block on ! em0", "block drop on ! em0 all");
}

#[test]
fn macros_stand_for_their_values() {
    check(
        "ext = em0\nweb = \"{ 80, 443 }\"\nboth = $ext\nblock on $both proto tcp to port $web",
        "block drop on em0 proto tcp from any to any port = http
         block drop on em0 proto tcp from any to any port = https",
    );
    check(
        "a = \"10.0.0.1 10.0.0.2\"\nblock from { $a }",
        "block drop inet from 10.0.0.1 to any\nblock drop inet from 10.0.0.2 to any",
    );
    check("block \\\n in \\\n all # the rest\n", "block drop in all");
}

#[test]
fn types_of_icmp_have_names() {
    check(
        "pass inet proto icmp icmp-type echoreq",
        "pass inet proto icmp all icmp-type echoreq keep state",
    );
    check(
        "pass inet proto icmp icmp-type 8 code 0",
        "pass inet proto icmp all icmp-type echoreq code 0 keep state",
    );
    check(
        "pass inet proto icmp icmp-type unreach code needfrag",
        "pass inet proto icmp all icmp-type unreach code needfrag keep state",
    );
    check(
        "pass inet6 proto icmp6 icmp6-type { echoreq 200 }",
        "pass inet6 proto ipv6-icmp all icmp6-type echoreq keep state\npass inet6 proto ipv6-icmp all icmp6-type mtraceresp keep state",
    );
    check(
        "pass inet proto icmp icmp-type 99",
        "pass inet proto icmp all icmp-type 99 keep state",
    );
}

#[test]
fn fragments_and_options_have_their_words() {
    check("block fragment", "block drop all fragment");
    check("pass no state fragment", "pass all no state fragment");
    check("pass no state allow-opts", "pass all no state allow-opts");
    check("pass in allow-opts", "pass in all flags S/SA keep state allow-opts");
    for (conf, message) in [
        ("block allow-opts", "`allow-opts` in a rule that does not pass"),
        ("pass allow-opts allow-opts", "`allow-opts` given twice"),
        ("block fragment fragment", "`fragment` given twice"),
    ] {
        let report = compile(conf).expect_err(conf);
        assert!(report.contains(message), "{conf}\n{report}");
    }
}

#[test]
fn states_have_options() {
    check("pass keep state (max 7)", "pass all flags S/SA keep state (max 7)");
    check(
        "pass keep state (max 100)",
        "pass all flags S/SA keep state (max 100, adaptive.start 60, adaptive.end 120)",
    );
    check(
        "pass keep state (tcp.established 60, if-bound, no-sync)",
        "pass all flags S/SA keep state (no-sync, if-bound, tcp.established 60)",
    );
    check(
        "set state-policy if-bound\npass\npass keep state (floating)",
        "pass all flags S/SA keep state (if-bound)\npass all flags S/SA keep state",
    );
}

#[test]
fn labels_are_filled_in() {
    check(
        "block\npass on em0 proto tcp from 10/8 to port { 80 1:9 } label \"$if $proto $srcaddr $dstaddr $srcport:$dstport $nr\"",
        "block drop all
         pass on em0 inet proto tcp from 10.0.0.0/8 to any port = http flags S/SA keep state label \"em0 tcp 10.0.0.0/8 any :80 1\"
         pass on em0 inet proto tcp from 10.0.0.0/8 to any port 1:9 flags S/SA keep state label \"em0 tcp 10.0.0.0/8 any :1:9 2\"",
    );
}

#[test]
fn packets_are_translated() {
    check(
        "nat on em0 from 10/8 -> 192.0.2.1",
        "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1",
    );
    check(
        "nat pass log on em0 inet from any to any -> em1",
        "nat pass log on em0 inet all -> 10.0.0.1",
    );
    check(
        "nat on em0 from 10/8 -> (em0)",
        "nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin",
    );
    check(
        "nat on em0 from 10/8 -> (em0:0)",
        "nat on em0 inet from 10.0.0.0/8 to any -> (em0:0)",
    );
    check(
        "nat on em0 from 10/8 -> 192.0.2.1 port 1024:65535",
        "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1 port 1024:65535",
    );
    check(
        "nat on em0 from 10/8 to any port smtp -> 192.0.2.1",
        "nat on em0 inet from 10.0.0.0/8 to any port = 25 -> 192.0.2.1",
    );
    check(
        "nat on em0 from 10/8 -> 192.0.2.1 port 5000",
        "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1 port 5000",
    );
    check(
        "nat on em0 from 10/8 -> 192.0.2.1 static-port",
        "nat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1 static-port",
    );
    check(
        "nat on em0 from 10/8 -> { 192.0.2.1 192.0.2.9 } sticky-address",
        "nat on em0 inet from 10.0.0.0/8 to any -> { 192.0.2.1, 192.0.2.9 } round-robin sticky-address",
    );
    check(
        "nat on em0 inet6 from 2001:db8:1::/64 -> 2001:db8::1",
        "nat on em0 inet6 from 2001:db8:1::/64 to any -> 2001:db8::1",
    );
    check(
        "no nat on em0 from 10/8 to 10/8",
        "no nat on em0 inet from 10.0.0.0/8 to 10.0.0.0/8",
    );
    check(
        "rdr on em0 proto tcp to 192.0.2.1 port 80 -> 10.0.0.2 port 8080",
        "rdr on em0 inet proto tcp from any to 192.0.2.1 port = http -> 10.0.0.2 port 8080",
    );
    check(
        "rdr pass on em0 inet proto { tcp udp } to port domain -> 10.0.0.2",
        "rdr pass on em0 inet proto tcp from any to any port = domain -> 10.0.0.2\nrdr pass on em0 inet proto udp from any to any port = domain -> 10.0.0.2",
    );
    check(
        "rdr on em0 proto tcp to port 80:90 -> 10.0.0.2 port 8000:*",
        "rdr on em0 inet proto tcp from any to any port 80:90 -> 10.0.0.2 port 8000:8010",
    );
    check(
        "rdr on em0 proto tcp to port 80:90 -> 10.0.0.2 port 8000:8999",
        "rdr on em0 inet proto tcp from any to any port 80:90 -> 10.0.0.2 port 8000:8999",
    );
    check(
        "no rdr on em0 proto tcp to port 22",
        "no rdr on em0 proto tcp from any to any port = ssh",
    );
}

#[test]
fn options_are_collected() {
    let config = compile(
        "set timeout { tcp.first 10, udp.single 5 }\nset limit { states 1000 frags 7 }\nset optimization aggressive\n\
         set loginterface em0\nset skip on { lo0 em1 }\nset debug misc\nset hostid 0x10",
    )
    .unwrap();
    let options = &config.options;
    assert_eq!(options.timeout(Timeout::TcpFirst), 30, "the later line wins");
    assert_eq!(options.timeout(Timeout::UdpSingle), 5);
    assert_eq!(options.timeout(Timeout::IcmpFirst), 20);
    assert_eq!(options.timeout(Timeout::AdaptiveStart), 600, "follows the limit");
    assert_eq!(options.timeout(Timeout::AdaptiveEnd), 1200);
    assert_eq!(options.limit(Limit::States), 1000);
    assert_eq!(options.limit(Limit::Tables), 1000);
    assert_eq!(options.log_interface.as_deref(), Some("em0"));
    assert_eq!(options.skip, ["lo0", "em1"]);
    assert_eq!(options.host_id, Some(16));
    assert!(config.echo.contains(&"set skip on { lo0 em1 }".to_owned()));
}

#[test]
fn an_optimization_is_a_set_of_timeouts() {
    let of = |name: &str| {
        let config = compile(&format!("set optimization {name}")).unwrap();
        let timeout = |timeout| config.options.timeout(timeout);
        [
            Timeout::TcpFirst,
            Timeout::TcpOpening,
            Timeout::TcpEstablished,
            Timeout::TcpClosing,
            Timeout::TcpFinWait,
            Timeout::TcpClosed,
        ]
        .map(timeout)
    };
    assert_eq!(of("normal"), [120, 30, 86_400, 900, 45, 90]);
    assert_eq!(of("default"), of("normal"));
    assert_eq!(of("high-latency"), [180, 35, 86_400, 905, 50, 95]);
    assert_eq!(of("satellite"), of("high-latency"));
    assert_eq!(of("conservative"), [3600, 900, 432_000, 3600, 600, 180]);
    assert_eq!(of("aggressive"), [30, 5, 18_000, 60, 30, 30]);
    // The order of the lines counts.
    let config = compile("set optimization aggressive\nset timeout tcp.first 77").unwrap();
    assert_eq!(config.options.timeout(Timeout::TcpFirst), 77);
}

#[test]
fn every_mistake_of_a_file_comes_out_at_once() {
    let report = compile("blok in\npass in\npass in on\nset timeout tcp.frist 3\npass port 80\n").unwrap_err();
    for expected in [
        "pf.conf:1:1",
        "hint: did you mean `block`?",
        "pf.conf:3:11",
        "expected an interface",
        "pf.conf:4:13",
        "hint: did you mean `tcp.first`?",
        "pf.conf:5:6",
        "`port` without `from` or `to`",
    ] {
        assert!(report.contains(expected), "{expected}\n{report}");
    }
    assert_eq!(report.matches("error:").count(), 4, "{report}");
}

#[test]
fn a_mistake_shows_its_line_and_a_caret() {
    let report = compile("pass in on em0 frm 10.0.0.1\n").unwrap_err();
    let expected = "\
error: expected a part of a rule, found `frm`
  --> pf.conf:1:16
  |
1 | pass in on em0 frm 10.0.0.1
  |                ^^^ expected a part of a rule
  |
  = hint: did you mean `from`?
";
    assert_eq!(report.trim(), expected.trim());
}

#[test]
fn each_mistake_has_its_message() {
    for (conf, message) in [
        ("pass on $ext", "macro `ext` is not defined"),
        ("pass from 10.0.0.0/33", "/33 is no mask of an IPv4 address"),
        ("pass from 2001:db8::/129", "a mask out of range"),
        (
            "pass from 10.0.0.1 to ::1",
            "the addresses of this rule do not go together",
        ),
        ("pass inet from ::1", "the addresses of this rule do not go together"),
        ("pass from nohost", "no address found for `nohost`"),
        ("pass from em0:netwrk", "unknown modifier `netwrk`"),
        ("pass from em0:network:peer", "exclude each other"),
        ("pass from em0:network/8", "a mask for what has its own mask"),
        ("pass from lo0:peer", "interface `lo0` has no such address now"),
        ("pass proto tcpp", "unknown protocol `tcpp`"),
        ("pass proto 256", "a protocol is at most 255"),
        ("pass proto 0", "protocol 0 cannot be matched"),
        ("pass proto tcp to port 65536", "port 65536 is out of range"),
        ("pass proto tcp to port htp", "unknown service `htp`"),
        ("pass proto tcp to port 1:2:3", "unknown service `2:3`"),
        (
            "pass proto tcp to port < 1:2",
            "two operators in one comparison of ports",
        ),
        (
            "pass proto tcp to port 1 >< 2:3",
            "two operators in one comparison of ports",
        ),
        ("pass to port 80", "a port without TCP or UDP"),
        ("pass proto { tcp icmp } to port 80", "a port without TCP or UDP"),
        ("pass proto udp flags S/SA", "`flags` apply to TCP only"),
        ("pass flags X/SA", "`X` is no TCP flag"),
        ("pass flags S/A", "flags that can never match"),
        ("pass proto icmp icmp-type echoreq", "without an address family"),
        ("pass inet icmp-type echoreq", "a type of ICMP without `proto icmp`"),
        ("pass inet proto icmp icmp-type ecoreq", "unknown type of ICMP `ecoreq`"),
        (
            "pass inet proto icmp icmp-type echoreq code x",
            "expected a code of ICMP",
        ),
        ("pass inet6 proto icmp", "`proto icmp` does not go with `inet6`"),
        ("block keep state", "a rule that blocks keeps no state"),
        ("block allow-opts", "`allow-opts` in a rule that does not pass"),
        ("block return-rst", "`return-rst` without TCP"),
        ("pass return", "an answer to packets that are passed"),
        ("pass fragment proto tcp to port 80", "fragments have no ports"),
        ("pass in in", "the direction given twice"),
        ("pass quick quick", "`quick` given twice"),
        ("pass all from any", "`all` together with `from` or `to`"),
        ("pass from { }", "an empty list"),
        ("pass from { 10.0.0.1", "a list without its `}`"),
        ("pass ! any", "expected a part of a rule"),
        ("pass from ! any", "`! any` matches nothing"),
        ("pass from ! 0/0", "`!` in front of every address matches nothing"),
        ("pass keep state (max 0)", "`max` must be above 0"),
        ("pass keep state (tcp.first 1, tcp.first 2)", "`tcp.first` given twice"),
        ("pass keep state (interval 1)", "`interval` is no timeout of a state"),
        (
            "pass label \"0123456789012345678901234567890123456789012345678901234567890123\"",
            "the label is too long",
        ),
        (
            "pass on a-name-that-is-too-long",
            "the name of the interface is too long",
        ),
        ("pass\nset limit states 1", "this line stands too late"),
        ("pass\nnat on em0 from 10/8 -> 192.0.2.1", "this line stands too late"),
        ("nat on em0 from 10/8", "a translation without `->`"),
        ("no nat on em0 from 10/8 -> 192.0.2.1", "`->` in a rule with `no`"),
        ("no nat pass on em0", "`pass` together with `no`"),
        (
            "nat on em0 from 10/8 -> 2001:db8::1",
            "no address to translate to has the rule's family",
        ),
        ("nat on em0 -> any", "a translation needs an address to translate to"),
        ("nat on em0 from 10/8 -> 192.0.2.1 port 9:1", "ends before it begins"),
        (
            "nat on em0 from 10/8 -> 192.0.2.1 port 1:9 static-port",
            "`static-port` together with a port",
        ),
        (
            "rdr on em0 inet -> 10.0.0.2 static-port",
            "`static-port` belongs to `nat`",
        ),
        (
            "rdr on em0 inet -> 10.0.0.2 port 80",
            "a port to redirect to without TCP or UDP",
        ),
        (
            "rdr on em0 inet proto tcp to port > 80 -> 10.0.0.2",
            "this comparison of ports cannot be redirected",
        ),
        (
            "nat on em0 from 10/8 -> { 192.0.2.1 192.0.2.9 } random",
            "several addresses can only be taken in turn",
        ),
        ("x = { 1 }", "a sign in the value of a macro"),
        ("x =", "a macro without a value"),
        ("x-y = 1", "`x-y` cannot name a macro"),
        ("in = em0", "`in` is a keyword"),
        ("pass on in", "`in` is a keyword"),
        ("a = 1\nb = \"$a\"\npass proto $b", "has `$a` in quotes"),
        ("set limit states many", "expected a limit"),
        ("set limit sates 1", "unknown limit `sates`"),
        ("set block-policy return-rst", "the block policy is `drop` or `return`"),
        ("set skip on ! lo0", "`set skip on` takes no `!`"),
        ("set debug verbose", "unknown debug level `verbose`"),
        ("set optimization fast", "unknown optimization `fast`"),
        ("set hostid 0", "the identity of a host is not 0"),
        ("set require-order maybe", "`require-order` is `yes` or `no`"),
        ("set debug urgent misc", "expected the end of the line"),
        ("include \"/nonexistent/pf.conf\"", "cannot read `/nonexistent/pf.conf`"),
    ] {
        let report = compile(conf).expect_err(conf);
        assert!(report.contains(message), "{conf}\n{report}");
    }
}

#[test]
fn what_is_missing_here_is_said_so() {
    for conf in [
        "pass rtable 1",
        "nat on em0 from 10/8 rtable 1 -> 192.0.2.1",
        "pass from route x",
    ] {
        let report = compile(conf).expect_err(conf);
        assert!(report.contains("is not supported"), "{conf}\n{report}");
    }
}

#[test]
fn a_ruleset_is_loaded_as_it_is_written_whatever_optimization_is_asked_for() {
    let rules = "pass in proto tcp to port 25\npass in proto tcp to port 25";
    for (level, count) in [("none", 0), ("basic", 1), ("profile", 1)] {
        let conf = format!("set ruleset-optimization {level}\n{rules}");
        assert_eq!(printed(&conf), printed(rules));
        assert_eq!(
            compile(&conf).unwrap().echo,
            [format!("set ruleset-optimization {level}")]
        );
        let warnings = warnings(&conf);
        assert_eq!(warnings.matches("rules are not rewritten").count(), count, "{warnings}");
    }
    let report = compile("set ruleset-optimization basics").unwrap_err();
    assert!(report.contains("did you mean `basic`?"), "{report}");
}

#[test]
fn require_order_no_lets_rules_stand_anywhere() {
    check(
        "set require-order no\nblock\nnat on em0 from 10/8 -> 192.0.2.1\nset timeout tcp.first 1",
        "block drop all\nnat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1",
    );
}

#[test]
fn a_file_can_include_others_but_not_itself_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner.conf");
    std::fs::write(&inner, "pass in on $ext\n").unwrap();
    check(
        &format!("ext = em0\ninclude \"{}\"", inner.display()),
        "pass in on em0 all flags S/SA keep state",
    );

    std::fs::write(&inner, format!("include \"{}\"\n", inner.display())).unwrap();
    let report = compile(&format!("include \"{}\"", inner.display())).unwrap_err();
    assert!(report.contains("files include each other"), "{report}");

    std::fs::write(&inner, "pas in\n").unwrap();
    let report = compile(&format!("include \"{}\"", inner.display())).unwrap_err();
    assert!(report.contains("inner.conf:1:1"), "{report}");
}

#[test]
fn a_macro_of_the_command_line_wins() {
    use pfctl::conf::diagnostic::Sources;
    use pfctl::conf::parser::Macros;

    let mut sources = Sources::default();
    let file = sources.add("pf.conf", "ext = em0\npass on $ext\n");
    let mut macros = Macros::default();
    macros.define_fixed("ext", "em1");
    let (config, _) = pfctl::conf::compile(&mut sources, file, macros, &support::FixedResolver::new()).unwrap();
    assert_eq!(config.rules[0].rule.ifname.as_str(), Some("em1"));
}

#[test]
fn log_says_what_and_where_to() {
    check("pass log", "pass log all flags S/SA keep state");
    check("pass log (all)", "pass log (all) all flags S/SA keep state");
    check("pass log (to pflog3)", "pass log (to pflog3) all flags S/SA keep state");
    check(
        "pass log (all, user, to pflog15)",
        "pass log (all, user, to pflog15) all flags S/SA keep state",
    );
    check("block log (user all)", "block drop log (all, user) all");
    check(
        "nat log (all) on em0 -> 192.0.2.1",
        "nat log (all) on em0 inet all -> 192.0.2.1",
    );
    let report = compile("pass log (to pflog16)").unwrap_err();
    assert!(report.contains("`pflog16` is no pflog interface"), "{report}");
    let report = compile("pass log (everything)").unwrap_err();
    assert!(report.contains("expected `all`, `user` or `to`"), "{report}");
}

#[test]
fn a_rule_can_name_two_queues() {
    check("pass queue std", "pass all flags S/SA keep state queue std");
    check("pass queue (std)", "pass all flags S/SA keep state queue std");
    check(
        "pass queue (std, ack)",
        "pass all flags S/SA keep state queue(std, ack)",
    );
    let report = compile("pass queue (std, ack, more)").unwrap_err();
    assert!(report.contains("expected `)`"), "{report}");
    let report = compile(&format!("pass queue {}", "q".repeat(64))).unwrap_err();
    assert!(report.contains("has at most 63 bytes"), "{report}");
}

#[test]
fn whoever_speaks_of_queues_is_warned_once() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner.conf");
    std::fs::write(&inner, "pass queue std\n").unwrap();
    let load = format!("anchor a\nload anchor a from \"{}\"", inner.display());
    for (conf, count) in [
        ("pass", 0),
        ("pass queue std\npass queue (std, ack)", 1),
        ("altq on em0 cbq queue std\nqueue std\npass queue std", 1),
        ("queue std", 1),
        (&load, 1),
    ] {
        let warnings = warnings(conf);
        assert_eq!(
            warnings.matches("no packet is queued").count(),
            count,
            "{conf}\n{warnings}"
        );
        assert_eq!(compile(conf).unwrap().speaks_of_queues, count == 1, "{conf}");
    }
}

#[test]
fn queues_are_read_and_said_again() {
    let text = "
        altq on em0 cbq bandwidth 2Mb tbrsize 9000 queue { std, ssh, ack }
        queue std bandwidth 50% cbq(default)
        queue ssh on em0 bandwidth 1.5Mb priority 7 qlimit 100 cbq(borrow red) { login, bulk }
        queue ack hfsc(realtime (10% 10 20%), linkshare 5%, upperlimit 1Mb)
        queue bulk priq(rio)
    ";
    let expected = [
        "altq on em0 cbq bandwidth 2Mb tbrsize 9000 queue { std, ssh, ack }",
        "queue std bandwidth 50% cbq( default )",
        "queue ssh on em0 bandwidth 1.5Mb priority 7 qlimit 100 cbq( borrow red ) { login, bulk }",
        "queue ack hfsc( realtime(10% 10 20%) linkshare 5% upperlimit 1Mb )",
        "queue bulk priq( rio )",
    ];
    let config = compile(text).unwrap();
    assert_eq!(config.echo, expected);
    assert!(config.speaks_of_queues);
    for (conf, message) in [
        ("altq em0", "expected `on`"),
        ("altq on em0 bandwidth lots queue std", "`lots` is no bandwidth"),
        ("altq on em0 cbq", "expected `queue`"),
        ("queue std cbq(nonsense)", "expected what a scheduler can be told"),
        ("pass\nqueue std", "this line stands too late"),
    ] {
        let report = compile(conf).unwrap_err();
        assert!(report.contains(message), "{conf}\n{report}");
    }
}
