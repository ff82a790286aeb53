//! Anchors and single rules through ioctls.

use pf::kpi::Errno;
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::*;

use RulesetKind::{Filter, Nat};

#[test]
fn anchors_are_told_by_the_names_within_each_other() {
    let machine = Machine::new();
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
    for path in ["spam", "authpf/bob", "authpf/alice", "/ftp-proxy"] {
        machine.load_into(path, Filter, &[(pass("rule"), "")]).unwrap();
    }
    assert_eq!(machine.anchors("").unwrap(), ["authpf", "ftp-proxy", "spam"]);
    assert_eq!(machine.anchors("/authpf").unwrap(), ["alice", "bob"]);
    assert_eq!(machine.anchors("authpf/bob").unwrap(), Vec::<String>::new());
    assert_eq!(machine.anchors("nobody"), Err(Errno::Einval));
    let mut arg = IocRuleset {
        nr: 3,
        ..IocRuleset::default()
    };
    assert_eq!(machine.read_ioctl(DIOCGETRULESET, &mut arg), Err(Errno::Ebusy));
    arg.path = AnchorPath::new("nobody").unwrap();
    assert_eq!(machine.read_ioctl(DIOCGETRULESET, &mut arg), Err(Errno::Einval));
    arg.path.as_mut_bytes().fill(b'a');
    assert_eq!(
        machine.read_ioctl(DIOCGETRULESETS, &mut arg),
        Err(Errno::Einval),
        "no end"
    );
}

#[test]
fn an_anchor_goes_when_nobody_needs_it() {
    let machine = Machine::new();
    machine.load_into("a/b", Filter, &[(pass("rule"), "")]).unwrap();
    machine.load_into("a/b", Filter, &[]).unwrap();
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
    // One that is called stays, and what it stands in.
    machine.load_into("", Filter, &[(pass("call"), "a/b")]).unwrap();
    machine.load_into("a/b", Filter, &[(pass("rule"), "")]).unwrap();
    machine.load_into("a/b", Filter, &[]).unwrap();
    assert_eq!(machine.anchors("a").unwrap(), ["b"]);
    machine.load_into("", Filter, &[]).unwrap();
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
    // So does one that is being loaded.
    let mut open = Transaction::new(&[Filter]);
    open.elements()[0].anchor = AnchorPath::new("c").unwrap();
    open.call(&machine, DIOCXBEGIN).unwrap();
    machine.load(Filter, &passes(&["other"])).unwrap();
    assert_eq!(machine.anchors("").unwrap(), ["c"]);
    open.call(&machine, DIOCXROLLBACK).unwrap();
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
}

#[test]
fn each_ruleset_has_tickets_of_its_own() {
    let machine = Machine::new();
    let begin = |path: &str| {
        let mut transaction = Transaction::new(&[Filter]);
        transaction.elements()[0].anchor = AnchorPath::new(path).unwrap();
        transaction.call(&machine, DIOCXBEGIN).unwrap();
        transaction
    };
    let (mut a, mut b) = (begin("a"), begin("b"));
    machine.add_rule_to("a", a.ticket(Filter), &pass("of a"), "").unwrap();
    assert_eq!(
        machine.add_rule_to("b", a.ticket(Filter), &pass("of b"), ""),
        Err(Errno::Ebusy)
    );
    a.call(&machine, DIOCXCOMMIT).unwrap();
    machine.add_rule_to("b", b.ticket(Filter), &pass("of b"), "").unwrap();
    b.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.rules_of("a", Action::Pass).unwrap().len(), 1);
    assert_eq!(machine.labels(Action::Pass), Vec::<String>::new());
    assert_eq!(machine.rules_of("c", Action::Pass), Err(Errno::Einval));
    // A ruleset that comes again under a number that another had does not take that one's tickets.
    let stale = b.ticket(Filter);
    machine.load_into("b", Filter, &[]).unwrap();
    let c = begin("c");
    assert_ne!(c.ticket(Filter), stale);
    assert_eq!(machine.add_rule_to("c", stale, &pass("late"), ""), Err(Errno::Ebusy));
}

