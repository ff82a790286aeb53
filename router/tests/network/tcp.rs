//! `modulate state` and `synproxy state`, with real TCP stacks on both sides.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt, socket, sockopt,
};
use pf::wire::checksum::Sum;
use pf::wire::tcp::{Repr, Seq, TcpFlags};
use pf::wire::{Addr, Proto};
use pf_abi::{NO_RULE, PF_TCPS_PROXY_SRC, Reason};

use crate::firewall::Firewall;
use crate::harness::*;

const MODULATE: &str = "
    nat on wan0 inet from 10.0.0.0/24 to any -> 198.51.100.1
    block all
    pass in on lan0 proto tcp to port 7000 modulate state
    pass out on wan0 proto tcp to port 7000 modulate state
";

/// The server is protected, and the other interface has rules and states of its own.
const SYNPROXY: &str = "
    block all
    pass in on lan0 proto tcp to port 7000:7001 synproxy state
    pass out on wan0 proto tcp to port 7000:7001 keep state
";

#[test]
fn a_modulated_transfer_outlives_losses_and_a_restore() {
    const LEN: usize = 12 << 20;
    for (server, family) in [(SERVER_V4, "inet"), (SERVER_V6, "inet6")] {
        // While the filter of a new router is disabled, what passes untranslated must reach nobody who would reset it.
        let network = match family {
            "inet" => Network::new(),
            _ => Network::new().with_way_back(),
        };
        // A bottleneck with a short queue: what bursts into it is lost in part, and selectively acknowledged.
        network
            .client
            .tc("qdisc add dev lan0 root tbf rate 800mbit burst 64k limit 64k");
        let mut router = network.router();
        let mut firewall = Firewall::with_rules(&network, MODULATE);
        let at = SocketAddr::new(server.parse().unwrap(), 7000).to_string();
        let Connection { client, mut server, .. } = Connection::open(&network.client, &at, &network.server, &at);
        let byte = |i: usize| (i ^ i >> 8 ^ i >> 16) as u8;
        let sender = thread::spawn(move || {
            let mut client = client;
            for from in (0..LEN).step_by(1 << 16) {
                let part: Vec<u8> = (from..from + (1 << 16)).map(byte).collect();
                client.write_all(&part).expect("the transfer goes on");
            }
            let mut answer = [0; 4];
            client.read_exact(&mut answer).expect("the server answers");
            answer
        });
        let mut received = 0;
        let mut read = |len: usize| {
            let mut part = vec![0; len];
            server.read_exact(&mut part).expect("the transfer goes on");
            assert!(part.iter().zip(received..).all(|(&found, i)| found == byte(i)));
            received += len;
        };
        read(2 << 20);
        let dump = firewall.dump();
        let states = firewall.states();
        assert_eq!(states.len(), 2, "{family}");
        assert!(
            states
                .iter()
                .all(|state| state.src.seqdiff != 0 && state.dst.seqdiff != 0)
        );
        read(4 << 20);
        router.signal(Signal::SIGKILL);
        router.wait();
        let _router = network.router();
        let mut firewall = Firewall::with_rules(&network, MODULATE);
        assert_eq!(firewall.restore(&dump).loaded, 2);
        read(LEN - (6 << 20));
        server.write_all(b"done").unwrap();
        assert_eq!(&sender.join().unwrap(), b"done");
        assert!(network.client.counted("snmp", "Tcp:", "RetransSegs") > 0);
        assert!(
            network.client.counted("netstat", "TcpExt:", "TCPSackShiftFallback") > 0
                || network.client.counted("netstat", "TcpExt:", "TCPSackRecovery") > 0
                || network.client.counted("netstat", "TcpExt:", "TCPSackMerged") > 0,
            "nothing was selectively acknowledged"
        );
        assert_eq!(
            network.server.counted("snmp", "Tcp:", "InCsumErrors"),
            0,
            "no checksum was wrong"
        );
        assert_eq!(network.client.counted("snmp", "Tcp:", "InCsumErrors"), 0);
    }
}

