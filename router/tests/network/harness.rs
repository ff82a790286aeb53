//! What the network tests stand on: namespaces, a client and a server in them, and the router between.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;
use pf::wire::checksum::Sum;
use pf::wire::icmp::Header;
use serde_json::Value;
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CLIENT_V4: &str = "10.0.0.2";
pub(crate) const CLIENT_V6: &str = "fd00:1::2";
pub(crate) const SERVER_V4: &str = "198.51.100.2";
pub(crate) const SERVER_V6: &str = "fd00:2::2";
/// The router's addresses on the client's side and on the server's.
pub(crate) const LAN_V4: &str = "10.0.0.1";
pub(crate) const LAN_V6: &str = "fd00:1::1";
pub(crate) const WAN_V4: &str = "198.51.100.1";
pub(crate) const WAN_V6: &str = "fd00:2::1";

/// A network namespace without a name, which goes when nobody uses it any more.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let namespace = thread::spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                panic!("the network tests need root, to make network namespaces: {error}");
            }
            if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
                panic!("the network tests need /dev/net/tun: {error}");
            }
            Namespace(File::open("/proc/thread-self/ns/net").expect("/proc is mounted"))
        });
        let namespace = namespace.join().unwrap_or_else(|panic| resume_unwind(panic));
        namespace.ip("link set lo up");
        namespace
    }

    /// A path by which another process of root's finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something in it. What is opened there stays there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A UDP socket in it, from one of its addresses to `to`, that hears of errors.
    pub(crate) fn udp(&self, from: &str, to: (&str, u16)) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind((from, 0))).expect("the address is there");
        // For IPv6 it can be had too, but not by nix: there, only what is refused is heard of.
        if !from.contains(':') {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("it is a socket for IPv4");
        }
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(to).expect("there is a route");
        socket
    }

    /// A UDP socket in it, at an address and a port.
    pub(crate) fn udp_at(&self, address: &str, port: u16) -> UdpSocket {
        let socket = self
            .run(|| UdpSocket::bind((address, port)))
            .expect("the address is there");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Waits until the kernel sends on a device, and owns its addresses: some time after a process has opened it.
    pub(crate) fn wait_for_link(&self, device: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ip(&format!("-o link show dev {device}")).contains(" state UP ")
            || !self
                .ip(&format!("-6 -o address show dev {device} tentative"))
                .is_empty()
        {
            assert!(Instant::now() < deadline, "{device} does not come up");
            thread::yield_now();
        }
    }

    /// ip(8) in it. Gives what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.command("ip", arguments)
    }

    /// tc(8) in it.
    pub(crate) fn tc(&self, arguments: &str) {
        self.command("tc", arguments);
    }

    /// A program of iproute2.
    fn command(&self, program: &str, arguments: &str) -> String {
        let output = self.run(|| Command::new(program).args(arguments.split_whitespace()).output());
        let output = output.unwrap_or_else(|error| panic!("the network tests need {program}(8), of iproute2: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("it writes text")
    }

    /// Sets what sysctl(8) calls `name`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        self.run(|| std::fs::write(&path, value))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// What its stack has counted: a column of /proc/net/snmp or netstat.
    pub(crate) fn counted(&self, file: &str, group: &str, column: &str) -> u64 {
        let text = self
            .run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))
            .unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with(group));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names.split(' ').position(|name| name == column).unwrap();
        values.split(' ').nth(at).unwrap().parse().unwrap()
    }

    /// Sends an echo request with this TTL and gives the ICMP message that comes in answer to it.
    pub(crate) fn ping(&self, dst: &str, ttl: u8) -> Answer {
        let dst: IpAddr = dst.parse().unwrap();
        self.run(|| match dst {
            IpAddr::V4(dst) => ping_v4(dst, ttl),
            IpAddr::V6(dst) => ping_v6(dst, ttl),
        })
        .unwrap_or_else(|error| panic!("ping {dst}: {error}"))
    }

    /// Sends a datagram from `src` to a port where nobody is, as traceroute(8) does, and gives the ICMP error that quotes it.
    pub(crate) fn probe(&self, src: &str, dst: &str, ttl: u8) -> Answer {
        let probe = UdpProbe {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            ttl,
        };
        self.run(|| probe.send())
            .unwrap_or_else(|error| panic!("probe {dst}: {error}"))
    }

    /// Whether `dst` answers an echo request.
    pub(crate) fn reaches(&self, dst: &str) -> bool {
        let reply = if dst.contains(':') { 129 } else { 0 };
        let answer = self.ping(dst, 64);
        answer.kind == reply && answer.from == dst.parse::<IpAddr>().unwrap()
    }
}

