//! What a host finds out of its way to another one through NAT: the hops, and the longest packet that passes all of them.
//!
//! ```text
//!  client ─ pf-router with NAT ─ server, which forwards ─ a second pf-router, which does not filter ─ far
//! ```

use std::net::{IpAddr, SocketAddr, UdpSocket};

use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;

const NAT: &str = "
    scrub in all
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    nat on wan0 inet6 from fd00:1::/64 to any -> fd00:2::1
    block all
    pass in on lan0 from { 10.0.0.0/24, fd00:1::/64 } to any keep state
    pass out on wan0 from { 198.51.100.1, fd00:2::1 } to any keep state
";

/// The second router's addresses on its two sides, and the host behind it.
const HOP: [&str; 2] = ["203.0.113.2", "fd00:3::2"];
const FAR: [&str; 2] = ["192.0.2.2", "fd00:4::2"];

/// A way with three hops, of which the last takes so many bytes.
struct Way {
    network: Network,
    far: Namespace,
    _routers: [Router; 2],
}

impl Way {
    fn new(near_mtu: u16, far_mtu: u16) -> Self {
        let network = Network::new();
        let server = &network.server;
        server.sysctl("net.ipv4.ip_forward", "1");
        server.sysctl("net.ipv6.conf.all.forwarding", "1");
        // An answer to each probe.
        server.sysctl("net.ipv4.icmp_ratelimit", "0");
        server.sysctl("net.ipv6.icmp.ratelimit", "0");
        let far = Namespace::new();
        for (namespace, device, v4, v6) in [
            (server, "hop0", "203.0.113.1", "fd00:3::1"),
            (&far, "far0", FAR[0], FAR[1]),
        ] {
            namespace.ip(&format!("tuntap add dev {device} mode tun"));
            namespace.ip(&format!("address add {v4}/24 dev {device}"));
            namespace.ip(&format!("-6 address add {v6}/64 dev {device} nodad"));
            namespace.ip(&format!("link set {device} up"));
        }
        server.ip("route add 192.0.2.0/24 via 203.0.113.2");
        server.ip("-6 route add fd00:4::/64 via fd00:3::2");
        far.ip("route add default via 192.0.2.1");
        far.ip("-6 route add default via fd00:4::1");
        let second = Router::start(&[
            format!(
                "--interface=hop0,netns={},address=203.0.113.2/24,address=fd00:3::2/64",
                server.path()
            ),
            format!(
                "--interface=far0,netns={},address=192.0.2.1/24,address=fd00:4::1/64,mtu={far_mtu}",
                far.path()
            ),
            "--route=default,via=203.0.113.1".into(),
            "--route=default,via=fd00:3::1".into(),
            format!("--socket={}", network.socket().with_file_name("second.sock").display()),
            "--log=json".into(),
        ]);
        server.wait_for_link("hop0");
        far.wait_for_link("far0");
        let mut arguments = network.arguments();
        arguments[0] += &format!(",mtu={near_mtu}");
        arguments.push(format!("--route=default,via={SERVER_V6}"));
        let first = network.router_with(&arguments);
        // No end knows what the routers take: not even from its own device.
        network.client.ip("link set lan0 mtu 1500");
        far.ip("link set far0 mtu 1500");
        Way {
            network,
            far,
            _routers: [first, second],
        }
    }

    /// Waits until a route of `side` to `dst` is known to take 1300 bytes.
    fn wait_for_mtu(&self, side: &Namespace, dst: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !side.ip(&format!("route get {dst}")).contains("mtu 1300") {
            assert!(std::time::Instant::now() < deadline, "nobody hears of the MTU to {dst}");
        }
    }
}

