//! Whether a rule is about a packet.

use core::sync::atomic::Ordering;

use pf_abi::RulesetKind;

use super::anchor::{Call, MAIN, MAX_DEPTH};
use super::{Action, Config, Rule, RuleList};
use crate::iface::Interfaces;
use crate::kpi::{Direction, Kernel, ReadSection, SocketOwner};
use crate::mem::KArc;
use crate::osfp::Systems;
use crate::wire::tcp::TcpFlags;
use crate::wire::{Addr, Af, Proto};

/// Anchors that one packet is taken through: a bound where anchors call each other.
const MAX_CALLS: u32 = 1 << 16;

/// The ports, source and destination, of a protocol without.
pub(super) const NO_PORTS: (u16, u16) = (0, 0);

/// What rules look at in a packet.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Which way it crosses the interface.
    pub direction: Direction,
    /// The interface, by its number in the interface table.
    pub interface: u16,
    /// The group that it is of, by its number; 0 where none is spoken of.
    pub group: u16,
    /// The family.
    pub af: Af,
    /// The protocol.
    pub proto: Proto,
    /// Where it comes from.
    pub src: Addr,
    /// Where it goes.
    pub dst: Addr,
    /// Source and destination port, in host order; nothing for a protocol without, and for a fragment that does not carry them.
    pub ports: Option<(u16, u16)>,
    /// The TCP flags, where it is TCP.
    pub flags: Option<TcpFlags>,
    /// ICMP type and code, where it is ICMP.
    pub icmp: Option<(u8, u8)>,
    /// It is a fragment.
    pub fragment: bool,
    /// The type of service, or IPv6's traffic class.
    pub tos: u8,
    /// The number of its tag, 0 for none: what it came with, or what the last rule that matched gave it.
    pub tag: u16,
    /// Who has the socket that it comes from or goes to; nothing where there is none, or no rule asks.
    pub owner: Option<SocketOwner>,
}

/// What rules ask about beside the packet: the rest of the configuration, and the system.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The system.
    pub kernel: &'a Kernel,
    /// What keeps tables and interfaces as they are while the packet is judged.
    pub section: &'a ReadSection<'a>,
    /// The interfaces.
    pub interfaces: &'a Interfaces,
    /// The systems that the packet looks like, where it is a SYN and a rule asks.
    pub systems: Option<Systems<'a>>,
}

impl Rule {
    /// Whether this rule is about the packet, whatever it does with it.
    #[inline]
    pub fn matches(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        self.may_match(subject, around)
            && self.matches_transport(subject)
            && (!self.is_particular || self.matches_particulars(subject, around))
    }

    /// The same without what a fragment does not show: ports, flags, types.
    #[inline]
    pub fn may_match(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        (self.interface == 0 || self.is_on(subject) != self.interface_negated)
            && self.direction.is_none_or(|direction| direction == subject.direction)
            && self.af.is_none_or(|af| af == subject.af)
            && self.proto.is_none_or(|proto| proto == subject.proto)
            && self.src.matches_addr(subject, &subject.src, around)
            && self.dst.matches_addr(subject, &subject.dst, around)
    }

    /// What a rule that calls an anchor says of packets that come in to an outside address of the rules within: nothing of that address.
    pub(super) fn may_call_from_outside(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        (self.interface == 0 || self.is_on(subject) != self.interface_negated)
            && self.direction.is_none_or(|direction| direction == subject.direction)
            && self.af.is_none_or(|af| af == subject.af)
            && self.proto.is_none_or(|proto| proto == subject.proto)
            && self.dst.matches_addr(subject, &subject.src, around)
            && (!self.is_particular || self.matches_particulars(subject, around))
    }

    /// Whether the packet is on the rule's interface, or on one of its group.
    #[inline]
    fn is_on(&self, subject: &Subject) -> bool {
        self.interface == subject.interface || self.interface == subject.group
    }

