//! Lock, dump and restore, with connections under way.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use nix::sys::signal::Signal;
use pf_abi::Reason;

use crate::firewall::Firewall;
use crate::harness::*;

const NAT: &str = "
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    block all
    pass in on lan0 inet proto tcp from 10.0.0.0/24 to any flags S/SA keep state
    pass out on wan0 inet proto tcp from 198.51.100.1 to any flags S/SA keep state
";

fn connect(network: &Network, port: u16) -> Connection {
    let at = format!("{SERVER_V4}:{port}");
    Connection::open(&network.client, &at, &network.server, &at)
}

/// Sees that the server has nothing to read from a connection right now.
fn is_silent(connection: &mut Connection) -> bool {
    connection.server.set_nonblocking(true).unwrap();
    let outcome = connection.server.read(&mut [0; 1]);
    connection.server.set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_lock_holds_connections_up_and_lets_them_go_on() {
    let network = Network::new();
    let _router = network.router();
    // Any segment might make a state, so that the lock, and not the rules, decides.
    let mut firewall = Firewall::with_rules(&network, &NAT.replace("S/SA", "any"));
    let mut connection = connect(&network, 7000);
    connection.echo().unwrap();

    firewall.set_lock(true);
    let before = firewall.count(Reason::StateLocked);
    connection.client.write_all(b"late").unwrap();
    // Its sender tries again and again; none of that may pass or be lost for good.
    firewall.wait_for_more(Reason::StateLocked, before + 1);
    assert!(is_silent(&mut connection));
    assert_eq!(firewall.states().len(), 2, "they are there, and can be read");

    firewall.set_lock(false);
    let mut late = [0; 4];
    connection.server.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"late");
    connection.transfer(1 << 20);
}

/// A transfer whose sender never waits: `read` takes the next so many bytes of it at the other end.
struct Stream {
    connection: Connection,
    received: usize,
}

const STREAM: usize = 256 << 20;

fn byte_of_stream(i: usize) -> u8 {
    (i ^ i >> 8 ^ i >> 16 ^ i >> 24) as u8
}

impl Stream {
    /// Starts sending. The sender ends when all is sent, or when the connection is closed.
    fn start(connection: Connection) -> Self {
        let mut client = connection.client.try_clone().unwrap();
        thread::spawn(move || {
            for at in (0..STREAM).step_by(1 << 16) {
                let part: Vec<u8> = (at..at + (1 << 16)).map(byte_of_stream).collect();
                if client.write_all(&part).is_err() {
                    return;
                }
            }
        });
        Stream {
            connection,
            received: 0,
        }
    }

    fn read(&mut self, len: usize) {
        let mut part = vec![0; len];
        self.connection
            .server
            .read_exact(&mut part)
            .expect("the transfer goes on");
        let expected = self.received..self.received + len;
        assert!(part.iter().zip(expected).all(|(&found, i)| found == byte_of_stream(i)));
        self.received += len;
    }
}

#[test]
fn connections_outlive_the_router_when_their_states_are_restored() {
    let network = Network::new();
    let mut router = network.router();
    let mut firewall = Firewall::with_rules(&network, NAT);
    let mut idle: Vec<Connection> = (0..5).map(|i| connect(&network, 7001 + i)).collect();
    let mut stream = Stream::start(connect(&network, 7000));
    stream.read(1 << 20);

    let dump = firewall.dump();
    assert_eq!(dump.states.len(), 12);
    // The dump grows old: the stream moves on by many windows.
    stream.read(128 << 20);

    router.signal(Signal::SIGKILL);
    router.wait();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, NAT);
    let summary = firewall.restore(&dump);
    assert_eq!(
        (summary.loaded, summary.refused_count(), summary.without_rule),
        (12, 0, 0)
    );

    stream.read(STREAM - stream.received);
    for connection in &mut idle {
        connection.echo().expect("an idle connection answers");
    }
    assert_eq!(firewall.states().len(), 12);
}

#[test]
fn without_the_restore_they_are_dead() {
    let network = Network::new();
    let mut router = network.router();
    let _firewall = Firewall::with_rules(&network, NAT);
    let mut connection = connect(&network, 7000);
    connection.echo().unwrap();

    router.signal(Signal::SIGKILL);
    router.wait();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, NAT);
    let before = firewall.count(Reason::Match);
    connection.client.write_all(b"anybody?").unwrap();
    // Each try of its sender's is blocked: no rule but the first fits the middle of a connection.
    firewall.wait_for_more(Reason::Match, before + 1);
    assert!(is_silent(&mut connection));
    assert_eq!(firewall.states().len(), 0);
    connect(&network, 7001).echo().expect("a new connection passes");
}
