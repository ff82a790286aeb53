//! Addresses.

use pf_abi::{
    AF_INET, AF_INET6, Addr, AddrKind, AddrWrap, PFI_AFLAG_BROADCAST, PFI_AFLAG_NETWORK, PFI_AFLAG_NOALIAS,
    PFI_AFLAG_PEER,
};
use std::fmt::Write as _;

/// An address of a rule. `verbose` adds how many addresses an interface or a table stands for.
pub fn address_text(wrap: &AddrWrap, af: u8, verbose: bool) -> String {
    let mut text = match AddrKind::try_from(wrap.kind) {
        Ok(AddrKind::DynIfTl) => dynamic_text(wrap, verbose),
        Ok(AddrKind::Table) => return table_text(wrap, verbose),
        Ok(AddrKind::NoRoute) => return "no-route".to_owned(),
        Ok(AddrKind::UrpfFailed) => return "urpf-failed".to_owned(),
        Ok(AddrKind::RtLabel) => {
            return format!("route \"{}\"", wrap.tblname().as_str().unwrap_or("?"));
        }
        Ok(AddrKind::AddrMask) if is_any(wrap) => return "any".to_owned(),
        Ok(AddrKind::AddrMask) => ip_text(&wrap.a.addr, af),
        Err(_) => return "?".to_owned(),
    };
    let bits = mask_bits(&wrap.a.mask);
    if bits != (if af == AF_INET { 32 } else { 128 }) {
        // The bytes of an interface's name lie where an address has its bytes.
        let _ = write!(text, "/{bits}");
    }
    text
}

/// An address alone; `?` for a family that is neither IPv4 nor IPv6.
pub fn ip_text(addr: &Addr, af: u8) -> String {
    match addr.to_ip(af) {
        Some(address) => address.to_string(),
        None => "?".to_owned(),
    }
}

fn is_any(wrap: &AddrWrap) -> bool {
    wrap.a.addr == Addr::ZERO && wrap.a.mask == Addr::ZERO
}

/// Whether this is `any`.
pub fn matches_all(wrap: &AddrWrap) -> bool {
    AddrKind::try_from(wrap.kind) == Ok(AddrKind::AddrMask) && is_any(wrap)
}

/// The bits set at the beginning of a mask.
pub fn mask_bits(mask: &Addr) -> u32 {
    mask.v6().to_bits().leading_ones()
}

fn dynamic_text(wrap: &AddrWrap, verbose: bool) -> String {
    let mut text = format!("({}", wrap.ifname().as_str().unwrap_or("?"));
    for (flag, word) in [
        (PFI_AFLAG_NETWORK, ":network"),
        (PFI_AFLAG_BROADCAST, ":broadcast"),
        (PFI_AFLAG_PEER, ":peer"),
        (PFI_AFLAG_NOALIAS, ":0"),
    ] {
        if wrap.iflags & flag != 0 {
            text.push_str(word);
        }
    }
    if verbose {
        match wrap.p as i32 {
            count @ 1.. => {
                let _ = write!(text, ":{count}");
            }
            _ => text.push_str(":*"),
        }
    }
    text.push(')');
    text
}

fn table_text(wrap: &AddrWrap, verbose: bool) -> String {
    let name = wrap.tblname();
    let name = name.as_str().unwrap_or("?");
    match (verbose, wrap.p as i32) {
        (false, _) => format!("<{name}>"),
        (true, -1) => format!("<{name}:*>"),
        (true, count) => format!("<{name}:{count}>"),
    }
}

/// An address and a port of a state: `192.0.2.1:80` or `2001:db8::1[80]`.
pub fn host_text(addr: &Addr, port: u16, af: u8) -> String {
    let af = if af == AF_INET { AF_INET } else { AF_INET6 };
    let mut text = ip_text(addr, af);
    if port != 0 {
        let _ = match af {
            AF_INET => write!(text, ":{port}"),
            _ => write!(text, "[{port}]"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::expand::mask_of;
    use pf_abi::{IfName, PF_ADDR_DYNIFTL, PF_ADDR_NOROUTE, PF_ADDR_TABLE, TableName};
    use std::net::IpAddr;

    fn masked(address: &str, bits: u8) -> AddrWrap {
        let address: IpAddr = address.parse().unwrap();
        AddrWrap::masked(address.into(), mask_of(bits))
    }

    #[test]
    fn addresses_have_a_mask_unless_it_is_full() {
        assert_eq!(address_text(&AddrWrap::any(), 0, false), "any");
        assert_eq!(address_text(&masked("10.0.0.0", 8), AF_INET, false), "10.0.0.0/8");
        assert_eq!(address_text(&masked("10.0.0.1", 32), AF_INET, false), "10.0.0.1");
        assert_eq!(
            address_text(&masked("2001:db8::", 32), AF_INET6, false),
            "2001:db8::/32"
        );
        assert_eq!(address_text(&masked("::1", 128), AF_INET6, false), "::1");
    }

    #[test]
    fn interfaces_and_tables_stand_by_name() {
        let mut wrap = AddrWrap::any();
        wrap.kind = PF_ADDR_DYNIFTL;
        wrap.set_ifname(IfName::new("em0").unwrap());
        wrap.a.mask = mask_of(128);
        wrap.iflags = PFI_AFLAG_NETWORK | PFI_AFLAG_NOALIAS;
        assert_eq!(address_text(&wrap, 0, false), "(em0:network:0)");
        wrap.p = 3;
        assert_eq!(address_text(&wrap, 0, true), "(em0:network:0:3)");
        wrap.p = 0;
        assert_eq!(address_text(&wrap, 0, true), "(em0:network:0:*)");
        wrap.a.mask = mask_of(24);
        assert_eq!(address_text(&wrap, AF_INET, false), "(em0:network:0)/24");

        let mut wrap = AddrWrap::any();
        wrap.kind = PF_ADDR_TABLE;
        wrap.set_tblname(TableName::new("spammers").unwrap());
        wrap.p = 2;
        assert_eq!(address_text(&wrap, 0, false), "<spammers>");
        assert_eq!(address_text(&wrap, 0, true), "<spammers:2>");
        wrap.kind = PF_ADDR_NOROUTE;
        assert_eq!(address_text(&wrap, 0, false), "no-route");
        wrap.kind = 99;
        assert_eq!(address_text(&wrap, 0, false), "?");
    }

    #[test]
    fn ports_of_states_stand_behind_a_colon_or_in_brackets() {
        let v4 = Addr::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let v6 = Addr::from("2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(host_text(&v4, 80, AF_INET), "192.0.2.1:80");
        assert_eq!(host_text(&v4, 0, AF_INET), "192.0.2.1");
        assert_eq!(host_text(&v6, 80, AF_INET6), "2001:db8::1[80]");
    }
}
