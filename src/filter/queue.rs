//! Which queue a packet goes into, where the kernel has queues (ALTQ).
//!
//! A rule with two has the second one for acknowledgements without data and for low-delay packets, so that they pass by whatever
//! fills the first (pf.conf(5), QUEUEING).
//!
//! # Locking
//! None.

use super::Filter;
use crate::packet::{Packet, Transport};
use crate::rule::Rule;
use crate::wire::Af;
use crate::wire::tcp::TcpFlags;

/// `IPTOS_LOWDELAY`
const LOW_DELAY: u8 = 0x10;

impl Filter<'_> {
    /// Puts the rule's queue on a packet that passes. Without memory it goes into the default one, as in pf.
    pub(super) fn queue(&self, packet: &mut Packet, rule: &Rule) {
        if let Some(queues) = &rule.queues {
            let queue = match is_urgent(packet) {
                true => queues.urgent,
                false => queues.normal,
            };
            packet.set_queue(queue);
        }
    }
}

fn is_urgent(packet: &Packet) -> bool {
    let is_bare_ack = match &packet.transport {
        Transport::Tcp { header, data_len, .. } => *data_len == 0 && header.flags().contains(TcpFlags::ACK),
        _ => false,
    };
    let mut tos = [0];
    is_bare_ack || packet.af == Af::Inet && packet.mbuf().copy(1, &mut tos) && tos[0] & LOW_DELAY != 0
}
