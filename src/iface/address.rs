//! Addresses of interfaces, and rules that mean whatever addresses an interface has: `(em0)`, `(em0:network)`.
//!
//! # Life cycle
//! The system tells all addresses of an interface at once, whenever one comes or goes; the table of interfaces is replaced then. A
//! [`DynamicAddr`] belongs to its rule and holds no address: it is looked up in the table of the moment.
//!
//! # Locking
//! None: immutable.

use pf_abi::{PFI_AFLAG_BROADCAST, PFI_AFLAG_MODEMASK, PFI_AFLAG_NETWORK, PFI_AFLAG_NOALIAS, PFI_AFLAG_PEER};

use super::Interfaces;
use crate::kpi::Errno;
use crate::wire::{Addr, Af};

/// Bits of a mask that leaves an address as it is, in either family.
const WHOLE: u8 = 128;

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The family of all that is here.
    pub af: Af,
    /// The address. A link-local one has no number of an interface in it.
    pub addr: Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// The broadcast address of its network, where the interface has one.
    pub broadcast: Option<Addr>,
    /// The other end of a point-to-point link.
    pub peer: Option<Addr>,
}

impl InterfaceAddress {
    /// An address and the bits of its network, and no more.
    pub fn new(af: Af, addr: Addr, prefix: u8) -> Self {
        InterfaceAddress {
            af,
            addr: addr.of_family(af),
            prefix: prefix.min(af.bits()),
            broadcast: None,
            peer: None,
        }
    }

    fn is_link_local(&self) -> bool {
        self.af == Af::Inet6 && matches!(self.addr.octets(), [0xfe, second, ..] if second & 0xc0 == 0x80)
    }
}

/// The addresses that an interface, or every interface of a group, has at the time of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicAddr {
    /// The number of the interface or the group; [`ALL`](super::ALL) for `self`.
    interface: u16,
    /// `PFI_AFLAG_*`
    flags: u8,
    /// Bits of the mask.
    prefix: u8,
    /// Link-local addresses are not meant.
    no_link_local: bool,
}

impl DynamicAddr {
    /// The addresses of the interface with this number. `flags` are `PFI_AFLAG_*`.
    ///
    /// # Errors
    /// EINVAL for flags that there are not or that exclude each other, and for a mask with holes.
    pub fn new(interface: u16, flags: u8, mask: Addr) -> Result<Self, Errno> {
        let known = PFI_AFLAG_MODEMASK | PFI_AFLAG_NOALIAS;
        if flags & !known != 0 || (flags & PFI_AFLAG_MODEMASK).count_ones() > 1 {
            return Err(Errno::Einval);
        }
        let prefix = mask.prefix_len().ok_or(Errno::Einval)?;
        Ok(DynamicAddr {
            interface,
            flags,
            prefix,
            no_link_local: false,
        })
    }

    /// The same but for link-local addresses, which mean nothing to who is not on the link: those that packets are given.
    pub fn without_link_local(self) -> Self {
        DynamicAddr {
            no_link_local: true,
            ..self
        }
    }

    /// The number of the interface or the group.
    pub fn interface(&self) -> u16 {
        self.interface
    }

    /// The networks, each as an address and a mask, in the order in which the system has the addresses. A rule of `af`'s family
    /// that says `/32` means IPv4 addresses as they are.
    pub fn nets<'a>(&self, interfaces: &'a Interfaces, af: Af) -> impl Iterator<Item = (Addr, Addr)> + use<'a> {
        let (of, flags, no_link_local) = (self.interface, self.flags, self.no_link_local);
        let prefix = match af {
            Af::Inet if self.prefix == Af::Inet.bits() => WHOLE,
            _ => self.prefix,
        };
        interfaces.members(of).flat_map(move |addresses| {
            let first_only = flags & PFI_AFLAG_NOALIAS != 0;
            let is_meant =
                move |address: &&InterfaceAddress| address.af == af && !(no_link_local && address.is_link_local());
            let found = addresses.iter().filter(is_meant);
            found
                .filter_map(move |address| net(address, flags, prefix))
                .take(if first_only { 1 } else { usize::MAX })
        })
    }

    /// Whether the address is within one of the networks.
    #[inline]
    pub fn contains(&self, interfaces: &Interfaces, af: Af, addr: &Addr) -> bool {
        self.nets(interfaces, af).any(|(net, mask)| addr.matches(&net, &mask))
    }

    /// How many networks there are now, of both families.
    pub fn count(&self, interfaces: &Interfaces) -> usize {
        [Af::Inet, Af::Inet6]
            .into_iter()
            .map(|af| self.nets(interfaces, af).count())
            .sum()
    }
}

