//! Packets that are lost, repeated and out of order before the router sees them, by a plan and not by chance.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;
use crate::relay::Relay;

const RULES: &str = "
    scrub in all fragment reassemble
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    nat on wan0 inet6 from fd00:1::/64 to any -> fd00:2::1
    block all
    pass in on lan0 proto { tcp, udp } to port 7000 modulate state
    pass out on wan0 proto { tcp, udp } to port 7000 keep state
    pass proto { icmp, icmp6 }
";

/// What happens to the fragments of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    AsTheyAre,
    Reversed,
    EvenFirst,
    Twice,
    /// One of them is lost.
    Lose(usize),
    /// They wait for those of the next datagram, and come between them.
    Between,
}

const PLANS: [Plan; 9] = [
    Plan::Reversed,
    Plan::Lose(0),
    Plan::EvenFirst,
    Plan::Lose(3),
    Plan::Twice,
    Plan::Between,
    Plan::Reversed,
    Plan::Lose(7),
    Plan::AsTheyAre,
];

/// How long datagrams are that have eight fragments in both families.
const LEN: usize = 11_000;

/// Whether a packet is a fragment, and the last one of its datagram.
fn fragment(packet: &[u8]) -> Option<bool> {
    match packet[0] >> 4 {
        4 => {
            let field = u16::from_be_bytes([packet[6], packet[7]]);
            (field & 0x3fff != 0).then_some(field & 0x2000 == 0)
        }
        _ => (packet[6] == 44).then(|| packet[43] & 1 == 0),
    }
}

/// Does with datagram after datagram what the plans say. Each is in its fragments, in order, when it comes.
fn by_plan() -> impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static {
    let mut plans = PLANS.into_iter().cycle();
    let mut waiting = Vec::new();
    let mut before = Vec::new();
    move |packet| {
        let Some(is_last) = fragment(&packet) else {
            return vec![packet];
        };
        waiting.push(packet);
        if !is_last {
            return Vec::new();
        }
        let mut these = std::mem::take(&mut waiting);
        assert_eq!(these.len(), 8);
        match plans.next().unwrap() {
            Plan::AsTheyAre => (),
            Plan::Reversed => these.reverse(),
            Plan::EvenFirst => {
                let odd = these.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>();
                these = these.into_iter().step_by(2).chain(odd).collect();
            }
            Plan::Twice => these = these.into_iter().flat_map(|it| [it.clone(), it]).collect(),
            Plan::Lose(which) => drop(these.remove(which)),
            Plan::Between => {
                before = these;
                return Vec::new();
            }
        }
        let mut others = std::mem::take(&mut before).into_iter();
        these
            .into_iter()
            .flat_map(|it| [Some(it), others.next()])
            .flatten()
            .collect()
    }
}

fn datagram(number: usize) -> Vec<u8> {
    (0..LEN).map(|i| (i * 31 + i / 251 + number * 7) as u8).collect()
}

/// Sends what the plans are about from one side to the other, and sees that all arrives whole but that of which a part is lost.
fn send_by_plan(from: &UdpSocket, to: SocketAddr, receiver: &UdpSocket) {
    let mut expected = BTreeSet::new();
    for (number, plan) in PLANS.into_iter().enumerate() {
        from.send_to(&datagram(number), to).unwrap();
        if !matches!(plan, Plan::Lose(_)) {
            expected.insert(datagram(number));
        }
        while plan != Plan::Between && !expected.is_empty() {
            let received = receive(receiver).unwrap();
            assert!(
                expected.remove(&received),
                "what came behind {number} was not sent, or came twice"
            );
        }
    }
}

#[test]
fn fragments_out_of_order_are_put_together_and_lost_ones_hurt_no_others() {
    const ROUNDS: u64 = 3;
    let network = Network::new();
    for side in [&network.client, &network.server] {
        // Packets without Don't Fragment.
        side.sysctl("net.ipv4.ip_no_pmtu_disc", "1");
    }
    let (_relay, _router) = Relay::with_router(&network, by_plan(), by_plan());
    let mut firewall = Firewall::with_rules(&network, RULES);
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        let outside = network.server.udp_at(server, 7000);
        let inside = network.client.udp_at(client, 7001);
        // The answers need somewhere to go.
        inside.send_to(b"hello", (server, 7000)).unwrap();
        let (_, seen) = receive_from(&outside).unwrap();
        for _ in 0..ROUNDS {
            send_by_plan(&inside, SocketAddr::new(server.parse().unwrap(), 7000), &outside);
            send_by_plan(&outside, seen, &inside);
        }
        outside.set_nonblocking(true).unwrap();
        assert!(receive(&outside).is_err(), "nothing comes twice");
    }
    // Of what the client sent twice, all but what came when the rest was through.
    assert_eq!(firewall.count(Reason::Fragment), 2 * ROUNDS * 7);
    for reason in [Reason::Normalize, Reason::Memory] {
        assert_eq!(firewall.count(reason), 0, "{reason:?}");
    }
    for (side, group) in [(&network.client, "Udp:"), (&network.server, "Udp:")] {
        assert_eq!(side.counted("snmp", group, "InCsumErrors"), 0);
    }
}

/// Loses every so manyth packet, and lets every so manyth wait until two others have passed.
fn lossy(lost: usize, late: usize) -> impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static {
    let mut count = 0;
    let mut held: Option<(usize, Vec<u8>)> = None;
    move |packet| {
        count += 1;
        if count % lost == 0 {
            return Vec::new();
        }
        if count % late == 0 && held.is_none() {
            held = Some((count, packet));
            return Vec::new();
        }
        let mut out = vec![packet];
        if held.as_ref().is_some_and(|(since, _)| count >= since + 2) {
            out.extend(held.take().map(|(_, packet)| packet));
        }
        out
    }
}

#[test]
fn tcp_outlives_losses_and_reordering_in_both_directions() {
    let network = Network::new();
    let (_relay, _router) = Relay::with_router(&network, lossy(97, 13), lossy(89, 11));
    let rules = RULES.replace("scrub in all", "scrub all reassemble tcp");
    let mut firewall = Firewall::with_rules(&network, &rules);
    for server in [SERVER_V4, SERVER_V6] {
        let at = SocketAddr::new(server.parse().unwrap(), 7000).to_string();
        let mut connection = Connection::open(&network.client, &at, &network.server, &at);
        connection.transfer_both_ways(2 << 20);
        connection.echo().unwrap();
    }
    for side in [&network.client, &network.server] {
        assert!(side.counted("snmp", "Tcp:", "RetransSegs") > 0, "something was lost");
        assert!(
            side.counted("netstat", "TcpExt:", "TCPOFOQueue") > 0,
            "and out of order"
        );
        assert_eq!(side.counted("snmp", "Tcp:", "InCsumErrors"), 0, "no checksum was wrong");
    }
    assert_eq!(firewall.states().len(), 4);
}
