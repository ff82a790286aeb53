//! A packet without a state: the rules judge it, translate it, and may have it remembered.
//!
//! # Locking
//! Takes none of its own; the state table takes a partition's of each tree while a state goes in.

use core::sync::atomic::Ordering;

use pf_abi::{PFOTHERS_SINGLE, Reason, Timeout};

use super::log::Matched;
use super::translate::Translation;
use super::{Filter, Refusal, is_trackable, translation};
use crate::iface;
use crate::kpi::{Direction, SocketEnds, SocketOwner};
use crate::osfp::Systems;
use crate::packet::{Packet, Renumber, Transport, answer};
use crate::rule::{Action, Config, Counted, Decision, Subject};
use crate::state::tcp;
use crate::state::{Body, Course, Extra, InsertError, Origin, Peer, StateKey};
use crate::wire::{Addr, Af, Proto};

impl<'a> Filter<'a> {
    /// Judges a packet without a state by the rules, and logs it.
    #[inline(never)]
    pub(super) fn judge_new(&self, packet: &mut Packet, locked: bool) -> Result<(), Refusal> {
        let mut matched = Matched::default();
        let judged = self.judge_by_rules(packet, locked, &mut matched);
        self.log_new(packet, &matched, &judged);
        if let Some(rule) = matched.rule()
            && judged.is_ok()
        {
            self.queue(packet, rule);
        }
        judged
    }

    fn judge_by_rules(&self, packet: &mut Packet, locked: bool, matched: &mut Matched<'a>) -> Result<(), Refusal> {
        let config = self.pf.config.read(self.section);
        let mut subject = packet.subject(self.interface, self.interfaces);
        let tag = subject.tag;
        let (src, dst) = (subject.src, subject.dst);
        let translated = self.translate(config, packet, &mut subject, locked)?;
        let nat_rule = translated.as_ref().map(|of| of.rule);
        let decision = match &translated {
            Some(of) if of.rule.translate_pass => None,
            _ => self.decide(config, packet, &mut subject),
        };
        let rule = decision.map(|decision| decision.rule);
        let anchor = decision.and_then(|decision| decision.anchor);
        *matched = Matched::new(decision, translated.as_ref(), packet.direction);
        self.pf.stats.count(Reason::Match);
        if let Some(rule) = rule
            && let Action::Block(to_send) = &rule.action
        {
            for rule in [rule].into_iter().chain(anchor) {
                rule.counters.count(self.stripe, packet.direction, packet.len);
            }
            rule.count_tables(|| counted(packet, subject.src, subject.dst, false), self.section);
            return Err(Refusal {
                reason: None,
                answers: [answer(&self.pf.kernel, packet, to_send), None],
                diverts: false,
            });
        }
        if packet.has_options && !rule.is_some_and(|rule| rule.allow_opts) {
            return Err(Reason::IpOption.into());
        }
        let mut held = None;
        let mut keeps = rule.is_some_and(|rule| rule.keep_state) || translated.is_some();
        if self.is_copy && rule.or(nat_rule).is_some_and(|rule| rule.if_bound) {
            // It would stand where that of the packet itself is to stand.
            if translated.is_some() {
                return Err(Reason::StateInsert.into());
            }
            keeps = false;
        }
        if keeps && is_trackable(packet) {
            if locked {
                return Err(Reason::StateLocked.into());
            }
            held = self.remember(packet, decision, translated.as_ref(), subject.tag)?;
        } else if let Some(route) = self.choose_route(rule, &packet.src, packet.af)? {
            self.note_route(&route, packet, packet.direction);
        }
        if subject.tag != tag {
            packet.set_tag(subject.tag).map_err(|_| Reason::Memory)?;
        }
        for rule in rule.into_iter().chain(anchor).chain(nat_rule) {
            rule.counters.count(self.stripe, packet.direction, packet.len);
        }
        // As the rule saw it that decided.
        match (rule, nat_rule) {
            (Some(rule), _) => rule.count_tables(|| counted(packet, subject.src, subject.dst, true), self.section),
            (None, Some(rule)) => rule.count_tables(|| counted(packet, src, dst, true), self.section),
            (None, None) => (),
        }
        match held {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// The filter rule that decides about the packet.
    #[inline(never)]
    fn decide<'c>(&self, config: &'c Config, packet: &Packet, subject: &mut Subject) -> Option<Decision<'c>> {
        let mut around = self.surroundings();
        let asks = config.asks();
        if asks.owner {
            subject.owner = self.owner(subject);
        }
        if asks.os {
            let known = self.pf.fingerprints.read(self.section);
            let print = packet.fingerprint();
            around.systems = Some(print.map_or(Systems::UNKNOWN, |print| known.find(&print)));
        }
        config.last_match(subject, &around)
    }

    /// Who has the socket that a packet comes from or goes to.
    #[inline(never)]
    pub(super) fn owner(&self, subject: &Subject) -> Option<SocketOwner> {
        let (src_port, dst_port) = subject.ports?;
        let (src, dst) = ((subject.src.octets(), src_port), (subject.dst.octets(), dst_port));
        let (local, remote) = match subject.direction {
            Direction::Out => (src, dst),
            Direction::In => (dst, src),
        };
        self.pf.kernel.socket_owner(&SocketEnds {
            is_ipv6: subject.af == Af::Inet6,
            is_tcp: subject.proto == Proto::TCP,
            local,
            remote,
        })
    }

