//! Which packets are logged, by which rule, and as what.
//!
//! Of a connection it is the packet that makes the state; with `log (all)`, each one. Where both a filter rule and a translation rule
//! log, the filter rule does it. The packet is shown as it was translated, as the filter rules saw it, be it dropped or not. A scrub rule
//! logs what is dropped by it, as it came.
//!
//! # Locking
//! None.

use pf_abi::{IfName, PF_LOG_ALL, PF_LOG_SOCKET_LOOKUP, Reason};

use super::translate::Translation;
use super::{Filter, Refusal, translation};
use crate::kpi::Direction;
use crate::log::{Entry, Within};
use crate::packet::{Packet, Rewrite};
use crate::rule::{Decision, MAIN, Rule};
use crate::state::{Extra, State};

/// What the rules have said about a packet, for the log.
#[derive(Default)]
pub(super) struct Matched<'a> {
    rule: Option<&'a Rule>,
    /// The rule of the main ruleset that led to the filter rule's anchor.
    anchor: Option<&'a Rule>,
    translation: Option<(&'a Rule, Rewrite)>,
}

impl<'a> Matched<'a> {
    /// The filter rule.
    pub(super) fn rule(&self) -> Option<&'a Rule> {
        self.rule
    }

    pub(super) fn new(
        decision: Option<Decision<'a>>,
        translated: Option<&Translation<'a>>,
        direction: Direction,
    ) -> Self {
        Matched {
            rule: decision.map(|decision| &**decision.rule),
            anchor: decision.and_then(|decision| decision.anchor).map(|rule| &**rule),
            translation: translated.map(|of| (&**of.rule, translation(&of.key, direction))),
        }
    }
}

impl Filter<'_> {
    /// Logs a packet that the rules have judged, if one of them says so, or if it had options that none allows.
    #[inline]
    pub(super) fn log_new(&self, packet: &mut Packet, matched: &Matched<'_>, judged: &Result<(), Refusal>) {
        let refused = judged.as_ref().err();
        let by = [matched.rule, matched.translation.map(|(rule, _)| rule)];
        let logging = by.into_iter().flatten().find(|rule| rule.log != 0);
        if logging.is_some() || refused.is_some_and(|refusal| refusal.reason == Some(Reason::IpOption)) {
            self.log_judged(packet, matched, logging.or(matched.rule), refused);
        }
    }

    #[cold]
    fn log_judged(&self, packet: &mut Packet, matched: &Matched<'_>, rule: Option<&Rule>, refused: Option<&Refusal>) {
        if let Some((_, ends)) = &matched.translation
            && refused.is_some()
        {
            // It goes nowhere. Without memory it is shown as it came.
            let _ = packet.rewrite(ends);
        }
        // A rule that blocks has matched; else what ended it counts.
        let reason = refused.and_then(|refusal| refusal.reason).unwrap_or(Reason::Match);
        self.log(packet, rule, matched.anchor, reason, refused.is_some());
    }

    /// Does what only some states ask for with each packet that passes by them.
    pub(super) fn attend(&self, packet: &mut Packet, state: &State, extra: &Extra) {
        if extra.queued
            && let Some(rule) = state.rule()
        {
            self.queue(packet, rule);
        }
        if extra.log_all {
            self.log_known(packet, state);
        }
        for node in extra.nodes() {
            node.count(packet.direction, packet.len);
        }
        self.note_way(extra, state, packet);
    }

    #[cold]
    fn log_known(&self, packet: &Packet, state: &State) {
        let translation = state.nat_rule().filter(|rule| rule.log & PF_LOG_ALL != 0);
        let rule = translation.or(state.rule()).map(|rule| &**rule);
        let anchor = state
            .extra()
            .and_then(|extra| extra.anchor.as_ref())
            .map(|rule| &**rule);
        self.log(packet, rule, anchor, Reason::Match, false);
    }

    /// Logs a packet that is dropped because it has options that its state's rule does not allow.
    #[cold]
    pub(super) fn log_options(&self, packet: &Packet, state: &State) {
        let rule = state.rule().map(|rule| &**rule);
        let anchor = state
            .extra()
            .and_then(|extra| extra.anchor.as_ref())
            .map(|rule| &**rule);
        self.log(packet, rule, anchor, Reason::IpOption, true);
    }

    /// Logs a packet whose headers cannot be read, on pflog0.
    #[cold]
    pub(super) fn log_malformed(&self, packet: &Packet, reason: Reason) {
        if matches!(reason, Reason::Short | Reason::IpOption) {
            self.log(packet, None, None, reason, true);
        }
    }

    /// Logs a packet that normalisation drops, if its rule says so.
    #[cold]
    pub(super) fn log_scrubbed(&self, packet: &Packet, rule: &Rule, reason: Reason) {
        if rule.log != 0 {
            self.log(packet, Some(rule), None, reason, true);
        }
    }

    fn log(&self, packet: &Packet, rule: Option<&Rule>, anchor: Option<&Rule>, reason: Reason, is_dropped: bool) {
        let number = rule.map_or(0, Rule::log_interface);
        if !self.pf.kernel.has_log_reader(number) {
            return;
        }
        let entry = Entry {
            interface: self
                .interfaces
                .get(self.interface)
                .map_or(IfName::EMPTY, |interface| interface.name),
            direction: packet.direction,
            af: packet.af,
            rule,
            within: rule.and_then(|of| {
                let home = of.home().filter(|home| home.number() != MAIN)?;
                // A translation rule's anchor is not told: the rule itself stands for it.
                let rule = anchor.unwrap_or(of);
                Some(Within {
                    rule,
                    name: home.path(),
                })
            }),
            reason,
            is_dropped,
            owner: rule
                .filter(|rule| rule.log & PF_LOG_SOCKET_LOOKUP != 0)
                .and_then(|_| self.owner(&packet.subject(self.interface, self.interfaces)))
                .map(|owner| owner.uid),
        };
        self.pf.kernel.log_packet(number, &entry.header(), packet.mbuf());
    }
}
