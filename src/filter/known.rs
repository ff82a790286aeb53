//! A packet of a connection that has a state: it goes by the state alone, and moves it on.
//!
//! # Locking
//! Takes the state's lock, for as long as its body is looked at and changed; the packet is rewritten without it.

use pf_abi::{PFOTHERS_MULTIPLE, PFOTHERS_SINGLE, Reason, Timeout};

use super::{Filter, RESET, Refusal, count, translation};
use crate::packet::{Packet, Transport, answer};
use crate::state::Body;
use crate::state::tcp::{self, Fit};

impl Filter<'_> {
    /// Lets a packet pass that belongs to a state, and moves the state on. False if there is none.
    #[inline]
    pub(super) fn judge_known(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let key = packet.key();
        let at = self.place.unwrap_or_else(|| self.place(packet.direction, &key));
        let Some(state) = self.find(at, &key) else {
            return Ok(false);
        };
        if packet.has_options && !state.rule().is_some_and(|rule| rule.allow_opts) {
            self.log_options(packet, state);
            return Err(Reason::IpOption.into());
        }
        let forward = packet.direction == state.direction();
        let fit = {
            let mut body = state.lock(self.level);
            if body.unlinked {
                return Ok(false);
            }
            let fit = follow(&mut body, packet, forward);
            match fit {
                Fit::Good => {
                    body.expire = self.pf.kernel.uptime();
                    let at = usize::from(!forward);
                    body.packets[at] = body.packets[at].wrapping_add(1);
                    body.bytes[at] = body.bytes[at].wrapping_add(packet.len.into());
                }
                Fit::Reused => body.unlinked = true,
                Fit::Mismatch | Fit::HalfOpen => (),
            }
            fit
        };
        match fit {
            Fit::Good => (),
            Fit::Mismatch => return Err(Reason::StateMismatch.into()),
            Fit::HalfOpen => {
                return Err(Refusal {
                    reason: Some(Reason::StateMismatch),
                    answer: answer(&self.pf.kernel, packet, &RESET),
                });
            }
            Fit::Reused => {
                self.pf.states.remove(state, self.level);
                self.pf.stats.count_removals(1);
                return Ok(false);
            }
        }
        if state.key().is_translated() {
            packet
                .rewrite(&translation(state.key(), packet.direction))
                .map_err(|_| Reason::Memory)?;
        }
        count(state, packet);
        if let Some(extra) = state.extra() {
            self.attend(packet, state, extra);
        }
        Ok(true)
    }
}

/// Moves a state on by a packet of it.
#[inline]
fn follow(body: &mut Body, packet: &Packet, forward: bool) -> Fit {
    match (&packet.transport, packet.segment()) {
        (Transport::Tcp { .. }, Some(segment)) => return tcp::track(body, &segment, forward),
        (Transport::Icmp { .. }, _) => body.timeout = Timeout::IcmpError,
        (Transport::Udp(_), _) => converse(body, forward, Timeout::UdpSingle, Timeout::UdpMultiple),
        _ => converse(body, forward, Timeout::OtherSingle, Timeout::OtherMultiple),
    }
    Fit::Good
}

/// A packet of a protocol in which all that is known is who has spoken: PFUDPS_* and PFOTHERS_* have the same numbers.
fn converse(body: &mut Body, forward: bool, single: Timeout, multiple: Timeout) {
    let (from, to) = if forward {
        (&mut body.src, &mut body.dst)
    } else {
        (&mut body.dst, &mut body.src)
    };
    from.state = from.state.max(PFOTHERS_SINGLE);
    if to.state == PFOTHERS_SINGLE {
        to.state = PFOTHERS_MULTIPLE;
    }
    let both = from.state == PFOTHERS_MULTIPLE && to.state == PFOTHERS_MULTIPLE;
    body.timeout = if both { multiple } else { single };
}
