//! The `$` words in a label, which each rule of a list fills in with its own values.

use super::Combination;
use super::host::Host;
use super::port::Port;
use crate::print::addr::address_text;
use crate::resolve::Resolver;
use pf_abi::{PF_ADDR_DYNIFTL, PortOp};

/// A label with its `$` words replaced. `nr` is the rule's number.
pub(super) fn expand_label(
    label: &str,
    combination: &Combination<'_>,
    af: u8,
    nr: u32,
    resolver: &dyn Resolver,
) -> String {
    if !label.contains('$') {
        return label.to_owned();
    }
    let ifname = match combination.ifname() {
        "" => "any",
        name => name,
    };
    let proto = resolver
        .protocol_name(combination.proto)
        .unwrap_or_else(|| combination.proto.to_string());
    label
        .replace("$if", ifname)
        .replace("$srcaddr", &host_text(combination.src, af))
        .replace("$dstaddr", &host_text(combination.dst, af))
        .replace("$srcport", &port_text(combination.src_port))
        .replace("$dstport", &port_text(combination.dst_port))
        .replace("$proto", &proto)
        .replace("$nr", &nr.to_string())
}

fn host_text(host: &Host, af: u8) -> String {
    let text = if host.wrap.kind == PF_ADDR_DYNIFTL {
        format!("({})", host.wrap.ifname().as_str().unwrap_or_default())
    } else if af == 0 {
        "any".to_owned()
    } else {
        address_text(&host.wrap, af, false)
    };
    if host.not { format!("! {text}") } else { text }
}

fn port_text(port: &Port) -> String {
    let (a, b) = (port.first, port.second);
    match port.op {
        // NetBSD's pfctl leaves a range empty here; ours says it.
        PortOp::None => String::new(),
        PortOp::Range => format!("{a}:{b}"),
        PortOp::InsideRange => format!("{a}><{b}"),
        PortOp::OutsideRange => format!("{a}<>{b}"),
        PortOp::Equal => a.to_string(),
        PortOp::NotEqual => format!("!={a}"),
        PortOp::Less => format!("<{a}"),
        PortOp::LessOrEqual => format!("<={a}"),
        PortOp::Greater => format!(">{a}"),
        PortOp::GreaterOrEqual => format!(">={a}"),
    }
}
