//! A packet through the whole engine: TCP data of a random established connection, one hook.
//!
//! # Overview
//! The ruleset is loaded by ioctls, as pfctl(8) would, and each connection is made by a handshake of its own. Then packets with
//! data come in, each of another random connection, each further on than that connection's last one. They are
//! prepared in small batches, as a network interface would put them into its ring, and only the hook is timed.
//!
//! # Life cycle, locking
//! One thread; the engine ends with the measurement.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use pf::kpi::host::AddressSpace;
use pf::kpi::{Caller, Direction, Errno, Kernel, Mbuf, SoftNet, UserMemory};
use pf::mem::KBox;
use pf::wire::checksum::Sum;
use pf::wire::tcp::TcpFlags;
use pf::wire::{Addr, Proto, ipv4};
use pf::{Pf, Verdict};
use pf_abi::{
    AddrWrap, Be16, DIOCADDADDR, DIOCADDRULE, DIOCBEGINADDRS, DIOCSETLIMIT, DIOCSTART, DIOCXBEGIN, DIOCXCOMMIT, IfName,
    IocLimit, IocPoolAddr, IocRule, IocTrans, IocTransE, Limit, PF_STATE_NORMAL, PoolAddr, PortOp, Rule, RulesetKind,
    UserPtr,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::population::Population;
use crate::report::{Record, tenths};
use crate::states::{SPAN, median};

/// Packets in the ring.
const BATCH: usize = 256;
/// Packets in a pass, unless there are more connections.
const PACKETS: usize = 1 << 20;
/// Bytes of data in each.
const DATA: usize = 64;
/// By how much a packet's sequence number is above that of the packet before, whosever that was: so each connection's
/// advance, and none leaves its window of 2^30 bytes.
const ADVANCE: u32 = 4;
/// The interface that all packets cross.
pub(crate) const INTERFACE: u16 = 1;

/// An engine, and who configures it.
pub(crate) struct Machine {
    pub(crate) pf: KBox<Pf>,
    user: UserMemory,
    memory: Arc<Mutex<Vec<u8>>>,
}

/// A caller's memory: one piece, at [`BASE`].
struct Piece(Arc<Mutex<Vec<u8>>>);

/// Where it begins.
pub(crate) const BASE: u64 = 0x1000;

impl Piece {
    fn with<R>(&self, at: u64, len: usize, act: impl FnOnce(&mut [u8]) -> R) -> Result<R, Errno> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = at.checked_sub(BASE).ok_or(Errno::Efault)? as usize;
        bytes.get_mut(start..start + len).map(act).ok_or(Errno::Efault)
    }
}

impl AddressSpace for Piece {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.with(from, to.len(), |bytes| to.copy_from_slice(bytes))
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        self.with(to, from.len(), |bytes| bytes.copy_from_slice(from))
    }
}

impl Machine {
    fn new(limit: usize, rules: &[Rule]) -> anyhow::Result<Self> {
        Self::of(Kernel::seeded(1), limit, rules)
    }

    /// One with room for so many states, and these filter rules.
    pub(crate) fn of(kernel: Kernel, limit: usize, rules: &[Rule]) -> anyhow::Result<Self> {
        let pf = Pf::new(kernel).map_err(|_| anyhow!("out of memory"))?;
        pf.attach_interface(INTERFACE, b"em0")
            .map_err(|_| anyhow!("out of memory"))?;
        let memory = Arc::new(Mutex::new(vec![]));
        let machine = Machine {
            pf,
            user: UserMemory::new(Piece(memory.clone())),
            memory,
        };
        let mut arg = IocLimit {
            index: Limit::States as i32,
            limit: u32::try_from(limit)?,
        };
        machine.ioctl(DIOCSETLIMIT, &mut arg)?;
        machine.load(RulesetKind::Filter, rules, &[])?;
        machine.command(DIOCSTART, &mut [])?;
        Ok(machine)
    }

    fn command(&self, cmd: u64, arg: &mut [u8]) -> anyhow::Result<()> {
        let caller = Caller {
            writable: true,
            allowed: true,
            owner: 0,
            uid: 0,
            pid: 1,
            memory: &self.user,
        };
        let result = self.pf.ioctl(&caller, cmd, arg);
        result.map_err(|error| anyhow!("ioctl {cmd:#x}: {error:?}"))
    }

