//! One packet's whole way through the router.
//!
//! ```text
//!  TUN ─▶ receive ─▶ pf in ─▶ for the router? ─yes─▶ deliver ─▶ echo reply, port unreachable ─┐
//!                               │ no                                                          │
//!                               ▼                                                             ▼
//!                   forward: route, TTL, MTU ─fails─▶ report: an ICMP error ─▶ route ─▶ pf out ─▶ TUN
//!                               │                                                             ▲
//!                               └──────────────────────▶ TTL less one ────────────────────────┘
//! ```
//!
//! What is forwarded passes both hooks, what is for the router only the first, what the router itself sends only the second, and what
//! pf sends none ([`Links::output`]), unless it sends it in the place of somebody else: that waits until the packet which it
//! is about is done with, and then passes the second. An IPv6 packet that pf has put together on its way in comes out of the first
//! hook in fragments ([`Router::receive_again`]).
//!
//! # Locking
//! None of its own but the budget of ICMP errors and what pf lets come in again. Any number of threads may receive at once.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use pf::iface::InterfaceAddress;
use pf::kpi::{self, Direction, Kernel, LogLevel, Mbuf, NoMemory, SoftNet};
use pf::mem::KBox;
use pf::wire::Af;
use pf::{Pf, Verdict};
use tracing::{debug, error, info};

use crate::clock::{self, Bell};
use crate::divert::Diverter;
use crate::icmp::{self, Budget, Problem};
use crate::link::Links;
use crate::packet::{Packet, lower_ttl};
use crate::pflog::PacketLog;
use crate::table::{MOST_INTERFACES, Position};

/// The router: its interfaces, and the packet filter between them.
pub struct Router {
    links: Arc<Links>,
    pf: KBox<Pf>,
    /// What pf lets come in again: fragments of packets that it has judged on their way in.
    returned: Arc<Mutex<Vec<(u16, Mbuf)>>>,
    bell: Arc<Bell>,
    icmp_errors: Budget,
    diverter: Diverter,
    /// What pf has sent in the place of somebody else, and has not passed the output hook yet.
    unjudged: Arc<Unjudged>,
}

/// Packets that wait for the output hook.
#[derive(Default)]
struct Unjudged {
    packets: Mutex<Vec<Mbuf>>,
    /// There are some: what is asked after each burst takes no lock.
    any: AtomicBool,
}

impl Unjudged {
    fn push(&self, packet: Mbuf) {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        packets.push(packet);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Mbuf> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *packets)
    }
}

impl Router {
    /// A router over `links`, which sends at most `icmp_rate` ICMP errors a second, with a packet filter that is disabled.
    ///
    /// # Errors
    /// There is no memory, no clock, or no randomness.
    pub fn new(links: Arc<Links>, icmp_rate: u32, packet_log: Option<Arc<PacketLog>>) -> Result<Self> {
        // Where the system has no randomness to give, none of what follows is safe.
        getrandom::fill(&mut [0; 8]).map_err(|error| anyhow!("no random numbers: {error}"))?;
        let output = Arc::clone(&links);
        let diverter = Diverter::new(Arc::clone(&links));
        let unjudged = Arc::<Unjudged>::default();
        let judge_later = Arc::clone(&unjudged);
        let returned = Arc::new(Mutex::new(Vec::new()));
        let input = Arc::clone(&returned);
        let bell = Arc::new(Bell::new().context("no eventfd")?);
        let wake = Arc::clone(&bell);
        let mut kernel = Kernel::seeded(0)
            .with_random(Box::new(|bytes| {
                getrandom::fill(bytes).expect("getrandom(2), once it has worked, does not fail");
            }))
            .with_output(Box::new(move |packet| {
                if packet.is_from_pf() {
                    output.output(packet);
                } else {
                    judge_later.push(packet);
                }
            }))
            .with_input(Box::new(move |index, packet| lock(&input).push((index, packet))))
            .with_wake(Box::new(move || wake.ring()))
            .with_diversions(diverter.clone())
            .with_log(Box::new(|level, line| match level {
                LogLevel::Error => error!(target: "pf", "{line}"),
                LogLevel::Notice => info!(target: "pf", "{line}"),
                LogLevel::Debug => debug!(target: "pf", "{line}"),
            }));
        if let Some(log) = packet_log {
            kernel = kernel.with_packet_log(Box::new(move |number, header, packet| log.put(number, header, packet)));
        }
        clock::set(&kernel).context("the clock cannot be read")?;
        let out_of_memory = |NoMemory| anyhow!("out of memory");
        let pf = Pf::new(kernel).map_err(out_of_memory)?;
        for (position, interface) in links.all().iter().enumerate() {
            pf.attach_interface(index(position), interface.name.as_bytes())
                .map_err(|errno| anyhow!("interface {}: {errno:?}", interface.name))?;
        }
        Ok(Router {
            links,
            pf,
            returned,
            bell,
            icmp_errors: Budget::new(icmp_rate, Instant::now()),
            unjudged,
            diverter,
        })
    }

