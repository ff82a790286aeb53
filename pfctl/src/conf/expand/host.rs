//! Addresses: numeric, of an interface, of a host by name.

use super::Expander;
use crate::conf::ast::{HostKind, HostSpec};
use crate::conf::diagnostic::{Diagnostic, Span, Spanned, did_you_mean};
use crate::conf::parser::{check_modifiers, modifier};
use crate::print::addr::matches_all;
use crate::resolve::{Interface, InterfaceAddress};
use pf_abi::{
    AF_INET, AF_INET6, Addr, AddrWrap, IfName, PF_ADDR_DYNIFTL, PF_ADDR_NOROUTE, PF_ADDR_TABLE, PF_ADDR_URPFFAILED,
    PFI_AFLAG_BROADCAST, PFI_AFLAG_NETWORK, PFI_AFLAG_NOALIAS, PFI_AFLAG_PEER, TableName,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Its family; 0 where it has none, as `any`.
    pub af: u8,
    /// The address.
    pub wrap: AddrWrap,
    /// `!`
    pub not: bool,
    /// The interface that a link-local address belongs to.
    pub scope: Option<String>,
}

/// What the addresses of an interface are looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A rule looks for them in packets, or sends packets to them: all that there are.
    Meet,
    /// A translation gives them to packets, which go further than the link of a link-local one.
    Give,
}

impl Host {
    /// `any`
    pub(super) fn any() -> Self {
        Self {
            af: 0,
            wrap: AddrWrap::any(),
            not: false,
            scope: None,
        }
    }

    fn numeric(address: IpAddr, bits: u8) -> Self {
        let mut wrap = AddrWrap::masked(Addr::from(address), mask_of(bits));
        apply_mask(&mut wrap);
        Self {
            af: family(address),
            wrap,
            not: false,
            scope: None,
        }
    }