#[test]
fn every_hop_behind_the_nat_can_be_traced_in_both_families() {
    let way = Way::new(1500, 1500);
    let _firewall = Firewall::with_rules(&way.network, NAT);
    let client = &way.network.client;
    for (at, local, hops) in [
        (0, CLIENT_V4, [LAN_V4, SERVER_V4, HOP[0]]),
        (1, CLIENT_V6, [LAN_V6, SERVER_V6, HOP[1]]),
    ] {
        let [expired, unreachable, no_port, reply] = [[11, 3, 3, 0], [3, 1, 4, 129]][at];
        for (ttl, hop) in (1..).zip(hops) {
            let from: IpAddr = hop.parse().unwrap();
            let expected = |code| Answer {
                from,
                kind: expired,
                code,
            };
            assert_eq!(client.ping(FAR[at], ttl), expected(0), "echo request, TTL {ttl}");
            assert_eq!(client.probe(local, FAR[at], ttl), expected(0), "UDP, TTL {ttl}");
        }
        let from: IpAddr = FAR[at].parse().unwrap();
        let answer = client.ping(FAR[at], 4);
        assert_eq!((answer.from, answer.kind), (from, reply));
        let expected = Answer {
            from,
            kind: unreachable,
            code: no_port,
        };
        assert_eq!(client.probe(local, FAR[at], 4), expected);
    }
}

#[test]
fn the_path_mtu_is_found_through_nat_in_both_families() {
    let way = Way::new(1500, 1300);
    let mut firewall = Firewall::with_rules(&way.network, NAT);
    let client = &way.network.client;
    for (local, far) in [(CLIENT_V4, FAR[0]), (CLIENT_V6, FAR[1])] {
        // UDP: the first one is lost and its sender told, the second one is cut to fit.
        let receiver = way.far.udp_at(far, 7000);
        let sender = client.udp(local, (far, 7000));
        sender.send(&[1; 1400]).unwrap();
        way.wait_for_mtu(client, far);
        let _ = sender.take_error();
        sender.send(&[2; 1400]).unwrap();
        assert_eq!(receive(&receiver).unwrap(), [2; 1400]);
        client.ip(if far.contains(':') {
            "-6 route flush cache"
        } else {
            "route flush cache"
        });
        // TCP, whose ends have told each other that they take 1460 bytes.
        let at = SocketAddr::new(far.parse().unwrap(), 7001).to_string();
        let mut connection = Connection::open(client, &at, &way.far, &at);
        connection.transfer(2 << 20);
        connection.echo().unwrap();
        assert_eq!(
            connection.seen_from.ip(),
            if far.contains(':') { WAN_V6 } else { WAN_V4 }
                .parse::<IpAddr>()
                .unwrap()
        );
        way.wait_for_mtu(client, far);
    }
    for side in [client, &way.far] {
        assert_eq!(side.counted("snmp", "Tcp:", "InCsumErrors"), 0);
        assert_eq!(side.counted("snmp", "Udp:", "InCsumErrors"), 0);
    }
    assert_eq!(firewall.count(Reason::StateMismatch), 0);
}

#[test]
fn who_answers_through_nat_finds_the_path_mtu_too() {
    // The router that translates takes less on its inside: it tells the other end so, about an address that this one knows.
    let way = Way::new(1300, 1500);
    let mut firewall = Firewall::with_rules(&way.network, NAT);
    for (far, outside) in [(FAR[0], WAN_V4), (FAR[1], WAN_V6)] {
        let at = SocketAddr::new(far.parse().unwrap(), 7001).to_string();
        let mut connection = Connection::open(&way.network.client, &at, &way.far, &at);
        connection.transfer_both_ways(2 << 20);
        connection.echo().unwrap();
        way.wait_for_mtu(&way.far, outside);
        // UDP: an answer that is too long.
        let server: UdpSocket = way.far.udp_at(far, 7000);
        let local = if far.contains(':') { CLIENT_V6 } else { CLIENT_V4 };
        let client = way.network.client.udp(local, (far, 7000));
        client.send(b"tell me").unwrap();
        let (_, from) = receive_from(&server).unwrap();
        server.send_to(&[3; 1400], from).unwrap();
        assert_eq!(receive(&client).unwrap(), [3; 1400], "its sender cuts it to fit");
    }
    assert_eq!(firewall.count(Reason::StateMismatch), 0);
}
