//! One packet's whole way: parse, look up its state, else evaluate the rules, translate, remember, rewrite, count.
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

use core::sync::atomic::Ordering;

use pf_abi::{PFOTHERS_MULTIPLE, PFOTHERS_SINGLE, Reason, Timeout};

use crate::kpi::{Direction, Mbuf, ReadSection, SoftNet};
use crate::mem::KArc;
use crate::packet::{self, Packet, Rewrite, Transport, answer};
use crate::rule::{Action, Answer, Config, Rule, Subject};
use crate::state::tcp::{self, Fit};
use crate::state::{Body, Host, InsertError, Origin, Peer, Place, State, StateKey, Tree, TreeKey};
use crate::wire::Proto;
use crate::wire::icmp::Class;
use crate::{Pf, Verdict, iface};

/// A packet goes no further.
struct Refusal {
    /// Why, where that is to be counted: a rule that blocks counts itself.
    reason: Option<Reason>,
    /// What its sender hears.
    answer: Option<Mbuf>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refusal {
            reason: Some(reason),
            answer: None,
        }
    }
}

/// What an end hears that takes an old connection to be alive.
const RESET: Answer = Answer {
    reset: Some(0),
    icmp: None,
    icmp6: None,
};

/// Judges one packet. `place` is where its state stands in the tree of its direction, if that is known already.
#[inline]
pub(crate) fn judge(
    pf: &Pf,
    level: &SoftNet,
    direction: Direction,
    ifindex: u16,
    mbuf: Mbuf,
    place: Option<Place>,
) -> Verdict {
    if !pf.is_running() || mbuf.is_from_pf() {
        return Verdict::Pass(mbuf);
    }
    let section = pf.read(level);
    let interfaces = pf.interfaces.read(&section);
    let number = interfaces.number(ifindex);
    let interface = interfaces.get(number);
    if interface.is_some_and(|interface| interface.skips()) {
        return Verdict::Pass(mbuf);
    }
    let filter = Filter {
        pf,
        level,
        section: &section,
        interface: number,
        place,
    };
    let mut packet = Packet::new(mbuf, direction);
    if let Err(reason) = packet.parse() {
        pf.stats.count(reason);
        return Verdict::Drop;
    }
    let (af, len) = (packet.af, packet.len.into());
    let judged = filter.judge(&mut packet);
    if let Some(interface) = interface {
        interface.count(af, direction, judged.is_ok(), len);
    }
    match judged {
        Ok(()) => Verdict::Pass(packet.into_mbuf()),
        Err(refusal) => {
            if let Some(reason) = refusal.reason {
                pf.stats.count(reason);
            }
            drop(section);
            if let Some(answer) = refusal.answer {
                pf.kernel.output(answer);
            }
            Verdict::Drop
        }
    }
}

/// What one packet is judged with.
struct Filter<'a> {
    pf: &'a Pf,
    level: &'a SoftNet,
    section: &'a ReadSection<'a>,
    /// The interface that it crosses.
    interface: u16,
    /// Where its state stands, if that is known already.
    place: Option<Place>,
}

