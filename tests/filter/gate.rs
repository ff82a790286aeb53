//! A packet filter between two interfaces, em0 to the outside and em1 to the inside.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use pf::Verdict;
use pf::kpi::host::Diversions;
use pf::kpi::{Direction, Kernel, Mbuf, Problem, SoftNet};
use pf::state::Tree;
use pf_abi::*;

use crate::common::Machine;
use crate::common::rules::Loaded;

/// What becomes of a packet: what goes on, or why it does not. No reason: a rule.
pub(crate) type Fate = Result<Vec<u8>, Option<Reason>>;

/// Kept: it waits for others, or has been cut into fragments that go by themselves.
pub(crate) const KEPT: Fate = Ok(Vec::new());

/// Blocked by a rule.
pub(crate) const BLOCKED: Fate = Err(None);

/// Dropped for a reason.
pub(crate) fn dropped(reason: Reason) -> Fate {
    Err(Some(reason))
}

/// What pf has sent itself, and whether it is marked as its own.
type Sent = Arc<Mutex<Vec<(Vec<u8>, bool)>>>;
/// What pf has let come in again, and where.
type Returned = Arc<Mutex<Vec<(u16, Mbuf)>>>;

/// What pf has sent another way: the interface, to whom, and the packet.
pub(crate) type Routed = (u16, String, Vec<u8>);

/// What has left past the routing table, and what senders were told.
#[derive(Clone, Default)]
pub(crate) struct Ways {
    routed: Arc<Mutex<Vec<Routed>>>,
    reports: Arc<Mutex<Vec<(u16, Problem)>>>,
}

impl Diversions for Ways {
    fn mtu(&self, ifindex: u16) -> Option<u16> {
        (ifindex < 10).then_some(1500)
    }

    fn divert(&self, packet: Mbuf, ifindex: u16, next: IpAddr) {
        let mut routed = self.routed.lock().unwrap();
        routed.push((ifindex, next.to_string(), packet.to_bytes()));
    }

    fn report(&self, _: Mbuf, ifindex: u16, problem: Problem) {
        self.reports.lock().unwrap().push((ifindex, problem));
    }
}

/// Two filters that see the same: one gets its packets in one piece, the other in two, cut at ever other places, which must not
/// make a difference.
pub(crate) struct Gate {
    whole: (Machine, Sent, Returned),
    split: (Machine, Sent, Returned),
    ways: [Ways; 2],
    cut: Cell<usize>,
}

fn machine(ways: Ways) -> (Machine, Sent, Returned) {
    let sent = Sent::default();
    let to = sent.clone();
    let output = move |packet: Mbuf| {
        let is_marked = packet.is_from_pf();
        to.lock().unwrap().push((packet.to_bytes(), is_marked));
    };
    let returned = Returned::default();
    let to = returned.clone();
    let input = move |ifindex: u16, packet: Mbuf| {
        assert!(packet.is_refragmented());
        to.lock().unwrap().push((ifindex, packet));
    };
    let kernel = Kernel::seeded(1)
        .with_output(Box::new(output))
        .with_input(Box::new(input))
        .with_diversions(ways);
    let machine = Machine::of(kernel);
    machine.command(DIOCSTART).unwrap();
    (machine, sent, returned)
}

