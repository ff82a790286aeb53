//! As much as the stacks can send, in both directions at once: each byte is the one that was sent, and no checksum is wrong.
//!
//! The senders are the tests' own, so that each byte can be looked at; iperf3(1) does not look.

use std::net::SocketAddr;

use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;

#[test]
fn bulk_passes_everything_pf_does_to_tcp_in_both_directions() {
    let network = Network::new();
    let _router = network.router();
    let rules = "
        scrub all no-df random-id max-mss 1400 reassemble tcp
        nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
        nat on wan0 inet6 from fd00:1::/64 to any -> fd00:2::1
        block all
        pass in on lan0 proto tcp to port 7000 modulate state
        pass out on wan0 proto tcp to port 7000 keep state
    ";
    let mut firewall = Firewall::with_rules(&network, rules);
    for server in [SERVER_V4, SERVER_V6] {
        let at = SocketAddr::new(server.parse().unwrap(), 7000).to_string();
        let mut connection = Connection::open(&network.client, &at, &network.server, &at);
        connection.transfer_both_ways(24 << 20);
        connection.echo().unwrap();
    }
    for side in [&network.client, &network.server] {
        assert_eq!(side.counted("snmp", "Tcp:", "InCsumErrors"), 0);
        assert_eq!(side.counted("snmp", "Ip:", "InHdrErrors"), 0);
    }
    for reason in [Reason::StateMismatch, Reason::Normalize, Reason::BadTimestamp] {
        assert_eq!(firewall.count(reason), 0, "{reason:?}");
    }
}
