//! One packet's whole way: parse, normalise, look up its state, else evaluate the rules, translate, remember, rewrite, count.
//!
//! # Overview
//! A packet with a state goes by it, and no rule is looked at. One without is translated by the first nat or rdr rule that
//! matches, judged as it will look then by the last filter rule that matches (or the first with `quick`; none: it passes),
//! and leaves a state behind if that rule says so, or if it was translated. Whatever goes wrong on the way is the end of it.
//!
//! While the state table is locked no state is found, and a packet that would leave one behind is dropped and counted as
//! state-locked; others go by the rules alone.
//!
//! # Locking
//! Runs at IPL_SOFTNET in a passive section, in which rules and interfaces stay as they are and no state is freed. Takes one
//! spin lock at a time, a state's or, in the table, a partition's. What pf sends itself goes out after the section.

#![forbid(unsafe_code)]

pub(crate) mod burst;
mod error;
mod explain;
mod known;
mod log;
mod new;
mod normal;
mod plain;
pub(crate) mod proxy;
mod queue;
mod route;
mod source;
mod translate;

use core::cell::Cell;

use core::sync::atomic::Ordering;

use pf_abi::Reason;

use crate::iface::{self, Interfaces};
use crate::kpi::{Direction, Mbuf, ReadSection, SoftNet, Stripe, stripe};
use crate::nat::Current;
use crate::packet::{Cut, Packet, Rewrite, Transport};
use crate::rule::{Answer, Counted, Rule, Surroundings};
use crate::state::{Place, State, StateKey, Tree, TreeKey};
use crate::wire::Addr;
use crate::wire::icmp::Class;
use crate::{Pf, Verdict};
use plain::Plain;

/// A packet goes no further.
struct Refusal {
    /// Why, where that is to be counted: a rule that blocks counts itself.
    reason: Option<Reason>,
    /// What pf sends: to its sender, as a rule.
    answers: [Option<Mbuf>; 2],
    /// The last of them goes [`Filter::way`].
    diverts: bool,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refusal {
            reason: Some(reason),
            answers: [None, None],
            diverts: false,
        }
    }
}

/// What an end hears that takes an old connection to be alive.
const RESET: Answer = Answer {
    reset: Some(0),
    icmp: None,
    icmp6: None,
};

/// What has become of one packet that crossed one interface.
enum Outcome {
    /// It goes on, cut if it was put together of fragments that no router makes.
    Pass(Mbuf, Option<Cut>),
    /// It is gone.
    Drop,
    /// It waits for others.
    Kept,
    /// It is to go another way, and to be cut before it leaves.
    Divert(Mbuf, route::Hop, Option<Cut>),
    /// It goes on, and so does a copy of it another way.
    Copied(Mbuf, Option<Cut>, Mbuf, route::Hop),
    /// It is gone, and this is to go another way than the routing table's.
    Answered(Mbuf, route::Hop),
}

/// Judges one packet.
#[inline]
pub(crate) fn judge(pf: &Pf, level: &SoftNet, direction: Direction, ifindex: u16, mbuf: Mbuf) -> Verdict {
    let plain = Plain::read(&mbuf, direction);
    judge_read(pf, level, direction, ifindex, mbuf, (plain, None))
}

/// Judges one packet of which it is known whether it is a plain segment, and perhaps where its state stands in the tree of its direction.
#[inline(always)]
fn judge_read(
    pf: &Pf,
    level: &SoftNet,
    direction: Direction,
    ifindex: u16,
    mbuf: Mbuf,
    (plain, place): (Option<Plain>, Option<Place>),
) -> Verdict {
    if !pf.is_running() || mbuf.is_from_pf() {
        return Verdict::Pass(mbuf);
    }
    let (mut mbuf, mut place) = (mbuf, place);
    if let Some(packet) = plain {
        match packet.judge(pf, level, direction, ifindex, &mut mbuf, place) {
            plain::Fate::Passed => return Verdict::Pass(mbuf),
            plain::Fate::Refused => return Verdict::Drop,
            plain::Fate::Open(at) => place = at,
        }
    }
    match judge_one(pf, level, direction, ifindex, mbuf, place, true) {
        Ok(mbuf) => Verdict::Pass(mbuf),
        Err(outcome) => settle(pf, level, direction, ifindex, outcome),
    }
}

/// Does what is left to do with a packet that does not simply go on.
#[inline(never)]
fn settle(pf: &Pf, level: &SoftNet, direction: Direction, ifindex: u16, outcome: Outcome) -> Verdict {
    let (mbuf, cut) = match outcome {
        Outcome::Pass(mbuf, cut) => (mbuf, cut),
        Outcome::Drop => return Verdict::Drop,
        Outcome::Kept => return Verdict::Kept,
        Outcome::Divert(mbuf, hop, cut) => return route::divert(pf, level, (direction, ifindex), mbuf, hop, cut),
        Outcome::Copied(mbuf, cut, copy, hop) => {
            route::send_copy(pf, level, (direction, ifindex), copy, hop, cut);
            (mbuf, cut)
        }
        Outcome::Answered(answer, hop) => {
            route::send_answer(pf, level, answer, hop);
            return Verdict::Drop;
        }
    };
    match cut {
        None => Verdict::Pass(mbuf),
        Some(cut) => normal::send_cut(pf, direction, mbuf, ifindex, &cut),
    }
}