/// An ICMP or ICMPv6 message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) from: IpAddr,
    pub(crate) kind: u8,
    pub(crate) code: u8,
}

const ECHO_ID: u16 = 0x7066;

/// Does a system call again that was interrupted.
pub(crate) fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => (),
            done => return done,
        }
    }
}

/// Whether a received message is about our echo request: its reply, or an error that quotes it.
fn is_about_ours(message: &[u8], ip_header: usize) -> bool {
    let ours = |bytes: &[u8]| Header::ref_from_prefix(bytes).is_ok_and(|(header, _)| header.id.get() == ECHO_ID);
    match message.first() {
        Some(0 | 129) => ours(message),
        Some(1 | 2 | 3 | 11) => message.get(8 + ip_header..).is_some_and(ours),
        _ => false,
    }
}

fn ping_v4(dst: Ipv4Addr, ttl: u8) -> nix::Result<Answer> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Icmp,
    )?;
    setsockopt(&socket, sockopt::Ipv4Ttl, &ttl.into())?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(PATIENCE.as_secs() as i64),
    )?;
    let mut request = Header::new(8, 0, u32::from(ECHO_ID) << 16 | 1);
    request.checksum = Sum::new().with(request.as_bytes()).checksum().into();
    let to = SockaddrIn::from(std::net::SocketAddrV4::new(dst, 0));
    sendto(socket.as_raw_fd(), request.as_bytes(), &to, MsgFlags::empty())?;
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = again(|| recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut buffer))?;
        // A raw socket for IPv4 gives the IP header too.
        let message = &buffer[20..len];
        if is_about_ours(message, 20) {
            let from = from.ok_or(Errno::EPROTO)?.ip().into();
            return Ok(Answer {
                from,
                kind: message[0],
                code: message[1],
            });
        }
    }
}

fn ping_v6(dst: Ipv6Addr, ttl: u8) -> nix::Result<Answer> {
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::IcmpV6,
    )?;
    setsockopt(&socket, sockopt::Ipv6Ttl, &ttl.into())?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(PATIENCE.as_secs() as i64),
    )?;
    // The kernel computes the checksum.
    let request = Header::new(128, 0, u32::from(ECHO_ID) << 16 | 1);
    let to = SockaddrIn6::from(std::net::SocketAddrV6::new(dst, 0, 0, 0));
    sendto(socket.as_raw_fd(), request.as_bytes(), &to, MsgFlags::empty())?;
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = again(|| recvfrom::<SockaddrIn6>(socket.as_raw_fd(), &mut buffer))?;
        let message = &buffer[..len];
        if is_about_ours(message, 40) {
            let from = from.ok_or(Errno::EPROTO)?.ip().into();
            return Ok(Answer {
                from,
                kind: message[0],
                code: message[1],
            });
        }
    }
}

/// A datagram that is not to arrive.
struct UdpProbe {
    src: IpAddr,
    dst: IpAddr,
    ttl: u8,
}

impl UdpProbe {
    /// The port of traceroute(8).
    const PORT: u16 = 33_434;