    /// Gives the caller's piece of memory so many bytes.
    pub(crate) fn make_room(&self, bytes: usize) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = vec![0; bytes];
    }

    /// Makes an ioctl.
    pub(crate) fn ioctl<T: FromBytes + IntoBytes + Immutable>(&self, cmd: u64, arg: &mut T) -> anyhow::Result<()> {
        // The engine wants its argument at a multiple of 8, as ioctl(2) has it.
        let mut words = vec![0u64; size_of::<T>().div_ceil(8)];
        let bytes = &mut words.as_mut_bytes()[..size_of::<T>()];
        bytes.copy_from_slice(arg.as_bytes());
        self.command(cmd, bytes)?;
        *arg = T::read_from_bytes(bytes).map_err(|_| anyhow!("its own size"))?;
        Ok(())
    }

    /// Loads the rules of a kind, all with the same pool.
    pub(crate) fn load(&self, kind: RulesetKind, rules: &[Rule], addresses: &[PoolAddr]) -> anyhow::Result<()> {
        let element = IocTransE {
            rs_num: kind as i32,
            ..IocTransE::default()
        };
        let bytes = || self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes() = element.as_bytes().to_vec();
        let mut transaction = IocTrans {
            size: 1,
            esize: size_of::<IocTransE>() as i32,
            array: UserPtr(BASE),
        };
        self.ioctl(DIOCXBEGIN, &mut transaction)?;
        let begun = IocTransE::read_from_bytes(&bytes()).map_err(|_| anyhow!("its own size"))?;
        for rule in rules {
            let mut pool = IocPoolAddr::default();
            self.ioctl(DIOCBEGINADDRS, &mut pool)?;
            for address in addresses {
                pool.addr = *address;
                pool.af = rule.af;
                self.ioctl(DIOCADDADDR, &mut pool)?;
            }
            let mut arg = IocRule {
                ticket: begun.ticket,
                pool_ticket: pool.ticket,
                rule: rule.clone(),
                ..IocRule::default()
            };
            self.ioctl(DIOCADDRULE, &mut arg)?;
        }
        self.ioctl(DIOCXCOMMIT, &mut transaction)
    }

    /// Sends a packet through the hook; false if it is dropped.
    fn sends(&self, direction: Direction, packet: Vec<u8>) -> bool {
        let verdict = self
            .pf
            .hook(&SoftNet::raise(), direction, INTERFACE, Mbuf::from_bytes(packet));
        matches!(verdict, Verdict::Pass(_))
    }
}

/// Ten rules: what is blocked everywhere, a few services, and at last what lets the connections pass.
fn rules() -> Vec<Rule> {
    let rule = |action: pf_abi::Action| Rule {
        action: action.into(),
        af: pf_abi::AF_INET,
        ..Rule::default()
    };
    let pass = |port: Option<u16>| {
        let mut rule = rule(pf_abi::Action::Pass);
        rule.proto = Proto::TCP.0;
        rule.keep_state = PF_STATE_NORMAL;
        rule.flags = TcpFlags::SYN.bits();
        rule.flagset = (TcpFlags::SYN | TcpFlags::ACK).bits();
        if let Some(port) = port {
            rule.dst.port_op = PortOp::Equal.into();
            rule.dst.port[0] = Be16::new(port);
        }
        rule
    };
    let net = |addr: [u8; 4], mask: [u8; 4]| {
        AddrWrap::masked(std::net::IpAddr::from(addr).into(), std::net::IpAddr::from(mask).into())
    };
    let mut rules = vec![rule(pf_abi::Action::Drop)];
    for from in [[127, 0, 0, 0], [224, 0, 0, 0]] {
        let mut spoofed = rule(pf_abi::Action::Drop);
        spoofed.quick = 1;
        spoofed.src.addr = net(from, [240, 0, 0, 0]);
        // The multicast addresses are no source, the loopback ones none on a wire.
        if from[0] == 127 {
            spoofed.src.addr = net(from, [255, 0, 0, 0]);
        }
        rules.push(spoofed);
    }
    rules.extend([22, 25, 53, 80, 993, 8080].map(|port| pass(Some(port))));
    let mut last = pass(Some(443));
    last.ifname = IfName::new("em0").unwrap_or_default();
    last.src.addr = net([10, 0, 0, 0], [255, 0, 0, 0]);
    rules.push(last);
    rules
}

/// A TCP connection's ends, the client first.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    addrs: [Addr; 2],
    ports: [u16; 2],
}

impl Ends {
    fn reverse(self) -> Self {
        let ([a, b], [c, d]) = (self.addrs, self.ports);
        Ends {
            addrs: [b, a],
            ports: [d, c],
        }
    }
}

