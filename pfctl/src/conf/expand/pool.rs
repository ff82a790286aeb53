//! Pools: how an address is chosen, and where packets are sent that go another way.

use super::host::Host;
use super::{Expander, span_of};
use crate::conf::ast::{Choice, FilterRule};
use crate::conf::diagnostic::{Diagnostic, Span};
use pf_abi::{
    Direction, IfName, PF_ADDR_ADDRMASK, PF_ADDR_DYNIFTL, PF_ADDR_TABLE, PF_POOL_BITMASK, PF_POOL_ROUNDROBIN,
    PF_POOL_STICKYADDR, PFI_AFLAG_NOALIAS, PoolAddr, Route, Rule,
};

/// Puts into a rule how an address of its pool is chosen.
pub(super) fn choose(
    choice: &Choice,
    several: bool,
    is_network: bool,
    span: Span,
    rule: &mut Rule,
) -> Result<(), Box<Diagnostic>> {
    let mut opts: u8 = choice.kind.map_or(0, |kind| kind.node.into());
    if opts == 0 && several {
        opts = PF_POOL_ROUNDROBIN;
    }
    let span = choice.kind.map_or(span, |kind| kind.span);
    if several && opts != PF_POOL_ROUNDROBIN {
        return Err(Box::new(
            Diagnostic::error(span, "several addresses can only be taken in turn")
                .hint("write `round-robin`, or a single address"),
        ));
    }
    if opts == PF_POOL_BITMASK && !is_network {
        return Err(Box::new(
            Diagnostic::error(span, "`bitmask` needs a network").hint("write an address with a mask"),
        ));
    }
    if choice.sticky {
        opts |= PF_POOL_STICKYADDR;
    }
    rule.rpool.opts = opts;
    rule.rpool.key = choice.key;
    Ok(())
}

/// Whether what is no address itself can stand for more than one: a table, and an interface in parentheses, unless it is one interface
/// (its name ends in a digit) and `:0` takes the first.
pub(super) fn may_be_several(host: &Host) -> bool {
    let name = host.wrap.ifname();
    let one_interface = name
        .as_str()
        .is_some_and(|name| name.ends_with(|c: char| c.is_ascii_digit()));
    host.wrap.kind == PF_ADDR_TABLE
        || host.wrap.kind == PF_ADDR_DYNIFTL && (host.wrap.iflags & PFI_AFLAG_NOALIAS == 0 || !one_interface)
}

/// Whether an address is a network.
pub(super) fn is_network(host: &Host) -> bool {
    let full = if host.af == pf_abi::AF_INET { 32 } else { 128 };
    host.wrap.kind != PF_ADDR_ADDRMASK || host.wrap.a.mask.v6().to_bits().leading_ones() < full
}

impl Expander<'_> {
    /// Puts into a rule that its packets go another way, and gives the pool of that; `None` where there were mistakes.
    pub(super) fn route(&mut self, statement: &FilterRule, rule: &mut Rule) -> Option<Vec<PoolAddr>> {
        let Some(route) = &statement.route else {
            return Some(Vec::new());
        };
        rule.rt = route.node.kind.into();
        if route.node.kind == Route::Fast {
            return Some(Vec::new());
        }
        if statement.direction == Direction::InOut {
            self.diagnostics.push(
                Diagnostic::error(route.span, "where packets are sent depends on their direction")
                    .hint("write `in` or `out`"),
            );
            return None;
        }
        let mut hops = Vec::new();
        for hop in &route.node.hosts {
            let hosts = match &hop.node.host {
                Some(host) => self.hosts(std::slice::from_ref(host))?,
                None => vec![Host::any()],
            };
            hops.extend(hosts.into_iter().map(|host| (hop.node.interface.clone(), host)));
        }
        if rule.af == 0 {
            rule.af = hops.iter().map(|(_, host)| host.af).find(|af| *af != 0).unwrap_or(0);
        }
        let af = rule.af;
        hops.retain(|(_, host)| host.af == 0 || host.af == af);
        let span = span_of(&route.node.hosts, route.span);
        if hops.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(span, "no gateway has the rule's family")
                    .hint("a packet stays IPv4 or IPv6 wherever it is sent"),
            );
            return None;
        }
        if af == 0 && hops.iter().any(|(_, host)| host.wrap.kind == PF_ADDR_TABLE) {
            self.diagnostics.push(
                Diagnostic::error(span, "a table may have addresses of both families").hint("write `inet` or `inet6`"),
            );
            return None;
        }
        let several = hops.len() > 1 || hops.iter().any(|(_, host)| may_be_several(host));
        let is_network = hops.iter().any(|(_, host)| host.af != 0 && is_network(host));
        if let Err(diagnostic) = choose(&route.node.choice, several, is_network, span, rule) {
            self.diagnostics.push(*diagnostic);
            return None;
        }
        let address = |(interface, host): (String, Host)| PoolAddr {
            addr: host.wrap_for(af),
            ifname: IfName::new(&interface).unwrap_or_default(),
            ..PoolAddr::default()
        };
        Some(hops.into_iter().map(address).collect())
    }
}
