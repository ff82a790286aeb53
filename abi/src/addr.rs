//! Addresses, address specifications of rules, and pools of addresses.

use crate::{Be16, CName, IfName, UserPtr};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `AF_UNSPEC`: any address family.
pub const AF_UNSPEC: u8 = 0;
/// `AF_INET` as NetBSD numbers it.
pub const AF_INET: u8 = 2;
/// `AF_INET6` as NetBSD numbers it (Linux has another number).
pub const AF_INET6: u8 = 24;

/// `struct pf_addr`: an IPv6 address, or an IPv4 address in the first four of sixteen bytes. In network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Addr([u32; 4]);

impl Addr {
    /// All bytes zero: `0.0.0.0` or `::`.
    pub const ZERO: Self = Self([0; 4]);

    /// An IPv4 address; the other twelve bytes are zero.
    pub const fn from_v4(addr: Ipv4Addr) -> Self {
        Self([u32::from_ne_bytes(addr.octets()), 0, 0, 0])
    }

    /// An IPv6 address.
    pub fn from_v6(addr: Ipv6Addr) -> Self {
        zerocopy::transmute!(addr.octets())
    }

    /// The IPv4 address in the first four bytes.
    pub const fn v4(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.0[0].to_ne_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// The whole as an IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.octets())
    }

    /// The address by its family, or `None` for a family that is neither [`AF_INET`] nor [`AF_INET6`].
    pub fn to_ip(&self, af: u8) -> Option<IpAddr> {
        match af {
            AF_INET => Some(self.v4().into()),
            AF_INET6 => Some(self.v6().into()),
            _ => None,
        }
    }

    /// The sixteen bytes.
    pub fn octets(&self) -> [u8; 16] {
        zerocopy::transmute!(self.0)
    }

    /// The four words `addr32`, each in network byte order.
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }

    /// An address of four words, each in network byte order.
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::from_v4(addr),
            IpAddr::V6(addr) => Self::from_v6(addr),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [_, 0, 0, 0] => fmt::Display::fmt(&self.v4(), f),
            _ => fmt::Display::fmt(&self.v6(), f),
        }
    }
}

c_enum! {
    /// What an [`AddrWrap`] holds.
    pub enum AddrKind: u8 {
        /// An address and a mask; a zero mask is `any`.
        AddrMask = PF_ADDR_ADDRMASK = 0,
        /// Any address that has no route.
        NoRoute = PF_ADDR_NOROUTE = 1,
        /// The addresses of an interface at the time of the packet.
        DynIfTl = PF_ADDR_DYNIFTL = 2,
        /// The addresses of a table.
        Table = PF_ADDR_TABLE = 3,
        /// Any address whose route has a label.
        RtLabel = PF_ADDR_RTLABEL = 4,
        /// Any source that fails the reverse path check.
        UrpfFailed = PF_ADDR_URPFFAILED = 5,
    }
}

/// `PFI_AFLAG_NETWORK`: `(em0:network)`.
pub const PFI_AFLAG_NETWORK: u8 = 0x01;
/// `PFI_AFLAG_BROADCAST`: `(em0:broadcast)`.
pub const PFI_AFLAG_BROADCAST: u8 = 0x02;
/// `PFI_AFLAG_PEER`: `(em0:peer)`.
pub const PFI_AFLAG_PEER: u8 = 0x04;
/// `PFI_AFLAG_MODEMASK`: the bits of which at most one is set.
pub const PFI_AFLAG_MODEMASK: u8 = 0x07;
/// `PFI_AFLAG_NOALIAS`: `(em0:0)`.
pub const PFI_AFLAG_NOALIAS: u8 = 0x08;

/// `PF_TABLE_NAME_SIZE`: bytes in a table's name, the NUL included.
pub const PF_TABLE_NAME_SIZE: usize = 32;
/// The name of a table.
pub type TableName = CName<PF_TABLE_NAME_SIZE>;

c_struct! {
    /// The `v.a` of `struct pf_addr_wrap`: an address and the mask under which it is compared.
    #[derive(Copy, Hash)]
    pub struct AddrMask {
        /// The address.
        pub addr: Addr,
        /// The mask; all zero bits match any address.
        pub mask: Addr,
    }

    /// `struct pf_addr_wrap`: an address as a rule names it. The union `v` is read by the accessor that `kind` calls for.
    #[derive(Copy, Hash)]
    pub struct AddrWrap {
        /// `v.a`, and the bytes of the other members of `v`.
        pub a: AddrMask,
        /// `p`: a pointer in the kernel; outside, the count of addresses that a table or an interface stands for.
        pub p: u64,
        /// `PF_ADDR_*`.
        pub kind: u8,
        /// `PFI_AFLAG_*`, for `PF_ADDR_DYNIFTL`.
        pub iflags: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 6],
    }

    /// `struct pf_rule_addr`: the source or the destination of a rule.
    #[derive(Copy, Hash)]
    pub struct RuleAddr {
        /// The address.
        pub addr: AddrWrap,
        /// The port, or the two ports of a range.
        pub port: [Be16; 2],
        /// Not 0 where the rule matches every address but `addr`.
        pub neg: u8,
        /// `PF_OP_*`: how the port is compared.
        pub port_op: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 2],
    }

    /// `struct pf_pooladdr`: one address of a pool, as `DIOCADDADDR` takes it.
    #[derive(Copy, Hash)]
    pub struct PoolAddr {
        /// The address.
        pub addr: AddrWrap,
        /// `entries`: kernel pointers.
        pub entries: [UserPtr; 2],
        /// The interface of `route-to` and its like.
        pub ifname: IfName,
        /// `kif`: a kernel pointer.
        pub kif: UserPtr,
    }

    /// `struct pf_pool`: how a rule's pool of addresses is drawn from.
    #[derive(Copy, Hash)]
    pub struct Pool {
        /// `list`: kernel pointers.
        pub list: [UserPtr; 2],
        /// `cur`: a kernel pointer.
        pub cur: UserPtr,
        /// `key`: the key of `source-hash`.
        pub key: [u32; 4],
        /// The address given out last, of `round-robin`.
        pub counter: Addr,
        /// The index of the table's entry given out last.
        pub tblidx: i32,
        /// The ports to choose from, in host byte order. Of a `nat` rule: the lowest and the highest, or 0 and 0 for
        /// `static-port`. Of a `rdr` rule: the port, and the port where the range ends or 0.
        pub proxy_port: [u16; 2],
        /// `PF_OP_*` of the ports.
        pub port_op: u8,
        /// `PF_POOL_*`.
        pub opts: u8,
        #[doc(hidden)]
        pub _pad0: [u8; 6],
    }
}