/// A packet's whole way. It is for the caller to settle what has become of one that does not go on as it is. Of a packet that is not
/// `heard` of, as it is a copy, nobody is told what becomes of it.
#[inline(never)]
fn judge_one(
    pf: &Pf,
    level: &SoftNet,
    direction: Direction,
    ifindex: u16,
    mbuf: Mbuf,
    place: Option<Place>,
    heard: bool,
) -> Result<Mbuf, Outcome> {
    if !pf.is_running() || mbuf.is_from_pf() {
        return Ok(mbuf);
    }
    let section = pf.read(level);
    let interfaces = pf.interfaces.read(&section);
    let number = interfaces.number(ifindex);
    let interface = interfaces.get(number);
    if interface.is_some_and(|interface| interface.skips()) {
        return Ok(mbuf);
    }
    if number == iface::ALL {
        return Err(refuse_unknown(pf));
    }
    let stripe = stripe();
    let mut filter = Filter {
        pf,
        level,
        section: &section,
        interfaces,
        interface: number,
        stripe,
        place,
        way: Cell::new(None),
        reassemble_tcp: false,
        is_copy: !heard,
    };
    let mut packet = Packet::new(mbuf, direction);
    let count = |af, passed, len| {
        if let Some(interface) = interface {
            interface.count(stripe, af, direction, passed, len);
        }
    };
    if let Err(reason) = packet.parse() {
        count(packet.af, false, packet.mbuf().len() as u32);
        return Err(filter.refuse_malformed(&packet, reason));
    }
    let mut cut = None;
    if pf.scrubs.load(Ordering::Relaxed) || packet.fragment.is_some() {
        let (af, len) = (packet.af, packet.len);
        match filter.normalise(packet) {
            Ok(normal::Fate::Goes(normal)) => {
                filter.reassemble_tcp = normal.reassemble_tcp;
                (packet, cut) = (normal.packet, normal.cut);
            }
            Ok(normal::Fate::Decided(outcome)) => return Err(outcome),
            Err(reason) => {
                count(af, false, len);
                pf.stats.count(reason);
                return Err(Outcome::Drop);
            }
        }
    }
    let (af, len) = (packet.af, packet.len);
    match filter.judge(&mut packet) {
        Ok(()) => {
            count(af, true, len);
            if cut.is_none() && filter.way.get().is_none() {
                return Ok(packet.into_mbuf());
            }
            let way = filter.way.get();
            drop(section);
            Err(send_elsewhere(packet.into_mbuf(), way, cut))
        }
        Err(refusal) => {
            count(af, false, len);
            let way = filter.way.get();
            drop(section);
            Err(refuse(pf, refusal, way, heard))
        }
    }
}

/// Refuses a packet on an interface that pf has not been told of, as it may just have come: no rule can say whether it is about it. That
/// is a matter of moments.
#[cold]
#[inline(never)]
fn refuse_unknown(pf: &Pf) -> Outcome {
    pf.kernel.want_interfaces();
    pf.stats.count(Reason::Congestion);
    Outcome::Drop
}

/// Says where a packet goes that has a way of its own, or is to be cut.
#[inline(never)]
fn send_elsewhere(mbuf: Mbuf, way: Option<Result<route::Way, route::Nowhere>>, cut: Option<Cut>) -> Outcome {
    match way {
        None => Outcome::Pass(mbuf, cut),
        Some(Ok(way)) if way.copy => match mbuf.duplicate() {
            Some(copy) => Outcome::Copied(mbuf, cut, copy, way.hop),
            None => Outcome::Pass(mbuf, cut),
        },
        Some(Ok(way)) => Outcome::Divert(mbuf, way.hop, cut),
        Some(Err(route::Nowhere)) => Outcome::Drop,
    }
}

/// Counts a packet that goes no further, and sends what is to be sent where it is heard of.
#[inline(never)]
fn refuse(pf: &Pf, refusal: Refusal, way: Option<Result<route::Way, route::Nowhere>>, heard: bool) -> Outcome {
    if let Some(reason) = refusal.reason {
        pf.stats.count(reason);
    }
    if !heard {
        return Outcome::Drop;
    }
    let [first, last] = refusal.answers;
    let (last, diverted) = if refusal.diverts { (None, last) } else { (last, None) };
    for answer in [first, last].into_iter().flatten() {
        pf.kernel.output(answer);
    }
    match (diverted, way) {
        (Some(answer), Some(Ok(way))) => Outcome::Answered(answer, way.hop),
        _ => Outcome::Drop,
    }
}