impl Gate {
    /// One with these filter rules.
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let ways = [Ways::default(), Ways::default()];
        let gate = Gate {
            whole: machine(ways[0].clone()),
            split: machine(ways[1].clone()),
            ways,
            cut: Cell::new(0),
        };
        gate.load_filter(rules);
        gate
    }

    /// Does something to both.
    pub(crate) fn each(&self, act: impl Fn(&Machine)) {
        act(&self.whole.0);
        act(&self.split.0);
    }

    /// The one to be asked.
    pub(crate) fn machine(&self) -> &Machine {
        &self.whole.0
    }

    pub(crate) fn load_filter(&self, rules: &[Rule]) {
        let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
        self.each(|machine| machine.load(RulesetKind::Filter, &rules).unwrap());
    }

    pub(crate) fn nat(self, rules: &[Loaded]) -> Self {
        self.each(|machine| machine.load(RulesetKind::Nat, rules).unwrap());
        self
    }

    pub(crate) fn scrub(self, rules: &[Rule]) -> Self {
        let rules: Vec<Loaded> = rules.iter().map(|rule| (rule.clone(), vec![])).collect();
        self.each(|machine| machine.load(RulesetKind::Scrub, &rules).unwrap());
        self
    }

    pub(crate) fn rdr(self, rules: &[Loaded]) -> Self {
        self.each(|machine| machine.load(RulesetKind::Rdr, rules).unwrap());
        self
    }

    pub(crate) fn binat(self, rules: &[Loaded]) -> Self {
        self.each(|machine| machine.load(RulesetKind::Binat, rules).unwrap());
        self
    }

    pub(crate) fn set_lock(&self, lock: bool) {
        self.each(|machine| machine.set_lock(lock));
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.each(|machine| machine.advance(seconds));
    }

    /// Ticks of the purge, a second each.
    pub(crate) fn tick(&self, seconds: u64) {
        for _ in 0..seconds {
            self.advance(1);
            self.each(|machine| machine.pf.purge());
        }
    }

    fn judge(&self, ifindex: u16, direction: Direction, packet: &[u8]) -> Fate {
        let cut = self.cut.get();
        self.cut.set(cut + 1);
        let whole = judge(&self.whole.0, ifindex, direction, Mbuf::from_bytes(packet));
        let cut = cut % (packet.len() + 1);
        let split = judge(&self.split.0, ifindex, direction, Mbuf::split(packet, cut));
        assert_eq!(whole, split, "cut at {cut}");
        whole
    }

    /// Across any interface, by its index, in either direction.
    pub(crate) fn cross(&self, ifindex: u16, out: bool, packet: &[u8]) -> Fate {
        let direction = if out { Direction::Out } else { Direction::In };
        self.judge(ifindex, direction, packet)
    }

    /// Out to the outside.
    pub(crate) fn send(&self, packet: &[u8]) -> Fate {
        self.judge(1, Direction::Out, packet)
    }

    /// In from the outside.
    pub(crate) fn receive(&self, packet: &[u8]) -> Fate {
        self.judge(1, Direction::In, packet)
    }

    /// Out to the inside.
    pub(crate) fn send_inside(&self, packet: &[u8]) -> Fate {
        self.judge(2, Direction::Out, packet)
    }

    /// In from the inside.
    pub(crate) fn receive_inside(&self, packet: &[u8]) -> Fate {
        self.judge(2, Direction::In, packet)
    }

    /// From the inside to the outside, as a router forwards it.
    pub(crate) fn forward(&self, packet: &[u8]) -> Fate {
        self.send(&self.receive_inside(packet)?)
    }

    /// From the outside to the inside.
    pub(crate) fn forward_back(&self, packet: &[u8]) -> Fate {
        self.send_inside(&self.receive(packet)?)
    }

    /// What pf has sent itself since it was asked the last time, past its own hooks.
    pub(crate) fn answers(&self) -> Vec<Vec<u8>> {
        let marked = |(packet, is_marked): (Vec<u8>, bool)| {
            assert!(is_marked, "{packet:?}");
            packet
        };
        self.sent().into_iter().map(marked).collect()
    }

    /// The same, with whether it is marked to pass the hooks.
    pub(crate) fn sent(&self) -> Vec<(Vec<u8>, bool)> {
        let take = |sent: &Sent| std::mem::take(&mut *sent.lock().unwrap());
        let (whole, split) = (take(&self.whole.1), take(&self.split.1));
        assert_eq!(whole, split);
        whole
    }

    /// Lets what comes in again come in, and then out of the other interface, as a router forwards it: what comes of each that goes on.
    pub(crate) fn forward_returned(&self, ifindex: u16) -> Vec<Fate> {
        let take = |returned: &Returned| std::mem::take(&mut *returned.lock().unwrap());
        let (whole, split) = (take(&self.whole.2), take(&self.split.2));
        assert_eq!(whole.len(), split.len());
        let pass = |machine: &Machine, (on, packet): (u16, Mbuf)| {
            assert_ne!(on, ifindex);
            let level = SoftNet::raise();
            let Verdict::Pass(packet) = machine.pf.hook(&level, Direction::In, on, packet) else {
                panic!("what comes in again has been judged");
            };
            judge(machine, ifindex, Direction::Out, packet)
        };
        let both = whole.into_iter().zip(split);
        both.map(|(whole, split)| {
            let (whole, split) = (pass(&self.whole.0, whole), pass(&self.split.0, split));
            assert_eq!(whole, split);
            whole
        })
        .collect()
    }

    /// The bytes of what comes in again, which does not come then.
    pub(crate) fn returned(&self) -> Vec<Vec<u8>> {
        let take = |returned: &Returned| -> Vec<Vec<u8>> {
            let packets = std::mem::take(&mut *returned.lock().unwrap());
            packets.into_iter().map(|(_, packet)| packet.to_bytes()).collect()
        };
        let (whole, split) = (take(&self.whole.2), take(&self.split.2));
        assert_eq!(whole, split);
        whole
    }

    /// What has gone another way than the routing table's since the last time.
    pub(crate) fn routed(&self) -> Vec<Routed> {
        let [whole, split] = [0, 1].map(|at| std::mem::take(&mut *self.ways[at].routed.lock().unwrap()));
        assert_eq!(whole, split);
        whole
    }

    /// What senders were told since the last time.
    pub(crate) fn reports(&self) -> Vec<(u16, Problem)> {
        let [whole, split] = [0, 1].map(|at| std::mem::take(&mut *self.ways[at].reports.lock().unwrap()));
        assert_eq!(whole, split);
        whole
    }

    /// How many states there are.
    pub(crate) fn states(&self) -> usize {
        self.machine().pf.states().len()
    }

    /// The only state there is.
    pub(crate) fn state(&self) -> SyncState {
        let states = self.machine().dump();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0]
    }

    /// A filter rule as it is now, with its counters.
    pub(crate) fn rule(&self, nr: usize) -> Rule {
        self.machine().rules(Action::Pass)[nr].clone()
    }
}

