//! Tables that rules fill: who connects too often is out, with all that he has.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::firewall::Firewall;
use crate::harness::*;

const RULES: &str = "
    table <bad> persist
    block all
    pass in on lan0 proto tcp to port 7000 keep state (max-src-conn-rate 5/600, overload <bad> flush global)
    pass in on lan0 proto tcp to port 7001 keep state
    pass out on wan0 proto tcp keep state
    block return in quick on lan0 from <bad>
";

const GOOD: &str = CLIENT_V4;
const BAD: &str = "10.0.0.66";

/// Connects to a port of the server's from one of the client's addresses.
fn open(network: &Network, from: &str, port: u16) -> Result<TcpStream> {
    let address = |text: &str, port| SockaddrIn::from(SocketAddrV4::new(text.parse().unwrap(), port));
    network.client.run(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
        bind(socket.as_raw_fd(), &address(from, 0))?;
        connect(socket.as_raw_fd(), &address(SERVER_V4, port))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    })
}

/// Sees that the other end says the same.
fn echo(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"ping")?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)
}

#[test]
fn who_connects_too_often_is_out_with_all_that_he_has() {
    let network = Network::new().with_way_back();
    network.client.ip(&format!("address add {BAD}/24 dev lan0"));
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, RULES);
    for port in [7000, 7001] {
        let at: SocketAddr = format!("{SERVER_V4}:{port}").parse().unwrap();
        let listener = network.server.run(|| TcpListener::bind(at)).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut word = [0; 4];
                    while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
                });
            }
        });
    }
    let mut good: Vec<TcpStream> = (0..5).map(|_| open(&network, GOOD, 7000).unwrap()).collect();
    let mut bad = vec![open(&network, BAD, 7001).unwrap()];
    bad.extend((0..5).map(|_| open(&network, BAD, 7000).unwrap()));
    for stream in good.iter_mut().chain(&mut bad) {
        echo(stream).expect("five are not too many, and the other rule does not count");
    }
    assert_eq!(firewall.table("bad"), [""; 0]);

    // Its handshake ends as far as the client sees.
    let _sixth = open(&network, BAD, 7000).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while firewall.table("bad") != [BAD] {
        assert!(Instant::now() < deadline, "he is not in the table");
    }
    let error = open(&network, BAD, 7001).expect_err("he is blocked");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    for stream in &mut bad {
        // It goes with the next run of the purge.
        let error = loop {
            match echo(stream) {
                Ok(()) => assert!(Instant::now() < deadline, "what he had lives on"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    for stream in &mut good {
        echo(stream).expect("nobody else is touched");
    }
    firewall.empty_table("bad");
    echo(&mut open(&network, BAD, 7001).unwrap()).expect("he is let in again");
}
