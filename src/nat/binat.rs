//! binat: a network inside stands for one of the same size outside, address by address, both ways. Ports stay as they are.

use super::Pool;
use crate::iface::Interfaces;
use crate::wire::Addr;

/// The network of `net`, and the host of `addr`.
fn transplant(addr: &Addr, net: &Addr, mask: &Addr) -> Addr {
    Addr::from_bits(net.to_bits() & mask.to_bits() | addr.to_bits() & !mask.to_bits())
}

impl Pool {
    /// The outside address of one inside.
    pub fn outside(&self, interfaces: &Interfaces, inside: &Addr) -> Option<Addr> {
        let (net, mask) = self.network(interfaces)?;
        Some(transplant(inside, &net, &mask).of_family(self.af()))
    }

    /// The address of the network `inside` whose outside address this is; nothing for one that is not the pool's.
    pub fn inside(&self, interfaces: &Interfaces, outside: &Addr, inside: &Addr) -> Option<Addr> {
        let (net, mask) = self.network(interfaces)?;
        outside
            .matches(&net, &mask)
            .then(|| transplant(outside, inside, &mask).of_family(self.af()))
    }

    /// Whether a network under `mask` is as large as the pool's, as far as that stays the same.
    pub fn is_as_large_as(&self, mask: &Addr) -> bool {
        self.fixed_mask().is_none_or(|of| of == mask)
    }
}
