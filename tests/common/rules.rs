//! Rules as pf.conf(5) writes them, word by word.

use std::net::IpAddr;

use pf_abi::*;

use super::addr;
use super::packets::TCP;

/// A rule and the addresses of its pool.
pub(crate) type Loaded = (Rule, Vec<PoolAddr>);

/// `pass no state`
pub(crate) fn pass() -> Rule {
    Rule {
        action: Action::Pass.into(),
        ..Rule::default()
    }
}

/// `scrub`
pub(crate) fn scrub() -> Rule {
    Rule {
        action: Action::Scrub.into(),
        ..Rule::default()
    }
}

/// `no scrub`
pub(crate) fn no_scrub() -> Rule {
    Rule {
        action: Action::NoScrub.into(),
        ..Rule::default()
    }
}

/// `block drop`
pub(crate) fn block() -> Rule {
    Rule {
        action: Action::Drop.into(),
        ..Rule::default()
    }
}

fn endpoint(text: &str, af: &mut u8, to: &mut RuleAddr) {
    let (text, negated) = match text.strip_prefix("! ") {
        Some(text) => (text, true),
        None => (text, false),
    };
    to.neg = negated.into();
    if text == "any" {
        return;
    }
    if let Some(dynamic) = text.strip_prefix('(') {
        to.addr = dynamic_addr(dynamic.strip_suffix(')').unwrap());
        return;
    }
    let (ip, len) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().unwrap();
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let len: u32 = if len.is_empty() { most } else { len.parse().unwrap() };
    let mask = (u128::MAX.checked_shl(128 - len).unwrap_or(0)).to_be_bytes();
    let mask = match ip {
        IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(&mask[..4]).unwrap()),
        IpAddr::V6(_) => IpAddr::from(mask),
    };
    *af = if ip.is_ipv4() { AF_INET } else { AF_INET6 };
    to.addr = AddrWrap::masked(addr(ip), addr(mask));
}

/// `(em0)`, `(em0:network)`, `(em0:network:0)`, as pfctl(8) loads them
pub(crate) fn dynamic_addr(text: &str) -> AddrWrap {
    let mut words = text.split(':');
    let mut wrap = AddrWrap::any();
    wrap.set_ifname(IfName::new(words.next().unwrap()).unwrap());
    wrap.a.mask = addr(IpAddr::from([0xff; 16]));
    wrap.kind = PF_ADDR_DYNIFTL;
    for word in words {
        wrap.iflags |= match word {
            "network" => PFI_AFLAG_NETWORK,
            "broadcast" => PFI_AFLAG_BROADCAST,
            "peer" => PFI_AFLAG_PEER,
            "0" => PFI_AFLAG_NOALIAS,
            _ => panic!("{word}"),
        };
    }
    wrap
}

/// The words of a rule.
pub(crate) trait Words: Sized {
    fn change(self, change: impl FnOnce(&mut Rule)) -> Self;

    fn keep_state(self) -> Self {
        self.change(|rule| rule.keep_state = PF_STATE_NORMAL)
    }

    fn modulate_state(self) -> Self {
        self.change(|rule| rule.keep_state = PF_STATE_MODULATE)
    }

    fn synproxy_state(self) -> Self {
        self.change(|rule| rule.keep_state = PF_STATE_SYNPROXY)
    }

    fn quick(self) -> Self {
        self.change(|rule| rule.quick = 1)
    }

    fn inward(self) -> Self {
        self.change(|rule| rule.direction = PF_IN)
    }

    fn outward(self) -> Self {
        self.change(|rule| rule.direction = PF_OUT)
    }

    /// `on em0`, `on ! em0`
    fn on(self, interface: &str) -> Self {
        let (name, negated) = match interface.strip_prefix("! ") {
            Some(name) => (name, 1),
            None => (interface, 0),
        };
        self.change(|rule| (rule.ifname, rule.ifnot) = (IfName::new(name).unwrap(), negated))
    }

    fn af(self, af: u8) -> Self {
        self.change(|rule| rule.af = af)
    }

    fn proto(self, proto: u8) -> Self {
        self.change(|rule| rule.proto = proto)
    }

