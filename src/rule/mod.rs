//! Rules: what pfctl(8) loads, checked and put into a form that packets can be compared with.
//!
//! # Life cycle
//! A rule is made from the ABI's struct by [`Rule::new`], which refuses what makes no sense and what this pf does not do: a
//! rule that is loaded means what it says. It is immutable from then on, but for its counters; its ruleset and its states
//! hold it by reference, so it lives until the last of them goes.
//!
//! # Locking
//! None. What is counted is atomic.

mod matching;
mod ruleset;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pf_abi as abi;
use zerocopy::IntoBytes;

pub use matching::Subject;
pub use ruleset::{Config, RuleList};

use crate::kpi::{Direction, Errno, NoMemory};
use crate::mem::{KBox, Tally};
use crate::nat::Pool;
use crate::wire::tcp::TcpFlags;
use crate::wire::{Addr, Af, Proto};

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `pass`
    Pass,
    /// `block`, and what the sender hears of it.
    Block(Answer),
    /// `nat`, `rdr`: translate, and with `pass`, do not evaluate the filter rules.
    Translate,
    /// `no nat`, `no rdr`: leave the packet as it is.
    NoTranslation,
}

/// What a blocked packet's sender hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// A reset, where the packet is TCP, with this TTL (0 for the default).
    pub reset: Option<u8>,
    /// An ICMP error of this type and code, where the packet is IPv4 and was not reset.
    pub icmp: Option<(u8, u8)>,
    /// The same for IPv6.
    pub icmp6: Option<(u8, u8)>,
}

/// How two numbers bound a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMatch {
    op: abi::PortOp,
    low: u16,
    high: u16,
}

impl PortMatch {
    /// Takes an operator and its two ports in host order.
    pub fn new(op: u8, port: [abi::Be16; 2]) -> Result<Self, Errno> {
        let op = abi::PortOp::try_from(op).map_err(|_| Errno::Einval)?;
        Ok(PortMatch {
            op,
            low: port[0].get(),
            high: port[1].get(),
        })
    }

    /// Whether `port` is within.
    #[inline]
    pub fn matches(&self, port: u16) -> bool {
        match self.op {
            abi::PortOp::None => true,
            abi::PortOp::InsideRange => self.low < port && port < self.high,
            abi::PortOp::Equal => port == self.low,
            abi::PortOp::NotEqual => port != self.low,
            abi::PortOp::Less => port < self.low,
            abi::PortOp::LessOrEqual => port <= self.low,
            abi::PortOp::Greater => port > self.low,
            abi::PortOp::GreaterOrEqual => port >= self.low,
            abi::PortOp::OutsideRange => port < self.low || port > self.high,
            abi::PortOp::Range => self.low <= port && port <= self.high,
        }
    }

    /// Whether it looks at ports at all.
    pub fn is_any(&self) -> bool {
        self.op == abi::PortOp::None
    }
}

/// One end of the packets that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    addr: Addr,
    mask: Addr,
    negated: bool,
    port: PortMatch,
}

impl Endpoint {
    /// Takes the ABI's. An address of a rule for both families is EINVAL; what is not an address and a mask (a table, an
    /// interface, a route) is EOPNOTSUPP.
    pub fn new(from: &abi::RuleAddr, af: Option<Af>) -> Result<Self, Errno> {
        match abi::AddrKind::try_from(from.addr.kind) {
            Ok(abi::AddrKind::AddrMask) => (),
            Ok(_) => return Err(Errno::Eopnotsupp),
            Err(_) => return Err(Errno::Einval),
        }
        let mask = Addr::from(from.addr.a.mask);
        let mask = match af {
            Some(af) => mask.of_family(af),
            None if mask.is_zero() => mask,
            None => return Err(Errno::Einval),
        };
        Ok(Endpoint {
            addr: Addr::from(from.addr.a.addr).masked(&mask),
            mask,
            negated: from.neg != 0,
            port: PortMatch::new(from.port_op, from.port)?,
        })
    }

    /// Whether the address is within; a mask of no bits is `any`, and `! any` matches nothing.
    #[inline]
    pub fn matches_addr(&self, addr: &Addr) -> bool {
        addr.matches(&self.addr, &self.mask) != self.negated
    }

    /// Whether the port is within.
    #[inline]
    pub fn matches_port(&self, port: u16) -> bool {
        self.port.matches(port)
    }

    /// The lowest port of a range, or the one port.
    pub fn first_port(&self) -> u16 {
        self.port.low
    }

    /// Whether ports are looked at.
    pub fn has_port(&self) -> bool {
        !self.port.is_any()
    }
}

/// Packets and bytes, by direction: in, out.
#[derive(Debug)]
pub struct Counters(Tally<4>);