    #[inline]
    fn matches_transport(&self, subject: &Subject) -> bool {
        if self.fragments_only && !subject.fragment {
            return false;
        }
        // What the packet does not carry cannot match: a later fragment has no ports, flags, types.
        let ports = match (subject.ports, subject.fragment) {
            (None, true) => !self.src.has_port() && !self.dst.has_port(),
            // `nat` alone compares ports of any protocol.
            (ports, _) => {
                let (src, dst) = ports.unwrap_or(NO_PORTS);
                self.src.matches_port(src) && self.dst.matches_port(dst)
            }
        };
        ports
            && self.matches_flags(subject)
            && self
                .icmp_type
                .is_none_or(|kind| subject.icmp.is_some_and(|(of, _)| of == kind))
            && self
                .icmp_code
                .is_none_or(|code| subject.icmp.is_some_and(|(_, of)| of == code))
    }
}

impl Rule {
    /// Flags are a matter of TCP alone: pfctl(8) puts `flags S/SA` on every rule that keeps state, of whatever protocol.
    #[inline]
    fn matches_flags(&self, subject: &Subject) -> bool {
        self.flagset.is_empty()
            || subject.proto != Proto::TCP
            || subject.flags.is_some_and(|flags| flags & self.flagset == self.flags)
    }
}

impl Rule {
    /// What few rules ask: type of service, tag, user, group, system, chance. Chance comes last, and is drawn for packets alone that
    /// match otherwise.
    #[inline(never)]
    fn matches_particulars(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        let is_of_socket = matches!(subject.proto, Proto::TCP | Proto::UDP);
        let owner = subject.owner.filter(|_| is_of_socket);
        (self.tos == 0 || self.tos == subject.tos)
            && (self.match_tag == 0 || (self.match_tag == subject.tag) != self.match_tag_negated)
            && self.user.matches(owner.map(|owner| owner.uid))
            && self.group.matches(owner.map(|owner| owner.gid))
            && (self.os == pf_abi::PF_OSFP_ANY
                || (subject.proto == Proto::TCP && around.systems.is_some_and(|systems| systems.include(self.os))))
            && (self.probability == 0 || around.kernel.random_u32() < self.probability)
    }
}

/// What an evaluation comes to.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The rule that decides.
    pub rule: &'a KArc<Rule>,
    /// The rule of the main ruleset that led to the anchor in which it stands.
    pub anchor: Option<&'a KArc<Rule>>,
}

/// Which of the rules that match decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// The last, or the first with `quick`.
    Last,
    /// The first.
    First,
    /// The first translation that may be about the fragment, as far as can be seen, or the first rule that certainly is.
    FirstOfFragment,
    /// The first that is about the packet as it would go the other way: binat rules, of what comes in.
    FirstFromOutside,
}

impl RuleList {
    /// The first rule of this list alone that matches, as scrub rules decide. One that calls an anchor matches nothing.
    pub fn first_match(&self, subject: &Subject, around: &Surroundings<'_>) -> Option<&KArc<Rule>> {
        self.walk(subject, 0).map(|(_, rule)| rule).find(|rule| {
            rule.evaluations.fetch_add(1, Ordering::Relaxed);
            rule.call.is_none() && rule.matches(subject, around)
        })
    }
}

/// Where evaluation goes on when an anchor is done.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    /// The ruleset in which the call stands.
    ruleset: u16,
    /// Which of the children is being evaluated, for a wildcard.
    child: u16,
    /// The number of the rule that calls.
    at: u32,
}

impl Config {
    /// The filter rule that decides: the last one that matches, or the first with `quick`. `subject` has its tag then.
    pub fn last_match(&self, subject: &mut Subject, around: &Surroundings<'_>) -> Option<Decision<'_>> {
        self.evaluate(RulesetKind::Filter, subject, around, Decides::Last)
    }

    /// The first rule of a kind that matches, as translation rules decide. `subject` has its tag then.
    pub fn first_match(
        &self,
        kind: RulesetKind,
        subject: &mut Subject,
        around: &Surroundings<'_>,
    ) -> Option<Decision<'_>> {
        let decides = match subject.fragment {
            true => Decides::FirstOfFragment,
            false => Decides::First,
        };
        self.evaluate(kind, subject, around, decides)
    }

