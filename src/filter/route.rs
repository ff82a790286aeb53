//! Where a packet goes that a rule sends another way than the routing table: `route-to`, `reply-to`, `dup-to`.
//!
//! # Overview
//! While a packet is judged, its [`Way`] is noted. When that is over and no section is open any more, it is sent: a packet that is
//! diverted is judged once more as it goes out of the other interface, where it may be diverted again, a few times at most; then
//! it leaves, past the system's own forwarding, whose part in it is done here: the TTL of a packet that came in, and errors to its
//! sender. A copy is judged there as well, but it is sent as it is otherwise, and nobody hears of what becomes of it.
//!
//! What pf says to an end of a connection in the place of the other goes the way of the connection's packets: [`Way::of_own`].
//!
//! `fastroute` means the way that the routing table knows, which is where a packet goes that just passes.
//!
//! # Locking
//! Takes no lock, and is in no read section when it sends.

use core::net::IpAddr;

use pf_abi as abi;

use super::{Filter, Outcome, Refusal, judge_one};
use crate::Pf;
use crate::Verdict;
use crate::iface::Interfaces;
use crate::kpi::{Direction, Mbuf, NoMemory, Problem, SoftNet};
use crate::mem::KArc;
use crate::nat::Choice;
use crate::packet::{Cut, Packet, ttl};
use crate::rule::Rule;
use crate::state::{Extra, Route, State};
use crate::wire::{Addr, Af};

/// How often a packet may be diverted before it counts as going round in circles.
const DIVERSIONS: usize = 4;

/// Where a packet is to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// A copy of it, while the packet itself goes on.
    pub copy: bool,
    pub hop: Hop,
}

/// The next stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    /// The interface, by the system's index.
    ifindex: u16,
    /// Whom it is handed to there.
    next: IpAddr,
}

impl Filter<'_> {
    /// Where the rule sends a packet from `src`, which is what a new state is to remember of its way. Nothing where it just passes.
    ///
    /// # Errors
    /// PFRES_STATEINS where the rule's pool has no address now: the routing table would lead past the way that it is to go. A packet
    /// that is to be copied goes on without.
    pub(super) fn choose_route(&self, rule: Option<&KArc<Rule>>, src: &Addr, af: Af) -> Result<Option<Route>, Refusal> {
        let Some((rule, pool)) = rule.and_then(|rule| Some((rule, rule.pool(self.section)?))) else {
            return Ok(None);
        };
        let choice = self
            .given(rule, pool, src, af)
            .or_else(|| pool.choose(&self.pf.kernel, &self.current(), src));
        match choice {
            Some(choice) => Ok(Some(Route {
                kind: rule.route,
                choice,
            })),
            None if rule.route == abi::Route::DupTo => Ok(None),
            None => Err(abi::Reason::StateInsert.into()),
        }
    }

    /// Notes where a packet of a state goes.
    #[inline]
    pub(super) fn note_way(&self, extra: &Extra, state: &State, packet: &Packet) {
        if let Some(route) = &extra.route {
            self.note_route(route, packet, state.direction());
        }
    }

    /// Notes where a packet goes whose connection began in direction `first`.
    pub(super) fn note_route(&self, route: &Route, packet: &Packet, first: Direction) {
        let copy = match route.kind {
            abi::Route::To if packet.direction == first => false,
            abi::Route::ReplyTo if packet.direction != first => false,
            abi::Route::DupTo => true,
            _ => return,
        };
        let Choice { addr, interface } = route.choice;
        let next = if addr.is_zero() { packet.dst } else { addr };
        let hop = self.interfaces.ifindex(interface).map(|ifindex| Hop {
            ifindex,
            next: next.to_ip(packet.af),
        });
        let way = match (hop, copy) {
            (Some(hop), copy) => Some(Ok(Way { copy, hop })),
            (None, true) => None,
            // The interface is gone, and any other would be the wrong one.
            (None, false) => Some(Err(Nowhere)),
        };
        self.way.set(way);
    }
}

impl Way {
    /// Where a segment of pf's own goes that stands for a packet of a state: one that goes as the first one did, or one against it. `dst`
    /// is whom it is for. Nothing where the routing table knows.
    pub(super) fn of_own(
        state: &State,
        forward: bool,
        dst: Addr,
        interfaces: &Interfaces,
    ) -> Option<Result<Hop, Nowhere>> {
        let route = state.extra()?.route.as_ref()?;
        match route.kind {
            abi::Route::To if forward => (),
            abi::Route::ReplyTo if !forward => (),
            _ => return None,
        }
        let Choice { addr, interface } = route.choice;
        let next = if addr.is_zero() { dst } else { addr };
        Some(match interfaces.ifindex(interface) {
            Some(ifindex) => Ok(Hop {
                ifindex,
                next: next.to_ip(state.key().af),
            }),
            None => Err(Nowhere),
        })
    }
}

/// There is no such interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nowhere;

/// No interface: what pf sends itself has crossed none.
const NONE: u16 = 0;