    /// Gives a packet that passes its translated ends, and makes a state for it. The answer says if it is held, nevertheless.
    /// The packet comes first: one that cannot be
    /// written to leaves no state behind, and one whose state cannot be made is dropped as it is.
    #[inline(never)]
    fn remember(
        &self,
        packet: &mut Packet,
        decision: Option<Decision<'_>>,
        translated: Option<&Translation<'_>>,
        tag: u16,
    ) -> Result<Option<Refusal>, Refusal> {
        let is_proxied = self.is_to_be_proxied(packet, decision.map(|decision| &**decision.rule));
        let source = (packet.src, packet.af);
        let (rule, anchor) = match decision {
            Some(Decision { rule, anchor }) => (Some(rule), anchor),
            None => (None, None),
        };
        let (near, ext) = packet.ends();
        let (nat_rule, key) = match translated {
            Some(of) => (Some(of.rule.clone()), of.key),
            None => (
                None,
                StateKey {
                    lan: near,
                    gwy: near,
                    ext,
                    af: packet.af,
                    proto: packet.proto,
                },
            ),
        };
        let now = self.pf.kernel.uptime();
        let mut body = first_body(packet, now);
        if is_proxied {
            self.begin_proxy(packet, &key, rule.map(|rule| &**rule), &mut body)?;
        }
        if let Some(rule) = rule
            && rule.has_all_states()
        {
            self.pf.stats.count_limit(pf_abi::LCNT_STATES);
            return Err(Reason::StateLimit.into());
        }
        let mut extra =
            Extra::of(rule.map(|rule| &**rule), nat_rule.as_deref(), anchor, tag).map_err(|_| Reason::Memory)?;
        self.begin_tracking(&mut extra, rule, translated, source)?;
        if rule.is_some_and(|rule| rule.modulate) && packet.is_first_syn() {
            self.modulate(packet, &key, &mut body)?;
        }
        // Whom the proxy has answered has been offered no timestamps.
        if self.reassemble_tcp && !is_proxied {
            self.begin_timestamps(&mut extra, packet)?;
        }
        if key.is_translated() && !is_proxied {
            packet
                .rewrite(&translation(&key, packet.direction))
                .map_err(|_| Reason::Memory)?;
        }
        let origin = Origin {
            key,
            direction: packet.direction,
            interface: match rule.or(nat_rule.as_ref()) {
                Some(rule) if rule.if_bound => self.interface,
                _ => iface::ALL,
            },
            rule: rule.cloned(),
            nat_rule,
            extra,
            id: 0,
            creator: self.pf.host_id.load(Ordering::Relaxed),
            creation: now,
        };
        let state = self
            .pf
            .states
            .insert(origin, body, self.level, self.section)
            .map_err(|error| match error {
                InsertError::Exists => Reason::StateInsert,
                InsertError::Limit => Reason::StateLimit,
                InsertError::NoMemory => Reason::Memory,
            })?;
        self.pf.stats.count_insert();
        if let Some(extra) = state.extra() {
            for node in extra.nodes() {
                node.count(packet.direction, packet.len);
            }
            self.note_way(extra, state, packet);
        }
        Ok(is_proxied.then(|| self.greet(state)))
    }
}

impl Filter<'_> {
    /// Has a connection's numbers shifted from its SYN on. Of one that is picked up in the middle both ends know the numbers already.
    fn modulate(&self, packet: &mut Packet, key: &StateKey, body: &mut Body) -> Result<(), Refusal> {
        let Some(segment) = packet.segment() else {
            return Ok(());
        };
        let isn = self.pf.isns.of_src(&self.pf.kernel, key, packet.direction);
        body.src.seqdiff = isn.since(segment.seq).max(1);
        body.course = Course::Shifted;
        packet
            .renumber(Renumber::forth(&body.src, &body.dst))
            .map_err(|_| Reason::Memory.into())
    }
}

/// A packet as tables count it.
fn counted(packet: &Packet, src: Addr, dst: Addr, passed: bool) -> Counted {
    Counted {
        af: packet.af,
        src,
        dst,
        direction: packet.direction,
        passed,
        bytes: packet.len,
    }
}

/// What is known of a connection after its first packet.
fn first_body(packet: &Packet, now: u32) -> Body {
    let spoke = Peer {
        state: PFOTHERS_SINGLE,
        ..Peer::default()
    };
    let (timeout, (src, dst)) = match (&packet.transport, packet.segment()) {
        (Transport::Tcp { .. }, Some(segment)) => (Timeout::TcpFirst, tcp::open(&segment)),
        (Transport::Udp(_), _) => (Timeout::UdpFirst, (spoke, Peer::default())),
        (Transport::Icmp { .. }, _) => (Timeout::IcmpFirst, Default::default()),
        _ => (Timeout::OtherFirst, (spoke, Peer::default())),
    };
    Body {
        unlinked: false,
        timeout,
        course: Course::Direct,
        expire: now,
        packets: [1, 0],
        bytes: [packet.len.into(), 0],
        src,
        dst,
    }
}
