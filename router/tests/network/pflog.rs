//! Logged packets, as tcpdump(8) reads them.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::firewall::Firewall;
use crate::harness::*;

const RULES: &str = "
    pass all no state
    block in log on lan0 proto udp from any to any port 4701
    pass in log (to pflog2) on lan0 proto udp from any to any port 4702 no state
";

/// How often a packet is sent again that nobody was there for.
const AGAIN: Duration = Duration::from_millis(50);

fn tcpdump(path: &Path) -> Command {
    let mut command = Command::new("tcpdump");
    command.args(["-nn", "-e", "-ttt", "-l", "-r"]).arg(path);
    command
}

/// A router whose logged packets go to `path`.
fn router(network: &Network, path: &Path) -> Router {
    let mut arguments = network.arguments();
    arguments.push(format!("--pflog={}", path.display()));
    network.router_with(&arguments)
}

/// A reader of a FIFO, and the lines that it prints.
struct Reader {
    child: Child,
    lines: Receiver<String>,
}

impl Reader {
    fn new(path: &Path) -> Self {
        let mut child = tcpdump(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the network tests need tcpdump(8)");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Reader { child, lines }
    }

    /// Sends until a line comes.
    fn next(&self, socket: &UdpSocket) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A refusal of what was sent before is no matter.
            let _ = socket.send(b"hello");
            if let Ok(line) = self.lines.recv_timeout(AGAIN) {
                return line;
            }
            assert!(Instant::now() < deadline, "no line comes");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tcpdump_reads_the_file_while_it_is_written() {
    let network = Network::new().with_way_back();
    let path = network.socket().with_file_name("pflog");
    let _router = router(&network, &path);
    let _firewall = Firewall::with_rules(&network, RULES);
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        for port in [4701, 4702] {
            network.client.udp(client, (server, port)).send(b"hello").unwrap();
        }
    }
    let wanted = [
        "rule 1/0(match): block in on lan0: 10.0.0.2.",
        "> 198.51.100.2.4701: UDP, length 5",
        "rule 2/0(match): pass in on lan0: 10.0.0.2.",
        "> 198.51.100.2.4702: UDP, length 5",
        "rule 1/0(match): block in on lan0: fd00:1::2.",
        "rule 2/0(match): pass in on lan0: fd00:1::2.",
        "> fd00:2::2.4702: UDP, length 5",
    ];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = tcpdump(&path).output().expect("the network tests need tcpdump(8)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if wanted.iter().all(|wanted| text.contains(wanted)) {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < deadline, "tcpdump(8) prints:\n{text}{said}");
        thread::sleep(AGAIN);
    }
}

#[test]
fn each_reader_of_a_fifo_sees_packets_at_once() {
    let network = Network::new().with_way_back();
    let path = network.socket().with_file_name("pflog");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut router = router(&network, &path);
    let _firewall = Firewall::with_rules(&network, RULES);
    let blocked = network.client.udp(CLIENT_V4, (SERVER_V4, 4701));
    let passed = network.client.udp(CLIENT_V4, (SERVER_V4, 4702));
    for _ in 0..2 {
        // The router outlives its readers, and each gets a whole file.
        let reader = Reader::new(&path);
        assert!(reader.next(&blocked).contains("block in on lan0"));
        let deadline = Instant::now() + PATIENCE;
        while !reader.next(&passed).contains("pass in on lan0") {
            assert!(Instant::now() < deadline);
        }
        // Nor does it take a packet for the router to see that one has gone.
        drop(reader);
        router.wait_for("nobody reads the logged packets any more");
    }
}

#[test]
fn a_router_without_a_reader_goes_on_and_ends() {
    let network = Network::new().with_way_back();
    let path = network.socket().with_file_name("pflog");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut router = router(&network, &path);
    let mut firewall = Firewall::with_rules(&network, RULES);
    let server = network.server.udp_at(SERVER_V4, 4702);
    let client = network.client.udp(CLIENT_V4, (SERVER_V4, 4702));
    // Nobody opens the FIFO; then somebody does, and does not read.
    client.send(b"one").unwrap();
    assert_eq!(receive(&server).unwrap(), b"one");
    let _idle = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    for _ in 0..5000 {
        client.send(&[7; 1400]).unwrap();
        receive(&server).unwrap();
    }
    assert!(firewall.status().running != 0);
    router.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(router.wait().success());
}
