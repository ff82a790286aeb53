//! What NetBSD's pfctl prints of states, of the status, and of rules that no configuration here can make.

mod support;

use pf_abi::*;
use pfctl::print::rule::RulePrinter;
use pfctl::print::state::state_text;
use pfctl::print::status::{limit_text, status_text, timeout_text};
use support::FixedResolver;
use support::fake::state;

fn text(state: &SyncState, verbosity: u8) -> String {
    state_text(state, &FixedResolver::new(), verbosity)
}

#[test]
fn a_state_stands_with_its_ends() {
    let mut state = state(1);
    assert_eq!(
        text(&state, 0),
        "em0 tcp 10.0.0.3:1024 -> 192.0.2.1:50001 -> 198.51.100.7:443       ESTABLISHED:ESTABLISHED\n"
    );
    state.direction = PF_IN;
    state.src.state = TCPS_SYN_SENT;
    assert_eq!(
        text(&state, 0),
        "em0 tcp 10.0.0.3:1024 <- 192.0.2.1:50001 <- 198.51.100.7:443       ESTABLISHED:SYN_SENT\n"
    );
    state.gwy = state.lan;
    assert_eq!(
        text(&state, 0),
        "em0 tcp 10.0.0.3:1024 <- 198.51.100.7:443       ESTABLISHED:SYN_SENT\n"
    );
}

#[test]
fn a_state_says_more_when_asked() {
    let mut state = state(1);
    state.rule = 3;
    assert_eq!(
        text(&state, 2),
        "em0 tcp 10.0.0.3:1024 -> 192.0.2.1:50001 -> 198.51.100.7:443       ESTABLISHED:ESTABLISHED\n   \
         [4294901761 + 65535](+1) wscale 7  [1000 + 65535](+1) wscale 7\n   \
         age 00:01:41, expires in 23:53:20, 7:1099511627776 pkts, 700:18446744073709551615 bytes, rule 3\n   \
         id: 0123456789ab0001 creatorid: 04030201\n"
    );
    state.anchor = 2;
    state.sync_flags = 0x01 | PFSYNC_FLAG_SRCNODE | PFSYNC_FLAG_NATSRCNODE;
    let lines = text(&state, 2);
    assert!(
        lines.contains("bytes, anchor 2, rule 3, source-track, sticky-address\n"),
        "{lines}"
    );
    assert!(lines.ends_with("creatorid: 04030201 (no-sync)\n"), "{lines}");
}

#[test]
fn levels_depend_on_the_protocol() {
    let mut state = state(1);
    let mut levels = |proto, src, dst| {
        (state.proto, state.src.state, state.dst.state) = (proto, src, dst);
        text(&state, 0).trim_end().rsplit("       ").next().unwrap().to_owned()
    };
    assert_eq!(levels(6, 10, 0), "TIME_WAIT:CLOSED");
    assert_eq!(levels(6, PF_TCPS_PROXY_SRC, 0), "PROXY:SRC");
    assert_eq!(levels(6, 0, PF_TCPS_PROXY_DST), "PROXY:DST");
    assert_eq!(levels(6, 13, 0), "<BAD STATE LEVELS 13:0>");
    assert_eq!(levels(17, 2, 1), "MULTIPLE:SINGLE");
    assert_eq!(levels(17, 3, 1), "3:1");
    assert_eq!(levels(1, 0, 0), "0:0");
    assert_eq!(levels(47, 1, 0), "SINGLE:NO_TRAFFIC");
    assert_eq!(levels(250, 1, 0), "SINGLE:NO_TRAFFIC");
}

#[test]
fn an_ipv6_state_has_its_ports_in_brackets() {
    let mut state = state(1);
    state.af = AF_INET6;
    let host = |address: &str, port| SyncHost::new(Addr::from_v6(address.parse().unwrap()), port);
    (state.lan, state.ext) = (host("2001:db8::1", 1024), host("2001:db8::2", 80));
    state.gwy = state.lan;
    assert!(
        text(&state, 0).starts_with("em0 tcp 2001:db8::1[1024] -> 2001:db8::2[80]  "),
        "{}",
        text(&state, 0)
    );
}

fn status() -> Status {
    let mut status = Status {
        running: 1,
        since: 1_000_000,
        states: 42,
        debug: 1,
        hostid: 0x1234_5678_u32.to_be(),
        ..Status::default()
    };
    status.counters[0] = 1000;
    status.fcounters = [200, 50, 8];
    status
}

#[test]
fn the_status_is_a_table() {
    let text = status_text(&status(), 1_000_000 + 90_061, false);
    let expected = "\
Status: Enabled for 1 days 01:01:01           Debug: Urgent

State Table                          Total             Rate
  current entries                       42               
  searches                             200            0.0/s
  inserts                               50            0.0/s
  removals                               8            0.0/s
Counters
  match                               1000            0.0/s
  bad-offset                             0            0.0/s
";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.ends_with("  state-locked                           0            0.0/s\n"),
        "{text}"
    );
    let text = status_text(&status(), 1_000_010, false);
    assert!(
        text.contains("  match                               1000          100.0/s\n"),
        "{text}"
    );
    // A clock that was set back divides by nothing.
    assert!(
        status_text(&status(), 999_999, false).contains("  match                               1000               \n")
    );
}