    /// The address as a rule of a family has it: the mask of an interface's address is no longer than an address.
    pub(super) fn wrap_for(&self, af: u8) -> AddrWrap {
        let mut wrap = self.wrap;
        if wrap.kind == PF_ADDR_DYNIFTL && af == AF_INET && bits_of(&wrap.a.mask) > 32 {
            wrap.a.mask = mask_of(32);
        }
        wrap
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

fn full(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// A mask of so many bits, at most 128.
pub fn mask_of(bits: u8) -> Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    Addr::from_v6(Ipv6Addr::from_bits(mask))
}

fn bits_of(mask: &Addr) -> u32 {
    mask.v6().to_bits().leading_ones()
}

/// Clears the bits of an address that its mask does not look at.
pub fn apply_mask(wrap: &mut AddrWrap) {
    let bits = wrap.a.addr.v6().to_bits() & wrap.a.mask.v6().to_bits();
    wrap.a.addr = Addr::from_v6(Ipv6Addr::from_bits(bits));
}

impl Expander<'_> {
    /// The addresses of a rule, or `any`; `None` where there were mistakes.
    pub(super) fn hosts(&mut self, specs: &[Spanned<HostSpec>]) -> Option<Vec<Host>> {
        self.hosts_for(Purpose::Meet, specs)
    }

    /// The same for a purpose.
    pub(super) fn hosts_for(&mut self, purpose: Purpose, specs: &[Spanned<HostSpec>]) -> Option<Vec<Host>> {
        let mut hosts = Vec::new();
        let mut failed = false;
        for spec in specs {
            match self.host(purpose, &spec.node, spec.span) {
                Ok(found) => hosts.extend(found),
                Err(diagnostic) => {
                    self.diagnostics.push(*diagnostic);
                    failed = true;
                }
            }
        }
        if let Some(any) = specs.iter().find(|spec| spec.node.kind == HostKind::Any)
            && specs.len() > 1
            && !hosts.is_empty()
        {
            self.diagnostics.push(
                Diagnostic::warning(any.span, "`any` in a list with other addresses is ignored")
                    .hint("leave it out, or write `any` alone"),
            );
        }
        if hosts.is_empty() {
            hosts.push(Host::any());
        }
        (!failed).then_some(hosts)
    }

    /// The addresses that one word stands for; none for `any`.
    fn host(&self, purpose: Purpose, spec: &HostSpec, span: Span) -> Result<Vec<Host>, Box<Diagnostic>> {
        let mut hosts = match &spec.kind {
            HostKind::Any => Vec::new(),
            HostKind::NoRoute => vec![special(PF_ADDR_NOROUTE)],
            HostKind::UrpfFailed => vec![special(PF_ADDR_URPFFAILED)],
            HostKind::Table(name) => vec![table(name)],
            HostKind::Dynamic { name, flags, mask } => vec![dynamic(name, *flags, *mask)],
            HostKind::Name(text, mask) => self.named(purpose, text, *mask, span)?,
        };
        for host in &mut hosts {
            if spec.not && matches_all(&host.wrap) {
                return Err(Box::new(
                    Diagnostic::error(span, "`!` in front of every address matches nothing").hint("leave the rule out"),
                ));
            }
            host.not = spec.not;
        }
        Ok(hosts)
    }

    /// The addresses that a name stands for: of an interface, of a host, or a number.
    pub(super) fn named(
        &self,
        purpose: Purpose,
        text: &str,
        mask: Option<u8>,
        span: Span,
    ) -> Result<Vec<Host>, Box<Diagnostic>> {
        if let Some(hosts) = self.interface(purpose, text, mask, span)? {
            return Ok(hosts);
        }
        if let Some(address) = parse_v4(text, mask.is_some()) {
            let bits = mask.unwrap_or(32);
            if bits > 32 {
                return Err(Box::new(
                    Diagnostic::error(span, format!("/{bits} is no mask of an IPv4 address")).label("at most /32"),
                ));
            }
            return Ok(vec![Host::numeric(address.into(), bits)]);
        }
        let (plain, scope) = match text.split_once('%') {
            Some((plain, scope)) => (plain, Some(scope)),
            None => (text, None),
        };
        if let Ok(address) = plain.parse::<Ipv6Addr>() {
            let mut host = Host::numeric(address.into(), mask.unwrap_or(128));
            host.scope = scope.map(str::to_owned);
            return Ok(vec![host]);
        }
        self.by_name(text, mask, span)
    }

    /// The addresses of an interface of that name, with its modifiers; `None` where there is no such interface.
    fn interface(
        &self,
        purpose: Purpose,
        text: &str,
        mask: Option<u8>,
        span: Span,
    ) -> Result<Option<Vec<Host>>, Box<Diagnostic>> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let found: Vec<&Interface> = self
            .interfaces
            .iter()
            .filter(|known| known.name == name || name == "self")
            .collect();
        if found.is_empty() {
            return Ok(None);
        }
        let mut flags = 0;
        for part in parts {
            flags |= modifier(part, span)?;
        }
        check_modifiers(flags, span)?;
        if mask.is_some() && flags & (PFI_AFLAG_NETWORK | PFI_AFLAG_BROADCAST) != 0 {
            return Err(Box::new(
                Diagnostic::error(span, "a mask for what has its own mask")
                    .hint("leave the mask out, or the `:network` or `:broadcast`"),
            ));
        }
        let hosts: Vec<Host> = found
            .iter()
            .flat_map(|interface| interface_hosts(purpose, interface, flags, mask))
            .collect();
        if hosts.is_empty() {
            return Err(Box::new(
                Diagnostic::error(span, format!("interface `{name}` has no such address now")).hint(format!(
                    "write `({name})` for the addresses that it has at the time of a packet"
                )),
            ));
        }
        Ok(Some(hosts))
    }

    fn by_name(&self, text: &str, mask: Option<u8>, span: Span) -> Result<Vec<Host>, Box<Diagnostic>> {
        let (name, first_only) = match text.strip_suffix(":0") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let addresses = self.resolver.host(name).unwrap_or_default();
        let mut hosts: Vec<Host> = Vec::new();
        for address in addresses {
            let bits = mask.unwrap_or(128).min(full(address));
            let host = Host::numeric(address, bits);
            if !first_only || !hosts.iter().any(|earlier| earlier.af == host.af) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            let known = self.interfaces.iter().map(|known| known.name.as_str());
            return Err(Box::new(
                Diagnostic::error(span, format!("no address found for `{text}`"))
                    .label("neither an address nor an interface nor a host that could be looked up")
                    .hint_opt(did_you_mean(text, known)),
            ));
        }
        Ok(hosts)
    }
}