/// What the flags make of an address; nothing where it has not got what they ask for.
fn net(address: &InterfaceAddress, flags: u8, prefix: u8) -> Option<(Addr, Addr)> {
    let (addr, own) = match flags & PFI_AFLAG_MODEMASK {
        PFI_AFLAG_NETWORK if address.is_link_local() => return None,
        PFI_AFLAG_NETWORK => (address.addr, address.prefix),
        PFI_AFLAG_BROADCAST if address.af == Af::Inet6 => return None,
        PFI_AFLAG_BROADCAST => (address.broadcast?, WHOLE),
        PFI_AFLAG_PEER => (address.peer?, WHOLE),
        _ => (address.addr, WHOLE),
    };
    let bits = if prefix == WHOLE { own } else { prefix };
    let mask = Addr::prefix_mask(address.af, bits.min(address.af.bits()))?;
    Some((addr.masked(&mask), mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::IfName;
    use std::net::IpAddr;
    use std::vec::Vec;

    fn name(text: &str) -> IfName {
        IfName::new(text).unwrap()
    }

    fn address(text: &str, prefix: u8) -> InterfaceAddress {
        let ip: IpAddr = text.parse().unwrap();
        let af = if ip.is_ipv4() { Af::Inet } else { Af::Inet6 };
        InterfaceAddress::new(af, ip.into(), prefix)
    }

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// em0, index 1, with addresses of every kind; em1, index 2, with one; tun0, index 3, with a peer.
    fn interfaces() -> Interfaces {
        let broadcast = |mut it: InterfaceAddress, of: &str| {
            it.broadcast = Some(addr(of));
            it
        };
        let mut peer = address("10.9.0.1", 32);
        peer.peer = Some(addr("10.9.0.2"));
        let em0 = [
            broadcast(address("192.0.2.1", 24), "192.0.2.255"),
            broadcast(address("192.0.2.9", 25), "192.0.2.127"),
            address("fe80::1", 64),
            address("2001:db8::1", 64),
        ];
        let table = Interfaces::new().unwrap();
        let table = table.with_attached(1, name("em0")).unwrap();
        let table = table.with_attached(2, name("em1")).unwrap();
        let table = table.with_attached(3, name("tun0")).unwrap();
        let table = table.with_addresses(1, &em0).unwrap();
        let table = table.with_addresses(2, &[address("10.0.0.1", 8)]).unwrap();
        table.with_addresses(3, &[peer]).unwrap()
    }

    fn nets(table: &Interfaces, of: &str, flags: u8, prefix: u8, af: Af) -> Vec<std::string::String> {
        let (table, number) = table.with_name(name(of)).unwrap();
        let mask = Addr::prefix_mask(Af::Inet6, prefix).unwrap();
        let dynamic = DynamicAddr::new(number, flags, mask).unwrap();
        let nets = dynamic.nets(&table, af);
        nets.map(|(net, mask)| std::format!("{}/{}", net.display(af), mask.to_bits().leading_ones()))
            .collect()
    }

    #[test]
    fn each_modifier_has_its_addresses() {
        let table = interfaces();
        let em0 = |flags, af| nets(&table, "em0", flags, 128, af);
        assert_eq!(em0(0, Af::Inet), ["192.0.2.1/32", "192.0.2.9/32"]);
        assert_eq!(em0(0, Af::Inet6), ["fe80::1/128", "2001:db8::1/128"]);
        assert_eq!(em0(PFI_AFLAG_NETWORK, Af::Inet), ["192.0.2.0/24", "192.0.2.0/25"]);
        assert_eq!(em0(PFI_AFLAG_NETWORK, Af::Inet6), ["2001:db8::/64"]);
        assert_eq!(em0(PFI_AFLAG_BROADCAST, Af::Inet), ["192.0.2.255/32", "192.0.2.127/32"]);
        assert!(em0(PFI_AFLAG_BROADCAST, Af::Inet6).is_empty());
        assert_eq!(em0(PFI_AFLAG_NOALIAS, Af::Inet), ["192.0.2.1/32"]);
        assert_eq!(em0(PFI_AFLAG_NETWORK | PFI_AFLAG_NOALIAS, Af::Inet6), ["2001:db8::/64"]);
        assert!(em0(PFI_AFLAG_PEER, Af::Inet).is_empty());
        assert_eq!(nets(&table, "tun0", PFI_AFLAG_PEER, 128, Af::Inet), ["10.9.0.2/32"]);
    }

    #[test]
    fn link_local_addresses_can_be_left_out() {
        let (table, number) = interfaces().with_name(name("em0")).unwrap();
        for flags in [0, PFI_AFLAG_NOALIAS] {
            let dynamic = DynamicAddr::new(number, flags, Addr::from_bits(u128::MAX)).unwrap();
            let dynamic = dynamic.without_link_local();
            let addresses: Vec<_> = dynamic.nets(&table, Af::Inet6).map(|(net, _)| net).collect();
            assert_eq!(addresses, [addr("2001:db8::1")]);
            assert!(!dynamic.contains(&table, Af::Inet6, &addr("fe80::1")));
        }
    }

    #[test]
    fn a_mask_of_the_rule_goes_before_the_interfaces_own() {
        let table = interfaces();
        assert_eq!(nets(&table, "em1", 0, 16, Af::Inet), ["10.0.0.0/16"]);
        assert_eq!(nets(&table, "em1", PFI_AFLAG_NETWORK, 16, Af::Inet), ["10.0.0.0/16"]);
        // What pfctl(8) makes of a rule of IPv4 that gives no mask.
        assert_eq!(nets(&table, "em1", PFI_AFLAG_NETWORK, 32, Af::Inet), ["10.0.0.0/8"]);
    }

    #[test]
    fn a_group_has_the_addresses_of_its_members() {
        let table = interfaces();
        assert_eq!(
            nets(&table, "em", PFI_AFLAG_NOALIAS, 128, Af::Inet),
            ["192.0.2.1/32", "10.0.0.1/32"]
        );
        assert_eq!(nets(&table, "all", 0, 128, Af::Inet).len(), 4);
    }

    #[test]
    fn addresses_come_and_go() {
        let table = interfaces();
        let gone = table.without_attached(2).unwrap();
        assert!(nets(&gone, "em1", 0, 128, Af::Inet).is_empty());
        let other = table.with_addresses(2, &[address("10.0.0.7", 8)]).unwrap();
        assert_eq!(nets(&other, "em1", 0, 128, Af::Inet), ["10.0.0.7/32"]);
        assert_eq!(nets(&table, "em1", 0, 128, Af::Inet), ["10.0.0.1/32"]);
        assert!(nets(&table, "em7", 0, 128, Af::Inet).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let whole = Addr::from_bits(u128::MAX);
        for flags in [PFI_AFLAG_NETWORK | PFI_AFLAG_PEER, 0x10, 0xff] {
            assert_eq!(DynamicAddr::new(1, flags, whole), Err(Errno::Einval), "{flags:#x}");
        }
        assert_eq!(DynamicAddr::new(1, 0, Addr::from_bits(5)), Err(Errno::Einval));
    }
}
