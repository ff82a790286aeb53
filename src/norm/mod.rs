//! Normalisation: fragments, and what scrub rules change in packets before anybody judges them.
//!
//! # Overview
//! The first scrub rule that matches decides ([`scrub`]). One that reassembles holds fragments back until all are there
//! ([`fragments`], [`datagram`]), and the whole packet goes on; `fragment crop` and `drop-ovl` let each fragment pass at once, and
//! only see to it that no byte passes twice ([`ranges`]). IPv6 fragments are always reassembled where a rule matches, and the packet
//! is cut again when it has been judged, since no router may do that. On their way out those fragments are known by their mark,
//! and are put together once more, whether a rule says so or not. [`timestamps`] is `reassemble tcp`, which goes on with a state.
//!
//! # Life cycle
//! A fragment is held until its packet is complete, proves impossible, is pushed out by newer ones, or is older than the timeout
//! `frag`. [`Norm`] lives as long as its `Pf`.
//!
//! # Locking
//! What waits is under one spin lock, and no other is taken with it in hand. Packets are put together without it.

#![forbid(unsafe_code)]

mod datagram;
mod fragments;
mod ranges;
mod scrub;
pub(crate) mod timestamps;

use pf_abi::{Limit, Reason};

use crate::kpi::{Direction, Kernel, NoMemory, SoftNet};
use crate::mem::KArc;
use crate::packet::{Cut, Packet};
use crate::rule::{FragmentPolicy, Rule, RuleList, Surroundings};
use crate::stats::Stats;
use crate::wire::Af;
use fragments::{Fragments, Held, Key};

/// What is known of packets that are not whole yet.
pub struct Norm {
    fragments: Fragments,
}

/// What a packet is normalised with.
pub(crate) struct Scene<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) level: &'a SoftNet,
    pub(crate) stats: &'a Stats,
    /// The scrub rules.
    pub(crate) rules: &'a RuleList,
    pub(crate) around: Surroundings<'a>,
    /// The interface, by its number.
    pub(crate) interface: u16,
}

/// A packet as it is to be judged.
pub(crate) struct Normal {
    pub(crate) packet: Packet,
    /// How it is cut again afterwards.
    pub(crate) cut: Option<Cut>,
    /// A rule with `reassemble tcp` matches it.
    pub(crate) reassemble_tcp: bool,
}

/// A packet is dropped.
pub(crate) struct Refused<'a> {
    pub(crate) reason: Reason,
    /// The scrub rule that is about it.
    pub(crate) rule: Option<&'a KArc<Rule>>,
}

impl Norm {
    /// Nothing held yet.
    pub(crate) fn new(kernel: &Kernel) -> Result<Self, NoMemory> {
        Ok(Norm {
            fragments: Fragments::new(kernel, Limit::Frags.default_value() as usize)?,
        })
    }

    /// Sets how many fragments may wait: `set limit frags`.
    pub(crate) fn set_limit(&self, limit: usize) -> Result<(), NoMemory> {
        self.fragments.set_limit(limit, &SoftNet::raise())
    }

    /// How many fragments wait.
    pub fn held(&self) -> usize {
        self.fragments.len(&SoftNet::raise())
    }

    /// Drops what has waited for `lifetime` seconds, and counts it; of very much, a part.
    pub(crate) fn purge(&self, now: u32, lifetime: u32, stats: &Stats) {
        const MOST_BATCHES: usize = 1 << 9;
        for _ in 0..MOST_BATCHES {
            if !self.fragments.purge(now, lifetime, stats, &SoftNet::raise()) {
                break;
            }
        }
    }

    /// Normalises a packet. Nothing comes back where it is a fragment that has to wait for others. One that is dropped stays in `packet` as
    /// it came, if the rule that drops it logs.
    ///
    /// # Errors
    /// Why it is dropped.
    #[inline(never)]
    pub(crate) fn normalise<'a>(
        &self,
        packet: &mut Option<Packet>,
        scene: &Scene<'a>,
    ) -> Result<Option<Normal>, Refused<'a>> {
        let Some(cut) = self.defragment(packet, scene)? else {
            return Ok(None);
        };
        let Some(whole) = packet else {
            return Ok(None);
        };
        let reassemble_tcp = scrub::apply(whole, scene)?;
        Ok(packet.take().map(|packet| Normal {
            packet,
            cut,
            reassemble_tcp,
        }))
    }

    /// Makes the packet whole, and says how it is cut again, or leaves what is left of a fragment that passes at once. Nothing where it
    /// waits.
    #[inline(never)]
    fn defragment<'a>(
        &self,
        packet: &mut Option<Packet>,
        scene: &Scene<'a>,
    ) -> Result<Option<Option<Cut>>, Refused<'a>> {
        let Some(fragment) = packet.as_mut().filter(|packet| packet.fragment.is_some()) else {
            return Ok(Some(None));
        };
        let rule = scrub::rule_of_fragment(fragment, scene);
        let refuse = |reason| Refused { reason, rule };
        let Some(part) = fragment.part().map_err(refuse)? else {
            return Ok(Some(None));
        };
        let policy = match &rule {
            Some(rule) if fragment.af == Af::Inet => rule.scrub.fragments,
            Some(_) => FragmentPolicy::Reassemble,
            None if fragment.is_refragmented() => FragmentPolicy::Reassemble,
            None => return Ok(Some(None)),
        };
        if fragment.must_not_fragment() && !rule.is_some_and(|rule| rule.scrub.no_df) {
            return Err(refuse(Reason::Normalize));
        }
        let key = Key::new(fragment, &part, policy);
        let now = scene.kernel.uptime();
        if policy != FragmentPolicy::Reassemble {
            let strict = policy == FragmentPolicy::DropOverlaps;
            let passing = self.fragments.pass(key, &part, strict, now, scene.stats, scene.level);
            let (start, end) = passing.map_err(refuse)?;
            let cropped = fragment.crop(&part, start, end);
            cropped.map_err(|_| refuse(Reason::Memory))?;
            return Ok(Some(None));
        }
        let direction = fragment.direction;
        let shown = rule
            .filter(|rule| rule.log != 0)
            .and_then(|_| fragment.mbuf().duplicate());
        let Some(fragment) = packet.take() else {
            return Ok(None);
        };
        let held = self
            .fragments
            .hold(key, &part, fragment.into_trimmed(), now, scene.stats, scene.level);
        let whole = held.and_then(|held| match held {
            Held::Waiting => Ok(None),
            Held::Complete(datagram) => datagram.into_packet(direction).map(Some),
        });
        match whole {
            Ok(Some((whole, cut))) => {
                *packet = Some(whole);
                Ok(Some(cut))
            }
            Ok(None) => Ok(None),
            Err(reason) => {
                *packet = shown.map(|mbuf| {
                    let mut packet = Packet::new(mbuf, direction);
                    // It could be read before.
                    let _ = packet.parse();
                    packet
                });
                Err(refuse(reason))
            }
        }
    }
}

/// How a key tells packets that go in from those that go out.
fn is_out(direction: Direction) -> bool {
    direction == Direction::Out
}