    /// The packet filter.
    pub fn pf(&self) -> &Pf {
        &self.pf
    }

    /// What the packet filter wakes its purge thread with.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The interfaces.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Tells the packet filter the addresses of the interface at this position.
    ///
    /// # Errors
    /// There is no memory, or somebody is at work with an ioctl.
    pub fn set_addresses(&self, position: Position, addresses: &[IpNet]) -> Result<()> {
        let address = |net: &IpNet| {
            let mut address = match net {
                IpNet::V4(_) => InterfaceAddress::new(Af::Inet, net.addr().into(), net.prefix_len()),
                IpNet::V6(_) => InterfaceAddress::new(Af::Inet6, net.addr().into(), net.prefix_len()),
            };
            address.broadcast = match net {
                IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast().into()),
                _ => None,
            };
            address
        };
        let addresses: Vec<InterfaceAddress> = addresses.iter().map(address).collect();
        self.pf
            .set_interface_addresses(index(position), &addresses)
            .map_err(|errno| anyhow!("addresses of an interface: {errno:?}"))
    }

    /// The interface at this position is gone for good.
    pub fn detach(&self, position: Position) {
        if let Err(NoMemory) = self.pf.detach_interface(index(position)) {
            error!(
                interface = self.links.at(position).name,
                "out of memory: pf still has the interface"
            );
        }
    }

    /// Takes packets that the interface at `from` has received together. Pf judges all of them before the first is passed on.
    pub fn receive(&self, from: Position, packets: impl IntoIterator<Item = Vec<u8>>) {
        let counters = &self.links.at(from).counters;
        let (mut judged, mut arrived_for) = (Vec::new(), Vec::new());
        for mut bytes in packets {
            counters.received.add(1);
            counters.received_bytes.add(bytes.len());
            let Some(arrived) = Packet::parse(&bytes) else {
                counters.malformed.add(1);
                continue;
            };
            bytes.truncate(arrived.total);
            judged.push(Some(Mbuf::from_bytes(bytes)));
            arrived_for.push(arrived.dst);
        }
        self.pf
            .hook_burst(&SoftNet::raise(), Direction::In, index(from), &mut judged);
        self.report_diverted();
        for (packet, arrived_for) in judged.into_iter().zip(arrived_for) {
            let Some((packet, header)) = packet.and_then(in_one_piece) else {
                counters.blocked_in.add(1);
                continue;
            };
            self.pass_on(from, packet, &header, arrived_for);
        }
        self.receive_again();
        self.send_unjudged();
    }

    /// Takes what pf lets come in again. It has been judged.
    fn receive_again(&self) {
        let returned = std::mem::take(&mut *lock(&self.returned));
        for (index, packet) in returned {
            let from = Position::from(index) - 1;
            if let Some((packet, header)) = in_one_piece(packet) {
                // Whether pf has redirected it is not known any more.
                let arrived_for = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                self.pass_on(from, packet, &header, arrived_for);
            }
        }
    }

    /// Sends what pf has sent in the place of somebody else, if its output hook lets it pass.
    pub fn send_unjudged(&self) {
        loop {
            let packets = self.unjudged.take();
            if packets.is_empty() {
                return;
            }
            for packet in packets {
                self.send(packet.to_bytes());
            }
        }
    }

    /// Delivers a packet that pf has let in, or forwards it.
    fn pass_on(&self, from: Position, packet: Mbuf, header: &Packet, arrived_for: IpAddr) {
        if self.links.table.is_own(header.dst) {
            self.links.at(from).counters.delivered.add(1);
            self.deliver(from, packet.head(), header);
        } else {
            self.forward(from, packet, header, arrived_for);
        }
    }

    /// Answers a packet for the router itself, where there is an answer.
    fn deliver(&self, from: Position, bytes: &[u8], header: &Packet) {
        if let Some(reply) = icmp::echo_reply(bytes, header, self.random_id()) {
            self.send(reply);
        } else if icmp::is_udp(bytes, header) {
            self.report(Problem::NoPort, from, bytes, header);
        }
    }

    /// Passes a packet on. `arrived_for` is the destination that it had before pf's input hook.
    fn forward(&self, from: Position, mut packet: Mbuf, header: &Packet, arrived_for: IpAddr) {
        let counters = &self.links.at(from).counters;
        let table = &self.links.table;
        let broadcast = table.is_broadcast(header.dst) || table.is_broadcast(header.src);
        if broadcast || table.is_own(header.src) || !header.is_routable() {
            counters.unroutable.add(1);
            return;
        }
        if header.ttl <= 1 {
            counters.expired.add(1);
            return self.report(Problem::Expired, from, packet.head(), header);
        }
        let Some(to) = table.lookup(header.dst) else {
            counters.unreachable.add(1);
            return self.report(Problem::NoRoute, from, packet.head(), header);
        };
        // A TUN device has two ends: what came from the other one for somebody behind it would come again and again
        // (RFC 4443, 3.1). Where pf has redirected it, it is meant to turn around.
        if to == from && header.dst == arrived_for {
            counters.unreachable.add(1);
            return self.report(Problem::NoHost, from, packet.head(), header);
        }
        let mtu = self.links.at(to).mtu;
        if header.total > mtu.into() && !header.may_fragment {
            counters.too_big.add(1);
            return self.report(Problem::TooBig(mtu), from, packet.head(), header);
        }
        // The header is in the first segment, as all of the packet is: this takes no memory.
        let Ok(bytes) = packet.head_mut(header.header) else {
            return;
        };
        lower_ttl(bytes);
        counters.forwarded.add(1);
        self.transmit(to, packet);
    }

    /// Tells a packet's sender why it went no further, where that is allowed and the budget has some left.
    fn report(&self, problem: Problem, from: Position, bytes: &[u8], header: &Packet) {
        let Some(source) = self.links.source(from, header.src) else {
            return;
        };
        let Some(error) = icmp::error(problem, bytes, header, source, self.random_id()) else {
            return;
        };
        if self.icmp_errors.take(Instant::now()) {
            self.links.at(from).counters.icmp_errors.add(1);
            self.send(error);
        }
    }

    /// Tells the senders of packets that pf could not send another way.
    fn report_diverted(&self) {
        for report in self.diverter.take_reports() {
            let problem = match report.problem {
                kpi::Problem::Expired => Problem::Expired,
                kpi::Problem::TooBig(mtu) => Problem::TooBig(mtu),
            };
            if let Some(header) = Packet::parse(&report.bytes) {
                self.report(problem, report.from, &report.bytes, &header);
            }
        }
    }

    /// Sends a packet of the router's own.
    fn send(&self, bytes: Vec<u8>) {
        if let Some(header) = Packet::parse(&bytes)
            && let Some(to) = self.links.table.lookup(header.dst)
        {
            self.transmit(to, Mbuf::from_bytes(bytes));
        }
    }

    /// Lets a packet out on the interface at `to`, if pf does.
    fn transmit(&self, to: Position, packet: Mbuf) {
        let interface = self.links.at(to);
        let judged = match self.pf.hook(&SoftNet::raise(), Direction::Out, index(to), packet) {
            Verdict::Pass(packet) => in_one_piece(packet),
            Verdict::Drop => None,
            // It waits for others, or has gone in pieces.
            Verdict::Kept => return,
            Verdict::Routed => return self.report_diverted(),
        };
        self.report_diverted();
        match judged {
            Some((packet, header)) => interface.send(packet.head(), &header),
            None => interface.counters.blocked_out.add(1),
        }
    }

    /// An identification for an IPv4 packet of the router's own.
    fn random_id(&self) -> u16 {
        self.pf.kernel().random_u32() as u16
    }
}

