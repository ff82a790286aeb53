//! Fragments under `scrub`: what is long passes NAT in both families, cut and put together by real stacks at both ends, which verify
//! UDP's checksum over all of it.

use std::net::{IpAddr, SocketAddr};

use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;

const NAT: &str = "
    scrub in all
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    nat on wan0 inet6 from fd00:1::/64 to any -> fd00:2::1
    block all
    pass in on lan0 proto udp from any to any port 7000 keep state
    pass out on wan0 proto udp from any to any port 7000 keep state
    pass proto icmp6
";

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn talk_through(network: &Network, firewall: &mut Firewall) {
    for (client, server, seen) in [(CLIENT_V4, SERVER_V4, WAN_V4), (CLIENT_V6, SERVER_V6, WAN_V6)] {
        let receiver = network.server.udp_at(server, 7000);
        let sender = network.client.udp(client, (server, 7000));
        // The last answer is the longest that UDP over IPv4 can send; over IPv6 it is a packet of more than 65,535 bytes.
        for len in [1400, 1473, 5000, 20_000, 60_000, 65_207] {
            sender.send(&bytes(len)).unwrap();
            let (received, from): (_, SocketAddr) = receive_from(&receiver).unwrap();
            assert!(received == bytes(len), "{len} bytes to {server}");
            assert_eq!(from.ip(), seen.parse::<IpAddr>().unwrap());
            let answer = bytes(len + 300);
            receiver.send_to(&answer, from).unwrap();
            assert!(receive(&sender).unwrap() == answer, "{len} bytes back to {client}");
        }
    }
    for reason in [
        Reason::Fragment,
        Reason::Normalize,
        Reason::Memory,
        Reason::StateMismatch,
    ] {
        assert_eq!(firewall.count(reason), 0, "{reason:?}");
    }
}

#[test]
fn long_datagrams_pass_nat_in_both_families() {
    let network = Network::new();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, NAT);
    // Packets without Don't Fragment.
    for side in [&network.client, &network.server] {
        side.sysctl("net.ipv4.ip_no_pmtu_disc", "1");
    }
    talk_through(&network, &mut firewall);
}

#[test]
fn fragments_fit_the_narrower_link() {
    let network = Network::new();
    let mut arguments = network.arguments();
    arguments[1] += ",mtu=1300";
    let _router = network.router_with(&arguments);
    let _firewall = Firewall::with_rules(&network, NAT);
    // IPv4 is cut by the router. In IPv6 the sender hears of the MTU, and cuts to fit from then on.
    network.client.sysctl("net.ipv4.ip_no_pmtu_disc", "1");
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        let receiver = network.server.udp_at(server, 7000);
        let sender = network.client.udp(client, (server, 7000));
        if client == CLIENT_V6 {
            sender.send(&bytes(4999)).unwrap();
            let deadline = std::time::Instant::now() + PATIENCE;
            while !network
                .client
                .ip(&format!("-6 route get {server}"))
                .contains("mtu 1300")
            {
                assert!(
                    std::time::Instant::now() < deadline,
                    "the sender does not hear of the MTU"
                );
            }
            let _ = sender.take_error();
        }
        sender.send(&bytes(5000)).unwrap();
        assert!(receive(&receiver).unwrap() == bytes(5000), "5000 bytes to {server}");
    }
}