impl Counters {
    fn new() -> Result<Self, NoMemory> {
        Ok(Counters(Tally::new()?))
    }

    /// Counts one packet.
    #[inline]
    pub fn count(&self, direction: Direction, bytes: u32) {
        let at = usize::from(direction == Direction::Out);
        self.0.add(at, 1);
        self.0.add(2 + at, bytes.into());
    }

    /// Packets in and out.
    pub fn packets(&self) -> [u64; 2] {
        [0, 1].map(|at| self.0.get(at))
    }

    /// Bytes in and out.
    pub fn bytes(&self) -> [u64; 2] {
        [2, 3].map(|at| self.0.get(at))
    }

    /// Sets all to zero.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// A rule of any list.
#[derive(Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Packets of one direction only.
    pub direction: Option<Direction>,
    /// The first match decides.
    pub quick: bool,
    /// `PF_LOG*`.
    pub log: u8,
    /// The interface, by its number in the interface table; 0 for any.
    pub interface: u16,
    /// Every interface but that one.
    pub interface_negated: bool,
    /// One family only.
    pub af: Option<Af>,
    /// One protocol only.
    pub proto: Option<Proto>,
    /// Where packets come from.
    pub src: Endpoint,
    /// Where they go.
    pub dst: Endpoint,
    /// Of these TCP flags...
    pub flagset: TcpFlags,
    /// ...these are set.
    pub flags: TcpFlags,
    /// The ICMP type.
    pub icmp_type: Option<u8>,
    /// The ICMP code.
    pub icmp_code: Option<u8>,
    /// Fragments only.
    pub fragments_only: bool,
    /// Make a state.
    pub keep_state: bool,
    /// Packets with IP options may pass.
    pub allow_opts: bool,
    /// The filter rules are not evaluated for what this rule translates.
    pub translate_pass: bool,
    /// States that the rule may have; 0 for no limit.
    pub max_states: u32,
    /// Timeouts of its own, by PFTM_*; 0 where the global one applies.
    pub timeouts: [u32; abi::Timeout::COUNT],
    /// Where a translation takes addresses and ports from.
    pub pool: Option<Pool>,
    /// How often it was compared with a packet.
    pub evaluations: AtomicU64,
    /// What it matched.
    pub counters: Counters,
    /// States that it has.
    pub states: AtomicU32,
    /// Its number in its list.
    pub nr: u32,
    /// The rule as it was loaded, without counters and kernel pointers: what DIOCGETRULE hands out.
    source: KBox<abi::Rule>,
    /// The addresses of its pool as they were loaded.
    addresses: KVecOfAddresses,
}

type KVecOfAddresses = crate::mem::KVec<abi::PoolAddr>;

impl Rule {
    /// Takes a rule as the ABI has it, and the addresses of its pool. `interface` is the number of `source.ifname`, `nr` its
    /// number in its list.
    ///
    /// # Errors
    /// EINVAL for what makes no sense, EOPNOTSUPP for what makes sense and is not done here.
    pub fn new(
        mut source: KBox<abi::Rule>,
        addresses: KVecOfAddresses,
        interface: u16,
        nr: u32,
    ) -> Result<Self, Errno> {
        refuse_unsupported(&source)?;
        let action = action(&source)?;
        let direction = match abi::Direction::try_from(source.direction).map_err(|_| Errno::Einval)? {
            abi::Direction::InOut => None,
            abi::Direction::In => Some(Direction::In),
            abi::Direction::Out => Some(Direction::Out),
        };
        let af = match source.af {
            abi::AF_UNSPEC => None,
            af => Some(Af::try_from(af).map_err(|_| Errno::Einval)?),
        };
        let proto = (source.proto != 0).then_some(Proto(source.proto));
        let (src, dst) = (Endpoint::new(&source.src, af)?, Endpoint::new(&source.dst, af)?);
        let has_ports = matches!(proto, Some(Proto::TCP | Proto::UDP));
        if (src.has_port() || dst.has_port()) && !has_ports {
            return Err(Errno::Einval);
        }
        if source.keep_state > abi::PF_STATE_SYNPROXY {
            return Err(Errno::Einval);
        }
        let pool = match action {
            Action::Translate => Some(Pool::new(&source.rpool, &addresses, af)?),
            _ if addresses.is_empty() => None,
            _ => return Err(Errno::Einval),
        };
        strip(&mut source, nr);
        Ok(Rule {
            action,
            direction,
            quick: source.quick != 0,
            log: source.log,
            interface,
            interface_negated: source.ifnot != 0,
            af,
            proto,
            src,
            dst,
            flagset: TcpFlags::from_bits_retain(source.flagset),
            flags: TcpFlags::from_bits_retain(source.flags),
            icmp_type: source.kind.checked_sub(1),
            icmp_code: source.code.checked_sub(1),
            fragments_only: source.rule_flag & abi::PFRULE_FRAGMENT != 0,
            keep_state: source.keep_state != 0,
            allow_opts: source.allow_opts != 0,
            translate_pass: source.natpass != 0,
            max_states: source.max_states,
            timeouts: source.timeout,
            pool,
            evaluations: AtomicU64::new(0),
            counters: Counters::new()?,
            states: AtomicU32::new(0),
            nr,
            source,
            addresses,
        })
    }

