//! The router's own duties, with the packet filter disabled.

use std::net::IpAddr;

use crate::harness::*;

fn answer(from: &str, kind: u8, code: u8) -> Answer {
    let from: IpAddr = from.parse().unwrap();
    Answer { from, kind, code }
}

#[test]
fn ping_passes_both_ways_and_the_router_answers_too() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    for address in [SERVER_V4, SERVER_V6, LAN_V4, LAN_V6, WAN_V4, WAN_V6] {
        assert!(network.client.reaches(address), "{address}");
    }
    for address in [CLIENT_V4, CLIENT_V6, LAN_V4, LAN_V6, WAN_V4, WAN_V6] {
        assert!(network.server.reaches(address), "{address}");
    }
}

#[test]
fn every_hop_can_be_traced() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    assert_eq!(network.client.ping(SERVER_V4, 1), answer(LAN_V4, 11, 0));
    assert_eq!(network.client.ping(SERVER_V4, 2), answer(SERVER_V4, 0, 0));
    assert_eq!(network.client.ping(SERVER_V6, 1), answer(LAN_V6, 3, 0));
    assert_eq!(network.client.ping(SERVER_V6, 2), answer(SERVER_V6, 129, 0));
    assert_eq!(network.server.ping(CLIENT_V4, 1), answer(WAN_V4, 11, 0));
}

#[test]
fn what_leads_nowhere_is_answered() {
    let network = Network::new();
    let _router = network.router();
    // IPv4 has a default route, which leads back to where it came from.
    network.server.ip(&format!("route add 203.0.113.0/24 via {WAN_V4}"));
    assert_eq!(network.server.ping("203.0.113.1", 64), answer(WAN_V4, 3, 1));
    assert_eq!(network.client.ping("2001:db8::1", 64), answer(LAN_V6, 1, 0));
}

#[test]
fn tcp_passes_in_both_families() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    for (address, seen) in [(SERVER_V4.to_owned(), CLIENT_V4), (format!("[{SERVER_V6}]"), CLIENT_V6)] {
        let at = format!("{address}:7000");
        let mut connection = Connection::open(&network.client, &at, &network.server, &at);
        assert_eq!(connection.seen_from.ip(), seen.parse::<IpAddr>().unwrap());
        connection.transfer(8 << 20);
        connection.echo().unwrap();
    }
}

/// A network whose server's side takes 1300 bytes, and whose client does not know.
fn narrow() -> (Network, Router) {
    let network = Network::new().with_way_back();
    let mut arguments = network.arguments();
    arguments[1] += ",mtu=1300";
    let router = network.router_with(&arguments);
    (network, router)
}

#[test]
fn who_sends_too_much_learns_the_mtu() {
    let (network, _router) = narrow();
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        let receiver = network.server.udp_at(server, 7000);
        let sender = network.client.udp(client, (server, 7000));
        sender.send(&[1; 1400]).unwrap();
        assert!(network.client.reaches(server), "what comes after it has passed");
        // The first one told the sender's kernel, which may say so once, and cuts to fit from then on.
        let _ = sender.take_error();
        sender.send(&[2; 1400]).unwrap();
        assert_eq!(receive(&receiver).unwrap(), [2; 1400], "the first one did not fit");
    }
}

#[test]
fn what_may_be_cut_arrives_whole() {
    let (network, _router) = narrow();
    // Packets without Don't Fragment.
    network.client.sysctl("net.ipv4.ip_no_pmtu_disc", "1");
    let receiver = network.server.udp_at(SERVER_V4, 7000);
    let sender = network.client.udp(CLIENT_V4, (SERVER_V4, 7000));
    let sent: Vec<u8> = (0..1472).map(|i| i as u8).collect();
    sender.send(&sent).unwrap();
    assert_eq!(receive(&receiver).unwrap(), sent);
}

#[test]
fn udp_for_the_router_is_refused() {
    let network = Network::new();
    let _router = network.router();
    for (client, router) in [(CLIENT_V4, LAN_V4), (CLIENT_V6, LAN_V6)] {
        let socket = network.client.udp(client, (router, 33434));
        socket.send(b"traceroute").unwrap();
        let error = receive(&socket).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