/// What one packet is judged with.
struct Filter<'a> {
    pf: &'a Pf,
    level: &'a SoftNet,
    section: &'a ReadSection<'a>,
    interfaces: &'a Interfaces,
    /// The interface that it crosses.
    interface: u16,
    /// Where the CPU counts.
    stripe: Stripe,
    /// Where its state stands, if that is known already.
    place: Option<Place>,
    /// Where it goes, if not where the routing table says; or where an answer to it goes.
    way: Cell<Option<Result<route::Way, route::Nowhere>>>,
    /// A scrub rule with `reassemble tcp` is about the packet.
    reassemble_tcp: bool,
    /// It is a copy, which is to be in no other packet's way.
    is_copy: bool,
}

impl<'a> Filter<'a> {
    /// Counts and logs a packet that cannot be read.
    #[cold]
    #[inline(never)]
    fn refuse_malformed(&self, packet: &Packet, reason: Reason) -> Outcome {
        self.pf.stats.count(reason);
        self.log_malformed(packet, reason);
        Outcome::Drop
    }

    #[inline(always)]
    fn judge(&self, packet: &mut Packet) -> Result<(), Refusal> {
        let locked = self.pf.is_locked();
        let is_known = !locked
            && if matches!(packet.transport, Transport::Tcp { .. }) || is_trackable(packet) {
                self.judge_known(packet)?
            } else {
                packet.is_error() && self.judge_error(packet)?
            };
        if is_known {
            Ok(())
        } else {
            self.judge_new(packet, locked)
        }
    }

    /// What rules ask about beside the packet.
    #[inline]
    fn surroundings(&self) -> Surroundings<'a> {
        Surroundings {
            kernel: &self.pf.kernel,
            section: self.section,
            interfaces: self.interfaces,
            systems: None,
        }
    }

    /// What the addresses of pools depend on.
    fn current(&self) -> Current<'a> {
        Current {
            interfaces: self.interfaces,
            section: self.section,
        }
    }

    /// The state of a key at its place in a tree.
    #[inline(always)]
    fn find(&self, at: Place, key: &TreeKey) -> Option<&'a State> {
        self.pf.stats.count_search(self.stripe);
        self.pf.states.find_at(at, key, self.level, self.section)
    }

    /// Counts a packet of a state at the rules that made it, and at the tables of the one that decided.
    #[inline(always)]
    fn count(&self, state: &State, packet: &Packet) {
        let mut has_tables = false;
        let mut count = |rule: &Rule| {
            rule.counters.count(self.stripe, packet.direction, packet.len);
            has_tables |= rule.has_tables();
        };
        if let Some(rule) = state.rule() {
            count(rule);
        }
        if state.has_more_rules() {
            let others = state.rules().skip(usize::from(state.rule().is_some()));
            others.for_each(|rule| count(rule));
        }
        if has_tables {
            self.count_tables(state, packet);
        }
    }

    #[cold]
    fn count_tables(&self, state: &State, packet: &Packet) {
        let counted = |src: Addr, dst: Addr| Counted {
            af: packet.af,
            src,
            dst,
            direction: packet.direction,
            passed: true,
            bytes: packet.len,
        };
        // The addresses as the rule saw them: a filter rule sees them translated.
        let (key, section) = (state.key(), self.section);
        match (state.rule(), state.nat_rule(), state.direction()) {
            (Some(rule), _, Direction::Out) => rule.count_tables(|| counted(key.gwy.addr, key.ext.addr), section),
            (Some(rule), _, Direction::In) => rule.count_tables(|| counted(key.ext.addr, key.lan.addr), section),
            (None, Some(rule), Direction::Out) => rule.count_tables(|| counted(key.lan.addr, key.ext.addr), section),
            (None, Some(rule), Direction::In) => rule.count_tables(|| counted(key.ext.addr, key.gwy.addr), section),
            (None, None, _) => (),
        }
    }

    /// Where a key stands in the tree of this direction.
    #[inline(always)]
    fn place(&self, direction: Direction, key: &TreeKey) -> Place {
        self.pf.states.place(Tree::of(direction), key)
    }
}

/// What an untranslated packet of a translated connection is to become.
fn translation(key: &StateKey, direction: Direction) -> Rewrite {
    match direction {
        Direction::Out => Rewrite {
            src: key.gwy,
            dst: key.ext,
        },
        Direction::In => Rewrite {
            src: key.ext,
            dst: key.lan,
        },
    }
}

/// Whether a state can be kept for the packet: fragments show no ports, and ICMP messages other than queries and replies belong to
/// nothing that goes on.
fn is_trackable(packet: &Packet) -> bool {
    match &packet.transport {
        Transport::Tcp { .. } | Transport::Udp(_) | Transport::Other => true,
        Transport::Icmp { class, .. } => matches!(class, Class::Query | Class::Reply),
        Transport::Fragment => false,
    }
}
