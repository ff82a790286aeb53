//! Scrub rules: which one is about a packet, and what it changes in one that is whole.
//!
//! The first that matches decides, `no scrub` among them. Whether a rule with ports is about a fragment shows when its packet is whole:
//! so one that scrubs is taken to be, and a `no scrub` is not.

use pf_abi::Reason;

use core::sync::atomic::Ordering;

use super::{Refused, Scene};
use crate::kpi::stripe;
use crate::mem::KArc;
use crate::packet::{Packet, Transport};
use crate::rule::{Action, Rule};

/// The rule that decides what becomes of a fragment; nothing where none does.
pub(super) fn rule_of_fragment<'a>(packet: &Packet, scene: &Scene<'a>) -> Option<&'a KArc<Rule>> {
    let subject = packet.subject(scene.interface, scene.around.interfaces);
    let rule = scene.rules.rules().iter().find(|rule| {
        rule.may_match(&subject, &scene.around)
            && (rule.action == Action::Scrub || rule.matches(&subject, &scene.around))
    });
    rule.filter(|rule| rule.action == Action::Scrub)
}

/// Changes a packet as its rule wants it: whether that keeps track of TCP.
///
/// # Errors
/// PFRES_NORM for a TCP header that makes no sense, PFRES_MEMORY.
pub(super) fn apply<'a>(packet: &mut Packet, scene: &Scene<'a>) -> Result<bool, Refused<'a>> {
    let is_fragment = packet.fragment.is_some();
    let rule = if is_fragment {
        rule_of_fragment(packet, scene)
    } else {
        let subject = packet.subject(scene.interface, scene.around.interfaces);
        let rule = scene.rules.first_match(&subject, &scene.around);
        rule.filter(|rule| rule.action == Action::Scrub)
    };
    let Some(rule) = rule else {
        return Ok(false);
    };
    if is_fragment {
        rule.evaluations.fetch_add(1, Ordering::Relaxed);
    }
    rule.counters.count(stripe(), packet.direction, packet.len);
    let refuse = |reason| Refused {
        reason,
        rule: Some(rule),
    };
    packet.repair_tcp().map_err(refuse)?;
    change(packet, rule, scene).map_err(|_| refuse(Reason::Memory))?;
    Ok(rule.scrub.reassemble_tcp && matches!(packet.transport, Transport::Tcp { .. }))
}

fn change(packet: &mut Packet, rule: &Rule, scene: &Scene<'_>) -> Result<(), crate::kpi::NoMemory> {
    let scrub = &rule.scrub;
    if scrub.min_ttl != 0 {
        packet.raise_ttl(scrub.min_ttl)?;
    }
    let id = || (scene.kernel.random_u32() as u16).max(1);
    if scrub.no_df {
        packet.permit_fragments(id)?;
    }
    // What is in pieces would not fit together any more.
    if scrub.random_id && packet.fragment.is_none() {
        packet.set_id(id())?;
    }
    if scrub.max_mss != 0 {
        packet.limit_mss(scrub.max_mss)?;
    }
    Ok(())
}