#[test]
fn one_transaction_loads_many_rulesets_or_none() {
    let machine = Machine::new();
    let mut transaction = Transaction::new(&[Filter; 3]);
    for (element, path) in transaction.elements().iter_mut().zip(["", "a", "a/b"]) {
        element.anchor = AnchorPath::new(path).unwrap();
    }
    transaction.call(&machine, DIOCXBEGIN).unwrap();
    let tickets: Vec<u32> = transaction.elements().iter().map(|it| it.ticket).collect();
    machine.add_rule_to("", tickets[0], &pass("main"), "a").unwrap();
    machine.add_rule_to("a", tickets[1], &pass("a"), "b").unwrap();
    machine.add_rule_to("a/b", tickets[2], &pass("b"), "").unwrap();
    assert_eq!(machine.labels(Action::Pass), Vec::<String>::new());
    let mut wrong = Transaction::new(&[]);
    *wrong.elements() = transaction.elements().clone();
    wrong.elements()[2].ticket ^= 1;
    assert_eq!(wrong.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    assert_eq!(machine.labels(Action::Pass), Vec::<String>::new());
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    let told: Vec<_> = ["", "a", "a/b"]
        .map(|path| machine.rules_of(path, Action::Pass).unwrap()[0].1.clone())
        .into();
    assert_eq!(told, ["a", "b", ""]);
}

#[test]
fn a_path_that_cannot_be_is_refused() {
    let machine = Machine::new();
    let long = "x".repeat(PF_ANCHOR_NAME_SIZE);
    for path in [long.as_str(), "_pf", "_pf/a", &"a/".repeat(65)] {
        assert_eq!(machine.load_into(path, Filter, &[]), Err(Errno::Einval), "{path}");
    }
    let call = |path: &str, call: &str| machine.load_into(path, Filter, &[(pass("call"), call)]);
    assert_eq!(call("", "../a"), Err(Errno::Einval));
    assert_eq!(call("a", "../../a"), Err(Errno::Einval));
    assert_eq!(call("a", "../b"), Ok(()));
    assert_eq!(machine.rules_of("a", Action::Pass).unwrap()[0].1, "../b");
    assert_eq!(machine.anchors("").unwrap(), ["a", "b"]);
    let rule = &machine.rules_of("a", Action::Pass).unwrap()[0].0;
    assert_eq!(
        (rule.anchor_relative, rule.anchor_wildcard, rule.anchor),
        (2, 0, UserPtr(0))
    );
}

/// DIOCCHANGERULE
fn change(machine: &Machine, action: Change, ticket: u32, nr: u32, label: &str) -> Result<(), Errno> {
    let mut arg = IocRule {
        action: action.into(),
        ticket,
        pool_ticket: machine.pool(&[]).unwrap(),
        nr,
        rule: pass(label),
        ..IocRule::default()
    };
    machine.ioctl(DIOCCHANGERULE, &mut arg)
}

fn ticket(machine: &Machine) -> u32 {
    let mut arg = IocRule {
        action: Change::GetTicket.into(),
        ..IocRule::default()
    };
    machine.ioctl(DIOCCHANGERULE, &mut arg).unwrap();
    arg.ticket
}

#[test]
fn a_rule_is_put_at_every_place_and_taken_out() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["a", "b"])).unwrap();
    let now = |action, nr, label: &str| {
        change(&machine, action, ticket(&machine), nr, label).unwrap();
        let numbers: Vec<u32> = machine.rules(Action::Pass).iter().map(|rule| rule.nr).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u32));
        machine.labels(Action::Pass).join(" ")
    };
    assert_eq!(now(Change::AddHead, 0, "h"), "h a b");
    assert_eq!(now(Change::AddTail, 0, "t"), "h a b t");
    assert_eq!(now(Change::AddBefore, 1, "x"), "h x a b t");
    assert_eq!(now(Change::AddAfter, 1, "y"), "h x y a b t");
    assert_eq!(now(Change::AddAfter, 5, "z"), "h x y a b t z");
    assert_eq!(now(Change::Remove, 0, ""), "x y a b t z");
    assert_eq!(now(Change::Remove, 5, ""), "x y a b t");
    assert_eq!(now(Change::Remove, 2, ""), "x y b t");
}

#[test]
fn a_change_needs_its_ticket_and_its_rule() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["a"])).unwrap();
    let good = ticket(&machine);
    assert_eq!(change(&machine, Change::AddHead, good ^ 1, 0, "x"), Err(Errno::Einval));
    assert_eq!(change(&machine, Change::AddBefore, good, 1, "x"), Err(Errno::Einval));
    assert_eq!(change(&machine, Change::Remove, good, 7, ""), Err(Errno::Einval));
    assert_eq!(change(&machine, Change::None, good, 0, "x"), Err(Errno::Einval));
    assert_eq!(machine.labels(Action::Pass), ["a"]);
    change(&machine, Change::AddHead, good, 0, "x").unwrap();
    assert_eq!(
        change(&machine, Change::AddHead, good, 0, "y"),
        Err(Errno::Einval),
        "one change a ticket"
    );
    let mut arg = IocRule {
        action: Change::AddTail.into(),
        ticket: ticket(&machine),
        pool_ticket: machine.pool(&[]).unwrap() + 1,
        rule: pass("x"),
        ..IocRule::default()
    };
    assert_eq!(machine.ioctl(DIOCCHANGERULE, &mut arg), Err(Errno::Ebusy));
    arg.action = 99;
    assert_eq!(machine.ioctl(DIOCCHANGERULE, &mut arg), Err(Errno::Einval));
    arg.anchor = AnchorPath::new("nobody").unwrap();
    arg.action = Change::GetTicket.into();
    assert_eq!(machine.ioctl(DIOCCHANGERULE, &mut arg), Err(Errno::Einval));
    assert_eq!(machine.read_ioctl(DIOCCHANGERULE, &mut arg), Err(Errno::Eacces));
    assert_eq!(machine.labels(Action::Pass), ["x", "a"]);
}

