//! A packet of a connection that has a state: it goes by the state alone, and moves it on.
//!
//! # Locking
//! Takes the state's lock, for as long as its body is looked at and changed; the packet is rewritten without it.

use pf_abi::{PFOTHERS_MULTIPLE, PFOTHERS_SINGLE, Reason, Timeout};

use super::{Filter, RESET, Refusal, translation};
use crate::iface;
use crate::packet::{Packet, Renumber, Transport, answer};
use crate::state::proxy;
use crate::state::tcp::{self, Fit, Segment};
use crate::state::{Body, Course, State};
use crate::wire::tcp::TcpFlags;

impl Filter<'_> {
    /// Lets a packet pass that belongs to a state, and moves the state on. False if there is none.
    #[inline(always)]
    pub(super) fn judge_known(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let key = packet.key();
        let at = match self.place {
            Some(place) => place,
            None => self.place(packet.direction, &key),
        };
        let Some(state) = self.find(at, &key) else {
            return Ok(false);
        };
        if !self.is_bound_here(state) {
            return Ok(false);
        }
        if packet.has_options && !state.rule().is_some_and(|rule| rule.allow_opts) {
            self.log_options(packet, state);
            return Err(Reason::IpOption.into());
        }
        let forward = packet.direction == state.direction();
        let mut is_overload = false;
        let mut numbers = None;
        let scrub = state.extra().and_then(|extra| extra.scrub.as_ref());
        let stamped = match scrub {
            Some(scrub) => self.check_timestamps(scrub, packet, forward)?,
            None => None,
        };
        let fit = {
            let mut body = state.lock(self.level);
            if body.unlinked {
                return Ok(false);
            }
            let fit = match body.course {
                Course::Direct => follow(&mut body, packet, forward),
                Course::Shifted => self.follow_shifted(&mut body, state, packet, &mut numbers),
                Course::Proxied => return self.judge_proxied(body, state, packet),
            };
            match fit {
                Fit::Good if self.count_connection(state, &mut body) => is_overload = true,
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
        if fit != Fit::Good || is_overload {
            return self.part(state, packet, fit);
        }
        if let Some(numbers) = numbers {
            packet.renumber(numbers).map_err(|_| Reason::Memory)?;
        }
        if let (Some(scrub), Some(stamped)) = (scrub, stamped) {
            self.settle_timestamps(scrub, &stamped, packet, forward)?;
        }
        if state.key().is_translated() {
            packet
                .rewrite(&translation(state.key(), packet.direction))
                .map_err(|_| Reason::Memory)?;
        }
        self.count(state, packet);
        if let Some(extra) = state.extra() {
            self.attend(packet, state, extra);
            if extra.tag != 0 {
                packet.set_tag(extra.tag).map_err(|_| Reason::Memory)?;
            }
        }
        Ok(true)
    }

    /// What becomes of a packet that does not go by the state that it has found. False: it goes on without one.
    #[cold]
    #[inline(never)]
    fn part(&self, state: &State, packet: &Packet, fit: Fit) -> Result<bool, Refusal> {
        match fit {
            Fit::Good => {
                self.end_overload(state);
                Err(Reason::SrcLimit.into())
            }
            Fit::Mismatch => {
                self.explain(state, packet);
                Err(Reason::StateMismatch.into())
            }
            Fit::HalfOpen => Err(Refusal {
                reason: Some(Reason::StateMismatch),
                answers: [answer(&self.pf.kernel, packet, &RESET), None],
                diverts: false,
            }),
            Fit::Reused => {
                self.pf.states.remove(state, self.level);
                self.pf.stats.count_removals(1);
                Ok(false)
            }
        }
    }

    /// Moves a state on whose numbers are shifted, and says by how much those of this packet are.
    #[inline(never)]
    fn follow_shifted(&self, body: &mut Body, state: &State, packet: &Packet, numbers: &mut Option<Renumber>) -> Fit {
        let Some(mut segment) = packet.segment() else {
            return Fit::Mismatch;
        };
        let forward = packet.direction == state.direction();
        if forward && proxy::is_confirmation(body, &segment) {
            return Fit::Good;
        }
        let begins = !forward && segment.flags.contains(TcpFlags::SYN) && tcp::is_unheard(&body.dst);
        let (src, dst) = if forward {
            (&body.src, &body.dst)
        } else {
            (&body.dst, &body.src)
        };
        segment.ack = Renumber::forth(src, dst).acked(segment.flags, segment.ack);
        let fit = tcp::track(body, &segment, forward);
        if fit == Fit::Good {
            if begins {
                let kernel = &self.pf.kernel;
                let isn = self.pf.isns.of_dst(kernel, state.key(), state.direction());
                body.dst.seqdiff = isn.since(segment.seq).max(1);
            }
            *numbers = Some(if forward {
                Renumber::forth(&body.src, &body.dst)
            } else {
                Renumber::forth(&body.dst, &body.src)
            });
        }
        fit
    }

    /// Whether a state holds on this interface: on any, unless it is bound to one. A copy passes by any, as it leaves no bound one.
    #[inline]
    pub(super) fn is_bound_here(&self, state: &State) -> bool {
        let interface = state.interface();
        interface == iface::ALL || interface == self.interface || self.is_copy
    }
}

/// Moves a state on by a packet of it.
#[inline(always)]
fn follow(body: &mut Body, packet: &Packet, forward: bool) -> Fit {
    if let Transport::Tcp { header, data_len, .. } = &packet.transport
        && tcp::proceed(body, &Segment::plain(header, *data_len), forward)
    {
        return Fit::Good;
    }
    follow_closely(body, packet, forward)
}

/// The same where it takes a closer look.
#[inline(never)]
fn follow_closely(body: &mut Body, packet: &Packet, forward: bool) -> Fit {
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