    fn send(&self) -> io::Result<Answer> {
        let (family, protocol) = match self.dst {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let errors = socket(family, SockType::Raw, SockFlag::empty(), protocol)?;
        setsockopt(
            &errors,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(PATIENCE.as_secs() as i64),
        )?;
        let sender = UdpSocket::bind((self.src, 0))?;
        match self.dst {
            IpAddr::V4(_) => setsockopt(&sender, sockopt::Ipv4Ttl, &self.ttl.into())?,
            IpAddr::V6(_) => setsockopt(&sender, sockopt::Ipv6Ttl, &self.ttl.into())?,
        }
        sender.send_to(b"who is there?", (self.dst, Self::PORT))?;
        // What an error is to quote: our own addresses and ports.
        let port = sender.local_addr()?.port();
        let ports = [port.to_be_bytes(), Self::PORT.to_be_bytes()].concat();
        let mut buffer = [0; 2048];
        loop {
            let (len, from): (usize, IpAddr) = match self.dst {
                IpAddr::V4(_) => {
                    let (len, from) = again(|| recvfrom::<SockaddrIn>(errors.as_raw_fd(), &mut buffer))?;
                    (len, from.ok_or(Errno::EPROTO)?.ip().into())
                }
                IpAddr::V6(_) => {
                    let (len, from) = again(|| recvfrom::<SockaddrIn6>(errors.as_raw_fd(), &mut buffer))?;
                    (len, from.ok_or(Errno::EPROTO)?.ip().into())
                }
            };
            // A raw socket for IPv4 gives the IP header too. The quoted one begins 8 bytes behind the ICMP header.
            let (message, addresses, header) = match (self.src, self.dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => (&buffer[20..len], [src.octets(), dst.octets()].concat(), 20),
                (IpAddr::V6(src), IpAddr::V6(dst)) => (&buffer[..len], [src.octets(), dst.octets()].concat(), 40),
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            let quoted = message.get(8..).unwrap_or_default();
            let ends = quoted.get(header - addresses.len()..header + 4).unwrap_or_default();
            if ends == [addresses, ports.clone()].concat() {
                return Ok(Answer {
                    from,
                    kind: message[0],
                    code: message[1],
                });
            }
        }
    }
}

/// A client on one side, a server on the other, and place for a router between them.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    dir: TempDir,
}

impl Network {
    /// Devices that stay when the router goes, with addresses, and the client's default route.
    pub(crate) fn new() -> Self {
        let (client, server) = (Namespace::new(), Namespace::new());
        for (namespace, device, v4, v6) in [
            (&client, "lan0", CLIENT_V4, CLIENT_V6),
            (&server, "wan0", SERVER_V4, SERVER_V6),
        ] {
            namespace.ip(&format!("tuntap add dev {device} mode tun"));
            namespace.ip(&format!("address add {v4}/24 dev {device}"));
            namespace.ip(&format!("-6 address add {v6}/64 dev {device} nodad"));
            namespace.ip(&format!("link set {device} up"));
        }
        client.ip(&format!("route add default via {LAN_V4}"));
        client.ip(&format!("-6 route add default via {LAN_V6}"));
        Network {
            client,
            server,
            dir: tempfile::tempdir().expect("there is place for temporary files"),
        }
    }

    /// Lets the server send to the client's own addresses.
    pub(crate) fn with_way_back(self) -> Self {
        self.server.ip(&format!("route add 10.0.0.0/24 via {WAN_V4}"));
        self.server.ip(&format!("-6 route add fd00:1::/64 via {WAN_V6}"));
        self
    }

    /// Where the router's control socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("pf.sock")
    }

    /// The arguments of a router between client and server.
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec![
            format!(
                "--interface=lan0,netns={},address={LAN_V4}/24,address={LAN_V6}/64",
                self.client.path()
            ),
            format!(
                "--interface=wan0,netns={},address={WAN_V4}/24,address={WAN_V6}/64",
                self.server.path()
            ),
            format!("--route=default,via={SERVER_V4}"),
            format!("--socket={}", self.socket().display()),
            "--log=json".into(),
        ]
    }

    /// A router between client and server, that is up.
    pub(crate) fn router(&self) -> Router {
        self.router_with(&self.arguments())
    }

    /// The same with other arguments.
    pub(crate) fn router_with(&self, arguments: &[String]) -> Router {
        let router = Router::start(arguments);
        self.client.wait_for_link("lan0");
        self.server.wait_for_link("wan0");
        router
    }
}

/// A running pf-router. It is killed with the value.
pub(crate) struct Router {
    child: Child,
    log: Receiver<Value>,
    reader: JoinHandle<()>,
    /// All that was read from the log so far.
    seen: Vec<Value>,
}

impl Router {
    /// Starts a router and waits until it is up.
    pub(crate) fn start(arguments: &[String]) -> Self {
        let mut router = Self::spawn(arguments);
        router.wait_for("pf-router is up");
        router
    }

    /// Starts a router that logs JSON.
    pub(crate) fn spawn(arguments: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pf-router"))
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("pf-router can be started");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (send, log) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Router {
            child,
            log,
            reader,
            seen: Vec::new(),
        }
    }

