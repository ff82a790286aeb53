//! What each stage of a packet's way costs: the whole way under a ruleset with it, less the way under one without.
//!
//! # Overview
//! The packets are SYNs, each of another connection, that go out and have no state. Each ruleset does one thing more than the one that it
//! is compared with; the first has no rules at all, and what it takes is what reading a packet's headers and not finding its state
//! takes. Each pass has an engine of its own, so that states are always put into an empty table.
//!
//! # Life cycle, locking
//! One thread; an engine ends with its pass.

use std::net::IpAddr;
use std::time::Instant;

use pf::Verdict;
use pf::kpi::{Direction, Kernel, Mbuf, SoftNet};
use pf_abi::{
    AF_INET, Action, Addr, AddrWrap, PF_LOG, PF_LOG_ALL, PF_STATE_NORMAL, PFRULE_RANDOMID, PoolAddr, Rule, RulesetKind,
};

use crate::packet::{INTERFACE, Machine, many_rules, syn};
use crate::report::{Record, tenths};
use crate::states::median;

/// Packets in a pass.
const PACKETS: u32 = 20_000;
/// Filter rules where there are some.
const RULES: usize = 10;

/// What packets go through.
#[derive(Clone, Copy, Default)]
struct Ruleset {
    filter: bool,
    scrub: bool,
    log: bool,
    state: bool,
    nat: bool,
}

fn masked(addr: [u8; 4], mask: [u8; 4]) -> AddrWrap {
    let [addr, mask] = [addr, mask].map(|octets| Addr::from(IpAddr::from(octets)));
    AddrWrap::masked(addr, mask)
}

impl Ruleset {
    fn machine(self) -> anyhow::Result<Machine> {
        let kernel = Kernel::seeded(1).with_packet_log(Box::new(|_, _, _| ()));
        let mut filter = if self.filter { many_rules(RULES) } else { vec![] };
        if let Some(last) = filter.last_mut() {
            last.log = if self.log { PF_LOG | PF_LOG_ALL } else { 0 };
            last.keep_state = if self.state { PF_STATE_NORMAL } else { 0 };
        }
        let machine = Machine::of(kernel, PACKETS as usize, &filter)?;
        if self.scrub {
            let rule = Rule {
                action: Action::Scrub.into(),
                rule_flag: PFRULE_RANDOMID,
                min_ttl: 100,
                ..Rule::default()
            };
            machine.load(RulesetKind::Scrub, &[rule], &[])?;
        }
        if self.nat {
            let mut rule = Rule {
                action: Action::Nat.into(),
                af: AF_INET,
                ..Rule::default()
            };
            rule.rpool.proxy_port = [50_001, 65_535];
            let pool = PoolAddr {
                addr: masked([192, 0, 2, 1], [255; 4]),
                ..PoolAddr::default()
            };
            machine.load(RulesetKind::Nat, &[rule], &[pool])?;
        }
        Ok(machine)
    }

    /// Nanoseconds a packet.
    fn measure(self, passes: usize) -> anyhow::Result<f64> {
        let mut times = vec![];
        for _ in 0..passes {
            let machine = self.machine()?;
            let mut packets: Vec<Option<Mbuf>> = (0..PACKETS).map(|n| Some(Mbuf::from_bytes(syn(n)))).collect();
            let level = SoftNet::raise();
            let start = Instant::now();
            for slot in &mut packets {
                if let Some(mbuf) = slot.take()
                    && let Verdict::Pass(mbuf) = machine.pf.hook(&level, Direction::Out, INTERFACE, mbuf)
                {
                    *slot = Some(mbuf);
                }
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(PACKETS));
            anyhow::ensure!(packets.iter().all(Option::is_some), "a packet was dropped");
            let states = if self.state { PACKETS as usize } else { 0 };
            anyhow::ensure!(machine.pf.states().len() == states);
        }
        Ok(median(times))
    }
}

/// What each stage adds.
pub(crate) fn measure(passes: usize) -> anyhow::Result<Vec<Record>> {
    let none = Ruleset::default();
    let filter = Ruleset { filter: true, ..none };
    let state = Ruleset { state: true, ..filter };
    let stages = [
        ("stage-parse", none, None),
        ("stage-scrub", Ruleset { scrub: true, ..none }, Some(none)),
        ("stage-match", filter, Some(none)),
        ("stage-log", Ruleset { log: true, ..filter }, Some(filter)),
        ("stage-state", state, Some(filter)),
        ("stage-nat", Ruleset { nat: true, ..state }, Some(state)),
    ];
    let mut records = vec![];
    for (name, with, without) in stages {
        let whole = with.measure(passes)?;
        let before = without.map(|without| without.measure(passes)).transpose()?;
        records.push(Record {
            name,
            rules: Some(if with.filter { RULES } else { 0 }),
            ns: Some(tenths(whole - before.unwrap_or(0.0))),
            baseline: before.map(|_| "added to"),
            baseline_ns: before.map(tenths),
            ..Record::default()
        });
    }
    Ok(records)
}