    /// The rule as the ABI has it, with its counters as they are now.
    pub fn export(&self, to: &mut abi::Rule) {
        // Byte by byte: a clone would pass over the stack.
        to.as_mut_bytes().copy_from_slice(self.source.as_bytes());
        to.evaluations = self.evaluations.load(Ordering::Relaxed);
        to.packets = self.counters.packets();
        to.bytes = self.counters.bytes();
        to.states = self.states.load(Ordering::Relaxed);
    }

    /// The addresses of its pool.
    pub fn addresses(&self) -> &[abi::PoolAddr] {
        &self.addresses
    }

    /// Sets its counters to zero; not the number of states, which is no counter.
    pub fn clear_counters(&self) {
        self.evaluations.store(0, Ordering::Relaxed);
        self.counters.clear();
    }
}

/// What a blocked packet's sender hears, or the other actions.
fn action(source: &abi::Rule) -> Result<Action, Errno> {
    let flags = source.rule_flag;
    // 0 stands for none.
    let icmp = |word: u16| (word != 0).then_some(((word >> 8) as u8, word as u8));
    Ok(match abi::Action::try_from(source.action).map_err(|_| Errno::Einval)? {
        abi::Action::Pass => Action::Pass,
        abi::Action::Drop => {
            let with_icmp = flags & (abi::PFRULE_RETURNICMP | abi::PFRULE_RETURN) != 0;
            Action::Block(Answer {
                reset: (flags & (abi::PFRULE_RETURNRST | abi::PFRULE_RETURN) != 0).then_some(source.return_ttl),
                icmp: if with_icmp { icmp(source.return_icmp) } else { None },
                icmp6: if with_icmp { icmp(source.return_icmp6) } else { None },
            })
        }
        abi::Action::Nat | abi::Action::Rdr => Action::Translate,
        abi::Action::NoNat | abi::Action::NoRdr => Action::NoTranslation,
        abi::Action::Scrub | abi::Action::NoScrub | abi::Action::Binat | abi::Action::NoBinat => {
            return Err(Errno::Eopnotsupp);
        }
        abi::Action::SynproxyDrop => return Err(Errno::Einval),
    })
}

/// A rule that asks for what is not done here is refused, rather than loaded and not obeyed.
fn refuse_unsupported(source: &abi::Rule) -> Result<(), Errno> {
    let flags = abi::PFRULE_RETURNRST | abi::PFRULE_RETURNICMP | abi::PFRULE_RETURN | abi::PFRULE_FRAGMENT
        // Nothing announces states, so none is announced.
        | abi::PFRULE_NOSYNC;
    let asks = source.rule_flag & !flags != 0
        || source.keep_state > abi::PF_STATE_NORMAL
        || source.rt != abi::PF_NOPFROUTE
        || source.os_fingerprint != abi::PF_OSFP_ANY
        || source.rtableid > 0
        || source.uid.op != abi::PF_OP_NONE
        || source.gid.op != abi::PF_OP_NONE
        || source.prob != 0
        || source.tos != 0
        || source.min_ttl != 0
        || source.max_mss != 0
        || source.max_src_nodes != 0
        || source.max_src_states != 0
        || source.max_src_conn != 0
        || source.max_src_conn_rate.limit != 0
        || !source.qname.is_empty()
        || !source.pqname.is_empty()
        || !source.tagname.is_empty()
        || !source.match_tagname.is_empty()
        || !source.overload_tblname.is_empty();
    if asks { Err(Errno::Eopnotsupp) } else { Ok(()) }
}

/// Takes out of a rule what is the kernel's to say.
fn strip(source: &mut abi::Rule, nr: u32) {
    source.nr = nr;
    source.skip = Default::default();
    source.entries = Default::default();
    source.rpool.list = Default::default();
    source.rpool.cur = Default::default();
    source.kif = Default::default();
    source.anchor = Default::default();
    source.overload_tbl = Default::default();
    source.src.addr.p = 0;
    source.dst.addr.p = 0;
    source.evaluations = 0;
    source.packets = [0; 2];
    source.bytes = [0; 2];
    source.states = 0;
    source.src_nodes = 0;
}

/// Makes room for a rule of zeros.
pub fn blank() -> Result<KBox<abi::Rule>, NoMemory> {
    KBox::zeroed()
}