impl AddrWrap {
    /// `any`: an address under a mask of no bits.
    pub fn any() -> Self {
        Self::default()
    }

    /// An address under a mask.
    pub fn masked(addr: Addr, mask: Addr) -> Self {
        Self {
            a: AddrMask { addr, mask },
            ..Self::default()
        }
    }

    /// The name of an interface, for `PF_ADDR_DYNIFTL`.
    pub fn ifname(&self) -> IfName {
        let (name, _) = IfName::read_from_prefix(self.a.as_bytes()).unwrap_or_default();
        name
    }

    /// Sets the name of an interface.
    pub fn set_ifname(&mut self, name: IfName) {
        self.a.zero();
        self.a.addr = Addr::read_from_bytes(name.as_array()).unwrap_or_default();
    }

    /// The name of a table, for `PF_ADDR_TABLE`.
    pub fn tblname(&self) -> TableName {
        let (name, _) = TableName::read_from_prefix(self.a.as_bytes()).unwrap_or_default();
        name
    }

    /// Sets the name of a table.
    pub fn set_tblname(&mut self, name: TableName) {
        self.a = AddrMask::read_from_bytes(name.as_array()).unwrap_or_default();
    }
}

c_enum! {
    /// How a port (or a user's number) is compared.
    pub enum PortOp: u8 {
        /// Not at all.
        None = PF_OP_NONE = 0,
        /// `a >< b`: greater than a and less than b.
        InsideRange = PF_OP_IRG = 1,
        /// `= a`
        Equal = PF_OP_EQ = 2,
        /// `!= a`
        NotEqual = PF_OP_NE = 3,
        /// `< a`
        Less = PF_OP_LT = 4,
        /// `<= a`
        LessOrEqual = PF_OP_LE = 5,
        /// `> a`
        Greater = PF_OP_GT = 6,
        /// `>= a`
        GreaterOrEqual = PF_OP_GE = 7,
        /// `a <> b`: less than a or greater than b.
        OutsideRange = PF_OP_XRG = 8,
        /// `a:b`: from a to b, both included.
        Range = PF_OP_RRG = 9,
    }
}

/// `PF_POOL_TYPEMASK`: the bits of [`Pool::opts`] that hold the type.
pub const PF_POOL_TYPEMASK: u8 = 0x0f;
/// `PF_POOL_STICKYADDR`: a source keeps the address it was given.
pub const PF_POOL_STICKYADDR: u8 = 0x20;

c_enum! {
    /// How an address is chosen from a pool: the low bits of [`Pool::opts`].
    pub enum PoolKind: u8 {
        /// The one address there is.
        None = PF_POOL_NONE = 0,
        /// `bitmask`
        Bitmask = PF_POOL_BITMASK = 1,
        /// `random`
        Random = PF_POOL_RANDOM = 2,
        /// `source-hash`
        SourceHash = PF_POOL_SRCHASH = 3,
        /// `round-robin`
        RoundRobin = PF_POOL_ROUNDROBIN = 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_network_order() {
        let v4 = Addr::from_v4(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(v4.octets()[..5], [10, 1, 2, 3, 0]);
        assert_eq!(v4.v4(), Ipv4Addr::new(10, 1, 2, 3));
        let six: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(Addr::from_v6(six).octets(), six.octets());
        assert_eq!(Addr::from_v6(six).v6(), six);
        assert_eq!(v4.to_ip(AF_INET6 + 1), None);
    }

    #[test]
    fn the_union_holds_names() {
        let mut wrap = AddrWrap::any();
        wrap.set_tblname(TableName::new("a-table-with-a-longish-name").unwrap());
        assert_eq!(wrap.tblname().as_str(), Some("a-table-with-a-longish-name"));
        wrap.set_ifname(IfName::new("em0").unwrap());
        assert_eq!(wrap.ifname().as_str(), Some("em0"));
        assert_eq!(wrap.tblname().as_str(), Some("em0"));
    }
}