    /// The first binat rule that is about a packet that comes in to one of its outside addresses. `subject` has its tag then.
    pub fn first_match_from_outside(&self, subject: &mut Subject, around: &Surroundings<'_>) -> Option<Decision<'_>> {
        self.evaluate(RulesetKind::Binat, subject, around, Decides::FirstFromOutside)
    }

    /// The ruleset that a call leads to, or the `child`th one with a wildcard.
    fn called(&self, call: &Call, child: u16) -> Option<u16> {
        let number = call.anchor.number();
        match (call.wildcard, child) {
            (true, _) => self.ruleset(number)?.children().get(usize::from(child)).copied(),
            (false, 0) => Some(number),
            (false, _) => None,
        }
    }

    #[inline(never)]
    fn evaluate(
        &self,
        kind: RulesetKind,
        subject: &mut Subject,
        around: &Surroundings<'_>,
        decides: Decides,
    ) -> Option<Decision<'_>> {
        let mut frames = [Frame::default(); MAX_DEPTH];
        let mut depth = 0;
        // By depth: whether a rule matched within the anchor that was entered there.
        let mut matched = 0u64;
        const { assert!(MAX_DEPTH <= u64::BITS as usize) };
        let mut calls = 0;
        let mut number = MAIN;
        let mut decision = None;
        let mut anchor = None;
        let walk = |number: u16, from: u32, subject: &Subject| {
            let list = self.list_of(number, kind)?;
            Some(match decides {
                // The index files rules under what a fragment does not show.
                Decides::FirstOfFragment | Decides::FirstFromOutside => list.walk_all(from),
                _ => list.walk(subject, from),
            })
        };
        let mut way = walk(number, 0, subject);
        loop {
            if let Some((at, rule)) = way.as_mut().and_then(Iterator::next) {
                rule.evaluations.fetch_add(1, Ordering::Relaxed);
                let is_about = match decides {
                    Decides::FirstOfFragment if rule.call.is_some() || rule.action == Action::Translate => {
                        rule.may_match(subject, around)
                    }
                    Decides::FirstFromOutside => rule.matches_from_outside(subject, around),
                    _ => rule.matches(subject, around),
                };
                if !is_about {
                    continue;
                }
                if rule.tag != 0 {
                    subject.tag = rule.tag;
                }
                let Some(call) = &rule.call else {
                    decision = Some(Decision { rule, anchor });
                    if rule.quick || decides != Decides::Last {
                        return decision;
                    }
                    if depth > 0 {
                        matched |= 1 << (depth - 1);
                    }
                    continue;
                };
                let Some(called) = self.called(call, 0) else {
                    continue;
                };
                let within = frames.get(..depth).unwrap_or_default();
                let calls_itself = called == number || within.iter().any(|frame| frame.ruleset == called);
                if calls_itself || calls == MAX_CALLS {
                    continue;
                }
                let Some(frame) = frames.get_mut(depth) else {
                    continue;
                };
                *frame = Frame {
                    ruleset: number,
                    child: 0,
                    at,
                };
                if depth == 0 {
                    anchor = Some(rule);
                }
                matched &= !(1 << depth);
                (depth, calls, number) = (depth + 1, calls + 1, called);
                way = walk(number, 0, subject);
                continue;
            }
            // The list is at its end: the next child of a wildcard, or back to the caller.
            let Some(frame) = depth.checked_sub(1).and_then(|at| frames.get_mut(at)) else {
                return decision;
            };
            let caller = self
                .list_of(frame.ruleset, kind)
                .and_then(|list| list.rules().get(frame.at as usize));
            frame.child += 1;
            let next = caller.and_then(|rule| self.called(rule.call.as_ref()?, frame.child));
            if let Some(next) = next.filter(|_| calls < MAX_CALLS) {
                (number, calls) = (next, calls + 1);
                way = walk(number, 0, subject);
                continue;
            }
            depth -= 1;
            number = frame.ruleset;
            way = walk(number, frame.at + 1, subject);
            if depth == 0 {
                anchor = None;
            }
            if matched >> depth & 1 != 0 {
                if caller.is_some_and(|rule| rule.quick) {
                    return decision;
                }
                if depth > 0 {
                    matched |= 1 << (depth - 1);
                }
            }
        }
    }
}
