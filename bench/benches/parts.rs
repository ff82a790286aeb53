//! The parts of a packet's way, one by one, under criterion: `cargo bench -p pf-bench`.
//!
//! What depends on the size of the state table, and is compared with something, is in the program that `scripts/bench` runs.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pf::iface::Interfaces;
use pf::kpi::{Direction, Kernel, Mbuf, Passive, SoftNet};
use pf::mem::{KArc, KBox, KVec};
use pf::packet::{Packet, Rewrite};
use pf::rule::{Anchors, Config, ListChange, Numbers, Rule, RuleList, Surroundings};
use pf::state::tcp::{Segment, track};
use pf::state::{Body, Course, Host, Peer};
use pf::wire::checksum::Sum;
use pf::wire::tcp::{Seq, TcpFlags};
use pf::wire::{Addr, Proto, ipv4};
use pf_abi::{PF_STATE_NORMAL, PF_WSCALE_FLAG, PortOp, TCPS_ESTABLISHED, Timeout};
use zerocopy::IntoBytes;

const CLIENT: Addr = Addr::from_v4([10, 1, 2, 3]);
const SERVER: Addr = Addr::from_v4([198, 51, 100, 7]);

/// TCP data from the client to the server.
fn packet(data: usize) -> Mbuf {
    let mut tcp = vec![0; 20 + data];
    tcp[..4].copy_from_slice(&[0xc0, 0, 1, 0xbb]);
    tcp[12..14].copy_from_slice(&[5 << 4, (TcpFlags::ACK | TcpFlags::PUSH).bits()]);
    let checksum = Sum::pseudo(&CLIENT, &SERVER, Proto::TCP, tcp.len() as u32).with(&tcp);
    tcp[16..18].copy_from_slice(&checksum.checksum().to_be_bytes());
    let ip = ipv4::Repr {
        src: CLIENT,
        dst: SERVER,
        proto: Proto::TCP,
        tos: 0,
        ttl: 64,
        id: 0,
        dont_fragment: true,
    };
    let header = ip.emit(tcp.len()).expect("a short packet");
    Mbuf::from_bytes([header.as_bytes(), &tcp].concat())
}

fn parsed(mbuf: Mbuf) -> Packet {
    let mut packet = Packet::new(mbuf, Direction::In);
    packet.parse().expect("a good packet");
    packet
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 64, 1460] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| {
            b.iter(|| Sum::new().with(black_box(&bytes)).checksum());
        });
    }
}

fn parse(c: &mut Criterion) {
    let mbuf = packet(64);
    c.bench_function("parse", |b| {
        b.iter_batched(|| mbuf.clone(), parsed, BatchSize::SmallInput);
    });
}

/// Two addresses, two ports, two checksums.
fn rewrite(c: &mut Criterion) {
    let mbuf = packet(64);
    let ends = Rewrite {
        src: Host {
            addr: Addr::from_v4([192, 0, 2, 1]),
            port: 50_000,
        },
        dst: Host {
            addr: Addr::from_v4([192, 0, 2, 2]),
            port: 8443,
        },
    };
    c.bench_function("rewrite", |b| {
        b.iter_batched(
            || parsed(mbuf.clone()),
            |mut packet| {
                packet.rewrite(black_box(&ends)).expect("memory");
                packet
            },
            BatchSize::SmallInput,
        );
    });
}

fn follow_tcp(c: &mut Criterion) {
    let peer = Peer {
        seqlo: Seq(1000),
        seqhi: Seq(1_000_000),
        max_win: u16::MAX,
        state: TCPS_ESTABLISHED,
        wscale: PF_WSCALE_FLAG | 7,
        ..Peer::default()
    };
    let mut body = Body {
        unlinked: false,
        timeout: Timeout::TcpEstablished,
        course: Course::Direct,
        expire: 0,
        src: peer,
        dst: peer,
        packets: [0; 2],
        bytes: [0; 2],
    };
    let segment = Segment {
        seq: Seq(1000),
        end: Seq(1064),
        ack: Seq(1000),
        flags: TcpFlags::ACK,
        window: u16::MAX,
        wscale: None,
        mss: 0,
    };
    c.bench_function("follow-tcp", |b| {
        b.iter(|| track(black_box(&mut body), black_box(&segment), true));
    });
}

/// The last of `count` rules matches, and so do none of the others.
fn rules(count: u16) -> (Config, Option<KArc<Rule>>) {
    let mut list = RuleList::new();
    for nr in 1..=count {
        let mut source: KBox<pf_abi::Rule> = pf::rule::blank().expect("memory");
        source.proto = Proto::TCP.0;
        source.keep_state = PF_STATE_NORMAL;
        source.dst.port_op = PortOp::Equal.into();
        source.dst.port[0] = pf_abi::Be16::new(443 + count - nr);
        let rule = Rule::new(source, KVec::new(), &Numbers::default(), nr.into()).expect("a good rule");
        list.push(rule).expect("memory");
    }
    list.seal().expect("memory");
    let last = list.rules().last().cloned();
    let mut changes = KVec::new();
    let change = ListChange {
        ruleset: pf::rule::MAIN,
        kind: pf_abi::RulesetKind::Filter,
        list: KArc::new(list).expect("memory"),
    };
    changes.push(change).unwrap_or_else(|_| panic!("memory"));
    let anchors = Anchors::new().expect("memory");
    let config = Config::new().expect("memory").with(&anchors, changes);
    (config.expect("memory"), last)
}

fn evaluate_rules(c: &mut Criterion) {
    let packet = parsed(packet(64));
    let interfaces = Interfaces::new().expect("memory");
    let mut subject = packet.subject(1, &interfaces);
    let (passive, level) = (Passive::new().expect("memory"), SoftNet::raise());
    let around = Surroundings {
        kernel: &Kernel::seeded(1),
        section: &passive.read(&level),
        interfaces: &interfaces,
        systems: None,
    };
    let mut group = c.benchmark_group("rules");
    for count in [10, 100, 1000, 10_000] {
        let (config, last) = rules(count);
        assert!(
            config
                .last_match(&mut subject, &around)
                .zip(last.as_ref())
                .is_some_and(|(a, b)| a.rule.ptr_eq(b))
        );
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(count.to_string(), |b| {
            b.iter(|| config.last_match(black_box(&mut subject), &around).is_some());
        });
    }
}

criterion_group!(parts, checksum, parse, rewrite, follow_tcp, evaluate_rules);
criterion_main!(parts);