#[test]
fn the_status_says_more_when_asked() {
    let mut status = status();
    status.ifname = IfName::new("em0").unwrap();
    status.pcounters[0][1][1] = 7;
    status.pcounters[1][0][0] = 8;
    status.bcounters[0][0] = 9;
    status.pf_chksum[0] = 0xab;
    let text = status_text(&status, 1_000_010, true);
    for line in [
        "Hostid:   0x12345678\n",
        "Checksum: 0xab000000000000000000000000000000\n\n",
        "Interface Stats for em0               IPv4             IPv6\n",
        "  Bytes In                               9                0\n",
        "  Packets Out\n    Passed                               0                0\n    Blocked                              7                0\n\n",
        "  Packets In\n    Passed                               0                8\n",
        "Source Tracking Table\n",
        "Limit Counters\n  max states per rule                    0            0.0/s\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    status.running = 0;
    status.since = 0;
    status.debug = 3;
    assert!(
        status_text(&status, 5, false).starts_with("Status: Disabled                                Debug: Loud\n"),
        "{}",
        status_text(&status, 5, false)
    );
}

#[test]
fn timeouts_and_limits_stand_in_columns() {
    assert_eq!(
        timeout_text(Timeout::TcpFirst, 120),
        "tcp.first                   120s\n"
    );
    assert_eq!(
        timeout_text(Timeout::AdaptiveEnd, 12_000),
        "adaptive.end              12000 states\n"
    );
    assert_eq!(
        limit_text(Limit::SrcNodes, 10_000),
        "src-nodes     hard limit    10000\n"
    );
    assert_eq!(limit_text(Limit::States, u32::MAX), "states        unlimited\n");
}

/// Rules that NetBSD's own pfctl may have loaded.
#[test]
fn every_rule_of_the_kernel_can_be_printed() {
    let resolver = FixedResolver::new();
    let printer = RulePrinter {
        resolver: &resolver,
        numbers: false,
    };
    let base = || Rule {
        rtableid: -1,
        ..Rule::default()
    };
    let print = |rule: &Rule| printer.text(rule, &[], "");

    let mut scrub = base();
    scrub.action = PF_SCRUB;
    scrub.direction = PF_IN;
    scrub.rule_flag = PFRULE_NODF | PFRULE_RANDOMID | PFRULE_REASSEMBLE_TCP;
    (scrub.min_ttl, scrub.max_mss) = (3, 1440);
    assert_eq!(
        print(&scrub),
        "scrub in all no-df random-id min-ttl 3 max-mss 1440 reassemble tcp fragment reassemble"
    );

    let mut pass = base();
    (pass.uid.op, pass.uid.id) = (PF_OP_NE, [u32::MAX, 0]);
    (pass.gid.op, pass.gid.id) = (PF_OP_IRG, [1, 9]);
    (pass.tos, pass.prob) = (0x10, 0x2000_0000);
    pass.tagname = CName::new("T").unwrap();
    pass.match_tagname = CName::new("M").unwrap();
    pass.match_tag_not = 1;
    pass.qname = CName::new("q").unwrap();
    pass.pqname = CName::new("p").unwrap();
    pass.rtableid = 2;
    assert_eq!(
        print(&pass),
        "pass all user != unknown group 1 >< 9 tos 0x10 no state probability 12.5% queue(q, p) tag T ! tagged M rtable 2"
    );

    let mut tracked = base();
    tracked.keep_state = PF_STATE_NORMAL;
    tracked.rule_flag = PFRULE_SRCTRACK | PFRULE_RULESRCTRACK;
    tracked.max_src_conn = 5;
    tracked.max_src_conn_rate = ConnRate { limit: 3, seconds: 10 };
    tracked.overload_tblname = TableName::new("bad").unwrap();
    tracked.flush = PF_FLUSH | PF_FLUSH_GLOBAL;
    assert_eq!(
        print(&tracked),
        "pass all flags any keep state (source-track rule, max-src-conn 5, max-src-conn-rate 3/10, overload <bad> flush global)"
    );

    let mut routed = base();
    routed.rt = PF_ROUTETO;
    routed.direction = PF_IN;
    routed.rpool.opts = PF_POOL_ROUNDROBIN;
    let to = |name| PoolAddr {
        ifname: IfName::new(name).unwrap(),
        ..PoolAddr::default()
    };
    assert_eq!(
        printer.text(&routed, &[to("em0"), to("em1")], ""),
        "pass in route-to { em0, em1 } round-robin all no state"
    );

    let mut anchor = base();
    anchor.action = PF_NAT;
    assert_eq!(
        printer.text(&anchor, &[], "ftp-proxy/*"),
        "nat-anchor \"ftp-proxy/*\" all"
    );
    let mut odd = base();
    odd.action = 200;
    assert_eq!(print(&odd), "action(200) all");
}