#[test]
fn the_rules_around_a_change_keep_their_counters() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["a", "b"])).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, pf::kpi::Direction::In, &udp_packet()).unwrap();
    change(&machine, Change::AddHead, ticket(&machine), 0, "x").unwrap();
    let rules = machine.rules(Action::Pass);
    assert_eq!(rules.iter().map(|rule| rule.states).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(rules.iter().map(|rule| rule.evaluations).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(machine.dump()[0].rule, 2, "the state's rule has another number now");
}

#[test]
fn a_change_may_empty_an_anchor_and_then_it_goes() {
    let machine = Machine::new();
    machine.load_into("a", Filter, &[(pass("rule"), "")]).unwrap();
    let mut arg = IocRule {
        action: Change::GetTicket.into(),
        anchor: AnchorPath::new("a").unwrap(),
        ..IocRule::default()
    };
    machine.ioctl(DIOCCHANGERULE, &mut arg).unwrap();
    arg.action = Change::Remove.into();
    machine.ioctl(DIOCCHANGERULE, &mut arg).unwrap();
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
}

/// `pass from <t> keep state`
fn from_table() -> Rule {
    let mut rule = pass("from");
    rule.src.addr.kind = PF_ADDR_TABLE;
    rule.src.addr.set_tblname(TableName::new("t").unwrap());
    rule
}

/// Takes the first rule of an anchor out.
fn remove_first(machine: &Machine, path: &str) {
    let mut arg = IocRule {
        action: Change::GetTicket.into(),
        anchor: AnchorPath::new(path).unwrap(),
        ..IocRule::default()
    };
    machine.ioctl(DIOCCHANGERULE, &mut arg).unwrap();
    arg.action = Change::Remove.into();
    machine.ioctl(DIOCCHANGERULE, &mut arg).unwrap();
}

#[test]
fn an_anchor_goes_with_the_last_rule_that_speaks_of_its_table() {
    let machine = Machine::new();
    machine.load_into("a", Filter, &[(from_table(), "")]).unwrap();
    remove_first(&machine, "a");
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
    assert!(machine.tables().is_empty());
}

#[test]
fn an_anchor_goes_with_its_last_table_whoever_sees_that_first() {
    let machine = Machine::new();
    machine.make_table("t", &["10.0.0.1"]);
    machine.load_into("", Filter, &[(pass("call"), "a")]).unwrap();
    machine.load_into("a", Filter, &[(from_table(), "")]).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, pf::kpi::Direction::In, &udp_packet()).unwrap();
    assert_eq!(machine.dump().len(), 1);
    remove_first(&machine, "a");
    machine.load(Filter, &[]).unwrap();
    assert_eq!(
        machine.anchors("").unwrap(),
        ["a"],
        "the state has its rule, and that its table"
    );
    let mut all = IocStateKill::default();
    machine.ioctl(DIOCCLRSTATES, &mut all).unwrap();
    // Somebody who only looks comes before the purge.
    assert_eq!(machine.tables().len(), 1);
    assert_eq!(machine.anchors("").unwrap(), Vec::<String>::new());
}

#[test]
fn counters_of_rules_in_anchors_are_cleared_with_the_others() {
    let machine = Machine::new();
    machine.load_into("", Filter, &[(pass("call"), "a")]).unwrap();
    machine.load_into("a", Filter, &[(pass("rule"), "")]).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.send(1, pf::kpi::Direction::In, &udp_packet()).unwrap();
    let evaluations = || {
        let of = |path: &str| machine.rules_of(path, Action::Pass).unwrap()[0].0.evaluations;
        [of(""), of("a")]
    };
    assert_eq!(evaluations(), [1, 1]);
    machine.command(DIOCCLRRULECTRS).unwrap();
    assert_eq!(evaluations(), [0, 0]);
}

#[test]
fn a_rule_in_an_anchor_has_a_pool() {
    let machine = Machine::new();
    let mut transaction = Transaction::new(&[Nat]);
    transaction.elements()[0].anchor = AnchorPath::new("out").unwrap();
    transaction.call(&machine, DIOCXBEGIN).unwrap();
    let (rule, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    let mut arg = IocRule {
        ticket: transaction.ticket(Nat),
        pool_ticket: machine.pool(&pool).unwrap(),
        rule,
        anchor: AnchorPath::new("out").unwrap(),
        ..IocRule::default()
    };
    machine.ioctl(DIOCADDRULE, &mut arg).unwrap();
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    let mut arg = IocPoolAddr {
        r_action: Action::Nat.into(),
        anchor: AnchorPath::new("out").unwrap(),
        ..IocPoolAddr::default()
    };
    machine.read_ioctl(DIOCGETADDRS, &mut arg).unwrap();
    assert_eq!(arg.nr, 1);
    arg.anchor = AnchorPath::new("in").unwrap();
    assert_eq!(machine.read_ioctl(DIOCGETADDRS, &mut arg), Err(Errno::Ebusy));
}
