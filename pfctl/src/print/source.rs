//! Source nodes.

use super::addr::ip_text;
use pf_abi::{Action, NO_RULE, PF_THRESHOLD_MULT, SrcNode};
use std::fmt::Write as _;

/// Hours, minutes and seconds.
fn clock(seconds: u32) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A source node, in a line, and in a second one if `verbose`.
pub fn source_text(node: &SrcNode, verbose: bool) -> String {
    let rate = node.conn_rate;
    let mut out = format!(
        "{} -> {} ( states {}, connections {}, rate {}.{}/{}s )\n",
        ip_text(&node.addr, node.af),
        ip_text(&node.raddr, node.af),
        node.states,
        node.conn,
        rate.count / PF_THRESHOLD_MULT,
        rate.count % PF_THRESHOLD_MULT / 100,
        rate.seconds,
    );
    if !verbose {
        return out;
    }
    let _ = write!(out, "   age {}", clock(node.creation));
    if node.states == 0 {
        let _ = write!(out, ", expires in {}", clock(node.expire));
    }
    let sum = |[a, b]: [u64; 2]| a.wrapping_add(b);
    let _ = write!(out, ", {} pkts, {} bytes", sum(node.packets), sum(node.bytes));
    let word = match Action::try_from(node.ruletype) {
        Ok(Action::Nat) => "nat",
        Ok(Action::Rdr) => "rdr",
        Ok(Action::Pass) => "filter",
        _ => "",
    };
    let rule = node.rule as u32;
    if !word.is_empty() && rule != NO_RULE {
        let _ = write!(out, ", {word} rule {rule}");
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::{AF_INET, Addr, PF_NAT, Threshold};
    use std::net::Ipv4Addr;

    #[test]
    fn a_node_is_printed_as_netbsds_pfctl_prints_it() {
        let mut node = SrcNode {
            addr: Addr::from_v4(Ipv4Addr::new(10, 0, 0, 1)),
            raddr: Addr::from_v4(Ipv4Addr::new(192, 0, 2, 1)),
            af: AF_INET,
            ruletype: PF_NAT,
            rule: 3,
            states: 2,
            conn: 1,
            conn_rate: Threshold {
                count: 2340,
                seconds: 10,
                ..Threshold::default()
            },
            creation: 3725,
            expire: 61,
            packets: [3, 4],
            bytes: [100, 200],
            ..SrcNode::default()
        };
        let line = "10.0.0.1 -> 192.0.2.1 ( states 2, connections 1, rate 2.3/10s )\n";
        assert_eq!(source_text(&node, false), line);
        assert_eq!(
            source_text(&node, true),
            format!("{line}   age 01:02:05, 7 pkts, 300 bytes, nat rule 3\n")
        );
        (node.states, node.rule) = (0, NO_RULE.into());
        let text = source_text(&node, true);
        assert!(
            text.ends_with("   age 01:02:05, expires in 00:01:01, 7 pkts, 300 bytes\n"),
            "{text}"
        );
    }
}
