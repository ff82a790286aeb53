//! Translating a packet without a state: the rule that is about it, and the ends that it gives it.
//!
//! Going out, the binat rules are asked first and then the nat rules; coming in, the rdr rules first and then the binat rules. In each
//! list the first rule that matches decides, and one with `no` ends the search in its list only.
//!
//! # Locking
//! Takes none of its own.

use pf_abi::{Reason, RulesetKind};

use super::{Filter, Refusal, is_trackable};
use crate::kpi::Direction;
use crate::mem::KArc;
use crate::nat::{Choice, Pool, Source};
use crate::packet::{Packet, Transport};
use crate::rule::{Config, Decision, Rule, Subject};
use crate::state::{Host, StateKey, Tree, TreeKey};
use crate::wire::icmp::Class;

/// What a translation rule makes of a packet.
pub(super) struct Translation<'c> {
    pub rule: &'c KArc<Rule>,
    pub key: StateKey,
    /// What its source is to be given the next time, too: `sticky-address`.
    pub sticky: Option<Choice>,
}

impl Filter<'_> {
    /// The translation rule that is about the packet, and the three ends that it gives it; `subject` becomes what the filter
    /// rules are to see.
    #[inline(never)]
    pub(super) fn translate<'c>(
        &self,
        config: &'c Config,
        packet: &Packet,
        subject: &mut Subject,
        locked: bool,
    ) -> Result<Option<Translation<'c>>, Refusal> {
        let (own, binat) = (kind(packet.direction), RulesetKind::Binat);
        if !config.has(own) && !config.has(binat) {
            return Ok(None);
        }
        if matches!(packet.transport, Transport::Fragment) {
            self.refuse_fragment(config, packet.direction, subject)?;
            return Ok(None);
        }
        if !is_trackable(packet) {
            self.refuse_stray_error(config, packet, subject)?;
            return Ok(None);
        }
        match packet.direction {
            Direction::Out => match self.binat_out(config, packet, subject) {
                Some(translated) => Ok(Some(translated)),
                None => self.nat(config, packet, subject, locked),
            },
            Direction::In => match self.rdr(config, packet, subject)? {
                Some(translated) => Ok(Some(translated)),
                None => Ok(self.binat_in(config, packet, subject)),
            },
        }
    }

    /// Without its ports there is no telling whether, and into what, a fragment is to be translated.
    fn refuse_fragment(&self, config: &Config, direction: Direction, subject: &mut Subject) -> Result<(), Refusal> {
        let translates = |decision: Option<Decision<'_>>| decision.is_some_and(|it| it.rule.has_pool());
        let around = self.surroundings();
        let is_of_binat = config.has(RulesetKind::Binat)
            && translates(match direction {
                Direction::Out => config.first_match(RulesetKind::Binat, subject, &around),
                Direction::In => config.first_match_from_outside(subject, &around),
            });
        if is_of_binat || translates(config.first_match(kind(direction), subject, &around)) {
            return Err(Reason::Fragment.into());
        }
        Ok(())
    }

    /// An error that leaves, about something that has no state: it would show an address that is not to be seen outside. The one who
    /// hears of nothing knows no more than before.
    fn refuse_stray_error(&self, config: &Config, packet: &Packet, subject: &mut Subject) -> Result<(), Refusal> {
        let is_error = matches!(
            packet.transport,
            Transport::Icmp {
                class: Class::Error,
                ..
            }
        );
        if packet.direction == Direction::In || !is_error {
            return Ok(());
        }
        let hides = |pool: &Pool| pool.recall(&self.current(), packet.src).is_none();
        let asked =
            |kind, subject: &mut Subject| self.asked(config, kind, subject).is_some_and(|(_, pool)| hides(pool));
        if asked(RulesetKind::Binat, subject) || asked(RulesetKind::Nat, subject) {
            return Err(Reason::StateMismatch.into());
        }
        Ok(())
    }

    fn binat_out<'c>(&self, config: &'c Config, packet: &Packet, subject: &mut Subject) -> Option<Translation<'c>> {
        if !config.has(RulesetKind::Binat) {
            return None;
        }
        let Decision { rule, .. } = config.first_match(RulesetKind::Binat, subject, &self.surroundings())?;
        let (near, far) = packet.ends();
        let addr = rule.pool(self.section)?.outside(self.interfaces, &near.addr)?;
        subject.src = addr;
        Some(Translation {
            rule,
            key: key(packet, near, Host { addr, ..near }, far),
            sticky: None,
        })
    }

    fn binat_in<'c>(&self, config: &'c Config, packet: &Packet, subject: &mut Subject) -> Option<Translation<'c>> {
        if !config.has(RulesetKind::Binat) {
            return None;
        }
        let Decision { rule, .. } = config.first_match_from_outside(subject, &self.surroundings())?;
        let addr = rule.from_outside(subject, &self.surroundings())?.src;
        let (near, far) = packet.ends();
        subject.dst = addr;
        Some(Translation {
            rule,
            key: key(packet, Host { addr, ..near }, near, far),
            sticky: None,
        })
    }

    /// The rule of a list that is about the packet, and its pool; nothing where the rule begins with `no`.
    fn asked<'s, 'c: 's>(
        &'s self,
        config: &'c Config,
        kind: RulesetKind,
        subject: &mut Subject,
    ) -> Option<(&'c KArc<Rule>, &'s Pool)> {
        let Decision { rule, .. } = config.first_match(kind, subject, &self.surroundings())?;
        Some((rule, rule.pool(self.section)?))
    }

    fn nat<'c>(
        &self,
        config: &'c Config,
        packet: &Packet,
        subject: &mut Subject,
        locked: bool,
    ) -> Result<Option<Translation<'c>>, Refusal> {
        let Some((rule, pool)) = self.asked(config, RulesetKind::Nat, subject) else {
            return Ok(None);
        };
        let (near, far) = packet.ends();
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
        let source = Source {
            proto: packet.proto,
            near,
            far,
            given: self.given(rule, pool, &near.addr, packet.af),
        };
        let gwy = pool
            .choose_source(&self.pf.kernel, &self.current(), &source, is_free)
            .ok_or(Reason::StateInsert)?;
        subject.src = gwy.addr;
        if let Some((src, _)) = &mut subject.ports {
            *src = gwy.port;
        }
        Ok(Some(Translation {
            rule,
            key: key(packet, near, gwy, far),
            sticky: pool.is_sticky().then_some(Choice {
                addr: gwy.addr,
                interface: 0,
            }),
        }))
    }

    fn rdr<'c>(
        &self,
        config: &'c Config,
        packet: &Packet,
        subject: &mut Subject,
    ) -> Result<Option<Translation<'c>>, Refusal> {
        let Some((rule, pool)) = self.asked(config, RulesetKind::Rdr, subject) else {
            return Ok(None);
        };
        let (near, far) = packet.ends();
        let choice = self
            .given(rule, pool, &far.addr, packet.af)
            .or_else(|| pool.choose(&self.pf.kernel, &self.current(), &far.addr))
            .ok_or(Reason::StateInsert)?;
        let port = if subject.ports.is_some() {
            pool.destination_port(near.port, rule.dst.first_port())
        } else {
            near.port
        };
        let lan = Host {
            addr: choice.addr,
            port,
        };
        subject.dst = lan.addr;
        if let Some((_, dst)) = &mut subject.ports {
            *dst = lan.port;
        }
        Ok(Some(Translation {
            rule,
            key: key(packet, lan, near, far),
            sticky: pool.is_sticky().then_some(choice),
        }))
    }
}

/// The translation rules of a direction beside the binat rules.
fn kind(direction: Direction) -> RulesetKind {
    match direction {
        Direction::Out => RulesetKind::Nat,
        Direction::In => RulesetKind::Rdr,
    }
}

/// A state's key for the packet.
fn key(packet: &Packet, lan: Host, gwy: Host, ext: Host) -> StateKey {
    StateKey {
        lan,
        gwy,
        ext,
        af: packet.af,
        proto: packet.proto,
    }
}
