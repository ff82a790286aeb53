//! nat and rdr: the server has no route to the client's network, so that what comes back has been translated.

use std::io::ErrorKind;
use std::net::IpAddr;

use crate::firewall::Firewall;
use crate::harness::*;

const NAT: &str = "
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    block all
    pass in on lan0 inet proto tcp from 10.0.0.0/24 to any flags S/SA keep state
    pass in on lan0 inet proto { udp, icmp } from 10.0.0.0/24 to any keep state
    pass out on wan0 inet from 198.51.100.1 to any keep state
";

#[test]
fn nat_hides_the_inside_behind_the_routers_address() {
    let network = Network::new();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, NAT);
    let wan: IpAddr = WAN_V4.parse().unwrap();

    let at = format!("{SERVER_V4}:7000");
    let mut connection = Connection::open(&network.client, &at, &network.server, &at);
    assert_eq!(connection.seen_from.ip(), wan);
    connection.transfer(4 << 20);
    connection.echo().unwrap();

    let server = network.server.udp_at(SERVER_V4, 7000);
    let client = network.client.udp(CLIENT_V4, (SERVER_V4, 7000));
    client.send(b"who am I?").unwrap();
    let (_, from) = receive_from(&server).unwrap();
    assert_eq!(from.ip(), wan);
    server.send_to(from.to_string().as_bytes(), from).unwrap();
    assert_eq!(receive(&client).unwrap(), from.to_string().as_bytes());

    assert!(network.client.reaches(SERVER_V4));
}

#[test]
fn connections_from_the_same_port_are_told_apart() {
    let network = Network::new();
    network.client.ip("address add 10.0.0.3/24 dev lan0");
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, NAT);
    let server = network.server.udp_at(SERVER_V4, 7000);
    let clients = ["10.0.0.2", "10.0.0.3"].map(|address| {
        let socket = network.client.udp_at(address, 5000);
        socket.send_to(address.as_bytes(), (SERVER_V4, 7000)).unwrap();
        socket
    });
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (bytes, from) = receive_from(&server).unwrap();
        seen.push(from);
        server.send_to(&bytes, from).unwrap();
    }
    assert_ne!(seen[0], seen[1]);
    for (socket, address) in clients.iter().zip(["10.0.0.2", "10.0.0.3"]) {
        assert_eq!(receive(socket).unwrap(), address.as_bytes());
    }
}

#[test]
fn rdr_leads_from_the_outside_to_a_server_inside() {
    let network = Network::new();
    let _router = network.router();
    let rules = "
        rdr on wan0 inet proto tcp from any to 198.51.100.1 port 8080 -> 10.0.0.2 port 7000
        block all
        pass in on wan0 inet proto tcp from any to 10.0.0.2 port 7000 flags S/SA keep state
        pass out on lan0 inet proto tcp from any to 10.0.0.2 port 7000 flags S/SA keep state
    ";
    let _firewall = Firewall::with_rules(&network, rules);
    let (outside, inside) = (format!("{WAN_V4}:8080"), format!("{CLIENT_V4}:7000"));
    let mut connection = Connection::open(&network.server, &outside, &network.client, &inside);
    assert_eq!(connection.seen_from.ip(), SERVER_V4.parse::<IpAddr>().unwrap());
    connection.transfer(4 << 20);
    connection.echo().unwrap();
}

#[test]
fn unreachable_from_the_server_finds_its_way_back() {
    let network = Network::new();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, NAT);
    // Nobody listens: the server says so to the router's address, about a packet from there.
    let socket = network.client.udp(CLIENT_V4, (SERVER_V4, 7009));
    socket.send(b"anybody?").unwrap();
    assert_eq!(receive(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_hop_behind_the_nat_can_be_traced() {
    let network = Network::new();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, NAT);
    // The server is a router too. Where it leads does not matter: the packet dies there.
    network.server.sysctl("net.ipv4.ip_forward", "1");
    let beyond = "203.0.113.9";
    network.server.ip("route add 203.0.113.0/24 dev lo");
    for (ttl, hop) in [(1, LAN_V4), (2, SERVER_V4)] {
        let answer = network.client.ping(beyond, ttl);
        assert_eq!((answer.from, answer.kind), (hop.parse().unwrap(), 11), "TTL {ttl}");
    }
}