/// Lets a packet cross an interface, and finds out what became of it.
pub(crate) fn judge(machine: &Machine, ifindex: u16, direction: Direction, packet: Mbuf) -> Fate {
    let stats = machine.pf.stats();
    let counted = || -> Vec<u64> {
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Match);
        reasons.map(|reason| stats.reason(*reason)).collect()
    };
    let before = counted();
    let level = SoftNet::raise();
    let verdict = machine.pf.hook(&level, direction, ifindex, packet);
    let after = counted();
    let counted = Reason::ALL[1..].iter().zip(before.into_iter().zip(after));
    let reasons: Vec<_> = counted
        .flat_map(|(reason, (before, after))| (before..after).map(move |_| *reason))
        .collect();
    match verdict {
        Verdict::Pass(packet) => {
            assert!(reasons.is_empty(), "passed, and counted as {reasons:?}");
            Ok(packet.to_bytes())
        }
        Verdict::Routed => {
            assert!(reasons.is_empty(), "sent another way, and counted as {reasons:?}");
            Err(None)
        }
        Verdict::Drop => {
            // With a fragment, those may go that had waited for it.
            let is_counted_once = reasons.len() <= 1 || reasons.iter().all(|reason| *reason == Reason::Fragment);
            assert!(is_counted_once, "{reasons:?}");
            Err(reasons.first().copied())
        }
        // Others may have had to go for it.
        Verdict::Kept => KEPT,
    }
}

/// Checks what is true of every state table: each state is found by both of its keys, and is the only one there.
pub(crate) fn check_table(machine: &Machine) {
    let level = SoftNet::raise();
    let section = machine.pf.read(&level);
    let states = machine.pf.states();
    let mut keys = vec![];
    states.walk(0, &level, |state| {
        keys.push((*state.key(), state.id()));
        true
    });
    assert_eq!(keys.len(), states.len());
    assert_eq!(keys.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), keys.len());
    for (key, id) in keys {
        for tree in [Tree::LanExt, Tree::ExtGwy] {
            let found = states.find(tree, &key.of_tree(tree), &level, &section).unwrap();
            assert_eq!((*found.key(), found.id()), (key, id));
        }
    }
}
