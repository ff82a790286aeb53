//! Pools, source tracking and routes with real stacks: NAT over several addresses, load balancing, several uplinks.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Backlog, listen};
use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;

/// Connections that are open at once.
const CONNECTIONS: usize = 10_000;

/// Lets this process have as many files as it may.
fn want_files(wanted: u64) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        most >= wanted,
        "the network tests need {wanted} open files, and may have {most}: ulimit -Hn"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

#[test]
fn ten_thousand_connections_share_four_addresses() {
    want_files(CONNECTIONS as u64 + 2000);
    let network = Network::new();
    // The addresses are the router's side's, and no host's.
    network.server.ip("route add 192.0.2.0/30 dev wan0");
    // The server's stack has all connections open before its program takes the first: a file for each is enough.
    network.server.sysctl("net.core.somaxconn", "20000");
    let _router = network.router();
    let rules = "
        set limit states 50000
        nat on wan0 inet from 10.0.0.0/24 to any -> 192.0.2.0/30 round-robin
        pass
    ";
    let mut firewall = Firewall::with_rules(&network, rules);
    let at: SocketAddr = format!("{SERVER_V4}:7000").parse().unwrap();
    let listener = network.server.run(|| TcpListener::bind(at)).unwrap();
    listen(&listener, Backlog::MAXALLOWABLE).unwrap();
    let mut open: HashMap<u16, TcpStream> = network.client.run(|| {
        let connect = |_| {
            let mut client = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
            let port = client.local_addr().unwrap().port();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(&port.to_be_bytes()).unwrap();
            (port, client)
        };
        (0..CONNECTIONS).map(connect).collect()
    });
    assert_eq!(open.len(), CONNECTIONS);
    assert_eq!(firewall.status().states as usize, 2 * CONNECTIONS);
    // All of them live, no two have the same address and port, and none hears what is another's.
    let mut seen = HashMap::<IpAddr, HashSet<u16>>::new();
    for _ in 0..CONNECTIONS {
        let (mut server, from) = listener.accept().unwrap();
        assert!(seen.entry(from.ip()).or_default().insert(from.port()), "{from} twice");
        let mut port = [0; 2];
        server.read_exact(&mut port).unwrap();
        server.write_all(&from.port().to_be_bytes()).unwrap();
        let mut client = open
            .remove(&u16::from_be_bytes(port))
            .expect("nobody has said it before");
        let mut answer = [0; 2];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(u16::from_be_bytes(answer), from.port());
    }
    assert_eq!(seen.len(), 4);
    assert!(
        seen.values().all(|ports| ports.len() == CONNECTIONS / 4),
        "taken in turn"
    );
    assert_eq!(firewall.count(Reason::StateInsert), 0);
}

#[test]
fn clients_stay_with_their_server() {
    let network = Network::new();
    for host in 11..14 {
        network.client.ip(&format!("address add 10.0.0.{host}/24 dev lan0"));
    }
    for host in 21..25 {
        network.server.ip(&format!("address add 198.51.100.{host}/24 dev wan0"));
    }
    let _router = network.router();
    let rules = "
        rdr on wan0 inet proto udp from any to 198.51.100.1 port 7000 -> { 10.0.0.11, 10.0.0.12, 10.0.0.13 } \
            round-robin sticky-address
        pass
    ";
    let _firewall = Firewall::with_rules(&network, rules);
    let servers: Vec<UdpSocket> = (11..14)
        .map(|host| network.client.udp_at(&format!("10.0.0.{host}"), 7000))
        .collect();
    // Each server says who it is.
    std::thread::scope(|scope| {
        for server in &servers {
            scope.spawn(move || {
                let name = server.local_addr().unwrap().ip().to_string();
                while let Ok((bytes, from)) = receive_from(server) {
                    if bytes == b"enough" {
                        break;
                    }
                    server.send_to(name.as_bytes(), from).unwrap();
                }
            });
        }
        let ask = |host: u8| {
            let socket = network.server.udp(&format!("198.51.100.{host}"), (WAN_V4, 7000));
            socket.send(b"who are you?").unwrap();
            String::from_utf8(receive(&socket).unwrap()).unwrap()
        };
        let first: Vec<String> = (21..25).map(ask).collect();
        assert_eq!(first[..3], ["10.0.0.11", "10.0.0.12", "10.0.0.13"]);
        for _ in 0..5 {
            assert_eq!((21..25).map(ask).collect::<Vec<_>>(), first);
        }
        for server in &servers {
            let to = server.local_addr().unwrap();
            let end = network.client.udp(CLIENT_V4, (&to.ip().to_string(), to.port()));
            end.send(b"enough").unwrap();
        }
    });
}

/// A second way to the server: another device of its namespace, and the arguments of a router that has it.
fn second_uplink(network: &Network) -> Vec<String> {
    let server = &network.server;
    server.ip("tuntap add dev wan1 mode tun");
    server.ip("address add 203.0.113.2/24 dev wan1");
    server.ip("link set wan1 up");
    let mut arguments = network.arguments();
    arguments.push(format!(
        "--interface=wan1,netns={},address=203.0.113.1/24",
        server.path()
    ));
    arguments
}

#[test]
fn two_uplinks_share_the_load() {
    let network = Network::new();
    let arguments = second_uplink(&network);
    let _router = network.router_with(&arguments);
    network.server.wait_for_link("wan1");
    // A service that both uplinks lead to.
    network.server.ip("address add 192.0.2.80/32 dev lo");
    let rules = "
        nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
        nat on wan1 inet from 10.0.0.0/24 to any -> 203.0.113.1
        pass in on lan0 route-to { (wan0 198.51.100.2), (wan1 203.0.113.2) } round-robin inet from 10.0.0.0/24 to any
        pass out on { wan0 wan1 }
    ";
    let _firewall = Firewall::with_rules(&network, rules);
    let at = "192.0.2.80:7000";
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(&network.client, at, &network.server, at);
        seen.push(connection.seen_from.ip().to_string());
        connection.transfer(1 << 20);
        connection.echo().unwrap();
    }
    assert_eq!(seen, ["198.51.100.1", "203.0.113.1", "198.51.100.1", "203.0.113.1"]);
    // Where a packet dies on the way, its sender hears of it from the router.
    let answer = network.client.ping("192.0.2.80", 1);
    assert_eq!((answer.from, answer.kind), (LAN_V4.parse().unwrap(), 11));
}

#[test]
fn replies_leave_by_the_uplink_that_the_request_came_by() {
    let network = Network::new();
    let arguments = second_uplink(&network);
    let _router = network.router_with(&arguments);
    network.server.wait_for_link("wan1");
    // A client at the other end of wan1, to whom the router's table leads by wan0.
    network.server.ip("address add 192.0.2.9/32 dev lo");
    network.server.ip("route add 10.0.0.0/24 via 203.0.113.1 src 192.0.2.9");
    let mut firewall = Firewall::with_rules(
        &network,
        "
        pass in on wan1 reply-to (wan1 203.0.113.2) inet from any to 10.0.0.0/24
        pass out on lan0
        block out on wan0
        ",
    );
    let at = format!("{CLIENT_V4}:7000");
    let mut connection = Connection::open(&network.server, &at, &network.client, &at);
    assert_eq!(connection.seen_from.ip(), "192.0.2.9".parse::<IpAddr>().unwrap());
    connection.transfer(1 << 20);
    connection.echo().unwrap();
    // Without the rule, they would have to leave by wan0.
    firewall.load("pass in on wan1\npass out on lan0\npass in on lan0 no state\nblock out on wan0");
    drop(connection);
}