/// `no-route`, `urpf-failed`
fn special(kind: u8) -> Host {
    let mut host = Host::any();
    host.wrap.kind = kind;
    host
}

/// `(em0)`
fn dynamic(name: &str, flags: u8, mask: Option<u8>) -> Host {
    let mut wrap = AddrWrap::any();
    wrap.set_ifname(IfName::new(name).unwrap_or_default());
    wrap.a.mask = mask_of(mask.unwrap_or(128));
    wrap.kind = PF_ADDR_DYNIFTL;
    wrap.iflags = flags;
    Host {
        af: 0,
        wrap,
        not: false,
        scope: None,
    }
}

/// `<name>`
fn table(name: &str) -> Host {
    let mut wrap = AddrWrap::any();
    wrap.set_tblname(TableName::new(name).unwrap_or_default());
    wrap.kind = PF_ADDR_TABLE;
    Host {
        af: 0,
        wrap,
        not: false,
        scope: None,
    }
}

fn interface_hosts(purpose: Purpose, interface: &Interface, flags: u8, mask: Option<u8>) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    let is_meant = |address: &&InterfaceAddress| purpose == Purpose::Meet || !address.link_local;
    for address in interface.addresses.iter().filter(is_meant) {
        let Some(chosen) = chosen_address(address, flags) else {
            continue;
        };
        let af = family(address.address);
        if flags & PFI_AFLAG_NOALIAS != 0 && hosts.iter().any(|host| host.af == af) {
            continue;
        }
        let own = if flags & PFI_AFLAG_NETWORK != 0 {
            address.prefix
        } else {
            full(chosen)
        };
        let mut host = Host::numeric(chosen, mask.unwrap_or(own).min(full(chosen)));
        host.scope = address.link_local.then(|| interface.name.clone());
        hosts.push(host);
    }
    hosts
}

/// The address that modifiers ask for; `None` where an address has none.
fn chosen_address(address: &InterfaceAddress, flags: u8) -> Option<IpAddr> {
    if flags & PFI_AFLAG_NETWORK != 0 && address.link_local {
        None
    } else if flags & PFI_AFLAG_BROADCAST != 0 {
        address.broadcast.filter(IpAddr::is_ipv4)
    } else if flags & PFI_AFLAG_PEER != 0 {
        address.peer
    } else {
        Some(address.address)
    }
}

/// An IPv4 address; with a mask, octets at its end may be left out (`10/8`).
fn parse_v4(text: &str, masked: bool) -> Option<Ipv4Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if !masked {
        return None;
    }
    let mut octets = [0; 4];
    let parts = text.split('.');
    if parts.clone().count() > octets.len() {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_their_bits_in_front() {
        assert_eq!(mask_of(24).v4(), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask_of(0), Addr::ZERO);
        assert_eq!(mask_of(128).octets(), [0xff; 16]);
        assert_eq!(bits_of(&mask_of(77)), 77);
    }

    #[test]
    fn octets_may_be_left_out_before_a_mask() {
        assert_eq!(parse_v4("10", true), Some(Ipv4Addr::new(10, 0, 0, 0)));
        assert_eq!(parse_v4("10.1", true), Some(Ipv4Addr::new(10, 1, 0, 0)));
        assert_eq!(parse_v4("10.1", false), None);
        for bad in ["", "10.", "1.2.3.4.5", "256", "a", "10..1"] {
            assert_eq!(parse_v4(bad, true), None, "{bad}");
        }
    }

    #[test]
    fn an_address_loses_the_bits_behind_its_mask() {
        let host = Host::numeric("10.1.2.3".parse().unwrap(), 8);
        assert_eq!(host.wrap.a.addr.v4(), Ipv4Addr::new(10, 0, 0, 0));
    }
}