/// Sends a copy of a packet that crossed `ifindex` in this direction, if the rules of the other interface let it pass; cut if the packet
/// is to be. A copy of the copy is not made.
#[inline(never)]
pub(super) fn send_copy(
    pf: &Pf,
    level: &SoftNet,
    (mut direction, mut ifindex): (Direction, u16),
    mut copy: Mbuf,
    mut hop: Hop,
    mut cut: Option<Cut>,
) {
    for _ in 0..DIVERSIONS {
        let is_there = direction == Direction::Out && ifindex == hop.ifindex;
        if copy.settle_checksums(direction).is_err() || fits(pf, &copy, hop, cut.as_ref()).is_err() {
            return;
        }
        if !is_there {
            (direction, ifindex) = (Direction::Out, hop.ifindex);
            let judged = judge_one(pf, level, direction, ifindex, copy, None, false);
            match judged.map_or_else(|outcome| outcome, |packet| Outcome::Pass(packet, None)) {
                Outcome::Pass(judged, again) | Outcome::Copied(judged, again, ..) => {
                    (copy, cut) = (judged, again.or(cut));
                }
                Outcome::Divert(judged, next, again) => {
                    (copy, hop, cut) = (judged, next, again.or(cut));
                    continue;
                }
                Outcome::Drop | Outcome::Kept | Outcome::Answered(..) => return,
            }
        }
        if copy.settle_checksums(Direction::Out).is_ok() && copy.mark_from_pf().is_ok() {
            let _ = send_on(pf, copy, hop, cut.as_ref());
        }
        return;
    }
}

/// Sends a segment of pf's own. It is judged as it goes out, unless it is marked.
#[inline(never)]
pub(super) fn send_answer(pf: &Pf, level: &SoftNet, answer: Mbuf, hop: Hop) {
    divert(pf, level, (Direction::Out, NONE), answer, hop, None);
}

/// Whether a packet can leave there, be it in fragments; if not, what its sender hears.
fn fits(pf: &Pf, packet: &Mbuf, hop: Hop, cut: Option<&Cut>) -> Result<(), Option<Problem>> {
    let mtu = pf.kernel.mtu(hop.ifindex).ok_or(None)?;
    let longest = cut.map_or(packet.len(), |cut| cut.longest(packet.len()));
    if longest <= usize::from(mtu) || packet.is_cut_later() || ttl::may_be_fragmented(packet) {
        Ok(())
    } else {
        Err(Some(Problem::TooBig(mtu)))
    }
}

/// Sends a diverted packet, which crossed `ifindex` in this direction, on its way. It is not the caller's any more.
#[inline(never)]
pub(super) fn divert(
    pf: &Pf,
    level: &SoftNet,
    (mut direction, mut ifindex): (Direction, u16),
    mut packet: Mbuf,
    mut hop: Hop,
    mut cut: Option<Cut>,
) -> Verdict {
    for _ in 0..DIVERSIONS {
        if direction == Direction::Out && ifindex == hop.ifindex {
            // It was judged there.
            return send(pf, packet, hop, cut.as_ref());
        }
        if direction == Direction::In {
            // What an interface has verified is nothing that another one owes.
            let settled = packet.settle_checksums(direction);
            match settled.and_then(|()| ttl::lower(&mut packet)) {
                Ok(true) => (),
                Ok(false) => {
                    pf.kernel.report(packet, ifindex, Problem::Expired);
                    return Verdict::Routed;
                }
                Err(_) => {
                    pf.stats.count(abi::Reason::Memory);
                    return Verdict::Drop;
                }
            }
        }
        match fits(pf, &packet, hop, cut.as_ref()) {
            Ok(()) => (),
            Err(Some(problem)) => {
                pf.kernel.report(packet, ifindex, problem);
                return Verdict::Routed;
            }
            Err(None) => return Verdict::Drop,
        }
        (direction, ifindex) = (Direction::Out, hop.ifindex);
        let judged = judge_one(pf, level, direction, ifindex, packet, None, true);
        match judged.map_or_else(|outcome| outcome, |packet| Outcome::Pass(packet, None)) {
            Outcome::Pass(judged, again) => return send(pf, judged, hop, again.or(cut).as_ref()),
            Outcome::Copied(judged, again, copy, to) => {
                let cut = again.or(cut);
                send_copy(pf, level, (direction, ifindex), copy, to, cut);
                return send(pf, judged, hop, cut.as_ref());
            }
            // What is said in its place goes on as it would.
            Outcome::Answered(answer, to) => {
                (direction, ifindex, packet, hop, cut) = (Direction::Out, NONE, answer, to, None);
            }
            Outcome::Drop => return Verdict::Drop,
            // The one that makes the others whole takes them along.
            Outcome::Kept => return Verdict::Kept,
            Outcome::Divert(judged, next, again) => (packet, hop, cut) = (judged, next, again.or(cut)),
        }
    }
    Verdict::Drop
}

fn send(pf: &Pf, mut packet: Mbuf, hop: Hop, cut: Option<&Cut>) -> Verdict {
    let settled = packet.settle_checksums(Direction::Out);
    if settled.and_then(|()| send_on(pf, packet, hop, cut)).is_err() {
        pf.stats.count(abi::Reason::Memory);
        return Verdict::Drop;
    }
    Verdict::Routed
}

/// Hands a packet over, or the fragments that it is cut into.
fn send_on(pf: &Pf, packet: Mbuf, hop: Hop, cut: Option<&Cut>) -> Result<(), NoMemory> {
    let divert = |packet| pf.kernel.divert(packet, hop.ifindex, hop.next);
    match cut {
        Some(cut) => cut.apply(packet, divert),
        None => {
            divert(packet);
            Ok(())
        }
    }
}
