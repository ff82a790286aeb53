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
use crate::packet::{Cut, Packet};
use crate::rule::{FragmentPolicy, RuleList, Surroundings};
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

    /// Drops what has waited for `lifetime` seconds, and counts it.
    pub(crate) fn purge(&self, now: u32, lifetime: u32, stats: &Stats) {
        while self.fragments.purge(now, lifetime, stats, &SoftNet::raise()) {}
    }

    /// Normalises a packet. Nothing comes back where it is a fragment that has to wait for others.
    ///
    /// # Errors
    /// Why it is dropped.
    #[inline(never)]
    pub(crate) fn normalise(&self, packet: Packet, scene: &Scene<'_>) -> Result<Option<Normal>, Reason> {
        let (mut packet, cut) = match self.defragment(packet, scene)? {
            Some(whole) => whole,
            None => return Ok(None),
        };
        let reassemble_tcp = scrub::apply(&mut packet, scene)?;
        Ok(Some(Normal {
            packet,
            cut,
            reassemble_tcp,
        }))
    }

    /// The whole packet, and how it is cut again, or what is left of a fragment that passes at once.
    #[inline(never)]
    fn defragment(&self, mut packet: Packet, scene: &Scene<'_>) -> Result<Option<(Packet, Option<Cut>)>, Reason> {
        let Some(part) = packet.part()? else {
            return Ok(Some((packet, None)));
        };
        let rule = scrub::rule_of_fragment(&packet, scene);
        let policy = match &rule {
            Some(rule) if packet.af == Af::Inet => rule.scrub.fragments,
            Some(_) => FragmentPolicy::Reassemble,
            None if packet.is_refragmented() => FragmentPolicy::Reassemble,
            None => return Ok(Some((packet, None))),
        };
        if packet.must_not_fragment() && !rule.is_some_and(|rule| rule.scrub.no_df) {
            return Err(Reason::Normalize);
        }
        let key = Key::new(&packet, &part, policy);
        let now = scene.kernel.uptime();
        if policy != FragmentPolicy::Reassemble {
            let strict = policy == FragmentPolicy::DropOverlaps;
            let (start, end) = self.fragments.pass(key, &part, strict, now, scene.stats, scene.level)?;
            packet.crop(&part, start, end).map_err(|_| Reason::Memory)?;
            return Ok(Some((packet, None)));
        }
        let direction = packet.direction;
        let held = self
            .fragments
            .hold(key, &part, packet.into_trimmed(), now, scene.stats, scene.level)?;
        match held {
            Held::Waiting => Ok(None),
            Held::Complete(datagram) => datagram.into_packet(direction).map(Some),
        }
    }
}

/// How a key tells packets that go in from those that go out.
fn is_out(direction: Direction) -> bool {
    direction == Direction::Out
}