    /// Waits for a line of log whose message begins with `message`, and gives its fields.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("pf-router did not log `{message}`, but: {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            let fields = &line["fields"];
            if fields["message"]
                .as_str()
                .is_some_and(|found| found.starts_with(message))
            {
                return fields.clone();
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the router is there");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // The log ends when the process does.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.child.wait().expect("it is our child"),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("pf-router does not end: {:#?}", self.seen),
            }
        }
    }

    /// Stops reading its log, and waits for its end.
    pub(crate) fn end_unread(mut self) -> ExitStatus {
        self.log = mpsc::channel().1;
        // The reader ends with the next line, and closes the pipe; what is logged at the end finds nobody.
        self.signal(Signal::SIGUSR1);
        while !self.reader.is_finished() {
            thread::yield_now();
        }
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("it is our child")
    }

    /// All lines of log until now.
    pub(crate) fn log(&self) -> &[Value] {
        &self.seen
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Receives a datagram.
pub(crate) fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    receive_from(socket).map(|(bytes, _)| bytes)
}

/// Receives a datagram, and says who sent it.
pub(crate) fn receive_from(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
            Ok((len, from)) => {
                buffer.truncate(len);
                return Ok((buffer, from));
            }
        }
    }
}

/// A TCP connection from the client's side to the server's, as the two programs have it.
pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    /// Who the server sees.
    pub(crate) seen_from: SocketAddr,
}

impl Connection {
    /// Connects from `client` to `address`, where `server` listens on `at`.
    pub(crate) fn open(client: &Namespace, address: &str, server: &Namespace, at: &str) -> Self {
        let listener = server.run(|| TcpListener::bind(at)).expect("the server can listen");
        let address: SocketAddr = address.parse().unwrap();
        let stream = client
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))
            .expect("the client can connect");
        let (accepted, seen_from) = listener.accept().expect("the server sees the connection");
        for side in [&stream, &accepted] {
            side.set_read_timeout(Some(PATIENCE)).unwrap();
            side.set_write_timeout(Some(PATIENCE)).unwrap();
            side.set_nodelay(true).unwrap();
        }
        Connection {
            client: stream,
            server: accepted,
            seen_from,
        }
    }

    /// Passes `len` bytes from the client to the server, and sees that they arrive as they were sent.
    pub(crate) fn transfer(&mut self, len: usize) {
        let byte = |i: usize| (i * 31 + i / 251) as u8;
        let client = &mut self.client;
        thread::scope(|scope| {
            scope.spawn(move || {
                let bytes: Vec<u8> = (0..len).map(byte).collect();
                client.write_all(&bytes).expect("the client can write");
            });
            let mut received = vec![0; len];
            self.server
                .read_exact(&mut received)
                .expect("the server receives it all");
            assert!(
                received.iter().enumerate().all(|(i, &found)| found == byte(i)),
                "the bytes are the same"
            );
        });
    }

    /// Passes `len` bytes from each side to the other at once, and sees that they arrive as they were sent.
    pub(crate) fn transfer_both_ways(&mut self, len: usize) {
        /// What is sent is made as it goes, in parts of this many bytes.
        const PART: usize = 1 << 16;
        fn part(from: usize, len: usize, seed: usize) -> Vec<u8> {
            let byte = |i: usize| (i * 31 + i / 251 + (i >> 16) * 7 + seed) as u8;
            (from..from + len).map(byte).collect()
        }
        let len_at = |from: usize| PART.min(len - from);
        thread::scope(|scope| {
            for (seed, side) in [&self.client, &self.server].into_iter().enumerate() {
                scope.spawn(move || {
                    let mut side = side;
                    for from in (0..len).step_by(PART) {
                        side.write_all(&part(from, len_at(from), seed)).expect("it can be sent");
                    }
                });
                scope.spawn(move || {
                    let mut side = side;
                    for from in (0..len).step_by(PART) {
                        let mut received = vec![0; len_at(from)];
                        side.read_exact(&mut received).expect("it is received");
                        assert!(received == part(from, len_at(from), 1 - seed), "the bytes are the same");
                    }
                });
            }
        });
    }

    /// Sees that a few bytes go to the server and back.
    pub(crate) fn echo(&mut self) -> io::Result<()> {
        self.client.write_all(b"are you there?")?;
        let mut buffer = [0; 14];
        self.server.read_exact(&mut buffer)?;
        self.server.write_all(&buffer)?;
        self.client.read_exact(&mut buffer)?;
        assert_eq!(&buffer, b"are you there?");
        Ok(())
    }
}
