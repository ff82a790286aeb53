//! One end of the packets that a rule is about: an address and a port.
//!
//! # Locking
//! None: immutable. A table that is spoken of has its own, and is read in the packet's passive section.

use pf_abi as abi;

use super::{Subject, Surroundings};
use crate::iface::{DynamicAddr, Interfaces};
use crate::kpi::{Errno, ReadSection, Route};
use crate::table::TableRef;
use crate::wire::{Addr, Af, ipv6};

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

/// An address and a mask; a mask of no bits is `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    addr: Addr,
    mask: Addr,
}

impl Net {
    /// Takes the ABI's. An address without a family is EINVAL; what is not an address and a mask (a table, an interface, a
    /// route) is EOPNOTSUPP.
    pub fn new(from: &abi::AddrWrap, af: Option<Af>) -> Result<Self, Errno> {
        match abi::AddrKind::try_from(from.kind) {
            Ok(abi::AddrKind::AddrMask) => (),
            Ok(_) => return Err(Errno::Eopnotsupp),
            Err(_) => return Err(Errno::Einval),
        }
        let mask = Addr::from(from.a.mask);
        let mask = match af {
            Some(af) => mask.of_family(af),
            None if mask.is_zero() => mask,
            None => return Err(Errno::Einval),
        };
        Ok(Net {
            addr: Addr::from(from.a.addr).masked(&mask),
            mask,
        })
    }

    /// The mask.
    pub(super) fn mask(&self) -> &Addr {
        &self.mask
    }

    /// Whether the address is within.
    #[inline]
    pub fn contains(&self, addr: &Addr) -> bool {
        addr.matches(&self.addr, &self.mask)
    }
}

/// What an address is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Within {
    /// An address and a mask.
    Net(Net),
    /// What addresses an interface has.
    Dynamic(DynamicAddr),
    /// `<name>`
    Table(TableRef),
    /// `no-route`: addresses to which there is no route.
    NoRoute,
    /// `urpf-failed`: addresses to which the route is by another interface than the packet's.
    UrpfFailed,
}

/// Where packets to an address leave: the interface by its number. One that is on every link is on the packet's: a routing
/// table knows it only together with a link.
#[inline(never)]
fn route(subject: &Subject, addr: &Addr, around: &Surroundings<'_>) -> Route {
    let is_ipv6 = subject.af == Af::Inet6;
    if is_ipv6 && ipv6::is_of_link(addr) {
        return Route::By(subject.interface);
    }
    match around.kernel.route(is_ipv6, &addr.octets()) {
        Route::By(ifindex) => Route::By(around.interfaces.number(ifindex)),
        other => other,
    }
}

/// Whether a packet that comes from there would not come in here. What comes from nowhere has failed as well.
fn has_wrong_interface(subject: &Subject, addr: &Addr, around: &Surroundings<'_>) -> bool {
    match route(subject, addr, around) {
        Route::By(interface) => interface != subject.interface,
        Route::None => true,
        Route::Unknown => false,
    }
}

/// One end of the packets that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    within: Within,
    negated: bool,
    port: PortMatch,
}

impl Endpoint {
    /// Takes the ABI's. `interface` is the number of the interface whose addresses are meant, `table` the table, if one is. An
    /// address of a rule for both families is EINVAL; a route's label is EOPNOTSUPP.
    pub fn new(from: &abi::RuleAddr, interface: u16, table: Option<TableRef>, af: Option<Af>) -> Result<Self, Errno> {
        let within = match (abi::AddrKind::try_from(from.addr.kind), table) {
            (Ok(abi::AddrKind::Table), Some(table)) => Within::Table(table),
            (Ok(abi::AddrKind::DynIfTl), _) => {
                let mask = Addr::from(from.addr.a.mask);
                Within::Dynamic(DynamicAddr::new(interface, from.addr.iflags, mask)?)
            }
            (Ok(abi::AddrKind::NoRoute), _) => Within::NoRoute,
            (Ok(abi::AddrKind::UrpfFailed), _) => Within::UrpfFailed,
            _ => Within::Net(Net::new(&from.addr, af)?),
        };
        Ok(Endpoint {
            within,
            negated: from.neg != 0,
            port: PortMatch::new(from.port_op, from.port)?,
        })
    }

