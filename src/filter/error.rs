//! An ICMP error: it belongs to the connection of the packet that it quotes, and passes by that one's state.
//!
//! # Locking
//! Takes the state's lock, for as long as its body is looked at.

use pf_abi::Reason;

use super::{Filter, Refusal};
use crate::kpi::Direction;
use crate::packet::{self, Packet, Renumber, Rewrite};
use crate::state::{Course, tcp};
use crate::wire::Proto;

impl Filter<'_> {
    /// Lets an ICMP error pass that is about a packet of a state. False if there is none.
    #[inline(never)]
    pub(super) fn judge_error(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let quote = packet.quote().map_err(packet::reason)?;
        let key = quote.key(packet);
        let Some(state) = self.find(self.place(packet.direction, &key), &key) else {
            return Ok(false);
        };
        if !self.is_bound_here(state) {
            return Ok(false);
        }
        // An error goes to whoever sent what it is about.
        if packet.dst != quote.src.addr {
            return Err(Reason::StateMismatch.into());
        }
        if packet.has_options && !state.rule().is_some_and(|rule| rule.allow_opts) {
            self.log_options(packet, state);
            return Err(Reason::IpOption.into());
        }
        let forward = packet.direction.reverse() == state.direction();
        let mut numbers = None;
        {
            let mut body = state.lock(self.level);
            if body.unlinked {
                return Ok(false);
            }
            if body.course == Course::Proxied {
                // It is about a segment of pf's own, which no end knows of.
                return Err(Reason::Synproxy.into());
            }
            if let Some(seq) = quote.seq {
                let (sender, receiver) = if forward {
                    (&body.src, &body.dst)
                } else {
                    (&body.dst, &body.src)
                };
                // What is quoted has been through the filter.
                let back = Renumber::forth(sender, receiver).back();
                numbers = (body.course == Course::Shifted).then_some(back);
                if !tcp::was_sent(sender, receiver, seq + back.seq) {
                    return Err(Reason::StateMismatch.into());
                }
            }
            let at = usize::from(forward);
            body.packets[at] = body.packets[at].wrapping_add(1);
            body.bytes[at] = body.bytes[at].wrapping_add(packet.len.into());
        }
        let key = state.key();
        if key.is_translated() || numbers.is_some() {
            let mut ends = Rewrite {
                src: quote.src,
                dst: quote.dst,
            };
            let (mut src, mut dst) = (packet.src, packet.dst);
            match packet.direction {
                Direction::In => (ends.src, dst) = (key.lan, key.lan.addr),
                Direction::Out => (ends.dst, src) = (key.gwy, key.gwy.addr),
            }
            if !matches!(quote.proto, Proto::TCP | Proto::UDP) {
                // One identifier for both ends: the near one's.
                let near = if packet.direction == Direction::In {
                    key.lan
                } else {
                    key.gwy
                };
                (ends.src.port, ends.dst.port) = (near.port, near.port);
            }
            packet
                .rewrite_error(src, dst, &quote, &ends, numbers)
                .map_err(|_| Reason::Memory)?;
        }
        self.count(state, packet);
        if let Some(extra) = state.extra() {
            self.attend(packet, state, extra);
        }
        Ok(true)
    }
}
