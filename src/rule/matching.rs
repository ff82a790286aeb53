//! Whether a rule is about a packet.

use core::sync::atomic::Ordering;

use super::{Rule, RuleList};
use crate::iface::Interfaces;
use crate::kpi::{Direction, Kernel, ReadSection};
use crate::mem::KArc;
use crate::wire::tcp::TcpFlags;
use crate::wire::{Addr, Af, Proto};

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
}

impl Rule {
    /// Whether this rule is about the packet, whatever it does with it.
    #[inline]
    pub fn matches(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        self.may_match(subject, around) && self.matches_transport(subject)
    }

    /// The same without what a fragment does not show: ports, flags, types.
    #[inline]
    pub fn may_match(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        (self.interface == 0 || self.is_on(subject) != self.interface_negated)
            && self.direction.is_none_or(|direction| direction == subject.direction)
            && self.af.is_none_or(|af| af == subject.af)
            && self.proto.is_none_or(|proto| proto == subject.proto)
            && self.src.matches_addr(subject.af, &subject.src, around)
            && self.dst.matches_addr(subject.af, &subject.dst, around)
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
        let ports = match subject.ports {
            Some((src, dst)) => self.src.matches_port(src) && self.dst.matches_port(dst),
            None => !self.src.has_port() && !self.dst.has_port(),
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

impl RuleList {
    /// The rule that decides: the last one that matches, or the first with `quick`.
    pub fn last_match(&self, subject: &Subject, around: &Surroundings<'_>) -> Option<&KArc<Rule>> {
        let mut decided = None;
        for rule in self.rules() {
            rule.evaluations.fetch_add(1, Ordering::Relaxed);
            if rule.matches(subject, around) {
                decided = Some(rule);
                if rule.quick {
                    break;
                }
            }
        }
        decided
    }

    /// The first rule that matches, as translation rules decide.
    pub fn first_match(&self, subject: &Subject, around: &Surroundings<'_>) -> Option<&KArc<Rule>> {
        self.rules().iter().find(|rule| {
            rule.evaluations.fetch_add(1, Ordering::Relaxed);
            rule.matches(subject, around)
        })
    }
}