/// A TCP packet from the first end to the second one.
fn segment(ends: Ends, seq: u32, ack: u32, flags: TcpFlags, options: &[u8], data: usize) -> Vec<u8> {
    let [src, dst] = ends.addrs;
    let mut tcp = Vec::with_capacity(20 + options.len() + data);
    tcp.extend(ends.ports.into_iter().flat_map(u16::to_be_bytes));
    tcp.extend([seq, ack].into_iter().flat_map(u32::to_be_bytes));
    tcp.extend([
        (((20 + options.len()) / 4) << 4) as u8,
        flags.bits(),
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    tcp.extend(options);
    tcp.resize(tcp.len() + data, 0x55);
    let checksum = Sum::pseudo(&src, &dst, Proto::TCP, tcp.len() as u32)
        .with(&tcp)
        .checksum();
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    let ip = ipv4::Repr {
        src,
        dst,
        proto: Proto::TCP,
        tos: 0,
        ttl: 64,
        id: 0,
        dont_fragment: true,
    };
    let header = ip.emit(tcp.len()).expect("a short packet");
    [header.as_bytes(), &tcp].concat()
}

/// Where a connection's client begins to count.
const FIRST: u32 = 0x1234_5678;

/// Makes the connection. The server's last segment is the first in which its window is scaled: as wide as windows are, so
/// that no more is needed of it.
fn shake_hands(machine: &Machine, ends: Ends) -> bool {
    let scale = [3, 3, 14, 1];
    let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
    machine.sends(Direction::In, segment(ends, FIRST, 0, syn, &scale, 0))
        && machine.sends(
            Direction::Out,
            segment(ends.reverse(), 99, FIRST + 1, syn | ack, &scale, 0),
        )
        && machine.sends(Direction::In, segment(ends, FIRST + 1, 100, ack, &[], 0))
        && machine.sends(Direction::Out, segment(ends.reverse(), 100, FIRST + 1, ack, &[], 0))
}

/// An engine with ten rules and `states` random connections, their ends, and how many addresses they have among them.
pub(crate) fn connected(states: usize) -> anyhow::Result<(Machine, Vec<Ends>, usize)> {
    let population = Population::random(states);
    let machine = Machine::new(states, &rules())?;
    let connections: Vec<Ends> = population
        .keys
        .iter()
        .map(|key| Ends {
            addrs: [key.lan.addr, key.ext.addr],
            ports: [key.lan.port, key.ext.port],
        })
        .collect();
    for &ends in &connections {
        ensure!(shake_hands(&machine, ends), "a handshake was dropped");
    }
    ensure!(machine.pf.states().len() == states);
    Ok((machine, connections, population.addresses))
}

/// Packets with data of random connections, one after the other, in batches that are made before they are judged.
pub(crate) struct Ring<'a> {
    connections: &'a [Ends],
    random: SmallRng,
    slots: Vec<Option<Mbuf>>,
    seq: u32,
}

impl<'a> Ring<'a> {
    pub(crate) fn new(connections: &'a [Ends]) -> Self {
        Ring {
            connections,
            random: SmallRng::seed_from_u64(4),
            slots: (0..BATCH).map(|_| Mbuf::new(40 + DATA)).collect(),
            seq: FIRST + 1,
        }
    }

    /// Judges a batch one packet at a time: the nanoseconds that each took.
    pub(crate) fn judge(&mut self, pf: &Pf, times: &mut Vec<u32>) -> anyhow::Result<()> {
        for mbuf in self.slots.iter_mut().flatten() {
            let ends = self.connections[self.random.random_range(0..self.connections.len())];
            let packet = segment(ends, self.seq, 100, TcpFlags::ACK | TcpFlags::PUSH, &[], DATA);
            self.seq = self.seq.wrapping_add(ADVANCE);
            mbuf.head_mut(packet.len())
                .map_err(|_| anyhow!("a packet of another length"))?
                .copy_from_slice(&packet);
        }
        for slot in &mut self.slots {
            let mbuf = slot.take().ok_or_else(|| anyhow!("a packet was dropped"))?;
            let start = Instant::now();
            let level = SoftNet::raise();
            let verdict = pf.hook(&level, Direction::In, INTERFACE, mbuf);
            drop(level);
            times.push(start.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
            if let Verdict::Pass(mbuf) = verdict {
                *slot = Some(mbuf);
            }
        }
        Ok(())
    }
}

/// Packets of `states` random connections, judged in bursts and one at a time.
pub(crate) fn measure(states: usize, passes: usize) -> anyhow::Result<Vec<Record>> {
    let (machine, connections, addresses) = connected(states)?;
    // Whose packets come, one behind the other in memory, so that making a packet disturbs no cache.
    let mut random = SmallRng::seed_from_u64(4);
    let senders: Vec<Ends> = (0..PACKETS.max(states))
        .map(|_| connections[random.random_range(0..states)])
        .collect();
    drop(connections);
    let mut ring: Vec<Option<Mbuf>> = (0..BATCH).map(|_| Mbuf::new(40 + DATA)).collect();
    let mut times = [vec![], vec![]];
    let mut seq = FIRST + 1;
    let spans = (0..2 * passes).flat_map(|pass| senders.chunks_exact(SPAN).map(move |span| (pass % 2 == 0, span)));
    for (together, senders) in spans {
        let mut elapsed = Duration::ZERO;
        for senders in senders.chunks(BATCH) {
            for (mbuf, &ends) in ring.iter_mut().flatten().zip(senders) {
                let packet = segment(ends, seq, 100, TcpFlags::ACK | TcpFlags::PUSH, &[], DATA);
                seq = seq.wrapping_add(ADVANCE);
                mbuf.head_mut(packet.len())
                    .map_err(|_| anyhow!("a packet of another length"))?
                    .copy_from_slice(&packet);
            }
            let level = SoftNet::raise();
            let start = Instant::now();
            if together {
                machine.pf.hook_burst(&level, Direction::In, INTERFACE, &mut ring);
            } else {
                for slot in &mut ring {
                    if let Some(mbuf) = slot.take()
                        && let Verdict::Pass(mbuf) = machine.pf.hook(&level, Direction::In, INTERFACE, mbuf)
                    {
                        *slot = Some(mbuf);
                    }
                }
            }
            elapsed += start.elapsed();
            ensure!(ring.iter().all(Option::is_some), "a packet was dropped");
        }
        times[usize::from(!together)].push(elapsed.as_nanos() as f64 / SPAN as f64);
    }
    let names = ["packet-established", "packet-established-single"];
    let record = |(name, times)| Record {
        name,
        states,
        addresses,
        rules: Some(rules().len()),
        ns: Some(tenths(median(times))),
        ..Record::default()
    };
    Ok(names.into_iter().zip(times).map(record).collect())
}

/// A ruleset of `count` rules: a default, ports and networks that nobody asks for, and at last the one rule that matches.
pub(crate) fn many_rules(count: usize) -> Vec<Rule> {
    let rule = |action: pf_abi::Action| Rule {
        action: action.into(),
        af: pf_abi::AF_INET,
        ..Rule::default()
    };
    let mut rules = vec![rule(pf_abi::Action::Drop)];
    for n in 0..count.saturating_sub(2) {
        let mut other = rule(pf_abi::Action::Drop);
        let [.., high, low] = (n as u32).to_be_bytes();
        if n % 2 == 0 {
            other.proto = Proto::TCP.0;
            other.dst.port_op = PortOp::Equal.into();
            other.dst.port[0] = Be16::new(20_000 + n as u16);
        } else {
            let addr = std::net::IpAddr::from([172, 16, high, low]);
            other.src.addr = AddrWrap::masked(addr.into(), std::net::IpAddr::from([255; 4]).into());
        }
        rules.push(other);
    }
    rules.push(rule(pf_abi::Action::Pass));
    rules
}

/// The SYN of one of many connections.
pub(crate) fn syn(number: u32) -> Vec<u8> {
    let [.., high, low] = number.to_be_bytes();
    let ends = Ends {
        // To several servers, for NAT to have ports for all.
        addrs: [[10, 0, high, low], [198, 51, 100, low & 15]].map(|octets| std::net::IpAddr::from(octets).into()),
        ports: [1025, 443],
    };
    segment(ends, 1, 0, TcpFlags::SYN, &[], 0)
}

/// A packet without a state that passes by the last rule and leaves no state: a ruleset of 10 rules beside one of 10,000.
pub(crate) fn measure_rules(passes: usize) -> anyhow::Result<Vec<Record>> {
    const PACKETS: u32 = 20_000;
    let ends = Ends {
        addrs: [[10, 0, 0, 1], [198, 51, 100, 7]].map(|octets| std::net::IpAddr::from(octets).into()),
        ports: [1025, 443],
    };
    let mut records = vec![];
    for count in [10, 10_000] {
        let machine = Machine::new(1000, &many_rules(count))?;
        let packet = segment(ends, 1, 0, TcpFlags::SYN, &[], 0);
        let level = SoftNet::raise();
        let mut times = vec![];
        for _ in 0..passes {
            let mut mbuf = Some(Mbuf::from_bytes(packet.clone()));
            let start = Instant::now();
            for _ in 0..PACKETS {
                let Some(Verdict::Pass(passed)) = mbuf
                    .take()
                    .map(|mbuf| machine.pf.hook(&level, Direction::In, INTERFACE, mbuf))
                else {
                    anyhow::bail!("a packet was dropped");
                };
                mbuf = Some(passed);
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(PACKETS));
        }
        records.push(Record {
            name: "rules",
            rules: Some(count),
            ns: Some(tenths(median(times))),
            ..Record::default()
        });
    }
    Ok(records)
}