impl<'a> Filter<'a> {
    #[inline]
    fn judge(&self, packet: &mut Packet) -> Result<(), Refusal> {
        let locked = self.pf.is_locked();
        let is_known = !locked
            && if is_trackable(packet) {
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

    /// The state of a key at its place in a tree.
    #[inline]
    fn find(&self, at: Place, key: &TreeKey) -> Option<&'a State> {
        self.pf.stats.count_search();
        self.pf.states.find_at(at, key, self.level, self.section)
    }

    /// Where a key stands in the tree of this direction.
    #[inline]
    fn place(&self, direction: Direction, key: &TreeKey) -> Place {
        self.pf.states.place(Tree::of(direction), key)
    }

    /// Lets a packet pass that belongs to a state, and moves the state on. False if there is none.
    #[inline]
    fn judge_known(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let key = packet.key();
        let at = self.place.unwrap_or_else(|| self.place(packet.direction, &key));
        let Some(state) = self.find(at, &key) else {
            return Ok(false);
        };
        if packet.has_options && !state.rule().is_some_and(|rule| rule.allow_opts) {
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
        Ok(true)
    }

    /// Lets an ICMP error pass that is about a packet of a state. False if there is none.
    fn judge_error(&self, packet: &mut Packet) -> Result<bool, Refusal> {
        let quote = packet.quote().map_err(packet::reason)?;
        let key = quote.key(packet);
        let Some(state) = self.find(self.place(packet.direction, &key), &key) else {
            return Ok(false);
        };
        // An error goes to whoever sent what it is about.
        if packet.dst != quote.src.addr {
            return Err(Reason::StateMismatch.into());
        }
        if packet.has_options && !state.rule().is_some_and(|rule| rule.allow_opts) {
            return Err(Reason::IpOption.into());
        }
        let forward = packet.direction.reverse() == state.direction();
        {
            let mut body = state.lock(self.level);
            if body.unlinked {
                return Ok(false);
            }
            if let Some(seq) = quote.seq {
                let (sender, receiver) = if forward {
                    (&body.src, &body.dst)
                } else {
                    (&body.dst, &body.src)
                };
                if !tcp::was_sent(sender, receiver, seq) {
                    return Err(Reason::StateMismatch.into());
                }
            }
            let at = usize::from(forward);
            body.packets[at] = body.packets[at].wrapping_add(1);
            body.bytes[at] = body.bytes[at].wrapping_add(packet.len.into());
        }
        let key = state.key();
        if key.is_translated() {
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
                .rewrite_error(src, dst, &quote, &ends)
                .map_err(|_| Reason::Memory)?;
        }
        count(state, packet);
        Ok(true)
    }

    /// Judges a packet without a state by the rules.
    fn judge_new(&self, packet: &mut Packet, locked: bool) -> Result<(), Refusal> {
        let config = self.pf.config.read(self.section);
        let mut subject = packet.subject(self.interface);
        let translated = self.translate(config, packet, &mut subject, locked)?;
        let rule = match &translated {
            Some((rule, _)) if rule.translate_pass => None,
            _ => config.filter().last_match(&subject),
        };
        self.pf.stats.count(Reason::Match);
        if let Some(rule) = rule
            && let Action::Block(to_send) = &rule.action
        {
            rule.counters.count(packet.direction, packet.len.into());
            return Err(Refusal {
                reason: None,
                answer: answer(&self.pf.kernel, packet, to_send),
            });
        }
        if packet.has_options && !rule.is_some_and(|rule| rule.allow_opts) {
            return Err(Reason::IpOption.into());
        }
        let keeps = rule.is_some_and(|rule| rule.keep_state) || translated.is_some();
        if keeps && is_trackable(packet) {
            if locked {
                return Err(Reason::StateLocked.into());
            }
            self.remember(packet, rule, translated)?;
        }
        for rule in rule.into_iter().chain(translated.map(|(rule, _)| rule)) {
            rule.counters.count(packet.direction, packet.len.into());
        }
        Ok(())
    }

    /// The translation rule that is about the packet, and the three ends that it gives it; `subject` becomes what the filter
    /// rules are to see.
    fn translate<'c>(
        &self,
        config: &'c Config,
        packet: &Packet,
        subject: &mut Subject,
        locked: bool,
    ) -> Result<Option<(&'c KArc<Rule>, StateKey)>, Refusal> {
        let list = match packet.direction {
            Direction::Out => config.nat(),
            Direction::In => config.rdr(),
        };
        if list.rules().is_empty() {
            return Ok(None);
        }
        if matches!(packet.transport, Transport::Fragment) {
            // Without its ports there is no telling whether, and into what, it is to be translated.
            for rule in list.rules().iter().filter(|rule| rule.may_match(subject)) {
                if rule.pool.is_some() {
                    return Err(Reason::Fragment.into());
                }
                if rule.matches(subject) {
                    break;
                }
            }
            return Ok(None);
        }
        if !is_trackable(packet) {
            return Ok(None);
        }
        let Some(rule) = list.first_match(subject) else {
            return Ok(None);
        };
        let Some(pool) = &rule.pool else {
            return Ok(None);
        };
        let (near, far) = packet.ends();
        let key = match packet.direction {
            Direction::Out => {
                // While the table is locked the packet gets no further than the filter rules, and any port does for them.
                let is_free = |near| {
                    let key = TreeKey {
                        near,
                        far,
                        af: packet.af,
                        proto: packet.proto,
                    };
                    locked
                        || self
                            .pf
                            .states
                            .find(Tree::ExtGwy, &key, self.level, self.section)
                            .is_none()
                };
                let gwy = pool
                    .choose_source(&self.pf.kernel, packet.proto, near.port, is_free)
                    .ok_or(Reason::StateInsert)?;
                subject.src = gwy.addr;
                if let Some((src, _)) = &mut subject.ports {
                    *src = gwy.port;
                }
                StateKey {
                    lan: near,
                    gwy,
                    ext: far,
                    af: packet.af,
                    proto: packet.proto,
                }
            }
            Direction::In => {
                let lan = if subject.ports.is_some() {
                    pool.choose_destination(near.port, rule.dst.first_port())
                } else {
                    Host {
                        addr: pool.addr(),
                        port: near.port,
                    }
                };
                subject.dst = lan.addr;
                if let Some((_, dst)) = &mut subject.ports {
                    *dst = lan.port;
                }
                StateKey {
                    lan,
                    gwy: near,
                    ext: far,
                    af: packet.af,
                    proto: packet.proto,
                }
            }
        };
        Ok(Some((rule, key)))
    }

    /// Gives a packet that passes its translated ends, and makes a state for it. The packet comes first: one that cannot be
    /// written to leaves no state behind, and one whose state cannot be made is dropped as it is.
    fn remember(
        &self,
        packet: &mut Packet,
        rule: Option<&KArc<Rule>>,
        translated: Option<(&KArc<Rule>, StateKey)>,
    ) -> Result<(), Refusal> {
        if let Some(rule) = rule
            && rule.max_states != 0
            && rule.states.load(Ordering::Relaxed) >= rule.max_states
        {
            self.pf.stats.count_limit(pf_abi::LCNT_STATES);
            return Err(Reason::StateLimit.into());
        }
        let (near, ext) = packet.ends();
        let (nat_rule, key) = match translated {
            Some((rule, key)) => (Some(rule.clone()), key),
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
        let body = first_body(packet, now);
        if key.is_translated() {
            packet
                .rewrite(&translation(&key, packet.direction))
                .map_err(|_| Reason::Memory)?;
        }
        let origin = Origin {
            key,
            direction: packet.direction,
            interface: iface::ALL,
            rule: rule.cloned(),
            nat_rule,
            id: 0,
            creator: self.pf.host_id.load(Ordering::Relaxed),
            creation: now,
        };
        self.pf
            .states
            .insert(origin, body, self.level, self.section)
            .map_err(|error| match error {
                InsertError::Exists => Reason::StateInsert,
                InsertError::Limit => Reason::StateLimit,
                InsertError::NoMemory => Reason::Memory,
            })?;
        self.pf.stats.count_insert();
        Ok(())
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

/// Counts a packet of a state at the rules that made it.
#[inline]
fn count(state: &State, packet: &Packet) {
    for rule in state.rule().into_iter().chain(state.nat_rule()) {
        rule.counters.count(packet.direction, packet.len.into());
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
        expire: now,
        src,
        dst,
        packets: [1, 0],
        bytes: [packet.len.into(), 0],
    }
}
