//! What a state's record does not say, and is found again from its rules: where its packets go, and the source nodes that it counts
//! at.
//!
//! The record has the address that `route-to` and its like hand packets to, not the interface; the interface is the one that the
//! rule's pool has with that address. Where the pool does not have it any more, the rule chooses anew: no packet of the rule's is ever
//! left to the routing table. A source node is the one that a new state of the same rules would count at, made where there is
//! none; a state that would be too many there is restored all the same, and does not count.
//!
//! # Locking
//! A partition of the source nodes, with no other lock held.

use pf_abi::Route as RouteKind;

use crate::Pf;
use crate::kpi::{Direction, Errno, SoftNet};
use crate::mem::KArc;
use crate::nat::{Choice, Current};
use crate::rule::Rule;
use crate::source::Tie;
use crate::state::{Body, Extra, Origin, Route, proxy};
use crate::wire::{Addr, Af};

/// Finds again what only some states have, of one that is restored. `next` is the record's address of the next stop.
///
/// # Errors
/// EOPNOTSUPP where the rule sends its packets another way and has none now; ENOMEM.
pub(super) fn recall(
    pf: &Pf,
    origin: &mut Origin,
    body: &Body,
    next: Addr,
    current: &Current<'_>,
    level: &SoftNet,
) -> Result<(), Errno> {
    let (src, given) = match origin.direction {
        Direction::Out => (origin.key.lan.addr, origin.key.gwy.addr),
        Direction::In => (origin.key.ext.addr, origin.key.lan.addr),
    };
    let af = origin.key.af;
    let route = match &origin.rule {
        Some(rule) => recall_route(pf, rule, current, next, &src)?,
        None => None,
    };
    let sticky = route
        .filter(|_| origin.rule.as_ref().is_some_and(|rule| rule.is_sticky()))
        .map(|route| route.choice);
    let source = match &origin.rule {
        Some(rule) if rule.limits().track.is_some() || sticky.is_some() => tie(pf, rule, (src, af), sticky, level),
        _ => None,
    };
    let nat_source = match &origin.nat_rule {
        Some(rule) if rule.is_sticky() => {
            let choice = Choice {
                addr: given,
                interface: 0,
            };
            let is_its = rule
                .pool(current.section)
                .is_some_and(|pool| pool.contains(current, &choice));
            tie(pf, rule, (src, af), is_its.then_some(choice), level)
        }
        _ => None,
    };
    if let Some(tie) = &source
        && (body.is_established() || proxy::is_calling(body))
    {
        tie.reconnect();
    }
    if route.is_some() || source.is_some() || nat_source.is_some() {
        let extra = Extra::entry(&mut origin.extra)?;
        (extra.route, extra.source, extra.nat_source) = (route, source, nat_source);
    }
    Ok(())
}

/// Where packets of a state of `rule` go that went by way of `next`.
fn recall_route(pf: &Pf, rule: &Rule, current: &Current<'_>, next: Addr, src: &Addr) -> Result<Option<Route>, Errno> {
    let kind = rule.route;
    if matches!(kind, RouteKind::None | RouteKind::Fast) {
        return Ok(None);
    }
    let choice = rule.pool(current.section).and_then(|pool| {
        pool.recall(current, next)
            .or_else(|| pool.choose(&pf.kernel, current, src))
    });
    match choice {
        None if kind != RouteKind::DupTo => Err(Errno::Eopnotsupp),
        choice => Ok(choice.map(|choice| Route { kind, choice })),
    }
}

/// Counts the state at its source's node.
fn tie(pf: &Pf, rule: &KArc<Rule>, (src, af): (Addr, Af), given: Option<Choice>, level: &SoftNet) -> Option<Tie> {
    let (tie, is_new) = pf.sources.tie(rule, src, af, pf.kernel.uptime(), level).ok()?;
    if is_new {
        pf.stats.count_source_insert();
    }
    if let Some(given) = given {
        tie.node().give(given, level);
    }
    Some(tie)
}