    /// `from 10.0.0.0/8`, `from ! 10.0.0.1`, `from any`
    fn from(self, end: &str) -> Self {
        self.change(|rule| endpoint(end, &mut rule.af, &mut rule.src))
    }

    fn to(self, end: &str) -> Self {
        self.change(|rule| endpoint(end, &mut rule.af, &mut rule.dst))
    }

    fn src_port(self, op: PortOp, ports: [u16; 2]) -> Self {
        self.change(|rule| (rule.src.port_op, rule.src.port) = (op.into(), ports.map(Be16::new)))
    }

    fn dst_port(self, op: PortOp, ports: [u16; 2]) -> Self {
        self.change(|rule| (rule.dst.port_op, rule.dst.port) = (op.into(), ports.map(Be16::new)))
    }

    /// `port 80`
    fn port(self, port: u16) -> Self {
        self.dst_port(PortOp::Equal, [port, 0])
    }

    fn flags(self, flags: u8, of: u8) -> Self {
        self.change(|rule| (rule.flags, rule.flagset) = (flags, of))
    }

    fn icmp(self, kind: u8, code: Option<u8>) -> Self {
        self.change(|rule| (rule.kind, rule.code) = (kind + 1, code.map_or(0, |code| code + 1)))
    }

    fn fragment(self) -> Self {
        self.change(|rule| rule.rule_flag |= PFRULE_FRAGMENT)
    }

    /// `no-df`, `random-id`, `reassemble tcp`, `fragment crop`, `fragment drop-ovl`, by their PFRULE_*.
    fn with(self, flags: u32) -> Self {
        self.change(|rule| rule.rule_flag |= flags)
    }

    fn min_ttl(self, ttl: u8) -> Self {
        self.change(|rule| rule.min_ttl = ttl)
    }

    fn max_mss(self, mss: u16) -> Self {
        self.change(|rule| rule.max_mss = mss)
    }

    fn allow_opts(self) -> Self {
        self.change(|rule| rule.allow_opts = 1)
    }

    fn max(self, states: u32) -> Self {
        self.change(|rule| rule.max_states = states)
    }

    fn label(self, label: &str) -> Self {
        self.change(|rule| rule.label = CName::new(label).unwrap())
    }

    fn tag(self, tag: &str) -> Self {
        self.change(|rule| rule.tagname = CName::new(tag).unwrap())
    }

    /// `tagged x`, `! tagged x`
    fn tagged(self, tag: &str) -> Self {
        let (tag, negated) = match tag.strip_prefix("! ") {
            Some(tag) => (tag, 1),
            None => (tag, 0),
        };
        self.change(|rule| (rule.match_tagname, rule.match_tag_not) = (CName::new(tag).unwrap(), negated))
    }

    fn timeout(self, timeout: Timeout, seconds: u32) -> Self {
        self.change(|rule| rule.timeout[timeout as usize] = seconds)
    }

    /// `return-rst`
    fn return_rst(self, ttl: u8) -> Self {
        self.change(|rule| (rule.rule_flag, rule.return_ttl) = (rule.rule_flag | PFRULE_RETURNRST, ttl))
    }

    /// `return-icmp(kind, code)` and `return-icmp6`
    fn return_icmp(self, v4: (u8, u8), v6: (u8, u8)) -> Self {
        let word = |(kind, code): (u8, u8)| u16::from(kind) << 8 | u16::from(code);
        self.change(|rule| {
            rule.rule_flag |= PFRULE_RETURNICMP;
            (rule.return_icmp, rule.return_icmp6) = (word(v4), word(v6));
        })
    }

    /// `return`
    fn return_any(self) -> Self {
        self.return_icmp((3, 3), (1, 4))
            .change(|rule| rule.rule_flag = PFRULE_RETURN)
    }

    /// `nat pass`, `rdr pass`
    fn pass_on(self) -> Self {
        self.change(|rule| rule.natpass = 1)
    }

    /// `source-track rule`, or `global`.
    fn tracking(self, by_rule: bool) -> Self {
        let flags = PFRULE_SRCTRACK | if by_rule { PFRULE_RULESRCTRACK } else { 0 };
        self.change(|rule| rule.rule_flag |= flags)
    }

