//! What a rule says, in sixteen bytes: two rules that say the same have the same identity, wherever they stand, however often
//! they matched, whoever loaded them.

use pf_abi::{AddrWrap, CName, PF_ADDR_DYNIFTL, PF_ADDR_TABLE, Pool, PoolAddr, Rule, RuleAddr};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::fmt;
use std::hash::Hasher as _;
use zerocopy::IntoBytes as _;

/// The identity of a rule: SipHash-2-4 with 128 bits and a key of zeros over what the rule says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub [u8; 16]);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity of a rule of the main ruleset with its pool.
pub fn identify(rule: &Rule, pool: &[PoolAddr]) -> Identity {
    let mut hasher = SipHasher24::new();
    hasher.write(stripped(rule).as_bytes());
    for address in pool {
        let said = PoolAddr {
            addr: stripped_wrap(&address.addr),
            ifname: stripped_name(&address.ifname),
            ..PoolAddr::default()
        };
        hasher.write(said.as_bytes());
    }
    Identity(hasher.finish128().as_bytes())
}

/// A rule with only what it says: without number, counters, owner, the kernel's pointers and numbers, and what stands behind the
/// ends of strings.
fn stripped(rule: &Rule) -> Rule {
    let mut said = Rule {
        src: stripped_end(&rule.src),
        dst: stripped_end(&rule.dst),
        label: stripped_name(&rule.label),
        ifname: stripped_name(&rule.ifname),
        qname: stripped_name(&rule.qname),
        pqname: stripped_name(&rule.pqname),
        tagname: stripped_name(&rule.tagname),
        match_tagname: stripped_name(&rule.match_tagname),
        overload_tblname: stripped_name(&rule.overload_tblname),
        rpool: Pool {
            key: rule.rpool.key,
            proxy_port: rule.rpool.proxy_port,
            port_op: rule.rpool.port_op,
            opts: rule.rpool.opts,
            ..Pool::default()
        },
        os_fingerprint: rule.os_fingerprint,
        rtableid: rule.rtableid,
        timeout: rule.timeout,
        max_states: rule.max_states,
        max_src_nodes: rule.max_src_nodes,
        max_src_states: rule.max_src_states,
        max_src_conn: rule.max_src_conn,
        max_src_conn_rate: rule.max_src_conn_rate,
        prob: rule.prob,
        return_icmp: rule.return_icmp,
        return_icmp6: rule.return_icmp6,
        max_mss: rule.max_mss,
        rule_flag: rule.rule_flag,
        action: rule.action,
        direction: rule.direction,
        log: rule.log,
        logif: rule.logif,
        quick: rule.quick,
        ifnot: rule.ifnot,
        match_tag_not: rule.match_tag_not,
        natpass: rule.natpass,
        keep_state: rule.keep_state,
        af: rule.af,
        proto: rule.proto,
        kind: rule.kind,
        code: rule.code,
        flags: rule.flags,
        flagset: rule.flagset,
        min_ttl: rule.min_ttl,
        allow_opts: rule.allow_opts,
        rt: rule.rt,
        return_ttl: rule.return_ttl,
        tos: rule.tos,
        anchor_relative: rule.anchor_relative,
        anchor_wildcard: rule.anchor_wildcard,
        flush: rule.flush,
        ..Rule::default()
    };
    (said.uid.id, said.uid.op) = (rule.uid.id, rule.uid.op);
    (said.gid.id, said.gid.op) = (rule.gid.id, rule.gid.op);
    said
}

fn stripped_end(end: &RuleAddr) -> RuleAddr {
    RuleAddr {
        addr: stripped_wrap(&end.addr),
        port: end.port,
        neg: end.neg,
        port_op: end.port_op,
        ..RuleAddr::default()
    }
}

fn stripped_wrap(wrap: &AddrWrap) -> AddrWrap {
    let mut said = AddrWrap {
        a: wrap.a,
        kind: wrap.kind,
        iflags: wrap.iflags,
        ..AddrWrap::default()
    };
    match wrap.kind {
        // The name and the address lie in the same bytes; the mask behind them counts.
        PF_ADDR_DYNIFTL => {
            said.set_ifname(stripped_name(&wrap.ifname()));
            said.a.mask = wrap.a.mask;
        }
        PF_ADDR_TABLE => said.set_tblname(stripped_name(&wrap.tblname())),
        _ => {}
    }
    said
}

fn stripped_name<const N: usize>(name: &CName<N>) -> CName<N> {
    name.as_str().and_then(CName::new).unwrap_or(*name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::UserPtr;

    fn rule() -> Rule {
        Rule {
            label: CName::new("web").unwrap(),
            proto: 6,
            rtableid: -1,
            ..Rule::default()
        }
    }

    #[test]
    fn what_a_rule_says_makes_its_identity() {
        let base = identify(&rule(), &[]);
        let changes: [fn(&mut Rule); 8] = [
            |rule| rule.label = CName::new("www").unwrap(),
            |rule| rule.proto = 17,
            |rule| rule.src.neg = 1,
            |rule| rule.dst.port[0] = pf_abi::Be16::new(80),
            |rule| rule.timeout[3] = 1,
            |rule| rule.uid.op = 2,
            |rule| rule.rpool.proxy_port[1] = 9,
            |rule| rule.quick = 1,
        ];
        for change in changes {
            let mut rule = rule();
            change(&mut rule);
            assert_ne!(identify(&rule, &[]), base);
        }
        assert_ne!(identify(&rule(), &[PoolAddr::default()]), base);
    }

    #[test]
    fn what_happened_to_a_rule_does_not() {
        let base = identify(&rule(), &[]);
        let changes: [fn(&mut Rule); 8] = [
            |rule| rule.nr = 7,
            |rule| rule.evaluations = 7,
            |rule| rule.packets[1] = 7,
            |rule| rule.states = 7,
            |rule| rule.kif = UserPtr(7),
            |rule| rule.skip[2] = 7,
            |rule| rule.cpid = 7,
            |rule| rule.src.addr.p = 7,
        ];
        for change in changes {
            let mut rule = rule();
            change(&mut rule);
            assert_eq!(identify(&rule, &[]), base);
        }
    }

    #[test]
    fn bytes_behind_a_name_do_not_count() {
        use zerocopy::FromBytes as _;
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(b"web\0");
        bytes[9] = 9;
        let mut dirty = rule();
        dirty.label = CName::read_from_bytes(&bytes).unwrap();
        assert_eq!(identify(&dirty, &[]), identify(&rule(), &[]));
    }

    /// An identity in a file must be found by any later version of this program.
    #[test]
    fn the_identity_of_a_rule_is_for_ever() {
        assert_eq!(identify(&rule(), &[]).to_string(), "73690fda51c98af691687e297f49866b");
    }
}