    /// The first address of the network that the end is now, for `binat` to give.
    pub(super) fn network(&self, interfaces: &Interfaces, af: Af) -> Option<Addr> {
        match &self.within {
            Within::Net(net) => Some(net.addr),
            Within::Dynamic(dynamic) => {
                let mut nets = dynamic.without_link_local().nets(interfaces, af);
                nets.next().map(|(net, _)| net)
            }
            Within::Table(_) | Within::NoRoute | Within::UrpfFailed => None,
        }
    }

    /// Whether it is a network, at any one time.
    pub(super) fn is_network(&self) -> bool {
        matches!(self.within, Within::Net(_) | Within::Dynamic(_))
    }

    /// The mask of the network, where that is always the same.
    pub(super) fn fixed_mask(&self) -> Option<&Addr> {
        match &self.within {
            Within::Net(net) => Some(net.mask()),
            _ => None,
        }
    }

    /// Whether the address is within; `! any` matches nothing.
    #[inline]
    pub fn matches_addr(&self, subject: &Subject, addr: &Addr, around: &Surroundings<'_>) -> bool {
        let within = match &self.within {
            Within::Net(net) => net.contains(addr),
            Within::Dynamic(dynamic) => dynamic.contains(around.interfaces, subject.af, addr),
            Within::Table(table) => table.contains(subject.af, addr, around.section),
            Within::NoRoute => route(subject, addr, around) == Route::None,
            Within::UrpfFailed => has_wrong_interface(subject, addr, around),
        };
        within != self.negated
    }

    /// How many addresses of interfaces it stands for now.
    pub fn count(&self, interfaces: &Interfaces) -> Option<usize> {
        match &self.within {
            Within::Net(_) | Within::Table(_) | Within::NoRoute | Within::UrpfFailed => None,
            Within::Dynamic(dynamic) => Some(dynamic.count(interfaces)),
        }
    }

    /// The number of the interface whose addresses it stands for, if it does.
    pub fn interface(&self) -> Option<u16> {
        match &self.within {
            Within::Net(_) | Within::Table(_) | Within::NoRoute | Within::UrpfFailed => None,
            Within::Dynamic(dynamic) => Some(dynamic.interface()),
        }
    }

    /// The table that it is about.
    pub fn table(&self) -> Option<&TableRef> {
        match &self.within {
            Within::Table(table) => Some(table),
            Within::Net(_) | Within::Dynamic(_) | Within::NoRoute | Within::UrpfFailed => None,
        }
    }

    /// How many addresses its table has; nothing where there is none, or it is not active.
    pub fn table_len(&self, section: &ReadSection<'_>) -> Option<usize> {
        Some(self.table()?.addresses(section)?.len())
    }

    /// Whether it is every address but those: `!`.
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether the port is within.
    #[inline]
    pub fn matches_port(&self, port: u16) -> bool {
        self.port.matches(port)
    }

    /// The prefix that an address has to have, where it is one network of a family and no more is to be known.
    pub(super) fn prefix(&self, af: Option<Af>) -> Option<(Addr, u8, Af)> {
        let af = af?;
        match &self.within {
            Within::Net(net) if !self.negated => {
                let mask = net.mask.to_bits();
                let length = mask.leading_ones();
                let is_plain = mask.checked_shl(length).unwrap_or(0) == 0;
                let length = u8::try_from(length)
                    .ok()
                    .filter(|length| is_plain && *length <= af.bits())?;
                Some((net.addr, length, af))
            }
            _ => None,
        }
    }

    /// The one port that is looked for, if there is one.
    pub(super) fn only_port(&self) -> Option<u16> {
        (self.port.op == abi::PortOp::Equal).then_some(self.port.low)
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