#[test]
fn a_proxied_connection_carries_data_both_ways_in_both_families() {
    for server in [SERVER_V4, SERVER_V6] {
        let network = Network::new().with_way_back();
        let _router = network.router();
        let mut firewall = Firewall::with_rules(&network, SYNPROXY);
        let at = SocketAddr::new(server.parse().unwrap(), 7000).to_string();
        let mut connection = Connection::open(&network.client, &at, &network.server, &at);
        // The server speaks first.
        connection.server.write_all(b"220 ready").unwrap();
        let mut banner = [0; 9];
        connection.client.read_exact(&mut banner).unwrap();
        assert_eq!(&banner, b"220 ready");
        connection.transfer(8 << 20);
        connection.echo().unwrap();
        let states = firewall.states();
        assert_eq!(states.len(), 2, "each interface has its own");
        assert!(states.iter().any(|state| state.src.seqdiff != 0 && state.rule == 1));
        assert!(states.iter().all(|state| state.rule != NO_RULE));
        drop(connection.client);
        assert_eq!(connection.server.read(&mut [0; 1]).unwrap(), 0, "its end comes through");
        assert_eq!(network.server.counted("snmp", "Tcp:", "InCsumErrors"), 0);
        assert_eq!(network.client.counted("snmp", "Tcp:", "InCsumErrors"), 0);
    }
}

#[test]
fn a_port_that_the_server_refuses_is_reset_behind_the_proxy() {
    let network = Network::new().with_way_back();
    let _router = network.router();
    let _firewall = Firewall::with_rules(&network, SYNPROXY);
    let at: SocketAddr = format!("{SERVER_V4}:7001").parse().unwrap();
    // It is open as far as the proxy knows, until the server is heard.
    let outcome = network
        .client
        .run(|| TcpStream::connect_timeout(&at, PATIENCE))
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read(&mut [0; 1])
        });
    let error = outcome.expect_err("nobody is there");
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused),
        "{error}"
    );
}

/// A SYN over IPv4 from wherever.
fn syn(src: [u8; 4], dst: [u8; 4], port: u16) -> Vec<u8> {
    let segment = Repr {
        src_port: port,
        dst_port: 7000,
        seq: Seq(7),
        ack: Seq(0),
        flags: TcpFlags::SYN,
        window: 65_535,
        mss: Some(1460),
    };
    let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, Proto::TCP.0, 0, 0];
    packet.extend(src);
    packet.extend(dst);
    let sum = Sum::new().with(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.resize(44, 0);
    let (src, dst) = (Addr::from_v4(src), Addr::from_v4(dst));
    segment.emit(&src, &dst, &mut packet[20..]).unwrap();
    packet
}

#[test]
fn a_flood_of_syns_stays_with_the_proxy_and_clients_are_served() {
    /// More than the proxy keeps in mind.
    const FLOOD: u64 = 6000;
    let network = Network::new().with_way_back();
    let _router = network.router();
    let mut firewall = Firewall::with_rules(&network, SYNPROXY);
    let at = format!("{SERVER_V4}:7000");
    let listener = network.server.run(|| TcpListener::bind(&at)).unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(&word).unwrap();
        }
    });
    let heard = |network: &Network| network.server.counted("snmp", "Tcp:", "InSegs");
    let raw = network
        .client
        .run(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw))
        .unwrap();
    setsockopt(&raw, sockopt::SndBuf, &(1 << 20)).unwrap();
    let server: std::net::Ipv4Addr = SERVER_V4.parse().unwrap();
    let flood = |range: std::ops::Range<u32>| {
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(server, 0));
        for n in range {
            let [_, a, b, c] = n.to_be_bytes();
            let packet = syn([20, a, b, c], server.octets(), 1024 + (n % 60_000) as u16);
            // Where a queue is full, the packet is lost like any other.
            let _ = sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty());
        }
    };
    let before = heard(&network);
    let mut sent = 0;
    while firewall.count(Reason::Synproxy) < FLOOD {
        flood(sent..sent + 200);
        sent += 200;
    }
    assert_eq!(heard(&network), before, "the server has heard nothing");
    // A look that takes as long as others come and go counts some of both, until what is on its way has come.
    let deadline = std::time::Instant::now() + PATIENCE;
    let states = loop {
        let states = firewall.states();
        if states.len() <= 4096 {
            break states;
        }
        assert!(std::time::Instant::now() < deadline, "{}", states.len());
    };
    assert!(
        states
            .iter()
            .all(|state| state.src.state == PF_TCPS_PROXY_SRC || state.dst.state == PF_TCPS_PROXY_SRC)
    );
    // Clients come while it goes on.
    let to: SocketAddr = at.parse().unwrap();
    for n in 0..20 {
        flood(sent + n * 100..sent + (n + 1) * 100);
        let mut stream = network
            .client
            .run(|| TcpStream::connect_timeout(&to, PATIENCE))
            .expect("a client gets in");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).expect("it is served");
        assert_eq!(&word, b"ping");
    }
    echo.join().unwrap();
    assert_eq!(network.server.counted("snmp", "Tcp:", "PassiveOpens"), 20);
    assert!(firewall.states().len() <= 4096 + 40);
}
