//! Rules and states, as programs on both sides see them.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use pf_abi::{IfName, Reason};

use crate::firewall::Firewall;
use crate::harness::*;

/// Whatever the client begins is answered; all else is dropped.
const STATEFUL: &str = "
    block all
    pass in on lan0 proto tcp from any to any port 7000 flags S/SA keep state
    pass in on lan0 proto { udp, icmp, icmp6 } from any to any keep state
    pass out on wan0 from any to any keep state
";

#[test]
fn what_a_rule_blocks_does_not_arrive() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let rules = "
        block all
        pass quick proto udp from any to any port 7002 no state
        block quick proto udp from any to any port 7001
    ";
    let mut firewall = Firewall::with_rules(&network, rules);
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        let [blocked, passed] = [7001, 7002].map(|port| network.server.udp_at(server, port));
        let [to_blocked, to_passed] = [7001, 7002].map(|port| network.client.udp(client, (server, port)));
        to_blocked.send(b"not this one").unwrap();
        to_passed.send(b"this one").unwrap();
        assert_eq!(receive(&passed).unwrap(), b"this one");
        blocked.set_nonblocking(true).unwrap();
        assert_eq!(receive(&blocked).unwrap_err().kind(), ErrorKind::WouldBlock, "{server}");
    }
    assert_eq!(firewall.status().states, 0);
}

#[test]
fn a_state_lets_answers_through_and_nothing_else() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, STATEFUL);
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        // The server may not begin: what it sends is counted, and the client never sees it.
        let inside = network.client.udp_at(client, 7003);
        let begin = network.server.udp_at(server, 7003);
        let before = firewall.count(Reason::Match);
        begin.send_to(b"let me in", (client, 7003)).unwrap();
        firewall.wait_for_more(Reason::Match, before);
        inside.set_nonblocking(true).unwrap();
        assert_eq!(receive(&inside).unwrap_err().kind(), ErrorKind::WouldBlock);
        // What the client begins, the server may answer.
        inside.set_nonblocking(false).unwrap();
        inside.send_to(b"how are you?", (server, 7003)).unwrap();
        assert_eq!(receive(&begin).unwrap(), b"how are you?");
        begin.send_to(b"well", (client, 7003)).unwrap();
        assert_eq!(receive(&inside).unwrap(), b"well");
        assert!(network.client.reaches(server));
    }
}

#[test]
fn tcp_with_window_scaling_goes_through_its_states() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, STATEFUL);
    for address in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        let at = format!("{address}:7000");
        let mut connection = Connection::open(&network.client, &at, &network.server, &at);
        connection.transfer(16 << 20);
        connection.echo().unwrap();
    }
    assert_eq!(
        firewall.states().len(),
        4,
        "one for each side of the router and connection"
    );
    assert_eq!(firewall.count(Reason::StateMismatch), 0);
}

#[test]
fn a_skipped_interface_is_not_filtered_and_the_others_are() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, "set skip on lan0\nblock all\npass out on wan0 keep state");
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        assert!(network.client.reaches(server));
        assert!(
            network
                .client
                .reaches(if server == SERVER_V4 { LAN_V4 } else { LAN_V6 })
        );
        let before = firewall.count(Reason::Match);
        let begin = network.server.udp_at(server, 7003);
        begin.send_to(b"let me in", (client, 7003)).unwrap();
        firewall.wait_for_more(Reason::Match, before);
    }
    assert!(
        firewall
            .states()
            .iter()
            .all(|state| state.ifname != IfName::new("lan0").unwrap())
    );
}

#[test]
fn time_exceeded_comes_back_through_the_filter() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, STATEFUL);
    for (server, router, kind) in [(SERVER_V4, LAN_V4, 11), (SERVER_V6, LAN_V6, 3)] {
        let answer = network.client.ping(server, 1);
        assert_eq!((answer.from, answer.kind), (router.parse().unwrap(), kind));
    }
}

#[test]
fn return_rst_refuses_a_connection_at_once() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, "pass all no state\nblock return-rst in on lan0 proto tcp all");
    for server in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        let address: SocketAddr = format!("{server}:7001").parse().unwrap();
        // Somebody listens there: only the filter can refuse it.
        let _listener = network.server.run(|| TcpListener::bind(address)).unwrap();
        let error = network
            .client
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{server}");
    }
}

#[test]
fn return_icmp_tells_a_sender_what_it_says() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, "block return-icmp in on lan0 proto udp all");
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        // Somebody listens there: only the filter can refuse it.
        let _listener = network.server.udp_at(server, 7001);
        let socket = network.client.udp(client, (server, 7001));
        socket.send(b"hello?").unwrap();
        assert_eq!(
            receive(&socket).unwrap_err().kind(),
            ErrorKind::ConnectionRefused,
            "{server}"
        );
    }
    firewall.load("block return-icmp(host-unr) in on lan0 proto udp all");
    let socket = network.client.udp(CLIENT_V4, (SERVER_V4, 7001));
    socket.send(b"hello?").unwrap();
    assert_eq!(receive(&socket).unwrap_err().kind(), ErrorKind::HostUnreachable);
}