    /// `-> addr port low:high`
    fn ports(self, low: u16, high: u16) -> Self {
        self.change(|rule| rule.rpool.proxy_port = [low, high])
    }
}

impl Words for Rule {
    fn change(mut self, change: impl FnOnce(&mut Rule)) -> Self {
        change(&mut self);
        self
    }
}

impl Words for Loaded {
    fn change(self, change: impl FnOnce(&mut Rule)) -> Self {
        (self.0.change(change), self.1)
    }
}

fn translation(action: Action, to: &str) -> Loaded {
    let mut pool = RuleAddr::default();
    let mut af = AF_UNSPEC;
    endpoint(to, &mut af, &mut pool);
    let rule = Rule {
        action: action.into(),
        af,
        ..Rule::default()
    };
    let address = PoolAddr {
        addr: pool.addr,
        ..PoolAddr::default()
    };
    (rule, vec![address])
}

/// `nat -> to`, with the ports that pfctl(8) gives it.
pub(crate) fn nat(to: &str) -> Loaded {
    translation(Action::Nat, to).ports(50_001, 65_535)
}

/// `rdr -> to`
pub(crate) fn rdr(to: &str) -> Loaded {
    translation(Action::Rdr, to)
}

/// A server of each family behind a firewall that is 192.0.2.1 and 2001:db8::1.
pub(crate) fn two_servers() -> [Loaded; 2] {
    [
        rdr("10.0.0.3")
            .on("em0")
            .to("192.0.2.1")
            .proto(TCP)
            .dst_port(PortOp::Range, [80, 82])
            .ports(80, 81),
        rdr("fd00::3").on("em0").to("2001:db8::1").pass_on(),
    ]
}

/// `no nat`
pub(crate) fn no_nat() -> Loaded {
    let action = Action::NoNat.into();
    (
        Rule {
            action,
            ..Rule::default()
        },
        vec![],
    )
}

/// `no rdr`
pub(crate) fn no_rdr() -> Loaded {
    let action = Action::NoRdr.into();
    (
        Rule {
            action,
            ..Rule::default()
        },
        vec![],
    )
}

/// `binat from inside -> outside`
pub(crate) fn binat(inside: &str, outside: &str) -> Loaded {
    translation(Action::Binat, outside).from(inside)
}

/// `no binat`
pub(crate) fn no_binat() -> Loaded {
    let action = Action::NoBinat.into();
    (
        Rule {
            action,
            ..Rule::default()
        },
        vec![],
    )
}

/// What a rule with a pool of its own gives out, and how.
pub(crate) trait Pooled: Sized {
    /// `-> { a, b }`: these addresses as well.
    fn and(self, others: &[&str]) -> Self;

    /// `round-robin`, `bitmask` and their like.
    fn choosing(self, kind: PoolKind) -> Self;

    /// `sticky-address`
    fn sticky(self) -> Self;
}

impl Pooled for Loaded {
    fn and(mut self, others: &[&str]) -> Self {
        for other in others {
            let (_, pool) = translation(Action::Nat, other);
            self.1.extend(pool);
        }
        self
    }

    fn choosing(self, kind: PoolKind) -> Self {
        self.change(|rule| rule.rpool.opts = rule.rpool.opts & !PF_POOL_TYPEMASK | u8::from(kind))
    }

    fn sticky(self) -> Self {
        self.change(|rule| rule.rpool.opts |= PF_POOL_STICKYADDR)
    }
}

/// A rule whose packets go to `(interface address)`, or to one of several.
pub(crate) fn routed(rule: Rule, kind: Route, hops: &[&str]) -> Loaded {
    let mut rule = rule.change(|rule| rule.rt = kind.into());
    let mut pool = vec![];
    for hop in hops {
        let (interface, address) = hop.split_once(' ').unwrap_or((hop, ""));
        let mut end = RuleAddr::default();
        if !address.is_empty() {
            endpoint(address, &mut rule.af, &mut end);
        }
        pool.push(PoolAddr {
            addr: end.addr,
            ifname: IfName::new(interface).unwrap(),
            ..PoolAddr::default()
        });
    }
    (rule, pool)
}