/// Takes a lock of the router's own.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A packet that pf has let pass, in one piece, and what its header says now.
fn in_one_piece(mut packet: Mbuf) -> Option<(Mbuf, Packet)> {
    let len = packet.len();
    let header = Packet::parse(packet.head_mut(len).ok()?)?;
    Some((packet, header))
}

/// The number that pf knows the interface at `position` by: from 1 on.
fn index(position: Position) -> u16 {
    const { assert!(MOST_INTERFACES < u16::MAX as usize) };
    (position + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Counters, Interface, Link};
    use crate::options::{InterfaceSpec, RouteSpec};
    use crate::packet::tests::{hex, long_v4, udp_v4, udp_v6};
    use crate::table::Table;
    use std::io;

    /// A link that keeps what is sent on it.
    #[derive(Default)]
    struct Record(Mutex<Vec<Vec<u8>>>);

    impl Link for Record {
        fn send(&self, packet: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push(packet.to_vec());
            Ok(())
        }
    }

    /// A router between a LAN, a WAN of another MTU, and somewhere without addresses.
    struct Bench {
        router: Router,
        records: Vec<Arc<Record>>,
    }

    const LAN: Position = 0;
    const WAN: Position = 1;

    impl Bench {
        fn new(icmp_rate: u32) -> Self {
            let specs: Vec<InterfaceSpec> = [
                "lan0,address=10.0.0.1/24,address=fd00:1::1/64",
                "wan0,address=198.51.100.1/24,address=fd00:2::1/64",
                "tap0",
            ]
            .map(|text| text.parse().unwrap())
            .into();
            let routes: [RouteSpec; 2] = [
                "203.0.113.0/24,via=198.51.100.2".parse().unwrap(),
                "192.0.2.0/24,interface=tap0".parse().unwrap(),
            ];
            let table = Table::new(&specs, &routes).unwrap();
            let records: Vec<Arc<Record>> = specs.iter().map(|_| Arc::default()).collect();
            let interfaces = specs
                .iter()
                .zip(&records)
                .zip([1500, 1400, 1500])
                .map(|((spec, record), mtu)| {
                    let addresses = spec.addresses.iter().map(|net| net.addr()).collect();
                    Interface::new(spec.name.clone(), addresses, mtu, Arc::clone(record) as _)
                });
            let links = Links::new(interfaces.collect(), table);
            Bench {
                router: Router::new(Arc::new(links), icmp_rate, None).unwrap(),
                records,
            }
        }

        /// What the router sends, and where, when it receives this.
        fn receive(&self, from: Position, packet: &[u8]) -> Vec<(Position, Vec<u8>)> {
            self.router.receive(from, [packet.to_vec()]);
            let drain = |(position, record): (Position, &Arc<Record>)| {
                let sent = std::mem::take(&mut *record.0.lock().unwrap());
                sent.into_iter().map(move |packet| (position, packet))
            };
            self.records.iter().enumerate().flat_map(drain).collect()
        }

        fn counters(&self, position: Position) -> &Counters {
            &self.router.links().at(position).counters
        }
    }

    /// The same packet with another destination, and the IP header's checksum to fit.
    fn to_v4(mut packet: Vec<u8>, dst: [u8; 4]) -> Vec<u8> {
        packet[16..20].copy_from_slice(&dst);
        checked_v4(packet)
    }

    fn checked_v4(mut packet: Vec<u8>) -> Vec<u8> {
        packet[10..12].fill(0);
        let checksum = pf::wire::checksum::Sum::new().with(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn packets_are_forwarded_with_a_lower_ttl() {
        let bench = Bench::new(100);
        let expected = hex("4500 0020 1234 0000 3f11 3562 0a000002 c6336402 9c40 0035 000c 5058 70696e67");
        assert_eq!(bench.receive(LAN, &udp_v4()), [(WAN, expected)]);
        let mut expected = udp_v6();
        expected[7] = 63;
        assert_eq!(bench.receive(LAN, &udp_v6()), [(WAN, expected)]);
        assert_eq!(bench.counters(LAN).forwarded.get(), 2);
        assert_eq!(bench.counters(WAN).sent_bytes.get(), 84);
    }

    #[test]
    fn packets_that_come_together_go_on_in_their_order() {
        let bench = Bench::new(100);
        let packets = [udp_v4(), b"no packet".to_vec(), udp_v6(), udp_v4()];
        bench.router.receive(LAN, packets);
        let sent = bench.records[WAN].0.lock().unwrap();
        assert_eq!(sent.iter().map(|packet| packet[0] >> 4).collect::<Vec<_>>(), [4, 6, 4]);
        assert_eq!(
            (bench.counters(LAN).received.get(), bench.counters(LAN).malformed.get()),
            (4, 1)
        );
    }

    #[test]
    fn routes_lead_beyond_the_own_networks() {
        let bench = Bench::new(100);
        assert_eq!(bench.receive(LAN, &to_v4(udp_v4(), [203, 0, 113, 9]))[0].0, WAN);
        assert_eq!(bench.receive(LAN, &to_v4(udp_v4(), [192, 0, 2, 9]))[0].0, 2);
    }

    #[test]
    fn the_last_hop_is_time_exceeded() {
        let bench = Bench::new(100);
        for ttl in [0, 1] {
            let mut packet = udp_v4();
            packet[8] = ttl;
            let packet = checked_v4(packet);
            let sent = bench.receive(LAN, &packet);
            let [(LAN, error)] = &sent[..] else { panic!("{sent:?}") };
            assert_eq!(
                (error[12..16].to_vec(), error[16..20].to_vec()),
                (vec![10, 0, 0, 1], vec![10, 0, 0, 2])
            );
            assert_eq!(error[20..22], [11, 0]);
            assert_eq!(error[28..], packet);

            let mut packet = udp_v6();
            packet[7] = ttl;
            let sent = bench.receive(LAN, &packet);
            let [(LAN, error)] = &sent[..] else { panic!("{sent:?}") };
            assert_eq!(error[8..24], packet_addr("fd00:1::1"));
            assert_eq!(error[40..42], [3, 0]);
            assert_eq!(error[48..], packet);
        }
        assert_eq!(bench.counters(LAN).expired.get(), 4);
        assert_eq!(bench.counters(LAN).forwarded.get(), 0);
    }

    fn packet_addr(text: &str) -> [u8; 16] {
        text.parse::<std::net::Ipv6Addr>().unwrap().octets()
    }

    #[test]
    fn without_a_route_there_is_an_error() {
        let bench = Bench::new(100);
        let sent = bench.receive(LAN, &to_v4(udp_v4(), [8, 8, 8, 8]));
        assert_eq!((sent[0].0, sent[0].1[20..22].to_vec()), (LAN, vec![3, 0]));
        let mut packet = udp_v6();
        packet[24..40].copy_from_slice(&packet_addr("2001:db8::1"));
        let sent = bench.receive(LAN, &packet);
        assert_eq!((sent[0].0, sent[0].1[40..42].to_vec()), (LAN, vec![1, 0]));
    }

    #[test]
    fn nothing_is_sent_back_where_it_came_from() {
        let bench = Bench::new(100);
        let sent = bench.receive(LAN, &to_v4(udp_v4(), [10, 0, 0, 77]));
        assert_eq!((sent[0].0, sent[0].1[20..22].to_vec()), (LAN, vec![3, 1]));
    }

    #[test]
    fn too_long_a_packet_that_may_not_be_cut_is_reported_with_the_mtu() {
        let bench = Bench::new(100);
        let sent = bench.receive(LAN, &long_v4(1381, true));
        let [(LAN, error)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(error[20..22], [3, 4]);
        assert_eq!(error[26..28], 1400u16.to_be_bytes());
        assert_eq!(error[28 + 8], 64, "the packet is quoted as it came");
        assert_eq!(bench.receive(LAN, &long_v4(1380, true))[0].0, WAN);

        let mut packet = udp_v6();
        packet.resize(1401, 0);
        packet[4..6].copy_from_slice(&1361u16.to_be_bytes());
        let sent = bench.receive(LAN, &packet);
        let [(LAN, error)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(error[40..42], [2, 0]);
        assert_eq!(error[44..48], 1400u32.to_be_bytes());
        assert_eq!(bench.counters(LAN).too_big.get(), 2);
    }

    #[test]
    fn too_long_a_packet_that_may_be_cut_is() {
        let bench = Bench::new(100);
        let sent = bench.receive(LAN, &long_v4(1480, false));
        let lengths: Vec<_> = sent.iter().map(|(to, packet)| (*to, packet.len())).collect();
        assert_eq!(lengths, [(WAN, 1396), (WAN, 124)]);
        assert!(sent.iter().all(|(_, packet)| packet[8] == 63));
        assert_eq!(
            (bench.counters(LAN).forwarded.get(), bench.counters(WAN).sent.get()),
            (1, 2)
        );
    }

    #[test]
    fn own_addresses_answer_ping_on_every_interface() {
        let bench = Bench::new(0);
        let ping = hex("4500 0021 1234 4000 4001 14a6 0a000002 0a000001 0800 b425 0007 0001 68656c6c6f");
        for dst in [[10, 0, 0, 1], [198, 51, 100, 1]] {
            let sent = bench.receive(LAN, &to_v4(ping.clone(), dst));
            let [(LAN, reply)] = &sent[..] else { panic!("{sent:?}") };
            assert_eq!((reply[12..16].to_vec(), reply[20]), (dst.to_vec(), 0));
        }
        assert_eq!(bench.counters(LAN).delivered.get(), 2);
    }

    #[test]
    fn udp_for_the_router_finds_no_port_and_the_rest_no_answer() {
        let bench = Bench::new(100);
        let udp = to_v4(udp_v4(), [10, 0, 0, 1]);
        let sent = bench.receive(LAN, &udp);
        assert_eq!((sent[0].0, sent[0].1[20..22].to_vec()), (LAN, vec![3, 3]));
        let mut tcp = udp;
        tcp[9] = 6;
        assert_eq!(bench.receive(LAN, &checked_v4(tcp)), []);
    }

    #[test]
    fn what_no_router_forwards_is_dropped_in_silence() {
        let bench = Bench::new(100);
        for dst in [
            [224, 0, 0, 5],
            [255; 4],
            [127, 0, 0, 1],
            [198, 51, 100, 255],
            [10, 0, 0, 255],
        ] {
            assert_eq!(bench.receive(LAN, &to_v4(udp_v4(), dst)), [], "{dst:?}");
        }
        let mut spoofed = udp_v4();
        spoofed[12..16].copy_from_slice(&[10, 0, 0, 1]);
        assert_eq!(bench.receive(LAN, &checked_v4(spoofed)), []);
        assert_eq!(bench.counters(LAN).unroutable.get(), 6);
        assert_eq!(bench.receive(LAN, b"no packet"), []);
        assert_eq!(bench.counters(LAN).malformed.get(), 1);
    }

    #[test]
    fn errors_have_a_budget() {
        let bench = Bench::new(1);
        let unreachable = to_v4(udp_v4(), [8, 8, 8, 8]);
        let answered = (0..1000)
            .filter(|_| !bench.receive(LAN, &unreachable).is_empty())
            .count();
        // For each of them an answer, the loop would have to take a quarter of an hour.
        assert!((1..1000).contains(&answered), "{answered}");
        assert_eq!(bench.counters(LAN).unreachable.get(), 1000);
        assert_eq!(bench.counters(LAN).icmp_errors.get(), answered as u64);
    }

    #[test]
    fn what_pf_sends_goes_where_it_is_for() {
        let bench = Bench::new(100);
        let output = |mut packet: Mbuf| {
            packet.mark_from_pf().unwrap();
            bench.router.pf().kernel().output(packet);
        };
        output(Mbuf::from_bytes(udp_v4()));
        assert_eq!(*bench.records[WAN].0.lock().unwrap(), [udp_v4()]);
        output(Mbuf::split(&udp_v6(), 40));
        assert_eq!(bench.records[WAN].0.lock().unwrap()[1], udp_v6());
        for lost in [
            to_v4(udp_v4(), [8, 8, 8, 8]),
            to_v4(udp_v4(), [10, 0, 0, 1]),
            vec![0; 20],
        ] {
            output(Mbuf::from_bytes(lost));
        }
        assert_eq!(
            bench
                .records
                .iter()
                .map(|record| record.0.lock().unwrap().len())
                .sum::<usize>(),
            2
        );
    }

    #[test]
    fn what_pf_sends_in_the_place_of_others_is_judged_first() {
        let bench = Bench::new(100);
        bench.router.pf().kernel().output(Mbuf::from_bytes(udp_v4()));
        assert_eq!(
            bench.records[WAN].0.lock().unwrap().len(),
            0,
            "not before the rest is done"
        );
        bench.router.send_unjudged();
        assert_eq!(*bench.records[WAN].0.lock().unwrap(), [udp_v4()]);
        bench.router.send_unjudged();
        assert_eq!(bench.records[WAN].0.lock().unwrap().len(), 1);
    }
}
