//! Translation: where a rule takes the new address and port from, and how a free one is found.
//!
//! NAT has no table of its own: that a port is taken means that the state table has a state with it, so a translation ends with
//! its state and cannot leak.
//!
//! # Locking
//! None of its own. Between the choice of a port and the insertion of the state another CPU may take it: the insertion, which
//! is atomic over both trees, then fails.

use pf_abi as abi;

use crate::kpi::{Errno, Kernel};
use crate::state::Host;
use crate::wire::{Addr, Af, Proto};

/// Ports that are tried before a pool counts as exhausted: a bound on the time that a packet takes.
const PROBES: u32 = 2048;

/// The address and the ports that a translation rule gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    addr: Addr,
    ports: (u16, u16),
}

impl Pool {
    /// Takes the ABI's pool: one address.
    ///
    /// # Errors
    /// EINVAL for what makes no sense, EOPNOTSUPP for pools of more than an address.
    pub fn new(pool: &abi::Pool, addresses: &[abi::PoolAddr], af: Option<Af>) -> Result<Self, Errno> {
        let [address] = addresses else {
            return Err(if addresses.is_empty() {
                Errno::Einval
            } else {
                Errno::Eopnotsupp
            });
        };
        if pool.opts & (abi::PF_POOL_TYPEMASK | abi::PF_POOL_STICKYADDR) != abi::PF_POOL_NONE
            && pool.opts & abi::PF_POOL_TYPEMASK != abi::PF_POOL_ROUNDROBIN
        {
            return Err(Errno::Eopnotsupp);
        }
        if address.addr.kind != abi::PF_ADDR_ADDRMASK {
            return Err(Errno::Eopnotsupp);
        }
        // A translation rule is about one family, which its address is of.
        let af = af.ok_or(Errno::Einval)?;
        if Addr::from(address.addr.a.mask).of_family(af).prefix_len() != Some(af.bits()) {
            return Err(Errno::Eopnotsupp);
        }
        let [low, high] = pool.proxy_port;
        if high != 0 && low > high {
            return Err(Errno::Einval);
        }
        Ok(Pool {
            addr: Addr::from(address.addr.a.addr).of_family(af),
            ports: (low, high),
        })
    }

    /// The address.
    pub fn addr(&self) -> Addr {
        self.addr
    }

    /// The source that a packet going out from `port` gets: the pool's address, with a port that `is_free` to the same
    /// destination. Nothing if all are taken. For ICMP queries, the identifier is what the port is.
    pub fn choose_source(
        &self,
        kernel: &Kernel,
        proto: Proto,
        port: u16,
        is_free: impl Fn(Host) -> bool,
    ) -> Option<Host> {
        let at = |port| Some(Host { addr: self.addr, port }).filter(|host| is_free(*host));
        let (low, high) = match proto {
            Proto::TCP | Proto::UDP => self.ports,
            Proto::ICMP | Proto::ICMPV6 => (1, u16::MAX),
            // No ports: one connection to each destination.
            _ => return at(port),
        };
        if low == 0 && high == 0 {
            return at(port);
        }
        let span = u32::from(high.max(low) - low) + 1;
        let start = kernel.random_u32() % span;
        (0..span.min(PROBES)).find_map(|step| at(low + ((start + step) % span) as u16))
    }

    /// The destination that a packet coming in gets: the pool's address, and the rule's port if it names one. A range of ports
    /// is mapped onto one of the same width, by the distance from `first`, the lowest port that the rule matches.
    pub fn choose_destination(&self, port: u16, first: u16) -> Host {
        let port = match self.ports {
            (0, _) => port,
            (low, 0) => low,
            (low, high) => {
                let span = u32::from(high - low) + 1;
                low + (u32::from(port.wrapping_sub(first)) % span) as u16
            }
        };
        Host { addr: self.addr, port }
    }
}
